"""Any method averaged over noisy inputs: draws become examples of the method, in blocks of bounded size."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from .arrays import accumulator_name, dtype_name, is_torch, take
from .models.function import FunctionModel
from .problem import Problem
from .progress import Progress
from .sampling import SamplePlan, empty_samples, example_ids, noise_table, standard_errors, verdict

BLOCK = 64
"""Draws that the inner method sees as one batch: enough to fill its chunks, few enough for its accumulators."""


def smooth(
    method: Any, problem: Problem, plan: SamplePlan, target: Any, versus: Any, ids: Any, progress: Progress
) -> dict[str, Any]:
    """Mean, mean of squares or variance of ``method`` over the draws of ``plan``; the fields of the `Attribution`."""
    examples = problem.examples
    if examples == 0:
        return empty_samples(problem, plan.kind)
    inner = copy.copy(method)
    inner.progress = False
    numbers = example_ids(ids, examples)
    stdev = noise_table(problem, plan.noise, plan.stdev)
    clean = at_input(inner, problem, target, versus)  # every draw explains the same class
    target = clean.target
    moments = Moments(problem, plan.kind)
    for first_example in range(0, examples, BLOCK):
        part = np.arange(first_example, min(first_example + BLOCK, examples))
        step = max(1, BLOCK // len(part))
        for first in range(0, plan.draws, step):
            count = min(step, plan.draws - first)
            att = _draws(inner, problem, plan, target, versus, numbers, stdev, part, first, count)
            moments.add(att, part, first, count)
            done = first_example * plan.draws + len(part) * first
            progress.advance(len(part) * count, examples * plan.draws - done)
    found = moments.finish(plan.draws, att.engine)
    if not inner.uses_baseline:
        found["output"] = clean.output
    return found | {"target": target}


def at_input(inner: Any, problem: Problem, target: Any, versus: Any) -> Any:
    """Saliency at the inputs themselves, with the model and the output of ``inner``: its class and its scalar."""
    from .methods.saliency import Saliency

    plain = Saliency(
        inner.model,
        output=inner.output,
        output_axis=inner.output_axis,
        output_key=inner.output_key,
        layer=inner.layer,
        layer_input=inner.layer_input,
        layer_call=inner.layer_call,
    )
    inputs = problem.assemble(problem.members)
    with quiet_examples():
        return plain(inputs, target, versus=versus, args=problem.args, kwargs=problem.kwargs)


@contextmanager
def quiet_examples() -> Iterator[None]:
    """Without the warnings that number examples: these calls' are not the caller's, or not the last word."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"\d+ of \d+ examples")
        yield


def repeated_arguments(problem: Problem, index: NDArray[np.int64]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Extra arguments of the model for examples ``index`` (R,) in place of all."""
    if not problem.args and not problem.kwargs:
        return (), {}
    import torch

    from .models.arguments import repeat

    where = torch.from_numpy(index).to(problem.kit.device if problem.kit.name == "torch" else "cpu")
    return tuple(repeat(problem.args, problem.examples, where)), repeat(problem.kwargs, problem.examples, where)


def rows_of(value: Any, index: NDArray[np.int64], examples: int) -> Any:
    """A target or baseline for the examples ``index``: what has one entry per example is gathered."""
    if isinstance(value, tuple):
        return tuple(rows_of(entry, index, examples) for entry in value)
    if isinstance(value, list):
        return [value[i] for i in index] if len(value) == examples and examples > 1 else value
    shape: Any = getattr(value, "shape", ())
    return take(value, index) if len(shape) > 0 and shape[0] == examples and examples > 1 else value


def _draws(
    inner: Any,
    problem: Problem,
    plan: SamplePlan,
    target: Any,
    versus: Any,
    ids: NDArray[np.int64],
    stdev: NDArray[np.float64] | None,
    part: NDArray[np.int64],
    first: int,
    count: int,
) -> Any:
    """The inner method on ``count`` draws of the examples ``part``, example-major."""
    index = np.repeat(part, count)
    kit = problem.kit
    members = {key: take(x, index) for key, x in problem.members.items()}
    for t, key in enumerate(problem.attributed):
        if stdev is None:
            continue
        _core.noisy(
            out=(members[key],),
            input=(take(problem.members[key], part),),
            ids=kit.table(ids[part]),
            stdev=kit.table(np.ascontiguousarray(stdev[t, part])),
            draws=plan.draws,
            seed=plan.seed,
            member=t,
            first=first,
            count=count,
        )
    options: dict[str, Any] = {"versus": rows_of(versus, index, problem.examples)}
    if inner.uses_baseline:
        bases = [base if base.shape[0] == 1 else take(base, index) for base in problem.bases]
        options["baseline"] = problem.restore(bases)
    options["args"], options["kwargs"] = repeated_arguments(problem, index)
    options["ids"] = np.repeat(ids[part] * plan.draws, count) + np.tile(np.arange(first, first + count), len(part))
    if isinstance(inner.model, FunctionModel):
        inner = copy.copy(inner)
        inner.model = told_of(inner.model, kit.table(index))
    with quiet_examples():
        return inner(problem.assemble(members), rows_of(target, index, problem.examples), **options)


def told_of(model: FunctionModel, examples: Any) -> FunctionModel:
    """``model`` with the caller's example numbers ``examples`` (R,) in place of those of the draws."""
    return FunctionModel(lambda points, index, scalars: model.value_and_gradient(points, examples[index], scalars))


class Moments:
    """Welford's mean and squared deviations, draw by draw in order, and the sums of what the draws reported."""

    def __init__(self, problem: Problem, kind: str) -> None:
        self.problem = problem
        self.kind = kind
        names = [accumulator_name(dtype_name(x)) for x in problem.inputs]
        shapes = [tuple(x.shape) for x in problem.inputs]
        self.mean = [problem.kit.zeros(s, n) for s, n in zip(shapes, names, strict=True)]
        self.deviation = [problem.kit.zeros(s, "float64") for s in shapes]
        fields = ("gap", "output", "baseline_output", "evaluations", "error", "converged")
        self.totals = {field: np.zeros(problem.examples) for field in fields}

    def add(self, att: Any, part: NDArray[np.int64], first: int, count: int) -> None:
        """Draws first .. first + count - 1 of the examples ``part``."""
        begin, end = int(part[0]), int(part[-1]) + 1
        keys = self.problem.attributed if self.problem.form is not object else [None]
        for t, key in enumerate(keys):
            values = att.values if key is None else att.values[key]
            blocks = values.reshape(len(part), count, *values.shape[1:])
            for j in range(count):
                v = blocks[:, j] ** 2 if self.kind == "squared" else blocks[:, j]
                mean, deviation = self.mean[t][begin:end], self.deviation[t][begin:end]
                before = v - mean
                mean += before / (first + j + 1)
                deviation += self.problem.kit.cast(before, "float64") * (v - mean)
        for field, total in self.totals.items():
            total[begin:end] += np.asarray(getattr(att, field), np.float64).reshape(len(part), count).sum(1)

    def finish(self, n: int, engine: str) -> dict[str, Any]:
        """The fields of the `Attribution`, after ``n`` draws."""
        kit = self.problem.kit
        with np.errstate(invalid="ignore", divide="ignore"):
            scale = np.sqrt(1.0 / np.float64(n * (n - 1))) if n > 1 else np.nan
            errors = [deviation**0.5 * float(scale) for deviation in self.deviation]
        values = self.mean
        if self.kind == "variance":
            values = [kit.cast(d / n, dtype_name(m)) for d, m in zip(self.deviation, self.mean, strict=True)]
        output = self.totals["output"] / n
        spread = np.sum([_sums(abs(error)) for error in errors], axis=0)
        norm = np.sum([_sums(abs(value)) for value in values], axis=0)
        if self.kind == "variance":
            spread = np.full(len(output), np.nan)
        certificate = verdict(kit, spread, norm, output)
        gap = self.totals["gap"] / n if self.kind == "mean" else np.full(len(output), np.nan)
        met = self.totals["converged"] == n
        return {
            "values": self.problem.restore(values),
            "standard_error": standard_errors(self.problem, self.kind, errors),
            "gap": kit.report(gap),
            "evaluations": kit.report(self.totals["evaluations"].astype(np.int64)),
            "output": kit.report(output),
            "baseline_output": kit.report(self.totals["baseline_output"] / n),
            "engine": engine,
            "error": certificate["error"],
            "converged": kit.report(np.asarray(certificate["converged"]) & met),
        }


def _sums(values: Any) -> NDArray[np.float64]:
    """(B,) sums over features in float64."""
    flat = values.reshape(values.shape[0], -1)
    if is_torch(flat):
        return flat.double().sum(1).cpu().numpy()
    return flat.astype(np.float64).sum(1)
