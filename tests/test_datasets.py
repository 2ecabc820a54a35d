from __future__ import annotations

import hashlib

import numpy as np
import pytest

pytest.importorskip("sklearn")

from fastattr.datasets import digits


def test_shapes_types_and_range():
    data = digits()
    assert data.x_train.shape == (1437, 1, 8, 8) and data.x_test.shape == (360, 1, 8, 8)
    assert data.x_train.dtype == data.x_test.dtype == np.float32
    assert data.y_train.shape == (1437,) and data.y_test.shape == (360,)
    assert data.y_train.dtype == data.y_test.dtype == np.int64
    for x in (data.x_train, data.x_test):
        assert x.min() == 0 and x.max() == 1
        np.testing.assert_array_equal(x * 16, np.round(x * 16))  # the 17 grey levels, exactly


def test_the_parts_are_all_the_digits_and_share_none():
    from sklearn.datasets import load_digits

    data = digits()

    def key(x, y):
        return sorted((float(label), *image) for image, label in zip(x.reshape(len(x), -1) * 16, y, strict=True))

    together = key(np.concatenate([data.x_train, data.x_test]), np.concatenate([data.y_train, data.y_test]))
    bunch = load_digits()
    assert together == key(bunch.images / 16, bunch.target)
    for y in (data.y_train, data.y_test):
        assert np.bincount(y, minlength=10).min() > 0.07 * len(y)


def test_the_split_is_the_documented_one():
    data = digits()
    labels = hashlib.sha256(np.concatenate([data.y_train, data.y_test]).tobytes()).hexdigest()
    assert labels[:16] == "cef12ef94d84a613"


def test_fresh_arrays_at_each_call():
    first = digits()
    first.x_train[:] = 7
    assert digits().x_train.max() == 1
