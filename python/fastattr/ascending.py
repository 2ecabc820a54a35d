"""Adversarial paths: from a normalised problem to steps, contributions and end points.

The paths are followed natively, in waves whose size memory fixes, see csrc/engine/ascend.c.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from .arrays import accumulator_name, dtype_name, is_torch
from .engine import bind, target_table
from .problem import Climb, Problem, bound_arrays

_WAVE = 64 * 2**20
"""Bytes of vertices and sums of the paths that are under way at a time, on the CPU."""
OPEN, REACHED, STALLED, BROKEN = range(4)  # fa_ascent of csrc/engine/ascend.h


@dataclass(frozen=True)
class Ascent:
    """How the paths go, and what is summed along them."""

    step_size: float
    max_steps: int
    direction: str
    """"target", "margin" or "untargeted"."""
    step: str
    """"sign" or "l2"."""
    rule: str | None
    """"left", "trapezoid" or "midpoint" of the contributions; None: the paths alone."""
    radius: float | None = None
    clamp: Any = None
    restart: bool = False
    """Every step is taken from the input."""
    stop: bool = True
    """Paths end where their class is reached."""


@dataclass
class Ascended:
    """Tables (B, k) of what `ascend` found, and its arrays (T)."""

    initial: NDArray[np.float64]
    final: NDArray[np.float64]
    total: NDArray[np.float64]
    steps: NDArray[np.int64]
    outcome: NDArray[np.uint8]
    predicted: NDArray[np.int64]
    gradients: NDArray[np.int64]  # (B,)
    units: NDArray[np.int64]  # (B,)
    values: list[Any] | None  # (B, ...)
    contributions: list[Any] | None  # (B, k, ...)
    ends: list[Any] | None  # (B, k, ...)
    rows: int


def explained_classes(
    session: Any, problem: Problem, target: Any, ranked: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.float64] | None]:
    """(B,) the classes that paths leave, given or predicted, and if ``ranked`` all outputs (B, K), where K is known.

    Raises where there is no other class to go to.
    """
    shape, scores = session.output_shape, None
    if shape is not None and (len(shape) != 1 or shape[0] < 2):
        got = ", ".join(map(str, ("B", *shape)))
        raise ValueError(f"model: expected outputs (B, K) with K >= 2, since paths go to other classes, got ({got})")
    if ranked and shape is not None:
        scores = session.class_scores()
    if target is not None:
        return target_table(session, target, None, problem.examples)[0][:, 0].copy(), scores
    if shape is None:
        raise ValueError("target: expected a class, since only the function knows how many there are, got None")
    return session.predicted() if scores is None else scores.argmax(1), scores


def ascend(
    session: Any,
    problem: Problem,
    ascent: Ascent,
    targets: NDArray[np.int64],
    goals: NDArray[np.int64],
    rows: int | str,
    *,
    scale: float = 1.0,
    keep_ends: bool = False,
    keep_contributions: bool = False,
    start: list[Any] | None = None,
) -> Ascended:
    """Follow a path from every example to each of its ``goals`` (B, k), ascending; -1: to any class but the target.

    ``start``: where the paths begin, by default at the inputs, which are the centre of the radius and of restarts.
    """
    inputs = problem.inputs
    examples, paths = goals.shape
    low, high = bound_arrays(ascent.clamp, problem)
    untargeted = ascent.direction == "untargeted"
    contributes = ascent.rule is not None
    chunk = bind(
        session,
        rows,
        examples * paths,
        versus=ascent.direction == "margin",
        climb=Climb(contributes, ascent.direction != "margin", paths),
    )
    slots = _slots(problem, examples * paths, chunk, contributes)
    arrays = _allocate(problem, ascent, examples, paths, slots, keep_ends, keep_contributions)
    initial, final, total, steps, outcome, predicted, gradients, units, used = _core.ascend(
        evaluate=session.evaluate,
        start=tuple(start or inputs),
        centre=tuple(inputs),
        bounds=None if low is None or high is None else (tuple(low), tuple(high)),
        points=session.points,
        index=session.index,
        scalars=session.scalars,
        scratch=arrays.pop("scratch"),
        plan=_plan(targets, goals, ascent.direction),
        rows=chunk,
        paths=paths,
        max_steps=ascent.max_steps,
        step_size=-ascent.step_size if untargeted else ascent.step_size,
        radius=-1.0 if ascent.radius is None else ascent.radius,
        scale=scale,
        rule=ascent.rule or "left",
        ascents=not untargeted,
        l2=ascent.step == "l2",
        restart=ascent.restart,
        stop=ascent.stop,
        keep_at=keep_ends,
        keep_sum=keep_contributions,
        **arrays,
    )
    session.finish()
    if used < chunk:
        session.remember_rows(used)

    def split(kept: Any) -> list[Any]:
        return [x.reshape(examples, paths, *x.shape[1:]) for x in kept]

    return Ascended(
        initial=initial.reshape(goals.shape),
        final=final.reshape(goals.shape),
        total=total.reshape(goals.shape),
        steps=steps.reshape(goals.shape),
        outcome=outcome.reshape(goals.shape),
        predicted=predicted.reshape(goals.shape),
        gradients=gradients,
        units=units,
        values=None if arrays["results"] is None else list(arrays["results"]),
        contributions=split(arrays["sums"]) if keep_contributions else None,
        ends=split(arrays["at"]) if keep_ends else None,
        rows=used,
    )


def _plan(targets: NDArray[np.int64], goals: NDArray[np.int64], direction: str) -> NDArray[np.int64]:
    """(P, 4): example, target, goal, and what is subtracted from the goal's output."""
    examples, paths = goals.shape
    plan = np.empty((examples, paths, 4), np.int64)
    plan[..., 0] = np.arange(examples)[:, None]
    plan[..., 1] = targets[:, None]
    plan[..., 2] = goals
    plan[..., 3] = targets[:, None] if direction == "margin" else -1
    return plan.reshape(-1, 4)


def _slots(problem: Problem, most: int, chunk: int, contributes: bool) -> int:
    """Paths that are under way at a time: a chunk's at least, and as many as their memory allows."""
    each = 0
    for x in problem.inputs:
        wide = 8 if dtype_name(x) == "float64" else 4
        each += int(np.prod(x.shape[1:], dtype=np.int64)) * (x.dtype.itemsize + (2 * wide if contributes else 0))
    memory = _WAVE
    if getattr(problem.kit.device, "type", "cpu") == "cuda":
        import torch

        memory = max(memory, torch.cuda.mem_get_info(problem.kit.device)[0] // 8)
    return max(1, min(most, max(chunk, memory // max(1, each))))


def _allocate(
    problem: Problem, ascent: Ascent, examples: int, paths: int, slots: int, keep_ends: bool, keep_contributions: bool
) -> dict[str, Any]:
    """The arrays of a call; fewer slots when there is no memory for so many."""
    kit, inputs, total = problem.kit, problem.inputs, examples * paths
    kinds = [dtype_name(x) for x in inputs]
    wide = [accumulator_name(kind) for kind in kinds]

    def new(count: int, names: list[str]) -> tuple[Any, ...]:
        return tuple(kit.empty((count, *x.shape[1:]), name) for x, name in zip(inputs, names, strict=True))

    while True:
        try:
            contributes = ascent.rule is not None
            sums = new(total if keep_contributions else slots, wide) if contributes else None
            results = None
            if contributes and not keep_contributions:
                results = tuple(kit.zeros(tuple(x.shape), name) for x, name in zip(inputs, wide, strict=True))
            return {
                "slots": slots,
                "at": new(total if keep_ends else slots, kinds),
                "sums": sums,
                "steps": new(slots, wide) if contributes and ascent.rule != "left" else None,
                "results": results,
                "scratch": kit.scratch(_core.ascend_plan(1, paths, slots)[1]),
            }
        except (MemoryError, RuntimeError) as error:
            if slots == 1 or not _core.is_out_of_memory(error):
                raise
            slots //= 2


class PathProgress:
    """A bar over paths: stands for the `Progress` of a session while paths are followed."""

    def __init__(self, progress: Any, total: int) -> None:
        self._bar = progress.start(total, " paths")
        self._total = total

    def advance(self, rows: int, remaining: int) -> None:
        """``remaining`` paths are not finished."""
        if self._bar is not None:
            self._bar.update(max(0, self._total - remaining - self._bar.n))


def random_starts(problem: Problem, radius: float, clamp: Any, seed: int, ids: NDArray[np.int64]) -> list[Any]:
    """(T) points (B, ...), uniform in the ball around the inputs, inside the clamp. Keyed by (seed, example number)."""
    low, high = bound_arrays(clamp, problem)
    noise: list[list[NDArray[np.float64]]] = [[] for _ in problem.inputs]
    for number in ids.tolist():
        draws = np.random.Generator(np.random.Philox(key=[seed, number & (2**64 - 1)]))
        for t, x in enumerate(problem.inputs):
            noise[t].append(draws.uniform(-radius, radius, tuple(x.shape[1:])))
    found = []
    for t, x in enumerate(problem.inputs):
        stacked = np.stack(noise[t]) if noise[t] else np.empty(tuple(x.shape))
        y = x + problem.kit.cast(problem.kit.table(stacked), dtype_name(x))
        if low is not None and high is not None:
            y = y.clamp(low[t], high[t]) if is_torch(y) else np.clip(y, low[t], high[t])
        found.append(problem.kit.plain(y))
    return found
