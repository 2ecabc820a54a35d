"""`steps="auto"`: what it costs, and whether its error bar tells the truth.

    python -m benchmarks.adaptive [--examples N] [--quick] [--json PATH] [--threads N]

On trained digits networks the truth is the midpoint rule with 2,048 points on a float64 copy of the model, by plain
torch; on random ReLU networks with one hidden layer it is the exact integral. All errors are relative in L1:
|A - truth|_1 / |truth|_1, over one example.
"""

from __future__ import annotations

import copy
import itertools
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import networks, report

TOLERANCE = 0.01
REFERENCE_POINTS = 2048
EVALUATIONS_WANTED = {("relu", "raw"): 38, ("relu", "softmax"): 72, ("gelu", "raw"): 18, ("gelu", "softmax"): 29}
OUTPUTS = {"raw": lambda z: z, "softmax": lambda z: z.softmax(1)}
COLUMNS = (
    ("line", -30), ("examples", 9), ("evaluations", 12), ("wanted", 7), ("median error", 13), ("largest", 9),
    ("violated", 9), ("allowed", 8), ("bar covers", 11), ("wanted", 7), ("at the cap", 11), ("s", 6),
)  # fmt: skip


@dataclass
class Line:
    """One line of the table; shares in [0, 1]. violated: examples that converged, yet whose true error is above the
    tolerance; at_the_cap: examples that stopped unconverged."""

    name: str
    examples: int
    evaluations: float
    evaluations_wanted: float | None
    median_error: float
    largest_error: float
    violated: int
    violated_allowed: int
    covered: float
    covered_wanted: float
    at_the_cap: int
    seconds: float

    @property
    def reached(self) -> bool:
        cheap = self.evaluations_wanted is None or self.evaluations <= self.evaluations_wanted
        return cheap and self.violated <= self.violated_allowed and self.covered >= self.covered_wanted

    def text(self) -> str:
        number = report.number
        texts = (
            self.name, str(self.examples), number(self.evaluations), number(self.evaluations_wanted),
            number(self.median_error), number(self.largest_error), str(self.violated), str(self.violated_allowed),
            f"{self.covered:.1%}", f"{self.covered_wanted:.0%}", str(self.at_the_cap), number(self.seconds),
        )  # fmt: skip
        return report.cells(texts, COLUMNS) + ("" if self.reached else "  missed")


@dataclass(frozen=True)
class Explained:
    """What one call gave, per example: values (B, D) float64, error (B,), evaluations (B,), converged (B,)."""

    values: np.ndarray
    error: np.ndarray
    evaluations: np.ndarray
    converged: np.ndarray
    seconds: float


def explain(model: nn.Module, inputs: Tensor, target: Tensor | None, output: str = "raw") -> Explained:
    import fastattr as fa

    method = fa.IntegratedGradients(model, steps="auto", rule="nested", tolerance=TOLERANCE, output=output)
    start = time.perf_counter()
    att = method(inputs, target=target)
    took = time.perf_counter() - start
    values = att.values.double().flatten(1).numpy()
    return Explained(values, att.error.numpy(), att.evaluations.numpy(), att.converged.numpy(), took)


def relative_l1(values: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(B, D), (B, D) -> (B,)."""
    return np.abs(values - truth).sum(1) / np.abs(truth).sum(1)


def line(
    name: str, found: Explained, truth: np.ndarray, evaluations_wanted: float | None, allowed: int, covered: float
) -> Line:
    error = relative_l1(found.values, truth)
    violated = int((found.converged & (error > TOLERANCE)).sum())
    return Line(
        name, len(error), float(found.evaluations.mean()), evaluations_wanted, float(np.median(error)),
        float(error.max()), violated, allowed, float((found.error >= error).mean()), covered,
        int((~found.converged).sum()), found.seconds,
    )  # fmt: skip


def midpoint_truth(model: nn.Module, inputs: Tensor, target: Tensor, chunk: int = 256) -> dict[str, np.ndarray]:
    """IG from the zero baseline of the raw and the softmax output, each (B, D): both from one forward."""
    model = copy.deepcopy(model).double().requires_grad_(False)
    alphas = (torch.arange(REFERENCE_POINTS, dtype=torch.float64) + 0.5) / REFERENCE_POINTS
    total = {output: torch.zeros(inputs.shape, dtype=torch.float64) for output in OUTPUTS}
    for example, (x, t) in enumerate(zip(inputs.double(), target, strict=True)):
        for part in alphas.split(chunk):
            points = (part.reshape(-1, *[1] * x.dim()) * x).requires_grad_()
            raw = model(points)
            for output, apply in OUTPUTS.items():
                (gradient,) = torch.autograd.grad(apply(raw)[:, t].sum(), points, retain_graph=True)
                total[output][example] += gradient.sum(0)
    scale = inputs.double() / REFERENCE_POINTS
    return {output: (sums * scale).flatten(1).numpy() for output, sums in total.items()}


def digits_lines(examples: int) -> Iterator[Line]:
    """Trained digits networks, unseen digits, predicted class, zero baseline."""
    for activation in ("relu", "gelu"):
        model, images, _ = networks.train_digits(activation)
        inputs = images[:examples]
        with torch.no_grad():
            target = model(inputs).argmax(1)
        truth = midpoint_truth(model, inputs, target)
        for output in OUTPUTS:
            found = explain(model, inputs, target, output)
            wanted = EVALUATIONS_WANTED[activation, output]
            yield line(f"digits CNN, {activation}, {output}", found, truth[output], wanted, 0, 0.95)


def padded(values: np.ndarray, width: int = 64) -> np.ndarray:
    """(B, D) -> (B, width), filled with zeros, which no L1 norm sees."""
    return np.pad(values, ((0, 0), (0, width - values.shape[1])))


def random_relu_line(nets: int, examples: int = 20) -> Line:
    """One hidden layer of 8 to 256 units on 2 to 64 features, float64, against every breakpoint enumerated."""
    from fastattr.reference import exact_relu_integrated_gradients

    random = np.random.default_rng(0)
    found: list[Explained] = []
    truth = []
    for net in range(nets):
        features, hidden = int(2 ** random.uniform(1, 6)), int(2 ** random.uniform(3, 8))
        model = networks.mlp(features, hidden, 1, seed=net).double()
        inputs = 2 * random.standard_normal((examples, features))
        found.append(explain(model, torch.from_numpy(inputs), None))
        w1, b1, w2, b2 = (parameter.detach().numpy() for parameter in model.parameters())
        exact = [exact_relu_integrated_gradients(w1, b1, w2[0], b2[0], x, np.zeros(features)) for x in inputs]
        truth.append(padded(np.array(exact)))
    joined = Explained(
        np.concatenate([padded(one.values) for one in found]),
        np.concatenate([one.error for one in found]),
        np.concatenate([one.evaluations for one in found]),
        np.concatenate([one.converged for one in found]),
        sum(one.seconds for one in found),
    )
    return line("random ReLU nets, exact", joined, np.concatenate(truth), None, int(0.015 * nets * examples), 0.94)


def smooth_gap(nets: int = 20, examples: int = 20) -> float:
    """The largest |gap| / |A|_1 at 31 nested nodes on tanh networks of two hidden layers in float64."""
    import fastattr as fa

    largest = 0.0
    random = torch.Generator().manual_seed(0)
    for net in range(nets):
        model = networks.mlp(20, 64, 32, 1, activation=nn.Tanh, seed=net).double()
        inputs = torch.randn(examples, 20, dtype=torch.float64, generator=random)
        att = fa.IntegratedGradients(model, steps=31, rule="nested")(inputs)
        largest = max(largest, float((att.gap.abs() / att.values.abs().sum(1)).max()))
    return largest


def run(examples: int = 300, nets: int = 50, path: Path | None = None) -> None:
    print(report.header(COLUMNS), flush=True)
    rows: list[dict[str, Any]] = []
    for one in itertools.chain(digits_lines(examples), map(random_relu_line, [nets])):
        print(one.text(), flush=True)
        rows.append(asdict(one) | {"reached": one.reached})
    gap = smooth_gap()
    rows.append({"name": "smooth nets, 31 nodes", "gap": gap, "wanted": 1e-5, "reached": gap <= 1e-5})
    print(f"smooth nets, 31 nodes: largest |gap| / |A|_1 {gap:.1e}, wanted at most 1e-5")
    print("written to", report.write("adaptive", rows, path))


def main() -> int:
    options = report.parser('the accuracy and cost of steps="auto"')
    options.add_argument("--examples", type=int, default=300, help="test digits per network and output")
    given = report.parse(options)
    run(min(given.examples, 24) if given.quick else given.examples, 10 if given.quick else 50, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
