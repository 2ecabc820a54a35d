"""The page's sections on AGI: where each digit was pushed to, and all methods as the paper draws them."""

from __future__ import annotations

from ..visualize import heatmap_times_input, normalize, shared_scale
from . import svg
from .examples import PUSH, PUSHES, Example, Push
from .parts import a, figure, legend, map_of

HEATMAPS = {
    "saliency": "Saliency",
    "input_x_gradient": "Input &times; gradient",
    "smooth": "SmoothGrad",
    "integrated": "Integrated",
    "expected": "Expected",
    "agi": "AGI",
}
"""Methods beside each other, as their columns are called."""


def section(examples: list[Example]) -> str:
    """Every digit, its AGI map, and the nine images its paths ended at."""
    first = examples[0]
    rows = "\n".join(_row(e) for e in examples)
    spent = ", ".join(str(e.maps["agi"].evaluations) for e in examples)
    return f"""<h2>What would make it something else?</h2>
<p>Integrated gradients need a starting point, empty paper or another image, and the map depends on the choice.
<em>Adversarial gradient integration</em> (AGI) leaves it to the network. The image is pushed towards every other digit
in turn: in each step every pixel gains or loses {PUSH:.0%} of full ink, whichever makes that digit more probable, until
the network reads it, or {PUSHES} steps are made. On the way each pixel is charged with what its changes took from the
probability of {a(first.digit)}. The map is the sum over the nine ways.</p>
<p>The end points are worth a look: under each stands what the network reads now, after how many steps, and how
probable it still finds the old digit. To the eye most are smudged rather than rewritten. These ways follow the
network&rsquo;s own idea of what makes {a(first.digit)} {a(first.digit)}, not ours.</p>
{rows}
<p class="small">The sum of a map is the probability lost on the nine ways together, but for the gap, which small steps
keep small. The maps took {spent} gradients.</p>"""


def heatmaps(examples: list[Example]) -> str:
    """The figure of the AGI paper: input, heatmaps clipped at two percentiles, heatmaps times input."""
    return f"""<h2>All methods, as papers print them</h2>
<p>Printed maps often leave out signs and show the strongest pixels alone: what lies below the map&rsquo;s 80th
percentile is white, its 99th is full colour. The second line multiplies the image by that: what shines through is the
ink that the method found important. Each heatmap has its own scale, so compare shapes, not strengths.</p>
{"".join(_heatmaps(e) for e in examples)}"""


def _row(e: Example) -> str:
    m = e.maps["agi"]
    scale = shared_scale(m.values, percentile=100)
    sums = f"sum {m.values.sum():+.2f}, gap {m.gap:+.2f}".replace("-", "&minus;")
    ends = "\n".join(figure(svg.digit(p.image, _words(e, p)), *_caption(e, p)) for p in e.pushes)
    return f"""<div class="row pushed">
{figure(svg.digit(e.image, f"handwritten {e.digit}"), f"A {e.digit}", f"probability {m.output:.1%}")}
{figure(map_of(e, m, scale), "AGI", sums)}
<div class="row nine">
{ends}
</div>
</div>
{legend(scale, f"against {e.digit}", f"for {e.digit}", "probability per pixel, nine ways together", 2)}
"""


def _caption(e: Example, p: Push) -> tuple[str, str]:
    steps = f"{p.steps} step{'s' if p.steps != 1 else ''}"
    return f"{'now' if p.reached else 'not yet'} {a(p.goal)}", f"{steps}<br>{p.share:.0%} {a(e.digit)}"


def _words(e: Example, p: Push) -> str:
    return f"the {e.digit}, pushed towards {a(p.goal)}"


def _heatmaps(e: Example) -> str:
    top = [figure(svg.digit(e.image, f"handwritten {e.digit}"), f"A {e.digit}", "")]
    below = ["<div></div>"]
    for name, title in HEATMAPS.items():
        values = e.maps[name].values
        top.append(figure(svg.heat(normalize(values), f"{title} heatmap of the {e.digit}"), title, ""))
        product = heatmap_times_input(e.image, values)[..., 0]
        below.append(figure(svg.digit(product, f"{title} heatmap times the {e.digit}"), "", ""))
    return f'<div class="row seven">{"".join(top)}</div>\n<div class="row seven products">{"".join(below)}</div>\n'
