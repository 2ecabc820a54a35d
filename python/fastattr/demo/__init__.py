"""The demonstration: a small network reads digits, fastattr says why, a page shows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..datasets import Split
from .examples import Example, Map, explain
from .network import accuracy, one_thread, torch_of, train
from .page import render
from .starts import learn, starts

if TYPE_CHECKING:
    import torch

__all__ = ["run", "table"]

NAMES = {
    "saliency": "Saliency",
    "input_x_gradient": "InputXGradient",
    "smooth": "SmoothGrad",
    "integrated": "IntegratedGradients",
    "expected": "ExpectedGradients",
    "versus": "IntegratedGradients, versus {rival}",
    "from_rival": "IntegratedGradients, from a real {rival}",
    "agi": "AGI, towards every other digit",
}


def run(out: str | Path, seed: int = 0, say: Callable[[str], None] = lambda line: None, progress: bool = False) -> Path:
    """Train, explain and write ``out/index.html``.

    Parameters
    ----------
    out : path
        Folder of the page, made where it is missing.
    seed : int
        Of the training, of the noise and of the sample of training digits.
    say : callable
        Takes each line of the report.
    progress : bool
        Show a bar (tqdm) while the generator is trained, when most of the page is written already.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    ImportError
        torch or scikit-learn is not installed.
    OSError
        ``out`` cannot be written.
    """
    import fastattr as fa

    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    data = fa.datasets.digits()
    say(f"training a small network on {len(data.x_train):,} digits of 8 x 8 pixels ...")
    with one_thread():
        network = train(data, seed)
        share = accuracy(network, data)
        say(f"it reads {share:.1%} of {len(data.x_test)} unseen digits correctly; explaining four of them\n")
        examples = explain(network, data, seed)
        picture = _picture(network, data, examples[0])
        for line in table(examples):
            say(line)
        path = folder / "index.html"
        path.write_text(render(examples, share, len(data.x_test), picture), encoding="utf-8")
        say(f"\nwrote {path}: open it in a browser")
        say("training a generator that redraws digits, for the page's part on starting points ...")
        gx = learn(network, data, seed, progress)
        found = starts(network, data, examples, gx, seed)
    path.write_text(render(examples, share, len(data.x_test), picture, found), encoding="utf-8")
    say(f"it turns {found.converted:.1%} of unseen digits into any other as the network reads them; wrote it to {path}")
    return path


def table(examples: list[Example]) -> list[str]:
    """Lines of a plain-text table: method, digit, gap, error bar, evaluations, time (of the batch, shared out)."""
    lines = [f"{'method':<36}{'digit':>6}{'gap':>11}{'error bar':>11}{'evaluations':>13}{'ms':>9}"]
    for name, label in NAMES.items():
        for e in examples:
            lines.append(_line(label.format(rival=e.rival), e.digit, e.maps[name]))
    return lines


def _picture(network: torch.nn.Module, data: Split, example: Example) -> bytes:
    """What the page's lines of code draw for two digits; empty without matplotlib."""
    import fastattr as fa

    images = torch_of(data.x_test[data.y_test == example.digit][:2])
    attribution = fa.IntegratedGradients(network)(images, target=example.digit, versus=example.rival)
    try:
        return attribution.plot().png()
    except ImportError:
        return b""


def _line(label: str, digit: int, m: Map) -> str:
    gap = "-" if m.gap != m.gap else f"{m.gap:+.1e}"
    error = "-" if m.error != m.error else f"{m.error:.2%}"
    note = "" if m.converged else "  not converged"
    return f"{label:<36}{digit:>6}{gap:>11}{error:>11}{m.evaluations:>13}{m.milliseconds:>9.2f}{note}"
