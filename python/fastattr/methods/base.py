"""What all gradient methods share: the common options, and the way from a call to an `Attribution`.

A method says *what* is summed, as a `Plan`; `fastattr.engine` runs it.
"""

from __future__ import annotations

import inspect
import time
from typing import Any

import numpy as np

from ..attribution import Attribution
from ..baselines.averaging import average
from ..baselines.resolve import draws_of
from ..engine import Plan, explain
from ..layers import at_layer
from ..models import adapt
from ..models.dense import DenseModel
from ..optimizing import on_copy
from ..problem import Problem, normalise
from ..progress import Progress

OUTPUTS = ("raw", "softmax", "log_softmax", "sigmoid")


class GradientMethod:
    """Base of the methods that sum gradients along straight paths.

    Parameters
    ----------
    model : torch.nn.Module, callable or FunctionModel
        A module, a callable on torch tensors that autograd can differentiate, or a `fastattr.FunctionModel`. Outputs
        (B, C), (B,), (B, 1) or with more axes; outputs with ``.logits`` or a ``"logits"`` key are unpacked.
    output : {"raw", "softmax", "log_softmax", "sigmoid"}
        Applied to what the model returns before a class is picked.
    rows : "auto" or int
        Points evaluated by the model at a time. "auto" measures what a row costs and fits the working set to the
        machine; when memory runs out the number is halved and the call goes on.
    engine : {"auto", "callback", "native"}
        How gradients are obtained. "native": by the library itself, for `fastattr.DenseModel` and for torch modules in
        evaluation mode, without hooks, that are chains of Linear, activations, Flatten, Dropout, BatchNorm1d and a
        softmax at the end; a ValueError says what in another model is not. "callback": by autograd. "auto": native
        where it can be. What ran is in ``engine`` of the result.
    optimize : bool
        Explain a copy of the module with batch normalisation folded into the layers before it and channels last; on the
        CPU, convolutions of 3 x 3 with stride 1 go by Winograd's F(4 x 4, 3 x 3) there, with relative errors of about
        1e-6 in float32 where torch's are 1e-7. The copy is kept while the parameters stay the same, and compared with
        the module at every call: where it computes something else, ValueError. The module itself is left alone.
    layer : torch.nn.Module or str, optional
        Attribute the output of this submodule of the model (or of the one with this dotted name) in place of the
        inputs: embeddings of token ids, above all. Inputs may then be integers, values have the layer's shape, and the
        path is straight between the activations at the baseline and at the input.
    layer_input : bool
        Attribute the layer's first argument in place of its output.
    layer_call : int, optional
        Which call counts, from 0, of a layer that one forward calls several times.
    progress : bool
        Show a progress bar (tqdm).
    output_axis : int
        Axis of the classes in the model's output; the batch is axis 0.
    output_key : str or int, optional
        Which member of a dict, dataclass or tuple output to explain.
    """

    uses_baseline: bool = False
    """Whether ``baseline=`` means anything to the method."""
    _note = ""

    def __init__(
        self,
        model: Any,
        *,
        output: str = "raw",
        rows: int | str = "auto",
        engine: str = "auto",
        optimize: bool = False,
        layer: Any = None,
        layer_input: bool = False,
        layer_call: int | None = None,
        differentiable: bool = False,
        progress: bool = False,
        output_axis: int = 1,
        output_key: Any = None,
    ) -> None:
        self.model = model
        self.output = output
        self.rows = rows
        self.engine = engine
        self.optimize = optimize
        self.layer = layer
        self.layer_input = layer_input
        self.layer_call = layer_call
        self.differentiable = differentiable
        self.progress = progress
        self.output_axis = output_axis
        self.output_key = output_key

    def __init_subclass__(cls) -> None:
        """Show the common options in the signature of every method."""
        own = inspect.signature(cls.__init__)
        common = inspect.signature(GradientMethod.__init__).parameters.values()
        kept = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
        added = [p for p in common if p.name not in own.parameters and p.kind is p.KEYWORD_ONLY]
        cls.__signature__ = own.replace(parameters=[p for p in [*kept, *added] if p.name != "self"])  # type: ignore[attr-defined]

    def __call__(
        self,
        inputs: Any,
        target: Any = None,
        *,
        versus: Any = None,
        baseline: Any = None,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        ids: Any = None,
    ) -> Attribution:
        """Explain ``inputs``.

        Parameters
        ----------
        inputs : array (B, ...), or tuple or dict of such
            Tensors, or NumPy arrays (explained without a copy where the memory is contiguous). Floating members are
            attributed together; integer members are passed on as constants and come back as None.
        target : int, integers (B,) or (B, 1), or tuple of such, optional
            The class to explain, one index per axis for outputs with several axes. Default: the predicted class, or the
            output itself when there is only one.
        versus : like ``target``, optional
            Explain output ``target`` minus output ``versus``.
        baseline : number, array broadcastable to the inputs, or object with ``baseline(x, target)``, optional
            Where the path starts; default zero. Objects are those of `fastattr.baselines` or a fitted
            `fastattr.GANMEX`; what depends on a class takes that of ``versus`` unless it is fixed by ``.towards(c)``.
            Several inputs: one for all, or a tuple or dict like them. With ``layer`` it is an input too: the ids of
            padding tokens, say, for token ids, where zero is the id 0; integer members (masks, positions) stay as they
            are unless given.
        args, kwargs
            Extra arguments of the model. Tensors (also nested) whose first extent is B are given row by row to the
            points of their example; `fastattr.shared` exempts one.
        ids : (B,) int64, optional
            Example numbers that random draws are keyed by; methods without randomness ignore them.

        Returns
        -------
        Attribution

        Raises
        ------
        ValueError, TypeError
            With the argument, what was expected and what came.
        fastattr.BackendError
            For devices without a backend.
        """
        started = time.perf_counter()
        self._check_options()
        if baseline is not None and not self.uses_baseline:
            raise ValueError(f"baseline: {type(self).__name__} has none")
        method = self
        through = self.layer is not None
        if through and not self.uses_baseline:
            baseline = inputs  # never looked at
        draws = draws_of(baseline) if self.uses_baseline else 1
        with Progress(self.progress, type(self).__name__) as progress:
            if draws > 1:
                found = average(self, inputs, target, versus, baseline, args, kwargs, ids, draws, progress)
            else:
                problem = normalise(inputs, baseline, args, kwargs, versus, ids, through=through)
                if self.optimize:
                    method = on_copy(method, problem)
                if through:
                    method, problem = at_layer(method, problem)
                found = method._run(problem, target, versus, ids, progress)
        return Attribution(**found, inputs=inputs, method=type(self).__name__, seconds=time.perf_counter() - started)

    def _run(self, problem: Problem, target: Any, versus: Any, ids: Any, progress: Progress) -> dict[str, Any]:
        """The fields of the `Attribution`."""
        return explain(self._adapter(), problem, self._plan(), target, versus, self.rows, progress)

    def _adapter(self) -> Any:
        return adapt(self.model, self.output, self.output_axis, self.output_key, self.engine, self._note)

    def _autograd(self) -> Any:
        """The adapter through autograd, for those that ask a model for more than the native one gives."""
        if isinstance(self.model, DenseModel):
            raise NotImplementedError(
                "model: AGI, adversarial examples, layer= and optimize= do not run natively; pass a torch module"
            )
        return adapt(self.model, self.output, self.output_axis, self.output_key, "callback", self._note)

    def _explain_copy(self, model: Any, note: str) -> None:
        """Explain ``model``, which computes the same, and say so in ``engine``."""
        self.model, self.optimize, self._note = model, False, note

    def _enter(self, part: Any, lower: Any) -> None:
        """Explain ``part``, from the layer on; methods take what they hold in units of the inputs through ``lower``."""
        self.model = part
        self.layer = None

    def _plan(self) -> Plan:
        """What is summed, for methods with a straight path; raises on options out of range."""
        raise NotImplementedError

    def _check_options(self) -> None:
        if self.output not in OUTPUTS:
            raise ValueError(f"output: expected one of {OUTPUTS}, got {self.output!r}")
        if self.engine not in ("auto", "callback", "native"):
            raise ValueError(f'engine: expected "auto", "callback" or "native", got {self.engine!r}')
        if not isinstance(self.optimize, bool):
            raise TypeError(f"optimize: expected True or False, got {self.optimize!r}")
        if self.differentiable not in (False, None):
            raise NotImplementedError("differentiable= is not available yet")
        self._check_layer()
        if not isinstance(self.rows, str) and is_count(self.rows):
            return
        if self.rows != "auto":
            raise ValueError(f'rows: expected "auto" or an int >= 1, got {self.rows!r}')

    def _check_layer(self) -> None:
        call = self.layer_call
        if self.layer is None and (self.layer_input or call is not None):
            raise ValueError("layer: expected a module for layer_input= and layer_call=, got None")
        if call is not None and (not isinstance(call, (int, np.integer)) or isinstance(call, bool) or call < 0):
            raise ValueError(f"layer_call: expected an int >= 0, got {call!r}")


def is_count(value: Any) -> bool:
    """Whether ``value`` is an integer from 1 on, Python's or NumPy's."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and int(value) >= 1


def check_samples(samples: Any, seed: Any) -> None:
    """Raise unless these are a number of draws and a seed."""
    if not is_count(samples) or int(samples) > 2**30:
        raise ValueError(f"samples: expected an int from 1 to 2**30, got {samples!r}")
    valid = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool)
    if not valid or not 0 <= int(seed) < 2**64:
        raise ValueError(f"seed: expected an int from 0 to 2**64 - 1, got {seed!r}")


def check_spread(name: str, value: Any) -> None:
    """Raise unless ``value`` is a finite number >= 0."""
    if not isinstance(value, (int, float, np.integer, np.floating)) or not 0 <= float(value) < float("inf"):
        raise ValueError(f"{name}: expected a finite number >= 0, got {value!r}")
