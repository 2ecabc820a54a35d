"""A part of a torch module that runs in place of the whole, and what may stand in the way of that."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import module as hooks_of_all

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


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
