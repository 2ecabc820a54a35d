"""Inputs, extra arguments and autograd modes as users of torch have them, each against plain autograd."""

from __future__ import annotations

from collections import UserDict
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.backend

torch = pytest.importorskip("torch")

from models_zoo import B, C, D, Gated, Tokens, autograd, data, mlp  # noqa: E402
from torch import nn  # noqa: E402
from torch.testing import assert_close  # noqa: E402

import fastattr as fa  # noqa: E402
from fastattr.problem import normalise  # noqa: E402

NET = mlp(D, 6, C)
X, SECOND = data(B, D), data(B, 2, seed=1)
MASK = torch.tensor([[1, 0, 1, 1, 1], [1, 1, 1, 1, 0], [0, 1, 1, 1, 1], [1, 1, 0, 0, 1]])
GATED = Gated().eval()


def one(x: torch.Tensor) -> torch.Tensor:
    """Class 1 of `NET`."""
    return NET(x)[:, 1]


def tokens() -> Tokens:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Tokens().eval()


# ---- extra arguments ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("examples", [B, 1])
@pytest.mark.parametrize("rows", ["auto", 1, 3])
def test_extra_arguments_follow_their_example(examples: int, rows: Any) -> None:
    x, second, mask = X[:examples], SECOND[:examples], MASK[:examples]
    wanted = autograd(lambda a, b: GATED(a, b, mask, temperature=2.0)[:, 1], x, second)
    method = fa.IntegratedGradients(GATED, steps=9, rows=rows)
    saliency = fa.Saliency(GATED, rows=rows)((x, second), 1, args=(mask,), kwargs={"temperature": 2.0})
    assert_close(saliency.values, wanted)
    whole = method((x, second), 1, args=(mask.numpy(),))
    for e in range(examples):
        single = method((x[e : e + 1], second[e : e + 1]), 1, args=(mask[e : e + 1],))
        assert_close(tuple(v[e : e + 1] for v in whole.values), single.values)


def test_arguments_nested_in_containers() -> None:
    offset, scale = data(B, D, seed=2), data(B, seed=3)

    def model(x: Any, pack: Any, *, options: Any) -> Any:
        assert isinstance(pack, list) and isinstance(pack[1], tuple) and options["name"] == "plain"
        return NET(x * pack[0]["mask"] + pack[1][0]) * options["scale"][:, None]

    explain = fa.Saliency(model, rows=3)
    att = explain(X, 1, args=([{"mask": MASK}, (offset, None)],), kwargs={"options": {"scale": scale, "name": "plain"}})
    assert_close(att.values, autograd(lambda x: NET(x * MASK + offset)[:, 1] * scale, X))


def test_shared_exempts_a_tensor_from_gathering() -> None:
    weight = data(B, C, seed=4)  # as many rows as examples, by coincidence

    def model(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return NET(x) @ weight.T

    wanted = autograd(lambda x: model(x, weight)[:, 2], X)
    for args, kwargs in (((fa.shared(weight),), None), ((), {"weight": fa.shared(weight)})):
        assert_close(fa.Saliency(model, rows=3)(X, 2, args=args, kwargs=kwargs).values, wanted)
    assert_close(fa.Saliency(lambda x, t: NET(x) / t[0])(X[:1], 1, args=(fa.shared(torch.tensor([2.0])),)).values,
                 autograd(one, X[:1]) / 2)  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [("args", MASK), ("args", "mask"), ("kwargs", [MASK]), ("kwargs", 3)])
def test_refused_arguments(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"{name}: expected"):
        fa.Saliency(GATED)((X, SECOND), 1, **{name: value})


# ---- several inputs, integers -------------------------------------------------------------------------------------


def test_dict_inputs_as_language_models_take_them() -> None:
    net, x, mask, position = tokens(), data(B, 3, D), MASK[:, :3], torch.arange(3).expand(B, 3)
    inputs = {"inputs_embeds": x, "attention_mask": mask, "position": position}
    for given in (inputs, UserDict(inputs)):
        att = fa.Saliency(net)(given, 1)
        assert list(att.values) == list(inputs)
        assert att.values["attention_mask"] is att.values["position"] is None
        assert_close(att.values["inputs_embeds"], autograd(lambda x: net(x, mask, position).logits[:, 1], x))
    path = fa.IntegratedGradients(net)(inputs, baseline={"inputs_embeds": 0.1})
    assert path.converged.all() and path.gap.abs().max() < 1e-2


def test_integer_inputs_are_constants() -> None:
    for mask in (MASK, MASK.bool(), MASK.to(torch.uint8)):
        att = fa.Saliency(GATED, rows=3)((X, SECOND, mask), 1)
        assert att.values[2] is None
        assert_close(att.values[:2], autograd(lambda a, b: GATED(a, b, MASK)[:, 1], X, SECOND))
    with pytest.raises(TypeError, match=r"inputs: expected a floating dtype, got int64.*\.float\(\).*layer="):
        fa.Saliency(nn.Embedding(7, 3))(MASK)
    with pytest.raises(TypeError, match=r"inputs\['ids'\]: expected a floating dtype, got bool"):
        fa.Saliency(NET)({"ids": MASK.bool()})


def test_unused_inputs_get_zeros() -> None:
    for model in (lambda a, b: NET(a), lambda a, b: NET(a) + 0 * b.detach().sum(1, keepdim=True)):
        att = fa.IntegratedGradients(model, steps=9)((X, SECOND), 1)
        assert not att.values[1].any() and att.values[1].shape == SECOND.shape
        assert_close(att.values[0], fa.IntegratedGradients(NET, steps=9)(X, 1).values)


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ([X, SECOND], TypeError, "several inputs come as a tuple"),
        ((), ValueError, "at least one array"),
        ({}, ValueError, "at least one array"),
        (torch.tensor(1.0), ValueError, r"batch axis.*x\[None\]"),
        ((X, SECOND[:2]), ValueError, r"same number of examples in all, got \[4, 2\]"),
        ((X, SECOND.numpy()), TypeError, r"inputs\[1\]: expected all inputs of one framework"),
        (X.to_sparse(), TypeError, r"dense tensor, got layout torch.sparse_coo; call .to_dense\(\)"),
        (X.to(torch.complex64), TypeError, "got complex64"),
        (X.to("meta"), fa.BackendError, "cpu or cuda, got meta"),
        ("text", TypeError, "expected a tensor or array"),
        (X.double(), TypeError, r"expected torch.float32 like the model's parameters, got torch.float64"),
    ],
)
def test_refused_inputs(inputs: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        fa.Saliency(NET)(inputs, 1)


# ---- memory of the inputs -----------------------------------------------------------------------------------------


def strange(kind: str) -> torch.Tensor:
    """`X`, laid out in another way."""
    return {
        "requires_grad": lambda: X.clone().requires_grad_(),
        "not a leaf": lambda: X.clone().requires_grad_() * 1,
        "Parameter": lambda: nn.Parameter(X.clone()),
        "conj": lambda: torch.complex(X, X).conj().real,
        "neg bit": lambda: torch.complex(X, -X).conj().imag,
        "transposed": lambda: X.T.contiguous().T,
        "strided": lambda: torch.stack([X, -X], 2)[:, :, 0],
        "offset": lambda: torch.cat([torch.zeros(3), X.reshape(-1)])[3:].view(B, D),
    }[kind]()


@pytest.mark.parametrize(
    "kind", ["requires_grad", "not a leaf", "Parameter", "conj", "neg bit", "transposed", "strided", "offset"]
)
def test_inputs_laid_out_in_any_way(kind: str) -> None:
    x = strange(kind)
    before, state = x.detach().clone(), (x.requires_grad, x.is_leaf, x.stride())
    att = fa.IntegratedGradients(NET, steps=9)(x, 1, baseline=x * 0.5)
    assert_close(att.values, fa.IntegratedGradients(NET, steps=9)(X, 1, baseline=X * 0.5).values)
    assert type(att.values) is torch.Tensor and not att.values.requires_grad
    assert (x.requires_grad, x.is_leaf, x.stride()) == state
    assert torch.equal(x, before)
    if x.is_leaf:
        assert x.grad is None


def test_channels_last_and_expanded() -> None:
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, C)).eval()
    image = data(B, 2, 4, 4)
    wanted = autograd(lambda x: net(x)[:, 1], image)
    last = image.to(memory_format=torch.channels_last)
    assert_close(fa.Saliency(net)(last, 1).values, wanted)
    assert_close(fa.Saliency(net.to(memory_format=torch.channels_last))(last, 1).values, wanted)
    assert_close(fa.Saliency(net)(image[:1].expand(B, -1, -1, -1), 1).values, wanted[:1].expand(B, -1, -1, -1))


def numpy_inputs() -> dict[str, np.ndarray]:
    x = X.numpy()
    read_only = x.copy()
    read_only.flags.writeable = False
    return {
        "plain": x.copy(),
        "read-only": read_only,
        "negative strides": x[::-1, ::-1].copy()[::-1, ::-1],
        "Fortran": np.asfortranarray(x),
        "big-endian": x.astype(">f4"),
        "broadcast": np.broadcast_to(x[:1], x.shape),
        "unaligned": np.frombuffer(b"_" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape),
    }


@pytest.mark.parametrize("kind", list(numpy_inputs()))
def test_numpy_into_a_torch_module(kind: str) -> None:
    x = numpy_inputs()[kind]
    before = x.copy()
    att = fa.IntegratedGradients(NET, steps=9)(x, np.array([1] * B), baseline=x)
    assert type(att.values) is np.ndarray and not att.values.any()
    assert {type(v) for v in (att.gap, att.error, att.evaluations, att.converged, att.output, att.target)} == {
        np.ndarray
    }
    native = np.array(x, np.float32)
    assert_close(torch.from_numpy(fa.Saliency(NET)(x, 1).values), autograd(one, torch.from_numpy(native)))
    assert np.array_equal(x, before)
    if kind in ("plain", "read-only"):
        assert np.shares_memory(normalise(x, None, (), None).inputs[0], x)


def test_numpy_masks_and_baselines_of_the_other_framework() -> None:
    inputs = (X.numpy(), SECOND.numpy(), MASK.numpy())
    att = fa.Saliency(GATED)(inputs, 1)
    wanted = autograd(lambda a, b: GATED(a, b, MASK)[:, 1], X, SECOND)
    assert_close(tuple(map(torch.from_numpy, att.values[:2])), wanted)
    frozen = np.full(D, 0.5)
    frozen.flags.writeable = False
    explain = fa.IntegratedGradients(NET, steps=9)
    wanted = explain(X, 1, baseline=0.5)
    for baseline in (frozen, frozen[::-1], np.float32(0.5), torch.tensor(0.5), torch.full((1, D), 0.5).double()):
        assert_close(explain(X, 1, baseline=baseline).values, wanted.values)
    assert_close(torch.from_numpy(explain(X.numpy(), 1, baseline=torch.full((D,), 0.5)).values), wanted.values)


def test_a_wrong_shaped_baseline_says_what_fits() -> None:
    with pytest.raises(ValueError, match=r"baseline: expected shape \(5,\) or \(4, 5\), or one that .* got \(3, 5\)"):
        fa.IntegratedGradients(NET)(X, 1, baseline=torch.zeros(3, D))
    with pytest.raises(TypeError, match="baseline: expected None, a number or a tuple of 2, got a tuple of 1"):
        fa.IntegratedGradients(GATED)((X, SECOND), 1, baseline=(X,))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_models_of_other_precision(dtype: torch.dtype) -> None:
    net = mlp(D, 6, C).to(dtype)
    att = fa.Saliency(net)(X.to(dtype), 1)
    assert att.values.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert_close(att.values, autograd(lambda x: net(x)[:, 1], X.to(dtype)).to(att.values.dtype), atol=1e-3, rtol=1e-2)
    assert_close(att.values.float(), autograd(one, X), atol=3e-2, rtol=3e-2)


def test_models_that_change_precision_inside() -> None:
    assert_close(fa.Saliency(lambda x: NET(x).double())(X, 1).values, autograd(one, X))
    with torch.autocast("cpu", torch.bfloat16):
        assert_close(fa.Saliency(NET)(X, 1).values, autograd(one, X), atol=3e-2, rtol=3e-2)


# ---- writes in place, odd gradients -------------------------------------------------------------------------------


def write_slice(x: torch.Tensor) -> torch.Tensor:
    x[:, 0] = 0
    return NET(x)


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.ReLU(inplace=True), mlp(D, C)).eval(),
        lambda x: NET(x.mul_(2)),
        lambda x: NET(x.view(-1).relu_().view(x.shape)),
        write_slice,
    ],
    ids=["ReLU", "mul_", "view", "slice"],
)
@pytest.mark.parametrize("target", [1, None])
def test_a_first_layer_in_place(model: Any, target: Any) -> None:
    x = X.clone()
    scalar = (lambda z: model(z * 1)[:, 1]) if target == 1 else (lambda z: model(z * 1).amax(1))
    for _ in range(2):  # measured, then remembered
        assert_close(fa.Saliency(model, rows=3)(x, target).values, autograd(scalar, X))
        assert torch.equal(x, X)


class Negated(torch.autograd.Function):
    """Its gradient is a lazy negative that is dense."""

    @staticmethod
    def forward(context: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        return torch._neg_view(gradient)


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        (lambda x: x.T.contiguous().T.sum(1), torch.ones(B, D)),
        (lambda x: x.expand(3, B, D).sum((0, 2)) if len(x) == B else x.sum(1) * 3, 3 * torch.ones(B, D)),
        (lambda x: torch.complex(0 * x, x).conj().imag.sum(1), -torch.ones(B, D)),
        (lambda x: (Negated.apply(x) * 2).sum(1), -2 * torch.ones(B, D)),
        (
            lambda x: x.gather(1, torch.zeros(len(x), 1, dtype=torch.long), sparse_grad=True),
            torch.eye(D)[:1].repeat(B, 1),
        ),
        (lambda x: x.flip(1).cumsum(1)[:, 1], torch.tensor([0.0, 0, 0, 1, 1]).repeat(B, 1)),
    ],
    ids=["transposed", "expanded", "conj", "neg bit", "sparse", "flip"],
)
def test_gradients_in_any_layout(model: Any, wanted: torch.Tensor) -> None:
    assert_close(fa.Saliency(model)(X).values, wanted)


def test_a_hook_on_the_input_acts_once_a_chunk() -> None:
    def reversal(x: torch.Tensor) -> torch.Tensor:
        if x.requires_grad:
            x.register_hook(torch.neg)
        return NET(x)

    for rows in (1, 3, B):
        assert_close(fa.Saliency(reversal, rows=rows)(X, 1).values, -autograd(one, X))


# ---- autograd modes -----------------------------------------------------------------------------------------------

MODES = {"no_grad": torch.no_grad, "inference_mode": torch.inference_mode, "enable_grad": torch.enable_grad}


@pytest.mark.parametrize("inside", [True, False], ids=["called inside", "called outside"])
@pytest.mark.parametrize("mode", MODES)
def test_tensors_made_in_any_mode(mode: str, inside: bool) -> None:
    with MODES[mode]():
        x, second, mask, scale = X.clone(), SECOND.clone(), MASK.clone(), torch.full((B, 1), 2.0)
        target, constant = torch.tensor([1] * B), torch.tensor([2.0, 1, 1])
    call: AbstractContextManager[Any] = MODES[mode]() if inside else nullcontext()
    with call:
        before = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        att = fa.Saliency(lambda *a, s, c: GATED(*a) * s * c)(
            (x, second, mask), target, kwargs={"s": scale, "c": fa.shared(constant)}
        )
        path = fa.IntegratedGradients(NET)(x, target, baseline=x * 0.1)
        predicted = fa.IntegratedGradients(NET)(x)
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == before
    wanted = autograd(lambda a, b: GATED(a, b, MASK)[:, 1] * 2, X, SECOND)
    assert_close(tuple(v.clone() for v in att.values[:2]), wanted)
    assert path.converged.all() and predicted.converged.all()


@pytest.mark.parametrize("inside", [True, False], ids=["called inside", "called outside"])
def test_a_model_loaded_in_inference_mode(inside: bool) -> None:
    with torch.inference_mode():
        net = nn.Sequential(mlp(D, 6, C), nn.BatchNorm1d(C)).eval()
    with torch.inference_mode() if inside else nullcontext():
        values = fa.Saliency(net)(X, 1).values
    wanted = autograd(one, X) / (1 + 1e-5) ** 0.5
    assert_close(values.clone(), wanted)
    assert all(p.requires_grad for p in net.parameters())
