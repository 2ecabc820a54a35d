"""Torch modules that run natively: the same numbers as autograd's, seen changes, and what is left to autograd."""

from __future__ import annotations

import copy
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from models_zoo import mlp
from torch import Tensor, nn
from torch.nn import functional

import fastattr as fa

CLOSE = {torch.float32: 1e-5, torch.float64: 1e-12}
ACTIVATIONS: list[Callable[[], nn.Module]] = [
    nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, lambda: nn.GELU("tanh"), nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Softplus,
    lambda: nn.Softplus(2.0, 3.0), lambda: nn.LeakyReLU(-0.2), lambda: nn.ELU(0.4), nn.Identity, nn.Dropout,
    lambda: nn.ReLU(inplace=True),
]  # fmt: skip


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def both(method: Callable[..., Any], net: Any, x: Tensor, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
    return tuple(method(net, engine=engine)(x, *args, **kwargs) for engine in ("native", "callback"))  # type: ignore[return-value]


def assert_same(net: nn.Module, x: Tensor, **options: Any) -> None:
    """Native and callback agree: Saliency and Integrated Gradients of a contrast or of the predicted class."""
    close = CLOSE[x.dtype]
    for method in (fa.Saliency, lambda m, **o: fa.IntegratedGradients(m, steps=9, **o)):
        found, wanted = both(lambda m, method=method, **o: method(m, **o, **options), net, x, 0)
        scale = max(
            1.0, float(wanted.values.abs().max()) if wanted.values.numel() else 0, float(wanted.output.abs().max())
        )
        torch.testing.assert_close(found.values, wanted.values, rtol=0, atol=close * scale)
        torch.testing.assert_close(found.output, wanted.output, rtol=0, atol=close * scale)
        assert found.engine.startswith("native dense") and wanted.engine.startswith("callback")


@st.composite
def networks(draw: Any) -> tuple[nn.Module, Tensor, str]:
    """Any chain: widths from 1 on, nested, norms and dropouts anywhere they may be, a head at the end."""
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    widths = draw(st.lists(st.integers(1, 40), min_size=2, max_size=5))
    torch.manual_seed(draw(st.integers(0, 10**6)))
    parts: list[nn.Module] = [nn.Flatten()] if draw(st.booleans()) else []
    for i, (a, b) in enumerate(zip(widths, widths[1:])):
        parts.append(nn.Linear(a, b, bias=draw(st.booleans())))
        if draw(st.integers(0, 3)) == 0:
            parts.append(nn.BatchNorm1d(b, affine=draw(st.booleans())))
        if i < len(widths) - 2 or draw(st.booleans()):
            parts += [draw(st.sampled_from(ACTIVATIONS))() for _ in range(draw(st.integers(1, 2)))]
        if i < len(widths) - 2 and draw(st.integers(0, 4)) == 0 and not isinstance(parts[-1], nn.BatchNorm1d):
            parts.append(nn.BatchNorm1d(b))
    if len(parts) > 3 and draw(st.booleans()):
        parts = [nn.Sequential(*parts[:2]), *parts[2:]]
    output = "raw"
    if widths[-1] > 1:
        output = draw(st.sampled_from(["raw", "softmax", "log_softmax", "sigmoid"]))
        if output == "raw" and draw(st.booleans()):
            parts.append(draw(st.sampled_from([nn.Softmax(1), nn.LogSoftmax(-1)])))
    net = nn.Sequential(*parts).to(dtype)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm1d):
            part.running_mean.normal_(0, 0.3)  # type: ignore[union-attr, operator]
            part.running_var.uniform_(0.5, 2)  # type: ignore[union-attr, operator]
    return net.eval(), normal(draw(st.integers(1, 9)), widths[0], seed=1, dtype=dtype), output


def is_probabilities(net: nn.Module, x: Tensor) -> bool:
    with torch.no_grad():
        y = net(torch.cat([x, torch.zeros_like(x)]))
    return bool((y >= 0).all() and ((y.sum(1) - 1).abs() < 1e-3).all())


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(networks())
def test_any_chain_is_torchs(case: tuple[nn.Module, Tensor, str]) -> None:
    net, x, output = case
    with torch.random.fork_rng():
        if output.endswith("softmax") and is_probabilities(net, x):
            return
        try:
            fa.Saliency(net, output=output, engine="native")(x, 0)
        except ValueError as reason:  # a norm between activations is no layer of a chain
            assert "BatchNorm1d" in str(reason) or "torch cannot run it" in str(reason), reason
            return
        assert_same(net, x, output=output)


class Functional(nn.Module):
    """Layers called by a forward of its own."""

    def __init__(self, forward: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.a, self.b, self.c = nn.Linear(12, 9), nn.Linear(9, 7), nn.Linear(7, 4)
        self.drop, self.p = nn.Dropout(0.5), 0.5
        self.run = forward
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


FORWARDS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "functions": lambda m, x: m.c(torch.tanh(m.b(functional.relu(m.a(x))))),
    "methods": lambda m, x: m.c(m.b(m.a(x).relu()).sigmoid()),
    "gelu": lambda m, x: m.c(functional.gelu(m.b(functional.gelu(m.a(x))), approximate="tanh")),
    "options": lambda m, x: m.c(functional.elu(m.b(functional.leaky_relu(m.a(x), 0.2)), alpha=0.3)),
    "softplus": lambda m, x: m.c(functional.softplus(m.b(functional.silu(m.a(x))), beta=2)),
    "dropout": lambda m, x: m.c(functional.dropout(m.drop(m.b(m.a(x).tanh())), m.p, m.training)),
    "flatten": lambda m, x: m.c(m.b(m.a(torch.flatten(x, 1)).tanh()).relu_().flatten(1)),
    "view": lambda m, x: m.c(m.b(m.a(x.view(x.size(0), -1)).tanh())),
    "shape": lambda m, x: m.c(m.b(m.a(x.reshape(x.shape[0], -1)).tanh())),
    "guess": lambda m, x: m.c(m.b(m.a(x.view(-1, 12)).tanh())),
    "log_softmax": lambda m, x: functional.log_softmax(m.c(m.b(m.a(x)).tanh()), dim=1),
    "softmax": lambda m, x: torch.softmax(m.c(m.b(m.a(x)).tanh()), -1),
}


@pytest.mark.parametrize("name", sorted(set(FORWARDS) - {"flatten"}))
def test_forwards_of_their_own(name: str) -> None:
    net = Functional(FORWARDS[name])
    assert_same(net, normal(5, 12))
    if name in ("view", "shape", "guess"):
        assert_same(net, normal(5, 3, 4))


LEFT: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "residual": lambda m, x: m.c(m.b(m.a(x).tanh())) + x[:, :4],
    "scaled": lambda m, x: m.c(m.b(m.a(x).tanh()) * 2),
    "branch": lambda m, x: m.c(m.b(m.a(x).relu())) if float(x.detach().sum()) > 0 else m.c(m.b(m.a(x))),
    "dropout always": lambda m, x: m.c(m.b(functional.dropout(m.a(x), 0.0))),
    "axis": lambda m, x: functional.softmax(m.c(m.b(m.a(x)).tanh()), dim=0),
    "twice": lambda m, x: (m.a(x), m.c(m.b(m.a(x).tanh())))[1],
    "unused": lambda m, x: (m.c(m.b(m.a(x).tanh())), m.a(x))[0],
    "in place": lambda m, x: m.c(m.b(m.a(x).tanh()).relu_()),
    "a tuple": lambda m, x: (m.c(m.b(m.a(x).tanh())),)[0].squeeze(0),
    "shared": lambda m, x: m.c(m.b(m.a(m.a(x).repeat(1, 2)[:, :12]).tanh())),
    "unknown function": lambda m, x: m.c(m.b(torch.sin(m.a(x)))),
    "hardtanh": lambda m, x: m.c(m.b(functional.hardtanh(m.a(x)))),
    "an option that is computed": lambda m, x: m.c(m.b(functional.elu(m.a(x), m.b.bias.detach()[0]))),
}


@pytest.mark.parametrize("name", LEFT)
def test_doubts_are_left_to_autograd(name: str) -> None:
    net, x = Functional(LEFT[name]), normal(5, 12)
    assert fa.Saliency(net)(x, 0).engine.startswith("callback")
    with pytest.raises(ValueError, match='engine: expected a model that runs natively for "native", got one that'):
        fa.Saliency(net, engine="native")(x, 0)


class Double(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def hooked(net: nn.Sequential, where: str) -> nn.Sequential:
    getattr(net[0], f"register_{where}")(lambda *args: None)
    return net


def changed(net: nn.Sequential, change: Callable[[Any], Any]) -> nn.Sequential:
    change(net)
    return net


STRANGE: dict[str, Callable[[], nn.Module]] = {
    "training": lambda: mlp(12, 8, 4).train(),
    "a part in training": lambda: changed(mlp(12, 8, 4), lambda n: n[1].train()),
    "forward hook": lambda: hooked(mlp(12, 8, 4), "forward_hook"),
    "forward pre hook": lambda: hooked(mlp(12, 8, 4), "forward_pre_hook"),
    "backward hook": lambda: hooked(mlp(12, 8, 4), "full_backward_hook"),
    "weight norm": lambda: changed(mlp(12, 8, 4), lambda n: nn.utils.parametrizations.weight_norm(n[0])).eval(),
    "parametrised": lambda: changed(
        mlp(12, 8, 4), lambda n: nn.utils.parametrize.register_parametrization(n[0], "weight", nn.Tanh())
    ).eval(),
    "patched forward": lambda: changed(mlp(12, 8, 4), lambda n: setattr(n[0], "forward", lambda x: x[:, :8])),
    "subclass": lambda: nn.Sequential(Double(12, 4)).eval(),
    "unknown part": lambda: nn.Sequential(nn.Linear(12, 4), nn.Hardtanh()).eval(),
    "layer norm": lambda: nn.Sequential(nn.Linear(12, 4), nn.LayerNorm(4)).eval(),
    "half": lambda: mlp(12, 8, 4).bfloat16(),
    "mixed": lambda: changed(mlp(12, 8, 4), lambda n: n[2].double()),
    "batch statistics": lambda: nn.Sequential(nn.Linear(12, 4), nn.BatchNorm1d(4, track_running_stats=False)).eval(),
    "one layer twice": lambda: nn.Sequential(*[nn.Linear(12, 12)] * 2).eval(),
    "negative view": lambda: changed(
        mlp(12, 8, 4), lambda n: setattr(n[0], "weight", nn.Parameter(torch._neg_view(normal(8, 12))))
    ),
    "shared weights": lambda: changed(
        nn.Sequential(nn.Linear(12, 12), nn.Linear(12, 12)).eval(), lambda n: setattr(n[1], "weight", n[0].weight)
    ),
    "transposed weights": lambda: changed(
        mlp(12, 8, 4), lambda n: setattr(n[0], "weight", nn.Parameter(normal(12, 8).T))
    ),
    "no layer": lambda: nn.Sequential(nn.Tanh()).eval(),
    "convolution": lambda: nn.Sequential(nn.Unflatten(1, (3, 4)), nn.Conv1d(3, 2, 2), nn.Flatten()).eval(),
}


@pytest.mark.filterwarnings("ignore:.*running statistics")
@pytest.mark.parametrize("name", STRANGE)
def test_strange_parts_are_left_to_autograd(name: str) -> None:
    net, x = STRANGE[name](), normal(5, 12)
    if name in ("half", "mixed"):
        x = x.bfloat16() if name == "half" else x
    with pytest.raises(ValueError, match="runs natively"):
        fa.Saliency(net, engine="native")(x, 0)
    if name == "mixed":
        return
    if "training" in name:
        with pytest.warns(UserWarning, match="training mode"):
            assert fa.Saliency(net)(x, 0).engine.startswith("callback")
    else:
        assert fa.Saliency(net)(x, 0).engine.startswith("callback")


CHANGES: dict[str, Callable[[Any], Any]] = {
    "optimizer": lambda n: torch.optim.SGD(n.parameters(), 0.5).step(),
    "no_grad": lambda n: n[0].weight.mul_(1.5),
    "data": lambda n: n[2].weight.data.mul_(1.5),
    "numpy": lambda n: n[2].bias.detach().numpy().__setitem__(1, 7.0),
    "data replaced": lambda n: setattr(n[0].weight, "data", normal(8, 12, seed=9)),
    "parameter replaced": lambda n: setattr(n[0], "weight", nn.Parameter(normal(8, 12, seed=9))),
    "state dict": lambda n: n.load_state_dict(mlp(12, 8, 4, seed=8).state_dict()),
    "activation replaced": lambda n: n.__setitem__(1, nn.Sigmoid().eval()),
    "layer added": lambda n: n.append(nn.Linear(4, 4)).eval(),
    "option": lambda n: n.__setitem__(1, nn.ELU(0.3).eval()),
    "bias dropped": lambda n: setattr(n[0], "bias", None),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changes_are_seen(name: str) -> None:
    net, x = mlp(12, 8, 4), normal(3, 12)
    functional.cross_entropy(net(x), torch.zeros(3, dtype=torch.long)).backward()
    before = fa.Saliency(net, engine="native")(x, 1)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(5)
        CHANGES[name](net)
    found, wanted = both(fa.Saliency, net, x, 1)
    torch.testing.assert_close(found.values, wanted.values, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.output, wanted.output, rtol=1e-5, atol=1e-5)
    assert not (torch.equal(found.values, before.values) and torch.equal(found.output, before.output))


def test_weights_turned_where_they_lie_are_seen() -> None:
    """The same memory and shape in another order."""
    net, x = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3)).eval(), normal(3, 6)
    assert fa.Saliency(net)(x, 1).engine.startswith("native")
    net[0].weight.data = net[0].weight.data.t()
    found, wanted = (fa.Saliency(net, engine=engine)(x, 1) for engine in ("auto", "callback"))
    assert found.engine.startswith("callback")  # such a layer is read no more
    torch.testing.assert_close(found.values, wanted.values)


def test_an_option_and_running_statistics_are_seen() -> None:
    net = nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.LeakyReLU(), nn.Linear(8, 4)).eval()
    x = normal(3, 12)
    for change in (
        lambda: setattr(net[2], "negative_slope", 0.5),
        lambda: net[1].running_var.fill_(3.0),  # type: ignore[union-attr, operator]
        lambda: setattr(net[1], "eps", 0.7),
    ):
        before = fa.Saliency(net, engine="native")(x, 1).values
        change()
        found, wanted = both(fa.Saliency, net, x, 1)
        torch.testing.assert_close(found.values, wanted.values, rtol=0, atol=1e-5)
        assert not torch.equal(found.values, before)


@pytest.mark.parametrize(
    "parts",
    [
        (nn.Linear(8, 16), nn.BatchNorm1d(5), nn.ReLU(), nn.Flatten(), nn.Linear(80, 2)),
        (nn.BatchNorm1d(5), nn.Flatten(), nn.Linear(40, 2)),
        (nn.BatchNorm1d(5), nn.BatchNorm1d(5), nn.Flatten(), nn.Linear(40, 2)),
    ],
)
def test_a_norm_of_channels(parts: tuple[nn.Module, ...]) -> None:
    """Inputs of three axes: the same modules, and no chain of dense layers."""
    net, x = nn.Sequential(*parts).eval(), normal(3, 5, 8)
    found, wanted = (fa.Saliency(net, engine=engine)(x, 1) for engine in ("auto", "callback"))
    assert found.engine.startswith("callback")
    torch.testing.assert_close(found.values, wanted.values)


def test_a_hook_that_comes_and_goes() -> None:
    net, x = mlp(12, 8, 4), normal(3, 12)
    engines = [fa.Saliency(net)(x, 1).engine]
    handle = net[1].register_forward_hook(lambda m, i, o: 2 * o)
    engines.append(fa.Saliency(net)(x, 1).engine)
    handle.remove()
    everywhere = nn.modules.module.register_module_forward_hook(lambda m, i, o: None)
    engines.append(fa.Saliency(net)(x, 1).engine)
    everywhere.remove()
    with torch.autocast("cpu", torch.bfloat16):
        engines.append(fa.Saliency(net)(x, 1).engine)
    engines.append(fa.Saliency(net)(x, 1).engine)
    assert [e.split()[0] for e in engines] == ["native", "callback", "callback", "callback", "native"]


SWITCH = {"on": False}


def test_a_forward_that_changes_its_mind() -> None:
    """What it reads cannot be known, so its output is looked at again at every call."""
    net, x = (
        Functional(lambda m, x: m.c(m.b(m.a(x).tanh()).relu() if SWITCH["on"] else m.b(m.a(x).tanh()))),
        normal(3, 12),
    )
    try:
        assert fa.Saliency(net)(x, 1).engine.startswith("native")
        SWITCH["on"] = True
        att = fa.Saliency(net)(x, 1)
        assert att.engine.startswith("callback")
        torch.testing.assert_close(att.values, fa.Saliency(net, engine="callback")(x, 1).values)
    finally:
        SWITCH["on"] = False


def test_calls_that_are_left_to_autograd() -> None:
    net, x = mlp(12, 8, 4), normal(3, 12)
    assert fa.Saliency(net)(x, 1).engine.startswith("native")
    assert fa.Saliency(net, output_axis=-1)(x, 1).engine.startswith("native")
    assert fa.Saliency(net, engine="callback")(x, 1).engine.startswith("callback")
    assert fa.Saliency(nn.Sequential(nn.Linear(4, 2)).eval())(normal(3, 5, 4), (1, 1)).engine.startswith("callback")
    with pytest.raises(TypeError, match="inputs: expected torch.float32"):
        fa.Saliency(net)(x.double(), 1)
    with pytest.raises(ValueError, match="use output=.sigmoid"):
        fa.Saliency(mlp(12, 8, 1), output="softmax")(x)
    with pytest.raises(ValueError, match="0 <= target < 4, got 4"):
        fa.Saliency(net)(x, 4)


def test_nothing_of_the_model_or_of_torch_changes() -> None:
    net, x = (
        nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 4)).eval(),
        normal(3, 12),
    )
    before, random = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    flags = [(p.requires_grad, p.grad, p._version) for p in net.parameters()]
    att = fa.IntegratedGradients(net, engine="native")(x)
    assert att.engine.startswith("native")
    assert torch.equal(random, torch.get_rng_state())
    assert [(p.requires_grad, p.grad, p._version) for p in net.parameters()] == flags
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_the_module_is_not_kept_alive() -> None:
    net, x = mlp(12, 8, 4), normal(3, 12)
    fa.Saliency(net)(x, 1)
    gone = weakref.ref(net)
    del net
    gc.collect()
    assert gone() is None


def test_many_threads_after_the_weights_changed() -> None:
    net, x = mlp(12, 8, 4), normal(3, 12)
    before = fa.Saliency(net)(x, 1).values
    net.load_state_dict(mlp(12, 8, 4, seed=8).state_dict())
    found: list[Tensor] = []

    def work() -> None:
        found.extend(fa.Saliency(net, engine="native")(x, 1).values for _ in range(30))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 90 and not torch.equal(found[0], before)
    assert all(torch.equal(values, found[0]) for values in found)


def test_from_torch_is_a_copy_that_needs_torch_no_more() -> None:
    net, x = mlp(12, 8, 4), normal(3, 12)
    model = fa.DenseModel.from_torch(net)
    wanted = fa.Saliency(net)(x, 1)
    with torch.no_grad():
        net[0].weight.zero_()
    torch.testing.assert_close(fa.Saliency(model)(x, 1).values, wanted.values, rtol=0, atol=0)
    assert (fa.Saliency(model)(x.numpy(), 1).values == wanted.values.numpy()).all()
    with pytest.raises(ValueError, match="module: expected a chain of dense layers, got Sequential: LayerNorm"):
        fa.DenseModel.from_torch(STRANGE["layer norm"]())
