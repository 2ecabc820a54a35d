"""How two libraries are compared: the one protocol of all benchmarks.

A case has two sides, a peer and fastattr. In this order:
1. both run once, untimed, while a hook counts the gradients asked of the model, and must then agree:
   max |ours - peer| <= tolerance * max |peer|, or what the case's own `agree` asks for, or the case failed;
2. both run alternately in this process on the same data and threads, at least three pairs, more while the budget
   lasts; the ratio is the median of the pairs' ratios, the spread their quartiles;
3. each side runs once in a fresh process for its peak memory (memory.py);
4. the physical limit is 2 x forward time of a row, at the best of several chunk sizes, x our gradient evaluations.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.memory import MB, peak_growth

SAMPLE_SECONDS = 0.02  # shorter work is repeated until one measurement takes this long
MIN_PAIRS, MAX_PAIRS = 3, 41
ROUNDING, KINK = 1e-5, 2e-2  # of an example's largest attribution: half of the examples, and every one
MANY_KINKS = 2e-3  # half of the examples of a network whose every example has millions of kinks
FORWARD_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


@dataclass(frozen=True)
class Side:
    """One library at one piece of work.

    run: returns the attribution, an array. model, row (1, ...): what is explained, and one row of its input, for the
    count of evaluations and the physical limit. evaluations: the engine's own count, for engines that do not call
    `model` or would run otherwise with a hook on it; no hook is set then.
    """

    run: Callable[[], np.ndarray]
    model: nn.Module
    row: Tensor
    note: str = ""
    evaluations: Callable[[], int] | None = None


@dataclass(frozen=True)
class Agreement:
    """Whether two results are the same thing: holds; size: how far apart they are; words: size, and in what unit."""

    holds: bool
    size: float
    words: str


@dataclass(frozen=True)
class Case:
    """peer, ours: picklable factories, called here and in the fresh processes; wanted: the ratio to reach.

    agree(ours, peer): for random methods, which agree in distribution only; by default |ours - peer| is bounded.
    """

    name: str
    batch: int
    peer: Callable[[], Side]
    ours: Callable[[], Side]
    wanted: float | None = None
    tolerance: float = 1e-5
    memory: bool = True
    agree: Callable[[np.ndarray, np.ndarray], Agreement] | None = None


@dataclass
class Result:
    """What is printed and written of a case. Times in milliseconds, memory in MB (1e6 bytes)."""

    name: str
    batch: int
    wanted: float | None
    disagreement: float
    agreement: str = ""
    failed: bool = False
    peer_ms: float = float("nan")
    ours_ms: float = float("nan")
    ratio: float = float("nan")
    spread: tuple[float, float] = (float("nan"), float("nan"))
    pairs: int = 0
    peer_mb: float = float("nan")
    ours_mb: float = float("nan")
    memory_by: str = "not measured"
    evaluations: int = 0
    peer_evaluations: int = 0
    forward_ms_per_row: float = float("nan")
    times_limit: float = float("nan")
    notes: list[str] = field(default_factory=list)

    @property
    def reached(self) -> bool | None:
        return None if self.wanted is None else not self.failed and self.ratio >= self.wanted


def disagreement(ours: np.ndarray, peer: np.ndarray) -> float:
    """max |ours - peer| / max |peer|; infinite where shapes differ or anything is not finite."""
    ours, peer = np.asarray(ours, dtype=np.float64), np.asarray(peer, dtype=np.float64)
    if ours.shape != peer.shape or not (np.isfinite(ours).all() and np.isfinite(peer).all()):
        return float("inf")
    difference, scale = np.abs(ours - peer).max(initial=0), np.abs(peer).max(initial=0)
    if scale == 0:
        return 0.0 if difference == 0 else float("inf")
    return float(difference / scale)


def close(ours: np.ndarray, peer: np.ndarray, tolerance: float) -> Agreement:
    size = disagreement(ours, peer)
    return Agreement(size <= tolerance, size, f"{size:.1e} of the largest attribution")


def kinks(ours: np.ndarray, peer: np.ndarray, rounding: float = ROUNDING) -> Agreement:
    """Differences per example, as a share of its largest attribution."""
    if ours.shape != peer.shape or not np.isfinite(ours).all():
        return Agreement(False, float("inf"), "not comparable")
    flat, other = (values.reshape(len(values), -1).astype(np.float64) for values in (ours, peer))
    apart = np.abs(flat - other).max(1) / np.abs(other).max(1)
    middle, worst = float(np.median(apart)), float(apart.max())
    holds = middle <= rounding and worst <= KINK
    return Agreement(holds, worst, f"{middle:.1e} of an example's largest attribution (median), {worst:.1e} (worst)")


def seconds(run: Callable[[], object], calls: int = 1) -> float:
    """Seconds of one of `calls` calls."""
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls


def calls_per_sample(run: Callable[[], object], known: float = 0.0) -> int:
    """How often to call within one measurement; `known` seconds of an earlier call settle it for long work."""
    calls = 1
    while known < 1 and calls < 1024 and seconds(run, calls) * calls < SAMPLE_SECONDS:
        calls *= 2
    return calls


def time_pairs(
    peer: Callable[[], object], ours: Callable[[], object], budget: float, known: tuple[float, float] = (0.0, 0.0)
) -> np.ndarray:
    """(pairs, 2) seconds of peer and ours; the order changes from pair to pair."""
    calls = calls_per_sample(peer, known[0]), calls_per_sample(ours, known[1])
    start = time.perf_counter()
    pairs: list[list[float]] = []
    while len(pairs) < MIN_PAIRS or (len(pairs) < MAX_PAIRS and time.perf_counter() - start < budget):
        pair = [0.0, 0.0]
        for side in (0, 1) if len(pairs) % 2 == 0 else (1, 0):
            gc.collect()
            pair[side] = seconds((peer, ours)[side], calls[side])
        pairs.append(pair)
    return np.array(pairs)


@dataclass(frozen=True)
class FirstRun:
    """values: the attribution; evaluations: rows whose gradient was asked of the model; seconds: it took."""

    values: np.ndarray
    evaluations: int
    seconds: float


def first_run(side: Side) -> FirstRun:
    """The warm-up, with a hook on the model, or, where that is not wanted, with the engine's own count."""
    rows = 0

    def count(gradient: Tensor) -> None:
        nonlocal rows
        rows += len(gradient)

    def watch(module: nn.Module, inputs: object, output: Tensor) -> None:
        if output.requires_grad:
            output.register_hook(count)

    handle = None if side.evaluations else side.model.register_forward_hook(watch)
    start = time.perf_counter()
    try:
        values = side.run()
    finally:
        if handle is not None:
            handle.remove()
    took = time.perf_counter() - start
    return FirstRun(values, side.evaluations() if side.evaluations else rows, took)


@torch.no_grad()
def forward_seconds_per_row(model: nn.Module, row: Tensor, longest: float = 1.0) -> float:
    """The best of several chunk sizes; sizes end where one forward takes `longest` seconds."""
    best = float("inf")
    for rows in FORWARD_ROWS:
        points = row.expand(rows, *row.shape[1:]).contiguous()
        first = seconds(partial(model, points))
        calls = max(1, int(SAMPLE_SECONDS / max(first, 1e-6)))
        took = min(seconds(partial(model, points), calls) for _ in range(3))
        best = min(best, took / rows)
        if took > longest or took / rows > 2 * best:
            break
    return best


def prepared(factory: Callable[[], Side]) -> Callable[[], object]:
    """In a fresh process: imports, model, data and one forward of one row; what comes after is counted."""
    side = factory()
    with torch.no_grad():
        side.model(side.row)
    return side.run


def add_memory(result: Result, case: Case) -> None:
    peer, ours = peak_growth(partial(prepared, case.peer)), peak_growth(partial(prepared, case.ours))
    result.peer_mb, result.ours_mb = peer.peak / MB, ours.peak / MB
    result.memory_by = peer.how if peer.how == ours.how else f"{peer.how}; {ours.how}"


def add_times(result: Result, times: np.ndarray) -> None:
    ratios = times[:, 0] / times[:, 1]
    result.peer_ms, result.ours_ms = (float(t) for t in np.median(times, axis=0) * 1e3)
    result.ratio, result.pairs = float(np.median(ratios)), len(ratios)
    result.spread = (float(np.quantile(ratios, 0.25)), float(np.quantile(ratios, 0.75)))


def measure(case: Case, budget: float = 10.0) -> Result:
    """Runs one case; `budget` bounds the seconds of its timed pairs (three of them always run)."""
    peer, ours = case.peer(), case.ours()
    expected, found = first_run(peer), first_run(ours)
    agree = case.agree or partial(close, tolerance=case.tolerance)
    agreement = agree(found.values, expected.values)
    result = Result(case.name, case.batch, case.wanted, agreement.size, agreement.words)
    result.evaluations, result.peer_evaluations = found.evaluations, expected.evaluations
    result.notes = [note for note in (peer.note, ours.note) if note]
    if not agreement.holds:
        result.failed = True
        return result
    add_times(result, time_pairs(peer.run, ours.run, budget, (expected.seconds, found.seconds)))
    per_row = forward_seconds_per_row(ours.model, ours.row)
    result.forward_ms_per_row = per_row * 1e3
    if result.evaluations:
        result.times_limit = result.ours_ms / (2 * result.forward_ms_per_row * result.evaluations)
    if case.memory:
        add_memory(result, case)
    return result
