"""The attribution methods, one a file, named as in their papers."""

from __future__ import annotations

from .agi import AGI
from .expected_gradients import ExpectedGradients
from .gradient_shap import GradientShap
from .input_x_gradient import InputXGradient
from .integrated_gradients import IntegratedGradients
from .path_integrated_gradients import PathIntegratedGradients
from .saliency import Saliency
from .smooth_grad import SmoothGrad

__all__ = [
    "AGI",
    "ExpectedGradients",
    "GradientShap",
    "InputXGradient",
    "IntegratedGradients",
    "PathIntegratedGradients",
    "Saliency",
    "SmoothGrad",
]
