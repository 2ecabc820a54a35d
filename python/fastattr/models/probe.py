"""What one row costs a torch model: measured once, remembered per model.

Memory for gradients is what autograd saves between forward and backward. One forward pass over two rows under
saved-tensor hooks counts it: parameters and buffers do not grow with the rows and are skipped, a storage saved twice is
counted once.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

# Rows of a chunk on the CPU. Larger chunks wait for memory (beyond the caches, and for fresh pages: the C library maps
# blocks above 32 MB anew each time), smaller ones for the interpreter and for threads to meet. Measured on an MLP, a
# small CNN and ResNet-18 at 64 and 224 px, whose rows take 0.6 kB, 132 kB, 1.8 MB and 22 MB.
WORKING_SET = 16 * 2**20
"""Bytes of saved activations, points and gradients of one chunk ..."""
FEW_ROWS = ((24, 56 * 2**20), (8, 256 * 2**20))
"""... but so many rows at least, since layers work on whole batches, as long as they take no more bytes than this."""
MOST_ROWS = 2048
MOST_ROWS_CUDA = 2**15
"""Far beyond what fills a device, and below 65535, where grids of some layers end."""

_known: weakref.WeakKeyDictionary[Any, dict[Hashable, Probe]] = weakref.WeakKeyDictionary()


@dataclass
class Probe:
    """What a forward pass over a few rows showed."""

    row_bytes: int
    """Saved activations, points, gradients and outputs of one row."""
    output_shape: tuple[int, ...]
    """Of one row, after the batch axis."""
    limit: int | None = None
    """Rows that fitted when memory ran out once."""

    def choose_rows(self, device: torch.device) -> int:
        """Rows a chunk: as many as the working set holds."""
        size = max(1, self.row_bytes)
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
            rows = min(MOST_ROWS_CUDA, (free + cached) // 2 // size)
        else:
            few = max(min(rows, most // size) for rows, most in FEW_ROWS)
            rows = min(MOST_ROWS, max(WORKING_SET // size, few))
        return max(1, rows if self.limit is None else min(rows, self.limit))


def remembered(owner: Any, key: Hashable) -> Probe | None:
    """The probe of this model under these shapes, if there was one."""
    try:
        return _known.get(owner, {}).get(key)
    except TypeError:  # neither hashable nor weakly referable: measured again each time
        return None


def remember(owner: Any, key: Hashable, probe: Probe) -> None:
    """Keep ``probe`` for as long as the model lives."""
    try:
        _known.setdefault(owner, {})[key] = probe
    except TypeError:
        return


def forget(owner: Any, key: Hashable) -> None:
    """Drop a probe that the model has outgrown."""
    if remembered(owner, key) is not None:
        _known[owner].pop(key, None)


def measure(
    forward: Callable[[], tuple[torch.Tensor, Any]], rows: int, module: nn.Module | None, point_bytes: int
) -> Probe:
    """Run ``forward`` once over ``rows`` rows and count what it saves.

    ``point_bytes`` are those of one row's points; its gradients take as many again.
    """
    constant = set()
    if module is not None:
        constant = {p.untyped_storage().data_ptr() for p in [*module.parameters(), *module.buffers()]}
    saved: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        try:
            storage = tensor.untyped_storage()
        except (RuntimeError, NotImplementedError):  # sparse and other tensors without one storage
            return tensor.detach()
        if storage.data_ptr() not in constant:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # an output that its own node holds would never be freed, nor the graph below it

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        scores, _ = forward()
    total = sum(saved.values()) + scores.numel() * scores.element_size()
    return Probe(total // rows + 2 * point_bytes, tuple(scores.shape[1:]))
