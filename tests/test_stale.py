"""What was found out about a module and no longer holds, where the first example alone does not show it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from models_zoo import C, data  # noqa: E402
from test_layer import seeded  # noqa: E402
from test_layer_cut import by_hooks  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.testing import assert_close  # noqa: E402

import fastattr as fa  # noqa: E402
from fastattr.models import graph, structure  # noqa: E402
from fastattr.models.part import settings  # noqa: E402

DOUBLE = torch.float64


class Leaky(nn.Module):
    """A dense chain whose slope is an attribute; with positive biases an input of zeros does not meet it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(6, 8), nn.Linear(8, C)
        nn.init.ones_(self.first.bias)
        self.options: Any = {"slope": [0.2]}
        self.activation = functional.leaky_relu

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.activation(self.first(x), self.options["slope"][0]))


class Clipped(nn.Module):
    """A convolution, and a bound that small values do not meet."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 5, padding=2), nn.Linear(4 * 64, C)
        self.most = 3.0
        self.act = nn.LeakyReLU(0.1)
        nn.init.constant_(self.conv.bias, 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.act(self.conv(x)).clamp(max=self.most)).flatten(1))


def from_zero_on(*shape: int) -> Tensor:
    """Examples of which the first is zero."""
    x = 3 * data(4, *shape, dtype=DOUBLE)
    x[0] = 0
    return x


def test_options_of_a_dense_forward() -> None:
    net, x = seeded(Leaky).double(), from_zero_on(6)
    nn.init.ones_(net.first.bias)
    seen = []
    for change in (
        lambda: None,
        lambda: net.options["slope"].__setitem__(0, 0.9),
        lambda: setattr(net, "options", {"slope": [0.5]}),
        lambda: setattr(net, "activation", functional.elu),
    ):
        change()
        got, want = (fa.IntegratedGradients(net, steps=9, engine=engine)(x, 1) for engine in ("native", "callback"))
        assert_close(got.values, want.values, rtol=1e-10, atol=1e-12)
        seen.append(float(got.values.sum()))
    assert len(set(seen)) == 4


@pytest.mark.parametrize("kind", ["prefix", "layer", "optimize"])
def test_options_of_a_traced_forward(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structure, "FIXED", -1e12)
    monkeypatch.setattr(structure, "ELEMENT", -1e6)
    net, x = seeded(Clipped).double(), from_zero_on(3, 8, 8)
    nn.init.constant_(net.conv.bias, 0.5)
    options: dict[str, Any] = {"layer": {"layer": "conv"}, "optimize": {"optimize": True}}.get(kind, {})
    note = {"prefix": "affine prefix", "layer": "model cut there", "optimize": "optimized"}[kind]
    seen = []
    for most in (3.0, 0.6, 3.0):
        net.most = most
        got = fa.IntegratedGradients(net, steps=9, **options)(x, 1)
        assert note in got.engine
        if kind == "layer":
            with by_hooks():
                want = fa.IntegratedGradients(net, steps=9, layer="conv")(x, 1)
        else:
            want = fa.IntegratedGradients(lambda z: net(z), steps=9)(x, 1)
        assert_close(got.values, want.values, rtol=1e-8, atol=1e-10)
        seen.append(float(got.values.sum()))
    assert seen[0] != seen[1]


def test_a_copy_of_weights_that_the_first_example_does_not_meet() -> None:
    """Written past their versions; and an option of a layer of torch's own."""
    net, x = seeded(Clipped).double().to(memory_format=torch.channels_last), data(4, 3, 8, 8, dtype=DOUBLE)
    nn.init.constant_(net.conv.bias, 0.5)
    x[0] = 0
    seen = []
    for change in (
        lambda: None,
        lambda: net.conv.weight.data[:, 1].mul_(-1),
        lambda: net.conv.weight.detach().numpy()[2, 0].__imul__(2),
        lambda: setattr(net.act, "negative_slope", 0.8),
    ):
        change()
        got = fa.IntegratedGradients(net, steps=9, optimize=True)(x, 1)
        want = fa.IntegratedGradients(lambda z: net(z), steps=9)(x, 1)
        assert_close(got.values, want.values, rtol=1e-8, atol=1e-10)
        seen.append(float(got.values.sum()))
    assert len(set(seen)) == 4


class Views(nn.Module):
    """Takes for contiguous what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4 * 64, C)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(x).view(len(x), -1))


def test_what_comes_behind_a_prefix_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Points behind it had their channels last."""
    monkeypatch.setattr(structure, "FIXED", -1e12)
    monkeypatch.setattr(structure, "ELEMENT", -1e6)
    x, conv = data(4, 3, 8, 8), nn.Conv2d(3, 4, 5, padding=2)
    net = nn.Sequential(conv, nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(256, C))).eval()
    assert "channels last" in fa.IntegratedGradients(net, steps=9)(x, 1).engine
    net[1] = Views().eval()
    got = fa.IntegratedGradients(net, steps=9)(x, 1)
    assert "affine prefix" in got.engine and "channels last" not in got.engine
    assert_close(got.values, fa.IntegratedGradients(lambda z: net(z), steps=9)(x, 1).values, rtol=1e-4, atol=1e-5)


def test_rounding_is_no_affine_map() -> None:
    class Rounds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.low, self.head = nn.Linear(400, 8), nn.Linear(8, C)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.low(torch.div(x, 0.5, rounding_mode="floor")))

    net = seeded(Rounds)
    traced = graph.trace(net, (data(2, 400),), {})
    assert traced is not None
    (start,) = traced.inputs.values()
    assert structure._cuts(traced, net, start) == []


PLAIN: dict[str, Callable[[nn.Sequential], Any]] = {
    "a tensor": lambda net: setattr(net[0], "weight", data(8, 6, seed=3)),
    "another": lambda net: setattr(net[0], "weight", data(8, 6, seed=4)),
    "with a history": lambda net: setattr(net[0], "weight", data(8, 6, seed=5).requires_grad_() * 2),
}


def test_weights_that_are_no_parameters() -> None:
    """As a hypernetwork sets them."""
    net, x = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, C)).eval(), data(4, 6)
    assert fa.Saliency(net)(x, 1).engine.startswith("native")
    del net[0].weight
    for change in PLAIN.values():
        change(net)
        got, want = (fa.Saliency(net, engine=engine)(x, 1) for engine in ("auto", "callback"))
        assert got.engine.startswith("callback")
        assert_close(got.values, want.values)


def test_lists_of_the_module_hold_no_proxies() -> None:
    class Keeps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.low, self.head = nn.Linear(400, 8), nn.Linear(8, C)
            self.kept: list[Tensor] = []

        def forward(self, x: Tensor) -> Tensor:
            self.kept.append(self.low(x))
            return self.head(self.kept[-1].tanh())

    net = seeded(Keeps)
    assert graph.trace(net, (data(2, 400),), {}) is not None
    assert net.kept == []


def test_settings_see_options_and_keep_nothing_alive() -> None:
    net = seeded(Leaky)
    net.bound = net.forward
    net.activation = (lambda owner: lambda x, _: owner.first(x))(net)
    before = settings(net)
    assert before == settings(net)
    net.last = data(3)
    assert settings(net) != before
    gone = weakref.ref(net)
    del net
    gc.collect()
    assert gone() is None and before
