"""A traced module cut at a layer: what comes after it, and what that still needs from below."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .close import close, first_row
from .graph import Memory, Piece, Traced, ancestors, descendants, plain_arguments, shape_nodes, trace
from .layer import After, Lower, Site
from .part import has_hooks

_memory = Memory()


class _Cut:
    """The pieces below and above a site.

    ``below``: the tensor inputs to what ``above`` takes beside the site's value.
    """

    def __init__(self, traced: Traced, module: nn.Module, site: Site) -> None:
        calls = [n for n in traced.nodes if n.op == "call_module" and traced.resolve(module, n) is site.layer]
        if site.call is None and len(calls) != 1:
            raise ValueError("another number of calls than hooks count")
        node = calls[site.call or 0]
        value = node.args[0] if site.at_input and node.args else node
        if not isinstance(value, torch.fx.Node) or (site.at_input and set(value.users) != {node}):
            raise ValueError("others see the layer's input too")
        end = traced.output.args[0]
        edge = _edge(traced, value, end)
        self.inputs = list(traced.inputs)
        self.above = Piece(traced, module, [value, *edge], end)
        self.below = Piece(traced, module, list(traced.inputs.values()), tuple(edge)) if edge else None

    def holds(self, module: nn.Module) -> bool:
        """Whether both are still made of the module's own parts."""
        return self.above.holds(module) and (self.below is None or self.below.holds(module))


def _edge(traced: Traced, value: torch.fx.Node, end: Any) -> list[torch.fx.Node]:
    """The nodes below ``value`` that depend on the inputs, by more than their shapes, and that those above it take."""
    above = descendants(traced, [value])
    given = descendants(traced, traced.inputs.values())
    shapes = shape_nodes(traced, given)
    found: set[torch.fx.Node] = set()
    queue = [n for n in ancestors(end, stop={value}) if n in above and n is not value]
    for node in queue:
        below = [source for source in node.all_input_nodes if source in given and source not in above]
        queue += [source for source in below if source in shapes]
        found.update(source for source in below if source not in shapes)
    return [n for n in traced.nodes if n in found]


def cut_traced(
    module: nn.Module, site: Site, lower: Lower, inputs: Any, value: Tensor, rows: int
) -> tuple[After, tuple[Tensor, ...]] | None:
    """What comes after the site, and the tensors (B, ...) that it takes beside ``value`` (B, ...), its activations.

    None where the module cannot be traced, and where the pieces compute anything else than it does: they are compared
    at every call, on two numbers of rows.
    """
    if any(part.training or has_hooks(part) for part in module.modules()) or len(value) == 0:
        return None
    with lower.adapter.prepared(lower.device) as (function, substitutes):
        if substitutes or function is not module:
            return None
        args, kwargs = lower.arguments(inputs, torch.arange(len(value), device=lower.device))
        given = plain_arguments(module, args, kwargs)
        if given is None:
            return None
        key = (site.name, site.at_input, site.call, *((name, _kind(x)) for name, x in given.items()))
        cut: _Cut | None = _memory.get(module, key, lambda: _find(module, site, given))
        if cut is not None and not cut.holds(module):
            _memory.forget(module, key)
            cut = _memory.get(module, key, lambda: _find(module, site, given))
        if cut is None:
            return None
        try:
            found = _try(cut, module, given, value, rows)
        except Exception:  # a piece that does not run on other rows; what is wrong with the model shows without it
            found = None
    if found is None:
        _memory.forget(module, key)
        return None
    return After(module, site, cut.above.run), found


def _kind(value: Any) -> Any:
    return (value.dtype, value.shape[1:]) if isinstance(value, Tensor) else (type(value), value)


def _find(module: nn.Module, site: Site, given: dict[str, Any]) -> _Cut | None:
    traced = trace(module, (), given, leaf=site.layer)
    try:
        return None if traced is None else _Cut(traced, module, site)
    except (ValueError, IndexError):
        return None


def _try(cut: _Cut, module: nn.Module, given: dict[str, Any], value: Tensor, rows: int) -> tuple[Tensor, ...] | None:
    """The tensors that ``cut.above`` takes beside ``value``; None if the cut is not the module."""
    many = len(value)
    tensors = [given[name] for name in cut.inputs]
    if any(x.dim() == 0 or len(x) != many for x in tensors):
        return None
    few = torch.zeros(3 if many != 3 else 2, dtype=torch.int64, device=value.device)

    def pick(x: Any) -> Any:
        return x.index_select(0, few) if isinstance(x, Tensor) else x

    beside: tuple[Tensor, ...] = ()
    if cut.below is not None:
        found = _in_blocks(cut.below.run, tensors, rows)
        if found is None:
            return None
        beside = found
    got = cut.above.run(pick(value), *map(pick, beside))
    wanted = module(**{name: pick(x) for name, x in given.items()})
    if not close(got, wanted):
        return None
    one = cut.above.run(value[:1], *(x[:1] for x in beside))
    return beside if close(one, first_row(wanted)) else None


def _in_blocks(run: Callable[..., tuple[Any, ...]], tensors: list[Tensor], rows: int) -> tuple[Tensor, ...] | None:
    """Values (B, ...) of ``run`` on ``rows`` rows at a time; None if any is not a tensor with a row for each."""
    blocks = []
    for first in range(0, len(tensors[0]), rows):
        part = [x[first : first + rows] for x in tensors]
        found = run(*part)
        if any(not isinstance(x, Tensor) or x.dim() == 0 or len(x) != len(part[0]) for x in found):
            return None
        blocks.append(found)
    return tuple(torch.cat(column) for column in zip(*blocks, strict=True))
