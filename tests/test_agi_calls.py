"""Calls of AGI: which classes, every kind of input, what is refused, what is left behind."""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from models_zoo import B, C, D, Gated, Tokens, data, mlp  # noqa: E402
from test_out_of_memory import KINDS, Small  # noqa: E402
from test_state import Faulty, fingerprint, prepared  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.testing import assert_close  # noqa: E402

import fastattr as fa  # noqa: E402

NET, MANY = mlp(D, 6, C), mlp(D, 12, 30, seed=1)
X = data(B, D)


# ---- which classes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("select", ["random", "top", "stride"])
@pytest.mark.parametrize("count", [1, 7, 20, 29, 100, "all"])
def test_false_classes_and_no_class_twice(count: Any, select: str) -> None:
    att = fa.AGI(MANY, classes=count, select=select, max_steps=1)(X)
    most = 29 if count == "all" else min(count, 29)
    assert att.paths.classes.shape == (B, most)
    for e in range(B):
        named = att.paths.classes[e].tolist()
        assert len(set(named)) == most and int(att.target[e]) not in named
        assert all(0 <= c < 30 for c in named)


def test_twenty_classes_by_default_or_all_there_are() -> None:
    assert fa.AGI(MANY, max_steps=1)(X).paths.classes.shape == (B, 20)
    att = fa.AGI(NET, max_steps=1)(X, 1)
    assert att.paths.classes.tolist() == [[0, 2]] * B


def test_the_seed_chooses_and_every_class_is_reachable() -> None:
    x = X[:1].expand(400, D).contiguous()
    first, again, other = (fa.AGI(MANY, classes=3, max_steps=1, seed=s)(x, 4) for s in (0, 0, 1))
    assert torch.equal(first.paths.classes, again.paths.classes)
    assert not torch.equal(first.paths.classes, other.paths.classes)
    counts = torch.bincount(first.paths.classes.flatten(), minlength=30)
    assert counts[4] == 0 and counts[torch.arange(30) != 4].min() > 0
    expected = 400 * 3 / 29  # each class equally often, within five standard deviations
    assert (counts[counts > 0] - expected).abs().max() < 5 * expected**0.5


def test_classes_are_keyed_by_the_number_of_the_example() -> None:
    whole = fa.AGI(MANY, classes=3, max_steps=2, seed=7)(X, 4)
    for e in range(B):
        one = fa.AGI(MANY, classes=3, max_steps=2, seed=7)(X[e : e + 1], 4, ids=[e])
        assert torch.equal(one.paths.classes[0], whole.paths.classes[e])
        assert_close(one.values[0], whole.values[e], atol=1e-6, rtol=1e-5)


def test_top_takes_the_runners_up() -> None:
    scores = MANY(X)
    for target in (None, 4):
        att = fa.AGI(MANY, classes=5, select="top", max_steps=1)(X, target)
        masked = scores.clone()
        masked[torch.arange(B), scores.argmax(1) if target is None else torch.full((B,), 4)] = -torch.inf
        want = masked.topk(5).indices.sort().values
        assert torch.equal(att.paths.classes.sort().values, want)


def test_stride_spreads_over_all_classes() -> None:
    att = fa.AGI(MANY, classes=5, select="stride", max_steps=1)(X, 4)
    gaps = att.paths.classes.diff(dim=1)
    assert (att.paths.classes == att.paths.classes[0]).all()
    assert gaps.min() >= 29 // 5 and gaps.max() <= 29 // 5 + 2


def test_lists_and_arrays_name_classes() -> None:
    wanted = fa.AGI(MANY, classes=[3, 7, 20])(X, 4)
    table = torch.tensor([[3, 7, 20]] * B)
    for classes in ((3, 7, 20), np.array([3, 7, 20]), table, table.numpy(), table.to(torch.int32), table.tolist()):
        assert torch.equal(fa.AGI(MANY, classes=classes)(X, 4).values, wanted.values)


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ([3, 4], "target"),
        ([3, 30], "classes: "),
        ([-1, 3], "classes: "),
        ([3, 3], "classes: "),
        ([], "classes: "),
        (0, "classes: "),
        (-2, "classes: "),
        (2.5, "classes: "),
        (True, "classes: "),
        ("some", "classes: "),
        (None, "classes: "),
        ([[3, 7]] * 3, "classes: "),
        ([[3, 7], [3]], "classes: "),
        (torch.tensor([0.5, 1.0]), "classes: "),
    ],
    ids=str,
)
def test_classes_that_do_not_fit(classes: Any, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        fa.AGI(MANY, classes=classes)(X, 4)


def test_the_class_that_equals_the_target_is_named_with_its_examples() -> None:
    with pytest.raises(ValueError, match=r"classes: .*target.*examples 2"):
        fa.AGI(MANY, classes=[3, 7])(X, [0, 1, 7, 2])


# ---- small worlds -------------------------------------------------------------------------------------------------


def test_two_classes() -> None:
    net = mlp(D, 6, 2)
    att = fa.AGI(net)(X)
    assert att.paths.classes.tolist() == [[1 - int(t)] for t in net(X).argmax(1)]
    assert att.paths.reached.any()


@pytest.mark.parametrize("outputs", [1, None])
def test_one_output_has_no_other_class(outputs: int | None) -> None:
    net = mlp(D, 1) if outputs else lambda x: x.sum(1)
    for output in ("raw", "sigmoid"):
        with pytest.raises(ValueError, match="classes|output"):
            fa.AGI(net, output=output)(X)


def test_certain_to_the_last_bit() -> None:
    """p_t = 1 exactly: nothing to attribute yet, but the way to the other class is found; no NaN."""
    net = nn.Linear(2, 2, bias=False).eval()
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[200.0, 0.0], [0.0, 200.0]]))
    x = torch.tensor([[1.0, 0.0], [0.4, 0.5]])
    att = fa.AGI(net, classes=[1], clamp=(0.0, 1.0))(x[:1], 0)
    assert att.output.item() == 1 and att.paths.reached.all() and int(att.paths.steps) in (10, 11)
    assert torch.isfinite(att.values).all() and att.values[0, 0] > 0 > att.values[0, 1] * -1
    there = fa.AGI(net, classes=[1])(x[1:], 0)
    assert there.paths.steps.item() == 0 and there.paths.reached.all() and not there.values.any()
    assert there.gap.item() == 0


def test_a_class_that_is_never_reached() -> None:
    net = nn.Linear(D, C).eval()
    with torch.no_grad():
        net.bias.copy_(torch.tensor([0.0, 1e4, 0.0]))
    att = fa.AGI(net, max_steps=6, output="raw")(X, 1)
    assert not att.paths.reached.any() and (att.paths.steps == 6).all() and not att.paths.stalled.any()
    assert (att.paths.gap.abs() < 1e-2).all()


def test_a_path_that_cannot_move_is_retired() -> None:
    flat = nn.Linear(D, C).eval()
    with torch.no_grad():
        flat.weight[2] = 0
        flat.bias[2] = -100
    att = fa.AGI(flat, output="raw", direction="target", classes=[2])(X[:, :], 1)
    assert att.paths.stalled.all() and not att.paths.steps.any() and not att.values.any()
    still = fa.AGI(NET, radius=0.0)(X)
    assert still.paths.stalled.all() and not still.values.any() and not still.gap.any()


def test_an_empty_batch() -> None:
    att = fa.AGI(NET)(X[:0], 1)
    assert att.values.shape == (0, D) and att.gap.shape == (0,)
    assert str(att.paths) is not None


# ---- inputs -------------------------------------------------------------------------------------------------------


def test_several_inputs_extra_arguments_and_a_loop() -> None:
    net, x = Gated().eval(), (X, data(B, 2, seed=4))
    mask, temperature = (data(B, D, seed=6) > 0).float(), torch.linspace(1, 2, C)
    options: dict[str, Any] = {"args": (mask,), "kwargs": {"temperature": fa.shared(temperature)}}
    whole = fa.AGI(net, rows=3)(x, 1, **options)
    assert [v.shape for v in whole.values] == [(B, D), (B, 2)]
    for e in range(B):
        options["args"] = (mask[e : e + 1],)
        one = fa.AGI(net)((x[0][e : e + 1], x[1][e : e + 1]), 1, **options)
        for t in range(2):
            assert_close(one.values[t][0], whole.values[t][e], atol=1e-6, rtol=1e-5)
        assert torch.equal(one.paths.steps[0], whole.paths.steps[e])


def test_inputs_by_name_with_constants() -> None:
    model = Tokens().eval()
    x = {"inputs_embeds": data(B, 4, D), "attention_mask": torch.ones(B, 4, dtype=torch.int64)}
    x["attention_mask"][1, 2:] = 0
    att = fa.AGI(model, rows=5, max_steps=4, end_points=True)(x, 1)
    assert att.values["attention_mask"] is None and att.values["inputs_embeds"].shape == (B, 4, D)
    assert not att.values["inputs_embeds"][1, 2:].any() and att.values["inputs_embeds"][0].any()
    kept = fa.AGI(model, max_steps=2, reduce="none")(x, 1)
    assert kept.values["inputs_embeds"].shape == (B, C - 1, 4, D)


def test_numpy_in_numpy_out() -> None:
    want, att = fa.AGI(NET)(X, 1), fa.AGI(NET)(X.numpy(), 1)
    assert type(att.values) is type(att.gap) is type(att.paths.steps) is np.ndarray
    np.testing.assert_array_equal(att.values, want.values.numpy())
    np.testing.assert_array_equal(att.paths.steps, want.paths.steps.numpy())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype) -> None:
    att = fa.AGI(mlp(D, 6, C).to(dtype), step_size=0.25)(X.to(dtype), 1)
    assert att.values.dtype == torch.float32 and torch.isfinite(att.values).all()
    wide = fa.AGI(NET, step_size=0.25)(X.to(dtype).float(), 1)
    same = (att.paths.steps == wide.paths.steps).all(1)
    assert same.any() and np.corrcoef(att.values[same].ravel(), wide.values[same].ravel())[0, 1] > 0.95


def test_clamps_of_every_form() -> None:
    x = data(2, 3, 4, 4).sigmoid()
    net = nn.Sequential(nn.Flatten(), mlp(48, C)).eval()
    low, high = x.amin((0, 2, 3)), x.amax((0, 2, 3))
    per_channel = (low.reshape(3, 1, 1), high.reshape(3, 1, 1))
    full = tuple(bound.expand(2, 3, 4, 4).contiguous() for bound in per_channel)
    found = [
        fa.AGI(net, clamp=clamp, end_points=True)(x, 1)
        for clamp in (per_channel, full, tuple(b.numpy() for b in per_channel), tuple(b.double() for b in per_channel))
    ]
    for att in found:
        assert torch.equal(att.values, found[0].values)
        assert (att.paths.end_points >= per_channel[0]).all() and (att.paths.end_points <= per_channel[1]).all()
    below = fa.AGI(net, clamp=(None, 1.0), end_points=True)(x, 1)
    assert below.paths.end_points.max() <= 1 and below.paths.end_points.min() < 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"clamp": (0.0, 1.0)}, r"clamp: .*inputs"),
        ({"clamp": (1.0, 0.0)}, "clamp: "),
        ({"clamp": 1.0}, "clamp: "),
        ({"clamp": (0.0, 1.0, 2.0)}, "clamp: "),
        ({"clamp": (torch.zeros(7), 1.0)}, "clamp: "),
        ({"clamp": (float("nan"), 1.0)}, "clamp: "),
        ({"radius": -1.0}, "radius: "),
        ({"radius": float("nan")}, "radius: "),
        ({"step_size": 0.0}, "step_size: "),
        ({"step_size": -0.1}, "step_size: "),
        ({"step_size": float("inf")}, "step_size: "),
        ({"step_size": "big"}, "step_size: "),
        ({"max_steps": 0}, "max_steps: "),
        ({"max_steps": 2.5}, "max_steps: "),
        ({"path": "curved"}, "path: "),
        ({"quadrature": "simpson"}, "quadrature: "),
        ({"path": "local", "quadrature": "trapezoid"}, "quadrature: "),
        ({"path": "straight", "quadrature": "left"}, "quadrature: "),
        ({"step": "l1"}, "step: "),
        ({"direction": "up"}, "direction: "),
        ({"select": "best"}, "select: "),
        ({"reduce": "max"}, "reduce: "),
        ({"seed": -1}, "seed: "),
        ({"rows": 0}, "rows: "),
    ],
    ids=str,
)
def test_options_out_of_range(options: dict[str, Any], words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        fa.AGI(NET, **options)(X, 1)


def test_what_agi_has_not() -> None:
    with pytest.raises(ValueError, match="versus: .*classes="):
        fa.AGI(NET)(X, 1, versus=2)
    with pytest.raises(ValueError, match="baseline: .* has none"):
        fa.AGI(NET)(X, 1, baseline=0)
    with pytest.raises(ValueError, match="target: "):
        fa.AGI(NET)(X, C)
    with pytest.raises(ValueError, match="softmax would be applied twice"):
        fa.AGI(nn.Sequential(NET, nn.Softmax(1)).eval())(X, 1)


# ---- what a call leaves -------------------------------------------------------------------------------------------


def dropout_net() -> nn.Sequential:
    """In training mode, and content with a single row, as BatchNorm is not."""
    return nn.Sequential(mlp(D, 8), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(8, C)).train()


@pytest.mark.filterwarnings("ignore:.*training mode")
@pytest.mark.parametrize("path", ["iterate", "local", "straight"])
def test_everything_is_as_it_was(path: str) -> None:
    x = X.clone().requires_grad_()
    explain: Callable[[Any], Any] = lambda model: fa.AGI(model, path=path, rows=5, max_steps=4)  # noqa: E731
    for net in (prepared(mlp(D, 6, C)), prepared(dropout_net())):
        before = fingerprint(net)
        for target in (1, None):
            att = explain(net)(x, target)
            assert fingerprint(net) == before and not att.values.requires_grad
    for good in (0, 1, 2, 4):
        for error in (lambda: RuntimeError("on purpose"), KeyboardInterrupt):
            net = Faulty(good, error)
            net.net = dropout_net()
            net.train()
            before = fingerprint(net)
            with pytest.raises(type(error())):
                explain(net)(x, 1)
            assert fingerprint(net) == before
    assert x.grad is None and torch.equal(x, X)


class Interrupted(nn.Module):
    """Ctrl-C comes while the model runs."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.left = mlp(D, 6, C), 10**9

    def forward(self, x: Tensor) -> Tensor:
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)
        return self.net(x)


@pytest.mark.parametrize("after", [1, 2, 5])
def test_ctrl_c(after: int) -> None:
    model = Interrupted().eval()
    explain = fa.AGI(model, rows=2)
    want = explain(X, 1).values
    before = fingerprint(model)
    model.left = after
    with pytest.raises(KeyboardInterrupt):
        explain(X, 1)
    assert fingerprint(model) == before and torch.equal(explain(X, 1).values, want)


@pytest.fixture
def quick_collections() -> Iterator[None]:
    """Each time that memory runs out garbage is collected: of a test session's many objects only the new ones."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("quick_collections")
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("limit", [1, 2, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_memory_that_runs_out_loses_no_path(kind: str, limit: int, backward: bool) -> None:
    model = Small(limit, KINDS[kind], backward).eval()
    x = data(6, D, seed=3)
    for options in ({}, {"quadrature": "midpoint"}, {"path": "local"}, {"classes": 1, "select": "top"}):
        want = fa.AGI(model.net, **options)(x)
        att = fa.AGI(model, rows=12, **options)(x)
        assert_close(att.values, want.values, atol=1e-6, rtol=1e-5)
        for name in ("classes", "steps", "reached", "stalled"):
            assert torch.equal(getattr(att.paths, name), getattr(want.paths, name))
    assert model.raised


def test_one_row_that_does_not_fit_raises_what_the_model_raised() -> None:
    model = Small(0, MemoryError).eval()
    with pytest.raises(MemoryError) as caught:
        fa.AGI(model)(X, 1)
    assert caught.value is model.raised[-1]


def test_nan_in_one_path_of_a_torch_model() -> None:
    """An example whose gradients are NaN is reported; its neighbours are as without it."""

    def model(x: Tensor) -> Tensor:
        broken = torch.where((x[:, :1] > 9) & (x[:, 1:2] != 0), torch.nan, 1.0)
        return NET(x) * broken

    x = X.clone()
    x[2, 0] = 9.5
    with pytest.warns(UserWarning, match=r"1 of 4 examples \(2\) have NaN"):
        att = fa.AGI(model)(x, 1)
    rest = [0, 1, 3]
    want = fa.AGI(NET)(x[rest], 1)
    assert_close(att.values[rest], want.values, atol=1e-6, rtol=1e-5)
    for name in ("steps", "reached"):
        assert torch.equal(getattr(att.paths, name)[rest], getattr(want.paths, name))
    assert not att.converged[2]


def test_saved_and_read_back(tmp_path: Any) -> None:
    att = fa.AGI(NET)(X, 1)
    att.save(tmp_path / "agi.npz")
    again = fa.Attribution.load(tmp_path / "agi.npz")
    np.testing.assert_array_equal(again.values, att.values.numpy())
    assert "AGI" in repr(att)
