"""Chains of dense layers inside torch modules: recognised once, read again when anything changed.

What a chain was read from is kept beside it: every module with its children and its options, every tensor with its
identity, address and a checksum of its contents (writes through ``.data`` and NumPy raise no version).
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import _core
from .dense import Layer, Network, Unsupported
from .part import settings_of

OPTIONS: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Linear: (),
    nn.BatchNorm1d: ("eps", "track_running_stats"),
    nn.Sequential: (),
    nn.Identity: (),
    nn.Dropout: (),
    nn.AlphaDropout: (),
    nn.Flatten: ("start_dim", "end_dim"),
    nn.ReLU: (),
    nn.LeakyReLU: ("negative_slope",),
    nn.ELU: ("alpha",),
    nn.GELU: ("approximate",),
    nn.SiLU: (),
    nn.Tanh: (),
    nn.Sigmoid: (),
    nn.Softplus: ("beta", "threshold"),
    nn.Softmax: ("dim",),
    nn.LogSoftmax: ("dim",),
}
"""Modules that a chain is made of, and those of their attributes that matter."""
MOST_PARTS = 256
_TENSORS = frozenset(("weight", "bias", "running_mean", "running_var"))
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Step:
    """One thing a chain does: ``kind`` "linear", "norm", "flatten", an activation or a head."""

    def __init__(self, kind: str, *options: float, tensors: tuple[Tensor | None, ...] = ()) -> None:
        self.kind = kind
        self.options = options
        self.tensors = tensors


def step_of(part: nn.Module) -> Step | None:
    """What a leaf of ``OPTIONS`` does; None for nothing."""
    kind = type(part)
    if isinstance(part, nn.Linear):
        return Step("linear", tensors=(part.weight, part.bias))
    if isinstance(part, nn.BatchNorm1d):
        if part.running_mean is None or part.running_var is None:
            raise Unsupported("BatchNorm1d without running statistics")
        tensors = (part.running_mean, part.running_var, part.weight, part.bias)
        return Step("norm", float(part.eps), tensors=tensors)
    if isinstance(part, nn.Flatten):
        if part.start_dim != 1 or part.end_dim != -1:
            raise Unsupported("Flatten of some of the axes")
        return Step("flatten")
    if isinstance(part, (nn.Softmax, nn.LogSoftmax)):
        if part.dim not in (1, -1):
            raise Unsupported(f"{kind.__name__} over axis {part.dim}")
        return Step("softmax" if kind is nn.Softmax else "log_softmax")
    return _activation(part)


def _activation(part: nn.Module) -> Step | None:
    if isinstance(part, nn.LeakyReLU):
        return Step("leaky_relu", float(part.negative_slope))
    if isinstance(part, nn.ELU):
        return Step("elu", float(part.alpha))
    if isinstance(part, nn.GELU):
        return Step({"none": "gelu", "tanh": "gelu_tanh"}[part.approximate])
    if isinstance(part, nn.Softplus):
        return Step("softplus", float(part.beta), float(part.threshold))
    names = {nn.ReLU: "relu", nn.SiLU: "silu", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid"}
    return Step(names[type(part)]) if type(part) in names else None  # Identity and Dropout do nothing


def parts_of(module: nn.Module) -> list[nn.Module]:
    """All submodules, in order; a module that is met twice is in the list twice."""
    found = [module]
    for part in found:
        found += [child for child in part._modules.values() if child is not None]
        if len(found) > MOST_PARTS:
            raise Unsupported(f"it has more than {MOST_PARTS} parts")
    return found


def check_part(part: nn.Module) -> None:
    """Raise unless ``part`` does what its type says."""
    state = part.__dict__
    if part.training:
        raise Unsupported(f"{type(part).__name__} is in training mode")
    if any(state.get(name) for name in _HOOKS):
        raise Unsupported(f"{type(part).__name__} has hooks")
    if "forward" in state or "__call__" in state:
        raise Unsupported(f"{type(part).__name__} has a forward of its own")
    if type(part) in OPTIONS and not _TENSORS.isdisjoint(state):
        raise Unsupported(f"{type(part).__name__} has a tensor that is neither parameter nor buffer")


def steps_of(module: nn.Module) -> list[Step]:
    """The chain that ``module`` is."""
    parts = parts_of(module)
    leaves = [part for part in parts if not part._modules]
    strange = next((part for part in leaves if type(part) not in OPTIONS), None)
    if strange is not None and strange is not module:
        raise Unsupported(f"{type(strange).__name__} is not a dense layer")
    for part in parts:
        check_part(part)
    steps = _plain_steps(module) if _is_plain(module, parts) else None
    if steps is None:
        from .trace import traced_steps

        steps = traced_steps(module)
    tensors = [id(t) for step in steps for t in step.tensors if t is not None]
    if len(set(tensors)) < len(tensors):
        raise Unsupported("layers share parameters")
    return steps


def _is_plain(module: nn.Module, parts: list[nn.Module]) -> bool:
    """Nothing but known leaves in Sequentials."""
    return all(type(part) in OPTIONS and (not part._modules or type(part) is nn.Sequential) for part in parts)


def _plain_steps(module: nn.Module) -> list[Step]:
    return [step for part in _in_order(module) if (step := step_of(part)) is not None]


def _in_order(module: nn.Module) -> Iterable[nn.Module]:
    if type(module) is not nn.Sequential:
        yield module
        return
    for child in module._modules.values():
        if child is not None:
            yield from _in_order(child)


# ---- weights --------------------------------------------------------------------------------------------------------


def layers_of(steps: list[Step]) -> tuple[list[Layer], str, bool]:
    """The layers, the head, and whether inputs of several axes are flattened first. Norms are folded, in float64."""
    layers: list[Layer] = []
    head, flattens, pending = "raw", False, None
    for step in steps:
        if head != "raw" and step.kind != "flatten":
            raise Unsupported(f"{step.kind} after {head}")
        if step.kind == "flatten":
            flattens |= not any(layer.weight is not None for layer in layers)
        elif step.kind == "linear":
            layers.append(_linear(step, pending))
            pending = None
        elif step.kind == "norm":
            scale, shift = _affine(step)
            _check_features(layers, pending, len(scale))
            if layers and layers[-1].weight is not None and layers[-1].activation == "identity" and pending is None:
                layers[-1] = _scaled(layers[-1], scale, shift)
            elif pending is None:
                pending = (scale, shift)
            else:
                pending = (pending[0] * scale, pending[1] * scale + shift)
        elif pending is not None:
            raise Unsupported("BatchNorm1d between activations")
        elif step.kind in ("softmax", "log_softmax"):
            head = step.kind
        elif layers and layers[-1].activation == "identity":
            layers[-1] = layers[-1]._replace(activation=step.kind, a=_option(step, 0), b=_option(step, 1))
        else:
            layers.append(Layer(None, None, step.kind, _option(step, 0), _option(step, 1)))
    if pending is not None:
        raise Unsupported("BatchNorm1d after the last linear layer's activation")
    return layers, head, flattens


def _check_features(layers: list[Layer], norm: tuple[Any, Any] | None, count: int) -> None:
    """Raise unless a norm of ``count`` numbers has one for each feature: with inputs of three axes it has channels."""
    weights = [layer.weight for layer in layers if layer.weight is not None]
    before = len(norm[0]) if norm is not None else len(weights[-1]) if weights else count
    if before != count:
        raise Unsupported(f"BatchNorm1d of {count} channels of {before} features")


def _option(step: Step, i: int) -> float:
    return step.options[i] if len(step.options) > i else 0.0


def _linear(step: Step, norm: tuple[Any, Any] | None) -> Layer:
    weight, bias = (None if t is None else t.detach() for t in step.tensors)
    assert weight is not None
    if norm is None:
        return Layer(weight, bias)
    if len(norm[0]) != weight.shape[1]:
        raise Unsupported(f"BatchNorm1d of {len(norm[0])} channels of {weight.shape[1]} features")
    constant = weight.double() @ norm[1] + (0 if bias is None else bias.double())
    return Layer((weight.double() * norm[0]).to(weight.dtype), constant.to(weight.dtype))


def _affine(step: Step) -> tuple[Any, Any]:
    """BatchNorm in evaluation mode as scale and shift."""
    mean, variance, weight, bias = (None if t is None else t.detach().double() for t in step.tensors)
    assert mean is not None and variance is not None
    scale = 1 / (variance + step.options[0]).sqrt()
    if weight is not None:
        scale = scale * weight
    return scale, (0 if bias is None else bias) - mean * scale


def _scaled(layer: Layer, scale: Any, shift: Any) -> Layer:
    weight: Any = layer.weight
    bias: Any = 0.0 if layer.bias is None else layer.bias.double()
    return Layer((weight.double() * scale[:, None]).to(weight.dtype), (bias * scale + shift).to(weight.dtype))


def by_layers(device: torch.device) -> bool:
    """Whether a network on ``device`` goes layer by layer through its backend; on the CPU it goes in blocks of rows."""
    return device.type == "cuda"


def read(steps: list[Step]) -> Network:
    """The network of a chain with the weights of now."""
    tensors = [t for step in steps for t in step.tensors if t is not None]
    dtypes = {t.dtype for t in tensors}
    if len(dtypes) != 1 or not dtypes <= {torch.float32, torch.float64}:
        raise Unsupported(f"expected float32 or float64 in all layers, got {sorted(map(str, dtypes))}")
    device = tensors[0].device
    for t in tensors:
        if (
            t.device != device
            or device.type not in ("cpu", "cuda")
            or type(t) not in (Tensor, nn.Parameter)
            or t.layout != torch.strided
        ):
            raise Unsupported(f"a weight is a {type(t).__name__} on {t.device}")
        if not t.is_contiguous() or t.is_inference() or t.is_neg():
            raise Unsupported("a weight is not contiguous, a negative view, or was made in inference mode")
    layers, head, flattens = layers_of(steps)
    if by_layers(device):
        from .dense_device import DeviceNetwork

        return DeviceNetwork(layers, head, flattens)
    return Network([_in_numpy(layer) for layer in layers], head, flattens)


def _in_numpy(layer: Layer) -> Layer:
    weight, bias = (None if t is None else t.numpy() for t in layer[:2])
    return layer._replace(weight=weight, bias=bias)


def network_of(module: nn.Module) -> Network:
    """The network that a module is; `Unsupported` says why it is none."""
    if not isinstance(module, nn.Module):
        raise Unsupported("it is no torch.nn.Module")
    return read(steps_of(module))


# ---- what was read, and whether it still holds ----------------------------------------------------------------------


class Watch:
    """Everything that a module's chain was read from, without keeping the module alive."""

    def __init__(self, module: nn.Module, steps: list[Step], network: Network) -> None:
        self._parts = []
        self._owned: list[Any] = []  # alive, so that no other gets their identity
        for part in dict.fromkeys(parts_of(module)):
            self._owned += [*part._parameters.values(), *part._buffers.values()]
            options = [(name, getattr(part, name)) for name in OPTIONS.get(type(part), ())]
            written = None if type(part) in OPTIONS else settings_of(part)
            self._parts.append((weakref.ref(part), type(part), _identities(part.__dict__), options, written))
        tensors = [t for step in steps for t in step.tensors if t is not None]
        self._tensors = [(t, t.data_ptr(), t.shape) for t in tensors]
        live = network.layers[0].weight if network.wide else None  # no copy of it is used unlooked at
        copied = tensors if network.device is None else []
        views = (t.detach().numpy() for t in copied)
        self._views = tuple(view for view in views if live is None or not np.shares_memory(view, live))
        self._checksum = _core.checksum(self._views)

    def structure_holds(self) -> bool:
        """The same modules with the same options and tensors, in evaluation mode, without hooks."""
        for ref, kind, identities, options, written in self._parts:
            part: Any = ref()
            if part is None or part.__class__ is not kind:
                return False
            state = part.__dict__
            if (
                state["training"]
                or state["_forward_hooks"]
                or state["_forward_pre_hooks"]
                or state["_backward_hooks"]
                or state["_backward_pre_hooks"]
                or "forward" in state
                or _identities(state) != identities
            ):
                return False
            for name, value in options:
                if state[name] != value:
                    return False
            if written is not None and settings_of(part) != written:
                return False
        return True

    def weights_hold(self) -> bool:
        """The same memory, in the same order, with the same contents."""
        for t, address, shape in self._tensors:
            if t.data_ptr() != address or t.shape != shape or not t.is_contiguous():
                return False
        return bool(_core.checksum(self._views) == self._checksum)


def _identities(state: dict[str, Any]) -> list[int]:
    """Of a module's parameters, buffers and children, in order."""
    found: list[int] = []
    for members in (state["_parameters"], state["_buffers"], state["_modules"]):
        if members:
            found += map(id, members.values())
    return found


class Recognised:
    """What is known of one module: its chain, or why it has none."""

    def __init__(self, module: nn.Module) -> None:
        self.reason = ""
        self.network: Network | None = None
        self.verified: dict[str, str] = {}
        """By output: "" where the native numbers were torch's, else what was not."""
        self.own_forward = type(module) not in OPTIONS
        try:
            self.steps = steps_of(module)
            self.network = read(self.steps)
            self.watch = Watch(module, self.steps, self.network)
        except Unsupported as reason:
            self.reason = str(reason)
            self.network = None

    def refreshed(self) -> bool:
        """Whether this still describes the module, with new weights if need be."""
        if self.network is None or not self.watch.structure_holds() or not self.watch.weights_hold():
            return False
        if self.network.device is not None and any(step.kind == "norm" for step in self.steps):
            self.network = read(self.steps)  # what is not folded is read where it is
        return True


_lock = threading.Lock()
_known: weakref.WeakKeyDictionary[nn.Module, Recognised] = weakref.WeakKeyDictionary()


def recognise(module: nn.Module) -> Recognised:
    """What ``module`` is now; what was found out before is used where it still holds."""
    found = _known.get(module)
    if found is None or not found.refreshed():
        verified = {} if found is None or found.network is None else found.verified
        found = Recognised(module)
        if found.network is not None and set(verified.values()) == {""}:
            found.verified = verified if _same_shape(found, _known.get(module)) else {}
        with _lock:
            _known[module] = found
    return found


def _same_shape(now: Recognised, before: Recognised | None) -> bool:
    """Only the weights are new: the numbers need no second comparison with torch's."""
    if before is None or before.network is None or now.network is None:
        return False
    kinds = [[(step.kind, step.options) for step in found.steps] for found in (now, before)]
    return kinds[0] == kinds[1]
