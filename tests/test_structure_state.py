"""Models with an affine prefix that change, fail, or run in other threads: nothing stale, nothing left behind."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")

from models_zoo import C  # noqa: E402
from test_state import fingerprint  # noqa: E402
from test_structure import (  # noqa: E402
    HIDDEN,
    MODELS,
    WIDE,
    Functional,
    X,
    always_pays,  # noqa: F401 -- a fixture for all
    both,
    compare,
    seeded,
    wide,
)
from torch import Tensor, nn  # noqa: E402

import fastattr as fa  # noqa: E402
from fastattr.methods.base import GradientMethod  # noqa: E402
from fastattr.models import structure  # noqa: E402


@pytest.fixture(autouse=True)
def through_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Native networks have a prefix of their own, see test_dense_prefix.py."""
    monkeypatch.setitem(GradientMethod.__init__.__kwdefaults__, "engine", "callback")


@pytest.mark.parametrize("build", [wide, Functional])
def test_changes_are_seen(build: Callable[[], nn.Module]) -> None:
    """Parameters written in place, through .data, replaced; whole layers replaced; flags that forward reads."""
    net = seeded(build).double()
    method, x = fa.IntegratedGradients(net, steps=20), X.double()
    first = net[0] if isinstance(net, nn.Sequential) else net.first

    def check() -> Tensor:
        got, want = both(method, x, 1)
        compare(got, want, 1e-12)
        return got.values

    seen = [check()]
    with torch.no_grad():
        first.weight.mul_(2)
    seen.append(check())
    first.weight.data.mul_(0.7)
    seen.append(check())
    first.weight = nn.Parameter(first.weight.detach() + 0.1)
    seen.append(check())
    fresh = seeded(build, seed=5).double()
    if isinstance(net, nn.Sequential):
        net[0], net[2] = fresh[0], fresh[2]
    else:
        net.first, net.last = fresh.first, fresh.last
        seen.append(check())
        net.scale = 0.3
        seen.append(check())
        net.doubled = True
        seen.append(check())
        net.mean = net.mean + 1
    seen.append(check())
    assert len({float(v.abs().sum()) for v in seen}) == len(seen)


@pytest.mark.parametrize("name", MODELS)
def test_nothing_is_left_behind(name: str) -> None:
    build, x, _ = MODELS[name]
    net = seeded(build)
    keys, before = [sorted(part.__dict__) for part in net.modules()], fingerprint(net)
    assert "affine prefix" in fa.IntegratedGradients(net)(x, 1).engine
    with pytest.raises(ValueError, match="target"):
        fa.IntegratedGradients(net)(x, 7)
    assert fingerprint(net) == before
    assert [sorted(part.__dict__) for part in net.modules()] == keys
    assert isinstance(copy.deepcopy(net), type(net))


def test_errors_from_behind_the_prefix_travel() -> None:
    class Fails(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if len(x) > 4:
                raise KeyError("mine")
            return x.tanh()

    net = nn.Sequential(nn.Linear(WIDE, HIDDEN), Fails(), nn.Linear(HIDDEN, C)).eval()
    with pytest.raises(KeyError, match="mine"):
        fa.IntegratedGradients(net, steps=20)(X, 1)


def test_other_threads_do_not_see_the_tracing() -> None:
    """torch.fx listens to every module while it traces; ours lets other threads' calls pass."""
    net, stop, failures = seeded(Functional), threading.Event(), []

    def work() -> None:
        while not stop.is_set():
            try:
                with torch.no_grad():
                    net(X)
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for seed in range(8):
            assert "affine prefix" in fa.IntegratedGradients(seeded(Functional, seed), steps=9)(X, 1).engine
            structure.forget_prefix(net, X)
            fa.IntegratedGradients(net, steps=9)(X, 1)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failures
