"""The page of the demonstration: one file, no script, nothing fetched."""

from __future__ import annotations

import base64
import math

from ..visualize import shared_scale
from . import pushes, starts, svg
from .examples import CHECK_DRAWS, CHECK_ROUNDS, CHECK_STEPS, DRAWS, REFERENCES, TOLERANCE, Example, Map
from .parts import AGAINST, FOR, a, figure, legend, map_of, number
from .style import CSS

CODE = """import fastattr as fa

attribution = fa.IntegratedGradients(model)(images, target={digit}, versus={rival})
attribution.save("why.png")      # the maps; .npz keeps every number
print(attribution.error)         # the error bar of each image"""


METHODS = {
    "saliency": (
        "Saliency",
        "The gradient: would a little more ink here raise the score? It colours empty paper too.",
        "One gradient, nothing is estimated: no error bar.",
    ),
    "input_x_gradient": (
        "Input &times; gradient",
        "Counts the gradient only where there is ink, but at this one image, where the network may be saturated.",
        "One gradient: no error bar.",
    ),
    "smooth": (
        "SmoothGrad",
        f"The mean saliency of {DRAWS} noisy copies: what hangs on a hair&rsquo;s breadth averages out.",
        "Bar: the standard error of that mean, how far other noise would typically move it.",
    ),
    "integrated": (
        "Integrated gradients",
        "Follow the image from empty paper to full ink and add up what each pixel contributes on the way.",
        "Bar: an estimate of how far the sum is from the integral.",
    ),
    "expected": (
        "Expected gradients",
        f"The same on the way from {REFERENCES} images, a sample of the training digits, in place of empty paper: "
        "missing ink can speak too.",
        "Bar: the standard error over the draws.",
    ),
}
"""Title, what the method does, what its error bar means."""

LABELS = {
    "saliency": "Saliency",
    "input_x_gradient": "Input &times; gradient",
    "smooth": "SmoothGrad",
    "integrated": "Integrated gradients",
    "expected": "Expected gradients",
    "versus": "Integrated, against a look-alike",
    "from_rival": "The same, from a real look-alike",
    "agi": "Adversarial gradient integration",
}
"""Of the table's parts."""


def render(
    examples: list[Example], share: float, tested: int, picture: bytes = b"", found: starts.Starts | None = None
) -> str:
    """HTML of the examples, the first of them at length.

    ``share`` of ``tested`` digits were read correctly; ``picture`` is the PNG that the page's lines of code write;
    ``found``, of every starting point, comes later than the rest.
    """
    first = examples[0]
    sections = [
        _hero(first, share, tested),
        _versus(first),
        *([] if found is None else [starts.section(examples, found)]),
        _methods(examples),
        pushes.section(examples),
        pushes.heatmaps(examples),
        _trust(examples),
        _code(first, picture),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Why a {first.digit} is a {first.digit}</title><style>{CSS}</style></head>\n"
        f"<body><main>\n{chr(10).join(sections)}\n</main></body></html>\n"
    )


def _hero(e: Example, share: float, tested: int) -> str:
    m = e.maps["integrated"]
    scale = shared_scale(m.values, percentile=100)
    return f"""<h1>Which pixels speak for a {e.digit}?</h1>
<p class="lead">A small neural network read {tested} handwritten digits it had never seen and got {share:.1%} of them
right. Here is one of them, a {e.digit}, and what the network went by: {FOR} pixels raised its score for
&ldquo;{e.digit}&rdquo;, {AGAINST} pixels lowered it.</p>
<div class="row hero">
{figure(svg.digit(e.image, f"handwritten {e.digit}"), "What the network saw", "8 &times; 8 pixels of ink")}
{figure(map_of(e, m, scale), "What spoke for it, and what against", "The thin line is the edge of the ink.")}
<div class="facts">
<p><span class="number">{m.output - m.baseline_output:+.1f}</span> The score for &ldquo;{e.digit}&rdquo; is
{number(m.baseline_output)} on empty paper and {number(m.output)} on this image. The map divides this rise among the
pixels: all its numbers together make {m.values.sum():+.1f}.</p>
<p><span class="number">&plusmn;&thinsp;{m.error:.1%}</span> is the map&rsquo;s error bar: with
endlessly many gradients instead of {m.evaluations}, its numbers would together move, by
estimate, by no more than this share of their size. <a href="#bar">How sure is that?</a></p>
</div></div>
{legend(scale, f"against {e.digit}", f"for {e.digit}")}"""


def _versus(e: Example) -> str:
    shown = [e.maps["versus"], e.maps["from_rival"]]
    scale = shared_scale(*(m.values for m in shown), percentile=100)
    sum_text = "pixels sum to {:+.1f}, error bar {:.1%}".format
    return f"""<h2>Why a {e.digit} and not {a(e.rival)}?</h2>
<p>The same question, sharper: what lifts the score of &ldquo;{e.digit}&rdquo; <em>above</em> that of
&ldquo;{e.rival}&rdquo;? Starting from empty paper, only pixels with ink can speak. Starting instead from a real
{e.rival}, the most similar one among the training images, the gaps speak too: where the {e.rival} has ink and this
{e.digit} has none.</p>
<div class="row three">
{figure(map_of(e, shown[0], scale), "Starting from empty paper", sum_text(shown[0].values.sum(), shown[0].error))}
{figure(map_of(e, shown[1], scale), f"Starting from a real {e.rival}", sum_text(shown[1].values.sum(), shown[1].error))}
{figure(svg.digit(e.rival_image, f"handwritten {e.rival}"), f"That {e.rival}", "read as such by the network")}
</div>
{legend(scale, f"for {e.rival}", f"for {e.digit}")}"""


def _methods(examples: list[Example]) -> str:
    rows = []
    for e in examples:
        scale = shared_scale(*(e.maps[name].values for name in METHODS), percentile=99)
        cells = [figure(svg.digit(e.image, f"handwritten {e.digit}"), f"A {e.digit}", "")]
        for name, (title, _, _) in METHODS.items():
            m = e.maps[name]
            bar = f"&plusmn;&thinsp;{m.error:.1%}" if not math.isnan(m.error) else "no error bar"
            cells.append(figure(map_of(e, m, scale), title.removesuffix(" gradients"), bar))
        unit = "score per pixel; saliency and SmoothGrad: per unit of ink"
        scale_bar = legend(scale, f"against {e.digit}", f"for {e.digit}", unit)
        rows.append(f'<div class="row six">\n{"".join(cells)}\n</div>\n{scale_bar}')
    terms = "\n".join(f"<dt>{title}</dt><dd>{what} <span>{bar}</span></dd>" for title, what, bar in METHODS.values())
    return f"""<h2>Five methods, five questions</h2>
<p>Each method asks the network something else, and only some can say how far their answer may be trusted. Colours of
one row share one scale.</p>
<dl>
{terms}
</dl>
{"".join(rows)}"""


def _trust(examples: list[Example]) -> str:
    integrals = [e.maps[name] for e in examples for name in ("integrated", "versus", "from_rival")]
    sampled = [e.maps[name] for e in examples for name in ("smooth", "expected")]
    worst = max((m.true_error / m.error for m in integrals if m.error > 0), default=0.0)
    missed = "" if worst <= 1 else f", and where it was not, the error was at most {worst:.2f} times the bar"
    smooth, expected = (
        sum(e.maps[name].true_error for e in examples) / sum(e.maps[name].error for e in examples)
        for name in ("smooth", "expected")
    )
    head = ("method", "digit", "error bar", "true error", "gap", "gradients", "time")
    return f"""<h2 id="bar">How sure is the error bar?</h2>
<p>Integrated gradients are an integral, and a computer can only sum a finite number of gradients. How many are enough
differs from image to image, so each is given more, 15, 31, 63 and so on, until two things hold: the last doubling moved
the map by at most {TOLERANCE:.0%} of its size, and the pixels add up to the change of the score to within half of that.
The larger of the two is the error bar. The <em>gap</em> is what is missing in the sum: a map cannot be more exact than
that, whatever else it claims.</p>
<p>The bar is an estimate with two witnesses, not a proof. To check it, every map here was computed once more with
{CHECK_STEPS:,} gradients: the bar was above the true error in {_covered(integrals)} of {len(integrals)}{missed}. It
speaks of the arithmetic alone. Whether the network is right, or the starting point a fair one, it cannot say.</p>
<p>SmoothGrad and expected gradients are means of random draws, and their bar is the standard error of that mean: the
size of error to expect, not a bound. Against {CHECK_DRAWS:,} and {CHECK_ROUNDS * REFERENCES:,} other draws the true
error was above it in {len(sampled) - _covered(sampled)} of {len(sampled)} maps, and on average {smooth:.0%} of it
for SmoothGrad and {expected:.0%} for expected gradients, whose draws are spread evenly along the way and do better
than the independent ones that the bar assumes.</p>
<div class="scroll"><table><thead><tr>{"".join(f"<th>{h}</th>" for h in head)}</tr></thead>
{"".join(_lines(examples, name, label) for name, label in LABELS.items())}</table></div>
<p class="small">Time is that of the batch of {len(examples)} digits, shared out.</p>"""


def _covered(maps: list[Map]) -> int:
    return sum(m.true_error <= m.error for m in maps)


def _lines(examples: list[Example], name: str, label: str) -> str:
    """One body of the table: a method and its line for each digit, or one line where there is nothing to tell apart."""
    first_map = examples[0].maps[name]
    shown = examples[:1] if math.isnan(first_map.error) and math.isnan(first_map.gap) else examples
    lines = []
    for e in shown:
        m = e.maps[name]
        which = f"{e.digit}, not {e.rival}" if name in ("versus", "from_rival") else str(e.digit)
        if len(shown) < len(examples):
            which = ", ".join(str(other.digit) for other in examples)
        bars = [_share(m.error), _share(m.true_error), "&ndash;" if math.isnan(m.gap) else number(m.gap, 3)]
        cells = [which, *bars, str(m.evaluations), f"{m.milliseconds:.1f} ms"]
        lines.append("".join(f"<td>{c}</td>" for c in cells))
    first = f'<th scope="rowgroup" rowspan="{len(shown)}">{label}</th>'
    return f"<tbody><tr>{first}{'</tr><tr>'.join(lines)}</tr></tbody>\n"


def _share(value: float) -> str:
    return "&ndash;" if math.isnan(value) else f"{value:.2%}"


def _code(e: Example, picture: bytes) -> str:
    source = base64.b64encode(picture).decode()
    image = f'<img alt="maps of two digits" src="data:image/png;base64,{source}">' if picture else ""
    drawn = f", and this is what they draw for two {e.digit}s" if picture else ""
    return f"""<h2>The same for your model</h2>
<p>Any PyTorch module that takes a batch and returns scores will do; nothing in it is changed. These lines are all
there is to it{drawn}:</p>
<pre>{CODE.format(digit=e.digit, rival=e.rival)}</pre>
{image}"""
