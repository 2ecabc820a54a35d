"""_core.gemm against NumPy's product, through SciPy's BLAS and through the loop that replaces it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastattr import _core

pytestmark = [pytest.mark.native, pytest.mark.backend]

CLOSE = {"float32": 2.0**-23, "float64": 2.0**-52}
SIZES = [(1, 1, 1), (3, 5, 7), (33, 65, 31), (1, 129, 40), (130, 1, 67), (64, 64, 64), (257, 3, 100)]
THIN = [(1, 513, 700), (5, 1031, 300), (9, 264, 1000), (16, 131, 2050)]  # thin.c's
EMPTY = [(0, 4, 3), (4, 0, 3), (4, 3, 0), (0, 0, 0), (1, 1, 0), (0, 3, 0)]


@pytest.fixture(params=[True, False], ids=["blas", "loop"])
def product(request: pytest.FixtureRequest) -> Iterator[None]:
    """With SciPy's BLAS, then without."""
    assert _core.use_blas(request.param) is request.param
    yield
    assert _core.use_blas(True)


def numbers(*shape: int, dtype: str, seed: int) -> NDArray[Any]:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("size", SIZES + THIN + EMPTY, ids=str)
@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
@pytest.mark.parametrize("accumulate", [False, True])
def test_products(
    product: None, size: tuple[int, int, int], transpose_a: bool, transpose_b: bool, accumulate: bool, dtype: str
) -> None:
    M, N, K = size
    a, b, c = (numbers(*s, dtype=dtype, seed=i) for i, s in enumerate(((M, K), (K, N), (M, N))))
    wide = [x.astype(np.longdouble) for x in (a, b, c)]
    expected = wide[0] @ wide[1] + (wide[2] if accumulate else 0)
    bound = np.abs(wide[0]) @ np.abs(wide[1]) + np.abs(wide[2])
    given = [np.ascontiguousarray(x.T) if turned else x for x, turned in ((a, transpose_a), (b, transpose_b))]
    out = c if accumulate else np.full((M, N), np.nan, dtype)  # what was there is not read
    before = [x.copy() for x in given]
    _core.gemm(*given, out, transpose_a, transpose_b, accumulate)
    assert (np.abs(out - expected) <= (K + 1) * CLOSE[dtype] * bound).all()
    for x, kept in zip(given, before):
        np.testing.assert_array_equal(x, kept)


def test_rows_are_shared_among_threads_and_stay_the_same(product: None) -> None:
    a, b = numbers(2000, 50, dtype="float64", seed=1), numbers(50, 70, dtype="float64", seed=2)
    found = []
    for threads in (1, 2, 5):
        _core.set_num_threads(threads)
        found.append(np.empty((2000, 70)))
        _core.gemm(a, b, found[-1])
    _core.set_num_threads(0)
    np.testing.assert_allclose(found[0], a @ b, rtol=0, atol=1e-12)
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=0, atol=1e-13)


@pytest.mark.parametrize("transpose_b", [False, True])
def test_a_few_rows_have_the_same_bits_in_any_company(transpose_b: bool) -> None:
    a, b = numbers(16, 600, dtype="float32", seed=1), numbers(600, 600, dtype="float32", seed=2)
    whole = np.empty((16, 600), np.float32)
    for threads in (1, 2, 5):
        _core.set_num_threads(threads)
        _core.gemm(a, b, whole, transpose_b=transpose_b)
        for part in (slice(0, 1), slice(3, 12), slice(15, 16)):
            found = np.empty((part.stop - part.start, 600), np.float32)
            _core.gemm(a[part], b, found, transpose_b=transpose_b)
            np.testing.assert_array_equal(found, whole[part])
    _core.set_num_threads(0)


def test_nan_and_infinity_pass(product: None) -> None:
    a, b = np.array([[np.nan, 1.0], [0.0, 2.0], [np.inf, 0.0]]), np.array([[1.0, 0.0], [1.0, 1.0]])
    out = np.zeros((3, 2))
    _core.gemm(a, b, out)
    np.testing.assert_array_equal(out, [[np.nan, np.nan], [2.0, 2.0], [np.inf, np.nan]])


@pytest.mark.parametrize(
    "changes, error, words",
    [
        ({"a": np.zeros((3, 4), np.float32)}, TypeError, "a: expected float64 like out, got float32"),
        ({"b": np.zeros((4, 5), np.int64)}, TypeError, "b: expected float64 like out, got int64"),
        ({"out": np.zeros((3, 5), np.float16)}, TypeError, "out: expected float32 or float64, got float16"),
        ({"a": np.zeros((2, 4))}, ValueError, r"a: expected shape \(3, 4\), got \(2, 4\)"),
        ({"b": np.zeros((5, 5))}, ValueError, r"b: expected shape \(4, 5\), got \(5, 5\)"),
        ({"transpose_b": True}, ValueError, r"b: expected shape \(5, 4\), got \(4, 5\)"),
        ({"transpose_a": True}, ValueError, r"a: expected shape \(3, 3\), got \(3, 4\)"),
        ({"b": np.zeros((4, 10))[:, ::2]}, ValueError, "b: expected C-contiguous memory"),
        ({"out": "no"}, TypeError, "out: expected a NumPy array"),
    ],
)
def test_what_cannot_be_multiplied(changes: dict[str, Any], error: type[Exception], words: str) -> None:
    arguments = {"a": np.zeros((3, 4)), "b": np.zeros((4, 5)), "out": np.zeros((3, 5))} | changes
    with pytest.raises(error, match=f"^{words}"):
        _core.gemm(**arguments)


def test_read_only_memory_is_refused_as_out() -> None:
    out = np.zeros((3, 5))
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out: expected writable memory, got read-only"):
        _core.gemm(np.zeros((3, 4)), np.zeros((4, 5)), out)


LATER = """
import sys, numpy as np
from fastattr import _core, blas
assert "scipy" not in sys.modules
out = np.zeros((1, 1))
_core.gemm(np.ones((1, 2)), np.ones((2, 1)), out)
assert out == 2 and not any(name.startswith("scipy.linalg") for name in sys.modules)
ours = blas.alone()
import scipy.linalg.cython_blas
assert scipy.linalg.cython_blas.__pyx_capi__.keys() == ours.__pyx_capi__.keys() and len(ours.__pyx_capi__) > 100
assert scipy.linalg.cython_blas.__name__ == ours.__name__ == "scipy.linalg.cython_blas"
assert scipy.linalg.solve([[2.0]], [4.0]) == 2
assert _core.use_blas(True)
"""
MOVED = """
import numpy as np
from fastattr import _core, blas
def elsewhere():
    raise OSError("no such file")
blas.alone = elsewhere
assert _core.use_blas(True)
import sys
assert "scipy.linalg.cython_blas" in sys.modules
"""
NEVER = """
import sys, numpy as np
sys.modules["scipy"] = None
from fastattr import _core
out = np.zeros((1, 1))
_core.gemm(np.ones((1, 2)), np.ones((2, 1)), out)
assert out == 2 and not _core.use_blas(True)
"""
STRANGE = """
import sys, types, ctypes, numpy as np
new = ctypes.pythonapi.PyCapsule_New
new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
form = "void (char *, char *, I *, I *, I *, R *, R *, I *, R *, I *, R *, R *, I *)"
names = [form.replace("I", "int").replace("R", "real")[:cut].encode() for cut in (-1, 20, 60)]
names += [form.replace("I", "long").replace("R", "real").encode(), b"", b"void ()", None]
names += [form.replace("I", "int").replace("R", "real", 3).replace("R", "other").encode()]
names += [form.replace("I", "int").replace("R", "real").encode() + b" noexcept"]
for name in names:
    for package in ("scipy", "scipy.linalg"):
        sys.modules[package] = types.ModuleType(package)
    module = sys.modules["scipy.linalg.cython_blas"] = types.ModuleType("cython_blas")
    capsule = new(1, name, None)
    module.__pyx_capi__ = {"sgemm": capsule, "dgemm": capsule}
    sys.modules["scipy.linalg"].cython_blas = module
    from fastattr import _core
    assert not _core.use_blas(True), name
    out = np.zeros((1, 1))
    _core.gemm(np.ones((1, 2)), np.ones((2, 1)), out)
    assert out == 2
"""


@pytest.mark.parametrize("code", [LATER, MOVED, NEVER, STRANGE], ids=["later", "moved", "never", "strange"])
def test_scipy_is_looked_for_at_the_first_product(code: str) -> None:
    """Not before; where it is not there, or offers functions of another signature, the loop multiplies."""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
