"""Which other classes adversarial paths go to."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from .arrays import is_torch

SELECTIONS = ("random", "top", "stride")


def is_number(classes: Any) -> bool:
    """Whether ``classes`` is how many, and not which."""
    return isinstance(classes, (int, np.integer)) and not isinstance(classes, bool)


def false_classes(
    classes: Any,
    select: str,
    targets: NDArray[np.int64],
    count: int | None,
    scores: NDArray[np.float64] | None,
    ids: NDArray[np.int64],
    seed: int,
) -> NDArray[np.int64]:
    """(B, k) classes other than ``targets`` (B,), ascending, out of ``count`` (None: not known)."""
    whole = isinstance(classes, str) and classes == "all"
    if whole or is_number(classes):
        if not whole and int(classes) < 1:
            raise ValueError(f'classes: expected a number >= 1, "all", a list or an array (B, k), got {classes!r}')
        if count is None:
            raise ValueError(
                f"classes: expected a list or an array (B, k), since only the function knows how many there are, "
                f"got {classes!r}"
            )
        k = count - 1 if whole else min(int(classes), count - 1)
        found = _selected(select, k, targets, count, scores, ids, seed)
    else:
        found = _given(classes, targets, count)
    return np.sort(found, axis=1)


def _selected(
    select: str,
    k: int,
    targets: NDArray[np.int64],
    count: int,
    scores: NDArray[np.float64] | None,
    ids: NDArray[np.int64],
    seed: int,
) -> NDArray[np.int64]:
    """Places among the ``count`` - 1 other classes, and then the classes in these places."""
    if k == count - 1:
        places = np.tile(np.arange(k), (len(targets), 1))
    elif select == "random":
        places = _core.drawn_references(ids, k, seed, count - 1)
    elif select == "stride":
        places = np.tile(((np.arange(k) + 0.5) * (count - 1) / k).astype(np.int64), (len(targets), 1))
    else:
        assert scores is not None
        ranked = scores.copy()
        ranked[np.arange(len(targets)), targets] = -np.inf
        return np.argsort(-ranked, axis=1, kind="stable")[:, :k].astype(np.int64)
    return places + (places >= targets[:, None])


def _given(classes: Any, targets: NDArray[np.int64], count: int | None) -> NDArray[np.int64]:
    examples = len(targets)
    try:
        table = classes.detach().cpu().numpy() if is_torch(classes) else np.asarray(classes)
    except ValueError as error:
        raise ValueError(f"classes: expected a list of integers or an array (B, k), got {classes!r:.80}") from error
    if table.dtype.kind not in "iu" or table.ndim not in (1, 2) or table.shape[-1] == 0:
        raise ValueError(
            f'classes: expected a number, "all", a list of integers or an array ({examples}, k), got {classes!r:.80}'
        )
    if table.ndim == 2 and table.shape[0] != examples:
        raise ValueError(f"classes: expected one row for each of {examples} examples, got shape {table.shape}")
    table = np.ascontiguousarray(np.broadcast_to(table, (examples, table.shape[-1])), dtype=np.int64)
    most = 2**62 if count is None else count
    if table.min(initial=0) < 0 or table.max(initial=0) >= most:
        wrong = table[(table < 0) | (table >= most)][0]
        raise ValueError(f"classes: expected 0 <= class{'' if count is None else f' < {count}'}, got {wrong}")
    if (np.diff(np.sort(table, axis=1), axis=1) == 0).any():
        raise ValueError("classes: expected each class once, got one twice")
    same = np.flatnonzero((table == targets[:, None]).any(1))
    if same.size:
        shown = ", ".join(map(str, same[:10].tolist())) + (", ..." if same.size > 10 else "")
        raise ValueError(f'classes: expected classes other than the target, got it in examples {shown}; see "all"')
    return table
