"""AGI along straight lines: Integrated Gradients from the end points of adversarial paths."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import accumulator_name, dtype_name, take
from ..ascending import Ascended
from ..models.function import FunctionModel
from ..problem import Problem
from ..smoothing import quiet_examples, repeated_arguments, told_of
from .base import GradientMethod
from .integrated_gradients import IntegratedGradients

if TYPE_CHECKING:
    from .agi import AGI

_BLOCK = 64
"""Lines that are integrated as one batch: enough to fill chunks, few enough for their accumulators."""
Table = NDArray[np.float64]


def integrate_lines(
    method: AGI, problem: Problem, targets: NDArray[np.int64], goals: NDArray[np.int64], found: Ascended
) -> tuple[list[Any], Table, Table, Table, NDArray[np.int64]]:
    """Values, gaps (B, k), f_t at the input (B,) and at the ends (B, k), and gradients (B,) that they took."""
    assert found.ends is not None
    kit, (examples, k) = problem.kit, goals.shape
    keep = method.reduce == "none"
    values = [
        kit.zeros((examples, k, *x.shape[1:]) if keep else tuple(x.shape), accumulator_name(dtype_name(x)))
        for x in problem.inputs
    ]
    gap, output, final = np.empty(examples * k), np.empty(examples * k), np.empty(examples * k)
    gradients = np.zeros(examples, np.int64)
    for first in range(0, examples * k, _BLOCK):
        lines = np.arange(first, min(first + _BLOCK, examples * k))
        att = _integrate(method, problem, found.ends, targets, lines, k)
        parts = _members(problem, att.values)
        for whole, part in zip(values, parts, strict=True):
            if keep:
                whole.reshape(examples * k, *whole.shape[2:])[first : first + len(lines)] = part
                continue
            for i, line in enumerate(lines):  # in ascending order of the classes
                whole[line // k] += part[i] / (k if method.reduce == "mean" else 1)
        gap[lines], output[lines], final[lines] = (
            np.asarray(field) for field in (att.gap, att.output, att.baseline_output)
        )
        np.add.at(gradients, lines // k, np.asarray(att.evaluations))
    return values, gap.reshape(examples, k), output[::k].copy(), final.reshape(examples, k), gradients


def _integrate(
    method: AGI, problem: Problem, ends: list[Any], targets: NDArray[np.int64], lines: NDArray[np.int64], k: int
) -> Any:
    """Integrated Gradients from the ends of the paths ``lines`` to their examples."""
    index = lines // k
    common = ("output", "rows", "engine", "optimize", "layer", "output_axis", "output_key")
    options = {name: getattr(method, name) for name in common}
    inner: GradientMethod = IntegratedGradients(method.model, **options)
    if isinstance(method.model, FunctionModel):
        inner = copy.copy(inner)
        inner.output = "raw"
        inner.model = told_of(method.model, problem.kit.table(index))
    members = {key: take(x, index) for key, x in problem.members.items()}
    bases = [take(x.reshape(-1, *x.shape[2:]), lines) for x in ends]
    args, kwargs = repeated_arguments(problem, index)
    with quiet_examples():
        return inner(
            problem.assemble(members), targets[index], baseline=problem.restore(bases), args=args, kwargs=kwargs
        )


def _members(problem: Problem, values: Any) -> list[Any]:
    """The T attributed members of values in the form of the inputs."""
    if problem.form is object:
        return [values]
    return [values[key] for key in problem.attributed]
