"""GB/s of the native loops beside the memory bandwidth of the machine, measured in the same run.

    python -m benchmarks.kernels [--quick] [--json PATH]

kernels.c is compiled with the sources of the loops and run once for each level, dtype, number of threads and chunk.
Bytes are those that must move: each array once, and nothing for the read of a line before it is written, which stores
past the caches avoid. The yardstick of a loop moves as many bytes the same way and computes nothing: a loop that writes
stands beside the better of stores through the caches and past them, one that reads beside a read, one that does both
beside the better of a copy and the sum of two arrays. All of them run in turn, over the same memory and threads; each
has the best of many rounds.

"memory": chunks far larger than the caches. "cache": as large as the library chooses for a function, run again and
again, so in cache on most machines. The first share is that of the yardstick in memory, the machine's bandwidth, which
is wanted to be 70 %; the second, for chunks in cache, that of the same yardstick there.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEVELS = ("base", "avx2", "avx512")
THREADS = (1, 2)
DTYPES = ("float32", "float64", "float16", "bfloat16")
CHUNKS = {"memory": 128 << 20, "cache": 8 << 20}  # bytes of the points of a chunk
WANTED = {"points": 0.7, "accumulate": 0.7}
YARDSTICKS = {
    "points": ("write", "bypass"), "accumulate": ("read",), "sample": ("write", "bypass"), "noise": ("write", "bypass"),
    "moments": ("read",), "measure": ("read",), "finish": ("copy", "add"),
}  # fmt: skip
# those of setup.py; the yardsticks may use all that this machine has
FLAGS = (
    *("-std=c11", "-O3", "-pthread", "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"),
    *("-I", str(ROOT / "csrc")),
)
COLUMNS = (
    ("level", -7), ("dtype", -8), ("threads", 7), ("chunk", -7), ("read", 5), ("write", 5), ("bypass", 6),
    *((name, 14) for name in YARDSTICKS),
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """GB/s in 1e9 bytes a second, and shares of the yardsticks in memory and at the size of the chunk."""

    level: str
    dtype: str
    threads: int
    chunk: str
    speed: dict[str, float]
    share: dict[str, float]
    local_share: dict[str, float]

    @property
    def reached(self) -> bool:
        return all(self.share[name] >= wanted for name, wanted in WANTED.items())


def compile_program(folder: Path) -> Path:
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[:1]
    core = ROOT / "csrc"
    own = ROOT / "benchmarks" / "kernels.c"
    sources = [
        own,
        *sorted((core / "cpu").glob("*.c")),
        *(core / f"{name}.c" for name in ("threads", "check", "error")),
    ]

    def compiled(source: Path) -> str:
        out = str(folder / f"{source.stem}.o")
        native = ["-march=native"] if source == own else []
        subprocess.run([*compiler, *FLAGS, *native, "-c", str(source), "-o", out], check=True)
        return out

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compiled, sources))
    subprocess.run([*compiler, "-pthread", *objects, "-o", str(folder / "kernels"), "-lm"], check=True)
    return folder / "kernels"


def speeds(program: Path, level: str, dtype: str, threads: int, chunk: str, rounds: int) -> dict[str, float]:
    """GB/s of every loop and yardstick."""
    command = [str(program), dtype, str(threads), str(CHUNKS[chunk]), str(rounds)]
    environment = os.environ | {"FASTATTR_CPU_LEVEL": level}
    text = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    found = (line.split() for line in text.splitlines())
    return {name: float(moved) / float(seconds) / 1e9 for name, seconds, moved in found}


def yardstick(name: str, speed: dict[str, float]) -> float:
    return max(speed[one] for one in YARDSTICKS[name])


def lines(program: Path, level: str, rounds: int) -> Iterator[Line]:
    for dtype in DTYPES:
        for threads in THREADS:
            memory: dict[str, float] = {}
            for chunk in CHUNKS:
                speed = speeds(program, level, dtype, threads, chunk, rounds)
                memory = memory or speed
                share = {name: speed[name] / yardstick(name, memory) for name in YARDSTICKS}
                local = {name: speed[name] / yardstick(name, speed) for name in YARDSTICKS}
                yield Line(level, dtype, threads, chunk, speed, share, local)


def levels() -> list[str]:
    """What FASTATTR_CPU_LEVEL can name here: a level above the processor's changes nothing."""
    from fastattr import _core

    name = _core.cpu_level()
    return list(LEVELS[: LEVELS.index(name) + 1])


def cells(one: Line) -> tuple[str, ...]:
    from benchmarks.report import number

    def loop(name: str) -> str:
        second = f" {one.local_share[name]:.0%}" if one.chunk == "cache" else ""
        return f"{number(one.speed[name])} {one.share[name]:.0%}{second}"

    return (
        one.level, one.dtype, str(one.threads), one.chunk, *(number(one.speed[y]) for y in ("read", "write", "bypass")),
        *map(loop, YARDSTICKS),
    )  # fmt: skip


def run(quick: bool = False, path: Path | None = None) -> None:
    from benchmarks import report

    if report.busy():
        print(report.busy())
    print(report.header(COLUMNS), flush=True)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        program = compile_program(Path(folder))
        for level in reversed(levels()):
            for one in lines(program, level, 10 if quick else 30):
                print(report.cells(cells(one), COLUMNS) + ("" if one.reached else "  below the line"), flush=True)
                rows.append(asdict(one) | {"wanted": WANTED, "reached": one.reached})
            if quick:
                break
    print("written to", report.write("kernels", rows, path))


def main() -> int:
    from benchmarks import report

    given = report.parser("the native loops beside the memory bandwidth").parse_args()
    run(given.quick, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
