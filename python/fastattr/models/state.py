"""A torch module as it was: everything a call may touch is put back, also after an exception.

For the length of a call the parameters are frozen, so that autograd saves no activations for their gradients. Buffers,
training flags, ``requires_grad`` and the random state are restored at the end. One call per module runs at a time.
"""

from __future__ import annotations

import threading
import warnings
import weakref
from typing import Any

import torch
from torch import nn

_guard = threading.Lock()
_locks: weakref.WeakKeyDictionary[nn.Module, threading.RLock] = weakref.WeakKeyDictionary()
_warned: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def module_of(model: Any) -> nn.Module | None:
    """The module behind a model: itself, or the owner of a bound method."""
    owner = getattr(model, "__self__", model)
    return owner if isinstance(owner, nn.Module) else None


class ModuleState:
    """Context in which a module can be evaluated without leaving a trace.

    Parameters
    ----------
    module : torch.nn.Module or None
        None for plain functions, of which only the random state can be known.
    device : torch.device
        Where the inputs are.
    """

    def __init__(self, module: nn.Module | None, device: torch.device) -> None:
        self.module = module
        self.device = device
        self._frozen: list[nn.Parameter] = []
        self._buffers: list[tuple[nn.Module, dict[str, Any], list[Any]]] = []
        self._flags: list[tuple[nn.Module, bool]] = []

    def __enter__(self) -> ModuleState:
        self._random = _random_state(self.device)
        self._lock = _lock_of(self.module)
        self._lock.acquire()
        try:
            if self.module is not None:
                self._take(self.module)
        except BaseException:
            self._restore()
            raise
        return self

    def __exit__(self, *unused: object) -> None:
        self._restore()

    def _take(self, module: nn.Module) -> None:
        training = False
        for part in module.modules():
            training |= part.training
            self._flags.append((part, part.training))
            buffers = part._buffers
            if buffers:
                copies = [None if b is None else (b.detach().clone(), _version(b)) for b in buffers.values()]
                self._buffers.append((part, dict(buffers), copies))
            for parameter in part._parameters.values():
                if parameter is not None and parameter.requires_grad and parameter.is_leaf:
                    parameter.requires_grad_(False)
                    self._frozen.append(parameter)
        if training and module not in _warned:
            _warned.add(module)
            warnings.warn(
                f"{type(module).__name__} is in training mode: dropout draws and batch statistics make its gradients "
                "depend on chance and on neighbouring rows. Call model.eval() first. (Buffers and random state are "
                "restored.)",
                stacklevel=6,
            )

    def _restore(self) -> None:
        try:
            for parameter in self._frozen:
                parameter.requires_grad_(True)
            for part, training in self._flags:
                if part.training != training:
                    part.training = training
            for part, buffers, copies in self._buffers:
                _restore_buffers(part, buffers, copies)
            _set_random_state(self._random)
        finally:
            self._lock.release()


def _lock_of(module: nn.Module | None) -> threading.RLock:
    if module is None:
        return threading.RLock()
    with _guard:
        return _locks.setdefault(module, threading.RLock())


def _version(tensor: torch.Tensor) -> int | None:
    return None if tensor.is_inference() else tensor._version


def _restore_buffers(part: nn.Module, buffers: dict[str, Any], copies: list[Any]) -> None:
    """Contents by copy where they changed, then the very same tensors under the same names."""
    with torch.no_grad(), torch.inference_mode(False):
        for buffer, copy in zip(buffers.values(), copies, strict=True):
            if buffer is not None and (copy[1] is None or buffer._version != copy[1]):
                buffer.copy_(copy[0])
    now = part._buffers
    if len(now) != len(buffers) or any(now.get(name) is not buffer for name, buffer in buffers.items()):
        part._buffers.clear()
        part._buffers.update(buffers)


def _random_state(device: torch.device) -> list[tuple[Any, torch.Tensor]]:
    states: list[tuple[Any, torch.Tensor]] = [(None, torch.get_rng_state())]
    if device.type == "cuda":
        states.append((device, torch.cuda.get_rng_state(device)))
    return states


def _set_random_state(states: list[tuple[Any, torch.Tensor]]) -> None:
    for device, state in states:
        if device is None:
            torch.set_rng_state(state)
        else:
            torch.cuda.set_rng_state(state, device)
