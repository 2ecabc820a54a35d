"""Integrated Gradients in closed form (csrc/engine/exact.c) against its definition: all pieces, one after the other."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from helpers_native import certificate
from numpy.typing import NDArray
from test_dense import activation

import fastattr as fa
from fastattr import _core
from fastattr import reference_exact as reference
from fastattr.models.dense import Layer, Network

pytestmark = pytest.mark.native

SMOOTH = ("tanh", "sigmoid", "gelu", "gelu_tanh", "silu", "elu")


def arrays(rng: Any, *widths: int) -> tuple[list[NDArray[Any]], list[NDArray[Any]]]:
    weights = [rng.normal(size=(b, a)) / np.sqrt(a) for a, b in zip(widths, widths[1:])]
    return weights, [rng.normal(size=b) for b in widths[1:]]


def defined(weights: Any, biases: Any, name: str) -> list[reference.Layer]:
    """The layers as the reference takes them."""
    a = {"leaky_relu": 0.01, "elu": 1.0}.get(name, 0.0)

    def part(which: int) -> Any:
        if name in ("relu", "leaky_relu"):
            return reference.rectifier(a)[which]
        if name == "elu":
            return [lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
                    lambda z: np.where(z > 0, 1.0, np.exp(np.minimum(z, 0)))][which]  # fmt: skip
        return lambda z: activation(name, z)[which]

    identity = (lambda z: z, np.ones_like)
    hidden = [(w, b, part(0), part(1)) for w, b in zip(weights[:-1], biases[:-1])]
    return [*hidden, (weights[-1], biases[-1], *identity)]


def exact(model: Any, x: Any, *args: Any, **kwargs: Any) -> fa.Attribution:
    att = fa.IntegratedGradients(model, steps="exact")(x, *args, **kwargs)
    assert att.engine.endswith("exact)") and (np.asarray(att.evaluations) == 0).all()
    return att


def check(weights: Any, biases: Any, name: str, x: Any, base: Any, target: int, versus: int | None = None) -> Any:
    """Equal to the definition to 1e-10, within its own bar, complete."""
    layers = defined(weights, biases, name)
    att = exact(fa.DenseModel(weights, biases, name), x, target, versus=versus, baseline=base)
    smooth = name in SMOOTH
    define = reference.smooth_integrated_gradients if smooth else reference.piecewise_integrated_gradients
    full = np.broadcast_to(base, x.shape)
    for e in range(len(x)):
        wanted = define(layers, x[e], full[e], target, versus)
        ends = [reference.output(layers, p)[target] - (0 if versus is None else reference.output(layers, p)[versus])
                for p in (x[e], full[e])]  # fmt: skip
        scale = max(1.0, np.abs(wanted).sum())
        np.testing.assert_allclose(att.values[e], wanted, rtol=0, atol=1e-10 * scale)
        found = [att.output[e], att.baseline_output[e]]
        np.testing.assert_allclose(found, ends, rtol=0, atol=1e-12 * max(1, np.abs(ends).max()))
        assert abs(att.gap[e]) <= 1e-11 * scale
    assert att.converged.all()
    return att


@pytest.mark.parametrize("seed", range(200))
def test_random_networks(seed: int) -> None:
    """One hidden layer of any activation, two of (leaky) ReLUs; targets and contrasts."""
    rng = np.random.default_rng(seed)
    depth = 1 + seed % 2
    name = str(rng.choice(["relu", "leaky_relu"] if depth == 2 or seed % 4 == 0 else SMOOTH))
    widths = [int(rng.integers(1, 9)), *(int(rng.integers(1, 14)) for _ in range(depth)), int(rng.integers(2, 5))]
    weights, biases = arrays(rng, *widths)
    x = rng.normal(size=(2, widths[0])) * 2
    base = rng.normal(size=(2, widths[0])) if seed % 3 else np.zeros((1, widths[0]))
    check(weights, biases, name, x, base, 0, 1 if seed % 5 else None)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("name", ["relu", "leaky_relu"])
def test_ties_and_dead_units(depth: int, name: str) -> None:
    """Units that switch at one place, units that never do, units without weights."""
    rng = np.random.default_rng(depth)
    weights, biases = arrays(rng, 4, *[6] * depth, 3)
    weights[0][1] = weights[0][0]
    biases[0][1] = biases[0][0]  # the same unit twice
    weights[0][2], biases[0][2] = -2 * weights[0][0], -2 * biases[0][0]  # and against itself
    weights[0][3], biases[0][3] = 0, 0  # on the kink all the way
    biases[0][4] = -100  # dead
    weights[-1][:, 5] = 0
    if depth == 2:
        weights[1][1], biases[1][1] = weights[1][0], biases[1][0]
        weights[1][2], biases[1][2] = 0, 0
        biases[1][3] = -100
    check(weights, biases, name, rng.normal(size=(5, 4)) * 3, rng.normal(size=(5, 4)), 2, 1)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("where", ["start", "end", "both"])
def test_breakpoints_at_the_ends(depth: int, where: str) -> None:
    """Arguments that are zero, exactly, at the input or at the baseline."""
    weights = [
        np.array([[1.0, -1.0], [2.0, 1.0], [1.0, 3.0]]),
        *[np.array([[1.0, -2.0, 1.0], [1.0, 1.0, -1.0], [2.0, 0.0, 1.0]])] * (depth - 1),
    ]
    weights.append(np.array([[1.0, 2.0, -3.0], [0.5, -1.0, 1.0]]))
    base, x = np.array([[1.0, 1.0]]), np.array([[3.0, 2.0]])
    zero = {"start": base, "end": x, "both": base}[where][0]
    biases = [-(weights[0] @ zero), *[np.zeros(len(w)) for w in weights[1:]]]
    if where == "both":
        x = base.copy()
        x[0, 0] += 1e-3
    check(weights, biases, "relu", x, base, 0, 1)


@pytest.mark.parametrize("name", ["relu", "tanh", "elu", "softplus"])
def test_equal_input_and_baseline(name: str) -> None:
    weights, biases = arrays(np.random.default_rng(1), 4, 6, 3)
    x = np.random.default_rng(2).normal(size=(3, 4))
    att = exact(fa.DenseModel(weights, biases, name), x, 1, baseline=x)
    assert not att.values.any() and not att.error.any() and att.converged.all()
    assert not att.gap.any() and (att.output == att.baseline_output).all()


@pytest.mark.parametrize("name", [*SMOOTH, "relu", "leaky_relu", "softplus"])
@pytest.mark.parametrize("size", [1.0, 1e-2, 1e-5, 1e-9, 1e-13])
def test_short_paths_lose_no_digits(name: str, size: float) -> None:
    """The difference quotient of a short step would: the attribution is compared relative to itself."""
    rng = np.random.default_rng(3)
    weights, biases = arrays(rng, 3, 8, 2)
    base = rng.normal(size=(4, 3))
    x = base + size * rng.normal(size=(4, 3))
    att = exact(fa.DenseModel(weights, biases, name), x, 0, baseline=base)
    a = {"leaky_relu": 0.01, "elu": 1.0, "softplus": 1.0}.get(name, 0.0)
    network = [Layer(weights[0], biases[0], name, a, 20.0), Layer(weights[1], biases[1])]
    model = fa.FunctionModel(lambda p, i, s: _formula(network, p[0], s))
    if size <= 1e-5 or name in ("relu", "leaky_relu"):  # no kink on the way: the midpoint has it
        wanted = fa.IntegratedGradients(model, steps=64)(x, 0, baseline=base)
        kinks = name in ("relu", "leaky_relu", "elu") and size > 1e-5
        close = 0.05 if kinks else 1e-10
        np.testing.assert_allclose(att.values, wanted.values, rtol=0, atol=close * np.abs(wanted.values).max())


def _formula(network: list[Layer], points: Any, scalars: Any) -> Any:
    packed = Network(network).packed("raw")[0]
    values, slopes = np.empty(len(points)), np.empty_like(points)
    _core.dense_evaluate(packed, (points,), (np.ascontiguousarray(scalars),), (values,), (slopes,))
    return values[None], (slopes[None],)


def test_many_examples_on_many_threads_are_the_same() -> None:
    rng = np.random.default_rng(4)
    weights, biases = arrays(rng, 20, 40, 30, 5)
    model, x = fa.DenseModel(weights, biases), rng.normal(size=(150, 20))
    whole = exact(model, x, 1)
    for threads in (1, 3):
        fa.set_num_threads(threads)
        assert certificate(exact(model, x, 1)) == certificate(whole)
    fa.set_num_threads(0)
    part = exact(model, x[70:75], 1)
    np.testing.assert_array_equal(part.values, whole.values[70:75])


def test_the_bar_covers_the_error_and_float32_has_its_own() -> None:
    rng = np.random.default_rng(5)
    weights, biases = ([a.astype(np.float32) for a in group] for group in arrays(rng, 6, 9, 7, 3))
    x = rng.normal(size=(5, 6)).astype(np.float32)
    att = exact(fa.DenseModel(weights, biases), x, 1)
    assert att.values.dtype == np.float32
    layers = defined([w.astype(float) for w in weights], [b.astype(float) for b in biases], "relu")
    for e in range(5):
        wanted = reference.piecewise_integrated_gradients(layers, x[e].astype(float), np.zeros(6), 1)
        error = np.abs(att.values[e] - wanted).sum() / np.abs(wanted).sum()
        assert error <= att.error[e] < 1e-6


def test_auto_is_exact_where_it_can_be() -> None:
    weights, biases = arrays(np.random.default_rng(6), 4, 5, 3)
    x = np.random.default_rng(7).normal(size=(3, 4))
    for activations, options, wanted in (
        ("relu", {}, True),
        ("gelu", {}, True),
        ("relu", {"output": "softmax"}, False),
        ("relu", {"rule": "nested"}, False),
        ("relu", {"steps": 20}, False),
        (["relu", "tanh"], {}, False),
    ):
        att = fa.IntegratedGradients(fa.DenseModel(weights, biases, activations), **options)(x)  # type: ignore[arg-type]
        assert att.engine.endswith("exact)") is wanted
    deep = fa.DenseModel(*arrays(np.random.default_rng(6), 4, 5, 5, 5, 3))
    assert not fa.IntegratedGradients(deep)(x, 1).engine.endswith("exact)")
    for model, options in ((deep, {}), (fa.DenseModel(weights, biases), {"output": "softmax"})):
        with pytest.raises(ValueError, match='steps: "exact" wants'):
            fa.IntegratedGradients(model, steps="exact", **options)(x, 1)  # type: ignore[arg-type]


def test_predicted_classes_and_the_plain_integral() -> None:
    weights, biases = arrays(np.random.default_rng(8), 4, 5, 3)
    x = np.random.default_rng(9).normal(size=(6, 4))
    model = fa.DenseModel(weights, biases, "tanh")
    att = exact(model, x)
    np.testing.assert_array_equal(att.target, fa.Saliency(model)(x).target)
    plain = fa.IntegratedGradients(model, steps="exact", multiply_by_inputs=False)(x)
    np.testing.assert_allclose(plain.values * x, att.values, rtol=1e-12)
    assert np.isnan(plain.gap).all()
    with pytest.raises(ValueError, match="versus: expected another class than target"):
        exact(model, x, versus=int(att.target[0]))


def test_nonfinite_examples_are_named() -> None:
    weights, biases = arrays(np.random.default_rng(10), 4, 5, 3)
    x = np.random.default_rng(11).normal(size=(4, 4))
    clean = exact(fa.DenseModel(weights, biases), x, 1)
    x[2, 1] = np.nan
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        att = exact(fa.DenseModel(weights, biases), x, 1)
    assert len(caught) == 1 and "1 of 4 examples (2) have NaN" in str(caught[0].message)
    np.testing.assert_array_equal(att.values[[0, 1, 3]], clean.values[[0, 1, 3]])
    np.testing.assert_array_equal(att.converged, [True, True, False, True])


@pytest.mark.parametrize(
    ("index", "value", "error"),
    [(0, np.zeros((2, 3)), ValueError), (0, np.zeros((2, 4), np.float32), TypeError), (1, np.zeros((3, 4)), ValueError),
     (2, np.full((2, 2), 3), ValueError), (2, np.full((2, 2), -1), ValueError), (3, np.zeros((1, 4)), ValueError)],
)  # fmt: skip
def test_wrong_arrays(index: int, value: Any, error: type[Exception]) -> None:
    weights, biases = arrays(np.random.default_rng(12), 4, 5, 3)
    network = Network([Layer(weights[0], biases[0], "relu"), Layer(weights[1], biases[1])]).exact()
    given: list[Any] = [np.zeros((2, 4)), np.zeros((1, 4)), np.zeros((2, 2), np.int64), np.zeros((2, 4))]
    given[index] = value
    with pytest.raises(error):
        _core.exact(network, *((g,) for g in given), True)


@pytest.mark.filterwarnings("ignore:.*paths are singular")  # as a jump is
def test_a_softplus_that_jumps_has_no_closed_form() -> None:
    """Torch's is the identity above its threshold; a low one leaves a jump, of which no gradient knows."""
    nn, torch = pytest.importorskip("torch.nn"), pytest.importorskip("torch")
    x = 2 * torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for threshold, known in ((20.0, True), (1.0, False)):
        net = nn.Sequential(nn.Linear(5, 8), nn.Softplus(1.0, threshold), nn.Linear(8, 2)).double().eval()
        assert fa.IntegratedGradients(net, max_steps=15, tolerance=0.9)(x, 1).engine.endswith("exact)") == known
    with pytest.raises(ValueError, match='steps: "exact" wants'):
        fa.IntegratedGradients(net, steps="exact")(x, 1)
