"""The entry point ``_core.ascend``: what it refuses, that it writes nowhere else, that it keeps nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers_agi import Classes, others
from helpers_native import draw
from test_leaks import assert_flat, failing

import fastattr as fa
from fastattr import _core

pytestmark = pytest.mark.native

B, D, K, ROWS, SLOTS = 3, 4, 2, 5, 4
X = draw(B, D, dtype=np.float32)
PLAN = np.array([[e, 0, goal, -1] for e in range(B) for goal in (1, 2)])


def evaluate(rows: int, planes: int, remaining: int) -> Any:
    slopes = np.full((max(1, planes), rows, D), 0.5, np.float32)
    return np.full((max(1, planes), rows), 2.0), np.zeros(rows, np.int64), (slopes,)


def empty(*shape: int, dtype: Any = np.float32) -> tuple[np.ndarray]:
    return (np.empty(shape, dtype),)


def arguments(**changes: Any) -> dict[str, Any]:
    pairs, scratch = _core.ascend_plan(ROWS, K, SLOTS)
    found: dict[str, Any] = {
        "evaluate": evaluate,
        "start": (X,),
        "centre": (X,),
        "bounds": None,
        "at": empty(SLOTS, D),
        "sums": empty(SLOTS, D),
        "steps": empty(SLOTS, D),
        "results": (np.zeros((B, D), np.float32),),
        "points": empty(ROWS, D),
        "index": np.empty(ROWS, np.int64),
        "scalars": np.empty(2 * pairs, np.int64),
        "scratch": np.empty(scratch, np.uint8),
        "plan": PLAN,
        "rows": ROWS,
        "paths": K,
        "slots": SLOTS,
        "max_steps": 3,
        "step_size": 0.25,
        "radius": -1.0,
        "scale": 1.0,
        "rule": "trapezoid",
    }
    flags = {"ascents": True, "l2": False, "restart": False, "stop": True, "keep_at": False, "keep_sum": False}
    return found | flags | changes


def call(**changes: Any) -> Callable[[], Any]:
    return lambda: _core.ascend(**arguments(**changes))


def raising(*_: Any) -> Any:
    raise KeyError("mine")


def unclassified(*asked: Any) -> Any:
    values, _, slopes = evaluate(*asked)
    return values, None, slopes


LOW, HIGH = (np.full((1, D), -9, np.float32),), (np.full((1, D), 9, np.float32),)
SUCCESSES: dict[str, dict[str, Any]] = {
    "trapezoid": {},
    "left": {"rule": "left", "steps": None},
    "midpoint": {"rule": "midpoint"},
    "alone": {"sums": None, "steps": None, "results": None, "rule": "left"},
    "bounds": {"bounds": (LOW, HIGH), "radius": 0.3},
    "l2": {"l2": True},
    "kept": {"keep_at": True, "keep_sum": True, "at": empty(B * K, D), "sums": empty(B * K, D), "results": None},
    "untargeted": {"ascents": False, "step_size": -0.25, "plan": np.array([[p // 2, 0, -1, -1] for p in range(B * K)])},
}
FAILURES: dict[str, tuple[dict[str, Any], type[BaseException], str]] = {
    "model": ({"evaluate": raising}, KeyError, "mine"),
    "model without classes": ({"evaluate": unclassified}, ValueError, "predicted classes"),
    "start": ({"start": X}, TypeError, "start"),
    "start dtype": ({"start": (X.astype(np.int32),)}, TypeError, "start"),
    "no inputs": ({"start": ()}, (ValueError, TypeError), "start"),
    "centre": ({"centre": (X[:1],)}, ValueError, "centre: expected one row for each"),
    "centre dtype": ({"centre": (X.astype(np.float64),)}, ValueError, "centre"),
    "bounds": ({"bounds": LOW}, TypeError, "bounds: expected None or a tuple"),
    "bounds rows": ({"bounds": (LOW, (np.full((B, D), 9, np.float32),))}, ValueError, "bounds: expected as many"),
    "low": ({"bounds": ((LOW[0][:, 1:],), HIGH)}, ValueError, "low"),
    "at": ({"at": empty(SLOTS - 1, D)}, ValueError, "at"),
    "at kept": ({"keep_at": True}, ValueError, "at"),
    "at dtype": ({"at": empty(SLOTS, D, dtype=np.float64)}, TypeError, "at"),
    "at read-only": ({"at": (np.broadcast_to(np.float32(0), (SLOTS, D)),)}, (ValueError, TypeError, BufferError), "at"),
    "sums": ({"sums": empty(SLOTS, D + 1)}, ValueError, "sums"),
    "sums kept": ({"keep_sum": True}, ValueError, "sums"),
    "steps": ({"steps": None}, ValueError, "steps: the trapezoid rule needs them"),
    "steps short": ({"steps": empty(1, D)}, ValueError, "steps"),
    "results": ({"results": empty(B - 1, D)}, ValueError, "results"),
    "points": ({"points": empty(ROWS - 1, D)}, ValueError, "points"),
    "index": ({"index": np.empty(ROWS - 1, np.int64)}, ValueError, "index"),
    "scalars": ({"scalars": np.empty(3, np.int64)}, ValueError, "scalars"),
    "scratch": ({"scratch": np.empty(3, np.uint8)}, ValueError, "scratch"),
    "plan": ({"plan": PLAN[:-1]}, ValueError, "plan"),
    "plan dtype": ({"plan": PLAN.astype(np.int32)}, TypeError, "plan"),
    "plan example": ({"plan": PLAN[::-1].copy()}, ValueError, "plan: row 0 is not a path of example 0"),
    "plan goal": ({"plan": np.where(np.arange(4) == 2, -1, PLAN)}, ValueError, "plan: row 0"),
    "plan target": ({"plan": np.where(np.arange(4) == 1, -7, PLAN)}, ValueError, "plan: row 0"),
    "rule": ({"rule": "simpson"}, ValueError, "rule: expected left, trapezoid or midpoint, got simpson"),
    "rows": ({"rows": 0}, ValueError, "rows, paths, slots, max_steps: expected 1 or more"),
    "rows huge": ({"rows": 2**62}, ValueError, "rows, paths, slots"),
    "paths": ({"paths": 0}, ValueError, "rows, paths, slots"),
    "paths huge": ({"paths": 2**40}, ValueError, "slots|plan|expected"),
    "slots": ({"slots": 0}, ValueError, "rows, paths, slots"),
    "slots many": ({"slots": B * K + 1}, ValueError, "slots: expected no more than there are paths"),
    "max_steps": ({"max_steps": 0}, ValueError, "rows, paths, slots, max_steps"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_what_it_refuses(name: str) -> None:
    changes, kind, words = FAILURES[name]
    with pytest.raises(kind, match=words):
        call(**changes)()


@pytest.mark.parametrize("numbers", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (2**62, 1, 1), (1, 2**62, 1), (1, 1, -1)])
def test_plans_out_of_range(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="rows, paths, slots"):
        _core.ascend_plan(*numbers)


@pytest.mark.parametrize("name", SUCCESSES)
def test_nothing_is_written_beyond_the_ends(name: str) -> None:
    """Every buffer has a margin on both sides that stays as it was."""
    changes, guarded = arguments(**SUCCESSES[name]), []

    def guard(array: np.ndarray) -> np.ndarray:
        wide = np.full(array.nbytes + 128, 0xA5, np.uint8)
        inner = wide[64:-64].view(array.dtype).reshape(array.shape)
        inner[...] = array
        guarded.append(wide)
        return inner

    for field in ("at", "sums", "steps", "results", "points"):
        if changes[field] is not None:
            changes[field] = tuple(guard(np.zeros_like(a)) for a in changes[field])
    for field in ("index", "scalars", "scratch"):
        changes[field] = guard(np.zeros_like(changes[field]))
    _core.ascend(**changes)
    assert all((wide[:64] == 0xA5).all() and (wide[-64:] == 0xA5).all() for wide in guarded)


@pytest.mark.parametrize("name", SUCCESSES)
def test_calls_keep_nothing(name: str) -> None:
    assert_flat(call(**SUCCESSES[name]), calls=300)


@pytest.mark.parametrize("name", FAILURES)
def test_failures_keep_nothing(name: str) -> None:
    changes, kind, _ = FAILURES[name]
    assert_flat(failing(call(**changes), kind), calls=300)


def test_methods_keep_nothing() -> None:
    x, model = draw(2, 3), fa.FunctionModel(Classes(3))
    agi = fa.AGI(model, classes=others(np.zeros(2, int), 3), max_steps=3, end_points=True)
    assert_flat(lambda: agi(x, 0), calls=30)
    assert_flat(lambda: fa.adversarial(model, x, 0, step_size=0.1, max_steps=3), calls=30)
