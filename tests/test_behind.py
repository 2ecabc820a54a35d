"""Rows behind an affine map (fa_behind of csrc/engine/integrate.h): their sums are pulled back and judged there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers_native import Formula, draw, kinked, smooth

import fastattr as fa
from fastattr import _core

pytestmark = pytest.mark.native

B, D, E = 9, 7, 3


class Mapped:
    """f(x) = g(x M + c) by hand: buffers, the callback and the transpose."""

    def __init__(self, link: Any, group: int = 1, dtype: Any = np.float64) -> None:
        self.formula = Formula(link)
        self.map, self.shift = draw(D, E, seed=1, dtype=dtype), draw(E, seed=2, dtype=dtype)
        self.x, self.base = draw(B, D, seed=3, dtype=dtype), draw(B, D, seed=4, dtype=dtype)
        self.group = group
        self.pulled: list[tuple[int, list[int]]] = []

    def direct(self, points: Any, index: Any, scalars: Any) -> Any:
        """As `fastattr.FunctionModel` wants it."""
        values, gradients = self.formula((points[0] @ self.map + self.shift,), index, scalars)
        return values, (gradients[0] @ self.map.T,)

    def pull(self, examples: Any, level: int) -> None:
        assert examples.dtype == np.int64
        self.pulled.append((level, examples.tolist()))
        self.results[level % len(self.results)][examples] = self.sums[level][examples] @ self.map.T

    def integrate(self, rule: str, steps: int, adaptive: bool, rows: int = 5, **changes: Any) -> Any:
        levels, _, scratch = _core.integrate_plan(rule, steps, adaptive, B)
        x, dtype = self.x, self.x.dtype
        self.sums = np.zeros((levels, B, E), dtype)
        self.results = np.zeros((min(levels, 2), B, D), dtype)
        points, index, scalars = np.empty((rows, E), dtype), np.empty(rows, np.int64), np.empty((rows, 2), np.int64)

        def evaluate(count: int, gradients: bool, remaining: int) -> Any:
            values, slopes = self.formula((points[:count],), index[:count], scalars[None, :count])
            return values, None, slopes

        values = self.results[0] if levels == 1 else np.zeros((B, D), dtype)
        options: dict[str, Any] = {
            "evaluate": evaluate, "inputs": (x,), "bases": (self.base,), "points": (points,), "index": index,
            "scalars": scalars, "results": (self.results,), "values": (values,), "rows": rows, "rule": rule,
            "target": np.tile(np.array([1, -1]), (B, 1)), "scratch": np.empty(scratch, np.uint8), "steps": steps,
            "adaptive": adaptive, "tolerance": 1e-3, "predict": False, "multiply": True, "absolute": False,
            "completeness": True, "shared_base": False, "group": self.group, "pull": self.pull,
            "behind": ((x @ self.map + self.shift,), (self.base @ self.map + self.shift,), (self.sums,)),
        }  # fmt: skip
        return values, *_core.integrate(**options | changes)


@pytest.mark.filterwarnings("ignore:.*more steps do not reduce")
@pytest.mark.parametrize("rows", [1, 5, 400])
@pytest.mark.parametrize(
    ("rule", "steps", "adaptive"), [("gauss_legendre", 9, False), ("nested", 31, False), ("nested", 127, True)]
)
@pytest.mark.parametrize("link", [smooth, kinked])
def test_the_same_as_along_the_inputs(link: Any, rule: str, steps: int, adaptive: bool, rows: int) -> None:
    model = Mapped(link)
    values, gap, error, output, base_output, evaluations, outcome, *_ = model.integrate(rule, steps, adaptive, rows)
    method = fa.IntegratedGradients(
        fa.FunctionModel(model.direct), steps="auto" if adaptive else steps, rule=rule, tolerance=1e-3, max_steps=127
    )
    want = method(model.x, 1, baseline=model.base)
    np.testing.assert_allclose(values, want.values, rtol=1e-10, atol=1e-12)
    for got, name in ((gap, "gap"), (error, "error"), (output, "output"), (base_output, "baseline_output")):
        np.testing.assert_allclose(got, getattr(want, name), rtol=1e-8, atol=1e-12)
    np.testing.assert_array_equal(evaluations, want.evaluations)
    np.testing.assert_array_equal(outcome == 0, want.converged)


def test_only_what_goes_on_is_pulled() -> None:
    model = Mapped(kinked)
    evaluations = model.integrate("nested", 127, True)[5]
    everybody = list(range(B))
    assert model.pulled[:2] == [(0, everybody), (1, everybody)]
    for level, examples in model.pulled[2:]:
        assert examples == np.flatnonzero(evaluations >= 2 ** (level + 3) - 1).tolist()
    assert len(model.pulled) > 3 and model.pulled[-1][1] != everybody  # else this shows little


def test_float32_sums() -> None:
    model, exact = Mapped(smooth, dtype=np.float32), Mapped(smooth)
    values, wanted = model.integrate("gauss_legendre", 9, False)[0], exact.integrate("gauss_legendre", 9, False)[0]
    np.testing.assert_allclose(values, wanted, rtol=1e-4, atol=1e-5)


def test_segments_of_a_path() -> None:
    """Consecutive examples that stop together."""
    model = Mapped(kinked, group=3)
    evaluations = model.integrate("nested", 127, True)[5]
    assert len(evaluations) == B // 3
    assert all(len(examples) % 3 == 0 for _, examples in model.pulled)


def test_its_errors_travel() -> None:
    model = Mapped(smooth)

    def fail(examples: Any, level: int) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        model.integrate("nested", 31, True, pull=fail)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pull": None}, "behind: expected 1 inputs of 9 rows, and pull"),
        ({"behind": ((np.zeros((4, E)),), (np.zeros((1, E)),), (np.zeros((1, 4, E)),))}, "got 1 of 4"),
        ({"behind": ((np.zeros((B, E)),) * 2, (np.zeros((1, E)),) * 2, (np.zeros((1, B, E)),) * 2)}, "got 2 of 9"),
        ({"behind": ((np.zeros((B, E)),), (np.zeros((1, 4)),), (np.zeros((1, B, E)),))}, "behind: bases"),
        ({"behind": ((np.zeros((B, E)),), (np.zeros((1, E)),), (np.zeros((1, B, 2)),))}, "behind: sums"),
        ({"behind": ((np.zeros((B, 2)),), (np.zeros((1, 2)),), (np.zeros((1, B, 2)),))}, "points"),
    ],
)
def test_descriptions_that_lie(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Mapped(smooth).integrate("gauss_legendre", 9, False, **change)
    with pytest.raises(TypeError):
        Mapped(smooth).integrate("gauss_legendre", 9, False, behind=3)
