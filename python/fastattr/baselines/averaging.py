"""Any method averaged over random baselines: (example, draw) become examples of the method, in bounded blocks."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import is_torch, take
from ..models.function import FunctionModel
from ..problem import Problem, baseline_arrays, normalise
from ..progress import Progress
from ..sampling import empty_samples, example_ids
from ..smoothing import BLOCK, Moments, at_input, quiet_examples, repeated_arguments, rows_of, told_of
from .resolve import resolve


def average(
    method: Any,
    inputs: Any,
    target: Any,
    versus: Any,
    baseline: Any,
    args: Any,
    kwargs: Any,
    ids: Any,
    draws: int,
    progress: Progress,
) -> dict[str, Any]:
    """Mean of ``method`` over the ``draws`` of ``baseline``; the fields of the `Attribution`."""
    through = method.layer is not None
    problem = shown = normalise(inputs, inputs if through else None, args, kwargs, through=through)
    inner = copy.copy(method)
    inner.progress = False
    numbers = example_ids(ids, problem.examples)
    if through or problem.examples:
        clean = at_input(inner, problem, target, versus)
        target = clean.target  # every draw explains the same class
        shown = _at_layer(problem, clean.values) if through else problem
    if problem.examples == 0:
        return empty_samples(shown, "mean")
    moments = Moments(shown, "mean")
    for start in range(0, problem.examples, BLOCK):
        part = np.arange(start, min(start + BLOCK, problem.examples))
        step = max(1, BLOCK // len(part))
        for first in range(0, draws, step):
            count = min(step, draws - first)
            att = _block(inner, problem, target, versus, baseline, numbers, part, first, count, draws)
            moments.add(att, part, first, count)
            progress.advance(len(part) * count, problem.examples * draws - start * draws - len(part) * first)
    found = moments.finish(draws, att.engine)
    found["error"] = problem.kit.report(moments.totals["error"] / draws)
    return found | {"target": target}


def _at_layer(problem: Problem, values: Any) -> Problem:
    """``problem`` with inputs like the attributions ``values`` (B, ...) of a layer."""
    return replace(problem, members={0: values}, attributed=[0], form=object)


def _block(
    inner: Any,
    problem: Problem,
    target: Any,
    versus: Any,
    baseline: Any,
    ids: NDArray[np.int64],
    part: NDArray[np.int64],
    first: int,
    count: int,
    draws: int,
) -> Any:
    """``method`` from draws first .. first + count - 1 for the examples ``part``, example-major."""
    index = np.repeat(part, count)
    own = {key: take(x, part) for key, x in problem.members.items()}
    against = rows_of(versus, part, problem.examples)
    drawn = []
    for draw in range(first, first + count):
        made = resolve(baseline, problem.assemble(own), len(part), against, ids[part], draw)
        drawn.append(baseline_arrays(made, problem, own))
    # (count, P, ...) to example-major; what is the same for all is spelled out
    order = (np.arange(count)[None] * len(part) + np.arange(len(part))[:, None]).reshape(-1)
    bases = []
    for t in range(len(problem.attributed)):
        rows = [base[t] if base[t].shape[0] == len(part) else take(base[t], np.zeros(len(part), int)) for base in drawn]
        bases.append(take(_stacked(rows), order))
    options: dict[str, Any] = {"versus": rows_of(versus, index, problem.examples), "baseline": problem.restore(bases)}
    options["args"], options["kwargs"] = repeated_arguments(problem, index)
    options["ids"] = np.repeat(ids[part] * draws, count) + np.tile(np.arange(first, first + count), len(part))
    if isinstance(inner.model, FunctionModel):
        inner = copy.copy(inner)
        inner.model = told_of(inner.model, problem.kit.table(index))
    members = {key: take(x, index) for key, x in problem.members.items()}
    with quiet_examples():
        return inner(problem.assemble(members), rows_of(target, index, problem.examples), **options)


def _stacked(arrays: list[Any]) -> Any:
    if is_torch(arrays[0]):
        import torch

        return torch.cat(arrays)
    return np.concatenate(arrays)
