"""Native networks whose first layer is too wide to copy: its products read the module's own weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from test_native_torch import normal
from torch import Tensor, nn

import fastattr as fa
from fastattr.models import dense
from fastattr.models.chain import recognise

CLOSE = {torch.float32: 1e-5, torch.float64: 1e-12}
METHODS: dict[str, Callable[..., Any]] = {
    "saliency": fa.Saliency,
    "integrated": lambda m, **o: fa.IntegratedGradients(m, steps=20, **o),
    "few": lambda m, **o: fa.IntegratedGradients(m, steps=3, **o),
    "nested": lambda m, **o: fa.IntegratedGradients(m, rule="nested", **o),
    "smooth": lambda m, **o: fa.SmoothGrad(m, samples=4, stdev=0.1, **o),
    "expected": lambda m, **o: fa.ExpectedGradients(m, normal(6, 3, 8, seed=9, dtype=torch.float64), samples=5, **o),
}


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts as wide, so that small networks do."""
    monkeypatch.setattr(dense, "WIDE", 100)


def network(dtype: torch.dtype = torch.float64, norm: bool = False) -> nn.Module:
    torch.manual_seed(2)
    first = [nn.Linear(24, 16), nn.BatchNorm1d(16)] if norm else [nn.Linear(24, 16)]
    return nn.Sequential(nn.Flatten(), *first, nn.ReLU(), nn.Linear(16, 9), nn.Tanh(), nn.Linear(9, 4)).eval().to(dtype)


def assert_same(net: nn.Module, x: Tensor, name: str, target: Any = None, **options: Any) -> None:
    found, wanted = (METHODS[name](net, engine=engine, **options)(x, target) for engine in ("native", "callback"))
    close = CLOSE[x.dtype] * max(1.0, float(wanted.values.abs().max()))
    torch.testing.assert_close(found.values, wanted.values, rtol=0, atol=close)
    torch.testing.assert_close(found.output, wanted.output, rtol=0, atol=close)
    assert torch.equal(found.target, wanted.target)


@pytest.mark.parametrize("output", ["raw", "softmax", "sigmoid"])
@pytest.mark.parametrize("name", METHODS)
def test_the_same_numbers(name: str, output: str) -> None:
    for target in (None, 2):
        assert_same(network(), normal(5, 3, 8, seed=1, dtype=torch.float64), name, target, output=output)


CHANGES: dict[str, Callable[[Any], Any]] = {
    "data": lambda n: n[1].weight.data.mul_(1.5),
    "numpy": lambda n: n[1].weight.detach().numpy().__imul__(1.5),
    "in place": lambda n: n[1].weight.requires_grad_(False).add_(0.25),
    "behind": lambda n: n[-1].weight.data.mul_(-1.0),
    "bias": lambda n: n[1].bias.data.add_(0.5),
    "new": lambda n: setattr(n[1], "weight", nn.Parameter(n[1].weight.detach() * 2)),
}


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", METHODS)
def test_changed_weights_are_seen(name: str, change: str, norm: bool) -> None:
    """By what reads them where they are, and by what copies them."""
    net, x = network(norm=norm), normal(5, 3, 8, seed=1, dtype=torch.float64)
    for _ in range(2):
        assert_same(net, x, name, 1)
        before = METHODS[name](net, engine="native")(x, 1).values
        CHANGES[change](net)
        assert_same(net, x, name, 1)
        if change != "bias":
            assert not torch.equal(METHODS[name](net, engine="native")(x, 1).values, before)


def test_changed_weights_are_seen_in_closed_form() -> None:
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 3)).double().eval()
    x = normal(4, 24, seed=4, dtype=torch.float64)
    for _ in range(2):
        found = fa.IntegratedGradients(net, steps="exact")(x, 1)
        wanted = fa.IntegratedGradients(net, steps=4000, rule="midpoint", engine="callback")(x, 1)
        torch.testing.assert_close(found.values, wanted.values, rtol=0, atol=1e-3 * float(wanted.values.abs().max()))
        net[0].weight.data.mul_(-1.5)


def test_no_copy_is_made_of_what_is_wide() -> None:
    net, x = network(torch.float32), normal(5, 3, 8, seed=1)
    for target in (None, 1):
        att = fa.IntegratedGradients(net, steps=20)(x, target)
        assert "affine prefix, swept" in att.engine
    found = recognise(net).network
    assert found is not None and found.wide
    assert {behind for _, behind in found._packed} == {True}
    assert np.shares_memory(found.layers[0].weight, net[1].weight.detach().numpy())
