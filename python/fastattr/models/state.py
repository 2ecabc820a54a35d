"""A torch module as it was: everything a call may touch is put back, also after an exception.

For the length of a call the parameters are frozen, so that autograd saves no activations for their gradients. Buffers,
training flags, ``requires_grad`` and the random state are restored at the end. One call per module runs at a time.
"""

from __future__ import annotations

import threading
import weakref
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from ..warning import warn

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

    Attributes
    ----------
    substitutes : dict of str to Tensor
        Copies to be used in place of parameters and buffers made in inference mode, which autograd cannot save.
    """

    def __init__(self, module: nn.Module | None, device: torch.device) -> None:
        self.module = module
        self.device = device
        self.substitutes: dict[str, Tensor] = {}
        self._undo = ExitStack()  # each step is undone, whatever becomes of the others

    def __enter__(self) -> ModuleState:
        lock = _lock_of(self.module)
        lock.acquire()
        self._undo.callback(lock.release)
        try:
            self._undo.callback(_set_random_state, _random_state(self.device))
            if self.module is not None:
                self._take(self.module)
        except BaseException:
            self._undo.close()
            raise
        return self

    def __exit__(self, *unused: object) -> None:
        self._undo.close()

    def _take(self, module: nn.Module) -> None:
        training = False
        flags: list[tuple[nn.Module, bool]] = []
        frozen: list[nn.Parameter] = []
        self._undo.callback(_restore_flags, flags)
        self._undo.callback(_thaw, frozen)
        for prefix, part in module.named_modules():
            training |= part.training
            flags.append((part, part.training))
            self._undo.callback(_restore_buffers, part, _copies(part), set(part._non_persistent_buffers_set))
            for name, tensor in (*part._parameters.items(), *part._buffers.items()):
                if tensor is None:
                    continue
                if tensor.is_inference():
                    self.substitutes[f"{prefix}.{name}" if prefix else name] = tensor.detach().clone()
                elif tensor.requires_grad and tensor.is_leaf:
                    tensor.requires_grad_(False)
                    frozen.append(tensor)
        if training and module not in _warned:
            _warned.add(module)
            warn(
                f"{type(module).__name__} is in training mode: dropout draws and batch statistics make its gradients "
                "depend on chance and on neighbouring rows. Call model.eval() first. (Buffers and random state are "
                "restored.)"
            )


def _lock_of(module: nn.Module | None) -> threading.RLock:
    if module is None:
        return threading.RLock()
    with _guard:
        return _locks.setdefault(module, threading.RLock())


def _thaw(frozen: list[nn.Parameter]) -> None:
    for tensor in frozen:
        tensor.requires_grad_(True)


def _restore_flags(flags: list[tuple[nn.Module, bool]]) -> None:
    for part, training in flags:
        if part.training != training:
            part.training = training


def _copies(part: nn.Module) -> dict[str, tuple[Tensor, Tensor, Tensor] | None]:
    """Of every buffer: itself, an alias of its memory, and a copy."""
    return {
        name: None if buffer is None else (buffer, buffer.detach(), buffer.detach().clone())
        for name, buffer in part._buffers.items()
    }


def _restore_buffers(
    part: nn.Module, copies: dict[str, tuple[Tensor, Tensor, Tensor] | None], non_persistent: set[str]
) -> None:
    """The same memory with the same contents in the same tensors under the same names.

    Contents are compared, not versions: batch norm, ``.data`` and NumPy write without raising a version. What did not
    change is not written, since a graph of the user's may hold it.
    """
    with torch.no_grad(), torch.inference_mode(False):
        for kept in copies.values():
            if kept is None or kept[0].is_inference():
                continue
            buffer, alias, copy = kept
            if buffer.data_ptr() != alias.data_ptr() or buffer.shape != alias.shape:
                buffer.data = alias
            if not _same(buffer, copy):
                buffer.copy_(copy)
    before = {name: None if kept is None else kept[0] for name, kept in copies.items()}
    now = dict(part._buffers.items())
    if list(now) != list(before) or any(now[name] is not buffer for name, buffer in before.items()):
        if not isinstance(part, torch.jit.ScriptModule):  # whose attributes are made anew at each look
            part._buffers.clear()
            part._buffers.update(before)
    if part._non_persistent_buffers_set != non_persistent:
        part._non_persistent_buffers_set.clear()
        part._non_persistent_buffers_set.update(non_persistent)


def _same(a: Tensor, b: Tensor) -> bool:
    if torch.equal(a, b):
        return True
    return a.is_floating_point() and torch.allclose(a, b, rtol=0.0, atol=0.0, equal_nan=True)


def _random_state(device: torch.device) -> list[tuple[Any, Tensor]]:
    states: list[tuple[Any, Tensor]] = [(None, torch.get_rng_state())]
    if device.type == "cuda":
        states.append((device, torch.cuda.get_rng_state(device)))
    return states


def _set_random_state(states: list[tuple[Any, Tensor]]) -> None:
    for device, state in states:
        if device is None:
            torch.set_rng_state(state)
        else:
            torch.cuda.set_rng_state(state, device)
