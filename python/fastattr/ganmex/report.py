"""How good the baselines of a `GANMEX` are, on inputs that its training has not seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..baselines.mdts import ClassSearch
from ..visualize import panels
from ..visualize.convert import to_display
from .classifier import Classifier
from .prepare import labels_of, rows_of
from .selection import flat

if TYPE_CHECKING:
    from ..visualize.canvas import Picture
    from .ganmex import GANMEX

SHOWN = 6
"""Inputs in the figure."""


@dataclass(frozen=True)
class Line:
    """Figures of N pairs (input, class). Distances are L2, means over the pairs, in the unit of the inputs."""

    name: str
    pairs: int
    conversion: float
    """Share that the explained classifier takes for the class."""
    judge: float
    """Share that the judge takes for the class; NaN without one."""
    distance: float
    """From the input."""
    mdts_distance: float
    """From the input to the nearest training sample of the class."""
    closer: float
    """Share nearer to the input than that."""
    nearest: float
    """From the nearest training sample of any class."""


@dataclass(frozen=True)
class Report:
    """A `Line` for all pairs, for those set apart, and what the inputs' own distance to the training data is."""

    lines: list[Line]
    inputs_nearest: float
    """Mean L2 distance of the inputs from the nearest training sample: what unseen but real data have."""
    inputs: NDArray[np.float32] = field(repr=False)
    edits: NDArray[np.float32] = field(repr=False)  # (inputs, classes, ...), the input itself for its own class
    labels: NDArray[np.int64] = field(repr=False)

    def table(self) -> str:
        """Plain text, a line for all pairs and for each group set apart."""
        head = f"{'pairs':<16}{'number':>8}{'converted':>11}{'judge':>8}{'distance':>10}{'MDTS':>8}{'closer':>8}"
        rows = [
            f"{line.name:<16}{line.pairs:>8}{line.conversion:>11.1%}{_share(line.judge):>8}{line.distance:>10.3f}"
            f"{line.mdts_distance:>8.3f}{line.closer:>8.1%}{line.nearest:>19.3f}"
            for line in self.lines
        ]
        foot = f"(unseen inputs themselves are {self.inputs_nearest:.3f} from the nearest training sample)"
        return "\n".join([f"{head}{'to training data':>19}", *rows, foot])

    __str__ = table

    def plot(self) -> Picture:
        """Some inputs, each beside its edits towards every class.

        Raises
        ------
        ImportError
            matplotlib is not installed.
        ValueError
            The inputs are not images of one or three channels.
        """
        if self.inputs.ndim != 4 or self.inputs.shape[1] not in (1, 3):
            raise ValueError(f"plot: expected images of 1 or 3 channels, got inputs of shape {self.inputs.shape[1:]}")
        classes = self.edits.shape[1]
        low, high = float(self.inputs.min()), float(self.inputs.max())
        pictures, titles = [], []
        for x, made, label in zip(self.inputs, self.edits, self.labels, strict=True):
            for value, title in [(x, f"input: {label}"), *((made[c], f"as {c}") for c in range(classes))]:
                scaled = np.clip((value - low) / max(high - low, 1e-12), 0, 1)
                pictures.append(to_display(scaled))
                titles.append(title)
        return panels(pictures, titles=titles, columns=classes + 1, size=1.0 if classes > 5 else 1.4)


def report(
    owner: GANMEX,
    x: Any,
    y: Any,
    judge: Callable[..., Any] | None,
    apart: Mapping[str, Sequence[tuple[int, int]]],
    training: tuple[Any, Any] | None,
) -> Report:
    """See `GANMEX.report`."""
    rows = rows_of(x, "x", owner.input_shape)
    labels = labels_of(y, len(rows), owner.classes).numpy()
    given = training if training is not None else owner._training
    if len(rows) == 0:
        raise ValueError("x: expected at least one input, got none")
    if given is None:
        raise ValueError("training: expected (X, y), which this file does not hold")
    train_x = rows_of(given[0], "training", owner.input_shape)
    train_y = labels_of(given[1], len(train_x), owner.classes)
    device = owner._classifier.device(rows.device)
    with owner._classifier.frozen(device):
        read = owner._classifier.predict(train_x.to(device)).cpu()
    agreed = torch.where(read == train_y, train_y, -1).numpy()  # MDTS: labelled so and predicted so
    source = np.repeat(np.arange(len(rows)), owner.classes)
    target = np.tile(np.arange(owner.classes), len(rows))
    source, target = source[target != labels[source]], target[target != labels[source]]
    inputs = rows[torch.from_numpy(source).to(rows.device)]
    edit = owner.edit(inputs, target)
    judged = np.full(len(target), np.nan)
    if judge is not None:
        other = Classifier(judge, owner.classes)
        place = other.device(device)
        with other.frozen(place):
            judged = (other.predict(edit.values.to(place)).cpu().numpy() == target).astype(float)
    anything = ClassSearch(flat(train_x), np.zeros(len(train_x), np.int64))
    made, came = flat(edit.values), flat(inputs)
    figures = {
        "conversion": edit.converted.numpy().astype(float),
        "judge": judged,
        "distance": np.linalg.norm(made.astype(np.float64) - came, axis=1),
        "mdts_distance": ClassSearch(flat(train_x), agreed).nearest(came, target)[1],
        "nearest": anything.nearest(made, np.zeros(len(made), np.int64))[1],
    }
    figures["closer"] = (figures["distance"] < figures["mdts_distance"]).astype(float)
    lines = [_line("all", figures, np.ones(len(target), bool))]
    for name, pairs in apart.items():
        chosen = np.zeros(len(target), bool)
        for a, b in pairs:
            chosen |= (labels[source] == a) & (target == b)
        if not chosen.any():
            raise ValueError(f"apart: expected pairs of classes that occur, got none for {name!r}")
        lines.append(_line(name, figures, chosen))
    own = anything.nearest(flat(rows), np.zeros(len(rows), np.int64))[1]
    shown = np.sort(np.unique(labels, return_index=True)[1])[:SHOWN]
    pictures = np.repeat(rows[shown].float().cpu().numpy()[:, None], owner.classes, 1)
    for row, number in enumerate(shown):
        mine = np.flatnonzero(source == number)
        pictures[row, target[mine]] = edit.values[mine].float().cpu().numpy()
    return Report(lines, float(own.mean()), rows[shown].float().cpu().numpy(), pictures, labels[shown])


def _line(name: str, figures: dict[str, NDArray[Any]], chosen: NDArray[np.bool_]) -> Line:
    return Line(name, int(chosen.sum()), **{key: float(value[chosen].mean()) for key, value in figures.items()})


def _share(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.1%}"
