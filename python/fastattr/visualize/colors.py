"""Diverging colours: what speaks for a class and what against it.

The default runs from blue (against) over near-white to orange (for), told apart by every common colour blindness and
in grey by the sign's position in the legend; red and green must be asked for by name.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .convert import to_float

COLORMAPS: dict[str, tuple[str, ...]] = {
    "blue_orange": ("#08407e", "#2f78b7", "#8fc1e0", "#f6f5f2", "#fbbf7c", "#e2761b", "#8f3d04"),
    "red_green": ("#8b0a1a", "#d0393e", "#f2a59b", "#f6f5f2", "#a6d8a0", "#3a9c52", "#0b5a2b"),
}
"""Anchors from -1 to 1, evenly spaced, as sRGB."""


def colorize(signed: Any, cmap: str = "blue_orange") -> NDArray[np.float64]:
    """Colours of numbers in [-1, 1].

    Parameters
    ----------
    signed : (...)
        Values outside are clipped, NaN is drawn as 0.
    cmap : {"blue_orange", "red_green"}
        The first end means against, the second for.

    Returns
    -------
    (..., 3) float64
        sRGB in [0, 1].

    Raises
    ------
    ValueError
        Unknown ``cmap``.
    """
    if cmap not in COLORMAPS:
        raise ValueError(f"cmap: expected one of {', '.join(COLORMAPS)}, got {cmap!r}")
    anchors = np.array([[int(h[i : i + 2], 16) / 255 for i in (1, 3, 5)] for h in COLORMAPS[cmap]])
    position = np.linspace(-1, 1, len(anchors))
    value = np.nan_to_num(np.clip(to_float(signed, "signed"), -1, 1))
    return np.stack([np.interp(value, position, anchors[:, c]) for c in range(3)], axis=-1)
