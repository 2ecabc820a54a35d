"""The definition of every method, in float64, one example at a time, as plainly as its formula.

Fast code is a claim, this file is what it is tested against.

Letters: N nodes or points, H hidden units, D features; x the input, x' the baseline, d = x - x', f the explained
scalar.
A *value and gradient* function takes points (N, ...) and returns f (N,) and its gradients (N, ...), float64; when the
input is a tuple of arrays, points and gradients are tuples, and sums and norms run over all members jointly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .reference_baselines import data_set_baseline as data_set_baseline
from .reference_baselines import farther_end as farther_end
from .reference_baselines import gaussian_baseline as gaussian_baseline
from .reference_baselines import gaussian_blur as gaussian_blur
from .reference_baselines import mdts as mdts
from .reference_baselines import uniform_baseline as uniform_baseline
from .reference_sampling import Sampled as Sampled
from .reference_sampling import draw_block as draw_block
from .reference_sampling import drawn_alphas as drawn_alphas
from .reference_sampling import drawn_references as drawn_references
from .reference_sampling import expected_gradients as expected_gradients
from .reference_sampling import gradient_shap as gradient_shap
from .reference_sampling import noise as noise
from .reference_sampling import normal as normal
from .reference_sampling import permutation as permutation
from .reference_sampling import philox4x32 as philox4x32
from .reference_sampling import smooth_grad as smooth_grad
from .reference_sampling import stream as stream
from .reference_sampling import uniform as uniform

Array = NDArray[np.float64]
Parts = tuple[Array, ...]
ValueAndGradient = Callable[[Any], tuple[Any, Any]]

RULES = ("gauss_legendre", "midpoint", "trapezoid", "left", "right", "nested")


class Result(NamedTuple):
    """One example's attribution and how far it can be trusted.

    Attributes
    ----------
    values : array or tuple of arrays
        A, in the shape of the input.
    gap : float
        sum A - (f(x) - f(x')); NaN where completeness does not hold (``multiply_by_inputs=False``).
    error : float
        max(|A_new - A_old|_1, 2 |gap|) / |A_new|_1 of the last two nested levels; NaN for the other rules.
    evaluations : int
        Gradients asked for; the two end points of the gap are not counted.
    converged : bool
        Nested: stopped by the rule and not by the cap. Fixed rules: |gap| <= tolerance |A|_1, True without a gap.
    """

    values: Any
    gap: float
    error: float
    evaluations: int
    converged: bool


def quadrature(rule: str, n: int) -> tuple[Array, Array]:
    """Nodes and weights of a quadrature rule on [0, 1].

    Parameters
    ----------
    rule : {"gauss_legendre", "midpoint", "trapezoid", "left", "right", "nested"}
        "nested" is Fejer's second rule, open, whose nodes at 2 n + 1 contain those at n.
    n : int
        Nodes, at least 1; the trapezoid of one node is the midpoint.

    Returns
    -------
    nodes, weights : (n,) float64
        Nodes ascending; the weights sum to one.

    Raises
    ------
    ValueError
        Unknown rule, or no nodes.

    References
    ----------
    J. Waldvogel, "Fast construction of the Fejer and Clenshaw-Curtis quadrature rules", BIT 46 (2006).
    """
    if rule not in RULES:
        raise ValueError(f"rule: expected one of {', '.join(RULES)}, got {rule!r}")
    if n < 1:
        raise ValueError(f"steps: expected at least 1, got {n}")
    k = np.arange(n, dtype=np.float64)
    if rule == "gauss_legendre":
        return _gauss_legendre(n)
    if rule == "nested":
        theta = np.pi * ((k + 1) / (n + 1))
        odd = 2.0 * np.arange(1, (n + 1) // 2 + 1) - 1
        series = (np.sin(np.outer(theta, odd)) / odd).sum(axis=1)
        return np.sin(theta / 2) ** 2, 2 * np.sin(theta) / (n + 1) * series
    if rule == "trapezoid" and n > 1:
        weights = np.full(n, 1 / (n - 1))
        weights[[0, -1]] /= 2
        return k / (n - 1), weights
    offset = {"left": 0.0, "midpoint": 0.5, "trapezoid": 0.5, "right": 1.0}[rule]
    return (k + offset) / n, np.full(n, 1 / n)


def saliency(value_and_gradient: ValueAndGradient, x: Any, *, absolute: bool = False) -> Any:
    """df/dx at x, or its absolute value: arrays in the shape of ``x``.

    References
    ----------
    K. Simonyan, A. Vedaldi, A. Zisserman, "Deep inside convolutional networks", 2013, arXiv:1312.6034.
    """
    parts = _parts(x)
    _, gradients = _evaluate(value_and_gradient, x, tuple(p[None] for p in parts))
    return _like(x, tuple(np.abs(g[0]) if absolute else g[0] for g in gradients))


def input_x_gradient(value_and_gradient: ValueAndGradient, x: Any) -> Any:
    """The input times the gradient, x * df/dx: arrays in the shape of ``x``.

    References
    ----------
    A. Shrikumar, P. Greenside, A. Shcherbina, A. Kundaje, "Not just a black box", 2016, arXiv:1605.01713.
    """
    parts = _parts(x)
    return _like(x, tuple(p * g for p, g in zip(parts, _parts(saliency(value_and_gradient, x)), strict=True)))


def integrated_gradients(
    value_and_gradient: ValueAndGradient,
    x: Any,
    baseline: Any,
    rule: str = "gauss_legendre",
    steps: int = 50,
    *,
    tolerance: float = 0.01,
    multiply_by_inputs: bool = True,
) -> Result:
    """A = (x - x') * sum_k w_k df/dx(x' + a_k (x - x')), a fixed rule for the integral over a in [0, 1].

    Parameters
    ----------
    value_and_gradient : callable
        points (N, ...) -> values (N,), gradients (N, ...).
    x, baseline : array (...) or tuple of arrays
        The input and the baseline, of one shape.
    rule, steps : str, int
        As in `quadrature`; "nested" takes 2^k - 1 >= 7 steps and reports the bar against the level below.
    tolerance : float
        Share of |A|_1 that the gap may have in ``converged``.
    multiply_by_inputs : bool
        False leaves the integral without the factor x - x'; the gap is then NaN.

    Returns
    -------
    Result

    Raises
    ------
    ValueError
        Unknown rule, or steps that it does not have.

    References
    ----------
    M. Sundararajan, A. Taly, Q. Yan, "Axiomatic attribution for deep networks", ICML 2017, arXiv:1703.01365.
    """
    if rule == "nested" and (steps < 7 or steps & (steps + 1)):
        raise ValueError(f"steps: expected 2^k - 1 >= 7 for rule 'nested', got {steps}")
    path = _Path(value_and_gradient, x, baseline, multiply_by_inputs)
    new = path.integral(rule, steps)
    gap, values = path.gap(new), path.values(new)
    reported = gap if multiply_by_inputs else np.nan
    if rule == "nested":
        error, rounding = path.bar(new, path.integral(rule, (steps - 1) // 2), np.float64)
        return Result(_like(x, values), reported, error, steps, error <= tolerance or rounding)
    complete = not multiply_by_inputs or abs(gap) <= tolerance * _norm(values)
    return Result(_like(x, values), reported, np.nan, steps, complete)


def integrated_gradients_nested(
    value_and_gradient: ValueAndGradient,
    x: Any,
    baseline: Any,
    tolerance: float = 0.01,
    max_steps: int = 255,
    *,
    multiply_by_inputs: bool = True,
    dtype: Any = np.float64,
) -> Result:
    """Integrated Gradients that doubles its nodes until its own error bar is met.

    Fejer-2 levels of 7, 15, 31, ... nodes, at least 15. After each level
    error = max(|A_new - A_old|_1, 2 |gap|) / |A_new|_1, with 0/0 = 0; |gap| bounds the L1 error from below, the nested
    difference sees errors that cancel in the sum. Stops at error <= ``tolerance``, or when neither |A_new - A_old|_1
    nor 2 |gap| exceeds the rounding of the model, 16 eps max(|f(x)|, |f(x')|, |A_new|_1).

    Parameters
    ----------
    value_and_gradient : callable
        points (N, ...) -> values (N,), gradients (N, ...).
    x, baseline : array (...) or tuple of arrays
        The input and the baseline, of one shape.
    tolerance : float
        The error, as a share of |A|_1, at which to stop.
    max_steps : int
        Nodes of the last level that is allowed.
    multiply_by_inputs : bool
        False leaves the integral without the factor x - x'. Difference and norm are then those of the integral, the gap
        and its norm still those of the product; the gap is not reported (NaN).
    dtype : dtype
        The floating type the model computes in, whose eps is meant above.

    Returns
    -------
    Result

    Raises
    ------
    ValueError
        ``max_steps`` below 15.
    """
    if max_steps < 15:
        raise ValueError(f"max_steps: expected at least 15, got {max_steps}")
    path = _Path(value_and_gradient, x, baseline, multiply_by_inputs)
    n = 7
    old = path.integral("nested", n)
    while True:
        n = 2 * n + 1
        new = path.integral("nested", n)
        error, rounding = path.bar(new, old, dtype)
        converged = error <= tolerance or rounding
        if converged or 2 * n + 1 > max_steps:
            gap = path.gap(new) if multiply_by_inputs else np.nan
            return Result(_like(x, path.values(new)), gap, error, n, converged)
        old = new


def exact_relu_integrated_gradients(
    W1: ArrayLike, b1: ArrayLike, w2: ArrayLike, b2: ArrayLike, x: ArrayLike, baseline: ArrayLike
) -> Array:
    """Integrated Gradients of f(x) = w2 . relu(W1 x + b1) + b2 without quadrature.

    The gradient is constant between the breakpoints a_h where unit h changes sign on the path; each piece gives its
    length times the gradient at its midpoint.

    Parameters
    ----------
    W1 : (H, D)
    b1, w2 : (H,)
    b2 : scalar
        Does not enter the result.
    x, baseline : (D,)

    Returns
    -------
    (D,) float64
    """
    W1, b1, w2, x, baseline = (np.asarray(a, dtype=np.float64) for a in (W1, b1, w2, x, baseline))
    del b2
    d = x - baseline
    z, dz = W1 @ baseline + b1, W1 @ d
    crossing = -z[dz != 0] / dz[dz != 0]
    inside = crossing[(crossing > 0) & (crossing < 1)]
    knots = np.concatenate([[0.0], np.sort(inside), [1.0]])
    middle, length = (knots[1:] + knots[:-1]) / 2, np.diff(knots)
    active = z + np.outer(middle, dz) > 0  # (pieces, H)
    return np.asarray(d * (length @ ((active * w2) @ W1)))


def _gauss_legendre(n: int) -> tuple[Array, Array]:
    z = -np.cos(np.pi * (np.arange(n) + 0.75) / (n + 0.5))
    for _ in range(8):  # Newton from the asymptotic roots; the last pass only refreshes the derivative
        before, p = np.zeros(n), np.ones(n)
        for j in range(1, n + 1):
            before, p = p, ((2 * j - 1) * z * p - (j - 1) * before) / j
        derivative = n * (z * p - before) / (z * z - 1)
        z = z - p / derivative
    weights = 1 / ((1 - z * z) * derivative**2)
    return (1 + z) / 2, weights / weights.sum()


def _parts(x: Any) -> Parts:
    return tuple(np.asarray(p, dtype=np.float64) for p in (x if isinstance(x, tuple) else (x,)))


def _like(x: Any, parts: Sequence[Array]) -> Any:
    return tuple(parts) if isinstance(x, tuple) else parts[0]


def _sum(parts: Parts) -> float:
    return float(sum(p.sum() for p in parts))


def _norm(parts: Parts) -> float:
    return float(sum(np.abs(p).sum() for p in parts))


def _relative(part: float, whole: float) -> float:
    return 0.0 if part == 0 else np.inf if whole == 0 else part / whole


def _evaluate(value_and_gradient: ValueAndGradient, x: Any, points: Parts) -> tuple[Array, Parts]:
    values, gradients = value_and_gradient(_like(x, points))
    return np.asarray(values, dtype=np.float64), _parts(gradients)


class _Path:
    """The straight path of one example: integrals G of the gradient along it, A = d * G and its bar."""

    def __init__(self, value_and_gradient: ValueAndGradient, x: Any, baseline: Any, multiply: bool) -> None:
        self.value_and_gradient, self.x, self.multiply = value_and_gradient, x, multiply
        self.bases = _parts(baseline)
        self.deltas = tuple(p - q for p, q in zip(_parts(x), self.bases, strict=True))
        ends, _ = _evaluate(
            value_and_gradient, x, tuple(np.stack([p, q]) for p, q in zip(_parts(x), self.bases, strict=True))
        )
        self.f_x, self.f_baseline = float(ends[0]), float(ends[1])

    def integral(self, rule: str, n: int) -> Parts:
        nodes, weights = quadrature(rule, n)
        points = tuple(q + np.multiply.outer(nodes, d) for q, d in zip(self.bases, self.deltas, strict=True))
        _, gradients = _evaluate(self.value_and_gradient, self.x, points)
        return tuple(np.tensordot(weights, g, axes=1) for g in gradients)

    def product(self, integral: Parts) -> Parts:
        return tuple(d * g for d, g in zip(self.deltas, integral, strict=True))

    def values(self, integral: Parts) -> Parts:
        return self.product(integral) if self.multiply else integral

    def gap(self, integral: Parts) -> float:
        return _sum(self.product(integral)) - (self.f_x - self.f_baseline)

    def bar(self, new: Parts, old: Parts, dtype: Any) -> tuple[float, bool]:
        """The error, and whether both its parts are below the rounding of the model."""
        change = _norm(tuple(a - b for a, b in zip(self.values(new), self.values(old), strict=True)))
        twice_gap = 2 * abs(self.gap(new))
        norm, product_norm = _norm(self.values(new)), _norm(self.product(new))
        error = max(_relative(change, norm), _relative(twice_gap, product_norm))
        unit = 16 * float(np.finfo(dtype).eps)
        ends = max(abs(self.f_x), abs(self.f_baseline))
        return error, change <= unit * max(ends, norm) and twice_gap <= unit * max(ends, product_norm)
