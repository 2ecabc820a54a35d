"""AGI of torch models: Algorithm 1, the order of its quadratures, the published recipe, what it costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from conftest import Trained  # noqa: E402
from helpers_agi import others  # noqa: E402
from models_zoo import C, D, data, mlp  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.testing import assert_close  # noqa: E402

import fastattr as fa  # noqa: E402
from fastattr import reference_agi  # noqa: E402
from fastattr.reference_agi import Classifier  # noqa: E402

NET = mlp(D, 12, C)
DIGITS = {"clamp": (0.0, 1.0)}


def classifier(net: Callable[[Tensor], Tensor], output: str = "softmax") -> Classifier:
    """A float64 torch model as `fastattr.reference_agi` asks for it."""

    def outputs(z: Tensor, logs: bool = False) -> Tensor:
        scores = net(z[None])[0]
        return scores if output == "raw" else scores.log_softmax(0) if logs else scores.softmax(0)

    def gradient(x: Any, c: int, logs: bool = False) -> np.ndarray:
        z = torch.from_numpy(np.array(x)).requires_grad_()
        return torch.autograd.grad(outputs(z, logs)[c], z)[0].numpy()

    def value(x: Any) -> np.ndarray:
        with torch.no_grad():
            return outputs(torch.from_numpy(np.array(x))).numpy()

    return Classifier(value, gradient, None if output == "raw" else lambda x, c: gradient(x, c, True))


class Watched(nn.Module):
    """Every point that a model was asked about, and how many rows forward and backward."""

    def __init__(self, net: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.net = net
        self.clear()

    def clear(self) -> None:
        self.points: list[Tensor] = []
        self.forwards = self.gradients = 0

    def forward(self, x: Tensor) -> Tensor:
        self.points.append(x.detach().clone())
        self.forwards += len(x)
        y = self.net(x)
        if y.requires_grad:
            y.register_hook(self.count)
        return y

    def count(self, gradient: Tensor) -> None:
        self.gradients += len(gradient)


def digits(trained: Trained, count: int, activation: str = "ReLU") -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """A network, its images, predicted classes and all the others."""
    net, x = trained.models[activation], trained.x[:count]
    target = net(x).argmax(1)
    return net, x, target, torch.from_numpy(others(target.numpy(), 10))


# ---- pass lines ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quadrature", ["left", "trapezoid"])
@pytest.mark.parametrize("activation", ["ReLU", "GELU"])
def test_float64_is_algorithm_1_one_class_at_a_time(trained_digits: Trained, activation: str, quadrature: str) -> None:
    net, x, target, classes = digits(trained_digits, 3, activation)
    net.double()
    try:
        att = fa.AGI(net, classes="all", quadrature=quadrature, **DIGITS)(x.double(), target)
        definition = classifier(net)
        for e in range(len(x)):
            want, paths, units = reference_agi.agi(
                definition, x[e].double().numpy(), int(target[e]), classes[e].tolist(), quadrature=quadrature, **DIGITS
            )
            error = np.abs(att.values[e].numpy() - want).max()
            assert error <= 1e-10 * np.abs(want).max()
            assert att.paths.steps[e].tolist() == [p.steps for p in paths]
            assert att.paths.reached[e].tolist() == [p.reached for p in paths]
            np.testing.assert_allclose(att.paths.gap[e], [p.gap for p in paths], atol=1e-10)
            assert int(att.paths.forward_units[e]) == units
    finally:
        net.float()


@pytest.mark.parametrize("activation", ["ReLU", "GELU"])
@pytest.mark.parametrize("step_size", [0.05, 0.01])
def test_float32_correlates(trained_digits: Trained, step_size: float, activation: str) -> None:
    """With Algorithm 1 one image and one class at a time in float32."""
    net, x, target, classes = digits(trained_digits, 6, activation)
    att = fa.AGI(net, classes=classes, quadrature="left", step_size=step_size, **DIGITS)(x, target)
    plain = torch.stack([published(net, x[e], int(target[e]), classes[e], step_size, local=False) for e in range(6)])
    assert np.corrcoef(att.values.numpy().ravel(), plain.numpy().ravel())[0, 1] >= 0.9999


def published(
    net: nn.Module, x: Tensor, target: int, classes: Tensor, step_size: float, *, local: bool, steps: int = 20
) -> Tensor:
    """The recipe in plain torch: sum over classes; ``local`` restarts every step from the image."""
    total = torch.zeros_like(x)
    for goal in classes.tolist():
        point = x.clone()
        for _ in range(steps):
            z = point[None].clone().requires_grad_()
            scores = net(z)
            if int(scores.argmax(1)) == goal:
                break
            shares = scores.softmax(1)
            (towards,) = torch.autograd.grad(shares[0, goal], z, retain_graph=True)
            (slope,) = torch.autograd.grad(shares[0, target], z)
            origin = x if local else point
            moved = torch.clamp(origin + step_size * towards[0].sign(), 0, 1)
            total -= slope[0] * (moved - origin)
            point = moved
    return total


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_local_is_the_published_recipe(trained_digits: Trained, dtype: torch.dtype) -> None:
    net, x, target, classes = digits(trained_digits, 4, "GELU")
    net.to(dtype)
    try:
        x = x.to(dtype)
        att = fa.AGI(net, classes=classes, path="local", **DIGITS)(x, target)
        plain = torch.stack([published(net, x[e], int(target[e]), classes[e], 0.05, local=True) for e in range(4)])
    finally:
        net.float()
    if dtype == torch.float64:
        assert (att.values - plain).abs().max() <= 1e-10 * plain.abs().max()
    assert np.corrcoef(att.values.numpy().ravel(), plain.numpy().ravel())[0, 1] >= 0.9999
    assert torch.isnan(att.gap).all() and torch.isnan(att.paths.gap).all()


@pytest.mark.parametrize(("quadrature", "ratio", "within"), [("left", 2.0, 0.2), ("trapezoid", 4.0, 0.5)])
def test_the_order_of_the_quadratures(quadrature: str, ratio: float, within: float) -> None:
    """The polyline of a tanh network, as the model saw it, with every segment cut in two: gaps halve, or quarter."""
    net, x = Watched(mlp(6, 16, 4, seed=2).double()).eval(), data(40, 6, dtype=torch.float64)
    target = net(x).argmax(1)
    fa.AGI(net, classes=1, rows=1)(x[:1])  # what a row costs is measured in the first call
    found = []
    for e in range(len(x)):
        net.clear()
        one = fa.AGI(net, classes=[int(target[e] + 1) % 4], quadrature=quadrature, max_steps=8, rows=1)
        att = one(x[e : e + 1], target[e : e + 1])
        polyline = torch.cat(net.points)
        assert len(polyline) == int(att.paths.steps[0, 0]) + 1
        coarse, fine = (along(net.net, p, int(target[e]), quadrature) for p in (polyline, bisected(polyline)))
        assert coarse == pytest.approx(float(att.paths.gap[0, 0]), rel=1e-8, abs=1e-13)
        if len(polyline) > 1:
            found.append(coarse / fine)
    assert len(found) >= 30 and np.median(found) == pytest.approx(ratio, abs=within)


def bisected(polyline: Tensor) -> Tensor:
    pairs = torch.stack([polyline[:-1], (polyline[1:] + polyline[:-1]) / 2], 1)
    return torch.cat([pairs.flatten(0, 1), polyline[-1:]])


def along(net: nn.Module, polyline: Tensor, target: int, quadrature: str) -> float:
    """sum A - (f_t(x) - f_t(end)) of one polyline."""
    z = polyline.clone().requires_grad_()
    f = net(z).softmax(1)[:, target]
    (slope,) = torch.autograd.grad(f.sum(), z)
    d = polyline[1:] - polyline[:-1]
    mean = slope[:-1] if quadrature == "left" else (slope[:-1] + slope[1:]) / 2
    return float(-(mean * d).sum() - (f[0] - f[-1]).detach())


@pytest.mark.parametrize("quadrature", ["left", "trapezoid", "midpoint"])
@pytest.mark.parametrize("path", ["iterate", "straight"])
def test_a_linear_model_with_raw_output_is_exact(path: str, quadrature: str) -> None:
    net, x = nn.Linear(D, C).eval(), data(6, D)
    target = net(x).argmax(1)
    options = {"quadrature": quadrature if path == "iterate" else None, "path": path}
    att = fa.AGI(net, output="raw", end_points=True, reduce="none", **options)(x, target)
    change = x[:, None] - att.paths.end_points
    assert_close(att.values, net.weight[target][:, None].detach() * change, atol=1e-6, rtol=1e-5)
    assert att.paths.gap.abs().max() < 1e-5 and att.paths.steps.max() > 1


def test_small_steps_leave_a_small_gap(trained_digits: Trained) -> None:
    """Trapezoid, eps .01: below 2 % of the change of f_t for 95 % of the paths that arrived."""
    net, x, target, _ = digits(trained_digits, 60)
    att = fa.AGI(net, classes="all", step_size=0.01, max_steps=60, **DIGITS)(x, target)
    change = (att.output[:, None] - att.paths.target_output).abs()
    arrived = att.paths.reached & (att.paths.steps > 0)
    assert arrived.sum() > 300
    small = att.paths.gap.abs()[arrived] < 0.02 * change[arrived]
    assert small.double().mean() >= 0.95


@pytest.mark.parametrize("options", [{}, {"path": "local"}, {"step": "l2", "step_size": 0.5}, {"radius": 0.1}], ids=str)
def test_the_clamp_holds_at_every_vertex(trained_digits: Trained, options: dict[str, Any]) -> None:
    net, x, target, _ = digits(trained_digits, 8)
    watched = Watched(net).eval()
    low, high = torch.full((1, 8, 1), -0.02), torch.full((1, 1, 8), 1.01)
    fa.AGI(watched, classes="all", clamp=(low, high), **options)(x, target)
    points = torch.cat(watched.points)
    assert (points >= low).all() and (points <= high).all()
    assert (points == low).any() and len(points) > 100
    if "radius" in options:
        assert torch.cdist(points.flatten(1), x.flatten(1), p=torch.inf).amin(1).max() <= 0.1 + 1e-6


def test_towards_classes_of_vanishing_probability() -> None:
    """The ascent is along the logarithm: p = 1e-300 has a direction too."""
    net = nn.Linear(3, 3, bias=False).eval()
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[900.0, 0, 0], [0, 1, 0], [0, 0, 1]]))
    x = torch.tensor([[1.0, 0.0, 0.0]])
    att = fa.AGI(net, classes=[1], max_steps=5, end_points=True)(x, 0)
    assert_close(att.paths.end_points[0, 0], torch.tensor([0.75, 0.25, 0.0]))
    assert att.output.item() == 1 and not att.paths.stalled.any()


# ---- straight, margin, and what the numbers say -------------------------------------------------------------------


def test_straight_is_the_integral_from_the_end_of_the_path() -> None:
    net, x = mlp(D, 12, C).double(), data(4, D, dtype=torch.float64)
    target = net(x).argmax(1)
    path, found = (fa.AGI(net, classes="all", path=p, end_points=True, reduce="none")(x, target) for p in PAIR)
    assert_close(path.paths.end_points, found.paths.end_points)
    assert torch.equal(path.paths.steps, found.paths.steps)
    for i in range(C - 1):
        ends = found.paths.end_points[:, i]
        ig = fa.IntegratedGradients(net, output="softmax")(x, target, baseline=ends)
        assert_close(found.values[:, i], ig.values, atol=1e-9, rtol=1e-6)
    assert (found.gap.abs() <= 1e-4).all()


PAIR = ("iterate", "straight")


def test_sums_gaps_and_outputs_are_what_they_say() -> None:
    net, x = mlp(D, 12, C).double(), data(6, D, dtype=torch.float64)
    att = fa.AGI(net, end_points=True)(x)
    shares = net(x).softmax(1).detach()
    target = shares.argmax(1)
    assert torch.equal(att.target, target)
    assert_close(att.output, shares.gather(1, target[:, None])[:, 0])
    ends = net(att.paths.end_points.flatten(0, 1)).softmax(1).detach().unflatten(0, (6, C - 1))
    at_end = ends.gather(2, target[:, None, None].expand(6, C - 1, 1))[..., 0]
    assert_close(att.paths.target_output, at_end)
    assert torch.equal(att.paths.reached, ends.argmax(2) == att.paths.classes)
    fall = att.output * (C - 1) - at_end.sum(1)
    assert_close(att.gap, att.values.sum(1) - fall)
    assert_close(att.gap, att.paths.gap.sum(1))
    assert torch.isnan(att.baseline_output).all() and torch.isnan(att.error).all()
    assert att.method == "AGI" and att.evaluations.shape == (6,)
    for word in ("class", "steps", "reached"):
        assert word in str(att.paths)


def test_directions_climb_what_they_name() -> None:
    net, x = mlp(D, 12, C, seed=3).double(), data(5, D, dtype=torch.float64)
    target = net(x).argmax(1)
    for direction in ("target", "margin", "untargeted"):
        for output in ("softmax", "raw"):
            att = fa.AGI(net, direction=direction, output=output, max_steps=4)(x, target)
            definition = classifier(net, output)
            for e in range(5):
                goals = [c for c in range(C) if c != target[e]]
                want, paths, _ = reference_agi.agi(
                    definition, x[e].numpy(), int(target[e]), goals, direction=direction, max_steps=4
                )
                np.testing.assert_allclose(att.values[e], want, rtol=1e-9, atol=1e-13)
                assert att.paths.classes[e].tolist() == [p.goal for p in paths]


# ---- cost ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("quadrature", "ends"), [("left", 0), ("trapezoid", 2), ("midpoint", 0)])
def test_forward_units_are_counted_exactly(quadrature: str, ends: int) -> None:
    """1 + (1 + k) at x, 3 for each later row, the trapezoid's ends: rows forward and backward as torch saw them.

    A last forward without gradients, to see where a path has ended, is counted apart.
    """
    net, x, k, m = Watched(mlp(D, 12, 25)).eval(), data(3, D), 20, 20
    with torch.no_grad():
        net.net[-1].bias[0] += 1e3  # no other class is ever reached
    explain = fa.AGI(net, classes=list(range(1, 1 + k)), quadrature=quadrature, max_steps=m)
    explain(x, 0)  # what a row costs is measured in the first call
    net.clear()
    att = explain(x, 0)
    midpoints = 2 * k * m if quadrature == "midpoint" else 0
    each = 1 + (1 + k) + 3 * k * (m - 1) + ends * k + midpoints
    assert each - midpoints - ends * k == 1162
    assert att.paths.forward_units.tolist() == [each] * 3
    looks = 0 if quadrature == "trapezoid" else k
    assert net.forwards + net.gradients == 3 * (each + looks)


def test_what_arrives_costs_no_more(trained_digits: Trained) -> None:
    net, x, target, classes = digits(trained_digits, 5)
    watched = Watched(net).eval()
    explain = fa.AGI(watched, classes=classes, quadrature="left", **DIGITS)
    explain(x, target)
    watched.clear()
    att = explain(x, target)
    assert att.paths.reached.double().mean() > 0.5
    looks = int((att.paths.steps == 20).sum())
    assert watched.forwards + watched.gradients == int(att.paths.forward_units.sum()) + looks
    assert watched.forwards == 5 + int(att.paths.steps.sum())
