"""Convolutions of 3 x 3 by fewer products, forward and backward, for a module whose weights stay as they are."""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .. import _core

CHANNELS = 16
"""Input and output channels come in multiples of this: whole vectors on every CPU."""
FEWEST_OUTPUTS = 6.0
"""Outputs of an image per tile of 4 x 4, below which the plain sum takes as little time."""

_NAMED = {"same": 1, "valid": 0}


def takes(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether `Winograd` can stand in for ``layer``."""
    if type(layer) is not nn.Conv2d or "forward" in layer.__dict__ or layer.weight.device.type != "cpu":
        return False
    same = (layer.kernel_size, layer.stride, layer.dilation, layer.groups) == ((3, 3), (1, 1), (1, 1), 1)
    padding = layer.padding_mode == "zeros" and layer.padding in ("same", "valid", (0, 0), (1, 1), (2, 2))
    channels = layer.in_channels % CHANNELS == layer.out_channels % CHANNELS == 0
    return same and padding and channels and layer.weight.dtype in (torch.float32, torch.float64)


class Winograd(nn.Module):
    """What ``layer`` computes, by `_core.winograd`; the layer itself where images are too small or of another kind."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.layer = layer
        self.padding = int(_NAMED[layer.padding] if isinstance(layer.padding, str) else layer.padding[0])
        weight = layer.weight.detach()
        bias = None if layer.bias is None else layer.bias.detach().contiguous()
        self.filter = _core.winograd(weight.contiguous(), bias)
        self.transposed = _core.winograd(weight.flip(2, 3).transpose(0, 1).contiguous(), None)
        self.channels = weight.shape[:2]
        self.train(layer.training)

    def forward(self, images: Tensor) -> Tensor:
        """(R, C, H, W) -> (R, C', H', W'), channels last."""
        weight = self.layer.weight
        known = images.dim() == 4 and images.dtype == weight.dtype and images.device == weight.device
        if not known or not self._pays(*images.shape[1:]) or torch.is_autocast_enabled("cpu"):
            answer: Tensor = self.layer(images)
            return answer
        return _Convolution.apply(images, self)

    def _pays(self, channels: int, height: int, width: int) -> bool:
        down, across = height + 2 * self.padding - 2, width + 2 * self.padding - 2
        fits = channels == self.channels[1] and min(down, across) > 0
        return fits and down * across >= FEWEST_OUTPUTS * -(-down // 4) * -(-across // 4)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, module: Winograd) -> Tensor:
        ctx.module, ctx.shape = module, images.shape
        return _run(module.filter, images, module.channels[0], module.padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor, None]:
        module = ctx.module
        return _run(module.transposed, slopes, module.channels[1], 2 - module.padding), None


def _run(filter: Any, images: Tensor, channels: int, padding: int) -> Tensor:
    """``images`` (R, C, H, W) of any layout through a filter of so many output channels."""
    rows, _, height, width = images.shape
    shape = (rows, channels, height + 2 * padding - 2, width + 2 * padding - 2)
    out = torch.empty(shape, dtype=images.dtype, device=images.device, memory_format=torch.channels_last)
    last, place = (tensor.detach().permute(0, 2, 3, 1) for tensor in (images, out))
    _core.winograd_run(filter, last.contiguous(), place, height, width, padding)
    return out
