"""Baselines from a generative adversarial network whose class discriminator is the explained classifier."""

from __future__ import annotations

from .ganmex import GANMEX, Edit
from .report import Line, Report

__all__ = ["GANMEX", "Edit", "Line", "Report"]
