"""AGI of models given by formulas: the reference to rounding, and the same bits however the work is cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers_agi import PATHS, Classes, others, picture
from helpers_native import Recorder, certificate, draw, kinked

import fastattr as fa
from fastattr import ascending, reference_agi

pytestmark = pytest.mark.native

K, B, D = 6, 5, 7
MODEL = Classes(K)
X = 0.4 * draw(B, D)
TARGET = MODEL.predicted(X)
WRONG = others(TARGET, K)
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "left": {"quadrature": "left"},
    "midpoint": {"quadrature": "midpoint"},
    "local": {"path": "local"},
    "l2": {"step": "l2", "step_size": 0.15},
    "margin": {"direction": "margin"},
    "untargeted": {"direction": "untargeted"},
    "clamp": {"clamp": (-0.4, 0.5), "step_size": 0.11},
    "radius": {"radius": 0.23, "clamp": (-1.0, 0.4)},
    "midpoint in a ball": {"radius": 0.2, "quadrature": "midpoint", "step": "l2", "step_size": 0.3},
    "local margin": {"path": "local", "direction": "margin", "step": "l2", "step_size": 0.4},
    "untargeted midpoint": {"direction": "untargeted", "quadrature": "midpoint"},
    "one step": {"max_steps": 1},
    "mean": {"reduce": "mean"},
}


def boxed(x: Any, options: dict[str, Any]) -> Any:
    """``x`` inside the clamp of the options."""
    return np.clip(x, *options["clamp"]) if "clamp" in options else x


def method(function: Any, classes: Any = WRONG, **options: Any) -> fa.AGI:
    return fa.AGI(fa.FunctionModel(function), classes=classes, **options)


# ---- the definition -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIONS)
def test_equal_to_algorithm_1_one_class_at_a_time(name: str) -> None:
    options = OPTIONS[name]
    x, definition = boxed(X, options), MODEL.classifier()
    att = method(MODEL, **options)(x, TARGET)
    untargeted = options.get("direction") == "untargeted"
    for e in range(B):
        target = int(TARGET[e])
        want, paths, units = reference_agi.agi(definition, x[e], target, WRONG[e], **options)
        np.testing.assert_allclose(att.values[e], want, rtol=1e-10, atol=1e-10 * np.abs(want).max())
        assert att.paths.classes[e].tolist() == ([-1] if untargeted else WRONG[e].tolist())
        assert att.paths.steps[e].tolist() == [p.steps for p in paths]
        assert att.paths.reached[e].tolist() == [p.reached for p in paths]
        assert att.paths.stalled[e].tolist() == [p.stalled for p in paths]
        np.testing.assert_allclose(att.paths.target_output[e], [p.target_output for p in paths], rtol=1e-10)
        np.testing.assert_allclose(att.paths.gap[e], [p.gap for p in paths], rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(att.output[e], definition.value(x[e])[target], rtol=1e-12)
        assert att.paths.forward_units[e] == units
    np.testing.assert_allclose(att.gap, att.paths.gap.sum(1), rtol=1e-10, atol=1e-12)
    assert np.isnan(att.baseline_output).all() and np.isnan(att.error).all()


def test_the_cases_above_are_worth_their_name() -> None:
    """Some paths arrive early, some late, some not at all, some stall."""
    found = {name: method(MODEL, **o)(boxed(X, o), TARGET).paths for name, o in OPTIONS.items()}
    assert 0.2 < found["plain"].reached.mean() < 1 and len(np.unique(found["plain"].steps)) > 5
    assert found["radius"].stalled.any()
    assert not (found["radius"].stalled & found["radius"].reached).any()
    assert found["untargeted"].reached.any() and found["untargeted"].classes.shape == (B, 1)
    assert (found["one step"].steps <= 1).all()


@pytest.mark.parametrize("name", ["plain", "midpoint", "local", "l2", "radius", "untargeted"])
def test_several_inputs_are_one_cut_in_two(name: str) -> None:
    """Sums, norms and steps run over all inputs."""
    options = OPTIONS[name]
    x = boxed(X, options)
    pair = x[:, :3].copy(), x[:, 3:].reshape(B, 2, 2).copy()

    def joined(points: Any, index: Any, scalars: Any) -> Any:
        whole = np.concatenate([points[0], points[1].reshape(len(index), -1)], axis=1)
        values, (slopes,), predicted = MODEL((whole,), index, scalars)
        return values, (slopes[..., :3], slopes[..., 3:].reshape(*slopes.shape[:2], 2, 2)), predicted

    whole, cut = method(MODEL, **options)(x, TARGET), method(joined, **options)(pair, TARGET)
    np.testing.assert_allclose(
        np.concatenate([v.reshape(B, -1) for v in cut.values], axis=1), whole.values, rtol=1e-10, atol=1e-12
    )
    for field in PATHS:
        np.testing.assert_allclose(getattr(cut.paths, field), getattr(whole.paths, field), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["plain", "left", "midpoint", "local", "l2"])
def test_float32_is_close(name: str) -> None:
    options = OPTIONS[name]
    narrow, exact = (method(MODEL, **options)(X.astype(t), TARGET) for t in (np.float32, np.float64))
    assert narrow.values.dtype == np.float32
    assert np.corrcoef(narrow.values.ravel(), exact.values.ravel())[0, 1] >= 0.9999


def test_what_is_kept_apart_adds_up() -> None:
    total, mean, each = (method(MODEL, reduce=r, end_points=True)(X, TARGET) for r in ("sum", "mean", "none"))
    assert each.values.shape == (B, K - 1, D) and total.values.shape == (B, D)
    added = np.zeros((B, D))
    for i in range(K - 1):
        added += each.values[:, i]
    np.testing.assert_array_equal(added, total.values)
    np.testing.assert_allclose(total.values / (K - 1), mean.values, rtol=1e-13)
    definition = MODEL.classifier()
    for e in range(B):
        for i, goal in enumerate(WRONG[e]):
            want = reference_agi.agi_path(definition, X[e], int(TARGET[e]), int(goal))
            np.testing.assert_allclose(each.values[e, i], want.values, rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(total.paths.end_points[e, i], want.vertices[-1], rtol=1e-12)


# ---- the same bits ------------------------------------------------------------------------------------------------

BITS = ("plain", "left", "midpoint", "local", "l2", "untargeted", "clamp", "midpoint in a ball")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", BITS)
def test_chunks_and_threads_change_no_bit(name: str, dtype: Any) -> None:
    options = {"max_steps": 7} | OPTIONS[name]
    x = boxed(X, options).astype(dtype)
    wanted = picture(method(MODEL, rows=10**6, **options)(x, TARGET))
    for rows, threads in ((1, 1), (3, 2), (7, 3), ("auto", 0)):
        fa.set_num_threads(threads)
        assert picture(method(MODEL, rows=rows, **options)(x, TARGET)) == wanted
    fa.set_num_threads(0)


@pytest.mark.parametrize("link", [kinked, None], ids=["kinked", "smooth"])
@pytest.mark.parametrize("name", BITS)
def test_neighbours_change_no_bit(name: str, link: Any) -> None:
    options, model = {"max_steps": 7} | OPTIONS[name], Classes(K, link) if link else MODEL
    x = boxed(X, options)
    target = model.predicted(x)
    wrong = others(target, K)
    whole = method(model, wrong, rows=4, **options)(x, target)
    for e in range(B):
        one = method(model, wrong[e : e + 1], **options)(x[e : e + 1], target[e : e + 1])
        part = {f: getattr(whole, f)[e : e + 1] for f in ("values", "gap", "error", "output", "baseline_output")}
        part |= {f: getattr(whole, f)[e : e + 1] for f in ("evaluations", "converged")}
        assert certificate(fa.Attribution(**part)) == certificate(one)
        for field in PATHS:
            np.testing.assert_array_equal(getattr(whole.paths, field)[e], getattr(one.paths, field)[0])


@pytest.mark.parametrize("slots", [1, 3, 7, 11])
@pytest.mark.parametrize("name", ["plain", "midpoint", "local", "l2", "untargeted"])
def test_waves_change_no_bit(name: str, slots: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many paths at a time: parts of an example's, one example's, several examples'."""
    options = OPTIONS[name] | {"max_steps": 7, "end_points": True}
    whole = method(MODEL, **options)(X, TARGET)
    slots = min(slots, whole.paths.classes.size)
    monkeypatch.setattr(ascending, "_slots", lambda *_: slots)
    att = method(MODEL, rows=3, **options)(X, TARGET)
    fields = PATHS if slots >= whole.paths.classes.shape[1] else PATHS[:-1]  # else x is evaluated again for the others
    for field in (*fields, "end_points"):
        np.testing.assert_array_equal(getattr(att.paths, field), getattr(whole.paths, field))
    for field in ("values", "gap", "output", "converged"):
        np.testing.assert_array_equal(getattr(att, field), getattr(whole, field))
    kept, each = (method(MODEL, reduce="none", **options, rows=r)(X, TARGET) for r in (3, 10**6))
    np.testing.assert_array_equal(kept.values, each.values)


def test_the_order_of_a_list_changes_no_bit() -> None:
    """Classes are walked and added in ascending order, whatever the order they were named in."""
    random = np.random.default_rng(3)
    sums = [method(MODEL, c)(X, TARGET) for c in (WRONG, random.permuted(WRONG, axis=1))]
    assert sums[0].values.tobytes() == sums[1].values.tobytes() and sums[0].gap.tobytes() == sums[1].gap.tobytes()
    same = np.flatnonzero(TARGET == TARGET[0])
    named = [c for c in range(K) if c != TARGET[0]]
    for order in (named, named[::-1], random.permutation(named).tolist()):
        att = method(MODEL, order)(X[same], TARGET[same])
        assert att.values.tobytes() == sums[0].values[same].tobytes()


@pytest.mark.parametrize("name", BITS)
def test_each_class_alone_gives_the_same_bits(name: str) -> None:
    """No path notices how many others are still on their way."""
    options = {"max_steps": 7} | OPTIONS[name]
    x = boxed(X, options)
    every = method(MODEL, reduce="none", **options)(x, TARGET)
    if options.get("direction") == "untargeted":
        return
    for i in range(K - 1):
        one = method(MODEL, WRONG[:, i : i + 1], reduce="none", **options)(x, TARGET)
        np.testing.assert_array_equal(one.values[:, 0], every.values[:, i])
        for field in PATHS[:-1]:
            np.testing.assert_array_equal(getattr(one.paths, field)[:, 0], getattr(every.paths, field)[:, i])


def test_more_classes_than_one_pass_holds() -> None:
    """The first evaluation is shared by all classes, however many."""
    many = Classes(25)
    target = many.predicted(X)
    wrong = others(target, 25)
    recorder = Recorder(many)
    att = method(recorder, wrong, max_steps=2)(X, target)
    definition = many.classifier()
    for e in range(B):
        want, _, units = reference_agi.agi(definition, X[e], int(target[e]), wrong[e], max_steps=2)
        np.testing.assert_allclose(att.values[e], want, rtol=1e-10, atol=1e-12)
        assert att.paths.forward_units[e] == units
    assert recorder.rows == B + att.paths.steps.sum()


# ---- what a function is told, and what it must answer -------------------------------------------------------------


def test_a_function_is_asked_for_the_rows_that_are_on_their_way() -> None:
    recorder = Recorder(MODEL)
    att = method(recorder, quadrature="left")(X, TARGET)
    assert recorder.rows == B + att.paths.steps.sum()  # at x once for all classes, then at every later vertex
    for points, index in zip(recorder.points, recorder.index):
        assert index.dtype == np.int64 and len(points[0]) == len(index)
        assert set(index.tolist()) <= set(range(B))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda v, g, p: (v, g), "predicted"),
        (lambda v, g, p: (v, g, None), "predicted"),
        (lambda v, g, p: (v, g, p[:-1]), "predicted"),
        (lambda v, g, p: (v, g, p.astype(float)), "predicted"),
        (lambda v, g, p: (v, g, p.astype(np.int32)), "predicted"),
        (lambda v, g, p: (v[:, :-1], g, p), "values"),
        (lambda v, g, p: (v, (g[0][..., :-1],), p), "gradients"),
        (lambda v, g, p: (v, (), p), "gradients"),
        (lambda v, g, p: [v, g, p], "tuple"),
    ],
)
def test_answers_that_do_not_fit(answer: Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        method(lambda *call: answer(*MODEL(*call)))(X, TARGET)


def test_a_number_of_classes_must_be_known() -> None:
    """A function does not say how many there are."""
    for classes in (3, "all"):
        with pytest.raises((TypeError, ValueError), match="classes: "):
            method(MODEL, classes)(X, TARGET)


# ---- failures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["explained", "ascended"])
@pytest.mark.parametrize("name", ["plain", "left", "midpoint", "local"])
def test_nan_in_one_path_stays_there(name: str, where: str) -> None:
    """Example 2 breaks off on its way; the others keep every bit."""
    options = OPTIONS[name]
    healthy = method(MODEL, rows=6, **options)(X, TARGET)

    def function(points: Any, index: Any, scalars: Any) -> Any:
        values, (slopes,), predicted = MODEL(points, index, scalars)
        far = (index == 2) & (np.abs(points[0] - X[index]).max(axis=1) > 0.03)
        slopes[0 if where == "explained" else -1, far, 1] = np.nan
        return values, (slopes,), predicted

    with pytest.warns(UserWarning, match=r"^1 of 5 examples \(2\) have NaN") as caught:
        att = method(function, rows=6, **options)(X, TARGET)
    assert len(caught) == 1 and caught[0].filename == __file__
    rest = [0, 1, 3, 4]
    np.testing.assert_array_equal(att.values[rest], healthy.values[rest])
    for field in PATHS:
        np.testing.assert_array_equal(getattr(att.paths, field)[rest], getattr(healthy.paths, field)[rest])
    assert not att.converged[2]
    assert np.isnan(att.values[2]).any() or name == "midpoint"  # whose last, broken step is not evaluated any more


@pytest.mark.parametrize("name", ["plain", "midpoint", "local", "untargeted"])
@pytest.mark.parametrize("most", [1, 2, 4])
def test_memory_that_runs_out_loses_no_path(most: int, name: str) -> None:
    """At any moment: a function that takes so many rows at most."""
    options, refused = {"max_steps": 7} | OPTIONS[name], []

    def function(points: Any, index: Any, scalars: Any) -> Any:
        if len(index) > most:
            refused.append(len(index))
            raise MemoryError
        return MODEL(points, index, scalars)

    att = method(function, rows=64, **options)(X, TARGET)
    assert refused and picture(att) == picture(method(MODEL, **options)(X, TARGET))


@pytest.mark.parametrize("good", [0, 1, 3, 8])
def test_memory_may_run_out_late(good: int) -> None:
    calls = []

    def function(points: Any, index: Any, scalars: Any) -> Any:
        calls.append(len(index))
        if len(calls) > good and len(index) > 3:
            raise MemoryError
        return MODEL(points, index, scalars)

    assert picture(method(function, rows=64)(X, TARGET)) == picture(method(MODEL)(X, TARGET))


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, StopIteration])
@pytest.mark.parametrize("good", [0, 1, 5])
def test_what_a_function_raises_travels_out_unchanged(good: int, error: type[BaseException]) -> None:
    raised, calls = error("on purpose"), []

    def function(*call: Any) -> Any:
        calls.append(1)
        if len(calls) > good:
            raise raised
        return MODEL(*call)

    with pytest.raises(error) as caught:
        method(function, rows=8)(X, TARGET)
    assert caught.value is raised and len(calls) == good + 1
    assert method(MODEL)(X, TARGET).paths.steps.any()


def test_inputs_are_read_only_and_unchanged() -> None:
    x = X.copy()
    x.flags.writeable = False
    wrong = WRONG.copy()
    method(MODEL, wrong, clamp=(-5.0, 5.0))(x, TARGET)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(wrong, WRONG)
