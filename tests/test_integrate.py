"""The engine (csrc/engine/integrate.c) through `fastattr.FunctionModel`, against `fastattr.reference`.

Which rows it asks for, and that their order and company change no bit, is in test_rows.py; what a model may do to it
in test_callback_model.py; threads in test_pool.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers_native import Formula, certificate, draw, kinked, smooth, steep, wide
from numpy.typing import NDArray

import fastattr as fa
from fastattr import reference
from fastattr.methods.integrated_gradients import RULES

pytestmark = [pytest.mark.native, pytest.mark.backend]

DTYPES = {"float64": 1e-12, "float32": 3e-5, "float16": 1e-2}
FIXED = [(rule, steps) for rule in RULES for steps in ((7, 15, 31) if rule == "nested" else (1, 2, 5, 20))]
TARGETS = np.array([2, 0, 3, 3, 1])


def each(att: fa.Attribution) -> Any:
    """Per example: values, gap, error, evaluations, converged."""
    return zip(att.values, att.gap, att.error, att.evaluations, att.converged, strict=True)


def compare(att: fa.Attribution, wanted: list[reference.Result], rtol: float) -> None:
    assert len(att.values) == len(wanted)
    for (values, gap, error, evaluations, converged), ref in zip(each(att), wanted, strict=True):
        scale = np.abs(ref.values).sum()
        assert np.abs(values - ref.values).sum() <= rtol * scale
        np.testing.assert_allclose(gap, ref.gap, rtol=0, atol=4 * rtol * scale)
        np.testing.assert_allclose(error, ref.error, rtol=0, atol=8 * rtol)
        assert (evaluations, converged) == (ref.evaluations, ref.converged)


# ---- numbers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rule", "steps"), FIXED)
def test_every_rule(rule: str, steps: int, dtype: str) -> None:
    x, base, model = draw(5, 2, 3, dtype=dtype), draw(5, 2, 3, seed=1, dtype=dtype), Formula()
    tolerance = 0.011  # no gap of these examples lies within rounding of it
    att = fa.IntegratedGradients(fa.FunctionModel(model), steps=steps, rule=rule, tolerance=tolerance)(
        x, target=TARGETS, baseline=base
    )
    assert att.values.dtype == (np.float64 if dtype == "float64" else np.float32)
    wanted = [
        reference.integrated_gradients(model.definition(t), wide(a), wide(b), rule, steps, tolerance=tolerance)
        for a, b, t in zip(x, base, TARGETS)
    ]
    compare(att, wanted, DTYPES[dtype])


@pytest.mark.parametrize("multiply", [True, False])
@pytest.mark.parametrize("link", [smooth, kinked, steep])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 0.01), ("float64", 1e-5), ("float32", 0.004)])
def test_auto(link: Any, dtype: str, tolerance: float, multiply: bool) -> None:
    """Levels, bars and verdicts of each example are those of the definition, whatever the others need."""
    x, base, model = draw(12, 4, dtype=dtype), draw(1, 4, seed=3, dtype=dtype), Formula(link)
    att = fa.IntegratedGradients(fa.FunctionModel(model), tolerance=tolerance, multiply_by_inputs=multiply)(
        x, target=1, baseline=base
    )
    options = {"multiply_by_inputs": multiply, "dtype": dtype}
    wanted = [
        reference.integrated_gradients_nested(model.definition(1), wide(a), wide(base[0]), tolerance, **options)
        for a in x
    ]
    assert link is smooth or len({ref.evaluations for ref in wanted}) > 1  # else this shows little
    compare(att, wanted, DTYPES[dtype])
    np.testing.assert_allclose(att.output, model.definition(1)(wide(x))[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(att.baseline_output, [model.definition(1)(wide(base))[0][0]] * 12, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("max_steps", [15, 16, 30, 31, 100, 255, 1023])
def test_auto_stops_at_the_cap(max_steps: int) -> None:
    x, model = draw(4, 4), Formula(kinked)
    att = fa.IntegratedGradients(fa.FunctionModel(model), tolerance=1e-7, max_steps=max_steps)(x, target=0)
    definition = model.definition(0)
    compare(att, [reference.integrated_gradients_nested(definition, a, 0 * a, 1e-7, max_steps) for a in x], 1e-12)
    assert att.evaluations.max() == 2 ** int(np.log2(max_steps + 1)) - 1 and not att.converged.all()


@pytest.mark.parametrize("absolute", [False, True])
def test_saliency_and_input_x_gradient(absolute: bool) -> None:
    x, model = draw(5, 3), Formula()
    slopes = np.stack([model.definition(t)(a[None])[1][0] for a, t in zip(x, TARGETS)])
    saliency = fa.Saliency(fa.FunctionModel(model), absolute=absolute)(x, target=TARGETS)
    assert np.array_equal(saliency.values, np.abs(slopes) if absolute else slopes)
    product = fa.InputXGradient(fa.FunctionModel(model))(x, target=TARGETS)
    assert np.array_equal(product.values, x * slopes)
    for att in (saliency, product):
        assert np.isnan([att.gap, att.error, att.baseline_output]).all()
        assert att.converged.all() and (att.evaluations == 1).all()
        assert np.array_equal(att.output, [model.definition(t)(a[None])[0][0] for a, t in zip(x, TARGETS)])


def test_versus_is_the_difference() -> None:
    x, model = draw(3, 4), Formula()
    att = fa.IntegratedGradients(fa.FunctionModel(model), steps=9)(x, target=[2, 0, 1], versus=[0, 1, 3])
    pairs = zip(x, (2, 0, 1), (0, 1, 3))
    compare(
        att,
        [reference.integrated_gradients(model.definition(t, v), a, 0 * a, steps=9) for a, t, v in pairs],
        DTYPES["float64"],
    )


@pytest.mark.parametrize("form", [tuple, dict])
@pytest.mark.parametrize("steps", ["auto", 15])
def test_several_inputs(form: type, steps: Any) -> None:
    """One alpha for all, sums and bars jointly; inputs of different shapes come back in the caller's form."""
    parts, bases, model = (draw(4, 3), draw(4, 2, 2, seed=5)), (draw(1, 3, seed=6), draw(4, 2, 2, seed=7)), Formula()
    name = ("a", "b")
    inputs, baseline = (dict(zip(name, p)) if form is dict else p for p in (parts, bases))
    att = fa.IntegratedGradients(fa.FunctionModel(model), steps=steps)(inputs, target=1, baseline=baseline)
    assert isinstance(att.values, form)
    values = tuple(att.values.values()) if form is dict else att.values
    for e in range(4):
        x, base = tuple(p[e] for p in parts), (bases[0][0], bases[1][e])
        if steps == "auto":
            ref = reference.integrated_gradients_nested(model.definition(1), x, base)
        else:
            ref = reference.integrated_gradients(model.definition(1), x, base, steps=15)
        for got, wanted in zip(values, ref.values):
            np.testing.assert_allclose(got[e], wanted, rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose((att.gap[e], att.error[e]), (ref.gap, ref.error), rtol=1e-9, atol=1e-13)
        assert (att.evaluations[e], att.converged[e]) == (ref.evaluations, ref.converged)


@pytest.mark.parametrize("baseline", [None, 0.25, draw(3), draw(1, 3), draw(5, 3), draw(5, 1), np.float64(2), 1])
def test_baselines_broadcast(baseline: Any) -> None:
    x, model = draw(5, 3, seed=2), Formula()
    att = fa.IntegratedGradients(fa.FunctionModel(model), steps=5)(x, target=1, baseline=baseline)
    full = np.broadcast_to(0.0 if baseline is None else baseline, x.shape)
    pairs = zip(x, full)
    compare(att, [reference.integrated_gradients(model.definition(1), a, b, steps=5) for a, b in pairs], 1e-12)


def test_every_dlpack_object_is_an_input() -> None:
    class Exporter:
        def __init__(self, array: NDArray[Any]) -> None:
            self.array = array

        def __dlpack__(self, **options: Any) -> Any:
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self) -> tuple[int, int]:
            return self.array.__dlpack_device__()

    x, method = draw(3, 2), fa.IntegratedGradients(fa.FunctionModel(Formula()), steps=5)
    assert certificate(method(Exporter(x), baseline=Exporter(x[:1]))) == certificate(method(x, baseline=x[:1]))


# ---- axioms -------------------------------------------------------------------------------------------------------


def explain(function: Any, x: Any, base: Any, **options: Any) -> fa.Attribution:
    """A scalar function of rows, points -> (values, gradients), in float64."""

    def row_wise(points: Any, *_: Any) -> Any:
        values, gradients = function(points[0])
        return values[None], (gradients[None],)

    model = fa.FunctionModel(row_wise)
    return fa.IntegratedGradients(model, **({"steps": 20} | options))(x, baseline=base)


def cubic(a: Any) -> Any:
    """a_0 a_1^2 + a_2; feature 3 is a dummy."""
    zero = 0 * a[:, 0]
    return a[:, 0] * a[:, 1] ** 2 + a[:, 2], np.stack([a[:, 1] ** 2, 2 * a[:, 0] * a[:, 1], zero + 1, zero], axis=1)


def product(a: Any) -> Any:
    """a_0 a_1."""
    zero = 0 * a[:, 0]
    return a[:, 0] * a[:, 1], np.stack([a[:, 1], a[:, 0], zero, zero], axis=1)


def test_completeness_sensitivity_and_dummies() -> None:
    x, base = draw(5, 4), draw(5, 4, seed=1)
    att = explain(cubic, x, base)
    np.testing.assert_allclose(att.values.sum(axis=1), att.output - att.baseline_output, rtol=1e-12)
    assert not att.values[:, 3].any()
    np.testing.assert_allclose(att.values[:, 2], (x - base)[:, 2], rtol=1e-12)
    base[:, 1] = x[:, 1]  # one difference in a feature that matters is all of the output's
    base[:, 2] = x[:, 2]
    np.testing.assert_allclose(explain(cubic, x, base).values[:, 0], cubic(x)[0] - cubic(base)[0], rtol=1e-12)


def test_linearity_and_symmetry_and_implementation_invariance() -> None:
    x, base = draw(5, 4), draw(5, 4, seed=1)

    def both(a: Any) -> Any:
        return tuple(2 * p - 3 * q for p, q in zip(cubic(a), product(a)))

    def rewritten(a: Any) -> Any:
        """a_0 a_1 as ((a_0 + a_1)^2 - (a_0 - a_1)^2) / 4."""
        plus, minus, zero = a[:, 0] + a[:, 1], a[:, 0] - a[:, 1], 0 * a[:, 0]
        return (plus**2 - minus**2) / 4, np.stack([(plus - minus) / 2, (plus + minus) / 2, zero, zero], axis=1)

    wanted = 2 * explain(cubic, x, base).values - 3 * explain(product, x, base).values
    np.testing.assert_allclose(explain(both, x, base).values, wanted, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(
        explain(rewritten, x, base).values, explain(product, x, base).values, rtol=1e-11, atol=1e-13
    )
    x[:, 1], base[:, 1] = x[:, 0], base[:, 0]
    symmetric = explain(product, x, base).values
    np.testing.assert_allclose(symmetric[:, 0], symmetric[:, 1], rtol=1e-13)


@pytest.mark.parametrize("rule", [r for r in RULES if r != "nested"])
def test_what_is_exact(rule: str) -> None:
    """Linear models under every rule; quadratic ones too, but for left and right."""
    x, base = draw(5, 4), draw(5, 4, seed=1)
    weights = np.array([1.0, -2.0, 3.0, 0.5])
    linear = explain(lambda a: (a @ weights, np.broadcast_to(weights, a.shape)), x, base, rule=rule, steps=3)
    np.testing.assert_allclose(linear.values, weights * (x - base), rtol=1e-12)
    quadratic = explain(product, x, base, rule=rule, steps=2)
    exact = rule not in ("left", "right")
    wanted = (x - base)[:, :2] * (x + base)[:, 1::-1] / 2
    assert np.allclose(quadratic.values[:, :2], wanted, rtol=1e-12, atol=1e-13) == exact
