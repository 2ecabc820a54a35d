"""What a model may do to the engine (csrc/python/callback_model.c): fail, lack memory, answer wrongly or with NaN."""

from __future__ import annotations

import _thread
import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from helpers_native import Formula, certificate, draw

import fastattr as fa

pytestmark = [pytest.mark.native, pytest.mark.backend]


# ---- what is not finite -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", ["auto", 10])
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["input", "base", "value", "gradient"])
def test_nonfinite_numbers_stay_in_their_example(where: str, poison: float, steps: Any) -> None:
    x, base, formula = draw(6, 3), draw(6, 3, seed=1), Formula()

    def function(points: Any, index: Any, scalars: Any) -> Any:
        values, (gradients,) = formula(points, index, scalars)
        if where == "value":
            values[0, index == 4] = poison
        elif where == "gradient":
            gradients[0, index == 4, 1] = poison
        return values, (gradients,)

    method = fa.IntegratedGradients(fa.FunctionModel(function), steps=steps, rows=10)
    healthy = fa.IntegratedGradients(fa.FunctionModel(formula), steps=steps)(x, target=1, baseline=base)
    if where in ("input", "base"):
        (x if where == "input" else base)[4, 0] = poison
    with (
        np.errstate(all="ignore"),
        pytest.warns(UserWarning, match=r"^1 of 6 examples \(4\) have NaN") as caught,
    ):
        att = method(x, target=1, baseline=base)
    assert len(caught) == 1 and caught[0].filename == __file__
    others = [0, 1, 2, 3, 5]
    for field in ("values", "gap", "error", "evaluations", "converged", "output", "baseline_output"):
        np.testing.assert_array_equal(getattr(att, field)[others], getattr(healthy, field)[others])
    assert not att.converged[4]
    assert where == "value" or not np.isfinite(att.values[4]).all()


def test_a_nan_gradient_at_an_end_point_does_not_matter() -> None:
    """Rows of weight 0 are asked for their value only."""
    x, formula = draw(3, 2), Formula()

    def function(points: Any, index: Any, scalars: Any) -> Any:
        values, (gradients,) = formula(points, index, scalars)
        ends = (points[0] == x[index]).all(axis=1) | (points[0] == 0).all(axis=1)
        gradients[0, ends] = np.nan
        return values, (gradients,)

    for steps in ("auto", 9):
        found = [fa.IntegratedGradients(fa.FunctionModel(f), steps=steps)(x, target=1) for f in (function, formula)]
        assert certificate(found[0]) == certificate(found[1])


def test_equal_input_and_baseline_give_zeros() -> None:
    x = draw(4, 3)
    for steps in ("auto", 8):
        att = fa.IntegratedGradients(fa.FunctionModel(Formula()), steps=steps)(x, target=1, baseline=x)
        assert not att.values.any() and not att.gap.any() and att.converged.all()
        assert np.isnan(att.error).all() if steps == 8 else not att.error.any()
        assert (att.evaluations == (15 if steps == "auto" else 8)).all()


@pytest.fixture
def quick_collections() -> Iterator[None]:
    """Each time that memory runs out garbage is collected: of a test session's many objects only the new ones."""
    gc.freeze()
    yield
    gc.unfreeze()


# ---- failures -----------------------------------------------------------------------------------------------------


class Scarce:
    """A model that has no memory for more than ``limit`` rows."""

    def __init__(self, limit: int, error: type[Exception] = MemoryError, text: str = "no room") -> None:
        self.limit, self.error, self.text = limit, error, text
        self.asked: list[int] = []
        self.raised: list[Exception] = []

    def __call__(self, points: Any, index: Any, scalars: Any) -> Any:
        self.asked.append(len(index))
        if len(index) > self.limit:
            self.raised.append(self.error(self.text))
            raise self.raised[-1]
        return Formula()(points, index, scalars)


class OutOfMemoryError(RuntimeError):
    """Named as torch's is."""


OUT_OF_MEMORY = [
    (MemoryError, "no room"),
    (type("Mine", (MemoryError,), {}), ""),
    (OutOfMemoryError, "CUDA says no"),
    (RuntimeError, "[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory"),
    (RuntimeError, "CUDA out of memory. Tried to allocate 2.00 GiB"),
]


@pytest.mark.usefixtures("quick_collections")
@pytest.mark.parametrize("steps", ["auto", 12])
@pytest.mark.parametrize(("error", "text"), OUT_OF_MEMORY)
def test_out_of_memory_asks_for_half_and_gives_the_same_bits(error: Any, text: str, steps: Any) -> None:
    x = draw(6, 4)
    wanted = fa.IntegratedGradients(fa.FunctionModel(Formula()), steps=steps)(x, target=1)
    for limit in (1, 2, 5, 40):
        model = Scarce(limit, error, text)
        att = fa.IntegratedGradients(fa.FunctionModel(model), steps=steps)(x, target=1)
        assert certificate(att) == certificate(wanted)
        served = [n for n in model.asked if n <= limit]
        assert sum(served) == wanted.evaluations.sum() + 2 * 6
        refused = len(model.raised)
        assert 0 < refused <= 7 and all(n > limit for n in model.asked[:refused])  # lowered once for the whole call
        assert max(model.asked[refused:]) <= model.asked[refused - 1] // 2
        rows = int(att.engine.removesuffix(" rows)").rsplit(" ", 1)[1])
        assert max(served) <= rows <= limit


@pytest.mark.parametrize(("error", "text"), OUT_OF_MEMORY)
def test_out_of_memory_at_one_row_comes_out_as_it_was(error: Any, text: str) -> None:
    model = Scarce(0, error, text)
    with pytest.raises(error) as caught:
        fa.IntegratedGradients(fa.FunctionModel(model))(draw(2, 3), target=0)
    assert caught.value is model.raised[-1] and model.asked[-1] == 1


@pytest.mark.parametrize("after", [0, 1, 3])
@pytest.mark.parametrize("kind", [KeyError, RuntimeError, SystemExit, KeyboardInterrupt, StopIteration, GeneratorExit])
def test_exceptions_come_out_as_they_were(kind: type[BaseException], after: int) -> None:
    """The same object with the model's own frame in its traceback; the next call knows nothing of it."""
    x, error, calls = draw(3, 4), kind("mine"), 0

    def function(points: Any, index: Any, scalars: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == after + 1:
            raise error
        return Formula()(points, index, scalars)

    method = fa.IntegratedGradients(fa.FunctionModel(function), rows=5)
    with pytest.raises(kind) as caught:
        method(x, target=1)
    assert caught.value is error and caught.traceback[-1].name == "function"
    assert calls == after + 1
    wanted = fa.IntegratedGradients(fa.FunctionModel(Formula()))(x, target=1)
    assert certificate(method(x, target=1)) == certificate(wanted)


def test_ctrl_c_between_chunks() -> None:
    """A signal that arrives in the model is seen before the next chunk at the latest."""
    calls = 0

    def function(points: Any, index: Any, scalars: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            _thread.interrupt_main()
        return Formula()(points, index, scalars)

    with pytest.raises(KeyboardInterrupt):
        fa.IntegratedGradients(fa.FunctionModel(function), rows=5)(draw(30, 4), target=1)
    assert calls <= 3


def test_a_model_may_explain_inside() -> None:
    """Calls nest: nothing is kept between evaluate and release but the call's own."""
    x = draw(3, 4)
    inner: list[fa.Attribution] = []

    def function(points: Any, index: Any, scalars: Any) -> Any:
        inner.append(fa.IntegratedGradients(fa.FunctionModel(Formula()))(x, target=1))
        return Formula()(points, index, scalars)

    outer = fa.IntegratedGradients(fa.FunctionModel(function), rows=20)(x, target=1)
    assert len(inner) > 1 and {certificate(outer)} == set(map(certificate, inner))


# ---- wrong answers ------------------------------------------------------------------------------------------------

R, D = 3 * 7, 4  # rows of the only chunk: 5 nodes and the ends
VALUES, GRADIENTS = np.zeros((1, R)), np.zeros((1, R, D))
WRONG: list[tuple[Any, type[Exception], str]] = [
    (None, TypeError, r"expected a tuple \(values, gradients\), got NoneType"),
    (VALUES, TypeError, r"expected a tuple \(values, gradients\), got ndarray"),
    ([VALUES, (GRADIENTS,)], TypeError, r"expected a tuple \(values, gradients\), got list"),
    ((VALUES, (GRADIENTS,), 0, 0), TypeError, r"expected a tuple \(values, gradients\)"),
    ((VALUES, GRADIENTS), TypeError, "expected a tuple of gradients, got ndarray"),
    ((VALUES, [GRADIENTS]), TypeError, "expected a tuple of gradients, got list"),
    ((VALUES, ()), TypeError, "expected a tuple of 1 gradients"),
    ((VALUES, (GRADIENTS, GRADIENTS)), TypeError, "expected a tuple of 1 gradients"),
    ((None, (GRADIENTS,)), TypeError, "values: expected a NumPy array, .* got NoneType"),
    ((0.0, (GRADIENTS,)), TypeError, "values: expected a NumPy array, .* got float"),
    ((VALUES[0].tolist(), (GRADIENTS,)), TypeError, "values: expected a NumPy array, .* got list"),
    ((VALUES.astype(int), (GRADIENTS,)), TypeError, "values: expected a floating dtype, got int64"),
    ((VALUES[:, 1:], (GRADIENTS,)), ValueError, "values: expected .*21.* got .*20"),
    ((np.zeros((2, R)), (GRADIENTS,)), ValueError, "values: expected .*21.* got .*"),
    ((np.zeros(()), (GRADIENTS,)), ValueError, "values: expected .*21.* got .*"),
    ((VALUES, (GRADIENTS.astype("f4"),)), TypeError, "gradient.*: expected float64, got float32"),
    ((VALUES, (GRADIENTS.astype(complex),)), TypeError, "gradient"),
    ((VALUES, (GRADIENTS.astype(object),)), TypeError, "gradient.*: expected a numeric array"),
    ((VALUES, (GRADIENTS[:, 1:],)), ValueError, "gradient.*: expected .* got "),
    ((VALUES, (GRADIENTS[..., 1:],)), ValueError, "gradient.*: expected .* got "),
    ((VALUES, (np.zeros((1, D, R)),)), ValueError, "gradient.*: expected .* got "),
    ((VALUES, (GRADIENTS.astype(GRADIENTS.dtype.newbyteorder()),)), TypeError, "gradient.* native byte order"),
    ((VALUES, (3.0,)), TypeError, "gradient.*: expected a NumPy array, .* got float"),
]


@pytest.mark.parametrize(("answer", "kind", "message"), WRONG)
def test_wrong_answers(answer: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        fa.IntegratedGradients(fa.FunctionModel(lambda *_: answer), steps=5)(draw(3, D))


def test_right_answers_come_in_any_layout_and_float() -> None:
    """Strides, no axis for the one scalar, read-only memory, None for a gradient of zero."""
    x, formula = draw(3, 4), Formula()
    wanted = certificate(fa.IntegratedGradients(fa.FunctionModel(formula), steps=5)(x, target=1))
    for change in (
        lambda v, g: (np.repeat(v, 2, axis=1)[:, ::2], np.repeat(g, 2, axis=2)[..., ::2]),
        lambda v, g: (v[:, ::-1].copy()[:, ::-1], np.asfortranarray(g)),
        lambda v, g: (np.broadcast_to(v, v.shape), np.broadcast_to(g, g.shape)),
        lambda v, g: (v.astype(np.float64), g[0]),
    ):

        def function(points: Any, index: Any, scalars: Any, change: Any = change) -> Any:
            values, (gradients,) = formula(points, index, scalars)
            values, gradients = change(values, gradients)
            return values, (gradients,)

        assert certificate(fa.IntegratedGradients(fa.FunctionModel(function), steps=5)(x, target=1)) == wanted
    nothing = fa.IntegratedGradients(fa.FunctionModel(lambda points, *_: (np.zeros((1, len(points[0]))), (None,))))(x)
    assert not nothing.values.any() and nothing.converged.all()


def test_the_points_are_read_only() -> None:
    def function(points: Any, *_: Any) -> Any:
        points[0][:] = 0

    with pytest.raises(ValueError, match="read-only"):
        fa.Saliency(fa.FunctionModel(function))(draw(2, 3))


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        ({"inputs": np.zeros((2, 3), int)}, TypeError, "inputs: expected a floating dtype, got int64"),
        ({"inputs": np.float32(3)}, TypeError, "inputs: expected a tensor or array"),
        ({"inputs": np.zeros(())}, ValueError, "inputs: expected a batch axis"),
        ({"inputs": (np.zeros((2, 3)), np.zeros((3, 3)))}, ValueError, "same number of examples"),
        ({"inputs": (np.zeros((2, 3)), np.zeros((2, 3), int))}, TypeError, "takes floating inputs only"),
        ({"inputs": ()}, ValueError, "expected at least one array"),
        ({"inputs": np.zeros((2, 3), np.longdouble)}, TypeError, "expected one of float16"),
        ({"baseline": np.zeros((2, 4))}, ValueError, r"baseline: expected shape \(3,\) or \(2, 3\)"),
        ({"baseline": np.zeros((5, 3))}, ValueError, "baseline: expected shape"),
        ({"baseline": "zero"}, TypeError, "baseline"),
        ({"args": (1,)}, ValueError, "args, kwargs: a FunctionModel takes none"),
        ({"target": [1, 2, 3]}, ValueError, "target: expected an int or shape"),
        ({"target": 1.0}, TypeError, "target: expected integers"),
        ({"target": -1}, ValueError, "target: expected 0 <= target"),
        ({"target": 1, "versus": 1}, ValueError, "versus: expected another class than target"),
    ],
)
def test_wrong_questions(call: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        fa.IntegratedGradients(fa.FunctionModel(Formula()))(**{"inputs": np.zeros((2, 3))} | call)
