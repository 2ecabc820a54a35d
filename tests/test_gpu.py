"""What only a GPU can show: every method on CUDA tensors against the CPU, streams, memory, devices.

Skipped where there is none. The bits of the kernels are in test_gpu_kernels.py.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.testing import assert_close  # noqa: E402

import fastattr as fa  # noqa: E402
from fastattr import _core  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available() or _core.cuda_backend()[1] is not None, reason="needs CUDA"),
]

B, SHAPE, C = 5, (3, 16, 16), 4
CLOSE = {torch.float32: 2e-4, torch.float64: 1e-9}


@pytest.fixture(autouse=True)
def full_precision() -> Iterator[None]:
    """No TF32: the CPU has none either."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def network(dtype: Any = torch.float32) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.GELU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 64, C)
        )
    return model.to(dtype).eval()


def images(n: int = B, dtype: Any = torch.float32, seed: int = 1) -> Any:
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def polyline(x: Any) -> Any:
    return torch.stack([torch.zeros_like(x), x * x, x])


METHODS: dict[str, Callable[[Any, Any], Any]] = {
    "Saliency": lambda model, x: fa.Saliency(model)(x),
    "InputXGradient": lambda model, x: fa.InputXGradient(model)(x, 1),
    "IntegratedGradients": lambda model, x: fa.IntegratedGradients(model)(x, versus=2, target=1),
    "IntegratedGradients, 30": lambda model, x: fa.IntegratedGradients(model, steps=30, rows=7)(x, 1, baseline=x[:1]),
    "IntegratedGradients, softmax": lambda model, x: fa.IntegratedGradients(model, output="softmax")(x, 0),
    "PathIntegratedGradients": lambda model, x: fa.PathIntegratedGradients(model, polyline(x))(x, 1),
    "ExpectedGradients": lambda model, x: fa.ExpectedGradients(model, x.flip(0), samples=20)(x, 1),
    "GradientShap": lambda model, x: fa.GradientShap(model, x.flip(0), samples=20, noise=0.1)(x, 1),
    "SmoothGrad": lambda model, x: fa.SmoothGrad(model, samples=20)(x, 1),
    "SmoothGrad, variance": lambda model, x: fa.SmoothGrad(model, samples=20, kind="variance")(x, 1),
    "SmoothGrad of another": lambda model, x: fa.SmoothGrad(fa.IntegratedGradients(model, steps=7), samples=4)(x, 1),
    "AGI": lambda model, x: fa.AGI(model, classes="all", max_steps=5)(x, 1),
    "AGI, l2": lambda model, x: fa.AGI(model, classes="all", step="l2", max_steps=5, quadrature="midpoint")(x, 1),
}


@pytest.mark.parametrize("dtype", CLOSE, ids=str)
@pytest.mark.parametrize("name", METHODS)
def test_methods_agree_with_the_cpu(name: str, dtype: Any) -> None:
    x = images(dtype=dtype)
    here = METHODS[name](network(dtype), x)
    there = METHODS[name](network(dtype).cuda(), x.cuda())
    assert there.values.device == torch.device("cuda", torch.cuda.current_device())
    assert there.gap.device.type == "cpu"
    rtol = CLOSE[dtype]
    scale = float(here.values.abs().max())
    assert_close(there.values.cpu(), here.values, rtol=0, atol=rtol * scale * (50 if "AGI" in name else 1))
    assert_close(there.output, here.output, rtol=rtol, atol=rtol)
    assert_close(there.evaluations, here.evaluations)


def dense(dtype: Any) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        layers = [nn.Flatten(), nn.Linear(768, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 32), nn.GELU()]
        return nn.Sequential(*layers, nn.Linear(32, C)).to(dtype).eval()


@pytest.mark.parametrize("dtype", CLOSE, ids=str)
@pytest.mark.parametrize("name", [name for name in METHODS if "AGI" not in name])
def test_native_networks_agree_with_the_cpu(name: str, dtype: Any) -> None:
    model, x = dense(dtype), images(dtype=dtype)
    wanted, found = METHODS[name](model, x), METHODS[name](copy.deepcopy(model).cuda(), x.cuda())
    assert found.engine.startswith("native dense") and "cuda" in found.engine
    assert_close(found.values.cpu(), wanted.values, rtol=0, atol=CLOSE[dtype] * float(wanted.values.abs().max()))
    assert_close(found.output, wanted.output, rtol=CLOSE[dtype], atol=CLOSE[dtype])


def test_native_networks_follow_their_weights() -> None:
    model, x = dense(torch.float64).cuda(), images(dtype=torch.float64).cuda()
    method = fa.IntegratedGradients(model, steps=16)
    method(x, 1)
    model[1].weight.data.mul_(2)
    model[2].running_mean.add_(0.5)
    wanted = fa.IntegratedGradients(model, steps=16, engine="callback")(x, 1)
    assert_close(method(x, 1).values, wanted.values)


@pytest.mark.parametrize(("dtype", "close"), [(torch.float16, 0.05), (torch.bfloat16, 0.4)], ids=str)
def test_half_precision(dtype: Any, close: float) -> None:
    att = fa.IntegratedGradients(network(dtype).cuda(), steps=20)(images(dtype=dtype).cuda(), 1)
    wanted = fa.IntegratedGradients(network(), steps=20)(images(), 1)
    assert att.values.dtype == torch.float32
    assert_close(att.values.cpu(), wanted.values, rtol=0, atol=close * float(wanted.values.abs().max()))


def test_work_follows_the_current_stream() -> None:
    """The inputs are still being made when the call begins: only their own stream knows when they are."""
    model, x = network().cuda(), images().cuda()
    wanted = fa.IntegratedGradients(model, steps=20)(x, 1).values
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        late = torch.zeros_like(x)
        torch.cuda._sleep(50_000_000)
        late.copy_(x)
        found = fa.IntegratedGradients(model, steps=20)(late, 1).values
    stream.synchronize()
    assert_close(found, wanted)


def test_chunks_wait_for_nothing() -> None:
    """More chunks of a call are no more synchronisations."""
    model, x = network().cuda(), images().cuda()

    def waits(rows: int) -> int:
        method = fa.IntegratedGradients(model, steps=40, rows=rows)
        method(x, 1)
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                method(x, 1)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return len(seen)

    assert waits(200) == waits(10)


def test_memory_that_runs_out_shrinks_the_chunk() -> None:
    model, x = network().cuda(), images(16).cuda()
    wanted = fa.IntegratedGradients(model, steps=400, rows=64)(x, 1)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    room = torch.cuda.memory_reserved() + 48 * 2**20
    torch.cuda.set_per_process_memory_fraction(room / total)
    try:
        found = fa.IntegratedGradients(model, steps=400, rows=6432)(x, 1)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "6432 rows" not in found.engine
    assert_close(found.values, wanted.values, rtol=1e-3, atol=1e-5)


def test_memory_does_not_grow_with_the_steps() -> None:
    model, x = network().cuda(), images(2).cuda()

    def peak(steps: int) -> int:
        torch.cuda.reset_peak_memory_stats()
        fa.IntegratedGradients(model, steps=steps, rows=16)(x, 1)
        return torch.cuda.max_memory_allocated()

    peak(20)
    assert peak(400) <= 1.05 * peak(20)


def test_nothing_is_left_behind() -> None:
    model, x = network().cuda(), images().cuda()
    state, device, before = torch.cuda.get_rng_state(), torch.cuda.current_device(), x.clone()
    fa.SmoothGrad(model, samples=5)(x, 1)
    assert torch.equal(torch.cuda.get_rng_state(), state)
    assert torch.cuda.current_device() == device
    assert torch.equal(x, before)
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_devices_must_agree() -> None:
    with pytest.raises(ValueError, match="expected the model's device cpu, got cuda:0"):
        fa.Saliency(network())(images().cuda())
    with pytest.raises(ValueError, match="expected a tensor on cuda:0 like the inputs, got cpu"):
        fa.IntegratedGradients(network().cuda())(images().cuda(), 1, baseline=images())


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two devices")
def test_another_device_than_the_current_one() -> None:
    wanted = fa.IntegratedGradients(network())(images(), 1).values
    with torch.cuda.device(0):
        found = fa.IntegratedGradients(network().cuda(1))(images().cuda(1), 1).values
        assert torch.cuda.current_device() == 0
    assert_close(found.cpu(), wanted, rtol=1e-3, atol=1e-4)
    split = network().cuda(0)
    split[-1].cuda(1)
    with pytest.raises(ValueError, match="spread over several devices"):
        fa.Saliency(split)(images().cuda(0))
