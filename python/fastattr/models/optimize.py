"""A faster copy of a convolutional network: batch norms folded, channels last, small filters by Winograd's way.

The user's module stays as it is. The copy is kept for as long as the module lives and its parameters stay the same, and
is compared with it at every call. On the CPU a checksum finds writes that raise no version number (``.data``, NumPy).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from .. import _core
from .close import close
from .graph import Memory, trace
from .part import has_hooks, runs_in_order, settings
from .structure import own
from .winograd import Winograd, takes

_FOLDS: dict[type, tuple[type, Callable[..., nn.Module]]] = {
    nn.Conv1d: (nn.BatchNorm1d, fuse_conv_bn_eval),
    nn.Conv2d: (nn.BatchNorm2d, fuse_conv_bn_eval),
    nn.Conv3d: (nn.BatchNorm3d, fuse_conv_bn_eval),
    nn.Linear: (nn.BatchNorm1d, fuse_linear_bn_eval),
}


@dataclass
class Optimized:
    """A copy, and what was done to it."""

    module: nn.Module
    note: str
    versions: tuple[Any, ...]


_memory = Memory()


def optimized(
    module: nn.Module, site: tuple[str, bool] | None, run: Callable[[nn.Module], Any], example: tuple[Any, Any]
) -> Optimized:
    """The copy of ``module`` that computes the same.

    Parameters
    ----------
    site : (str, bool) or None
        The layer that will be looked at, and whether at its input: its value stays what it is.
    run : callable
        Evaluates the module or a copy on the first example.
    example : (tuple, dict)
        Positional and keyword arguments of the first example, for tracing.

    Raises
    ------
    ValueError
        The copy would not be the module: hooks, training mode, outputs that differ.
    """
    if any(map(has_hooks, module.modules())):
        raise ValueError("optimize: expected a model without hooks, which may do anything; use optimize=False")
    if any(part.training for part in module.modules()):
        raise ValueError("optimize: expected a model in evaluation mode, whose batch statistics are fixed; call eval()")
    versions = _versions(module)
    wanted = run(module)
    for _ in range(2):
        found: Optimized = _memory.get(module, site, lambda: _make(module, site, example, versions))
        if found.versions == versions and close(run(found.module), wanted):
            return found
        _memory.forget(module, site)
    raise ValueError(
        "optimize: expected the folded copy to compute what the model does, got other outputs; use optimize=False"
    )


def _versions(module: nn.Module) -> tuple[Any, ...]:
    """What changes when parameters, buffers, submodules or their options do; on the CPU contents are looked at."""
    tensors = (*module.parameters(), *module.buffers())
    return (
        *((id(t), t.data_ptr(), 0 if t.is_inference() else t._version) for t in tensors),
        *((id(part), type(part)) for part in module.modules()),
        settings(module),
        _core.checksum(tuple(map(_bytes, filter(_is_plain, tensors)))),
    )


def _is_plain(t: Tensor) -> bool:
    known = type(t) in (Tensor, nn.Parameter) and t.device.type == "cpu" and t.layout == torch.strided
    return known and not (t.is_quantized or t.is_neg() or t.is_conj())


def _bytes(t: Tensor) -> Any:
    """(N,) the memory of ``t``, whatever the order of its axes."""
    order = sorted(range(t.dim()), key=t.stride, reverse=True)
    return t.detach().permute(order).contiguous().reshape(-1).view(torch.uint8).numpy()


def _make(
    module: nn.Module, site: tuple[str, bool] | None, example: tuple[Any, Any], versions: tuple[Any, ...]
) -> Optimized:
    try:
        twin = copy.deepcopy(module).requires_grad_(False)
    except Exception as error:
        raise ValueError(f"optimize: expected a model that can be copied, got {error}") from error
    pairs = [pair for pair in _pairs(module, example) if site is None or _leaves(pair, site)]
    for first, norm in pairs:
        layer = twin.get_submodule(first)
        _replace(twin, first, _FOLDS[type(layer)][1](layer, twin.get_submodule(norm)))
        _replace(twin, norm, nn.Identity().eval())
    done = [f"{len(pairs)} batch norm{'s' if len(pairs) > 1 else ''} folded"] if pairs else []
    if any(isinstance(part, nn.Conv2d) for part in twin.modules()):
        twin.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        done.append("channels last")
        small = {name: Winograd(part) for name, part in twin.named_modules() if takes(part)}
        for name, part in small.items():
            _replace(twin, name, part)
        if small:
            done.append(f"{len(small)} convolution{'s' if len(small) > 1 else ''} by Winograd")
    own.add(twin)
    return Optimized(twin.requires_grad_(False), "optimized: " + (", ".join(done) or "nothing to do"), versions)


def _replace(module: nn.Module, name: str, part: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(module.get_submodule(parent), own, part)


def _leaves(pair: tuple[str, str], site: tuple[str, bool]) -> bool:
    """Whether folding leaves the value at the site alone: it changes what passes from the layer to its norm only."""
    name = site[0]
    first, norm = (f"{part}.".startswith(f"{name}.") or not name for part in pair)
    return first == norm


def _pairs(module: nn.Module, example: tuple[Any, Any]) -> list[tuple[str, str]]:
    """Names of layers and the batch norms that alone see their outputs; each is called once."""
    traced = trace(module, *example)
    if traced is None:
        return _adjacent(module)
    calls = [node for node in traced.nodes if node.op == "call_module"]
    often = {str(node.target): sum(other.target == node.target for other in calls) for node in calls}
    found = []
    for norm in calls:
        source = norm.args[0] if norm.args else None
        if not isinstance(source, torch.fx.Node) or source.op != "call_module" or len(source.users) > 1:
            continue
        first, second = str(source.target), str(norm.target)
        alone = often[first] == often[second] == 1
        if alone and _folds(module.get_submodule(first), module.get_submodule(second)):
            found.append((first, second))
    return found


def _adjacent(module: nn.Module) -> list[tuple[str, str]]:
    """The same by neighbourhood in containers, for forwards that cannot be traced."""
    found = []
    for prefix, container in module.named_modules():
        if not runs_in_order(container):
            continue
        children = [(f"{prefix}.{name}".lstrip("."), part) for name, part in container.named_children()]
        for (first, layer), (second, norm) in zip(children, children[1:], strict=False):
            if _folds(layer, norm):
                found.append((first, second))
    return found


def _folds(layer: nn.Module, norm: nn.Module) -> bool:
    """Exact types with the norm's statistics known: subclasses, parametrised ones among them, may do anything."""
    wanted = _FOLDS.get(type(layer))
    if wanted is None or type(norm) is not wanted[0] or "forward" in {*layer.__dict__, *norm.__dict__}:
        return False
    mean: Tensor | None = norm.running_mean  # type: ignore[assignment]
    return mean is not None
