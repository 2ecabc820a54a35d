"""Memory that runs out shrinks the chunk and changes nothing else; memory does not grow with the steps."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from models_zoo import C, D, data, mlp  # noqa: E402
from torch import nn  # noqa: E402
from torch.testing import assert_close  # noqa: E402

import fastattr as fa  # noqa: E402

X = data(3, D)
KINDS: dict[str, Callable[[], BaseException]] = {
    "MemoryError": MemoryError,
    "torch.OutOfMemoryError": lambda: torch.OutOfMemoryError("out of memory"),
    "CPU": lambda: RuntimeError(
        "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"
    ),
    "CUDA": lambda: RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
}


class Small(nn.Module):
    """Takes so many rows at most, in forward or in backward."""

    def __init__(self, limit: int, error: Callable[[], BaseException], backward: bool = False) -> None:
        super().__init__()
        self.net, self.limit, self.error, self.backward = mlp(D, 6, C), limit, error, backward
        self.seen: list[int] = []
        self.raised: list[BaseException] = []

    def check(self, rows: int) -> None:
        if rows > self.limit:
            self.raised.append(self.error())
            raise self.raised[-1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(x))
        y = self.net(x)
        if not self.backward:
            self.check(len(x))
        elif y.requires_grad:
            y.register_hook(lambda gradient: self.check(len(gradient)))
        return y


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("limit", [1, 2, 17])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_shrinks_the_chunk(kind: str, limit: int, backward: bool) -> None:
    model = Small(limit, KINDS[kind], backward).eval()
    for options in ({}, {"steps": 40, "rule": "trapezoid"}, {"steps": 31, "rule": "nested"}):
        for target in (1, None):
            explain = fa.IntegratedGradients(model, **options)
            wanted = fa.IntegratedGradients(model.net, engine="callback", **options)(X, target)
            att = explain(X, target)
            assert_close(att.values, wanted.values, atol=1e-6, rtol=1e-6)
            assert_close(att.gap, wanted.gap, atol=1e-6, rtol=0)
            assert torch.equal(att.evaluations, wanted.evaluations)
    assert model.raised


@pytest.mark.parametrize("kind", KINDS)
def test_later_calls_start_with_what_fitted(kind: str) -> None:
    model = Small(10, KINDS[kind]).eval()
    explain = fa.IntegratedGradients(model, steps=40)
    explain(X, 1)
    model.raised.clear()
    model.seen.clear()
    explain(X, 1)
    explain(X + 1, 2)
    assert not model.raised
    assert max(model.seen) <= 10


def test_a_chunk_asked_for_by_number_shrinks_too() -> None:
    model = Small(10, MemoryError).eval()
    att = fa.IntegratedGradients(model, steps=40, rows=100)(X, 1)
    assert_close(att.values, fa.IntegratedGradients(model.net, steps=40)(X, 1).values, atol=1e-6, rtol=1e-6)
    assert att.engine.endswith("7 rows)")  # 100, 62 in two equal chunks of 121 rows; 31, 15, 7


@pytest.mark.parametrize("kind", KINDS)
def test_at_one_row_the_original_exception(kind: str) -> None:
    model = Small(10**9, KINDS[kind]).eval()
    saliency = fa.Saliency(model, rows=2)
    saliency(X, 1)
    model.limit = 0
    with pytest.raises(type(KINDS[kind]())) as caught:
        saliency(X, 1)
    assert caught.value is model.raised[-1]
    assert model.seen[-1] == 1
    fresh = Small(0, KINDS[kind]).eval()
    with pytest.raises(type(KINDS[kind]())) as caught:
        fa.Saliency(fresh)(X, 1)
    assert caught.value is fresh.raised[-1]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        RuntimeError("out of patience"),
        RuntimeError(),
        RuntimeError(b"\xff", 3),
        ValueError("CUDA out of memory"),
        ArithmeticError("DefaultCPUAllocator"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("good", [0, 1, 2])
def test_other_errors_travel_out_unchanged(error: Exception, good: int) -> None:
    calls = 0
    net = mlp(D, 6, C)

    def model(x: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls > good:
            raise error
        return net(x)

    with pytest.raises(type(error)) as caught:
        fa.IntegratedGradients(model, rows=7)(X, 1)
    assert caught.value is error
    assert calls == good + 1


class Unspeakable(RuntimeError):
    def __str__(self) -> str:
        raise ValueError("no words")


def test_an_exception_that_cannot_be_printed() -> None:
    error = Unspeakable()

    def model(x: torch.Tensor) -> torch.Tensor:
        if len(x) > 2:
            raise error
        return x

    with pytest.raises(Unspeakable) as caught:
        fa.IntegratedGradients(model)(X, 1)
    assert caught.value is error


def test_a_failed_chunk_is_freed_before_the_next_try() -> None:
    """Otherwise the frames of its traceback keep the memory that the smaller chunk needs."""
    held: list[Any] = []

    class Canary:
        pass

    def model(x: torch.Tensor) -> torch.Tensor:
        import weakref

        assert not any(alive() for alive in held)
        if len(x) > 3:
            canary = Canary()
            held.append(weakref.ref(canary))
            raise MemoryError
        return x**2

    fa.IntegratedGradients(model)(X, 1)
    assert len(held) > 1


# ---- the real thing, in processes of their own --------------------------------------------------------------------

PREAMBLE = """
import resource, sys, torch, fastattr as fa
torch.set_num_threads(1)
fa.set_num_threads(1)
def current(field):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(field))
"""

LIMITED = """
def wide(x):
    return (x[:, :, None] * torch.linspace(0, 1, 1000)).tanh().sum((1, 2))
def plain(x):
    return (x ** 2).sum(1)
model, width = {{"activations": (wide, 1000), "points": (plain, 250_000)}}["{what}"]
x = torch.linspace(-1, 1, 2 * width).view(2, width)
wanted = fa.IntegratedGradients(model, steps=60, rows=3)(x).values
wide_limit = current("VmSize") + 120 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (wide_limit, wide_limit))
att = fa.IntegratedGradients(model, steps=60, rows=10**6)(x)
print(float((att.values - wanted).abs().max() / wanted.abs().max()), att.engine.split()[-2])
"""

PEAK = """
class Net(torch.nn.Module):
    def forward(self, x):
        return (x[:, :, None] * torch.linspace(0, 1, 512)).relu().sum((1, 2))
model, x = Net().eval(), torch.linspace(-1, 1, 4 * 256).view(4, 256)
fa.Saliency(model, rows=1)(x[:1])
before = current("VmRSS")
fa.IntegratedGradients(model, steps=int(sys.argv[1]))(x)
print(current("VmHWM") - before)
"""


def in_a_process(code: str, *arguments: str) -> str:
    """Large blocks straight from the system: what is measured is memory in use, not the allocator's holes."""
    run = subprocess.run(
        [sys.executable, "-c", PREAMBLE + code, *arguments],
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return run.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS and /proc are Linux's")
@pytest.mark.parametrize("what", ["activations", "points"])
def test_memory_that_really_runs_out(what: str) -> None:
    difference, rows = in_a_process(LIMITED.format(what=what)).split()
    assert float(difference) <= 1e-6
    assert 1 <= int(rows) < 100


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_peak_memory_is_flat_in_the_steps() -> None:
    few, many = (int(in_a_process(PEAK, steps)) for steps in ("50", "400"))
    assert 2**20 < few
    assert many <= 1.1 * few + 4 * 2**20, f"{few / 2**20:.1f} MB at 50 steps, {many / 2**20:.1f} MB at 400"
    assert many < 150 * 2**20  # all rows at once would be 1,600 times 512 KB and more
