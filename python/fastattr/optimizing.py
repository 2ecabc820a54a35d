"""`optimize=True`: the method on a faster copy of its model."""

from __future__ import annotations

import copy
from typing import Any

from .problem import Problem


def on_copy(method: Any, problem: Problem) -> Any:
    """``method`` with the optimised copy of its model."""
    adapter = method._autograd()
    module = getattr(adapter, "module", None)
    if module is None or module is not method.model:
        raise TypeError(f"optimize: expected with a torch module, got {type(method.model).__name__}")
    import torch

    from .models.arguments import as_tensor, gather, mark
    from .models.layer import call_model, find
    from .models.optimize import optimized

    device = problem.kit.device if problem.kit.name == "torch" else torch.device("cpu")
    first = torch.zeros(min(1, problem.examples), dtype=torch.int64, device=device)
    arrays = {key: as_tensor(x[:1], device) for key, x in problem.members.items()}
    args = gather(mark(problem.args, problem.examples, device), first)
    kwargs = gather(mark(problem.kwargs, problem.examples, device), first)
    inputs: Any = arrays if problem.form is dict else tuple(arrays.values())
    named = (args, {**arrays, **kwargs}) if problem.form is dict else ((*inputs, *args), dict(kwargs))
    site = None
    inner = copy.copy(method)
    if method.layer is not None:
        place = find(module, method.layer, bool(method.layer_input), method.layer_call)
        inner.layer, site = place.name, (place.name, place.at_input)
    with adapter.prepared(device):
        found = optimized(module, site, lambda part: call_model(part, inputs, args, kwargs), named)
    inner._explain_copy(found.module, found.note)
    return inner
