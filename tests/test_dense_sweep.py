"""Straight lines through a native network, summed as a whole (csrc/engine/dense_sweep.c), against its points."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers_native import draw, run_at_level
from numpy.typing import NDArray
from test_dense import CLOSE, exactly, layers

import fastattr as fa
from fastattr import reference
from fastattr.models.dense import Layer, Network

pytestmark = pytest.mark.native

FIELDS = ("values", "gap", "error", "output", "baseline_output", "evaluations", "converged")
SHAPES = [(1, 1, 1), (5, 3, 4), (30, 64, 32, 2), (17, 33, 65, 7, 3), (6, 130, 16), (3, 40, 1)]


def model_of(network: list[Layer]) -> fa.DenseModel:
    found = fa.DenseModel([layer.weight for layer in network])
    found.network = Network(network)
    return found


def formula_of(network: list[Layer], head: str = "raw") -> Any:
    """value_and_gradient of one target, in float64."""

    def value_and_gradient(target: int, versus: int = -1) -> Any:
        def at(points: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
            rows = len(points)
            return exactly(network, head, points, np.full(rows, target), np.full(rows, versus))[:2]

        return at

    return value_and_gradient


def function_of(network: list[Layer], head: str) -> fa.FunctionModel:
    """The same network point by point."""

    def at(points: Any, index: Any, scalars: Any) -> Any:
        found = [exactly(network, head, points[0], pairs[:, 0], pairs[:, 1])[:2] for pairs in scalars]
        return np.stack([values for values, _ in found]), (np.stack([slopes for _, slopes in found]),)

    return fa.FunctionModel(at)


def first(slope: float | None, widths: tuple[int, ...], dtype: str, then: str = "tanh") -> list[Layer]:
    """Layers behind a first one of ReLU, or of LeakyReLU with ``slope``."""
    names = ("relu" if slope is None else "leaky_relu", *[then] * (len(widths) - 3), "identity")
    found = layers(widths, names[: len(widths) - 1], dtype, seed=sum(widths))
    if slope is not None:
        found[0] = found[0]._replace(a=slope)
    return found


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("slope", [None, 0.3, -0.5, 2.0])
@pytest.mark.parametrize("widths", SHAPES, ids=str)
@pytest.mark.parametrize("head", ["raw", "softmax", "log_softmax", "sigmoid"])
def test_the_sums_of_the_points(widths: tuple[int, ...], slope: float | None, dtype: str, head: str) -> None:
    if head.endswith("softmax") and widths[-1] == 1:
        pytest.skip("softmax of one output")
    network, target = first(slope, widths, dtype), widths[-1] - 1
    x, base = draw(6, widths[0], seed=1, dtype=dtype), draw(6, widths[0], seed=2, dtype=dtype)
    exact = network if head != "sigmoid" else [*network, Layer(None, None, "sigmoid")]
    at = formula_of(exact, "raw" if head == "sigmoid" else head)(target)
    for rule, steps, baseline in (("gauss_legendre", 23, base), ("trapezoid", 9, base[:1]), ("midpoint", 270, base)):
        att = fa.IntegratedGradients(model_of(network), steps=steps, rule=rule, output=head)(
            x, target, baseline=baseline
        )
        assert "swept" in att.engine
        wanted = [
            reference.integrated_gradients(at, a, b, rule, steps)
            for a, b in zip(x.astype(float), np.broadcast_to(baseline, x.shape).astype(float), strict=True)
        ]
        values = np.stack([found.values for found in wanted])
        close = CLOSE[dtype] * max(1.0, np.abs(values).max())
        np.testing.assert_allclose(att.values, values, rtol=0, atol=close)
        np.testing.assert_allclose(att.gap, [found.gap for found in wanted], rtol=0, atol=10 * close)


@pytest.mark.parametrize("level", ["base", "avx2"])
def test_lower_cpu_levels(level: str) -> None:
    run_at_level(level, __file__, "(sums_of and raw) or node")


@pytest.mark.filterwarnings("ignore:.*paths are singular")  # kinks can look so to a tight bar
@pytest.mark.parametrize("head", ["raw", "softmax"])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("options", [{}, {"tolerance": 1e-4}, {"steps": 31, "rule": "nested"}, {"max_steps": 4095}])
def test_nested_levels(options: dict[str, Any], shared: bool, head: str) -> None:
    """Every field of the adaptive rule, with a class that the call predicts, and one against another."""
    network = first(0.1, (6, 40, 20, 4), "float64")
    x = draw(30, 6, seed=5) * np.linspace(0.01, 6, 30)[:, None]
    base = draw(1 if shared else 30, 6, seed=6)
    for call in ({"target": None}, {"target": 2, "versus": 0}):
        found = fa.IntegratedGradients(model_of(network), output=head, **options)(x, **call, baseline=base)
        target = call["target"] if call["target"] is not None else found.target
        call = call | {"target": target}
        wanted = fa.IntegratedGradients(function_of(network, head), **options)(x, **call, baseline=base)
        assert "swept" in found.engine
        for field in FIELDS:
            np.testing.assert_allclose(getattr(found, field), getattr(wanted, field), rtol=1e-7, atol=1e-11)


def test_units_that_change_at_a_node_together_or_never() -> None:
    """z = 0 counts as the negative side; x = x' and dead units have no change."""
    weight = np.array([[2.0, 0.0], [2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, 0.0], [1.0, 1.0]])
    network = [
        Layer(weight, np.array([-1.0, -1.0, 1.0, -50.0, 1.0, 0.0]), "leaky_relu", 0.25),
        Layer(draw(3, 6, seed=3), draw(3, seed=4), "tanh"),
        Layer(draw(2, 3, seed=5), None),
    ]
    x, base = np.array([[1.0, 0.5], [0.0, 0.0], [3.0, 3.0]]), np.array([[0.0, 0.5], [0.0, 0.0], [3.0, 3.0]])
    for rule, steps in (("midpoint", 9), ("trapezoid", 17), ("left", 8), ("right", 8)):
        options = {"steps": steps, "rule": rule}
        found = fa.IntegratedGradients(model_of(network), **options)(x, 1, baseline=base)
        wanted = fa.IntegratedGradients(function_of(network, "raw"), **options)(x, 1, baseline=base)
        assert "swept" in found.engine
        np.testing.assert_allclose(found.values, wanted.values, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(found.gap, wanted.gap, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", CLOSE)
def test_the_same_bits_in_any_company(dtype: str) -> None:
    """Of other examples, chunks and threads."""
    method = fa.IntegratedGradients(model_of(first(None, (30, 64, 32, 2), dtype)), steps=20)
    x, base = draw(70, 30, seed=7, dtype=dtype), draw(70, 30, seed=8, dtype=dtype)
    wanted = method(x, 1, baseline=base)
    try:
        for count in (1, 2, 3):
            fa.set_num_threads(count)
            found = method(x, 1, baseline=base)
            np.testing.assert_array_equal(found.values, wanted.values)
            np.testing.assert_array_equal(found.gap, wanted.gap)
    finally:
        fa.set_num_threads(0)
    for part in (slice(3, 4), slice(10, 33), slice(None, None, -1)):
        np.testing.assert_array_equal(method(x[part], 1, baseline=base[part]).values, wanted.values[part])


def test_numbers_that_are_not_finite_are_their_examples_own() -> None:
    network = first(None, (5, 8, 6, 3), "float64")
    x = draw(6, 5, seed=9)
    method = fa.IntegratedGradients(model_of(network), steps=20)
    wanted = method(x, 1)
    x[1, 2], x[4, 0] = np.nan, np.inf
    with pytest.warns(UserWarning, match=r"2 of 6 examples \(1, 4\) have NaN or infinite"):
        found = method(x, 1)
    fine = [0, 2, 3, 5]
    np.testing.assert_array_equal(found.values[fine], wanted.values[fine])
    np.testing.assert_array_equal(found.gap[fine], wanted.gap[fine])
    assert np.isnan(found.values[[1, 4]]).any(1).all() and not found.converged[[1, 4]].any()


def test_groups_of_segments() -> None:
    """A polyline's segments are lines with a baseline of their own."""
    network = first(None, (4, 20, 10, 3), "float64")
    x = draw(5, 4, seed=10)
    path = np.stack([0 * x, x**2, -x, x])
    options = {"path": path, "steps": 12}
    found = fa.PathIntegratedGradients(model_of(network), **options)(x, 1)
    wanted = fa.PathIntegratedGradients(function_of(network, "raw"), **options)(x, 1)
    assert "swept" in found.engine
    for field in FIELDS:
        np.testing.assert_allclose(getattr(found, field), getattr(wanted, field), rtol=1e-9, atol=1e-12)


def test_where_points_are_cheaper_or_too_many() -> None:
    network = first(None, (4, 20, 10, 3), "float64")
    x = draw(2, 4, seed=11)
    few = fa.IntegratedGradients(model_of(network), steps=3)(x, 1)
    assert "swept" not in few.engine
    many = fa.IntegratedGradients(model_of(network), steps=17_000, rule="midpoint")(x, 1)
    assert "swept" not in many.engine
    swept = fa.IntegratedGradients(model_of(network), steps=16_000, rule="midpoint")(x, 1)
    assert "swept" in swept.engine
    np.testing.assert_allclose(many.values, swept.values, rtol=0, atol=1e-4)
    for name in ("tanh", "identity"):
        smooth = layers((4, 20, 10, 3), (name, "relu", "identity"), "float64")
        assert "swept" not in fa.IntegratedGradients(model_of(smooth), steps=20)(x, 1).engine


def test_softmax_is_not_applied_twice() -> None:
    network = layers((4, 6, 3), ("relu", "identity"), "float64")
    network[1] = Layer(np.zeros((3, 6)), np.array([0.2, 0.3, 0.5]))
    with pytest.raises(ValueError, match="softmax would be applied twice"):
        fa.IntegratedGradients(model_of(network), steps=20, output="softmax")(draw(3, 4), 1)
    with pytest.raises(ValueError, match="0 <= target < 3, got 3"):
        fa.IntegratedGradients(model_of(network), steps=20)(draw(3, 4), 3)
