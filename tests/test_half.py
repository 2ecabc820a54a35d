"""csrc/half.h: float16 and bfloat16 to float32 and back, every bit pattern, through points, collect and accumulate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers_native import VersionedProducer, job
from numpy.typing import NDArray

from fastattr import _core

pytestmark = [pytest.mark.native, pytest.mark.backend]

PATTERNS = np.arange(2**16, dtype=np.uint16)
SHUFFLED = np.random.default_rng(0).permutation(PATTERNS)
FORMATS = {"float16": (11, -24, 65520.0), "bfloat16": (8, -133, 2.0**128 * (1 - 2.0**-9))}
CODES = {"float16": 2, "bfloat16": 4}


def load(bits: NDArray[np.uint16], name: str) -> NDArray[np.float32]:
    """The number of a pattern, by NumPy or by its definition: bfloat16 is the upper half of a float32."""
    with np.errstate(invalid="ignore"):  # signalling NaN
        half = bits.view(np.float16).astype(np.float32)
    return half if name == "float16" else (bits.astype(np.uint32) << 16).view(np.float32)


def rounded(values: NDArray[np.float32], name: str) -> NDArray[np.float64]:
    """To the nearest number of the format, ties to even: digits, last place of subnormals, where infinity begins."""
    digits, last, infinity = FORMATS[name]
    wide = values.astype(np.float64)
    _, exponent = np.frexp(wide)
    place = np.ldexp(1.0, np.maximum(exponent - digits, last))
    with np.errstate(invalid="ignore"):
        near = np.rint(wide / place) * place
    return np.where(np.isinf(wide) | (np.abs(wide) >= infinity), np.copysign(np.inf, wide), near)


def same(got: Any, wanted: Any) -> bool:
    """Equal as numbers with their signs; NaN equals NaN."""
    return np.array_equal(got, wanted, equal_nan=True) and np.array_equal(
        np.signbit(got)[~np.isnan(wanted)], np.signbit(wanted)[~np.isnan(wanted)]
    )


def matrix(bits: NDArray[np.uint16], name: str) -> VersionedProducer:
    """The patterns as one row of a tensor of the format."""
    return VersionedProducer(bits.reshape(1, -1).copy(), code=CODES[name], bits=16)


def points_of(x: NDArray[np.uint16], base: NDArray[np.uint16], name: str, rule: str, steps: int) -> NDArray[np.uint16]:
    """The patterns (steps, D) that the model is shown on the way from base to x."""
    D, end = len(x), int(rule != "trapezoid")  # a first row at x
    buffer = VersionedProducer(np.zeros((steps + end, D), np.uint16), code=CODES[name], bits=16)
    arguments = job(np.zeros((1, D), np.float16), rows=steps + end, rule=rule, steps=steps)
    _core.integrate(
        **arguments
        | {"inputs": (matrix(x, name),), "bases": (matrix(base, name),), "points": (buffer,)}
        | {"evaluate": lambda rows, *_: (np.zeros(rows), None, (None,))}
    )
    return buffer.array[end:]


@pytest.mark.parametrize("name", FORMATS)
def test_end_points_keep_every_bit(name: str) -> None:
    """NaN payloads and all: alpha 0 and 1 copy."""
    base, x = points_of(PATTERNS, SHUFFLED, name, "trapezoid", 2)
    assert np.array_equal(x, PATTERNS) and np.array_equal(base, SHUFFLED)


@pytest.mark.parametrize("name", FORMATS)
def test_there_and_back(name: str) -> None:
    """From a number to itself every point is it: b + a (b - b). Infinities give NaN, by that formula."""
    points = points_of(PATTERNS, PATTERNS, name, "midpoint", 3)
    numbers = load(PATTERNS, name)
    finite = np.isfinite(numbers)
    for row in points:
        nonzero = finite & (numbers != 0)
        assert np.array_equal(row[nonzero], PATTERNS[nonzero])
        assert not load(row, name)[finite & ~nonzero].any()  # -0 + 0 is +0
        assert np.isnan(load(row, name)[~finite]).all()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("base", [np.zeros_like(PATTERNS), SHUFFLED, PATTERNS[::-1], PATTERNS ^ 1, PATTERNS ^ 0x8000])
@pytest.mark.parametrize(("rule", "steps"), [("midpoint", 1), ("left", 4), ("gauss_legendre", 5), ("midpoint", 16)])
def test_rounding(rule: str, steps: int, base: NDArray[np.uint16], name: str) -> None:
    """Computed in float32, then to the nearest with ties to even, subnormals included; NaN stays NaN."""
    points = points_of(PATTERNS, base, name, rule, steps)
    b, x = load(base, name), load(PATTERNS, name)
    nodes, _ = _core.quadrature(rule, steps)
    with np.errstate(all="ignore"):
        for row, alpha in zip(points, nodes):
            if alpha == 0:
                continue
            exact = b + np.float32(alpha) * (x - b)
            assert same(load(row, name).astype(np.float64), rounded(exact, name))
            if name == "float16":
                assert same(row.view(np.float16), exact.astype(np.float16))


@pytest.mark.parametrize("name", FORMATS)
def test_reading_values(name: str) -> None:
    """Outputs of the model in 16 bits, one example a pattern."""
    n = len(PATTERNS)
    arguments = job(np.ones((n, 1), np.float32), rows=n)
    values = VersionedProducer(PATTERNS.copy(), code=CODES[name], bits=16)
    output = _core.integrate(**arguments | {"evaluate": lambda *_: (values, None, (None,))})[2]
    with np.errstate(invalid="ignore"):
        assert same(output, load(PATTERNS, name).astype(np.float64))


@pytest.mark.parametrize("name", FORMATS)
def test_reading_gradients(name: str) -> None:
    """x - x' = 1 times each pattern as the gradient, in float32."""
    n = len(PATTERNS)
    one, zero = (np.full(n, bits, np.uint16) for bits in (0x3C00 if name == "float16" else 0x3F80, 0))
    arguments = job(np.zeros((1, n), np.float16), rows=1)
    gradient = matrix(PATTERNS, name)
    _core.integrate(
        **arguments
        | {"inputs": (matrix(one, name),), "bases": (matrix(zero, name),), "points": (matrix(zero, name),)}
        | {"evaluate": lambda *_: (np.zeros(1), None, (gradient,))}
    )
    got, wanted = arguments["values"][0][0], load(PATTERNS, name)
    assert got.dtype == np.float32
    assert np.array_equal(got, wanted, equal_nan=True)
