"""Dense networks layer by layer through a backend: the CPU's here, the CUDA kernels in the run of a backend.

Torch modules on the CPU are taken for some on a device, so that the way from Python is the same.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import nn  # noqa: E402
from torch.testing import assert_close  # noqa: E402

import fastattr as fa  # noqa: E402
from fastattr import _core  # noqa: E402
from fastattr.models import chain  # noqa: E402
from fastattr.models.dense import ACTIVATIONS, Layer, Network  # noqa: E402
from fastattr.models.dense_device import DeviceNetwork  # noqa: E402

pytestmark = pytest.mark.backend

CLOSE = {"float32": 2e-5, "float64": 1e-12}


@pytest.fixture
def on_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "by_layers", lambda device: True)


def mlp(*widths: int, act: Any = nn.ReLU, dtype: Any = torch.float64, norm: bool = False) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(sum(widths))
        parts: list[nn.Module] = []
        for before, after in zip(widths, widths[1:], strict=False):
            parts += [nn.Linear(before, after)]
            if norm:
                parts += [nn.BatchNorm1d(after)]
                parts[-1].running_mean.normal_()  # type: ignore[operator, union-attr]
                parts[-1].running_var.uniform_(0.5, 2)  # type: ignore[operator, union-attr]
            parts += [act()]
        return nn.Sequential(*parts[: -2 if norm else -1]).to(dtype).eval()


def points(n: int, d: int, dtype: Any = torch.float64) -> Any:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(n + d), dtype=torch.float64).to(dtype)


# ---- the engine -----------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_values_and_gradients_are_those_of_the_network_in_blocks(data: Any) -> None:
    draw, dtype = data.draw, data.draw(st.sampled_from(["float32", "float64"]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    width, layers = draw(st.integers(1, 9)), []
    for i in range(draw(st.integers(1, 4))):
        name = draw(st.sampled_from(sorted(ACTIVATIONS)))
        if i and draw(st.integers(0, 3)) == 0:
            layers.append(Layer(None, None, name, 0.3, 20.0))
            continue
        before, width = width, draw(st.integers(1, 40))
        weight = rng.normal(size=(width, before)).astype(dtype)
        bias = rng.normal(size=width).astype(dtype) if draw(st.booleans()) else None
        layers.append(Layer(weight, bias, name, 0.3, 20.0))
    head = draw(st.sampled_from(["raw", "softmax", "log_softmax"] if width > 1 else ["raw"]))
    tensors = [
        layer._replace(**{k: torch.from_numpy(v) for k in ("weight", "bias") if (v := getattr(layer, k)) is not None})
        for layer in layers
    ]
    here, there = Network(layers, head), DeviceNetwork(tensors, head, True)
    rows, scalar_count = draw(st.integers(1, 40)), draw(st.integers(1, 3))
    x = rng.normal(size=(rows, here.features)).astype(dtype)
    scalars = rng.integers(-1, width, (scalar_count, rows, 2))
    found, wanted = [], []
    for network, kept in ((here, wanted), (there, found)):
        values, slopes = np.empty((scalar_count, rows), dtype), np.empty((scalar_count, *x.shape), dtype)
        kept += [values, slopes, network.evaluate("raw", x, scalars, values, slopes)]
        forward = np.empty_like(values)
        network.evaluate("raw", x, scalars, forward)
        np.testing.assert_array_equal(forward, values)
    for one, other in zip(found[:2], wanted[:2], strict=True):
        close = (2e-4 if dtype == "float32" else 1e-11) * max(1.0, np.abs(other).max())
        np.testing.assert_allclose(one, other, rtol=0, atol=close)


def test_predicted_classes_are_found_and_given_ones_kept() -> None:
    net = DeviceNetwork([Layer(torch.eye(4), None)], "raw", True)
    x = np.array([[0, 3, 1, 2], [5, 0, 5, 0], [9, 0, np.nan, 0]], np.float32)  # a product spreads NaN
    values = np.empty((1, 3), np.float32)
    found = net.evaluate("raw", x, np.array([[[-1, -1], [-1, 1], [-1, -1]]]), values)
    np.testing.assert_array_equal(found, [1, 0, 0])
    np.testing.assert_array_equal(values, [[3, 5, np.nan]])
    assert net.evaluate("raw", x, np.array([[[3, -1], [-1, 1], [0, -1]]]), values).tolist() == [3, 0, 0]


def test_a_softmax_of_probabilities_is_refused() -> None:
    net = DeviceNetwork([Layer(torch.eye(2), None)], "softmax", True)
    values, scalars = np.empty((1, 2), np.float32), np.zeros((1, 2, 2), np.int64)
    scalars[..., 1] = -1
    with pytest.raises(ValueError, match="softmax would be applied twice"):
        net.evaluate("raw", np.array([[0.5, 0.5], [0, 1]], np.float32), scalars, values)
    net.evaluate("raw", np.array([[0.5, 0.5], [3, 1]], np.float32), scalars, values)  # one row alone proves nothing
    np.testing.assert_allclose(values[0, 1], 1 / (1 + np.exp(-2)), rtol=1e-6)


def test_the_door() -> None:
    spec = (2, 3, np.ones((3, 2)), None, 0, 0.0, 0.0)
    net = _core.layers((spec,), 0, True)
    x, scalars, values = np.ones((4, 2)), np.zeros((1, 4, 2), np.int64), np.empty((1, 4))
    with pytest.raises(ValueError, match="expected memory"):
        _core.dense_evaluate(net, (x,), (scalars,), (values,), None)
    size = _core.layers_bytes(net, 4, 4)
    assert _core.layers_bytes(net, 2**40, 2**40) > 2**40
    with pytest.raises(ValueError, match=f"expected {size} bytes"):
        _core.layers_bind(net, np.empty(size - 1, np.uint8), 4, 4)
    _core.layers_bind(net, np.empty(size, np.uint8), 4, 4)
    with pytest.raises(ValueError, match="expected at most 4 of 4 scalars, got 5"):
        _core.dense_evaluate(net, (np.ones((5, 2)),), (np.zeros((1, 5, 2), np.int64),), (np.empty((1, 5)),), None)
    with pytest.raises(ValueError, match="one of 2 features in float64"):
        _core.dense_evaluate(net, (x.astype(np.float32),), (scalars,), (values,), None)
    for wrong in ((), ((2, 0, np.ones((0, 2)), None, 0, 0.0, 0.0),), ((2, 2, None, None, 1, 0.0, 0.0),)):
        with pytest.raises(ValueError, match="layers: expected"):
            _core.layers(wrong, 0, True)
    with pytest.raises(TypeError, match=r"_core\.layers"):
        _core.layers_bytes(object(), 1, 1)
    with pytest.raises(ValueError, match="0 to 2"):
        _core.layers_bind(net, np.empty(size, np.uint8), -1, 4)


def test_weights_are_borrowed_as_long_as_the_network_lives() -> None:
    weight = np.ones((3, 2))
    net, gone = _core.layers(((2, 3, weight, None, 0, 0.0, 0.0),), 0, True), weakref.ref(weight)
    del weight
    assert gone() is not None
    del net
    assert gone() is None


# ---- methods --------------------------------------------------------------------------------------------------------


def bent(x: Any, base: Any, alpha: Any, index: Any) -> Any:
    return base[index] + alpha[:, None] ** 2 * (x - base)[index]


METHODS = {
    "Saliency": lambda m, x: fa.Saliency(m)(x),
    "InputXGradient": lambda m, x: fa.InputXGradient(m)(x, 1, versus=0),
    "IG": lambda m, x: fa.IntegratedGradients(m, tolerance=1e-4)(x),
    "IG, 50": lambda m, x: fa.IntegratedGradients(m, steps=50)(x, 1, baseline=x.flip(0)),
    "IG, rows": lambda m, x: fa.IntegratedGradients(m, steps=20, rows=7)(x, 1),
    "IG, softmax": lambda m, x: fa.IntegratedGradients(m, steps=20, output="softmax")(x),
    "IG, sigmoid": lambda m, x: fa.IntegratedGradients(m, steps=20, output="sigmoid")(x, 2),
    "polyline": lambda m, x: fa.PathIntegratedGradients(m, torch.stack([x * 0, x * x, x]), steps=20)(x, 1),
    "expected": lambda m, x: fa.ExpectedGradients(m, x.flip(0), samples=20)(x),
    "smooth": lambda m, x: fa.SmoothGrad(m, samples=20)(x, 1),
    "smooth of another": lambda m, x: fa.SmoothGrad(fa.IntegratedGradients(m, steps=7), samples=3)(x, 1),
    "callable path": lambda m, x: fa.PathIntegratedGradients(m, bent, steps=15, rows=7)(x, 1),
}


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("name", METHODS)
def test_methods_agree_with_autograd(name: str, norm: bool, dtype: str, on_device: None) -> None:
    model, x = mlp(6, 20, 10, 3, act=nn.GELU, dtype=getattr(torch, dtype), norm=norm), points(5, 6)
    x = x.to(getattr(torch, dtype))
    found = METHODS[name](model, x)
    assert found.engine.startswith(("native dense (3 layers, cpu", "native dense (3 layers, affine prefix, cpu"))
    model.register_forward_hook(lambda *a: None)  # what is hooked goes through autograd
    wanted = METHODS[name](model, x)
    assert wanted.engine.startswith("callback")
    bound = CLOSE[dtype] * float(wanted.values.abs().max()) * 5
    assert_close(found.values, wanted.values, rtol=0, atol=bound)
    for field in ("output", "baseline_output"):
        assert_close(getattr(found, field), getattr(wanted, field), rtol=0, atol=bound * 10, equal_nan=True)
    assert torch.equal(found.evaluations, wanted.evaluations)


def test_the_first_layer_leaves_the_path(on_device: None) -> None:
    model, x = mlp(3000, 100, 4, dtype=torch.float32), points(3, 3000, torch.float32)
    found = fa.IntegratedGradients(model, steps=50)(x, 1, baseline=x.flip(0))
    assert "affine prefix" in found.engine
    wanted = fa.IntegratedGradients(model, steps=50, engine="callback")(x, 1, baseline=x.flip(0))
    assert_close(found.values, wanted.values, rtol=0, atol=1e-6 * float(wanted.values.abs().max()) * 50)
    auto = fa.IntegratedGradients(model, tolerance=1e-2)(x, 1)
    assert "affine prefix" in auto.engine
    assert bool(auto.converged.all())


@pytest.mark.parametrize("norm", [False, True])
def test_changes_of_the_weights_are_seen(norm: bool, on_device: None) -> None:
    """Nothing is copied, or it is copied anew: no checksum of what is on a device."""
    model, x = mlp(4, 9, 3, norm=norm), points(3, 4)
    method = fa.IntegratedGradients(model, steps=8)
    method(x, 1)
    changes = [
        lambda: model[0].weight.data.mul_(2),
        lambda: setattr(model[0], "bias", nn.Parameter(torch.ones(9).double())),
    ]
    if norm:
        changes.append(lambda: model[1].running_mean.data.add_(1))
    for change in changes:
        change()
        found = method(x, 1)
        assert found.engine.startswith("native")
        assert_close(found.values, fa.IntegratedGradients(model, steps=8, engine="callback")(x, 1).values)


def test_a_forward_of_its_own_is_followed(on_device: None) -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.sign = nn.Linear(4, 8), nn.Linear(8, 3), 1

        def forward(self, x: Any) -> Any:
            return self.sign * self.second(torch.relu(self.first(x)))

    model, x = Own().eval(), points(3, 4, torch.float32)
    method = fa.IntegratedGradients(model, steps=8)
    first = method(x, 1)
    model.sign = -1
    assert_close(method(x, 1).values, -first.values)


def test_what_a_device_does_not_do(on_device: None) -> None:
    model, x = mlp(4, 9, 3), points(3, 4)
    with pytest.raises(ValueError, match='steps: "exact" wants'):
        fa.IntegratedGradients(model, steps="exact")(x, 1)
    with pytest.raises(ValueError, match=r"runs natively .* expected torch.float64|expected float64"):
        fa.Saliency(model, engine="native")(x.float(), 1)
    assert fa.IntegratedGradients(model)(x, 1).engine.startswith("native dense (2 layers, cpu")


def test_memory_that_runs_out_shrinks_the_chunk(on_device: None, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, given = mlp(4, 9, 3), points(3, 4), DeviceNetwork.give_memory
    wanted = fa.IntegratedGradients(model, steps=20)(x, 1)

    def short(self: Any, network: Any, rows: int, pairs: int) -> None:
        if rows > 16:
            raise MemoryError
        given(self, network, rows, pairs)

    monkeypatch.setattr(DeviceNetwork, "give_memory", short)
    found = fa.IntegratedGradients(model, steps=20)(x, 1)
    assert "16 rows" in found.engine
    assert_close(found.values, wanted.values)
