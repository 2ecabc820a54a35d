"""The sampled methods, 50 samples an example: fastattr beside Captum and shap.

    python -m benchmarks.sampled [--case NAME] [--quick] [--json PATH] [--threads N]

Both sides estimate the same mean from as many gradients. They draw different numbers, so they agree in distribution
only: see `Truth`. Captum runs as its documentation shows it, all samples in one batch, and shap with its own batches of
50; shap is asked for the predicted class alone (its default explains every class), which both sides then find out.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import networks, report
from benchmarks.memory import Growth, peak_growth
from benchmarks.protocol import Agreement, Case, Side, prepared
from benchmarks.report import MemoryLine

NETWORK = "CNN 28x28"
BATCH, SAMPLES, REFERENCES = 64, 50, 100
TRUTH_SAMPLES, TRUTH_SEED = 2000, 1
NOISE = 0.15  # standard deviation; every example's range is 1, so it is the share of the range too
FARTHEST = 1.2  # root mean square distance to the truth, in standard errors of independent draws
SCALE_ERRORS = 4  # standard errors by which the scales of both sides may differ
CAPTUM = "Captum"


@dataclass(frozen=True)
class Work:
    """inputs (B, ...), each example's least value 0 and largest 1; references (M, ...); target (B,), predicted."""

    model: nn.Module
    inputs: Tensor
    references: Tensor
    target: Tensor


@functools.cache
def work() -> Work:
    """The same for all sides and in every process."""
    random = torch.Generator().manual_seed(0)
    inputs = torch.randn(BATCH, 1, 28, 28, generator=random)
    least, most = inputs.amin((1, 2, 3), keepdim=True), inputs.amax((1, 2, 3), keepdim=True)
    model, inputs = networks.small_cnn(), (inputs - least) / (most - least)
    with torch.no_grad():
        target = model(inputs).argmax(1)
    return Work(model, inputs, torch.rand(REFERENCES, 1, 28, 28, generator=random), target)


def seed_peers() -> None:
    """Peers draw from the global states."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002


# ---- the sides ------------------------------------------------------------------------------


def noise_tunnel_side(samples: int = SAMPLES) -> Side:
    from captum.attr import NoiseTunnel, Saliency

    job = work()
    seed_peers()
    method = NoiseTunnel(Saliency(job.model))
    options = {"nt_type": "smoothgrad", "nt_samples": samples, "stdevs": NOISE, "target": job.target, "abs": False}
    return Side(lambda: method.attribute(job.inputs, **options).detach().numpy(), job.model, job.inputs[:1])


def captum_shap_side(samples: int = SAMPLES) -> Side:
    from captum.attr import GradientShap

    job = work()
    seed_peers()
    method = GradientShap(job.model)
    options = {"n_samples": samples, "stdevs": NOISE, "target": job.target}
    return Side(
        lambda: method.attribute(job.inputs, job.references, **options).detach().numpy(), job.model, job.inputs[:1]
    )


def shap_side(samples: int = SAMPLES) -> Side:
    from shap import GradientExplainer

    job = work()
    seed_peers()
    explainer = GradientExplainer(job.model, job.references)

    def run() -> np.ndarray:
        values, _ = explainer.shap_values(job.inputs, nsamples=samples, ranked_outputs=1)
        return values[..., 0]

    return Side(run, job.model, job.inputs[:1])


def fastattr_side(
    kind: str, samples: int = SAMPLES, finds_class: bool = False, seed: int = 0, stratified: bool = True
) -> Side:
    """kind: "smooth", "shap" (noisy inputs) or "expected"."""
    import fastattr as fa

    fa.set_num_threads(torch.get_num_threads())
    job = work()
    common = {"samples": samples, "seed": seed}
    if kind == "smooth":
        method = fa.SmoothGrad(job.model, noise=NOISE, **common)
    else:
        noise = NOISE if kind == "shap" else 0.0
        method = fa.GradientShap(job.model, job.references, noise=noise, stratified=stratified, **common)
    target = None if finds_class else job.target
    return Side(lambda: method(job.inputs, target=target), job.model, job.inputs[:1])


def values_side(*args: object, **options: object) -> Side:
    side = fastattr_side(*args, **options)
    return Side(lambda: side.run().values.numpy(), side.model, side.row)


# ---- agreement in distribution --------------------------------------------------------------


@dataclass(frozen=True)
class Truth:
    """The mean that both sides estimate, from `TRUTH_SAMPLES` independent draws of ours under another seed.

    values, deviation (of one draw): (B, D) float64. A side agrees if its distance to `values`, in the standard errors
    of as many independent draws and with the truth's own, is at most `FARTHEST` in the root mean square; that is 1 for
    independent draws and less for stratified ones. What so many noisy values cannot show one by one, their scale does:
    <A, truth> / <truth, truth> of the two sides, averaged over the examples, may differ by `SCALE_ERRORS` standard
    errors. (The truth's noise is in both and cancels.)
    """

    values: np.ndarray
    deviation: np.ndarray

    def distance(self, values: np.ndarray) -> float:
        error = self.deviation * math.sqrt(1 / SAMPLES + 1 / TRUTH_SAMPLES)
        seen = error > 0
        return float(np.sqrt(np.mean(((values - self.values)[seen] / error[seen]) ** 2)))

    def relative_l1(self, values: np.ndarray) -> float:
        return float(np.median(np.abs(values - self.values).sum(1) / np.abs(self.values).sum(1)))

    def scale(self, values: np.ndarray) -> np.ndarray:
        """(B,)"""
        return (values * self.values).sum(1) / (self.values**2).sum(1)

    def agree(self, ours: np.ndarray, peer: np.ndarray) -> Agreement:
        if ours.shape != peer.shape or not (np.isfinite(ours).all() and np.isfinite(peer).all()):
            return Agreement(False, math.inf, "their shapes, or values that are not finite")
        ours, peer = (side.reshape(len(side), -1).astype(np.float64) for side in (ours, peer))
        apart = self.scale(ours) - self.scale(peer)
        shift, error = float(apart.mean()), float(apart.std(ddof=1) / math.sqrt(len(apart)))
        distances = self.distance(peer), self.distance(ours)
        words = (
            f"distance to {TRUTH_SAMPLES} samples {distances[0]:.2f} / {distances[1]:.2f} standard errors (peer / ours)"
            f", scales apart by {shift:+.2%} (standard error {error:.2%})"
            f", L1 error {self.relative_l1(peer):.1%} / {self.relative_l1(ours):.1%}"
        )
        return Agreement(max(distances) <= FARTHEST and abs(shift) <= SCALE_ERRORS * error, max(distances), words)


@functools.cache
def truth(kind: str) -> Truth:
    found = fastattr_side(kind, TRUTH_SAMPLES, seed=TRUTH_SEED, stratified=False).run()
    values, error = (a.double().flatten(1).numpy() for a in (found.values, found.standard_error))
    return Truth(values, error * math.sqrt(TRUTH_SAMPLES))


def agreement(kind: str, ours: np.ndarray, peer: np.ndarray) -> Agreement:
    return truth(kind).agree(ours, peer)


# ---- the lines ------------------------------------------------------------------------------

LINES: dict[str, tuple[str, Callable[..., Side], Callable[..., Side], float]] = {
    "SmoothGrad v Captum": ("smooth", noise_tunnel_side, partial(values_side, "smooth"), 2.0),
    "GradientShap v Captum": ("shap", captum_shap_side, partial(values_side, "shap"), 2.0),
    "GradientShap v shap": ("expected", shap_side, partial(values_side, "expected", finds_class=True), 5.0),
}


def cases(only: str | None) -> Iterator[Case]:
    for name, (kind, peer, ours, wanted) in LINES.items():
        if only is None or only in name:
            yield Case(name, BATCH, peer, ours, wanted=wanted, memory=False, agree=partial(agreement, kind))


def memory_lines(only: str | None) -> Iterator[MemoryLine]:
    """Against the peer, and flat in the number of samples (the middle one of three processes each)."""

    def peak(side: Callable[..., Side], samples: int, repeat: int = 3) -> Growth:
        return peak_growth(partial(prepared, partial(side, samples=samples)), repeat=repeat)

    for name, (_, peer, ours, _) in LINES.items():
        if only is None or only in name or only in "memory":
            few = peak(ours, SAMPLES)
            yield MemoryLine(name, few, peak(peer, SAMPLES, 1), 1 / 8 if CAPTUM in name else math.inf)
            if CAPTUM in name:
                title = f"{name.split()[0]}, {8 * SAMPLES} v {SAMPLES} samples"
                yield MemoryLine(title, peak(ours, 8 * SAMPLES), few, 1.1)


def run(quick: bool = False, only: str | None = None, path: Path | None = None) -> bool:
    """Runs the lines whose name contains `only`, and the memory of all if that is "memory"; False if one failed."""
    chosen = list(cases(only))
    print(f"{NETWORK}, {BATCH} examples, {SAMPLES} samples each")
    rows = report.run_cases(chosen, budget=3 if quick else 10) if chosen else []
    for row in rows:
        print(f"{row['name']}: {row['agreement']}")
    if not quick:
        print()
        rows += report.print_memory(memory_lines(only))
    print("written to", report.write("sampled", rows, path))
    return not any(row.get("failed") for row in rows)


if __name__ == "__main__":
    sys.exit(
        report.command(
            run,
            "SmoothGrad, GradientShap and Expected Gradients beside Captum and shap",
            'part of a line\'s name, as "shap", "SmoothGrad" or "memory"',
        )
    )
