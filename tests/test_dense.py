"""The native dense engine (csrc/engine/dense.c) against float64 formulas, without torch."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest
from helpers_native import run_at_level
from numpy.typing import NDArray

import fastattr as fa
from fastattr import _core
from fastattr.models.dense import ACTIVATIONS, Layer, Network

pytestmark = pytest.mark.native

CLOSE = {"float32": 1e-5, "float64": 1e-12}
NEGATIVE = {"leaky_relu": 0.3, "elu": 0.7, "softplus": 1.5}


def activation(name: str, z: Any, b: float = 5.0, a: Any = None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Value and slope by the formula, in float64."""
    a = NEGATIVE.get(name, 0.0) if a is None else a
    erf = np.vectorize(math.erf, otypes=[float])
    if name == "relu":
        return np.maximum(z, 0), (z > 0).astype(float)
    if name == "leaky_relu":
        return np.where(z > 0, z, a * z), np.where(z > 0, 1.0, a)
    if name == "elu":
        return np.where(z > 0, z, a * np.expm1(np.minimum(z, 0))), np.where(z > 0, 1.0, a * np.exp(np.minimum(z, 0)))
    if name == "gelu":
        phi = 0.5 * (1 + erf(z / math.sqrt(2)))
        return z * phi, phi + z * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    if name == "gelu_tanh":
        inner = math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)
        t, slope = np.tanh(inner), math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * z**2)
        return 0.5 * z * (1 + t), 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * slope
    s = 1 / (1 + np.exp(-np.clip(z, -700, 700)))
    if name == "silu":
        return z * s, s * (1 + z * (1 - s))
    if name == "tanh":
        return np.tanh(z), 1 - np.tanh(z) ** 2
    if name == "sigmoid":
        return s, s * (1 - s)
    if name == "softplus":
        value = np.where(a * z > b, z, np.log1p(np.exp(np.minimum(a * z, 50))) / a)
        return value, np.where(a * z > b, 1.0, 1 / (1 + np.exp(-np.clip(a * z, -700, 700))))
    return z, np.ones_like(z)


def layers(widths: tuple[int, ...], names: tuple[str, ...], dtype: str, seed: int = 0) -> list[Layer]:
    rng = np.random.default_rng(seed)
    found = []
    for i, o, name in zip(widths, widths[1:], names):
        w = (rng.normal(size=(o, i)) / math.sqrt(max(i, 1))).astype(dtype)
        b = rng.normal(size=o).astype(dtype)
        found.append(Layer(w, b, name, NEGATIVE.get(name, 0.0), 5.0))
    return found


def exactly(
    network: list[Layer], head: str, x: NDArray[Any], plus: NDArray[Any], minus: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Values (R,), gradients (R, D) and outputs (R, C) in float64; `plus` -1 is the predicted class."""
    h, slopes = x.astype(float), []
    for layer in network:
        z = h if layer.weight is None else h @ layer.weight.T.astype(float)
        if layer.bias is not None:
            z = z + layer.bias
        h, slope = activation(layer.activation, z, a=layer.a)
        slopes.append(slope)
    outputs = h
    if head != "raw":
        e = np.exp(h - h.max(1, keepdims=True))
        p = e / e.sum(1, keepdims=True)
        outputs = p if head == "softmax" else np.log(p)
    plus = np.where(plus < 0, outputs.argmax(1), plus)
    rows = np.arange(len(x))
    seed, values = np.zeros_like(h), np.zeros(len(x))
    for sign, chosen in ((1, plus), (-1, minus)):
        at = chosen >= 0
        values[at] += sign * outputs[rows[at], chosen[at]]
        one = np.zeros_like(h)
        one[rows[at], chosen[at]] = 1
        if head == "softmax":
            one = (one - p) * p[rows, np.maximum(chosen, 0)][:, None] * at[:, None]
        elif head == "log_softmax":
            one = (one - p) * at[:, None]
        seed += sign * one
    for layer, slope in zip(reversed(network), reversed(slopes)):
        seed = seed * slope
        if layer.weight is not None:
            seed = seed @ layer.weight.astype(float)
    return values, seed, outputs


def evaluate(
    network: list[Layer], x: NDArray[Any], scalars: NDArray[Any], output: str = "raw", gradients: bool = True
) -> tuple[NDArray[Any], NDArray[Any] | None, NDArray[Any]]:
    Q = len(scalars)
    values = np.full((Q, len(x)), np.nan, x.dtype)
    slopes = np.full((Q, *x.shape), np.nan, x.dtype) if gradients else None
    packed = Network(network).packed(output)[0]
    given = None if slopes is None else (slopes,)
    predicted = _core.dense_evaluate(packed, (x,), (np.ascontiguousarray(scalars),), (values,), given)
    return values, slopes, predicted


def assert_near(found: Any, wanted: Any, dtype: str, factor: float = 1.0) -> None:
    scale = max(1.0, float(np.abs(wanted).max(initial=0)))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=factor * CLOSE[dtype] * scale)


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str, dtype: str) -> None:
    """Over the whole range, huge and tiny numbers, both zeros."""
    z = np.concatenate([np.linspace(-30, 30, 1001), [0.0, -0.0, 1e-20, -1e-20, 1e4, -1e4, 85, -85, 700, -700]])
    x = z.astype(dtype)[:, None]
    network = [Layer(np.ones((1, 1), dtype), None), Layer(None, None, name, NEGATIVE.get(name, 0.0), 5.0)]
    network.append(Layer(np.ones((1, 1), dtype), None))
    scalars = np.tile([0, -1], (1, len(x), 1))
    values, slopes, _ = evaluate(network, x, scalars)
    wanted, slope = activation(name, x[:, 0].astype(float))
    close = CLOSE[dtype] / 10
    np.testing.assert_allclose(values[0], wanted, rtol=close, atol=close)
    assert slopes is not None
    np.testing.assert_allclose(slopes[0, :, 0], slope, rtol=close, atol=close)
    small = np.abs(z) < 1e-3  # relative to the value itself, too
    if name in ("tanh", "elu", "relu", "silu"):
        np.testing.assert_allclose(values[0][small], wanted[small], rtol=CLOSE[dtype], atol=1e-30)


SHAPES = [(1, 1), (3, 2), (5, 1, 2), (30, 64, 32, 2), (17, 33, 65, 9), (7, 130, 10), (2, 3, 5, 7, 11, 13), (64, 64, 64)]
NAMES = tuple(ACTIVATIONS)


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("output", ["raw", "softmax", "log_softmax", "sigmoid"])
@pytest.mark.parametrize("widths", SHAPES, ids=str)
def test_values_and_gradients(widths: tuple[int, ...], output: str, dtype: str) -> None:
    """Several scalars at once, contrasts among them; rows that do not fill a block."""
    if widths[-1] < 2 and output.endswith("softmax"):
        pytest.skip("softmax of one output")
    C, R = widths[-1], 300 if widths[0] == 30 else 37
    rng = np.random.default_rng(len(widths))
    names = tuple(NAMES[(i + C) % len(NAMES)] for i in range(len(widths) - 2)) + ("identity",)
    network = layers(widths, names, dtype)
    x = rng.normal(size=(R, widths[0])).astype(dtype)
    scalars = np.stack([rng.integers(0, C, (3, R)), rng.integers(-1, C, (3, R))], -1)
    values, slopes, _ = evaluate(network, x, scalars, output)
    head = output if output != "sigmoid" else "raw"
    full = network if output != "sigmoid" else [*network, Layer(None, None, "sigmoid")]
    assert slopes is not None
    for q in range(3):
        wanted, gradient, _ = exactly(full, head, x, scalars[q, :, 0], scalars[q, :, 1])
        assert_near(values[q], wanted, dtype)
        assert_near(slopes[q], gradient, dtype)


@pytest.mark.parametrize("output", ["raw", "softmax"])
def test_predicted_classes(output: str) -> None:
    network = layers((6, 9, 5), ("tanh", "identity"), "float64")
    x = np.random.default_rng(1).normal(size=(50, 6))
    scalars = np.tile([-1, 2], (1, 50, 1))
    values, _, predicted = evaluate(network, x, scalars, output, gradients=False)
    wanted, _, outputs = exactly(network, output, x, scalars[0, :, 0], scalars[0, :, 1])
    np.testing.assert_array_equal(predicted, outputs.argmax(1))
    assert_near(values[0], wanted, "float64")


@pytest.mark.parametrize("widths", [(0, 3), (3, 0, 2), (0, 0, 1), (1, 1)], ids=str)
def test_empty_layers(widths: tuple[int, ...]) -> None:
    network = layers(widths, ("tanh",) * (len(widths) - 2) + ("identity",), "float64")
    x, scalars = np.ones((4, widths[0])), np.tile([0, -1], (1, 4, 1))
    values, slopes, _ = evaluate(network, x, scalars)
    wanted, gradient, _ = exactly(network, "raw", x, scalars[0, :, 0], scalars[0, :, 1])
    assert_near(values[0], wanted, "float64")
    assert slopes is not None
    assert_near(slopes[0], gradient, "float64")


def test_no_examples() -> None:
    att = fa.Saliency(fa.DenseModel([np.ones((2, 3))]))(np.zeros((0, 3)), 1)
    assert att.values.shape == (0, 3) and "none" in att.engine


@pytest.mark.parametrize("dtype", CLOSE)
def test_a_row_does_not_depend_on_its_neighbours_or_on_threads(dtype: str) -> None:
    """To the bit: in any chunk, at any place, on any number of threads."""
    network = layers((40, 70, 30, 4), ("gelu", "relu", "identity"), dtype)
    x = np.random.default_rng(2).normal(size=(1100, 40)).astype(dtype)
    scalars = np.tile([1, 3], (1, len(x), 1))
    whole = evaluate(network, x, scalars, "softmax")
    for threads in (1, 2, 3):
        _core.set_num_threads(threads)
        for part in (slice(0, 1100), slice(5, 6), slice(100, 913), slice(1000, 1100)):
            values, slopes, _ = evaluate(network, x[part], scalars[:, part], "softmax")
            np.testing.assert_array_equal(values, whole[0][:, part])
            assert slopes is not None and whole[1] is not None
            np.testing.assert_array_equal(slopes, whole[1][:, part])
    _core.set_num_threads(0)


@pytest.mark.parametrize("level", ["base", "avx2"])
def test_lower_cpu_levels(level: str) -> None:
    run_at_level(level, __file__, "activations or values_and_gradients or empty")


def test_nonfinite_rows_stay_alone() -> None:
    network = layers((4, 20, 3), ("relu", "identity"), "float32")
    x = np.random.default_rng(3).normal(size=(20, 4)).astype(np.float32)
    clean, slopes, _ = evaluate(network, x, np.tile([1, -1], (1, 20, 1)))
    x[7, 2], x[9, 0] = np.nan, np.inf
    values, gradients, _ = evaluate(network, x, np.tile([1, -1], (1, 20, 1)))
    others = [i for i in range(20) if i not in (7, 9)]
    np.testing.assert_array_equal(values[:, others], clean[:, others])
    assert gradients is not None and slopes is not None
    np.testing.assert_array_equal(gradients[:, others], slopes[:, others])
    assert np.isnan(values[0, 7])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: _core.dense((), 0, True), ValueError, "layers: expected 1 to 1024"),
        (lambda: _core.dense((3,), 0, True), TypeError, "layers: expected tuples"),  # type: ignore[arg-type]
        (lambda: _core.dense(((2, 3, np.ones((3, 2), "f"), None, 0, 0, 0),), 0, True), ValueError, "weight: expected"),
        (lambda: _core.dense(((2, 3, np.ones((2, 3)), None, 0, 0, 0),), 0, True), ValueError, "weight: expected 3 x 2"),
        (lambda: _core.dense(((2, 3, np.ones((3, 2)), np.ones(2), 0, 0, 0),), 0, True), ValueError, "bias: expected"),
        (lambda: _core.dense(((2, 3, None, None, 0, 0, 0),), 0, True), ValueError, "take what the one before"),
        (lambda: _core.dense(((2, 2, None, None, 99, 0, 0),), 0, True), ValueError, "layers"),
        (lambda: _core.dense(((-2, -2, None, None, 0, 0, 0),), 0, True), ValueError, "layers"),
        (lambda: _core.dense(((2, 2, None, None, 0, 0, 0),), 7, True), ValueError, "layers"),
        (lambda: _core.dense_rows(object()), TypeError, "expected a network"),
    ],
)
def test_what_is_no_network(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_wrong_points_and_targets() -> None:
    network = layers((4, 3), ("identity",), "float64")
    scalars = np.tile([0, -1], (1, 5, 1))
    for x, s, message in (
        (np.zeros((5, 3)), scalars, "inputs: expected one of 4 features in float64"),
        (np.zeros((5, 4), np.float32), scalars, "inputs: expected one of 4 features in float64"),
        (np.zeros((5, 4)), scalars + 3, "target: expected less than 3, got 3"),
        (np.zeros((5, 4)), np.tile(scalars, (9, 1, 1)), "scalars: expected 1 to 8"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate(network, x, s)


def test_softmax_of_probabilities_is_refused() -> None:
    one = fa.DenseModel([np.eye(3)], activations=["identity"])
    x = np.array([[0.2, 0.3, 0.5]])
    with pytest.raises(ValueError, match="softmax would be applied twice"):
        fa.Saliency(one, output="softmax")(x, 0)
    fa.Saliency(one, output="softmax")(x + 1, 0)


# ---- DenseModel ---------------------------------------------------------------------------------------------------


def model(dtype: str = "float64", seed: int = 0) -> tuple[fa.DenseModel, fa.FunctionModel]:
    """A network, and the same by its formula."""
    network = layers((5, 12, 7, 4), ("gelu", "tanh", "identity"), dtype, seed)

    def formula(points: Any, index: Any, scalars: Any) -> Any:
        values, gradient, _ = exactly(network, "raw", points[0], scalars[0, :, 0], scalars[0, :, 1])
        return values[None].astype(dtype), (gradient[None].astype(dtype),)

    weights, biases = [layer.weight for layer in network], [layer.bias for layer in network]
    return fa.DenseModel(weights, biases, ["gelu", "tanh", "identity"]), fa.FunctionModel(formula)


METHODS = {
    "saliency": lambda m: fa.Saliency(m),
    "input": lambda m: fa.InputXGradient(m),
    "auto": lambda m: fa.IntegratedGradients(m),
    "fixed": lambda m: fa.IntegratedGradients(m, steps=20, rows=7),
    "smooth": lambda m: fa.SmoothGrad(m, samples=10),
    "smooth ig": lambda m: fa.SmoothGrad(fa.IntegratedGradients(m, steps=5), samples=3),
    "expected": lambda m: fa.ExpectedGradients(m, np.random.default_rng(5).normal(size=(6, 5)), samples=12),
    "polyline": lambda m: fa.PathIntegratedGradients(m, np.stack([0 * X, X**2, X]), steps=9),
    "path": lambda m: fa.PathIntegratedGradients(
        m, lambda x, b, a, i: b[i] + a[:, None] ** 2 * (x[i] - b[i]),
        tangent=lambda x, b, a, i: 2 * a[:, None] * (x[i] - b[i]), steps=9,
    ),
}  # fmt: skip
X = np.random.default_rng(4).normal(size=(6, 5))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_takes_it(name: str) -> None:
    native, formula = model()
    found, wanted = METHODS[name](native)(X, 2, versus=1), METHODS[name](formula)(X, 2, versus=1)
    for field in ("values", "gap", "error", "output", "baseline_output", "standard_error", "evaluations", "converged"):
        if getattr(wanted, field) is not None:
            np.testing.assert_allclose(getattr(found, field), getattr(wanted, field), rtol=1e-9, atol=1e-12)
    assert found.engine.startswith("native dense (3 layers, cpu, ")


def test_predicted_targets_and_axes() -> None:
    native, formula = model()
    att = fa.IntegratedGradients(native)(X)
    outputs = [[fa.Saliency(formula)(x[None], c).output[0] for c in range(4)] for x in X]
    np.testing.assert_array_equal(att.target, np.argmax(outputs, 1))
    deep, flat = (fa.Saliency(native)(x, 1).values for x in (X.reshape(6, 5, 1), X))
    np.testing.assert_array_equal(deep[..., 0], flat)
    with pytest.raises(ValueError, match="0 <= target < 4, got 4"):
        fa.Saliency(native)(X, 4)


@pytest.mark.parametrize(
    ("weights", "biases", "names", "error", "message"),
    [
        ([], None, "relu", ValueError, "expected as many of each, got 0"),
        ([np.ones((2, 2))], [], "relu", ValueError, "expected as many of each, got 1, 0, 1"),
        ([np.ones((2, 2))], None, ["relu", "tanh"], ValueError, "expected as many of each"),
        ([np.ones((2, 2), int)], None, "relu", TypeError, r"weights\[0\]: expected float32 or float64, got int64"),
        (
            [np.ones((2, 2)), np.ones((2, 3))],
            None,
            "relu",
            ValueError,
            r"weights\[1\]: expected float64 of shape \(out, 2\)",
        ),
        ([np.ones((2, 2)), np.ones((2, 2), "f")], None, "relu", ValueError, r"weights\[1\]: .* got float32"),
        ([np.ones((2, 2))], [np.ones(3)], "relu", ValueError, r"biases\[0\]: expected float64 of shape \(2,\)"),
        ([np.ones((2, 2))], None, ["swish"], ValueError, r"activations\[0\]: expected one of"),
    ],
)
def test_wrong_arrays(weights: Any, biases: Any, names: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fa.DenseModel(weights, biases, names)


def test_calls_it_does_not_take() -> None:
    native, _ = model()
    for call, message in (
        (lambda: fa.Saliency(native)(X[:, :4], 1), r"inputs: expected shape \(B, 5\)"),
        (lambda: fa.Saliency(native)(X.astype(np.float32), 1), "inputs: expected float64 like the weights"),
        (lambda: fa.Saliency(native)((X, X), 1), "one floating array"),
        (lambda: fa.Saliency(native)(X, 1, args=(3,)), "takes none"),
        (lambda: fa.Saliency(native, engine="callback")(X, 1), 'got "callback"'),
        (lambda: fa.Saliency(lambda x: x, engine="native")(X, 1), 'engine: expected .* for "native", got function'),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_a_network_lives_as_long_as_it_is_used_and_serves_many_threads() -> None:
    native, _ = model("float32")
    x = X.astype(np.float32)
    method = fa.IntegratedGradients(native, steps=40)
    wanted, found = method(x, 1).values, []
    threads = [threading.Thread(target=lambda: found.extend(method(x, 1).values for _ in range(20))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 80
    for values in found:
        np.testing.assert_array_equal(values, wanted)


SHORT = """
import resource, numpy as np, fastattr as fa
model = fa.DenseModel([np.full((8, 2000), 1e-3), np.ones((2, 8))], activations="tanh")
x, method = np.ones((1, 2000)), lambda rows: fa.SmoothGrad(model, samples=20000, stdev=0.1, rows=rows)
wanted = method(500)(x, 1)
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 450 * 2**20  # the points take 320 MB, and so would the gradients
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
found = method(20000)(x, 1)
assert (found.values == wanted.values).all()
print(found.engine.split()[-2])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_chunk_without_memory_is_halved() -> None:
    """Sums run in the order of the rows, and rows do not depend on the chunk: to the bit the same."""
    if "libasan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("the sanitizer needs the address space")
    env = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", SHORT], env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    assert 1 <= int(run.stdout) < 20000
