"""Which points the engine asks the model for, and that neither their order nor their company changes a bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers_native import Formula, Recorder, certificate, draw, job, kinked, wide

import fastattr as fa
from fastattr import _core, reference
from fastattr.methods.integrated_gradients import RULES

pytestmark = [pytest.mark.native, pytest.mark.backend]

TARGETS = np.array([2, 0, 3, 3, 1])
DTYPES = ("float64", "float32", "float16")


# ---- which rows ---------------------------------------------------------------------------------------------------


COUNTS = [  # rule, nodes, end rows at the input and at the base
    ("gauss_legendre", 5, 1, 1),
    ("midpoint", 5, 1, 1),
    ("nested", 15, 1, 1),
    ("left", 5, 1, 0),
    ("right", 5, 0, 1),
    ("trapezoid", 5, 0, 0),
    ("trapezoid", 1, 1, 1),
]


@pytest.mark.parametrize(("rule", "steps", "at_input", "at_base"), COUNTS)
@pytest.mark.parametrize("baseline", [0.5, draw(5, 3, seed=1)])
def test_rows_asked_for(rule: str, steps: int, at_input: int, at_base: int, baseline: Any) -> None:
    """The nodes, and the end points that the rule lacks. Nobody's base is another's: a function may read the index."""
    record = Recorder(Formula())
    method = fa.IntegratedGradients(fa.FunctionModel(record), steps=steps, rule=rule)
    att = method(draw(5, 3), target=TARGETS, baseline=baseline)
    assert record.rows == 5 * (steps + at_input + at_base)
    assert (att.evaluations == steps).all()


@pytest.mark.parametrize(("rule", "steps", "at_input", "at_base"), COUNTS)
@pytest.mark.parametrize(("targets", "distinct"), [([[2, -1]] * 5, 1), ([[2, 1], [2, 0], [2, 1], [1, 2], [2, -1]], 4)])
def test_a_shared_base_is_asked_for_once_a_scalar(
    rule: str, steps: int, at_input: int, at_base: int, targets: list[list[int]], distinct: int
) -> None:
    """Everybody with one (plus, minus) reads the value that its first example got."""
    x, table = draw(5, 3), np.array(targets)
    plan = {"rule": rule, "steps": steps, "adaptive": False, "completeness": True}
    arguments = job(x, base=np.full((1, 3), 0.5), rows=200, target=table, **plan, shared_base=True)
    asked = 0

    def evaluate(rows: int, gradients: bool, remaining: int) -> Any:
        nonlocal asked
        asked += rows
        scalars, points = arguments["scalars"][:rows], arguments["points"][0][:rows]
        return points.sum(axis=1) + 10.0 * scalars[:, 0] + scalars[:, 1], None, (np.ones((rows, 3)),)

    gap, _, output, base_output, *_ = _core.integrate(**arguments | {"evaluate": evaluate})
    assert asked == 5 * (steps + at_input) + at_base * distinct
    np.testing.assert_allclose(base_output, 1.5 + 10.0 * table[:, 0] + table[:, 1], rtol=1e-15)
    np.testing.assert_allclose(output - base_output, (x - 0.5).sum(axis=1), rtol=1e-12)
    np.testing.assert_allclose(gap, 0, atol=1e-12)


@pytest.mark.parametrize("rows", ["auto", 1, 4])
def test_no_point_is_asked_for_twice(rows: Any) -> None:
    x, base, record = draw(6, 3), draw(6, 3, seed=1), Recorder(Formula(kinked))
    att = fa.IntegratedGradients(fa.FunctionModel(record), tolerance=0.01, rows=rows)(x, target=1, baseline=base)
    assert len(set(att.evaluations.tolist())) > 2
    assert record.rows == att.evaluations.sum() + 2 * 6
    points = np.concatenate([p[0] for p in record.points])
    assert len(np.unique(points, axis=0)) == len(points)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
def test_end_points_are_copies(rule: str, dtype: str) -> None:
    """x' + 1 (x - x') would round; and what is beside the ends are the nodes of the rule, in order."""
    x, base, record = draw(4, 3, dtype=dtype) * 100, draw(4, 3, seed=1, dtype=dtype), Recorder(Formula())
    steps = 7
    fa.IntegratedGradients(fa.FunctionModel(record), steps=steps, rule=rule)(x, target=0, baseline=base)
    for e in range(4):
        points = record.rows_of(e)
        for end in (x[e], base[e]):
            assert sum(p.tobytes() == end.tobytes() for p in points) == 1
        alpha = np.unique([0.0, 1.0, *reference.quadrature(rule, steps)[0]])
        delta = wide(x[e]) - wide(base[e])
        order = np.argsort((wide(points) - wide(base[e]))[:, 0] / delta[0])
        wanted = wide(base[e]) + alpha[:, None] * delta
        np.testing.assert_allclose(points[order], wanted, rtol=5e-4 if dtype == "float16" else 1e-6, atol=1e-4)


def test_the_model_is_told_whose_row_it_is() -> None:
    x, base, record = draw(5, 2), draw(5, 2, seed=1), Recorder(Formula())
    fa.IntegratedGradients(fa.FunctionModel(record), steps=4, rows=3)(x, target=TARGETS, versus=4, baseline=base)
    for points, index, scalars in zip(record.points, record.index, record.scalars):
        assert index.dtype == scalars.dtype == np.int64 and scalars.shape == (1, len(index), 2)
        assert np.array_equal(scalars[0], np.stack([TARGETS[index], np.full(len(index), 4)], axis=1))
        alpha = (points[0] - base[index]) / (x - base)[index]
        np.testing.assert_allclose(alpha[:, 0], alpha[:, 1], atol=1e-12)


def test_a_model_that_looks_at_the_index_has_its_own_baseline_output() -> None:
    """`index` is how a FunctionModel reads an example's own constants: they belong to the baseline's row too."""
    constants = np.array([1.0, 10.0, 100.0])

    def function(points: Any, index: Any, scalars: Any) -> Any:
        return (constants[index] + points[0].sum(axis=1))[None], (np.ones((1, *points[0].shape)),)

    att = fa.IntegratedGradients(fa.FunctionModel(function), steps=3)(np.ones((3, 2)))
    assert np.array_equal(att.baseline_output, constants)
    np.testing.assert_allclose(att.gap, 0, atol=1e-12)


@pytest.mark.parametrize("shape", [(0, 3), (0,), (0, 2, 0)])
def test_an_empty_batch_never_reaches_the_model(shape: tuple[int, ...]) -> None:
    def function(*_: Any) -> Any:
        raise AssertionError

    for method in (fa.IntegratedGradients, fa.Saliency, fa.InputXGradient):
        att = method(fa.FunctionModel(function))(np.zeros(shape, np.float32))
        assert att.values.shape == shape and att.values.dtype == np.float32
        for field, dtype in (
            ("gap", "f8"),
            ("error", "f8"),
            ("output", "f8"),
            ("evaluations", "i8"),
            ("converged", "?"),
        ):
            assert getattr(att, field).shape == (0,) and getattr(att, field).dtype == dtype


@pytest.mark.parametrize("steps", ["auto", 3])
def test_inputs_without_features(steps: Any) -> None:
    att = fa.IntegratedGradients(fa.FunctionModel(Formula()), steps=steps)((np.zeros((3, 0)), draw(3, 2)), target=1)
    assert att.values[0].shape == (3, 0) and att.converged.all()
    att = fa.IntegratedGradients(fa.FunctionModel(Formula()), steps=steps)(np.zeros((3, 0)), target=1)
    assert att.values.shape == (3, 0) and (att.gap == 0).all() and att.converged.all()


# ---- bit-identity -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("steps", ["auto", 10])
@pytest.mark.parametrize("shared", [True, False])
def test_the_chunk_size_changes_no_bit(dtype: str, steps: Any, shared: bool) -> None:
    x, model = draw(7, 5, dtype=dtype), fa.FunctionModel(Formula(kinked))
    base = None if shared else draw(7, 5, seed=9, dtype=dtype)
    wanted = certificate(fa.IntegratedGradients(model, steps=steps)(x, target=1, baseline=base))
    for rows in (1, 2, 3, 7, 16, 17, 100, 2**31, 2**60):
        att = fa.IntegratedGradients(model, steps=steps, rows=rows)(x, target=1, baseline=base)
        assert certificate(att) == wanted


@pytest.mark.parametrize("steps", ["auto", 10])
def test_neighbours_change_no_bit(steps: Any) -> None:
    """A batch is its examples one by one, in any order, in any company."""
    x, base = draw(8, 5), draw(8, 5, seed=4)
    method = fa.IntegratedGradients(fa.FunctionModel(Formula(kinked)), steps=steps)
    target = np.arange(8) % 3
    batch = method(x, target=target, baseline=base)

    def part(picked: list[int]) -> tuple[Any, ...]:
        fields = (batch.values, batch.gap, batch.error, batch.evaluations, batch.converged, batch.output)
        return tuple(field[picked].tobytes() for field in (*fields, batch.baseline_output))

    for picked in ([0], [3], [7], [6, 2], [7, 6, 5, 4, 3, 2, 1, 0], [1, 1, 1]):
        assert certificate(method(x[picked], target=target[picked], baseline=base[picked])) == part(picked)
