"""Structure used: affine prefixes and folded copies, 50 Gauss-Legendre nodes, fastattr beside Captum.

    python -m benchmarks.structure [--case NAME] [--quick] [--json PATH] [--threads N]

Both sides sum the gradients of piecewise linear networks at points that differ in the last bit, so that now and then a
point lies on the other side of a kink: one example of many then differs by a node's weight times a unit's share. The
sides agree if most examples do to rounding and none differs by more than such kinks, see `kinks` in protocol.py.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks import report
from benchmarks.integrated_gradients import LONGEST, STEPS, captum_side, work
from benchmarks.protocol import MANY_KINKS, Case, Side, kinks


def fastattr_side(network: str, batch: int, optimize: bool = False, note: str = "", engine: str = "callback") -> Side:
    """Counts by the engine's own report: a hook on the model would switch off what is measured."""
    import fastattr as fa

    fa.set_num_threads(torch.get_num_threads())
    job = work(network, batch)
    method = fa.IntegratedGradients(job.model, steps=STEPS, engine=engine, optimize=optimize)
    ran: list[fa.Attribution] = []

    def run() -> np.ndarray:
        ran[:] = [method(job.inputs, target=job.target, baseline=job.baseline)]
        if note not in ran[0].engine:
            raise RuntimeError(f"expected {note!r} to run, got {ran[0].engine!r}")
        return ran[0].values.numpy()

    return Side(run, job.model, job.inputs[:1], evaluations=lambda: int(ran[0].evaluations.sum()))


def cases() -> Iterator[Case]:
    lines = (
        ("MLP 784-512-256-10", 1, 1.0, False, "affine prefix"),
        ("MLP 784-512-256-10", 64, 1.0, False, "affine prefix"),
        ("MLP 20000-512-256-10", 8, 15.0, False, "affine prefix"),
        ("MLP 20000-512-256-10", 64, 30.0, False, "affine prefix"),
        ("ResNet-18 224x224", 1, 2.5, True, "optimized"),
        (*LONGEST, 2.5, True, "optimized"),
    )
    for batch, wanted in ((8, 15.0), (64, 30.0)):  # what runs by default
        network = "MLP 20000-512-256-10"
        ours = partial(fastattr_side, network, batch, note="affine prefix, swept", engine="auto")
        yield Case(f"{network} native", batch, partial(captum_side, network, batch), ours, wanted, agree=kinks)
    for network, batch, wanted, optimize, note in lines:
        ours = partial(fastattr_side, network, batch, optimize, note)
        large = network.startswith("ResNet")
        agree = partial(kinks, rounding=MANY_KINKS) if large else kinks
        yield Case(network, batch, partial(captum_side, network, batch), ours, wanted, memory=not large, agree=agree)


def run(quick: bool = False, only: str | None = None, path: Path | None = None) -> bool:
    """Runs the cases whose name and batch contain `only`; False if a case failed."""
    chosen = [case for case in cases() if only is None or only in f"{case.name} B={case.batch}"]
    if quick:
        chosen = [case for case in chosen if (case.name, case.batch) != LONGEST]
    rows = report.run_cases(chosen, budget=3 if quick else 10) if chosen else []
    print("written to", report.write("structure", rows, path))
    return not any(row.get("failed") for row in rows)


if __name__ == "__main__":
    sys.exit(
        report.command(
            run,
            "affine prefixes and folded copies beside Captum",
            'part of a case\'s name, as "MLP" or "MLP 20000-512-256-10 B=8"',
        )
    )
