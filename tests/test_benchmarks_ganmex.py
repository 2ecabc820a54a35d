"""The experiment on GANMEX: its statistics, its lines, and a run of a minute with looser ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from benchmarks import ganmex  # noqa: E402
from benchmarks.ganmex_tasks import Task, figure_of, pairs, ratio  # noqa: E402


def task() -> Task:
    x, y = torch.zeros(4, 2), torch.tensor([0, 2, 1, 2])
    return Task("toy", x, y, x, y, 3, 1, None, torch.nn.Identity(), torch.nn.Identity())


def test_pairs_are_every_other_class() -> None:
    number, label, target = pairs(task())
    assert number.tolist() == [0, 0, 1, 1, 2, 2, 3, 3] and label.tolist() == [0, 0, 2, 2, 1, 1, 2, 2]
    assert [sorted(target[number == i].tolist()) for i in range(4)] == [[1, 2], [0, 1], [0, 2], [0, 1]]


def test_standard_errors_are_those_of_inputs_not_of_pairs() -> None:
    values, number = torch.tensor([1.0, 1, 3, 3, 5, 5]), torch.tensor([0, 0, 4, 4, 7, 7])
    assert figure_of(values, number) == pytest.approx((3.0, 2 / 3**0.5))
    assert figure_of(values, number, number != 4) == pytest.approx((3.0, 8**0.5 / 2**0.5))


def test_a_ratio_of_proportional_figures_is_certain() -> None:
    theirs = torch.tensor([1.0, 2, 3, 4, 5, 6, 7, 8], dtype=torch.float64)
    assert ratio(0.5 * theirs, theirs, task()) == pytest.approx((0.5, 0.0))


def test_lines_are_held_or_missed() -> None:
    assert ganmex.Limit(0.9).holds(0.9) and not ganmex.Limit(0.9).holds(0.89)
    assert ganmex.Limit(0.9, most=True).holds(0.9) and not ganmex.Limit(0.9, most=True).holds(0.91)
    full = ganmex.Run("digits", "full", 0, {"conversion": (0.99, 0.0)}, {}, 1.0, {"step": 5})
    plain = ganmex.Run("digits", "no swap", 0, {"conversion": (0.98, 0.0)}, {}, 1.0, {"step": 5})
    ganmex.ablation_limits([full, plain])
    assert plain.missed() == ["conversion"] and not full.missed(), "it must fall by two points"
    assert any("MISSED" in row for row in plain.rows())
    near, far = ({"share of MDTS distance": (share, 0.0)} for share in (0.6, 0.7))
    full, free = (
        ganmex.Run("digits", variant, 0, figures, {}, 1.0, {"step": 5})
        for variant, figures in (("full", near), ("no similarity", far))
    )
    ganmex.ablation_limits([full, free])
    assert free.missed() == ["share of MDTS distance"] and not full.missed(), "it must be farther by a fifth"
    masses = {f"mass, {name}": (0.5, 0.0) for name in ("zero", "MDTS")}
    assert ganmex.shapes_limits(masses)["mass, GANMEX"].value == 0.65


@pytest.mark.slow
def test_the_quick_run_reaches_its_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ganmex.run(quick=True, path=tmp_path / "out.json"), capsys.readouterr().out
    (row,) = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert row["missed"] == [] and row["figures"]["conversion"][0] > 0.9
