"""Each operation of the backend table, seen through the engine against one line of NumPy.

The model records the points it is given and answers with numbers that the test chose, so what comes out is what the
operations did.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fastattr as fa
from fastattr import _core

pytestmark = [pytest.mark.native, pytest.mark.backend]

B, SHAPE, N = 3, (2, 2500), 5  # more features than one block of the kernels
DTYPES = {"float16": 2e-3, "float32": 2e-6, "float64": 1e-14}


class Recorder:
    """A model of chosen gradients: row r of example e has gradient slope[e] * (r + 1), value 10 e + r."""

    def __init__(self, slope: NDArray[Any]) -> None:
        self.slope = slope
        self.points: list[NDArray[Any]] = []
        self.index: list[NDArray[np.int64]] = []

    def __call__(self, points: Any, index: Any, scalars: Any) -> Any:
        self.points.append(points[0].copy())
        self.index.append(index.copy())
        number = np.arange(1, len(index) + 1).reshape(-1, 1, 1)
        values = 10.0 * index + number[:, 0, 0]
        return values[None], ((self.slope[index] * number).astype(points[0].dtype)[None],)


@pytest.fixture(params=DTYPES)
def case(request: pytest.FixtureRequest) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    dtype = request.param
    x, base, slope = (rng.normal(size=(B, *SHAPE)).astype(dtype) for _ in range(3))
    return {"dtype": dtype, "close": DTYPES[dtype], "x": x, "base": base, "slope": slope}


def run(case: dict[str, Any], **options: Any) -> tuple[fa.Attribution, Recorder]:
    model = Recorder(case["slope"])
    method = fa.IntegratedGradients(fa.FunctionModel(model), steps=N, rule="midpoint", rows=10**6, **options)
    return method(case["x"], 0, baseline=case["base"]), model


def wide(array: NDArray[Any]) -> NDArray[np.float64]:
    return array.astype(np.float64)


def expected_integral(case: dict[str, Any]) -> NDArray[np.float64]:
    """Rows of example e: three at the bases first, then its end row and its N nodes."""
    rows = [B + e * (N + 1) + 2 + np.arange(N) for e in range(B)]
    sums = np.array([row.mean() for row in rows]).reshape(B, 1, 1)
    return wide(case["slope"]) * sums


def test_points(case: dict[str, Any]) -> None:
    _, model = run(case)
    points, index = model.points[0], model.index[0]
    np.testing.assert_array_equal(points[:B], case["base"])
    np.testing.assert_array_equal(points[B :: N + 1], case["x"])
    np.testing.assert_array_equal(index, [*range(B), *np.repeat(range(B), N + 1)])
    alpha = ((np.arange(N) + 0.5) / N).reshape(1, N, 1, 1)
    x, base = wide(case["x"])[:, None], wide(case["base"])[:, None]
    inner = points[B:].reshape(B, N + 1, *SHAPE)[:, 1:]
    np.testing.assert_allclose(wide(inner), base + alpha * (x - base), rtol=case["close"], atol=4 * case["close"])


def test_accumulate(case: dict[str, Any]) -> None:
    found, _ = run(case, multiply_by_inputs=False)
    assert found.values.dtype == ("float64" if case["dtype"] == "float64" else "float32")
    want = expected_integral(case)
    np.testing.assert_allclose(found.values, want, rtol=case["close"], atol=case["close"] * np.abs(want).max())


def test_collect(case: dict[str, Any]) -> None:
    found, _ = run(case)
    np.testing.assert_array_equal(found.baseline_output, [10 * e + e + 1 for e in range(B)])
    np.testing.assert_array_equal(found.output, [10 * e + B + e * (N + 1) + 1 for e in range(B)])


def test_measure(case: dict[str, Any]) -> None:
    """The gap, and the bar of the nested rule: norms and sums over the features, in float64."""
    found, _ = run(case)
    gap = wide(found.values).sum((1, 2)) - (found.output - found.baseline_output)
    np.testing.assert_allclose(found.gap, gap, rtol=1e-12)
    nested, _ = run({**case, "slope": case["slope"]}, multiply_by_inputs=False)
    assert np.isnan(nested.gap).all()
    model = Recorder(case["slope"])
    bar = fa.IntegratedGradients(fa.FunctionModel(model), steps=7, rule="nested", rows=10**6)
    with pytest.warns(UserWarning, match="singular"):  # values that have nothing to do with the gradients
        found = bar(case["x"], 0, baseline=case["base"])
    _, fine = _core.quadrature("nested", 7)
    _, coarse = _core.quadrature("nested", 3)
    number = [B + e * 8 + 2 + np.arange(7) for e in range(B)]
    product = wide(case["slope"]) * (wide(case["x"]) - wide(case["base"]))
    norm = np.abs(product).sum((1, 2))
    new = np.array([fine @ k for k in number])
    old = np.array([coarse @ k[1::2] for k in number])
    gap = product.sum((1, 2)) * new - (found.output - found.baseline_output)
    want = np.maximum(np.abs(new - old) * norm, 2 * np.abs(gap)) / (new * norm)
    np.testing.assert_allclose(found.error, want, rtol=max(1e-12, 4 * case["close"]))


@pytest.mark.parametrize("absolute", [False, True])
def test_finish(case: dict[str, Any], absolute: bool) -> None:
    found, _ = run(case)
    want = expected_integral(case) * (wide(case["x"]) - wide(case["base"]))
    np.testing.assert_allclose(found.values, want, rtol=2 * case["close"], atol=2 * case["close"] * np.abs(want).max())
    model = Recorder(case["slope"])
    gradient = fa.Saliency(fa.FunctionModel(model), absolute=absolute)(case["x"], 0).values
    slope = wide(case["slope"]) * np.arange(1, B + 1).reshape(B, 1, 1)
    want = np.abs(slope) if absolute else slope
    np.testing.assert_allclose(wide(gradient), want, rtol=case["close"])
