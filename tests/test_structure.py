"""The affine prefix (models/structure.py, models/behind.py): attributions as along the inputs, and when it is off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from models_zoo import C, data, mlp  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.testing import assert_close  # noqa: E402

import fastattr as fa  # noqa: E402
from fastattr.methods.base import GradientMethod  # noqa: E402
from fastattr.models import structure  # noqa: E402
from fastattr.models.torch import TorchSession  # noqa: E402


@pytest.fixture(autouse=True)
def through_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Native networks have a prefix of their own, see test_dense_prefix.py."""
    monkeypatch.setitem(GradientMethod.__init__.__kwdefaults__, "engine", "callback")


B, WIDE, HIDDEN = 6, 400, 48
X = data(B, WIDE)


def seeded(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = build().eval()
        for part in net.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.running_mean.normal_(0, 0.1)
                part.running_var.uniform_(0.5, 2)
    return net


def wide() -> nn.Sequential:
    return nn.Sequential(nn.Linear(WIDE, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 20), nn.Tanh(), nn.Linear(20, C))


class Functional(nn.Module):
    """A forward of its own: flattening, scaling by a buffer, a functional layer."""

    def __init__(self, scale: float = 2.0) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(WIDE, HIDDEN), nn.Linear(HIDDEN, C)
        self.register_buffer("mean", torch.linspace(-1, 1, WIDE))
        self.scale, self.doubled, self.calls = scale, False, 0

    def forward(self, x: Tensor, flag: bool = False) -> Tensor:
        self.calls += 1
        x = (x.view(x.size(0), -1) - self.mean) / 3 * self.scale
        if self.doubled:
            x = 2 * x
        h = functional.linear(x, self.first.weight, self.first.bias)
        return self.last(torch.tanh(-h if flag else h))


class Sums(nn.Module):
    """Two affine ways that meet before the nonlinearity."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.last = nn.Linear(WIDE, HIDDEN), nn.Linear(WIDE, HIDDEN), nn.Linear(HIDDEN, C)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        h = self.a(x) - 0.5 * self.b(x)
        return {"logits": self.last(h.sigmoid()), "hidden": h}


class Skips(nn.Module):
    """The input is seen past the first layer: there is no prefix."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.last = nn.Linear(WIDE, HIDDEN), nn.Linear(HIDDEN, C)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.a(x).tanh()) * x.mean(1, keepdim=True)


def image_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(3, 4, 3, stride=2, bias=False), nn.BatchNorm2d(4)),
        nn.Flatten(), nn.Linear(4 * 7 * 7, 40), nn.Dropout(0.3), nn.Tanh(), nn.Linear(40, C),
    )  # fmt: skip


@contextmanager
def plainly() -> Iterator[None]:
    """Without the prefix."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TorchSession, "factor", lambda *_: None)
        yield


@pytest.fixture(autouse=True)
def always_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small cases do not pay; what does is `test_what_pays`'s."""
    monkeypatch.setattr(structure, "FIXED", 0.0)


MODELS: dict[str, tuple[Callable[[], nn.Module], Tensor, str]] = {
    "sequential": (wide, X, "affine prefix: 1 module,"),
    "functional": (Functional, X, "affine prefix: 6 operations,"),
    "sums": (Sums, X, "affine prefix: 4 operations,"),
    "images": (image_net, data(B, 3, 32, 32), "affine prefix: 6 modules,"),
}


def both(method: Any, *args: Any, **options: Any) -> tuple[fa.Attribution, fa.Attribution]:
    got = method(*args, **options)
    with plainly():
        want = method(*args, **options)
    assert "affine prefix" in got.engine and "affine prefix" not in want.engine
    return got, want


def compare(got: fa.Attribution, want: fa.Attribution, rtol: float) -> None:
    scale = want.values.abs().max()
    assert float((got.values - want.values).abs().max()) <= rtol * float(scale)
    for field in ("gap", "output", "baseline_output", "error"):
        assert_close(getattr(got, field), getattr(want, field), rtol=1e-2, atol=30 * rtol, equal_nan=True)
    for field in ("evaluations", "converged", "target"):
        assert torch.equal(getattr(got, field), getattr(want, field))


# ---- numbers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("steps", [20, "auto"])
def test_same_attributions(name: str, dtype: torch.dtype, steps: Any) -> None:
    build, x, note = MODELS[name]
    net, x = seeded(build).to(dtype), x.to(dtype)
    one = data(*x.shape[1:], seed=3, dtype=dtype)
    for base in (None, one, one.expand(x.shape), data(*x.shape, seed=4, dtype=dtype)):
        got, want = both(fa.IntegratedGradients(net, steps=steps, tolerance=1e-4), x, 1, baseline=base)
        assert note in got.engine
        compare(got, want, 1e-12 if dtype == torch.float64 else 1e-6)


@pytest.mark.parametrize(
    "options",
    [
        *({"steps": 20, "rule": rule} for rule in ("midpoint", "trapezoid", "left", "right")),
        {"steps": 31, "rule": "nested"},
        {"multiply_by_inputs": False},
        {"output": "softmax"},
        {"rows": 7},
    ],
    ids=str,
)
@pytest.mark.parametrize("targets", [{}, {"target": [0, 1, 2, 2, 1, 0]}, {"target": 1, "versus": [0, 0, 2, 2, 0, 2]}])
def test_every_option(options: dict[str, Any], targets: dict[str, Any]) -> None:
    net = seeded(wide).double()
    got, want = both(fa.IntegratedGradients(net, **options), X.double(), **targets)
    compare(got, want, 1e-12)


def test_unfinished_examples_alone_are_pulled_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """One transpose per level for those still running; in small pieces when memory is short."""
    net, x = seeded(lambda: mlp(WIDE, HIDDEN, 20, C, activation=nn.ReLU)).double(), X.double()
    x *= torch.logspace(-2, 0.5, B)[:, None]
    method = fa.IntegratedGradients(net, tolerance=1e-2)
    pulled: list[tuple[int, int]] = []

    from fastattr.models import behind

    pull = behind.Behind.pull

    def record(self: Any, examples: np.ndarray, level: int) -> None:
        pulled.append((level, len(examples)))
        pull(self, examples, level)

    monkeypatch.setattr(behind.Behind, "pull", record)
    got, want = both(method, x, 1)
    compare(got, want, 1e-12)
    needed = [int((got.evaluations >= 2 ** (k + 5) - 1).sum()) for k in range(4)]
    assert pulled == [(0, B), (1, B), *((k + 2, n) for k, n in enumerate(needed) if n)]
    assert 0 < pulled[-1][1] < B  # else this shows little


def test_out_of_memory_behind_the_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    """P and its transpose are evaluated in ever smaller pieces, down to one row."""
    net, x = seeded(wide).double(), X.double()
    want = fa.IntegratedGradients(net, steps=15, rule="nested")(x, 1)
    most, forward = 2, nn.Linear.forward

    def limited(self: nn.Linear, rows: Tensor) -> Tensor:
        if self.in_features == WIDE and len(rows) > most:
            raise MemoryError("too many rows")
        return forward(self, rows)

    monkeypatch.setattr(nn.Linear, "forward", limited)
    got = fa.IntegratedGradients(net, steps=15, rule="nested")(x, 1)
    assert "affine prefix" in got.engine
    assert_close(got.values, want.values, rtol=1e-12, atol=1e-14)


def test_polylines() -> None:
    net, x = seeded(wide).double(), X.double()
    path = torch.stack([torch.zeros_like(x), data(B, WIDE, seed=9, dtype=torch.float64), x])
    for steps in (12, "auto"):
        compare(*both(fa.PathIntegratedGradients(net, path, steps=steps), x, 1), 1e-12)


def test_numpy_inputs() -> None:
    net = seeded(wide)
    got, want = both(fa.IntegratedGradients(net), X.numpy(), 1)
    assert isinstance(got.values, np.ndarray)
    np.testing.assert_allclose(got.values, want.values, rtol=1e-4, atol=1e-6)


def test_methods_around_it() -> None:
    net, x = seeded(wide).double(), X.double()
    got, want = both(fa.SmoothGrad(fa.IntegratedGradients(net, steps=9), samples=3), x, 1)
    assert_close(got.values, want.values, rtol=1e-9, atol=1e-12)


def test_evaluations_ask_for_nothing_below() -> None:
    """The first layer sees the ends of the paths, not their points."""
    net = seeded(wide)
    rows: list[int] = []
    method = fa.IntegratedGradients(net, steps=40)
    method(X, 1)
    forward = nn.Linear.forward
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            nn.Linear, "forward", lambda self, x: (rows.append(len(x)) if self is net[0] else 0, forward(self, x))[1]
        )
        method(X, 1)
    assert rows == [B + 1]


# ---- where it is off ----------------------------------------------------------------------------------------------


def off(net: Any, x: Any = X, message: str = "affine prefix", **call: Any) -> fa.Attribution:
    att = fa.IntegratedGradients(net, steps=20)(x, 1, **call)
    assert message not in att.engine
    return att


def test_hooks_switch_it_off() -> None:
    for build in (wide, Functional):
        net = seeded(build)
        parts = [net, net[0] if isinstance(net, nn.Sequential) else net.first]
        for part in parts:
            for register in ("register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"):
                heard: list[int] = []
                handle = getattr(part, register)(lambda *_, heard=heard: heard.append(1))
                off(net)
                assert heard or part is not net  # functional.linear calls no module
                handle.remove()
        assert "affine prefix" in fa.IntegratedGradients(net, steps=20)(X, 1).engine
    net = seeded(wide)
    net[2].register_forward_hook(lambda *_: None)  # behind it
    assert "affine prefix" in fa.IntegratedGradients(net, steps=20)(X, 1).engine


def circular() -> nn.Sequential:
    convolution = nn.Conv2d(3, 2, 3, padding=1, padding_mode="circular")
    return nn.Sequential(convolution, nn.Flatten(), nn.Tanh(), nn.Linear(128, C))


class Doubled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).abs()


@pytest.mark.parametrize("change", ["parametrised", "weight norm", "subclass", "instance", "training", "circular"])
def test_layers_that_may_do_anything(change: str) -> None:
    net = seeded(wide)
    x = X
    if change == "parametrised":
        nn.utils.parametrizations.orthogonal(net[0])
    elif change == "weight norm":
        nn.utils.parametrizations.weight_norm(net[0])
    elif change == "subclass":
        net[0] = Doubled(WIDE, HIDDEN).eval()
    elif change == "instance":
        net[0].forward = lambda x: nn.functional.linear(x, net[0].weight).relu()
    elif change == "training":
        net[0].training = True
    else:
        net, x = seeded(circular), data(B, 3, 8, 8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastattr.models.state.warn", lambda _: None)
        got = off(net, x)
        with plainly():
            assert_close(got.values, fa.IntegratedGradients(net, steps=20)(x, 1).values)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_layers_of_no_features_and_of_no_outputs() -> None:
    for sizes in ((5, 0, C), (0, 5, C), (5, 4, 0)):
        net, x = mlp(*sizes), data(4, sizes[0])
        if sizes[-1] == 0:
            for engine in ("auto", "callback"):
                with pytest.raises(ValueError, match="target: expected 0 <= target < 0, got 1"):
                    fa.IntegratedGradients(net, engine=engine)(x, 1)
            continue
        got, want = (fa.IntegratedGradients(net, steps=9, engine=e)(x, 1) for e in ("native", "callback"))
        assert_close(got.values, want.values)
        assert_close(got.output, want.output)


def test_other_reasons() -> None:
    net = seeded(wide)
    off(lambda x: net(x))
    off(net.forward)
    off(seeded(Skips))
    off(seeded(Functional), kwargs={"flag": True})
    off(seeded(wide).half(), X.half())
    assert "affine" not in fa.IntegratedGradients(net, layer="1")(X, 1).engine
    assert (
        "affine" not in fa.PathIntegratedGradients(net, lambda x, b, a, i: b[i] + a[:, None] * (x - b)[i])(X, 1).engine
    )
    for method in (fa.Saliency(net), fa.InputXGradient(net), fa.SmoothGrad(net), fa.ExpectedGradients(net, X)):
        assert "affine" not in method(X, 1).engine
    with torch.autocast("cpu", torch.bfloat16):
        off(net)


def test_a_forward_that_mixes_rows_is_found_out() -> None:
    class Mixes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.last = nn.Linear(WIDE, HIDDEN), nn.Linear(HIDDEN, C)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.a(torch.transpose(torch.transpose(x, 0, 1).reshape(-1, x.shape[1]), 0, 0)).tanh())

    off(seeded(Mixes))


class Overwrites(nn.Module):
    """Works in place on what its first layer gives, and may want it contiguous."""

    def __init__(self, views: bool = False) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, stride=2), nn.Conv2d(8, 4, 3)
        self.last, self.views = nn.Linear(4, C), views

    def forward(self, x: Tensor) -> Tensor:
        z = torch.nn.functional.relu(self.first(x), inplace=True)
        z = z.view(z.size(0), -1).view(z.shape) if self.views else z
        return self.last(self.second(z).sigmoid().mean((2, 3)))


@pytest.mark.parametrize("views", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_images_behind_the_prefix(views: bool, dtype: torch.dtype) -> None:
    """In place on the points themselves, and channels last where that is faster and the rest of the model bears it."""
    net, x = seeded(lambda: Overwrites(views)).to(dtype), data(B, 3, 16, 16, dtype=dtype)
    for _ in range(2):  # found out, and remembered
        got, want = both(fa.IntegratedGradients(net, steps=20), x, 1)
        assert "affine prefix: 1 operation" in got.engine
        assert ("channels last" in got.engine) == (dtype == torch.float32 and not views)
        rtol = 1e-10 if dtype == torch.float64 else 1e-4
        assert float((got.values - want.values).abs().max()) <= rtol * float(want.values.abs().max())
        assert got.values.is_contiguous()


def test_what_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert "affine" in fa.IntegratedGradients(seeded(lambda: mlp(784, 512, 10)), steps=50)(data(1, 784), 1).engine
    off(seeded(lambda: mlp(6, 5, 10)), data(2, 6))  # nothing to save
    convolution = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 784, 10)).eval()
    off(convolution, data(4, 1, 28, 28))  # sixteen times the input
