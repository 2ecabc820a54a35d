"""CUDA tensors on their way through Python, on a machine without a GPU: devices are stood in for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import fastattr as fa  # noqa: E402
from fastattr import _core, arrays  # noqa: E402
from fastattr.models import arguments, function, probe  # noqa: E402
from fastattr.models import torch as torch_models  # noqa: E402

CUDA0, CUDA1 = torch.device("cuda:0"), torch.device("cuda:1")


class OnDevice:
    """An array of a framework that says where it is and nothing else."""

    shape = (2, 3)

    def __init__(self, device_type: int) -> None:
        self.device_type = device_type

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device_type, 0

    def __dlpack__(self, **_: Any) -> Any:
        raise AssertionError("its memory is not the host's")


def memory(monkeypatch: pytest.MonkeyPatch, free: int, reserved: int, allocated: int) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 2 * free))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: reserved)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: allocated)


def test_a_chunk_takes_half_of_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    memory(monkeypatch, free=900, reserved=150, allocated=50)  # what torch keeps unused is free too
    assert probe.Probe(100, (3,)).choose_rows(CUDA0) == 5
    assert probe.Probe(100, (3,), limit=2).choose_rows(CUDA0) == 2
    assert probe.Probe(10**6, (3,)).choose_rows(CUDA0) == 1


def test_a_chunk_has_an_end_where_memory_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    memory(monkeypatch, free=2**37, reserved=0, allocated=0)
    assert probe.Probe(1, (3,)).choose_rows(CUDA0) == probe.MOST_ROWS_CUDA


@pytest.mark.parametrize(
    "words", ["CUDA out of memory. Tried", "CUDA error: out of memory", "cuDNN error: CUDNN_STATUS_ALLOC_FAILED"]
)
def test_ways_in_which_a_device_says_that_it_is_full(words: str) -> None:
    assert _core.is_out_of_memory(RuntimeError(words))


def test_a_model_on_several_devices_is_refused() -> None:
    def module(*devices: Any) -> Any:
        return SimpleNamespace(parameters=lambda: [SimpleNamespace(device=d) for d in devices])

    torch_models._check_one_device(None, CUDA0)
    torch_models._check_one_device(module(), CUDA0)
    torch_models._check_one_device(module(CUDA0, CUDA0), CUDA0)
    with pytest.raises(ValueError, match="all parameters on cuda:0 like the inputs, got some on cpu, cuda:1; models"):
        torch_models._check_one_device(module(CUDA0, CUDA1, torch.device("cpu")), CUDA0)


def test_extra_arguments_are_where_the_inputs_are() -> None:
    with pytest.raises(ValueError, match="args, kwargs: expected tensors .* on cuda:0 like the inputs, got one on cpu"):
        arguments.mark((torch.ones(4, 2),), 4, CUDA0)
    with pytest.raises(ValueError, match="got one on cpu"):
        arguments.mark({"mask": [torch.ones(4)]}, 4, CUDA0)
    arguments.mark((torch.ones(3, 2), fa.shared(torch.ones(4))), 4, CUDA0)  # not per example: the model's own affair


@pytest.mark.parametrize("device_type", [2, 13])
def test_arrays_of_other_frameworks_on_a_gpu(device_type: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TypeError, match="inputs: expected a NumPy array or a torch tensor, got OnDevice on a GPU"):
        fa.Saliency(fa.FunctionModel(lambda *a: None))(OnDevice(device_type))
    with pytest.raises(TypeError, match="baseline: expected .* pass torch.from_dlpack"):
        fa.IntegratedGradients(fa.FunctionModel(lambda *a: None))(np.ones((2, 3)), baseline=OnDevice(device_type))
    monkeypatch.setattr(torch, "from_dlpack", lambda value: torch.ones(value.shape))
    assert torch.equal(function._plain(OnDevice(device_type), "values", (1, 2, 3)), torch.ones(2, 3))


@pytest.mark.parametrize(("hip", "number"), [(None, 2), ("6.0", 10)])
def test_the_backend_is_asked_at_the_door(hip: str | None, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(torch.version, "hip", hip)
    monkeypatch.setattr(arrays._core, "require_device", lambda *device: asked.append(device))
    arrays.require_device(CUDA1)
    arrays.require_device(torch.device("cpu"))
    assert asked == [(number, 1)]
