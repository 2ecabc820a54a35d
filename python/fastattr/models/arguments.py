"""Extra arguments of a torch model: which tensors belong to the examples, and their rows for a chunk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from ..problem import shared


class _PerExample:
    """A tensor (B, ...) of which every row takes its example's part."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor


def as_tensor(value: Any, device: torch.device) -> torch.Tensor:
    """A tensor that autograd may save: not one made in inference mode."""
    if isinstance(value, torch.Tensor):
        return value.clone() if value.is_inference() else value
    return torch.from_numpy(np.array(value)).to(device)


def _map(value: Any, leaf: Callable[[Any], Any]) -> Any:
    """``leaf`` of everything inside nested tuples, lists and dicts."""
    if isinstance(value, Mapping):
        return {key: _map(member, leaf) for key, member in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_map(member, leaf) for member in value))
    if isinstance(value, (tuple, list)):
        return type(value)(_map(member, leaf) for member in value)
    return leaf(value)


def mark(value: Any, examples: int, device: torch.device) -> Any:
    """Extra arguments with tensors (B, ...) marked as per example."""

    def plain(leaf: Any) -> Any:
        if isinstance(leaf, shared):
            return as_tensor(leaf.value, device) if isinstance(leaf.value, torch.Tensor) else leaf.value
        if isinstance(leaf, (torch.Tensor, np.ndarray)) and leaf.ndim > 0 and leaf.shape[0] == examples:
            if isinstance(leaf, torch.Tensor) and leaf.device != device:
                raise ValueError(
                    f"args, kwargs: expected tensors with a row per example on {device} like the inputs, got one on "
                    f"{leaf.device}"
                )
            return _PerExample(as_tensor(leaf, device))
        return as_tensor(leaf, device) if isinstance(leaf, torch.Tensor) and leaf.is_inference() else leaf

    return _map(value, plain) if value else value


def gather(value: Any, index: torch.Tensor) -> Any:
    """Marked arguments for the rows whose examples are ``index`` (R,)."""

    def pick(leaf: Any) -> Any:
        return leaf.tensor.index_select(0, index) if isinstance(leaf, _PerExample) else leaf

    return _map(value, pick) if value else value


def repeat(value: Any, examples: int, index: torch.Tensor) -> Any:
    """Extra arguments for examples ``index`` (R,): gathered where they are per example, else marked as shared."""

    def pick(leaf: Any) -> Any:
        if isinstance(leaf, _PerExample):
            return leaf.tensor.index_select(0, index)
        return shared(leaf) if isinstance(leaf, (torch.Tensor, np.ndarray)) else leaf

    return _map(mark(value, examples, index.device), pick) if value else value


def _leaves(value: Any) -> list[Any]:
    found: list[Any] = []
    _map(value, found.append)
    return found


def gathers(value: Any) -> bool:
    """Whether any tensor in ``value`` is per example."""
    return bool(value) and any(isinstance(leaf, _PerExample) for leaf in _leaves(value))


def signature(value: Any) -> tuple[Any, ...]:
    """What of the extra arguments may change the cost of a row."""
    if not value:
        return ()
    tensors = (leaf.tensor if isinstance(leaf, _PerExample) else leaf for leaf in _leaves(value))
    return tuple(
        (tuple(t.shape), str(t.dtype)) if isinstance(t, torch.Tensor) else str(type(t).__name__) for t in tensors
    )
