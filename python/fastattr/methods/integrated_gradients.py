"""Integrated Gradients with an error bar on the attribution."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..engine import Plan
from .base import GradientMethod, is_count

RULES = ("nested", "gauss_legendre", "midpoint", "trapezoid", "left", "right")


class IntegratedGradients(GradientMethod):
    """(x - x') * integral over a in [0, 1] of df_t(x' + a (x - x'))/dx (Sundararajan et al., ICML 2017).

    Parameters
    ----------
    model : torch.nn.Module, callable or FunctionModel
    steps : "auto", "exact" or int
        "auto": nested nodes 15, 31, 63, ... until the example's own error bar is below ``tolerance`` or ``max_steps``
        is reached; every gradient is computed once. An int: that many nodes of ``rule``, for all examples. "exact": the
        integral in closed form, in float64, without a gradient, for raw outputs of native dense networks (see
        ``engine``) with one hidden layer (no softplus of a threshold below 16, which jumps there), or with two of ReLU
        or LeakyReLU; "auto" does so where it can.
    rule : {None, "nested", "gauss_legendre", "midpoint", "trapezoid", "left", "right"}
        None means nested for "auto" and Gauss-Legendre for a number. "nested" with a number wants 2**k - 1, k >= 3.
    tolerance : float
        Wanted L1 error of the attribution as a share of its L1 norm. For fixed rules only ``converged`` uses it.
    max_steps : int
        Cap of "auto"; the largest 2**k - 1 up to it is used.
    multiply_by_inputs : bool
        False returns the integral alone, whose sum promises nothing: ``gap`` is NaN.
    **options
        The common options of `GradientMethod`.

    Notes
    -----
    The bar of "auto" is max(|A_new - A_old|_1, 2 |gap|) / |A_new|_1, where A_old is the rule with half the nodes and
    gap the difference between the sum of A and f(x) - f(x'). The gap is a rigorous lower bound of the error; the nested
    difference also catches errors that cancel in the sum. ``evaluations`` counts gradients; the two end points that
    the gap needs are evaluated besides. In closed form ``error`` bounds the rounding. Memory does not grow with the
    number of steps.

    Examples
    --------
    >>> import torch, fastattr as fa
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).eval()
    >>> att = fa.IntegratedGradients(model)(torch.randn(5, 4), target=2)
    >>> att.values.shape, bool(att.converged.all())
    (torch.Size([5, 4]), True)
    """

    uses_baseline = True

    def __init__(
        self,
        model: Any,
        *,
        steps: int | str = "auto",
        rule: str | None = None,
        tolerance: float = 0.01,
        max_steps: int = 255,
        multiply_by_inputs: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(model, **options)
        self.steps = steps
        self.rule = rule
        self.tolerance = tolerance
        self.max_steps = max_steps
        self.multiply_by_inputs = multiply_by_inputs

    def _plan(self) -> Plan:
        exact, steps = "no", self.steps
        if isinstance(steps, str) and steps in ("auto", "exact") and self.rule is None and self.engine != "callback":
            exact, steps = ("may" if steps == "auto" else "must"), "auto"
        multiply = bool(self.multiply_by_inputs)
        plan = quadrature_plan(steps, self.rule, self.tolerance, max_steps=self.max_steps, multiply=multiply)
        return replace(plan, exact=exact) if exact != "no" else plan


def quadrature_plan(steps: Any, rule: Any, tolerance: Any, *, max_steps: Any = 255, multiply: bool = True) -> Plan:
    """The plan of an integral from these options; raises on options out of range."""
    adaptive = isinstance(steps, str) and steps == "auto"
    if rule is not None and rule not in RULES:
        raise ValueError(f"rule: expected None or one of {RULES}, got {rule!r}")
    if not adaptive and not (is_count(steps) and int(steps) < 2**31):
        raise ValueError(f'steps: expected "auto" or an int from 1 to 2**31 - 1, got {steps!r}')
    if adaptive and rule not in (None, "nested"):
        raise ValueError(f'rule: steps="auto" needs the nested rule, got {rule!r}; pass a number of steps')
    if not isinstance(tolerance, (int, float, np.floating)) or not 0 < tolerance < 1:
        raise ValueError(f"tolerance: expected a share between 0 and 1, got {tolerance!r}")
    if adaptive and (not is_count(max_steps) or not 15 <= max_steps < 2**15):
        raise ValueError(f"max_steps: expected an int from 15 to 32767, got {max_steps!r}")
    name = rule or ("nested" if adaptive else "gauss_legendre")
    number = int(max_steps if adaptive else steps)
    if name == "nested" and not adaptive and (number < 7 or (number + 1) & number):
        raise ValueError(f"steps: the nested rule wants 7, 15, 31, ... (2**k - 1, k >= 3), got {number}")
    return Plan(
        rule=name, steps=number, adaptive=adaptive, tolerance=float(tolerance), completeness=True, multiply=multiply
    )
