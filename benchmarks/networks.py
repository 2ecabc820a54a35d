"""The explained networks, defined here so that the benchmarks need nothing but torch and scikit-learn.

Every builder draws its weights from its own seed and leaves the global random state as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

Built = TypeVar("Built")
TRAIN_DIGITS = 1400  # of 1,797; the rest is never trained on


def seeded(build: Callable[[], Built], seed: int) -> Built:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def mlp(*dims: int, activation: type[nn.Module] = nn.ReLU, seed: int = 0) -> nn.Sequential:
    """Linear layers dims[0] -> ... -> dims[-1], an activation between each two."""

    def build() -> nn.Sequential:
        layers: list[nn.Module] = []
        for inputs, outputs in zip(dims, dims[1:], strict=False):
            layers += [nn.Linear(inputs, outputs), activation()]
        return nn.Sequential(*layers[:-1])

    return seeded(build, seed).eval()


def small_cnn(seed: int = 0) -> nn.Sequential:
    """(B, 1, 28, 28) -> (B, 10): conv 16, conv 32, 64 hidden units; ReLU and max-pooling."""
    return seeded(
        lambda: nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(32 * 7 * 7, 64), nn.ReLU(), nn.Linear(64, 10),
        ),
        seed,
    ).eval()  # fmt: skip


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016, fig. 2)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        return self.relu(y + self.shortcut(x))


class ResNet18(nn.Module):
    """(B, 3, H, W) -> (B, classes) (He et al. 2016)."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        stem = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
        blocks, width = [], 64
        for outputs, stride in ((64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1)):
            blocks.append(BasicBlock(width, outputs, stride))
            width = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


def resnet18(classes: int = 1000, seed: int = 0) -> ResNet18:
    """Untrained; the BatchNorm statistics are drawn too, so that evaluation mode is not close to the identity."""

    def build() -> ResNet18:
        model = ResNet18(classes)
        for norm in model.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.get_buffer("running_mean").normal_(0, 0.1)
                norm.get_buffer("running_var").uniform_(0.5, 2)
        return model

    return seeded(build, seed).eval()


def digits_cnn(activation: str = "relu", seed: int = 0) -> nn.Sequential:
    """(B, 1, 8, 8) -> (B, 10). activation "relu" pools by the maximum, "gelu" by the mean (a smooth network)."""
    act, pool = {"relu": (nn.ReLU, nn.MaxPool2d), "gelu": (nn.GELU, nn.AvgPool2d)}[activation]
    return seeded(
        lambda: nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), act(), nn.Conv2d(32, 64, 3, padding=1), act(), pool(2),
            nn.Flatten(), nn.Linear(1024, 128), act(), nn.Linear(128, 10),
        ),
        seed,
    ).eval()  # fmt: skip


def digits() -> tuple[Tensor, Tensor]:
    """scikit-learn's 1,797 digits: images (1797, 1, 8, 8) in [0, 1], labels (1797,)."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images / 16, dtype=torch.float32).reshape(-1, 1, 8, 8), torch.tensor(labels)


def train_digits(activation: str = "relu", seed: int = 0, epochs: int = 15) -> tuple[nn.Sequential, Tensor, Tensor]:
    """A digits CNN trained on the first 1,400 digits; returns it with the unseen images and labels."""
    images, labels = digits()
    model = digits_cnn(activation, seed).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    order = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for rows in torch.randperm(TRAIN_DIGITS, generator=order).split(64):
            optimizer.zero_grad()
            functional.cross_entropy(model(images[rows]), labels[rows]).backward()
            optimizer.step()
    return model.eval(), images[TRAIN_DIGITS:], labels[TRAIN_DIGITS:]
