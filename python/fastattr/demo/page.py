"""The page of the demonstration: one file, no script, nothing fetched."""

from __future__ import annotations

import base64
import math

from ..visualize import shared_scale
from . import svg
from .examples import TOLERANCE, Example, Map
from .style import CSS

FOR = '<span class="for-word">orange</span>'
AGAINST = '<span class="against-word">blue</span>'

CODE = """import fastattr as fa

attribution = fa.IntegratedGradients(model)(images, target={digit}, versus={rival})
attribution.save("why.png")      # the maps; .npz keeps every number
print(attribution.error)         # the error bar of each image"""


def render(examples: list[Example], share: float, tested: int, picture: bytes = b"") -> str:
    """HTML of the examples, the first of them at length.

    ``share`` of ``tested`` digits were read correctly; ``picture`` is the PNG that the page's lines of code write.
    """
    first = examples[0]
    sections = [
        _hero(first, share, tested),
        _versus(first),
        _methods(examples),
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
{_figure(svg.digit(e.image, f"handwritten {e.digit}"), "What the network saw", "8 &times; 8 pixels of ink")}
{_figure(_map(e, m, scale), "What spoke for it, and what against", "The thin line is the edge of the ink.")}
<div class="facts">
<p><span class="number">{m.output - m.baseline_output:+.1f}</span> The score for &ldquo;{e.digit}&rdquo; is
{_number(m.baseline_output)} on empty paper and {_number(m.output)} on this image. The map divides this rise among the
pixels: all its numbers together make {m.values.sum():+.1f}.</p>
<p><span class="number">&plusmn;&thinsp;{m.error:.1%}</span> is the map&rsquo;s error bar: with
endlessly many gradients instead of {m.evaluations}, its numbers would together move, by
estimate, by no more than this share of their size. <a href="#bar">How sure is that?</a></p>
</div></div>
{_legend(scale, f"against {e.digit}", f"for {e.digit}")}"""


def _versus(e: Example) -> str:
    shown = [e.maps["versus"], e.maps["from_rival"]]
    scale = shared_scale(*(m.values for m in shown), percentile=100)
    sum_text = "pixels sum to {:+.1f}, error bar {:.1%}".format
    return f"""<h2>Why a {e.digit} and not {_a(e.rival)}?</h2>
<p>The same question, sharper: what lifts the score of &ldquo;{e.digit}&rdquo; <em>above</em> that of
&ldquo;{e.rival}&rdquo;? Starting from empty paper, only pixels with ink can speak. Starting instead from a real
{e.rival}, the most similar one among the training images, the gaps speak too: where the {e.rival} has ink and this
{e.digit} has none.</p>
<div class="row three">
{_figure(_map(e, shown[0], scale), "Starting from empty paper", sum_text(shown[0].values.sum(), shown[0].error))}
{_figure(_map(e, shown[1], scale), f"Starting from a real {e.rival}", sum_text(shown[1].values.sum(), shown[1].error))}
{_figure(svg.digit(e.rival_image, f"handwritten {e.rival}"), f"That {e.rival}", "read as such by the network")}
</div>
{_legend(scale, f"for {e.rival}", f"for {e.digit}")}"""


def _methods(examples: list[Example]) -> str:
    rows = []
    for e in examples:
        names = ("saliency", "input_x_gradient", "integrated")
        scale = shared_scale(*(e.maps[n].values for n in names), percentile=99)
        figures = [svg.digit(e.image, f"handwritten {e.digit}")] + [_map(e, e.maps[n], scale) for n in names]
        captions = [f"A {e.digit}", "Saliency", "Input &times; gradient", "Integrated gradients"]
        cells = "\n".join(_figure(f, c, "") for f, c in zip(figures, captions, strict=True))
        unit = "score per pixel; saliency: per unit of ink"
        legend = _legend(scale, f"against {e.digit}", f"for {e.digit}", unit)
        rows.append(f'<div class="row four">\n{cells}\n</div>\n{legend}')
    return f"""<h2>Three methods, three questions</h2>
<p><b>Saliency</b> is the gradient: would a little more ink here raise the score? It also colours empty paper.
<b>Input &times; gradient</b> counts that only where there is ink, but still looks at this one image alone, where the
network may already be saturated. <b>Integrated gradients</b> follow the image from empty paper to full ink and add up
what each pixel contributes on the way. Only these must add up to the change of the score, and only these carry an error
bar. Colours of one row share one scale.</p>
{"".join(rows)}"""


def _trust(examples: list[Example]) -> str:
    labels = {"integrated": "for {d}", "versus": "{d}, not {r}", "from_rival": "{d}, not {r}, from a real {r}"}
    lines = []
    ratios = [m.true_error / m.error for e in examples for m in e.maps.values() if m.error > 0]
    covered, worst = sum(ratio <= 1 for ratio in ratios), max(ratios, default=0.0)
    missed = "" if worst <= 1 else f", and where it was not, the error was at most {worst:.2f} times the bar"
    for e in examples:
        for name, label in labels.items():
            m = e.maps[name]
            cells = (label.format(d=e.digit, r=e.rival), f"{m.error:.2%}", f"{m.true_error:.2%}", _number(m.gap, 3))
            more = (str(m.evaluations), f"{m.milliseconds:.1f} ms")
            lines.append("<tr>" + "".join(f"<td>{c}</td>" for c in cells + more) + "</tr>")
    head = ("explained", "error bar", "true error", "gap", "gradients", "time")
    return f"""<h2 id="bar">How sure is the error bar?</h2>
<p>Integrated gradients are an integral, and a computer can only sum a finite number of gradients. How many are enough
differs from image to image, so each is given more, 15, 31, 63 and so on, until two things hold: the last doubling moved
the map by at most {TOLERANCE:.0%} of its size, and the pixels add up to the change of the score to within half of that.
The larger of the two is the error bar. The <em>gap</em> is what is missing in the sum: a map cannot be more exact than
that, whatever else it claims.</p>
<p>The bar is an estimate with two witnesses, not a proof. To check it, every map here was computed once more with 2,048
gradients: the bar was above the true error in {covered} of {len(ratios)}{missed}. It speaks of the arithmetic alone.
Whether the network is right, or the starting point a fair one, it cannot say.</p>
<div class="scroll"><table><thead><tr>{"".join(f"<th>{h}</th>" for h in head)}</tr></thead>
<tbody>{"".join(lines)}</tbody></table></div>"""


def _code(e: Example, picture: bytes) -> str:
    source = base64.b64encode(picture).decode()
    image = f'<img alt="maps of two digits" src="data:image/png;base64,{source}">' if picture else ""
    drawn = f", and this is what they draw for two {e.digit}s" if picture else ""
    return f"""<h2>The same for your model</h2>
<p>Any PyTorch module that takes a batch and returns scores will do; nothing in it is changed. These lines are all
there is to it{drawn}:</p>
<pre>{CODE.format(digit=e.digit, rival=e.rival)}</pre>
{image}"""


def _map(e: Example, m: Map, scale: float) -> str:
    return svg.attribution(m.values, e.image, scale, f"{m.method} map of the {e.digit}")


def _figure(picture: str, title: str, text: str) -> str:
    return f"<figure>{picture}<figcaption><b>{title}</b>{text}</figcaption></figure>"


def _legend(scale: float, against: str, for_: str, unit: str = "score per pixel") -> str:
    return (
        f'<div class="legend"><span>{_number(-scale)} {against}</span><span class="bar"></span>'
        f"<span>+{_number(scale)} {for_}</span><span>({unit})</span></div>"
    )


def _number(value: float, digits: int = 1) -> str:
    return "?" if math.isnan(value) else f"{value:.{digits}f}".replace("-", "&minus;")


def _a(digit: int) -> str:
    return f"an {digit}" if digit == 8 else f"a {digit}"
