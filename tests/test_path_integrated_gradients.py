"""Integrated Gradients along polylines: segment by segment the straight path, with one bar and one verdict."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.backend

torch = pytest.importorskip("torch")

from helpers_native import Formula, certificate, draw, kinked, smooth, steep  # noqa: E402
from models_zoo import B, C, D, data, mlp, spell  # noqa: E402
from torch import nn  # noqa: E402
from torch.testing import assert_close  # noqa: E402

import fastattr as fa  # noqa: E402
from fastattr import reference  # noqa: E402
from fastattr.reference_paths import polyline_integrated_gradients  # noqa: E402

NET = mlp(D, 12, 8, C).double()
RELU = mlp(D, 12, C, activation=nn.ReLU).double()
X = data(B, D, dtype=torch.float64)
FIELDS = ("gap", "error", "evaluations", "converged", "output", "baseline_output")


def polyline(count: int, x: Any = X, seed: int = 3) -> Any:
    """(V, B, ...): random vertices, the last is ``x``."""
    random = data(count, *x.shape, seed=seed, dtype=torch.float64).to(x.dtype)
    random[-1] = x
    return random


def vertices(count: int, x: np.ndarray, seed: int = 3) -> np.ndarray:
    """The same in NumPy."""
    random = draw(count, *x.shape, seed=seed, dtype=x.dtype)
    random[-1] = x
    return random


def numbers(value: Any) -> np.ndarray:
    return np.asarray(value, np.float64)


def assert_same(found: fa.Attribution, wanted: fa.Attribution, tolerance: float = 1e-12) -> None:
    assert_close(found.values, wanted.values, atol=tolerance, rtol=tolerance)
    for field in FIELDS:
        got, want = numbers(getattr(found, field)), numbers(getattr(wanted, field))
        np.testing.assert_allclose(got, want, atol=tolerance, rtol=1e-6, err_msg=field)


# ---- segments are straight paths ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{}, {"tolerance": 1e-6}, {"steps": 9}, {"steps": 31, "rule": "nested"}]
    + [{"steps": 8, "rule": rule} for rule in ("midpoint", "trapezoid", "left", "right")],
)
@pytest.mark.parametrize("net", [NET, RELU])
def test_one_segment_is_integrated_gradients(net: Any, options: dict[str, Any]) -> None:
    base = polyline(2)[0]
    for target in (1, None, [0, 1, 2, 0]):
        att = fa.PathIntegratedGradients(net, polyline(2), **options)(X, target)
        wanted = fa.IntegratedGradients(net, engine="callback", **options)(X, target, baseline=base)
        assert_same(att, wanted)
        assert torch.equal(torch.as_tensor(att.target), torch.as_tensor(wanted.target))
        assert att.method == "PathIntegratedGradients"


@pytest.mark.parametrize("link", [smooth, kinked, steep])
@pytest.mark.parametrize("options", [{}, {"steps": 9}, {"steps": 15, "rule": "nested"}])
def test_one_segment_of_a_function_is_integrated_gradients(link: Any, options: dict[str, Any]) -> None:
    x = draw(6, 5)
    path, model = vertices(2, x), fa.FunctionModel(Formula(link))
    att = fa.PathIntegratedGradients(model, path, **options)(x, 2)
    wanted = fa.IntegratedGradients(model, **options)(x, 2, baseline=path[0])
    assert isinstance(att.values, np.ndarray)
    np.testing.assert_array_equal(att.values, wanted.values)  # -0 may become 0
    assert certificate(att)[1:] == certificate(wanted)[1:]


@pytest.mark.parametrize("count", [2, 3, 4, 5])
@pytest.mark.parametrize("rule", ["gauss_legendre", "midpoint", "trapezoid", "left", "right"])
def test_segments_add_up_under_fixed_rules(rule: str, count: int) -> None:
    path = polyline(count)
    att = fa.PathIntegratedGradients(NET, path, steps=6, rule=rule)(X, 1)
    method = fa.IntegratedGradients(NET, steps=6, rule=rule)
    pieces = [method(path[s + 1], 1, baseline=path[s]) for s in range(count - 1)]
    assert_close(att.values, sum(piece.values for piece in pieces), atol=1e-13, rtol=1e-13)
    assert_close(att.gap, sum(piece.gap for piece in pieces), atol=1e-13, rtol=0)
    assert_close(att.gap, att.values.sum(1) - (NET(X) - NET(path[0]))[:, 1].detach(), atol=1e-13, rtol=0)
    assert_close((att.output, att.baseline_output), (pieces[-1].output, pieces[0].baseline_output))
    assert att.evaluations.tolist() == [6 * (count - 1)] * B and att.error.isnan().all()
    share = att.gap.abs() / att.values.abs().sum(1)
    assert att.converged.tolist() == (share <= 0.01).tolist()


@pytest.mark.parametrize("steps", [7, 15, 63])
def test_the_bar_is_that_of_its_formula(steps: int) -> None:
    """max(sum_s |A_s,new - A_s,old|_1, 2 |gap|) / |sum_s A_s,new|_1, by hand from two rules."""
    path = polyline(4)
    att = fa.PathIntegratedGradients(RELU, path, steps=steps, rule="nested")(X, 1)
    f = RELU(torch.stack([X, path[0]]))[..., 1].detach()
    change, total = torch.zeros(B, dtype=torch.float64), torch.zeros(B, D, dtype=torch.float64)
    for s in range(3):
        at = {}
        for n in (steps, (steps - 1) // 2):
            nodes, weights = map(torch.from_numpy, reference.quadrature("nested", n))
            d = path[s + 1] - path[s]
            z = (path[s] + nodes[:, None, None] * d).requires_grad_()
            gradient = torch.autograd.grad(RELU(z)[..., 1].sum(), z)[0]
            at[n] = d * torch.einsum("n,nbd->bd", weights, gradient)
        change += (at[steps] - at[(steps - 1) // 2]).abs().sum(1)
        total += at[steps]
    gap, norm = total.sum(1) - (f[0] - f[1]), total.abs().sum(1)
    assert_close(att.values, total, atol=1e-13, rtol=1e-12)
    assert_close(att.gap, gap, atol=1e-13, rtol=0)
    assert_close(att.error, torch.maximum(change, 2 * gap.abs()) / norm, atol=1e-12, rtol=1e-9)
    assert att.evaluations.tolist() == [3 * steps] * B


def definition(net: Any, path: Any, e: int, **options: Any) -> reference.Result:
    return polyline_integrated_gradients(spell(net), path[:, e].numpy(), **options)


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("tolerance", [0.3, 1e-2, 1e-6])
@pytest.mark.parametrize("net", [NET, RELU])
def test_the_adaptive_rule_equals_the_reference(net: Any, tolerance: float, count: int) -> None:
    path = polyline(count)
    att = fa.PathIntegratedGradients(net, path, tolerance=tolerance)(X, 1)
    for e in range(B):
        want = definition(net, path, e, tolerance=tolerance)
        np.testing.assert_allclose(att.values[e], want.values, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(att.gap[e], want.gap, rtol=0, atol=1e-12)
        np.testing.assert_allclose(att.error[e], want.error, rtol=1e-6, atol=1e-10)
        assert (int(att.evaluations[e]), bool(att.converged[e])) == (want.evaluations, want.converged)


@pytest.mark.parametrize(("steps", "rule"), [(9, None), (4, "trapezoid"), (5, "left"), (31, "nested")])
def test_fixed_rules_equal_the_reference(steps: int, rule: str | None) -> None:
    path = polyline(4)
    att = fa.PathIntegratedGradients(NET, path, steps=steps, rule=rule)(X, 1)
    for e in range(B):
        want = definition(NET, path, e, steps=steps, rule=rule)
        np.testing.assert_allclose(att.values[e], want.values, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(att.error[e], want.error, rtol=1e-6)
        assert (int(att.evaluations[e]), bool(att.converged[e])) == (want.evaluations, want.converged)


def test_a_way_there_and_back_adds_nothing() -> None:
    """Contributions cancel, the work done does not; differences of segments must not cancel in the bar."""
    path = torch.stack([X, X + 1, X])
    att = fa.PathIntegratedGradients(RELU, path, steps=15, rule="nested")(X, 1)
    assert att.values.abs().max() < 1e-12 and att.gap.abs().max() < 1e-12
    assert att.evaluations.tolist() == [30] * B and (att.error > 1).all()
    detour = torch.stack([polyline(2)[0], X, X + 1, X])
    straight = fa.PathIntegratedGradients(RELU, polyline(2), steps=15, rule="nested")(X, 1)
    longer = fa.PathIntegratedGradients(RELU, detour, steps=15, rule="nested")(X, 1)
    assert_close(longer.values, straight.values)
    assert (longer.error >= straight.error - 1e-12).all() and (longer.error > straight.error + 1e-4).any()


def test_many_vertices_on_a_line_are_the_line() -> None:
    base = polyline(2)[0]
    alpha = torch.linspace(0, 1, 41, dtype=torch.float64)[:, None, None]
    path = base + alpha * (X - base)
    path[-1] = X
    wanted = fa.IntegratedGradients(NET, steps=64)(X, 1, baseline=base)
    att = fa.PathIntegratedGradients(NET, path)(X, 1)
    assert_close(att.values, wanted.values, atol=1e-10, rtol=1e-10)
    assert att.evaluations.tolist() == [40 * 15] * B and att.converged.all() and att.error.max() < 1e-10


def test_repeated_vertices_cost_and_give_nothing_else() -> None:
    path = polyline(3)
    doubled = path[[0, 0, 1, 2, 2]]
    att, wanted = (fa.PathIntegratedGradients(NET, p)(X, 1) for p in (doubled, path))
    assert_close((att.values, att.gap, att.error), (wanted.values, wanted.gap, wanted.error))
    still = fa.PathIntegratedGradients(NET, torch.stack([X, X, X]))(X, 1)
    assert not still.values.any() and still.converged.all() and not still.error.any()


def test_the_definition_on_a_path_along_the_axes() -> None:
    """f = x y from (0, 0) by (1, 0) to (1, 1): all of it belongs to y, by (0, 1) to x, by the diagonal to both."""

    def product(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return points.prod(1), points[:, ::-1]

    for corner, wanted in (([1.0, 0.0], [0.0, 1.0]), ([0.0, 1.0], [1.0, 0.0]), ([0.5, 0.5], [0.5, 0.5])):
        path = np.array([[0.0, 0.0], corner, [1.0, 1.0]])
        found = polyline_integrated_gradients(product, path)
        np.testing.assert_allclose(found.values, wanted, atol=1e-14)
        att = fa.PathIntegratedGradients(lambda x: x.prod(1), torch.from_numpy(path[:, None]))(
            torch.ones(1, 2).double()
        )
        np.testing.assert_allclose(att.values[0], wanted, atol=1e-14)
        assert att.target is None and att.output.tolist() == [1.0] and att.baseline_output.tolist() == [0.0]
