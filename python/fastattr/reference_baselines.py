"""The definitions of the baselines, re-exported by `fastattr.reference`; x is one example, arrays are float64."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .reference_sampling import drawn_references, noise

Array = NDArray[np.float64]

DRAW_MEMBER = 63
"""The noise of a random baseline of input t is that of member 63 - t."""


def farther_end(x: Array, low: float, high: float) -> Array:
    """``low`` or ``high``, whichever is farther from each x_i; ``high`` from the middle."""
    return np.array([low if v - low > high - v else high for v in x.ravel()]).reshape(x.shape)


def gaussian_blur(x: Array, sigma: float) -> Array:
    """Of x (C, H, W): sums over all pixels within 4 sigma, rows and columns beyond the edge being the outermost."""
    reach = int(4 * sigma + 0.5)
    weight = np.array([math.exp(-0.5 * (k / sigma) ** 2) for k in range(-reach, reach + 1)])
    weight /= weight.sum()
    height, width = x.shape[1:]
    result = np.zeros(x.shape)
    for r, c in np.ndindex(height, width):
        for i, v in enumerate(weight):
            for j, w in enumerate(weight):
                row, column = r + i - reach, c + j - reach
                result[:, r, c] += v * w * x[:, min(max(row, 0), height - 1), min(max(column, 0), width - 1)]
    return result


def uniform_baseline(x: Array, low: float, high: float, seed: int, id: int, draw: int, member: int = 0) -> Array:
    """Low + (high - low) u with the uniforms u whose inverse normal CDF the noise is."""
    z = noise(seed, id, DRAW_MEMBER - member, draw, x.size)
    u = np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in z])
    return (low + (high - low) * u).reshape(x.shape)


def gaussian_baseline(x: Array, stdev: float, seed: int, id: int, draw: int, member: int = 0) -> Array:
    """X plus noise."""
    return x + stdev * noise(seed, id, DRAW_MEMBER - member, draw, x.size).reshape(x.shape)


def data_set_baseline(samples: Array, seed: int, id: int, draw: int) -> Array:
    """The sample (of M) that a draw takes: fresh permutations one after the other."""
    return np.asarray(samples[drawn_references(seed, id, draw + 1, len(samples))[draw]])


def mdts(x: Array, target: int, samples: Array, labels: list[int], predicted: list[int], p: int = 2) -> int:
    """Number of the sample nearest to x in the p-norm among those labelled and predicted ``target``, the first of such.

    Raises
    ------
    ValueError
        There is none.
    """
    best, found = math.inf, -1
    for i, sample in enumerate(samples):
        if labels[i] == target == predicted[i]:
            distance = float((np.abs(np.asarray(x, float) - np.asarray(sample, float)) ** p).sum())
            if distance < best:
                best, found = distance, i
    if found < 0:
        raise ValueError(f"target: no sample is labelled and predicted {target}")
    return found
