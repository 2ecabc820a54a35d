"""Integrated Gradients along callables: a change of variable, points and tangents by the user or by jvp."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from helpers_native import Formula, Recorder, certificate, draw, kinked, smooth  # noqa: E402
from models_zoo import B, C, D, Gated, Tokens, data, mlp, spell, training_net  # noqa: E402
from test_path_integrated_gradients import FIELDS, assert_same  # noqa: E402
from test_state import fingerprint, prepared  # noqa: E402
from torch import nn  # noqa: E402
from torch.testing import assert_close  # noqa: E402

import fastattr as fa  # noqa: E402
from fastattr.reference_paths import path_integrated_gradients  # noqa: E402

pytestmark = [
    pytest.mark.backend,
    pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning"),  # at the first jvp
]

NET = mlp(D, 12, 8, C).double()
RELU = mlp(D, 12, C, activation=nn.ReLU).double()
X, BASE = data(B, D, dtype=torch.float64), data(B, D, seed=1, dtype=torch.float64)
BUMP = data(D, seed=2, dtype=torch.float64)


def column(alpha: Any, like: Any) -> Any:
    """alpha (R,) as (R, 1, ...)."""
    return alpha.reshape(-1, *[1] * (like.ndim - 1))


def straight(inputs: Any, baseline: Any, alpha: Any, index: Any) -> Any:
    return baseline[index] + column(alpha, inputs) * (inputs - baseline)[index]


def along(inputs: Any, baseline: Any, alpha: Any, index: Any) -> Any:
    """dg/dalpha of `straight`."""
    return (inputs - baseline)[index]


def slow_start(inputs: Any, baseline: Any, alpha: Any, index: Any) -> Any:
    return straight(inputs, baseline, alpha**2, index)


def detour(inputs: Any, baseline: Any, alpha: Any, index: Any) -> Any:
    """Half a turn away from the straight line."""
    return straight(inputs, baseline, alpha, index) + (math.pi * column(alpha, inputs)).sin() * BUMP.to(inputs.dtype)


def detour_along(inputs: Any, baseline: Any, alpha: Any, index: Any) -> Any:
    turn = math.pi * (math.pi * column(alpha, inputs)).cos() * BUMP.to(inputs.dtype)
    return along(inputs, baseline, alpha, index) + turn


def test_no_warning_of_torch_reaches_the_caller() -> None:
    """Torch compiles its own rules at the first jvp of a process, and says that this is deprecated."""
    code = """import torch, fastattr as fa
net = torch.nn.Linear(2, 2).eval()
fa.PathIntegratedGradients(net, lambda x, b, a, i: a[:, None] * x[i], steps=3)(torch.ones(1, 2), 1)"""
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-500:]


# ---- equal to other ways ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tangent", [None, along])
@pytest.mark.parametrize(
    "options",
    [{}, {"tolerance": 1e-6}, {"steps": 9}, {"steps": 31, "rule": "nested"}]
    + [{"steps": 8, "rule": rule} for rule in ("midpoint", "trapezoid", "left", "right")],
)
@pytest.mark.parametrize("net", [NET, RELU])
def test_the_straight_line_is_integrated_gradients(net: Any, options: dict[str, Any], tangent: Any) -> None:
    for target, baseline in ((1, BASE), (None, None), ([0, 1, 2, 0], 0.5)):
        att = fa.PathIntegratedGradients(net, straight, tangent=tangent, **options)(X, target, baseline=baseline)
        wanted = fa.IntegratedGradients(net, engine="callback", **options)(X, target, baseline=baseline)
        assert_same(att, wanted, 1e-9)
        assert torch.equal(torch.as_tensor(att.target), torch.as_tensor(wanted.target))


@pytest.mark.parametrize("curve", [slow_start, lambda x, b, a, i: straight(x, b, (a * math.pi / 2).sin(), i)])
def test_how_fast_a_path_is_walked_changes_nothing(curve: Any) -> None:
    att = fa.PathIntegratedGradients(NET, curve, steps=63, rule="nested")(X, 1, baseline=BASE)
    wanted = fa.IntegratedGradients(NET, steps=63, rule="nested")(X, 1, baseline=BASE)
    assert_close(att.values, wanted.values, atol=1e-9, rtol=1e-9)
    assert_close((att.output, att.baseline_output), (wanted.output, wanted.baseline_output))
    assert att.gap.abs().max() < 1e-9


@pytest.mark.parametrize("options", [{"steps": 9}, {"steps": 31, "rule": "nested"}, {}, {"tolerance": 1e-6}])
@pytest.mark.parametrize("net", [NET, RELU])
def test_equals_the_reference(net: Any, options: dict[str, Any]) -> None:
    att = fa.PathIntegratedGradients(net, detour, **options)(X, 1, baseline=BASE)
    given = fa.PathIntegratedGradients(net, detour, tangent=detour_along, **options)(X, 1, baseline=BASE)
    assert_same(att, given, 1e-10)
    for e in range(B):
        ends = X[e : e + 1], BASE[e : e + 1]

        def curve(a: np.ndarray, of: Any = detour, ends: Any = ends) -> np.ndarray:
            return of(*ends, torch.from_numpy(a), torch.zeros(len(a), dtype=torch.int64)).numpy()

        want = path_integrated_gradients(spell(net), curve, lambda a, c=curve: c(a, detour_along), **options)
        np.testing.assert_allclose(att.values[e], want.values, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(att.gap[e], want.gap, rtol=0, atol=1e-10)
        np.testing.assert_allclose(att.error[e], want.error, rtol=1e-5, atol=1e-10)
        assert int(att.evaluations[e]) == want.evaluations


def test_a_detour_agrees_with_a_fine_polyline() -> None:
    att = fa.PathIntegratedGradients(NET, detour, steps=63)(X, 1, baseline=BASE)
    apart = []
    for segments in (100, 200):
        alpha = torch.linspace(0, 1, segments + 1, dtype=torch.float64)
        rows = torch.arange(B)
        path = torch.stack([detour(X, BASE, a.expand(B), rows) for a in alpha])
        path[-1] = X
        fine = fa.PathIntegratedGradients(NET, path, steps=3)(X, 1)
        assert_close(att.gap, fine.gap, atol=1e-8, rtol=0)
        apart.append(float((fine.values - att.values).abs().max()))
    line = fa.IntegratedGradients(NET)(X, 1, baseline=BASE)
    assert apart[1] < 1e-4 < (line.values - att.values).abs().max()
    assert apart[0] / apart[1] == pytest.approx(4, abs=0.5)  # chords of a smooth curve


def test_the_definition_on_a_quarter_circle() -> None:
    """f = x y from (1, 0) to (0, 1): A_x = - integral of sin^2, A_y = integral of cos^2 over the quarter, pi / 4."""
    quarter = math.pi / 2

    def curve(a: np.ndarray) -> np.ndarray:
        return np.stack([np.cos(quarter * a), np.sin(quarter * a)], 1)

    def tangent(a: np.ndarray) -> np.ndarray:
        return quarter * np.stack([-np.sin(quarter * a), np.cos(quarter * a)], 1)

    found = path_integrated_gradients(lambda p: (p.prod(1), p[:, ::-1]), curve, tangent, steps=20)
    np.testing.assert_allclose(found.values, [-math.pi / 4, math.pi / 4], atol=1e-12)
    assert abs(found.gap) < 1e-12 and found.evaluations == 20
    att = fa.PathIntegratedGradients(
        lambda x: x.prod(1), lambda x, b, a, i: torch.stack([(quarter * a).cos(), (quarter * a).sin()], 1), steps=20
    )(torch.tensor([[0.0, 1.0]]).double(), baseline=torch.tensor([1.0, 0.0]).double())
    np.testing.assert_allclose(att.values[0], found.values, atol=1e-12)


# ---- NumPy --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", [smooth, kinked])
@pytest.mark.parametrize("options", [{}, {"steps": 9}, {"steps": 6, "rule": "trapezoid"}])
def test_a_numpy_path_with_its_tangent(link: Any, options: dict[str, Any]) -> None:
    x, base = draw(5, 3), draw(5, 3, seed=1)
    recorder = Recorder(Formula(link))
    method = fa.PathIntegratedGradients(fa.FunctionModel(recorder), straight, tangent=along, **options)
    att = method(x, 1, baseline=base)
    wanted = fa.IntegratedGradients(fa.FunctionModel(Formula(link)), **options)(x, 1, baseline=base)
    assert isinstance(att.values, np.ndarray)
    np.testing.assert_allclose(att.values, wanted.values, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(att.error, wanted.error, rtol=1e-6, atol=1e-10)
    assert att.evaluations.tolist() == wanted.evaluations.tolist()
    for rows in (1, 2, 7):
        again = fa.PathIntegratedGradients(
            fa.FunctionModel(Formula(link)), straight, tangent=along, rows=rows, **options
        )(x, 1, baseline=base)
        assert certificate(again) == certificate(att)
    assert {int(e) for index in recorder.index for e in index} == set(range(5))
    for e in range(5):
        alpha = (recorder.rows_of(e) - base[e]) / (x - base)[e]
        assert np.abs(alpha - alpha[:, :1]).max() < 1e-9  # on the example's own path


def test_numpy_without_a_tangent_raises() -> None:
    model = fa.FunctionModel(Formula(smooth))
    with pytest.raises(ValueError, match="tangent: expected a callable dg/dalpha"):
        fa.PathIntegratedGradients(model, straight)(draw(2, 3), 1)


# ---- inputs, targets, dtypes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("tangent", [False, True])
def test_several_inputs(tangent: bool) -> None:
    model, second = Gated().eval().double(), data(B, 2, seed=4, dtype=torch.float64)

    def both(x: Any, base: Any, alpha: Any, index: Any) -> Any:
        assert len(x) == len(base) == 2
        return tuple(slow_start(p, q, alpha, index) for p, q in zip(x, base))

    def slope(x: Any, base: Any, alpha: Any, index: Any) -> Any:
        return tuple(2 * alpha[:, None] * (p - q)[index] for p, q in zip(x, base))

    method = fa.PathIntegratedGradients(model, both, tangent=slope if tangent else None, steps=31)
    att = method((X, second), 1, baseline=(BASE, 0.5))
    wanted = fa.IntegratedGradients(model, steps=31)((X, second), 1, baseline=(BASE, 0.5))
    assert_close(att.values, wanted.values, atol=1e-9, rtol=1e-9)
    assert_close((att.gap, att.output), (wanted.gap, wanted.output), atol=1e-9, rtol=0)
    named = method({"a": X, "b": second}, 1, baseline={"a": BASE, "b": 0.5})
    assert_close(tuple(named.values.values()), att.values)


def test_integer_inputs_are_constants() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Tokens().eval().double()
    x, mask = data(B, 7, D, dtype=torch.float64), (data(B, 7, seed=1) > -0.5).long()
    method = fa.PathIntegratedGradients(model, lambda x, b, a, i: (straight(x[0], b[0], a, i),), steps=5)
    for inputs in ((x, mask), {"inputs_embeds": x, "attention_mask": mask}):
        att = method(inputs, 1)
        wanted = fa.IntegratedGradients(model, steps=5)(inputs, 1)
        got, want = (tuple(v.values()) if isinstance(v, dict) else v for v in (att.values, wanted.values))
        assert got[1] is None
        assert_close(got[0], want[0])


def test_extra_arguments_and_versus_follow_their_example() -> None:
    model = Gated().eval().double()
    mask, second = (data(B, D, seed=5) > 0).double(), data(B, 2, seed=4, dtype=torch.float64)

    def both(x: Any, base: Any, alpha: Any, index: Any) -> Any:
        return tuple(straight(p, q, alpha, index) for p, q in zip(x, base))

    for options in ({"args": (mask,)}, {"kwargs": {"mask": mask, "temperature": 2.0}}):
        for versus in (None, [0, 2, 0, 2]):
            att = fa.PathIntegratedGradients(model, both, rows=3, steps=7)((X, second), 1, versus=versus, **options)
            wanted = fa.IntegratedGradients(model, steps=7)((X, second), 1, versus=versus, **options)
            assert_close(att.values, wanted.values)
            assert_close((att.gap, att.output), (wanted.gap, wanted.output), atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("tangent", [None, along])
@pytest.mark.parametrize("options", [{}, {"steps": 9}])
def test_low_precision(options: dict[str, Any], tangent: Any, dtype: torch.dtype) -> None:
    net, x = mlp(D, 8, C).to(dtype), X.to(dtype)
    att = fa.PathIntegratedGradients(net, straight, tangent=tangent, **options)(x, 1)
    assert att.values.dtype == torch.float32
    exact = fa.IntegratedGradients(net.double(), steps=31)(x.double(), 1)
    share = (att.values - exact.values).abs().sum(1) / exact.values.abs().sum(1)
    assert share.max() < {torch.float16: 0.01, torch.bfloat16: 0.05, torch.float32: 1e-4}[dtype]


def test_images_and_an_empty_batch() -> None:
    net = nn.Sequential(nn.Flatten(), mlp(12, 6, C)).double().eval()
    x = data(3, 1, 3, 4, dtype=torch.float64)
    att = fa.PathIntegratedGradients(net, slow_start, steps=31)(x, 1)
    assert_close(att.values, fa.IntegratedGradients(net, steps=31)(x, 1).values, atol=1e-9, rtol=1e-9)
    empty = fa.PathIntegratedGradients(net, slow_start)(x[:0], 1)
    assert empty.values.shape == (0, 1, 3, 4) and all(getattr(empty, f).shape == (0,) for f in FIELDS)


def test_chunks_and_modes_change_nothing() -> None:
    wanted = fa.PathIntegratedGradients(RELU, detour)(X, baseline=BASE)
    for rows in (1, 2, 7, 1000):
        att = fa.PathIntegratedGradients(RELU, detour, rows=rows)(X, baseline=BASE)
        assert_close(att.values, wanted.values, atol=1e-10, rtol=1e-10)
        assert torch.equal(att.evaluations, wanted.evaluations)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            att = fa.PathIntegratedGradients(RELU, detour)(X, baseline=BASE)
        assert_close(att.values, wanted.values)


def test_state_is_left_alone() -> None:
    model, x = prepared(training_net()), X.float()
    before, copy = fingerprint(model), x.clone()
    with pytest.warns(UserWarning, match="training mode"):
        fa.PathIntegratedGradients(model, slow_start, steps=5, rows=4)(x, 1)
    assert fingerprint(model) == before and torch.equal(x, copy)

    def broken(*_: Any) -> Any:
        raise LookupError("lost")

    for options in ({"path": broken}, {"path": straight, "tangent": broken}):
        with pytest.raises(LookupError, match="lost"):
            fa.PathIntegratedGradients(model, **options)(x, 1)
        assert fingerprint(model) == before


def test_what_a_learned_path_saves_is_not_kept() -> None:
    """A path and a tangent with parameters of their own give plain numbers."""
    stretch = torch.ones((), dtype=torch.float64, requires_grad=True)
    att = fa.PathIntegratedGradients(
        NET,
        lambda *call: straight(*call) * stretch,
        tangent=lambda *call: along(*call) * stretch,
        steps=9,
    )(X, 1, baseline=BASE)
    assert not att.values.requires_grad and stretch.grad is None
    assert_close(att.values, fa.IntegratedGradients(NET, steps=9)(X, 1, baseline=BASE).values)


# ---- refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "tangent", "message"),
    [
        (lambda x, b, a, i: x, along, r"path: expected points of shape \[\(\d+, 5\)\], got \[\(4, 5\)\]"),
        (lambda *c: straight(*c)[:, :2], along, "path: expected points of shape"),
        (lambda *c: (straight(*c),) * 2, along, "path: expected points of shape"),
        (lambda *c: straight(*c).sum(), along, "path: expected points of shape"),
        (lambda *c: None, along, "path: expected points of shape"),
        (straight, lambda *c: along(*c)[:1], "tangent: expected points of shape"),
        (straight, lambda *c: along(*c)[..., None], "tangent: expected points of shape"),
        (lambda *c: straight(*c)[:, :2], None, "path: expected points of shape"),
    ],
)
def test_wrong_shapes(path: Any, tangent: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fa.PathIntegratedGradients(NET, path, tangent=tangent, steps=9)(X, 1)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"steps": 2.5}, ValueError, "steps"),
        ({"rule": "gauss_legendre"}, ValueError, "rule"),
        ({"steps": 8, "rule": "nested"}, ValueError, "steps"),
        ({"tolerance": 2}, ValueError, "tolerance"),
        ({"tangent": 3}, TypeError, "tangent: expected a callable"),
        ({"engine": "fast"}, ValueError, "engine"),
    ],
)
def test_refused_options(options: dict[str, Any], error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        fa.PathIntegratedGradients(NET, straight, **options)(X, 1)
