"""Digits and maps as inline SVG: crisp at any size, colours from the page's style sheet, a tip on every pixel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..visualize import normalize_signed

CELL = 10
Pixels = NDArray[np.float64]


def digit(image: Pixels, label: str) -> str:
    """Ink (H, W) in [0, 1] as squares of the text's colour."""
    cells = [
        f'<rect class="ink" {_place(r, c)} fill-opacity="{ink:.2f}"/>'
        for (r, c), ink in np.ndenumerate(image)
        if ink > 0
    ]
    return _frame("".join(cells), image.shape, label)


def attribution(values: Pixels, image: Pixels, scale: float, label: str) -> str:
    """A signed map (H, W), ``scale`` drawn in full colour, the outline of the ink over it."""
    signed = normalize_signed(values, scale=scale)
    cells = []
    for (r, c), v in np.ndenumerate(signed):
        tip = f"<title>row {r + 1}, column {c + 1}: ink {image[r, c]:.2f}, {values[r, c]:+.2f}</title>"
        side = "for" if v > 0 else "against"
        cells.append(f'<rect class="{side}" {_place(r, c)} fill-opacity="{abs(v) ** 0.8:.3f}">{tip}</rect>')
    return _frame("".join(cells) + f'<path class="outline" d="{outline(image)}"/>', image.shape, label)


def heat(values: Pixels, label: str) -> str:
    """A heatmap (H, W) in [0, 1]: how strong, not for or against."""
    cells = [
        f'<rect class="for" {_place(r, c)} fill-opacity="{v:.2f}"/>' for (r, c), v in np.ndenumerate(values) if v > 0
    ]
    return _frame("".join(cells), values.shape, label)


def outline(image: Pixels, threshold: float = 0.4) -> str:
    """Path along the pixel edges where ink above ``threshold`` meets less."""
    ink = np.pad(image > threshold, 1)
    down = np.argwhere(ink[1:-1, 1:] != ink[1:-1, :-1])  # edge left of column c, (H, W + 1)
    across = np.argwhere(ink[1:, 1:-1] != ink[:-1, 1:-1])  # edge above row r, (H + 1, W)
    strokes = [f"M{c * CELL} {r * CELL}v{CELL}" for r, c in down] + [
        f"M{c * CELL} {r * CELL}h{CELL}" for r, c in across
    ]
    return "".join(strokes)


def _place(row: int, column: int) -> str:
    return f'x="{column * CELL}" y="{row * CELL}" width="{CELL}" height="{CELL}"'


def _frame(content: str, shape: tuple[int, ...], label: str) -> str:
    height, width = shape[0] * CELL, shape[1] * CELL
    return (
        f'<svg viewBox="-1 -1 {width + 2} {height + 2}" role="img" aria-label="{label}">'
        f'<rect class="paper" width="{width}" height="{height}"/>{content}</svg>'
    )
