"""What `GANMEX` is given, checked: inputs, labels, the value range, the classifier."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .classifier import Scale

DEVIATIONS = 4.0
"""A range taken from vectors: so many standard deviations around the mean of each feature."""


def rows_of(value: Any, name: str, input_shape: tuple[int, ...]) -> Tensor:
    """``value`` as a floating tensor (N, *input_shape), on its own memory where that is possible."""
    if isinstance(value, Tensor):
        found = value.detach()
    else:
        try:
            found = torch.from_numpy(np.array(value))
        except (TypeError, ValueError) as error:
            raise TypeError(f"{name}: expected an array (N, ...), got {type(value).__name__}") from error
    if not found.is_floating_point():
        raise TypeError(f"{name}: expected a floating dtype, got {found.dtype}")
    if tuple(found.shape[1:]) != input_shape or found.dim() == 0:
        raise ValueError(f"{name}: expected shape (N, {', '.join(map(str, input_shape))}), got {tuple(found.shape)}")
    return found


def labels_of(value: Any, count: int, classes: int, all_classes: bool = False) -> Tensor:
    """(N,) int64 from 0 to ``classes`` - 1; each of them somewhere if ``all_classes``."""
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    if array.dtype.kind not in "iu":
        raise TypeError(f"y: expected integers, got {array.dtype}")
    if array.shape not in ((count,), (count, 1)):
        raise ValueError(f"y: expected shape ({count},), got {array.shape}")
    labels = array.reshape(-1).astype(np.int64)
    if count and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(f"y: expected 0 <= y < {classes}, got {labels.min()} to {labels.max()}")
    missing = np.setdiff1d(np.arange(classes), labels)
    if all_classes and missing.size:
        raise ValueError(
            f"y: expected samples of all {classes} classes, got none of {missing.tolist()}; check=False goes on"
        )
    return torch.from_numpy(labels)


def scale_of(value_range: Any, input_shape: tuple[int, ...], x: Tensor) -> Scale:
    """The map of ``value_range``, or of the range of ``x``, to [-1, 1]."""
    if value_range is None and len(input_shape) == 3:
        return Scale(x.float().min(), x.float().max())
    if value_range is None:
        mean, reach = x.double().mean(0), DEVIATIONS * x.double().std(0, unbiased=False)
        return Scale((mean - reach).float(), (mean + reach).float(), hard=False)
    try:
        low, high = (torch.as_tensor(end, dtype=torch.float32, device=x.device) for end in value_range)
        spans = torch.broadcast_to(low, input_shape), torch.broadcast_to(high, input_shape)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"value_range: expected (low, high), numbers or arrays that broadcast to {input_shape}, got {value_range!r}"
        ) from error
    if not bool((spans[0] < spans[1]).all()):
        raise ValueError(f"value_range: expected low < high, got {value_range!r}")
    slack = 1e-3 * (high - low)
    outside = ((x < low - slack) | (x > high + slack)).flatten(1).any(1)
    if bool(outside.any()):
        raise ValueError(
            f"X: expected values in value_range, but {int(outside.sum())} of {len(x)} inputs leave it "
            f"(they span {float(x.min()):.4g} to {float(x.max()):.4g})"
        )
    return Scale(low, high)


def check_classifier(predicted: Tensor, y: Tensor) -> None:
    """Raise for a classifier that says no more than the most frequent class: it has nothing to be asked."""
    count = len(y)
    right = float((predicted == y).double().mean())
    most = float(torch.bincount(y).max()) / count
    luck = 2 * (most * (1 - most) / count) ** 0.5  # two standard errors
    if len(torch.unique(predicted)) == 1:
        raise ValueError(
            f"model: expected a classifier, but it takes all of {count} samples for class {int(predicted[0])}; "
            "check=False goes on"
        )
    if right <= most + luck:
        raise ValueError(
            f"model: expected a classifier better than the most frequent class, but it gets {right:.1%} of {count} "
            f"samples right where that class alone makes {most:.1%}; check=False goes on"
        )


@contextmanager
def threads_of(number: int | None) -> Iterator[None]:
    """Torch with ``number`` threads, for the whole process; the old number afterwards."""
    before = torch.get_num_threads()
    try:
        if number is not None:
            if number < 1:
                raise ValueError(f"threads: expected None or an int >= 1, got {number}")
            torch.set_num_threads(number)
        yield
    finally:
        if number is not None:
            torch.set_num_threads(before)
