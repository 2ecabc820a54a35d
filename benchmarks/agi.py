"""AGI, every path of a batch at once, beside Algorithm 1 as the published code runs it.

    python -m benchmarks.agi [--case NAME] [--quick] [--json PATH] [--threads N]

The peer is plain PyTorch: one image and one class at a time, the softmax differentiated twice a step, parameters not
frozen. Both sides take the same steps towards the same classes (quadrature "left", Algorithm 1 as printed). They must
agree first: in float64, on one image and some classes, to 1e-9 of the largest attribution. What is timed is float32,
where gradients differ in the last bit between one row and many, the sign of a gradient near zero with them, and the
path from there on: those attributions are held to a correlation, .9999 on digits. An untrained ResNet amplifies every
such difference: .98.
"""

from __future__ import annotations

import copy
import functools
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks import networks, report
from benchmarks.protocol import Agreement, Case, Side, close

STEPS = 20
DIGITS, RESNET = "digits CNN", "ResNet-18 64px"
CORRELATION = {DIGITS: 0.9999, RESNET: 0.98}
EXACT, EXACT_CLASSES = 1e-9, 3
COLUMNS = (
    ("case", -22), ("", -9), ("forwards", 10), ("gradients", 10), ("units", 10), ("formula", 10), ("paths", 7),
    ("arrived", 8), ("steps", 8),
)  # fmt: skip


@dataclass(frozen=True)
class Work:
    """inputs (B, ...) in [0, 1]; target (B,), predicted; classes (B, k), all false."""

    model: nn.Module
    inputs: Tensor
    target: Tensor
    classes: Tensor


@functools.cache
def work(network: str, batch: int) -> Work:
    """The same for both sides: every false class of a digit, ten drawn ones of a thousand."""
    if network == DIGITS:
        model, images, _ = networks.train_digits()
        inputs, classes = images[:batch].clone(), 10
    else:
        model, classes = networks.resnet18(1000), 1000
        inputs = torch.rand(batch, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        target = model(inputs).argmax(1)
    draw = torch.Generator().manual_seed(1)
    others = [torch.tensor([c for c in range(classes) if c != t]) for t in target.tolist()]
    chosen = [o if classes == 10 else o[torch.randperm(len(o), generator=draw)[:10]].sort()[0] for o in others]
    return Work(model, inputs, target, torch.stack(chosen))


# ---- the sides ------------------------------------------------------------------------------


def algorithm_1(model: nn.Module, x: Tensor, target: int, goal: int, step_size: float) -> tuple[Tensor, int, bool]:
    """One path from x (1, ...): A_i, the steps, and whether the class was reached on the way."""
    point, total = x.clone(), torch.zeros_like(x)
    for step in range(STEPS):
        point = point.detach().requires_grad_()
        scores = model(point)
        if int(scores.argmax(1)) == goal:
            return total, step, True
        shares = functional.softmax(scores, 1)
        model.zero_grad()
        shares[0, goal].backward(retain_graph=True)
        assert point.grad is not None
        towards = point.grad.clone()
        model.zero_grad()
        point.grad = None
        shares[0, target].backward()
        moved = torch.clamp(point.detach() + step_size * towards.sign(), 0, 1)
        total -= point.grad * (moved - point.detach())
        point = moved
    return total, STEPS, False


def published_side(network: str, batch: int, step_size: float) -> Side:
    job = work(network, batch)

    def run() -> np.ndarray:
        found = torch.zeros_like(job.inputs)
        for e in range(batch):
            for goal in job.classes[e].tolist():
                x = job.inputs[e : e + 1]
                found[e] += algorithm_1(job.model, x, int(job.target[e]), goal, step_size)[0][0]
        job.model.zero_grad()
        return found.numpy()

    return Side(run, job.model, job.inputs[:1])


def ours(job: Work, step_size: float) -> Callable[[], Any]:
    """Our call, which returns the `Attribution`."""
    import fastattr as fa

    fa.set_num_threads(torch.get_num_threads())
    options: dict[str, Any] = {"step_size": step_size, "max_steps": STEPS, "clamp": (0.0, 1.0)}
    method = fa.AGI(job.model, classes=job.classes, quadrature="left", **options)
    return lambda: method(job.inputs, target=job.target)


def fastattr_side(network: str, batch: int, step_size: float) -> Side:
    job = work(network, batch)
    call = ours(job, step_size)
    return Side(lambda: call().values.numpy(), job.model, job.inputs[:1])


def exact(network: str, batch: int, step_size: float) -> Agreement:
    """Both sides in float64, the first image and classes."""
    job = work(network, batch)
    model, x, target = copy.deepcopy(job.model).double(), job.inputs[:1].double(), job.target[:1]
    some = Work(model, x, target, job.classes[:1, :EXACT_CLASSES])
    found = ours(some, step_size)().values.numpy()
    paths = [algorithm_1(model, x, int(target), goal, step_size)[0] for goal in some.classes[0].tolist()]
    return close(found, torch.stack(paths).sum(0).numpy(), EXACT)


def agreement(network: str, batch: int, step_size: float, found: np.ndarray, peer: np.ndarray) -> Agreement:
    if found.shape != peer.shape or not (np.isfinite(found).all() and np.isfinite(peer).all()):
        return Agreement(False, math.inf, "their shapes, or values that are not finite")
    double = exact(network, batch, step_size)
    correlation = float(np.corrcoef(found.ravel(), peer.ravel())[0, 1])
    scale = float(np.abs(found).sum() / np.abs(peer).sum())
    words = f"float64 {double.words}; float32 correlation {correlation:.6f}, L1 norms {scale:.4f}"
    holds = double.holds and correlation >= CORRELATION[network] and abs(scale - 1) <= 0.01
    return Agreement(holds, 1 - correlation, words)


# ---- what it costs --------------------------------------------------------------------------


@dataclass
class Rows:
    """Rows that the model computed forward, and rows whose gradient was asked of it."""

    forwards: int = 0
    gradients: int = 0


@contextmanager
def counted(model: nn.Module) -> Iterator[Rows]:
    rows = Rows()

    def backward(gradient: Tensor) -> None:
        rows.gradients += len(gradient)

    def forward(module: nn.Module, inputs: object, output: Tensor) -> None:
        rows.forwards += len(output)
        if output.requires_grad:
            output.register_hook(backward)

    handle = model.register_forward_hook(forward)
    try:
        yield rows
    finally:
        handle.remove()


def formula(steps: np.ndarray) -> int:
    """Forward-units of "left" paths, ``steps`` (B, k): a forward, or a gradient towards the input, is 1.

    1 + (1 + k) at x for each example, 3 for every later vertex but those after `STEPS` steps.
    """
    examples, k = steps.shape
    return int(examples * (2 + k) + 3 * (steps - (steps == STEPS)).sum())


def costs(name: str, network: str, batch: int, step_size: float) -> list[dict[str, Any]]:
    """Rows and units of both sides; raises if ours are not those of the formula and of `paths.forward_units`."""
    job = work(network, batch)
    call = ours(job, step_size)
    peer, kept = published_side(network, batch, step_size), []
    with counted(job.model) as theirs:
        peer.run()
    call()  # what a row costs is measured in the first call
    with counted(job.model) as rows:
        kept.append(call())
    steps, reached = (np.asarray(a) for a in (kept[0].paths.steps, kept[0].paths.reached))
    expected, reported = formula(steps), int(np.asarray(kept[0].paths.forward_units).sum())
    looks = int((steps == STEPS).sum())  # forwards without a gradient, to see where these paths have ended
    units = rows.forwards + rows.gradients - looks
    if not units == expected == reported:
        raise AssertionError(f"{name}: counted {units} forward-units, formula {expected}, reported {reported}")
    shared: dict[str, Any] = {"name": name, "paths": steps.size, "arrived": int(reached.sum()), "steps": steps.mean()}
    mine = {"side": "fastattr", "forwards": rows.forwards, "gradients": rows.gradients, "units": units}
    # a gradient that also reaches the parameters costs about two forwards
    others = {"side": "published", "forwards": theirs.forwards, "gradients": theirs.gradients}
    others["units"] = theirs.forwards + 2 * theirs.gradients
    return [shared | others, shared | mine | {"formula": expected}]


# ---- the lines ------------------------------------------------------------------------------

LINES: dict[str, tuple[str, int, float, float]] = {
    "AGI digits, eps .05": (DIGITS, 32, 0.05, 5.0),
    "AGI digits, eps .01": (DIGITS, 32, 0.01, 9.0),
    "AGI ResNet-18 64px": (RESNET, 2, 0.05, 7.0),
}
"""Network, examples, step size and the ratio wanted."""


def cases(only: str | None) -> Iterator[Case]:
    for name, (network, batch, step_size, wanted) in LINES.items():
        if only is None or only in name:
            sides = [partial(side, network, batch, step_size) for side in (published_side, fastattr_side)]
            agree = partial(agreement, network, batch, step_size)
            yield Case(name, batch, *sides, wanted=wanted, memory=False, agree=agree)


def print_costs(names: list[str]) -> list[dict[str, Any]]:
    print(report.header(COLUMNS), flush=True)
    found = []
    for name in names:
        network, batch, step_size, _ = LINES[name]
        for row in costs(name, network, batch, step_size):
            numbers = (str(row.get(key, "-")) for key in ("forwards", "gradients", "units", "formula", "paths"))
            texts = (row["name"], row["side"], *numbers, str(row["arrived"]), report.number(row["steps"]))
            print(report.cells(texts, COLUMNS), flush=True)
            found.append(row)
    return found


def run(quick: bool = False, only: str | None = None, path: Path | None = None) -> bool:
    """Runs the lines whose name contains `only`, without ResNet-18 if `quick`; False if the sides disagreed."""
    chosen = [case for case in cases(only) if not (quick and "ResNet" in case.name)]
    print(f"at most {STEPS} steps a path")
    rows = report.run_cases(chosen, budget=3 if quick else 10)
    for row in rows:
        print(f"{row['name']}: {row['agreement']}")
    print()
    rows += print_costs([case.name for case in chosen])
    print("written to", report.write("agi", rows, path))
    return not any(row.get("failed") for row in rows)


if __name__ == "__main__":
    sys.exit(
        report.command(
            run,
            "AGI beside Algorithm 1, one image and one class at a time",
            'part of a line\'s name, as "digits" or "ResNet"',
        )
    )
