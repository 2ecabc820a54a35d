"""Small torch models that the tests share, and the plain-autograd answers to compare with."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

torch.set_num_threads(1)  # for models this small a second thread only costs, and much where others use the cores too

B, D, C = 4, 5, 3

Pair = namedtuple("Pair", "logits hidden")


class ModelOutput(OrderedDict):
    """As language-model libraries return it: a dict whose members are attributes too."""

    @property
    def logits(self) -> Tensor:
        return self["logits"]


@dataclass
class Scores:
    scores: Tensor
    loss: Tensor | None = None


@dataclass
class Logits:
    logits: Tensor
    loss: Tensor | None = None


def mlp(*sizes: int, activation: type[nn.Module] = nn.Tanh, seed: int = 0) -> nn.Sequential:
    """Linear layers with ``activation`` between them, seeded, in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for wide, narrow in zip(sizes, sizes[1:]):
            layers += [nn.Linear(wide, narrow), activation()]
    return nn.Sequential(*layers[:-1]).eval()


class Gated(nn.Module):
    """Two attributed inputs, a mask per example, a temperature for all."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = mlp(D, 6, C, seed=1), mlp(2, C, seed=2)

    def forward(self, a: Tensor, b: Tensor, mask: Tensor | None = None, *, temperature: Tensor | float = 1.0) -> Tensor:
        if mask is not None:
            a = a * mask
        return (self.left(a) + self.right(b)) / temperature


class Tokens(nn.Module):
    """An embedded sequence with an integer attention mask and position numbers, named like a language model's."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Embedding(7, D)
        self.rnn = nn.LSTM(D, 6, batch_first=True)
        self.head = nn.Linear(6, C)

    def forward(self, inputs_embeds: Tensor, attention_mask: Tensor, position: Tensor | None = None) -> ModelOutput:
        x = inputs_embeds * attention_mask[..., None]
        if position is not None:
            x = x + self.position(position)
        return ModelOutput(logits=self.head(self.rnn(x)[0].tanh().mean(1)))


class Shared(nn.Module):
    """One layer used three times."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(D, D), nn.Linear(D, C)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = self.layer(x).tanh()
        return self.head(x)


def training_net() -> nn.Sequential:
    """BatchNorm and dropout, in training mode."""
    net = nn.Sequential(mlp(D, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(8, C))
    return net.train()


def digits_cnn(activation: type[nn.Module]) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), activation(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), activation(), nn.Flatten(), nn.Linear(256, 10),
    )  # fmt: skip


def train(net: nn.Module, x: Tensor, y: Tensor, epochs: int = 6) -> nn.Module:
    """Adam over shuffled batches of 64; leaves the global random state alone."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for part in net.modules():
            if hasattr(part, "reset_parameters"):
                part.reset_parameters()
        optimizer = torch.optim.Adam(net.parameters(), 3e-3)
        for _ in range(epochs):
            for rows in torch.randperm(len(x)).split(64):
                optimizer.zero_grad()
                functional.cross_entropy(net(x[rows]), y[rows]).backward()
                optimizer.step()
    net.zero_grad(set_to_none=True)
    return net.eval()


def data(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal numbers that touch no global state."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).to(dtype)


def autograd(scalar: Callable[..., Tensor], *inputs: Tensor) -> Any:
    """Gradients of ``scalar(*inputs)`` (B,) by the plain way."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    with torch.enable_grad():
        gradients = torch.autograd.grad(scalar(*leaves).sum(), leaves)
    return gradients if len(inputs) > 1 else gradients[0]


def autograd_path(
    scalar: Callable[[Tensor], Tensor], x: Tensor, base: Tensor, nodes: np.ndarray, weights: np.ndarray
) -> Tensor:
    """Integrated Gradients of one example (1, ...) as a sum over ``nodes``, in float64."""
    alpha = torch.from_numpy(nodes).to(x.dtype).reshape(-1, *[1] * (x.dim() - 1))
    gradient = autograd(scalar, base + alpha * (x - base)).double()
    weight = torch.from_numpy(weights).reshape(alpha.shape)
    return (x - base)[0].double() * (weight * gradient).sum(0)


def spell(model: nn.Module) -> Callable[[Any], tuple[np.ndarray, np.ndarray]]:
    """Class 1 of a float64 ``model`` as `fastattr.reference` asks for it: values and gradients at points (N, ...)."""

    def value_and_gradient(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        z = torch.from_numpy(np.ascontiguousarray(points)).requires_grad_()
        values = model(z)[:, 1]
        return values.detach().numpy(), torch.autograd.grad(values.sum(), z)[0].numpy()

    return value_and_gradient
