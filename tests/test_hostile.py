"""More of what may come to the door: dtypes, shapes and strides, producers, and descriptions at random.

Each is refused in a sentence of a typed error that begins with the argument's name, or is read right; in both cases
nothing is held afterwards.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
import pytest
from helpers_native import PRODUCERS, Answers, HandMade, Producer, VersionedProducer, job
from test_check import TOP, integrate, matrix, refuses, replaced

pytestmark = pytest.mark.native

WIDE = "exceed the address space"
FLAT = "expected C-contiguous memory"


# ---- descriptions -------------------------------------------------------------------------------------------------

CODES = ("int", "uint", "float", None, "bfloat", "complex", "bool", None)
SIXTEEN = [((2, 16), "float16"), ((4, 16), "bfloat16")]
OTHERS = [
    ((code, bits), f"{CODES[code]}{bits}")
    for code, widths in {0: (8, 16, 64), 1: (8, 16, 64), 5: (64,)}.items()
    for bits in widths
]
UNKNOWN = [(c, b) for c, bs in {3: (8, 16, 64), 4: (8, 64), 5: (8, 16), 6: (16, 64), 7: (8, 32)}.items() for b in bs]
DTYPES = [*OTHERS, *((dtype, "an unknown dtype") for dtype in UNKNOWN), ((6, 8), "bool")]


@pytest.mark.parametrize(("dtype", "name"), DTYPES)
def test_dtypes_that_are_not_floats(dtype: tuple[int, int], name: str) -> None:
    x = np.ones((4, 3))
    refuses(Producer(x, code=dtype[0], bits=dtype[1]), TypeError, f"expected a floating dtype, got {name}$")


@pytest.mark.parametrize("bits", [1, 2, 6, 12, 24, 33, 63, 65, 80, 96, 127, 255])
def test_widths_that_are_no_dtypes(bits: int) -> None:
    refuses(Producer(matrix(), bits=bits), TypeError, f"bits an element, got {bits}$")


@pytest.mark.parametrize("lanes", [3, 4, 8, 255, 65535])
def test_vectors(lanes: int) -> None:
    refuses(Producer(matrix(), lanes=lanes), TypeError, f"expected a scalar dtype, got {lanes} lanes$")


@pytest.mark.parametrize(("dtype", "name"), SIXTEEN)
def test_all_floats_are_read(dtype: tuple[int, int], name: str) -> None:
    """Zeros, the only numbers that are the same in both 16-bit types."""
    x, arguments = np.zeros((4, 3), np.float16), job(np.zeros((4, 3), np.float16))
    gradient = np.zeros((4, 3), np.float16)
    for argument in ("inputs", "bases", "points"):
        given = Producer(arguments[argument][0], code=dtype[0], bits=dtype[1])
        arguments = replaced(arguments, argument, given)
    answer = np.zeros(4), None, (Producer(gradient, code=dtype[0], bits=dtype[1]),)
    assert np.array_equal(integrate(arguments | {"evaluate": lambda *_: answer}), x)


SHAPES: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"ndim": 1, "shape": [-1], "strides": None}, ValueError, "got -1 on axis 0"),
    ({"ndim": 3, "shape": [1, 1, -5], "strides": None}, ValueError, "got -5 on axis 2"),
    ({"ndim": 3, "shape": [0, 0, -(2**63)], "strides": None}, ValueError, "on axis 2"),
    ({"ndim": 64, "shape": [*[1] * 63, -2], "strides": None}, ValueError, "got -2 on axis 63"),
    ({"ndim": 64, "shape": [2] * 64, "strides": None}, ValueError, "does not fit 64 bits"),
    ({"ndim": 63, "shape": [2] * 63, "strides": None}, ValueError, "does not fit 64 bits"),
    ({"ndim": 62, "shape": [2] * 62, "strides": None}, ValueError, WIDE),
    ({"ndim": 3, "shape": [2**21] * 3, "strides": None}, ValueError, "does not fit 64 bits"),
    ({"ndim": 3, "shape": [2**21, 2**21, 2**20], "strides": None}, ValueError, WIDE),
    ({"shape": [2**32, 2**32], "strides": [0, 0]}, ValueError, "does not fit 64 bits"),
    ({"shape": [TOP, 1], "strides": [0, 1]}, ValueError, WIDE),
    ({"shape": [3, TOP], "strides": [0, 0]}, ValueError, "does not fit 64 bits"),
    ({"shape": [TOP, TOP]}, ValueError, "does not fit 64 bits"),
    ({"ndim": 66, "shape": [0] * 66, "strides": None}, ValueError, "expected 0 to 64 axes, got 66"),
    ({"ndim": 1, "shape": None, "strides": None}, ValueError, "1 axes came without a shape"),
    ({"ndim": 64, "shape": None}, ValueError, "64 axes came without a shape"),
    ({"ndim": 0, "shape": None, "data": None}, ValueError, "1 elements came without data"),
    ({"shape": [2**50, 1], "data": None, "strides": None}, ValueError, "elements came without data"),
    ({"strides": [TOP, 1]}, ValueError, WIDE),
    ({"strides": [-TOP, 1]}, ValueError, WIDE),
    ({"strides": [1, TOP]}, ValueError, WIDE),
    ({"strides": [1, -(2**63)]}, ValueError, WIDE),
    ({"strides": [2**61 // 3, 1]}, ValueError, WIDE),
    ({"strides": [-(2**60), -(2**60)]}, ValueError, WIDE),
    ({"shape": [2, 2], "strides": [TOP, TOP]}, ValueError, WIDE),
    ({"shape": [2, 2], "strides": [-TOP, -TOP]}, ValueError, WIDE),
    ({"shape": [2**31, 2], "strides": [2**31, 1]}, ValueError, WIDE),
    ({"byte_offset": 2**62}, ValueError, WIDE),
    ({"byte_offset": 2**64 - 48, "shape": [1, 1]}, ValueError, WIDE),
    ({"byte_offset": 1, "shape": [2, 3]}, ValueError, "expected aligned memory"),
    ({"byte_offset": 2, "shape": [2, 3]}, ValueError, "expected aligned memory"),
    ({"strides": [3, -1]}, ValueError, FLAT),
    ({"strides": [-3, -1]}, ValueError, FLAT),
    ({"strides": [3, 0]}, ValueError, FLAT),
    ({"strides": [1, 1]}, ValueError, FLAT),
    ({"strides": [3, 3]}, ValueError, FLAT),
    ({"strides": [4, 1]}, ValueError, FLAT),
    ({"strides": [2, 1]}, ValueError, FLAT),
    ({"shape": [1, 3], "strides": [7, 2]}, ValueError, FLAT),
    ({"ndim": 1, "shape": [4], "strides": [2]}, ValueError, FLAT),
    ({"ndim": 1, "shape": [4], "strides": [-1]}, ValueError, FLAT),
    ({"ndim": 1, "shape": [4], "strides": [0]}, ValueError, FLAT),
    ({"ndim": 3, "shape": [2, 2, 3], "strides": [6, 1, 2]}, ValueError, FLAT),
    ({"ndim": 3, "shape": [2, 2, 3], "strides": [3, 6, 1]}, ValueError, FLAT),
    ({"ndim": 3, "shape": [2, 1, 3], "strides": [6, 3, 1]}, ValueError, FLAT),
]


@pytest.mark.parametrize("producer", PRODUCERS)
@pytest.mark.parametrize(("fields", "kind", "message"), SHAPES)
def test_shapes_and_strides(fields: dict[str, Any], kind: type[Exception], message: str, producer: Any) -> None:
    x = matrix()
    before = sys.getrefcount(x)
    refuses(producer(x, **fields), kind, message)
    assert sys.getrefcount(x) == before


@pytest.mark.parametrize(
    "fields",
    [
        {"data": 2**64 - 8, "strides": None},
        {"data": 2**64 - 48, "strides": None, "byte_offset": 4},
        {"data": 2**64 - 4, "byte_offset": 2**62 - 4},
        {"data": 2**63, "shape": [1, 2], "strides": [1, 2**61 - 2], "byte_offset": 2**62 - 4},
        {"data": 4, "strides": [-3, 1]},
        {"data": 4, "strides": [3, -1]},
        {"shape": [2, 1], "strides": [-(2**60), 1]},
    ],
)
def test_addresses_that_wrap(fields: dict[str, Any]) -> None:
    refuses(Producer(matrix(), **fields), ValueError, WIDE)


# ---- producers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [0, 2.5, "dltensor", b"dltensor", (), [], {}, ..., object(), Producer, len])
def test_answers_that_are_no_capsules(answer: Any) -> None:
    refuses(Answers(answer), TypeError, "__dlpack__ of Answers returned no DLPack capsule")


@pytest.mark.parametrize("name", [b"", b"DLTENSOR", b"dltensor_", b"dltensor_versioned2", b"dlpack_exchange_api"])
def test_capsules_of_other_names(name: bytes) -> None:
    refuses(HandMade(matrix(), name), TypeError, "returned no DLPack capsule")


@pytest.mark.parametrize("major", [3, 255, 2**31, 2**32 - 1])
def test_versions_to_come(major: int) -> None:
    refuses(VersionedProducer(matrix(), major=major), TypeError, f"expected DLPack version 1, got version {major}$")


@pytest.mark.parametrize(
    "kind", [NotImplementedError, RecursionError, StopIteration, SystemExit, GeneratorExit, TypeError, UnicodeError]
)
def test_what_a_producer_raises(kind: type[BaseException]) -> None:
    with pytest.raises(kind, match="mine"):
        integrate(replaced(job(matrix()), "inputs", Answers(kind("mine"))))


def test_an_attribute_error_from_within_comes_out() -> None:
    with pytest.raises(AttributeError, match="mine"):
        integrate(replaced(job(matrix()), "inputs", Answers(AttributeError("mine"))))


def test_a_producer_that_calls_and_collects() -> None:
    class Nested(VersionedProducer):
        def __dlpack__(self, **options: Any) -> Any:
            integrate(job(matrix()))
            gc.collect()
            return super().__dlpack__(**options)

    x = matrix()
    assert np.array_equal(integrate(replaced(job(x), "inputs", Nested(x))), x)


def test_a_producer_that_forgets_its_array() -> None:
    """The capsule alone keeps the memory."""

    class Forgets(Producer):
        def __dlpack__(self) -> Any:
            capsule = super().__dlpack__()
            del self.array
            return capsule

    assert np.array_equal(integrate(replaced(job(matrix()), "inputs", Forgets(matrix()))), matrix())


def test_one_capsule_for_two_arguments() -> None:
    x = matrix()
    same = Answers(x.__dlpack__())
    arguments = replaced(replaced(job(x), "inputs", same), "bases", same)
    assert not integrate(arguments).any()


# ---- by fuzzing ---------------------------------------------------------------------------------------------------

SOURCES = ("tests/fuzz/fuzz_check.c", "csrc/check.c", "csrc/error.c")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.mark.skipif(which("cc") is None, reason="needs a C compiler")
def test_twenty_thousand_descriptions(tmp_path: Path) -> None:
    """A short run of `make fuzz`."""
    root, program = Path(__file__).parent.parent, str(tmp_path / "fuzz")
    clean = {name: value for name, value in os.environ.items() if name not in ("LD_PRELOAD", "ASAN_OPTIONS")}
    command = ["cc", "-std=c11", "-O1", "-g", "-Icsrc", *SANITIZERS, *SOURCES, "-o", program]
    if subprocess.run(command, cwd=root, env=clean, capture_output=True).returncode != 0:
        pytest.skip("needs a C compiler with the address and undefined-behaviour sanitizers")
    run = subprocess.run([program, "20000", "1"], env=clean, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr
