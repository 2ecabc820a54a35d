"""Nothing is kept by the entry points of the sampled methods and of paths, on no way out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers_native import Formula, draw
from test_leaks import Thrifty, assert_flat, failing

import fastattr as fa
from fastattr import _core

pytestmark = pytest.mark.native

B, D, DRAWS, ROWS = 4, 3, 5, 8
X = draw(B, D, dtype=np.float32)
REFERENCES = draw(6, D, dtype=np.float32)
MODEL = fa.FunctionModel(Formula())
IDS = np.arange(B)


def evaluate(rows: int, gradients: bool, remaining: int) -> Any:
    return np.ones((1, rows)), None, (np.ones((1, rows, D), np.float32),)


def sampled(**changes: Any) -> Callable[[], object]:
    arguments: dict[str, Any] = {
        "evaluate": evaluate,
        "inputs": (X,),
        "bases": (REFERENCES,),
        "points": (np.empty((ROWS, D), np.float32),),
        "starts": (np.empty((ROWS, D), np.float32),),
        "means": (np.zeros((B, D), np.float32),),
        "deviations": (np.zeros((B, D)),),
        "index": np.empty(ROWS, np.int64),
        "scalars": np.empty(2 * ROWS, np.int64),
        "target": np.zeros((B, 2), np.int64),
        "ids": IDS,
        "stdev": np.full((1, B), 0.1),
        "scratch": np.empty(_core.sample_scratch(B, DRAWS), np.uint8),
        "rows": ROWS,
        "draws": DRAWS,
        "seed": 1,
        "references": len(REFERENCES),
    }
    flags = ("along_path", "stratified", "predict", "multiply", "square", "variance")
    arguments |= dict.fromkeys(flags, False) | {"along_path": True, "multiply": True}
    return lambda: _core.sample(**arguments | changes)


def forwarded(**changes: Any) -> Callable[[], object]:
    arguments: dict[str, Any] = {
        "evaluate": evaluate,
        "bases": (REFERENCES,),
        "points": (np.empty((ROWS, D), np.float32),),
        "index": np.empty(ROWS, np.int64),
        "scalars": np.empty(2 * ROWS, np.int64),
        "target": (np.zeros((B, 2), np.int64),),
        "tables": (np.arange(B), np.arange(B)),
        "out": np.empty(B),
        "rows": ROWS,
    }
    return lambda: _core.forward(**arguments | changes)


def noisy(**changes: Any) -> Callable[[], object]:
    arguments: dict[str, Any] = {
        "out": (np.empty((2 * B, D), np.float32),),
        "input": (X,),
        "ids": IDS,
        "stdev": np.ones(B),
        "draws": DRAWS,
        "seed": 1,
        "member": 0,
        "first": 1,
        "count": 2,
    }
    return lambda: _core.noisy(**arguments | changes)


def raising(*_: Any) -> Any:
    raise KeyError("mine")


SUCCESSES: dict[str, Callable[[], object]] = {
    "sample": sampled(),
    "forward": forwarded(),
    "noisy": noisy(),
    "drawn_references": lambda: _core.drawn_references(IDS, 7, 1, 3, False),
    "philox": lambda: _core.philox((1, 2, 3, 4), (5, 6)),
    "normal": lambda: _core.normal(7),
    "expected gradients": lambda: fa.ExpectedGradients(MODEL, REFERENCES, samples=3)(X, target=1),
    "smooth grad": lambda: fa.SmoothGrad(MODEL, samples=3)(X, target=1),
    "polyline": lambda: fa.PathIntegratedGradients(MODEL, np.stack([X * 0, X]), steps=2)(X, target=1),
}
FAILURES: dict[str, tuple[Callable[[], object], type[BaseException]]] = {
    "sample model": (sampled(evaluate=raising), KeyError),
    "sample draws": (sampled(draws=0), ValueError),
    "sample references": (sampled(references=5), ValueError),
    "sample starts": (sampled(starts=(np.empty((1, D), np.float32),)), ValueError),
    "sample means": (sampled(means=(np.zeros((B, D)),)), TypeError),
    "sample deviations": (sampled(deviations=(np.zeros((B, D), np.float32),)), TypeError),
    "sample ids": (sampled(ids=np.arange(B + 1)), ValueError),
    "sample stdev": (sampled(stdev=np.ones(B, np.float32)), TypeError),
    "sample scratch": (sampled(scratch=np.empty(3, np.uint8)), ValueError),
    "forward model": (forwarded(evaluate=raising), KeyError),
    "forward target": (forwarded(target=np.zeros((B, 2), np.int64)), TypeError),
    "forward tables": (forwarded(tables=(np.arange(B), np.arange(B) + 5)), ValueError),
    "forward out": (forwarded(out=np.empty(B + 1)), ValueError),
    "noisy part": (noisy(first=4), ValueError),
    "noisy out": (noisy(out=(np.empty((B, D), np.float32),)), ValueError),
    "noisy ids": (noisy(ids=np.arange(B, dtype=np.int32)), TypeError),
    "references ids": (lambda: _core.drawn_references(X, 3, 1, 3), TypeError),
    "references many": (lambda: _core.drawn_references(IDS, 3, 1, 0), ValueError),
    "scratch": (lambda: _core.sample_scratch(-1, 3), ValueError),
    "philox": (lambda: _core.philox((1, 2), (3, 4)), TypeError),
    "normal": (lambda: _core.normal(-1), OverflowError),
}


@pytest.mark.parametrize("name", SUCCESSES)
def test_entry_points(name: str) -> None:
    assert_flat(SUCCESSES[name], calls=300 if " " in name or name == "polyline" else 1000)


@pytest.mark.parametrize("name", FAILURES)
def test_failures(name: str) -> None:
    assert_flat(failing(*FAILURES[name]))


def test_memory_that_ran_out_and_was_found() -> None:
    method = fa.ExpectedGradients(fa.FunctionModel(Thrifty()), REFERENCES, samples=3)
    assert_flat(lambda: method(X[:2], target=1), calls=50)
