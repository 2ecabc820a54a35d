"""The page's section on starting points: every baseline of the library, and one that was made for the question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..datasets import Split
from ..visualize import shared_scale
from ..visualize.convert import to_numpy
from . import svg
from .examples import PAIRS, Example
from .network import predict, torch_of
from .parts import a, figure, legend

if TYPE_CHECKING:
    import torch

    from ..ganmex import GANMEX

STEPS, RATE, WIDTH = 400, 1e-3, 16
"""Of GANMEX here: a training of seconds rather than minutes."""
DRAWS = 20
"""Of the random baselines."""
JUDGED = 90
"""Unseen digits by which the edits are judged."""
TITLES = {
    "Zero": "empty paper",
    "Maximum": "the farther end: full ink for paper, paper for ink",
    "Blur": "the digit, blurred",
    "Uniform": "grey noise, one of {draws}",
    "Gaussian": "the digit with noise, one of {draws}",
    "Mean": "the mean training digit",
    "DataSet": "training digits, one of {draws}",
    "MDTS": "the nearest real {rival}",
    "GANMEX": "the digit, redrawn as {rival}",
}


@dataclass(frozen=True)
class Start:
    """A starting point for one digit, and the map of digit versus look-alike from there."""

    image: NDArray[np.float64]  # (8, 8)
    values: NDArray[np.float64]
    read: int
    """What the network reads there."""
    distance: float
    """L2, from the digit."""


@dataclass(frozen=True)
class Starts:
    """Of every digit of `PAIRS` its starts by name, and the shares of edits of unseen digits that ..."""

    found: list[dict[str, Start]]
    converted: float
    """... the network reads as wanted ..."""
    closer: float
    """... and that are nearer to their digit than the nearest real one of the class."""


def learn(network: torch.nn.Module, data: Split, seed: int, progress: bool) -> GANMEX:
    """A generator for the network, trained on one thread."""
    from ..ganmex import GANMEX

    gx = GANMEX(network, classes=10, input_shape=(1, 8, 8), value_range=(0.0, 1.0), width=WIDTH, fallback="none")
    return gx.fit(data.x_train, data.y_train, steps=STEPS, learning_rate=RATE, seed=seed, threads=1, progress=progress)


def starts(network: torch.nn.Module, data: Split, examples: list[Example], gx: GANMEX, seed: int) -> Starts:
    """Every baseline's starting point and map for the digits of ``examples``, versus their look-alikes."""
    import fastattr as fa

    x = torch_of(np.stack([e.image for e in examples])[:, None].astype(np.float32))
    digits, rivals = list(PAIRS), list(PAIRS.values())
    kinds = fa.baselines
    objects: dict[str, Any] = {
        "Zero": kinds.Zero(),
        "Maximum": kinds.Maximum((0.0, 1.0)),
        "Blur": kinds.Blur(1.0),
        "Uniform": kinds.Uniform((0.0, 1.0), DRAWS, seed),
        "Gaussian": kinds.Gaussian(0.3, (0.0, 1.0), DRAWS, seed),
        "Mean": kinds.Mean(data.x_train),
        "DataSet": kinds.DataSet(data.x_train, DRAWS, seed),
        "MDTS": kinds.MDTS(data.x_train, data.y_train, network),
        "GANMEX": gx,
    }
    method = fa.IntegratedGradients(network)
    found: list[dict[str, Start]] = [{} for _ in examples]
    for name, made in objects.items():
        base = made.baseline(x, rivals).expand(x.shape)
        values = method(x, digits, versus=rivals, baseline=made).values
        read = predict(network, base)
        for i, of_digit in enumerate(found):
            image = to_numpy(base)[i, 0].astype(np.float64)
            distance = float(np.linalg.norm(image - examples[i].image))
            of_digit[name] = Start(image, to_numpy(values)[i, 0].astype(np.float64), int(read[i]), distance)
    line = gx.report(data.x_test[:JUDGED], data.y_test[:JUDGED]).lines[0]
    return Starts(found, line.conversion, line.closer)


def section(examples: list[Example], found: Starts) -> str:
    """Nine starting points for the first digit, and three of them for all."""
    e = examples[0]
    rows = "\n".join(_row(other, of_digit) for other, of_digit in zip(examples, found.found, strict=True))
    return f"""<h2>Where should it start?</h2>
<p>An integral from another starting point is the answer to another question. Here are nine for this {e.digit}, above,
and below each the map of what lifts &ldquo;{e.digit}&rdquo; over &ldquo;{e.rival}&rdquo; on the way from there. From
empty paper the map can only speak of ink that is there; from noise or a blur it compares with an image that nobody
would call {a(e.rival)}.</p>
{_nine(e, found.found[0])}
<p class="after">The last two start from a proper {e.rival}. A real one (<em>MDTS</em>) is another person&rsquo;s
handwriting and differs in much that has nothing to do with the question. <em>GANMEX</em> learns to redraw: a generator
changes the digit as little as it must for the network to read {a(e.rival)}, while a critic keeps it looking like
handwriting. So the map shows the strokes that decide. After {STEPS} steps of training the network read
{found.converted:.1%} of {9 * JUDGED} redrawn unseen digits as wanted, and {found.closer:.0%} of them were nearer to
their original than the nearest real one.</p>
{rows}
<p class="small">From empty paper, the map of one digit <em>versus</em> another is the difference of two maps that know
nothing of each other: the control that the others are to beat.</p>"""


def _nine(e: Example, of_digit: dict[str, Start]) -> str:
    scale = shared_scale(*(s.values for s in of_digit.values()), percentile=99)
    words = {name: text.format(draws=DRAWS, rival=a(e.rival)) for name, text in TITLES.items()}
    above = [figure(svg.digit(s.image, f"{name} baseline"), name, words[name]) for name, s in of_digit.items()]
    below = [figure(_map(e, name, s, scale), "", f"read as {s.read}") for name, s in of_digit.items()]
    return (
        f'<div class="row all-nine">{"".join(above)}</div>\n<div class="row all-nine">{"".join(below)}</div>\n'
        + legend(scale, f"for {e.rival}", f"for {e.digit}")
    )


def _row(e: Example, of_digit: dict[str, Start]) -> str:
    shown = {name: of_digit[name] for name in ("GANMEX", "MDTS", "Zero")}
    scale = shared_scale(*(s.values for s in shown.values()), percentile=100)
    cells = [figure(svg.digit(e.image, f"handwritten {e.digit}"), f"Why {a(e.digit)} ...", f"and not {a(e.rival)}")]
    for name, title in (("GANMEX", f"Redrawn as {a(e.rival)}"), ("MDTS", f"Nearest real {e.rival}")):
        s = shown[name]
        cells.append(figure(svg.digit(s.image, title), title, f"read as {s.read}, {s.distance:.1f} away"))
        cells.append(figure(_map(e, name, s, scale), f"From there: {name}", ""))
    cells.append(figure(_map(e, "Zero", shown["Zero"], scale), "From empty paper", ""))
    return f'<div class="row six">{"".join(cells)}</div>\n{legend(scale, f"for {e.rival}", f"for {e.digit}")}'


def _map(e: Example, name: str, s: Start, scale: float) -> str:
    return svg.attribution(s.values, e.image, scale, f"map of the {e.digit} versus {e.rival} from {name}")
