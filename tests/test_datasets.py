from __future__ import annotations

import hashlib

import numpy as np
import pytest

pytest.importorskip("sklearn")

from fastattr.datasets import breast_cancer, digits, shapes


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


def test_breast_cancer_is_standardised_by_its_training_part():
    data = breast_cancer()
    assert data.x_train.shape == (455, 30) and data.x_test.shape == (114, 30)
    assert data.x_train.dtype == np.float32 and data.y_train.dtype == np.int64
    np.testing.assert_allclose(data.x_train.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(data.x_train.std(0), 1, atol=1e-5)
    for y in (data.y_train, data.y_test):
        assert 0.5 < y.mean() < 0.75
    again = breast_cancer()
    np.testing.assert_array_equal(again.x_test, data.x_test)


def test_shapes_have_their_counterfactuals():
    data = shapes(train=40, test=60, seed=3)
    assert data.x_train.shape == (40, 3, 32, 32) and data.x_train.dtype == np.float32
    assert data.counterfactual.shape == (60, 3, 3, 32, 32) and data.mask.shape == (60, 3, 32, 32)
    assert data.x_test.min() >= 0 and data.x_test.max() <= 1
    assert set(data.y_test) == {0, 1, 2}
    rows = np.arange(60)
    np.testing.assert_array_equal(data.counterfactual[rows, data.y_test], data.x_test)
    assert not data.mask[rows, data.y_test].any()
    for c in range(3):
        other = data.y_test != c
        away = np.abs(data.counterfactual[other, c] - data.x_test[other]).max(1)
        assert ((away > 0.075) == data.mask[other, c]).all()
    colour, shape = data.mask[data.y_test == 0, 1], data.mask[data.y_test == 0, 2]
    assert colour.sum((1, 2)).min() > 60 > shape.sum((1, 2)).max() / 3 > 0, "a disc's colour, a square's corners"


def test_shapes_show_their_class_and_scene():
    data = shapes(train=1, test=50)
    scene = data.nuisance
    for image, label, x, y in zip(data.x_test, data.y_test, scene.x, scene.y, strict=True):
        centre = image[:, round(float(y)), round(float(x))]
        assert centre.argmax() == (1 if label == 1 else 0) and centre.max() > 0.4
    assert scene.noise.shape == (50, 3, 32, 32) and abs(scene.noise.std() - 0.04) < 0.001


def test_shapes_depend_on_the_seed_alone():
    first, again, other = shapes(20, 10, 5), shapes(20, 10, 5), shapes(20, 10, 6)
    np.testing.assert_array_equal(first.x_train, again.x_train)
    np.testing.assert_array_equal(first.counterfactual, again.counterfactual)
    assert not np.array_equal(first.x_train, other.x_train)
    np.testing.assert_array_equal(shapes(7, 10, 5).x_test, first.x_test)
    with pytest.raises(ValueError, match="test: expected at least one image, got 0"):
        shapes(1, 0)
