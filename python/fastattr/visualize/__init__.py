"""Pictures of attributions: maps to numbers in [0, 1] or [-1, 1], numbers to colours, colours to figures.

Everything takes NumPy arrays or tensors of shape (H, W), (C, H, W) or (B, C, H, W). Only the functions that return a
figure need matplotlib (``pip install fastattr[plot]``), and import it when called.
"""

from __future__ import annotations

from .colors import COLORMAPS, colorize
from .figure import bars, contour_overlay, grid, panels
from .normalize import normalize, normalize_signed, reduce_channels, shared_scale
from .overlay import heatmap_times_input, overlay

__all__ = [
    "COLORMAPS",
    "bars",
    "colorize",
    "contour_overlay",
    "grid",
    "heatmap_times_input",
    "normalize",
    "normalize_signed",
    "overlay",
    "panels",
    "reduce_channels",
    "shared_scale",
]
