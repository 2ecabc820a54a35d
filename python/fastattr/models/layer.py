"""A layer inside a torch module: its activations seen, and put in place of what it computes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .. import _core
from ..arrays import FLOATS, dtype_name
from ..problem import Problem
from .arguments import gather, gathers, mark
from .part import Part, has_hooks, in_order, runs_in_order

ROWS = 32
"""Examples whose activations are taken at a time."""


@dataclass(frozen=True)
class Site:
    """Where in a module's forward: the output (or input) of one call of one of its submodules."""

    layer: nn.Module
    name: str
    at_input: bool
    call: int | None
    """Which of several calls in one forward; None: there must be one only."""


def find(module: nn.Module, layer: Any, at_input: bool, call: int | None) -> Site:
    """The place that ``layer``, a submodule of ``module`` or its dotted name, stands for."""
    if isinstance(layer, str):
        named = dict(module.named_modules(remove_duplicate=False))
        if layer not in named:
            known = ", ".join(name for name in named if name)
            raise ValueError(f"layer: expected a module of the model ({known:.300}), got {layer!r}")
        layer = named[layer]
    if isinstance(layer, torch.jit.ScriptModule):
        raise TypeError("layer: expected a module that runs in Python, got a scripted one, which takes no hooks")
    if not isinstance(layer, nn.Module):
        raise TypeError(f"layer: expected a torch module of the model or its dotted name, got {type(layer).__name__}")
    for name, part in module.named_modules():
        if part is layer:
            return Site(layer, name, at_input, call)
    raise ValueError(f"layer: expected a module of the model, got a {type(layer).__name__} that is none of them")


class Tap:
    """Hooks on a layer for the length of one forward: they see its value, or put another in its place.

    They act in the thread that made them only, and come after the user's own.
    """

    def __init__(self, site: Site, replacement: Tensor | None = None) -> None:
        self.site = site
        self.replacement = replacement
        self.calls = 0
        self.seen: Tensor | None = None

    def __enter__(self) -> Tap:
        self._thread = threading.get_ident()
        layer = self.site.layer
        if self.site.at_input:
            self._handle = layer.register_forward_pre_hook(self._before, with_kwargs=True)
        else:
            self._handle = layer.register_forward_hook(self._after)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._handle.remove()

    def check(self) -> None:
        """Raise unless the forward came by as often as it should."""
        site, name = self.site, self.site.name or "the model itself"
        if self.calls == 0:
            raise ValueError(f"layer: expected a module that the model's forward calls, got {name}, which it does not")
        if site.call is None and self.calls > 1:
            raise ValueError(
                f"layer: expected a module that the model's forward calls once, got {name}, called {self.calls} times; "
                f"say which call by layer_call=0 to {self.calls - 1}"
            )
        if site.call is not None and site.call >= self.calls:
            raise ValueError(f"layer_call: expected 0 to {self.calls - 1} for {name}, got {site.call}")

    def _visit(self, value: Any) -> Tensor | None:
        """See one call's value; what to put in its place, if anything."""
        if threading.get_ident() != self._thread:
            return None
        call, self.calls = self.calls, self.calls + 1
        if call != (self.site.call or 0):
            return None
        if not isinstance(value, Tensor):
            what = "takes" if self.site.at_input else "returns"
            got = f"a {type(value).__name__}" + (f" of {len(value)}" if isinstance(value, (tuple, list, dict)) else "")
            raise ValueError(
                f"layer: expected a module that {what} one tensor, got {got} at {self.site.name or 'the model'}; "
                "name another module, or its input by layer_input=True"
            )
        if self.replacement is None:
            self.seen = value.detach().clone()  # the next module may work in place
        elif torch.is_grad_enabled() and _in_checkpoint():
            raise ValueError(
                f"layer: expected a module outside torch.utils.checkpoint, got {self.site.name}, which is computed "
                "once more, without the activations put there; switch checkpointing off, or name a module before it"
            )
        return self.replacement

    def _before(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        key = None if args else next(iter(kwargs), None)
        found = self._visit(args[0] if args else kwargs.get(key) if key is not None else None)
        if found is None:
            return None
        return ((found, *args[1:]), kwargs) if key is None else (args, kwargs | {key: found})

    def _after(self, _: nn.Module, __: Any, output: Any) -> Any:
        single = type(output) in (tuple, list) and len(output) == 1
        found = self._visit(output[0] if single else output)
        return type(output)((found,)) if single and found is not None else found


def _in_checkpoint() -> bool:
    """Whether what is saved for gradients now is a note to compute it again."""
    hooks = None
    with suppress(AttributeError, TypeError):  # of torch's own, and not in every version
        hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)
    return hooks is not None and getattr(hooks[0], "__module__", "") == "torch.utils.checkpoint"


def call_model(function: Callable[..., Any], inputs: Any, args: Any, kwargs: Any) -> Any:
    """A model on inputs in the caller's form: a tuple, or a dict of keyword arguments."""
    return function(*args, **inputs, **kwargs) if isinstance(inputs, dict) else function(*inputs, *args, **kwargs)


class Above(Part):
    """From a layer's activations to the model's output, the rest of the forward at the examples' own inputs.

    What lies below the layer runs too, on inputs that need no gradient.
    """

    def __init__(self, model: Callable[..., Any], module: nn.Module, site: Site) -> None:
        self.module = module
        self.site = site
        self.name = ("above", site.name, site.at_input, site.call)
        self.note = f"layer {site.name} by a hook"
        self._function = model

    def using(self, substitutes: dict[str, Tensor]) -> Callable[..., Any]:  # noqa: D102
        function = self._function
        if substitutes and function is self.module:
            module = self.module

            def function(*args: Any, **kwargs: Any) -> Any:
                return torch.func.functional_call(module, substitutes, args, kwargs)

        def run(value: Tensor, inputs: Any, args: Any, kwargs: Any) -> Any:
            with Tap(self.site, value) as tap:
                answer = call_model(function, inputs, args, kwargs)
            tap.check()
            return answer

        return run


class After(Part):
    """From a layer's activations to the model's output by what comes after the layer alone."""

    def __init__(self, module: nn.Module, site: Site, run: Callable[..., Any]) -> None:
        self.module = module
        self.name = ("after", site.name, site.at_input)
        self.note = f"layer {site.name}, model cut there"
        self._run = run

    def using(self, substitutes: dict[str, Tensor]) -> Callable[..., Any]:  # noqa: D102
        return self._run


def cut(module: nn.Module, site: Site) -> After | None:
    """What comes after the site, where containers that run their children in order lead to it."""
    if not site.name or site.call not in (None, 0) or (site.at_input and has_hooks(site.layer)):
        return None
    rest: list[nn.Module] = []
    container = module
    for name in site.name.split("."):
        if not runs_in_order(container):
            return None
        names = list(container._modules)
        later = names[names.index(name) + 1 :]
        rest = [part for part in map(container._modules.get, later) if part is not None] + rest
        container = container.get_submodule(name)
    return After(module, site, in_order([site.layer, *rest] if site.at_input else rest))


class Lower:
    """Runs a model up to a site: the activations at inputs of the caller's."""

    def __init__(self, adapter: Any, site: Site, problem: Problem, device: torch.device) -> None:
        self.adapter = adapter
        self.site = site
        self.device = device
        self._args = mark(problem.args, problem.examples, device)
        self._kwargs = mark(problem.kwargs, problem.examples, device)
        self.per_example = gathers(self._args) or gathers(self._kwargs)
        """Whether an extra argument has a row per example."""
        self.replaced = False
        """Whether copies stood in for the module's own tensors."""

    def __call__(self, inputs: Any, index: Tensor, rows: int) -> Tensor:
        """(N, ...) activations at ``inputs``, a tuple or dict of tensors (N, ...), for the examples ``index`` (N,)."""
        found: list[Tensor] = []
        first = 0
        with self.adapter.prepared(self.device) as (function, substitutes):
            self.replaced = bool(substitutes)
            while first < len(index) or not found:
                part = slice(first, first + rows)
                try:
                    found.append(self._take(function, _rows(inputs, part), index[part]))
                except (MemoryError, RuntimeError) as error:
                    if rows == 1 or not _core.is_out_of_memory(error):
                        raise
                    rows = max(1, rows // 2)
                else:
                    first += rows
        return found[0] if len(found) == 1 else torch.cat(found)

    def arguments(self, inputs: Any, index: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments of the model at ``inputs`` for the examples ``index``."""
        args, kwargs = gather(self._args, index), gather(self._kwargs, index)
        return (tuple(args), {**inputs, **kwargs}) if isinstance(inputs, dict) else ((*inputs, *args), dict(kwargs))

    def _take(self, function: Callable[..., Any], inputs: Any, index: Tensor) -> Tensor:
        with Tap(self.site) as tap:
            call_model(function, inputs, gather(self._args, index), gather(self._kwargs, index))
        tap.check()
        seen, name = tap.seen, self.site.name
        assert seen is not None
        if seen.dim() == 0 or seen.shape[0] != len(index):
            raise ValueError(
                f"layer: expected activations with a row for each of {len(index)} examples at {name}, "
                f"got shape {tuple(seen.shape)}"
            )
        if dtype_name(seen) not in FLOATS:
            raise TypeError(f"layer: expected floating activations at {name}, got {seen.dtype}")
        return seen.contiguous()


def _rows(inputs: Any, part: slice) -> Any:
    """A part of a tuple or dict of tensors."""
    if isinstance(inputs, dict):
        return {key: x[part] for key, x in inputs.items()}
    return tuple(x[part] for x in inputs)
