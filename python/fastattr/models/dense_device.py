"""A dense network on the device of its weights: the operations of dense.py layer by layer, nothing copied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .. import _core
from ..problem import Problem
from .arguments import as_tensor
from .dense import HEADS, DenseSession, Layer, Network
from .dense_prefix import pays

CHUNK_BYTES = 256 * 2**20
"""Of a chunk's layers, at most."""
MOST_ROWS = 1 << 14


class DeviceNetwork(Network):
    """Layers of torch tensors, run by the backend of their device.

    Notes
    -----
    Weights are read where they are at every call; a network lives no longer than they do.
    """

    def __init__(self, layers: Sequence[Layer], head: str, flattens: bool) -> None:
        super().__init__(layers, head, flattens)
        self.device = next(layer.weight.device for layer in layers if layer.weight is not None)
        self.sweeps = self.wide = False

    def packed(self, output: str, behind: bool = False) -> tuple[Any, int]:
        """The network under ``output``, which is still to be given memory, and the rows of a chunk."""
        layers, head = self.layers_under(output, behind)
        network = _core.layers(layers, HEADS[head], self.dtype == np.float64)
        few = 256
        return network, max(1, min(MOST_ROWS, few * CHUNK_BYTES // max(1, _core.layers_bytes(network, few, few))))

    def exact(self) -> None:
        """No closed form is known to a device."""
        return

    def give_memory(self, network: Any, rows: int, pairs: int) -> None:
        """Memory for ``rows`` rows of ``pairs`` scalars in all, as long as the network lives."""
        size = _core.layers_bytes(network, rows, pairs)
        if size >= 2**62:
            raise MemoryError(f"no memory for the layers of {rows} rows")
        _core.layers_bind(network, torch.empty(size, dtype=torch.uint8, device=self.device), rows, pairs)

    def evaluate(self, output: str, points: Any, scalars: Any, values: Any, slopes: Any = None) -> NDArray[np.int64]:
        """As `Network.evaluate`, of arrays on the device."""
        network = self.packed(output)[0]
        self.give_memory(network, len(points), len(scalars) * len(points))
        return _core.dense_evaluate(network, (points,), (scalars,), (values,), None if slopes is None else (slopes,))

    def session(self, output: str, problem: Problem, progress: Any) -> DeviceSession:
        """One call of the network."""
        return DeviceSession(self, output, problem, progress)


class DeviceSession(DenseSession):
    """One call of a network on a device."""

    _network: DeviceNetwork

    def bind(self, rows: int, *, versus: bool = False, predict: bool = False) -> None:
        """Allocate the buffers for chunks of at most ``rows`` rows, and the layers'."""
        kit = self._problem.kit
        self.points = (kit.empty((rows, *self._problem.inputs[0].shape[1:]), self._network.dtype_name),)
        self.index, self.scalars = kit.empty((rows,), "int64"), kit.empty((2 * rows,), "int64")
        self._network.give_memory(self._look()[0], rows, rows)

    def predicted(self) -> NDArray[np.int64]:
        """(B,) the classes with the largest output at the inputs."""
        kit, x = self._problem.kit, self._problem.inputs[0]
        scalars = kit.full((1, len(x), 2), -1, "int64")
        return self._network.evaluate(self._output, x, scalars, kit.empty((1, len(x)), self._network.dtype_name))

    def factor(self, problem: Problem, rows: int) -> DeviceBehind | None:
        """As that of `DenseSession`, where the tensors are."""
        if problem is not self.problem or not pays(self._network, problem.examples, rows):
            return None
        behind = DeviceBehind(self._network, problem)
        self._problem = replace(problem, members={0: behind.input}, attributed=[0], bases=[behind.base], form=object)
        self._behind, self._packed = True, None
        self._note = "affine prefix, "
        return behind

    def describe(self, rows: int) -> str:
        """What ran."""
        return super().describe(rows).replace("cpu", str(self._network.device))


class DeviceBehind:
    """The ends of every path behind the first layer, and its transpose; see `dense_prefix`.

    Attributes
    ----------
    input, base : (B, H) or, for a shared baseline, (1, H)
        W x + b and W x' + b.
    """

    def __init__(self, network: DeviceNetwork, problem: Problem) -> None:
        first = network.layers[0]
        self._weight: Any = first.weight
        self._rows = problem.examples
        bias = 0 if first.bias is None else first.bias
        ends = [as_tensor(end, network.device).reshape(len(end), -1) for end in (problem.inputs[0], problem.bases[0])]
        images = self._weight.new_zeros(sum(map(len, ends)), len(self._weight)) + bias
        _core.gemm(torch.cat(ends), self._weight, images, transpose_b=True, accumulate=True)
        self.input, self.base = images[: self._rows], images[self._rows :]

    def allocate(self, levels: int, results: Any) -> Any:
        """(L, B, H) accumulators; ``results`` (P, B, ...) takes their images."""
        planes = results if isinstance(results, torch.Tensor) else torch.from_numpy(results)
        self._results = planes.reshape(-1, self._rows, self._weight.shape[1])
        self._sum = self.input.new_zeros((levels, *self.input.shape))
        return self._sum

    def pull(self, examples: NDArray[np.int64], level: int) -> None:
        """Called by the engine: results[level % P] of ``examples`` (A,) is W' sum[level]."""
        plane, index = self._results[level % len(self._results)], torch.from_numpy(examples).to(self._sum.device)
        part = plane.new_empty(len(examples), plane.shape[1])
        _core.gemm(self._sum[level].index_select(0, index), self._weight, part)
        plane.index_copy_(0, index, part)
