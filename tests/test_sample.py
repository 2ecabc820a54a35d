"""Means over draws: the operations sample, moments, store and spread, seen through the engine, against the definition.

The models are rows of elementwise formulas, so every difference between two calls is the engine's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers_native import Formula, Recorder, certificate, draw, wide
from numpy.typing import NDArray

import fastattr as fa
from fastattr import reference

pytestmark = [pytest.mark.native, pytest.mark.backend]

B, SHAPE, N = 3, (2, 5), 7
DTYPES = {"float16": 5e-3, "float32": 3e-6, "float64": 1e-13}
IDS = np.array([5, -2, 2**40])
FORMULA = Formula()
MODEL = fa.FunctionModel(FORMULA)
X, POOL = draw(B, *SHAPE), draw(4, *SHAPE, seed=1)
ATTRIBUTES = ("values", "standard_error", "gap", "error", "output", "baseline_output", "evaluations")

METHODS: dict[str, Callable[..., Any]] = {
    "SmoothGrad": lambda model, **options: fa.SmoothGrad(model, samples=N, **options),
    "noisy product": lambda model, **options: fa.SmoothGrad(fa.InputXGradient(model, **options), samples=N),
    "ExpectedGradients": lambda model, **options: fa.ExpectedGradients(model, POOL, samples=N, **options),
    "independent": lambda model, **options: fa.ExpectedGradients(model, POOL, samples=N, stratified=False, **options),
    "GradientShap": lambda model, **options: fa.GradientShap(model, POOL, samples=N, noise=0.1, **options),
}


def bits(att: fa.Attribution) -> tuple[Any, ...]:
    errors = att.standard_error if isinstance(att.standard_error, tuple) else (att.standard_error,)
    return (*certificate(att), *(e.tobytes() for e in errors))


def close(got: Any, want: Any, rtol: float) -> None:
    """Within ``rtol`` of the largest entry."""
    np.testing.assert_allclose(wide(got), want, rtol=0, atol=rtol * np.abs(want).max())


def check(att: fa.Attribution, e: int, want: reference.Sampled, tolerance: float) -> None:
    """Example e of an attribution of one input against the definition."""
    close(att.values[e], want.values, tolerance)
    close(att.standard_error[e], want.standard_error, 4 * tolerance)
    np.testing.assert_allclose(att.gap[e], want.gap, atol=10 * tolerance)
    assert att.error[e] == pytest.approx(want.error, rel=10 * tolerance)
    assert att.evaluations[e] == want.evaluations


# ---- against the definition ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("multiply", [False, True])
@pytest.mark.parametrize("options", [{}, {"noise": 0.4}, {"stdev": 0.3}, {"kind": "squared"}], ids=str)
def test_smooth_grad_is_its_definition(options: dict[str, Any], multiply: bool, dtype: str) -> None:
    x = X.astype(dtype)
    method = fa.InputXGradient(MODEL) if multiply else MODEL
    att = fa.SmoothGrad(method, samples=N, seed=9, **options)(x, 1, ids=IDS)
    assert att.values.dtype == att.standard_error.dtype == ("float64" if dtype == "float64" else "float32")
    f = FORMULA.definition(1)
    explain = reference.input_x_gradient if multiply else reference.saliency
    for e in range(B):
        want = reference.smooth_grad(lambda z: explain(f, z), wide(x[e]), samples=N, seed=9, id=int(IDS[e]), **options)
        check(att, e, want, DTYPES[dtype])
    assert np.isnan(att.gap).all() and np.isnan(att.baseline_output).all() and att.converged.all()
    close(att.output, f(wide(x))[0], DTYPES[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_variance_is_its_definition(dtype: str) -> None:
    x = X.astype(dtype)
    att = fa.SmoothGrad(MODEL, samples=N, kind="variance")(x, 1)
    assert att.standard_error is None and np.isnan(att.error).all() and (att.values >= 0).all()
    for e in range(B):
        want = reference.smooth_grad(
            lambda z: reference.saliency(FORMULA.definition(1), z), wide(x[e]), samples=N, kind="variance", id=e
        )
        close(att.values[e], want.values, 10 * DTYPES[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("noise", [0.0, 0.2])
@pytest.mark.parametrize("references", [1, 4, 50])
def test_expected_gradients_are_their_definition(references: int, noise: float, stratified: bool, dtype: str) -> None:
    x, pool = X.astype(dtype), draw(references, *SHAPE, seed=2, dtype=dtype)
    options = {"samples": 10, "stratified": stratified, "seed": 4}
    method = (
        fa.GradientShap(MODEL, pool, noise=noise, **options) if noise else fa.ExpectedGradients(MODEL, pool, **options)
    )
    att = method(x, 2, versus=0, ids=IDS)
    f = FORMULA.definition(2, 0)
    for e in range(B):
        want = reference.gradient_shap(f, wide(x[e]), wide(pool), noise=noise, id=int(IDS[e]), **options)
        check(att, e, want, DTYPES[dtype])
    np.testing.assert_allclose(att.gap, wide(att.values).sum((1, 2)) - (att.output - att.baseline_output), atol=1e-5)


def test_several_inputs_have_noise_of_their_own() -> None:
    x, pool = (X, X.copy(), draw(B, 3, seed=3)), (POOL, POOL, draw(4, 3, seed=4))
    seen = Recorder(FORMULA)
    att = fa.GradientShap(fa.FunctionModel(seen), pool, samples=N, noise=0.2, rows=5)(x, 1)
    f = FORMULA.definition(1)
    for e in range(B):
        want = reference.gradient_shap(f, tuple(p[e] for p in x), pool, samples=N, noise=0.2, id=e)
        for t in range(3):
            close(att.values[t][e], want.values[t], 1e-13)
            close(att.standard_error[t][e], want.standard_error[t], 1e-12)
        assert att.gap[e] == pytest.approx(want.gap, abs=1e-12)
        assert att.error[e] == pytest.approx(want.error, rel=1e-12)
    seen = Recorder(FORMULA)
    fa.SmoothGrad(fa.FunctionModel(seen), samples=N)(x, 1)
    assert not np.isclose(seen.rows_of(0, 0)[1:], seen.rows_of(0, 1)[1:]).any()  # equal inputs, other noise


# ---- operation by operation, over more features than one block of the kernels -------------------------------------


def recorded(dtype: str, method: Callable[[Any], Any], size: int = 5001) -> tuple[NDArray[Any], Recorder, Any]:
    """A model of gradient x - 1 and value 100 e + r; r counts the rows of a call."""

    def f(points: Any, index: Any, scalars: Any) -> Any:
        values = 100.0 * index + np.arange(len(index))
        return values[None], ((points[0] - points[0].dtype.type(1))[None],)

    x = draw(B, size, dtype=dtype)
    seen = Recorder(f)
    return x, seen, method(fa.FunctionModel(seen))(x, 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sample(dtype: str) -> None:
    """An example's own row first, bit for bit, and then its draws: alphas and references as drawn."""
    pool = draw(3, 5001, seed=8, dtype=dtype)
    x, seen, _ = recorded(dtype, lambda model: fa.ExpectedGradients(model, pool, samples=5, rows=10**6))
    np.testing.assert_array_equal(seen.index[0], np.repeat(range(B), 6))
    for e in range(B):
        rows = seen.points[0][0].reshape(B, 6, -1)[e]
        np.testing.assert_array_equal(rows[0], x[e])
        alphas = reference.drawn_alphas(0, e, 5, stratified=True)[:, None]
        bases = wide(pool)[reference.drawn_references(0, e, 5, 3)]
        np.testing.assert_allclose(rows[1:], bases + alphas * (wide(x[e]) - bases), atol=5 * DTYPES[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_moments_and_spread(dtype: str) -> None:
    x, seen, att = recorded(dtype, lambda model: fa.SmoothGrad(model, samples=5, rows=4))
    for e in range(B):
        draws = seen.rows_of(e)[1:] - x.dtype.type(1)
        assert draws.shape == (5, 5001)
        close(att.values[e], wide(draws).mean(0), 1e-6)
        close(att.standard_error[e], wide(draws).std(0, ddof=1) / np.sqrt(5), 1e-6)
    error = wide(att.standard_error).sum(1) / np.abs(wide(att.values)).sum(1)
    np.testing.assert_allclose(att.error, error, rtol=1e-6)


def test_store() -> None:
    """The outputs at the references, for each example its own, in float64."""
    pool = draw(4, 6, seed=8)

    def f(points: Any, index: Any, scalars: Any) -> Any:
        return (100.0 * index + points[0].sum(1)).astype(np.float32)[None], (np.zeros_like(points[0])[None],)

    seen = Recorder(f)
    att = fa.ExpectedGradients(fa.FunctionModel(seen), pool, samples=5, rows=3)(draw(B, 6), 0)
    np.testing.assert_array_equal(
        np.unique(np.concatenate([p[0] for p in seen.points[-4:]]), axis=0), np.unique(pool, axis=0)
    )
    sums = pool.sum(1)
    for e in range(B):
        outputs = (100.0 * e + sums[reference.drawn_references(0, e, 5, 4)]).astype(np.float32)
        assert att.baseline_output[e] == pytest.approx(outputs.astype(np.float64).mean(), rel=1e-14)


@pytest.mark.parametrize("references", [1, 3, 10, 25])
def test_references_are_drawn_equally_often(references: int) -> None:
    """Each floor(n / M) or ceil(n / M) times."""
    x, pool = np.zeros((B, 2)), np.arange(1.0, references + 1)[:, None] * np.ones(2)

    def f(points: Any, index: Any, scalars: Any) -> Any:  # the contribution of a draw to feature 0 tells its reference
        return points[0].sum(1)[None], (np.ones_like(points[0])[None],)

    n = 10
    att = fa.ExpectedGradients(fa.FunctionModel(f), pool, samples=n)(x)
    for e in range(B):
        times = np.bincount(reference.drawn_references(0, e, n, references), minlength=references)
        assert times.min() >= n // references and times.max() <= -(-n // references)
        assert att.values[e, 0] == pytest.approx(-(times * pool[:, 0]).sum() / n)
    assert att.gap == pytest.approx(0, abs=1e-12)


# ---- the same bits ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", METHODS)
def test_chunk_and_threads_change_no_bit(name: str, dtype: str) -> None:
    x = X.astype(dtype)
    want = bits(METHODS[name](MODEL)(x, 1))
    for rows in (1, 2, 3, 7, 8, 9, 23, 24, 1000):
        assert bits(METHODS[name](MODEL, rows=rows)(x, 1)) == want, rows
    try:
        for count in (1, 2, 5):
            fa.set_num_threads(count)
            assert bits(METHODS[name](MODEL)(x, 1)) == want, count
    finally:
        fa.set_num_threads(2)


@pytest.mark.parametrize("name", METHODS)
def test_a_batch_split_in_two_gives_the_same_bits(name: str) -> None:
    method = METHODS[name](MODEL)
    x, target = draw(6, *SHAPE), np.array([0, 1, 2, 0, 1, 2])
    whole = method(x, target)
    ids = np.arange(6)
    for part in (slice(0, 2), slice(2, 6), slice(5, None, -2), [3]):
        chosen = ids[part]
        att = method(x[chosen], target[chosen], ids=chosen)
        for field in ATTRIBUTES:
            assert getattr(att, field).tobytes() == getattr(whole, field)[chosen].tobytes(), (part, field)
    others = method(x[:2], target[:2], ids=ids[2:4])
    assert not np.isclose(others.values, whole.values[:2]).any()


@pytest.mark.parametrize("name", METHODS)
def test_neighbours_change_no_bit(name: str) -> None:
    method = METHODS[name](MODEL)
    want = method(X, 1)
    changed = X.copy()
    changed[1] = np.nan
    with pytest.warns(UserWarning, match=r"1 of 3 examples \(1\)"):
        att = method(changed, 1)
    assert np.isnan(att.values[1]).all() and np.isnan(att.error[1])
    assert att.converged.tolist() == [True, False, True]
    for field in ATTRIBUTES:
        assert getattr(att, field)[::2].tobytes() == getattr(want, field)[::2].tobytes(), field


@pytest.mark.parametrize("name", METHODS)
def test_memory_that_runs_out_changes_no_bit(name: str) -> None:
    refused = []

    def small(points: Any, index: Any, scalars: Any) -> Any:
        if len(index) > 4:
            refused.append(len(index))
            raise MemoryError
        return FORMULA(points, index, scalars)

    att = METHODS[name](fa.FunctionModel(small), rows=100)(X, 1)
    assert refused and bits(att) == bits(METHODS[name](MODEL)(X, 1))
    assert int(att.engine.split(", ")[-1].removesuffix(" rows)")) <= 4


def test_memory_may_run_out_at_the_references_too() -> None:
    refused, rows = [], 0

    def small(points: Any, index: Any, scalars: Any) -> Any:
        nonlocal rows
        if rows >= B * (N + 1) and len(index) > 2:
            refused.append(len(index))
            raise MemoryError
        rows += len(index)
        return FORMULA(points, index, scalars)

    att = METHODS["ExpectedGradients"](fa.FunctionModel(small))(X, 1)
    assert refused and bits(att) == bits(METHODS["ExpectedGradients"](MODEL)(X, 1))


def test_seeds_change_the_draws_and_nothing_else_does() -> None:
    for method in (fa.SmoothGrad(MODEL, seed=1), fa.ExpectedGradients(MODEL, POOL, seed=1)):
        first = bits(method(X, 1))
        np.random.default_rng(0).normal(size=10)
        assert bits(method(X, 1)) == first
        found = {first}
        for seed in (0, 2, 2**32 + 1, 2**63 + 1, np.uint64(5)):
            method.seed = seed
            found.add(bits(method(X, 1)))
        assert len(found) == 6


# ---- the ends of the ranges ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SmoothGrad", "ExpectedGradients"])
def test_one_draw_has_no_error_and_two_have(name: str) -> None:
    method = METHODS[name](MODEL)
    method.samples = 1
    att = method(X, 1)
    assert np.isnan(att.standard_error).all() and np.isnan(att.error).all()
    assert np.isfinite(att.values).all() and att.converged.all() and (att.evaluations == 1).all()
    method.samples = 2
    att = method(X, 1)
    assert (att.standard_error > 0).all() and np.isfinite(att.error).all()


def test_no_noise_is_the_gradient_without_error() -> None:
    want = fa.Saliency(MODEL)(X, 1).values
    for options in ({"noise": 0}, {"stdev": 0.0}):
        att = fa.SmoothGrad(MODEL, samples=8, **options)(X, 1)
        close(att.values, want, 1e-15)
        assert not att.standard_error.any() and not att.error.any()
    constant = np.full((2, 4), 3.0)  # max - min = 0
    assert not fa.SmoothGrad(MODEL)(constant, 1).error.any()


@pytest.mark.parametrize("name", METHODS)
def test_an_empty_batch(name: str) -> None:
    att = METHODS[name](MODEL)(X[:0], 1)
    assert att.values.shape == att.standard_error.shape == (0, *SHAPE)
    assert all(getattr(att, field).shape == (0,) for field in ATTRIBUTES[2:])


def test_an_empty_batch_has_no_error_of_a_variance_either() -> None:
    assert fa.SmoothGrad(MODEL, kind="variance")(X[:0], 1).standard_error is None


@pytest.mark.parametrize("method", [fa.SmoothGrad, lambda model: fa.ExpectedGradients(model, (POOL, POOL))])
def test_gradients_that_are_none_count_as_zero(method: Any) -> None:
    def f(points: Any, index: Any, scalars: Any) -> Any:
        return points[0].sum((1, 2))[None], (np.ones_like(points[0])[None], None)

    att = method(fa.FunctionModel(f))((X, X), 0)
    assert not att.values[1].any() and not att.standard_error[1].any() and att.values[0].any()


def test_small_gradients_keep_their_error() -> None:
    """Their squares are below float32; a standard error of zero would promise what nobody knows."""

    def f(points: Any, index: Any, scalars: Any) -> Any:
        return (points[0] ** 2).sum(1)[None], (points[0][None] * np.float32(1e-24),)

    x = draw(2, 6, dtype=np.float32)
    att = fa.SmoothGrad(fa.FunctionModel(f), samples=20)(x)
    assert att.values.any() and (att.error > 0.01).all()


def test_float16_ranges_do_not_overflow() -> None:
    """max - min of a float16 input may be above 65504; the noise is not."""
    x = np.array([[-40000, 40000, 1, 2]], np.float16)
    seen = Recorder(FORMULA)
    fa.SmoothGrad(fa.FunctionModel(seen), samples=5, noise=0.01)(x, 0)
    assert all(np.isfinite(p[0]).all() for p in seen.points)
    assert 100 < np.abs(wide(seen.rows_of(0)[1:]) - wide(x)).max() < 5000


def test_infinite_inputs_warn_of_themselves_only() -> None:
    x = np.array([[np.inf, np.inf, np.inf], [1, 2, 3]])

    def f(points: Any, index: Any, scalars: Any) -> Any:
        with np.errstate(invalid="ignore"):
            return points[0].sum(1)[None], (points[0][None],)

    with pytest.warns(UserWarning, match=r"\(0\)") as caught:
        att = fa.SmoothGrad(fa.FunctionModel(f))(x)
    assert {w.category for w in caught} == {UserWarning}
    assert np.isfinite(att.values[1]).all() and att.converged.tolist() == [False, True]


# ---- cost ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_gradients_are_counted(name: str) -> None:
    """One row an example beside its draws, and each draw's reference once."""
    seen = Recorder(FORMULA)
    METHODS[name](fa.FunctionModel(seen))(X, 1)
    wanted = 0
    if name not in ("SmoothGrad", "noisy product"):
        drawn = [reference.drawn_references(0, e, N, len(POOL), name != "independent") for e in range(B)]
        wanted = sum(len(set(d)) for d in drawn)
    assert seen.rows == B * (N + 1) + wanted
