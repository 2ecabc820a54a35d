"""What every method has in common: fields, refusals, signatures, progress and Ctrl-C; and the two plain gradients."""

from __future__ import annotations

import copy
import inspect
import signal
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.backend

torch = pytest.importorskip("torch")

from models_zoo import B, C, D, Gated, autograd, data, mlp, spell  # noqa: E402
from torch import nn  # noqa: E402
from torch.testing import assert_close  # noqa: E402

import fastattr as fa  # noqa: E402
from fastattr import reference  # noqa: E402

NET = mlp(D, 6, C)
X = data(B, D)
METHODS = [fa.Saliency, fa.InputXGradient, fa.IntegratedGradients]
GRADIENT = autograd(lambda x: NET(x)[:, 1], X)
COMMON = [
    "output", "rows", "engine", "optimize", "layer", "layer_input", "layer_call", "differentiable", "progress",
    "output_axis", "output_key",
]  # fmt: skip


# ---- the plain gradients ------------------------------------------------------------------------------------------


def test_saliency_is_the_gradient() -> None:
    assert_close(fa.Saliency(NET)(X, 1).values, GRADIENT)
    assert_close(fa.Saliency(NET, absolute=True)(X, 1).values, GRADIENT.abs())
    assert (GRADIENT < 0).any()


def test_input_x_gradient_is_the_product() -> None:
    assert_close(fa.InputXGradient(NET)(X, 1).values, X * GRADIENT)
    relu = nn.Sequential(nn.Linear(D, 8, bias=False), nn.ReLU(), nn.Linear(8, C, bias=False)).eval()
    att = fa.InputXGradient(relu)(X, 1)
    assert_close(att.values.double().sum(1), att.output, atol=1e-6, rtol=1e-6)


def test_both_equal_the_reference() -> None:
    net, x = mlp(D, 6, C).double(), X.double()
    for absolute in (False, True):
        att = fa.Saliency(net, absolute=absolute)(x, 1)
        for e in range(B):
            want = reference.saliency(spell(net), x[e].numpy(), absolute=absolute)
            np.testing.assert_allclose(att.values[e].numpy(), want, rtol=1e-12, atol=1e-14)
    att = fa.InputXGradient(net)(x, 1)
    for e in range(B):
        want = reference.input_x_gradient(spell(net), x[e].numpy())
        np.testing.assert_allclose(att.values[e].numpy(), want, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_is_a_loop(method: Any) -> None:
    whole = method(NET)(X)
    for e in range(B):
        single = method(NET)(X[e : e + 1])
        assert_close(single.values[0], whole.values[e])
        for name in ("gap", "error", "output", "baseline_output"):
            one, all_ = getattr(single, name)[0], getattr(whole, name)[e]
            assert_close(one, all_, atol=1e-6, rtol=1e-3, equal_nan=True)


# ---- fields -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framework", ["torch", "numpy"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("method", METHODS)
def test_fields(method: Any, dtype: str, framework: str) -> None:
    net = mlp(D, 6, C).to(getattr(torch, dtype))
    x = X.to(getattr(torch, dtype))
    library: Any = torch if framework == "torch" else np
    att = method(net)(x if framework == "torch" else x.numpy(), 1)
    kind = torch.Tensor if framework == "torch" else np.ndarray
    assert type(att) is fa.Attribution
    assert type(att.values) is kind and att.values.shape == (B, D) and att.values.dtype == getattr(library, dtype)
    for name in ("gap", "error", "output", "baseline_output", "evaluations", "converged", "target"):
        field = getattr(att, name)
        assert type(field) is kind and field.shape == (B,), name
        wanted = {"evaluations": "int64", "target": "int64", "converged": "bool"}.get(name, "float64")
        assert str(field.dtype).removeprefix("torch.") == wanted, name
        assert framework == "numpy" or field.device.type == "cpu"
    assert att.standard_error is None and att.paths is None
    assert att.method == method.__name__ and att.engine.startswith("native dense (2 layers, cpu, ") and att.seconds > 0
    assert att.numpy().shape == (B, D)
    assert bool(att.converged.all())


@pytest.mark.parametrize("options", [{}, {"absolute": True}])
def test_gradients_promise_no_sum(options: dict[str, Any]) -> None:
    for att in (fa.Saliency(NET, **options)(X, 1), fa.InputXGradient(NET)(X, 1)):
        for field in (att.gap, att.error, att.baseline_output):
            assert field.isnan().all()
        assert att.evaluations.tolist() == [1] * B and att.converged.all()
        assert_close(att.output, NET(X)[:, 1].detach().double())


def test_integrated_gradients_promise_one() -> None:
    base = data(B, D, seed=1)
    for options in ({}, {"steps": 20}):
        att = fa.IntegratedGradients(NET, **options)(X, 1, baseline=base)
        assert_close(att.output, NET(X)[:, 1].detach().double())
        assert_close(att.baseline_output, NET(base)[:, 1].detach().double())
        assert_close(att.gap, att.values.double().sum(1) - (att.output - att.baseline_output), atol=1e-6, rtol=0)
        assert att.error.isnan().all() == ("steps" in options)


@pytest.mark.parametrize("method", METHODS)
def test_an_empty_batch_gives_an_empty_result(method: Any) -> None:
    for x in (X[:0], X[:0].numpy()):
        att = method(NET)(x, 1)
        assert att.values.shape == (0, D) and type(att.values) is type(x)
        assert {tuple(getattr(att, n).shape) for n in ("gap", "error", "output", "evaluations", "converged")} == {(0,)}
        assert "none" in att.engine
    several = method(Gated().eval())({"a": X[:0], "b": X[:0, :2], "mask": torch.zeros(0, D, dtype=torch.int64)})
    assert several.values["b"].shape == (0, 2) and several.values["mask"] is None


@pytest.mark.parametrize("method", METHODS)
def test_one_number_a_row_and_rows_of_no_features(method: Any) -> None:
    assert method(lambda x: x**2)(X[:, 0]).values.shape == (B,)
    assert method(lambda x: x.sum(1))(X[:, :0]).values.shape == (B, 0)
    assert method(lambda a, b: a.sum(1) + b.sum(1))((X[:, :0], X)).values[0].shape == (B, 0)


# ---- options ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_signatures_show_the_common_options(method: Any) -> None:
    parameters = inspect.signature(method).parameters
    assert next(iter(parameters)) == "model"
    assert list(parameters)[-len(COMMON) :] == COMMON
    assert all(p.kind is p.KEYWORD_ONLY for name, p in parameters.items() if name != "model")
    common = inspect.signature(fa.Saliency).parameters
    assert all(parameters[name].default == common[name].default for name in COMMON)
    assert (parameters["output"].default, parameters["rows"].default) == ("raw", "auto")
    with pytest.raises(TypeError, match="colour"):
        method(NET, colour="red")
    assert copy.deepcopy(method(NET))(X, 1).values.shape == (B, D)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"engine": "native", "output_key": 0}, ValueError, 'engine: expected a model that runs natively for "native"'),
        ({"engine": "fast"}, ValueError, "engine: expected"),
        ({"layer": nn.Sequential()}, ValueError, "layer: expected a module of the model"),
        ({"layer_call": 0}, ValueError, "layer: expected a module for layer_input= and layer_call="),
        ({"differentiable": True}, NotImplementedError, "differentiable="),
        ({"output": "logits"}, ValueError, "output: expected one of"),
        ({"rows": 0}, ValueError, 'rows: expected "auto" or an int >= 1, got 0'),
        ({"rows": -3}, ValueError, "rows"),
        ({"rows": 2.0}, ValueError, "rows"),
        ({"rows": True}, ValueError, "rows"),
        ({"rows": "all"}, ValueError, "rows"),
    ],
)
def test_refused_options(method: Any, options: dict[str, Any], error: Any, message: str) -> None:
    explain = method(NET, **options)  # stored, checked by the call
    with pytest.raises(error, match=message):
        explain(X, 1)


def test_baselines_where_they_mean_nothing() -> None:
    for method in (fa.Saliency, fa.InputXGradient):
        with pytest.raises(ValueError, match=f"baseline: {method.__name__} has none"):
            method(NET)(X, 1, baseline=0)
    with pytest.raises(TypeError, match="baseline: expected None, a number or an array, got str"):
        fa.IntegratedGradients(NET)(X, 1, baseline="zero")


# ---- progress -----------------------------------------------------------------------------------------------------


class Bars:
    """Counts the bars of tqdm."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tqdm = pytest.importorskip("tqdm.auto")
        self.made: list[Any] = []
        real = tqdm.tqdm

        def make(*args: Any, **options: Any) -> Any:
            self.made.append(real(*args, **options))
            return self.made[-1]

        monkeypatch.setattr(tqdm, "tqdm", make)


@pytest.mark.parametrize("method", METHODS)
def test_progress_counts_rows_and_ends_full(method: Any, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    bars = Bars(monkeypatch)
    shown = method(NET, progress=True, rows=3)(X)
    assert len(bars.made) == 1
    bar = bars.made[0]
    assert bar.disable and bar.n == bar.total >= B  # closed, full
    assert method.__name__ in capfd.readouterr().err
    assert_close(shown.values, method(NET, rows=3)(X).values)
    assert len(bars.made) == 1


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("good", [0, 1, 3])
def test_the_bar_is_closed_after_an_exception(error: type[BaseException], good: int, monkeypatch: Any) -> None:
    bars, calls = Bars(monkeypatch), 0

    def model(x: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls > good:
            raise error("stop")
        return NET(x)

    with pytest.raises(error, match="stop"):
        fa.IntegratedGradients(model, progress=True, rows=3)(X, 1)
    assert len(bars.made) == 1 and bars.made[0].disable


# ---- Ctrl-C -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [1, 2, 5])
def test_ctrl_c_in_the_model(at: int) -> None:
    net, calls = mlp(D, 6, C), 0
    before = [(p.requires_grad, p.detach().clone()) for p in net.parameters()]

    class Interrupting(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            nonlocal calls
            calls += 1
            if calls == at:
                signal.raise_signal(signal.SIGINT)
            return net(x)

    model = nn.Sequential(Interrupting(), net[:0]).eval()
    with pytest.raises(KeyboardInterrupt):
        fa.IntegratedGradients(model, steps=100, rows=7)(X, 1)
    assert calls == at
    for p, (flag, value) in zip(net.parameters(), before):
        assert p.requires_grad == flag and p.grad is None and torch.equal(p, value)
    assert fa.IntegratedGradients(model, steps=100, rows=7)(X, 1).converged.all()


BETWEEN_CHUNKS = """
import gc, os, signal, sys, threading, weakref, torch, fastattr as fa
torch.set_num_threads(1)
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.norm, self.drop = torch.nn.Linear(50, 50), torch.nn.BatchNorm1d(50), torch.nn.Dropout(.5)
        self.calls = 0
    def forward(self, x):
        self.calls += 1
        self.rows = len(x)  # a forward that no graph stands for
        if self.calls == 20:
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        return self.norm(self.drop(self.layer(x)))
net, x = Net().eval(), torch.ones(4, 50)
def state():
    tensors = [*net.parameters(), *net.buffers(), torch.get_rng_state()]
    return [(t.requires_grad, t.tolist()) for t in tensors], torch.is_grad_enabled()
before = state()
try:
    fa.IntegratedGradients(net, rows=4, steps=3000, engine="callback")(x, 1)
    raise SystemExit('not interrupted')
except KeyboardInterrupt:
    assert state() == before
    assert 20 <= net.calls < 3000, net.calls
    assert fa.Saliency(net)(x, 1).values.shape == x.shape
gone = weakref.ref(net)
del net
gc.collect()
assert gone() is None
print("interrupted and clean")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_ctrl_c_between_chunks_leaves_nothing_behind() -> None:
    run = subprocess.run([sys.executable, "-c", BETWEEN_CHUNKS], capture_output=True, text=True, timeout=120)
    assert run.stdout.strip() == "interrupted and clean", run.stderr[-2000:]
