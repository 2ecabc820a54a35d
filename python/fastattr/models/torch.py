"""Torch models: a chunk of rows through autograd, with one scalar root and frozen parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .. import _core
from ..arrays import TorchKit, dtype_name
from ..problem import Climb, Outgrown, Problem
from ..warning import warn
from . import probe
from .arguments import as_tensor, gather, gathers, mark, signature
from .behind import Behind, look_behind
from .output import Output
from .part import Part
from .state import ModuleState, module_of

IN_PLACE = "leaf Variable that requires grad"  # autograd's words for a first layer that overwrites its input


class TorchModel:
    """A module or callable whose gradients come from autograd.

    ``output``, ``output_axis`` and ``output_key`` as documented in `fastattr.methods.base.GradientMethod`.
    """

    def __init__(
        self, model: Callable[..., Any], output: str, output_axis: int, output_key: Any, note: str = ""
    ) -> None:
        self.model = model
        self.part = model if isinstance(model, Part) else None
        self.module = self.part.module if self.part is not None else module_of(model)
        self.output = (output, output_axis, output_key)
        notes = ("torch", note, "" if self.part is None else self.part.note)
        self.name = ", ".join(part for part in notes if part)

    @contextmanager
    def open(self, problem: Problem, progress: Any) -> Iterator[TorchSession]:
        """The model bound to one problem: locked, frozen, and restored at the end."""
        first = problem.inputs[0]
        device = first.device if isinstance(first, Tensor) else torch.device("cpu")
        with self.prepared(device) as (function, _):
            yield TorchSession(self, problem, device, progress, function)

    @contextmanager
    def prepared(self, device: torch.device) -> Iterator[tuple[Callable[..., Any], dict[str, Tensor]]]:
        """The model ready to run on ``device``, and the copies that it uses in place of its own tensors, if any."""
        with (
            torch.inference_mode(False) if torch.is_inference_mode_enabled() else nullcontext(),
            torch.no_grad(),
            ModuleState(self.module, device) as state,
            _on_cuda(self.module, device) if device.type == "cuda" else nullcontext(),
        ):
            if state.first is not None and state.first.device != device:
                raise ValueError(f"inputs: expected the model's device {state.first.device}, got {device}")
            if device.type == "cuda":
                _check_one_device(self.module, device)
            function = self.model
            if self.part is not None:
                function = self.part.using(state.substitutes)
            elif state.substitutes and self.module is self.model:
                function = partial(_call_with, self.module, state.substitutes)
            yield function, state.substitutes


class TorchSession:
    """One call of a `TorchModel`: buffers that the engine fills, and the callback that evaluates them."""

    def __init__(
        self, model: TorchModel, problem: Problem, device: torch.device, progress: Any, function: Callable[..., Any]
    ) -> None:
        self.name = model.name
        self._function = function
        self._module = model.module
        self._output = Output(*model.output)
        self.problem = self._problem = problem
        self._device = device
        self.progress = progress
        self._kit = problem.kit if isinstance(problem.kit, TorchKit) else TorchKit(device)
        self._versus = self._predicts = self._clone = self._detached = False
        self._climbs: Climb | None = None
        self._args = mark(problem.args, problem.examples, device)
        self._kwargs = mark(problem.kwargs, problem.examples, device)
        self._constants = {
            key: as_tensor(value, device) for key, value in problem.members.items() if key not in problem.attributed
        }
        self.sees_examples = bool(self._constants) or gathers(self._args) or gathers(self._kwargs)
        self._owner = model.model if model.module is None else model.module
        what = getattr(model.model, "__func__", None) if model.part is None else model.part.name
        self._key = (*model.output, self._device, what, *self._shapes())
        self._probe = probe.remembered(self._owner, self._key)
        self._remembered = self._probe is not None
        self._probe = self._probe or self._measure()

    # ---- before the engine runs -----------------------------------------------------------------------------------

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Of one row of the model's output."""
        assert self._probe is not None
        return self._probe.output_shape

    def refresh(self) -> bool:
        """Look at the model again if what is known of it was remembered; whether it was."""
        was_remembered, self._remembered = self._remembered, False
        if was_remembered:
            self._probe = None
            self._probe = self._measure()
        return was_remembered

    def choose_rows(self) -> int:
        """Rows a chunk, from measured bytes a row."""
        assert self._probe is not None
        return self._probe.choose_rows(self._device)

    def factor(self, problem: Problem, rows: int) -> Behind | None:
        """Look at rows of ``problem`` from behind the model's affine prefix from now on, if ``rows`` of them pay it."""
        module = self._module if problem is self.problem and self._function is self._module else None
        chunk = self.choose_rows() * (0 if self._probe is None else self._probe.row_bytes)
        found = None if module is None else look_behind(module, problem, self._device, rows, chunk)
        if found is None:
            return None
        prefix, behind = found
        self._problem = replace(problem, members={0: behind.input}, attributed=[0], bases=[behind.base], form=object)
        self._function = prefix.answer
        self._key = (*self._key, prefix.name)
        self.name += f", {prefix.name}"
        self._probe = probe.remembered(self._owner, self._key) or self._measure()
        return behind

    def remember_rows(self, rows: int) -> None:
        """Memory ran out: later calls start with what fitted."""
        assert self._probe is not None
        self._probe.limit = rows if self._probe.limit is None else min(self._probe.limit, rows)

    def bind(
        self,
        rows: int,
        *,
        versus: bool = False,
        predict: bool = False,
        climb: Climb | None = None,
    ) -> None:
        """Allocate the buffers for chunks of at most ``rows`` rows.

        Without gradients `evaluate` returns the predicted classes if ``predict``, else the scalars' values; with
        ``climb`` always both, and several scalars a row.
        """
        inputs = self._problem.inputs
        self.points = tuple(self._kit.empty((rows, *x.shape[1:]), dtype_name(x)) for x in inputs)
        self.index = self._kit.empty((rows,), "int64")
        pairs = rows if climb is None else _core.ascend_plan(rows, climb.paths, 1)[0]
        self.scalars = self._kit.empty((pairs, 2), "int64")
        self._versus = versus
        self._predicts = predict
        self._climbs = climb

    def _shapes(self) -> tuple[Any, ...]:
        members = tuple((key, tuple(x.shape[1:]), dtype_name(x)) for key, x in self._problem.members.items())
        return members, signature(self._args), signature(self._kwargs)

    def _measure(self) -> probe.Probe:
        inputs = self._problem.inputs
        point_bytes = sum(int(np.prod(x.shape[1:], dtype=np.int64)) * x.dtype.itemsize for x in inputs)
        cuda = [self._device] if self._device.type == "cuda" else []
        for rows in (2, 1):
            try:
                self.bind(rows)
                for points, x in zip(self.points, inputs, strict=True):
                    points.copy_(as_tensor(x[:1], self._device).expand(points.shape))
                self.index.zero_()
                with torch.random.fork_rng(cuda), torch.enable_grad():
                    found = probe.measure(partial(self._scores, rows), rows, self._module, point_bytes)
                break
            except (MemoryError, RuntimeError) as error:
                if rows == 1 or not _core.is_out_of_memory(error):
                    self._explain_dtype(error)
                    raise
        self._output.probabilities = None
        probe.remember(self._owner, self._key, found)
        return found

    def _explain_dtype(self, error: Exception) -> None:
        """A mismatch of dtypes is named as such, whatever words torch had for it."""
        module = self._module
        known = {p.dtype for p in module.parameters() if p.is_floating_point()} if module is not None else set()
        for key in self._problem.attributed:
            name = dtype_name(self._problem.members[key])
            if len(known) == 1 and str(next(iter(known))) != f"torch.{name}":
                wanted = str(next(iter(known)))
                raise TypeError(
                    f"inputs: expected {wanted} like the model's parameters, got torch.{name}; convert one of them"
                ) from error

    # ---- in the engine's loop -------------------------------------------------------------------------------------

    def evaluate(self, rows: int, gradients: int, remaining: int) -> tuple[Any, Any, tuple[Any, ...]]:
        """Called by the engine: the buffers hold ``rows`` rows, of so many scalars each the gradients are wanted."""
        if self._climbs is not None:
            answer = self._climb(rows, gradients)
        elif gradients:
            answer = self._differentiate(rows)
        elif self._predicts:
            answer = self._predict(rows)
        else:
            answer = self._pick(self._scores(rows)[0], rows), None, ()
        self.progress.advance(rows, remaining)
        return answer

    def describe(self, rows: int) -> str:
        """What ran, in chunks of at most ``rows`` rows."""
        return f"callback ({self.name}, {self._device}, {rows} rows)"

    def finish(self) -> None:
        """What could not be checked without waiting for the device, and what the user should know."""
        self._output.finish()
        if self._detached:
            warn(
                "The model's output is not connected to its inputs by autograd, so all gradients are zero: look for "
                "detach(), no_grad(), .data, argmax or NumPy in its forward."
            )

    def _scores(self, rows: int) -> tuple[Tensor, list[Tensor]]:
        """(R, ...) scores, and the leaves they are functions of."""
        answer, leaves = self._answer(rows)
        scores = self._output.scores(answer, rows)
        self._check_shape(scores, rows)
        return scores, leaves

    def _answer(self, rows: int) -> tuple[Any, list[Tensor]]:
        """What the model returns, and the leaves it is a function of: fresh ones, so that no hook or graph stays."""
        leaves = [points[:rows].detach().requires_grad_() for points in self.points]
        try:
            answer = self._call([leaf.clone() for leaf in leaves] if self._clone else leaves, rows)
        except RuntimeError as error:
            if self._clone or not error.args or IN_PLACE not in repr(error.args[0]):
                raise
            self._clone = True
            answer = self._call([leaf.clone() for leaf in leaves], rows)
        return answer, leaves

    def _check_shape(self, scores: Tensor, rows: int) -> None:
        if self._probe is not None and scores.shape[1:] != self._probe.output_shape:
            probe.forget(self._owner, self._key)
            raise Outgrown(
                f"model: expected outputs of shape {(rows, *self._probe.output_shape)} for {rows} rows, "
                f"got {tuple(scores.shape)}"
            )

    def _call(self, points: list[Tensor], rows: int) -> Any:
        problem = self._problem
        if problem.form is not dict and not self.sees_examples:
            return self._function(*points, *self._args, **self._kwargs)
        index = self.index[:rows]
        attributed = dict(zip(problem.attributed, points, strict=True))
        members = {
            key: attributed[key] if key in attributed else self._constants[key].index_select(0, index)
            for key in problem.members
        }
        args, kwargs = gather(self._args, index), gather(self._kwargs, index)
        if problem.form is dict:
            return self._function(*args, **members, **kwargs)
        return self._function(*members.values(), *args, **kwargs)

    def _pick(self, scores: Tensor, rows: int) -> Tensor:
        """(R, 1): every row's own scalar, output plus minus output minus."""
        flat = scores if scores.dim() == 2 else scores.reshape(rows, -1)
        picked = flat.gather(1, self.scalars[:rows, :1])
        return picked - flat.gather(1, self.scalars[:rows, 1:]) if self._versus else picked

    def _predict(self, rows: int) -> tuple[Any, Any, tuple[Any, ...]]:
        scores = self._scores(rows)[0].reshape(rows, -1)
        values, predicted = scores.max(1)
        if self._versus:
            values = values - scores.gather(1, self.scalars[:rows, 1:]).squeeze(1)
        return values, predicted, ()

    def _differentiate(self, rows: int) -> tuple[Any, Any, tuple[Any, ...]]:
        """Values, and one backward pass from the sum of all rows' scalars."""
        with torch.enable_grad():
            scores, leaves = self._scores(rows)
            picked = self._pick(scores, rows)
            slopes: tuple[Tensor | None, ...] = (None,) * len(leaves)
            if picked.requires_grad:
                slopes = torch.autograd.grad(picked.sum(), leaves, allow_unused=True)
        if all(slope is None for slope in slopes):
            self._detached = True
        return picked.detach(), None, tuple(None if slope is None else _plain(slope) for slope in slopes)

    def predicted(self) -> NDArray[np.int64]:
        """(B,) the classes with the largest output at the inputs."""
        return self._at_inputs(lambda scores: scores.argmax(1))

    def class_scores(self) -> NDArray[np.float64]:
        """(B, K) outputs at the inputs."""
        return self._at_inputs(lambda scores: scores.double())

    def _at_inputs(self, wanted: Callable[[Tensor], Tensor]) -> NDArray[Any]:
        """(B, ...) what is ``wanted`` of the scores (R, K) at the inputs, by forward passes alone."""
        inputs, found, rows = self._problem.inputs, [], self.choose_rows()
        first = 0
        while first < self._problem.examples:
            try:
                self.bind(rows)
                count = min(rows, self._problem.examples - first)
                for points, x in zip(self.points, inputs, strict=True):
                    points[:count].copy_(as_tensor(x[first : first + count], self._device))
                self.index[:count] = torch.arange(first, first + count, device=self._device)
                found.append(wanted(self._scores(count)[0]).cpu().numpy())
                first += count
            except (MemoryError, RuntimeError) as error:
                if rows == 1 or not _core.is_out_of_memory(error):
                    raise
                rows //= 2
        return np.concatenate(found)

    def _climb(self, rows: int, planes: int) -> tuple[Any, Any, tuple[Any, ...]]:
        """Values (Q, R), predicted classes, and gradients (Q, R, ...) of Q scalars a row, ascents as `Climb` says."""
        assert self._climbs is not None
        with torch.set_grad_enabled(planes > 0):
            answer, leaves = self._answer(rows)
            scores = heights = self._output.scores(answer, rows)
            self._check_shape(scores, rows)
            if planes and self._climbs.logarithm:
                heights = self._output.logarithms(answer, scores)
            first = 1 if self._climbs.explained else 0
            roots = [self._pair(scores if q < first else heights, rows, q) for q in range(max(1, planes))]
            slopes = self._slopes(roots, leaves) if planes else ()
        return torch.stack([root.detach() for root in roots]), scores.detach().argmax(1), slopes

    def _pair(self, scores: Tensor, rows: int, q: int) -> Tensor:
        """(R,): scalar ``q`` of every row."""
        pair = self.scalars[q * rows : (q + 1) * rows]
        picked = scores.gather(1, pair[:, :1]).squeeze(1)
        if not self._versus:
            return picked
        minus = scores.gather(1, pair[:, 1:].clamp(min=0)).squeeze(1)
        return picked - torch.where(pair[:, 1] >= 0, minus, torch.zeros_like(minus))

    def _slopes(self, roots: list[Tensor], leaves: list[Tensor]) -> tuple[Tensor | None, ...]:
        """(T) gradients (Q, R, ...), one backward pass a root."""
        found: list[tuple[Tensor | None, ...]] = []
        for q, root in enumerate(roots):
            if not root.requires_grad:
                self._detached = True
                return (None,) * len(leaves)
            keep = q + 1 < len(roots)
            found.append(torch.autograd.grad(root.sum(), leaves, allow_unused=True, retain_graph=keep))
        planes = list(zip(*found, strict=True))
        return tuple(
            None if all(slope is None for slope in plane) else _stacked(plane, leaf)
            for plane, leaf in zip(planes, leaves, strict=True)
        )


def _stacked(slopes: tuple[Tensor | None, ...], like: Tensor) -> Tensor:
    if len(slopes) == 1 and slopes[0] is not None:
        return _plain(slopes[0])
    return torch.stack([torch.zeros_like(like) if slope is None else _plain(slope) for slope in slopes])


def _plain(slope: Tensor) -> Tensor:
    """A gradient as memory holds it: dense, not lazily negated, contiguous."""
    if slope.is_sparse:
        slope = slope.to_dense()
    if slope.is_neg():
        slope = slope.resolve_neg()
    return slope.contiguous()


def _call_with(module: nn.Module, tensors: dict[str, Tensor], *args: Any, **kwargs: Any) -> Any:
    return torch.func.functional_call(module, tensors, args, kwargs)


def _check_one_device(module: nn.Module | None, device: torch.device) -> None:
    """Points, gradients and sums of a call are on one device, so the model has to be."""
    others = {str(p.device) for p in module.parameters()} - {str(device)} if module is not None else None
    if others:
        raise ValueError(
            f"model: expected all parameters on {device} like the inputs, got some on {', '.join(sorted(others))}; "
            "models spread over several devices are not supported"
        )


@contextmanager
def _on_cuda(module: nn.Module | None, device: torch.device) -> Iterator[None]:
    """The inputs' device is current; recurrent layers in eval mode, where cuDNN has no gradient, do without cuDNN."""
    parts = module.modules() if module is not None else ()
    recurrent = any(isinstance(part, nn.RNNBase) and not part.training for part in parts)
    with torch.cuda.device(device), torch.backends.cudnn.flags(enabled=False) if recurrent else nullcontext():
        yield
