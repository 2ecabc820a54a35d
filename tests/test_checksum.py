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
