"""A small dense network run natively: no Python, and no framework, between a call and its answer.

On the CPU; dense_device.py is for other devices.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..arrays import NumpyKit, dtype_name, is_torch
from ..problem import Problem

ACTIVATIONS = {
    "identity": 0,
    "relu": 1,
    "leaky_relu": 2,
    "elu": 3,
    "gelu": 4,
    "gelu_tanh": 5,
    "silu": 6,
    "tanh": 7,
    "sigmoid": 8,
    "softplus": 9,
}  # fa_activation of csrc/layers.h
DEFAULTS = {"leaky_relu": (0.01, 0.0), "elu": (1.0, 0.0), "softplus": (1.0, 20.0)}
HEADS = {"raw": 0, "softmax": 1, "log_softmax": 2}  # fa_head of csrc/layers.h


SEAMLESS = 16.0
"""Threshold of softplus from which on its jump there, log(1 + exp(-threshold)), is none: a closed form has it, and the
integral of the gradient has not."""
WIDE = 1 << 20
"""Weights of a first layer from which on they are not copied: its products read them where they are."""


class Unsupported(ValueError):
    """Why a model, or a call, is not for the native engine."""


class Layer(NamedTuple):
    """act(weight h + bias); without a weight the activation alone. NumPy arrays, or torch tensors on their device."""

    weight: Any
    bias: Any
    activation: str = "identity"
    a: float = 0.0
    b: float = 0.0


class Network:
    """Layers, packed for the native engine once for every output that is asked for.

    Parameters
    ----------
    layers : sequence of Layer
        Weights (out, in) and biases (out,), float32 or float64.
    head : {"raw", "softmax", "log_softmax"}
        What the model itself does to its last layer's outputs.
    flattens : bool
        Inputs of several axes are flattened; else they are (B, features).
    """

    def __init__(self, layers: Sequence[Layer], head: str = "raw", flattens: bool = True) -> None:
        weights = [layer.weight for layer in layers if layer.weight is not None]
        if not weights:
            raise Unsupported("it has no linear layer")
        if any(after.shape[1] != before.shape[0] for before, after in zip(weights, weights[1:], strict=False)):
            raise Unsupported("a layer does not take what the one before it gives")
        self.layers = list(layers)
        self.head = head
        self.flattens = flattens
        self.dtype_name = dtype_name(weights[0])
        self.dtype = np.dtype(self.dtype_name)
        self.features = int(weights[0].shape[1])
        self.classes = int(weights[-1].shape[0])
        if self.classes < 1:
            raise Unsupported("it has no outputs")
        first, rest = self.layers[0], self.layers[1:]
        self.has_rest = first.weight is not None and any(layer.weight is not None for layer in rest)
        """The first layer is linear, and others come behind it."""
        self.wide = self.has_rest and self.features * len(first.weight) >= WIDE
        self.sweeps = first.activation in ("relu", "leaky_relu") and bool(rest) and rest[0].weight is not None
        """Straight lines cost a few products: fa_dense_sweeps of csrc/engine/dense_run.h."""
        self.device: Any = None
        """Torch's device of the weights; None for NumPy arrays."""
        self._packed: dict[tuple[str, bool], tuple[Any, int, int]] = {}
        self._exact: tuple[Any, int] | None = None

    def copy(self) -> Network:
        """The same with weights of its own."""
        layers = [
            layer._replace(
                weight=None if layer.weight is None else layer.weight.copy(),
                bias=None if layer.bias is None else layer.bias.copy(),
            )
            for layer in self.layers
        ]
        return Network(layers, self.head, self.flattens)

    def packed(self, output: str, behind: bool = False) -> tuple[Any, int]:
        """The network under ``output`` as `_core` takes it, and the rows of a chunk; ``behind`` its first product."""
        found, contents = self._packed.get((output, behind)), 0 if behind else self._contents()
        if found is None or found[2] != contents:
            found = self._packed[output, behind] = (*self._pack(output, behind), contents)
        return found[:2]

    def exact(self) -> Any:
        """The raw network in float64 if its integral along a line has a closed form, else None."""
        if self.head != "raw" or len(self.layers) not in (2, 3):
            return None
        if any(layer.activation == "softplus" and layer.b < SEAMLESS for layer in self.layers):
            return None
        if self._exact is not None and self._exact[0] is None:  # whatever the weights are
            return None
        contents = self._contents()
        if self._exact is None or self._exact[1] != contents:
            found = _core.dense(self._described(self.layers, np.float64, self.features), HEADS["raw"], True, True)
            self._exact = found if _core.exact_applies(found) else None, contents
        return self._exact[0]

    def evaluate(self, output: str, points: Any, scalars: Any, values: Any, slopes: Any = None) -> NDArray[np.int64]:
        """(R,) predicted classes; scalars (Q, R, 2) at points (R, ...) into values (Q, R), gradients into slopes."""
        if not self.wide:
            given = None if slopes is None else (slopes,)
            return _core.dense_evaluate(self.packed(output)[0], (points,), (scalars,), (values,), given)
        from .dense_prefix import image

        rest, behind = self.packed(output, True)[0], image(self, points)
        inner = None if slopes is None else np.empty((len(scalars), *behind.shape), self.dtype)
        found = _core.dense_evaluate(rest, (behind,), (scalars,), (values,), None if inner is None else (inner,))
        if inner is not None:
            weight = self.layers[0].weight
            _core.gemm(inner.reshape(-1, behind.shape[1]), weight, np.asarray(slopes).reshape(-1, self.features))
        return found

    def session(self, output: str, problem: Problem, progress: Any) -> DenseSession:
        """One call of the network."""
        return DenseSession(self, output, problem, progress)

    def _contents(self) -> int:
        """A checksum of what a copy was made of, where nobody else looks: see `Watch` of chain.py."""
        return _core.checksum((self.layers[0].weight,)) if self.wide else 0

    def _pack(self, output: str, behind: bool) -> tuple[Any, int]:
        layers, head = self.layers_under(output, behind)
        network = _core.dense(layers, HEADS[head], self.dtype == np.float64)
        return network, _core.dense_rows(network)

    def layers_under(self, output: str, behind: bool) -> tuple[tuple[Any, ...], str]:
        """Layers as `_core` wants them, and the head."""
        layers, head, width = self.layers, self.head, self.features
        if behind:
            from .dense_prefix import rest_of

            layers, width = rest_of(self)
        if output == "sigmoid":
            layers = [*layers, Layer(None, None, "sigmoid")]
        elif output != "raw":
            head = output
        if output != "raw" and self.head != "raw":
            raise Unsupported(f'output="{output}" of a model that ends in {self.head}')
        if output not in ("raw", "sigmoid") and self.classes < 2:
            raise Unsupported(f'output="{output}" of one class')
        return self._described(layers, self.dtype, width), head

    def _described(self, layers: Sequence[Layer], dtype: Any, width: int) -> tuple[Any, ...]:
        """Layers as `_core.dense` wants them; the first takes ``width`` features."""
        described = []
        for layer in layers:
            out = width if layer.weight is None else int(layer.weight.shape[0])
            weight, bias = (w if w is None or self.device or w.dtype == dtype else w.astype(dtype) for w in layer[:2])
            described.append((width, out, weight, bias, ACTIVATIONS[layer.activation], float(layer.a), float(layer.b)))
            width = out
        return tuple(described)


class DenseModel:
    """A chain of dense layers, h = act(W h + b), run natively on the CPU; torch is not needed.

    Parameters
    ----------
    weights : sequence of arrays (out, in)
        One a layer, float32 or float64, the same in all; copied.
    biases : sequence of arrays (out,) or None, optional
        Default: no biases.
    activations : str or sequence of str
        One for all layers but the last, or one a layer: "identity", "relu", "leaky_relu" (slope 0.01), "elu" (alpha 1),
        "gelu", "gelu_tanh", "silu", "tanh", "sigmoid", "softplus" (beta 1).

    Notes
    -----
    Every gradient method takes it in place of a model; inputs are (B, features) or flatten to it. Torch modules that
    are such chains are recognised and run in the same way without this class, see ``engine=``.

    Examples
    --------
    >>> import numpy as np, fastattr as fa
    >>> w, v = np.array([[1.0, -2.0], [3.0, 1.0]]), np.array([[1.0, -1.0]])
    >>> model = fa.DenseModel([w, v], activations="relu")
    >>> fa.IntegratedGradients(model, steps=20)(np.array([[3.0, 1.0]]), target=0).values
    array([[-6., -3.]])
    """

    def __init__(
        self,
        weights: Sequence[Any],
        biases: Sequence[Any] | None = None,
        activations: str | Sequence[str] = "relu",
    ) -> None:
        matrices = [np.array(w, order="C") for w in weights]
        count = len(matrices)
        vectors: list[Any] = [None] * count if biases is None else list(biases)
        names = [activations] * (count - 1) + ["identity"] if isinstance(activations, str) else list(activations)
        if count == 0 or len(vectors) != count or len(names) != count:
            raise ValueError(
                f"weights, biases, activations: expected as many of each, got {count}, {len(vectors)}, {len(names)}"
            )
        dtype = matrices[0].dtype
        if dtype not in (np.float32, np.float64):
            raise TypeError(f"weights[0]: expected float32 or float64, got {dtype}")
        layers = []
        for i, (w, b, name) in enumerate(zip(matrices, vectors, names, strict=True)):
            before = matrices[i - 1].shape[0] if i else None
            if w.ndim != 2 or w.dtype != dtype or (i and w.shape[1] != before):
                raise ValueError(
                    f"weights[{i}]: expected {dtype} of shape (out, {before or 'in'}), got {w.dtype} {w.shape}"
                )
            bias = None if b is None else np.array(b, order="C")
            if bias is not None and (bias.shape != w.shape[:1] or bias.dtype != dtype):
                raise ValueError(f"biases[{i}]: expected {dtype} of shape {w.shape[:1]}, got {bias.dtype} {bias.shape}")
            if name not in ACTIVATIONS:
                raise ValueError(f"activations[{i}]: expected one of {tuple(ACTIVATIONS)}, got {name!r}")
            layers.append(Layer(w, bias, name, *DEFAULTS.get(name, (0.0, 0.0))))
        self.network = Network(layers)

    @classmethod
    def from_torch(cls, module: Any) -> DenseModel:
        """A copy of a torch module that is a chain of dense layers; later changes of the module do not reach it.

        Parameters
        ----------
        module : torch.nn.Module
            In evaluation mode: Linear, an activation, Flatten, Dropout, BatchNorm1d, Softmax or LogSoftmax at the end,
            nested in Sequential or called by a forward that torch.fx can trace.

        Raises
        ------
        ValueError
            Saying what in the module is not such a chain.
        """
        from .chain import network_of

        found = cls.__new__(cls)
        try:
            found.network = network_of(module).copy()
        except Unsupported as reason:
            raise ValueError(
                f"module: expected a chain of dense layers, got {type(module).__name__}: {reason}"
            ) from None
        return found


class DenseAdapter:
    """A `DenseModel` under an ``output=``."""

    def __init__(self, model: DenseModel, output: str) -> None:
        self.network = model.network
        self.output = output

    def open(self, problem: Problem, progress: Any) -> DenseSession:
        """The model bound to one problem."""
        check_call(self.network, problem)
        return self.network.session(self.output, problem, progress)


class DenseSession:
    """One call of a native network: the buffers that the engine fills, and the network it asks."""

    sees_examples = False

    def __init__(self, network: Network, output: str, problem: Problem, progress: Any) -> None:
        self.name = "dense"
        self.problem = self._problem = problem
        self.output_shape = (network.classes,)
        self._layers = sum(layer.weight is not None for layer in network.layers)
        self.progress = progress
        self._network, self._output, self._behind = network, output, False
        self._packed: tuple[Any, int] | None = None
        self._note = ""

    def __enter__(self) -> DenseSession:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was touched that would have to be put back."""

    def _look(self) -> tuple[Any, int]:
        """The network and its rows, looked for once a call, and not at all where only what is behind is asked."""
        if self._packed is None:
            self._packed = self._network.packed(self._output, self._behind)
        return self._packed

    @property
    def evaluate(self) -> Any:
        """The network as `_core` takes it."""
        return self._look()[0]

    def choose_rows(self) -> int:
        """Rows a chunk, so that points and gradients stay in the caches."""
        return self._look()[1]

    def refresh(self) -> bool:
        """Nothing is remembered but the weights, which are those of this call."""
        return False

    def bind(self, rows: int, *, versus: bool = False, predict: bool = False) -> None:
        """Allocate the buffers for chunks of at most ``rows`` rows."""
        self.points = (np.empty((rows, *self._problem.inputs[0].shape[1:]), self._network.dtype),)
        self.index = np.empty(rows, np.int64)
        self.scalars = np.empty(2 * rows, np.int64)

    def exact(self) -> Any:
        """The network for `_core.exact`, or None where this call's integral has no closed form."""
        return self._network.exact() if self._output == "raw" else None

    def predicted(self) -> NDArray[np.int64]:
        """(B,) the classes with the largest output at the inputs."""
        x = self._problem.inputs[0]
        scalars, values = np.full((len(x), 2), -1, np.int64), np.empty(len(x), self._network.dtype)
        return self._network.evaluate(self._output, x, scalars[None], values[None])

    def call(self, rows: int, gradients: int, remaining: int) -> tuple[Any, Any, tuple[Any, ...]]:
        """The same evaluation, for those who stand between engine and model: the buffers hold ``rows`` rows."""
        kit, points = self._problem.kit, self.points[0][:rows]
        values, slopes = kit.empty((rows,), dtype_name(points)), None
        if gradients:
            slopes = kit.empty(tuple(points.shape), dtype_name(points))
        gradient = None if slopes is None else (slopes,)
        predicted = _core.dense_evaluate(self.evaluate, (points,), (self.scalars[: 2 * rows],), (values,), gradient)
        return values, None if gradients else predicted, (slopes,) if gradients else ()

    def remember_rows(self, rows: int) -> None:
        """The buffers are small; nothing is remembered between calls."""

    def finish(self) -> None:
        """All examples are done: the loop reports nothing on its way, since it never comes back to Python."""
        self.progress.advance(self._problem.examples, self._problem.examples)

    def factor(self, problem: Problem, rows: int) -> Any:
        """Look at rows of ``problem`` from behind the first layer from now on, if ``rows`` of them pay it."""
        from .dense_prefix import DenseBehind, pays

        if problem is not self.problem or not pays(self._network, problem.examples, rows):
            return None
        behind = DenseBehind(self._network, problem)
        self._problem = replace(
            problem,
            kit=NumpyKit(),
            members={0: behind.input},
            attributed=[0],
            bases=[behind.base],
            form=object,
        )
        self._behind, self._packed = True, None
        self._note = "affine prefix, "
        return behind

    def note_swept(self) -> None:
        """Points were summed along their lines, see csrc/engine/dense_sweep.c."""
        self._note += "swept, "

    def describe(self, rows: int) -> str:
        """What ran."""
        return f"native dense ({self._layers} layers, {self._note}cpu, {rows} rows)"


def check_call(network: Network, problem: Problem) -> None:
    """Raise unless ``network`` takes the inputs of ``problem``."""
    if problem.args or problem.kwargs:
        raise Unsupported("args, kwargs: a dense network takes none")
    if len(problem.members) != 1 or not problem.attributed or problem.form is dict:
        raise Unsupported("inputs: a dense network takes one floating array")
    x = problem.inputs[0]
    here, there = str(x.device) if is_torch(x) else "cpu", str(network.device or "cpu")
    if here != there:
        raise Unsupported(f"inputs: expected them on {there} like the weights, got {here}")
    if dtype_name(x) != network.dtype_name:
        raise Unsupported(f"inputs: expected {network.dtype} like the weights, got {dtype_name(x)}")
    shape = x.shape
    if math.prod(shape[1:]) != network.features or len(shape) < 2 or (len(shape) > 2 and not network.flattens):
        raise Unsupported(f"inputs: expected shape (B, {network.features}), got {tuple(shape)}")
