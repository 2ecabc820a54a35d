"""The two networks of GANMEX: a generator that predicts an edit, and a critic that tells samples from data.

Letters: B examples, K classes, C channels, D features. Inputs are scaled to [-1, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

GROUPS = 4
"""Of GroupNorm. Instance norm would be degenerate where convolutions end at 2 x 2 pixels."""


class Residual(nn.Module):
    """x + f(x), f two convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(GROUPS, width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(GROUPS, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) to the same."""
        return x + self.body(x)


class Hourglass(nn.Module):
    """Down by halves, residual blocks, and up again; each level up is added to what the same level down saw.

    Without that addition an edit is no finer than the features in the middle, and spills beyond the edges it changes.
    """

    def __init__(self, channels: int, out: int, width: int, halvings: int, blocks: int) -> None:
        super().__init__()
        widths = [width << level for level in range(halvings + 1)]
        self.first = _layer(nn.Conv2d(channels, width, 5, padding=2))
        self.down = nn.ModuleList([_layer(nn.Conv2d(w, 2 * w, 4, 2, 1)) for w in widths[:-1]])
        self.middle = nn.Sequential(*[Residual(widths[-1]) for _ in range(blocks)])
        # resize, then convolve: no checkerboard
        self.up = nn.ModuleList(
            [
                nn.Sequential(nn.Upsample(scale_factor=2), _layer(nn.Conv2d(2 * w, w, 3, padding=1)))
                for w in widths[-2::-1]
            ]
        )
        self.last = nn.Conv2d(width, out, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, out, H, W)."""
        levels = [self.first(x)]
        for layer in self.down:
            levels.append(layer(levels[-1]))
        found = self.middle(levels.pop())
        for layer in self.up:
            found = layer(found) + levels.pop()
        edit: Tensor = self.last(found)
        return edit


def _layer(convolution: nn.Conv2d) -> nn.Sequential:
    """Convolution, normalisation, ReLU."""
    return nn.Sequential(convolution, nn.GroupNorm(GROUPS, convolution.out_channels), nn.ReLU())


class Generator(nn.Module):
    """G(x, c) = clamp(x + 2 tanh(delta(x, c)), -1, 1): what does not need to change costs nothing to keep.

    ``anew``: tanh(delta(x, c)), which has to draw all of it.
    """

    def __init__(self, delta: nn.Module, classes: int, anew: bool = False) -> None:
        super().__init__()
        self.delta = delta
        self.classes = classes
        self.anew = anew

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        """The sample of class ``target`` (B,) near ``x`` (B, ...)."""
        label = functional.one_hot(target, self.classes).to(x.dtype)
        planes = label.reshape(*label.shape, *[1] * (x.dim() - 2)).expand(-1, -1, *x.shape[2:])
        drawn = torch.tanh(self.delta(torch.cat([x, planes], 1)))
        return drawn if self.anew else (x + 2 * drawn).clamp(-1, 1)


class Critic(nn.Module):
    """D(x), higher for data than for samples; with ``classes``, scores of its own for the classes too.

    No normalisation: the gradient penalty is per example.
    """

    def __init__(self, body: nn.Module, features: int, classes: int | None = None) -> None:
        super().__init__()
        self.body = body
        self.source = nn.Linear(features, 1)
        self.classify = None if classes is None else nn.Linear(features, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B,) scores."""
        score: Tensor = self.source(self.body(x)).squeeze(1)
        return score

    def class_scores(self, x: Tensor) -> Tensor:
        """(B, K) logits; only of a critic with classes."""
        assert self.classify is not None
        scores: Tensor = self.classify(self.body(x))
        return scores


def generator(input_shape: tuple[int, ...], classes: int, width: int | None = None, anew: bool = False) -> Generator:
    """For images (C, H, W) or vectors (D,)."""
    if len(input_shape) == 1:
        wide = width or max(64, 4 * input_shape[0])
        first = input_shape[0] + classes
        delta: nn.Module = nn.Sequential(
            nn.Linear(first, wide), nn.ReLU(), nn.Linear(wide, wide), nn.ReLU(), nn.Linear(wide, input_shape[0])
        )
        return Generator(delta, classes, anew)
    channels, height, wide_pixels = input_shape
    small = min(height, wide_pixels) < 16
    w, halvings, blocks = (width or 32, 1, 3) if small else (width or 16, 2, 2)
    return Generator(Hourglass(channels + classes, channels, w, halvings, blocks), classes, anew)


def critic(input_shape: tuple[int, ...], classes: int | None = None, width: int | None = None) -> Critic:
    """For images (C, H, W) or vectors (D,); ``classes`` adds a classifier."""
    if len(input_shape) == 1:
        wide = width or max(64, 4 * input_shape[0])
        body = nn.Sequential(nn.Linear(input_shape[0], wide), nn.LeakyReLU(0.01))
        body += nn.Sequential(nn.Linear(wide, wide), nn.LeakyReLU(0.01))
        return Critic(body, wide, classes)
    channels, height, wide_pixels = input_shape
    w = width or (32 if min(height, wide_pixels) < 16 else 16)
    layers: list[nn.Module] = []
    while min(height, wide_pixels) > 2:
        layers += [nn.Conv2d(channels, w, 4, 2, 1), nn.LeakyReLU(0.01)]
        channels, w, height, wide_pixels = w, min(2 * w, 128), height // 2, wide_pixels // 2
    layers += [nn.Flatten()]
    return Critic(nn.Sequential(*layers), channels * height * wide_pixels, classes)


class Standardise(nn.Module):
    """(x - mean) / deviation per feature of vectors, per channel of images; constants become 0."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        axes = (0, *range(2, x.dim()))
        self.register_buffer("mean", x.mean(axes, keepdim=True))
        self.register_buffer("deviation", x.std(axes, keepdim=True, unbiased=False).clamp_min(1e-6))

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) to the same."""
        scaled: Tensor = (x - self.mean) / self.deviation
        return scaled


def judge(x: Tensor, classes: int) -> nn.Module:
    """A small classifier of inputs like ``x`` (B, ...) to (B, K) logits: it decides which checkpoint is kept."""
    first = Standardise(x)
    if x.dim() == 2:
        return nn.Sequential(first, nn.Linear(x.shape[1], 64), nn.Tanh(), nn.Linear(64, classes))
    channels, height, wide = x.shape[1:]
    w = 16
    layers: list[nn.Module] = [first, nn.Conv2d(channels, w, 3, padding=1), nn.GELU()]
    while min(height, wide) > 4:
        layers += [nn.Conv2d(w, 2 * w, 3, 2, 1), nn.GELU()]
        w, height, wide = 2 * w, (height + 1) // 2, (wide + 1) // 2
    layers += [nn.Flatten(), nn.Linear(w * height * wide, 64), nn.GELU(), nn.Linear(64, classes)]
    return nn.Sequential(*layers)


def generator_from(
    tensors: dict[str, Tensor], input_shape: tuple[int, ...], classes: int, width: int | None, anew: bool
) -> Generator:
    """The generator that these tensors are the state of, in eval mode, frozen."""
    with torch.random.fork_rng(devices=[]):
        found = generator(input_shape, classes, width, anew)
    found.load_state_dict(tensors)
    found.eval().requires_grad_(False)
    return found
