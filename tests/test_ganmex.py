"""GANMEX as it is used: what a short training reaches, one versus another, fallbacks, files, what it leaves, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from models_zoo import data, digits_cnn, mlp, train, training_net  # noqa: E402
from test_state import fingerprint  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.testing import assert_close  # noqa: E402

import fastattr as fa  # noqa: E402
from fastattr import datasets  # noqa: E402

DIGITS = datasets.digits()
TRAIN_X, TRAIN_Y = torch.from_numpy(DIGITS.x_train), torch.from_numpy(DIGITS.y_train)
STEPS = 80
"""Of the digits: far from the end, but past chance by far."""


@pytest.fixture(scope="module")
def digits(trained_digits: Any) -> fa.GANMEX:
    gx = fa.GANMEX(
        trained_digits.models["ReLU"], classes=10, input_shape=(1, 8, 8), value_range=(0.0, 1.0), width=16,
        fallback="none",
    )  # fmt: skip
    return gx.fit(TRAIN_X, TRAIN_Y, steps=STEPS, every=20, learning_rate=1e-3, progress=False)


# ---- what is reached ----------------------------------------------------------------------------------------------


def test_unseen_digits_reach_their_class_near_by(digits: fa.GANMEX, trained_digits: Any) -> None:
    """The looser lines of a training of seconds; those of a whole one are in benchmarks/ganmex.py."""
    x, y = trained_digits.x[:60], trained_digits.y[:60]
    report = digits.report(x, y, judge=trained_digits.models["GELU"], apart={"3 and 8": [(3, 8), (8, 3)]})
    line, pair = report.lines
    assert line.pairs == 60 * 9 and pair.name == "3 and 8" and pair.pairs == int(((y == 3) | (y == 8)).sum())
    assert line.conversion > 0.9 and line.judge > 0.85
    assert line.distance < line.mdts_distance and line.closer > 0.7
    assert 0 < report.inputs_nearest < line.nearest < line.distance


def test_the_report_says_what_the_edits_are(digits: fa.GANMEX, trained_digits: Any) -> None:
    x, y = trained_digits.x[:8], trained_digits.y[:8]
    line = digits.report(x, y).lines[0]
    number = np.repeat(np.arange(8), 9)
    target = np.concatenate([[c for c in range(10) if c != label] for label in y.tolist()])
    edit = digits.edit(x[number], target)
    near = fa.baselines.MDTS(TRAIN_X, TRAIN_Y, digits.model)
    assert np.isnan(line.judge)
    assert line.conversion == pytest.approx(float(edit.converted.double().mean()))
    assert line.distance == pytest.approx(float((edit.values - x[number]).flatten(1).norm(dim=1).mean()), rel=1e-5)
    assert line.mdts_distance == pytest.approx(near.nearest(x[number], target)[1].mean(), rel=1e-9)
    with pytest.raises(ValueError, match="apart: expected pairs of classes that occur, got none for 'never'"):
        digits.report(x, y, apart={"never": [(3, 3)]})


def test_the_report_is_a_table_and_a_picture(digits: fa.GANMEX, trained_digits: Any) -> None:
    pytest.importorskip("matplotlib")
    report = digits.report(trained_digits.x[:3], trained_digits.y[:3], judge=trained_digits.models["GELU"])
    lines = str(report).splitlines()
    assert len(lines) == 3 and lines[1].startswith("all") and "MDTS" in lines[0] and "nan" not in str(report)
    assert report.plot().png()[:8] == b"\x89PNG\r\n\x1a\n"


def test_why_a_three_and_not_an_eight(digits: fa.GANMEX, trained_digits: Any) -> None:
    net, x = trained_digits.models["ReLU"], trained_digits.x
    threes = x[(trained_digits.y == 3) & (net(x).argmax(1) == 3)][:6]
    method = fa.IntegratedGradients(net)
    pair = method(threes, 3, versus=8, baseline=digits)
    made = digits.baseline(threes, 8)
    assert_close(pair.values, method(threes, 3, versus=8, baseline=made).values, atol=1e-6, rtol=1e-5)
    single = method(threes, 3, baseline=digits.towards(8))
    assert_close(single.values, method(threes, 3, baseline=made).values, atol=1e-6, rtol=1e-5)
    assert float((pair.baseline_output < 0).double().mean()) >= 0.5 and bool((pair.output > 0).all())
    for smoothed in (fa.SmoothGrad(method, samples=2),):
        assert smoothed(threes, 3, versus=8, baseline=digits).values.shape == threes.shape
    with pytest.raises(ValueError, match=r"towards\(8\)"):
        method(threes, 3, baseline=digits)


def test_numpy_in_numpy_out(digits: fa.GANMEX, trained_digits: Any) -> None:
    x = trained_digits.x[:5]
    theirs, ours = digits.edit(x, 8), digits.edit(x.numpy(), np.full(5, 8, np.int16))
    assert isinstance(ours.values, np.ndarray) and ours.values.dtype == np.float32
    np.testing.assert_array_equal(theirs.values.numpy(), ours.values)
    np.testing.assert_array_equal(theirs.converted.numpy(), ours.converted)
    assert digits.edit(x.double(), 8).values.dtype == torch.float64
    assert digits.edit(x[:0], 8).values.shape == (0, 1, 8, 8)
    assert float(theirs.values.min()) >= 0 and float(theirs.values.max()) <= 1


def test_vectors_reach_their_class_near_by() -> None:
    found = datasets.breast_cancer()
    x, y = torch.from_numpy(found.x_train), torch.from_numpy(found.y_train)
    nets = [train(mlp(30, 16, 2, activation=nn.ReLU), x, y, epochs=20), train(mlp(30, 24, 2), x, y, epochs=20)]
    gx = fa.GANMEX(nets[0], classes=2, input_shape=(30,), fallback="none")
    gx.fit(x, y, steps=300, learning_rate=5e-4, progress=False)
    line = gx.report(found.x_test, found.y_test, judge=nets[1]).lines[0]
    assert line.conversion >= 0.9 and line.judge >= 0.8 and line.distance < line.mdts_distance


# ---- fallbacks ----------------------------------------------------------------------------------------------------

X, NET = data(60, 6), mlp(6, 8, 3, seed=1)
with torch.no_grad():  # no class is left out
    NET[-1].bias.sub_(NET(X).mean(0))
Y = NET(X).argmax(1)


def small(model: Any = NET, **options: Any) -> fa.GANMEX:
    return fa.GANMEX(model, classes=3, input_shape=(6,), width=8, **options)


def fitted(model: Any = NET, steps: int = 2, **options: Any) -> fa.GANMEX:
    return small(model, **options).fit(X, Y, steps=steps, batch=8, validation=0.3, progress=False)


def test_baselines_that_do_not_reach_their_class() -> None:
    """After two steps most do not, some do."""
    failed = ~fitted(fallback="none").edit(X, 0).converted
    assert 0 < int(failed.sum()) < 60
    with pytest.warns(UserWarning, match=rf"GANMEX: {int(failed.sum())} of 60 baselines .* not taken for their class"):
        warned = fitted(fallback="warn").baseline(X, 0)
    assert torch.equal(warned, fitted(fallback="none").baseline(X, 0))
    with pytest.raises(ValueError, match="target: expected classes that GANMEX reaches"):
        fitted(fallback="raise").baseline(X, 0)
    replaced = fitted(fallback="mdts").baseline(X, 0)
    near = fa.baselines.MDTS(X, Y, NET).baseline(X, 0)
    assert torch.equal(replaced[failed], near[failed]) and torch.equal(replaced[~failed], warned[~failed])
    assert bool((NET(replaced).argmax(1) == 0).all())


# ---- files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"fallback": "mdts"}, {"fallback": "none", "value_range": (-9.0, 9.0)}])
def test_a_saved_one_makes_the_same_baselines(tmp_path: Path, options: dict[str, Any]) -> None:
    gx = fitted(**options, weights={"similarity": 3})
    gx.save(tmp_path / "gx.pt")
    loaded = fa.GANMEX.load(tmp_path / "gx.pt", NET)
    far = torch.cat([X, 5 * X])
    assert torch.equal(loaded.baseline(far if gx.value_range is None else X, 2),
                       gx.baseline(far if gx.value_range is None else X, 2))  # fmt: skip
    assert loaded.history == gx.history and loaded.selected == gx.selected and repr(loaded) == repr(gx)
    if gx.fallback == "none":
        with pytest.raises(ValueError, match="training: expected"):
            loaded.report(X, Y)
        assert str(loaded.report(X, Y, training=(X, Y))) == str(gx.report(X, Y))


def test_another_classifier_is_refused(tmp_path: Path) -> None:
    fitted().save(tmp_path / "gx.pt")
    changed = mlp(6, 8, 3, seed=1)
    with pytest.raises(ValueError, match="model: expected the classifier that this GANMEX was trained with"):
        fa.GANMEX.load(tmp_path / "gx.pt", changed)
    same = mlp(6, 8, 3)
    same.load_state_dict(NET.state_dict())
    fa.GANMEX.load(tmp_path / "gx.pt", same)
    with pytest.raises(ValueError, match="trained with"):  # the same tensors in another function
        fa.GANMEX.load(tmp_path / "gx.pt", nn.Sequential(*[nn.ReLU() if isinstance(m, nn.Tanh) else m for m in same]))


def test_other_files_are_refused(tmp_path: Path) -> None:
    torch.save({"generator": {}}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"path: expected a file written by GANMEX\.save"):
        fa.GANMEX.load(tmp_path / "other.pt", NET)


# ---- what is left -------------------------------------------------------------------------------------------------


def test_classifier_and_random_state_are_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    """A classifier in training mode, with batch norm, dropout and a hook: used in eval mode, and put back."""
    net = training_net()
    net.register_forward_hook(lambda *_: None)
    net[0][0].weight.grad = torch.ones_like(net[0][0].weight)
    x, before, state = data(60, 5), fingerprint(net), torch.get_rng_state()
    threads = torch.get_num_threads()
    gx = fa.GANMEX(net, classes=3, input_shape=(5,), width=8, fallback="none")
    y = torch.arange(60) % 3
    gx.fit(x, y, steps=2, batch=8, check=False, threads=1)
    gx.edit(x, 1)
    assert fingerprint(net) == before and net.training and len(net._forward_hooks) == 1
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert "GANMEX" in capsys.readouterr().err, "the bar"


def test_the_classifier_is_as_before_an_error() -> None:
    class Failing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = training_net()

        def forward(self, x: Tensor) -> Tensor:
            if x.requires_grad:
                raise RuntimeError("no gradient here")
            return self.net(x)

    model = Failing().train()
    before = fingerprint(model)
    gx = fa.GANMEX(model, classes=3, input_shape=(5,), width=8)
    with pytest.raises(RuntimeError, match="no gradient here"):
        gx.fit(data(60, 5), torch.arange(60) % 3, steps=2, check=False, progress=False)
    assert fingerprint(model) == before and model.training
    with pytest.raises(ValueError, match="expected a fitted one"):
        gx.baseline(data(2, 5), 1)


# ---- classifiers of every kind ------------------------------------------------------------------------------------


def test_probabilities_are_told_from_logits() -> None:
    logits, shares = fitted(steps=6), fitted(nn.Sequential(NET, nn.Softmax(1)).eval(), steps=6)
    assert logits._classifier.kind == "logits" and shares._classifier.kind == "probabilities"
    assert_close(logits.edit(X, 1).values, shares.edit(X, 1).values, atol=1e-4, rtol=1e-3)


def test_functions_float64_dicts_and_other_shapes() -> None:
    fitted(lambda x: NET(x))
    fitted(lambda x: {"loss": None, "logits": NET(x)})
    fitted(lambda x: (0, NET(x)), output_key=1)
    double = mlp(6, 8, 3, seed=1).double()
    double.load_state_dict(NET.state_dict())
    gx = small(double).fit(X.double(), Y, steps=2, batch=8, progress=False)
    assert gx.edit(X.double(), 1).values.dtype == torch.float64
    tall = nn.Sequential(nn.Flatten(), mlp(2 * 8 * 12, 6, 2)).eval()
    images = data(40, 2, 8, 12)
    gx = fa.GANMEX(tall, classes=2, input_shape=(2, 8, 12), width=4, autocast=True)
    gx.fit(images, tall(images).argmax(1), steps=2, batch=4, progress=False)
    assert gx.edit(images, 1).values.shape == images.shape


def test_inputs_beyond_a_range_taken_from_the_data_keep_what_they_have_beyond() -> None:
    gx = fitted(fallback="none")
    far = X[:4].clone()
    far[:, 0] = 40.0
    moved = gx.edit(far, 1).values
    span = 8 * float(X[:, 0].std())
    assert float((moved[:, 0] - 40).abs().max()) < span
    assert_close(gx.edit(far + torch.eye(6)[0], 1).values, moved + torch.eye(6)[0], atol=1e-4, rtol=1e-5)


# ---- errors -------------------------------------------------------------------------------------------------------


def constant(x: Tensor) -> Tensor:
    return 0 * x[:, :3] + torch.tensor([0.0, 1.0, 0.0])


class Chance(nn.Module):
    """Answers that have nothing to do with the labels."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.one_hot((x.sum(1) * 1e4).long() % 3, 3).to(x.dtype) + 0 * x[:, :3]


OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"input_shape": (1, 8, 9)}, "input_shape: expected .* divisible by 4"),
    ({"input_shape": (5, 8, 8)}, "input_shape: expected"),
    ({"input_shape": (8, 8)}, "input_shape: expected"),
    ({"classes": 1}, "classes: expected at least 2"),
    ({"fallback": "zero"}, "fallback: expected one of"),
    ({"kind": "scores"}, 'kind: expected "auto"'),
    ({"width": 6}, "width: expected a multiple of 4"),
    ({"weights": {"sim": 1.0}}, "weights: expected numbers >= 0 by the names"),
    ({"weights": {"similarity": -1.0}}, "weights: expected numbers >= 0"),
]
FITS: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    (constant, {}, ValueError, "takes all of 60 samples for class 1; check=False goes on"),
    (Chance().eval(), {}, ValueError, "better than the most frequent class, but it gets"),
    (mlp(6, 8, 4), {}, ValueError, r"model: expected outputs of shape \(60, 3\) for classes=3, got \(60, 4\)"),
    (NET, {"y": torch.ones(60, dtype=torch.int64)}, ValueError, r"got none of \[0, 2\]"),
    (NET, {"y": Y + 1}, ValueError, "y: expected 0 <= y < 3, got 1 to 3"),
    (NET, {"y": Y.double()}, TypeError, "y: expected integers"),
    (NET, {"y": Y[:9]}, ValueError, r"y: expected shape \(60,\), got \(9,\)"),
    (NET, {"X": X[:, :5]}, ValueError, r"X: expected shape \(N, 6\), got \(60, 5\)"),
    (NET, {"X": X.long()}, TypeError, "X: expected a floating dtype"),
    (NET, {"validation": 0.0}, ValueError, "validation: expected a share that leaves some"),
    (NET, {"threads": 0}, ValueError, "threads: expected None or an int >= 1"),
]


@pytest.mark.parametrize("options, message", OPTIONS)
def test_options_out_of_range_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fa.GANMEX(NET, **{"classes": 3, "input_shape": (6,)} | options)


@pytest.mark.parametrize("model, options, error, message", FITS)
def test_what_cannot_be_fitted_is_named(
    model: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        small(model).fit(**{"X": X, "y": Y, "steps": 2, "progress": False} | options)


def test_ranges_and_targets_are_named() -> None:
    with pytest.raises(ValueError, match="X: expected values in value_range, but .* of 60 inputs leave it"):
        small(value_range=(0.0, 1.0)).fit(X, Y, steps=2)
    with pytest.raises(ValueError, match="value_range: expected low < high"):
        small(value_range=(1.0, 0.0)).fit(X, Y, steps=2)
    with pytest.raises(ValueError, match=r"value_range: expected \(low, high\)"):
        small(value_range=(0.0, torch.ones(5))).fit(X, Y, steps=2)
    gx = fitted()
    with pytest.raises(ValueError, match="target: expected 0 <= target < 3, got 7 to 7"):
        gx.baseline(X, 7)
    with pytest.raises(ValueError, match="expected a class to take it from"):
        gx.baseline(X)
    with pytest.raises(TypeError, match="model: expected a torch module or a callable"):
        small(model="net")


def test_check_false_goes_on() -> None:
    gx = small(constant, fallback="none").fit(X, Y, steps=2, batch=8, check=False, progress=False)
    assert not bool(gx.edit(X, 0).converted.any()) and bool(gx.edit(X, 1).converted.all())


def test_digits_of_another_network_are_not_bound_to_this_one() -> None:
    other = digits_cnn(nn.ReLU).eval()
    with pytest.raises(ValueError, match="expected a fitted one"):
        fa.GANMEX(other, classes=10, input_shape=(1, 8, 8)).edit(TRAIN_X[:2], 1)
