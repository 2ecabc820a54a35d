"""The first linear layer of a dense network leaves straight paths: what lies behind it, and the way back.

With f = g(W x + b) a straight path in x is one in z = W x + b, and a weighted sum of gradients of f is W' times that of
gradients of g: two products for all points of all paths in place of two for each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..problem import Problem
from .dense import Layer, Network

FEWEST = 3e6
"""Operations that must be saved: what the steps below cost at any size, some 40 us."""
SWEPT = 8
"""Points from which on a line is swept (csrc/engine/integrate.c), with few products of any layer."""
TOGETHER = 16
"""Rows up to which one product reads the weights once (csrc/cpu/thin.c); a copy of more is not worth its memory."""


def pays(network: Network, examples: int, rows: int) -> bool:
    """Whether ``rows`` points behind the first layer cost less, its two products with every example included."""
    if not network.has_rest:
        return False
    if network.wide:  # the weights are read where they are
        return True
    saved = 0.0 if network.sweeps and rows >= SWEPT * examples else 4.0 * rows - 6.0 * examples
    return saved * network.features * len(network.layers[0].weight) > FEWEST


def rest_of(network: Network) -> tuple[list[Layer], int]:
    """The layers behind the first product, and how many features they take."""
    first = network.layers[0]
    assert first.weight is not None
    bare = [] if first.activation == "identity" else [Layer(None, None, first.activation, first.a, first.b)]
    return [*bare, *network.layers[1:]], len(first.weight)


def image(network: Network, points: Any) -> NDArray[Any]:
    """(R, H) rows of ``points`` (R, ...) behind the first product, W x + b."""
    weight = network.layers[0].weight
    assert weight is not None
    found, rows = biases(network, len(points)), np.asarray(points).reshape(len(points), network.features)
    _core.gemm(rows, weight, found, transpose_b=True, accumulate=True)
    return found


def biases(network: Network, rows: int) -> NDArray[Any]:
    """(R, H) images of zero, as long as all weights are finite."""
    weight, bias = network.layers[0].weight, network.layers[0].bias
    found = np.zeros((rows, len(weight)), network.dtype)
    if bias is not None:
        found += bias
    return found


def images(network: Network, x: Any, base: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Those of ``x`` (B, ...) and of ``base`` (B, ...) or (1, ...), whose weights are read as seldom as possible.

    A weight that is not finite leaves no finite image of its unit, whatever the row: so ``x`` tells of the weights that
    a zero baseline is not multiplied with.
    """
    if len(base) == 1 and not np.asarray(base).any():
        found = image(network, x)
        known = bool(np.isfinite(found[0]).all())
        return found, biases(network, 1) if known else image(network, base)
    if len(x) + len(base) > TOGETHER:
        return image(network, x), image(network, base)
    found = image(network, np.concatenate([np.asarray(x), np.asarray(base)]))
    return found[: len(x)], found[len(x) :]


class DenseBehind:
    """The ends of every path behind the first layer, and its transpose.

    Attributes
    ----------
    input, base : (B, H) or, for a shared baseline, (1, H)
        W x + b and W x' + b.
    """

    def __init__(self, network: Network, problem: Problem) -> None:
        weight = network.layers[0].weight
        assert weight is not None
        self._weight = weight
        self._examples = problem.examples
        self.input, self.base = images(network, problem.inputs[0], problem.bases[0])

    def allocate(self, levels: int, results: Any) -> NDArray[Any]:
        """(L, B, H) accumulators; ``results`` (P, B, ...) takes their images."""
        self._results = np.asarray(results).reshape(-1, self._examples, self._weight.shape[1])
        self._sum = np.zeros((levels, *self.input.shape), self.input.dtype)
        return self._sum

    def pull(self, examples: NDArray[np.int64], level: int) -> None:
        """Called by the engine: results[level % P] of ``examples`` (A,) is W' sum[level]."""
        plane, sums = self._results[level % len(self._results)], self._sum[level]
        if len(examples) == self._examples:
            _core.gemm(sums, self._weight, plane)
            return
        part = np.empty((len(examples), plane.shape[1]), plane.dtype)
        _core.gemm(sums[examples], self._weight, part)
        plane[examples] = part
