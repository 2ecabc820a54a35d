"""Integrated Gradients: exact where it must be, honest where it cannot be, equal to the definition and to others."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.backend

torch = pytest.importorskip("torch")

from models_zoo import D, autograd, autograd_path, data, mlp, spell  # noqa: E402
from torch import nn  # noqa: E402
from torch.testing import assert_close  # noqa: E402

import fastattr as fa  # noqa: E402
from fastattr import reference  # noqa: E402

RULES = ("gauss_legendre", "midpoint", "trapezoid", "left", "right")
NET = mlp(D, 12, 8, 3).double()
X, BASE = data(6, D, dtype=torch.float64), data(6, D, seed=1, dtype=torch.float64)


def quadratic(x: torch.Tensor) -> torch.Tensor:
    """sum_i i x_i^2 / 2 + sum_i x_i: A_i = (x_i - x'_i) (i (x_i + x'_i) / 2 + 1)."""
    i = torch.arange(x.shape[1], dtype=x.dtype)
    return (i * x**2 / 2 + x).sum(1)


# ---- exact --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 50])
@pytest.mark.parametrize("rule", RULES)
def test_linear_models_are_exact_under_every_rule(rule: str, steps: int) -> None:
    net = nn.Linear(D, 3).eval()
    x, base = X.float(), BASE.float()
    att = fa.IntegratedGradients(net, rule=rule, steps=steps)(x, 1, baseline=base)
    wanted = (x - base) * net.weight[1].detach()
    assert_close(att.values, wanted, atol=1e-6, rtol=1e-6)
    assert (att.gap.abs() / att.values.double().abs().sum(1)).max() < 1e-6
    assert att.converged.all() and att.evaluations.tolist() == [steps] * 6


@pytest.mark.parametrize("options", [{}, {"steps": 7, "rule": "nested"}, {"steps": 255, "rule": "nested"}])
def test_linear_models_are_exact_under_the_nested_rule(options: dict[str, Any]) -> None:
    net = nn.Linear(D, 3).eval()
    att = fa.IntegratedGradients(net, **options)(X.float(), 1)
    assert_close(att.values, X.float() * net.weight[1].detach(), atol=1e-6, rtol=1e-6)
    assert att.error.max() < 1e-5 and att.evaluations.tolist() == [options.get("steps", 15)] * 6


@pytest.mark.parametrize("rule", ["gauss_legendre", "midpoint", "trapezoid", "nested", "left", "right"])
def test_quadratic_models_are_exact_from_the_trapezoid_up(rule: str) -> None:
    att = fa.IntegratedGradients(quadratic, rule=rule, steps=31)(X, baseline=BASE)
    wanted = (X - BASE) * (torch.arange(D) * (X + BASE) / 2 + 1)
    exact = (att.values - wanted).abs().max() < 1e-12
    assert exact == (rule not in ("left", "right"))
    assert_close(att.gap, att.values.sum(1) - (quadratic(X) - quadratic(BASE)), atol=1e-12, rtol=0)


def test_input_equal_to_baseline_gives_zeros() -> None:
    for options in ({}, {"steps": 5}, {"steps": 5, "rule": "trapezoid"}, {"steps": 15, "rule": "nested"}):
        att = fa.IntegratedGradients(NET, **options)(X, 1, baseline=X)
        assert not att.values.any() and att.gap.abs().max() < 1e-15  # the two ends may differ by rounding
        assert att.converged.all()
        assert options.get("steps") == 5 or att.error.isfinite().all()


def test_a_smooth_network_has_no_gap_at_31_nodes() -> None:
    for rule in ("nested", "gauss_legendre"):
        att = fa.IntegratedGradients(NET, rule=rule, steps=31)(X, 1, baseline=BASE)
        assert (att.gap.abs() / (att.output - att.baseline_output).abs()).max() <= 1e-5


# ---- equal to the definition --------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 50])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("multiply", [True, False])
def test_equals_the_reference(rule: str, steps: int, multiply: bool) -> None:
    att = fa.IntegratedGradients(NET, rule=rule, steps=steps, multiply_by_inputs=multiply)(X, 1, baseline=BASE)
    for e in range(len(X)):
        arguments = (spell(NET), X[e].numpy(), BASE[e].numpy(), rule, steps)
        want = reference.integrated_gradients(*arguments, multiply_by_inputs=multiply)
        np.testing.assert_allclose(att.values[e], want.values, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(att.gap[e], want.gap, rtol=0, atol=1e-12)
        assert att.error[e].isnan()
        assert bool(att.converged[e]) == want.converged


@pytest.mark.parametrize("tolerance", [0.3, 1e-2, 1e-5, 1e-12])
@pytest.mark.parametrize("max_steps", [15, 40, 255])
@pytest.mark.parametrize("multiply", [True, False])
def test_the_adaptive_rule_equals_the_reference(tolerance: float, max_steps: int, multiply: bool) -> None:
    options: dict[str, Any] = {"tolerance": tolerance, "max_steps": max_steps, "multiply_by_inputs": multiply}
    relu = mlp(D, 12, 3, activation=nn.ReLU).double()
    for net in (NET, relu):
        att = fa.IntegratedGradients(net, rule="nested", **options)(X, 1, baseline=BASE)
        for e in range(len(X)):
            want = reference.integrated_gradients_nested(spell(net), X[e].numpy(), BASE[e].numpy(), **options)
            np.testing.assert_allclose(att.values[e], want.values, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(att.gap[e], want.gap, rtol=0, atol=1e-12)
            np.testing.assert_allclose(att.error[e], want.error, rtol=1e-6, atol=1e-12)
            assert (int(att.evaluations[e]), bool(att.converged[e])) == (want.evaluations, want.converged)


def test_equals_a_plain_autograd_loop() -> None:
    nodes, weights = reference.quadrature("gauss_legendre", 50)
    for output, apply in (("raw", lambda y: y), ("softmax", lambda y: y.softmax(1)), ("sigmoid", torch.sigmoid)):
        att = fa.IntegratedGradients(NET, steps=50, output=output)(X, [0, 1, 2, 0, 1, 2], baseline=BASE)
        for e in range(len(X)):
            wanted = autograd_path(lambda z: apply(NET(z))[:, e % 3], X[e : e + 1], BASE[e : e + 1], nodes, weights)  # noqa: B023
            assert_close(att.values[e], wanted, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("rule", "theirs"),
    [
        ("gauss_legendre", "gausslegendre"),
        ("midpoint", "riemann_middle"),
        ("left", "riemann_left"),
        ("right", "riemann_right"),
    ],
)
def test_equals_captum_at_the_same_nodes(rule: str, theirs: str) -> None:
    captum = pytest.importorskip("captum.attr")
    net, x, base = mlp(D, 12, 8, 3), X.float(), BASE.float()
    peer = captum.IntegratedGradients(net)
    wanted = peer.attribute(x, baselines=base, target=1, n_steps=50, method=theirs)
    att = fa.IntegratedGradients(net, rule=rule, steps=50)(x, 1, baseline=base)
    assert_close(att.values, wanted.to(att.values.dtype), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "options", [{}, {"steps": 33}, {"steps": 31, "rule": "nested"}, {"steps": 9, "rule": "trapezoid"}]
)
def test_chunks_and_threads_change_nothing(options: dict[str, Any]) -> None:
    net, x = mlp(D, 12, 8, 3), X.float()
    for baseline, target in ((None, 1), (BASE.float(), [0, 1, 2, 0, 1, 2]), (0.3, None)):
        wanted = fa.IntegratedGradients(net, rows=10**6, **options)(x, target, baseline=baseline)
        for rows, threads in ((1, 1), (7, 2), (16, 3), ("auto", 0)):
            fa.set_num_threads(threads)
            att = fa.IntegratedGradients(net, rows=rows, **options)(x, target, baseline=baseline)
            assert_close(att.values, wanted.values, atol=1e-6, rtol=1e-6)
            assert_close((att.gap, att.output), (wanted.gap, wanted.output), atol=1e-6, rtol=1e-6)
            assert torch.equal(att.evaluations, wanted.evaluations)
    fa.set_num_threads(0)


def test_several_inputs_share_one_path_and_one_bar() -> None:
    joined = fa.IntegratedGradients(NET)(X, 1, baseline=BASE)
    parts = fa.IntegratedGradients(lambda a, b: NET(torch.cat([a, b], 1)))(
        (X[:, :2], X[:, 2:]), 1, baseline=(BASE[:, :2], BASE[:, 2:])
    )
    assert_close(torch.cat(parts.values, 1), joined.values)
    assert_close((parts.error, parts.gap, parts.evaluations), (joined.error, joined.gap, joined.evaluations))


def test_a_function_that_knows_its_example_has_its_own_baseline_output() -> None:
    def value_and_gradient(points: Any, index: Any, scalars: Any) -> Any:
        return (points[0].sum(1) + index)[None], (np.ones_like(points[0])[None],)

    att = fa.IntegratedGradients(fa.FunctionModel(value_and_gradient))(np.ones((3, 2)))
    np.testing.assert_allclose(att.baseline_output, [0, 1, 2])
    np.testing.assert_allclose(att.gap, 0, atol=1e-12)


# ---- honest bars --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["ReLU", "GELU"])
@pytest.mark.parametrize("output", ["raw", "softmax"])
def test_bars_of_trained_networks(trained_digits: Any, activation: str, output: str) -> None:
    """True L1 error never above the tolerance, bar at least as large in 95 %."""
    net, x = trained_digits.models[activation], trained_digits.x[:40]
    assert (net(trained_digits.x).argmax(1) == trained_digits.y).float().mean() > 0.9
    att = fa.IntegratedGradients(net, output=output)(x)
    nodes, weights = reference.quadrature("midpoint", 2048)
    errors = []
    for e in range(len(x)):
        c = int(att.target[e])
        scalar = {"raw": lambda z, c=c: net(z)[:, c], "softmax": lambda z, c=c: net(z).softmax(1)[:, c]}[output]
        exact = autograd_path(scalar, x[e : e + 1], torch.zeros_like(x[:1]), nodes, weights)
        errors.append(float((att.values[e] - exact).abs().sum() / exact.abs().sum()))
    error, bar = np.array(errors), att.error.numpy()
    print(f"\n{activation} {output}: true error max {error.max():.4f}, bar covers {(bar >= error).mean():.3f}, "
          f"{att.evaluations.double().mean():.1f} evaluations")  # fmt: skip
    assert att.converged.all()
    assert error.max() <= 0.01
    assert (bar >= error).mean() >= 0.95


def test_bars_against_the_exact_integral_of_relu_networks() -> None:
    """Bar covers in 94 %, tolerance violated in 1.5 %."""
    found = []
    for seed in range(60):
        random = np.random.default_rng(seed)
        net = mlp(8, 10, 1, activation=nn.ReLU, seed=seed).double()
        x = torch.from_numpy(random.standard_normal((20, 8)))
        base = torch.from_numpy(random.standard_normal((20, 8)))
        att = fa.IntegratedGradients(net)(x, baseline=base)
        W1, b1, w2, b2 = (p.detach().numpy() for p in net.parameters())
        for e in range(len(x)):
            exact = reference.exact_relu_integrated_gradients(W1, b1, w2[0], b2[0], x[e].numpy(), base[e].numpy())
            error = np.abs(att.values[e].numpy() - exact).sum() / np.abs(exact).sum()
            found.append((error, float(att.error[e]), bool(att.converged[e])))
    error, bar, converged = map(np.array, zip(*found))
    print(f"\nReLU nets: bar covers {(bar >= error).mean():.4f}, violated {(error[converged] > 0.01).mean():.4f}, "
          f"converged {converged.mean():.4f}")  # fmt: skip
    assert converged.mean() > 0.5
    assert (bar >= error).mean() >= 0.94
    assert (error[converged] > 0.01).mean() <= 0.015


def layer_norm() -> nn.Sequential:
    """Scale-invariant but for eps, which is that of BERT."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.LayerNorm(64, eps=1e-12), nn.Linear(64, 3)).eval()


@pytest.mark.parametrize(
    "model", [layer_norm(), lambda x: (1e6 * x.abs().sum(1)).tanh()], ids=["LayerNorm at zero", "a jump at zero"]
)
def test_a_singular_path_warns(model: Any) -> None:
    with pytest.warns(
        UserWarning, match=r"4 of 4 examples \(0, 1, 2, 3\).*singular.*LayerNorm.*another baseline"
    ) as caught:
        att = fa.IntegratedGradients(model)(data(4, 64), 0)
    assert not att.converged.any() and att.evaluations.tolist() == [255] * 4
    assert caught[0].filename == __file__


def test_another_baseline_mends_a_singular_path() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fa.IntegratedGradients(layer_norm())(data(4, 64), 1, baseline=data(4, 64, seed=5)).converged.all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_in_its_row_and_is_reported(bad: float) -> None:
    x = X.clone()
    x[2, 1] = bad
    others = [0, 1, 3, 4, 5]
    for options in ({}, {"steps": 20}):
        with pytest.warns(UserWarning, match=r"^1 of 6 examples \(2\) have NaN or infinite"):
            att = fa.IntegratedGradients(NET, **options)(x, 1)
        assert_close(att.values[others], fa.IntegratedGradients(NET, **options)(X[others], 1).values)
        assert att.converged[others].all() and not att.converged[2]


# ---- options ------------------------------------------------------------------------------------------------------


def test_without_the_factor_the_integral_alone() -> None:
    att = fa.IntegratedGradients(NET, steps=20, multiply_by_inputs=False)(X, 1, baseline=BASE)
    assert_close(att.values * (X - BASE), fa.IntegratedGradients(NET, steps=20)(X, 1, baseline=BASE).values)
    assert att.gap.isnan().all() and att.converged.all()
    at_the_baseline = fa.IntegratedGradients(NET, multiply_by_inputs=False)(X, 1, baseline=X)
    assert_close(at_the_baseline.values, autograd(lambda x: NET(x)[:, 1], X))


def test_the_cap_and_the_fixed_rules_verdict() -> None:
    att = fa.IntegratedGradients(NET, tolerance=1e-14, max_steps=60)(X, 1, baseline=BASE)
    assert att.evaluations.tolist() == [31] * 6
    coarse = fa.IntegratedGradients(NET, rule="left", steps=2)(X, 1, baseline=BASE)
    assert torch.equal(coarse.converged, coarse.gap.abs() <= 0.01 * coarse.values.abs().sum(1))
    assert not coarse.converged.all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"steps": 0}, ValueError, 'steps: expected "auto" or an int from 1 to'),
        ({"steps": 2.5}, ValueError, "steps"),
        ({"steps": True}, ValueError, "steps"),
        ({"steps": "many"}, ValueError, "steps"),
        ({"steps": "exact"}, ValueError, 'steps: "exact" wants a native network'),
        ({"steps": 8, "rule": "nested"}, ValueError, r"7, 15, 31.*got 8"),
        ({"steps": 3, "rule": "nested"}, ValueError, r"got 3"),
        ({"rule": "midpoint"}, ValueError, "rule: .*nested rule, got 'midpoint'"),
        ({"rule": "simpson", "steps": 9}, ValueError, "rule: expected None or one of"),
        ({"tolerance": 0}, ValueError, "tolerance"),
        ({"tolerance": 1.5}, ValueError, "tolerance"),
        ({"tolerance": float("nan")}, ValueError, "tolerance"),
        ({"tolerance": "1%"}, ValueError, "tolerance"),
        ({"max_steps": 14}, ValueError, "max_steps: expected an int from 15"),
        ({"max_steps": 31.0}, ValueError, "max_steps"),
    ],
)
def test_refused_options(options: dict[str, Any], error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        fa.IntegratedGradients(NET, **options)(X, 1)


def test_numbers_of_numpy_are_numbers() -> None:
    att = fa.IntegratedGradients(NET, steps=np.int64(9), rows=np.int32(5), tolerance=np.float32(0.01))(X, 1)
    assert_close(att.values, fa.IntegratedGradients(NET, steps=9)(X, 1).values)
