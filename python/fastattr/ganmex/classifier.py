"""The explained classifier S as GANMEX asks it: frozen, in eval mode, on inputs scaled to [-1, 1]."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..models.output import Output
from ..models.state import ModuleState, module_of

BATCH = 512
"""Rows of a forward pass without gradients."""
PROBES = 8
"""Inputs by whose outputs a classifier is recognised."""


class Scale:
    """The map from a value range to [-1, 1] and back, per feature; a constant feature becomes 0 and stays.

    Parameters
    ----------
    low, high : Tensor
        Broadcastable to one input.
    hard : bool
        Nothing lies outside the range, as with pixels; else an input may, and keeps what it has beyond it.
    """

    def __init__(self, low: Tensor, high: Tensor, hard: bool = True) -> None:
        self.low, self.high, self.hard = low, high, hard
        self._half = (high - low) / 2

    def to(self, device: torch.device) -> Scale:
        """The same on a device."""
        return Scale(self.low.to(device), self.high.to(device), self.hard)

    def edited(self, x: Tensor, z: Tensor) -> Tensor:
        """``z`` back from [-1, 1], with what ``x``, whose edit it is, has beyond a range that is not hard."""
        back = self.up(z)
        return back if self.hard else back + (x - self.up(self.down(x)))

    def down(self, x: Tensor) -> Tensor:
        """To [-1, 1]; what lies outside the range is clipped."""
        half = torch.where(self._half > 0, self._half, torch.ones_like(self._half))
        return ((x - self.low) / half - 1).clamp(-1, 1) * (self._half > 0)

    def up(self, z: Tensor) -> Tensor:
        """Back from [-1, 1]."""
        return self.low + (z + 1) * self._half


class Classifier:
    """S, whose outputs (B, K) are logits or probabilities.

    Parameters
    ----------
    model : torch.nn.Module or callable
    classes : int
        K.
    kind : {"auto", "logits", "probabilities"}
        "auto" takes rows that are >= 0 and sum to 1 for probabilities.
    output_key : str or int, optional
        As in `fastattr.methods.base.GradientMethod`.
    """

    def __init__(self, model: Callable[..., Any], classes: int, kind: str = "auto", output_key: Any = None) -> None:
        if not callable(model):
            raise TypeError(f"model: expected a torch module or a callable, got {type(model).__name__}")
        self.model = model
        self.module = module_of(model)
        self.classes = classes
        self.kind = kind
        self._output = Output("raw", 1, output_key)
        parameters = () if self.module is None else self.module.parameters()
        self._dtype = next((p.dtype for p in parameters if p.is_floating_point()), None)

    def device(self, otherwise: torch.device) -> torch.device:
        """Of the first parameter or buffer."""
        tensors = () if self.module is None else (*self.module.parameters(), *self.module.buffers())
        return tensors[0].device if tensors else otherwise

    @contextmanager
    def frozen(self, device: torch.device) -> Iterator[None]:
        """In eval mode, parameters without gradients; afterwards all is as it was, also the global random state."""
        modes = [] if self.module is None else [(part, part.training) for part in self.module.modules()]
        try:
            for part, _ in modes:
                part.training = False
            with ModuleState(self.module, device):
                yield
        finally:
            for part, training in modes:
                part.training = training

    def scores(self, x: Tensor) -> Tensor:
        """(B, K) outputs at ``x`` in the value range."""
        found = self._output.scores(self.model(x.to(self._dtype or x.dtype)), len(x))
        if found.dim() != 2 or found.shape[1] != self.classes:
            raise ValueError(
                f"model: expected outputs of shape ({len(x)}, {self.classes}) for classes={self.classes}, "
                f"got {tuple(found.shape)}"
            )
        return found

    def settle(self, x: Tensor) -> None:
        """Decide between logits and probabilities, once, by the outputs at ``x``."""
        if self.kind != "auto":
            return
        with torch.no_grad():
            found = self.scores(x)
        sums = bool((found >= 0).all()) and bool(((found.sum(1) - 1).abs() < 1e-3).all())
        self.kind = "probabilities" if sums else "logits"

    def log_probabilities(self, x: Tensor) -> Tensor:
        """(B, K), differentiable in ``x``."""
        found = self.scores(x).float()
        if self.kind == "probabilities":
            return found.clamp_min(torch.finfo(found.dtype).tiny).log()
        return found.log_softmax(1)

    def predict(self, x: Tensor) -> Tensor:
        """(B,) classes, in batches."""
        with torch.no_grad():
            return torch.cat([self.scores(part).argmax(1) for part in x.split(BATCH)]) if len(x) else x.new_zeros(0)

    def fingerprint(self, scale: Scale, input_shape: tuple[int, ...]) -> dict[str, Any]:
        """What tells one classifier from another: a digest of its tensors, and its outputs at fixed inputs."""
        digest = hashlib.sha256()
        tensors = {} if self.module is None else dict([*self.module.named_parameters(), *self.module.named_buffers()])
        for name in sorted(tensors):
            value = tensors[name].detach().cpu().contiguous()
            digest.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
            digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
        numbers = np.random.RandomState(0).uniform(-1, 1, (PROBES, *input_shape)).astype(np.float32)
        device = self.device(torch.device("cpu"))
        probe = scale.to(device).up(torch.from_numpy(numbers).to(device))
        with self.frozen(device), torch.no_grad():
            outputs = self.scores(probe).float().cpu()
        return {"tensors": digest.hexdigest(), "outputs": outputs}


def same_classifier(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether two fingerprints are of one classifier; outputs may differ by the rounding of another machine."""
    x, y = a["outputs"], b["outputs"]
    if a["tensors"] != b["tensors"] or x.shape != y.shape:
        return False
    return bool(torch.allclose(x, y, rtol=1e-3, atol=1e-3 * float(x.abs().max()), equal_nan=True))


def train_judge(network: nn.Module, x: Tensor, y: Tensor, seed: int, epochs: int) -> nn.Module:
    """Adam on shuffled batches of 64 of scaled inputs; ``network`` in eval mode, frozen."""
    order = torch.Generator("cpu").manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    with torch.enable_grad():
        for _ in range(epochs):
            for rows in torch.randperm(len(x), generator=order, device="cpu").split(64):
                rows = rows.to(x.device)
                optimizer.zero_grad(set_to_none=True)
                torch.nn.functional.cross_entropy(network(x[rows]), y[rows]).backward()
                optimizer.step()
    return network.eval().requires_grad_(False)
