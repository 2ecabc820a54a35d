"""Polylines in batches: who stops when, chunks, several inputs, extra arguments, targets, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.backend

torch = pytest.importorskip("torch")

from helpers_native import Formula, Recorder, certificate, draw, kinked, smooth, steep  # noqa: E402
from models_zoo import B, C, D, Gated, Tokens, data, mlp, training_net  # noqa: E402
from test_path_integrated_gradients import FIELDS, polyline, vertices  # noqa: E402
from test_state import fingerprint, prepared  # noqa: E402
from torch import nn  # noqa: E402
from torch.testing import assert_close  # noqa: E402

import fastattr as fa  # noqa: E402

NET = mlp(D, 12, 8, C).double()
RELU = mlp(D, 12, C, activation=nn.ReLU).double()
X = data(B, D, dtype=torch.float64)
SECOND = data(B, 2, seed=1, dtype=torch.float64)
MASK = torch.tensor([[1, 0, 1, 1, 1], [1, 1, 1, 1, 0], [0, 1, 1, 1, 1], [1, 1, 0, 0, 1]])
GATED = Gated().eval().double()


# ---- batches ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", [kinked, steep])
def test_examples_stop_independently_and_segments_together(link: Any) -> None:
    x = draw(12, 5, seed=4)
    path, recorder = vertices(4, x), Recorder(Formula(link))
    att = fa.PathIntegratedGradients(fa.FunctionModel(recorder), path, tolerance=0.05)(x, 1)
    assert len(set(att.evaluations.tolist())) > 2
    assert set(att.evaluations.tolist()) <= {3 * n for n in (15, 31, 63, 127, 255)}
    assert recorder.rows == att.evaluations.sum() + 2 * len(x)
    for e in range(len(x)):
        assert len(recorder.rows_of(e)) == att.evaluations[e] + 2
        single = fa.PathIntegratedGradients(fa.FunctionModel(Formula(link)), path[:, e : e + 1], tolerance=0.05)
        alone = single(x[e : e + 1], 1)
        part = {field: getattr(att, field)[e : e + 1] for field in ("values", *FIELDS)}
        assert certificate(fa.Attribution(**part)) == certificate(alone)


@pytest.mark.parametrize("link", [smooth, steep])
@pytest.mark.parametrize("options", [{}, {"steps": 5}, {"steps": 6, "rule": "trapezoid"}])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_chunks_and_threads_change_no_bit(dtype: Any, options: dict[str, Any], link: Any) -> None:
    x = draw(5, 7, dtype=dtype)
    path, model = vertices(4, x), fa.FunctionModel(Formula(link))
    wanted = certificate(fa.PathIntegratedGradients(model, path, rows=10**6, **options)(x, 1, versus=2))
    for rows, threads in ((1, 1), (2, 2), (7, 3), ("auto", 0)):
        fa.set_num_threads(threads)
        assert certificate(fa.PathIntegratedGradients(model, path, rows=rows, **options)(x, 1, versus=2)) == wanted
    fa.set_num_threads(0)


def test_a_function_sees_the_number_of_its_example() -> None:
    """Every example has its own slope, found by its index; all points lie on the example's own path."""
    x = draw(6, 3)
    path, slope = vertices(5, x), np.arange(1.0, 7.0)

    def value_and_gradient(points: Any, index: Any, scalars: Any) -> Any:
        assert index.dtype == np.int64 and scalars.shape == (1, len(index), 2)
        return (slope[index] * points[0].sum(1))[None], (np.repeat(slope[index], 3).reshape(1, -1, 3),)

    recorder = Recorder(value_and_gradient)
    att = fa.PathIntegratedGradients(fa.FunctionModel(recorder), path, steps=3, rows=4)(x)
    np.testing.assert_allclose(att.values, slope[:, None] * (x - path[0]), atol=1e-12)
    np.testing.assert_allclose(att.output, slope * x.sum(1))
    np.testing.assert_allclose(att.baseline_output, slope * path[0].sum(1))
    assert np.abs(att.gap).max() < 1e-12
    for e in range(6):
        own = path[:, e]
        for point in recorder.rows_of(e):
            d = np.diff(own, axis=0)
            alpha = np.clip(((point - own[:-1]) * d).sum(1) / (d * d).sum(1), 0, 1)
            assert np.abs(own[:-1] + alpha[:, None] * d - point).max(1).min() < 1e-9


def test_an_empty_batch_and_one_without_features() -> None:
    att = fa.PathIntegratedGradients(NET, torch.zeros(3, 0, D, dtype=torch.float64))(X[:0], 1)
    assert att.values.shape == (0, D) and att.gap.shape == att.evaluations.shape == (0,)
    model = fa.FunctionModel(lambda points, index, scalars: (np.ones((1, len(index))), (points[0][None],)))
    att = fa.PathIntegratedGradients(model, np.zeros((4, 2, 0)))(np.zeros((2, 0)))
    assert att.values.shape == (2, 0) and att.gap.tolist() == [0, 0] and att.converged.all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("options", [{}, {"steps": 9}])
def test_half_precision(dtype: torch.dtype, options: dict[str, Any]) -> None:
    net, x = mlp(D, 8, C).to(dtype), X.to(dtype)
    path = polyline(3, x)
    att = fa.PathIntegratedGradients(net, path, **options)(x, 1)
    assert att.values.dtype == torch.float32
    exact = fa.PathIntegratedGradients(net.double(), path.double(), steps=31)(x.double(), 1)
    share = (att.values - exact.values).abs().sum(1) / exact.values.abs().sum(1)
    assert share.max() < (0.01 if dtype == torch.float16 else 0.05)


# ---- inputs, arguments, targets -----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [tuple, dict])
@pytest.mark.parametrize("options", [{}, {"steps": 9}])
def test_several_inputs_share_one_bar(form: type, options: dict[str, Any]) -> None:
    both = torch.cat([X, SECOND], 1)
    path = polyline(4, both)
    joined = fa.PathIntegratedGradients(lambda z: GATED(z[:, :D], z[:, D:]), path, **options)(both, 1)
    parts: Any = {"a": X, "b": SECOND}, {"a": path[..., :D], "b": path[..., D:]}
    x, split = parts if form is dict else tuple(tuple(p.values()) for p in parts)
    att = fa.PathIntegratedGradients(GATED, split, **options)(x, 1)
    assert isinstance(att.values, form)
    assert_close(torch.cat(list(att.values.values() if form is dict else att.values), 1), joined.values)
    for field in FIELDS:
        assert_close(getattr(att, field), getattr(joined, field), equal_nan=True)


def test_integer_inputs_are_constants() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Tokens().eval()
    x, mask = data(B, 7, D), (data(B, 7, seed=1) > -0.5).long()
    path = polyline(3, x)
    named = {"inputs_embeds": x, "attention_mask": mask}
    att = fa.PathIntegratedGradients(model, {"inputs_embeds": path}, steps=5)(named, 1)
    assert att.values["attention_mask"] is None
    wanted = fa.PathIntegratedGradients(lambda z: model(z, mask[:1]), path[:, :1], steps=5)(x[:1], 1)
    assert_close(att.values["inputs_embeds"][:1], wanted.values)
    for unused in (None, mask):
        att = fa.PathIntegratedGradients(model, (path, unused), steps=5)((x, mask), 1)
        assert att.values[1] is None
        assert_close(att.values[0][:1], wanted.values)


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("rows", ["auto", 1, 3])
def test_extra_arguments_follow_their_example(rows: Any, count: int) -> None:
    path = (polyline(count), polyline(count, SECOND))
    heat = torch.tensor([1.0, 2.0, 3.0, 4.0]).double()[:, None]
    method = fa.PathIntegratedGradients(GATED, path, steps=5, rows=rows)
    att = method((X, SECOND), 1, args=(MASK.numpy(),), kwargs={"temperature": heat})
    for e in range(B):
        own = tuple(p[:, e : e + 1] for p in path)
        single = fa.PathIntegratedGradients(lambda a, b, e=e: GATED(a, b, MASK[e], temperature=heat[e]), own, steps=5)
        alone = single((X[e : e + 1], SECOND[e : e + 1]), 1)
        assert_close(tuple(v[e : e + 1] for v in att.values), alone.values)
        assert_close((att.gap[e : e + 1], att.output[e : e + 1]), (alone.gap, alone.output), atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("convert", [lambda t: t, lambda t: t.numpy()], ids=["torch", "numpy"])
@pytest.mark.parametrize("extent", [B, 2 * B])
@pytest.mark.parametrize("count", [2, 3])
def test_arguments_of_the_model_stay_whole(count: int, extent: int, convert: Any) -> None:
    """A table (B, ...) marked as shared, and one that has as many rows as there are segments in all."""
    table = data(extent, C, seed=5, dtype=torch.float64)
    seen = []

    def model(x: torch.Tensor, weight: Any) -> torch.Tensor:
        seen.append(tuple(weight.shape))
        return NET(x) * torch.as_tensor(weight).sum(0)

    given = convert(table)
    method = fa.PathIntegratedGradients(model, polyline(count), steps=5, rows=3)
    att = method(X, 1, args=(fa.shared(given) if extent == B else given,))
    assert set(seen) == {(extent, C)}
    plain = fa.PathIntegratedGradients(NET, polyline(count), steps=5)(X, 1)
    assert_close(att.values, plain.values * table.sum(0)[1])


def test_versus_and_targets() -> None:
    path = polyline(4)
    method = fa.PathIntegratedGradients(NET, path, steps=9)
    one, two = method(X, 1), method(X, [2, 0, 2, 0])
    both = method(X, 1, versus=[2, 0, 2, 0])
    assert_close(both.values, one.values - two.values)
    assert_close(
        (both.output, both.baseline_output), (one.output - two.output, one.baseline_output - two.baseline_output)
    )
    with pytest.raises(ValueError, match="versus"):
        method(X, 1, versus=[0, 1, 2, 0])


@pytest.mark.parametrize("options", [{}, {"steps": 9}])
def test_no_target_is_the_class_predicted_at_the_input(options: dict[str, Any]) -> None:
    path = polyline(4)
    predicted = NET(X).argmax(1)
    assert (NET(path[:-1]).argmax(-1) != predicted).any()  # segments must not choose for themselves
    att = fa.PathIntegratedGradients(NET, path, **options)(X)
    wanted = fa.PathIntegratedGradients(NET, path, **options)(X, predicted)
    assert torch.equal(att.target, predicted)
    assert torch.equal(att.values, wanted.values) and torch.equal(att.gap, wanted.gap)
    assert_close(att.output, NET(X).amax(1).detach())
    against = [int(c + 1) % C for c in predicted]
    assert torch.equal(fa.PathIntegratedGradients(NET, path, **options)(X, versus=against).target, predicted)


def test_array_paths_of_another_framework_dtype_or_layout() -> None:
    path = polyline(3)
    wanted = fa.PathIntegratedGradients(NET, path, steps=5)(X, 1).values
    strided = torch.stack([path, path], -1)[..., 0].transpose(0, 1).contiguous().transpose(0, 1)
    exact = X.float().double()
    for given in (path.numpy(), strided):
        assert torch.equal(fa.PathIntegratedGradients(NET, given, steps=5)(X, 1).values, wanted)
    single = polyline(3, exact).float()
    assert_close(
        fa.PathIntegratedGradients(NET, single, steps=5)(exact, 1).values,
        fa.PathIntegratedGradients(NET, single.double(), steps=5)(exact, 1).values,
    )
    found = fa.PathIntegratedGradients(NET, path.numpy(), steps=5)(X.numpy(), 1).values
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, wanted.numpy())


def test_state_and_paths_are_left_alone() -> None:
    model, x = prepared(training_net()), X.float()
    path = polyline(3, x)
    before, copy = fingerprint(model), path.clone()
    with pytest.warns(UserWarning, match="training mode") as caught:
        for target in (None, 1):
            fa.PathIntegratedGradients(model, path, steps=5, rows=4)(x, target)
            assert fingerprint(model) == before and torch.equal(path, copy)
    assert len(caught) == 1  # once, though None asks the model at the input first


# ---- refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        (polyline(3) + 1e-9, ValueError, "last vertex to equal the inputs"),
        (polyline(3)[:-1], ValueError, "last vertex to equal the inputs"),
        (polyline(1), ValueError, r"V >= 2, got \(1, 4, 5\)"),
        (X, ValueError, r"expected shape \('V', 4, 5\) with V >= 2, got \(4, 5\)"),
        (polyline(3)[:, :2], ValueError, "expected shape"),
        (polyline(3)[..., None], ValueError, "expected shape"),
        ((polyline(3),), TypeError, "path: expected"),
        ([polyline(3)], TypeError, "path: expected"),
        (None, TypeError, "path: expected"),
        ("straight", TypeError, "path: expected"),
    ],
)
def test_refused_paths(path: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        fa.PathIntegratedGradients(NET, path)(X, 1)


def test_refused_paths_of_several_inputs() -> None:
    good = (polyline(3), polyline(3, SECOND))
    for path, error, message in (
        ((good[0], polyline(4, SECOND)), ValueError, r"path: expected the same .* in all, got \[3, 4\]"),
        ((good[0],), TypeError, "path"),
        (good[0], TypeError, "path"),
        ((good[0], None), TypeError, r"path\[1\]: expected an array"),
        ((good[0], good[1] + 1), ValueError, r"path\[1\]: expected the last vertex"),
    ):
        with pytest.raises(error, match=message):
            fa.PathIntegratedGradients(GATED, path)((X, SECOND), 1)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"steps": 0}, ValueError, "steps"),
        ({"steps": "exact"}, ValueError, "steps: expected"),
        ({"steps": 9, "rule": "nested"}, ValueError, "steps: the nested rule"),
        ({"rule": "midpoint"}, ValueError, "rule"),
        ({"steps": 5, "rule": "simpson"}, ValueError, "rule"),
        ({"tolerance": 0}, ValueError, "tolerance"),
        ({"tangent": lambda *_: X}, ValueError, "tangent: expected with a callable path only"),
        ({"rows": 0}, ValueError, "rows"),
    ],
)
def test_refused_options(options: dict[str, Any], error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        fa.PathIntegratedGradients(NET, polyline(3), **options)(X, 1)


def test_a_polyline_brings_its_own_baseline() -> None:
    for baseline in (0.0, torch.zeros_like(X)):
        with pytest.raises(ValueError, match="baseline: PathIntegratedGradients has none"):
            fa.PathIntegratedGradients(NET, polyline(3))(X, 1, baseline=baseline)


@pytest.mark.parametrize("kit", ["torch", "numpy"])
def test_nan_inputs_are_told_as_such(kit: str) -> None:
    """NaN equals NaN in the last vertex: the warning is that of all methods, and of the one example."""
    x = X.clone()
    x[2, 1] = torch.nan
    path = polyline(3, x)
    model = NET
    if kit == "numpy":
        model = fa.FunctionModel(
            lambda points, index, scalars: (points[0].sum(1)[None], (np.ones_like(points[0])[None],))
        )
        x, path = x.numpy(), path.numpy()
    with pytest.warns(UserWarning, match=rf"^1 of {B} examples \(2\) have NaN or infinite"):
        att = fa.PathIntegratedGradients(model, path, steps=5)(x, 1)
    assert np.isfinite(np.asarray(att.gap)).tolist() == [e != 2 for e in range(B)]
    with pytest.raises(ValueError, match="last vertex to equal the inputs"):
        fa.PathIntegratedGradients(model, path, steps=5)(path[0], 1)
