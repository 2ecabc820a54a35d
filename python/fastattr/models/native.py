"""Torch modules that are chains of dense layers, run natively; all others, and all doubts, through autograd."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules import module as hooks

from ..arrays import is_torch
from ..problem import Problem
from .chain import recognise
from .dense import DenseSession, Network, Unsupported, check_call
from .output import Output
from .state import ModuleState
from .torch import TorchModel

CLOSE = {"float32": 1e-3, "float64": 1e-8}
"""Largest difference from torch's values and gradients, as a share of the largest, at the first use."""
MOST_CLASSES = 8  # that a forward of its own is compared in at each call
_GLOBAL = tuple(
    getattr(hooks, name, {})
    for name in (
        "_global_forward_hooks",
        "_global_forward_pre_hooks",
        "_global_backward_hooks",
        "_global_backward_pre_hooks",
    )
)


class NativeOrTorch:
    """A torch module under ``engine`` "auto" or "native"."""

    def __init__(self, model: nn.Module, output: str, output_axis: int, output_key: Any, engine: str) -> None:
        self.model = model
        self.output = (output, output_axis, output_key)
        self.engine = engine

    def open(self, problem: Problem, progress: Any) -> Any:
        """The model bound to one problem: a context that gives a session."""
        try:
            return self._native(problem, progress)
        except Unsupported as reason:
            if self.engine == "native":
                raise ValueError(
                    f'engine: expected a model that runs natively for "native", got one that does not: {reason}'
                ) from None
        return TorchModel(self.model, *self.output).open(problem, progress)

    def _native(self, problem: Problem, progress: Any) -> DenseSession:
        output, axis, key = self.output
        if key is not None or axis not in (1, -1):
            raise Unsupported("output_axis=, output_key= of a chain of dense layers")
        if _GLOBAL[0] or _GLOBAL[1] or _GLOBAL[2] or _GLOBAL[3]:
            raise Unsupported("there are global hooks")
        found = recognise(self.model)
        network = found.network
        if network is None:
            raise Unsupported(found.reason)
        check_call(network, problem)
        if torch.is_autocast_enabled("cpu" if network.device is None else network.device.type):
            raise Unsupported("autocast is on")
        session = network.session(output, problem, progress)
        if output not in found.verified:
            found.verified[output] = _difference(network, self.model, output, problem)
        if found.verified[output]:
            raise Unsupported(found.verified[output])
        if found.own_forward and problem.examples and not _same_output(network, self.model, problem):
            raise Unsupported("its forward does not do what it did when it was traced")
        return session


def _tensor(x: Any) -> torch.Tensor:
    return x if is_torch(x) else torch.from_numpy(np.array(x))


def _rows(problem: Problem) -> torch.Tensor:
    """A few points to compare at: inputs, and others beside them."""
    x = _tensor(problem.inputs[0][:2]).detach().clone()
    draws = torch.Generator("cpu").manual_seed(0)
    noise = torch.randn(x.shape, generator=draws, dtype=x.dtype, device="cpu").to(x.device)
    return torch.cat([x, torch.where(x.isfinite(), x, 0) + noise])


def _difference(network: Network, module: nn.Module, output: str, problem: Problem) -> str:
    """How the native values and gradients differ from torch's; "" if they do not."""
    points = _rows(problem)
    scalars = torch.arange(2 * len(points), device=points.device).reshape(-1, 2) % network.classes
    scalars[:, 1] = -1
    values, slopes = points.new_empty(len(points)), torch.empty_like(points)
    network.evaluate(output, points, scalars[None], values[None], slopes[None])
    try:
        with (
            torch.inference_mode(False),
            ModuleState(module, points.device),
            torch.enable_grad(),
        ):
            leaf = points.clone().requires_grad_()
            scores = Output(output, 1, None).scores(module(leaf), len(leaf))
            if tuple(scores.shape) != (len(leaf), network.classes):
                return f"its outputs are {tuple(scores.shape[1:])}, not ({network.classes},)"
            picked = scores.gather(1, scalars[:, :1])
            (expected,) = torch.autograd.grad(picked.sum(), leaf)
    except (RuntimeError, TypeError, ValueError) as error:
        return f"torch cannot run it: {error}"
    for name, found, wanted in (("values", values, picked.detach().squeeze(1)), ("gradients", slopes, expected)):
        largest = wanted[wanted.isfinite()].abs().amax() if wanted.isfinite().any() else 0.0
        bound = CLOSE[network.dtype.name] * (float(largest) + torch.finfo(points.dtype).tiny)
        if not torch.allclose(found, wanted, rtol=0, atol=bound, equal_nan=True):
            return f"its native {name} differ from torch's"
    return ""


def _same_output(network: Network, module: nn.Module, problem: Problem) -> bool:
    """Whether a module with a forward of its own still gives the outputs of its chain, at the first example."""
    classes = min(network.classes, MOST_CLASSES)
    point = _tensor(problem.inputs[0][:1]).detach()
    with ModuleState(module, point.device), torch.no_grad():
        wanted = module(point)
    scalars = torch.full((classes, 1, 2), -1, device=point.device)
    scalars[:, 0, 0] = torch.arange(classes, device=point.device)
    values = point.new_empty((classes, 1))
    network.evaluate("raw", point, scalars, values)
    if not isinstance(wanted, torch.Tensor) or tuple(wanted.shape) != (1, network.classes):
        return False
    bound = CLOSE[network.dtype_name] * max(1e-30, float(wanted.abs().max()))
    return torch.allclose(values[:, 0], wanted[0, :classes], rtol=0, atol=bound, equal_nan=True)
