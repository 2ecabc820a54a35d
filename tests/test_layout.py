"""Inputs and baselines in every memory layout give the same bits and come out of the call as they went in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers_native import Formula, certificate, draw
from numpy.typing import NDArray

import fastattr as fa
from fastattr.problem import normalise

pytestmark = [pytest.mark.native, pytest.mark.backend]

Layout = Callable[[NDArray[Any]], NDArray[Any]]


def strided(a: NDArray[Any]) -> NDArray[Any]:
    wide = np.full((*a.shape[:-1], 2 * a.shape[-1]), 9, a.dtype)
    wide[..., ::2] = a
    return wide[..., ::2]


def unaligned(a: NDArray[Any]) -> NDArray[Any]:
    odd = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
    odd[...] = a
    return odd


def packed(a: NDArray[Any]) -> NDArray[Any]:
    """A field of packed records: strides that are no whole number of elements."""
    records = np.zeros(a.shape, np.dtype([("flag", "u1"), ("x", a.dtype)]))
    records["x"] = a
    return records["x"]


def frozen(a: NDArray[Any]) -> NDArray[Any]:
    copy = a.copy()
    copy.flags.writeable = False
    return copy


def swapped(a: NDArray[Any]) -> NDArray[Any]:
    return a.astype(a.dtype.newbyteorder())


class Subclass(np.ndarray):
    """Neither its `__array_finalize__` nor its type may reach the core."""


LAYOUTS: dict[str, Layout] = {
    "plain": np.ascontiguousarray,
    "strided": strided,
    "negative last": lambda a: a[..., ::-1].copy()[..., ::-1],
    "negative first": lambda a: a[::-1].copy()[::-1],
    "negative all": lambda a: np.flip(np.flip(a).copy()),
    "Fortran": np.asfortranarray,
    "transposed": lambda a: np.ascontiguousarray(np.moveaxis(a, 0, -1)).transpose(2, 0, 1),
    "unaligned": unaligned,
    "packed": packed,
    "read-only": frozen,
    "swapped": swapped,
    "swapped strided": lambda a: strided(swapped(a)),
    "subclass": lambda a: a.view(Subclass),
    "inside": lambda a: np.pad(a, 1)[1:-1, 1:-1, 1:-1],
}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str, dtype: str) -> None:
    x, base = draw(4, 3, 5, dtype=dtype), draw(4, 3, 5, seed=1, dtype=dtype)
    method = fa.IntegratedGradients(fa.FunctionModel(Formula()), rows=11)
    wanted = certificate(method(x, target=1, baseline=base))
    given = LAYOUTS[layout](x), LAYOUTS[layout](base)
    before = [(a.tobytes(), a.strides, a.dtype, a.flags.writeable) for a in given]
    got = method(given[0], target=1, baseline=given[1])
    assert certificate(got) == wanted
    assert type(got.values) is np.ndarray and got.values.dtype.isnative and got.values.flags.c_contiguous
    assert [(a.tobytes(), a.strides, a.dtype, a.flags.writeable) for a in given] == before


@pytest.mark.parametrize("shape", [(1, 1, 1), (4, 1, 1), (1, 3, 1), (1, 1, 5), (1, 3, 5)])
def test_expanded(shape: tuple[int, ...]) -> None:
    """Strides of zero, in the input, in the baseline and in both."""
    small = draw(*shape)
    expanded, dense = np.broadcast_to(small, (4, 3, 5)), np.broadcast_to(small, (4, 3, 5)).copy()
    other = draw(4, 3, 5, seed=1)
    method = fa.IntegratedGradients(fa.FunctionModel(Formula()), steps=6)
    assert certificate(method(expanded, baseline=other)) == certificate(method(dense, baseline=other))
    assert certificate(method(other, baseline=expanded)) == certificate(method(other, baseline=dense))
    assert certificate(method(other, baseline=small)) == certificate(method(other, baseline=dense))
    assert not method(expanded, baseline=small).values.any()


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (2, 0, 4), (2, 3, 0)])
@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray, swapped, frozen, lambda a: a[::-1]])
def test_no_elements(layout: Layout, shape: tuple[int, ...]) -> None:
    x = layout(np.zeros(shape))
    for baseline in (None, x, 1.0):
        att = fa.IntegratedGradients(fa.FunctionModel(Formula()))(x, target=0, baseline=baseline)
        assert att.values.shape == shape and att.converged.all() and len(att.converged) == shape[0]


def test_input_and_baseline_may_overlap() -> None:
    memory = draw(9, 4)
    x, base = memory[1:], memory[:-1]
    method = fa.IntegratedGradients(fa.FunctionModel(Formula()))
    assert certificate(method(x, baseline=base)) == certificate(method(x.copy(), baseline=base.copy()))


@pytest.mark.parametrize("dtype", ["float16", "float32", "int32", ">f4", "bool"])
def test_baselines_of_another_dtype_are_converted(dtype: str) -> None:
    x, base = draw(3, 4), np.arange(4).astype(dtype)
    method = fa.IntegratedGradients(fa.FunctionModel(Formula()))
    assert certificate(method(x, baseline=base)) == certificate(method(x, baseline=base.astype(np.float64)))


@pytest.mark.parametrize("layout", [np.asarray, strided, frozen], ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_baseline_spelt_out_for_every_example_is_one(layout: Layout, dtype: str) -> None:
    """The same bits and no memory of its own; another row, wherever it stands, makes it many."""
    x, base = draw(70, 300, dtype=dtype), draw(1, 300, seed=1, dtype=dtype)
    spelt = layout(np.repeat(base, 70, axis=0))
    assert normalise(x, spelt, (), None).shared_base
    method = fa.IntegratedGradients(fa.FunctionModel(Formula()), steps=5)
    assert certificate(method(x, baseline=spelt)) == certificate(method(x, baseline=base))
    for row in (0, 1, 54, 55, 69):  # rows are compared in blocks
        other = np.array(spelt)
        other[row, 299] += 1
        assert not normalise(x, other, (), None).shared_base
    other[:] = np.nan
    assert not normalise(x, other, (), None).shared_base
