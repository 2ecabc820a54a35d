"""The affine prefix of a module: what comes before its first nonlinearity.

With f = g . P and P affine, a straight path in the inputs is a straight path behind P, and a weighted sum of gradients
of f is the transpose of P applied to that of gradients of g: P is evaluated at the two ends of each path, and its
transpose once per sum, whatever the number of points.
"""

from __future__ import annotations

import operator
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from .graph import Memory, Piece, Traced, ancestors, descendants, shape_nodes, trace
from .part import has_hooks, in_order, runs_in_order

# Exact types: a subclass, a parametrised module among them, may do anything.
_AFFINE = {
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.Flatten,
    nn.Unflatten, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.ZeroPad1d, nn.ZeroPad2d,
    nn.ZeroPad3d,
}  # fmt: skip
_FIRST = {  # affine in the first argument, the others constant
    torch.flatten, torch.reshape, torch.permute, torch.transpose, torch.squeeze, torch.unsqueeze, torch.neg,
    operator.neg, functional.linear, torch._C._nn.linear, torch.conv1d, torch.conv2d, torch.conv3d,
    torch.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d, functional.adaptive_avg_pool1d,
    functional.adaptive_avg_pool2d, functional.adaptive_avg_pool3d, "flatten", "reshape", "view", "permute",
    "transpose", "squeeze", "unsqueeze", "contiguous", "neg",
}  # fmt: skip
_SUM = {operator.add, operator.sub, torch.add, torch.sub, "add", "sub"}
_PRODUCT = {operator.mul, torch.mul, "mul"}
_QUOTIENT = {operator.truediv, torch.div, "div"}

ELEMENT = 64.0
"""What a feature of a point costs (written, read, its gradient read and summed), in floating-point operations."""
FIXED = 1e7
"""What a prefix costs at any size: some launches, about 0.2 ms, in floating-point operations."""
WIDEST = 8
"""Times the size of the input that the prefix's output may have: its accumulators are in memory for every level."""


@dataclass
class Prefix:
    """model(x) = rest(run(x)), run affine and every row of it a function of that row."""

    run: Callable[[Tensor], Tensor]
    rest: Callable[[Tensor], Any]
    note: str
    traced: bool = False
    gain: float = 0.0
    """Operations saved per row, less those added."""
    cost: float = 0.0
    """Operations of one row of `run`, forward; its transpose takes as many."""
    checked: bool = False
    last: bool = False
    """Whether points behind the prefix have their channels last: convolutions and pooling are faster so."""

    overwrites: bool = False
    """Whether `rest` works in place on what it is given."""

    @property
    def name(self) -> str:
        """What ran."""
        return f"{self.note}, channels last" if self.last else self.note

    def image(self, x: Tensor) -> Tensor:
        """P(x), as the points behind the prefix lie."""
        z = self.run(x)
        return z.permute(0, 2, 3, 1) if self.last else z

    def answer(self, z: Tensor) -> Any:
        """model(x) from the image of x."""
        if not self.last:
            return self.rest(z)
        z = z.permute(0, 3, 1, 2)
        return self.rest(z.clone() if self.overwrites else z)  # in place on a view, autograd copies more than once

    def pays(self, examples: int, rows: int) -> bool:
        """Whether a call with so many rows gains, after three evaluations per example."""
        return rows * self.gain > FIXED + 3 * examples * self.cost


own: weakref.WeakSet[nn.Module] = weakref.WeakSet()
"""Copies of users' modules, which nobody else changes."""

_memory = Memory()
_PRODUCTS = {functional.linear, functional.conv1d, functional.conv2d, functional.conv3d}


class _Operations(TorchFunctionMode):
    """Counts the floating-point operations of linear layers and convolutions, in this thread."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0.0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        answer = func(*args, **(kwargs or {}))
        if func in _PRODUCTS:
            weight = args[1] if len(args) > 1 else (kwargs or {})["weight"]
            self.total += 2.0 * weight.numel() * answer.numel() / max(1, weight.shape[0])
        return answer


def is_affine(module: nn.Module) -> bool:
    """Whether a module is an affine map of each row, now, with nobody listening."""
    if type(module) not in _AFFINE or module.training or "forward" in module.__dict__ or has_hooks(module):
        return False
    if isinstance(module, nn.modules.conv._ConvNd):
        return module.padding_mode == "zeros"
    return not isinstance(module, nn.modules.batchnorm._BatchNorm) or module.running_mean is not None


def find_prefix(module: nn.Module, x: Tensor) -> Prefix | None:
    """The prefix of ``module`` that saves most for inputs like ``x`` (B, ...), or None."""
    key = (tuple(x.shape[1:]), x.dtype, x.device)
    if runs_in_order(module):
        leaves = _flat(module)
        count = next((i for i, leaf in enumerate(leaves) if not is_affine(leaf)), len(leaves))
        own = (*key, *map(id, leaves[:count]))
        best = _memory.get(module, own, lambda: _longest(leaves, count, x)) if count else None
        if best is None:
            return None
        prefix = best[1]
        prefix.rest = in_order(leaves[best[0] :])  # what follows may have changed
        return prefix
    if any(part.training or has_hooks(part) for part in module.modules()):
        return None
    found = _memory.get(module, key, lambda: _trace_prefix(module, x))
    if found is None:
        return None
    prefix, pieces, parts = found
    if not all(map(is_affine, parts)):
        return None
    if not all(piece.holds(module) for piece in pieces):
        forget_prefix(module, x)
        return find_prefix(module, x)
    return prefix


def forget_prefix(module: nn.Module, x: Tensor) -> None:
    """Drop what was found for inputs like ``x``: the module has changed."""
    _memory.forget(module, (tuple(x.shape[1:]), x.dtype, x.device))


def _flat(module: nn.Module) -> list[nn.Module]:
    """The modules that ``module`` runs one after the other, containers unpacked."""
    if not runs_in_order(module):
        return [module]
    return [leaf for part in module._modules.values() if part is not None for leaf in _flat(part)]


def _longest(leaves: list[nn.Module], count: int, x: Tensor) -> tuple[int, Prefix] | None:
    """How many of the leading affine modules to take, and these."""
    best: tuple[int, Prefix] | None = None
    for taken in range(1, count + 1):
        run = in_order(leaves[:taken])
        note = f"affine prefix: {taken} module{'s' if taken > 1 else ''}"
        prefix = _weighed(Prefix(run, run, note), x)
        if prefix is not None and (best is None or prefix.gain >= best[1].gain):
            best = taken, prefix
    return best


def _weighed(prefix: Prefix, x: Tensor) -> Prefix | None:
    """``prefix`` with what it gains; None where it does not, or is no map of rows like ``x`` to rows."""
    row = x[:1].detach()
    with _Operations() as counter:
        z = prefix.run(row)
    if not isinstance(z, Tensor) or z.dtype != x.dtype or z.dim() == 0 or len(z) != 1:
        return None
    if not 0 < z.numel() <= WIDEST * row.numel():
        return None
    prefix.cost = counter.total
    prefix.gain = 2 * prefix.cost - ELEMENT * (z.numel() - row.numel())
    prefix.last = z.dim() == 4 and z.dtype == torch.float32 and z.device.type == "cpu" and min(z.shape[1:]) > 1
    return prefix if prefix.gain > 0 else None


# ---- traced modules -----------------------------------------------------------------------------------------------


def _trace_prefix(module: nn.Module, x: Tensor) -> tuple[Prefix, list[Piece], list[nn.Module]] | None:
    traced = trace(module, (x,), {})
    if traced is None or len(traced.inputs) != 1:
        return None
    (start,) = traced.inputs.values()
    best: tuple[Prefix, list[Piece], list[nn.Module]] | None = None
    for node in _cuts(traced, module, start):
        inside = ancestors(node, stop={start})
        try:
            pieces = [Piece(traced, module, [start], node), Piece(traced, module, [node], traced.output.args[0])]
        except ValueError:
            continue
        steps = sum(n.op.startswith("call_") for n in inside)
        note = f"affine prefix: {steps} operation{'s' if steps > 1 else ''}"
        prefix = None
        with suppress(Exception):  # what Python did while it was traced may hold for no other input
            prefix = _weighed(Prefix(pieces[0].run, pieces[1].run, note, traced=True), x)
        if prefix is not None and (best is None or prefix.gain >= best[0].gain):
            best = prefix, pieces, [traced.resolve(module, n) for n in inside if n.op == "call_module"]
    return best


def _cuts(traced: Traced, module: nn.Module, start: fx.Node) -> list[fx.Node]:
    """Nodes that are affine in ``start`` and that all else sees it through."""
    dependent = descendants(traced, [start])
    shapes = shape_nodes(traced, dependent)
    affine = {start}
    for node in traced.nodes:
        if node not in dependent or node is start or node in shapes:
            continue
        sources = [source for source in node.all_input_nodes if source in dependent]
        if all(source in affine or source in shapes for source in sources) and _keeps_affine(
            traced, module, node, affine
        ):
            affine.add(node)
    found = []
    for node in traced.nodes:
        if node not in affine or node is start:
            continue
        before = (ancestors(node, stop={start}) & dependent) - {node}
        inside = before | {node}
        if all(user in inside for source in before for user in source.users):
            found.append(node)
    return found


def _keeps_affine(traced: Traced, module: nn.Module, node: fx.Node, affine: set[fx.Node]) -> bool:
    """Whether ``node`` is affine in its arguments among ``affine``, the others constant."""
    if node.op == "call_module":
        return len(node.args) == 1 and not node.kwargs and is_affine(traced.resolve(module, node))
    if node.op not in ("call_function", "call_method") or not node.args:
        return False
    operands = [isinstance(arg, fx.Node) and arg in affine for arg in node.args]
    if any(isinstance(arg, fx.Node) and arg in affine for arg in node.kwargs.values()):
        return False
    if node.kwargs.get("rounding_mode") is not None:
        return False
    if node.target in _SUM:
        return True
    if node.target in _PRODUCT:
        return sum(operands) == 1
    return node.target in _FIRST | _QUOTIENT and operands[0] and not any(operands[1:])
