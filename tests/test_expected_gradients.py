"""Expected Gradients and GradientShap of torch models: error bars, strata, every kind of call; what a call leaves."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.backend

torch = pytest.importorskip("torch")

from conftest import Trained  # noqa: E402
from models_zoo import B, C, D, Gated, Tokens, autograd, data, mlp, spell, train, training_net  # noqa: E402
from test_out_of_memory import in_a_process  # noqa: E402
from test_state import Faulty, fingerprint, prepared  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.testing import assert_close  # noqa: E402

import fastattr as fa  # noqa: E402
from fastattr import reference  # noqa: E402

NET = mlp(D, 6, C)
X, POOL = data(B, D), data(7, D, seed=1)
METHODS: list[Callable[..., Any]] = [fa.ExpectedGradients, fa.GradientShap]


def converged(net: Any, x: Tensor, target: Tensor, pool: Tensor, nodes: int = 32) -> Tensor:
    """(B, ...) means over all references of Gauss-Legendre integrals, in float64."""
    alpha, weight = (torch.from_numpy(a) for a in reference.quadrature("gauss_legendre", nodes))
    shape = (1, nodes, *[1] * (x.dim() - 1))
    found = []
    for e in range(len(x)):
        difference = x[e] - pool
        points = pool[:, None] + alpha.reshape(shape).to(x.dtype) * difference[:, None]
        flat = points.reshape(-1, *x.shape[1:])
        slope = autograd(lambda z, e=e: net(z)[:, int(target[e])], flat).double().reshape(points.shape)
        found.append((difference.double() * (weight.reshape(shape) * slope).sum(1)).mean(0))
    return torch.stack(found)


def coverage(att: fa.Attribution, truth: Tensor) -> float:
    """Share of all numbers that lie within two standard errors."""
    return float(((att.values - truth).abs() <= 2 * att.standard_error).double().mean())


class Counted(nn.Module):
    """How many rows were asked for, with and without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.gradients, self.forwards = mlp(D, 6, C), 0, 0

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            self.gradients += len(x)
        else:
            self.forwards += len(x)
        return self.net(x)


# ---- pass lines ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("references", [5, 20, 300])
def test_two_standard_errors_cover(references: int) -> None:
    """Independent draws 90 to 99 % of 300 examples' numbers, stratified ones 95 % at least."""
    net, x, pool = mlp(D, 16, C).double(), data(300, D, seed=2).double(), data(references, D, seed=3).double()
    net[0].weight.data *= 2
    truth = converged(net, x, torch.ones(300), pool, nodes=16 if references > 100 else 24)
    independent = fa.ExpectedGradients(net, pool, samples=60, stratified=False)(x, 1)
    assert 0.90 <= coverage(independent, truth) <= 0.99
    assert coverage(fa.ExpectedGradients(net, pool, samples=60)(x, 1), truth) >= 0.95


def compare(net: Any, x: Tensor, pool: Tensor) -> tuple[float, float, float]:
    """Stratified L1 error over that of independent draws at 100 gradients, and how both cover."""
    target = net(x).argmax(1)
    truth = converged(net, x, target, pool)
    found = [fa.ExpectedGradients(net, pool, stratified=stratified)(x, target) for stratified in (True, False)]
    stratified, independent = (float((att.values - truth).abs().sum()) for att in found)
    return stratified / independent, coverage(found[0], truth), coverage(found[1], truth)


@pytest.mark.parametrize("activation", ["ReLU", "GELU"])
def test_strata_pay_on_digits(trained_digits: Trained, activation: str) -> None:
    pool = torch.from_numpy(fa.datasets.digits().x_train[:25])
    ratio, stratified, independent = compare(trained_digits.models[activation], trained_digits.x[:30], pool)
    assert ratio <= 0.7
    assert stratified >= 0.95
    assert 0.90 <= independent <= 0.99


def test_strata_pay_on_a_table() -> None:
    table = pytest.importorskip("sklearn.datasets").load_breast_cancer()
    x = torch.from_numpy(((table.data - table.data.mean(0)) / table.data.std(0)).astype(np.float32))
    y = torch.from_numpy(table.target.astype(np.int64))
    net = train(mlp(30, 32, 2, activation=nn.ReLU), x[:400], y[:400], epochs=20)
    assert (net(x[400:]).argmax(1) == y[400:]).double().mean() > 0.95
    ratio, stratified, independent = compare(net, x[400:460], x[:25])
    assert ratio <= 0.7
    assert stratified >= 0.95
    assert 0.90 <= independent <= 0.99


def test_error_bars_shrink_and_the_gap_with_them() -> None:
    truth = converged(NET, X, torch.ones(B), POOL)
    few, many = (fa.ExpectedGradients(NET, POOL, samples=n)(X, 1) for n in (70, 7000))
    assert (many.error < few.error / 5).all()
    assert 0 < many.gap.abs().max() < few.gap.abs().max() / 5
    assert_close(many.values.double(), truth, atol=0.01, rtol=0)


# ---- the definition -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [0.0, 0.2])
@pytest.mark.parametrize("stratified", [False, True])
def test_equal_to_the_reference(stratified: bool, noise: float) -> None:
    net, x, pool = mlp(D, 6, C).double(), X.double(), POOL.double()
    options = {"samples": 20, "stratified": stratified, "noise": noise, "seed": 3}
    att = fa.GradientShap(net, pool, **options)(x, 1, ids=torch.arange(10, 10 + B))
    for e in range(B):
        want = reference.gradient_shap(spell(net), x[e].numpy(), pool.numpy(), id=10 + e, **options)
        np.testing.assert_allclose(att.values[e].numpy(), want.values, rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(att.standard_error[e].numpy(), want.standard_error, rtol=1e-10)
        assert att.gap[e].item() == pytest.approx(want.gap, abs=1e-12)
        assert att.error[e].item() == pytest.approx(want.error)
        assert att.evaluations[e].item() == want.evaluations


def test_no_noise_is_expected_gradients() -> None:
    plain, shap = (method(NET, POOL, seed=5)(X, 1) for method in METHODS)
    assert torch.equal(plain.values, shap.values) and torch.equal(plain.gap, shap.gap)
    assert (plain.method, shap.method) == ("ExpectedGradients", "GradientShap")
    assert not torch.equal(fa.GradientShap(NET, POOL, seed=5, noise=0.1)(X, 1).values, plain.values)


def test_a_linear_model_needs_no_luck() -> None:
    """Every reference equally often: exactly w (x - mean x')."""
    net = nn.Linear(D, C).double().eval()
    att = fa.ExpectedGradients(net, POOL.double(), samples=14)(X.double(), 2)
    assert_close(att.values, net.weight[2].detach() * (X - POOL.mean(0)).double(), atol=1e-6, rtol=0)
    assert att.gap.abs().max() < 1e-12


def test_gap_and_outputs_are_what_they_say() -> None:
    att = fa.ExpectedGradients(NET, POOL, samples=21)(X, 1, versus=2)
    difference = NET(POOL)[:, 1] - NET(POOL)[:, 2]
    assert_close(att.baseline_output, difference.mean().double().expand(B), atol=1e-6, rtol=0)
    assert_close(att.output, (NET(X)[:, 1] - NET(X)[:, 2]).double())
    assert_close(att.gap, att.values.double().sum(1) - att.output + att.baseline_output, atol=1e-6, rtol=0)
    assert att.evaluations.tolist() == [21] * B and att.converged.all()


# ---- calls --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_no_target_is_the_prediction(method: Any) -> None:
    predicted = NET(X).argmax(1)
    att, want = method(NET, POOL)(X), method(NET, POOL)(X, predicted)
    assert torch.equal(att.target, predicted) and len(predicted.unique()) > 1
    assert_close(att.values, want.values)
    assert_close(att.gap, want.gap, atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_is_a_loop_with_ids(method: Any) -> None:
    explain = method(NET, POOL, samples=9)
    whole = explain(X, [0, 1, 2, 0])
    for e in range(B):
        one = explain(X[e : e + 1], [e % 3], ids=[e])
        assert_close(one.values[0], whole.values[e], atol=1e-6, rtol=1e-5)
        assert_close(one.gap[0], whole.gap[e], atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_inputs_by_name_with_constants(method: Any) -> None:
    """An integer member belongs to the example; references have none of it."""
    model = Tokens().eval()
    x = {"inputs_embeds": data(B, 4, D), "attention_mask": torch.ones(B, 4, dtype=torch.int64)}
    x["attention_mask"][1, 2:] = 0
    pool = {"inputs_embeds": data(3, 4, D, seed=2)}
    att = method(model, pool, samples=6, rows=5)(x, 1)
    assert att.values["attention_mask"] is None and att.standard_error["attention_mask"] is None
    assert not att.values["inputs_embeds"][1, 2:].any() and att.values["inputs_embeds"][0, 2:].all()
    for e in range(B):
        mask = x["attention_mask"][e : e + 1].expand(3, 4)
        outputs = model(pool["inputs_embeds"], mask).logits[:, 1].detach().double()
        drawn = reference.drawn_references(0, e, 6, 3)
        assert att.baseline_output[e].item() == pytest.approx(outputs[drawn].mean().item(), abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_several_inputs_and_extra_arguments(method: Any) -> None:
    net, x, pool = Gated().eval(), (X, data(B, 2, seed=4)), (POOL, data(7, 2, seed=5))
    mask, temperature = data(B, D, seed=6), torch.linspace(1, 2, C)
    options: dict[str, Any] = {"args": (mask,), "kwargs": {"temperature": fa.shared(temperature)}}
    whole = method(net, pool, samples=8)(x, 1, **options)
    for e in range(B):
        rows = slice(e, e + 1)
        options["args"] = (mask[rows],)
        one = method(net, pool, samples=8)((x[0][rows], x[1][rows]), 1, ids=[e], **options)
        for t in range(2):
            assert_close(one.values[t][0], whole.values[t][e], atol=1e-6, rtol=1e-5)
        assert_close(one.gap[0], whole.gap[e], atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_numpy_in_numpy_out(method: Any) -> None:
    want = method(NET, POOL)(X, 1)
    for pool in (POOL, POOL.numpy()):
        att = method(NET, pool)(X.numpy(), 1)
        assert type(att.values) is type(att.standard_error) is type(att.gap) is np.ndarray
        np.testing.assert_array_equal(att.values, want.values.numpy())
    assert torch.equal(method(NET, POOL.numpy())(X, 1).values, want.values)


@pytest.mark.parametrize(("references", "examples"), [(1, 4), (7, 4), (40, 2)])
def test_every_wanted_reference_is_evaluated_once(references: int, examples: int) -> None:
    """Once for each explained output, without gradients, where the model does not see the example."""
    net = Counted().eval()
    x, pool, n = data(examples, D), data(references, D, seed=1), 10
    explain = fa.ExpectedGradients(net, pool, samples=n, rows=6)
    explain(x, 1)  # what a row costs is measured in the first call
    for target, outputs in ((1, 1), ([0, 1] * (examples // 2), 2)):
        net.gradients = net.forwards = 0
        explain(x, target)
        assert net.gradients == examples * (n + 1)
        assert net.forwards == min(outputs * references, examples * n)


# ---- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("references", "error", "words"),
    [
        (POOL[:0], ValueError, "M >= 1"),
        (POOL[:, :3], ValueError, "references: expected shape"),
        (POOL[0], ValueError, "references"),
        ([1.0], TypeError, "references"),
        (None, TypeError, "references"),
        ((POOL,), TypeError, "references"),
        ({"a": POOL}, TypeError, "references"),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", METHODS)
def test_references_that_do_not_fit(method: Any, references: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        method(NET, references)(X, 1)


def test_references_of_several_inputs_that_do_not_fit() -> None:
    x = (X, data(B, 2))
    for references in ((POOL, data(6, 2)), (POOL,), POOL, (POOL, None)):
        with pytest.raises((ValueError, TypeError), match="references"):
            fa.ExpectedGradients(Gated().eval(), references)(x, 1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("option", ["samples", "seed", "noise"])
def test_options_out_of_range(method: Any, option: str) -> None:
    if option == "noise" and method is fa.ExpectedGradients:
        with pytest.raises(TypeError, match="noise"):
            method(NET, POOL, noise=0.1)
        return
    wrong = {"samples": (0, -1, 1.5, "9", None, True, 2**30 + 1), "seed": (-1, 2**64, 0.5, None, True)}
    for value in wrong.get(option, (-0.1, float("nan"), float("inf"), "1", None)):
        with pytest.raises(ValueError, match=f"{option}: expected"):
            method(NET, POOL, **{option: value})(X, 1)


@pytest.mark.parametrize("method", METHODS)
def test_no_baseline_and_ids_that_fit(method: Any) -> None:
    with pytest.raises(ValueError, match="baseline: .* has none"):
        method(NET, POOL)(X, 1, baseline=0)
    with pytest.raises(ValueError, match=r"ids: expected shape \(4,\), got \(3,\)"):
        method(NET, POOL)(X, 1, ids=[1, 2, 3])
    with pytest.raises(TypeError, match="ids: expected integers"):
        method(NET, POOL)(X, 1, ids=[0.0, 1, 2, 3])


# ---- what a call leaves behind ------------------------------------------------------------------------------------

ALL: dict[str, Callable[[Any], Any]] = {
    "SmoothGrad": lambda model: fa.SmoothGrad(model, samples=9, rows=5),
    "smooth integral": lambda model: fa.SmoothGrad(fa.IntegratedGradients(model, steps=3, rows=5), samples=9),
    "ExpectedGradients": lambda model: fa.ExpectedGradients(model, POOL, samples=9, rows=5),
    "GradientShap": lambda model: fa.GradientShap(model, POOL, samples=9, noise=0.1, rows=5),
}


@pytest.mark.filterwarnings("ignore:.*training mode")
@pytest.mark.parametrize("name", ALL)
def test_everything_is_as_it_was(name: str) -> None:
    """Model, torch's and NumPy's random states, inputs and references; in training mode, and after an exception."""
    x, pool = X.clone(), POOL.clone()
    legacy = np.random.get_state()[1].tobytes()  # noqa: NPY002
    for net in (prepared(mlp(D, 6, C)), prepared(training_net())):
        before = fingerprint(net)
        for target in (1, None):
            ALL[name](net)(X, target)
            assert fingerprint(net) == before
    for good in (0, 1, 2, 4):
        net = Faulty(good, lambda: RuntimeError("on purpose")).train()
        before = fingerprint(net)
        with pytest.raises(RuntimeError, match="on purpose"):
            ALL[name](net)(X, 1)
        assert fingerprint(net) == before
    assert torch.equal(X, x) and torch.equal(POOL, pool)
    assert np.random.get_state()[1].tobytes() == legacy  # noqa: NPY002


PEAK = """
class Net(torch.nn.Module):
    def forward(self, x):
        return (x[:, :, None] * torch.linspace(0, 1, 512)).relu().sum((1, 2))
model, x = Net().eval(), torch.linspace(-1, 1, 4 * 256).view(4, 256)
n, pool = int(sys.argv[2]), torch.zeros(10, 256)
method = {"smooth": lambda: fa.SmoothGrad(model, samples=n),
          "inner": lambda: fa.SmoothGrad(fa.IntegratedGradients(model, steps=2), samples=n),
          "shap": lambda: fa.GradientShap(model, pool, samples=n, noise=.1)}[sys.argv[1]]()
fa.Saliency(model, rows=1)(x[:1])
before = current("VmRSS")
method(x)
print(current("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
@pytest.mark.parametrize("name", ["smooth", "inner", "shap"])
def test_peak_memory_is_flat_in_the_draws(name: str) -> None:
    few, many = (int(in_a_process(PEAK, name, draws)) for draws in ("50", "400"))
    assert 2**20 < few
    assert many <= 1.1 * few + 4 * 2**20, f"{few / 2**20:.1f} MB at 50 draws, {many / 2**20:.1f} MB at 400"
    assert many < 150 * 2**20  # all rows at once would be 1,600 times 512 KB and more
