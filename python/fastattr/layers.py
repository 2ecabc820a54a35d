"""Attribution of a layer: the rows are its activations, and the model is what comes after it.

The inputs and everything in their units (baseline, references, the vertices of a polyline) are run through the lower
part of the model once, at call entry. What the method then sees is an ordinary problem, whose inputs are activations
and whose model runs from the layer on.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import dtype_name, is_torch
from .problem import Problem, polyline_vertices, reference_arrays


def at_layer(method: Any, problem: Problem) -> tuple[Any, Problem]:
    """``method`` and ``problem``, normalised with ``through=True``, seen from ``method.layer``."""
    from .models.layer import Above, cut

    lower = _Lowered(method, problem)
    x = lower.activations(problem.inputs, np.arange(problem.examples))
    base = problem.kit.zeros((1, *x.shape[1:]), dtype_name(x))
    if method.uses_baseline:
        base = lower.baseline()
    part: Any = None if lower.run.replaced else cut(lower.module, lower.site)
    arguments: tuple[Any, ...] = ()
    if part is None:
        part, arguments = lower.traced(x) or (None, ())
    if part is None:
        part = Above(method.model, lower.module, lower.site)
        arguments = (lower.form(problem.inputs), problem.args, problem.kwargs)
    inner = copy.copy(method)
    inner._enter(part, lower.on(x))
    return inner, replace(problem, members={0: x}, attributed=[0], bases=[base], form=object, args=arguments, kwargs={})


class _Lowered:
    """The lower part of a method's model, and what of the method's options goes through it."""

    def __init__(self, method: Any, problem: Problem) -> None:
        adapter = method._autograd()
        self.module: Any = getattr(adapter, "module", None)
        if self.module is None:
            raise TypeError(f"layer: expected with a torch module, got {type(method.model).__name__}")
        import torch

        from .models.layer import ROWS, Lower, find

        self.problem = problem
        self.device = problem.kit.device if problem.kit.name == "torch" else torch.device("cpu")
        self.site = find(self.module, method.layer, bool(method.layer_input), method.layer_call)
        self.run = Lower(adapter, self.site, problem, self.device)
        self._rows = ROWS if isinstance(method.rows, str) else int(method.rows)
        self._x: Any = None

    def on(self, x: Any) -> _Lowered:
        """With the activations ``x`` at the inputs."""
        self._x = x
        return self

    def form(self, arrays: list[Any]) -> Any:
        """Inputs as the model takes them: a tuple, or a dict of keyword arguments."""
        problem = self.problem
        return dict(zip(problem.members, arrays, strict=True)) if problem.form is dict else tuple(arrays)

    def activations(self, arrays: list[Any], index: NDArray[np.int64]) -> Any:
        """(N, ...) at inputs ``arrays`` (N, ...), with the extra arguments of the examples ``index`` (N,)."""
        import torch

        from .models.arguments import as_tensor

        tensors = [as_tensor(x, self.device) for x in arrays]
        found = self.run(self.form(tensors), torch.from_numpy(index).to(self.device), self._rows)
        return found if self.problem.kit.name == "torch" else found.numpy()

    def traced(self, x: Any) -> Any:
        """What comes after the layer in the graph of the model's forward, and what it takes beside ``x``; or None."""
        from .models.arguments import as_tensor
        from .models.cut import cut_traced

        inputs = self.form([as_tensor(member, self.device) for member in self.problem.inputs])
        return cut_traced(self.module, self.site, self.run, inputs, as_tensor(x, self.device), self._rows)

    def baseline(self) -> Any:
        """(1, ...) if all examples have the same and the model sees nothing else of them, else (B, ...)."""
        problem, count = self.problem, self.problem.examples
        alone = not self.run.per_example and not any(part.training for part in self.module.modules())
        if problem.shared_base and alone:
            return self.activations(problem.bases, np.zeros(1, np.int64))
        full = [base if base.shape[0] == count else _repeat(base, count) for base in problem.bases]
        return self.activations(full, np.arange(count))

    def references(self, given: Any) -> Any:
        """Activations (M, ...) at reference inputs."""
        if self.run.per_example:
            raise ValueError(
                "references: expected no extra argument with a row per example, since a reference belongs to none; "
                "pass it among the inputs, and among the references, or as fa.shared(t)"
            )
        arrays = reference_arrays(given, self.problem)
        return self.activations(arrays, np.zeros(len(arrays[0]), np.int64))

    def vertices(self, given: Any) -> Any:
        """Activations (V, B, ...) at the vertices of polylines; the last are those at the inputs, to the bit."""
        vertices, count = polyline_vertices(given, self.problem), self.problem.examples
        many = int(vertices[0].shape[0]) - 1
        first = [v[:-1].reshape(many * count, *v.shape[2:]) for v in vertices]
        flat = self.activations(first, np.tile(np.arange(count), many))
        if is_torch(flat):
            import torch

            return torch.cat([flat, self._x]).reshape(many + 1, *self._x.shape)
        return np.concatenate([flat, self._x]).reshape(many + 1, *self._x.shape)


def _repeat(base: Any, count: int) -> Any:
    shape = (count, *base.shape[1:])
    return base.expand(shape) if is_torch(base) else np.broadcast_to(base, shape)
