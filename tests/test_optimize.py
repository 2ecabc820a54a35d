"""`optimize=True`: the same attributions from a folded, channels-last copy; the model itself is left alone."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from models_zoo import B, C, D, data, mlp  # noqa: E402
from test_state import fingerprint  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.testing import assert_close  # noqa: E402

import fastattr as fa  # noqa: E402
from fastattr.models import optimize, winograd  # noqa: E402

X = data(B, 3, 16, 16)


class Residual(nn.Module):
    """A block with a shortcut, in-place activations, and a mask to multiply by."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.shortcut = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8))
        self.hidden, self.norm3, self.head = nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, C)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        y = torch.relu_(self.norm1(self.conv1(x)))
        y = torch.relu(self.norm2(self.conv2(y)) + self.shortcut(x))
        if mask is not None:
            y = y * mask
        return self.head(torch.tanh(self.norm3(self.hidden(y.mean((2, 3))))))


class Opaque(nn.Module):
    """No graph stands for this forward; its container does."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Tanh())
        self.head = nn.Linear(8, C)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3))) if len(x) else x[:, :C, 0, 0]


class Peeks(nn.Module):
    """Reads what lies between a convolution and its norm, past the container's forward, by a way that has no graph."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
        self.head = nn.Linear(8, C)

    def forward(self, x: Tensor) -> Tensor:
        y = self.features[0](x) if len(x) else x
        return self.head((y + self.features(x)).mean((2, 3)))


class Wide(nn.Module):
    """Filters that Winograd's way takes, of every padding, one of them twice, and filters that it does not take."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, bias=False)
        self.conv1, self.norm1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.conv2, self.conv3 = nn.Conv2d(channels, 32, 3, padding="same"), nn.Conv2d(32, channels, 3)
        self.conv4 = nn.Conv2d(channels, channels, 3, padding=2)
        self.other = nn.Conv2d(channels, channels, 3, padding=1, stride=2)
        self.circular = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="circular")
        self.head = nn.Linear(channels, C)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu_(self.norm1(self.conv1(self.stem(x).relu_())))
        y = self.conv4(torch.tanh(self.conv3(torch.relu_(self.conv2(y)))))
        y = self.circular(self.other(torch.relu_(self.conv4(y)))).tanh()
        return self.head(y.mean((2, 3)))


def seeded(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = build().eval()
        for part in net.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.running_mean.normal_(0, 0.3)
                part.running_var.uniform_(0.3, 3)
                nn.init.uniform_(part.weight, 0.5, 2)
                nn.init.normal_(part.bias)
    return net


def both(net: nn.Module, *args: Any, method: Any = fa.IntegratedGradients, **call: Any) -> tuple[Any, Any]:
    return method(net, optimize=True)(*args, **call), method(net)(*args, **call)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ("build", "done"),
    [
        (Residual, "4 batch norms folded, channels last"),
        (Opaque, "1 batch norm folded, channels last"),
        (Wide, "1 batch norm folded, channels last, 4 convolutions by Winograd"),
    ],
)
def test_same_attributions(build: Any, done: str, dtype: torch.dtype) -> None:
    net = seeded(build).to(dtype)
    got, want = both(net, X.to(dtype), 1)
    assert f"optimized: {done}" in got.engine and "optimized" not in want.engine
    rtol = 1e-10 if dtype == torch.float64 else 1e-4
    assert float((got.values - want.values).abs().max()) <= rtol * float(want.values.abs().max())
    assert got.values.is_contiguous()
    assert_close(got.output, want.output, rtol=10 * rtol, atol=rtol)


def test_every_kind_of_argument() -> None:
    net, x = seeded(Residual).double(), X.double()
    mask = data(B, 8, 1, 1, seed=2, dtype=torch.float64)
    for args, call in (
        ((x, 1), {"args": (mask,)}),
        ((x, 1), {"kwargs": {"mask": mask}, "baseline": x.mean(0)}),
        (({"x": x, "mask": mask}, 1), {}),
        (((x, mask), None), {}),
        ((x[:0], 1), {}),
    ):
        got, want = both(net, *args, **call)
        pairs = [(got.values, want.values)]
        if isinstance(args[0], dict):
            pairs = [(got.values[key], want.values[key]) for key in got.values]
        elif isinstance(args[0], tuple):
            pairs = list(zip(got.values, want.values))
        for a, b in pairs:
            assert_close(a, b, rtol=1e-8, atol=1e-11)
    numpy = fa.Saliency(net, optimize=True)(x.numpy(), 1).values
    np.testing.assert_allclose(numpy, fa.Saliency(net)(x, 1).values.numpy(), rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("wrap", [
    lambda m, **o: fa.SmoothGrad(m, samples=3, **o),
    lambda m, **o: fa.SmoothGrad(fa.IntegratedGradients(m, steps=5, **o), samples=3),
    lambda m, **o: fa.ExpectedGradients(m, X, samples=6, **o),
    lambda m, **o: fa.PathIntegratedGradients(m, torch.stack([0 * X, X]), steps=5, **o),
])  # fmt: skip
def test_every_method(wrap: Any) -> None:
    net = seeded(Residual)
    got, want = both(net, X, 1, method=wrap)
    assert "optimized" in got.engine
    assert_close(got.values, want.values, rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize(
    "layer", ["conv1", "norm1", "conv2", "shortcut.0", "shortcut.1", "shortcut", "hidden", "norm3"]
)
@pytest.mark.parametrize("at_input", [False, True])
def test_the_value_at_a_layer_stays(layer: str, at_input: bool) -> None:
    net, x = seeded(Residual).double(), X.double()
    options = {"layer": net.get_submodule(layer), "layer_input": at_input}
    got = fa.IntegratedGradients(net, optimize=True, **options)(x, 1)
    assert "optimized" in got.engine and "layer" in got.engine
    assert_close(got.values, fa.IntegratedGradients(net, **options)(x, 1).values, rtol=1e-8, atol=1e-11)


def test_the_model_is_left_alone() -> None:
    net = seeded(Residual)
    before = fingerprint(net), [sorted(part.__dict__) for part in net.modules()]
    layout = [p.stride() for p in net.parameters()]
    fa.IntegratedGradients(net, optimize=True)(X, 1)
    with pytest.raises(ValueError, match="target"):
        fa.IntegratedGradients(net, optimize=True)(X, 99)
    assert (fingerprint(net), [sorted(part.__dict__) for part in net.modules()]) == before
    assert [p.stride() for p in net.parameters()] == layout


def test_changes_are_seen() -> None:
    """The copy is kept while nothing changes, and made again whichever way something did."""
    net, x = seeded(Residual).double(), X.double()
    method = fa.IntegratedGradients(net, steps=8, optimize=True)
    method(x, 1)
    kept = optimize._memory._known[net][None].module
    method(x, 1)
    assert optimize._memory._known[net][None].module is kept

    def in_place() -> None:
        with torch.no_grad():
            net.conv1.weight.mul_(2)

    def past_the_version() -> None:
        net.norm2.weight.data.mul_(1.5)

    def numpy() -> None:
        net.norm1.running_mean.numpy()[:] += 0.3

    def replaced() -> None:
        net.conv2 = seeded(Residual, 7).double().conv2

    for change in (in_place, past_the_version, numpy, replaced):
        change()
        got = method(x, 1)
        assert optimize._memory._known[net][None].module is not kept
        assert_close(got.values, fa.IntegratedGradients(net, steps=8)(x, 1).values, rtol=1e-8, atol=1e-11)
        kept = optimize._memory._known[net][None].module


def test_the_copy_lives_no_longer_than_the_model() -> None:
    net = seeded(Residual)
    fa.Saliency(net, optimize=True)(X, 1)
    gone, kept = weakref.ref(net), weakref.ref(optimize._memory._known[net][None].module)
    del net
    gc.collect()
    assert gone() is None and kept() is None


def test_nothing_to_do() -> None:
    net = mlp(D, 6, C)
    got = fa.IntegratedGradients(net, optimize=True)(data(B, D), 1)
    want = fa.IntegratedGradients(net, engine="callback")(data(B, D), 1)
    assert "optimized: nothing to do" in got.engine and torch.equal(got.values, want.values)


@pytest.mark.parametrize("layer", ["conv1", "norm1", "conv2", "conv3"])
@pytest.mark.parametrize("at_input", [False, True])
def test_the_value_at_a_filter_stays(layer: str, at_input: bool) -> None:
    net, x = seeded(Wide).double(), X.double()
    options = {"layer": net.get_submodule(layer), "layer_input": at_input}
    got = fa.IntegratedGradients(net, optimize=True, **options)(x, 1)
    assert "4 convolutions by Winograd" in got.engine and "layer" in got.engine
    assert_close(got.values, fa.IntegratedGradients(net, **options)(x, 1).values, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("side", [5, 6, 7, 11])
def test_images_of_every_size(side: int) -> None:
    """Small ones go the way of the sum, wherever in the network they are small."""
    net, x = seeded(Wide).double(), data(B, 3, side, side, dtype=torch.float64)
    for method in (fa.Saliency, fa.IntegratedGradients):
        got, want = both(net, x, 1, method=method)
        assert_close(got.values, want.values, rtol=1e-8, atol=1e-11)


def test_filters_one_by_one() -> None:
    """Values and slopes as torch has them, whatever the layout; what is of another kind goes to torch."""
    for channels, padding in ((16, 0), (32, 1), (16, 2), (16, "same"), (16, "valid")):
        layer = seeded(lambda c=channels, p=padding: nn.Conv2d(c, 16, 3, padding=p)).double()
        assert winograd.takes(layer)
        twin = winograd.Winograd(layer)
        first = data(B, channels, 9, 8, dtype=torch.float64)
        for layout in (torch.contiguous_format, torch.channels_last):
            x = first.clone(memory_format=layout).requires_grad_()
            got, want = twin(x), layer(x)
            assert_close(got, want)
            weight = torch.linspace(-1, 2, want.numel(), dtype=torch.float64).reshape(want.shape)
            (slopes,) = torch.autograd.grad((got * weight).sum(), x)
            assert_close(slopes, torch.autograd.grad((want * weight).sum(), x)[0])
            assert_close(twin(x.detach()[0]), layer(x.detach()[0]))
        with pytest.raises(RuntimeError, match="expected"):
            twin(data(B, channels + 1, 9, 8, dtype=torch.float64))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layer = nn.Conv2d(16, 16, 3).requires_grad_(False)
        assert winograd.Winograd(layer)(data(B, 16, 9, 8)).dtype == torch.bfloat16
    for other in (
        nn.Conv2d(16, 16, 3, stride=2), nn.Conv2d(16, 16, 3, dilation=2), nn.Conv2d(16, 16, 3, groups=2),
        nn.Conv2d(16, 16, 3, padding=(1, 0)), nn.Conv2d(16, 16, 5), nn.Conv2d(16, 16, (3, 1)), nn.Conv2d(8, 16, 3),
        nn.Conv2d(16, 24, 3), nn.Conv2d(16, 16, 3, padding=3), nn.Conv2d(16, 16, 3).half(), nn.Conv3d(16, 16, 3),
        nn.Conv2d(16, 16, 3, padding=1, padding_mode="reflect"), nn.Conv2d(16, 16, 3, device="meta"),
        nn.utils.parametrizations.weight_norm(nn.Conv2d(16, 16, 3)),
    ):  # fmt: skip
        assert not winograd.takes(other)


def test_autocast_that_comes_and_goes() -> None:
    """What it computes is no affine map of what is summed; afterwards the prefix is there again."""
    net, x = (
        seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 5, padding=2), nn.ReLU(), nn.Flatten(), nn.Linear(1024, C))),
        X,
    )
    method = fa.IntegratedGradients(net, steps=200, optimize=True)
    first = method(x, 1)
    with torch.autocast("cpu", torch.bfloat16):
        between = method(x, 1)
    last = method(x, 1)
    assert "affine prefix" in first.engine and "affine prefix" not in between.engine
    assert last.engine == first.engine and torch.equal(last.values, first.values)
    assert_close(between.values, first.values, rtol=0, atol=0.05 * float(first.values.abs().max()))


def test_refused() -> None:
    net = seeded(Residual)
    with pytest.raises(TypeError, match="optimize: expected with a torch module, got function"):
        fa.Saliency(lambda x: net(x), optimize=True)(X, 1)
    with pytest.raises(TypeError, match="optimize: expected True or False"):
        fa.Saliency(net, optimize="yes")(X, 1)
    with pytest.raises(ValueError, match="optimize: expected the folded copy to compute what the model does"):
        fa.Saliency(seeded(Peeks), optimize=True)(X, 1)
    handle = net.norm2.register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match="optimize: expected a model without hooks"):
        fa.Saliency(net, optimize=True)(X, 1)
    handle.remove()
    net.norm2.train()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastattr.models.state.warn", lambda _: None)
        with pytest.raises(ValueError, match="optimize: expected a model in evaluation mode"):
            fa.Saliency(net, optimize=True)(X, 1)
