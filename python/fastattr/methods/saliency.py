"""Saliency: the gradient of the explained output at the input."""

from __future__ import annotations

from typing import Any

from ..engine import Plan
from .base import GradientMethod


class Saliency(GradientMethod):
    """The gradient df_t/dx at the input (Simonyan et al., "Deep inside convolutional networks", 2013).

    Parameters
    ----------
    model : torch.nn.Module, callable or FunctionModel
    absolute : bool
        Return |df_t/dx|; default signed.
    **options
        The common options of `GradientMethod`.

    Notes
    -----
    A gradient promises no sum: ``gap`` and ``baseline_output`` are NaN, ``converged`` only says that all is finite.

    Examples
    --------
    >>> import torch, fastattr as fa
    >>> model = torch.nn.Linear(3, 2).eval()
    >>> att = fa.Saliency(model)(torch.ones(1, 3), target=1)
    >>> torch.equal(att.values[0], model.weight[1].detach())
    True
    """

    def __init__(self, model: Any, *, absolute: bool = False, **options: Any) -> None:
        super().__init__(model, **options)
        self.absolute = absolute

    def _plan(self) -> Plan:
        return Plan(rule="right", steps=1, absolute=bool(self.absolute), completeness=False, multiply=False)
