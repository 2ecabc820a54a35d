"""Baselines without randomness.

Sturmfels, Lundberg, Lee, "Visualizing the impact of feature attribution baselines", Distill 2020.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import is_array, is_torch
from .base import Baseline
from .parts import like, map_parts, matching, plain


class Zero(Baseline):
    """Zeros, the default of every method.

    It says nothing about a class: of the difference between two outputs it explains what the *input* shows, never what
    the other class would have had. With ``versus=`` it is the control that `MDTS` and `fastattr.GANMEX` are to beat.

    Examples
    --------
    >>> import numpy as np, fastattr as fa
    >>> fa.baselines.Zero().baseline(np.ones((2, 3)))
    array([[0., 0., 0.],
           [0., 0., 0.]])
    """

    def baseline(self, x: Any, target: Any = None) -> Any:
        """Zeros like ``x``."""
        return map_parts(x, lambda part, _: np.zeros_like(part))


class Maximum(Baseline):
    """The end of the value range that is farther from the input, feature by feature; the upper one from the middle.

    Parameters
    ----------
    value_range : (low, high)
        Numbers or arrays that broadcast to the inputs.

    Examples
    --------
    >>> import numpy as np, fastattr as fa
    >>> fa.baselines.Maximum((0.0, 1.0)).baseline(np.array([[0.1, 0.5, 0.9]]))
    array([[1., 1., 0.]])
    """

    def __init__(self, value_range: tuple[Any, Any] = (0.0, 1.0)) -> None:
        self.value_range = value_range

    def baseline(self, x: Any, target: Any = None) -> Any:
        """``low`` or ``high`` for every feature of ``x``."""
        low, high = ends(self.value_range)

        def farther(part: NDArray[Any], _: int) -> NDArray[Any]:
            values = part.astype(np.float64)
            return np.where(values - low > high - values, low, high)

        return map_parts(x, farther)


class Blur(Baseline):
    """The input blurred by a Gaussian: what is left where detail is missing.

    Parameters
    ----------
    sigma : float
        Standard deviation, in pixels.
    axes : tuple of int
        Axes of the inputs that are blurred; default the last two of images (B, C, H, W). Beyond the edges an image is
        continued by its outermost pixels.

    Examples
    --------
    >>> import numpy as np, fastattr as fa
    >>> flat = np.full((1, 1, 4, 4), 0.5)
    >>> bool(np.allclose(fa.baselines.Blur(2.0).baseline(flat), flat))
    True
    """

    def __init__(self, sigma: float = 3.0, axes: tuple[int, ...] | None = None) -> None:
        self.sigma = sigma
        self.axes = axes

    def baseline(self, x: Any, target: Any = None) -> Any:
        """``x``, blurred.

        Raises
        ------
        ValueError
            Inputs that are not images, without ``axes``.
        """
        if not (isinstance(self.sigma, (int, float)) and 0 < self.sigma < np.inf):
            raise ValueError(f"sigma: expected a finite number > 0, got {self.sigma!r}")
        return map_parts(x, self._blurred)

    def _blurred(self, part: NDArray[Any], _: int) -> NDArray[Any]:
        from scipy.ndimage import gaussian_filter1d

        if self.axes is None and part.ndim != 4:
            raise ValueError(
                f"axes: expected which to blur for inputs that are not (B, C, H, W), got shape {part.shape}"
            )
        axes = tuple(range(part.ndim))[-2:] if self.axes is None else self.axes
        if any(not -part.ndim < axis < part.ndim or axis % part.ndim == 0 for axis in axes):
            raise ValueError(f"axes: expected axes after the batch for inputs of shape {part.shape}, got {self.axes}")
        blurred = part.astype(np.float64)
        for axis in axes:
            blurred = gaussian_filter1d(blurred, float(self.sigma), axis, mode="nearest")
        return blurred


class Mean(Baseline):
    """The mean of a sample of the data.

    Parameters
    ----------
    X : array (N, ...), or tuple or dict of such like the inputs

    Examples
    --------
    >>> import numpy as np, fastattr as fa
    >>> fa.baselines.Mean(np.array([[0.0, 1.0], [1.0, 3.0]])).baseline(np.zeros((5, 2)))
    array([[0.5, 2. ]])
    """

    def __init__(self, X: Any) -> None:  # noqa: N803
        self.X = X

    def baseline(self, x: Any, target: Any = None) -> Any:
        """(1, ...): the same for every example."""
        means = {key: plain(part).mean(0, dtype=np.float64, keepdims=True) for key, part in matching(self.X, x).items()}
        return like(means, x)


def ends(value_range: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``value_range`` as two arrays, low < high."""
    try:
        low, high = (
            np.asarray(plain(end) if is_torch(end) or is_array(end) else end, np.float64) for end in value_range
        )
        ordered = bool((low < high).all())
    except (TypeError, ValueError) as error:
        raise ValueError(f"value_range: expected (low, high), got {value_range!r}") from error
    if not ordered:
        raise ValueError(f"value_range: expected low < high, got {value_range!r}")
    return low, high
