"""The network the demonstration explains: trained in seconds, the same for the same seed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..datasets import Split

if TYPE_CHECKING:
    import torch

EPOCHS = 25
BATCH = 64


def train(data: Split, seed: int = 0) -> torch.nn.Module:
    """A convolutional network for 8 x 8 digits, raw outputs (B, 10), in eval mode.

    Torch's global random state is the same afterwards.
    """
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(512, 64),
            nn.ReLU(),
            nn.Linear(64, 10),
        )
        x, y = torch.from_numpy(data.x_train), torch.from_numpy(data.y_train)
        optimizer = torch.optim.Adam(network.parameters(), 2e-3, weight_decay=1e-4)
        for _ in range(EPOCHS):
            for batch in torch.randperm(len(x)).split(BATCH):
                optimizer.zero_grad()
                nn.functional.cross_entropy(network(x[batch]), y[batch]).backward()
                optimizer.step()
    return network.eval()


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch, which for convolutions this small is faster than several; the old number afterwards."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def accuracy(network: torch.nn.Module, data: Split) -> float:
    """Share of the test part that is read correctly."""
    return float((predict(network, data.x_test) == torch_of(data.y_test)).double().mean())


def predict(network: torch.nn.Module, x: object) -> torch.Tensor:
    """The class with the highest output, (B,) int64."""
    import torch

    with torch.no_grad():
        classes: torch.Tensor = network(torch_of(x)).argmax(1)
    return classes


def torch_of(array: object) -> torch.Tensor:
    """The tensor on the array's memory."""
    import torch

    return torch.as_tensor(array)
