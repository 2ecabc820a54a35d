"""What the tests of AGI share: a model of several classes given by formulas, and results as bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
from helpers_native import Arrays, Formula, certificate, smooth
from numpy.typing import NDArray

import fastattr as fa
from fastattr.reference_agi import Classifier

PATHS = ("classes", "steps", "reached", "stalled", "target_output", "gap", "forward_units")


class Classes:
    """K outputs f_c by `Formula`, as a `fastattr.FunctionModel` for AGI and as `fastattr.reference_agi` wants them."""

    def __init__(self, classes: int = 6, link: Any = smooth) -> None:
        self.classes, self.formula = classes, Formula(link)

    def outputs(self, points: Arrays) -> NDArray[Any]:
        """(K, R)."""
        rows = len(points[0])
        return np.stack([self.formula.scores(points, np.full(rows, c))[0] for c in range(self.classes)])

    def __call__(self, points: Arrays, index: NDArray[Any], scalars: NDArray[Any]) -> tuple[Any, ...]:
        values, gradients = [], []
        for plane in scalars:
            value, slopes = self.formula.scores(points, plane[:, 0])
            if (plane[:, 1] >= 0).any():
                other, falls = self.formula.scores(points, plane[:, 1])
                value, slopes = value - other, tuple(a - b for a, b in zip(slopes, falls))
            values.append(value)
            gradients.append(slopes)
        stacked = tuple(np.stack(member) for member in zip(*gradients))
        return np.stack(values), stacked, self.outputs(points).argmax(0)

    def classifier(self) -> Classifier:
        """In float64, one example."""

        def parts(x: Any) -> Arrays:
            return tuple(np.asarray(p)[None] for p in (x if isinstance(x, tuple) else (x,)))

        def gradient(x: Any, c: int) -> Any:
            slopes = tuple(g[0] for g in self.formula.scores(parts(x), np.array([c]))[1])
            return slopes if isinstance(x, tuple) else slopes[0]

        return Classifier(lambda x: self.outputs(parts(x))[:, 0], gradient)

    def predicted(self, *points: NDArray[Any]) -> NDArray[np.int64]:
        return self.outputs(points).argmax(0)


def others(targets: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """(B, K - 1): every class but the target, ascending."""
    return np.array([[c for c in range(classes) if c != t] for t in targets])


def picture(att: fa.Attribution) -> tuple[bytes, ...]:
    """All numbers of an AGI attribution, to compare bit for bit."""
    paths = tuple(np.ascontiguousarray(getattr(att.paths, name)).tobytes() for name in PATHS)
    return *certificate(att), *paths
