"""A map laid over the image it explains; NumPy only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .colors import colorize
from .convert import to_display
from .normalize import Channels, normalize, normalize_signed

Array = NDArray[np.float64]


def overlay(
    image: Any,
    values: Any,
    *,
    channels: Channels = "sum",
    percentile: float = 99.0,
    scale: float | None = None,
    cmap: str = "blue_orange",
    strength: float = 1.0,
) -> Array:
    """The image in light grey, coloured where the map speaks for or against.

    The size of a pixel's signed value says how far its colour covers the grey: what does not matter shows the image
    alone, never the near-white that means zero on a map of its own.

    Parameters
    ----------
    image : (H, W), (1, H, W) or (3, H, W)
    values : (H, W) or (C, H, W)
    channels, percentile, scale
        As in `normalize_signed`.
    cmap : str
        As in `colorize`.
    strength : float
        From 0 to 1: how much of the grey the strongest colour covers.

    Returns
    -------
    (H, W, 3) float64
        sRGB in [0, 1].

    Raises
    ------
    ValueError
        Image and map of different height and width, or a strength outside 0..1.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength: expected a number from 0 to 1, got {strength}")
    signed = normalize_signed(values, channels=channels, percentile=percentile, scale=scale)
    light = 0.5 + 0.5 * _fit(image, signed) @ np.array([0.2126, 0.7152, 0.0722])
    size = np.abs(signed)
    color = colorize(np.sign(signed) * (0.5 + 0.5 * size), cmap)
    cover = strength * size[..., None] ** 0.7
    return np.asarray((1 - cover) * light[..., None] + cover * color)


def heatmap_times_input(
    image: Any, values: Any, *, channels: Channels = "sum", percentiles: tuple[float, float] = (80.0, 99.0)
) -> Array:
    """The image, shining through where its heatmap in [0, 1] is strong and black where it is weak.

    Parameters
    ----------
    image : (H, W), (1, H, W) or (3, H, W)
    values : (H, W) or (C, H, W)
    channels, percentiles
        As in `normalize`.

    Returns
    -------
    (H, W, 3) float64
        sRGB in [0, 1].

    Raises
    ------
    ValueError
        Image and map of different height and width.
    """
    heat = normalize(values, channels=channels, percentiles=percentiles)
    return np.asarray(_fit(image, heat) * heat[..., None])


def _fit(image: Any, heat: Array) -> Array:
    picture = to_display(image)
    if heat.ndim != 2 or picture.shape[:2] != heat.shape:
        raise ValueError(f"image: expected height and width of one map, {heat.shape}, got {picture.shape[:2]}")
    return picture
