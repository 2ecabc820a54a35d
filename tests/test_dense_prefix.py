"""The first layer of a native network leaves straight paths: the same attributions, with fewer products."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers_native import draw

import fastattr as fa
from fastattr.models import dense_prefix

pytestmark = pytest.mark.native

WIDTHS = (60, 70, 20, 5)


def network(dtype: str = "float64", activations: Any = ("tanh", "relu", "identity"), bias: bool = True) -> Any:
    pairs = list(zip(WIDTHS, WIDTHS[1:]))
    weights = [draw(b, a, seed=i, dtype=dtype) / np.sqrt(a).astype(dtype) for i, (a, b) in enumerate(pairs)]
    return fa.DenseModel(weights, [draw(b, seed=9 + b, dtype=dtype) for _, b in pairs] if bias else None, activations)


def both(monkeypatch: pytest.MonkeyPatch, method: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """With the prefix, however little it gains, and without."""
    found = []
    for fewest in (-np.inf, np.inf):
        monkeypatch.setattr(dense_prefix, "FEWEST", fewest)
        found.append(method(*args, **kwargs))
    assert "affine prefix" in found[0].engine and "affine prefix" not in found[1].engine
    return found[0], found[1]


def assert_same(found: Any, wanted: Any, close: float) -> None:
    scale = np.abs(wanted.values).max()
    loose = 10 * close * max(1, scale)
    np.testing.assert_allclose(found.values, wanted.values, rtol=0, atol=close * scale)
    for field in ("gap", "error", "output", "baseline_output"):
        np.testing.assert_allclose(getattr(found, field), getattr(wanted, field), rtol=1e-3, atol=loose)
    np.testing.assert_array_equal(found.evaluations, wanted.evaluations)
    np.testing.assert_array_equal(found.converged, wanted.converged)


OPTIONS: list[dict[str, Any]] = [
    {"steps": 20},
    {},
    {"tolerance": 1e-4},
    {"steps": 31, "rule": "nested"},
    {"multiply_by_inputs": False},
    {"output": "softmax", "steps": 9, "rows": 7},
]


@pytest.mark.parametrize("dtype, close", [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("shared", [True, False])
def test_same_attributions(monkeypatch: Any, options: dict[str, Any], dtype: str, close: float, shared: bool) -> None:
    x, base = draw(7, 60, seed=1, dtype=dtype), draw(1 if shared else 7, 60, seed=2, dtype=dtype)
    method = fa.IntegratedGradients(network(dtype), **options)
    assert_same(*both(monkeypatch, method, x, 1, versus=3, baseline=base), close)


@pytest.mark.parametrize("activations", ["relu", "identity", ("identity", "tanh", "sigmoid"), ("gelu", "relu", "tanh")])
def test_activations_and_missing_biases(monkeypatch: Any, activations: Any) -> None:
    for bias in (True, False):
        method = fa.IntegratedGradients(network("float64", activations, bias), steps=12)
        assert_same(*both(monkeypatch, method, draw(4, 60, seed=3), 2), 1e-12)


def test_axes_polylines_and_smoothing(monkeypatch: Any) -> None:
    x = draw(3, 6, 10, seed=4)
    assert_same(*both(monkeypatch, fa.IntegratedGradients(network(), steps=9), x), 1e-12)
    path = np.stack([0 * x, x**2, x])
    assert_same(*both(monkeypatch, fa.PathIntegratedGradients(network(), path, steps=9), x, 1), 1e-12)
    smooth = fa.SmoothGrad(fa.IntegratedGradients(network(), steps=5), samples=3)
    assert_same(*both(monkeypatch, smooth, x, 1), 1e-12)


def test_only_unfinished_examples_go_on(monkeypatch: Any) -> None:
    """Bars are met one by one in the space of the inputs: the levels differ, and agree with those without a prefix."""
    x = draw(30, 60, seed=5) * np.linspace(0.01, 6, 30)[:, None]
    found, wanted = both(monkeypatch, fa.IntegratedGradients(network(), tolerance=1e-5), x, 1)
    assert len(set(found.evaluations.tolist())) > 1
    assert_same(found, wanted, 1e-12)


def test_where_it_does_not_pay() -> None:
    model = network()
    assert "affine" not in fa.Saliency(model)(draw(9, 60), 1).engine
    assert "affine" not in fa.IntegratedGradients(model, steps=20)(draw(1, 60), 1).engine
    assert "affine" in fa.IntegratedGradients(model, steps=50)(draw(100, 60), 1).engine
    one = fa.DenseModel([draw(5, 600)])
    assert "affine" not in fa.IntegratedGradients(one, steps=50)(draw(100, 600), 1).engine


@pytest.mark.parametrize("together", [0, 100], ids=["apart", "together"])
@pytest.mark.parametrize("start", [None, "zeros", "ones", "each"])
def test_where_paths_begin(monkeypatch: Any, together: int, start: str | None) -> None:
    """A baseline of zeros is not multiplied, one for all only once."""
    monkeypatch.setattr(dense_prefix, "TOGETHER", together)
    x = draw(7, 60, seed=6)
    base = {None: None, "zeros": np.zeros((1, 60)), "ones": np.ones(60), "each": draw(7, 60, seed=7)}[start]
    for activations in ("relu", "tanh"):
        method = fa.IntegratedGradients(network("float64", activations), steps=9)
        assert_same(*both(monkeypatch, method, x, 1, baseline=base), 1e-12)


@pytest.mark.parametrize("steps", [4, 12], ids=["points", "swept"])
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_weights_that_are_not_finite_meet_a_zero_baseline(monkeypatch: Any, bad: float, steps: int) -> None:
    """0 times infinity is no number: the unit has no value at the baseline, though it is switched off at the input."""
    weights = [draw(70, 60, seed=1), draw(3, 70, seed=2)]
    weights[0][5, 7] = bad
    method = fa.IntegratedGradients(fa.DenseModel(weights), steps=steps)
    for x in (np.ones((2, 60)), np.zeros((2, 60)), -np.ones((2, 60))):
        with pytest.warns(UserWarning, match="2 of 2"):
            found, wanted = both(monkeypatch, method, x, 1)
        assert np.isnan(wanted.baseline_output).all()
        np.testing.assert_array_equal(found.baseline_output, wanted.baseline_output)
