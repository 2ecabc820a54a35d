"""The benchmark protocol itself: it must not time two different things, nor count memory that is not the work's."""

from __future__ import annotations

import gc
import json
import os
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from benchmarks import integrated_gradients, kernels, memory, networks, protocol, report, sampled

MEGABYTES_64 = partial(np.ones, 8_000_000)  # float64: 64 MB
MLP = "MLP 30-64-32-2"
LINUX = pytest.mark.skipif(not memory.STATUS.exists(), reason="resident set sizes are read from /proc")


def side(factor: float = 1.0, shape: tuple[int, ...] = (4, 3)) -> protocol.Side:
    """factor * gradient * x of a linear model: four evaluations."""
    model = networks.mlp(3, 2)
    inputs = torch.ones(shape)

    def run() -> np.ndarray:
        points = inputs.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model(points)[:, 1].sum(), points)
        return (factor * gradient * inputs).numpy()

    return protocol.Side(run, model, inputs[:1])


def case(ours: protocol.Side) -> protocol.Case:
    return protocol.Case("linear", 4, side, lambda: ours, wanted=1e9, memory=False)


def test_agreeing_sides_are_timed_in_pairs() -> None:
    result = protocol.measure(case(side()), budget=0)
    assert not result.failed and result.disagreement == 0
    assert result.pairs == protocol.MIN_PAIRS
    assert result.evaluations == result.peer_evaluations == 4
    assert result.reached is False
    assert result.ratio > 0 and result.times_limit > 0
    assert "below the line" in report.row(result)


@pytest.mark.parametrize("ours", [side(1.0001), side(float("nan")), side(shape=(3, 3))])
def test_disagreement_is_a_failure_and_nothing_is_timed(ours: protocol.Side) -> None:
    result = protocol.measure(case(ours), budget=0)
    assert result.failed and result.pairs == 0 and np.isnan(result.ratio)
    assert result.reached is False
    assert "FAILED" in report.row(result)


def test_disagreement_is_relative_to_the_largest_value_of_the_peer() -> None:
    peer = np.array([0.0, 10.0])
    assert protocol.disagreement(np.array([1e-4, 10.0]), peer) == pytest.approx(1e-5)
    assert protocol.disagreement(np.zeros(2), np.zeros(2)) == 0
    assert protocol.disagreement(np.ones(2), np.zeros(2)) == np.inf
    assert protocol.disagreement(np.zeros(0), np.zeros(0)) == 0


def test_random_sides_agree_by_their_distribution_alone() -> None:
    random = np.random.default_rng(0)
    truth = sampled.Truth(random.standard_normal((64, 100)), np.full((64, 100), 3.0))
    one, two = (truth.values + 3 / 50**0.5 * random.standard_normal((64, 100)) for _ in range(2))
    found = truth.agree(one, two)
    assert found.holds and found.size == pytest.approx(1, abs=0.05)
    assert not truth.agree(one, 1.1 * two).holds
    assert not truth.agree(one + 3 / 50**0.5, two).holds
    assert not truth.agree(one[:, :50], two).holds
    assert not truth.agree(np.full_like(one, np.nan), two).holds


def test_a_case_may_say_what_agreement_is() -> None:
    words = protocol.Agreement(True, 0.5, "half a standard error")
    loose = replace(case(side(1.5)), agree=lambda ours, peer: words)
    result = protocol.measure(loose, budget=0)
    assert not result.failed and result.disagreement == 0.5 and result.agreement == "half a standard error"


def test_loops_and_yardsticks_are_timed(tmp_path) -> None:
    if shutil.which("cc") is None and not os.environ.get("CC"):
        pytest.skip("no C compiler")
    program = kernels.compile_program(tmp_path)
    for dtype in kernels.DTYPES:
        speed = kernels.speeds(program, "base", dtype, 2, "cache", rounds=1)
        assert all(0 < value < 1e5 for value in speed.values())
        assert {name for names in kernels.YARDSTICKS.values() for name in names} | set(kernels.YARDSTICKS) == set(speed)


def test_engines_that_do_not_call_the_model_state_their_evaluations() -> None:
    quiet = replace(side(), run=lambda: np.zeros(1), evaluations=lambda: 17)
    assert protocol.first_run(quiet).evaluations == 17
    assert protocol.first_run(replace(side(), evaluations=lambda: 17)).evaluations == 17
    assert protocol.first_run(side()).evaluations == 4


@LINUX
def test_memory_of_a_fresh_process_is_the_work_alone() -> None:
    found = memory.peak_growth(partial(partial, np.ones, 8_000_000))
    assert found.how in ("VmHWM", "sampled")
    assert found.peak == pytest.approx(64e6, rel=0.1)


@LINUX
@pytest.mark.parametrize("measure", [memory.growth, memory.sampled_growth])
def test_memory_counts_peaks_and_not_what_was_allocated_before(measure) -> None:
    kept, freed = np.ones(16_000_000), np.ones(32_000_000)
    del freed

    def peak_inside() -> np.ndarray:
        return MEGABYTES_64()[:1].copy()  # the 64 MB are gone when it returns

    # what earlier tests left may be freed meanwhile, which hides growth and never adds any: the largest of three counts
    found = []
    for _ in range(3):
        gc.collect()
        memory.return_freed_memory()
        found.append(measure(MEGABYTES_64).peak)
    assert max(found) == pytest.approx(64e6, rel=0.1)
    if measure is memory.growth and memory.reset_high_water_mark():
        assert measure(peak_inside).peak == pytest.approx(64e6, rel=0.1)
    del kept


@LINUX
def test_a_process_that_dies_is_reported() -> None:
    found = memory.peak_growth(partial(partial, os._exit, 3))
    assert np.isnan(found.peak) and "3" in found.how


def test_saved_activations_leave_parameters_out_and_count_a_storage_once() -> None:
    row = torch.zeros(1, 30)
    saved = integrated_gradients.saved_bytes_per_row(networks.mlp(30, 64, 32, 2), row)
    assert saved == 4 * (30 + 64 + 32)  # inputs of the linear layers; the ReLU outputs are the same storages


def test_results_are_json_without_nan(tmp_path) -> None:
    path = report.write("x", [{"a": float("nan"), "b": (1.0, float("inf"))}], tmp_path / "deep" / "x.json")
    written = json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(word))
    assert written["rows"] == [{"a": None, "b": [1.0, None]}]
    assert written["machine"]["threads"] == torch.get_num_threads()


@LINUX
def test_a_side_is_measured_in_a_fresh_process() -> None:
    found = memory.peak_growth(partial(protocol.prepared, partial(integrated_gradients.fastattr_side, MLP, 2, 10)))
    assert 0 <= found.peak < 100e6, found.how


def test_a_small_case_runs_from_end_to_end(tmp_path, capsys) -> None:
    pytest.importorskip("captum")
    peer = partial(integrated_gradients.captum_side, MLP, 2, 10)
    ours = partial(integrated_gradients.fastattr_side, MLP, 2, 10)
    rows = report.run_cases([protocol.Case(MLP, 2, peer, ours, wanted=1.0, memory=False)], budget=0)
    report.write("small", rows, tmp_path / "small.json")
    assert not rows[0]["failed"] and rows[0]["disagreement"] <= 1e-5
    assert rows[0]["evaluations"] >= 20 and rows[0]["peer_evaluations"] == 20
    assert MLP in capsys.readouterr().out


def test_networks_are_the_same_in_every_process_and_leave_the_random_state() -> None:
    before = torch.get_rng_state()
    one, two = networks.resnet18(10), networks.resnet18(10)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    assert one(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert networks.small_cnn()(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert networks.digits_cnn("gelu")(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
