"""The definitions of Integrated Gradients along other paths than the straight one, as plainly as `fastattr.reference`.

Letters: N nodes, V vertices, S = V - 1 segments; g the path, g(0) its first point and g(1) the input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .reference import Array, Parts, Result, ValueAndGradient, _evaluate, _like, _norm, _parts, _relative, quadrature

Pieces = Callable[[str, int], list[Parts]]
"""(rule, n) -> the contributions of the S segments, by n nodes each."""


def polyline_integrated_gradients(
    value_and_gradient: ValueAndGradient,
    vertices: Any,
    rule: str | None = None,
    steps: int | str = "auto",
    *,
    tolerance: float = 0.01,
    max_steps: int = 255,
) -> Result:
    """A = sum_s (v_{s+1} - v_s) * sum_k w_k df/dx(v_s + a_k (v_{s+1} - v_s)): Integrated Gradients on every segment.

    ``gap`` is sum A - (f(v_S) - f(v_0)). For nested rules error = max(sum_s |A_s,new - A_s,old|_1, 2 |gap|) / |A_new|_1
    with A_s the contribution of segment s: differences of segments do not cancel, and all segments double together.

    Parameters
    ----------
    value_and_gradient : callable
        points (N, ...) -> values (N,), gradients (N, ...).
    vertices : array (V, ...) or tuple of arrays
        V >= 2; the last is the input.
    rule, steps : str or None, int or "auto"
        Nodes per segment as in `fastattr.IntegratedGradients`.
    tolerance, max_steps : float, int
        As in `fastattr.reference.integrated_gradients_nested`.

    Returns
    -------
    Result
        ``evaluations`` over all segments.

    References
    ----------
    M. Sundararajan, A. Taly, Q. Yan, "Axiomatic attribution for deep networks", ICML 2017, arXiv:1703.01365, sec. 3.
    """
    parts = _parts(vertices)
    segments = [tuple((p[s], p[s + 1] - p[s]) for p in parts) for s in range(len(parts[0]) - 1)]

    def pieces(name: str, n: int) -> list[Parts]:
        nodes, weights = quadrature(name, n)
        found = []
        for segment in segments:
            points = tuple(start + np.multiply.outer(nodes, d) for start, d in segment)
            _, gradients = _evaluate(value_and_gradient, vertices, points)
            mean = (np.tensordot(weights, g, axes=1) for g in gradients)
            found.append(tuple(d * m for (_, d), m in zip(segment, mean, strict=True)))
        return found

    ends, _ = _evaluate(value_and_gradient, vertices, tuple(p[[0, -1]] for p in parts))
    return _integral(pieces, vertices, ends, len(segments), rule, steps, tolerance, max_steps)


def path_integrated_gradients(
    value_and_gradient: ValueAndGradient,
    path: Callable[[Array], Any],
    tangent: Callable[[Array], Any],
    rule: str | None = None,
    steps: int | str = "auto",
    *,
    tolerance: float = 0.01,
    max_steps: int = 255,
) -> Result:
    """A = sum_k w_k df/dx(g(a_k)) * dg/da(a_k), a rule for the integral over a in [0, 1].

    Parameters
    ----------
    value_and_gradient : callable
        points (N, ...) -> values (N,), gradients (N, ...).
    path, tangent : callable
        g and dg/da: a (N,) -> (N, ...), tuples for several inputs.
    rule, steps, tolerance, max_steps
        As in `polyline_integrated_gradients`.

    Returns
    -------
    Result
        ``gap`` is sum A - (f(g(1)) - f(g(0))).

    References
    ----------
    M. Sundararajan, A. Taly, Q. Yan, "Axiomatic attribution for deep networks", ICML 2017, arXiv:1703.01365, sec. 3.
    """
    ends_at = path(np.array([0.0, 1.0]))

    def pieces(name: str, n: int) -> list[Parts]:
        nodes, weights = quadrature(name, n)
        _, gradients = _evaluate(value_and_gradient, ends_at, _parts(path(nodes)))
        slopes = _parts(tangent(nodes))
        return [tuple(np.tensordot(weights, g * t, axes=1) for g, t in zip(gradients, slopes, strict=True))]

    ends, _ = _evaluate(value_and_gradient, ends_at, _parts(ends_at))
    return _integral(pieces, ends_at, ends, 1, rule, steps, tolerance, max_steps)


def _integral(
    pieces: Pieces,
    like: Any,
    ends: Array,
    segments: int,
    rule: str | None,
    steps: int | str,
    tolerance: float,
    max_steps: int,
) -> Result:
    """The sum of the pieces and its bar; ``ends`` are f at the first point and at the last."""
    name = rule or ("nested" if isinstance(steps, str) else "gauss_legendre")
    n = 15 if isinstance(steps, str) else steps
    while True:
        new = pieces(name, n)
        total = _total(new)
        gap = float(sum(a.sum() for a in total)) - float(ends[1] - ends[0])
        norm = _norm(total)
        if name != "nested":
            return Result(_like(like, total), gap, np.nan, n * segments, abs(gap) <= tolerance * norm)
        old = pieces(name, (n - 1) // 2)
        change = sum(_norm(tuple(a - b for a, b in zip(p, q, strict=True))) for p, q in zip(new, old, strict=True))
        error = max(_relative(change, norm), _relative(2 * abs(gap), norm))
        rounding = 16 * float(np.finfo(np.float64).eps) * max(float(np.abs(ends).max()), norm)
        converged = error <= tolerance or max(change, 2 * abs(gap)) <= rounding
        if converged or not isinstance(steps, str) or 2 * n + 1 > max_steps:
            return Result(_like(like, total), gap, error, n * segments, converged)
        n = 2 * n + 1


def _total(pieces: list[Parts]) -> Parts:
    return tuple(np.sum([piece[t] for piece in pieces], axis=0) for t in range(len(pieces[0])))
