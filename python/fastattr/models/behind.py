"""Rows behind an affine prefix: where a straight path lies there, and how its sums of gradients come back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .. import _core
from ..arrays import dtype_name
from ..problem import Problem
from .arguments import as_tensor
from .close import close, first_row
from .structure import Prefix, find_prefix, forget_prefix, own

TOGETHER = 16
"""Examples that are put beside their baseline, so that weights are read once; more are not worth the copy."""

HEAVIER = 1.5
"""Times the filters that lie otherwise, and are rearranged for every chunk, its activations are to be."""


class Behind:
    """The two ends of every path behind the prefix P, and the transpose of P.

    Attributes
    ----------
    input, base : Tensor
        P(x) (B, ...) and P(x') (B, ...) or (1, ...).
    sum : Tensor
        (L, B, ...) what the engine sums up there.
    """

    def __init__(self, prefix: Prefix, problem: Problem, device: torch.device) -> None:
        self._prefix = prefix
        self._x = as_tensor(problem.inputs[0], device)
        self._rows = len(self._x)
        self._graph: tuple[Tensor, Tensor] | None = None
        self._results: list[Tensor] = []
        base = as_tensor(problem.bases[0], device)
        if len(base) > 1 and bool((base == base[:1]).all()):  # one baseline, spelt out for every example
            base = base[:1]
        self.input, self.base = self._images(base)

    def _images(self, base: Tensor) -> tuple[Tensor, Tensor]:
        """P(x) and P(x'): together, with a graph that serves the transpose, or in pieces where memory is short."""
        run, many = self._prefix.image, len(self._x)
        while True:
            try:
                if self._rows < many:
                    found = [torch.cat([run(part) for part in rows.split(self._rows)]) for rows in (self._x, base)]
                    return found[0].contiguous(), found[1].contiguous()
                if len(base) > 1 or many > TOGETHER:
                    self._graph = self._linear(self._x)
                    return self._graph[1].detach().contiguous(), run(base).contiguous()
                leaf, image = self._linear(torch.cat([self._x, base]))  # the weights are read once
                with torch.enable_grad():
                    self._graph = leaf, image[:many]
                return image.detach()[:many].contiguous(), image.detach()[many:].contiguous()
            except (MemoryError, RuntimeError) as error:
                self._smaller(error)

    def _smaller(self, error: Exception) -> None:
        """Fewer rows at a time from now on, if memory ran out and they are not one already."""
        if self._rows == 1 or not _core.is_out_of_memory(error):
            raise error
        self._graph = None
        self._rows = max(1, self._rows // 2)

    def _linear(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """A leaf at ``x`` and P of it, connected."""
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            return leaf, self._prefix.image(leaf)

    def allocate(self, levels: int, results: Any) -> Tensor:
        """(L, B, ...) accumulators; ``results`` (P, B, ...) takes their images."""
        self.sum = self.input.new_zeros((levels, *self.input.shape))
        planes = results if isinstance(results, Tensor) else torch.from_numpy(results)
        self._results = list(planes.reshape(-1, *self._x.shape))
        return self.sum

    def pull(self, examples: NDArray[np.int64], level: int) -> None:
        """Called by the engine: results[level % P] of ``examples`` (A,) is the transpose of P on sum[level]."""
        plane, sums = self._results[level % len(self._results)], self.sum[level]
        if len(examples) == len(self._x) and self._graph is not None:
            leaf, image = self._graph
            plane.copy_(_transposed(leaf, image, sums, retain=True)[: len(sums)])
            return
        index = torch.from_numpy(examples).to(plane.device)
        first = 0
        while first < len(index):
            part = index[first : first + self._rows]
            try:
                leaf, image = self._linear(self._x.index_select(0, part))
                plane.index_copy_(0, part, _transposed(leaf, image, sums.index_select(0, part)))
            except (MemoryError, RuntimeError) as error:
                self._smaller(error)
            else:
                first += len(part)


def _transposed(leaf: Tensor, image: Tensor, sums: Tensor, retain: bool = False) -> Tensor:
    with torch.enable_grad():  # a scalar root: torch imports SymPy to check others
        root = (image * sums).sum()
    (found,) = torch.autograd.grad(root, leaf, retain_graph=retain, allow_unused=True)
    return torch.zeros_like(leaf) if found is None else found


def look_behind(
    module: nn.Module, problem: Problem, device: torch.device, rows: int, chunk_bytes: int
) -> tuple[Prefix, Behind] | None:
    """The affine prefix of ``module`` and the paths behind it, where it has one and ``rows`` points pay it.

    ``chunk_bytes`` are what a chunk's activations take.
    """
    alone = len(problem.members) == 1 and not problem.args and not problem.kwargs
    if not alone or problem.form is dict or dtype_name(problem.inputs[0]) not in ("float32", "float64"):
        return None
    if torch.is_autocast_enabled(device.type):  # computes in another
        return None
    x, base = (as_tensor(ends[:1], device) for ends in (problem.inputs[0], problem.bases[0]))
    prefix = find_prefix(module, x)
    for _ in range(3):
        if prefix is None or not prefix.pays(problem.examples, rows):
            return None
        prefix.last = prefix.last and _heavy_weights(module) * HEAVIER <= chunk_bytes
        try:
            behind = Behind(prefix, problem, device)
            if agrees(prefix, module, behind, x, base):
                return prefix, behind
        except Exception:
            if not (prefix.traced or prefix.last):
                raise
        if prefix.last:  # a view of what it takes for contiguous, say
            prefix.last = prefix.checked = False
            continue
        forget_prefix(module, x)  # its forward may take another way now
        prefix = find_prefix(module, x)
    return None


def _heavy_weights(module: nn.Module) -> int:
    """Bytes of the filters that are rearranged for images with their channels last."""
    filters = (p for p in module.parameters() if p.dim() == 4)
    return sum(p.nbytes for p in filters if not p.is_contiguous(memory_format=torch.channels_last))


def agrees(prefix: Prefix, function: Any, behind: Behind, x: Tensor, base: Tensor) -> bool:
    """Whether the prefix is what it should be at the first input ``x`` (1, ...) and its ``base`` (1, ...).

    rest(P(x)) = f(x): at every call of the user's where the forward was traced, and may have changed its mind, or where
    what comes behind, and may be another, takes channels last; else at the first.
    The first time also P(x) is affine between base and input, and a row of it does not see its neighbours.
    """
    if prefix.checked and (not (prefix.traced or prefix.last) or function in own):
        return True
    z = behind.input
    counts = (1,) if not prefix.traced else (2,) if prefix.checked else (1, 3)  # of any number of rows
    wanted = function(torch.cat([x] * counts[-1]))
    for rows in counts:
        given = torch.cat([z[:1]] * rows)
        version = given._version
        answer = prefix.answer(given)
        prefix.overwrites |= given._version != version
        if not close(answer, wanted if rows == counts[-1] else first_row(wanted)):
            return False
    if prefix.checked:
        return True
    images = prefix.image(torch.cat([base + (x - base) / 2, x, base]))
    if len(images) != 3 or not close(images[0], (images[1] + images[2]) / 2):
        return False
    prefix.checked = close(images[1], z[0]) and close(images[2], behind.base[0])
    return prefix.checked
