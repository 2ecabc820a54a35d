"""Attribution maps to [0, 1] (how strong) and to [-1, 1] (how strong, for or against).

Letters: B maps, C channels, H rows, W columns. Percentiles are of one map, as in Pan, Li, Zhu (AGI, IJCAI 2021,
sec. 5.1): clip to the [80th, 99th] percentile, then scale to [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .convert import to_float

Array = NDArray[np.float64]
Channels = Literal["sum", "mean", "abs"]

_REDUCE: dict[str, Callable[[Array], Array]] = {
    "sum": lambda a: np.asarray(a.sum(axis=-3)),
    "mean": lambda a: np.asarray(a.mean(axis=-3)),
    "abs": lambda a: np.asarray(np.abs(a).sum(axis=-3)),
}


def reduce_channels(values: Any, channels: Channels = "sum") -> Array:
    """One number per pixel.

    Parameters
    ----------
    values : (H, W), (C, H, W) or (B, C, H, W)
        A map without channels is its own sum and mean; "abs" takes its absolute value.
    channels : {"sum", "mean", "abs"}
        Over the channels: the sum, the mean, or the sum of absolute values.

    Returns
    -------
    (H, W) or (B, H, W) float64

    Raises
    ------
    ValueError
        Another number of axes, no pixels or channels, or an unknown ``channels``.
    """
    array = to_float(values, "values")
    if channels not in _REDUCE:
        raise ValueError(f"channels: expected one of {', '.join(_REDUCE)}, got {channels!r}")
    if array.ndim not in (2, 3, 4) or 0 in array.shape[-3:]:
        raise ValueError(f"values: expected shape (H, W), (C, H, W) or (B, C, H, W), got {array.shape}")
    return _REDUCE[channels](array[None] if array.ndim == 2 else array)


def normalize(
    values: Any,
    *,
    channels: Channels = "sum",
    percentiles: tuple[float, float] = (80.0, 99.0),
    symmetric: bool = False,
) -> Array:
    """A heatmap in [0, 1]: channels reduced, clipped to two percentiles of the map, scaled.

    Parameters
    ----------
    values : (H, W), (C, H, W) or (B, C, H, W)
        Each map of a batch is clipped and scaled on its own.
    channels : {"sum", "mean", "abs"}
        See `reduce_channels`.
    percentiles : (low, high)
        0 <= low < high <= 100. Where both fall on one value (sparse maps) the upper end is the maximum instead, and
        where that is the same value too, the lower end is the minimum.
    symmetric : bool
        Clip to [-s, s] instead, s the ``high`` percentile of the absolute map: zero becomes 0.5.

    Returns
    -------
    (H, W) or (B, H, W) float64
        Never NaN: a constant map gives zeros, NaN elements give 0, infinite ones the end they lie at.

    Raises
    ------
    ValueError
        A shape without pixels or of another number of axes, or percentiles out of order.
    """
    low, high = percentiles
    if not 0 <= low < high <= 100:
        raise ValueError(f"percentiles: expected 0 <= low < high <= 100, got {percentiles}")
    maps = reduce_channels(values, channels)
    if maps.ndim == 3:
        return np.array([_heat(m, low, high, symmetric) for m in maps]).reshape(maps.shape)
    return _heat(maps, low, high, symmetric)


def normalize_signed(
    values: Any, *, channels: Channels = "sum", percentile: float = 99.0, scale: float | None = None
) -> Array:
    """A signed map in [-1, 1], zero staying zero: what speaks for (positive) and against (negative).

    Parameters
    ----------
    values : (H, W), (C, H, W) or (B, C, H, W)
    channels : {"sum", "mean", "abs"}
        See `reduce_channels`.
    percentile : float
        Of the absolute map, drawn as 1; more is clipped. Maps where it is zero use their maximum.
    scale : float, optional
        The value drawn as 1 in every map, in the unit of ``values``: see `shared_scale`. None: each map its own.

    Returns
    -------
    (H, W) or (B, H, W) float64
        Never NaN: zero maps stay zero, NaN elements give 0.

    Raises
    ------
    ValueError
        A shape without pixels or of another number of axes, a negative or NaN scale, a percentile outside 0..100.
    """
    maps = reduce_channels(values, channels)
    if scale is not None and not scale >= 0:
        raise ValueError(f"scale: expected a number >= 0, got {scale}")
    if maps.ndim == 3:
        return np.array([_signed(m, percentile, scale) for m in maps]).reshape(maps.shape)
    return _signed(maps, percentile, scale)


def shared_scale(*values: Any, channels: Channels = "sum", percentile: float = 99.0) -> float:
    """One scale for maps that are compared: the percentile of all their absolute values together.

    Parameters
    ----------
    *values : (H, W), (C, H, W) or (B, C, H, W)
    channels, percentile
        As in `normalize_signed`.

    Returns
    -------
    float
        In the unit of ``values``; 0 if all of them are zero.
    """
    parts = [reduce_channels(v, channels).ravel() for v in values]
    return _absolute_percentile(np.concatenate(parts) if parts else np.zeros(0), percentile)


def _absolute_percentile(flat: Array, percentile: float) -> float:
    if not 0 <= percentile <= 100:
        raise ValueError(f"percentile: expected a number from 0 to 100, got {percentile}")
    finite = np.abs(flat[np.isfinite(flat)])
    if finite.size == 0:
        return 0.0
    return float(np.percentile(finite, percentile)) or float(finite.max())


def _signed(a: Array, percentile: float, scale: float | None) -> Array:
    scale = _absolute_percentile(a.ravel(), percentile) if scale is None else float(scale)
    if scale == 0:
        return np.zeros_like(a)
    return np.nan_to_num(np.clip(a, -scale, scale) / scale)


def _heat(a: Array, low: float, high: float, symmetric: bool) -> Array:
    finite = a[np.isfinite(a)]
    if finite.size == 0 or finite.min() == finite.max():
        return np.zeros_like(a)
    unit = float(np.abs(finite).max())  # so that differences of huge numbers stay finite
    a, finite = a / unit, finite / unit
    if symmetric:
        top = _absolute_percentile(finite, high)
        bottom = -top
    else:
        bottom, top = (float(p) for p in np.percentile(finite, [low, high]))
        if top <= bottom:
            top = float(finite.max())
        if top <= bottom:
            bottom = float(finite.min())
    return np.nan_to_num((np.clip(a, bottom, top) - bottom) / (top - bottom))
