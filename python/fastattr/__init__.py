"""fastattr: feature attributions of PyTorch models, with error bars, in bounded memory.

>>> import fastattr as fa
>>> att = fa.IntegratedGradients(model)(x, target=3)  # doctest: +SKIP
>>> att.values, att.error, att.gap  # doctest: +SKIP
"""

from __future__ import annotations

from . import baselines
from ._core import BackendError
from .adversarial import Adversarial, adversarial
from .attribution import Attribution
from .config import set_num_threads, show_config
from .methods import (
    AGI,
    ExpectedGradients,
    GradientShap,
    InputXGradient,
    IntegratedGradients,
    PathIntegratedGradients,
    Saliency,
    SmoothGrad,
)
from .models.dense import DenseModel
from .models.function import FunctionModel
from .problem import shared

__version__ = "0.1.0.dev0"

__all__ = [
    "AGI",
    "GANMEX",
    "Adversarial",
    "Attribution",
    "BackendError",
    "DenseModel",
    "ExpectedGradients",
    "FunctionModel",
    "GradientShap",
    "InputXGradient",
    "IntegratedGradients",
    "PathIntegratedGradients",
    "Saliency",
    "SmoothGrad",
    "__version__",
    "adversarial",
    "baselines",
    "datasets",
    "set_num_threads",
    "shared",
    "show_config",
]


def __getattr__(name: str) -> object:
    import importlib

    if name in ("datasets", "visualize", "reference"):
        return importlib.import_module(f".{name}", __name__)
    if name == "GANMEX":  # imports torch
        return importlib.import_module(".ganmex", __name__).GANMEX
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
