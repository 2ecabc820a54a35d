"""Peak memory of a piece of work: growth of the resident set, in a process of its own.

On Linux the kernel's own high-water mark (VmHWM) is reset through /proc/self/clear_refs before the work, after freed
memory was handed back with malloc_trim: what was allocated earlier is not counted, and no peak falls between samples.
Where that file cannot be written, a thread samples the resident set every millisecond. Elsewhere: NaN, "not measured".
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
MB = 1e6


@dataclass(frozen=True)
class Growth:
    """peak: bytes above the resident set before the work, NaN if unknown; how: the means of measurement."""

    peak: float
    how: str


def resident(field: str = "VmRSS") -> int:
    """Bytes of one of the kernel's fields: VmRSS now, VmHWM at most since the last reset."""
    for line in STATUS.read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{STATUS} has no field {field}")


def available() -> int:
    """Bytes a new process can use without swapping; where the system does not say, 8 GiB are assumed."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 8 << 30


def return_freed_memory() -> None:
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        pass  # not glibc: the freed memory stays, and reused it is not seen as growth


def reset_high_water_mark() -> bool:
    try:
        CLEAR_REFS.write_text("5")
    except OSError:
        return False
    return True


def growth(run: Callable[[], object]) -> Growth:
    """The growth of this process while `run` works; its result stays alive until the reading."""
    return_freed_memory()
    if not STATUS.exists():
        return Growth(float("nan"), "not measured")
    if not reset_high_water_mark():
        return sampled_growth(run)
    before = resident("VmRSS")
    result = run()
    after = resident("VmHWM")
    del result
    return Growth(max(0, after - before), "VmHWM")


def sampled_growth(run: Callable[[], object]) -> Growth:
    before = peak = resident("VmRSS")
    done = threading.Event()

    def sample() -> None:
        nonlocal peak
        while not done.is_set():
            peak = max(peak, resident("VmRSS"))
            time.sleep(0.001)

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        result = run()
        peak = max(peak, resident("VmRSS"))
        del result
    finally:
        done.set()
        sampler.join()
    return Growth(max(0, peak - before), "sampled")


def peak_growth(prepare: Callable[[], Callable[[], object]], *, repeat: int = 1) -> Growth:
    """Growth while `prepare()`'s result is called, in a fresh process: imports, model, data and one forward come
    before the reading and are not counted. `prepare` must be picklable; a process that dies gives NaN and says so.
    Of several fresh processes the middle one counts.
    """
    found = sorted((fresh_growth(prepare) for _ in range(repeat)), key=lambda one: one.peak)
    return found[len(found) // 2]


def fresh_growth(prepare: Callable[[], Callable[[], object]]) -> Growth:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=report_growth, args=(prepare, torch.get_num_threads(), sender))
    process.start()
    sender.close()
    try:
        found: Growth = receiver.recv()
    except EOFError:
        process.join()
        return Growth(float("nan"), f"process ended with {process.exitcode}")
    process.join()
    return found


def report_growth(prepare: Callable[[], Callable[[], object]], threads: int, sender: Connection) -> None:
    torch.set_num_threads(threads)
    sender.send(growth(prepare()))
