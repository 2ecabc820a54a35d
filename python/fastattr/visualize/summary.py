"""An `Attribution` as a figure and as a notebook's HTML."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .colors import colorize
from .convert import to_display, to_numpy
from .figure import bars, grid, panels
from .normalize import Channels, normalize_signed, shared_scale
from .overlay import overlay

if TYPE_CHECKING:
    from ..attribution import Attribution
    from .canvas import Picture

EXAMPLES_IN_FIGURE = 8
EXAMPLES_IN_HTML = 10


def plot(
    attribution: Attribution,
    examples: Sequence[int] | int | None = None,
    *,
    member: int | str | None = None,
    names: Sequence[str] | None = None,
    channels: Channels = "sum",
    percentile: float = 99.0,
    shared: bool = True,
    cmap: str = "blue_orange",
) -> Picture:
    """See `fastattr.Attribution.plot`."""
    values, inputs = attribution._member(member)
    chosen = _choose(examples, len(values))
    titles = [_title(attribution, e) for e in chosen]
    values = values[chosen]
    if values.ndim <= 2:
        return bars(values.reshape(len(chosen), -1), names=names, titles=titles, cmap=cmap)
    values = _maps(values)
    options: dict[str, Any] = {"channels": channels, "percentile": percentile}
    scale = shared_scale(values, **options) if shared else None
    signed = normalize_signed(values, scale=scale, **options)
    if inputs is None or _maps(inputs).shape[1] not in (1, 3):
        pictures, columns = list(colorize(signed, cmap)), min(len(chosen), 4)
        return panels(pictures, titles=titles, columns=columns, scale=scale, cmap=cmap)
    images = [to_display(image) for image in _maps(inputs[chosen])]
    pictures, captions = [], []
    for i, title in enumerate(titles):
        under = np.moveaxis(images[i], -1, 0)
        pictures += [images[i], colorize(signed[i], cmap), overlay(under, values[i], scale=scale, cmap=cmap, **options)]
        captions += [f"example {chosen[i]}", title, "over the input"]
    columns = 3 if len(chosen) <= 2 else 6
    return panels(pictures, titles=captions, columns=columns, scale=scale, cmap=cmap, size=1.8)


def html(attribution: Attribution) -> str:
    """A table of at most ten examples, with their maps if they are images and matplotlib is installed."""
    count = _count(attribution)
    shown = min(count, EXAMPLES_IN_HTML)
    columns = {
        "target": attribution.target,
        "output": attribution.output,
        "baseline output": attribution.baseline_output,
        "gap": attribution.gap,
        "error": attribution.error,
        "evaluations": attribution.evaluations,
        "converged": attribution.converged,
    }
    columns = {name: column for name, column in columns.items() if column is not None}
    style = "style='text-align:right;padding:.15em .6em'"
    cell = f"<td {style}>{{}}</td>".format
    head = "".join(f"<th {style}>{name}</th>" for name in ("example", *columns))
    rows = [
        cell(e) + "".join(cell(_cell(name, row(column, e))) for name, column in columns.items()) for e in range(shown)
    ]
    body = "".join(f"<tr>{r}</tr>" for r in rows)
    more = f"<div>and {count - shown} more</div>" if count > shown else ""
    return (
        f"<div><div>{escape(repr(attribution))}</div>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}{_strip(attribution, shown)}</div>"
    )


def row(column: Any, example: int) -> Any:
    """The entry of ``example``: columns are one value for all, or (B, ...)."""
    if isinstance(column, (int, str)) or column is None:
        return column
    if isinstance(column, tuple):  # one entry for each axis of the output
        return tuple(row(c, example) for c in column)
    array = to_numpy(column)
    return (array[example] if array.ndim else array).tolist()


def _strip(attribution: Attribution, shown: int) -> str:
    try:
        values, inputs = attribution._member()
        if shown == 0 or values.ndim not in (3, 4) or 0 in values.shape:
            return ""
        chosen = list(range(min(shown, EXAMPLES_IN_FIGURE)))
        names = [str(e) for e in chosen]
        maps = _maps(values[chosen])
        images = None if inputs is None or _maps(inputs).shape[1] not in (1, 3) else _maps(inputs[chosen])
        png = grid(maps, images=images, titles=names, columns=len(chosen), size=1.1).png(dpi=90)
    except (ImportError, ValueError):  # no matplotlib, or nothing that is an image
        return ""
    return f"<img alt='attribution maps' src='data:image/png;base64,{base64.b64encode(png).decode()}'>"


def _count(attribution: Attribution) -> int:
    values = attribution.values
    members = values.values() if isinstance(values, dict) else values if isinstance(values, (tuple, list)) else [values]
    return next((int(v.shape[0]) for v in members if v is not None), 0)


def _choose(examples: Sequence[int] | int | None, count: int) -> list[int]:
    if examples is None:
        examples = range(min(count, EXAMPLES_IN_FIGURE))
    chosen = [int(e) for e in np.atleast_1d(np.asarray(examples, dtype=np.int64))]
    wrong = [e for e in chosen if not -count <= e < count]
    if wrong or not chosen:
        raise ValueError(f"examples: expected numbers from 0 to {count - 1}, got {wrong or 'none'}")
    return [e % count for e in chosen]


def _maps(values: NDArray[Any]) -> NDArray[Any]:
    """(B, C, H, W) of (B, H, W) or (B, C, H, W)."""
    if values.ndim not in (3, 4):
        raise ValueError(f"values: expected shape (B, D), (B, H, W) or (B, C, H, W) to draw, got {values.shape}")
    return values[:, None] if values.ndim == 3 else values


def _title(attribution: Attribution, example: int) -> str:
    target = row(attribution.target, example)
    error = row(attribution.error, example)
    title = "attribution" if target is None else f"target {target}"
    return f"{title}, error {error:.1%}" if error is not None and np.isfinite(error) else title


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.2%}" if name == "error" else f"{value:.4g}"
    return escape(str(value))
