"""What the native tests share: models given by formulas, a recorder of what they were asked, falsified DLPack capsules.

The formulas use + - * / and comparisons only and sum along contiguous rows, so a row's bits do not depend on the rows
beside it: every difference between two calls is the engine's.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastattr as fa
from fastattr import _core

Arrays = tuple[NDArray[Any], ...]
HIDDEN = 3


def draw(*shape: int, seed: int = 0, dtype: Any = np.float64) -> NDArray[Any]:
    """Normal numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def wide(x: NDArray[Any]) -> NDArray[np.float64]:
    """The same numbers in float64."""
    return x.astype(np.float64)


def run_at_level(level: str, file: str, chosen: str) -> None:
    """The tests of ``file`` that ``chosen`` selects, in a process whose CPU goes no further than ``level``."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", file, "-k", chosen]
    run = subprocess.run(command, env=os.environ | {"FASTATTR_CPU_LEVEL": level}, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:]


# ---- models -------------------------------------------------------------------------------------------------------


def smooth(s: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """s / (1 + s^2) and its slope: nested levels converge fast."""
    q = 1 + s * s
    return s / q, (1 - s * s) / (q * q)


def kinked(s: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """relu(s) and its slope: nested levels converge slowly."""
    return s * (s > 0), (s > 0).astype(s.dtype)


def steep(s: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """relu(s - 1) / 64 up to a jump of slope: hardly any two examples stop at the same level."""
    up = s > 1
    return np.where(up, 4 * (s - 1), 0), np.where(up, 4, 0).astype(s.dtype)


class Formula:
    """f_c(x) = sum_h link(b_ch + w_ch . x), x all inputs of a row side by side; 16-bit data computes in float32."""

    def __init__(self, link: Callable[[NDArray[Any]], tuple[NDArray[Any], NDArray[Any]]] = smooth) -> None:
        self.link = link

    @staticmethod
    def unit(classes: NDArray[np.int64], h: int, features: int, member: int, dtype: Any) -> NDArray[Any]:
        """w_ch (R, D) of one input; any numbers do, as long as every (c, h, d) has its own."""
        d = np.arange(features) + 101 * member
        phase = (classes[:, None] + 1) * 0.7 + (h + 1) * 1.3 + d * 2.1
        return (np.cos(phase) * (2.5 / np.sqrt(max(features, 1)))).astype(dtype)

    def scores(self, points: Arrays, classes: NDArray[np.int64]) -> tuple[NDArray[Any], Arrays]:
        """Values (R,) and gradients (R, ...) of output ``classes[r]``."""
        dtype = np.promote_types(points[0].dtype, np.float32)
        flat = [p.reshape(len(p), -1).astype(dtype) for p in points]
        values = np.zeros(len(classes), dtype)
        slopes = [np.zeros_like(p) for p in flat]
        for h in range(HIDDEN):
            weights = [self.unit(classes, h, p.shape[1], t, dtype) for t, p in enumerate(flat)]
            s = sum((p * w).sum(axis=1) for p, w in zip(flat, weights)) + dtype.type(0.3 * h - 0.4)
            value, slope = self.link(s.astype(dtype))
            values += value.astype(dtype)
            for total, w in zip(slopes, weights):
                total += slope.astype(dtype)[:, None] * w
        return values, tuple(g.reshape(p.shape).astype(p.dtype) for g, p in zip(slopes, points))

    def __call__(self, points: Arrays, index: NDArray[Any], scalars: NDArray[Any]) -> tuple[NDArray[Any], Arrays]:
        """As `fastattr.FunctionModel` wants it."""
        values, gradients = self.scores(points, scalars[0, :, 0])
        if (scalars[0, :, 1] >= 0).any():
            other, slopes = self.scores(points, scalars[0, :, 1])
            values, gradients = values - other, tuple(g - s for g, s in zip(gradients, slopes))
        return values[None], tuple(g[None] for g in gradients)

    def definition(self, target: int, versus: int = -1) -> Callable[[Any], tuple[Any, Any]]:
        """As `fastattr.reference` wants it, in float64."""

        def value_and_gradient(points: Any) -> tuple[Any, Any]:
            parts = points if isinstance(points, tuple) else (points,)
            scalars = np.broadcast_to(np.array([target, versus]), (1, len(parts[0]), 2))
            values, gradients = self(parts, np.zeros(len(parts[0]), np.int64), scalars)
            found = tuple(g[0] for g in gradients)
            return values[0], found if isinstance(points, tuple) else found[0]

        return value_and_gradient


class Recorder:
    """Every call of a function model, copied."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.points: list[Arrays] = []
        self.index: list[NDArray[np.int64]] = []
        self.scalars: list[NDArray[np.int64]] = []

    def __call__(self, points: Arrays, index: NDArray[Any], scalars: NDArray[Any]) -> Any:
        self.points.append(tuple(p.copy() for p in points))
        self.index.append(index.copy())
        self.scalars.append(scalars.copy())
        return self.function(points, index, scalars)

    @property
    def rows(self) -> int:
        """All rows that were asked for."""
        return sum(map(len, self.index))

    def rows_of(self, example: int, member: int = 0) -> NDArray[Any]:
        """The points of one example, in the order in which they came."""
        found = [p[member][i == example] for p, i in zip(self.points, self.index)]
        return np.concatenate(found)


def certificate(att: fa.Attribution) -> tuple[Any, ...]:
    """All numbers of an attribution as bytes, to compare bit for bit."""
    values = att.values if isinstance(att.values, tuple) else (att.values,)
    fields = (att.gap, att.error, att.evaluations, att.converged, att.output, att.baseline_output)
    return tuple(np.ascontiguousarray(a).tobytes() for a in (*values, *fields))


# ---- the entry point ----------------------------------------------------------------------------------------------


def job(x: NDArray[Any], base: NDArray[Any] | None = None, rows: int = 4, **changes: Any) -> dict[str, Any]:
    """Arguments of ``_core.integrate`` that make ``values`` x - base: one node at alpha 1 of a model of slope one."""
    B, D = x.shape[0], int(np.prod(x.shape[1:], dtype=np.int64))
    rule, steps, adaptive = (changes.get(name, default) for name, default in PLAN.items())
    levels, _, scratch = _core.integrate_plan(rule, steps, adaptive, B)
    sums = np.float64 if x.dtype == np.float64 else np.float32

    def evaluate(count: int, gradients: bool, remaining: int) -> tuple[Any, None, tuple[Any]]:
        return np.zeros(count), None, (np.ones((count, D), x.dtype),)

    arguments = {
        "evaluate": evaluate,
        "inputs": (x,),
        "bases": (np.zeros_like(x[:1]) if base is None else base,),
        "points": (np.zeros((rows, D), x.dtype),),
        "results": (np.zeros((levels, B, D), sums),),
        "values": (np.zeros((B, D), sums),),
        "index": np.zeros(rows, np.int64),
        "scalars": np.zeros((rows, 2), np.int64),
        "target": np.zeros((B, 2), np.int64),
        "scratch": np.zeros(scratch, np.uint8),
    }
    options = {"rows": rows, "tolerance": 0.01, "predict": False, "multiply": True, "absolute": False}
    return arguments | options | {"completeness": False, "shared_base": False} | PLAN | changes


PLAN = {"rule": "right", "steps": 1, "adaptive": False}


# ---- DLPack by hand -----------------------------------------------------------------------------------------------


class Tensor(ctypes.Structure):
    """DLTensor."""

    _fields_ = [
        *(("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32)),
        *(("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)),
        *(("shape", ctypes.c_void_p), ("strides", ctypes.c_void_p), ("byte_offset", ctypes.c_uint64)),
    ]


class Legacy(ctypes.Structure):
    """DLManagedTensor."""

    _fields_ = [("tensor", Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


class Versioned(ctypes.Structure):
    """DLManagedTensorVersioned."""

    _fields_ = [
        *(("major", ctypes.c_uint32), ("minor", ctypes.c_uint32), ("context", ctypes.c_void_p)),
        *(("deleter", ctypes.c_void_p), ("flags", ctypes.c_uint64), ("tensor", Tensor)),
    ]


_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
_new = ctypes.pythonapi.PyCapsule_New
_new.restype, _new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


def capsule_of(address: int, name: bytes | None) -> Any:
    """A capsule without destructor. ``address`` and ``name`` are the caller's to keep."""
    return _new(address, name, None)


class Producer:
    """NumPy's own capsule of ``array`` with some fields of its description overwritten.

    NumPy's deleter drops one reference to the array: ``sys.getrefcount(array)`` counts the live capsules. A legacy
    producer does not know ``max_version``.
    """

    def __init__(self, array: NDArray[Any], **fields: Any) -> None:
        self.array, self.fields = array, fields
        self.kept: list[Any] = []

    def __dlpack__(self) -> Any:
        return self._falsify(self.array.__dlpack__(), b"dltensor", Legacy)

    def _falsify(self, capsule: Any, name: bytes, kind: Any) -> Any:
        managed = kind.from_address(_pointer(capsule, name))
        for field, value in self.fields.items():
            if field in ("shape", "strides") and value is not None:
                self.kept.append((ctypes.c_int64 * max(1, len(value)))(*value))
                value = ctypes.addressof(self.kept[-1])
            setattr(managed.tensor if hasattr(Tensor, field) else managed, field, value)
        return capsule


class VersionedProducer(Producer):
    """The same with a versioned capsule."""

    def __dlpack__(self, *, max_version: Sequence[int] | None = None) -> Any:  # type: ignore[override]
        assert max_version is not None and max_version >= (1, 0)
        return self._falsify(self.array.__dlpack__(max_version=(1, 0)), b"dltensor_versioned", Versioned)


PRODUCERS = (Producer, VersionedProducer)


class HandMade:
    """A capsule made from nothing: any name, a NULL deleter. What it points to lives as long as the producer."""

    def __init__(self, array: NDArray[Any], name: bytes | None, **fields: Any) -> None:
        self.array, self.name = array, name
        self.extents = (ctypes.c_int64 * max(1, array.ndim))(*array.shape)
        versioned = name is not None and b"versioned" in name
        self.managed = Versioned(major=1) if versioned else Legacy()
        self.managed.tensor = Tensor(
            data=array.ctypes.data, device_type=1, ndim=array.ndim, code=2, bits=8 * array.itemsize, lanes=1,
            shape=ctypes.addressof(self.extents),
        )  # fmt: skip
        for field, value in fields.items():
            setattr(self.managed.tensor if hasattr(Tensor, field) else self.managed, field, value)

    def __dlpack__(self, **_: Any) -> Any:
        return capsule_of(ctypes.addressof(self.managed), self.name)


class Answers:
    """``__dlpack__`` that returns, or raises, whatever it was given."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def __dlpack__(self, **_: Any) -> Any:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def exchange_type(arrays: dict[int, NDArray[Any]], major: int = 1, **fields: Any) -> type:
    """A type that offers the exchange table and nothing else; ``arrays`` by id of its objects."""
    signature = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    kept: list[Any] = []

    def view(address: int, out: int) -> int:
        array = arrays[address]
        extents = (ctypes.c_int64 * max(1, array.ndim))(*array.shape)
        kept.append(extents)
        tensor = Tensor.from_address(out)
        tensor.data, tensor.device_type, tensor.device_id = array.ctypes.data, 1, 0
        tensor.ndim, tensor.code, tensor.bits, tensor.lanes = array.ndim, 2, 8 * array.itemsize, 1
        tensor.shape, tensor.strides, tensor.byte_offset = ctypes.addressof(extents), None, 0
        for field, value in fields.items():
            setattr(tensor, field, value)
        return 0

    thunk = signature(view)
    entry = ctypes.cast(thunk, ctypes.c_void_p).value
    table = (ctypes.c_uint64 * 7)(major, 0, 0, 0, 0, entry or 0, 0)
    kept.extend((thunk, table))
    capsule = capsule_of(ctypes.addressof(table), b"dlpack_exchange_api")
    return type("Exchanged", (), {"__dlpack_c_exchange_api__": capsule, "kept": kept})
