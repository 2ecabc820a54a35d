"""The native dense engine beside the largest matrix products of this machine's BLAS.

    python -m benchmarks.dense [--threads N]

A row is 4 floating-point operations a weight: forward and backward of Saliency. "own" multiplies row blocks with packed
weights on fastattr's threads; "blas" is the same chain of products through SciPy's BLAS on BLAS's threads, without the
activations. The peak is that of a product of 1024 x 1024 matrices.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import torch

import fastattr as fa
from benchmarks import networks, report
from fastattr import _core
from fastattr.models.chain import network_of

SHAPES = ((30, 64, 32, 2), (784, 512, 256, 10), (64, 256, 256, 256, 8))
ROWS = 4096
SECONDS = 1.0


def best(work: Callable[[], object]) -> float:
    """Seconds of the fastest run: others use this machine too."""
    work()
    fastest, until = np.inf, time.perf_counter() + SECONDS
    while time.perf_counter() < until:
        start = time.perf_counter()
        work()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest


def products(shape: tuple[int, ...]) -> Callable[[], None]:
    """The products of one evaluation of ``ROWS`` rows, forward and backward, through BLAS."""
    weights = [np.ones((b, a), np.float32) for a, b in zip(shape, shape[1:])]
    rows = [np.ones((ROWS, a), np.float32) for a in shape]

    def work() -> None:
        for w, x, y in zip(weights, rows, rows[1:]):
            _core.gemm(x, w, y, transpose_b=True)
        for w, x, y in zip(reversed(weights), rows[-2::-1], rows[:0:-1]):
            _core.gemm(y, w, x)

    return work


def main() -> int:
    given = report.parser(__doc__ or "").parse_args()
    fa.set_num_threads(given.threads or 0)
    square = np.ones((1024, 1024), np.float32)
    peak = 2 * 1024**3 / best(lambda: _core.gemm(square, square, np.empty_like(square))) / 1e9
    print(f"{_core.get_num_threads()} threads of fastattr, {torch.get_num_threads()} of torch; BLAS {peak:.0f} GFLOP/s")
    for shape in SHAPES:
        net = network_of(networks.mlp(*shape))
        x = np.random.default_rng(0).normal(size=(ROWS, shape[0])).astype(np.float32)
        scalars, values = np.tile(np.array([0, -1]), (ROWS, 1)), np.empty(ROWS, np.float32)
        packed, gradients = net.packed("raw")[0], np.empty_like(x)
        flops = 4 * ROWS * sum(a * b for a, b in zip(shape, shape[1:]))
        own = flops / best(lambda: _core.dense_evaluate(packed, (x,), (scalars,), (values,), (gradients,))) / 1e9  # noqa: B023
        blas = flops / best(products(shape)) / 1e9
        name = "-".join(map(str, shape))
        print(
            f"{name:20} own {own:6.0f} GFLOP/s ({own / peak:4.0%} of the peak)   blas {blas:6.0f} ({blas / peak:4.0%})"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
