"""The definitions of AGI and of adversarial examples, float64, one path at a time, as plainly as Algorithms 1 and 2.

Letters: K classes, f_c the explained output of class c, t the explained class, i a class it is pushed towards, x_k the
vertices of a path from x_0 = x, d_k = x_{k+1} - x_k, m the most steps, eps their size.

References
----------
D. Pan, X. Li, D. Zhu, "Explaining deep neural network models with adversarial gradient integration", IJCAI 2021.
I. Goodfellow, J. Shlens, C. Szegedy, "Explaining and harnessing adversarial examples", ICLR 2015, arXiv:1412.6572.
A. Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR 2018, arXiv:1706.06083.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .reference import Array, Parts, Result, _like, _norm, _parts, integrated_gradients_nested

UNTARGETED = -1
"""The class that an untargeted path reports."""


class Classifier(NamedTuple):
    """A model of one example.

    Attributes
    ----------
    value : callable
        x -> (K,) explained outputs; the largest, the first among equals, is the predicted class.
    gradient : callable
        (x, c) -> df_c/dx in the form of x.
    log_gradient : callable, optional
        (x, c) -> d log f_c/dx for outputs that are probabilities: what is climbed then. It has the sign of
        ``gradient`` and is not lost where f_c underflows.
    """

    value: Callable[[Any], Array]
    gradient: Callable[[Any, int], Any]
    log_gradient: Callable[[Any, int], Any] | None = None


class Path(NamedTuple):
    """One path, from x towards one class.

    Attributes
    ----------
    values : array or tuple of arrays
        A_i, in the form of x.
    gap : float
        sum A_i - (f_t(x) - f_t(x_end)); NaN for ``path="local"``.
    goal, steps : int
        The class i, -1 for untargeted, and the steps taken.
    reached, stalled : bool
        The model predicts i at the end (untargeted: anything but t); not so, and a step would not move.
    target_output : float
        f_t at the end.
    vertices : list
        x_0, ..., x_end in the form of x.
    units : int
        Forward-units of this path: a forward is 1, a gradient 1. Not among them: what x_0 costs for all classes
        together, its forward and df_t/dx; forwards without a gradient, which look where a path of m steps has ended;
        the integral of ``path="straight"``.
    """

    values: Any
    gap: float
    goal: int
    steps: int
    reached: bool
    stalled: bool
    target_output: float
    vertices: list[Any]
    units: int


class Adversarial(NamedTuple):
    """An adversarial example: ``x``, the class the model predicts there, whether that is the one wanted, and steps."""

    x: Any
    predicted: int
    reached: bool
    steps: int


def agi_path(
    model: Classifier,
    x: Any,
    target: int,
    goal: int,
    *,
    path: str = "iterate",
    quadrature: str | None = None,
    step: str = "sign",
    direction: str = "target",
    step_size: float = 0.05,
    max_steps: int = 20,
    clamp: tuple[Any, Any] | None = None,
    radius: float | None = None,
) -> Path:
    """Algorithm 1: A_i = - sum_k (df_t/dx) d_k along the ascent of log f_i from x until the model predicts i.

    Parameters
    ----------
    model : Classifier
    x : array (...) or tuple of arrays
    target, goal : int
        The classes t and i; with ``direction="untargeted"`` the second is not used.
    path, quadrature, step, direction, step_size, max_steps, clamp, radius
        As in `fastattr.AGI`. ``clamp`` broadcasts to every member of x.

    Returns
    -------
    Path
        For ``path="straight"`` the values and gap of `straight_path`.
    """
    rule = quadrature or ("left" if path == "local" else "trapezoid")
    if path == "local" and rule != "left":
        raise ValueError(f'quadrature: path="local" has the left rule only, got {quadrature!r}')
    if path == "straight" and quadrature is not None:
        raise ValueError(f'quadrature: path="straight" has its own, expected None, got {quadrature!r}')
    start = _parts(x)
    now, total, vertices = start, tuple(np.zeros_like(p) for p in start), [start]
    units = steps = 0
    while True:
        outputs = model.value(_like(x, now))
        reached = _arrived(outputs, target, goal, direction)
        last = steps == max_steps
        climbs = 0 if direction == "untargeted" else 1  # untargeted paths climb along the gradient of f_t itself
        if steps > 0:  # a forward, and what is asked for along with it: df_t/dx, and the gradient that is climbed
            units += 2 + climbs if not last else 2 if rule == "trapezoid" and path == "iterate" else 0
        elif not last:
            units += climbs
        stalled = False
        if reached or last:
            break
        u = _direction(model, x, now, target, goal, step, direction)
        origin = start if path == "local" else now
        after = _inside(tuple(o + step_size * v for o, v in zip(origin, u, strict=True)), start, clamp, radius)
        d = tuple(a - o for a, o in zip(after, origin, strict=True))
        stalled = not any(v.any() for v in d)
        if stalled:
            break
        if path != "straight":
            slope, extra = _slope(model, x, target, now, after, d, rule)
            units += extra
            total = tuple(a - g * v for a, g, v in zip(total, slope, d, strict=True))
        now, steps = after, steps + 1
        vertices.append(now)
    end_output = float(outputs[target])
    values, gap = _like(x, total), np.nan
    if path == "straight":
        values, gap = straight_path(model, x, _like(x, now), target)[:2]
    elif path == "iterate":
        gap = float(sum(a.sum() for a in total)) - (float(model.value(x)[target]) - end_output)
    found = [_like(x, v) for v in vertices]
    named = UNTARGETED if direction == "untargeted" else goal
    return Path(values, gap, named, steps, bool(reached), stalled, end_output, found, units)


def agi(
    model: Classifier, x: Any, target: int, goals: Sequence[int], *, reduce: str = "sum", **options: Any
) -> tuple[Any, list[Path], int]:
    """Algorithm 2: the sum (or mean) of A_i over the classes i, their paths, and all forward-units.

    The forward and df_t/dx at x are shared by all classes: 2 units, and those of the paths.

    Parameters
    ----------
    model, x, target
        As in `agi_path`.
    goals : sequence of int
        The false classes i; ignored by ``direction="untargeted"``, which has one path.
    reduce : {"sum", "mean", "none"}
        "none": a list of A_i.
    **options
        Of `agi_path`.
    """
    chosen = [UNTARGETED] if options.get("direction") == "untargeted" else list(goals)
    paths = [agi_path(model, x, target, i, **options) for i in chosen]
    units = 2 + sum(p.units for p in paths)
    if reduce == "none":
        return [p.values for p in paths], paths, units
    sums = tuple(np.sum(members, axis=0) for members in zip(*(_parts(p.values) for p in paths), strict=True))
    return _like(x, tuple(s / len(paths) if reduce == "mean" else s for s in sums)), paths, units


def straight_path(model: Classifier, x: Any, end: Any, target: int, tolerance: float = 0.01) -> Result:
    """Integrated Gradients of f_t from the end of a path to x, by the nested rule (the paper's fig. 4)."""

    def value_and_gradient(points: Any) -> tuple[Any, Any]:
        members = _parts(points)
        each = [_like(x, tuple(p[n] for p in members)) for n in range(len(members[0]))]
        slopes = [_parts(model.gradient(z, target)) for z in each]
        stacked = tuple(np.stack(member) for member in zip(*slopes, strict=True))
        return np.array([model.value(z)[target] for z in each]), _like(x, stacked)

    return integrated_gradients_nested(value_and_gradient, x, end, tolerance)


def adversarial(
    model: Classifier,
    x: Any,
    target: int,
    *,
    towards: int | None = None,
    step_size: float,
    max_steps: int,
    radius: float | None = None,
    clamp: tuple[Any, Any] | None = None,
    stop: str = "arrival",
    start: Any = None,
) -> Adversarial:
    """The ascent of `agi_path` alone: towards a class, or away from ``target``.

    FGSM is one step that never stops early; PGD starts at ``start``, anywhere inside the radius.

    Parameters
    ----------
    model, x, target
        As in `agi_path`.
    towards : int, optional
        The class to climb to; default: descend ``target``, or its logarithm where there is one, until another is
        predicted.
    step_size, max_steps, radius, clamp, stop
        As in `fastattr.adversarial`.
    start : like x, optional
        Where the first step starts; radius and clamp hold around x.
    """
    centre = _parts(x)
    now = centre if start is None else _inside(_parts(start), centre, clamp, radius)
    direction, goal = ("away", UNTARGETED) if towards is None else ("target", towards)
    for steps in range(max_steps + 1):
        outputs = model.value(_like(x, now))
        reached = _arrived(outputs, target, goal, direction)
        if steps == max_steps or (reached and stop == "arrival"):
            break
        u = _direction(model, x, now, target, goal, "sign", direction)
        after = _inside(tuple(p + step_size * v for p, v in zip(now, u, strict=True)), centre, clamp, radius)
        if all(np.array_equal(a, p) for a, p in zip(after, now, strict=True)):
            break
        now = after
    return Adversarial(_like(x, now), int(np.argmax(outputs)), bool(reached), steps)


def _arrived(outputs: Array, target: int, goal: int, direction: str) -> bool:
    predicted = int(np.argmax(outputs))
    return predicted != target if direction in ("untargeted", "away") else predicted == goal


def _direction(model: Classifier, x: Any, now: Parts, target: int, goal: int, step: str, direction: str) -> Parts:
    """u: the sign of what is climbed, or its unit vector over all members; sign(0) = 0 and 0 / 0 = 0."""
    at = _like(x, now)
    climbed = model.log_gradient or model.gradient
    if direction == "margin":
        rise, fall = _parts(model.gradient(at, goal)), _parts(model.gradient(at, target))
        g = tuple(a - b for a, b in zip(rise, fall, strict=True))
    elif direction == "untargeted":
        g = tuple(-a for a in _parts(model.gradient(at, target)))
    elif direction == "away":
        g = tuple(-a for a in _parts(climbed(at, target)))
    else:
        g = _parts(climbed(at, goal))
    if step == "sign":
        return tuple(np.sign(a) for a in g)
    norm = np.sqrt(_norm(tuple(a**2 for a in g)))
    return tuple(a / norm if norm > 0 else np.zeros_like(a) for a in g)


def _inside(points: Parts, centre: Parts, clamp: tuple[Any, Any] | None, radius: float | None) -> Parts:
    """Clipped to ``clamp``, then to what the ball around ``centre`` leaves of it."""
    low, high = (-np.inf, np.inf) if clamp is None else clamp
    found = []
    for p, c in zip(points, centre, strict=True):
        q = np.clip(p, low, high)
        if radius is not None:
            q = np.clip(q, np.maximum(c - radius, low), np.minimum(c + radius, high))
        found.append(q)
    return tuple(found)


def _slope(model: Classifier, x: Any, target: int, now: Parts, after: Parts, d: Parts, rule: str) -> tuple[Parts, int]:
    """df_t/dx that stands for the step, and the units beyond those of the vertices."""
    if rule == "midpoint":
        middle = tuple(p + v / 2 for p, v in zip(now, d, strict=True))
        return _parts(model.gradient(_like(x, middle), target)), 2
    here = _parts(model.gradient(_like(x, now), target))
    if rule == "left":
        return here, 0
    there = _parts(model.gradient(_like(x, after), target))
    return tuple((a + b) / 2 for a, b in zip(here, there, strict=True)), 0
