"""Which checkpoint is kept: the networks of a GAN do not get better with every step, so each is looked at.

Of a validation part that the training does not see, every input is edited towards classes other than its own. Of the
edits are taken the share that the explained classifier takes for their class (conversion), the share that a second
classifier of the same data does (judge), their mean L2 distance from their inputs as a share of that of MDTS, and
their mean L2 distance from the nearest training sample as a multiple of that of the validation inputs (realism, 1 is
perfect):

    score = conversion * judge - CLOSENESS * distance - REALISM * max(realism - 1, 0)

Conversion and closeness alone would choose adversarial noise, which the judge does not follow; the three alone an early
checkpoint that changes too little to look like its class. The judge's share is uncertain by a percent over some hundred
pairs, so that realism, which goes on improving where conversion has long been reached, counts in full.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..baselines.mdts import ClassSearch
from ..baselines.nearest import Candidates
from .classifier import Classifier, Scale

CLOSENESS, REALISM = 0.1, 1.0
SAMPLES = 5000
"""Training samples that realism is measured by, at most."""
PAIRS = 512
"""Edits of one check, about."""


@dataclass(frozen=True)
class Check:
    """A checkpoint's figures."""

    step: int
    conversion: float
    judge: float
    distance: float
    """Share of that of MDTS."""
    realism: float
    """Distance from the training data, a multiple of that of real inputs."""
    score: float

    def as_dict(self) -> dict[str, float]:
        """Plain numbers by name."""
        return asdict(self)


class Validation:
    """The pairs (input, class) by which checkpoints are compared; inputs scaled, all on one device."""

    def __init__(
        self,
        classifier: Classifier,
        judge: nn.Module,
        scale: Scale,
        x: Tensor,
        y: Tensor,
        train_x: Tensor,
        search: ClassSearch,
        seed: int,
    ) -> None:
        self.classifier, self.judge, self.scale = classifier, judge, scale
        classes = classifier.classes
        per_input = min(classes - 1, max(1, PAIRS // len(x)))
        draws = np.random.RandomState(seed)
        shifts = np.array([draws.permutation(classes - 1)[:per_input] + 1 for _ in range(len(x))])
        target = (y.cpu().numpy()[:, None] + shifts) % classes
        self.x = x.repeat_interleave(per_input, 0)
        self.target = torch.from_numpy(target.reshape(-1)).to(x.device)
        _, distance = search.nearest(flat(self.x), target.reshape(-1))
        self._mdts = float(distance.mean())
        chosen = np.sort(draws.permutation(len(train_x))[:SAMPLES])
        self._data = Candidates(flat(train_x[torch.from_numpy(chosen).to(x.device)]))
        self._real = float(self._data.nearest(flat(x))[1].mean())

    @torch.no_grad()
    def check(self, generator: nn.Module, step: int) -> Check:
        """The figures of ``generator``."""
        sample = generator(self.x, self.target)
        conversion = float((self.classifier.predict(self.scale.up(sample)) == self.target).double().mean())
        agreement = float((self.judge(sample).argmax(1) == self.target).double().mean())
        moved = float((sample - self.x).flatten(1).norm(dim=1).double().mean()) / max(self._mdts, 1e-12)
        realism = float(self._data.nearest(flat(sample))[1].mean()) / max(self._real, 1e-12)
        score = conversion * agreement - CLOSENESS * moved - REALISM * max(realism - 1, 0.0)
        return Check(step, conversion, agreement, moved, realism, score)


def split(y: NDArray[np.int64], share: float, most: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the training and of the validation part: ``share`` of every class, ``most`` in all, never a whole one.

    ``y`` (N,). Both in ascending order.
    """
    draws = np.random.RandomState(seed)
    share = min(share, most / len(y))
    held: list[NDArray[np.int64]] = []
    for label in np.unique(y):
        members = draws.permutation(np.flatnonzero(y == label))
        held.append(members[: min(len(members) - 1, round(share * len(members)))])
    validation = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(y)), validation), validation


def flat(x: Tensor) -> NDArray[np.float32]:
    """(B, D) float32 on the CPU."""
    found: NDArray[np.float32] = x.detach().flatten(1).float().cpu().numpy()
    return found
