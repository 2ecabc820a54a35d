"""Small data that comes with its library: nothing is downloaded."""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Split(NamedTuple):
    """Inputs and labels, a training and a test part."""

    x_train: NDArray[np.float32]
    y_train: NDArray[np.int64]
    x_test: NDArray[np.float32]
    y_test: NDArray[np.int64]


def digits() -> Split:
    """Handwritten digits, 8 x 8 pixels, as bundled with scikit-learn (its ``load_digits``).

    Ink is 1, paper is 0: the 17 grey levels are divided by 16. The split is fixed: a permutation drawn once from
    ``numpy.random.RandomState(0)``, whose stream NumPy keeps frozen; its first 1,437 examples train,
    the other 360 test.

    Returns
    -------
    Split
        ``x_train`` (1437, 1, 8, 8) and ``x_test`` (360, 1, 8, 8) float32 in [0, 1]; ``y_train`` (1437,) and ``y_test``
        (360,) int64, the digits 0 to 9. Fresh arrays at each call.

    Raises
    ------
    ImportError
        scikit-learn is not installed.

    References
    ----------
    E. Alpaydin, C. Kaynak, "Optical recognition of handwritten digits", UCI Machine Learning Repository, 1998
    (the test part of that data set).
    """
    try:
        load_digits = import_module("sklearn.datasets").load_digits
    except ImportError as error:
        raise ImportError("fastattr.datasets.digits needs scikit-learn: pip install scikit-learn") from error
    bunch = load_digits()
    x = (bunch.images / 16).astype(np.float32)[:, None]
    y = bunch.target.astype(np.int64)
    order = np.random.RandomState(0).permutation(len(x))
    train, test = order[:1437], order[1437:]
    return Split(x[train], y[train], x[test], y[test])
