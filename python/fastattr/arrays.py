"""The few array operations that the library needs, for each framework it hands arrays back in.

A *kit* allocates and reads arrays of one framework on one device. Torch is only touched when the caller already
uses it.
"""

from __future__ import annotations

import math
import sys
from array import array
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from . import _core
from .config import share_threads

EPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}
FLOATS = tuple(EPS)
_WORTH_A_LOOK = 1 << 14
"""Elements, some 10 us of comparisons; `repeats` goes by as many at a time, and ends at the first that differ."""
_CUDA, _ROCM = (2, 13), 10  # DLPack's device types: CUDA's own and managed memory


def is_torch(value: Any) -> bool:
    """Whether ``value`` is a torch tensor; never imports torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def is_array(value: Any) -> bool:
    """Whether ``value`` is a tensor or array: NumPy's, torch's, or of anything that speaks DLPack, or a buffer."""
    return isinstance(value, (np.ndarray, memoryview, array)) or is_torch(value) or hasattr(value, "__dlpack__")


def readable(value: Any, name: str) -> Any:
    """``value`` if it is NumPy's or torch's, else a NumPy view of its memory (DLPack or the buffer protocol)."""
    if isinstance(value, np.ndarray) or is_torch(value):
        return value
    if on_cuda(value):
        raise TypeError(
            f"{name}: expected a NumPy array or a torch tensor, got {type(value).__name__} on a GPU; pass "
            "torch.from_dlpack(x)"
        )
    return np.asarray(value) if isinstance(value, (memoryview, array)) else np.from_dlpack(value)


def on_cuda(value: Any) -> bool:
    """Whether an array of a framework other than NumPy and torch says that its memory is a CUDA device's."""
    ask = getattr(value, "__dlpack_device__", None)
    return ask is not None and int(ask()[0]) in _CUDA


def require_device(device: Any) -> None:
    """Raise `BackendError` unless a backend computes on torch's ``device``."""
    if device.type == "cuda":
        hip = sys.modules["torch"].version.hip is not None  # such devices are called cuda too
        _core.require_device(_ROCM if hip else _CUDA[0], device.index or 0)


def dtype_name(value: Any) -> str:
    """'float32' of an array of any framework."""
    return _name(value.dtype)


@lru_cache(maxsize=256)
def _name(dtype: Any) -> str:
    return str(dtype).rsplit(".", 1)[-1]


def take(value: Any, index: NDArray[np.int64]) -> Any:
    """Rows ``index`` (R,) of an array."""
    if is_torch(value):
        torch = sys.modules["torch"]
        return value.index_select(0, torch.from_numpy(index).to(value.device))
    return np.asarray(value)[index]


def repeats(value: Any) -> bool:
    """Whether dense ``value`` (B, ...) on the CPU is known to hold one row B times; small ones are not looked at."""
    if value.shape[0] < 2 or math.prod(value.shape) < _WORTH_A_LOOK:
        return False
    if is_torch(value):
        if value.device.type != "cpu" or _name(value.dtype) == "bfloat16":
            return False
        value = value.numpy()  # whose comparisons leave no threads spinning
    rows = value.reshape(len(value), -1)
    step = max(1, _WORTH_A_LOOK // rows.shape[1])
    return all(bool((rows[i : i + step] == rows[0]).all()) for i in range(1, len(rows), step))


def accumulator_name(name: str) -> str:
    """The dtype in which sums over elements of dtype ``name`` are kept and returned."""
    return "float64" if name == "float64" else "float32"


class Kit(Protocol):
    """Allocation and conversion in one framework on one device."""

    name: str
    device: Any

    def empty(self, shape: tuple[int, ...], dtype: str) -> Any:
        """Uninitialised C-contiguous memory."""

    def zeros(self, shape: tuple[int, ...], dtype: str) -> Any:
        """C-contiguous memory of zeros."""

    def scratch(self, size: int) -> Any:
        """Uninitialised bytes for an engine."""

    def full(self, shape: tuple[int, ...], value: Any, dtype: str) -> Any:
        """C-contiguous memory of one value."""

    def plain(self, value: Any) -> Any:
        """``value`` itself where it is dense, C-contiguous and real, else a copy that is."""

    def broadcast(self, value: Any, shape: tuple[int, ...], dtype: str) -> Any:
        """``value`` in ``dtype``, expanded to ``shape``, C-contiguous."""

    def cast(self, value: Any, dtype: str) -> Any:
        """``value`` in ``dtype``."""

    def table(self, value: NDArray[Any]) -> Any:
        """A small NumPy table on this device."""

    def report(self, value: NDArray[Any]) -> Any:
        """A (B,) result in this framework, on the CPU."""


class NumpyKit:
    """NumPy arrays."""

    name = "numpy"
    device = "cpu"

    def empty(self, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:  # noqa: D102
        return np.empty(shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:  # noqa: D102
        return np.zeros(shape, dtype)

    def scratch(self, size: int) -> NDArray[Any]:  # noqa: D102
        return np.empty(size, np.uint8)

    def full(self, shape: tuple[int, ...], value: Any, dtype: str) -> NDArray[Any]:  # noqa: D102
        return np.full(shape, value, dtype)

    def plain(self, value: Any) -> NDArray[Any]:  # noqa: D102
        found = np.asarray(value)
        native = found if found.dtype.isnative else found.astype(found.dtype.newbyteorder("="))
        return np.require(native, requirements=["C_CONTIGUOUS", "ALIGNED"])

    def broadcast(self, value: Any, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:  # noqa: D102
        return np.ascontiguousarray(np.broadcast_to(self.plain(value).astype(dtype, copy=False), shape))

    def cast(self, value: Any, dtype: str) -> NDArray[Any]:  # noqa: D102
        return value.astype(dtype, copy=False)

    def table(self, value: NDArray[Any]) -> NDArray[Any]:  # noqa: D102
        return value

    def report(self, value: NDArray[Any]) -> NDArray[Any]:  # noqa: D102
        return value


class TorchKit:
    """Torch tensors on one device."""

    name = "torch"

    def __init__(self, device: Any) -> None:
        import torch

        self._torch = torch
        self.device = device
        self._on_cpu = device.type == "cpu"
        share_threads()

    def empty(self, shape: tuple[int, ...], dtype: str) -> Any:  # noqa: D102
        return self._torch.empty(shape, dtype=getattr(self._torch, dtype), device=self.device)

    def zeros(self, shape: tuple[int, ...], dtype: str) -> Any:  # noqa: D102
        if self._on_cpu and dtype != "bfloat16":
            # pages that the system zeroes when they are met; threads that filled them would spin on for milliseconds
            return self._torch.from_numpy(np.zeros(shape, dtype))
        return self._torch.zeros(shape, dtype=getattr(self._torch, dtype), device=self.device)

    def scratch(self, size: int) -> Any:  # noqa: D102
        return np.empty(size, np.uint8) if self._on_cpu else self.empty((size,), "uint8")

    def full(self, shape: tuple[int, ...], value: Any, dtype: str) -> Any:  # noqa: D102
        return self._torch.full(shape, value, dtype=getattr(self._torch, dtype), device=self.device)

    def plain(self, value: Any) -> Any:  # noqa: D102
        if type(value) is not self._torch.Tensor:
            value = value.as_subclass(self._torch.Tensor)
        if value.requires_grad or value.is_neg() or value.is_conj():
            value = value.detach().resolve_conj().resolve_neg()
        value = value.contiguous()
        return value if value.data_ptr() % value.itemsize == 0 else value.clone()

    def broadcast(self, value: Any, shape: tuple[int, ...], dtype: str) -> Any:  # noqa: D102
        return self.plain(value).to(getattr(self._torch, dtype)).expand(shape).contiguous()

    def cast(self, value: Any, dtype: str) -> Any:  # noqa: D102
        return value.to(getattr(self._torch, dtype))

    def table(self, value: NDArray[Any]) -> Any:  # noqa: D102
        found = self._torch.from_numpy(value)
        return found if self._on_cpu else found.to(self.device)

    def report(self, value: NDArray[Any]) -> Any:  # noqa: D102
        return self._torch.from_numpy(value)


def kit_of(value: Any) -> Kit:
    """The kit of the framework and device of ``value``; NumPy for frameworks other than torch."""
    return TorchKit(value.device) if is_torch(value) else NumpyKit()
