"""What baselines have in common: ``baseline(x, target)``, classes, and inputs in several parts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import is_torch


class Baseline:
    """An object that makes baselines for inputs.

    Every attribution method with ``baseline=`` takes one, also for several inputs (one object for all of them, or one
    for each); so does any other object with such a method.
    """

    def baseline(self, x: Any, target: Any = None) -> Any:
        """Baselines of the inputs ``x``.

        Parameters
        ----------
        x : array (B, ...), or tuple or dict of such
        target : int or integers (B,), optional
            The class to take them from, where that makes a difference; methods pass ``versus``.

        Returns
        -------
        array (B, ...) or (1, ...), or tuple or dict of such
            In the form, framework, dtype and device of ``x``.
        """
        raise NotImplementedError


class Pinned(Baseline):
    """A class-conditional baseline with its class fixed, as ``.towards(8)`` makes it.

    Parameters
    ----------
    owner : object with ``baseline(x, target)``
    target : int or integers (B,)
    """

    def __init__(self, owner: Any, target: Any) -> None:
        self.owner = owner
        self.target = target

    def baseline(self, x: Any, target: Any = None) -> Any:
        """That of the owner towards the fixed class; ``target`` is not looked at."""
        return self.owner.baseline(x, self.target)


def class_numbers(target: Any, count: int, classes: int | None = None) -> NDArray[np.int64]:
    """(B,) classes to take baselines from.

    Raises
    ------
    ValueError
        None were given, or numbers out of range.
    """
    if target is None:
        raise ValueError(
            "baseline: expected a class to take it from, got none; explain one versus another (versus=8) or fix it "
            "(baseline.towards(8))"
        )
    array = target.detach().cpu().numpy() if is_torch(target) else np.asarray(target)
    if array.dtype.kind not in "iu":
        raise TypeError(f"target: expected integers, got {getattr(target, 'dtype', type(target).__name__)}")
    if array.size == 1:
        array = np.full(count, array.reshape(-1)[0])
    if array.shape not in ((count,), (count, 1)):
        raise ValueError(f"target: expected an int or shape ({count},), got {array.shape}")
    numbers = array.reshape(-1).astype(np.int64)
    if classes is not None and count and not 0 <= numbers.min() <= numbers.max() < classes:
        raise ValueError(f"target: expected 0 <= target < {classes}, got {numbers.min()} to {numbers.max()}")
    return numbers
