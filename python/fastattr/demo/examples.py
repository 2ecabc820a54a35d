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
REFERENCE_POINTS = 2048


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
class Example:
    """A digit, its look-alike of the training part, and the maps by name."""

    digit: int
    rival: int
    image: NDArray[np.float64]  # (8, 8), ink 1
    rival_image: NDArray[np.float64]
    maps: dict[str, Map]


def explain(network: torch.nn.Module, data: Split) -> list[Example]:
    """Every digit of `PAIRS`, explained by every method, one batch a method.

    The maps are named saliency, input_x_gradient, integrated, versus (against the look-alike) and from_rival (the same,
    starting from the nearest training image of the look-alike).
    """
    import fastattr as fa

    digits, rivals = list(PAIRS), list(PAIRS.values())
    images = torch_of(data.x_test[[typical(network, data, d) for d in digits]])
    nearest = torch_of(np.stack([nearest_of(network, data, x, r) for x, r in zip(images.numpy(), rivals, strict=True)]))
    integrated = fa.IntegratedGradients(network, steps="auto", tolerance=TOLERANCE)
    reference = fa.IntegratedGradients(network, steps=REFERENCE_POINTS, rule="midpoint")
    calls: dict[str, tuple[Callable[..., Attribution], dict[str, Any]]] = {
        "saliency": (fa.Saliency(network), {}),
        "input_x_gradient": (fa.InputXGradient(network), {}),
        "integrated": (integrated, {}),
        "versus": (integrated, {"versus": rivals}),
        "from_rival": (integrated, {"versus": rivals, "baseline": nearest}),
    }
    maps: dict[str, list[Map]] = {}
    for name, (method, options) in calls.items():
        method(images, target=digits, **options)  # the first call pays for what torch and the engine set up
        attribution = method(images, target=digits, **options)
        truth = to_numpy(reference(images, target=digits, **options).values) if method is integrated else None
        maps[name] = [_map(attribution, truth, i) for i in range(len(digits))]
    return [
        Example(d, PAIRS[d], _picture(images[i]), _picture(nearest[i]), {name: maps[name][i] for name in maps})
        for i, d in enumerate(digits)
    ]


def typical(network: torch.nn.Module, data: Split, digit: int) -> int:
    """Number of the test image, read correctly, that is nearest to the mean of its digit."""
    right = np.flatnonzero((data.y_test == digit) & (predict(network, data.x_test).numpy() == digit))
    if right.size == 0:
        raise RuntimeError(f"the network reads no {digit} of the test part correctly")
    distance = ((data.x_test[right] - data.x_train[data.y_train == digit].mean(axis=0)) ** 2).sum(axis=(1, 2, 3))
    return int(right[distance.argmin()])


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


def _picture(image: torch.Tensor) -> NDArray[np.float64]:
    return to_numpy(image)[0].astype(np.float64)
