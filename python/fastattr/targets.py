"""Which output is explained: targets of every form, checked, as flat indices into one example's output."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import is_torch


def flat_targets(target: Any, name: str, examples: int, output_shape: tuple[int, ...]) -> NDArray[np.int64]:
    """(B,) flat indices into an output of shape ``output_shape`` (without the batch axis).

    ``target`` is an int, integers (B,) or (B, 1), or, for outputs with several axes, a tuple with one such entry per
    axis or a list of B tuples.
    """
    alone = _alone(target)
    if alone is not None and len(output_shape) < 2 and 0 <= alone < (output_shape or (1,))[0]:
        return _filled(examples, alone)
    if isinstance(target, list) and target and isinstance(target[0], tuple):
        if len(target) != examples:
            raise ValueError(f"{name}: expected {examples} tuples, one an example, got {len(target)}")
        wrong = [entry for entry in target if not isinstance(entry, tuple) or len(entry) != len(output_shape)]
        if wrong:
            raise ValueError(f"{name}: expected tuples of {len(output_shape)} indices, got {wrong[0]!r} among them")
        target = tuple(np.array([entry[axis] for entry in target]) for axis in range(len(output_shape)))
    entries = target if isinstance(target, tuple) else (target,)
    shape = output_shape or (1,)
    if len(entries) != len(shape):
        raise ValueError(
            f"{name}: expected {_wanted_target(shape)} for an output of shape (B, {', '.join(map(str, shape))}), "
            f"got {len(entries)} index{'es' if len(entries) > 1 else ''}"
        )
    columns = [integers(entry, name, examples) for entry in entries]
    for column, extent in zip(columns, shape, strict=True):
        if column.view(np.uint64).max() >= extent:  # negative ones are large then
            e = int(np.flatnonzero((column < 0) | (column >= extent))[0])
            raise ValueError(f"{name}: expected 0 <= {name} < {extent}, got {column[e]} for example {e}")
    return columns[0] if len(columns) == 1 else np.ravel_multi_index(columns, shape).astype(np.int64)


def _alone(target: Any) -> int | None:
    """The one class of all examples, where that is plain to see."""
    value = target.item() if is_torch(target) and target.numel() == 1 else target
    return value if type(value) is int else None


def _filled(examples: int, value: int) -> NDArray[np.int64]:
    found = np.empty(examples, np.int64)
    found.fill(value)
    return found


def _wanted_target(shape: tuple[int, ...]) -> str:
    return "one index" if len(shape) == 1 else f"a tuple of {len(shape)} indices"


def integers(value: Any, name: str, examples: int) -> NDArray[np.int64]:
    """``value`` as (B,) int64."""
    try:
        array = value.detach().cpu().numpy() if is_torch(value) else np.asarray(value)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name}: expected an int or {examples} integers, got {value!r:.100}") from error
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integers, got {getattr(value, 'dtype', type(value).__name__)}")
    if array.size == 1:
        return _filled(examples, array.reshape(-1)[0])
    if array.shape not in ((examples,), (examples, 1)):
        raise ValueError(f"{name}: expected an int or shape ({examples},) or ({examples}, 1), got {array.shape}")
    return array.reshape(-1).astype(np.int64, copy=False)


def check_different(target: NDArray[np.int64], versus: NDArray[np.int64], name: str = "versus") -> None:
    """Raise if an example is to be explained against itself."""
    same = np.flatnonzero(target == versus)
    if same.size:
        shown = ", ".join(map(str, same[:10].tolist())) + (", ..." if same.size > 10 else "")
        raise ValueError(f"{name}: expected another class than target, got the same for examples {shown}")
