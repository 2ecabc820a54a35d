"""Integrated Gradients, 50 Gauss-Legendre nodes: fastattr beside Captum.

    python -m benchmarks.integrated_gradients [--case NAME] [--quick] [--json PATH] [--threads N]

Captum runs as its documentation shows it, with every row of all steps in one batch; where the activations of that batch
do not fit this machine, the largest `internal_batch_size` that does is used instead, and the row says so.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import networks, report
from benchmarks.memory import Growth, available, peak_growth
from benchmarks.protocol import MANY_KINKS, Case, Side, kinks, prepared
from benchmarks.report import MemoryLine

STEPS = 50
LONGEST = ("ResNet-18 224x224", 8)  # minutes; measured only where everything or this case is asked for
MEMORY_SHARE = 0.5  # of the available memory, for Captum's activations


@dataclass(frozen=True)
class Work:
    """A network and its batch: inputs (B, ...), baseline zero, targets (B,)."""

    model: nn.Module
    inputs: Tensor
    baseline: Tensor
    target: Tensor


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "MLP 30-64-32-2": (partial(networks.mlp, 30, 64, 32, 2), (30,), 2),
    "MLP 784-512-256-10": (partial(networks.mlp, 784, 512, 256, 10), (784,), 10),
    "MLP 20000-512-256-10": (partial(networks.mlp, 20000, 512, 256, 10), (20000,), 10),
    "CNN 28x28": (networks.small_cnn, (1, 28, 28), 10),
    "ResNet-18 64x64": (networks.resnet18, (3, 64, 64), 1000),
    "ResNet-18 224x224": (networks.resnet18, (3, 224, 224), 1000),
}


@functools.cache
def work(network: str, batch: int) -> Work:
    """The same weights, inputs and targets for both sides and in every process."""
    build, shape, classes = NETWORKS[network]
    random = torch.Generator().manual_seed(batch)
    inputs = torch.randn(batch, *shape, generator=random)
    return Work(build(), inputs, torch.zeros_like(inputs), torch.randint(classes, (batch,), generator=random))


def saved_bytes_per_row(model: nn.Module, row: Tensor) -> int:
    """What autograd keeps of one row between forward and backward; parameters do not count, each storage once."""
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # an output that its own node held would stay

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = model(row.clone().requires_grad_())  # alive until the sum, so that no address is used twice
    total = sum(sizes.values())
    del output
    return total


def batch_that_fits(job: Work, steps: int) -> int | None:
    """Captum's `internal_batch_size`: None, its default, while all rows' activations fit."""
    per_row = saved_bytes_per_row(job.model, job.inputs[:1])
    batch, room = len(job.inputs), int(MEMORY_SHARE * available())
    return None if batch * steps * per_row <= room else max(1, room // (per_row * batch)) * batch


def captum_side(network: str, batch: int, steps: int = STEPS) -> Side:
    from captum.attr import IntegratedGradients

    job = work(network, batch)
    internal = batch_that_fits(job, steps)
    method = IntegratedGradients(job.model)

    def run() -> np.ndarray:
        values = method.attribute(
            job.inputs, job.baseline, target=job.target, n_steps=steps, internal_batch_size=internal
        )
        return values.detach().numpy()

    note = f"{batch * steps} rows do not fit: captum internal_batch_size={internal}" if internal else ""
    return Side(run, job.model, job.inputs[:1], note)


def fastattr_side(
    network: str, batch: int, steps: int = STEPS, rows: int | str = "auto", engine: str = "callback"
) -> Side:
    import fastattr as fa

    fa.set_num_threads(torch.get_num_threads())
    job = work(network, batch)
    method = fa.IntegratedGradients(job.model, steps=steps, rows=rows, engine=engine)

    def run() -> np.ndarray:
        return method(job.inputs, target=job.target, baseline=job.baseline).values.numpy()

    def evaluations() -> int:  # of the network as a whole: a prefix takes the first layer out of most of them
        return int(method(job.inputs, target=job.target, baseline=job.baseline).evaluations.sum())

    own = engine == "native" or network.startswith("ResNet")  # a hook on the model would switch off its prefix
    return Side(run, job.model, job.inputs[:1], evaluations=evaluations if own else None)


def cases() -> Iterator[Case]:
    """The lines to reach: through autograd first, then dense networks natively."""
    lines = (
        ("MLP 30-64-32-2", 1, 8.0),
        ("MLP 30-64-32-2", 32, 8.0),
        ("MLP 30-64-32-2", 256, 12.0),
        ("CNN 28x28", 16, 1.6),
        ("CNN 28x28", 64, 3.5),
        ("ResNet-18 224x224", 1, 1.7),
        (*LONGEST, 1.7),
    )
    for network, batch, wanted in lines:
        large = network.startswith("ResNet")
        sides = (partial(captum_side, network, batch), partial(fastattr_side, network, batch))
        agree = partial(kinks, rounding=MANY_KINKS) if large else None
        yield Case(network, batch, *sides, wanted=wanted, memory=not large, agree=agree)
    native = (
        ("MLP 30-64-32-2", 1, 25.0),
        ("MLP 30-64-32-2", 32, 25.0),
        ("MLP 30-64-32-2", 256, 30.0),
        ("MLP 784-512-256-10", 1, 10.0),
        ("MLP 784-512-256-10", 64, 8.0),
    )
    for network, batch, wanted in native:
        ours = partial(fastattr_side, network, batch, engine="native")
        yield Case(f"{network} native", batch, partial(captum_side, network, batch), ours, wanted=wanted)


def memory_lines(network: str = "ResNet-18 64x64", batch: int = 8) -> Iterator[MemoryLine]:
    """Against Captum, and flat in the number of steps (the middle one of three processes each)."""

    def peak(side: Callable[..., Side], steps: int, repeat: int = 3) -> Growth:
        return peak_growth(partial(prepared, partial(side, network, batch, steps)), repeat=repeat)

    few = peak(fastattr_side, STEPS)
    title = f"{network} B={batch}"
    yield MemoryLine(f"{title}, {STEPS} steps v Captum", few, peak(captum_side, STEPS, 1), 1 / 8)
    yield MemoryLine(f"{title}, {8 * STEPS} v {STEPS} steps", peak(fastattr_side, 8 * STEPS), few, 1.1)


def run(quick: bool = False, only: str | None = None, path: Path | None = None) -> bool:
    """Runs the cases whose name and batch contain `only`; False if a case failed."""
    chosen = [case for case in cases() if only is None or only in f"{case.name} B={case.batch}"]
    if quick:
        chosen = [case for case in chosen if (case.name, case.batch) != LONGEST]
    rows = report.run_cases(chosen, budget=3 if quick else 10) if chosen else []
    if only is None or only in "memory":
        print()
        rows += report.print_memory(memory_lines())
    print("written to", report.write("integrated_gradients", rows, path))
    return not any(row.get("failed") for row in rows)


if __name__ == "__main__":
    sys.exit(
        report.command(
            run, "Integrated Gradients beside Captum", 'part of a case\'s name, as "CNN", "CNN 28x28 B=16" or "memory"'
        )
    )
