"""Models as the engine asks them: rows of points in, explained scalars and their gradients out."""

from __future__ import annotations

from typing import Any

from .function import FunctionModel


def adapt(model: Any, output: str, output_axis: int, output_key: Any) -> Any:
    """The adapter for ``model``: a `FunctionModel` as it is, a module or callable through torch autograd."""
    if isinstance(model, FunctionModel):
        if output != "raw":
            raise ValueError(
                f'output: expected "raw" for a FunctionModel, which returns its own scalars, got {output!r}'
            )
        return model
    if not callable(model):
        raise TypeError(f"model: expected a torch module, a callable or a FunctionModel, got {type(model).__name__}")
    from .torch import TorchModel

    return TorchModel(model, output, output_axis, output_key)
