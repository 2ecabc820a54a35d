"""What a benchmark leaves: one printed row per case, and a JSON file with the facts of the machine."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from benchmarks.memory import MB, Growth
from benchmarks.protocol import Case, Result, measure

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("fastattr", "torch", "captum", "shap", "numpy", "scipy", "scikit-learn")
COLUMNS = (
    ("case", -22), ("B", 4), ("peer ms", 10), ("fastattr ms", 12), ("ratio", 8), ("quartiles", 13), ("wanted", 7),
    ("peer MB", 9), ("fastattr MB", 12), ("evaluations", 12), ("x limit", 8),
)  # fmt: skip
MEMORY_COLUMNS = (("peak memory", -46), ("fastattr MB", 12), ("other MB", 9), ("share", 7), ("wanted", 8))


def processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def facts() -> dict[str, Any]:
    """The machine, the threads and the versions a figure belongs to."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {package: version(package) for package in PACKAGES},
    }


def busy() -> str:
    """A warning where others use the machine: threads that wait for each other then distort even ratios."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return f"the machine is busy: load {load:.1f} before the first case" if load > 0.5 else ""


def number(value: float | None, digits: int = 3) -> str:
    """Three significant digits, an exponent below .001; what was not measured is a dash."""
    if value is None or not math.isfinite(value):
        return "-"
    if 0 < abs(value) < 1e-3:
        return f"{value:.1e}"
    places = digits - 1 - (math.floor(math.log10(abs(value))) if value else 0)
    return f"{value:.{max(0, places)}f}"


def cells(texts: Iterable[str], columns: Sequence[tuple[str, int]] = COLUMNS) -> str:
    pairs = zip(texts, columns, strict=True)
    return " ".join(f"{text:<{-width}}" if width < 0 else f"{text:>{width}}" for text, (_, width) in pairs)


def header(columns: Sequence[tuple[str, int]] = COLUMNS) -> str:
    titles = cells((title for title, _ in columns), columns)
    return titles + "\n" + "-" * len(titles)


def row(result: Result) -> str:
    if result.failed:
        words = f"FAILED: the sides disagree by {result.agreement}; nothing timed"
        return cells((result.name, str(result.batch), words), (*COLUMNS[:2], ("", -1)))
    notes = list(result.notes)
    if result.reached is False:
        notes.insert(0, "below the line")
    low, high = result.spread
    texts = (
        result.name, str(result.batch), number(result.peer_ms), number(result.ours_ms), number(result.ratio),
        f"{number(low)}-{number(high)}", number(result.wanted), number(result.peer_mb), number(result.ours_mb),
        str(result.evaluations), number(result.times_limit),
    )  # fmt: skip
    return cells(texts) + ("  " + "; ".join(notes) if notes else "")


def finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: both become null."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write(name: str, rows: Sequence[dict[str, Any]], path: Path | None = None) -> Path:
    """Writes benchmarks/results/<name>.json, or `path`."""
    path = path or RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(finite({"benchmark": name, "machine": facts(), "rows": list(rows)}), indent=2)
    path.write_text(text + "\n")
    return path


def run_cases(cases: Iterable[Case], budget: float) -> list[dict[str, Any]]:
    """Measures and prints case by case."""
    if busy():
        print(busy())
    print(header(), flush=True)
    rows = []
    for case in cases:
        result = measure(case, budget)
        print(row(result), flush=True)
        rows.append(asdict(result) | {"reached": result.reached})
    return rows


@dataclass(frozen=True)
class MemoryLine:
    """Peak memory of ours as a share of what it is compared with, wanted at most `wanted`."""

    name: str
    ours: Growth
    other: Growth
    wanted: float

    @property
    def share(self) -> float:
        return self.ours.peak / self.other.peak

    def row(self) -> dict[str, Any]:
        return {
            "name": self.name, "ours_mb": self.ours.peak / MB, "other_mb": self.other.peak / MB, "share": self.share,
            "wanted": self.wanted, "reached": self.share <= self.wanted, "memory_by": self.ours.how,
        }  # fmt: skip


def print_memory(lines: Iterable[MemoryLine]) -> list[dict[str, Any]]:
    """Prints line by line."""
    print(header(MEMORY_COLUMNS), flush=True)
    rows = []
    for line in lines:
        numbers = (line.ours.peak / MB, line.other.peak / MB, line.share, line.wanted)
        mark = "" if line.share <= line.wanted else "  above the line"
        print(cells((line.name, *map(number, numbers)), MEMORY_COLUMNS) + mark, flush=True)
        rows.append(line.row())
    return rows


def parser(description: str, path: bool = True) -> argparse.ArgumentParser:
    """The options every benchmark has."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--quick", action="store_true", help="fewer cases and repetitions")
    if path:
        options.add_argument("--json", type=Path, default=None, help="where to write (benchmarks/results/<name>.json)")
    options.add_argument("--threads", type=int, default=None, help="threads of both sides (torch's default)")
    return options


def parse(options: argparse.ArgumentParser) -> argparse.Namespace:
    """The command line; torch's threads are set."""
    given = options.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    return given


def command(run: Callable[[bool, str | None, Path | None], bool], description: str, case: str) -> int:
    """The `main` of a benchmark of cases: ``run(quick, case, json)``; ``case`` says what --case takes."""
    options = parser(description)
    options.add_argument("--case", help=case)
    given = parse(options)
    return 0 if run(given.quick, given.case, given.json) else 1
