"""GANMEX beside MDTS and zero: is the class reached, is it believed, is it near, does it say why this and not that.

python -m benchmarks.ganmex [--only digits] [--seeds 2] [--quick]

Two seeds of digits (8 x 8), rendered shapes with known counterfactuals (32 x 32 x 3) and measurements (30 features),
with the ablations of the digits: about 20 minutes on one core. --quick is one seed of digits in under a minute, with
looser lines.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.ganmex_tasks import TASKS, Figure, Task, edit_figures, fitted

COLUMNS = (("task", -8), ("variant", -25), ("seed", 4), ("figure", -44), ("mean", 8), ("+-", 8), ("wanted", 16))
VARIANTS = (
    ("digits", "full"),
    ("digits", "no similarity"),
    ("digits", "no similarity, drawn anew"),
    ("digits", "no swap"),
    ("shapes", "full"),
    ("vectors", "full"),
)
QUICK_STEPS = 200


@dataclass(frozen=True)
class Limit:
    """A figure is wanted at least, or at most, this."""

    value: float
    most: bool = False

    def holds(self, mean: float) -> bool:
        return mean <= self.value if self.most else mean >= self.value

    def __str__(self) -> str:
        return f"{'<=' if self.most else '>='} {self.value:.3g}"


Figures = dict[str, Figure]
Limits = Callable[[Figures], dict[str, Limit]]


def digits_limits(found: Figures) -> dict[str, Limit]:
    return {
        "conversion": Limit(0.97),
        "judge": Limit(0.95),
        "share of MDTS distance": Limit(0.9, most=True),
        "closer than MDTS": Limit(0.85),
    }


def quick_limits(found: Figures) -> dict[str, Limit]:
    return {
        "conversion": Limit(0.9),
        "judge": Limit(0.9),
        "share of MDTS distance": Limit(0.95, most=True),
        "closer than MDTS": Limit(0.75),
    }


def shapes_limits(found: Figures) -> dict[str, Limit]:
    zero, mdts = found["mass, zero"][0], found["mass, MDTS"][0]
    return {
        "judge": Limit(0.95),
        "share of MDTS to the true": Limit(0.5, most=True),
        "mass, GANMEX": Limit(max(0.65, mdts + 0.1, zero)),
        "cosine of two versus, GANMEX": Limit(0.6, most=True),
    }


def vectors_limits(found: Figures) -> dict[str, Limit]:
    return {"conversion": Limit(0.95), "judge": Limit(0.9), "share of MDTS distance": Limit(1.0, most=True)}


LIMITS: dict[tuple[str, str], Limits] = {
    ("digits", "full"): digits_limits,
    ("digits", "no similarity, drawn anew"): lambda found: {"share of MDTS distance": Limit(1.0)},
    ("shapes", "full"): shapes_limits,
    ("vectors", "full"): vectors_limits,
}


@dataclass
class Run:
    """One training and its figures."""

    task: str
    variant: str
    seed: int
    figures: Figures
    limits: dict[str, Limit]
    seconds: float
    selected: dict[str, float]

    def missed(self) -> list[str]:
        return [name for name, limit in self.limits.items() if not limit.holds(self.figures[name][0])]

    def rows(self) -> Iterator[str]:
        for name, (mean, error) in self.figures.items():
            limit = self.limits.get(name)
            mark = "" if limit is None or limit.holds(mean) else "  MISSED"
            texts = (self.task, self.variant, str(self.seed), name, f"{mean:.3f}", f"{error:.3f}", str(limit or ""))
            yield report.cells(texts, COLUMNS) + mark
        step = self.selected["step"]
        yield f"{self.task}, {self.variant}, seed {self.seed}: {self.seconds:.0f} s, checkpoint of step {step:.0f}"


def runs(task: Task, variant: str, seeds: int, first: int, quick: bool) -> Iterator[Run]:
    for seed in range(first, first + seeds):
        start = time.perf_counter()
        gx = fitted(task, variant, seed, QUICK_STEPS if quick else None)
        seconds = time.perf_counter() - start
        figures = edit_figures(task, gx)
        limits = quick_limits if quick else LIMITS.get((task.name, variant), lambda found: {})
        yield Run(task.name, variant, seed, figures, limits(figures), seconds, gx.selected)


def ablation_limits(found: list[Run]) -> None:
    """Without the explained classifier in the loop its conversion falls by two points or more.

    Without similarity edits go farther than with it. An edit is near x even so, one drawn anew is farther than MDTS.
    """
    for run in found:
        full = [r for r in found if (r.task, r.variant, r.seed) == (run.task, "full", run.seed)]
        if run.variant == "no swap" and full:
            run.limits["conversion"] = Limit(full[0].figures["conversion"][0] - 0.02, most=True)
        if run.variant == "no similarity" and full:
            run.limits["share of MDTS distance"] = Limit(1.2 * full[0].figures["share of MDTS distance"][0])


def run(only: str | None = None, seeds: int = 2, first: int = 0, quick: bool = False, path: Path | None = None) -> bool:
    """Trains, prints and writes; whether every line was reached."""
    chosen = [v for v in VARIANTS if only is None or only in f"{v[0]}, {v[1]}"]
    if quick:
        chosen, seeds = [("digits", "full")], 1
    print(report.header(COLUMNS), flush=True)
    found: list[Run] = []
    tasks: dict[str, Task] = {}
    for name, variant in chosen:
        if name not in tasks:
            tasks[name] = TASKS[name]()
            shares = tasks[name].shares()
            print(f"{name}: classifier {shares[0]:.1%}, judge {shares[1]:.1%} of unseen inputs right", flush=True)
        for one in runs(tasks[name], variant, seeds, first, quick):
            found.append(one)
            ablation_limits(found)
            print("\n".join(one.rows()), flush=True)
    missed = [f"{one.task}, {one.variant}, seed {one.seed}: {name}" for one in found for name in one.missed()]
    print("every line reached" if not missed else "missed: " + "; ".join(missed))
    print("written to", report.write("ganmex", [_plain(one) for one in found], path))
    return not missed


def _plain(one: Run) -> dict[str, Any]:
    found = asdict(one)
    found["limits"] = {name: str(limit) for name, limit in one.limits.items()}
    return found | {"missed": one.missed()}


def main() -> int:
    options = report.parser("GANMEX beside MDTS and the zero baseline")
    options.add_argument("--only", help='part of a name, as "digits" or "digits, no swap"')
    options.add_argument("--seeds", type=int, default=2)
    options.add_argument("--first", type=int, default=0, help="the first seed")
    given = report.parse(options)
    return 0 if run(given.only, given.seeds, given.first, given.quick, given.json) else 1


if __name__ == "__main__":
    sys.exit(main())
