"""Warnings that point at the caller's line, however deep in the library they arise."""

from __future__ import annotations

import contextlib
import sys
import warnings
from pathlib import Path

_HERE = str(Path(__file__).parent)
_PASSED_THROUGH = (_HERE, contextlib.__file__)


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the innermost frame outside fastattr."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PASSED_THROUGH):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
