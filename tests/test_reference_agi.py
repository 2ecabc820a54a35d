"""The definitions of AGI and of adversarial examples on models whose paths are known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fastattr.reference_agi import Classifier, adversarial, agi, agi_path, straight_path

W = np.array([[2.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [0.5, 3.0, -2.0]])
BIAS = np.array([1.0, 0.0, -9.0])
X = np.array([0.5, 0.25, 1.0])
LINEAR = Classifier(lambda x: W @ x + BIAS, lambda x, c: W[c])


def flat(model: Classifier, x: np.ndarray) -> Classifier:
    """``model`` for the tuple (x[:1], x[1:])."""
    whole = np.concatenate
    return Classifier(
        lambda z: model.value(whole(z)), lambda z, c: (model.gradient(whole(z), c)[:1], model.gradient(whole(z), c)[1:])
    )


def softmax_of(model: Classifier) -> Classifier:
    def value(x):
        e = np.exp(model.value(x) - model.value(x).max())
        return e / e.sum()

    def log_gradient(x, c):
        return model.gradient(x, c) - sum(p * model.gradient(x, j) for j, p in enumerate(value(x)))

    return Classifier(value, lambda x, c: value(x)[c] * log_gradient(x, c), log_gradient)


def square(sharpness: float = 1.0) -> Classifier:
    """f_0 = |x|^2 sharpness, f_1 climbs along (1, 1) and never wins."""
    return Classifier(
        lambda x: np.array([sharpness * x @ x, x.sum() - 1e6]),
        lambda x, c: 2 * sharpness * x if c == 0 else np.ones_like(x),
    )


# ---- a linear model -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quadrature", [None, "trapezoid", "left", "midpoint"])
def test_a_linear_model_by_hand(quadrature):
    """Class 1 climbs along (-1, 1, 0) and overtakes class 0, which leads by 1.75 and loses 1.25 a step of .25."""
    found = agi_path(LINEAR, X, 0, 1, quadrature=quadrature, step_size=0.25)
    assert LINEAR.value(X) @ [1, -1, 0] == 2.0
    assert (found.steps, found.reached, found.stalled, found.goal) == (2, True, False, 1)
    np.testing.assert_array_equal(found.vertices, [[0.5, 0.25, 1], [0.25, 0.5, 1], [0, 0.75, 1]])
    np.testing.assert_array_equal(found.values, [2 * 0.5, 1 * 0.5, 0])
    assert found.gap == 0 and found.target_output == 0.25


def test_the_sum_over_classes_and_the_mean():
    options = {"step_size": 0.25, "max_steps": 3}
    each, paths, _ = agi(LINEAR, X, 0, [1, 2], reduce="none", **options)
    total, again, _ = agi(LINEAR, X, 0, [1, 2], **options)
    np.testing.assert_array_equal(total, each[0] + each[1])
    np.testing.assert_array_equal(agi(LINEAR, X, 0, [1, 2], reduce="mean", **options)[0], total / 2)
    assert [p.steps for p in paths] == [p.steps for p in again] == [2, 3]
    assert [p.reached for p in paths] == [True, False]
    np.testing.assert_array_equal(each[1], -W[0] * 0.75 * np.sign(W[2]))


def test_margin_climbs_the_difference():
    found = agi_path(LINEAR, X, 0, 2, direction="margin", step_size=0.25, max_steps=1)
    np.testing.assert_array_equal(found.vertices[1] - X, [-0.25, 0.25, -0.25])
    plain = agi_path(LINEAR, X, 0, 2, step_size=0.25, max_steps=1)
    np.testing.assert_array_equal(plain.vertices[1] - X, [0.25, 0.25, -0.25])


def test_untargeted_descends_the_target_until_another_class_wins():
    found = agi_path(LINEAR, X, 0, 7, direction="untargeted", step_size=0.25)
    np.testing.assert_array_equal(found.vertices[1] - X, [-0.25, 0.25, 0])
    assert (found.goal, found.steps, found.reached) == (-1, 2, True)
    total, paths, units = agi(LINEAR, X, 0, [1, 2], direction="untargeted", step_size=0.25)
    assert len(paths) == 1 and np.array_equal(total, found.values) and units == 2 + found.units
    wrong = agi_path(LINEAR, X, 1, 7, direction="untargeted")
    assert wrong.reached and wrong.steps == 0 and not wrong.values.any()


def test_l2_steps_have_their_length():
    found = agi_path(LINEAR, X, 0, 1, step="l2", step_size=0.5, max_steps=1)
    np.testing.assert_allclose(found.vertices[1] - X, 0.5 * np.array([-1, 1, 0]) / np.sqrt(2))
    pair = agi_path(flat(LINEAR, X), (X[:1], X[1:]), 0, 1, step="l2", step_size=0.5, max_steps=1)
    np.testing.assert_array_equal(np.concatenate(pair.values), found.values)
    assert pair.gap == found.gap and pair.units == found.units
    still = agi_path(Classifier(LINEAR.value, lambda x, c: 0 * x), X, 0, 1, step="l2")
    assert still.stalled and still.steps == 0 and not np.isnan(still.values).any()


# ---- where a path may go ------------------------------------------------------------------------------------------


def test_clamp_and_radius_hold_at_every_vertex():
    clamped = agi_path(LINEAR, X, 0, 1, step_size=0.2, clamp=(0.0, [1, 0.4, 1]))
    np.testing.assert_allclose(clamped.vertices, [X, [0.3, 0.4, 1], [0.1, 0.4, 1], [0, 0.4, 1]], atol=1e-15)
    assert clamped.stalled and not clamped.reached and clamped.steps == 3
    np.testing.assert_allclose(clamped.values, -W[0] * (clamped.vertices[-1] - X))
    near = agi_path(LINEAR, X, 0, 1, step_size=0.2, clamp=(0.0, [1, 0.4, 1]), radius=0.3)
    np.testing.assert_allclose(near.vertices, [X, [0.3, 0.4, 1], [0.2, 0.4, 1]], atol=1e-15)
    assert near.stalled and near.steps == 2


def test_what_is_already_there_takes_no_step():
    found = agi_path(LINEAR, X, 1, 0)
    assert found.reached and not found.stalled and found.steps == 0 and not found.values.any()
    assert found.gap == 0 and found.target_output == LINEAR.value(X)[1] and found.units == 1


def test_the_last_vertex_may_arrive_too():
    for m, reached in ((1, False), (2, True), (3, True)):
        found = agi_path(LINEAR, X, 0, 1, step_size=0.25, max_steps=m)
        assert found.reached == reached and found.steps == min(m, 2)


# ---- local and straight -------------------------------------------------------------------------------------------


def test_local_restarts_from_x_and_counts_the_whole_displacement():
    """f_1 = -(x - 2)^2 is climbed by steps to x + eps and, once beyond 2, back to x - eps."""
    model = Classifier(
        lambda x: np.array([x[0] ** 2, -((x[0] - 2) ** 2)]),
        lambda x, c: 2 * x if c == 0 else -2 * (x - 2),
    )
    found = agi_path(model, np.array([1.5]), 0, 1, path="local", step_size=1.0, max_steps=3)
    np.testing.assert_array_equal(np.ravel(found.vertices), [1.5, 2.5, 0.5, 2.5])
    np.testing.assert_array_equal(found.values, [-(3.0 * 1 + 5.0 * -1 + 1.0 * 1)])
    assert np.isnan(found.gap) and found.steps == 3 and found.target_output == 6.25
    iterated = agi_path(model, np.array([1.5]), 0, 1, step_size=1.0, max_steps=3)
    np.testing.assert_array_equal(np.ravel(iterated.vertices), [1.5, 2.5, 1.5, 2.5])


def test_local_and_straight_refuse_another_quadrature():
    for path, quadrature in (("local", "trapezoid"), ("local", "midpoint"), ("straight", "left")):
        with pytest.raises(ValueError, match=f'quadrature: path="{path}"'):
            agi_path(LINEAR, X, 0, 1, path=path, quadrature=quadrature)


def test_straight_integrates_from_the_end_to_x():
    x = np.array([0.5, 0.25])
    found = agi_path(square(), x, 0, 1, path="straight", step_size=0.1, max_steps=4)
    end = x + 0.4
    np.testing.assert_allclose(found.vertices[-1], end)
    np.testing.assert_allclose(found.values, x**2 - end**2, rtol=1e-12)
    assert abs(found.gap) < 1e-12
    np.testing.assert_array_equal(straight_path(square(), x, found.vertices[-1], 0).values, found.values)


# ---- quadratures --------------------------------------------------------------------------------------------------


def test_quadratures_on_a_quadratic():
    """d f_0 = 2 x d + d^2 a feature: the left rule misses d^2, the other two nothing."""
    x, options = np.array([1.0, 2.0]), {"step_size": 0.125, "max_steps": 4}
    exact = x**2 - (x + 0.5) ** 2
    for rule in ("trapezoid", "midpoint"):
        found = agi_path(square(), x, 0, 1, quadrature=rule, **options)
        np.testing.assert_allclose(found.values, exact, rtol=1e-14)
        assert abs(found.gap) < 1e-14
    left = agi_path(square(), x, 0, 1, quadrature="left", **options)
    np.testing.assert_allclose(left.values, exact + 4 * 0.125**2)
    assert left.gap == pytest.approx(2 * 4 * 0.125**2)


def test_log_gradients_survive_where_probabilities_underflow():
    """Towards a class of probability exp(-1000) = 0 the plain gradient is 0, that of the logarithm is not."""
    scaled = Classifier(lambda x: 1000 * LINEAR.value(x), lambda x, c: 1000 * LINEAR.gradient(x, c))
    model = softmax_of(scaled)
    assert model.value(X)[2] == 0 and not model.gradient(X, 2).any()
    assert agi_path(model, X, 0, 2, max_steps=2).steps == 2
    assert agi_path(model._replace(log_gradient=None), X, 0, 2, max_steps=2).stalled


# ---- cost ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("quadrature", "ends"), [("left", 0), ("trapezoid", 2), ("midpoint", 0)])
def test_forward_units_are_those_of_the_formula(quadrature, ends):
    """1 + (1 + k) at x for all classes, 3 a later row, and the ends."""
    never = Classifier(lambda x: np.array([1.0, *np.zeros(20)]), lambda x, c: np.ones_like(x))
    k = m = 20
    _, paths, units = agi(never, X, 0, range(1, k + 1), quadrature=quadrature, max_steps=m)
    middle = 2 * k * m if quadrature == "midpoint" else 0
    assert units == 1162 + ends * k + middle and all(p.steps == m for p in paths)
    assert agi(never, X, 0, [1], direction="untargeted", quadrature=quadrature)[2] == 2 + 2 * 19 + ends + middle // 20
    early = agi_path(LINEAR, X, 0, 1, quadrature=quadrature, step_size=0.25)
    assert early.units == 1 + 3 * 2 + (4 if quadrature == "midpoint" else 0)


# ---- adversarial examples -----------------------------------------------------------------------------------------


def test_fgsm_is_one_step_that_never_stops_early():
    one = {"step_size": 0.5, "max_steps": 1, "stop": "never", "clamp": (0, 1)}
    away, towards = adversarial(LINEAR, X, 0, **one), adversarial(LINEAR, X, 0, towards=2, **one)
    np.testing.assert_array_equal(away.x, [0, 0.75, 1])
    np.testing.assert_array_equal(towards.x, [1, 0.75, 0.5])
    assert (away.reached, away.predicted, away.steps) == (True, 1, 1)
    already = adversarial(LINEAR, X, 1, **one)
    assert already.steps == 1 and already.reached
    assert adversarial(LINEAR, X, 1, step_size=0.5, max_steps=1).steps == 0


def test_pgd_starts_anywhere_and_stays_inside_the_ball():
    options = {"step_size": 0.125, "max_steps": 10, "radius": 0.25, "stop": "never"}
    plain = adversarial(LINEAR, X, 0, **options)
    np.testing.assert_array_equal(plain.x, X + 0.25 * np.array([-1, 1, 0]))
    assert plain.steps == 2  # no further step would move it
    started = adversarial(LINEAR, X, 0, start=X + [0.25, -0.25, 0.125], **options)
    np.testing.assert_array_equal(started.x, X + [-0.25, 0.25, 0.125])
    assert started.steps == 4
    far = adversarial(LINEAR, X, 0, start=X + 5, **options)
    np.testing.assert_array_equal(far.x, X + [-0.25, 0.25, 0.25])
