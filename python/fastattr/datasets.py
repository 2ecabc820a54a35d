"""Small data that comes with its library: nothing is downloaded."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

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
    bunch = _bundled("digits")
    x = (bunch.images / 16).astype(np.float32)[:, None]
    y = bunch.target.astype(np.int64)
    order = np.random.RandomState(0).permutation(len(x))
    train, test = order[:1437], order[1437:]
    return Split(x[train], y[train], x[test], y[test])


def breast_cancer() -> Split:
    """Thirty measurements of cell nuclei, malignant (0) or benign (1), as bundled with scikit-learn.

    Every feature is standardised by the mean and the standard deviation of the training part. The split is fixed as
    that of `digits`: 455 examples train, 114 test.

    Returns
    -------
    Split
        ``x_train`` (455, 30) and ``x_test`` (114, 30) float32; ``y_train`` (455,) and ``y_test`` (114,) int64.

    Raises
    ------
    ImportError
        scikit-learn is not installed.

    References
    ----------
    W. Street, W. Wolberg, O. Mangasarian, "Nuclear feature extraction for breast tumor diagnosis", 1993
    (UCI Machine Learning Repository).
    """
    bunch = _bundled("breast_cancer")
    order = np.random.RandomState(0).permutation(len(bunch.data))
    train, test = order[:455], order[455:]
    mean, deviation = bunch.data[train].mean(0), bunch.data[train].std(0)
    x = ((bunch.data - mean) / deviation).astype(np.float32)
    y = bunch.target.astype(np.int64)
    return Split(x[train], y[train], x[test], y[test])


def _bundled(name: str) -> Any:
    """What scikit-learn brings along under ``name``."""
    try:
        return getattr(import_module("sklearn.datasets"), f"load_{name}")()
    except ImportError as error:
        raise ImportError(f"fastattr.datasets.{name} needs scikit-learn: pip install scikit-learn") from error


# ---- rendered shapes: the counterfactual is known ------------------------------------------------------------------

SHAPES = ("red disc", "green disc", "red square")
SIDE = 32
VISIBLE = 0.075
"""A pixel whose channels all differ by less is not part of the difference: .15 on the scale [-1, 1]."""


class Nuisance(NamedTuple):
    """What an image of `shapes` shows besides its class, (N,) float32 each; lengths in pixels, light in [0, 1]."""

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    radius: NDArray[np.float32]
    light: NDArray[np.float32]
    background: NDArray[np.float32]
    noise: NDArray[np.float32]  # (N, 3, 32, 32)


class Shapes(NamedTuple):
    """A `Split`, and of every test image what it would be in each class."""

    x_train: NDArray[np.float32]
    y_train: NDArray[np.int64]
    x_test: NDArray[np.float32]
    y_test: NDArray[np.int64]
    counterfactual: NDArray[np.float32]  # (N, 3 classes, 3, 32, 32)
    mask: NDArray[np.bool_]  # (N, 3 classes, 32, 32)
    nuisance: Nuisance  # of the test part


def shapes(train: int = 3000, test: int = 300, seed: int = 0) -> Shapes:
    """Rendered images of a red disc (0), a green disc (1) or a red square (2), whose counterfactuals are known.

    Position, size, light, background and noise are drawn independently of the class; an image's counterfactual of
    class c is the same scene rendered with c's shape and colour, and the mask says where the two differ.

    Parameters
    ----------
    train, test : int
        Images of the two parts.
    seed : int
        Of ``numpy.random.RandomState``, whose stream NumPy keeps frozen; the parts have streams of their own.

    Returns
    -------
    Shapes
        ``x_train`` (train, 3, 32, 32), ``x_test`` and ``counterfactual`` (test, 3 classes, 3, 32, 32) float32 in
        [0, 1]; labels int64; ``mask`` (test, 3 classes, 32, 32), all False for the image's own class; ``nuisance``.

    Examples
    --------
    >>> data = shapes(train=8, test=2)
    >>> data.x_train.shape, data.counterfactual.shape, data.mask.shape
    ((8, 3, 32, 32), (2, 3, 3, 32, 32), (2, 3, 32, 32))
    """
    for name, count in (("train", train), ("test", test)):
        if count < 1:
            raise ValueError(f"{name}: expected at least one image, got {count}")
    x_train, y_train, _ = _draw_shapes(train, np.random.RandomState([seed, 0]))
    x_test, y_test, scene = _draw_shapes(test, np.random.RandomState([seed, 1]))
    turned = np.stack([_render(scene, np.full(test, c)) for c in range(len(SHAPES))], axis=1)
    mask = (np.abs(turned - x_test[:, None]) > VISIBLE).any(axis=2)
    return Shapes(x_train, y_train, x_test, y_test, turned, mask, scene)


def _draw_shapes(count: int, random: np.random.RandomState) -> tuple[NDArray[np.float32], NDArray[np.int64], Nuisance]:
    ranges = ((11, 21), (11, 21), (6, 9), (0.6, 1.0), (0.0, 0.35))  # in the order of Nuisance
    x, y, radius, light, background = (random.uniform(low, high, count).astype(np.float32) for low, high in ranges)
    noise = (0.04 * random.standard_normal((count, 3, SIDE, SIDE))).astype(np.float32)
    scene = Nuisance(x, y, radius, light, background, noise)
    label = random.randint(len(SHAPES), size=count).astype(np.int64)
    return _render(scene, label), label, scene


def _render(scene: Nuisance, y: NDArray[np.int64]) -> NDArray[np.float32]:
    """(N, 3, 32, 32) in [0, 1]; edges are soft over about one pixel."""
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    x, down, radius, light, background = (v[:, None, None] for v in scene[:5])
    dx, dy = np.abs(columns - x), np.abs(rows - down)
    square = (y == SHAPES.index("red square"))[:, None, None]
    distance = np.where(square, np.maximum(dx, dy), np.hypot(dx, dy))
    inside = (1 / (1 + np.exp(2 * (distance - radius))))[:, None]
    colour = np.zeros((len(y), 3, 1, 1), np.float32)
    colour[np.arange(len(y)), (y == SHAPES.index("green disc")).astype(int)] = 1
    image = inside * colour * light[:, None] + (1 - inside) * background[:, None] + scene.noise
    return np.clip(image, 0, 1).astype(np.float32)
