"""From a normalised problem to the numbers: buffers, targets, the native loop, and its verdicts."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from . import _core
from .arrays import accumulator_name, dtype_name, is_torch
from .problem import Outgrown, Problem
from .progress import Progress
from .targets import check_different, flat_targets
from .warning import warn

Found = TypeVar("Found")
_SINGULAR, _NONFINITE = 2, 3  # fa_outcome of csrc/engine/integrate.h


@dataclass(frozen=True)
class Plan:
    """A weighted sum of gradients along the straight path from the baseline to the input."""

    rule: str
    steps: int
    completeness: bool
    """The attributions sum to f(x) - f(x')."""
    multiply: bool
    """By x - x'."""
    adaptive: bool = False
    tolerance: float = 0.01
    absolute: bool = False
    exact: str = "no"
    """In closed form: "no", "may" or "must"."""


def explain(
    adapter: Any, problem: Problem, plan: Plan, target: Any, versus: Any, rows: int | str, progress: Progress
) -> dict[str, Any]:
    """Run ``plan``; the fields of the `Attribution`."""
    if problem.examples == 0:
        return empty_result(problem)
    return in_session(
        adapter, problem, progress, lambda session: _explain(session, problem, plan, target, versus, rows)
    )


def in_session(adapter: Any, problem: Problem, progress: Progress, work: Callable[[Any], Found]) -> Found:
    """``work(session)``, and once more where the model is not what was remembered of it."""
    for attempt in (0, 1):
        try:
            with adapter.open(problem, progress) as session:
                return work(session)
        except Outgrown:
            if attempt:
                raise
    raise AssertionError


def _explain(session: Any, problem: Problem, plan: Plan, target: Any, versus: Any, rows: int | str) -> dict[str, Any]:
    table, predict = target_table(session, target, versus, problem.examples)
    if plan.exact != "no":
        from .exact import REASON, integrate_exactly

        known = integrate_exactly(session, problem, table, predict, plan.multiply, plan.tolerance)
        if known is not None:
            return known | {"target": _exact_target(target, table, predict, versus, session, problem.kit)}
        if plan.exact == "must":
            raise ValueError(REASON)
    device_table = problem.kit.table(table)
    found = integrate(session, problem, plan, device_table, predict, versus is not None, rows)
    chosen = reported_target(target, device_table, predict, versus, table, session.output_shape, problem.kit)
    return found | {"target": chosen}


def integrate(
    session: Any,
    problem: Problem,
    plan: Plan,
    device_table: Any,
    predict: bool,
    versus: bool,
    rows: int | str,
    known: NDArray[np.float64] | None = None,
) -> dict[str, Any]:
    """Run ``plan`` for the scalars of ``device_table`` (B, 2). ``known``: (2, B / S) outputs at the path's ends."""
    examples, kit = problem.examples, problem.kit
    levels, nodes, scratch = _core.integrate_plan(plan.rule, plan.steps, plan.adaptive, examples)
    sums = [accumulator_name(dtype_name(x)) for x in problem.inputs]
    values = [kit.zeros(tuple(x.shape), name) for x, name in zip(problem.inputs, sums, strict=True)]
    behind = session.factor(problem, examples * (nodes - 1)) if hasattr(session, "factor") else None
    results = values
    planes = levels if behind is None else min(levels, 2)
    if planes > 1:
        results = [kit.zeros((planes, *x.shape), name) for x, name in zip(problem.inputs, sums, strict=True)]
    chunk = bind(session, rows, examples * (nodes + 1), versus=versus, predict=predict)
    gap, error, output, base_output, evaluations, outcome, worst, used, swept = _core.integrate(
        evaluate=session.evaluate,
        inputs=tuple(problem.inputs),
        bases=tuple(problem.bases),
        points=session.points,
        results=tuple(results),
        values=tuple(values),
        index=session.index,
        scalars=session.scalars,
        target=device_table,
        scratch=kit.scratch(scratch),
        rows=chunk,
        rule=plan.rule,
        steps=plan.steps,
        adaptive=plan.adaptive,
        tolerance=plan.tolerance,
        predict=predict,
        multiply=plan.multiply,
        absolute=plan.absolute,
        completeness=plan.completeness,
        shared_base=problem.shared_base and not session.sees_examples,
        group=problem.group,
        known=known,
        eps=problem.eps,
        pull=None if behind is None else behind.pull,
        behind=None if behind is None else ((behind.input,), (behind.base,), (behind.allocate(levels, results[0]),)),
    )
    session.finish()
    if swept:
        session.note_swept()
    if used < chunk:
        session.remember_rows(used)
    if worst >= _SINGULAR:
        warn_of(outcome)
    return {
        "values": problem.restore(values),
        "gap": kit.report(gap),
        "error": kit.report(error),
        "evaluations": kit.report(evaluations),
        "converged": kit.report(outcome == 0),
        "output": kit.report(output),
        "baseline_output": kit.report(base_output),
        "engine": session.describe(used),
    }


def bind(session: Any, rows: int | str, most: int, **options: Any) -> int:
    """Allocate the row buffers; fewer rows when there is no memory for so many. Returns how many."""
    chunk = max(1, min(session.choose_rows() if isinstance(rows, str) else operator.index(rows), most))
    while True:
        try:
            session.bind(chunk, **options)
            return chunk
        except (MemoryError, RuntimeError) as error:
            if chunk == 1 or not _core.is_out_of_memory(error):
                raise
            chunk //= 2


def forward_outputs(
    session: Any,
    kit: Any,
    bases: list[Any],
    device_table: Any,
    lead_example: NDArray[np.int64],
    lead_base: NDArray[np.int64],
    rows: int,
) -> NDArray[np.float64]:
    """(R,) outputs, without gradients, at row ``lead_base[r]`` of ``bases`` as example ``lead_example[r]`` sees it."""
    out = kit.empty((len(lead_base),), "float64")
    _core.forward(
        evaluate=session.evaluate,
        bases=tuple(bases),
        points=session.points,
        index=session.index,
        scalars=session.scalars,
        target=(device_table,),
        tables=(kit.table(lead_example), kit.table(lead_base)),
        out=out,
        rows=rows,
    )
    return np.asarray(out.cpu() if is_torch(out) else out)


def target_table(
    session: Any, target: Any, versus: Any, examples: int, name: str = "target"
) -> tuple[NDArray[np.int64], bool]:
    """(B, 2) plus and minus, and whether plus is still to be predicted."""
    try:
        return _target_table(session.output_shape, target, versus, examples, name)
    except (ValueError, TypeError):
        if not session.refresh():  # the model may have more classes now
            raise
    return _target_table(session.output_shape, target, versus, examples, name)


def _target_table(
    output_shape: tuple[int, ...] | None, target: Any, versus: Any, examples: int, name: str
) -> tuple[NDArray[np.int64], bool]:
    table = np.empty((examples, 2), np.int64)
    table.fill(-1)
    size = None if output_shape is None else math.prod(output_shape)
    predict = False
    if target is not None:
        table[:, 0] = _flat(target, name, examples, output_shape)
    elif size is None or size == 1:
        table[:, 0] = 0
    elif output_shape is not None and len(output_shape) == 1:
        predict = True
    else:
        shape = ", ".join(map(str, output_shape or ()))
        raise ValueError(f"target: expected a tuple of indices for an output of shape (B, {shape}), got None")
    if versus is not None:
        table[:, 1] = _flat(versus, "versus", examples, output_shape)
        if not predict:
            check_different(table[:, 0], table[:, 1])
    return table, predict


def _flat(value: Any, name: str, examples: int, output_shape: tuple[int, ...] | None) -> NDArray[np.int64]:
    return flat_targets(value, name, examples, (2**62,) if output_shape is None else output_shape)


def reported_target(
    target: Any, device_table: Any, predict: bool, versus: Any, table: NDArray[np.int64], shape: Any, kit: Any
) -> Any:
    """The explained class of each example: as given for several axes, None if there is only one output."""
    if predict:
        chosen = device_table[:, 0]
        if versus is not None:
            check_different(np.asarray(chosen.cpu() if hasattr(chosen, "cpu") else chosen), table[:, 1])
        return chosen
    if target is None or (shape is not None and len(shape) > 1):
        return target
    return kit.report(np.ascontiguousarray(table[:, 0]))


def _exact_target(target: Any, table: NDArray[np.int64], predict: bool, versus: Any, session: Any, kit: Any) -> Any:
    return reported_target(target, kit.table(table), predict, versus, table, session.output_shape, kit)


def warn_of_nonfinite(examples: NDArray[np.bool_]) -> None:
    """Warn of those among all examples (B,), if any."""
    if examples.any():
        warn_of(np.where(examples, _NONFINITE, 0).astype(np.uint8))


def warn_of(outcome: NDArray[np.uint8]) -> None:
    """Warn of the examples whose outcome (B,) calls for it."""
    for code, what in (
        (
            _NONFINITE,
            "NaN or infinite outputs or gradients; their attributions are not to be used, the others are not affected",
        ),
        (
            _SINGULAR,
            "an error that more steps do not reduce: their paths are singular (as LayerNorm is at an all-zero input); "
            "choose another baseline",
        ),
    ):
        found = np.flatnonzero(outcome == code)
        if found.size:
            shown = ", ".join(map(str, found[:10].tolist())) + (", ..." if found.size > 10 else "")
            warn(f"{found.size} of {outcome.size} examples ({shown}) have {what}.")


def empty_result(problem: Problem) -> dict[str, Any]:
    """The fields for no examples."""
    kit = problem.kit
    values = [kit.empty(tuple(x.shape), accumulator_name(dtype_name(x))) for x in problem.inputs]
    floats = {name: kit.report(np.empty(0)) for name in ("gap", "error", "output", "baseline_output")}
    return {
        "values": problem.restore(values),
        **floats,
        "evaluations": kit.report(np.empty(0, np.int64)),
        "converged": kit.report(np.empty(0, np.bool_)),
        "engine": "none (empty batch)",
    }
