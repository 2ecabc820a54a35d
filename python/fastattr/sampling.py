"""Means over random draws: from a normalised problem to values, standard errors and gaps.

The draws themselves are made and summed natively, see csrc/engine/sample.c; memory does not grow with their number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from .arrays import accumulator_name, dtype_name, is_torch
from .engine import (
    bind,
    empty_result,
    forward_outputs,
    in_session,
    reported_target,
    target_table,
    warn_of_nonfinite,
)
from .problem import Problem
from .progress import Progress

_FORWARD_BLOCK = 2**16  # rows whose tables are in memory at a time


@dataclass(frozen=True)
class SamplePlan:
    """A mean over ``draws`` random points per example."""

    draws: int
    seed: int
    multiply: bool
    """By start - base, inside the mean."""
    along_path: bool = False
    """Points between the start and its base, else at the start."""
    stratified: bool = False
    noise: float = 0.0
    """Standard deviation of the noise, as a share of the example's range."""
    stdev: float | None = None
    """The same in the inputs' unit; overrides ``noise``."""
    kind: str = "mean"


def explain_samples(
    adapter: Any,
    problem: Problem,
    plan: SamplePlan,
    references: list[Any] | None,
    target: Any,
    versus: Any,
    ids: Any,
    rows: int | str,
    progress: Progress,
) -> dict[str, Any]:
    """Run ``plan``; the fields of the `Attribution`. ``references``: (T) arrays (M, ...) that bases are drawn from."""
    if problem.examples == 0:
        return empty_samples(problem, plan.kind)
    numbers = example_ids(ids, problem.examples)
    return in_session(
        adapter,
        problem,
        progress,
        lambda session: _explain(session, problem, plan, references, target, versus, numbers, rows),
    )


def _explain(
    session: Any,
    problem: Problem,
    plan: SamplePlan,
    references: list[Any] | None,
    target: Any,
    versus: Any,
    ids: NDArray[np.int64],
    rows: int | str,
) -> dict[str, Any]:
    examples, kit = problem.examples, problem.kit
    table, predict = target_table(session, target, versus, examples)
    stdev = noise_table(problem, plan.noise, plan.stdev)
    sums = [accumulator_name(dtype_name(x)) for x in problem.inputs]
    mean = [kit.zeros(tuple(x.shape), name) for x, name in zip(problem.inputs, sums, strict=True)]
    deviation = [kit.zeros(tuple(x.shape), "float64") for x in problem.inputs]
    chunk = bind(session, rows, examples * (plan.draws + 1), versus=versus is not None, predict=predict)
    starts = None
    if stdev is not None and plan.multiply:
        starts = tuple(kit.empty((chunk, *x.shape[1:]), dtype_name(x)) for x in problem.inputs)
    device_table = kit.table(table)
    output, found, used = _core.sample(
        evaluate=session.evaluate,
        inputs=tuple(problem.inputs),
        bases=tuple(references or problem.bases),
        points=session.points,
        starts=starts,
        means=tuple(mean),
        deviations=tuple(deviation),
        index=session.index,
        scalars=session.scalars,
        target=device_table,
        ids=kit.table(ids),
        stdev=None if stdev is None else kit.table(stdev),
        scratch=kit.scratch(_core.sample_scratch(examples, plan.draws)),
        rows=chunk,
        draws=plan.draws,
        seed=plan.seed,
        references=0 if references is None else int(references[0].shape[0]),
        along_path=plan.along_path,
        stratified=plan.stratified,
        predict=predict,
        multiply=plan.multiply,
        square=plan.kind == "squared",
        variance=plan.kind == "variance",
    )
    base_output = np.full(examples, np.nan)
    if references is not None:
        base_output = _mean_reference_output(session, problem, plan, references, device_table, versus, ids, used)
    session.finish()
    if used < chunk:
        session.remember_rows(used)
    spread, norm, total = found.reshape(examples, 3).T
    if plan.kind == "variance":
        spread = np.full(examples, np.nan)
    return {
        "values": problem.restore(mean),
        "standard_error": standard_errors(problem, plan.kind, deviation),
        "gap": kit.report(total - (output - base_output)),
        "evaluations": kit.report(np.full(examples, plan.draws, np.int64)),
        "output": kit.report(output),
        "baseline_output": kit.report(base_output),
        "target": reported_target(target, device_table, predict, versus, table, session.output_shape, kit),
        "engine": session.describe(used),
        **verdict(kit, spread, norm, output),
    }


def standard_errors(problem: Problem, kind: str, errors: list[Any]) -> Any:
    """Float64 standard errors in the dtype of the values and the form of the inputs; None for the variance."""
    if kind == "variance":
        return None
    names = [accumulator_name(dtype_name(x)) for x in problem.inputs]
    return problem.restore([problem.kit.cast(e, n) for e, n in zip(errors, names, strict=True)])


def empty_samples(problem: Problem, kind: str) -> dict[str, Any]:
    """The fields for no examples."""
    found = empty_result(problem)
    return found | {"standard_error": None if kind == "variance" else found["values"]}


def verdict(kit: Any, spread: NDArray[Any], norm: NDArray[Any], output: NDArray[Any]) -> dict[str, Any]:
    """``error`` and ``converged`` from the sums of the standard error and of |A|, with a warning where they must."""
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.where(spread == 0, 0.0, spread / norm)
    finite = np.isfinite(norm) & np.isfinite(output)
    warn_of_nonfinite(~finite)
    return {"error": kit.report(error), "converged": kit.report(finite)}


def example_ids(ids: Any, examples: int) -> NDArray[np.int64]:
    """The numbers that draws are keyed by, (B,) int64; by default 0..B-1."""
    if ids is None:
        return np.arange(examples, dtype=np.int64)
    array = ids.detach().cpu().numpy() if is_torch(ids) else np.asarray(ids)
    if array.dtype.kind not in "iu":
        raise TypeError(f"ids: expected integers, got {array.dtype}")
    if array.shape != (examples,):
        raise ValueError(f"ids: expected shape ({examples},), got {array.shape}")
    return np.ascontiguousarray(array, dtype=np.int64)


def noise_table(problem: Problem, noise: float, stdev: float | None) -> NDArray[np.float64] | None:
    """(T, B) standard deviations, or None where there is no noise."""
    if stdev is not None:
        return np.full((len(problem.inputs), problem.examples), float(stdev)) if stdev > 0 else None
    if noise == 0:
        return None
    return np.array([float(noise) * _range(x) for x in problem.inputs])


def _range(x: Any) -> NDArray[np.float64]:
    """(B,) max - min of every example."""
    flat = x.reshape(x.shape[0], -1)
    if flat.shape[1] == 0:
        return np.zeros(int(x.shape[0]))
    if is_torch(flat):
        return (flat.amax(1).double() - flat.amin(1).double()).cpu().numpy()
    with np.errstate(invalid="ignore"):
        return flat.max(1).astype(np.float64) - flat.min(1).astype(np.float64)


def _mean_reference_output(
    session: Any,
    problem: Problem,
    plan: SamplePlan,
    references: list[Any],
    device_table: Any,
    versus: Any,
    ids: NDArray[np.int64],
    rows: int,
) -> NDArray[np.float64]:
    """(B,) mean of f over the references that an example drew. Forward passes only, each wanted one once."""
    many, examples = int(references[0].shape[0]), problem.examples
    table = np.asarray(device_table.cpu() if is_torch(device_table) else device_table)
    scalars, leader = np.unique(table, axis=0, return_inverse=True)
    leader = leader.reshape(-1)
    session.bind(rows, versus=versus is not None)

    def forward(lead_example: NDArray[np.int64], lead_base: NDArray[np.int64]) -> NDArray[np.float64]:
        return forward_outputs(session, problem.kit, references, device_table, lead_example, lead_base, rows)

    shared = not session.sees_examples and len(scalars) * many <= examples * plan.draws
    if shared:
        first = np.array([int(np.flatnonzero(leader == u)[0]) for u in range(len(scalars))])
        known = forward(np.repeat(first, many), np.tile(np.arange(many), len(first))).reshape(len(first), many)
    result = np.empty(examples)
    block = max(1, _FORWARD_BLOCK // plan.draws)
    for start in range(0, examples, block):
        part = np.arange(start, min(start + block, examples))
        drawn = _core.drawn_references(ids[part], plan.draws, plan.seed, many, plan.stratified)
        if shared:
            outputs = known[leader[part][:, None], drawn]
        else:
            pairs, place = np.unique((part[:, None] * many + drawn).reshape(-1), return_inverse=True)
            outputs = forward(pairs // many, pairs % many)[place].reshape(drawn.shape)
        result[part] = outputs.mean(1)
    return result
