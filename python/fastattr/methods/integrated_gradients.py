"""Integrated Gradients with an error bar on the attribution."""

from __future__ import annotations

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
    steps : "auto" or int
        "auto": nested nodes 15, 31, 63, ... until the example's own error bar is below ``tolerance`` or ``max_steps``
        is reached; every gradient is computed once. An int: that many nodes of ``rule``, for all examples.
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
    the gap needs are evaluated besides. Memory does not grow with the number of steps.

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
        adaptive = isinstance(self.steps, str) and self.steps == "auto"
        if isinstance(self.steps, str) and self.steps == "exact":
            raise NotImplementedError('steps="exact" is not available yet; use "auto"')
        if self.rule is not None and self.rule not in RULES:
            raise ValueError(f"rule: expected None or one of {RULES}, got {self.rule!r}")
        if not adaptive and not (is_count(self.steps) and int(self.steps) < 2**31):
            raise ValueError(f'steps: expected "auto" or an int from 1 to 2**31 - 1, got {self.steps!r}')
        if adaptive and self.rule not in (None, "nested"):
            raise ValueError(f'rule: steps="auto" needs the nested rule, got {self.rule!r}; pass a number of steps')
        if not isinstance(self.tolerance, (int, float, np.floating)) or not 0 < self.tolerance < 1:
            raise ValueError(f"tolerance: expected a share between 0 and 1, got {self.tolerance!r}")
        if adaptive and (not is_count(self.max_steps) or not 15 <= self.max_steps < 2**15):
            raise ValueError(f"max_steps: expected an int from 15 to 32767, got {self.max_steps!r}")
        rule = self.rule or ("nested" if adaptive else "gauss_legendre")
        steps = int(self.max_steps if adaptive else self.steps)
        if rule == "nested" and not adaptive and (steps < 7 or (steps + 1) & steps):
            raise ValueError(f"steps: the nested rule wants 7, 15, 31, ... (2**k - 1, k >= 3), got {steps}")
        return Plan(
            rule=rule,
            steps=steps,
            adaptive=adaptive,
            tolerance=float(self.tolerance),
            completeness=True,
            multiply=bool(self.multiply_by_inputs),
        )
