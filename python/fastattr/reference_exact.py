"""Integrated Gradients of small networks, exactly, as plainly as it can be written. Slow; it is the definition.

A network is a list of layers (weight (out, in), bias (out,), value, slope) with functions of one variable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Layer = tuple[Array, Array, Callable[[Array], Array], Callable[[Array], Array]]


def rectifier(low: float = 0.0) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    """Value and slope of a ReLU with slope ``low`` from zero downwards."""
    return lambda z: np.where(z > 0, z, low * z), lambda z: np.where(z > 0, 1.0, low)


def gradient(layers: Sequence[Layer], point: Array, weight: Array) -> Array:
    """(D,) gradient at ``point`` of ``weight`` (C,) times the outputs."""
    slopes, h = [], point
    for w, b, value, slope in layers:
        z = w @ h + b
        slopes.append(slope(z))
        h = value(z)
    back = weight
    for (w, _, _, _), s in zip(reversed(layers), reversed(slopes), strict=True):
        back = w.T @ (back * s)
    return back


def output(layers: Sequence[Layer], point: Array) -> Array:
    """(C,) outputs."""
    for w, b, value, _ in layers:
        point = value(w @ point + b)
    return point


def breakpoints(layers: Sequence[Layer], x: Array, base: Array) -> Array:
    """Where, on the straight path over [0, 1], a unit of a piecewise linear network crosses zero, with 0 and 1.

    Layer by layer: between the breakpoints of the layers before, a unit's argument is a straight line.
    """
    found = np.array([0.0, 1.0])
    for depth in range(len(layers) - 1):
        new = [found]
        for a, b in zip(found[:-1], found[1:], strict=True):
            left, right = (_argument(layers, depth, base + t * (x - base)) for t in (a, b))
            crosses = (left > 0) != (right > 0)
            new.append(a + (b - a) * left[crosses] / (left[crosses] - right[crosses]))
        found = np.unique(np.clip(np.concatenate(new), 0.0, 1.0))
    return found


def _argument(layers: Sequence[Layer], depth: int, point: Array) -> Array:
    h = output(layers[:depth], point)
    return layers[depth][0] @ h + layers[depth][1]


def piecewise_integrated_gradients(
    layers: Sequence[Layer], x: Array, base: Array, target: int, versus: int | None = None
) -> Array:
    """(D,) attribution of a piecewise linear network: the gradient at each piece's midpoint times its length."""
    weight = _picked(len(layers[-1][1]), target, versus)
    stops = breakpoints(layers, x, base)
    integral = np.zeros(len(x))
    for a, b in zip(stops[:-1], stops[1:], strict=True):
        integral += (b - a) * gradient(layers, base + (a + b) / 2 * (x - base), weight)
    return (x - base) * integral


def smooth_integrated_gradients(
    layers: Sequence[Layer], x: Array, base: Array, target: int, versus: int | None = None, pieces: int = 64
) -> Array:
    """(D,) attribution of any network: 20 Gauss-Legendre nodes on each of ``pieces``, cut at breakpoints too."""
    weight = _picked(len(layers[-1][1]), target, versus)
    stops = np.union1d(breakpoints(layers, x, base), np.linspace(0, 1, pieces + 1))
    nodes: Any
    nodes, weights = np.polynomial.legendre.leggauss(20)
    integral = np.zeros(len(x))
    for a, b in zip(stops[:-1], stops[1:], strict=True):
        for node, share in zip(nodes, weights, strict=True):
            point = base + (a + (b - a) * (node + 1) / 2) * (x - base)
            integral += (b - a) / 2 * share * gradient(layers, point, weight)
    return (x - base) * integral


def _picked(classes: int, target: int, versus: int | None) -> Array:
    weight = np.zeros(classes)
    weight[target] = 1
    if versus is not None:
        weight[versus] -= 1
    return weight
