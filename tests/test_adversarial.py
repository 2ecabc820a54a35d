"""Adversarial examples by the ascent of AGI: FGSM, PGD, where they start and where they stop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from helpers_agi import Classes  # noqa: E402
from helpers_native import draw  # noqa: E402
from models_zoo import B, C, D, Gated, data, mlp  # noqa: E402
from test_agi import classifier  # noqa: E402
from test_out_of_memory import Small  # noqa: E402
from test_state import fingerprint, prepared  # noqa: E402
from torch.testing import assert_close  # noqa: E402

import fastattr as fa  # noqa: E402
from fastattr import reference_agi  # noqa: E402

NET = mlp(D, 12, C)
X = data(B, D)
FGSM: dict[str, Any] = {"max_steps": 1, "stop": "never"}


def gradient_of_log(x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    z = x.clone().requires_grad_()
    return torch.autograd.grad(NET(z).log_softmax(1).gather(1, c[:, None]).sum(), z)[0]


# ---- FGSM ---------------------------------------------------------------------------------------------------------


def test_fgsm_is_one_signed_step() -> None:
    target = NET(X).argmax(1)
    found = fa.adversarial(NET, X, target, step_size=0.1, **FGSM)
    assert_close(found.x, X - 0.1 * gradient_of_log(X, target).sign())
    goal = (target + 1) % C
    towards = fa.adversarial(NET, X, target, towards=goal, step_size=0.1, **FGSM)
    assert_close(towards.x, X + 0.1 * gradient_of_log(X, goal).sign())
    assert found.steps.tolist() == towards.steps.tolist() == [1] * B
    predicted = NET(found.x).argmax(1)
    assert torch.equal(found.predicted, predicted) and torch.equal(found.reached, predicted != target)
    assert torch.equal(towards.reached, NET(towards.x).argmax(1) == goal)


def test_fgsm_steps_where_another_class_is_predicted_already() -> None:
    wrong = (NET(X).argmax(1) + 1) % C
    never, arrival = (fa.adversarial(NET, X, wrong, step_size=0.1, max_steps=1, stop=s) for s in ("never", "arrival"))
    assert never.steps.tolist() == [1] * B and not torch.equal(never.x, X)
    assert arrival.steps.tolist() == [0] * B and torch.equal(arrival.x, X) and arrival.reached.all()


# ---- PGD ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("towards", [None, 2])
@pytest.mark.parametrize("stop", ["arrival", "never"])
@pytest.mark.parametrize("random_start", [False, True])
def test_pgd_stays_in_the_ball_and_the_clamp(random_start: bool, stop: str, towards: int | None) -> None:
    x = X.clamp(-0.5, 0.5)
    found = fa.adversarial(
        NET, x, 0, towards=towards, step_size=0.05, max_steps=30, radius=0.12, clamp=(-0.5, 0.5), stop=stop,
        random_start=random_start,
    )  # fmt: skip
    assert (found.x - x).abs().max() <= 0.12 + 1e-6 and found.x.abs().max() <= 0.5
    predicted = NET(found.x).argmax(1)
    assert torch.equal(found.predicted, predicted)
    assert torch.equal(found.reached, predicted != 0 if towards is None else predicted == towards)
    assert (found.steps <= 30).all()


def test_a_random_start_is_inside_the_ball_and_keyed() -> None:
    options: dict[str, Any] = {"step_size": 1e-9, "max_steps": 1, "radius": 0.2, "stop": "never"}
    x = torch.zeros(500, D)
    start = fa.adversarial(NET, x, 0, random_start=True, **options).x
    assert start.abs().max() <= 0.2 and start.abs().max() > 0.19
    assert abs(float(start.mean())) < 0.01 and float(start.std()) == pytest.approx(0.2 / 3**0.5, rel=0.05)
    again, other = (fa.adversarial(NET, x, 0, random_start=True, seed=s, **options).x for s in (0, 1))
    assert torch.equal(start, again) and not torch.equal(start, other)
    few = fa.adversarial(NET, x[:7], 0, random_start=True, **options).x
    assert_close(few, start[:7])
    assert_close(fa.adversarial(NET, x[:7], 0, **options).x, x[:7], atol=1e-7, rtol=0)


def test_more_steps_and_larger_balls_deceive_more() -> None:
    x = data(60, D, seed=5)
    target = NET(x).argmax(1)
    shares = [
        float(fa.adversarial(NET, x, target, step_size=0.05, max_steps=40, radius=r).reached.double().mean())
        for r in (0.05, 0.3, 1.5)
    ]
    assert shares[0] < shares[1] < shares[2] and shares[2] > 0.9


# ---- the definition -----------------------------------------------------------------------------------------------

KINDS: dict[str, dict[str, Any]] = {
    "untargeted": {},
    "towards": {"towards": 1},
    "never": {"stop": "never", "radius": 0.2},
    "clamped": {"towards": 2, "clamp": (-1.0, 1.0), "radius": 0.4},
}


@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_the_reference(kind: str) -> None:
    options = {"step_size": 0.06, "max_steps": 12} | KINDS[kind]
    net, x = mlp(D, 12, C).double(), X.double().clamp(-1, 1)
    definition = classifier(net)
    found = fa.adversarial(net, x, 0, **options)
    for e in range(B):
        want = reference_agi.adversarial(definition, x[e].numpy(), 0, **options)
        np.testing.assert_allclose(found.x[e], want.x, rtol=1e-12, atol=1e-12)
        assert (int(found.steps[e]), bool(found.reached[e]), int(found.predicted[e])) == (
            want.steps, want.reached, want.predicted,
        )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_and_neighbours_change_no_bit(kind: str) -> None:
    model, x = Classes(4), 0.4 * draw(6, 5).clip(-1, 1)
    options = {"step_size": 0.06, "max_steps": 12} | KINDS[kind]
    want = fa.adversarial(fa.FunctionModel(model), x, 0, **options)
    assert type(want.x) is type(want.steps) is np.ndarray
    for rows in (1, 4):
        found = fa.adversarial(fa.FunctionModel(model), x, 0, rows=rows, **options)
        for name in ("x", "steps", "reached", "predicted"):
            np.testing.assert_array_equal(getattr(found, name), getattr(want, name))
    for e in range(6):
        one = fa.adversarial(fa.FunctionModel(model), x[e : e + 1], 0, **options)
        np.testing.assert_array_equal(one.x[0], want.x[e])


# ---- calls --------------------------------------------------------------------------------------------------------


def test_no_target_is_the_prediction() -> None:
    predicted = NET(X).argmax(1)
    found, want = (fa.adversarial(NET, X, t, step_size=0.1, max_steps=5) for t in (None, predicted))
    assert torch.equal(found.x, want.x)


def test_several_inputs_and_arguments() -> None:
    net, x, mask = Gated().eval(), (X, data(B, 2, seed=1)), (data(B, D, seed=2) > 0).float()
    found = fa.adversarial(net, x, 1, step_size=0.1, max_steps=3, args=(mask,))
    assert isinstance(found.x, tuple) and [p.shape for p in found.x] == [p.shape for p in x]
    assert torch.equal(found.predicted, net(*found.x, mask).argmax(1))
    assert torch.equal(found.x[0][mask == 0], X[mask == 0])


def test_state_memory_and_inputs() -> None:
    net, x = prepared(mlp(D, 12, C)), X.clone()
    before = fingerprint(net)
    options: dict[str, Any] = {"step_size": 0.1, "max_steps": 5, "radius": 0.3, "random_start": True}
    want = fa.adversarial(net, x, 1, **options)
    assert fingerprint(net) == before and torch.equal(x, X) and not want.x.requires_grad
    small = Small(2, MemoryError).eval()
    plain = fa.adversarial(small.net, X, 1, **options)
    assert_close(fa.adversarial(small, X, 1, rows=8, **options).x, plain.x, atol=1e-6, rtol=1e-5)
    assert small.raised


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"random_start": True}, "radius"),
        ({"stop": "soon"}, "stop: "),
        ({"towards": 0}, "towards: .*target"),
        ({"towards": C}, "towards: "),
        ({"step_size": -1.0}, "step_size: "),
        ({"max_steps": 0}, "max_steps: "),
        ({"radius": -0.1}, "radius: "),
        ({"clamp": (0.0, 1.0)}, "clamp: "),
        ({"seed": -1}, "seed: "),
    ],
    ids=str,
)
def test_options_out_of_range(options: dict[str, Any], words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        fa.adversarial(NET, X, 0, **({"step_size": 0.1, "max_steps": 3} | options))
