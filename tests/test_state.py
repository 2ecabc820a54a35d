"""A call leaves a model, the global random state and autograd's modes as they were, whatever happens inside."""

from __future__ import annotations

import functools
import gc
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from models_zoo import B, C, D, Tokens, autograd, data, mlp, training_net  # noqa: E402
from torch import nn  # noqa: E402
from torch.testing import assert_close  # noqa: E402

import fastattr as fa  # noqa: E402

X = data(B, D)
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Injected(Exception):
    """Raised by a forward on purpose."""


class Faulty(nn.Module):
    """Behaves well for some forwards, then raises; touches everything before."""

    def __init__(self, good: int, error: Callable[[], BaseException]) -> None:
        super().__init__()
        self.net, self.good, self.error, self.calls = training_net(), good, error, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        y = self.net(x)
        if self.calls > self.good:
            self.net.eval()
            raise self.error()
        return y


def tensor_state(tensor: torch.Tensor | None) -> Any:
    return (
        None if tensor is None else (id(tensor), tensor.requires_grad, tensor.detach().numpy().tobytes(), tensor.shape)
    )


def fingerprint(model: nn.Module) -> dict[str, Any]:
    """All that a call must not change."""
    found: dict[str, Any] = {
        "random": torch.get_rng_state().numpy().tobytes(),
        "modes": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
    }
    for name, part in model.named_modules():
        found[f"{name} flags"] = part.training
        found[f"{name} hooks"] = [list(getattr(part, hooks).items()) for hooks in HOOKS]
        found[f"{name} buffers"] = {key: tensor_state(b) for key, b in part._buffers.items()}
        found[f"{name} persistent"] = set(part._non_persistent_buffers_set)
        found[f"{name} parameters"] = {
            key: None if p is None else (tensor_state(p), tensor_state(p.grad), p._backward_hooks)
            for key, p in part._parameters.items()
        }
    return found


def quietly(model: nn.Module, **options: Any) -> Any:
    """One explanation, with the warning about training mode out of the way."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*training mode")
        return fa.IntegratedGradients(model, **{"rows": 5, "steps": 9} | options)(X, 1)


def prepared(model: nn.Module) -> nn.Module:
    """Half frozen, with gradients and hooks of the user's own."""
    parameters = list(model.parameters())
    for p in parameters[::2]:
        p.requires_grad_(False)
    for p in parameters[1::2]:
        p.grad = torch.full_like(p, 0.5)
    next(model.children()).register_forward_hook(lambda *_: None)
    return model


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("training", [False, True])
def test_everything_is_as_it_was(training: bool, seed: int) -> None:
    torch.manual_seed(seed)
    model = prepared(training_net().train(training))
    before = fingerprint(model)
    att = quietly(model)
    assert fingerprint(model) == before
    assert not att.values.requires_grad
    quietly(model, rule="trapezoid")
    assert fingerprint(model) == before
    assert next(b for b in model.buffers() if b.dtype == torch.int64) == 0  # num_batches_tracked


@pytest.mark.parametrize("good", [0, 1, 3])
@pytest.mark.parametrize(
    "error",
    [
        lambda: Injected("stop"),
        lambda: RuntimeError("shapes cannot be multiplied"),
        KeyboardInterrupt,
        SystemExit,
        MemoryError,
        lambda: torch.OutOfMemoryError("CUDA out of memory"),
    ],
    ids=["exception", "RuntimeError", "KeyboardInterrupt", "SystemExit", "MemoryError", "torch.OutOfMemoryError"],
)
def test_everything_is_as_it_was_after(error: Callable[[], BaseException], good: int) -> None:
    model = prepared(Faulty(good, error))
    x = X.clone().requires_grad_()
    before = fingerprint(model)
    with pytest.raises(type(error())), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*training mode")
        fa.IntegratedGradients(model, rows=5, steps=9)(x, 1)
    assert fingerprint(model) == before
    assert x.requires_grad and x.grad is None and torch.equal(x, X)
    model.good = 10**9
    quietly(model)  # the lock is free and the next call works
    assert fingerprint(model) == before


def test_an_error_of_ours_leaves_everything_too() -> None:
    model = prepared(mlp(D, 6, C))
    before = fingerprint(model)
    for arguments in ({"target": 9}, {"target": 1.0}, {"target": 1, "versus": 1}):
        with pytest.raises((TypeError, ValueError)):
            fa.Saliency(model)(X, **arguments)
    with pytest.raises(ValueError, match="sigmoid"):
        fa.Saliency(lambda x: model(x)[:, 0], output="softmax")(X)
    assert fingerprint(model) == before


# ---- buffers ------------------------------------------------------------------------------------------------------


class Counting(nn.Module):
    """Keeps a number of its own in one of the ways that are found in the wild."""

    def __init__(self, write: Callable[[Counting], None], has_buffer: bool = True) -> None:
        super().__init__()
        self.inner = mlp(D, C)
        if has_buffer:
            self.register_buffer("count", torch.zeros(3))
        self.write = write

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.write(self)
        return self.inner(x)


def replace(m: Counting) -> None:
    m.count = m.count + 1


def in_place_then_replace(m: Counting) -> None:
    m.count.add_(1)
    replace(m)


def delete(m: Counting) -> None:
    m._buffers.pop("count", None)


WRITES: dict[str, Callable[[Counting], Any]] = {
    "in place": lambda m: m.count.add_(1),
    "replaced": replace,
    "in place, then replaced": in_place_then_replace,
    "registered": lambda m: m.register_buffer("extra", torch.ones(2), persistent=False),
    "deleted": delete,
    "set to None": lambda m: setattr(m, "count", None),
    ".data": lambda m: m.count.data.add_(1),
    ".data assigned": lambda m: setattr(m.count, "data", m.count.data + 1),
    "through NumPy": lambda m: m.count.numpy().__iadd__(1),
    "NaN": lambda m: m.count.fill_(float("nan")),
    "of another shape": lambda m: setattr(m.count, "data", torch.ones(7)),
}


@pytest.mark.parametrize("fails", [False, True], ids=["", "exception"])
@pytest.mark.parametrize("way", WRITES)
def test_buffers_written_in_forward(way: str, fails: bool) -> None:
    model = Counting(WRITES[way]).eval()
    before = fingerprint(model)
    with suppress(Injected):
        fa.Saliency(model if not fails else nn.Sequential(model, Raises()).eval())(X, 1)
    torch.rand(1)
    torch.set_rng_state(torch.get_rng_state())
    after = fingerprint(model)
    assert after.pop("random") != before.pop("random")  # that was us, just now
    assert after == before


class Raises(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise Injected


def test_a_buffer_registered_where_there_was_none() -> None:
    model = Counting(WRITES["registered"], has_buffer=False).eval()
    before = fingerprint(model)
    fa.Saliency(model)(X, 1)
    assert fingerprint(model) == before


def test_a_buffer_that_holds_nan_stays() -> None:
    model = Counting(lambda m: None).eval()
    model.count.fill_(float("nan"))
    before, version = fingerprint(model), model.count._version
    fa.Saliency(model)(X, 1)
    assert fingerprint(model) == before
    assert model.count._version == version


def test_a_pending_backward_of_the_user_survives() -> None:
    model = training_net().eval()
    loss = model(X).sum()
    quietly(model)
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())


# ---- training mode ------------------------------------------------------------------------------------------------


def test_training_mode_warns_once_a_model_and_points_at_the_call() -> None:
    one, two = training_net(), nn.Sequential(training_net().eval()).train()
    for model in (one, two):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(3):
                fa.Saliency(model)(X, 1)
        assert len(caught) == 1
        assert "training mode" in str(caught[0].message) and "model.eval()" in str(caught[0].message)
        assert caught[0].filename == __file__


def test_the_warning_as_an_error_leaves_everything() -> None:
    model = training_net()
    before = fingerprint(model)
    with pytest.raises(UserWarning, match="training mode"):
        fa.Saliency(model)(X, 1)
    assert fingerprint(model) == before


def test_dropout_in_training_mode_draws_as_the_random_state_says() -> None:
    model = training_net()
    torch.manual_seed(3)
    one = quietly(model)
    two = quietly(model)
    torch.manual_seed(4)
    three = quietly(model)
    assert torch.equal(one.values, two.values)
    assert not torch.equal(one.values, three.values)


def test_recurrent_networks_in_both_modes() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Tokens()
    mask, x = torch.ones(B, 3, dtype=torch.int64), data(B, 3, D)
    wanted = autograd(lambda x: net(x, mask).logits[:, 1], x)
    for training in (True, False):
        net.train(training)
        before = fingerprint(net)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*training mode")
            att = fa.Saliency(net)((x, mask), 1)
        assert_close(att.values[0], wanted)
        assert fingerprint(net) == before


# ---- threads ------------------------------------------------------------------------------------------------------


@pytest.fixture
def hasty_switching() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def in_threads(work: list[Callable[[], None]]) -> None:
    """Run all at once; raise what any of them raised."""
    errors: list[BaseException] = []

    def guarded(job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(job,)) for job in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "deadlock"
    if errors:
        raise errors[0]


@pytest.mark.usefixtures("hasty_switching")
@pytest.mark.parametrize("kind", ["module", "function", "submodule"])
def test_a_model_used_from_four_threads(kind: str) -> None:
    net = nn.Sequential(nn.ReLU(inplace=True), mlp(D, 12, C), nn.BatchNorm1d(C)).eval()
    model = {"module": net, "function": lambda x: net(x), "submodule": nn.Sequential(net).eval()}[kind]
    methods = [fa.IntegratedGradients(model, rows=3), fa.Saliency(net)]
    before = fingerprint(net)
    inputs = [data(3, D, seed=s) for s in range(4)]
    serial = [[method(x, s % C, baseline=None).values for method in methods] for s, x in enumerate(inputs)]
    found: list[list[Any]] = [[] for _ in inputs]

    def work(s: int) -> None:
        for _ in range(8):
            found[s].append([method(inputs[s], s % C).values for method in methods])

    in_threads([lambda s=s: work(s) for s in range(4)])  # type: ignore[misc]
    for s, results in enumerate(found):
        assert len(results) == 8
        for values in results:
            assert_close(values, serial[s], atol=1e-6, rtol=1e-6)
    assert fingerprint(net) == before


class Waiting(nn.Module):
    """Draws a number, then lets the other thread come."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.inside = mlp(D, C), threading.Event()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.rand(3)
        self.inside.set()
        time.sleep(0.1)
        return self.net(x)


def test_the_random_state_of_a_model_that_two_threads_ask() -> None:
    model = Waiting().eval()
    before = fingerprint(model)

    def second() -> None:
        model.inside.wait(30)
        fa.Saliency(model)(X, 1)

    in_threads([lambda: fa.Saliency(model)(X, 1), second])
    assert fingerprint(model) == before


# ---- lifetime -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["result kept", "exception"])
@pytest.mark.parametrize("kind", ["module", "function", "bound method"])
def test_no_cache_keeps_a_model_alive(kind: str, ending: str) -> None:
    net = nn.Sequential(mlp(D, C), *([Raises()] if ending == "exception" else [])).eval()
    model: Any = {"module": net, "function": functools.partial(net), "bound method": net.forward}[kind]
    probes = [weakref.ref(net)] + ([weakref.ref(model)] if kind == "function" else [])
    kept = None
    with suppress(Injected):
        kept = fa.IntegratedGradients(model)(X, 1)
    assert (kept is None) == (ending == "exception")
    del net, model
    gc.collect()
    assert [probe() for probe in probes] == [None] * len(probes)


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU, nn.Sigmoid])
def test_nothing_below_an_output_that_autograd_saves_is_kept_alive(activation: Any) -> None:
    """The first call looks at what is saved; a graph that held itself would hold the weights."""
    net, weights = nn.Sequential(nn.Linear(D, 6), activation(), nn.Linear(6, C)).eval(), data(6, D).numpy()
    net[0].weight.data = torch.from_numpy(weights)
    kept = weakref.ref(weights)
    fa.Saliency(net, engine="callback")(X, 1)
    del net, weights
    gc.collect()
    assert kept() is None


def test_a_norm_of_the_batch_is_warned_of() -> None:
    """In evaluation mode, where it looks harmless."""
    mixing = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 2)).eval()
    with pytest.warns(UserWarning, match="a batch norm without running statistics") as caught:
        fa.Saliency(mixing)(torch.rand(5, 3), 1)
        fa.Saliency(mixing)(torch.rand(5, 3), 1)
    assert len(caught) == 1
