"""Baselines: where the path of an attribution starts, and so what an input is compared with.

All have ``baseline(x, target)``, by hand or as ``baseline=`` of a method; so has a fitted `fastattr.GANMEX`. `MDTS` and
GANMEX depend on a class, which is that of ``versus`` unless ``.towards(c)`` fixes it.
"""

from __future__ import annotations

from .base import Baseline, Pinned
from .mdts import MDTS
from .random import DataSet, Gaussian, RandomBaseline, Uniform
from .simple import Blur, Maximum, Mean, Zero

__all__ = [
    "MDTS",
    "Baseline",
    "Blur",
    "DataSet",
    "Gaussian",
    "Maximum",
    "Mean",
    "Pinned",
    "RandomBaseline",
    "Uniform",
    "Zero",
]
