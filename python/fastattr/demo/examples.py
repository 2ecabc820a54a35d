"""Which digits are shown, and their maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..datasets import Split
from ..visualize.convert import to_numpy
from .network import predict, torch_of

if TYPE_CHECKING:
    import torch

    from ..attribution import Attribution

PAIRS = {3: 8, 4: 9, 7: 1, 5: 6}
"""The digits that are explained, each with the digit it is most easily taken for."""
TOLERANCE = 0.01
DRAWS = 100
"""Of SmoothGrad."""
REFERENCES = 100
"""Training images that ExpectedGradients starts from; each is drawn twice."""
PUSH, PUSHES = 0.01, 100
"""Ink that a step of AGI adds to a pixel or takes from it, and the most steps."""
CHECK_STEPS, CHECK_DRAWS, CHECK_ROUNDS = 2048, 4096, 80
"""Gradients by which the error bars are checked: of the integral, of SmoothGrad, and of each of `REFERENCES`."""


@dataclass(frozen=True)
class Map:
    """One digit's attributions by one method, with the certificates of `fastattr.Attribution`."""

    method: str
    values: NDArray[np.float64]  # (8, 8)
    output: float
    baseline_output: float
    gap: float
    error: float
    true_error: float
    evaluations: int
    converged: bool
    milliseconds: float


@dataclass(frozen=True)
class Push:
    """Where the path of AGI towards one other digit ended, and what probability the digit itself still has there."""

    goal: int
    steps: int
    reached: bool
    share: float
    image: NDArray[np.float64]  # (8, 8)


@dataclass(frozen=True)
class Example:
    """A digit, its look-alike of the training part, the maps by name, and where AGI's paths ended."""

    digit: int
    rival: int
    image: NDArray[np.float64]  # (8, 8), ink 1
    rival_image: NDArray[np.float64]
    maps: dict[str, Map]
    pushes: list[Push]


def explain(network: torch.nn.Module, data: Split, seed: int = 0) -> list[Example]:
    """Every digit of `PAIRS`, explained by every method, one batch a method.

    The maps are named saliency, input_x_gradient, smooth, integrated, expected, versus (integrated, against the
    look-alike), from_rival (the same, starting from the nearest training image of the look-alike) and agi (towards
    every other digit). ``seed`` is that of the noise of smooth and of the training images that expected starts from.
    """
    import fastattr as fa

    digits, rivals = list(PAIRS), list(PAIRS.values())
    images = torch_of(data.x_test[[typical(network, data, d) for d in digits]])
    nearest = torch_of(np.stack([nearest_of(network, data, x, r) for x, r in zip(images.numpy(), rivals, strict=True)]))
    integrated = fa.IntegratedGradients(network, steps="auto", tolerance=TOLERANCE)
    references = torch_of(sample(data, seed))
    exact = fa.IntegratedGradients(network, steps=CHECK_STEPS, rule="midpoint")
    # the map's draws, and many others to check it by
    smooth = fa.SmoothGrad(network, samples=DRAWS, seed=seed)
    smooth_check = fa.SmoothGrad(network, samples=CHECK_DRAWS, seed=seed + 1)
    expected = fa.ExpectedGradients(network, references, samples=2 * REFERENCES, seed=seed)
    expected_check = fa.ExpectedGradients(network, references, samples=CHECK_ROUNDS * REFERENCES, seed=seed + 1)
    pushing: dict[str, Any] = {"step_size": PUSH, "max_steps": PUSHES, "clamp": (0.0, 1.0), "end_points": True}
    agi = fa.AGI(network, classes="all", **pushing)
    calls: dict[str, tuple[Callable[..., Attribution], Callable[..., Attribution] | None, dict[str, Any]]] = {
        "saliency": (fa.Saliency(network), None, {}),
        "input_x_gradient": (fa.InputXGradient(network), None, {}),
        "smooth": (smooth, smooth_check, {}),
        "integrated": (integrated, exact, {}),
        "expected": (expected, expected_check, {}),
        "versus": (integrated, exact, {"versus": rivals}),
        "from_rival": (integrated, exact, {"versus": rivals, "baseline": nearest}),
        "agi": (agi, None, {}),
    }
    maps: dict[str, list[Map]] = {}
    paths: Any = None
    for name, (method, reference, options) in calls.items():
        method(images, target=digits, **options)  # the first call pays for what torch and the engine set up
        attribution = method(images, target=digits, **options)
        truth = None if reference is None else to_numpy(reference(images, target=digits, **options).values)
        maps[name] = [_map(attribution, truth, i) for i in range(len(digits))]
        paths = attribution.paths  # in the end those of agi, the last method
    return [
        Example(d, PAIRS[d], _picture(images[i]), _picture(nearest[i]), {k: maps[k][i] for k in maps}, _ends(paths, i))
        for i, d in enumerate(digits)
    ]


def typical(network: torch.nn.Module, data: Split, digit: int) -> int:
    """Number of the test image, read correctly, that is nearest to the mean of its digit."""
    right = np.flatnonzero((data.y_test == digit) & (predict(network, data.x_test).numpy() == digit))
    if right.size == 0:
        raise RuntimeError(f"the network reads no {digit} of the test part correctly")
    distance = ((data.x_test[right] - data.x_train[data.y_train == digit].mean(axis=0)) ** 2).sum(axis=(1, 2, 3))
    return int(right[distance.argmin()])


def sample(data: Split, seed: int) -> NDArray[np.float32]:
    """`REFERENCES` training images, none twice."""
    chosen = np.random.default_rng(seed).choice(len(data.x_train), REFERENCES, replace=False)
    return np.asarray(data.x_train[chosen])


def nearest_of(network: torch.nn.Module, data: Split, image: NDArray[Any], digit: int) -> NDArray[np.float32]:
    """The training image of ``digit``, read as such, that is nearest to ``image``."""
    of_digit = data.x_train[data.y_train == digit]
    read = of_digit[predict(network, of_digit).numpy() == digit]
    candidates = read if len(read) else of_digit
    return np.asarray(candidates[((candidates - image) ** 2).sum(axis=(1, 2, 3)).argmin()])


def _map(attribution: Attribution, truth: NDArray[Any] | None, i: int) -> Map:
    values = to_numpy(attribution.values)[i, 0].astype(np.float64)
    true_error = np.nan
    if truth is not None:
        true_error = float(np.abs(values - truth[i, 0]).sum() / np.abs(truth[i, 0]).sum())
    return Map(
        method=attribution.method,
        values=values,
        output=float(attribution.output[i]),
        baseline_output=float(attribution.baseline_output[i]),
        gap=float(attribution.gap[i]),
        error=float(attribution.error[i]),
        true_error=true_error,
        evaluations=int(attribution.evaluations[i]),
        converged=bool(attribution.converged[i]),
        milliseconds=1000 * attribution.seconds / len(attribution.values),
    )


def _ends(paths: Any, i: int) -> list[Push]:
    """Where the paths of digit ``i`` ended."""
    ends = to_numpy(paths.end_points)[i, :, 0].astype(np.float64)
    columns = (to_numpy(column)[i] for column in (paths.classes, paths.steps, paths.reached, paths.target_output))
    return [
        Push(int(goal), int(steps), bool(reached), float(share), image)
        for goal, steps, reached, share, image in zip(*columns, ends, strict=True)
    ]


def _picture(image: torch.Tensor) -> NDArray[np.float64]:
    return to_numpy(image)[0].astype(np.float64)
