"""Nothing stays behind: a thousand calls of every entry point, and of every way to fail, leave memory flat.

Three counters: Python's blocks, the allocator's bytes in use (what the core takes from malloc), and references to the
arrays that were lent. Under a sanitizer the bytes are the sanitizer's, and fewer calls have to do.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers_native import Answers, Formula, HandMade, Producer, VersionedProducer, draw, exchange_type, job

import fastattr as fa
from fastattr import _core

pytestmark = pytest.mark.native

LIBRARY = ctypes.CDLL(None)
SANITIZED = hasattr(LIBRARY, "__sanitizer_get_current_allocated_bytes")
CALLS = 100 if SANITIZED else 1000
ROUNDS = 6
BLOCKS = CALLS // 5  # caches of the interpreter come and go
BYTES = 100 * CALLS  # a leak of the smallest table would be 500 bytes a call


class MallInfo(ctypes.Structure):
    """struct mallinfo2 of glibc."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keep",
        )
    ]


def bytes_in_use() -> int:
    """Of malloc, all arenas; 0 where the C library does not tell."""
    if SANITIZED:
        count = LIBRARY.__sanitizer_get_current_allocated_bytes
        count.restype = ctypes.c_size_t
        return int(count())
    if not hasattr(LIBRARY, "mallinfo2"):
        return 0
    LIBRARY.mallinfo2.restype = MallInfo
    info = LIBRARY.mallinfo2()
    return int(info.uordblks + info.hblkhd)


def assert_flat(call: Callable[[], object], calls: int = CALLS) -> None:
    gc.collect()
    gc.freeze()  # collections, of which out-of-memory has many, look at what is new only
    try:
        for _ in range(min(200, calls)):  # until the interpreter's caches are full
            call()
        for rounds_left in reversed(range(ROUNDS)):  # caches fill and stop; a leak grows in every round
            gc.collect()
            blocks, memory = sys.getallocatedblocks(), bytes_in_use()
            for _ in range(calls):
                call()
            gc.collect()
            grown = sys.getallocatedblocks() - blocks, bytes_in_use() - memory
            if grown[0] <= BLOCKS and grown[1] <= BYTES:
                return
            assert rounds_left, f"{grown[0]} blocks and {grown[1]} bytes more after {calls} calls"
    finally:
        gc.unfreeze()


def failing(call: Callable[[], object], kind: type[BaseException]) -> Callable[[], None]:
    """The call as one that must raise; the traceback is dropped with the frame."""

    def attempt() -> None:
        try:
            call()
        except kind:
            return
        raise AssertionError(f"no {kind.__name__}")

    return attempt


def test_the_counters_see_a_leak() -> None:
    kept: list[Any] = []
    with pytest.raises(AssertionError):
        assert_flat(lambda: kept.append(np.zeros(100)))
    if bytes_in_use():
        LIBRARY.malloc.restype = ctypes.c_void_p
        with pytest.raises(AssertionError):
            assert_flat(lambda: LIBRARY.malloc(ctypes.c_size_t(500)))


X32 = draw(4, 3, dtype=np.float32)
MODEL = fa.FunctionModel(Formula())
ENTRY_POINTS: dict[str, Callable[[], object]] = {
    "quadrature": lambda: _core.quadrature("gauss_legendre", 20),
    "integrate_plan": lambda: _core.integrate_plan("nested", 255, True, 100),
    "threads": lambda: _core.set_num_threads(_core.get_num_threads()),
    "integrate": lambda: _core.integrate(**job(X32)),
    "auto": lambda: fa.IntegratedGradients(MODEL, tolerance=0.5)(X32, target=1),
    "fixed": lambda: fa.IntegratedGradients(MODEL, steps=5, rows=4)((X32, X32), target=1, baseline=(X32, 0.5)),
    "saliency": lambda: fa.Saliency(MODEL)(X32, target=1, versus=0),
    "empty": lambda: fa.IntegratedGradients(MODEL)(X32[:0]),
}


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_entry_points(name: str) -> None:
    assert_flat(ENTRY_POINTS[name])


def question(**changes: Any) -> Callable[[], object]:
    return lambda: _core.integrate(**job(X32) | changes)


def answered(answer: Any) -> Callable[[], object]:
    return question(evaluate=lambda *_: answer)


def raising(error: type[BaseException]) -> Callable[[], object]:
    def evaluate(*_: Any) -> Any:
        raise error("mine")

    return question(evaluate=evaluate)


class Thrifty:
    """Refuses more than two rows."""

    def __call__(self, points: Any, index: Any, scalars: Any) -> Any:
        if len(index) > 2:
            held = points[0].copy()  # in the frame that the traceback holds
            raise MemoryError(f"{len(held)} rows")
        return Formula()(points, index, scalars)


TUPLES = ("bases", "points", "results", "values")
GOOD = (np.zeros(4), None, (np.ones((4, 3), np.float32),))
FAILURES: dict[str, tuple[Callable[[], object], type[BaseException]]] = {
    "quadrature rule": (lambda: _core.quadrature("simpson", 3), ValueError),
    "quadrature steps": (lambda: _core.quadrature("left", 0), ValueError),
    "quadrature memory": (lambda: _core.quadrature("left", 2**60), MemoryError),
    "plan": (lambda: _core.integrate_plan("nested", 7, True, 1), ValueError),
    "threads": (lambda: _core.set_num_threads(-1), ValueError),
    "rows": (question(rows=0), ValueError),
    "rule": (question(rule="simpson"), ValueError),
    "steps": (question(steps=0), ValueError),
    "no tuple": (question(inputs=[X32]), TypeError),
    "lengths": (question(bases=(X32, X32)), ValueError),
    "rubbish": (question(inputs=(3,)), TypeError),
    "raises": (lambda: question(inputs=(Answers(BufferError("mine")),))(), BufferError),
    "answers": (question(bases=(Answers(5),)), TypeError),
    "capsule": (question(inputs=(HandMade(X32, b"used"),)), TypeError),
    "version": (question(points=(VersionedProducer(X32, major=2),)), TypeError),
    "lanes": (question(values=(Producer(X32, lanes=2),)), TypeError),
    "integers": (question(inputs=(X32.astype(int),)), TypeError),
    "strides": (question(inputs=(X32.T,)), ValueError),
    "base": (question(bases=(X32[:2],)), ValueError),
    "scratch": (question(scratch=np.zeros(3, np.uint8)), ValueError),
    "device": (question(scratch=Producer(job(X32)["scratch"], device_type=2)), ValueError),
    "second input": (
        question(inputs=(X32, X32[:1]), **dict.fromkeys(TUPLES, (X32, X32))),
        ValueError,
    ),
    "model raises": (raising(KeyError), KeyError),
    "model interrupted": (raising(KeyboardInterrupt), KeyboardInterrupt),
    "model has no memory": (raising(MemoryError), MemoryError),
    "model returns None": (answered(None), TypeError),
    "model values": (answered((np.zeros(3), None, GOOD[2])), ValueError),
    "model predicted": (answered((GOOD[0], np.zeros(4), GOOD[2])), TypeError),
    "model gradients": (answered((GOOD[0], np.zeros(4, np.int64), (np.ones((4, 2), np.float32),))), ValueError),
    "model gradient": (answered((GOOD[0], None, (np.ones((4, 3)),))), TypeError),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failures(name: str) -> None:
    assert_flat(failing(*FAILURES[name]))


def test_memory_that_ran_out_and_was_found() -> None:
    method = fa.IntegratedGradients(fa.FunctionModel(Thrifty()), steps=3)
    assert_flat(lambda: method(X32[:2], target=1), calls=100)


def test_large_tables_of_a_call_are_given_back() -> None:
    """20,000 examples have 2 MB of tables."""
    x = draw(20_000, 1)
    model = fa.FunctionModel(lambda points, *_: (points[0].T, (np.ones((1, *points[0].shape)),)))
    assert_flat(lambda: fa.IntegratedGradients(model, steps=1)(x), calls=20)


def test_tracemalloc_is_flat() -> None:
    """What NumPy and Python hold, by the byte."""

    def work() -> None:
        for _ in range(50):
            ENTRY_POINTS["auto"]()
            failing(*FAILURES["model gradients"])()

    work()
    tracemalloc.start()
    try:
        work()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        work()
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 20_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("producer", [Producer, VersionedProducer])
def test_capsules_are_dropped_once(producer: Any) -> None:
    """NumPy's deleter gives back one reference a capsule, on every way out."""
    x, base, out, values = X32.copy(), X32.copy(), np.zeros_like(X32), np.zeros(4)
    arguments = job(x, base=base) | {"inputs": (producer(x),), "bases": (producer(base),)}
    arguments["values"] = (producer(out),)
    lent = (x, base, out, values)
    fine = arguments | {"evaluate": lambda *_: (producer(values), None, (producer(base),))}
    before = [sys.getrefcount(array) for array in lent]
    for _ in range(300):
        _core.integrate(**fine)
        failing(lambda: _core.integrate(**fine | {"scratch": 3}), TypeError)()
        failing(lambda: _core.integrate(**fine | {"evaluate": lambda *_: (producer(values), 3, ())}), TypeError)()
        failing(lambda: _core.integrate(**fine | {"evaluate": lambda *_: (producer(values), None, (3,))}), TypeError)()
    gc.collect()
    assert [sys.getrefcount(array) for array in lent] == before


def test_objects_behind_a_table_are_given_back() -> None:
    arrays: dict[int, Any] = {}
    exchanged = exchange_type(arrays)()
    arrays[id(exchanged)] = X32
    before = sys.getrefcount(exchanged)
    for _ in range(300):
        _core.integrate(**job(X32) | {"inputs": (exchanged,)})
        failing(question(inputs=(exchanged,), scratch=3), TypeError)()
    assert sys.getrefcount(exchanged) == before


def test_the_model_is_given_back() -> None:
    """Its callable, its answers and the exception that it raised."""
    values, gradient, error = np.zeros(4), np.ones((4, 3), np.float32), KeyError("mine")

    def raise_it(*_: Any) -> Any:
        raise error

    def give(*_: Any) -> Any:
        return values, None, (gradient,)

    watched = (values, gradient, give, raise_it, error)
    before = [sys.getrefcount(one) for one in watched]
    for _ in range(100):
        _core.integrate(**job(X32[:4]) | {"evaluate": give})
        failing(question(evaluate=raise_it), KeyError)()
        error.__traceback__ = None
    gc.collect()
    assert [sys.getrefcount(one) for one in watched] == before
