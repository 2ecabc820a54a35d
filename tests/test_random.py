"""The random numbers of csrc/random.h and csrc/draws.h against their definition, and as random numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from fastattr import _core, reference

pytestmark = [pytest.mark.native, pytest.mark.backend]

KNOWN_ANSWERS = {  # kat_vectors of the Random123 distribution, philox4x32-10: counter, key, answer
    "zeros": ("00000000 " * 4, "00000000 " * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    "ones": ("ffffffff " * 4, "ffffffff " * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    "pi": ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
}
SIZES = [1, 2, 3, 15, 16, 17, 1000]
BIG = 2**64 - 1


def words(text: str) -> Any:
    return tuple(int(word, 16) for word in text.split())


def noisy(seed: int, id: int, draws: int, size: int, member: int = 0, dtype: Any = np.float64) -> NDArray[Any]:
    """(draws, size) normals: noise of deviation one about zero."""
    out = np.empty((draws, size), dtype)
    ids, one = np.array([id]), np.ones(1)
    x = np.zeros((1, size), dtype)
    _core.noisy(out=(out,), input=(x,), ids=ids, stdev=one, draws=draws, seed=seed, member=member, first=0, count=draws)
    return out


def drawn(ids: Any, draws: int, references: int, seed: int = 0) -> NDArray[np.int64]:
    return _core.drawn_references(np.asarray(ids, np.int64), draws, seed, references)


# ---- Philox -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("philox", [_core.philox, reference.philox4x32], ids=["core", "reference"])
@pytest.mark.parametrize("name", KNOWN_ANSWERS)
def test_known_answers(name: str, philox: Any) -> None:
    counter, key, answer = map(words, KNOWN_ANSWERS[name])
    assert philox(counter, key) == answer


def test_the_core_and_the_reference_agree() -> None:
    for row in np.random.default_rng(0).integers(0, 2**32, (500, 6)).tolist():
        assert _core.philox(tuple(row[:4]), tuple(row[4:])) == reference.philox4x32(tuple(row[:4]), tuple(row[4:]))


# ---- normals ------------------------------------------------------------------------------------------------------


def test_normals_are_the_inverse_cdf() -> None:
    """From the first word to the last, densely at both ends and at the seam of the two branches, |q| = .425."""
    seam = [int((0.5 + sign * 0.425) * 2**32) + d for sign in (-1, 1) for d in range(-200, 200)]
    spread = np.random.default_rng(1).integers(0, 2**32, 20000).tolist()
    tested = np.array([*range(2000), *range(2**31 - 500, 2**31 + 500), *range(2**32 - 2000, 2**32), *seam, *spread])
    got = np.array([_core.normal(int(word)) for word in tested])
    np.testing.assert_allclose(got, special.ndtri((tested + 0.5) / 2**32), rtol=1e-14, atol=0)
    assert got.min() == got[0] == -got.max() and 6.3 < got.max() < 6.4


def test_normals_are_symmetric_and_ascend() -> None:
    lower = np.sort(np.random.default_rng(2).integers(0, 2**31, 5000))
    got = [_core.normal(int(word)) for word in lower]
    assert got == [-_core.normal(2**32 - 1 - int(word)) for word in lower]
    assert np.diff(got).min() >= -4e-16


def test_the_references_own_normals_and_uniforms() -> None:
    for word in (0, 1, 2**31 - 1, 2**31, 3 * 2**30, 2**32 - 1):
        assert reference.normal(word) == pytest.approx(_core.normal(word), rel=1e-14)
        assert 0 < reference.uniform(word) < 1 and (reference.uniform(word) * 2**32) % 1 == 0.5


@pytest.mark.parametrize("size", [1, 3, 63, 64, 65, 130])
@pytest.mark.parametrize(("seed", "id", "member"), [(0, 0, 0), (7, 3, 1), (BIG, -1, 63), (2**32, 2**40, 0)])
def test_noise_is_where_the_definition_puts_it(seed: int, id: int, member: int, size: int) -> None:
    got = noisy(seed, id, 3, size, member)
    for j in range(3):
        np.testing.assert_allclose(got[j], reference.noise(seed, id, member, j, size), rtol=1e-14, atol=0)


def test_noise_is_scaled_shifted_and_cut_from_the_middle() -> None:
    x, stdev = np.array([[1.0, -2, 3], [0, 5, 9]]), np.array([0.5, 2.0])
    ids = np.array([4, 9])
    out = np.empty((4, 3))
    _core.noisy(out=(out,), input=(x,), ids=ids, stdev=stdev, draws=8, seed=5, member=2, first=6, count=2)
    for row, (e, j) in zip(out, [(0, 6), (0, 7), (1, 6), (1, 7)]):
        want = x[e] + stdev[e] * reference.noise(5, int(ids[e]), 2, j, 3)
        np.testing.assert_allclose(row, want, rtol=1e-14, atol=1e-14)


def test_noise_is_standard_normal() -> None:
    z = noisy(0, 0, 40, 10000).ravel()
    n = z.size
    assert abs(z.mean()) < 4 / np.sqrt(n)
    assert abs(z.var() - 1) < 4 * np.sqrt(2 / n)
    assert abs(stats.skew(z)) < 4 * np.sqrt(6 / n)
    assert abs(stats.kurtosis(z)) < 4 * np.sqrt(24 / n)
    assert stats.kstest(z, "norm").pvalue > 0.01
    assert 4 < np.abs(z).max() < 6.4


def test_streams_do_not_correlate() -> None:
    """Seeds, ids and members one apart or far apart, and draws of one stream."""
    n = 20000
    addresses = [(0, 0, 0), (1, 0, 0), (2**32, 0, 0), (0, 1, 0), (0, -1, 0), (0, 2**32, 0), (0, 0, 1), (1, 1, 1)]
    rows = np.concatenate([noisy(seed, id, 2, n, member) for seed, id, member in addresses])
    correlation = np.corrcoef(rows) - np.eye(len(rows))
    assert np.abs(correlation).max() < 4.5 / np.sqrt(n)
    lagged = [np.corrcoef(row[:-k], row[k:])[0, 1] for row in rows for k in (1, 2, 3, 4, 64)]
    assert np.abs(lagged).max() < 4.5 / np.sqrt(n)


def test_every_address_has_a_stream_of_its_own() -> None:
    purposes = (0, 1, 2, 64, 65, 127)
    keys = {reference.stream(s, i, p) for s in (0, 1, 2**32, BIG) for i in (0, 1, -1, 2**32) for p in purposes}
    assert len(keys) == 4 * 4 * len(purposes)


# ---- permutations -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", SIZES)
def test_references_come_in_fresh_permutations(n: int) -> None:
    rounds = 3 if n > 100 else 8
    table = drawn(range(4), n * rounds, n, seed=3).reshape(4, rounds, n)
    assert (np.sort(table, axis=2) == np.arange(n)).all()
    if n > 10:
        assert len({row.tobytes() for row in table.reshape(-1, n)}) == 4 * rounds


@pytest.mark.parametrize("n", SIZES)
def test_permutations_are_those_of_the_definition(n: int) -> None:
    draws = n + (n + 1) // 2
    for seed, id in ((0, 0), (BIG, -5)):
        assert drawn([id], draws, n, seed)[0].tolist() == reference.drawn_references(seed, id, draws, n)


def test_a_part_of_the_draws_is_the_beginning_of_all() -> None:
    np.testing.assert_array_equal(drawn(range(5), 30, 7)[:, :11], drawn(range(5), 11, 7))


@pytest.mark.parametrize("n", [3, 4])
def test_every_permutation_is_about_as_frequent(n: int) -> None:
    ids = 12000
    table = drawn(range(ids), n, n, seed=11)
    _, counts = np.unique(table @ n ** np.arange(n), return_counts=True)
    assert len(counts) == special.factorial(n, exact=True)
    assert stats.chisquare(counts).pvalue > 0.001


def test_every_place_takes_every_reference_about_as_often() -> None:
    n, ids = 17, 6000
    table = drawn(range(ids), n, n)
    for place in range(n):
        assert stats.chisquare(np.bincount(table[:, place], minlength=n)).pvalue > 1e-4
    pairs = np.bincount(table[:, 0] * n + table[:, 1], minlength=n * n).reshape(n, n)
    assert stats.chisquare(pairs[~np.eye(n, dtype=bool)]).pvalue > 1e-4


def test_strata_hold_one_alpha_each() -> None:
    for n in SIZES[:-1]:
        alphas = reference.drawn_alphas(2, 1, n, stratified=True)
        assert sorted(np.floor(alphas * n).astype(int)) == list(range(n))
    free = reference.drawn_alphas(2, 1, 500, stratified=False)
    assert stats.kstest(free, "uniform").pvalue > 0.01


# ---- the same bits everywhere -------------------------------------------------------------------------------------

HASHES = """
import hashlib
import sys

import numpy as np

import fastattr as fa
from fastattr import _core
from helpers_native import Formula, draw

digest = hashlib.sha256()


def take(*arrays):
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())


def sloped(points, index, scalars):  # elementwise in float32: the same bits at any vector width
    x = points[0].astype(np.float32)
    return x[:, 0][None], ((x * (1 - x)).astype(points[0].dtype)[None],)


for threads in map(int, sys.argv[2:]):
    fa.set_num_threads(threads)
    for dtype in (np.float16, np.float32, np.float64):
        x, pool = draw(5, 40000, dtype=dtype), draw(3, 40000, seed=1, dtype=dtype)
        out = np.empty((10, 40000), dtype)
        _core.noisy(out=(out,), input=(x,), ids=np.arange(5), stdev=np.full(5, 0.3), draws=4, seed=1, member=0,
                    first=1, count=2)
        take(out)
        model = fa.FunctionModel(sloped)
        for kind in ("mean", "squared", "variance"):
            att = fa.SmoothGrad(model, samples=6, kind=kind)(x)
            take(att.values, att.error, att.gap, att.output)
        att = fa.GradientShap(model, pool, samples=7, noise=0.1)(x)
        take(att.values, att.standard_error, att.error, att.gap, att.output, att.baseline_output)
        for options in ({"steps": 9}, {"tolerance": 0.05, "max_steps": 31}):
            att = fa.IntegratedGradients(model, **options)(x[:, :20000], baseline=pool[:1, :20000])
            take(att.values, att.gap, att.error, att.evaluations)
    print(digest.hexdigest())
    digest = hashlib.sha256()
print(_core.cpu_level())
"""


def hashes(level: str, threads: tuple[int, ...]) -> tuple[list[str], str]:
    """One digest of many results for every number of threads, and the level that ran."""
    environment = os.environ | {"FASTATTR_CPU_LEVEL": level}
    here = str(Path(__file__).parent)
    code = "import sys; sys.path.insert(0, sys.argv[1])\n" + HASHES
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, here, *map(str, threads)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    *digests, ran = run.stdout.split()
    return digests, ran


def test_the_same_bits_at_every_level_and_on_any_number_of_threads() -> None:
    found = {level: hashes(level, (1, 2, 5) if level == "avx2" else (2,)) for level in ("base", "avx2", "avx512")}
    assert found["base"][1] == "base"
    digests = {digest for several, _ in found.values() for digest in several}
    assert len(digests) == 1 and len(digests.pop()) == 64
