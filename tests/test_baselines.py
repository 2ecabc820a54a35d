"""Baselines by hand and as ``baseline=`` of every method: their definitions, classes, draws, frameworks, parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from models_zoo import B, C, D, Gated, data, mlp  # noqa: E402
from torch import nn  # noqa: E402
from torch.testing import assert_close  # noqa: E402

import fastattr as fa  # noqa: E402
from fastattr import baselines, reference  # noqa: E402

NET = mlp(D, 6, C)
X, POOL = data(B, D), data(9, D, seed=1)
IMAGES = data(3, 2, 5, 7, seed=2)

CONVOLUTIONAL = nn.Sequential(nn.Flatten(), mlp(2 * 5 * 7, 6, C, seed=3)).eval()


def with_baseline() -> dict[str, Callable[..., Any]]:
    """Every method that has one, for a model."""
    path = lambda x, base, a, i: base[i] + a.reshape(-1, *[1] * (x.dim() - 1)) * (x - base)[i]  # noqa: E731
    return {
        "IntegratedGradients": fa.IntegratedGradients,
        "PathIntegratedGradients": lambda m: fa.PathIntegratedGradients(m, path),
        "SmoothGrad": lambda m: fa.SmoothGrad(fa.IntegratedGradients(m), samples=3),
    }


OBJECTS: dict[str, Callable[[Any], Any]] = {
    "Zero": lambda pool: baselines.Zero(),
    "Maximum": lambda pool: baselines.Maximum((-2.0, 2.0)),
    "Blur": lambda pool: baselines.Blur(1.0),
    "Uniform": lambda pool: baselines.Uniform((-1.0, 1.0)),
    "Gaussian": lambda pool: baselines.Gaussian(0.3),
    "Mean": lambda pool: baselines.Mean(pool),
    "DataSet": lambda pool: baselines.DataSet(pool),
    "MDTS": lambda pool: baselines.MDTS(pool, torch.arange(len(pool)) % C, predicted=np.arange(len(pool)) % C),
}


# ---- definitions --------------------------------------------------------------------------------------------------


def test_zero_maximum_and_mean_are_their_definitions() -> None:
    assert_close(baselines.Zero().baseline(X), torch.zeros_like(X))
    x = torch.tensor([[-2.0, 0.0, 0.1, 2.0]])
    found = baselines.Maximum((-2.0, 2.0)).baseline(x)
    assert found.tolist() == [[2.0, 2.0, -2.0, -2.0]]
    np.testing.assert_array_equal(
        baselines.Maximum((-2.0, 2.0)).baseline(X.numpy()), reference.farther_end(X.double().numpy(), -2.0, 2.0)
    )
    low, high = torch.tensor([-1.0, 0.0, 0.0, 0.0, -9.0]), torch.ones(D)
    each = baselines.Maximum((low, high)).baseline(torch.zeros(1, D))
    assert each.tolist() == [[1.0, 1.0, 1.0, 1.0, -9.0]]
    assert_close(baselines.Mean(POOL).baseline(X), POOL.double().mean(0, keepdim=True).float())


def test_blur_is_its_definition_and_keeps_constants() -> None:
    found = baselines.Blur(0.8).baseline(IMAGES.double())
    for x, blurred in zip(IMAGES.double().numpy(), found.numpy()):
        np.testing.assert_allclose(blurred, reference.gaussian_blur(x, 0.8), rtol=1e-10, atol=1e-12)
    assert_close(baselines.Blur(5.0).baseline(torch.full((1, 1, 4, 4), 0.25)), torch.full((1, 1, 4, 4), 0.25))
    series = baselines.Blur(1.0, axes=(1,)).baseline(X)
    assert series.shape == X.shape and not torch.equal(series, X)


def test_random_baselines_are_their_definitions() -> None:
    ids = [5, 0, 2**40, 7]
    x = X.double()
    uniform = baselines.Uniform((-1.0, 3.0), draws=4, seed=11)
    gaussian = baselines.Gaussian(0.4, draws=4, seed=11)
    pooled = baselines.DataSet(POOL.double(), draws=20, seed=11)
    for draw in (0, 3):
        u, g, s = (o.baseline(x, ids=ids, draw=draw).numpy() for o in (uniform, gaussian, pooled))
        for e, number in enumerate(ids):
            row = x[e].numpy()
            np.testing.assert_allclose(u[e], reference.uniform_baseline(row, -1.0, 3.0, 11, number, draw), atol=1e-12)
            np.testing.assert_allclose(g[e], reference.gaussian_baseline(row, 0.4, 11, number, draw), atol=1e-12)
            expected = reference.data_set_baseline(POOL.double().numpy(), 11, number, draw)
            np.testing.assert_array_equal(s[e], expected)
    rows = torch.stack([pooled.baseline(x, draw=k)[0] for k in range(len(POOL))])
    assert len(torch.unique(rows, dim=0)) == len(POOL), "none twice before all were drawn"
    clipped = baselines.Gaussian(5.0, (-1.0, 1.0)).baseline(x)
    assert float(clipped.abs().max()) == 1.0


def test_uniform_fills_its_range_evenly() -> None:
    u = baselines.Uniform((2.0, 6.0), seed=3).baseline(np.zeros((40, 500)))
    assert 2 < u.min() < 2.01 and 5.99 < u.max() < 6
    share = np.histogram(u, bins=10, range=(2, 6))[0] / u.size
    assert np.abs(share - 0.1).max() < 5 * (0.1 * 0.9 / u.size) ** 0.5


def test_random_baselines_are_not_the_noise_of_smooth_grad() -> None:
    noise = reference.noise(0, 0, 0, 0, D)
    drawn = baselines.Gaussian(1.0).baseline(np.zeros((1, D)))[0]
    assert np.abs(noise - drawn).min() > 1e-6


# ---- as an argument of methods ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize("method", with_baseline())
def test_methods_take_objects_for_the_arrays_they_make(method: str, name: str) -> None:
    x, pool, net = (IMAGES, data(9, 2, 5, 7, seed=4), CONVOLUTIONAL)
    target, versus = [0, 1, 2], [1, 2, 0]
    made = OBJECTS[name](pool)
    explain = with_baseline()[method](net)
    found = explain(x, target, versus=versus, baseline=made)
    plain = explain(x, target, versus=versus, baseline=made.baseline(x, versus))
    assert torch.equal(found.values, plain.values) and torch.equal(found.baseline_output, plain.baseline_output)
    assert_close(found.values.double().sum((1, 2, 3)), found.output - found.baseline_output, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("name", OBJECTS)
def test_numpy_in_numpy_out_the_same_numbers(name: str) -> None:
    x, pool = IMAGES, data(9, 2, 5, 7, seed=4)
    theirs = OBJECTS[name](pool).baseline(x, [1, 2, 0])
    ours = OBJECTS[name](pool.numpy()).baseline(x.numpy(), [1, 2, 0])
    assert isinstance(ours, np.ndarray) and ours.dtype == np.float32 and theirs.dtype == torch.float32
    np.testing.assert_array_equal(theirs.numpy(), ours)
    half = OBJECTS[name](pool).baseline(x.bfloat16(), [1, 2, 0])
    assert half.dtype == torch.bfloat16 and half.shape == theirs.shape


def test_a_random_baseline_is_that_of_the_example_number() -> None:
    made = baselines.Uniform((-1.0, 1.0), seed=5)
    method = fa.IntegratedGradients(NET)
    whole = method(X, 1, baseline=made)
    part = method(X[2:], 1, baseline=made, ids=[2, 3])
    assert_close(whole.values[2:], part.values, atol=1e-6, rtol=1e-5)
    assert float((whole.values[2:] - method(X[2:], 1, baseline=made).values).abs().max()) > 1e-3


@pytest.mark.parametrize("draws", [2, 7, 70])
def test_draws_are_averaged_with_their_standard_error(draws: int) -> None:
    made = baselines.DataSet(POOL, draws=draws, seed=2)
    method = fa.IntegratedGradients(NET, tolerance=1e-4)
    found = method(X, 1, versus=2, baseline=made)
    each = [method(X, 1, versus=2, baseline=made.baseline(X, draw=k)) for k in range(draws)]
    values = torch.stack([att.values for att in each]).double()
    assert_close(found.values.double(), values.mean(0), atol=1e-6, rtol=1e-5)
    assert_close(found.standard_error.double(), values.std(0) / draws**0.5, atol=1e-6, rtol=1e-4)
    for field in ("gap", "error", "output", "baseline_output"):
        mean = torch.stack([getattr(att, field) for att in each]).mean(0)
        assert_close(getattr(found, field), mean, atol=1e-6, rtol=1e-5)
    assert torch.equal(found.evaluations, torch.stack([att.evaluations for att in each]).sum(0))
    assert bool(found.converged.all()) and found.target.tolist() == [1] * B and found.method == "IntegratedGradients"


def test_a_batch_with_draws_equals_its_parts() -> None:
    many = 70  # more than one block
    x = data(many, D, seed=8)
    made = baselines.Gaussian(0.5, draws=3, seed=4)
    method = fa.IntegratedGradients(NET)
    versus = torch.arange(many) % 2
    whole = method(x, 2, versus=versus, baseline=made)
    rows = [0, 63, 64, 69]
    part = method(x[rows], 2, versus=versus[rows], baseline=made, ids=rows)
    assert_close(whole.values[rows], part.values, atol=1e-6, rtol=1e-5)
    assert_close(whole.standard_error[rows], part.standard_error, atol=1e-6, rtol=1e-5)


def test_draws_explain_the_class_predicted_at_the_input() -> None:
    found = fa.IntegratedGradients(NET)(X, baseline=baselines.Uniform((-3.0, 3.0), draws=5))
    assert torch.equal(found.target, NET(X).argmax(1))
    assert_close(found.output, NET(X).max(1).values.double(), atol=1e-5, rtol=1e-5)


def test_draws_of_extra_arguments_and_of_functions() -> None:
    weight = torch.arange(1.0, B + 1)[:, None]
    scaled = fa.IntegratedGradients(lambda x, w: NET(x) * w)
    made = baselines.DataSet(POOL, draws=4)
    found = scaled(X, 0, baseline=made, args=(weight,))
    assert_close(found.values, fa.IntegratedGradients(NET)(X, 0, baseline=made).values * weight, atol=1e-5, rtol=1e-4)
    own = np.arange(1.0, B + 1)
    linear = fa.FunctionModel(
        lambda p, index, scalars: ((p[0].sum(1) * own[index])[None], (own[index][None, :, None] + 0 * p[0],))
    )
    att = fa.IntegratedGradients(linear)(X.double().numpy(), baseline=baselines.DataSet(POOL.double().numpy(), draws=9))
    np.testing.assert_allclose(att.values, (X - POOL.mean(0)).double().numpy() * own[:, None], atol=1e-6)


def test_no_examples() -> None:
    found = fa.IntegratedGradients(NET)(X[:0], 1, baseline=baselines.Uniform(draws=3))
    assert found.values.shape == (0, D) and found.standard_error.shape == (0, D)
    assert fa.IntegratedGradients(NET)(X[:0], 1, versus=2, baseline=baselines.Zero()).values.shape == (0, D)


# ---- several inputs -----------------------------------------------------------------------------------------------


def test_one_object_for_all_inputs_or_one_each() -> None:
    net, inputs = Gated().eval(), (X, data(B, 2, seed=5))
    pool = (POOL, data(9, 2, seed=6))
    method = fa.IntegratedGradients(net)
    zero = method(inputs, 1, baseline=baselines.Zero())
    assert_close(zero.values, method(inputs, 1).values, atol=1e-6, rtol=1e-5)
    drawn = baselines.DataSet(pool, seed=1)
    rows = reference.drawn_references(1, 0, 1, 9)[0]
    both = drawn.baseline(inputs)
    assert torch.equal(both[0][0], pool[0][rows]) and torch.equal(both[1][0], pool[1][rows]), "one row for both"
    joint = method(inputs, 1, baseline=drawn)
    each = method(inputs, 1, baseline=(both[0], baselines.DataSet(pool[1], seed=1)))
    assert_close(joint.values, each.values, atol=1e-6, rtol=1e-5)
    several = method(inputs, 1, baseline=(baselines.Uniform(draws=4), 0.0))
    assert several.standard_error[0].shape == X.shape and several.evaluations.shape == (B,)


def test_named_inputs_and_integers() -> None:
    inputs = {"a": X, "steps": torch.arange(B)}
    net = lambda a, steps: NET(a) + steps[:, None]  # noqa: E731
    farther = baselines.Maximum((-1.0, 1.0))
    found = fa.IntegratedGradients(net)(inputs, 1, baseline=farther)
    assert found.values["steps"] is None
    assert_close(found.values["a"], fa.IntegratedGradients(NET)(X, 1, baseline=farther).values, atol=1e-6, rtol=1e-5)


# ---- classes ------------------------------------------------------------------------------------------------------


class Recorder:
    """Any object with such a method will do."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def baseline(self, x: Any, target: Any) -> Any:
        self.asked.append(target)
        return 0 * x


@pytest.mark.parametrize("versus", [2, torch.tensor([2, 2, 2, 2]), [[2], [2], [2], [2]], (2,), np.int8(2)])
def test_objects_are_told_versus(versus: Any) -> None:
    recorder = Recorder()
    fa.IntegratedGradients(NET)(X, 1, versus=versus, baseline=recorder)
    assert [asked.tolist() for asked in recorder.asked] == [[2] * B]


def test_without_versus_objects_are_told_nothing() -> None:
    recorder = Recorder()
    fa.IntegratedGradients(NET)(X, 1, baseline=recorder)
    assert recorder.asked == [None]


def test_class_conditional_baselines_need_a_class() -> None:
    near = OBJECTS["MDTS"](POOL)
    method = fa.IntegratedGradients(NET)
    with pytest.raises(ValueError, match=r"expected a class to take it from.*towards\(8\)"):
        method(X, 1, baseline=near)
    pinned = method(X, 1, baseline=near.towards(2))
    assert torch.equal(pinned.values, method(X, 1, baseline=near.baseline(X, 2)).values)
    other = method(X, 1, versus=0, baseline=near.towards([2, 2, 1, 2]))
    assert torch.equal(other.values, method(X, 1, versus=0, baseline=near.baseline(X, [2, 2, 1, 2])).values)


def test_zero_with_versus_is_the_difference_of_two_maps() -> None:
    """The control: the zero baseline explains two outputs and subtracts; it knows nothing of the other class."""
    method = fa.IntegratedGradients(NET, steps=20)
    pair = method(X, 1, versus=2, baseline=baselines.Zero()).values
    assert_close(pair, method(X, 1).values - method(X, 2).values, atol=1e-6, rtol=1e-5)


# ---- errors -------------------------------------------------------------------------------------------------------

WRONG: list[tuple[Any, str]] = [
    (baselines.Maximum((1.0, 0.0)), "value_range: expected low < high"),
    (baselines.Uniform((0.0,)), "value_range: expected"),
    (baselines.Blur(0.0), "sigma: expected a finite number > 0"),
    (baselines.Blur(1.0), r"axes: expected which to blur for inputs that are not \(B, C, H, W\)"),
    (baselines.Uniform(draws=0), "samples: expected an int from 1"),
    (baselines.Uniform(seed=-1), "seed: expected an int from 0"),
    (baselines.Gaussian(-1.0), "stdev: expected a finite number >= 0"),
    (baselines.Mean(POOL[:, 1:]), r"X: expected shape \('N', 5\), got \(9, 4\)"),
    (baselines.DataSet(POOL[:0]), "X: expected the same number of samples, at least one"),
    (baselines.DataSet((POOL, POOL)), "X: expected the parts"),
]


@pytest.mark.parametrize("made, message", WRONG)
def test_wrong_options_are_named(made: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fa.IntegratedGradients(NET)(X, 1, baseline=made)


def test_wrong_shapes_of_objects_and_places_are_named() -> None:
    class Wide(Recorder):
        def baseline(self, x: Any, target: Any) -> Any:
            return torch.zeros(B, D + 1)

    with pytest.raises(ValueError, match=r"baseline: expected shape \(5,\) or \(4, 5\)"):
        fa.IntegratedGradients(NET)(X, 1, baseline=Wide())
    with pytest.raises(ValueError, match="Saliency has none"):
        fa.Saliency(NET)(X, 1, baseline=baselines.Zero())
    pair = (baselines.Uniform(draws=2), baselines.Uniform(draws=3))
    with pytest.raises(ValueError, match=r"baseline: expected the same number of draws in all, got \[2, 3\]"):
        fa.IntegratedGradients(Gated().eval())((X, data(B, 2)), 1, baseline=pair)
    with pytest.raises(ValueError, match="draw: expected 0 <= draw < 1, got 1"):
        baselines.Uniform().baseline(X, draw=1)


def test_nothing_is_changed() -> None:
    state, x = torch.get_rng_state(), X.clone()
    fa.IntegratedGradients(NET)(x, 1, baseline=baselines.Gaussian(draws=3))
    assert torch.equal(torch.get_rng_state(), state) and torch.equal(x, X)
