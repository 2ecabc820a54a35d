"""The nearest of many vectors, exactly: a product of matrices gives a shortlist, direct float64 distances decide.

Letters: Q queries q, N candidates p, D features. For one query |q - p|^2 = |q|^2 + s(p), s(p) = |p|^2 - 2 q p. A
computed s is off by at most

    b(q) = (D + 2) u (2 |q| P + P^2) / (1 - (D + 2) u),   P = max |p|,   u = 2^-24 (2^-53 for float64)

(the standard bound of a dot product, in any order of summation, of the D + 1 products that make s). A candidate with
s > min s + 2 b(q) cannot be the nearest. The rest, usually one or two, are compared directly.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .. import _core

QUERIES, CANDIDATES = 512, 2048
"""Of one block: its scores, 4 MB in float32, stay in the outer caches."""
PAIRS = 2**21
"""Features of the direct differences that are in memory at a time (16 MB)."""


class Candidates:
    """Vectors (N, D) float32 or float64, prepared for searches. Memory: a copy of them."""

    def __init__(self, vectors: NDArray[np.floating], distance: str = "l2") -> None:
        self.vectors = vectors
        self.distance = distance
        if distance == "l2":
            self._prepare()

    def _prepare(self) -> None:
        """Rows (-2 p, |p|^2), p from the mean: distances do not change, the bound shrinks.

        The subtraction is rounded too. That moves a component by u |p_i| at most, a distance |q - p|^2 by less than
        2 u (|q| + |p|)^2, which `_slack` counts.
        """
        count, features = self.vectors.shape
        dtype = self.vectors.dtype
        self._mean = self.vectors.mean(0, dtype=np.float64).astype(dtype)
        self._rows = np.empty((count, features + 1), dtype)
        moved = self._rows[:, :features]
        np.subtract(self.vectors, self._mean, out=moved)
        norms = np.empty(count)
        for part in _blocks(count, max(1, PAIRS // max(1, features))):
            norms[part] = np.square(moved[part], dtype=np.float64).sum(1)
        moved *= -2  # exact
        self._rows[:, features] = norms
        self._largest = float(np.sqrt(norms.max(initial=0.0)))

    def nearest(self, queries: NDArray[np.floating]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(Q,) numbers of the nearest candidates, the lowest where several are, and their distances in float64."""
        index = np.empty(len(queries), np.int64)
        distance = np.empty(len(queries))
        for part in _blocks(len(queries), QUERIES):
            search = self._nearest_l1 if self.distance == "l1" else self._nearest_l2
            index[part], distance[part] = search(queries[part])
        return index, distance

    def _nearest_l2(self, queries: NDArray[np.floating]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        count, features = self.vectors.shape
        dtype = self.vectors.dtype
        rows = np.ones((len(queries), features + 1), dtype)
        np.subtract(queries, self._mean, out=rows[:, :features], casting="same_kind")
        slack = self._slack(np.sqrt(np.square(rows[:, :features], dtype=np.float64).sum(1))).astype(dtype)
        least = np.full(len(queries), np.inf, dtype)
        scores = np.empty((len(queries), min(CANDIDATES, count)), dtype)
        listed: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.floating]]] = []
        for part in _blocks(count, CANDIDATES):
            block = scores[:, : part.stop - part.start]
            if block.shape[1] < scores.shape[1]:
                block = np.empty(block.shape, dtype)  # the last one: dense memory of its own
            _core.gemm(rows, self._rows[part], block, transpose_b=True)
            lowest = block.min(1)
            np.minimum(least, lowest, out=least)
            some = np.flatnonzero(~(lowest > least + slack))  # NaN stays listed
            q, p = np.nonzero(~(block[some] > (least + slack)[some, None]))
            listed.append((some[q], p + part.start, block[some[q], p]))
        query, candidate, score = (np.concatenate(parts) for parts in zip(*listed, strict=True))
        kept = ~(score > (least + slack)[query])
        return self._decide(queries, query[kept], candidate[kept])

    def _slack(self, norms: NDArray[np.float64]) -> NDArray[np.float64]:
        """(Q,) 2 b(q), with the rounding of the centred vectors, of the comparison itself and of the slack."""
        features, eps = self.vectors.shape[1], float(np.finfo(self.vectors.dtype).eps)
        unit = (features + 2) * eps / 2
        product_error = unit / max(1 - unit, 0.5) * (2 * norms * self._largest + self._largest**2)
        centring = eps * (norms + self._largest) ** 2
        return 1.01 * (2 * product_error + 2 * centring + 4 * eps * (norms + self._largest) ** 2)

    def _decide(
        self, queries: NDArray[np.floating], query: NDArray[np.int64], candidate: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The nearest among pairs (query, candidate) by sums of squared differences in float64."""
        squared = np.empty(len(query))
        for part in _blocks(len(query), max(1, PAIRS // max(1, queries.shape[1]))):
            difference = np.subtract(queries[query[part]], self.vectors[candidate[part]], dtype=np.float64)
            squared[part] = np.square(difference, out=difference).sum(1)
        order = np.lexsort((candidate, squared, query))
        first = order[np.flatnonzero(np.diff(query[order], prepend=-1))]
        return candidate[first], np.sqrt(squared[first])

    def _nearest_l1(self, queries: NDArray[np.floating]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        from scipy.spatial.distance import cdist

        least = np.full(len(queries), np.inf)
        index = np.zeros(len(queries), np.int64)
        for part in _blocks(len(self.vectors), CANDIDATES):
            block = cdist(queries, self.vectors[part], "cityblock")
            best = block.argmin(1)
            found = block[np.arange(len(queries)), best]
            better = found < least
            least[better], index[better] = found[better], best[better] + part.start
        return index, least


def _blocks(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
