"""_core.winograd against the sum that defines a convolution, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers_native import run_at_level
from numpy.typing import NDArray

from fastattr import _core

pytestmark = pytest.mark.native

# Of an output's sum of absolute products: 16 times the rounding of such a sum, for the transforms magnify.
CLOSE = {"float32": 16 * 2.0**-23, "float64": 16 * 2.0**-52}
SIZES = [(1, 1), (2, 3), (3, 3), (4, 4), (5, 7), (9, 4), (12, 13)]


def numbers(*shape: int, dtype: str, seed: int) -> NDArray[Any]:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def defined(images: Any, weight: Any, bias: Any, padding: int) -> NDArray[np.float64]:
    """y[r, i, j, o] = bias[o] + sum over c, u, v of x[r, i + u - padding, j + v - padding, c] w[o, c, u, v]."""
    sides = (padding, padding)
    x = np.pad(images.astype(np.float64), ((0, 0), sides, sides, (0, 0)))
    height, width = x.shape[1] - 2, x.shape[2] - 2
    out = np.zeros((len(x), height, width, len(weight)))
    for u in range(3):
        for v in range(3):
            out += x[:, u : u + height, v : v + width] @ weight[:, :, u, v].astype(np.float64).T
    return out if bias is None else out + bias.astype(np.float64)


def convolve(weight: Any, bias: Any, images: Any, padding: int) -> NDArray[Any]:
    rows, height, width, _ = images.shape
    grown = 2 * padding - 2
    out = np.full((rows, height + grown, width + grown, len(weight)), np.nan, images.dtype)
    _core.winograd_run(_core.winograd(weight, bias), images, out, height, width, padding)
    return out


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(("inputs", "outputs"), [(16, 16), (32, 48), (48, 16)])
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_images(size: tuple[int, int], inputs: int, outputs: int, padding: int, dtype: str) -> None:
    if min(size) + 2 * padding < 3:
        pytest.skip("smaller than the filter")
    weight, bias = numbers(outputs, inputs, 3, 3, dtype=dtype, seed=1), numbers(outputs, dtype=dtype, seed=2)
    images = numbers(3, *size, inputs, dtype=dtype, seed=3)
    before = [given.copy() for given in (weight, bias, images)]
    for constant in (bias, None):
        got, want = convolve(weight, constant, images, padding), defined(images, weight, constant, padding)
        absolute = defined(np.abs(images), np.abs(weight), None if constant is None else np.abs(constant), padding)
        assert (np.abs(got - want) <= CLOSE[dtype] * absolute.max()).all()
    for given, kept in zip((weight, bias, images), before, strict=True):
        np.testing.assert_array_equal(given, kept)


@pytest.mark.parametrize("dtype", CLOSE)
def test_bits_depend_on_nothing_else(dtype: str) -> None:
    """Whatever the rows beside an image and the threads: many blocks, and one."""
    weight, images = numbers(64, 64, 3, 3, dtype=dtype, seed=1), numbers(9, 30, 31, 64, dtype=dtype, seed=2)
    whole = convolve(weight, None, images, 1)
    try:
        for threads in (1, 2, 5):
            _core.set_num_threads(threads)
            for part in (slice(0, 9), slice(3, 4), slice(5, 9)):
                np.testing.assert_array_equal(convolve(weight, None, images[part].copy(), 1), whole[part])
    finally:
        _core.set_num_threads(0)


def test_other_pixels_are_not_seen() -> None:
    """A NaN reaches the outputs of its tiles alone; zeros outside are never read from the image."""
    weight, images = numbers(16, 16, 3, 3, dtype="float32", seed=1), numbers(2, 16, 16, 16, dtype="float32", seed=2)
    clean = convolve(weight, None, images, 1)
    images[1, 0, 0, 5] = np.nan
    got = convolve(weight, None, images, 1)
    np.testing.assert_array_equal(got[0], clean[0])
    np.testing.assert_array_equal(got[1, 4:], clean[1, 4:])
    assert np.isnan(got[1, :2, :2]).all()


def test_no_rows() -> None:
    weight = numbers(16, 16, 3, 3, dtype="float32", seed=1)
    assert convolve(weight, None, numbers(0, 4, 4, 16, dtype="float32", seed=2), 1).shape == (0, 4, 4, 16)


def test_refused() -> None:
    weight, images = numbers(16, 16, 3, 3, dtype="float32", seed=1), numbers(2, 4, 4, 16, dtype="float32", seed=2)
    out, kept = np.empty_like(images), _core.winograd(weight, None)
    for given, words in (
        ((weight[:15], None), "weight: expected channels in multiples of"),
        ((weight[:, :, 0].copy(), None), r"weight: expected \(16, 45\) float32"),
        ((weight.astype(np.float16), None), "weight: expected .* of float32 or float64"),
        ((weight[:0], None), "weight: expected .* of float32 or float64"),
        ((weight, np.zeros(15, np.float32)), r"bias: expected \(16, 1\) float32"),
        ((weight, np.zeros(16)), r"bias: expected \(16, 1\) float32"),
    ):
        with pytest.raises(ValueError, match=words):
            _core.winograd(*given)
    for call, words in (
        ((kept, images[:, :3].copy(), out, 4, 4, 1), r"in: expected \(2, 256\) float32"),
        ((kept, images.astype(float), out, 4, 4, 1), "in: expected .* got .* float64"),
        ((kept, images, out[:1], 4, 4, 1), r"out: expected \(2, 256\)"),
        ((kept, images, out, 4, 4, 0), r"out: expected \(2, 64\)"),
        ((kept, images, out, 4, 4, 3), "expected an image of 3 x 3"),
        ((kept, images, out, 2, 8, 0), "expected an image of 3 x 3"),
        ((kept, images, out, 2**40, 1, 1), "expected an image of 3 x 3"),
    ):
        with pytest.raises(ValueError, match=words):
            _core.winograd_run(*call)
    out.flags.writeable = False
    with pytest.raises((ValueError, TypeError, BufferError)):
        _core.winograd_run(kept, images, out, 4, 4, 1)
    with pytest.raises(ValueError):
        _core.winograd_run(object(), images, images.copy(), 4, 4, 1)


@pytest.mark.parametrize("level", ["base", "avx2"])
def test_lower_cpu_levels(level: str) -> None:
    run_at_level(level, __file__, "images or bits")
