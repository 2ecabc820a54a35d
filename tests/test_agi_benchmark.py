"""The benchmark of AGI: that it would notice sides which differ, and counts what it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from benchmarks import agi, networks
from fastattr.methods.agi import AGI

BATCH, STEP = 3, 0.2


@pytest.fixture(autouse=True)
def small_work(monkeypatch: pytest.MonkeyPatch) -> agi.Work:
    model = torch.nn.Sequential(torch.nn.Flatten(), networks.mlp(16, 12, 4, seed=4)).eval()
    inputs = torch.rand(BATCH, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    target = model(inputs).argmax(1)
    classes = torch.tensor([[c for c in range(4) if c != t] for t in target.tolist()])
    work = agi.Work(model, inputs, target, classes)
    monkeypatch.setattr(agi, "work", lambda network, batch: work)
    return work


def sides() -> tuple[np.ndarray, np.ndarray]:
    found, peer = (side(agi.DIGITS, BATCH, STEP).run() for side in (agi.fastattr_side, agi.published_side))
    return found, peer


def test_the_sides_agree_and_differences_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    found, peer = sides()
    assert agi.agreement(agi.DIGITS, BATCH, STEP, found, peer).holds
    random = np.random.default_rng(0).normal(size=found.shape)
    for wrong in (found * 1.02, found + 0.1 * random * found.std(), found[:2], found * np.nan):
        assert not agi.agreement(agi.DIGITS, BATCH, STEP, wrong, peer).holds
    monkeypatch.setattr(agi, "algorithm_1", lambda *a: (torch.zeros(1, 1, 4, 4, dtype=torch.float64), 0, False))
    assert not agi.agreement(agi.DIGITS, BATCH, STEP, found, peer).holds


def test_rows_are_counted_on_both_sides(small_work: agi.Work) -> None:
    published, ours = agi.costs("small", agi.DIGITS, BATCH, STEP)
    paths = [
        agi.algorithm_1(small_work.model, small_work.inputs[e : e + 1], int(small_work.target[e]), goal, STEP)
        for e in range(BATCH)
        for goal in small_work.classes[e].tolist()
    ]
    steps = sum(steps for _, steps, _ in paths)
    assert published["gradients"] == 2 * steps and published["forwards"] == steps + sum(on_way for *_, on_way in paths)
    assert published["units"] == published["forwards"] + 2 * published["gradients"]
    assert ours["units"] == ours["formula"] < published["units"]
    assert ours["paths"] == 9 and ours["arrived"] == 6 and ours["steps"] * 9 == pytest.approx(steps)


def test_a_formula_that_does_not_hold_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agi, "formula", lambda steps: -1)
    with pytest.raises(AssertionError, match="formula -1"):
        agi.costs("small", agi.DIGITS, BATCH, STEP)


def test_the_formula() -> None:
    assert agi.formula(np.full((1, 20), 20)) == 1162
    assert agi.formula(np.zeros((2, 3))) == 2 * (2 + 3)


def test_the_classes_of_the_lines_are_false(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    job = agi.work(agi.RESNET, 2)
    assert job.classes.shape == (2, 10) and not (job.classes == job.target[:, None]).any()
    assert all(len(set(row.tolist())) == 10 for row in job.classes)
    method: Any = AGI(job.model, classes=job.classes)
    assert method.max_steps == agi.STEPS
