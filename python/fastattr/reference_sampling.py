"""The definitions of the random numbers and of the sampled methods, re-exported by `fastattr.reference`.

Letters: n draws, j one of them, M references, D features of one input; x the input, x' a reference, z standard normal.
Every number is addressed by (seed, id, purpose), a *stream*, and within it by (draw, position): nothing has a state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Parts = tuple[Array, ...]
Words = tuple[int, int, int, int]
Key = tuple[int, int]

ALPHA, STRATUM, REFERENCE, NOISE = 0, 1, 2, 64
"""Purposes of streams; the noise of input t has NOISE + t."""

_MASK = 2**32 - 1


class Sampled(NamedTuple):
    """One example's mean over draws and how far it can be trusted.

    Attributes
    ----------
    values, standard_error : array or tuple of arrays
        Mean over the draws (or their variance) and sqrt(sum of squared deviations / (n (n - 1))); None for a variance.
    gap : float
        sum A - (f(x) - mean f(x') over the drawn references); NaN without references.
    error : float
        |standard error|_1 / |A|_1, with 0/0 = 0; NaN for a variance and for one draw.
    evaluations : int
        Draws n.
    """

    values: Any
    standard_error: Any
    gap: float
    error: float
    evaluations: int


# ---- random numbers -----------------------------------------------------------------------------------------------


def philox4x32(counter: Words, key: Key) -> Words:
    """Four words from a counter of four and a key of two, all of 32 bits, by ten rounds.

    References
    ----------
    J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """
    a, b, c, d = counter
    low, high = key
    for _ in range(10):
        p, q = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (q >> 32) ^ b ^ low, q & _MASK, (p >> 32) ^ d ^ high, p & _MASK
        low, high = (low + 0x9E3779B9) & _MASK, (high + 0xBB67AE85) & _MASK
    return a, b, c, d


def stream(seed: int, id: int, purpose: int) -> Key:
    """The key of what ``purpose`` needs for example ``id``; negative ids count as their two's complement."""
    number = id & (2**64 - 1)
    words = philox4x32((number & _MASK, number >> 32, purpose, 0x66617374), (seed & _MASK, seed >> 32))
    return words[0], words[1]


def draw_block(key: Key, draw: int, block: int) -> Words:
    """Words 4 block .. 4 block + 3 of a draw."""
    return philox4x32((block & _MASK, block >> 32, draw & _MASK, draw >> 32), key)


def uniform(word: int) -> float:
    """(k + 1/2) / 2^32, exact, inside (0, 1)."""
    return (word + 0.5) / 2**32


def normal(word: int) -> float:
    """The inverse normal CDF of `uniform`."""
    from scipy.special import ndtri

    return float(ndtri(uniform(word)))


def permutation(key: Key, draw: int, n: int) -> list[int]:
    """pi(0), ..., pi(n - 1): six Feistel rounds on the smallest 4^k >= n, k >= 1, repeated until below n."""
    bits = next(k for k in range(1, 33) if 4**k >= n)
    return [_walk(key, draw, n, j, bits) for j in range(n)]


def _walk(key: Key, draw: int, n: int, j: int, bits: int) -> int:
    left, right = j >> bits, j & (2**bits - 1)
    while True:
        for turn in range(6):
            mixed = draw_block(key, draw, right << 8 | turn)[0] & (2**bits - 1)
            left, right = right, left ^ mixed
        if (left << bits | right) < n:
            return left << bits | right


def noise(seed: int, id: int, member: int, draw: int, size: int) -> Array:
    """(size,) standard normals of one draw for input number ``member``."""
    key = stream(seed, id, NOISE + member)
    words = [word for block in range((size + 3) // 4) for word in draw_block(key, draw, block)]
    return np.array([normal(word) for word in words[:size]], np.float64)


def drawn_references(seed: int, id: int, n: int, references: int, stratified: bool = True) -> list[int]:
    """Which of M references each draw takes: fresh permutations one after the other, or independent ones."""
    key = stream(seed, id, REFERENCE)
    if not stratified:
        return [draw_block(key, j, 0)[0] * references >> 32 for j in range(n)]
    found: list[int] = []
    for turn in range((n + references - 1) // references):
        found += permutation(key, turn, references)
    return found[:n]


def drawn_alphas(seed: int, id: int, n: int, stratified: bool) -> Array:
    """(n,) positions on the path: u_j, or (pi(j) + u_j) / n with one permutation."""
    key = stream(seed, id, ALPHA)
    u = np.array([uniform(draw_block(key, j, 0)[0]) for j in range(n)])
    if not stratified:
        return u
    return np.asarray((np.array(permutation(stream(seed, id, STRATUM), 0, n)) + u) / n)


# ---- methods ------------------------------------------------------------------------------------------------------


def smooth_grad(
    explain: Callable[[Any], Any],
    x: Any,
    *,
    samples: int = 50,
    noise: float = 0.15,
    stdev: float | None = None,
    kind: str = "mean",
    seed: int = 0,
    id: int = 0,
) -> Sampled:
    """Mean of ``explain(x + N(0, s^2))`` over n draws, s = noise (max x - min x) for each input, or ``stdev``.

    Parameters
    ----------
    explain : callable
        From an input in the form of ``x`` to attributions in that form, as ``lambda z: saliency(f, z)``.
    x : array (...) or tuple of arrays
    kind : {"mean", "squared", "variance"}
        Mean, mean of squares, or variance (divisor n) of the draws.
    samples, noise, stdev, seed, id
        As in `fastattr.SmoothGrad`; ``id`` is the example's number.

    References
    ----------
    D. Smilkov, N. Thorat, B. Kim, F. Viegas, M. Wattenberg, "SmoothGrad: removing noise by adding noise", 2017,
    arXiv:1706.03825.
    """
    draws = []
    for j in range(samples):
        found = _parts(explain(_like(x, _noisy(x, noise, stdev, seed, id, j))))
        draws.append(tuple(v**2 if kind == "squared" else v for v in found))
    return _summary(x, draws, np.nan, variance=kind == "variance")


def expected_gradients(
    value_and_gradient: Callable[[Any], tuple[Any, Any]],
    x: Any,
    references: Any,
    *,
    samples: int = 100,
    stratified: bool = True,
    seed: int = 0,
    id: int = 0,
) -> Sampled:
    """Mean over references x' and a in [0, 1] of (x - x') df/dx(x' + a (x - x')): `gradient_shap` without noise.

    References
    ----------
    G. Erion, J. Janizek, P. Sturmfels, S. Lundberg, S.-I. Lee, "Improving performance of deep learning models with
    axiomatic attribution priors and expected gradients", Nature Machine Intelligence 3 (2021), arXiv:1906.10670.
    """
    return gradient_shap(value_and_gradient, x, references, samples=samples, stratified=stratified, seed=seed, id=id)


def gradient_shap(
    value_and_gradient: Callable[[Any], tuple[Any, Any]],
    x: Any,
    references: Any,
    *,
    samples: int = 100,
    stratified: bool = True,
    noise: float = 0.0,
    seed: int = 0,
    id: int = 0,
) -> Sampled:
    """Mean over references x', a in [0, 1] and s = x + noise of (s - x') df/dx(x' + a (s - x')).

    Parameters
    ----------
    value_and_gradient : callable
        points (N, ...) -> values (N,), gradients (N, ...).
    x : array (...) or tuple of arrays
    references : array (M, ...) or tuple of arrays
    samples, stratified, noise, seed, id
        As in `fastattr.GradientShap`; ``id`` is the example's number.

    References
    ----------
    S. Lundberg, S.-I. Lee, "A unified approach to interpreting model predictions", NeurIPS 2017, arXiv:1705.07874.
    """
    pool = _parts(references)
    chosen = drawn_references(seed, id, samples, len(pool[0]), stratified)
    alphas = drawn_alphas(seed, id, samples, stratified)
    draws, outputs = [], []
    for j in range(samples):
        starts = _noisy(x, noise, None, seed, id, j)
        bases = tuple(p[chosen[j]] for p in pool)
        points = tuple((b + alphas[j] * (s - b))[None] for s, b in zip(starts, bases, strict=True))
        gradients = _parts(value_and_gradient(_like(x, points))[1])
        draws.append(tuple((s - b) * g[0] for s, b, g in zip(starts, bases, gradients, strict=True)))
        outputs.append(_value(value_and_gradient, x, bases))
    return _summary(x, draws, _value(value_and_gradient, x, _parts(x)) - float(np.mean(outputs)))


def _noisy(x: Any, share: float, stdev: float | None, seed: int, id: int, draw: int) -> Parts:
    found = []
    for t, part in enumerate(_parts(x)):
        scale = stdev if stdev is not None else share * np.ptp(part) if part.size else 0.0
        z = noise(seed, id, t, draw, part.size) if scale > 0 else np.zeros(part.size)
        found.append(part + scale * z.reshape(part.shape))
    return tuple(found)


def _value(value_and_gradient: Callable[[Any], tuple[Any, Any]], x: Any, point: Parts) -> float:
    values, _ = value_and_gradient(_like(x, tuple(p[None] for p in point)))
    return float(np.asarray(values, np.float64)[0])


def _summary(x: Any, draws: list[Parts], difference: float, *, variance: bool = False) -> Sampled:
    n = len(draws)
    stacks = [np.stack(member) for member in zip(*draws, strict=True)]
    means = tuple(s.mean(axis=0) for s in stacks)
    squares = tuple(((s - m) ** 2).sum(axis=0) for s, m in zip(stacks, means, strict=True))
    if variance:
        return Sampled(_like(x, tuple(q / n for q in squares)), None, np.nan, np.nan, n)
    errors = tuple(np.sqrt(q / (n * (n - 1))) if n > 1 else np.full_like(q, np.nan) for q in squares)
    total = float(sum(m.sum() for m in means))
    spread, norm = (float(sum(np.abs(p).sum() for p in parts)) for parts in (errors, means))
    error = 0.0 if spread == 0 else np.inf if norm == 0 else spread / norm
    return Sampled(_like(x, means), _like(x, errors), total - difference, error, n)


def _parts(x: Any) -> Parts:
    return tuple(np.asarray(p, dtype=np.float64) for p in (x if isinstance(x, tuple) else (x,)))


def _like(x: Any, parts: Parts) -> Any:
    return parts if isinstance(x, tuple) else parts[0]
