"""MDTS: the nearest training sample of another class."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import is_torch
from .base import Baseline, Pinned, class_numbers
from .nearest import Candidates
from .parts import like, matching, parts_of, plain

DISTANCES = ("l2", "l1")


class MDTS(Baseline):
    """The training sample of class c nearest to x: minimum distance training sample (Shih et al., ICML 2021).

    Among the samples with label c *and* predicted c. The search is exact: a product of matrices gives a shortlist
    within its rounding bound, direct float64 distances decide; of equally near samples the first is taken.

    Parameters
    ----------
    X : array (N, ...), or tuple or dict of such like the inputs
        Training samples. For several inputs the distance is joint.
    y : (N,) integers
        Their labels.
    model : torch.nn.Module or callable, optional
        The explained classifier, asked once for its classes of ``X``.
    distance : {"l2", "l1"}
    predicted : (N,) integers, optional
        The predicted classes, in place of ``model``.
    output_axis, output_key
        As in `fastattr.methods.base.GradientMethod`.

    Raises
    ------
    ValueError, TypeError
        Labels that are not one integer for each sample; neither ``model`` nor ``predicted``.

    Notes
    -----
    Memory: a copy of ``X``, and blocks of a few megabytes while searching.

    Examples
    --------
    >>> import numpy as np, fastattr as fa
    >>> X, y = np.array([[0.0, 0.0], [1.0, 1.0], [3.0, 3.0]]), [0, 1, 1]
    >>> near = fa.baselines.MDTS(X, y, predicted=y)
    >>> near.baseline(np.array([[0.2, 0.1]]), 1)
    array([[1., 1.]])
    """

    def __init__(
        self,
        X: Any,  # noqa: N803
        y: Any,
        model: Any = None,
        *,
        distance: str = "l2",
        predicted: Any = None,
        output_axis: int = 1,
        output_key: Any = None,
    ) -> None:
        if distance not in DISTANCES:
            raise ValueError(f"distance: expected one of {DISTANCES}, got {distance!r}")
        self.X = X
        self.distance = distance
        samples = matching(X, X)
        count = int(next(iter(samples.values())).shape[0])
        labels = _labels(y, "y", count)
        if predicted is None:
            if model is None:
                raise ValueError("model: expected the explained classifier, or its predicted classes, got neither")
            predicted = predicted_classes(model, X, output_axis, output_key)
        agreed = np.where(_labels(predicted, "predicted", count) == labels, labels, -1)
        self._search = ClassSearch(vectors_of(samples), agreed, distance)

    def nearest(self, x: Any, target: Any) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(B,) rows of ``X`` nearest to ``x`` among those of class ``target``, and their distances.

        Raises
        ------
        ValueError
            No target, or a class without a sample that is labelled and predicted so.
        """
        matching(self.X, x)
        queries = vectors_of(parts_of(x))
        return self._search.nearest(queries, class_numbers(target, len(queries)))

    def baseline(self, x: Any, target: Any = None) -> Any:
        """Those rows themselves, like ``x``."""
        rows, _ = self.nearest(x, target)
        return like({key: _rows(part, rows) for key, part in matching(self.X, x).items()}, x)

    def towards(self, target: Any) -> Pinned:
        """The same with its class fixed: for a single output, or a class that is not ``versus``."""
        return Pinned(self, target)


class ClassSearch:
    """Exact nearest neighbours within classes.

    Parameters
    ----------
    vectors : (N, D) float32 or float64
    labels : (N,) int64
        Negative ones take no part.
    distance : {"l2", "l1"}
    """

    def __init__(self, vectors: NDArray[Any], labels: NDArray[np.int64], distance: str = "l2") -> None:
        self._members = {int(c): np.flatnonzero(labels == c) for c in np.unique(labels[labels >= 0])}
        self._candidates = {c: Candidates(vectors[m], distance) for c, m in self._members.items()}

    def nearest(
        self, queries: NDArray[Any], target: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(B,) numbers of the nearest members of each query's class ``target``, and their distances."""
        index, distance = np.empty(len(queries), np.int64), np.empty(len(queries))
        for c in np.unique(target):
            if int(c) not in self._members:
                raise ValueError(f"target: expected a class with a sample that is labelled and predicted so, got {c}")
            rows = np.flatnonzero(target == c)
            found, distance[rows] = self._candidates[int(c)].nearest(queries[rows])
            index[rows] = self._members[int(c)][found]
        return index, distance


def vectors_of(parts: dict[Any, Any]) -> NDArray[Any]:
    """(N, D) float64 if one of the parts (N, ...) is, else float32."""
    flat = [plain(part).reshape(len(part), -1) for part in parts.values()]
    dtype = np.float64 if any(part.dtype == np.float64 for part in flat) else np.float32
    return np.concatenate(flat, axis=1, dtype=dtype) if len(flat) > 1 else flat[0].astype(dtype, copy=False)


def predicted_classes(model: Any, X: Any, output_axis: int = 1, output_key: Any = None) -> NDArray[np.int64]:  # noqa: N803
    """(N,) classes with the highest output, in chunks, the model left as it was found."""
    from ..models import adapt
    from ..models.function import FunctionModel
    from ..problem import normalise
    from ..progress import Progress

    if isinstance(model, FunctionModel):
        raise ValueError("model: a FunctionModel names no class; expected its predicted classes as predicted=")
    problem = normalise(X, None, (), None)
    with adapt(model, "raw", output_axis, output_key).open(problem, Progress(False, "")) as session:
        if len(session.output_shape) != 1:
            raise ValueError(f"model: expected outputs (N, classes), got rows of shape {session.output_shape}")
        return session.predicted()


def _rows(part: Any, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Rows of a sample: gathered first, converted after."""
    from ..arrays import take

    return plain(take(part, rows))


def _labels(value: Any, name: str, count: int) -> NDArray[np.int64]:
    array = plain(value) if is_torch(value) else np.asarray(value)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integers, got {array.dtype}")
    if array.shape not in ((count,), (count, 1)):
        raise ValueError(f"{name}: expected one for each of {count} samples, got shape {array.shape}")
    return array.reshape(-1).astype(np.int64)
