"""Every level of the CPU kernels gives the same bits, for sizes about a vector, a block and what the caches hold."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers_native import VersionedProducer, job, run_at_level
from numpy.typing import NDArray

from fastattr import _core

pytestmark = pytest.mark.native

STEPS = 11
SIZES = [*range(1, 19), 31, 33, 63, 64, 65, 127, 255, 256, 257, 2047, 2049, 5003]
PAST_THE_CACHES = 25 << 20  # bytes: above FA_BYPASS_BYTES of csrc/cpu/wide.h
KINDS = {  # the array that holds the bits, DLPack's code
    "float16": (np.dtype(np.uint16), 2),
    "bfloat16": (np.dtype(np.uint16), 4),
    "float32": (np.dtype(np.uint32), 2),
    "float64": (np.dtype(np.uint64), 2),
}


def large(name: str) -> int:
    return PAST_THE_CACHES // KINDS[name][0].itemsize // STEPS + 77


def tensor(bits: NDArray[Any], name: str) -> VersionedProducer:
    return VersionedProducer(bits, code=KINDS[name][1], bits=8 * bits.dtype.itemsize)


def numbers(shape: tuple[int, ...], name: str, seed: int) -> NDArray[Any]:
    """The bits of finite numbers of many sizes, of both signs, zero and subnormals among them."""
    rng = np.random.default_rng(seed)
    wide = rng.normal(size=shape) * 2.0 ** rng.integers(-30, 6, shape)
    if name == "bfloat16":
        return (wide.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return wide.astype(name).view(KINDS[name][0])


def unaligned(rows: int, size: int, name: str, offset: int) -> NDArray[Any]:
    """(rows, size) zeros, `offset` elements past a line of 64 bytes."""
    kind = KINDS[name][0]
    room = np.zeros(rows * size + offset + 64, kind)
    first = -room.ctypes.data % 64 // kind.itemsize + offset
    return room[first : first + rows * size].reshape(rows, size)


def integrate(
    name: str, size: int, offset: int, ends: tuple[NDArray[Any], NDArray[Any]] | None = None
) -> tuple[NDArray[Any], ...]:
    """Input, base, points of the midpoint rule, and the mean of a gradient that is the point itself."""
    x, base = ends or (numbers((1, size), name, size), numbers((1, size), name, size + 1))
    points = unaligned(STEPS + 1, size, name, offset)
    _, _, scratch = _core.integrate_plan("midpoint", STEPS, False, 1)
    arguments = job(np.zeros((1, size), np.float64 if name == "float64" else np.float32), rows=len(points))
    plan = {"rule": "midpoint", "steps": STEPS, "multiply": False, "scratch": np.zeros(scratch, np.uint8)}
    tensors = {"inputs": x, "bases": base, "points": points}
    _core.integrate(
        **arguments
        | plan
        | {key: (tensor(bits, name),) for key, bits in tensors.items()}
        | {"evaluate": lambda rows, *_: (np.zeros(rows), None, (tensor(points[:rows], name),))}
    )
    return x, base, points, arguments["values"][0]


def wide(bits: NDArray[Any], name: str) -> NDArray[Any]:
    """As the type in which the kernels compute."""
    if name == "bfloat16":
        return (bits.astype(np.uint32) << 16).view(np.float32)
    number = bits.view(name)
    return number.astype(np.float32) if name == "float16" else number


@pytest.mark.parametrize("offset", [0, 1, 5])
@pytest.mark.parametrize("name", ["float16", "float32", "float64"])
def test_points_of_any_size_and_place(name: str, offset: int) -> None:
    """NumPy's bits, in cache and past it; nothing is written beside the rows."""
    nodes, weights = _core.quadrature("midpoint", STEPS)
    for size in [*SIZES, large(name)]:
        x, base, points, mean = integrate(name, size, offset)
        a, b = wide(x, name), wide(base, name)
        assert np.array_equal(points[0], x[0])
        want = np.zeros_like(a)
        for row, alpha, weight in zip(points[1:], nodes, weights, strict=True):
            number = (b + b.dtype.type(alpha) * (a - b)).astype(name)
            assert np.array_equal(row.view(name), number[0])
            want += b.dtype.type(weight) * number
        assert np.array_equal(mean, want)
        room = points.base
        assert room is not None and np.count_nonzero(room) == np.count_nonzero(points)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
def test_points_between_halves_of_every_kind(name: str) -> None:
    """All 65536 of them, NaN, infinity and subnormals included, each on the way to another."""
    ends = np.arange(2**16, dtype=np.uint16)[None], np.random.default_rng(0).permutation(2**16).astype(np.uint16)[None]
    nodes = _core.quadrature("midpoint", STEPS)[0]
    a, b = wide(ends[0], name), wide(ends[1], name)
    _, _, points, _ = integrate(name, 2**16, 3, ends)
    assert np.array_equal(points[0], ends[0][0])
    for row, alpha in zip(points[1:], nodes, strict=True):
        number = b[0] + np.float32(alpha) * (a[0] - b[0])
        if name == "float16":
            bits = number.astype(np.float16).view(np.uint16)
        else:  # to the nearest, ties to even
            bits = ((number.view(np.uint32) + 0x7FFF + (number.view(np.uint32) >> 16 & 1)) >> 16).astype(np.uint16)
        broken = np.isnan(number)
        assert 0 < broken.sum() < 2**13 and np.isinf(number).any()
        assert np.array_equal(row[~broken], bits[~broken])
        assert np.isnan(wide(row[broken], name)).all()


@pytest.mark.parametrize("level", ["base", "avx2"])
def test_halves_at_lower_levels(level: str) -> None:
    run_at_level(level, __file__, "halves_of_every_kind")


LEVELS = """
import hashlib
import sys

import numpy as np

import fastattr as fa
import test_levels as here
from fastattr import _core

fa.set_num_threads(int(sys.argv[1]))
for name in here.KINDS:
    digest = hashlib.sha256()
    for size in [*here.SIZES, here.large(name)]:
        for offset in (0, 3):
            for bits in here.integrate(name, size, offset)[2:]:
                digest.update(np.ascontiguousarray(bits).tobytes())
    print(digest.hexdigest())
for dtype in ("float16", "float32", "float64"):
    digest = hashlib.sha256()
    for size in (1, 15, 17, 64, 257, 2049, here.PAST_THE_CACHES // np.dtype(dtype).itemsize // 10 + 33):
        x = here.numbers((1, size), dtype, 0).view(dtype)
        pool = here.numbers((3, size), dtype, 1).view(dtype)
        model = fa.FunctionModel(here.sloped)
        methods = (
            fa.ExpectedGradients(model, pool, samples=9, rows=10**6),
            fa.GradientShap(model, pool, samples=9, noise=0.1, rows=7),
            fa.SmoothGrad(model, samples=9, kind="variance"),
            fa.IntegratedGradients(model, tolerance=0.01, max_steps=31),
            fa.Saliency(model),
        )
        for method in methods[: 5 if size < 10**4 else 1]:
            att = method(x)
            for array in (att.values, att.gap, att.error, att.output):
                digest.update(np.ascontiguousarray(array).tobytes())
    print(digest.hexdigest())
print(_core.cpu_level())
"""


def sloped(points: Any, index: Any, scalars: Any) -> Any:
    """Elementwise, and the value of one element: NumPy's own loops give the same bits at every width."""
    x = points[0].astype(np.float32)
    return x[:, 0][None], ((x * (1 - x)).astype(points[0].dtype)[None],)


def digests(level: str, threads: int) -> tuple[list[str], str]:
    environment = os.environ | {"FASTATTR_CPU_LEVEL": level}
    command = [sys.executable, "-W", "ignore", "-c", LEVELS, str(threads)]
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    run = subprocess.run(command, env=environment | {"PYTHONPATH": path}, capture_output=True, text=True, check=True)
    *found, ran = run.stdout.split()
    return found, ran


def test_every_level_gives_the_bits_of_base() -> None:
    base, ran = digests("base", 1)
    assert ran == "base" and len(base) == len(KINDS) + 3
    for level in ("avx2", "avx512"):
        assert digests(level, 2)[0] == base, level
