"""The attribution methods, one a file, named as in their papers."""

from __future__ import annotations

from .input_x_gradient import InputXGradient
from .integrated_gradients import IntegratedGradients
from .saliency import Saliency

__all__ = ["InputXGradient", "IntegratedGradients", "Saliency"]
