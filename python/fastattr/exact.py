"""Integrated Gradients in closed form, for small dense networks; see csrc/engine/exact.c."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from .arrays import EPS, accumulator_name, dtype_name
from .engine import warn_of_nonfinite
from .problem import Problem
from .targets import check_different

REASON = (
    'steps: "exact" wants a native network of one hidden layer, or of two with ReLU or LeakyReLU, raw outputs and one '
    "input; got another"
)


def integrate_exactly(
    session: Any, problem: Problem, table: NDArray[np.int64], predict: bool, multiply: bool, tolerance: float
) -> dict[str, Any] | None:
    """The fields of the `Attribution` but its target, and the table with the predicted classes; None if it cannot."""
    network = session.exact() if hasattr(session, "exact") else None
    if network is None:
        return None
    kit, x, base = problem.kit, problem.inputs[0], problem.bases[0]
    if predict:
        table[:, 0] = session.predicted()
        if (table[:, 1] >= 0).any():
            check_different(table[:, 0], table[:, 1])
    values = kit.empty(tuple(x.shape), "float64")
    wide = kit.cast(x, "float64"), kit.cast(base, "float64")
    output, base_output, sums = _core.exact(network, (wide[0],), (wide[1],), (table,), (values,), multiply)
    total, norm, rounding = sums.reshape(-1, 3).T
    gap = total - (output - base_output)
    size = rounding + EPS[accumulator_name(dtype_name(x))] / 2 * norm  # of the sums, and of the values as returned
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.where(norm == 0, 0.0, size / norm)  # rounding makes no zeros of all
        converged = (error <= tolerance) | (size <= 16 * EPS["float64"] * np.maximum(abs(output), abs(base_output)))
    finite = np.isfinite(total + norm + output + base_output)
    warn_of_nonfinite(~finite)
    session.finish()
    return {
        "values": problem.restore([kit.cast(values, accumulator_name(dtype_name(x)))]),
        "gap": kit.report(gap if multiply else np.full(len(gap), np.nan)),
        "error": kit.report(error),
        "evaluations": kit.report(np.zeros(len(gap), np.int64)),
        "converged": kit.report(converged & finite),
        "output": kit.report(output),
        "baseline_output": kit.report(base_output),
        "engine": session.describe(0).replace(", 0 rows)", ", exact)"),
    }
