"""What every method returns: the attributions, and how far they can be trusted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .adversarial_paths import AdversarialPaths
from .visualize.convert import to_numpy

if TYPE_CHECKING:
    from .visualize.canvas import Picture
    from .visualize.normalize import Channels

_FIELDS = (
    "values",
    "gap",
    "error",
    "evaluations",
    "converged",
    "output",
    "baseline_output",
    "standard_error",
    "paths",
    "target",
    "method",
    "engine",
    "seconds",
)


class Attribution:
    """Attributions of B examples, with their certificates.

    Arrays are of the framework of the inputs; those of shape (B,) are on the CPU.

    Attributes
    ----------
    values : array (B, ...), or tuple or dict of such
        Attributions in the shape of the inputs, in the unit of the explained output; None for integer inputs.
    gap : (B,) float64
        sum of the attributions - (f(x) - f(x')); NaN where the method promises no such sum.
    error : (B,) float64
        Bar on the attribution itself, as a share of its L1 norm (.01 is one per cent); NaN for fixed rules.
    evaluations : (B,) int64
        Gradients that were computed.
    converged : (B,) bool
        Whether the tolerance was met; for fixed rules judged by the gap.
    output, baseline_output : (B,) float64
        The explained scalar at the input, f(x), and at the baseline, f(x').
    standard_error : as ``values``, or None
        Of sampled methods.
    paths : AdversarialPaths or None
        Of AGI: every path's class, steps, end and gap.
    target : Any
        The explained class of each example, None where there is nothing to choose.
    method, engine : str
        The method's name and what ran.
    seconds : float
        Wall time of the call.
    """

    def __init__(
        self,
        *,
        values: Any,
        gap: Any = None,
        error: Any = None,
        evaluations: Any = None,
        converged: Any = None,
        output: Any = None,
        baseline_output: Any = None,
        standard_error: Any = None,
        paths: Any = None,
        target: Any = None,
        method: str = "",
        engine: str = "",
        seconds: float = float("nan"),
        inputs: Any = None,
    ) -> None:
        self.values = values
        self.gap = gap
        self.error = error
        self.evaluations = evaluations
        self.converged = converged
        self.output = output
        self.baseline_output = baseline_output
        self.standard_error = standard_error
        self.paths = paths
        self.target = target
        self.method = method
        self.engine = engine
        self.seconds = seconds
        self._inputs = inputs

    def numpy(self) -> Any:
        """The values as NumPy: an array, or a tuple or dict of arrays and None. CPU memory is shared, not copied."""
        if isinstance(self.values, dict):
            return {k: None if v is None else to_numpy(v) for k, v in self.values.items()}
        if isinstance(self.values, (tuple, list)):
            return tuple(None if v is None else to_numpy(v) for v in self.values)
        return to_numpy(self.values)

    def _member(self, key: int | str | None = None) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Attributions (B, ...) of one input, by default the first that has any, and that input or None."""
        members = _members(self.values)
        if key is None:
            key = next((k for k, v in members.items() if v is not None), None)
        if key is None or members.get(key) is None:
            known = [k for k, v in members.items() if v is not None]
            raise ValueError(f"member: expected one of {known}, got {key!r}")
        values = to_numpy(members[key])
        source = _members(self._inputs).get(key)
        inputs = None if source is None else to_numpy(source)
        return values, inputs if inputs is not None and inputs.shape == values.shape else None

    def plot(
        self,
        examples: Sequence[int] | int | None = None,
        *,
        member: int | str | None = None,
        names: Sequence[str] | None = None,
        channels: Channels = "sum",
        percentile: float = 99.0,
        shared: bool = True,
        cmap: str = "blue_orange",
    ) -> Picture:
        """Pictures of some examples: for images the input beside its map, for tabular inputs bars.

        Parameters
        ----------
        examples : int or sequence of int, optional
            Which; default the first eight.
        member : int or str, optional
            Which input, where there are several; default the first with attributions.
        names : sequence of str, optional
            Of the features, for bars.
        channels, percentile, shared, cmap
            As in `fastattr.visualize.grid`.

        Returns
        -------
        matplotlib.figure.Figure
            Not known to pyplot: nothing needs to be closed.

        Raises
        ------
        ImportError
            matplotlib is not installed.
        ValueError
            No such example or member, or values that are neither images nor tables.
        """
        from .visualize.summary import plot

        return plot(
            self,
            examples,
            member=member,
            names=names,
            channels=channels,
            percentile=percentile,
            shared=shared,
            cmap=cmap,
        )

    def save(self, path: str | Path) -> None:
        """Write a picture (.png, see `plot`) or every field and the inputs (.npz, see `load`).

        Raises
        ------
        ValueError
            Another suffix.
        TypeError
            A field that plain arrays cannot hold.
        """
        path = Path(path)
        if path.suffix == ".png":
            path.write_bytes(self.plot().png(dpi=150))
        elif path.suffix == ".npz":
            arrays: dict[str, NDArray[Any]] = {}
            skeleton = {name: _pack(getattr(self, name), name, arrays) for name in _FIELDS}
            skeleton["inputs"] = _pack(self._inputs, "inputs", arrays)
            with path.open("wb") as file:
                np.savez_compressed(file, fastattr=np.array(json.dumps(skeleton)), **arrays)  # type: ignore[arg-type]
        else:
            raise ValueError(f"path: expected a name ending in .png or .npz, got {str(path)!r}")

    @classmethod
    def load(cls, path: str | Path) -> Attribution:
        """Read what `save` wrote to an .npz file; all arrays come back as NumPy. Nothing is unpickled.

        Raises
        ------
        ValueError
            Not such a file.
        """
        with np.load(path, allow_pickle=False) as arrays:
            if "fastattr" not in arrays:
                raise ValueError(f"path: expected an .npz file written by Attribution.save, got {str(path)!r}")
            skeleton = json.loads(str(arrays["fastattr"]))
            return cls(**{name: _unpack(node, arrays) for name, node in skeleton.items()})

    def __repr__(self) -> str:
        shapes = [_shape(v) for v in _members(self.values).values()]
        parts = [self.method or "unnamed", f"values {shapes[0] if len(shapes) == 1 else ', '.join(shapes)}"]
        if self.error is not None and np.isfinite(error := to_numpy(self.error)).any():
            parts.append(f"error at most {np.nanmax(error):.2g}")
        if self.evaluations is not None and (evaluations := to_numpy(self.evaluations)).size:
            parts.append(f"{evaluations.mean():.3g} evaluations an example")
        if self.converged is not None and not (converged := to_numpy(self.converged)).all():
            parts.append(f"{int((~converged).sum())} not converged")
        if self.engine:
            parts.append(f"engine {self.engine!r}")
        return f"Attribution({', '.join(parts)})"

    def _repr_html_(self) -> str:
        from .visualize.summary import html

        return html(self)


def _members(values: Any) -> dict[Any, Any]:
    if isinstance(values, dict):
        return values
    return dict(enumerate(values)) if isinstance(values, (tuple, list)) else {0: values}


def _shape(value: Any) -> str:
    return "None" if value is None else f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"


def _pack(value: Any, name: str, arrays: dict[str, NDArray[Any]]) -> Any:
    """A JSON skeleton of ``value``; its arrays go to ``arrays`` under names that it mentions."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, AdversarialPaths):
        return {"paths": _pack(vars(value), name, arrays)}
    if isinstance(value, dict):
        return {"dict": [[_key(k, name), _pack(v, f"{name}.{k}", arrays)] for k, v in value.items()]}
    if isinstance(value, (tuple, list)):
        return {"tuple": [_pack(v, f"{name}.{i}", arrays) for i, v in enumerate(value)]}
    array = to_numpy(value)
    if array.dtype.hasobject:
        raise TypeError(f"{name}: expected arrays, numbers, strings or containers of them, got {type(value).__name__}")
    arrays[name] = array
    return {"array": name}


def _key(key: Any, name: str) -> Any:
    if not isinstance(key, (str, int)):
        raise TypeError(f"{name}: expected str or int as dict keys, got {type(key).__name__}")
    return key


def _unpack(node: Any, arrays: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if "array" in node:
        return arrays[node["array"]]
    if "tuple" in node:
        return tuple(_unpack(child, arrays) for child in node["tuple"])
    if "paths" in node:
        return AdversarialPaths(**_unpack(node["paths"], arrays))
    return {key: _unpack(child, arrays) for key, child in node["dict"]}
