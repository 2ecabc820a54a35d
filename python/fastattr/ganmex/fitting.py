"""The training loop: checks, the best checkpoint, interruption and resumption."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..baselines.mdts import ClassSearch
from . import networks
from .classifier import Classifier, Scale, same_classifier, train_judge
from .selection import Check, Validation, flat, split
from .training import Options, Trainer, states_of

MOST_VALIDATION = 512
JUDGE_STEPS = 600


class Fit:
    """One training of a generator, which can stop anywhere and go on.

    Parameters
    ----------
    classifier : Classifier
    scale : Scale
    options : Options
    x, y : Tensor
        Inputs in the value range and labels, on the device of the training.
    share : float
        Of the validation part.
    every : int
        Steps between checks.
    """

    def __init__(
        self,
        classifier: Classifier,
        scale: Scale,
        options: Options,
        x: Tensor,
        y: Tensor,
        share: float,
        every: int,
    ) -> None:
        self.classifier, self.scale, self.options, self.every = classifier, scale, options, every
        self.key = _digest(options, x, y, share, every)
        self.fingerprint = classifier.fingerprint(scale, options.input_shape)
        z = scale.down(x.float())
        labels = y.cpu().numpy()
        train, held = split(labels, share, MOST_VALIDATION, options.seed)
        if len(held) == 0:
            raise ValueError(f"validation: expected a share that leaves some of {len(y)} samples, got {share}")
        train_rows, held_rows = (torch.from_numpy(rows).to(x.device) for rows in (train, held))
        self._train, self._held = (z[train_rows], y[train_rows]), (z[held_rows], y[held_rows])
        self._search = ClassSearch(flat(z[train_rows]), labels[train])
        self.trainer = Trainer(options, self._classify, *self._train)
        self.history: list[Check] = []
        self.best: dict[str, Tensor] | None = None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed + 2)
            self._judge = networks.judge(self._train[0].cpu(), options.classes).to(x.device)
        self._judge_ready = False
        self._kept = self.trainer.state()

    def run(self, steps: int, bar: Any, path: Path | None) -> None:
        """Train up to step ``steps``; when interrupted, `state` is that of the last check."""
        self._prepare_judge()
        search, seed = self._search, self.options.seed + 3
        validation = Validation(self.classifier, self._judge, self.scale, *self._held, self._train[0], search, seed)
        try:
            while self.trainer.step < steps:
                losses = self.trainer.advance()
                bar.update(1)
                step = self.trainer.step
                if step % self.every == 0 or step == steps:
                    _check_finite(losses, step)
                    self._look(validation.check(self.trainer.average, step), bar)
                    self._kept = self.trainer.state()
                    if path is not None:
                        write(path, self.state())
        except BaseException:
            self.trainer.load(self._kept)  # an interrupted step may have changed half of the parameters
            self.history = [check for check in self.history if check.step <= self.trainer.step]
            raise

    def state(self) -> dict[str, Any]:
        """All that `load` needs."""
        return {
            "key": self.key,
            "fingerprint": self.fingerprint,
            "trainer": self._kept,
            "history": [check.as_dict() for check in self.history],
            "best": self.best,
            "judge": states_of(self._judge) if self._judge_ready else None,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from ``state``.

        Raises
        ------
        ValueError
            It belongs to other data, options or another classifier.
        """
        if state["key"] != self.key or not same_classifier(state["fingerprint"], self.fingerprint):
            raise ValueError(
                "resume: expected a fit to the same data, options and classifier, got the state of another"
            )
        self.trainer.load(state["trainer"])
        self._kept = state["trainer"]
        self.history = [Check(**{**figures, "step": int(figures["step"])}) for figures in state["history"]]
        self.best = state["best"]
        if state["judge"] is not None:
            self._judge.load_state_dict(state["judge"])
            self._judge.eval().requires_grad_(False)
            self._judge_ready = True

    def _classify(self, z: Tensor) -> Tensor:
        return self.classifier.log_probabilities(self.scale.up(z))

    def _prepare_judge(self) -> None:
        if not self._judge_ready:
            count = len(self._train[0])
            epochs = int(np.clip(JUDGE_STEPS * 64 / count, 2, 200))
            train_judge(self._judge, *self._train, self.options.seed + 4, epochs)
            self._judge_ready = True

    def _look(self, check: Check, bar: Any) -> None:
        if check.score > max((earlier.score for earlier in self.history), default=-np.inf):
            self.best = states_of(self.trainer.average)
        self.history.append(check)
        bar.set_postfix(
            converted=f"{check.conversion:.0%}", judge=f"{check.judge:.0%}", distance=f"{check.distance:.2f}"
        )


class NoBar:
    """In place of a progress bar."""

    def update(self, steps: int) -> None:
        """Nothing to show."""

    def set_postfix(self, **figures: str) -> None:
        """Nothing to show."""


@contextmanager
def progress_bar(shown: bool, first: int, steps: int) -> Iterator[Any]:
    """A tqdm bar over the steps, or nothing."""
    if not shown:
        yield NoBar()
        return
    from tqdm.auto import tqdm

    with tqdm(total=steps, initial=first, desc="GANMEX", unit=" steps") as bar:
        yield bar


def write(path: Path, state: dict[str, Any]) -> None:
    """Replace the file as a whole: an interruption leaves the old one."""
    beside = path.with_name(path.name + ".part")
    torch.save(state, beside)
    os.replace(beside, path)


def _check_finite(losses: dict[str, Tensor], step: int) -> None:
    wrong = [name for name, loss in losses.items() if not bool(torch.isfinite(loss))]
    if wrong:
        raise FloatingPointError(f"the {', '.join(wrong)} loss is not finite at step {step}: lower learning_rate")


def _digest(options: Options, x: Tensor, y: Tensor, share: float, every: int) -> str:
    digest = hashlib.sha256(repr((options, share, every, tuple(x.shape))).encode())
    for value in (x, y):
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
