"""The C core. Arrays may be of any framework that speaks DLPack; see csrc/engine/integrate.h for the contract.

``evaluate`` is a callable ``(rows, gradients, remaining) -> (values, predicted, gradients)``, or a network of `dense`
or `layers`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

class BackendError(RuntimeError): ...

def integrate(
    *,
    evaluate: Any,
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
    group: int = 1,
    known: NDArray[np.float64] | None = None,
    eps: float = 0.0,
    pull: Any = None,
    behind: tuple[tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]] | None = None,
) -> tuple[
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.int64],
    NDArray[np.uint8],
    int,
    int,
    int,
]: ...
def integrate_plan(rule: str, steps: int, adaptive: bool, examples: int) -> tuple[int, int, int]: ...
def winograd(weight: Any, bias: Any, /) -> Any: ...
def winograd_run(filter: Any, images: Any, out: Any, height: int, width: int, padding: int, /) -> None: ...
def quadrature(rule: str, n: int, /) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
def sample(
    *,
    evaluate: Any,
    inputs: tuple[Any, ...],
    bases: tuple[Any, ...],
    points: tuple[Any, ...],
    starts: tuple[Any, ...] | None,
    means: tuple[Any, ...],
    deviations: tuple[Any, ...],
    index: Any,
    scalars: Any,
    target: Any,
    ids: Any,
    stdev: Any,
    scratch: Any,
    rows: int,
    draws: int,
    seed: int,
    references: int,
    along_path: bool,
    stratified: bool,
    predict: bool,
    multiply: bool,
    square: bool,
    variance: bool,
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]: ...
def sample_scratch(examples: int, draws: int, /) -> int: ...
def forward(
    *,
    evaluate: Any,
    bases: tuple[Any, ...],
    points: tuple[Any, ...],
    index: Any,
    scalars: Any,
    target: tuple[Any],
    tables: tuple[Any, Any],
    out: Any,
    rows: int,
) -> int: ...
def ascend(
    *,
    evaluate: Any,
    start: tuple[Any, ...],
    centre: tuple[Any, ...],
    bounds: tuple[tuple[Any, ...], tuple[Any, ...]] | None,
    at: tuple[Any, ...],
    sums: tuple[Any, ...] | None,
    steps: tuple[Any, ...] | None,
    results: tuple[Any, ...] | None,
    points: tuple[Any, ...],
    index: Any,
    scalars: Any,
    scratch: Any,
    plan: NDArray[np.int64],
    rows: int,
    paths: int,
    slots: int,
    max_steps: int,
    step_size: float,
    radius: float,
    scale: float,
    rule: str,
    ascents: bool,
    l2: bool,
    restart: bool,
    stop: bool,
    keep_at: bool,
    keep_sum: bool,
) -> tuple[
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.float64],
    NDArray[np.int64],
    NDArray[np.uint8],
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.int64],
    int,
]: ...
def ascend_plan(rows: int, paths: int, slots: int, /) -> tuple[int, int]: ...
def philox(counter: tuple[int, int, int, int], key: tuple[int, int], /) -> tuple[int, int, int, int]: ...
def normal(bits: int, /) -> float: ...
def noisy(
    *,
    out: tuple[Any],
    input: tuple[Any],
    ids: Any,
    stdev: Any,
    draws: int,
    seed: int,
    member: int,
    first: int,
    count: int,
) -> None: ...
def drawn_references(
    ids: Any, draws: int, seed: int, references: int, stratified: bool = True, /
) -> NDArray[np.int64]: ...
def dense(
    layers: tuple[tuple[int, int, Any, Any, int, float, float], ...], head: int, wide: bool, whole: bool = False, /
) -> Any: ...
def exact(
    network: Any, inputs: tuple[Any], bases: tuple[Any], target: tuple[Any], values: tuple[Any], multiply: bool, /
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]: ...
def exact_applies(network: Any, /) -> bool: ...
def dense_rows(network: Any, /) -> int: ...
def dense_evaluate(
    network: Any, points: tuple[Any], scalars: tuple[Any], values: tuple[Any], gradients: tuple[Any] | None, /
) -> NDArray[np.int64]: ...
def layers(layers: tuple[tuple[int, int, Any, Any, int, float, float], ...], head: int, wide: bool, /) -> Any: ...
def layers_bytes(network: Any, rows: int, pairs: int, /) -> int: ...
def layers_bind(network: Any, memory: Any, rows: int, pairs: int, /) -> None: ...
def checksum(arrays: tuple[Any, ...], /) -> int: ...
def gemm(
    a: Any, b: Any, out: Any, transpose_a: bool = False, transpose_b: bool = False, accumulate: bool = False
) -> None: ...
def use_blas(wanted: bool, /) -> bool: ...
def is_out_of_memory(exception: BaseException, /) -> bool: ...
def cpu_level() -> str: ...
def stand_in() -> bool: ...
def require_device(type: int, id: int, /) -> None: ...
def cuda_backend() -> tuple[str | None, str | None]: ...
def get_num_threads() -> int: ...
def share_threads(path: str, /) -> bool: ...
def set_num_threads(n: int, /) -> None: ...
