"""Each definition of `fastattr.reference`, derived once more in a line of algebra."""

from __future__ import annotations

import numpy as np
import pytest

from fastattr import reference

RULES = reference.RULES


def polynomial(points):
    """f = sum_i i x_i^3, gradient 3 i x_i^2."""
    i = np.arange(points.shape[1])
    return (i * points**3).sum(axis=1), 3 * i * points**2


def test_rules_average_constants_and_linear_functions():
    for rule in RULES:
        for n in (2, 7, 15, 50):
            nodes, weights = reference.quadrature(rule, n)
            assert nodes.shape == weights.shape == (n,)
            assert weights.sum() == pytest.approx(1, abs=1e-14)
            assert np.all(np.diff(nodes) > 0) and nodes[0] >= 0 and nodes[-1] <= 1
            if rule not in ("left", "right"):
                assert weights @ nodes == pytest.approx(0.5, abs=1e-14)


def test_left_right_midpoint_trapezoid_by_hand():
    for rule, nodes, weights in (
        ("left", [0, 0.25, 0.5, 0.75], [0.25] * 4),
        ("right", [0.25, 0.5, 0.75, 1], [0.25] * 4),
        ("midpoint", [0.125, 0.375, 0.625, 0.875], [0.25] * 4),
        ("trapezoid", [0, 1 / 3, 2 / 3, 1], [1 / 6, 1 / 3, 1 / 3, 1 / 6]),
    ):
        got = reference.quadrature(rule, 4)
        np.testing.assert_allclose(got[0], nodes, rtol=0, atol=1e-16)
        np.testing.assert_allclose(got[1], weights, rtol=0, atol=1e-16)


def test_trapezoid_of_one_node_is_the_midpoint():
    assert [float(a[0]) for a in reference.quadrature("trapezoid", 1)] == [0.5, 1]


@pytest.mark.parametrize("n", [1, 2, 5, 50, 255])
def test_gauss_legendre_is_exact_to_degree_2n_minus_1(n):
    nodes, weights = reference.quadrature("gauss_legendre", n)
    for degree in {0, 1, n, 2 * n - 1}:
        assert weights @ nodes**degree == pytest.approx(1 / (degree + 1), abs=2e-15)
    if n <= 5:  # and no further; for large n the defect (n!)^4 / ((2n)!^2 (2n+1)) is below rounding
        assert abs(weights @ nodes ** (2 * n) - 1 / (2 * n + 1)) > 1e-7


@pytest.mark.parametrize("n", [1, 2, 6, 7, 15, 31])
def test_fejer_is_exact_to_degree_n_minus_1_and_positive(n):
    nodes, weights = reference.quadrature("nested", n)
    for degree in range(n):
        assert weights @ nodes**degree == pytest.approx(1 / (degree + 1), abs=1e-15)
    assert weights.min() > 0


def test_fejer_levels_are_nested_bit_for_bit():
    for n in (7, 15, 31, 63, 127):
        coarse, _ = reference.quadrature("nested", n)
        fine, _ = reference.quadrature("nested", 2 * n + 1)
        assert np.array_equal(coarse, fine[1::2])


@pytest.mark.parametrize(
    ("rule", "n", "message"),
    [("simpson", 5, "rule: expected one of"), ("left", 0, "at least 1")],
)
def test_quadrature_refuses(rule, n, message):
    with pytest.raises(ValueError, match=message):
        reference.quadrature(rule, n)


def test_saliency_and_input_x_gradient():
    x = np.array([2.0, -1.0, 3.0])
    np.testing.assert_array_equal(reference.saliency(polynomial, x), 3 * np.arange(3) * x**2)
    np.testing.assert_array_equal(reference.input_x_gradient(polynomial, x), 3 * np.arange(3) * x**3)
    minus = lambda points: tuple(-a for a in polynomial(points))  # noqa: E731
    np.testing.assert_array_equal(reference.saliency(minus, x, absolute=True), 3 * np.arange(3) * x**2)


@pytest.mark.parametrize("rule", RULES)
def test_linear_model_is_exact_under_every_rule(rule, rng):
    w, x, baseline = rng.normal(size=(3, 5))
    linear = lambda p: (p @ w + 2, np.broadcast_to(w, p.shape))  # noqa: E731
    result = reference.integrated_gradients(linear, x, baseline, rule, 15)
    np.testing.assert_allclose(result.values, w * (x - baseline), rtol=1e-13)
    assert result.converged and abs(result.gap) < 1e-12 and result.evaluations == 15


@pytest.mark.parametrize("rule", ["gauss_legendre", "midpoint", "trapezoid", "nested"])
def test_quadratic_model_is_exact_from_the_trapezoid_up(rule, rng):
    x, baseline = rng.normal(size=(2, 5))
    square = lambda p: ((p**2).sum(axis=1), 2 * p)  # noqa: E731
    result = reference.integrated_gradients(square, x, baseline, rule, 7)
    np.testing.assert_allclose(result.values, x**2 - baseline**2, atol=1e-13)


def test_left_rule_misses_the_quadratic_by_d_squared_over_n():
    square = lambda p: ((p**2).sum(axis=1), 2 * p)  # noqa: E731
    result = reference.integrated_gradients(square, np.array([3.0]), np.array([0.0]), "left", 10)
    assert result.values[0] == pytest.approx(9 - 9 / 10)
    assert result.gap == pytest.approx(-0.9) and not result.converged and np.isnan(result.error)


def test_without_the_factor_the_integral_is_left(rng):
    x, baseline = rng.normal(size=(2, 4))
    result = reference.integrated_gradients(polynomial, x, baseline, multiply_by_inputs=False)
    expected = np.arange(4) * (x**3 - baseline**3) / (x - baseline)
    np.testing.assert_allclose(result.values, expected, rtol=1e-12)
    assert np.isnan(result.gap) and result.converged
    nested = reference.integrated_gradients_nested(polynomial, x, baseline, multiply_by_inputs=False)
    np.testing.assert_allclose(nested.values, expected, rtol=1e-12)
    assert np.isnan(nested.gap) and nested.error < 1e-12


def test_tuple_inputs_are_the_concatenated_input_cut_in_two(rng):
    x, baseline = rng.normal(size=(2, 6))

    def pair(points):
        values, gradients = polynomial(np.concatenate([points[0], points[1].reshape(-1, 4)], axis=1))
        return values, (gradients[:, :2], gradients[:, 2:].reshape(-1, 2, 2))

    whole = reference.integrated_gradients_nested(polynomial, x, baseline)
    cut = reference.integrated_gradients_nested(
        pair, (x[:2], x[2:].reshape(2, 2)), (baseline[:2], baseline[2:].reshape(2, 2))
    )
    np.testing.assert_allclose(np.concatenate([a.ravel() for a in cut.values]), whole.values, rtol=1e-12)
    assert cut.values[1].shape == (2, 2) and cut.evaluations == whole.evaluations
    assert reference.saliency(pair, (x[:2], x[2:].reshape(2, 2)))[0].shape == (2,)


def test_nested_polynomial_stops_at_15_with_a_bar_of_rounding(rng):
    x, baseline = rng.normal(size=(2, 6))
    result = reference.integrated_gradients_nested(polynomial, x, baseline)
    np.testing.assert_allclose(result.values, np.arange(6) * (x**3 - baseline**3), rtol=1e-12, atol=1e-14)
    assert result.evaluations == 15 and result.converged and result.error < 1e-13


def test_nested_bar_is_the_formula_and_covers_the_truth():
    steep = lambda p: (np.tanh(9 * (p - 0.3)).sum(axis=1), 9 / np.cosh(9 * (p - 0.3)) ** 2)  # noqa: E731
    x, baseline = np.array([1.0]), np.array([0.0])
    result = reference.integrated_gradients_nested(steep, x, baseline, 1e-4)
    exact = np.tanh(9 * 0.7) + np.tanh(9 * 0.3)
    fixed = [reference.integrated_gradients(steep, x, baseline, "nested", n) for n in (7, 15, 31, 63, 127)]
    at = result.evaluations
    new, old = fixed[[7, 15, 31, 63, 127].index(at)], fixed[[7, 15, 31, 63, 127].index(at) - 1]
    gap = new.values[0] - exact
    assert result.error == pytest.approx(max(abs(new.values[0] - old.values[0]), 2 * abs(gap)) / abs(new.values[0]))
    assert result.error == new.error
    assert abs(gap) / exact <= result.error <= 1e-4 and old.error > 1e-4


def test_nested_at_the_cap_says_so():
    jump = lambda p: (np.sign(p - 0.37).sum(axis=1), np.zeros_like(p))  # noqa: E731
    kink = lambda p: (np.sqrt(p).sum(axis=1), 0.5 / np.sqrt(p + 1e-300))  # noqa: E731
    x, baseline = np.array([1.0]), np.array([0.0])
    singular = reference.integrated_gradients_nested(kink, x, baseline, 1e-6, 63)
    assert singular.evaluations == 63 and not singular.converged and singular.error > 1e-6
    blind = reference.integrated_gradients_nested(jump, x, baseline)
    assert blind.gap == -2 and blind.error == np.inf and blind.evaluations == 255 and not blind.converged


def test_nested_takes_rounding_for_what_it_is():
    """The explained scalar moves by less than float32 resolves: no number of nodes improves on that."""
    noise = np.random.default_rng(0)

    def flat(points):
        return 1 + 1e-7 * points.sum(axis=1), 1e-7 * (1 + noise.normal(size=points.shape))

    result = reference.integrated_gradients_nested(flat, np.ones(1), np.zeros(1), dtype=np.float32)
    assert result.error > 0.01 and result.evaluations == 15 and result.converged
    exact = reference.integrated_gradients_nested(flat, np.ones(1), np.zeros(1), 1e-3, 63)
    assert exact.evaluations == 63 and not exact.converged


def test_equal_input_and_baseline_give_zeros_and_no_nan():
    x = np.array([1.0, 2.0])
    result = reference.integrated_gradients_nested(polynomial, x, x)
    assert not result.values.any() and result.gap == 0 and result.error == 0 and result.converged


@pytest.mark.parametrize("steps", [3, 20, 254])
def test_nested_wants_its_own_levels(steps):
    with pytest.raises(ValueError, match="steps: expected 2"):
        reference.integrated_gradients(polynomial, np.ones(2), np.zeros(2), "nested", steps)
    with pytest.raises(ValueError, match="max_steps: expected at least 15"):
        reference.integrated_gradients_nested(polynomial, np.ones(2), np.zeros(2), max_steps=14)


def relu_net(rng, hidden=12, features=5):
    W1, b1 = rng.normal(size=(hidden, features)), rng.normal(size=hidden)
    w2, b2 = rng.normal(size=hidden), rng.normal()
    return W1, b1, w2, b2


def test_exact_relu_integral_is_complete(rng):
    for _ in range(50):
        W1, b1, w2, b2 = relu_net(rng)
        x, baseline = rng.normal(size=(2, 5))
        f = lambda z: w2 @ np.maximum(W1 @ z + b1, 0) + b2  # noqa: B023, E731
        exact = reference.exact_relu_integrated_gradients(W1, b1, w2, b2, x, baseline)
        assert exact.sum() == pytest.approx(f(x) - f(baseline), abs=1e-12)


def test_exact_relu_integral_is_the_limit_of_the_midpoint_rule(rng):
    W1, b1, w2, b2 = relu_net(rng)
    x, baseline = rng.normal(size=(2, 5))

    def net(points):
        z = points @ W1.T + b1
        return np.maximum(z, 0) @ w2 + b2, ((z > 0) * w2) @ W1

    exact = reference.exact_relu_integrated_gradients(W1, b1, w2, b2, x, baseline)
    dense = reference.integrated_gradients(net, x, baseline, "midpoint", 200_000).values
    np.testing.assert_allclose(dense, exact, atol=3e-4)  # 12 breakpoints, each off by at most one cell of 5e-6
    coarse = reference.integrated_gradients(net, x, baseline, "midpoint", 20).values
    assert np.abs(coarse - exact).max() > 10 * np.abs(dense - exact).max()


def test_exact_relu_integral_without_a_breakpoint_is_linear():
    exact = reference.exact_relu_integrated_gradients([[1.0, 2.0]], [5.0], [3.0], 0.0, [1.0, 1.0], [0.0, 0.0])
    np.testing.assert_array_equal(exact, [3.0, 6.0])
    halfway = reference.exact_relu_integrated_gradients([[1.0]], [-0.5], [1.0], 0.0, [1.0], [0.0])
    np.testing.assert_allclose(halfway, [0.5])


@pytest.fixture
def rng():
    return np.random.default_rng(7)
