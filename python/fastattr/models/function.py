"""A model given by its values and gradients, in any DLPack framework."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import _core
from ..arrays import dtype_name, is_torch, kit_of, on_cuda
from ..problem import Climb, Problem


class FunctionModel:
    """A model without torch: any function that returns values and gradients.

    Parameters
    ----------
    value_and_gradient : callable
        ``f(points, index, scalars) -> (values, gradients)``. ``points`` is a tuple of T arrays (R, ...) in the
        framework of the inputs; ``index`` (R,) int64 is the example each row belongs to; ``scalars`` (Q, R, 2) int64
        says what is explained: output ``plus`` minus output ``minus``, -1 for none. ``values`` has shape (Q, R);
        ``gradients`` is a tuple of T arrays (Q, R, ...) in the dtype of the points, or None where a gradient is zero.
        With Q = 1 that axis may be left out. Both may be of any DLPack framework. The points are read-only and valid
        during the call only. A third item, the predicted class of every row (R,) int64, is wanted by the methods that
        follow adversarial paths and ignored by the others.

    Notes
    -----
    ``target=None`` explains scalar 0, since only the function knows how many outputs there are.

    Examples
    --------
    >>> import numpy as np, fastattr as fa
    >>> w = np.array([1.0, -2.0, 3.0])
    >>> model = fa.FunctionModel(lambda points, index, scalars: (
    ...     (points[0] @ w)[None], (np.broadcast_to(w, points[0].shape)[None],)))
    >>> fa.IntegratedGradients(model)(np.ones((1, 3))).values
    array([[ 1., -2.,  3.]])
    """

    def __init__(self, value_and_gradient: Callable[..., Any]) -> None:
        if not callable(value_and_gradient):
            raise TypeError(f"value_and_gradient: expected a callable, got {type(value_and_gradient).__name__}")
        self.value_and_gradient = value_and_gradient

    @contextmanager
    def open(self, problem: Problem, progress: Any) -> Iterator[FunctionSession]:
        """The model bound to one problem."""
        if problem.args or problem.kwargs:
            raise ValueError(
                "args, kwargs: a FunctionModel takes none; close over them and use index to pick an example's"
            )
        if len(problem.attributed) != len(problem.members):
            raise TypeError("inputs: a FunctionModel takes floating inputs only; close over the others and use index")
        yield FunctionSession(self, problem, progress)


class FunctionSession:
    """One call of a `FunctionModel`: buffers that the engine fills, and the callback."""

    output_shape = None
    sees_examples = True  # by index: the value at a shared baseline may still differ

    def __init__(self, model: FunctionModel, problem: Problem, progress: Any) -> None:
        self.name = "function"
        self._function = model.value_and_gradient
        self.problem = self._problem = problem
        self.progress = progress

    def choose_rows(self) -> int:
        """Rows a call by default: points and gradients of a few megabytes."""
        item = sum(int(np.prod(x.shape[1:], dtype=np.int64)) * x.dtype.itemsize for x in self._problem.inputs)
        return max(1, min(4096, 16 * 2**20 // max(1, 2 * item)))

    def refresh(self) -> bool:
        """Nothing is remembered of a function."""
        return False

    def bind(
        self,
        rows: int,
        *,
        versus: bool = False,
        predict: bool = False,
        climb: Climb | None = None,
    ) -> None:
        """Allocate the buffers for chunks of at most ``rows`` rows."""
        self._classifies = climb is not None
        kit = self._problem.kit
        self.points = tuple(kit.empty((rows, *x.shape[1:]), dtype_name(x)) for x in self._problem.inputs)
        self.index = kit.empty((rows,), "int64")
        pairs = rows if climb is None else _core.ascend_plan(rows, climb.paths, 1)[0]
        self.scalars = kit.empty((2 * pairs,), "int64")

    def evaluate(self, rows: int, gradients: int, remaining: int) -> tuple[Any, Any, tuple[Any, ...]]:
        """Called by the engine: the buffers hold ``rows`` rows, of so many scalars each the gradients are wanted."""
        planes = max(1, int(gradients))
        points = tuple(_read_only(p[:rows]) for p in self.points)
        scalars = self.scalars[: 2 * planes * rows].reshape(planes, rows, 2)
        index = self.index[:rows]
        if self._problem.group > 1:
            index = index // self._problem.group
        answer = self._function(points, index, scalars)
        wanted = 3 if self._classifies else 2
        if not isinstance(answer, tuple) or len(answer) not in (2, 3):
            raise TypeError(f"value_and_gradient: expected a tuple (values, gradients), got {type(answer).__name__}")
        if len(answer) < wanted or (wanted == 3 and answer[2] is None):
            raise ValueError(
                "value_and_gradient: expected (values, gradients, predicted) with the predicted classes (R,), at which "
                "adversarial paths end, got none"
            )
        values, slopes = answer[:2]
        if not isinstance(slopes, tuple):
            raise TypeError(f"value_and_gradient: expected a tuple of gradients, got {type(slopes).__name__}")
        plain = _plain(values, "values", (planes, rows))
        shapes = [(planes, *p.shape) for p in points]
        if len(slopes) != len(shapes):
            raise TypeError(f"value_and_gradient: expected a tuple of {len(shapes)} gradients, got {len(slopes)}")
        gradients_out = tuple(
            None if slope is None else _plain(slope, "gradients", shape)
            for slope, shape in zip(slopes, shapes, strict=True)
        )
        predicted = None
        if self._classifies:
            predicted = _plain(answer[2], "predicted", (1, rows))
            if dtype_name(predicted) != "int64":
                raise TypeError(f"value_and_gradient: predicted: expected int64, got {dtype_name(predicted)}")
        self.progress.advance(rows, remaining)
        return plain, predicted, gradients_out

    def remember_rows(self, rows: int) -> None:
        """Nothing is remembered between calls."""

    def describe(self, rows: int) -> str:
        """What ran, in chunks of at most ``rows`` rows."""
        return f"callback ({self.name}, {self._problem.kit.device}, {rows} rows)"

    def finish(self) -> None:
        """Nothing is left to check."""


def _read_only(points: Any) -> Any:
    if isinstance(points, np.ndarray):
        points.flags.writeable = False
    return points


def _plain(value: Any, name: str, shape: tuple[int, ...]) -> Any:
    """An answer in memory that the core can read, of the shape it must have."""
    got = getattr(value, "shape", None)
    if got is not None and tuple(got) != shape and (shape[0] > 1 or tuple(got) != shape[1:]):
        raise ValueError(f"value_and_gradient: {name}: expected shape {shape}, got {tuple(got)}")
    if isinstance(value, np.ndarray):
        return np.require(value, requirements=["C_CONTIGUOUS", "ALIGNED"])
    if not is_torch(value) and on_cuda(value):
        value = sys.modules["torch"].from_dlpack(value)  # waits, on torch's stream, for what made it
    return kit_of(value).plain(value) if is_torch(value) else value
