"""The parts of GANMEX: losses as they are written, networks, one step, selection, interruption and resumption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from models_zoo import data, mlp  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.testing import assert_close  # noqa: E402

import fastattr as fa  # noqa: E402
from fastattr.ganmex import losses, networks  # noqa: E402
from fastattr.ganmex.losses import Weights  # noqa: E402
from fastattr.ganmex.selection import split  # noqa: E402
from fastattr.ganmex.training import HELD, Options, Trainer  # noqa: E402

SHAPES = [(1, 8, 8), (3, 32, 32), (4, 12, 20), (2, 8, 40), (7,), (1,)]


# ---- losses -------------------------------------------------------------------------------------------------------


def test_the_penalty_of_a_linear_critic_is_known() -> None:
    critic = nn.Linear(4, 1, bias=False)
    nn.init.constant_(critic.weight, 1.5)  # gradient norm 3 everywhere
    flat = lambda x: critic(x).squeeze(1)  # noqa: E731
    x, sample, position = data(6, 4), data(6, 4, seed=1), torch.linspace(0, 1, 6)
    found = losses.gradient_penalty(flat, x, sample, position)  # type: ignore[arg-type]
    assert_close(found, torch.tensor(4.0))
    found.backward()
    assert float(critic.weight.grad.abs().min()) > 0, "the penalty trains the critic"


def test_the_penalty_is_taken_between_data_and_samples() -> None:
    seen: list[Tensor] = []

    def critic(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return x.square().sum((1, 2, 3))

    x, sample = data(3, 2, 4, 4), data(3, 2, 4, 4, seed=1)
    position = torch.tensor([0.0, 0.25, 1.0])
    found = losses.gradient_penalty(critic, x, sample, position)  # type: ignore[arg-type]
    between = torch.stack([sample[0], 0.25 * x[1] + 0.75 * sample[1], x[2]])
    assert_close(seen[0], between)
    assert_close(found, (2 * between.flatten(1).norm(dim=1) - 1).square().mean())


def test_the_losses_are_their_formulas() -> None:
    critic = lambda x: x.mean(1)  # noqa: E731
    generator = lambda x, c: x + c[:, None].to(x.dtype)  # noqa: E731
    classify = lambda x: torch.stack([x.sum(1), -x.sum(1), 0 * x.sum(1)], 1).log_softmax(1)  # noqa: E731
    x, y, target = data(5, 3), torch.tensor([0, 1, 2, 1, 0]), torch.tensor([1, 1, 0, 2, 2])
    sample = generator(x, target)
    terms = losses.generator_terms(generator, critic, classify, x, y, target, Weights(1, 1, 1, 1))  # type: ignore[arg-type]
    assert_close(terms.adversarial, -sample.mean())
    assert_close(terms.classification, nn.functional.cross_entropy(classify(sample), target))
    assert_close(terms.reconstruction, (x - generator(sample, y)).abs().mean())
    assert_close(terms.similarity, target.float().mean())
    assert_close(terms.total(Weights(2.0, 3.0, 5.0, 7.0)), sum(w * t for w, t in zip((2, 3, 5, 7), terms)))
    position = torch.rand(5, generator=torch.Generator().manual_seed(0))
    penalty = losses.gradient_penalty(critic, x, sample, position)  # type: ignore[arg-type]
    loss = losses.critic_loss(critic, x, sample, position)  # type: ignore[arg-type]
    assert_close(loss, sample.mean() - x.mean() + 10 * penalty)


def test_a_term_without_weight_is_not_computed() -> None:
    def never(*arguments: Any) -> Tensor:
        raise AssertionError

    x, target = data(5, 3), torch.zeros(5, dtype=torch.int64)
    calls: list[int] = []

    def generator(x: Tensor, c: Tensor) -> Tensor:
        calls.append(1)
        return x + 1

    terms = losses.generator_terms(generator, never, never, x, target, target, Weights(0, 0, 0, 1))  # type: ignore[arg-type]
    assert [t.item() for t in terms[:3]] == [0, 0, 0] and len(calls) == 1
    assert_close(terms.total(Weights(0, 0, 0, 20)), torch.tensor(20.0))


# ---- networks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_networks_for_every_shape(shape: tuple[int, ...]) -> None:
    x, target = data(5, *shape).clamp(-1, 1), torch.arange(5) % 3
    generator = networks.generator(shape, 3, 8)
    made = generator(x, target)
    assert made.shape == x.shape and float(made.detach().abs().max()) <= 1
    made.square().sum().backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in generator.parameters())
    critic = networks.critic(shape, 3, 8)
    assert critic(x).shape == (5,) and critic.class_scores(x).shape == (5, 3)
    assert networks.judge(x, 3)(x).shape == (5, 3)


def test_an_edit_of_nothing_keeps_the_input() -> None:
    generator = networks.generator((1, 8, 8), 3)
    nn.init.zeros_(generator.delta.last.weight)
    nn.init.zeros_(generator.delta.last.bias)
    x = data(4, 1, 8, 8).clamp(-1, 1)
    assert torch.equal(generator(x, torch.zeros(4, dtype=torch.int64)), x)
    generator.anew = True
    assert not generator(x, torch.zeros(4, dtype=torch.int64)).any(), "what is drawn anew starts from grey"


def test_edits_may_be_as_fine_as_the_input() -> None:
    """What the middle does not pass on reaches the end from the same level on the way down."""
    generator = networks.generator((3, 32, 32), 3)
    with torch.no_grad():
        for layer in generator.delta.up:
            for p in layer.parameters():
                p.zero_()
    x = data(1, 3, 32, 32).clamp(-1, 1)
    other = x.clone()
    other[0, :, 16, 16] = -other[0, :, 16, 16]
    a, b = (generator.delta(torch.cat([v, torch.ones(1, 3, 32, 32)], 1)) for v in (x, other))
    changed = (a - b).abs().amax((0, 1)).detach()
    assert float(changed[16, 16]) > 1e-3
    assert float(changed[16, 16]) > 10 * float(changed[:8].max())  # GroupNorm alone reaches there


def test_the_edit_depends_on_the_class() -> None:
    generator = networks.generator((1, 8, 8), 3)
    x = data(4, 1, 8, 8).clamp(-1, 1)
    first, second = (generator(x, torch.full((4,), c)) for c in (0, 1))
    assert float(((first - second).abs().max()).detach()) > 1e-3


def test_the_critic_sees_examples_one_by_one() -> None:
    """The penalty is per example, so nothing may mix them."""
    critic, x = networks.critic((3, 32, 32), width=8), data(4, 3, 32, 32)
    assert_close(critic(x)[:1], critic(x[:1]), atol=1e-5, rtol=1e-4)


def test_the_judge_standardises() -> None:
    x = torch.stack([1e4 + data(200), torch.full((200,), 5.0)], 1)
    scaled = networks.Standardise(x)(x)
    assert_close(scaled.mean(0), torch.zeros(2), atol=1e-2, rtol=0)
    assert_close(scaled.std(0, unbiased=False), torch.tensor([1.0, 0.0]), atol=1e-2, rtol=0)


# ---- steps --------------------------------------------------------------------------------------------------------

X, Y = data(60, 6).clamp(-1, 1), torch.arange(60) % 3


def trainer(classify: Any = None, **options: Any) -> Trainer:
    chosen = Options(**{"input_shape": (6,), "classes": 3, "weights": Weights(), "width": 8, "batch": 8} | options)
    return Trainer(chosen, classify or (lambda z: z[:, :3].log_softmax(1)), X, Y)


def tensors(one: Trainer) -> list[Tensor]:
    return [t.clone() for part in (one.generator, one.critic, one.average) for t in part.state_dict().values()]


def test_a_step_moves_every_network_and_the_seed_decides_how() -> None:
    state = torch.get_rng_state()
    first, again, other = trainer(seed=1), trainer(seed=1), trainer(seed=2)
    before = tensors(first)
    for one in (first, again, other):
        one.advance()
    assert all(map(torch.equal, tensors(first), tensors(again)))
    assert not all(map(torch.equal, tensors(first), tensors(other)))
    assert not any(torch.equal(a, b) for a, b in zip(before, tensors(first)) if a.dim() > 1)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_critic_never_asks_the_classifier_but_its_own_without_the_swap() -> None:
    asked: list[int] = []

    def classify(z: Tensor) -> Tensor:
        asked.append(len(z))
        return z[:, :3].log_softmax(1)

    swapped = trainer(classify, critic_steps=3)
    swapped.advance()
    assert asked == [8] and swapped.critic.classify is None
    plain = trainer(classify, swap=False)
    plain.advance()
    assert asked == [8], "without the swap the explained classifier is not asked"
    assert plain.critic.classify is not None


def test_without_the_adversary_the_critic_stays() -> None:
    one = trainer(weights=Weights(0.0, 1.0, 1.0, 1.0))
    before = [p.clone() for p in one.critic.parameters()]
    one.advance()
    assert all(map(torch.equal, before, one.critic.parameters()))


def test_the_average_follows_slowly() -> None:
    one = trainer(ema=0.9)
    for _ in range(3):
        before = [p.clone() for p in one.average.parameters()]
        one.advance()
        keep = min(0.9, one.step / (9 + one.step))
        expected = [keep * b + (1 - keep) * p.detach() for b, p in zip(before, one.generator.parameters())]
        assert_close(list(one.average.parameters()), expected, atol=1e-6, rtol=1e-5)


def test_the_rate_falls_whenever_the_training_ends() -> None:
    one = trainer(learning_rate=1e-3)
    for step, rate in ((0, 1e-3), (HELD, 1e-3), (2 * HELD, 5e-4), (4 * HELD, 2.5e-4)):
        one.step = step
        one.advance()
        for optimizer in (one._generator_optimizer, one._critic_optimizer):
            assert optimizer.param_groups[0]["lr"] == pytest.approx(rate)


def test_a_state_is_all_that_the_next_step_depends_on() -> None:
    one, other = trainer(), trainer(seed=0)
    one.advance()
    state = one.state()
    one.advance()
    one.advance()
    other.load(state)
    other.advance()
    other.advance()
    assert all(map(torch.equal, tensors(one), tensors(other))) and one.step == other.step == 3
    one.load(state)  # and it was not written to meanwhile
    one.advance()
    one.advance()
    assert all(map(torch.equal, tensors(one), tensors(other)))


def test_half_precision_trains_too() -> None:
    one = trainer(autocast=True)
    found = one.advance()
    assert all(bool(torch.isfinite(loss)) for loss in found.values())
    assert all(p.dtype == torch.float32 for p in one.generator.parameters())


# ---- selection ----------------------------------------------------------------------------------------------------


def test_the_split_takes_a_share_of_every_class() -> None:
    y = np.repeat([0, 1, 2], [100, 40, 1])
    train, held = split(y, 0.2, 1000, seed=0)
    assert np.bincount(y[held], minlength=3).tolist() == [20, 8, 0]
    assert sorted([*train, *held]) == list(range(141))
    assert len(split(y, 0.2, 14, seed=0)[1]) == 14
    assert not np.array_equal(held, split(y, 0.2, 1000, seed=1)[1])


# ---- fits ---------------------------------------------------------------------------------------------------------

NET = mlp(6, 8, 3, seed=1)
with torch.no_grad():  # no class is left out
    NET[-1].bias.sub_(NET(X).mean(0))
LABELS = NET(X).argmax(1)


class Interrupting(nn.Module):
    """The classifier `NET`, interrupted once at a training step."""

    def __init__(self) -> None:
        super().__init__()
        self.net = NET
        self.asked, self.at = 0, -1

    def forward(self, x: Tensor) -> Tensor:
        self.asked += x.requires_grad
        if self.asked == self.at:
            self.at = -1
            raise KeyboardInterrupt
        return self.net(x)


def ganmex(model: nn.Module | None = None, **options: Any) -> fa.GANMEX:
    return fa.GANMEX(model or Interrupting().eval(), classes=3, input_shape=(6,), width=8, fallback="none", **options)


def fit(gx: fa.GANMEX, steps: int = 24, **options: Any) -> fa.GANMEX:
    return gx.fit(X, LABELS, steps=steps, every=5, batch=8, validation=0.3, progress=False, **options)


def same(a: fa.GANMEX, b: fa.GANMEX) -> bool:
    return a.history == b.history and torch.equal(a.edit(X, 1).values, b.edit(X, 1).values)


@pytest.mark.parametrize("at", [3, 5, 12, 24])
def test_an_interrupted_fit_goes_on_to_the_same_result(at: int) -> None:
    whole = fit(ganmex())
    model = Interrupting().eval()
    gx = ganmex(model)
    model.at = at
    with pytest.raises(KeyboardInterrupt):
        fit(gx)
    assert len(gx.history) == (at - 1) // 5
    if gx.history:
        assert gx.edit(X, 1).values.shape == X.shape, "as of the best check so far"
    assert same(fit(gx, resume=True), whole)


def test_a_fit_goes_on_in_another_process(tmp_path: Path) -> None:
    model = Interrupting().eval()
    model.at = 13
    with pytest.raises(KeyboardInterrupt):
        fit(ganmex(model), state_file=tmp_path / "fit.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["fit.pt"]
    other = fit(ganmex(), state_file=tmp_path / "fit.pt", resume=True)
    assert same(other, fit(ganmex()))


def test_a_fit_can_be_longer_afterwards() -> None:
    gx = fit(ganmex(), steps=10)
    assert same(fit(gx, steps=25, resume=True), fit(ganmex(), steps=25))


def test_states_of_other_fits_are_refused(tmp_path: Path) -> None:
    gx = fit(ganmex(), state_file=tmp_path / "fit.pt")
    with pytest.raises(ValueError, match="resume: expected a fit to the same data, options and classifier"):
        fit(gx, resume=True, seed=1)
    other = mlp(6, 8, 3, seed=5)
    with pytest.raises(ValueError, match="resume: expected a fit to the same data"):
        fit(ganmex(other), resume=True, state_file=tmp_path / "fit.pt", check=False)
    with pytest.raises(ValueError, match="resume: expected an earlier fit of this object, or its state_file"):
        fit(ganmex(), resume=True)


def test_the_best_check_is_kept() -> None:
    gx = fit(ganmex())
    assert gx.selected == max(gx.history, key=lambda check: check["score"])
    assert [check["step"] for check in gx.history] == [5, 10, 15, 20, 24]
    for check in gx.history:
        score = check["conversion"] * check["judge"] - 0.1 * check["distance"] - max(check["realism"] - 1, 0)
        assert abs(check["score"] - score) < 1e-12
    short = fit(ganmex(), steps=int(gx.selected["step"]))
    if int(gx.selected["step"]) % 5 == 0:
        assert torch.equal(short.edit(X, 1).values, gx.edit(X, 1).values)


def test_losses_that_are_not_finite_stop_the_fit() -> None:
    with pytest.raises(FloatingPointError, match="loss is not finite at step 5: lower learning_rate"):
        fit(ganmex(), learning_rate=1e30)
