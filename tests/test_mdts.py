"""MDTS: the nearest sample exactly, whatever the rounding of the product; classes, ties, models, errors."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from models_zoo import Gated, data, mlp, training_net  # noqa: E402
from test_state import fingerprint  # noqa: E402

import fastattr as fa  # noqa: E402
from fastattr import reference  # noqa: E402
from fastattr.baselines import MDTS, nearest  # noqa: E402
from fastattr.baselines.mdts import predicted_classes  # noqa: E402
from fastattr.baselines.nearest import Candidates  # noqa: E402


def brute(queries: np.ndarray, vectors: np.ndarray, p: int = 2) -> np.ndarray:
    """(Q,) the first of the nearest, by sums in float64."""
    gaps = np.abs(queries[:, None].astype(np.float64) - vectors[None].astype(np.float64)) ** p
    return gaps.sum(2).argmin(1)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6), count=st.integers(1, 60), features=st.integers(1, 40), decimals=st.integers(0, 3),
    shift=st.sampled_from([0.0, 1.0, 1e3, 1e6]), dtype=st.sampled_from([np.float32, np.float64]),
    distance=st.sampled_from(["l2", "l1"]),
)  # fmt: skip
def test_the_nearest_is_that_of_direct_distances(seed, count, features, decimals, shift, dtype, distance) -> None:
    """Rounded coordinates make exact ties, a common shift makes the product lose most of its digits."""
    random = np.random.default_rng(seed)
    vectors = (random.normal(size=(count, features)).round(decimals) + shift).astype(dtype)
    queries = (random.normal(size=(17, features)).round(decimals) + shift).astype(dtype)
    index, distances = Candidates(vectors, distance).nearest(queries)
    expected = brute(queries, vectors, 1 if distance == "l1" else 2)
    gap = np.abs(queries.astype(float) - vectors[index].astype(float))
    np.testing.assert_allclose(distances, gap.sum(1) if distance == "l1" else np.sqrt((gap**2).sum(1)), rtol=1e-12)
    best = np.abs(queries.astype(float) - vectors[expected].astype(float))
    power = 1 if distance == "l1" else 2
    ours, theirs = (gap**power).sum(1), (best**power).sum(1)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    if decimals == 0:  # sums of integers are exact in any order, so that ties are ties
        np.testing.assert_array_equal(index, expected)


def test_a_plain_product_would_choose_wrongly() -> None:
    """Far from the origin float32 cannot tell the candidates apart by |p|^2 - 2 q p; the shortlist does not mind."""
    random = np.random.default_rng(0)
    vectors = random.normal(size=(2000, 50)).astype(np.float32)
    queries = random.normal(size=(21, 50)).astype(np.float32)
    vectors[::2, 0] += 3e4  # two clusters: centring alone does not save it
    vectors[1::2, 0] -= 3e4
    queries[:, 0] += 3e4
    score = np.square(vectors).sum(1) - 2 * queries @ vectors.T
    expected = brute(queries, vectors)
    assert (score.argmin(1) != expected).mean() > 0.3
    np.testing.assert_array_equal(Candidates(vectors).nearest(queries)[0], expected)


def test_ties_take_the_lowest_number_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "CANDIDATES", 8)
    monkeypatch.setattr(nearest, "QUERIES", 3)
    monkeypatch.setattr(nearest, "PAIRS", 7)
    random = np.random.default_rng(1)
    some = random.integers(-2, 3, size=(10, 3)).astype(np.float32)
    vectors = some[random.integers(0, 10, 61)]
    queries = some[random.integers(0, 10, 20)]
    for distance, p in (("l2", 2), ("l1", 1)):
        index, distances = Candidates(vectors, distance).nearest(queries)
        np.testing.assert_array_equal(index, brute(queries, vectors, p))
        assert set(distances) == {0.0}


def test_values_that_are_not_finite_stay_where_they_are() -> None:
    vectors = np.random.default_rng(2).normal(size=(50, 4)).astype(np.float32)
    queries = vectors[:5].copy()
    queries[2, 1] = np.nan
    index, distances = Candidates(vectors).nearest(queries)
    assert index[[0, 1, 3, 4]].tolist() == [0, 1, 3, 4] and np.isnan(distances[2])


def test_memory_is_bounded() -> None:
    """4,000 x 20,000 distances would take 320 MB; the blocks take a few."""
    random = np.random.default_rng(3)
    vectors, queries = (random.random((n, 16), np.float32) for n in (20_000, 4_000))
    candidates = Candidates(vectors)
    tracemalloc.start()
    try:
        candidates.nearest(queries)
        assert tracemalloc.get_traced_memory()[1] < 24 * 2**20
    finally:
        tracemalloc.stop()


# ---- the baseline -------------------------------------------------------------------------------------------------

X, Y = data(40, 6), np.arange(40) % 4
QUERIES = data(7, 6, seed=1)


@pytest.mark.parametrize("distance, p", [("l2", 2), ("l1", 1)])
def test_equals_its_definition(distance: str, p: int) -> None:
    predicted = np.where(np.arange(40) % 5 == 0, 3, Y)
    near = MDTS(X, Y, predicted=predicted, distance=distance)
    target = [0, 1, 2, 3, 0, 1, 2]
    rows, distances = near.nearest(QUERIES, target)
    for q, c, row in zip(QUERIES.numpy(), target, rows):
        assert row == reference.mdts(q, c, X.numpy(), Y.tolist(), predicted.tolist(), p)
    norms = np.linalg.norm((QUERIES.double() - X[rows].double()).numpy(), ord=p, axis=1)
    np.testing.assert_allclose(distances, norms, rtol=1e-12)
    assert torch.equal(near.baseline(QUERIES, target), X[rows])


def test_samples_have_the_label_and_the_prediction() -> None:
    net = mlp(6, 8, 4)
    predicted = net(X).argmax(1)
    assert len(torch.unique(predicted)) > 1 and (predicted.numpy() != Y).any()
    near = MDTS(X, Y, net)
    for c in torch.unique(predicted[predicted.numpy() == Y]).tolist():
        rows, _ = near.nearest(QUERIES, c)
        assert (Y[rows] == c).all() and (predicted[rows] == c).all()
    spelled = MDTS(X.numpy(), Y, predicted=predicted)
    c = int(predicted[(predicted.numpy() == Y).argmax()])
    assert (spelled.nearest(QUERIES.numpy(), c)[0] == near.nearest(QUERIES, c)[0]).all()


def test_several_inputs_are_near_jointly() -> None:
    net, other = Gated().eval(), data(40, 2, seed=2)
    x = (data(40, 5, seed=3), other)
    labels = net(*x).argmax(1)
    near = MDTS(x, labels, net)
    c = int(labels[0])
    queries = (data(3, 5, seed=4), data(3, 2, seed=5))
    rows, _ = near.nearest(queries, c)
    joint = torch.cat(x, 1)[labels == c]
    found = torch.cdist(torch.cat(queries, 1).double(), joint.double()).argmin(1)
    assert rows.tolist() == torch.nonzero(labels == c)[found, 0].tolist()
    att = fa.IntegratedGradients(net)(queries, (c + 1) % 3, versus=c, baseline=near)
    assert torch.equal(att.values[0], fa.IntegratedGradients(net)(
        queries, (c + 1) % 3, versus=c, baseline=near.baseline(queries, c)).values[0])  # fmt: skip


def test_integer_members_go_with_their_samples() -> None:
    """Over more samples than a chunk has rows, in the order that only the integers know."""
    x, kind = data(5000, 3), torch.arange(5000) % 3
    model = lambda a, kind: torch.nn.functional.one_hot(kind, 3) + 0 * a  # noqa: E731
    np.testing.assert_array_equal(predicted_classes(model, {"a": x, "kind": kind}), kind)


def test_why_a_three_and_not_an_eight(trained_digits) -> None:
    net, x, y = trained_digits.models["ReLU"], trained_digits.x, trained_digits.y
    near = MDTS(x, y, net)
    threes = x[(y == 3) & (net(x).argmax(1) == 3)][:5]
    att = fa.IntegratedGradients(net)(threes, 3, versus=8, baseline=near)
    assert bool((att.output > 0).all()) and bool((att.baseline_output < 0).all()), "from an 8 to a 3"
    assert bool(att.converged.all())


def test_the_model_is_left_as_it_was() -> None:
    net = training_net()
    before, state = fingerprint(net), torch.get_rng_state()
    with pytest.warns(UserWarning, match="training mode"):
        MDTS(data(40, 5), np.arange(40) % 3, net)
    assert fingerprint(net) == before and torch.equal(torch.get_rng_state(), state)


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"distance": "l3"}, ValueError, "distance: expected one of"),
    ({"y": Y[:5]}, ValueError, r"y: expected one for each of 40 samples, got shape \(5,\)"),
    ({"y": Y + 0.5}, TypeError, "y: expected integers, got float64"),
    ({"predicted": None}, ValueError, "model: expected the explained classifier, or its predicted classes"),
    ({"predicted": Y[None]}, ValueError, "predicted: expected one for each of 40 samples"),
    ({"predicted": None, "model": fa.FunctionModel(lambda p, i, s: 0)}, ValueError, "expected its predicted classes"),
    ({"X": X[0, 0]}, ValueError, "X: expected the same number of samples"),
]


@pytest.mark.parametrize("options, error, message", WRONG)
def test_wrong_arguments_are_named(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        MDTS(**{"X": X, "y": Y, "predicted": Y} | options)


def test_wrong_queries_are_named() -> None:
    near = MDTS(X, Y, predicted=np.where(Y == 2, 1, Y))
    with pytest.raises(ValueError, match="labelled and predicted so, got 2"):
        near.baseline(QUERIES, 2)
    with pytest.raises(ValueError, match=r"X: expected shape \('N', 5\), got \(40, 6\)"):
        near.baseline(QUERIES[:, 1:], 1)
    with pytest.raises(TypeError, match="target: expected integers, got float"):
        near.baseline(QUERIES, 1.0)
    with pytest.raises(ValueError, match=r"target: expected an int or shape \(7,\), got \(3,\)"):
        near.baseline(QUERIES, [1, 1, 1])
