"""The C core. Arrays may be of any framework that speaks DLPack; see csrc/engine/integrate.h for the contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

class BackendError(RuntimeError): ...

def integrate(
    *,
    evaluate: Callable[[int, bool, int], tuple[Any, Any, tuple[Any, ...]]],
    inputs: tuple[Any, ...],
    bases: tuple[Any, ...],
    points: tuple[Any, ...],
    results: tuple[Any, ...],
    values: tuple[Any, ...],
    index: Any,
    scalars: Any,
    target: Any,
    scratch: Any,
    rows: int,
    rule: str,
    steps: int,
    adaptive: bool,
    tolerance: float,
    predict: bool,
    multiply: bool,
    absolute: bool,
    completeness: bool,
    shared_base: bool,
) -> tuple[
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.int64],
    NDArray[np.uint8],
    int,
    int,
]: ...
def integrate_plan(rule: str, steps: int, adaptive: bool, examples: int) -> tuple[int, int, int]: ...
def quadrature(rule: str, n: int, /) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
def get_num_threads() -> int: ...
def set_num_threads(n: int, /) -> None: ...
