"""A torch module as it was: everything a call may touch is put back, also after an exception.

For the length of a call the parameters are frozen, so that autograd saves no activations for their gradients. Buffers,
training flags, ``requires_grad`` and the random state are restored at the end. One call per module runs at a time.
"""

from __future__ import annotations

import threading
import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..warning import warn

_guard = threading.Lock()
_locks: weakref.WeakKeyDictionary[nn.Module, threading.RLock] = weakref.WeakKeyDictionary()
_warned: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def module_of(model: Any) -> nn.Module | None:
    """The module behind a model: itself, or the owner of a bound method."""
    owner = getattr(model, "__self__", model)
    return owner if isinstance(owner, nn.Module) else None


class _OneWay:
    """Transformer encoders compute without gradients what they do with them, as long as any call runs.

    Torch's fast path skips their submodules, hands nested tensors on, and returns zeros at padded positions.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls = 0
        self._before = True

    def enter(self) -> None:
        """One call more."""
        with self._lock:
            if self._calls == 0:
                self._before = torch.backends.mha.get_fastpath_enabled()
                torch.backends.mha.set_fastpath_enabled(False)
            self._calls += 1

    def leave(self) -> None:
        """One call less; torch's flag is put back after the last."""
        with self._lock:
            self._calls -= 1
            if self._calls == 0:
                torch.backends.mha.set_fastpath_enabled(self._before)


_one_way = _OneWay()


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
    first : Tensor or None
        The first parameter, which tells where the module is.
    """

    def __init__(self, module: nn.Module | None, device: torch.device) -> None:
        self.module = module
        self.device = device
        self.substitutes: dict[str, Tensor] = {}
        self.first: Tensor | None = None
        self._frozen: list[Tensor] = []
        self._flags: list[tuple[nn.Module, bool]] = []
        self._buffers: dict[nn.Module, _Buffers] = {}

    def __enter__(self) -> ModuleState:
        self._lock = _lock_of(self.module)
        self._lock.acquire()
        _one_way.enter()
        try:
            self._random = _random_state(self.device)
            if self.module is not None:
                self._take(self.module)
        except BaseException:
            self._restore()
            raise
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        failures = self._restore()
        if failures and error is None:
            raise failures[0]

    def _take(self, module: nn.Module) -> None:
        training = inference = mixes = False
        for part in _parts(module):
            training |= part.training
            self._flags.append((part, part.training))
            if part._buffers:
                self._buffers[part] = kept = _Buffers(part)
                inference |= kept.inference
                mixes |= isinstance(part, _BatchNorm) and part.running_mean is None
            for parameter in part._parameters.values():
                if parameter is None:
                    continue
                if self.first is None:
                    self.first = parameter
                if parameter.is_inference():
                    inference = True
                elif parameter.requires_grad and parameter.is_leaf:
                    parameter.requires_grad_(False)
                    self._frozen.append(parameter)
        if inference:
            tensors = (*module.named_parameters(), *module.named_buffers())
            self.substitutes = {name: t.detach().clone() for name, t in tensors if t.is_inference()}
        if (training or mixes) and module not in _warned:
            _warned.add(module)
            _warn_of_chance(module, training)

    def _restore(self) -> list[Exception]:
        """Undo every step, whatever becomes of the others; the errors met."""
        failures: list[Exception] = []
        try:
            for parameter in self._frozen:
                try:
                    parameter.requires_grad_(True)
                except Exception as error:
                    failures.append(error)
            for part, training in self._flags:
                try:
                    if part.training != training:
                        part.training = training
                    if part._buffers or part in self._buffers:
                        (self._buffers.get(part) or _NO_BUFFERS).restore(part)
                except Exception as error:
                    failures.append(error)
            _set_random_state(self._random)
        finally:
            _one_way.leave()
            self._lock.release()
        return failures


def _warn_of_chance(module: nn.Module, training: bool) -> None:
    if training:
        warn(
            f"{type(module).__name__} is in training mode: dropout draws and batch statistics make its gradients "
            "depend on chance and on neighbouring rows. Call model.eval() first. (Buffers and random state are "
            "restored.)"
        )
    else:
        warn(
            f"{type(module).__name__} has a batch norm without running statistics: it takes those of the batch in "
            "evaluation mode too, so its gradients depend on the rows that are evaluated together."
        )


def _parts(module: nn.Module) -> list[nn.Module]:
    """Every submodule once, as ``module.modules()`` finds them, without a generator for each."""
    found, queue = {module: None}, [module]
    for part in queue:
        for child in part._modules.values():
            if child is not None and child not in found:
                found[child] = None
                queue.append(child)
    return queue


def _lock_of(module: nn.Module | None) -> threading.RLock:
    if module is None:
        return threading.RLock()
    with _guard:
        return _locks.setdefault(module, threading.RLock())


class _Buffers:
    """The buffers of one submodule."""

    def __init__(self, module: nn.Module | None = None) -> None:
        self.inference = False
        self.tensors: dict[str, tuple[Tensor, Tensor, Tensor] | None] = {}
        """Of every buffer: itself, an alias of its memory, and a copy."""
        self.non_persistent: set[str] = set()
        if module is None:
            return
        for name, buffer in module._buffers.items():
            self.inference |= buffer is not None and buffer.is_inference()
            self.tensors[name] = None if buffer is None else (buffer, buffer.detach(), buffer.detach().clone())
        self.non_persistent |= module._non_persistent_buffers_set

    def restore(self, module: nn.Module) -> None:
        """The same memory with the same contents in the same tensors under the same names.

        Contents are compared, not versions: batch norm, ``.data`` and NumPy write without raising a version. What did
        not change is not written, since a graph of the user's may hold it.
        """
        for kept in self.tensors.values():
            if kept is None or kept[0].is_inference():
                continue
            buffer, alias, copy = kept
            if buffer.data_ptr() != alias.data_ptr() or buffer.shape != alias.shape:
                buffer.data = alias
            if not _same(buffer, copy):
                buffer.copy_(copy)
        if isinstance(module, torch.jit.ScriptModule):  # whose attributes are made anew at each look
            return
        before = {name: None if kept is None else kept[0] for name, kept in self.tensors.items()}
        now = module._buffers
        if list(now) != list(before) or any(now[name] is not buffer for name, buffer in before.items()):
            now.clear()
            now.update(before)
            module._non_persistent_buffers_set &= self.non_persistent


_NO_BUFFERS = _Buffers()


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
