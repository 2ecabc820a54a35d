"""The thread pool (csrc/threads.c): its number, results that do not depend on it, forks, callers side by side."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from helpers_native import certificate, draw

import fastattr as fa
from fastattr import _core

pytestmark = pytest.mark.native

D = 70_001  # above the size from which the pool is used, and no multiple of anything


def squares(points: Any, index: Any, scalars: Any) -> Any:
    """sum x_d^2 |x_d|, its gradient in the dtype of the points."""
    x = points[0]
    values = (x * x * np.abs(x)).sum(axis=1, dtype=np.promote_types(x.dtype, np.float32))
    return values[None], ((3 * x * np.abs(x))[None],)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Every test may set the number; the one before comes back."""
    before = _core.get_num_threads()
    yield
    fa.set_num_threads(before)


def test_the_default_is_the_cpus_of_this_process() -> None:
    fa.set_num_threads(3)
    assert _core.get_num_threads() == 3
    fa.set_num_threads(0)
    if hasattr(os, "sched_getaffinity"):
        assert _core.get_num_threads() == min(64, len(os.sched_getaffinity(0)))
    assert _core.get_num_threads() >= 1


@pytest.mark.parametrize(
    ("n", "kind", "message"),
    [
        (-1, ValueError, "n: expected 1 to 64 threads, or 0 for one per CPU, got -1"),
        (65, ValueError, "n: expected 1 to 64 threads, .* got 65"),
        (2**40, ValueError, "n: expected 1 to 64 threads"),
        (2**70, OverflowError, "too (big|large)"),
        (2.0, TypeError, "float"),
        ("2", TypeError, "str"),
        (None, TypeError, "None"),
    ],
)
def test_numbers_that_are_refused_change_nothing(n: Any, kind: type[Exception], message: str) -> None:
    fa.set_num_threads(2)
    with pytest.raises(kind, match=message):
        fa.set_num_threads(n)
    assert _core.get_num_threads() == 2


@pytest.mark.parametrize("n", [1, 2, 64, 64])
def test_a_number_that_is_taken_is_the_number(n: int) -> None:
    fa.set_num_threads(n)
    assert _core.get_num_threads() == n


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(1, D), (3, D), (700, 101)])
def test_the_number_of_threads_changes_no_bit(shape: tuple[int, int], dtype: str) -> None:
    x, base = draw(*shape, dtype=dtype), draw(*shape, seed=1, dtype=dtype)
    found = set()
    for n in (1, 2, 3, 5, 64):
        fa.set_num_threads(n)
        for rows in (1, 7, 2**20) if shape[1] == D else (1500,):
            method = fa.IntegratedGradients(fa.FunctionModel(squares), tolerance=0.03, max_steps=31, rows=rows)
            found.add(certificate(method(x, baseline=base)))
    assert len(found) == 1


def test_every_element_is_someones() -> None:
    """Sizes around the borders between threads and blocks: each element of the result, once."""
    for n in (2, 3, 5):
        fa.set_num_threads(n)
        for features in (65_535, 65_536, 65_537, 131_071, 32 * 2048 + 1):
            x = draw(1, features)
            att = fa.Saliency(fa.FunctionModel(squares))(x)
            assert np.array_equal(att.values, 3 * x * np.abs(x))


@pytest.mark.parametrize("same_model", [True, False])
def test_two_callers_at_once(same_model: bool) -> None:
    """The pool serves one of them, the other works alone; both get what they would have got."""
    fa.set_num_threads(3)
    shared = fa.FunctionModel(squares)
    inputs = [draw(2, D, seed=s, dtype=np.float32) for s in range(4)]
    wanted = [certificate(fa.IntegratedGradients(shared, steps=7, rows=5)(x)) for x in inputs]
    found: list[list[Any]] = [[] for _ in inputs]

    def work(k: int) -> None:
        model = shared if same_model else fa.FunctionModel(squares)
        for _ in range(5):
            found[k].append(certificate(fa.IntegratedGradients(model, steps=7, rows=5)(inputs[k])))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        callers = [threading.Thread(target=work, args=(k,)) for k in range(len(inputs))]
        for caller in callers:
            caller.start()
        for n in (1, 4, 2, 3):  # while they run
            fa.set_num_threads(n)
        for caller in callers:
            caller.join()
    finally:
        sys.setswitchinterval(interval)
    assert found == [[w] * 5 for w in wanted]


def test_an_exception_in_one_caller_leaves_the_other_alone() -> None:
    fa.set_num_threads(2)
    x, failures = draw(1, D), []

    def failing(*_: Any) -> Any:
        raise KeyError("mine")

    def work() -> None:
        for _ in range(20):
            try:
                fa.IntegratedGradients(fa.FunctionModel(failing), rows=2)(x)
            except KeyError as error:
                failures.append(error)

    caller = threading.Thread(target=work)
    caller.start()
    found = {certificate(fa.IntegratedGradients(fa.FunctionModel(squares), steps=3, rows=2)(x)) for _ in range(10)}
    caller.join()
    assert len(found) == 1 and len(failures) == 20


# ---- forks --------------------------------------------------------------------------------------------------------

PRELUDE = """
import os, signal, sys, threading, time
import numpy as np, fastattr as fa
from fastattr import _core

def squares(points, index, scalars):
    x = points[0]
    return (x * x * np.abs(x)).sum(axis=1)[None], ((3 * x * np.abs(x))[None],)

def explain():
    x = np.linspace(-1, 1, 200_000)[None]
    return fa.IntegratedGradients(fa.FunctionModel(squares), steps=5, rows=4)(x).values.tobytes()

def in_child(work):
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # a child that hangs is killed
        os._exit(0 if work() else 7)
    return os.waitpid(child, 0)[1]
"""


def run(script: str) -> None:
    code = PRELUDE + textwrap.dedent(script)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@needs_fork
def test_fork_while_the_pool_is_warm() -> None:
    """The child has none of the workers and starts its own; so has its child; the parent goes on."""
    run("""
        fa.set_num_threads(3)
        wanted = explain()
        grandchild = lambda: explain() == wanted and in_child(lambda: explain() == wanted) == 0
        for work in (lambda: explain() == wanted, grandchild):
            assert in_child(work) == 0
            assert explain() == wanted
    """)


@needs_fork
def test_fork_before_the_pool_is_used() -> None:
    run("""
        fa.set_num_threads(3)
        assert in_child(lambda: len(explain()) == 1_600_000) == 0
    """)


@needs_fork
def test_fork_while_another_thread_is_in_a_loop() -> None:
    run("""
        fa.set_num_threads(3)
        wanted, stop = explain(), threading.Event()
        def work():
            while not stop.is_set():
                explain()
        busy = threading.Thread(target=work)
        busy.start()
        found = [in_child(lambda: explain() == wanted) for _ in range(20)]
        stop.set()
        busy.join()
        assert found == [0] * 20, found
    """)


@needs_fork
def test_fork_while_another_thread_computes_nodes() -> None:
    """The lock of the quadrature cache is held there, without the GIL; the child must not wait for it."""
    run("""
        def work():
            model = fa.FunctionModel(squares)
            fa.IntegratedGradients(model, rule="gauss_legendre", steps=12_000, rows=1)(np.ones((1, 1)))
        busy = threading.Thread(target=work, daemon=True)
        busy.start()
        time.sleep(0.2)
        def child():
            signal.alarm(5)
            return len(_core.quadrature("left", 3)[0]) == 3
        status = in_child(child)
        print("status", status, file=sys.stderr)
        os._exit(0 if status == 0 else 1)
    """)
