"""A part of a torch module that runs in place of the whole, and what may stand in the way of that."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import is_dataclass
from enum import Enum
from types import BuiltinFunctionType, FunctionType, SimpleNamespace
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn.modules import module as hooks_of_all

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_PLAIN = (bool, int, float, complex, str, bytes, type(None), Enum, np.generic)
_LONGEST = 64
"""Entries of a container that are looked at; longer ones hold data (a vocabulary, say) rather than options."""
_DEEPEST = 3
_OF_TORCH = frozenset(nn.Module().__dict__) - {"training"}


class Part:
    """A callable that is a part of a module's forward.

    Attributes
    ----------
    module : torch.nn.Module
        The whole, whose state is kept for the length of a call.
    name : Hashable
        What is remembered of the part's cost is remembered under it.
    note : str
        What ran, for ``Attribution.engine``.
    """

    module: nn.Module
    name: Hashable
    note: str

    def __call__(self, *args: Any) -> Any:  # noqa: D102
        return self.using({})(*args)

    def using(self, substitutes: dict[str, Tensor]) -> Callable[..., Any]:
        """The callable, with ``substitutes`` for parameters and buffers of the module."""
        raise NotImplementedError


def has_hooks(module: nn.Module) -> bool:
    """Whether anybody listens to calls of ``module``, or of all modules."""
    return any(getattr(module, name, None) for name in _HOOKS) or bool(
        hooks_of_all._global_forward_hooks
        or hooks_of_all._global_forward_pre_hooks
        or hooks_of_all._global_backward_hooks
        or hooks_of_all._global_backward_pre_hooks
    )


def runs_in_order(module: nn.Module) -> bool:
    """Whether ``module`` does nothing but call its children one after the other, unheard."""
    if not isinstance(module, nn.Sequential):
        return False
    plain = type(module).forward is nn.Sequential.forward and type(module).__call__ is nn.Module.__call__
    return plain and "forward" not in module.__dict__ and not has_hooks(module)


def in_order(modules: list[nn.Module]) -> Callable[[Tensor], Any]:
    """The composition of ``modules``."""

    def run(x: Tensor) -> Any:
        for module in modules:
            x = module(x)
        return x

    return run


def settings_of(part: nn.Module) -> tuple[Any, ...]:
    """Options among the attributes of one module: plain values and functions, also in containers.

    A forward may read them, and its graph has them frozen. Tensors and other objects are not looked at.
    """
    return tuple((name, _setting(value, _DEEPEST)) for name, value in part.__dict__.items() if name not in _OF_TORCH)


def settings(module: nn.Module) -> list[tuple[Any, ...]]:
    """`settings_of` all submodules."""
    return [settings_of(part) for part in module.modules()]


def _setting(value: Any, depth: int) -> Any:
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, (FunctionType, BuiltinFunctionType)):
        return id(value)  # itself would keep alive what it refers to, the module perhaps
    if isinstance(value, SimpleNamespace) or (is_dataclass(value) and hasattr(value, "__dict__")):
        value = value.__dict__
    if depth > 0 and isinstance(value, dict) and len(value) <= _LONGEST:
        return [(key if isinstance(key, _PLAIN) else id(key), _setting(value[key], depth - 1)) for key in value]
    if depth > 0 and isinstance(value, (list, tuple, set, frozenset)) and len(value) <= _LONGEST:
        return [_setting(member, depth - 1) for member in value]
    return type(value).__name__
