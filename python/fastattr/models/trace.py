"""A chain of dense layers behind a module's own forward, by torch.fx."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from .chain import OPTIONS, Step, step_of
from .dense import Unsupported

PLAIN: dict[Any, str] = {
    functional.relu: "relu",
    torch.relu: "relu",
    "relu": "relu",
    functional.silu: "silu",
    torch.tanh: "tanh",
    functional.tanh: "tanh",
    "tanh": "tanh",
    torch.sigmoid: "sigmoid",
    functional.sigmoid: "sigmoid",
    "sigmoid": "sigmoid",
}
"""Functions and methods of one argument."""


def traced_steps(module: nn.Module) -> list[Step]:
    """The chain that ``module``'s forward runs; `Unsupported` if it is none, or cannot be traced."""
    if any(part._buffers for part in module.modules() if type(part) not in OPTIONS):
        raise Unsupported("a forward of its own with buffers")
    try:
        memo = {id(t): t for t in (*module.parameters(), *module.buffers())}
        twin = copy.deepcopy(module, memo)  # a forward may write to its module
        with torch.random.fork_rng(devices=[]):
            graph = fx.Tracer().trace(twin)
    except Exception as error:
        raise Unsupported(f"its forward cannot be traced: {type(error).__name__}: {error}") from None
    try:
        return _Reader(twin, graph).steps
    except (TypeError, KeyError) as error:  # an option that is computed
        raise Unsupported(f"an option of its forward is no constant: {error}") from None


class _Reader:
    """A graph in which every node uses the one before it, as steps."""

    def __init__(self, module: nn.Module, graph: fx.Graph) -> None:
        self.module = module
        self.steps: list[Step] = []
        self.current: fx.Node | None = None
        self.batch: set[fx.Node] = set()
        """Nodes that are the number of rows."""
        self.shapes: set[fx.Node] = set()
        for node in graph.nodes:
            self._read(node)

    def _read(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            if self.current is not None:
                if node.args or node.next.op == "placeholder" or node.users:
                    raise Unsupported("a forward of several inputs")
                return
            self.current = node
        elif node.op == "output":
            if node.args[0] is not self.current:
                raise Unsupported("it returns something else than its last layer")
        elif node.op != "get_attr" and not self._is_shape(node):
            self._step(node)
            self.current = node

    def _is_shape(self, node: fx.Node) -> bool:
        """x.shape, x.size(), and the number of rows taken from them."""
        first = node.args[0] if node.args else None
        if node.op == "call_function" and node.target is getattr and node.args[1:] == ("shape",):
            self.shapes.add(node)
        elif node.op == "call_method" and node.target == "size" and len(node.args) == 1 and not node.kwargs:
            self.shapes.add(node)
        elif node.op == "call_method" and node.target == "size" and node.args[1:] == (0,):
            self.batch.add(node)
        elif (
            node.op == "call_function"
            and node.target is operator.getitem
            and first in self.shapes
            and node.args[1] == 0
        ):
            self.batch.add(node)
        else:
            return False
        if first is not self.current and first not in self.shapes:
            raise Unsupported("a shape of something else than the layer before")
        return True

    def _step(self, node: fx.Node) -> None:
        args = node.args
        if not args or args[0] is not self.current:
            raise Unsupported(f"{node.name} does not follow the layer before it")
        if node.op == "call_module":
            part = self.module.get_submodule(str(node.target))
            if type(part) not in OPTIONS or len(args) != 1 or node.kwargs:
                raise Unsupported(f"{type(part).__name__} is not a dense layer")
            step = step_of(part)
        else:
            step = self._function(node, node.target)
        if step is not None:
            self.steps.append(step)

    def _function(self, node: fx.Node, target: Any) -> Step | None:
        options = dict(node.kwargs)
        options.pop("inplace", None)
        rest = node.args[1:]
        if target in PLAIN and not options and (not rest or target is functional.relu):
            return Step(PLAIN[target])
        if target == "contiguous":
            return None
        if target in (functional.dropout, torch.dropout):
            given = options.get("training", options.get("train", rest[1] if len(rest) > 1 else True))
            if given is not False:
                raise Unsupported("dropout that is always on")
            return None
        if any(isinstance(value, fx.Node) for value in (*rest, *options.values())) and target not in _READERS:
            raise Unsupported(f"{node.name} is no dense layer")
        reader = _READERS.get(target)
        if reader is None:
            raise Unsupported(f"{node.name} is no dense layer")
        return reader(self, rest, options)


def _bound(names: tuple[str, ...], rest: Any, options: dict[str, Any]) -> dict[str, Any]:
    found = dict(zip(names, rest, strict=False)) | options
    if set(found) - set(names) or len(rest) > len(names):
        raise Unsupported(f"unknown options {sorted(set(found) - set(names))}")
    return found


def _leaky_relu(reader: _Reader, rest: Any, options: dict[str, Any]) -> Step:
    found = _bound(("negative_slope", "inplace"), rest, options)
    return Step("leaky_relu", float(found.get("negative_slope", 0.01)))


def _elu(reader: _Reader, rest: Any, options: dict[str, Any]) -> Step:
    return Step("elu", float(_bound(("alpha", "inplace"), rest, options).get("alpha", 1.0)))


def _gelu(reader: _Reader, rest: Any, options: dict[str, Any]) -> Step:
    return Step(
        {"none": "gelu", "tanh": "gelu_tanh"}[_bound(("approximate",), rest, options).get("approximate", "none")]
    )


def _softplus(reader: _Reader, rest: Any, options: dict[str, Any]) -> Step:
    found = _bound(("beta", "threshold"), rest, options)
    return Step("softplus", float(found.get("beta", 1.0)), float(found.get("threshold", 20.0)))


def _over_classes(kind: str) -> Callable[..., Step]:
    def read(reader: _Reader, rest: Any, options: dict[str, Any]) -> Step:
        found = _bound(("dim", "_stacklevel", "dtype"), rest, options)
        if found.get("dim") not in (1, -1) or found.get("dtype") is not None:
            raise Unsupported(f"{kind} over axis {found.get('dim')}")
        return Step(kind)

    return read


def _flatten(reader: _Reader, rest: Any, options: dict[str, Any]) -> Step:
    found = _bound(("start_dim", "end_dim"), rest, options)
    if found.get("start_dim", 0) != 1 or found.get("end_dim", -1) != -1:
        raise Unsupported("flatten of some of the axes")
    return Step("flatten")


def _view(reader: _Reader, rest: Any, options: dict[str, Any]) -> Step:
    shape = tuple(rest[0]) if len(rest) == 1 and isinstance(rest[0], (tuple, list)) else tuple(rest)
    rows_kept = len(shape) == 2 and (shape[0] in reader.batch and (shape[1] == -1 or isinstance(shape[1], int)))
    guessed = len(shape) == 2 and shape[0] == -1 and isinstance(shape[1], int) and shape[1] > 0
    if options or not (rows_kept or guessed):
        raise Unsupported(f"a view of shape {shape}")
    return Step("flatten", *([float(shape[1])] if shape[1] != -1 else []))


_READERS: dict[Any, Callable[..., Step]] = {
    functional.leaky_relu: _leaky_relu,
    functional.elu: _elu,
    functional.gelu: _gelu,
    functional.softplus: _softplus,
    functional.softmax: _over_classes("softmax"),
    torch.softmax: _over_classes("softmax"),
    "softmax": _over_classes("softmax"),
    functional.log_softmax: _over_classes("log_softmax"),
    torch.log_softmax: _over_classes("log_softmax"),
    "log_softmax": _over_classes("log_softmax"),
    torch.flatten: _flatten,
    "flatten": _flatten,
    "view": _view,
    "reshape": _view,
    torch.reshape: _view,
}
