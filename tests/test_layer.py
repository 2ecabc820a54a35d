"""`layer=`: attribution of activations, against Captum, plain autograd and the same method on the upper part alone."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from models_zoo import B, C, D, Shared, Tokens, data, mlp  # noqa: E402
from test_state import fingerprint  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.testing import assert_close  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

import fastattr as fa  # noqa: E402

LENGTH, WORDS = 7, 40


class Text(nn.Module):
    """Token ids, an attention mask, and a block that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(WORDS, D)
        self.block = nn.Linear(D, D)
        self.attention = nn.MultiheadAttention(D, 1, batch_first=True)
        self.unused = nn.Linear(1, 1)
        self.head = nn.Linear(D, C)

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.above(self.embeddings(ids), mask)

    def above(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.block(self.block(x).tanh()).tanh()
        hidden = None if mask is None else mask == 0
        x, _ = self.attention(x, x, x, key_padding_mask=hidden, need_weights=False)
        keep = x.new_ones(x.shape[:2]) if mask is None else mask
        return self.head((x * keep[..., None]).sum(1) / keep.sum(1, keepdim=True))


def seeded(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build().eval()


def cnn() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(inplace=True)),
        nn.Flatten(), nn.Linear(64, C),
    )  # fmt: skip


TEXT = seeded(Text)
IDS = torch.from_numpy(np.random.default_rng(0).integers(1, WORDS, (B, LENGTH)))
MASK = torch.ones(B, LENGTH, dtype=torch.long)
MASK[1, 4:] = MASK[3, 2:] = 0
X = data(B, 1, 8, 8)


# ---- against Captum -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["embeddings", "head"])
@pytest.mark.parametrize("masked", [False, True])
def test_text_agrees_with_captum(layer: str, masked: bool) -> None:
    captum = pytest.importorskip("captum.attr")
    pads = torch.zeros_like(IDS)
    extra = (MASK,) if masked else ()
    att = fa.IntegratedGradients(TEXT, steps=50, layer=layer)(IDS, 1, args=extra)
    peer = captum.LayerIntegratedGradients(TEXT, TEXT.get_submodule(layer))
    wanted = peer.attribute(IDS, pads, target=1, n_steps=50, additional_forward_args=extra or None)
    assert att.values.shape == wanted.shape
    assert_close(att.values, wanted, rtol=1e-5, atol=1e-7)
    assert (att.gap.abs() < 1e-5).all()
    with torch.no_grad():
        assert_close(att.output, TEXT(IDS, *extra)[:, 1].double(), rtol=1e-5, atol=1e-6)
        assert_close(att.baseline_output, TEXT(pads, *extra)[:, 1].double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("at_input", [False, True])
@pytest.mark.parametrize("layer", ["0", "1", "2.0", "2", "3", "4"])
def test_cnn_agrees_with_captum(layer: str, at_input: bool) -> None:
    captum = pytest.importorskip("captum.attr")
    net = seeded(cnn)
    net[2][1].inplace = False  # which Captum cannot differentiate
    module, base = net.get_submodule(layer), data(B, 1, 8, 8, seed=1)
    att = fa.IntegratedGradients(net, steps=50, layer=module, layer_input=at_input)(X, 2, baseline=base)
    wanted = captum.LayerIntegratedGradients(net, module).attribute(
        X, base, target=2, n_steps=50, attribute_to_layer_input=at_input
    )
    wanted = wanted[0] if isinstance(wanted, tuple) else wanted
    assert_close(att.values, wanted, rtol=1e-4, atol=1e-6)
    assert "model cut there" in att.engine
    net[2][1].inplace = True
    assert_close(fa.IntegratedGradients(net, steps=50, layer=module, layer_input=at_input)(X, 2, baseline=base).values,
                 att.values)  # fmt: skip


# ---- every method is itself on the upper part ---------------------------------------------------------------------


METHODS: dict[str, Callable[..., Any]] = {
    "saliency": lambda m, r, p, **o: fa.Saliency(m, **o),
    "product": lambda m, r, p, **o: fa.InputXGradient(m, **o),
    "auto": lambda m, r, p, **o: fa.IntegratedGradients(m, **o),
    "smooth": lambda m, r, p, **o: fa.SmoothGrad(m, samples=5, **o),
    "smooth integrated": lambda m, r, p, **o: fa.SmoothGrad(fa.IntegratedGradients(m, **o), samples=3),
    "smooth expected": lambda m, r, p, **o: fa.SmoothGrad(fa.ExpectedGradients(m, r, samples=4, **o), samples=3),
    "expected": lambda m, r, p, **o: fa.ExpectedGradients(m, r, samples=20, **o),
    "shap": lambda m, r, p, **o: fa.GradientShap(m, r, samples=20, noise=0.1, **o),
    "polyline": lambda m, r, p, **o: fa.PathIntegratedGradients(m, p, **o),
    "curve": lambda m, r, p, **o: fa.PathIntegratedGradients(
        m, lambda x, b, a, i: b[i] + a[:, None, None] ** 2 * (x - b)[i], **o
    ),
}


@pytest.mark.parametrize("versus", [None, 0])
@pytest.mark.parametrize("target", [None, 1])
@pytest.mark.parametrize("name", METHODS)
def test_methods_on_embeddings(name: str, target: Any, versus: Any) -> None:
    if target is None and versus is not None:
        versus = [2, 2, 2, 2]
    pads = torch.full_like(IDS, 3)
    references = torch.stack([pads[0], IDS[2], IDS[0]])
    path = torch.stack([pads, IDS.flip(1), IDS])
    embed = TEXT.embeddings.weight.detach()
    lower = METHODS[name](TEXT, references, path, layer=TEXT.embeddings)
    direct = METHODS[name](TEXT.above, embed[references], embed[path])
    with_base = lower.uses_baseline
    try:
        want = direct(embed[IDS], target, versus=versus, **({"baseline": embed[pads]} if with_base else {}))
    except ValueError as error:  # the same class on both sides
        assert "versus" in str(error)
        return
    got = lower(IDS, target, versus=versus, **({"baseline": 3} if with_base else {}))
    assert got.values.shape == (B, LENGTH, D)
    for field in ("values", "gap", "error", "output", "baseline_output"):
        assert_close(getattr(got, field), getattr(want, field), rtol=1e-4, atol=1e-5, equal_nan=True)
    assert torch.equal(got.evaluations, want.evaluations)
    assert "layer embeddings" in got.engine


def test_forms_of_inputs() -> None:
    """Positional, tuple, dict and NumPy inputs, masks among them or beside them, are the same thing."""
    method = fa.IntegratedGradients(TEXT, steps=12, layer="embeddings")
    want = method(IDS, 1, args=(MASK,), baseline=3)
    pads = torch.full((LENGTH,), 3)
    for got in (
        method(IDS, 1, kwargs={"mask": MASK}, baseline=pads),
        method((IDS, MASK), 1, baseline=(pads, None)),
        method((IDS, MASK), 1, baseline=(3, MASK)),
        method({"ids": IDS, "mask": MASK}, 1, baseline={"ids": 3}),
        method({"mask": MASK, "ids": IDS}, 1, baseline={"ids": pads.expand(B, -1)}),
    ):
        assert_close(got.values, want.values, rtol=1e-5, atol=1e-7)
    numpy = method(IDS.numpy(), 1, args=(MASK.numpy(),), baseline=3)
    assert isinstance(numpy.values, np.ndarray)
    np.testing.assert_allclose(numpy.values, want.values.numpy(), rtol=1e-5, atol=1e-7)
    none = fa.IntegratedGradients(TEXT, steps=12, layer="embeddings")
    assert_close(none(IDS, 1).values, none(IDS, 1, baseline=0).values)
    assert none(IDS[:0], 1).values.shape == (0, LENGTH, D)


def test_references_with_their_masks() -> None:
    method = fa.ExpectedGradients(TEXT, (IDS[:3], MASK[:3]), samples=9, layer="embeddings")
    assert method((IDS, MASK), 1).values.shape == (B, LENGTH, D)
    with pytest.raises(ValueError, match="references: expected no extra argument with a row per example"):
        fa.ExpectedGradients(TEXT, IDS[:3], samples=9, layer="embeddings")(IDS, 1, args=(MASK,))


def test_one_of_several_calls() -> None:
    """A layer that runs three times: each call alone, and the whole is none of them."""
    net, x = seeded(Shared), data(B, D)
    with torch.no_grad():
        steps = [net.layer(x)]
        for _ in range(2):
            steps.append(net.layer(steps[-1].tanh()))
    for call, z in enumerate(steps):

        def rest(z: Tensor, call: int = call) -> Tensor:
            z = z.tanh()
            for _ in range(2 - call):
                z = net.layer(z).tanh()
            return net.head(z)

        att = fa.Saliency(net, layer=net.layer, layer_call=call)(x, 1)
        assert_close(att.values, fa.Saliency(rest)(z, 1).values)
    with pytest.raises(ValueError, match=r"calls once, got layer, called 3 times; say which call by layer_call=0 to 2"):
        fa.Saliency(net, layer=net.layer)(x, 1)
    with pytest.raises(ValueError, match="layer_call: expected 0 to 2 for layer, got 3"):
        fa.Saliency(net, layer=net.layer, layer_call=3)(x, 1)


def test_one_of_several_names() -> None:
    """Calls are counted of the module, whichever of its names is given."""
    act = nn.Tanh()
    net, x = seeded(lambda: nn.Sequential(nn.Linear(D, 6), act, nn.Linear(6, 6), act, nn.Linear(6, C))), data(B, D)
    with torch.no_grad():
        steps = [net[:2](x), net[:4](x)]
    for call, z in enumerate(steps):
        want = fa.Saliency(net[2 * call + 2 :].eval())(z, 1).values
        for layer in ("1", "3", act):
            assert_close(fa.Saliency(net, layer=layer, layer_call=call)(x, 1).values, want)


class Encoder(nn.Module):
    """Torch's own, which takes a way of its own where no gradient is wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(WORDS, 8)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)
        self.head = nn.Linear(8, C)

    def forward(self, ids: Tensor, x: Tensor | None = None) -> Tensor:
        x = self.embeddings(ids) if x is None else x
        return self.head(self.encoder(x, src_key_padding_mask=ids == 0).mean(1))


@pytest.mark.parametrize("layer", ["embeddings", "encoder.layers.0", "encoder.layers.1.linear1", "encoder"])
def test_inside_an_encoder_of_padded_sequences(layer: str) -> None:
    net, ids, seen = seeded(Encoder), torch.where(MASK == 0, 0, IDS), []
    ids[:, -1] = 0
    before = fingerprint(net), torch.backends.mha.get_fastpath_enabled()
    got = fa.Saliency(net, layer=layer)(ids, 1)
    assert (fingerprint(net), torch.backends.mha.get_fastpath_enabled()) == before
    handle = net.get_submodule(layer).register_forward_hook(lambda module, args, output: seen.append(output))
    net(ids)[:, 1].sum().backward(inputs=list(net.parameters()))
    (want,) = torch.autograd.grad(net(ids)[:, 1].sum(), seen[-1:])
    handle.remove()
    net.zero_grad(set_to_none=True)
    assert_close(got.values, want)


def test_outputs_of_an_encoder_are_those_that_have_gradients() -> None:
    """Also of predicted classes: without gradients torch would put zeros at padded positions."""
    net, ids = seeded(Encoder), torch.where(MASK == 0, 0, IDS)
    ids[:, -1] = 0
    x = net.embeddings(ids).detach()
    att = fa.IntegratedGradients(lambda x, ids: net(ids, x), steps=15)(x, args=(ids,))
    scores = net(ids).detach()
    assert_close(att.target, scores.argmax(1))
    assert_close(att.output, scores.amax(1).double())


def test_keyword_models_and_outputs_with_logits() -> None:
    net = seeded(Tokens)
    x, mask = data(B, LENGTH, D), torch.ones(B, LENGTH)
    place = torch.arange(LENGTH).expand(B, -1)
    given = {"inputs_embeds": x, "attention_mask": mask, "position": place}
    att = fa.IntegratedGradients(net, layer="head", layer_input=True)(given, 1)
    assert att.values.shape == (B, 6) and att.converged.all()
    base = fa.IntegratedGradients(net, layer="position")(given, 1)  # the same at both ends: nothing to attribute
    assert not base.values.any() and torch.allclose(base.output, base.baseline_output)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_dtypes(dtype: torch.dtype) -> None:
    net = seeded(Text).to(dtype)
    att = fa.IntegratedGradients(net, steps=16, layer="block", layer_call=1)(IDS, 1, args=(MASK,))
    want = fa.IntegratedGradients(TEXT, steps=16, layer="block", layer_call=1)(IDS, 1, args=(MASK,))
    assert att.values.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    bound = {torch.float64: 1e-5, torch.float16: 2e-2, torch.bfloat16: 1e-1}[dtype]
    assert (att.values - want.values).abs().sum() <= bound * want.values.abs().sum()


# ---- what is left behind ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["embeddings", "attention.out_proj"])
def test_nothing_is_left_behind(layer: str) -> None:
    before = fingerprint(TEXT)
    fa.IntegratedGradients(TEXT, steps=9, layer="embeddings")(IDS, 1, args=(MASK,))
    with pytest.raises(ValueError):
        fa.IntegratedGradients(TEXT, steps=9, layer="block")(IDS, 1)
    with pytest.raises(IndexError):
        fa.IntegratedGradients(TEXT, steps=9, layer=layer)(IDS + WORDS, 1)
    assert fingerprint(TEXT) == before


def test_hooks_of_the_user_come_first() -> None:
    """The layer's output is what its own hooks made of it."""
    net, x = seeded(lambda: mlp(D, 6, 6, C)), data(B, D)
    handle = net[2].register_forward_hook(lambda module, args, output: 2 * output)
    with torch.no_grad():
        z = 2 * net[2].forward(net[1](net[0](x)))
    want = fa.InputXGradient(nn.Sequential(*net[3:]).eval())(z, 1).values
    assert_close(fa.InputXGradient(net, layer="2")(x, 1).values, want)
    handle.remove()


def test_training_mode_warns_once_and_is_restored() -> None:
    net = nn.Sequential(nn.Linear(D, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, C)).train()
    before = fingerprint(net)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        fa.IntegratedGradients(net, steps=5, layer="2")(data(B, D), 1)
    assert len(seen) == 1 and "training mode" in str(seen[0].message)
    assert fingerprint(net) == before


def test_models_made_in_inference_mode() -> None:
    with torch.inference_mode():
        net = seeded(lambda: mlp(D, 6, 6, C))
    want = fa.IntegratedGradients(seeded(lambda: mlp(D, 6, 6, C)), layer="1")(data(B, D), 1)
    att = fa.IntegratedGradients(net, layer="1")(data(B, D), 1)
    assert_close(att.values, want.values)


# ---- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"layer": "encoder"}, ValueError, r"layer: expected a module of the model \(embeddings, block"),
        ({"layer": nn.Linear(1, 1)}, ValueError, "got a Linear that is none of them"),
        ({"layer": 3}, TypeError, "layer: expected a torch module of the model or its dotted name, got int"),
        ({"layer": "unused"}, ValueError, "forward calls, got unused, which it does not"),
        ({"layer": "attention"}, ValueError, "returns one tensor, got a tuple of 2 at attention"),
        (
            {"layer": "embeddings", "layer_input": True},
            TypeError,
            "floating activations at embeddings, got torch.int64",
        ),
        ({"layer": "embeddings", "layer_call": -1}, ValueError, "layer_call: expected an int >= 0, got -1"),
        ({"layer": "embeddings", "layer_call": True}, ValueError, "layer_call"),
        ({"layer_call": 1}, ValueError, "layer: expected a module for layer_input= and layer_call=, got None"),
        ({"layer_input": True}, ValueError, "layer: expected a module"),
    ],
)
def test_refused_layers(options: dict[str, Any], error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        fa.IntegratedGradients(TEXT, steps=9, **options)(IDS, 1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # scripting is
def test_refused_models() -> None:
    net = nn.Sequential(torch.jit.script(nn.Sequential(nn.Linear(D, 6), nn.Tanh())), nn.Linear(6, C)).eval()
    for layer in ("0", "0.0", net[0]):
        with pytest.raises(TypeError, match="layer: expected a module that runs in Python, got a scripted one"):
            fa.Saliency(net, layer=layer)(data(B, D), 1)
    assert fa.Saliency(net, layer="1", layer_input=True)(data(B, D), 1).values.shape == (B, 6)

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.low, self.mid, self.head = nn.Linear(D, 6), nn.Linear(6, 6), nn.Linear(6, C)

        def forward(self, x: Tensor) -> Tensor:
            y = self.low(x) if len(x) else x
            return self.head(checkpoint(lambda y: self.mid(y.tanh()).tanh(), y, use_reentrant=False))

    again, x = seeded(Twice), data(B, D)
    with pytest.raises(ValueError, match=r"layer: expected a module outside torch\.utils\.checkpoint, got mid"):
        fa.Saliency(again, layer="mid")(x, 1)
    want = fa.Saliency(lambda z: again.head(again.mid(z.tanh()).tanh()))(again.low(x).detach(), 1).values
    assert_close(fa.Saliency(again, layer="low")(x, 1).values, want)


def test_refused_inputs() -> None:
    method = fa.IntegratedGradients(TEXT, layer="embeddings")
    with pytest.raises(ValueError, match="baseline: expected a tuple like the inputs, with the ids to start from"):
        method((IDS, MASK), 1)
    with pytest.raises(TypeError, match="baseline: expected int64 like the input, got float32"):
        method(IDS, 1, baseline=torch.zeros(LENGTH))
    with pytest.raises(TypeError, match="baseline: expected int64 like the input, got 0.5"):
        method(IDS, 1, baseline=0.5)
    with pytest.raises(TypeError, match="baseline: expected None, a number or a tuple of 2"):
        method((IDS, MASK), 1, baseline=torch.zeros(LENGTH))
    model = fa.FunctionModel(lambda points, index, scalars: (points[0].sum(1)[None], (0 * points[0][None],)))
    with pytest.raises(TypeError, match="layer: expected with a torch module, got FunctionModel"):
        fa.Saliency(model, layer="0")(data(B, D), 0)
    with pytest.raises(TypeError, match="integers have no gradient"):
        fa.IntegratedGradients(TEXT)(IDS, 1)
