"""One step of the training of GANMEX after another, and its state: everything that the next step depends on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from . import networks
from .losses import Weights, critic_loss, generator_terms

BETAS = (0.5, 0.999)  # of Adam
HELD = 400
"""Steps at the whole learning rate. It falls as 1 / step from there: edits settle, whenever the training ends."""


@dataclass(frozen=True)
class Options:
    """What decides a training besides data and classifier."""

    input_shape: tuple[int, ...]
    classes: int
    weights: Weights
    batch: int = 32
    seed: int = 0
    learning_rate: float = 5e-4
    critic_steps: int = 1
    ema: float = 0.999
    swap: bool = True
    """The class loss comes from the explained classifier; False: from the critic's own, as in StarGAN."""
    width: int | None = None
    anew: bool = False
    autocast: bool = False


class Trainer:
    """Generator, critic, averaged generator and optimizers.

    Parameters
    ----------
    options : Options
    classify : callable
        (B, K) log probabilities of the explained classifier at scaled inputs.
    x, y : Tensor
        Training data, scaled, and labels, on the device of the training.
    """

    def __init__(self, options: Options, classify: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> None:
        self.options = options
        self.x, self.y = x, y
        shape, classes = options.input_shape, options.classes
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            generator = networks.generator(shape, classes, options.width, options.anew)
            critic = networks.critic(shape, None if options.swap else classes, options.width)
            average = networks.generator(shape, classes, options.width, options.anew)
        average.load_state_dict(generator.state_dict())
        self.generator, self.critic = generator.to(x.device), critic.to(x.device)
        self.average = average.to(x.device).eval().requires_grad_(False)
        for part in (self.generator, self.critic, self.average):
            _lay_channels_last(part)
        self._classify = classify if options.swap else self._classify_by_critic
        rate = options.learning_rate
        self._generator_optimizer = torch.optim.Adam(self.generator.parameters(), rate, BETAS)
        self._critic_optimizer = torch.optim.Adam(self.critic.parameters(), rate, BETAS)
        self._draws = torch.Generator("cpu").manual_seed(options.seed + 1)
        self.step = 0

    def advance(self) -> dict[str, Tensor]:
        """One step of the critic (or several) and one of the generator; the losses, 0-d on the device."""
        losses: dict[str, Tensor] = {}
        self._set_rate()
        with torch.enable_grad():
            if self.options.weights.adversarial or not self.options.swap:
                for _ in range(self.options.critic_steps):
                    losses["critic"] = self._improve_critic()
            losses |= self._improve_generator()
        self._average()
        self.step += 1
        return losses

    def state(self) -> dict[str, Any]:
        """A copy of everything that the next step depends on, on the CPU."""
        parts = {name: _copied(part.state_dict()) for name, part in self._parts().items()}
        return {"step": self.step, "draws": self._draws.get_state(), **parts}

    def load(self, state: dict[str, Any]) -> None:
        """Go back, or on, to a `state`."""
        for name, part in self._parts().items():
            part.load_state_dict(_copied(state[name]))  # optimizers keep the tensors they are given
        self._draws.set_state(state["draws"])
        self.step = state["step"]

    def _parts(self) -> dict[str, Any]:
        return {
            "generator": self.generator,
            "critic": self.critic,
            "average": self.average,
            "generator_optimizer": self._generator_optimizer,
            "critic_optimizer": self._critic_optimizer,
        }

    def _set_rate(self) -> None:
        rate = self.options.learning_rate * min(1.0, HELD / max(self.step, 1))
        for optimizer in (self._generator_optimizer, self._critic_optimizer):
            for group in optimizer.param_groups:
                group["lr"] = rate

    def _batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs, labels, and target labels uniform over all classes; drawn on the CPU, the same on every device."""
        size = self.options.batch
        rows = torch.randint(len(self.x), (size,), generator=self._draws, device="cpu").to(self.x.device)
        target = torch.randint(self.options.classes, (size,), generator=self._draws, device="cpu").to(self.x.device)
        return self.x[rows], self.y[rows], target

    def _improve_critic(self) -> Tensor:
        x, y, target = self._batch()
        position = torch.rand(len(x), generator=self._draws, device="cpu").to(x.device)
        with torch.no_grad(), self._precision():
            sample = self.generator(x, target).float()
        loss = critic_loss(self.critic, x, sample, position)  # second derivatives: never in half precision
        if not self.options.swap:
            loss = loss + functional.cross_entropy(self.critic.class_scores(x), y)
        return _descend(loss, self._critic_optimizer)

    def _improve_generator(self) -> dict[str, Tensor]:
        x, y, target = self._batch()
        self.critic.requires_grad_(False)
        try:
            with self._precision():
                terms = generator_terms(self.generator, self.critic, self._classify, x, y, target, self.options.weights)
                loss = terms.total(self.options.weights)
            _descend(loss, self._generator_optimizer)
        finally:
            self.critic.requires_grad_(True)
        return {name: term.detach() for name, term in terms._asdict().items()}

    def _classify_by_critic(self, x: Tensor) -> Tensor:
        return self.critic.class_scores(x).log_softmax(1)

    def _precision(self) -> AbstractContextManager[Any]:
        if not self.options.autocast:
            return nullcontext()
        return torch.autocast(self.x.device.type, torch.bfloat16)

    @torch.no_grad()
    def _average(self) -> None:
        """Exponential moving average, over fewer steps while there are few."""
        keep = min(self.options.ema, (1 + self.step) / (10 + self.step))
        for mean, now in zip(self.average.parameters(), self.generator.parameters(), strict=True):
            mean.lerp_(now, 1 - keep)


def _lay_channels_last(part: nn.Module) -> None:
    """Convolutions are about an eighth faster so on a CPU."""
    for p in part.parameters():
        if p.dim() == 4:
            p.data = p.data.contiguous(memory_format=torch.channels_last)


def _descend(loss: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss.detach()


def _copied(value: Any) -> Any:
    """``value`` with its tensors cloned to the CPU."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copied(entry) for key, entry in value.items()}
    return [_copied(entry) for entry in value] if isinstance(value, list) else value


def states_of(module: nn.Module) -> dict[str, Tensor]:
    """A copy of a module's tensors, on the CPU."""
    found: dict[str, Tensor] = _copied(dict(module.state_dict()))
    return found
