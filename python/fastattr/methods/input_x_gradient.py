"""InputXGradient: the gradient times the input."""

from __future__ import annotations

from ..engine import Plan
from .base import GradientMethod


class InputXGradient(GradientMethod):
    """x * df_t/dx (Shrikumar et al., "Not just a black box", 2016).

    For a network that is piecewise linear without biases this is the whole output, feature by feature; otherwise it
    promises no sum and ``gap`` is NaN.

    Parameters
    ----------
    model : torch.nn.Module, callable or FunctionModel
    **options
        The common options of `GradientMethod`.
    """

    def _plan(self) -> Plan:
        return Plan(rule="right", steps=1, completeness=False, multiply=True)
