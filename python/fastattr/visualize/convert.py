"""Arrays of any framework to NumPy, for pictures and files."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_numpy(value: Any) -> NDArray[Any]:
    """A NumPy array of ``value``; tensors are detached and brought to the CPU, bfloat16 becomes float32."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            value = value.float()
        value = value.numpy()
    return np.asarray(value)


def to_float(value: Any, name: str) -> NDArray[np.float64]:
    """``to_numpy`` as float64; ``name`` is the argument an error speaks of.

    Raises
    ------
    TypeError
        ``value`` does not hold real numbers.
    """
    array = to_numpy(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected an array of real numbers, got dtype {array.dtype}")
    return array.astype(np.float64)


def to_display(image: Any, name: str = "image") -> NDArray[np.float64]:
    """An image as (H, W, 3) in [0, 1]; values outside [0, 1] are scaled by the image's own minimum and maximum.

    Parameters
    ----------
    image : (H, W), (1, H, W) or (3, H, W)

    Raises
    ------
    ValueError
        Any other shape.
    """
    array = np.nan_to_num(to_float(image, name))
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or array.shape[0] not in (1, 3):
        raise ValueError(f"{name}: expected shape (H, W), (1, H, W) or (3, H, W), got {np.shape(image)}")
    if array.size and (array.min() < 0 or array.max() > 1):
        low, high = array.min(), array.max()
        array = (array - low) / (high - low) if high > low else np.zeros_like(array)
    return np.ascontiguousarray(np.broadcast_to(np.moveaxis(array, 0, -1), (*array.shape[1:], 3)))
