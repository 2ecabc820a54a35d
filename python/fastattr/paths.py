"""Paths of the user's own: polylines as segments that stop together, callables as a change of variable.

A callable path g turns the integral into one over alpha alone: the engine walks from 0 to 1 in every feature, so that
its points *are* alpha, and the session below evaluates the model at g(alpha) and hands back df/dg dg/dalpha.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from .arrays import accumulator_name, dtype_name, is_torch, take
from .engine import Plan, empty_result, forward_outputs, in_session, integrate, reported_target, target_table
from .problem import Problem, polyline_vertices
from .progress import Progress
from .smoothing import at_input, repeated_arguments


def explain_polyline(
    method: Any,
    adapter: Any,
    problem: Problem,
    plan: Plan,
    path: Any,
    target: Any,
    versus: Any,
    progress: Progress,
) -> dict[str, Any]:
    """Run ``plan`` on every segment of the polylines; the fields of the `Attribution`."""
    vertices = polyline_vertices(path, problem)
    if problem.examples == 0:
        return empty_result(problem)
    if target is None:
        target = at_input(method, problem, None, versus).target
    return in_session(
        adapter,
        _segmented(problem, vertices),
        progress,
        lambda session: _segments(session, problem, vertices, plan, target, versus, method.rows),
    )


def _segmented(problem: Problem, vertices: list[Any]) -> Problem:
    """One example for each segment, those of one path in a row."""
    count = int(vertices[0].shape[0]) - 1
    index = np.repeat(np.arange(problem.examples), count)
    members = {key: take(x, index) for key, x in problem.members.items()}
    bases = []
    for key, v in zip(problem.attributed, vertices, strict=True):
        members[key] = _rows(v[1:])
        bases.append(_rows(v[:-1]))
    args, kwargs = repeated_arguments(problem, index)
    return replace(problem, members=members, bases=bases, args=args, kwargs=kwargs, group=count)


def _rows(vertices: Any) -> Any:
    """(S, B, ...) to (B * S, ...), dense."""
    flat = vertices.swapaxes(0, 1)
    shape = (flat.shape[0] * flat.shape[1], *flat.shape[2:])
    return flat.contiguous().view(shape) if is_torch(flat) else np.ascontiguousarray(flat).reshape(shape)


def _segments(
    session: Any, problem: Problem, vertices: list[Any], plan: Plan, target: Any, versus: Any, rows: int | str
) -> dict[str, Any]:
    segmented: Problem = session.problem
    examples, count, kit = problem.examples, segmented.group, problem.kit
    table, _ = target_table(session, target, versus, examples)
    device_table = kit.table(np.repeat(table, count, axis=0))
    ends = [_ends(v) for v in vertices]
    chunk = session.choose_rows() if isinstance(rows, str) else int(rows)
    session.bind(max(1, min(chunk, 2 * examples)), versus=versus is not None)
    first = np.tile(np.arange(examples) * count, 2)
    known = forward_outputs(
        session, kit, ends, device_table, first, np.arange(2 * examples), max(1, min(chunk, 2 * examples))
    )
    found = integrate(
        session, segmented, plan, device_table, False, versus is not None, rows, known.reshape(2, examples)
    )
    values = found["values"]
    pieces = [values] if problem.form is object else [values[key] for key in problem.attributed]
    summed = [piece.reshape(examples, count, *piece.shape[1:]).sum(1) for piece in pieces]
    return found | {
        "values": problem.restore(summed),
        "target": reported_target(target, device_table, False, versus, table, session.output_shape, kit),
    }


def _ends(vertices: Any) -> Any:
    """(2 B, ...): the last vertices, then the first."""
    if is_torch(vertices):
        import torch

        return torch.cat([vertices[-1], vertices[0]])
    return np.concatenate([vertices[-1], vertices[0]])


class CallablePath:
    """A model adapter on the path's own coordinate, and the problem in it."""

    def __init__(
        self, adapter: Any, problem: Problem, path: Callable[..., Any], tangent: Callable[..., Any] | None
    ) -> None:
        if tangent is None and problem.kit.name != "torch":
            raise ValueError("tangent: expected a callable dg/dalpha for a path of arrays other than torch's, got None")
        self.adapter = adapter
        self.path = path
        self.tangent = tangent
        self.real = problem
        kit = problem.kit
        ones: dict[Any, Any] = {}
        zeros: list[Any] = []
        for x in problem.inputs:
            name = accumulator_name(dtype_name(x))
            ones[len(ones)] = kit.full(tuple(x.shape), 1.0, name)
            zeros.append(kit.zeros((1, *x.shape[1:]), name))
        self.problem = _OnPath(kit, ones, list(ones), zeros, problem.form, (), {}, 1, problem)

    @contextmanager
    def open(self, problem: Problem, progress: Any) -> Iterator[_PathSession]:
        """The model bound to the problem, seen from the path."""
        with self.adapter.open(self.real, progress) as session:
            yield _PathSession(session, self)


class _OnPath(Problem):
    """Ones in place of the inputs; values go back in the form of the real ones."""

    def __init__(self, *fields: Any) -> None:
        self.real: Problem = fields[-1]
        super().__init__(*fields[:-1])

    @property
    def eps(self) -> float:
        """Of the real inputs: alpha is kept in more digits than they have."""
        return self.real.eps

    def restore(self, values: list[Any]) -> Any:
        """T arrays in the form of the caller's inputs."""
        return self.real.restore(values)


class _PathSession:
    """Evaluates the model at g(alpha): buffers and bookkeeping are the inner session's."""

    sees_examples = True

    def __init__(self, inner: Any, curve: CallablePath) -> None:
        self._inner = inner
        self._curve = curve
        real = curve.real
        full = [
            base if base.shape[0] == x.shape[0] else _expand(base, x)
            for base, x in zip(real.bases, real.inputs, strict=True)
        ]
        several = real.form is not object
        self._ends = (tuple(real.inputs), tuple(full)) if several else (real.inputs[0], full[0])
        self.name = inner.name
        self.output_shape = inner.output_shape
        for name in ("refresh", "choose_rows", "remember_rows", "finish", "describe"):
            setattr(self, name, getattr(inner, name))

    def bind(self, rows: int, **options: Any) -> None:
        """Allocate the buffers for chunks of at most ``rows`` rows."""
        self._inner.bind(rows, **options)
        problem = self._curve.problem
        self.points = tuple(problem.kit.empty((rows, *x.shape[1:]), dtype_name(x)) for x in problem.inputs)
        index = self._inner.index  # a native model's is NumPy's
        self.index = problem.kit.table(index) if isinstance(index, np.ndarray) else index
        self.scalars = self._inner.scalars

    def evaluate(self, rows: int, gradients: bool, remaining: int) -> tuple[Any, Any, tuple[Any, ...]]:
        """Called by the engine: the buffers hold ``rows`` values of alpha."""
        alpha = self.points[0][:rows].reshape(rows, -1)[:, 0]
        places, tangents = self._at(alpha, self.index[:rows], gradients)
        for buffer, place in zip(self._inner.points, places, strict=True):
            buffer[:rows] = self._curve.problem.kit.plain(place)
        evaluate = getattr(self._inner, "call", self._inner.evaluate)  # a native model is no callable
        values, predicted, slopes = evaluate(rows, gradients, remaining)
        products = tuple(
            None if slope is None else _product(slope, tangent, point)
            for slope, tangent, point in zip(slopes, tangents, self.points, strict=bool(slopes))
        )
        return values, predicted, products

    def _at(self, alpha: Any, index: Any, gradients: bool) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """g(alpha) and its tangents, one for each input."""
        path, tangent = self._curve.path, self._curve.tangent
        inputs, baseline = self._ends[0], self._ends[1]
        if not gradients:
            return self._checked("path", path(inputs, baseline, alpha, index), len(alpha)), ()
        if tangent is not None:
            places, tangents = path(inputs, baseline, alpha, index), tangent(inputs, baseline, alpha, index)
        else:
            import torch

            with warnings.catch_warnings():  # torch's own, when it first loads its forward-mode rules
                warnings.simplefilter("ignore", DeprecationWarning)
                along = torch.func.jvp(lambda a: path(inputs, baseline, a, index), (alpha,), (torch.ones_like(alpha),))
            places, tangents = along[0], along[1]
        return self._checked("path", places, len(alpha)), self._checked("tangent", tangents, len(alpha))

    def _checked(self, name: str, answer: Any, rows: int) -> tuple[Any, ...]:
        real = self._curve.real
        found = answer if isinstance(answer, tuple) else (answer,)
        wanted = [(rows, *x.shape[1:]) for x in real.inputs]
        got = [tuple(getattr(entry, "shape", ())) for entry in found]
        if got != wanted:
            raise ValueError(f"{name}: expected points of shape {wanted}, got {got}")
        return found


def _expand(base: Any, x: Any) -> Any:
    return base.expand(x.shape) if is_torch(base) else np.broadcast_to(base, x.shape)


def _product(slope: Any, tangent: Any, point: Any) -> Any:
    """df/dg dg/dalpha in the dtype of the engine's points."""
    if is_torch(slope):
        return (slope.to(point.dtype) * tangent.detach().to(point.dtype)).contiguous()
    return np.asarray(slope.reshape(tangent.shape) * tangent, dtype=point.dtype)
