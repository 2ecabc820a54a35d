"""Fixtures that several test files share."""

from __future__ import annotations

import signal
import sys
from typing import NamedTuple

import pytest


class Trained(NamedTuple):
    """Digit classifiers by the name of their activation, and unseen digits."""

    models: dict[str, object]
    x: object
    y: object


@pytest.fixture(scope="session")
def trained_digits() -> Trained:
    """Two small CNNs, trained in seconds, and the 360 test digits."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    from models_zoo import digits_cnn, train

    from fastattr import datasets

    split = datasets.digits()
    x, y = torch.from_numpy(split.x_train), torch.from_numpy(split.y_train)
    models = {name: train(digits_cnn(getattr(torch.nn, name)), x, y) for name in ("ReLU", "GELU")}
    return Trained(models, torch.from_numpy(split.x_test), torch.from_numpy(split.y_test))


@pytest.fixture(autouse=True, scope="session")
def ctrl_c_interrupts() -> None:
    """A job that a shell started in the background ignores SIGINT, and so would every test and process of it."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def same_weights_every_time() -> None:
    """Networks that a test makes are the same in every run, alone or among others."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
