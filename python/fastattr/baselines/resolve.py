"""From ``baseline=`` with objects in it to arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import is_array
from ..targets import integers


def is_object(baseline: Any) -> bool:
    """Whether ``baseline`` makes baselines."""
    return not is_array(baseline) and callable(getattr(baseline, "baseline", None))


def has_objects(baseline: Any) -> bool:
    """Whether ``baseline``, or a member of it, makes baselines."""
    if is_array(baseline):
        return False
    if isinstance(baseline, (tuple, Mapping)):
        return any(map(is_object, baseline.values() if isinstance(baseline, Mapping) else baseline))
    return callable(getattr(baseline, "baseline", None))


def draws_of(baseline: Any) -> int:
    """How many baselines every example has; members that have several have the same number."""
    if baseline is None or is_array(baseline):
        return 1
    members: Any = (baseline,)
    if not is_object(baseline) and has_objects(baseline):
        members = baseline.values() if isinstance(baseline, Mapping) else baseline
    drawn = [member for member in members if is_object(member) and hasattr(member, "draws")]
    for member in drawn:
        check = getattr(member, "check", None)
        if check is not None:
            check()
    counts = {int(member.draws) for member in drawn} - {1}
    if len(counts) > 1:
        raise ValueError(f"baseline: expected the same number of draws in all, got {sorted(counts)}")
    return counts.pop() if counts else 1


def resolve(baseline: Any, inputs: Any, examples: int, versus: Any, ids: Any, draw: int = 0) -> Any:
    """``baseline`` with arrays in place of objects.

    Parameters
    ----------
    inputs : array (B, ...), or tuple or dict of such
    versus
        The class that class-conditional baselines are taken from.
    ids : (B,) int64 or None
    draw : int
        Of those that have several.
    """
    target = _one_class(versus, examples)

    def made(member: Any, x: Any) -> Any:
        if not is_object(member):
            return member
        if not hasattr(member, "draws"):
            return member.baseline(x, target)
        return member.baseline(x, target, ids=ids, draw=draw if member.draws > 1 else 0)

    if is_object(baseline):
        return made(baseline, inputs)
    if isinstance(baseline, Mapping):
        return {key: _member(made, member, inputs, key) for key, member in baseline.items()}
    return tuple(_member(made, member, inputs, i) for i, member in enumerate(baseline))


def _member(made: Callable[[Any, Any], Any], member: Any, inputs: Any, key: Any) -> Any:
    """Of the one input of that name or number; where there is none, `fastattr.problem` says so."""
    if not is_object(member):
        return member
    try:
        return made(member, inputs[key])
    except (KeyError, IndexError) as error:
        raise ValueError(f"baseline: expected the members of the inputs, got {key!r} too") from error


def _one_class(versus: Any, examples: int) -> NDArray[np.int64] | None:
    """``versus`` as (B,) int64; None for outputs with several axes, whose classes no baseline knows."""
    if isinstance(versus, tuple):
        versus = versus[0] if len(versus) == 1 else None
    if isinstance(versus, list) and versus and isinstance(versus[0], tuple):
        return None
    return None if versus is None or examples == 0 else integers(versus, "versus", examples)
