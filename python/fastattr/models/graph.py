"""A module's forward as a graph (torch.fx), and parts of it as modules of their own.

Tracing runs the forward on proxies, in a shallow twin of the module, so that what the forward writes to ``self`` does
not reach the user's. A trace freezes Python's decisions: whoever uses a part compares it with the module first, at
every call.
"""

from __future__ import annotations

import inspect
import threading
import weakref
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_arg

from .part import has_hooks, settings
from .winograd import Winograd

_tracing = threading.Lock()  # fx patches nn.Module for all threads, and unpatches it in reverse
_MISSING = object()


class Traced:
    """The graph of a module's forward.

    Attributes
    ----------
    graph : torch.fx.Graph
    inputs : dict of str to Node
        Placeholders of the tensors by the names of forward's parameters.
    settings : list
        What the forward may have read in its modules' attributes.
    """

    def __init__(self, graph: fx.Graph, twin: nn.Module, tensors: Iterable[str], settings: list[Any]) -> None:
        self.graph = graph
        self.settings = settings
        self.nodes = list(graph.nodes)
        found = {str(node.target): node for node in self.nodes if node.op == "placeholder"}
        self.inputs = {name: found[name] for name in tensors}
        self.output = next(node for node in reversed(self.nodes) if node.op == "output")
        self._constants = {
            str(node.target): getattr(twin, str(node.target))
            for node in self.nodes
            if node.op == "get_attr" and str(node.target).startswith("_tensor_constant")
        }

    def resolve(self, module: nn.Module, node: fx.Node) -> Any:
        """The module or tensor of ``module`` that a node names."""
        name = str(node.target)
        if node.op == "call_module":
            return module.get_submodule(name)
        return self._constants[name] if name in self._constants else attrgetter(name)(module)


class Piece:
    """The part of a graph between some nodes and others, runnable.

    Attributes
    ----------
    run : callable
        Values of ``starts`` to the value of ``end``.
    """

    def __init__(self, traced: Traced, module: nn.Module, starts: list[fx.Node], end: Any) -> None:
        graph = fx.Graph()
        root: dict[str, Any] = {}
        copies = {node: graph.placeholder(f"start_{i}") for i, node in enumerate(starts)}
        self._parts: list[tuple[fx.Node, Any]] = []
        self._traced = traced
        wanted = ancestors(end, stop=set(starts))
        for node in traced.nodes:
            if node not in wanted or node in copies:
                continue
            if node.op == "placeholder":
                raise ValueError(f"the part needs {node.target}")
            copies[node] = copy = graph.node_copy(node, copies.__getitem__)
            if node.op in ("call_module", "get_attr"):
                copy.target = f"part_{len(root)}"
                root[copy.target] = traced.resolve(module, node)
                self._parts.append((node, root[copy.target]))
        graph.output(map_arg(end, copies.__getitem__))
        self.run: Callable[..., Any] = fx.GraphModule(root, graph).forward  # calling the module prints every error

    def holds(self, module: nn.Module) -> bool:
        """Whether the modules and tensors that it uses are still those of ``module``, and its options the same."""
        try:
            same = all(self._traced.resolve(module, node) is part for node, part in self._parts)
        except AttributeError:
            return False
        return same and settings(module) == self._traced.settings


def ancestors(end: Any, stop: set[fx.Node]) -> set[fx.Node]:
    """The nodes that the value ``end`` (nodes in containers) depends on, itself included, not looking past ``stop``."""
    found: set[fx.Node] = set()
    queue: list[fx.Node] = []
    map_arg(end, queue.append)
    while queue:
        node = queue.pop()
        if node not in found:
            found.add(node)
            queue += [] if node in stop else node.all_input_nodes
    return found


def descendants(traced: Traced, starts: Iterable[fx.Node]) -> set[fx.Node]:
    """The nodes that depend on ``starts``, themselves included."""
    found = set(starts)
    for node in traced.nodes:
        if any(source in found for source in node.all_input_nodes):
            found.add(node)
    return found


def shape_nodes(traced: Traced, dependent: set[fx.Node]) -> set[fx.Node]:
    """Those of ``dependent`` nodes that see no more than the shapes of the tensors among them."""
    found: set[fx.Node] = set()
    for node in traced.nodes:
        sources = [source for source in node.all_input_nodes if source in dependent]
        if node in dependent and (_reads_shape(node) or (sources and found.issuperset(sources))):
            found.add(node)
    return found


def _reads_shape(node: fx.Node) -> bool:
    if node.op == "call_function":
        return node.target is getattr and node.args[1] == "shape"
    return node.op == "call_method" and node.target in ("size", "dim")


def trace(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], leaf: nn.Module | None = None
) -> Traced | None:
    """The graph of ``module(*args, **kwargs)``, tensors as inputs and all else as it is; None where there is none.

    Submodules of torch's own and ``leaf`` stay whole. Anybody's hooks on any module: None, for they may do anything.
    """
    if isinstance(module, (torch.jit.ScriptModule, fx.GraphModule)) or any(map(has_hooks, module.modules())):
        return None
    given = plain_arguments(module, args, kwargs)
    if given is None:
        return None
    tensors = [name for name, value in given.items() if isinstance(value, Tensor)]
    fixed = {name: value for name, value in given.items() if name not in tensors}
    twins: dict[nn.Module, nn.Module] = {}
    before = settings(module)
    twin = _twin(module, twins)
    tracer = _Tracer(None if leaf is None else twins.get(leaf))
    try:
        with _tracing:
            graph = tracer.trace(twin, fixed or None)
        traced = Traced(graph, twin, tensors, before)
    except Exception:  # the forward decides by values, or does what proxies cannot: it has no graph
        return None
    return None if any(map(_only_acts, traced.nodes)) else traced


def _only_acts(node: fx.Node) -> bool:
    """Whether a node is there for what it does, as a statement that works in place: parts may not drop it."""
    if node.users or node.op not in ("call_method", "call_function", "call_module"):
        return False
    return getattr(node.target, "__name__", "") not in ("_assert", "_assert_is_none", "eq", "getitem", "getattr")


def plain_arguments(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
    """Forward's parameters by name: tensors and plain values; None for anything else."""
    if "forward" in module.__dict__:
        return None
    try:
        bound = inspect.signature(module.forward).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return None
    bound.apply_defaults()
    kinds = {parameter.kind for parameter in bound.signature.parameters.values()}
    plain = (Tensor, bool, int, float, str, type(None))
    if kinds - {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}:
        return None
    return bound.arguments if all(isinstance(value, plain) for value in bound.arguments.values()) else None


def _twin(module: nn.Module, twins: dict[nn.Module, nn.Module]) -> nn.Module:
    """The same tensors in other modules: what is set on those, or put into their lists, is not the user's."""
    if module not in twins:
        twins[module] = twin = module.__new__(type(module))
        for name, value in module.__dict__.items():
            twin.__dict__[name] = value.copy() if type(value) in (list, dict, set) else value
        for name in ("_parameters", "_buffers", "_non_persistent_buffers_set"):
            twin.__dict__[name] = module.__dict__[name].copy()
        children = module._modules.items()
        twin.__dict__["_modules"] = {name: None if child is None else _twin(child, twins) for name, child in children}
    return twins[module]


class _Tracer(fx.Tracer):
    """In its own thread only: fx listens to the modules of all."""

    def __init__(self, leaf: nn.Module | None) -> None:
        super().__init__()
        self._leaf = leaf
        self._thread = threading.get_ident()

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return m is self._leaf or isinstance(m, Winograd) or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)


class Memory:
    """What was found out about modules, for as long as they live."""

    def __init__(self) -> None:
        self._known: weakref.WeakKeyDictionary[nn.Module, dict[Any, Any]] = weakref.WeakKeyDictionary()

    def get(self, module: nn.Module, key: Any, find: Callable[[], Any]) -> Any:
        """What ``find`` returned the first time."""
        try:
            known = self._known.setdefault(module, {})
        except TypeError:  # a module that cannot be hashed: found out anew each time
            return find()
        found = known.get(key, _MISSING)
        if found is _MISSING:
            found = known[key] = find()
        return found

    def forget(self, module: nn.Module, key: Any) -> None:
        """Find out again next time."""
        if self._known.get(module):
            self._known[module].pop(key, None)
