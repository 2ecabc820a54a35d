"""The operations of adversarial paths, place, arrive, ascend, contribute, total and combine, each against NumPy.

The model records the points it is given and answers with numbers that the test chose, so what comes out is what the
operations did.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fastattr as fa

pytestmark = [pytest.mark.native, pytest.mark.backend]

B, SHAPE, GOALS, STEP = 3, (2, 2500), [1, 3], 0.125  # more features than one block of the kernels
DTYPES = {"float16": 2e-3, "float32": 2e-6, "float64": 1e-14}


class Chosen:
    """In call p the gradient of class c at example e is slope[c] (1 + e) (1 + p), its value 100 c + 10 e + p."""

    def __init__(self, slope: NDArray[Any], arrive: tuple[int, ...] = (9, 9, 9)) -> None:
        self.slope, self.arrive = slope, arrive
        self.points: list[NDArray[Any]] = []
        self.index: list[NDArray[np.int64]] = []
        self.scalars: list[NDArray[np.int64]] = []

    def gradient(self, c: Any, e: Any, p: int) -> NDArray[Any]:
        return self.slope[c] * self.slope.dtype.type((1 + e) * (1 + p))

    def __call__(self, points: Any, index: Any, scalars: Any) -> Any:
        p = len(self.points)
        self.points.append(points[0].copy())
        self.index.append(index.copy())
        self.scalars.append(scalars.copy())
        classes = scalars[..., 0]
        gradients = np.stack([[self.gradient(c, e, p) for c, e in zip(plane, index)] for plane in classes])
        predicted = np.array([GOALS[0] if p >= self.arrive[e] else 0 for e in index])
        return 100.0 * classes + 10 * index + p, (gradients,), predicted


@pytest.fixture(params=DTYPES)
def case(request: pytest.FixtureRequest) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    x, slope = (rng.normal(size=(n, *SHAPE)).astype(request.param) for n in (B, 4))
    slope[:, 0, ::7] = 0
    return {"close": DTYPES[request.param], "x": x, "slope": slope, "model": Chosen(slope)}


def run(case: dict[str, Any], model: Chosen | None = None, **options: Any) -> fa.Attribution:
    options = {"step_size": STEP, "max_steps": 2, "quadrature": "left", "end_points": True, "rows": 10**6} | options
    return fa.AGI(fa.FunctionModel(model or case["model"]), classes=GOALS, **options)(case["x"], 0)


def wide(array: NDArray[Any]) -> NDArray[Any]:
    """As sums are kept."""
    return array.astype(np.promote_types(array.dtype, np.float32))


def walk(case: dict[str, Any], low: float = -np.inf, high: float = np.inf, steps: int = 2) -> list[NDArray[Any]]:
    """The vertices (B, k, ...) of all paths, by signs."""
    x = np.repeat(case["x"][:, None], len(GOALS), axis=1)
    found, up = [x], np.sign(wide(case["slope"][GOALS]))
    for _ in range(steps):
        after = (wide(found[-1]) + wide(x).dtype.type(STEP) * up).astype(x.dtype)
        found.append(np.clip(after, x.dtype.type(low), x.dtype.type(high)))
    return found


def explained(case: dict[str, Any], p: int) -> NDArray[np.float64]:
    """(B, 1, ...) gradients of class 0 in call p."""
    return np.stack([case["model"].gradient(0, e, p) for e in range(B)])[:, None].astype(np.float64)


def near(found: Any, want: Any, close: float) -> None:
    np.testing.assert_allclose(wide(found), want, rtol=4 * close, atol=4 * close * np.abs(want).max())


def test_place(case: dict[str, Any]) -> None:
    """Points, whose they are and what is asked: once an example, then once a path, and between two vertices."""
    run(case, quadrature="midpoint")
    model, vertices = case["model"], walk(case)
    np.testing.assert_array_equal(model.points[0], case["x"])
    np.testing.assert_array_equal(model.index[0], range(B))
    np.testing.assert_array_equal(model.scalars[0], [[[0, -1]] * B, [[1, -1]] * B, [[3, -1]] * B])
    for p, at in ((2, vertices[1]), (4, vertices[2])):
        np.testing.assert_array_equal(model.points[p].reshape(at.shape), at)
        np.testing.assert_array_equal(model.index[p], np.repeat(range(B), 2))
    np.testing.assert_array_equal(model.scalars[2], [[[0, -1]] * 2 * B, [[1, -1], [3, -1]] * B])
    np.testing.assert_array_equal(model.scalars[1], [[[0, -1]] * 2 * B])
    for p, (a, b) in ((1, vertices[:2]), (3, vertices[1:])):
        near(model.points[p].reshape(a.shape), (wide(a) + wide(b)) / 2, case["close"])


@pytest.mark.parametrize("direction", ["margin", "untargeted"])
def test_place_for_other_directions(case: dict[str, Any], direction: str) -> None:
    run(case, direction=direction)
    scalars = case["model"].scalars
    if direction == "margin":
        np.testing.assert_array_equal(scalars[1], [[[0, -1]] * 2 * B, [[1, 0], [3, 0]] * B])
    else:
        np.testing.assert_array_equal(scalars[1], [[[0, -1]] * B])


def test_arrive(case: dict[str, Any]) -> None:
    """Example 0 is at class 1 from the start, 1 after a step, 2 at the end; class 3 is never reached."""
    att = run(case, Chosen(case["slope"], (0, 1, 2)))
    assert att.paths.reached.tolist() == [[True, False]] * B
    assert att.paths.steps.tolist() == [[0, 2], [1, 2], [2, 2]]
    assert att.paths.predicted.tolist() == [[1, 1]] * B
    np.testing.assert_array_equal(att.paths.target_output, [[0, 2], [11, 12], [22, 22]])
    np.testing.assert_array_equal(att.output, [0, 10, 20])
    untargeted = run(case, Chosen(case["slope"], (0, 1, 9)), direction="untargeted")
    assert untargeted.paths.steps.tolist() == [[0], [1], [2]]
    assert untargeted.paths.reached.tolist() == [[True], [True], [False]]


def test_ascend(case: dict[str, Any]) -> None:
    """Signs, bounds, the ball, and the contributions of the left rule."""
    vertices = walk(case)
    att = run(case, reduce="none")
    np.testing.assert_array_equal(att.paths.end_points, vertices[2])
    want = -sum(explained(case, p) * (wide(vertices[p + 1]) - wide(vertices[p])) for p in (0, 1))
    near(att.values, want, case["close"])
    case["x"] = np.clip(case["x"], -0.5, 1)
    clamped = run(case, clamp=(-0.5, 1.0)).paths.end_points
    np.testing.assert_array_equal(clamped, walk(case, -0.5, 1.0)[2])
    ball = run(case, radius=0.1875).paths.end_points
    near(ball - case["x"][:, None], np.sign(wide(case["slope"][GOALS])) * 0.1875 + 0 * ball, 2 * case["close"])


def test_ascend_without_restart_and_with(case: dict[str, Any]) -> None:
    att = run(case, path="local", quadrature=None, reduce="none")
    once = walk(case)[1]
    np.testing.assert_array_equal(att.paths.end_points, once)
    d = wide(once) - wide(case["x"])[:, None]
    near(att.values, -(explained(case, 0) + explained(case, 1)) * d, case["close"])


def test_total_of_squares(case: dict[str, Any]) -> None:
    """The norm of an l2 step, in float64; and of values: the gap of a path."""
    att = run(case, step="l2", step_size=8.0, max_steps=1, reduce="none")
    u = wide(case["slope"][GOALS]).astype(np.float64)
    norm = np.sqrt((u**2).sum((1, 2), keepdims=True))
    near(wide(att.paths.end_points) - wide(case["x"])[:, None], np.broadcast_to(8 * u / norm, (B, 2, *SHAPE)), 0.001)
    change = att.output[:, None] - att.paths.target_output
    np.testing.assert_allclose(att.paths.gap, att.values.astype(np.float64).sum((2, 3)) - change, rtol=1e-12)


def test_contribute(case: dict[str, Any]) -> None:
    """What is added for the end of a path (trapezoid) and for the middle of a step (midpoint)."""
    x0, x1, x2 = (wide(v) for v in walk(case))
    g = [explained(case, p) for p in range(4)]
    trapezoid = run(case, quadrature="trapezoid", reduce="none")
    want = -(g[0] * (x1 - x0) / 2 + g[1] * (x2 - x0) / 2 + g[2] * (x2 - x1) / 2)
    near(trapezoid.values, want, case["close"])
    midpoint = run(case, Chosen(case["slope"]), quadrature="midpoint", reduce="none")
    near(midpoint.values, -(g[1] * (x1 - x0) + g[3] * (x2 - x1)), case["close"])


def test_combine(case: dict[str, Any]) -> None:
    """Sums over the paths of an example, in their order, in the dtype that sums are kept in."""
    each, total, mean = (run(case, Chosen(case["slope"]), reduce=r) for r in ("none", "sum", "mean"))
    np.testing.assert_array_equal(total.values, each.values[:, 0] + each.values[:, 1])
    half = each.values.dtype.type(0.5)
    np.testing.assert_array_equal(mean.values, half * each.values[:, 0] + half * each.values[:, 1])
    assert total.values.dtype == ("float64" if case["x"].dtype == np.float64 else "float32")


@pytest.mark.parametrize("layout", ["strided", "reversed", "fortran"])
def test_any_layout(case: dict[str, Any], layout: str) -> None:
    want, x = run(case), case["x"]
    if layout == "strided":
        case["x"] = np.repeat(x, 2, axis=2)[:, :, ::2]
    elif layout == "reversed":
        case["x"] = np.ascontiguousarray(x[:, :, ::-1])[:, :, ::-1]
    else:
        case["x"] = np.asfortranarray(x)
    assert not case["x"].flags.c_contiguous
    found = run(case, Chosen(case["slope"]))
    np.testing.assert_array_equal(found.values, want.values)
    np.testing.assert_array_equal(found.paths.end_points, want.paths.end_points)
