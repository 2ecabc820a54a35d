"""Whether two ways of evaluating a model agree up to rounding."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

BOUND = {torch.float64: 1e-11, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Of max |got - wanted| as a share of max |wanted|."""


def close(got: Any, wanted: Any) -> bool:
    """Equal up to rounding: tensors, or outputs that hold tensors. NaN is equal to nothing."""
    if isinstance(got, Tensor) and isinstance(wanted, Tensor):
        if got.shape != wanted.shape or got.dtype != wanted.dtype:
            return False
        if not got.is_floating_point() or got.numel() == 0:
            return torch.equal(got, wanted)
        bound = BOUND.get(got.dtype, 0.0) * float(wanted.abs().max())
        return float((got - wanted).abs().max()) <= bound
    if isinstance(got, dict):
        same = isinstance(wanted, dict) and list(got) == list(wanted)
        return same and all(close(got[key], wanted[key]) for key in got)
    if isinstance(got, (tuple, list)):
        same = isinstance(wanted, (tuple, list)) and len(got) == len(wanted)
        return same and all(close(a, b) for a, b in zip(got, wanted, strict=True))
    return type(got) is type(wanted)


def first_row(answer: Any) -> Any:
    """An output (R, ...), or one that holds such, of its first row only."""
    if isinstance(answer, Tensor):
        return answer[:1]
    if isinstance(answer, dict):
        return {key: first_row(member) for key, member in answer.items()}
    if isinstance(answer, (tuple, list)):
        return tuple(map(first_row, answer))
    return answer
