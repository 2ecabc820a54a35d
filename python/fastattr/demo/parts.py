"""Pieces of HTML that the sections of the page share."""

from __future__ import annotations

import math

from . import svg
from .examples import Example, Map

FOR = '<span class="for-word">orange</span>'
AGAINST = '<span class="against-word">blue</span>'


def map_of(e: Example, m: Map, scale: float) -> str:
    """The signed map, ``scale`` drawn in full colour."""
    return svg.attribution(m.values, e.image, scale, f"{m.method} map of the {e.digit}")


def figure(picture: str, title: str, text: str) -> str:
    """A picture with a caption."""
    return f"<figure>{picture}<figcaption><b>{title}</b>{text}</figcaption></figure>"


def legend(scale: float, against: str, for_: str, unit: str = "score per pixel", digits: int = 1) -> str:
    """The colour bar of signed maps."""
    return (
        f'<div class="legend"><span>{number(-scale, digits)} {against}</span><span class="bar"></span>'
        f"<span>+{number(scale, digits)} {for_}</span><span>({unit})</span></div>"
    )


def number(value: float, digits: int = 1) -> str:
    """With a true minus sign."""
    return "?" if math.isnan(value) else f"{value:.{digits}f}".replace("-", "&minus;")


def a(digit: int) -> str:
    """The digit with its article."""
    return f"an {digit}" if digit == 8 else f"a {digit}"
