"""The checksum of weights (csrc/checksum.c): any change of any word shows."""

from __future__ import annotations

import numpy as np
import pytest

from fastattr import _core

pytestmark = pytest.mark.native


def test_a_checksum_sees_every_word() -> None:
    x = np.random.default_rng(0).integers(0, 2**31, 1000).astype(np.int32)
    known = _core.checksum((x,))
    assert known == _core.checksum((x.copy(),))
    for i in (0, 1, 63, 64, 500, 998, 999):
        y = x.copy()
        y[i] ^= 1
        assert _core.checksum((y,)) != known
        z = x.copy()
        z[[i, i - 16]] = z[[i - 16, i]]
        assert _core.checksum((z,)) != known
    assert _core.checksum((x[:500], x[500:])) != known
    assert _core.checksum((np.zeros(3),)) != _core.checksum((np.zeros(4),))


@pytest.mark.parametrize("words", [1 << 19, (1 << 19) + 1, 1 << 21, (1 << 25) + 5])
def test_pieces_and_threads(words: int) -> None:
    """Large memory is shared among threads; the sum is the same for any number, and sees every piece."""
    x = np.random.default_rng(1).integers(0, 2**31, words).astype(np.int32)
    sums = set()
    for threads in (1, 2, 3):
        _core.set_num_threads(threads)
        sums.add(_core.checksum((x,)))
    _core.set_num_threads(0)
    assert len(sums) == 1
    for i in (0, (1 << 19) - 1, words // 2, words - 1):
        x[i] ^= 1
        sums.add(_core.checksum((x,)))
        x[i] ^= 1
    x[: 1 << 18], x[-(1 << 18) :] = x[-(1 << 18) :].copy(), x[: 1 << 18].copy()
    sums.add(_core.checksum((x,)))
    assert len(sums) == (6 if words > 1 << 19 else 5)
