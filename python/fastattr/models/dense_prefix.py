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


def image(network: Network, parts: list[Any]) -> NDArray[Any]:
    """(R, H) rows of all ``parts`` (R_i, ...) behind the first product, W x + b."""
    weight, bias = network.layers[0].weight, network.layers[0].bias
    assert weight is not None
    rows = [np.asarray(part).reshape(len(part), network.features) for part in parts]
    found = np.zeros((sum(map(len, rows)), len(weight)), network.dtype)
    if bias is not None:
        found += bias
    _core.gemm(rows[0] if len(rows) == 1 else np.concatenate(rows), weight, found, transpose_b=True, accumulate=True)
    return found


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
        images = image(network, [problem.inputs[0], problem.bases[0]])
        self.input, self.base = images[: self._examples], images[self._examples :]

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
