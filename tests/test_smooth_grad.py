"""SmoothGrad of torch models and of methods: the fast route, the general one, and a loop by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.backend

torch = pytest.importorskip("torch")

from models_zoo import B, C, D, Gated, Tokens, data, mlp, spell  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.testing import assert_close  # noqa: E402

import fastattr as fa  # noqa: E402
from fastattr import reference  # noqa: E402

NET = mlp(D, 6, C)
X, N = data(B, D), 12
KINDS = ("mean", "squared", "variance")


class Plain(fa.Saliency):
    """A method that SmoothGrad does not know: takes the general route."""


class Product(fa.InputXGradient):
    """The same of the product."""


def noisy_inputs(x: Tensor, n: int, *, share: float = 0.15, seed: int = 0, member: int = 0) -> list[Tensor]:
    """The n noisy copies of a batch, by the definition."""
    found = []
    for j in range(n):
        z = np.stack([reference.noise(seed, e, member, j, x[e].numel()).reshape(x[e].shape) for e in range(len(x))])
        flat = x.double().reshape(len(x), -1)
        stdev = share * (flat.amax(1) - flat.amin(1)).reshape(-1, *[1] * (x.dim() - 1))
        found.append((x + stdev * torch.from_numpy(z)).to(x.dtype))
    return found


def summarise(values: list[Tensor], kind: str) -> Tensor:
    """By NumPy, in float64."""
    draws = np.stack([v.double().numpy() for v in values])
    found = draws.var(0) if kind == "variance" else (draws**2 if kind == "squared" else draws).mean(0)
    return torch.from_numpy(found)


def agree(a: Any, b: Any, atol: float = 1e-6) -> None:
    """Two attributions, every number."""
    for name in ("values", "standard_error", "gap", "error", "output", "baseline_output"):
        assert_close(getattr(a, name), getattr(b, name), atol=atol, rtol=1e-4, equal_nan=True)
    assert torch.equal(a.evaluations, b.evaluations) and torch.equal(a.converged, b.converged)


# ---- pass lines and definition ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [fa.Saliency, fa.InputXGradient])
def test_two_standard_errors_cover(method: Any) -> None:
    """90 to 99 % of 300 numbers, against a mean of 12,000 other draws."""
    net, x = mlp(D, 16, C), data(60, D, seed=2)
    net[0].weight.data *= 2
    truth = fa.SmoothGrad(method(net), samples=12000, seed=1)(x, 1)
    att = fa.SmoothGrad(method(net), samples=50)(x, 1)
    assert (truth.error < 0.1 * att.error).all()
    assert 0.90 <= ((att.values - truth.values).abs() <= 2 * att.standard_error).double().mean() <= 0.99


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("multiply", [False, True])
def test_equal_to_the_reference(multiply: bool, kind: str) -> None:
    net, x = mlp(D, 6, C).double(), X.double()
    method = fa.InputXGradient(net) if multiply else net
    att = fa.SmoothGrad(method, samples=N, kind=kind, seed=6)(x, 1, ids=torch.arange(B) + 3)
    explain = reference.input_x_gradient if multiply else reference.saliency
    for e in range(B):
        want = reference.smooth_grad(
            lambda z: explain(spell(net), z), x[e].numpy(), samples=N, kind=kind, seed=6, id=e + 3
        )
        np.testing.assert_allclose(att.values[e].numpy(), want.values, rtol=1e-9, atol=1e-12)
        if kind != "variance":
            np.testing.assert_allclose(att.standard_error[e].numpy(), want.standard_error, rtol=1e-9)
            assert att.error[e].item() == pytest.approx(want.error)


# ---- the general route --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pair", [(fa.Saliency, Plain), (fa.InputXGradient, Product)], ids=["gradient", "product"])
def test_both_routes_agree(pair: Any, kind: str) -> None:
    x = data(70, D, seed=4)  # more examples than one block
    for options in ({}, {"stdev": 0.3, "seed": 2**40}):
        fast, general = (fa.SmoothGrad(method(NET), samples=N, kind=kind, **options)(x) for method in pair)
        agree(fast, general)
        assert torch.equal(fast.target, general.target)


METHODS: dict[str, Any] = {
    "integrated gradients": lambda model: fa.IntegratedGradients(model, steps=8),
    "adaptive": lambda model: fa.IntegratedGradients(model, tolerance=1e-4),
    "absolute": lambda model: fa.Saliency(model, absolute=True),
    "product": Product,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_a_loop_by_hand(name: str, kind: str) -> None:
    method = METHODS[name](NET)
    extra = {"baseline": data(B, D, seed=9)} if method.uses_baseline else {}
    target = [0, 1, 2, 0]
    att = fa.SmoothGrad(method, samples=N, kind=kind)(X, target, **extra)
    loop = [method(z, target, **extra) for z in noisy_inputs(X, N)]
    assert_close(att.values.double(), summarise([a.values for a in loop], kind), atol=1e-6, rtol=1e-4)
    assert att.evaluations.tolist() == torch.stack([a.evaluations for a in loop]).sum(0).tolist()
    output = torch.stack([a.output for a in loop]).mean(0) if method.uses_baseline else method(X, target).output
    assert_close(att.output, output, atol=1e-6, rtol=0)
    if kind == "mean":
        error = np.stack([a.values.double().numpy() for a in loop]).std(0, ddof=1) / np.sqrt(N)
        assert_close(att.standard_error.double(), torch.from_numpy(error), atol=1e-6, rtol=1e-3)
        assert_close(att.gap, torch.stack([a.gap for a in loop]).mean(0), atol=1e-6, rtol=0, equal_nan=True)
    else:
        assert (att.values >= 0).all() and att.gap.isnan().all()


def test_the_baseline_is_not_noised() -> None:
    seen: list[Tensor] = []

    def model(z: Tensor) -> Tensor:
        seen.append(z.detach().clone())
        return z.sum(1)

    base = torch.full((B, D), 17.0)
    fa.SmoothGrad(fa.IntegratedGradients(model, steps=3, rule="left"), samples=N)(X, baseline=base)
    rows = torch.cat(seen)
    at_base = (rows == 17).all(1)
    assert at_base.sum() >= B * N and (rows[~at_base] != 17).any(1).all()
    assert len(rows[~at_base].unique(dim=0)) > 2 * B * N


def test_expected_gradients_inside() -> None:
    """Its own draws are new at every draw: the mean is that over both, and a batch split by ids= is the batch."""
    pool = data(5, D, seed=3).double()
    net, x = mlp(D, 6, C).double(), X.double()
    method = fa.SmoothGrad(fa.ExpectedGradients(net, pool, samples=10), samples=400)
    att = method(x, 1)
    exact = [
        torch.stack([fa.IntegratedGradients(net, steps=20)(z, 1, baseline=p).values for p in pool]).mean(0)
        for z in noisy_inputs(x, 100)
    ]
    assert ((att.values - torch.stack(exact).mean(0)).abs() < 6 * att.standard_error + 0.01).all()
    assert (att.evaluations == 4000).all()


@pytest.mark.parametrize("inner", ["ExpectedGradients", "SmoothGrad", "GradientShap"])
def test_a_batch_split_by_ids_is_the_batch_for_random_methods_too(inner: str) -> None:
    pool = (data(5, D, seed=3),) if inner != "SmoothGrad" else ()
    method = fa.SmoothGrad(getattr(fa, inner)(NET, *pool, samples=4), samples=6)
    whole = method(X, 1)
    for part in (slice(0, 2), slice(2, 4)):
        assert_close(method(X[part], 1, ids=np.arange(B)[part]).values, whole.values[part], atol=1e-6, rtol=1e-4)


def test_a_function_is_told_the_callers_examples() -> None:
    """`index` picks what belongs to an example, also where draws are examples of the inner method."""
    factor = np.array([1.0, 10, 100])

    def f(points: Any, index: Any, scalars: Any) -> Any:
        scale = factor[index][:, None]
        return (points[0] * scale).sum(1)[None], ((np.ones_like(points[0]) * scale)[None],)

    model = fa.FunctionModel(f)
    integral = fa.IntegratedGradients(model, steps=4, multiply_by_inputs=False)
    for method in (fa.Saliency(model), Plain(model), fa.Saliency(model, absolute=True), integral):
        att = fa.SmoothGrad(method, samples=5)(np.ones((3, 2)))
        np.testing.assert_allclose(att.values, np.repeat(factor[:, None], 2, axis=1))


# ---- calls --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [fa.Saliency, Plain, fa.IntegratedGradients])
def test_no_target_is_the_prediction_at_the_input_itself(method: Any) -> None:
    """Strong noise carries draws over the border; they explain the same class all the same."""
    predicted = NET(X).argmax(1)
    noisy = torch.stack([NET(z).argmax(1) for z in noisy_inputs(X, N, share=1.0)])
    assert (noisy != predicted).any()
    for versus in (None, (predicted + 1) % C):
        att = fa.SmoothGrad(method(NET), samples=N, noise=1.0)(X, versus=versus)
        want = fa.SmoothGrad(method(NET), samples=N, noise=1.0)(X, predicted, versus=versus)
        assert torch.equal(torch.as_tensor(att.target), predicted)
        agree(att, want)


@pytest.mark.parametrize("target", [1, [1, 1, 1, 1], np.ones((B, 1), np.int64)], ids=["int", "list", "column"])
def test_the_target_is_reported_as_by_any_method(target: Any) -> None:
    for method in (fa.Saliency, fa.IntegratedGradients):
        assert torch.equal(fa.SmoothGrad(method(NET), samples=2)(X, target).target, method(NET)(X, target).target)


@pytest.mark.parametrize("method", [fa.Saliency, fa.IntegratedGradients])
def test_versus_is_a_difference(method: Any) -> None:
    explain = fa.SmoothGrad(method(NET), samples=N)
    parts = [explain(X, c).values for c in (2, 0)]
    assert_close(explain(X, 2, versus=0).values, parts[0] - parts[1], atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="versus"):
        explain(X, 1, versus=1)


@pytest.mark.parametrize("method", [fa.Saliency, Plain, fa.IntegratedGradients])
def test_inputs_arguments_and_shared(method: Any) -> None:
    """Every example has a mask of its own; the scale has as many entries as there are examples and is not gathered."""

    def model(a: Tensor, b: Tensor, mask: Tensor, *, scale: dict[str, Tensor]) -> Tensor:
        assert scale["t"].shape == (B,)
        return net(a, b, mask) * scale["t"].sum()

    net, x, mask = Gated().eval(), (X, data(B, 2, seed=4)), data(B, D, seed=6)
    scale = {"t": fa.shared(torch.linspace(1, 2, B))}
    explain = fa.SmoothGrad(method(model), samples=5)
    whole = explain(x, 1, args=(mask,), kwargs={"scale": scale})
    for e in range(B):
        rows = slice(e, e + 1)
        one = explain((x[0][rows], x[1][rows]), 1, args=(mask[rows],), kwargs={"scale": scale}, ids=[e])
        for t in range(2):
            assert_close(one.values[t][0], whole.values[t][e], atol=1e-5, rtol=1e-4)
    noised = zip(noisy_inputs(x[0], 5), noisy_inputs(x[1], 5, member=1))
    loop = [method(model)(z, 1, args=(mask,), kwargs={"scale": scale}).values for z in noised]
    for t in range(2):
        assert_close(whole.values[t].double(), summarise([v[t] for v in loop], "mean"), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("method", [fa.Saliency, fa.IntegratedGradients])
def test_arrays_for_all_examples_stay_whole(method: Any) -> None:
    """Of 63 entries, which is neither 3 examples nor the 63 draws that the inner method sees at once."""
    weight = np.linspace(0, 1, 63).astype(np.float32)
    shapes = set()

    def model(x: Tensor, w: Any) -> Tensor:
        shapes.add(tuple(w.shape))
        return x.sum(1)

    for argument in (weight, torch.from_numpy(weight), fa.shared(weight)):
        fa.SmoothGrad(method(model), samples=21)(data(3, 2), args=(argument,))
    assert shapes == {(63,)}


@pytest.mark.parametrize("method", [fa.Saliency, fa.IntegratedGradients])
def test_inputs_by_name_with_constants(method: Any) -> None:
    model, mask = Tokens().eval(), torch.ones(B, 4, dtype=torch.int64)
    mask[1, 2:] = 0
    att = fa.SmoothGrad(method(model), samples=6)({"inputs_embeds": data(B, 4, D), "attention_mask": mask}, 1)
    assert att.values["attention_mask"] is None and att.standard_error["attention_mask"] is None
    assert not att.values["inputs_embeds"][1, 2:].any() and att.values["inputs_embeds"][0].all()
    assert att.values["inputs_embeds"].shape == (B, 4, D)


@pytest.mark.parametrize("target", [1, [1], torch.tensor([1]), torch.tensor([[1]])], ids=str)
def test_one_example(target: Any) -> None:
    for method in (fa.Saliency, fa.IntegratedGradients):
        explain = fa.SmoothGrad(method(NET), samples=5)
        assert_close(explain(X[:1], target).values, explain(X, 1).values[:1], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("method", [fa.Saliency, Plain])
def test_numpy_in_numpy_out(method: Any) -> None:
    want, att = (fa.SmoothGrad(method(NET), samples=5)(x, 1) for x in (X, X.numpy()))
    assert type(att.values) is type(att.standard_error) is type(att.error) is np.ndarray
    np.testing.assert_array_equal(att.values, want.values.numpy())


def test_one_draw_has_no_error() -> None:
    for method in (Plain(NET), fa.IntegratedGradients(NET, steps=4)):
        att = fa.SmoothGrad(method, samples=1)(X, 1)
        assert att.standard_error.isnan().all() and att.error.isnan().all() and att.values.isfinite().all()
        (one,) = noisy_inputs(X, 1)
        assert_close(att.values, method(one, 1).values)


@pytest.mark.parametrize("method", [fa.Saliency, Plain, fa.IntegratedGradients])
def test_nan_stays_in_its_example_and_is_warned_of_once(method: Any) -> None:
    """By the number that the caller knows, not by those of the draws."""
    x = X.clone()
    x[1, 0] = float("nan")
    explain = fa.SmoothGrad(method(NET), samples=5)
    with pytest.warns(UserWarning) as caught:
        att = explain(x, 1)
    assert att.values[1].isnan().all() and att.converged.tolist() == [True, False, True, True]
    kept = [0, 2, 3]
    assert_close(att.values[kept], explain(X, 1).values[kept], atol=1e-6, rtol=1e-4)
    assert [str(w.message)[:23] for w in caught] == ["1 of 4 examples (1) hav"]


# ---- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        *({"samples": v} for v in (0, -1, 2.5, None, True, 2**31)),
        *({name: v} for name in ("noise", "stdev") for v in (-0.1, float("nan"), float("inf"), "1")),
        *({"seed": v} for v in (-1, 2**64, 1.0)),
        *({"kind": v} for v in ("median", None)),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", [fa.Saliency, fa.IntegratedGradients])
def test_options_out_of_range(method: Any, options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(ValueError, match=f"{name}: expected"):
        fa.SmoothGrad(method(NET), **options)(X, 1)


def test_options_that_belong_elsewhere() -> None:
    with pytest.raises(ValueError, match="rows: pass the options of a method to the method"):
        fa.SmoothGrad(fa.Saliency(NET), rows=3)
    with pytest.raises(ValueError, match="baseline: SmoothGrad has none"):
        fa.SmoothGrad(NET)(X, 1, baseline=0)
    with pytest.raises(ValueError, match="layer: expected a module of the model"):
        fa.SmoothGrad(NET, layer="x")(X, 1)
    with pytest.raises(ValueError, match="steps"):
        fa.SmoothGrad(fa.IntegratedGradients(NET, steps=0))(X, 1)


# ---- half precision -----------------------------------------------------------------------------------------------

HALVES = {"float16": 1e-2, "bfloat16": 6e-2}
POOL = data(6, D, seed=1)
ALL: dict[str, Any] = {
    "Saliency": fa.Saliency,
    "InputXGradient": fa.InputXGradient,
    "IntegratedGradients": fa.IntegratedGradients,
    "fixed": lambda model: fa.IntegratedGradients(model, steps=20),
    "SmoothGrad": lambda model: fa.SmoothGrad(model, samples=40),
    "noisy product": lambda model: fa.SmoothGrad(fa.InputXGradient(model), samples=40),
    "noisy integral": lambda model: fa.SmoothGrad(fa.IntegratedGradients(model, steps=5), samples=10),
    "ExpectedGradients": lambda model: fa.ExpectedGradients(model, POOL, samples=40),
    "GradientShap": lambda model: fa.GradientShap(model, POOL, samples=40, noise=0.1),
}


@pytest.mark.filterwarnings("ignore:.*more steps do not reduce")  # a gap of 16-bit outputs is rounding
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", ALL)
def test_half_precision_models(name: str, dtype: str) -> None:
    """Values in float32, near those of the same weights in float32."""
    half = getattr(torch, dtype)
    net, x = mlp(D, 6, C).to(half), X.to(half)
    att = ALL[name](net)(x, 1)
    want = ALL[name](mlp(D, 6, C).to(half).float())(x.float(), 1)
    assert att.values.dtype == torch.float32
    near = HALVES[dtype] * want.values.abs().max().item()
    assert_close(att.values, want.values, atol=near, rtol=0)
    if att.standard_error is not None:
        assert att.standard_error.dtype == torch.float32
        assert_close(att.standard_error, want.standard_error, atol=near, rtol=0)
    assert_close(att.output, want.output, atol=0.02, rtol=0.02)
    assert {p.dtype for p in net.parameters()} == {half}


@pytest.mark.parametrize("method", [fa.Saliency, Plain])
def test_noise_of_a_wide_float16_input_is_finite(method: Any) -> None:
    seen: list[Tensor] = []

    def model(x: Tensor) -> Tensor:
        seen.append(x.detach().float())
        return x.float().sum(1)

    fa.SmoothGrad(method(model), samples=4, noise=0.01)(torch.tensor([[-40000.0, 40000, 1]], dtype=torch.float16))
    assert torch.cat(seen).isfinite().all()
