"""The one place that imports matplotlib: a figure that shows itself in a notebook and is unknown to pyplot.

pyplot keeps every figure it makes alive until it is closed; these live as long as their caller holds them.
"""

from __future__ import annotations

import io

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


class Picture(Figure):
    """A matplotlib figure, drawn by Agg, displayed by Jupyter as PNG."""

    def __init__(self, width: float, height: float) -> None:
        super().__init__(figsize=(width, height), dpi=110, layout="constrained", facecolor="white")
        FigureCanvasAgg(self)

    def png(self, dpi: float = 110) -> bytes:
        """The figure as a PNG file; ``dpi`` in pixels per inch."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=dpi)
        return buffer.getvalue()

    def _repr_png_(self) -> bytes:
        return self.png()
