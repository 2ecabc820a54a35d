"""GB/s of the native loops beside the memory bandwidth of the machine, measured in the same run.

    python -m benchmarks.kernels [--quick] [--json PATH]

Integrated Gradients of a FunctionModel whose gradient is a constant array: between two calls of the function the core
does nothing but accumulate one chunk and make the points of the next. Every second gradient is None, so that those
gaps are the points alone, and the others less those the accumulation.

Bytes as the heads of csrc/cpu/points.c and accumulate.c count them: the points are written once and the gradients read
once; input, baseline and result stay in cache, because one example is much smaller than that. The bandwidth is the
better of NumPy's copy (two arrays) and sum of two arrays into a third (three), over the same threads. It is measured
right before every call, and a share is that of one round; printed are the medians over the rounds.

"memory": chunks far larger than the cache. "auto": the chunk the library chooses, which for a function is in cache.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

LEVELS = ("base", "avx2", "avx512")
THREADS = (1, 2)
DTYPES = ("float32", "float64", "float16")
FEATURES, NODES = 3 * 128 * 128, 50
CHUNKS = {"memory": 128 << 20, "auto": 0}  # bytes of the points of a chunk
LEAST_GAPS = 12
WANTED = 0.7
ARRAY = 64 << 20  # elements of float32: each array is 256 MiB
WORKER = "--worker"
COLUMNS = (
    ("level", -7), ("dtype", -8), ("threads", 7), ("chunk", -7), ("MB", 5), ("copy GB/s", 10), ("sum GB/s", 9),
    ("points GB/s", 12), ("share", 6), ("accumulate GB/s", 16), ("share", 6), ("wanted", 7),
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """Medians over the rounds; GB/s in 1e9 bytes a second, shares of the bandwidth of the same round."""

    level: str
    dtype: str
    threads: int
    chunk: str
    chunk_mb: float
    copy: float
    sum: float
    points: float
    points_share: float
    accumulate: float
    accumulate_share: float

    @property
    def reached(self) -> bool:
        return min(self.points_share, self.accumulate_share) >= WANTED


# ---- the bandwidth --------------------------------------------------------------------------


class Memory:
    """Three arrays, and threads that pass over a part of them each."""

    def __init__(self, threads: int) -> None:
        self.arrays = [np.ones(ARRAY, np.float32) for _ in range(3)]
        self.parts = [slice(ARRAY * i // threads, ARRAY * (i + 1) // threads) for i in range(threads)]
        self.pool = ThreadPoolExecutor(threads)

    def seconds(self, work: Callable[[slice], object]) -> float:
        start = time.perf_counter()
        if len(self.parts) == 1:
            work(self.parts[0])
        else:
            list(self.pool.map(work, self.parts))
        return time.perf_counter() - start

    def bandwidth(self) -> tuple[float, float]:
        """Bytes a second of the copy and of the sum."""
        a, b, c = self.arrays
        copy = self.seconds(lambda part: np.copyto(a[part], b[part]))
        total = self.seconds(lambda part: np.add(b[part], c[part], out=a[part]))
        return 2 * a.nbytes / copy, 3 * a.nbytes / total


# ---- the loops ------------------------------------------------------------------------------


class ConstantGradient:
    """Answers at once, and takes the time between its calls: gaps, (seconds, with the gradient of a chunk of rows)."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.gradient = np.empty((0, FEATURES), dtype)
        self.values = np.zeros(0)
        self.begin()

    def begin(self) -> None:
        self.gaps: list[tuple[float, bool]] = []
        self.left: tuple[float, bool] | None = None
        self.rows = 0

    def __call__(self, points: tuple[np.ndarray], index: np.ndarray, scalars: np.ndarray) -> tuple[Any, ...]:
        entered = time.perf_counter()
        if self.left is not None:
            self.gaps.append((entered - self.left[0], self.left[1]))
        self.rows = len(points[0])
        if len(self.gradient) < self.rows:
            self.gradient = np.full((self.rows, FEATURES), 0.5, self.dtype)
            self.values = np.zeros(self.rows)
        asked = len(self.gaps) % 2 == 0
        answer = self.values[: self.rows], (self.gradient[: self.rows] if asked else None,)
        self.left = time.perf_counter(), asked
        return answer

    def seconds(self) -> tuple[float, float]:
        """Of a chunk: points, accumulation."""
        both = float(np.median([gap for gap, asked in self.gaps if asked]))
        points = float(np.median([gap for gap, asked in self.gaps if not asked]))
        return points, max(both - points, 1e-9)


def line(level: str, dtype: str, threads: int, chunk: str, memory: Memory, rounds: int) -> Line:
    import fastattr as fa

    fa.set_num_threads(threads)
    row = FEATURES * np.dtype(dtype).itemsize
    rows = CHUNKS[chunk] // row or "auto"
    asked = rows if isinstance(rows, int) else (8 << 20) // row
    examples = -(-asked * LEAST_GAPS // NODES)
    inputs, baseline = np.ones((examples, FEATURES), dtype), np.full(FEATURES, 0.25, dtype)
    function = ConstantGradient(dtype)
    method = fa.IntegratedGradients(fa.FunctionModel(function), steps=NODES, rows=rows)
    found = []
    for number in range(rounds + 1):
        copy, total = memory.bandwidth()
        function.begin()
        method(inputs, baseline=baseline)
        if number == 0:
            continue  # fresh pages
        bytes_moved = function.rows * row
        points, accumulate = (bytes_moved / seconds for seconds in function.seconds())
        best = max(copy, total)
        found.append((copy / 1e9, total / 1e9, points / 1e9, points / best, accumulate / 1e9, accumulate / best))
    return Line(level, dtype, threads, chunk, function.rows * row / 1e6, *np.median(found, axis=0).tolist())


def lines(level: str, rounds: int) -> Iterator[Line]:
    """In a process that was started at this level."""
    for threads in THREADS:
        memory = Memory(threads)
        for dtype in DTYPES:
            for chunk in CHUNKS:
                yield line(level, dtype, threads, chunk, memory, rounds)


# ---- the processes --------------------------------------------------------------------------


def levels() -> list[str]:
    """What FASTATTR_CPU_LEVEL can name here: a level above the processor's changes nothing."""
    from fastattr import _core

    name = _core.cpu_level()
    return list(LEVELS[: LEVELS.index(name) + 1])


def measured(level: str, rounds: int) -> Iterator[Line]:
    command = [sys.executable, "-m", "benchmarks.kernels", WORKER, level, str(rounds)]
    environment = os.environ | {"FASTATTR_CPU_LEVEL": level}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for text in process.stdout:
            yield Line(**json.loads(text))
    if process.returncode:
        raise RuntimeError(f"kernels at level {level}: process ended with {process.returncode}")


def cells(one: Line) -> tuple[str, ...]:
    from benchmarks.report import number

    return (
        one.level, one.dtype, str(one.threads), one.chunk, number(one.chunk_mb), number(one.copy), number(one.sum),
        number(one.points), f"{one.points_share:.0%}", number(one.accumulate), f"{one.accumulate_share:.0%}",
        f"{WANTED:.0%}",
    )  # fmt: skip


def run(quick: bool = False, path: Path | None = None) -> None:
    from benchmarks import report

    if report.busy():
        print(report.busy())
    print(report.header(COLUMNS), flush=True)
    rows = []
    for level in reversed(levels()):
        for one in measured(level, 3 if quick else 7):
            print(report.cells(cells(one), COLUMNS) + ("" if one.reached else "  below the line"), flush=True)
            rows.append(asdict(one) | {"wanted": WANTED, "reached": one.reached})
        if quick:
            break
    print("written to", report.write("kernels", rows, path))


def main() -> int:
    if sys.argv[1:2] == [WORKER]:
        for one in lines(sys.argv[2], int(sys.argv[3])):
            print(json.dumps(asdict(one)), flush=True)
        return 0
    from benchmarks import report

    given = report.parser("the native loops beside the memory bandwidth").parse_args()
    run(given.quick, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
