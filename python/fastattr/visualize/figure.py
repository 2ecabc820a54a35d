"""Figures: grids of pictures with one shared scale, contours, bars. matplotlib is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .colors import colorize
from .convert import to_display, to_float
from .normalize import Channels, normalize, normalize_signed, shared_scale
from .overlay import overlay

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .canvas import Picture

INK = "#333333"
LEGEND = ("against", "for")


def new_figure(width: float, height: float) -> Picture:
    """An empty figure of that many inches.

    Raises
    ------
    ImportError
        matplotlib is not installed; the message says how to get it.
    """
    try:
        from .canvas import Picture
    except ImportError as error:
        raise ImportError("figures need matplotlib: pip install 'fastattr[plot]'") from error
    return Picture(width, height)


def panels(
    pictures: Sequence[Any],
    *,
    titles: Sequence[str] | None = None,
    columns: int | None = None,
    scale: float | None = None,
    cmap: str = "blue_orange",
    legend: tuple[str, str] = LEGEND,
    size: float = 2.1,
) -> Picture:
    """Ready colours side by side, pixels crisp, with one colour bar for all of them.

    Parameters
    ----------
    pictures : sequence of (H, W, 3)
        sRGB in [0, 1], as `overlay` and `colorize` give them.
    titles : sequence of str, optional
        One for each picture.
    columns : int, optional
        Default: all in one row, at most six.
    scale : float, optional
        The value at the ends of the colour bar; None: no bar.
    cmap : str
        As in `colorize`.
    legend : (str, str)
        Words at the two ends of the bar.
    size : float
        Inches of one picture.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        No pictures, another shape, or not one title for each.
    """
    arrays = [to_float(p, "pictures") for p in pictures]
    if not arrays:
        raise ValueError("pictures: expected at least one, got none")
    for a in arrays:
        if a.ndim != 3 or a.shape[-1] != 3:
            raise ValueError(f"pictures: expected shape (H, W, 3), got {a.shape}")
    _one_each("titles", titles, len(arrays))
    across = min(len(arrays), 6) if columns is None else columns
    if across < 1:
        raise ValueError(f"columns: expected at least 1, got {columns}")
    down = ceil(len(arrays) / across)
    figure = new_figure(across * size + (0.9 if scale is not None else 0.1), down * (size + (0.35 if titles else 0.05)))
    axes = figure.subplots(down, across, squeeze=False)
    for i, ax in enumerate(axes.flat):
        ax.set_axis_off()
        if i < len(arrays):
            ax.imshow(np.clip(arrays[i], 0, 1), interpolation="nearest")
            if titles:
                ax.set_title(titles[i], fontsize=9, color=INK)
    if scale is not None:
        _colorbar(figure, axes, scale, cmap, legend)
    return figure


def grid(
    maps: Sequence[Any] | NDArray[Any],
    *,
    images: Sequence[Any] | NDArray[Any] | None = None,
    titles: Sequence[str] | None = None,
    columns: int | None = None,
    channels: Channels = "sum",
    percentile: float = 99.0,
    shared: bool = True,
    cmap: str = "blue_orange",
    legend: tuple[str, str] = LEGEND,
    size: float = 2.1,
) -> Picture:
    """Signed maps side by side, by default on one shared scale.

    Parameters
    ----------
    maps : sequence of (H, W) or (C, H, W)
        Or one array (B, C, H, W).
    images : sequence of (H, W), (1, H, W) or (3, H, W), optional
        Laid under the maps, see `overlay`.
    channels, percentile
        As in `normalize_signed`.
    shared : bool
        False gives each map its own scale, and no colour bar: colours of different maps cannot be compared then.
    titles, columns, cmap, legend, size
        As in `panels`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        No maps, or not one image or title for each.
    """
    if len(maps) == 0:
        raise ValueError("maps: expected at least one, got none")
    _one_each("images", images, len(maps))
    scale = shared_scale(*maps, channels=channels, percentile=percentile) if shared else None
    pictures = []
    for i, values in enumerate(maps):
        if images is None:
            signed = normalize_signed(values, channels=channels, percentile=percentile, scale=scale)
            pictures.append(colorize(signed, cmap))
        else:
            pictures.append(
                overlay(images[i], values, channels=channels, percentile=percentile, scale=scale, cmap=cmap)
            )
    return panels(pictures, titles=titles, columns=columns, scale=scale, cmap=cmap, legend=legend, size=size)


def contour_overlay(
    image: Any,
    values: Any,
    *,
    levels: Sequence[float] = (0.5,),
    channels: Channels = "sum",
    percentiles: tuple[float, float] = (80.0, 99.0),
    title: str | None = None,
    size: float = 3.2,
) -> Picture:
    """The image with lines around what matters.

    Parameters
    ----------
    image : (H, W), (1, H, W) or (3, H, W)
    values : (H, W) or (C, H, W)
        At least 2 x 2 pixels.
    levels : sequence of float
        Heights of the heatmap in [0, 1] that get a line.
    channels, percentiles
        As in `normalize`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        Image and map of different height and width, or fewer than 2 x 2 pixels.
    """
    heat = normalize(values, channels=channels, percentiles=percentiles)
    picture = to_display(image)
    if heat.ndim != 2 or min(heat.shape) < 2 or picture.shape[:2] != heat.shape:
        raise ValueError(f"image: expected one map's height and width, {heat.shape}, got {picture.shape[:2]}")
    figure = new_figure(size, size + (0.3 if title else 0))
    ax = figure.subplots()
    ax.set_axis_off()
    ax.imshow(picture, interpolation="nearest")
    if heat.min() < heat.max():
        ax.contour(heat, levels=sorted(levels), colors="white", linewidths=3.2)  # white under colour: seen on any image
        ax.contour(heat, levels=sorted(levels), colors="#e2761b", linewidths=1.6)
    if title:
        ax.set_title(title, fontsize=9, color=INK)
    return figure


def bars(
    rows: Any,
    *,
    names: Sequence[str] | None = None,
    titles: Sequence[str] | None = None,
    most: int = 12,
    cmap: str = "blue_orange",
    size: float = 3.4,
) -> Picture:
    """Attributions of tabular examples, the strongest features on top, one shared scale.

    Parameters
    ----------
    rows : (D,) or (B, D)
    names : sequence of str, optional
        One for each feature.
    titles : sequence of str, optional
        One for each example.
    most : int
        Features drawn, chosen by size in each example.
    cmap : str
        As in `colorize`.
    size : float
        Inches of one example across.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        Another number of axes, nothing to draw, or not one name or title for each.
    """
    table = np.nan_to_num(to_float(rows, "rows"))
    table = table[None] if table.ndim == 1 else table
    if table.ndim != 2 or table.size == 0:
        raise ValueError(f"rows: expected shape (D,) or (B, D) with something in it, got {np.shape(rows)}")
    count, features = table.shape
    _one_each("names", names, features)
    _one_each("titles", titles, count)
    labels = [f"feature {i}" for i in range(features)] if names is None else [str(n) for n in names]
    across = min(count, 4)
    down = ceil(count / across)
    shown = min(most, features)
    figure = new_figure(across * size, down * (0.8 + 0.24 * shown))
    grid_axes: list[Axes] = list(figure.subplots(down, across, squeeze=False, sharex=True).flat)
    colors = colorize(np.array([-0.66, 0.66]), cmap)
    for i, ax in enumerate(grid_axes):
        if i >= count:
            ax.set_axis_off()
            continue
        order = np.argsort(-np.abs(table[i]), kind="stable")[:shown]
        value = table[i][order]
        ax.barh(range(shown), value, color=colors[(value > 0).astype(int)], height=0.72)
        ax.set_yticks(range(shown), [labels[j] for j in order], fontsize=8, color=INK)
        ax.invert_yaxis()
        ax.axvline(0, color=INK, linewidth=0.8)
        ax.tick_params(axis="x", labelsize=8, colors=INK)
        ax.tick_params(axis="y", length=0)
        for side in ("top", "right", "left"):
            ax.spines[side].set_visible(False)
        if titles:
            ax.set_title(titles[i], fontsize=9, color=INK)
    return figure


def _one_each(name: str, given: Sequence[Any] | NDArray[Any] | None, count: int) -> None:
    if given is not None and len(given) != count:
        raise ValueError(f"{name}: expected one for each of {count}, got {len(given)}")


def _colorbar(figure: Picture, axes: Any, scale: float, cmap: str, legend: tuple[str, str]) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    end = scale or 1.0
    colors = ListedColormap(colorize(np.linspace(-1, 1, 256), cmap))
    down = len(axes)
    bar = figure.colorbar(
        ScalarMappable(Normalize(-end, end), colors),
        ax=list(axes.flat),
        fraction=0.05,
        aspect=16,
        pad=0.02,
        shrink=min(1.0, 1.8 / down),
        anchor=(0.0, 1.0),
    )
    bar.set_ticks([-end, 0, end], labels=[f"{-end:.2g}\n{legend[0]}", "0", f"{legend[1]}\n{end:.2g}"])
    bar.ax.tick_params(labelsize=8, colors=INK, length=0)
    bar.outline.set_visible(False)
