"""Inputs in several parts, of any framework, as NumPy arrays and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import FLOATS, dtype_name, is_array, is_torch, kit_of, readable


def parts_of(x: Any, integers: bool = False) -> dict[Any, Any]:
    """The parts of ``x`` by position or name; integer ones are no inputs to have a baseline and are left out.

    ``integers``: but where there are no others, as token ids for a layer.
    """
    if isinstance(x, tuple):
        found = dict(enumerate(x))
    elif isinstance(x, Mapping) and not is_array(x):
        found = dict(x)
    else:
        found = {0: x}
    for key, part in found.items():
        if not is_array(part):
            raise TypeError(f"x: expected an array (B, ...) or a tuple or dict of them, got {type(part).__name__}")
        found[key] = readable(part, "x")
    floating = {key: part for key, part in found.items() if dtype_name(part) in FLOATS}
    if floating or integers:
        return floating or found
    names = ", ".join(dtype_name(part) for part in found.values())
    raise TypeError(f"x: expected floating inputs, got {names}: numbers like ids have no such baseline, see DataSet")


def plain(value: Any) -> NDArray[Any]:
    """A NumPy array of ``value``, on its own memory where that is possible; bfloat16 becomes float32."""
    if is_torch(value):
        value = value.detach().cpu()
        value = (value.float() if str(value.dtype) == "torch.bfloat16" else value).resolve_conj().resolve_neg().numpy()
    return np.asarray(readable(value, "x"))


def like(parts: Mapping[Any, NDArray[Any]], x: Any, integers: bool = False) -> Any:
    """``parts`` in the form of ``x``, each of the framework, dtype and device of its part; None for the others."""
    given = parts_of(x, integers)
    made = {key: _cast(parts[key], part) for key, part in given.items()}
    if isinstance(x, tuple):
        return tuple(made.get(i) for i in range(len(x)))
    if isinstance(x, Mapping) and not is_array(x):
        return {key: made.get(key) for key in x}
    return made[0]


def map_parts(x: Any, make: Callable[[NDArray[Any], int], NDArray[Any]]) -> Any:
    """``make(part, number)`` of every floating part of ``x``, in its form."""
    return like({key: make(plain(part), n) for n, (key, part) in enumerate(parts_of(x).items())}, x)


def matching(data: Any, x: Any, integers: bool = False) -> dict[Any, Any]:
    """The parts (N, ...) of a sample that belong to those of the inputs ``x``; N the same in all."""
    samples, inputs = parts_of(data, integers), parts_of(x, integers)
    if set(samples) != set(inputs):
        raise ValueError(f"X: expected the parts {list(inputs)} like the inputs, got {list(samples)}")
    counts = {int(part.shape[0]) if len(part.shape) else 0 for part in samples.values()}
    if len(counts) > 1 or not counts or counts == {0}:
        raise ValueError(f"X: expected the same number of samples, at least one, in all parts, got {sorted(counts)}")
    for key, part in inputs.items():
        if tuple(samples[key].shape[1:]) != tuple(part.shape[1:]):
            raise ValueError(f"X: expected shape {('N', *part.shape[1:])}, got {tuple(samples[key].shape)}")
    return samples


def _cast(array: NDArray[Any], part: Any) -> Any:
    kit, name = kit_of(part), dtype_name(part)
    if kit.name == "numpy":
        return np.ascontiguousarray(array, dtype=name)
    if name in ("float16", "bfloat16"):
        array = array.astype(np.float32)
    return kit.cast(kit.table(np.ascontiguousarray(array)), name)
