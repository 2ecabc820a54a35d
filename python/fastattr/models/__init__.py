"""Models as the engine asks them: rows of points in, explained scalars and their gradients out."""

from __future__ import annotations

import sys
from typing import Any

from .dense import DenseAdapter, DenseModel
from .function import FunctionModel


def adapt(model: Any, output: str, output_axis: int, output_key: Any, engine: str | None = None, note: str = "") -> Any:
    """The adapter for ``model``.

    ``engine`` "auto" or "native": what can be runs natively. "callback", or None where only a model's outputs are
    asked for: torch modules and callables through autograd. ``note``: what a module was made of, for
    `Attribution.engine`; such a one goes through autograd.
    """
    if isinstance(model, DenseModel):
        if engine == "callback":
            raise ValueError('engine: expected "auto" or "native" for a DenseModel, got "callback"')
        return DenseAdapter(model, output)
    if engine == "native" and not _is_module(model):
        raise ValueError(f'engine: expected a torch.nn.Module or a DenseModel for "native", got {type(model).__name__}')
    if isinstance(model, FunctionModel):
        if output != "raw":
            raise ValueError(
                f'output: expected "raw" for a FunctionModel, which returns its own scalars, got {output!r}'
            )
        return model
    if not callable(model):
        raise TypeError(f"model: expected a torch module, a callable or a FunctionModel, got {type(model).__name__}")
    if (engine == "native" or (engine == "auto" and not note)) and _is_module(model):
        from .native import NativeOrTorch

        return NativeOrTorch(model, output, output_axis, output_key, engine)
    from .torch import TorchModel

    return TorchModel(model, output, output_axis, output_key, note)


def _is_module(model: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)
