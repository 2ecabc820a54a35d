"""What people hand over as models, outputs, targets, inputs and arguments, each against plain autograd."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.backend

torch = pytest.importorskip("torch")

from models_zoo import B, C, D, Logits, ModelOutput, Pair, Scores, Shared, autograd, data, mlp  # noqa: E402
from torch import nn  # noqa: E402
from torch.testing import assert_close  # noqa: E402

import fastattr as fa  # noqa: E402

NET = mlp(D, 6, C)
X = data(B, D)
CLASSES = [2, 0, 1, 2]
WANTED = autograd(lambda x: NET(x)[range(B), CLASSES], X)


def grid(x: torch.Tensor) -> torch.Tensor:
    """(B, 3, 4) outputs."""
    return (NET(x)[:, :, None] * torch.arange(1.0, 5)).tanh()


# ---- outputs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "target", "scalar"),
    [
        (lambda x: NET(x)[:, 1], None, lambda x: NET(x)[:, 1]),
        (lambda x: NET(x)[:, 1], 0, lambda x: NET(x)[:, 1]),
        (lambda x: NET(x)[:, 1:2], None, lambda x: NET(x)[:, 1]),
        (lambda x: NET(x)[:, 1:2], [0] * B, lambda x: NET(x)[:, 1]),
        (NET, 1, lambda x: NET(x)[:, 1]),
        (NET, (1,), lambda x: NET(x)[:, 1]),
        (grid, (1, 3), lambda x: grid(x)[:, 1, 3]),
        (grid, (CLASSES, 3), lambda x: grid(x)[range(B), CLASSES, 3]),
        (grid, [(2, 0), (0, 1), (1, 3), (2, 2)], lambda x: grid(x)[range(B), CLASSES, [0, 1, 3, 2]]),
        (lambda x: grid(x).transpose(1, 2), (3, 1), lambda x: grid(x)[:, 1, 3]),
        (lambda x: x, 2, lambda x: x[:, 2]),
    ],
    ids=["(B,)", "(B,) 0", "(B,1)", "(B,1) list", "(B,C)", "(B,C) tuple", "axes", "mixed", "tuples", "strided", "x"],
)
def test_output_shapes(model: Any, target: Any, scalar: Any) -> None:
    att = fa.Saliency(model)(X, target)
    assert_close(att.values, autograd(scalar, X))
    assert_close(att.output, scalar(X).detach().double())


@pytest.mark.parametrize(
    ("wrap", "key"),
    [
        (lambda y: ModelOutput(logits=y, hidden=1), None),
        (lambda y: ModelOutput(hidden=1, scores=y), "scores"),
        (lambda y: Logits(y), None),
        (lambda y: Scores(y), "scores"),
        (lambda y: Pair(y, None), None),
        (lambda y: Pair(None, y), "hidden"),
        (lambda y: {"loss": 0, "logits": y}, None),
        (lambda y: {"out": y, "aux": -y}, "out"),
        (lambda y: (y, -y), 0),
        (lambda y: [-y, y], -1),
    ],
    ids="output output-key dataclass dataclass-key namedtuple namedtuple-key dict dict-key tuple list".split(),
)
def test_containers_of_outputs(wrap: Any, key: Any) -> None:
    assert_close(fa.Saliency(lambda x: wrap(NET(x)), output_key=key)(X, CLASSES).values, WANTED)


@pytest.mark.parametrize(
    ("model", "options", "error", "message"),
    [
        (lambda x: NET(x).sum(), {}, ValueError, "one number for the whole batch"),
        (lambda x: NET(x)[:1], {}, ValueError, "one output row for each"),
        (lambda x: NET(x).argmax(1), {}, TypeError, "floating output, got torch.int64"),
        (lambda x: NET(x) > 0, {}, TypeError, "floating output, got torch.bool"),
        (lambda x: (NET(x), 1), {}, TypeError, "tuple.*output_key="),
        (lambda x: {"a": NET(x)}, {}, TypeError, r"keys \['a'\].*output_key="),
        (lambda x: {"a": NET(x)}, {"output_key": "b"}, (KeyError, ValueError, TypeError), "output_key"),
        (lambda x: NET(x)[:, :1], {"output": "softmax"}, ValueError, "sigmoid"),
        (lambda x: NET(x)[:, 0], {"output": "log_softmax"}, ValueError, "sigmoid"),
        (NET, {"output": "softmax", "output_axis": 0}, ValueError, "output_axis"),
        (NET, {"output": "softmax", "output_axis": -2}, ValueError, "output_axis"),
        (nn.Linear, {}, TypeError, "out_features"),
        ("net", {}, TypeError, "model: expected a torch module"),
    ],
)
def test_refused_models(model: Any, options: dict[str, Any], error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        fa.Saliency(model, **options)(X, 0)


@pytest.mark.parametrize("output", ["raw", "softmax", "log_softmax", "sigmoid"])
def test_output_is_applied_to_what_the_model_returns(output: str) -> None:
    apply = {"raw": lambda y: y, "sigmoid": torch.sigmoid}.get(output) or (lambda y: getattr(y, output)(1))
    att = fa.Saliency(NET, output=output)(X, CLASSES)
    assert_close(att.values, autograd(lambda x: apply(NET(x))[range(B), CLASSES], X))
    assert_close(att.output, apply(NET(X))[range(B), CLASSES].detach().double())


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_softmax_over_the_class_axis(axis: int) -> None:
    wanted = autograd(lambda x: grid(x).softmax(axis)[:, 1, 3], X)
    assert_close(fa.Saliency(grid, output="softmax", output_axis=axis)(X, (1, 3)).values, wanted)


def test_softmax_of_probabilities_is_refused() -> None:
    probabilities = nn.Sequential(NET, nn.Softmax(1)).eval()
    for output in ("softmax", "log_softmax"):
        with pytest.raises(ValueError, match="applied twice"):
            fa.IntegratedGradients(probabilities, output=output)(X, 1)
    fa.Saliency(probabilities)(X, 1)
    fa.Saliency(probabilities, output="sigmoid")(X, 1)
    fa.Saliency(lambda x: NET(x).softmax(1) * 1.1, output="softmax")(X, 1)


def test_none_is_the_predicted_class() -> None:
    predicted = NET(X).argmax(1)
    for method in (fa.Saliency(NET), fa.IntegratedGradients(NET, steps=20)):
        att = method(X)
        assert torch.equal(att.target, predicted)
        assert_close(att.values, method(X, predicted).values)
        assert_close(att.output, NET(X).amax(1).detach().double())
    with pytest.raises(ValueError, match=r"a tuple of indices for an output of shape \(B, 3, 4\)"):
        fa.Saliency(grid)(X)


def test_an_output_that_ignores_its_input_warns() -> None:
    for model in (lambda x: (x.detach() ** 2).sum(1), lambda x: NET(x.detach()), nn.Sequential(NET, Cut()).eval()):
        with pytest.warns(UserWarning, match="not connected"):
            att = fa.Saliency(model)(X, 0)
        assert not att.values.any()


class Cut(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.detach()


# ---- targets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int16, np.int32, np.uint32, np.int64, np.uint64])
@pytest.mark.parametrize("shape", [(B,), (B, 1)])
def test_targets_of_any_integer_type(kind: type, shape: tuple[int, ...]) -> None:
    array = np.array(CLASSES, kind).reshape(shape)
    for target in (array, torch.from_numpy(array), array[::-1].copy()[::-1]):
        assert_close(fa.Saliency(NET)(X, target).values, WANTED)


@pytest.mark.parametrize("target", [CLASSES, [[c] for c in CLASSES], [np.int64(c) for c in CLASSES]])
def test_lists_of_targets(target: list[Any]) -> None:
    assert_close(fa.Saliency(NET)(X, target).values, WANTED)


@pytest.mark.parametrize("target", [1, np.int32(1), np.array(1), torch.tensor(1), [1], torch.tensor([1])])
def test_one_target_for_all(target: Any) -> None:
    att = fa.Saliency(NET)(X, target)
    assert_close(att.values, autograd(lambda x: NET(x)[:, 1], X))
    assert att.target.tolist() == [1] * B


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (3, ValueError, "target: expected 0 <= target < 3, got 3 for example 0"),
        ([0, 1, 9, 0], ValueError, "got 9 for example 2"),
        (-1, ValueError, "got -1"),
        ([0, 1], ValueError, r"shape \(4,\) or \(4, 1\), got \(2,\)"),
        (np.zeros((1, B), int), ValueError, r"got \(1, 4\)"),
        ((0, 1), ValueError, "one index"),
        ([(0, 1)] * B, ValueError, "tuples of 1 ind"),
        ([(0,)] * (B - 1), ValueError, "4 tuples, one an example, got 3"),
        (1.0, TypeError, "target: expected integers, got float"),
        (torch.ones(B), TypeError, "got torch.float32"),
        (True, TypeError, "expected integers, got bool"),
        (torch.ones(B, dtype=torch.bool), TypeError, "got torch.bool"),
        ("cat", TypeError, "expected integers, got str"),
        ([[0], [1, 2], [0], [0]], (TypeError, ValueError), "target"),
    ],
)
def test_refused_targets(target: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        fa.Saliency(NET)(X, target)


def test_refused_targets_of_several_axes() -> None:
    for target, message in (
        (1, "a tuple of 2 indices for an output of shape .B, 3, 4., got 1"),
        ((1, 4), "0 <= target < 4"),
        ([(0, 1), (0,), (1, 1), (0, 0)], "tuples of 2 indices"),
        ([(0, 1), 0, (1, 1), (0, 0)], "target"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            fa.Saliency(grid)(X, target)


# ---- versus -------------------------------------------------------------------------------------------------------


def versus_methods() -> list[Any]:
    return [fa.Saliency, fa.InputXGradient, functools.partial(fa.IntegratedGradients, steps=20)]


@pytest.mark.parametrize("output", ["raw", "softmax"])
@pytest.mark.parametrize("method", versus_methods())
def test_versus_is_the_difference_of_two_attributions(method: Any, output: str) -> None:
    explain, other = method(NET, output=output), [0, 1, 0, 1]
    one, two, both = explain(X, CLASSES), explain(X, other), explain(X, CLASSES, versus=other)
    assert_close(both.values, one.values - two.values)
    assert_close(both.output, one.output - two.output, atol=1e-6, rtol=1e-5)
    assert_close(both.baseline_output, one.baseline_output - two.baseline_output, atol=1e-6, rtol=0, equal_nan=True)


def test_versus_with_several_axes_and_with_the_predicted_class() -> None:
    att = fa.Saliency(grid)(X, (1, 3), versus=(CLASSES, 0))
    assert_close(att.values, autograd(lambda x: grid(x)[:, 1, 3] - grid(x)[range(B), CLASSES, 0], X))
    lowest = NET(X).argmin(1)
    predicted = fa.IntegratedGradients(NET, steps=20)(X, versus=lowest)
    explicit = fa.IntegratedGradients(NET, steps=20)(X, NET(X).argmax(1), versus=lowest)
    assert_close(predicted.values, explicit.values)
    assert_close(predicted.output, explicit.output)
    assert predicted.gap.abs().max() < 1e-5


def test_target_equal_to_versus_names_the_examples() -> None:
    with pytest.raises(ValueError, match="versus: .* examples 0, 3$"):
        fa.Saliency(NET)(X, CLASSES, versus=2)
    with pytest.raises(ValueError, match="versus: .* examples 0, 1, 2, 3$"):
        fa.Saliency(NET)(X, versus=NET(X).argmax(1))
    with pytest.raises(ValueError, match="versus: expected 0 <= versus < 3, got 7"):
        fa.Saliency(NET)(X, 1, versus=7)


# ---- callables ----------------------------------------------------------------------------------------------------


class Wrapper:
    """A plain object around a module."""

    def __init__(self, net: nn.Module) -> None:
        self.net = net

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)

    def predict(self, x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        return self.net(x) * scale


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.few, self.many = nn.Linear(D, 2), nn.Linear(D, 9)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.few(x)

    def other(self, x: torch.Tensor) -> torch.Tensor:
        return self.many(x)


def functional_net(x: torch.Tensor) -> torch.Tensor:
    return torch.func.functional_call(NET, dict(NET.named_parameters()), (x,))


@pytest.mark.parametrize(
    "model",
    [
        lambda x: NET(x), NET.forward, NET.__call__, Wrapper(NET), Wrapper(NET).predict, functional_net,
        functools.partial(Wrapper(NET).predict, scale=1.0), torch.vmap(lambda row: NET(row)), nn.Sequential(NET).eval(),
    ],
    ids=["lambda", "forward", "call", "object", "bound method", "functional_call", "partial", "vmap", "nested"],
)  # fmt: skip
def test_callables(model: Any) -> None:
    assert_close(fa.Saliency(model)(X, CLASSES).values, WANTED)


def test_methods_of_one_module_are_different_models() -> None:
    net = TwoHeads().eval()
    fa.Saliency(net)(X, 1)
    assert_close(fa.Saliency(net.other)(X, 8).values, net.many.weight[8].detach().expand(B, D))
    assert_close(fa.Saliency(net)(X, 0).values, net.few.weight[0].detach().expand(B, D))


@pytest.mark.parametrize("before, after", [(C, 9), (9, C), (C, 1)])
def test_a_model_that_changes_its_output_shape_between_calls(before: int, after: int) -> None:
    net = nn.Sequential(nn.Linear(D, before)).eval()
    for target in (None, before - 1):
        fa.Saliency(net)(X, target)
    net[0] = nn.Linear(D, after).eval()
    for target in (after - 1, None):
        att = fa.Saliency(net)(X, target)
        scalar = (lambda x: net(x).amax(1)) if target is None else (lambda x: net(x)[:, after - 1])
        assert_close(att.values, autograd(scalar, X))
    with pytest.raises(ValueError, match=f"0 <= target < {after}"):
        fa.Saliency(net)(X, after)


def test_shared_weights_and_what_ran() -> None:
    net = Shared().eval()
    att = fa.IntegratedGradients(net, steps=30, rows=7)(X, 1)
    assert_close(fa.Saliency(net)(X, 1).values, autograd(lambda x: net(x)[:, 1], X))
    assert att.engine == "callback (torch, cpu, 7 rows)"


def test_scripted_modules() -> None:
    net = nn.Sequential(nn.Linear(D, 4), nn.BatchNorm1d(4), nn.Linear(4, C)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = [torch.jit.trace(net, X), torch.jit.script(net)]
    for model in scripted:
        assert_close(fa.Saliency(model)(X, 1).values, autograd(lambda x: net(x)[:, 1], X))


def test_a_default_device_of_the_users() -> None:
    """Where factories put tensors is no matter of where the model and the inputs are."""
    nets = [mlp(D, 6, C) for _ in range(3)]
    with torch.device("meta"):
        found = [
            fa.Saliency(nets[0])(X, 1),
            fa.Saliency(nets[1])(X),
            fa.AGI(nets[2], classes="all", max_steps=4)(X, 1),
        ]
    want = [fa.Saliency(NET)(X, 1), fa.Saliency(NET)(X), fa.AGI(NET, classes="all", max_steps=4)(X, 1)]
    for got, other in zip(found, want, strict=True):
        assert_close(got.values, other.values)
