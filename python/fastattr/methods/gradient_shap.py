"""GradientShap: Expected Gradients with noise on the input."""

from __future__ import annotations

from typing import Any

from .base import check_spread
from .expected_gradients import ExpectedGradients


class GradientShap(ExpectedGradients):
    """Expected Gradients at noisy inputs x + N(0, s^2) (Lundberg and Lee, NeurIPS 2017; the SHAP library).

    Parameters
    ----------
    model, references, samples, stratified, seed
        As in `ExpectedGradients`.
    noise : float
        s as a share of max(x) - min(x), per example and input.
    **options
        The common options of `GradientMethod`.

    Notes
    -----
    ``gap`` is against f at the input without noise, so with noise it does not vanish as ``samples`` grow.
    """

    def __init__(
        self,
        model: Any,
        references: Any,
        *,
        samples: int = 100,
        stratified: bool = True,
        seed: int = 0,
        noise: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(model, references, samples=samples, stratified=stratified, seed=seed, **options)
        self.noise = noise

    def _noise(self) -> float:
        return float(self.noise)

    def _check_options(self) -> None:
        super()._check_options()
        check_spread("noise", self.noise)
