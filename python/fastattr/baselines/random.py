"""Baselines drawn at random, keyed by seed, example number and draw: the same in every batch, chunk and framework."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .base import Baseline
from .parts import like, matching, parts_of, plain
from .simple import ends

LAST_MEMBER = 63
"""Noise of input t is that of member 63 - t: never the noise that SmoothGrad adds to an input under the same seed."""


class RandomBaseline(Baseline):
    """A baseline with ``draws``: methods explain every example from each of them and return the mean.

    `Attribution.standard_error` is then that of this mean over the draws, ``error`` the mean of the quadrature errors,
    ``gap`` and ``baseline_output`` are means, ``evaluations`` the sum.

    Parameters
    ----------
    draws : int
        Baselines of one example.
    seed : int
    """

    def __init__(self, draws: int = 1, seed: int = 0) -> None:
        self.draws = draws
        self.seed = seed

    def baseline(self, x: Any, target: Any = None, *, ids: Any = None, draw: int = 0) -> Any:
        """One draw for every example.

        Parameters
        ----------
        x : array (B, ...), or tuple or dict of such
        target
            Makes no difference.
        ids : (B,) int64, optional
            Example numbers, default 0..B-1.
        draw : int
            Which, from 0 to ``draws`` - 1.
        """
        from ..sampling import example_ids

        self.check()
        if not 0 <= draw < self.draws:
            raise ValueError(f"draw: expected 0 <= draw < {self.draws}, got {draw}")
        examples = next((int(part.shape[0]) for part in parts_of(x, True).values()), 0)
        return self._drawn(x, example_ids(ids, examples), draw)

    def check(self) -> None:
        """Raise unless the options are in range."""
        from ..methods.base import check_samples

        check_samples(self.draws, self.seed)

    def _drawn(self, x: Any, ids: NDArray[np.int64], draw: int) -> Any:
        raise NotImplementedError

    def _normals(self, part: NDArray[Any], number: int, ids: NDArray[np.int64], draw: int) -> NDArray[np.float64]:
        """Standard normal numbers in the shape of ``part``."""
        made = np.empty(part.shape)
        _core.noisy(
            out=(made,), input=(np.zeros(part.shape),), ids=ids, stdev=np.ones(len(ids)), draws=self.draws,
            seed=self.seed, member=LAST_MEMBER - number, first=draw, count=1,
        )  # fmt: skip
        return made


class Uniform(RandomBaseline):
    """Independent uniform numbers of the value range.

    Parameters
    ----------
    value_range : (low, high)
        Numbers or arrays that broadcast to the inputs.
    draws, seed : int
        As in `RandomBaseline`.

    Examples
    --------
    >>> import numpy as np, fastattr as fa
    >>> x = np.zeros((2, 3))
    >>> some = fa.baselines.Uniform((0.0, 1.0), seed=1)
    >>> bool((some.baseline(x)[1:] == some.baseline(x[1:], ids=[1])).all())
    True
    """

    def __init__(self, value_range: tuple[Any, Any] = (0.0, 1.0), draws: int = 1, seed: int = 0) -> None:
        super().__init__(draws, seed)
        self.value_range = value_range

    def _drawn(self, x: Any, ids: NDArray[np.int64], draw: int) -> Any:
        from scipy.special import ndtr

        low, high = ends(self.value_range)
        made = {}
        for number, (key, part) in enumerate(parts_of(x).items()):  # the normals are inverse-CDF: ndtr gives u back
            made[key] = low + (high - low) * ndtr(self._normals(plain(part), number, ids, draw))
        return like(made, x)


class Gaussian(RandomBaseline):
    """The input with normal noise.

    Parameters
    ----------
    stdev : float
        In the unit of the inputs.
    value_range : (low, high), optional
        To clip to.
    draws, seed : int
        As in `RandomBaseline`.
    """

    def __init__(
        self, stdev: float = 0.5, value_range: tuple[Any, Any] | None = None, draws: int = 1, seed: int = 0
    ) -> None:
        super().__init__(draws, seed)
        self.stdev = stdev
        self.value_range = value_range

    def check(self) -> None:
        """Raise unless the options are in range."""
        from ..methods.base import check_spread

        super().check()
        check_spread("stdev", self.stdev)

    def _drawn(self, x: Any, ids: NDArray[np.int64], draw: int) -> Any:
        made = {}
        for number, (key, part) in enumerate(parts_of(x).items()):
            noisy = plain(part) + self.stdev * self._normals(plain(part), number, ids, draw)
            made[key] = noisy if self.value_range is None else np.clip(noisy, *ends(self.value_range))
        return like(made, x)


class DataSet(RandomBaseline):
    """Samples of the data; every example goes through them in an order of its own, none twice before all were drawn.

    Parameters
    ----------
    X : array (N, ...), or tuple or dict of such like the inputs
        Integers, such as token ids, where the inputs are and a ``layer`` is explained.
    draws, seed : int
        As in `RandomBaseline`.

    Notes
    -----
    Each draw is integrated to its own error bar. `fastattr.ExpectedGradients` takes one random point of each path
    instead, and reaches the same mean with fewer gradients.
    """

    def __init__(self, X: Any, draws: int = 1, seed: int = 0) -> None:  # noqa: N803
        super().__init__(draws, seed)
        self.X = X

    def _drawn(self, x: Any, ids: NDArray[np.int64], draw: int) -> Any:
        samples = matching(self.X, x, integers=True)
        count = int(next(iter(samples.values())).shape[0])
        rows = _core.drawn_references(ids, self.draws, self.seed, count)[:, draw]
        return like({key: plain(part)[rows] for key, part in samples.items()}, x, integers=True)
