"""Integrated Gradients along a path of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..engine import Plan, explain
from ..paths import CallablePath, explain_polyline
from ..problem import Problem
from ..progress import Progress
from .base import GradientMethod
from .integrated_gradients import quadrature_plan


class PathIntegratedGradients(GradientMethod):
    """Integral over a in [0, 1] of df_t(g(a))/dg_i dg_i/da along a path g (Sundararajan et al., ICML 2017, sec. 3).

    Parameters
    ----------
    model : torch.nn.Module, callable or FunctionModel
    path : array (V, B, ...) or callable
        A polyline: its vertices, of which the last must equal ``inputs``; a tuple or dict of such where the inputs are.
        Or ``path(inputs, baseline, alpha, index) -> points``: for alpha (R,) and example numbers index (R,) the points
        (R, ...) on the paths, with g(0) and g(1) at their ends; tuples throughout for several inputs.
    steps, rule, tolerance
        As in `IntegratedGradients`; per segment for polylines, whose segments of one example stop together.
    tangent : callable, optional
        ``tangent(inputs, baseline, alpha, index)``: dg/da (R, ...) of a callable path. Default: by torch.func.jvp.
    **options
        The common options of `GradientMethod`.

    Notes
    -----
    With ``layer`` vertices are inputs as ever, joined by straight lines between the layer's activations there; a
    callable path is one of activations.
    ``gap`` is sum A - (f(last) - f(first)). The bar of a polyline sums the nested differences over its segments.
    A callable path may end anywhere: ``output`` and ``baseline_output`` are the model's at g(1) and g(0), which are the
    inputs and the baseline only if the path says so.

    Examples
    --------
    >>> import torch, fastattr as fa
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).eval()
    >>> x = torch.randn(5, 4)
    >>> corner = torch.cat([x[:, :2], torch.zeros(5, 2)], 1)
    >>> att = fa.PathIntegratedGradients(model, torch.stack([torch.zeros_like(x), corner, x]))(x, target=2)
    >>> bool(att.converged.all())
    True
    >>> curve = lambda x, base, a, i: base[i] + a[:, None] ** 2 * (x - base)[i]
    >>> att = fa.PathIntegratedGradients(model, curve)(x, target=2, baseline=0.0)
    """

    def __init__(
        self,
        model: Any,
        path: Any,
        *,
        steps: int | str = "auto",
        rule: str | None = None,
        tolerance: float = 0.01,
        tangent: Callable[..., Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(model, **options)
        self.path = path
        self.steps = steps
        self.rule = rule
        self.tolerance = tolerance
        self.tangent = tangent
        self.uses_baseline = callable(path)

    def _plan(self) -> Plan:
        return quadrature_plan(self.steps, self.rule, self.tolerance)

    def _enter(self, part: Any, lower: Any) -> None:
        super()._enter(part, lower)
        if not callable(self.path):
            self.path = lower.vertices(self.path)

    def _run(self, problem: Problem, target: Any, versus: Any, ids: Any, progress: Progress) -> dict[str, Any]:
        if callable(self.path):
            curve = CallablePath(self._adapter(), problem, self.path, self.tangent)
            return explain(curve, curve.problem, self._plan(), target, versus, self.rows, progress)
        return explain_polyline(self, self._adapter(), problem, self._plan(), self.path, target, versus, progress)

    def _check_options(self) -> None:
        super()._check_options()
        if self.tangent is not None and not callable(self.path):
            raise ValueError("tangent: expected with a callable path only; a polyline has its own")
        if self.tangent is not None and not callable(self.tangent):
            raise TypeError(f"tangent: expected a callable, got {type(self.tangent).__name__}")
