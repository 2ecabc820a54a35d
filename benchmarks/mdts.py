"""The exact nearest training sample: beside scikit-learn's brute force and torch.cdist.

python -m benchmarks.mdts [--quick]

1,000 queries against 60,000 vectors of 784 numbers, as images of digits are; all of one class, which is the most work.
The three must name the same samples. Preparing the candidates, which MDTS does once, is timed apart.
"""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import pairwise_distances_argmin_min

from benchmarks import report
from fastattr.baselines.nearest import Candidates

QUERIES, CANDIDATES, FEATURES = 1_000, 60_000, 784
COLUMNS = (("search", -28), ("seconds", 9), ("ratio", 7), ("scratch MB", 11), ("same samples", 13))


def images(count: int, seed: int) -> np.ndarray:
    """(count, 784) float32 in [0, 1]: smooth blobs on paper, four fifths of it blank."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:28, :28].astype(np.float32)
    found = np.zeros((count, 28, 28), np.float32)
    for _ in range(4):
        y, x, size = (
            v.astype(np.float32)[:, None, None] for v in random.uniform((6, 6, 1.5), (22, 22, 3), (count, 3)).T
        )
        np.maximum(found, np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * size**2)), out=found)
    return np.where(found > 0.3, found, 0).reshape(count, FEATURES)


def ours(queries: np.ndarray, prepared: Candidates) -> np.ndarray:
    return prepared.nearest(queries)[0]


def cdist(queries: torch.Tensor, vectors: torch.Tensor) -> np.ndarray:
    """In blocks of 250 queries, so that it too needs no 240 MB."""
    return torch.cat([torch.cdist(part, vectors).argmin(1) for part in queries.split(250)]).numpy()


def brute(queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return np.asarray(pairwise_distances_argmin_min(queries, vectors)[0])


def measured(search: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    found = search()
    return found, time.perf_counter() - start


def run(quick: bool = False, path: Path | None = None) -> bool:
    """Alternately, the medians of three rounds (one if quick); whether all named the same samples."""
    vectors, queries = images(CANDIDATES // (6 if quick else 1), 0), images(QUERIES, 1)
    prepared, preparing = measured(lambda: Candidates(vectors))
    sides: dict[str, Callable[[], np.ndarray]] = {
        "fastattr": lambda: ours(queries, prepared),
        "torch.cdist, argmin": lambda: cdist(torch.from_numpy(queries), torch.from_numpy(vectors)),
        "scikit-learn, brute force": lambda: brute(queries, vectors),
    }
    tracemalloc.start()
    answer = sides["fastattr"]()
    scratch = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    times: dict[str, list[float]] = {name: [] for name in sides}
    same = dict.fromkeys(sides, 1.0)
    for _ in range(1 if quick else 3):
        for name, search in sides.items():
            found, seconds = measured(search)
            times[name].append(seconds)
            same[name] = min(same[name], float((found == answer).mean()))
    print(f"{len(queries):,} queries, {len(vectors):,} x {FEATURES} candidates; prepared once in {preparing:.2f} s")
    print(report.header(COLUMNS))
    rows = []
    for name, seconds in times.items():
        ratios = [theirs / mine for theirs, mine in zip(seconds, times["fastattr"])]
        row = {
            "name": name,
            "seconds": float(np.median(seconds)),
            "ratio": float(np.median(ratios)),
            "same": same[name],
        }
        memory = scratch if name == "fastattr" else None
        texts = (name, f"{row['seconds']:.2f}", f"{row['ratio']:.2f}", report.number(memory), f"{same[name]:.2%}")
        print(report.cells(texts, COLUMNS), flush=True)
        rows.append(row | {"scratch_mb": memory, "preparing": preparing})
    print("written to", report.write("mdts", rows, path))
    return min(same.values()) == 1.0


def main() -> int:
    given = report.parse(report.parser("the nearest training sample of a class"))
    return 0 if run(given.quick, given.json) else 1


if __name__ == "__main__":
    sys.exit(main())
