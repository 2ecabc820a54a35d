from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

import torch

from fastattr import cli, demo
from fastattr.datasets import digits
from fastattr.demo import examples, svg

BARS = {"Saliency": 0, "InputXGradient": 0, "SmoothGrad": 4, "IntegratedGradients": 12, "ExpectedGradients": 4}
"""Error bars in the table, by method."""


class Balanced(HTMLParser):
    """Fails on a tag that is not closed, collects what a browser would fetch."""

    VOID = {"meta", "img", "br", "rect", "path"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.count: dict[str, int] = {}

    def handle_starttag(self, tag, attributes):
        self.count[tag] = self.count.get(tag, 0) + 1
        self.fetched += [
            v for k, v in attributes if k in ("src", "srcset", "xlink:href") or (k == "href" and v[0] != "#")
        ]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The whole demonstration, once: its page and the lines that it said."""
    lines: list[str] = []
    folder = tmp_path_factory.mktemp("demo") / "new" / "out"
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    page = demo.run(folder, seed=0, say=lines.append)
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads
    assert page == folder / "index.html"
    return page.read_text(encoding="utf-8"), lines


def test_the_network_reads_digits(run):
    share = float(re.search(r"reads (\d+\.\d)% of 360 unseen digits", "\n".join(run[1]))[1])
    assert share >= 97


def test_the_table_has_a_line_for_each_method_and_digit(run):
    text = "\n".join(run[1])
    start = next(i for i, line in enumerate(run[1]) if line.startswith("method"))
    rows = run[1][start + 1 : start + 1 + len(demo.NAMES) * len(examples.PAIRS)]
    assert all(re.search(r" \d  .* \d+ +\d+\.\d\d", row) for row in rows)
    assert text.count("IntegratedGradients, versus 8") == 1 and "not converged" not in text
    bars = {
        name: [float(m) for r in rows if r.startswith(name) for m in re.findall(r"(\d+\.\d\d)%", r)] for name in BARS
    }
    assert {name: len(found) for name, found in bars.items()} == BARS
    assert max(bars["IntegratedGradients"]) <= 1
    assert 1 < max(bars["SmoothGrad"]) < 8 and 1 < max(bars["ExpectedGradients"]) < 25
    spent = {name: {int(r.split()[-2]) for r in rows if r.startswith(name)} for name in BARS}
    assert spent["SmoothGrad"] == {examples.DRAWS} and spent["ExpectedGradients"] == {2 * examples.REFERENCES}


def test_the_page_is_whole_and_fetches_nothing(run):
    page = Balanced()
    page.feed(run[0])
    assert not page.open
    assert all(source.startswith("data:image/png;base64,") for source in page.fetched)
    assert "script" not in page.count and "link" not in page.count
    assert not re.search(r"https?://|@import|url\(", run[0])
    assert page.count["svg"] == 2 + 3 + 2 * 9 + (6 + 6 + 2 + 9 + 1 + 2 * 6) * len(examples.PAIRS)
    assert page.count["dt"] == page.count["dd"] == 5 and page.count["tbody"] == len(demo.NAMES)
    assert "prefers-color-scheme: dark" in run[0]
    assert "nan" not in re.sub(r"<style>.*?</style>|base64,[^\"]*", "", run[0], flags=re.S).lower()


def test_every_digit_is_pushed_towards_all_others(run):
    text = re.sub(r"<[^>]+>", " ", run[0])
    ends = re.findall(r"(now|not yet) an? (\d) +(\d+) steps? +(\d+)% an? (\d)", text)
    assert len(ends) == 9 * len(examples.PAIRS)
    for digit in examples.PAIRS:
        assert sorted(int(goal) for _, goal, *_, of in ends if int(of) == digit) == [d for d in range(10) if d != digit]
    arrived = [(int(steps), int(share)) for word, _, steps, share, _ in ends if word == "now"]
    assert len(arrived) > 30 and all(0 < steps <= examples.PUSHES and share <= 50 for steps, share in arrived)
    sums = re.findall(r"sum \+(\d\.\d\d), gap (?:\+|&minus;)(\d\.\d\d)", text)
    assert len(sums) == len(examples.PAIRS) and all(float(gap) < 0.03 * float(total) for total, gap in sums)
    rows = [line.split() for line in run[1] if line.startswith("AGI, ")]
    assert len(rows) == len(examples.PAIRS) and all(int(row[-2]) > 9 * 9 for row in rows)


def test_the_page_says_what_the_maps_say(run):
    text = re.sub(r"<[^>]+>", " ", run[0])
    covered, total = map(int, re.search(r"above the true error in (\d+)\s+of (\d+)", text).groups())
    assert total == 3 * len(examples.PAIRS) and covered >= 0.75 * total
    above, sampled = map(int, re.search(r"above it in (\d+)\s+of (\d+) maps", text).groups())
    assert sampled == 2 * len(examples.PAIRS) and above <= sampled / 2
    assert text.count("standard error") >= 3 and "a sample of the training digits" in text
    assert "Why a 3 and not an 8?" in text and "fa.IntegratedGradients(model)(images, target=3, versus=8)" in text


def test_the_seed_decides_every_number():
    """But not the training: the network is given."""
    data = digits()
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 16), torch.nn.Tanh(), torch.nn.Linear(16, 10))
    mean = torch.from_numpy(np.stack([data.x_train[data.y_train == d].mean(0).ravel() for d in range(10)]))
    with torch.no_grad():  # scores by the mean digits, so that every digit is read by somebody
        torch.nn.init.orthogonal_(net[1].weight, generator=torch.Generator().manual_seed(0))
        net[1].bias.zero_()
        net[3].weight.copy_(torch.linalg.lstsq(net[1].weight.T, (mean - mean.mean(0)).T).solution.T)
        net[3].bias.zero_()
    first, again, other = (examples.explain(net.eval(), data, seed) for seed in (0, 0, 1))
    for a, b, c in zip(first, again, other, strict=True):
        for name, m in a.maps.items():
            same = {field: getattr(b.maps[name], field) for field in ("output", "evaluations", "converged")}
            assert same == {field: getattr(m, field) for field in same}
            np.testing.assert_array_equal(b.maps[name].values, m.values)
            assert np.array_equal(c.maps[name].values, m.values) == (name not in ("smooth", "expected"))
    assert not np.array_equal(examples.sample(data, 0), examples.sample(data, 1))
    assert len(np.unique(examples.sample(data, 0).reshape(examples.REFERENCES, -1), axis=0)) == examples.REFERENCES


def test_nearest_and_typical_are_what_they_say():
    data = digits()
    read_all_right = lambda x: torch.nn.functional.one_hot(  # noqa: E731
        torch.tensor([lookup[np.asarray(image).tobytes()] for image in x]), 10
    )
    everything = zip(
        np.concatenate([data.x_train, data.x_test]), np.concatenate([data.y_train, data.y_test]), strict=True
    )
    lookup = {image.tobytes(): int(label) for image, label in everything}
    image = data.x_train[data.y_train == 8][5]
    np.testing.assert_array_equal(examples.nearest_of(read_all_right, data, image, 8), image)
    assert data.y_test[examples.typical(read_all_right, data, 3)] == 3


def test_outline_runs_between_ink_and_paper():
    image = np.zeros((3, 3))
    image[1, 1] = 1
    assert sorted(svg.outline(image).split("M")[1:]) == ["10 10h10", "10 10v10", "10 20h10", "20 10v10"]
    image[1, 2] = 1  # joined: no line between them, and the picture's edge counts as paper
    assert sorted(svg.outline(image).split("M")[1:]) == [
        "10 10h10", "10 10v10", "10 20h10", "20 10h10", "20 20h10", "30 10v10",
    ]  # fmt: skip


def test_map_colours_by_sign_and_scale():
    values = np.array([[2.0, -1.0], [0.0, 4.0]])
    drawn = svg.attribution(values, np.ones((2, 2)), 2.0, "label")
    cells = re.findall(r'class="(for|against)" x="(\d+)" y="(\d+)".*?fill-opacity="([\d.]+)"', drawn)
    assert cells[0] == ("for", "0", "0", "1.000") and cells[1][0] == "against"
    assert float(cells[1][3]) == pytest.approx(0.5**0.8, abs=1e-3)
    assert cells[2][3] == "0.000" and cells[3] == ("for", "10", "10", "1.000")


def test_a_heatmap_has_one_colour():
    drawn = svg.heat(np.array([[0.0, 0.25], [1.0, 0.0]]), "label")
    cells = re.findall(r'class="(\w+)" x="(\d+)" y="(\d+)".*?fill-opacity="([\d.]+)"', drawn)
    assert cells == [("for", "10", "0", "0.25"), ("for", "0", "10", "1.00")]


def test_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(demo, "run", lambda out, seed, say, progress: say(f"{out} {seed}"))
    assert cli.main(["demo", "--out", "here", "--seed", "4"]) == 0
    assert capsys.readouterr().out == "here 4\n"
    assert cli.main(["show-config"]) == 0
    assert capsys.readouterr().out.strip()
    with pytest.raises(SystemExit) as usage:
        cli.main(["draw"])
    assert usage.value.code == 2
    monkeypatch.setattr(
        demo, "run", lambda out, seed, say, progress: (tmp_path / "file").joinpath("x").mkdir(parents=True)
    )
    (tmp_path / "file").write_text("")
    assert cli.main(["demo"]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("fastattr: ")
