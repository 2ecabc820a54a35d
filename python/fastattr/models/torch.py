"""Torch models: a chunk of rows through autograd, with one scalar root and frozen parameters."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from ..arrays import TorchKit, dtype_name
from ..problem import Problem
from . import probe
from .arguments import as_tensor, gather, gathers, mark, signature
from .state import ModuleState, module_of

IN_PLACE = "leaf Variable that requires grad"


@dataclass
class _Chunk:
    """Views of the buffers for one number of rows."""

    leaves: list[torch.Tensor]
    index: torch.Tensor
    plus: torch.Tensor
    minus: torch.Tensor


class TorchModel:
    """A module or callable whose gradients come from autograd.

    ``output``, ``output_axis`` and ``output_key`` as documented in `fastattr.methods.base.GradientMethod`.
    """

    def __init__(self, model: Callable[..., Any], output: str, output_axis: int, output_key: Any) -> None:
        self.model = model
        self.module = module_of(model)
        self.output = output
        self.output_axis = output_axis
        self.output_key = output_key

    @contextmanager
    def open(self, problem: Problem, progress: Any) -> Iterator[TorchSession]:
        """The model bound to one problem: locked, frozen, and restored at the end."""
        first = problem.inputs[0]
        device = first.device if isinstance(first, torch.Tensor) else torch.device("cpu")
        with (
            ModuleState(self.module, device),
            torch.inference_mode(False),
            torch.no_grad(),
            _on_cuda(self.module, device) if device.type == "cuda" else nullcontext(),
        ):
            yield TorchSession(self, problem, device, progress)

    def extract(self, answer: Any) -> torch.Tensor:
        """The tensor (R, ...) to explain in what the model returned."""
        if self.output_key is not None:
            answer = answer[self.output_key]
        elif not isinstance(answer, torch.Tensor) and hasattr(answer, "logits"):
            answer = answer.logits
        elif isinstance(answer, Mapping) and "logits" in answer:
            answer = answer["logits"]
        if not isinstance(answer, torch.Tensor):
            known = f" with keys {list(answer)}" if isinstance(answer, Mapping) else ""
            raise TypeError(
                f"model: expected it to return a tensor or something with .logits, got {type(answer).__name__}{known}; "
                "name the member by output_key="
            )
        return answer


class TorchSession:
    """One call of a `TorchModel`: buffers that the engine fills, and the callback that evaluates them."""

    def __init__(self, model: TorchModel, problem: Problem, device: torch.device, progress: Any) -> None:
        self.name = "torch"
        self._model = model
        self._problem = problem
        self._device = device
        self._progress = progress
        self._kit = TorchKit(device)
        self._chunks: dict[int, _Chunk] = {}
        self._versus = False
        self._clone = False
        self._detached = False
        self._double_softmax: torch.Tensor | None = None
        self._check_device()
        self._args = mark(problem.args, problem.examples, device)
        self._kwargs = mark(problem.kwargs, problem.examples, device)
        self._constants = {
            key: as_tensor(value, device) for key, value in problem.members.items() if key not in problem.attributed
        }
        self.sees_examples = bool(self._constants) or gathers(self._args) or gathers(self._kwargs)
        self._owner = model.model if model.module is None else model.module
        self._key = self._probe_key()
        self._probe: probe.Probe | None = probe.remembered(self._owner, self._key)
        if self._probe is None:
            self._probe = self._measure()

    # ---- before the engine runs -----------------------------------------------------------------------------------

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Of one row of the model's output."""
        return self._measured.output_shape

    @property
    def _measured(self) -> probe.Probe:
        assert self._probe is not None
        return self._probe

    def choose_rows(self, versus: bool) -> int:
        """Rows a chunk, from measured bytes a row."""
        return self._measured.choose_rows(self._device)

    def remember_rows(self, rows: int) -> None:
        """Memory ran out: later calls start with what fitted."""
        self._measured.limit = rows if self._measured.limit is None else min(self._measured.limit, rows)

    def bind(self, rows: int, versus: bool) -> None:
        """Allocate the buffers for chunks of at most ``rows`` rows."""
        inputs = self._problem.inputs
        self.points = tuple(self._kit.empty((rows, *x.shape[1:]), dtype_name(x)) for x in inputs)
        self.index = self._kit.empty((rows,), "int64")
        self.scalars = self._kit.empty((2 * rows,), "int64")
        self._versus = versus
        self._chunks.clear()

    def _check_device(self) -> None:
        module = self._model.module
        parameter = next(module.parameters(), None) if module is not None else None
        if parameter is not None and parameter.device != self._device:
            raise ValueError(f"inputs: expected the model's device {parameter.device}, got {self._device}")

    def _probe_key(self) -> tuple[Any, ...]:
        shapes = tuple((key, tuple(x.shape[1:]), dtype_name(x)) for key, x in self._problem.members.items())
        extra = tuple(signature(value) for value in (self._args, self._kwargs))
        model = self._model
        method = getattr(model.model, "__func__", None)
        return (shapes, extra, self._device, model.output, model.output_axis, model.output_key, method)

    def _measure(self) -> probe.Probe:
        inputs = self._problem.inputs
        point_bytes = sum(int(np.prod(x.shape[1:], dtype=np.int64)) * x.dtype.itemsize for x in inputs)
        for rows in (2, 1):
            self.bind(rows, False)
            for points, x in zip(self.points, inputs, strict=True):
                points.copy_(as_tensor(x[:1], self._device).expand(points.shape))
            self.index.zero_()
            try:
                with torch.enable_grad():
                    found = probe.measure(partial(self._scores, rows), rows, self._model.module, point_bytes)
                break
            except MemoryError:
                if rows == 1:
                    raise
            except RuntimeError as error:
                self._explain_dtype(error)
                raise
        self._chunks.clear()
        self._double_softmax = None
        probe.remember(self._owner, self._key, found)
        return found

    def _explain_dtype(self, error: RuntimeError) -> None:
        """A mismatch of dtypes is named as such, whatever words torch had for it."""
        module = self._model.module
        known = {p.dtype for p in module.parameters() if p.is_floating_point()} if module is not None else set()
        for key in self._problem.attributed:
            name = dtype_name(self._problem.members[key])
            if len(known) == 1 and str(next(iter(known))) != f"torch.{name}":
                wanted = str(next(iter(known)))
                raise TypeError(
                    f"inputs: expected {wanted} like the model's parameters, got torch.{name}; convert one of them"
                ) from error

    # ---- in the engine's loop -------------------------------------------------------------------------------------

    def evaluate(self, rows: int, gradients: bool, remaining: int) -> tuple[Any, Any, tuple[Any, ...]]:
        """Called by the engine: the buffers hold ``rows`` rows."""
        chunk = self._chunk(rows)
        if not gradients:
            answer = self._predict(chunk, rows)
        else:
            with torch.enable_grad():
                scores = self._scores(rows)
            answer = self._differentiate(chunk, scores)
        self._progress.advance(rows, remaining)
        return answer

    def finish(self) -> None:
        """What could not be checked without waiting for the device, and what the user should know."""
        if self._detached:
            warnings.warn(
                "The model's output is not connected to its inputs by autograd, so all gradients are zero: look for "
                "detach(), no_grad(), .data, argmax or NumPy in its forward.",
                stacklevel=4,
            )
        if self._double_softmax is not None and bool(self._double_softmax):
            raise ValueError(
                f'output: expected a model that returns logits for output="{self._model.output}", got probabilities '
                '(rows are >= 0 and sum to 1): softmax would be applied twice; use output="raw"'
            )

    def _chunk(self, rows: int) -> _Chunk:
        chunk = self._chunks.get(rows)
        if chunk is None:
            scalars = self.scalars[: 2 * rows].view(rows, 2)
            leaves = [points[:rows].requires_grad_() for points in self.points]
            chunk = _Chunk(leaves, self.index[:rows], scalars[:, 0:1], scalars[:, 1:2])
            self._chunks[rows] = chunk
        return chunk

    def _scores(self, rows: int) -> torch.Tensor:
        """(R, ...) outputs of the model, with ``output`` applied, differentiable with respect to the leaves."""
        chunk = self._chunk(rows)
        try:
            answer = self._call(chunk)
        except RuntimeError as error:
            if self._clone or IN_PLACE not in str(error):
                raise
            self._clone = True  # the model's first layer works in place
            answer = self._call(chunk)
        scores = self._model.extract(answer)
        if scores.dim() == 0 or scores.shape[0] != rows:
            got = "one number for the whole batch" if scores.dim() == 0 else f"shape {tuple(scores.shape)}"
            raise ValueError(f"model: expected one output row for each of {rows} input rows, got {got}")
        if not scores.is_floating_point():
            raise TypeError(f"model: expected a floating output, got {scores.dtype}")
        if self._probe is not None and scores.shape[1:] != self._probe.output_shape:
            probe.forget(self._owner, self._key)
            raise probe.Outgrown(
                f"model: expected outputs of shape {(rows, *self._probe.output_shape)} for {rows} rows, "
                f"got {tuple(scores.shape)}"
            )
        return self._apply_output(scores)

    def _call(self, chunk: _Chunk) -> Any:
        problem = self._problem
        leaves = [leaf.clone() for leaf in chunk.leaves] if self._clone else chunk.leaves
        if problem.form is not dict and not self.sees_examples:
            return self._model.model(*leaves, *self._args, **self._kwargs)
        attributed = dict(zip(problem.attributed, leaves, strict=True))
        members = {
            key: attributed[key] if key in attributed else self._constants[key].index_select(0, chunk.index)
            for key in problem.members
        }
        args, kwargs = gather(self._args, chunk.index), gather(self._kwargs, chunk.index)
        if problem.form is dict:
            return self._model.model(*args, **members, **kwargs)
        return self._model.model(*members.values(), *args, **kwargs)

    def _apply_output(self, scores: torch.Tensor) -> torch.Tensor:
        kind = self._model.output
        if kind == "raw":
            return scores
        if kind == "sigmoid":
            return scores.sigmoid()
        axis = self._model.output_axis
        classes = scores.shape[axis] if -scores.dim() <= axis < scores.dim() else 1
        if classes < 2:
            raise ValueError(
                f'output: "{kind}" needs at least two classes on axis {axis}, got output shape {tuple(scores.shape)}; '
                'use output="sigmoid"'
            )
        if self._double_softmax is None:
            plain = scores.detach()
            self._double_softmax = (plain >= 0).all() & ((plain.sum(axis) - 1).abs() < 1e-3).all()
        return scores.softmax(axis) if kind == "softmax" else scores.log_softmax(axis)

    def _predict(self, chunk: _Chunk, rows: int) -> tuple[Any, Any, tuple[Any, ...]]:
        scores = self._scores(rows).reshape(rows, -1)
        values, predicted = scores.max(1)
        if self._versus:
            values = values - scores.gather(1, chunk.minus).squeeze(1)
        return values.contiguous(), predicted, ()

    def _differentiate(self, chunk: _Chunk, scores: torch.Tensor) -> tuple[Any, Any, tuple[Any, ...]]:
        """Values, and one backward pass whose seed picks every row's own scalar."""
        flat = scores.detach().reshape(len(scores), -1)
        values = flat.gather(1, chunk.plus)
        if self._versus:
            values = values - flat.gather(1, chunk.minus)
        if not scores.requires_grad:
            self._detached = True
            return values, None, (None,) * len(chunk.leaves)
        seed = torch.zeros_like(flat, memory_format=torch.contiguous_format).scatter_(1, chunk.plus, 1.0)
        if self._versus:
            seed.scatter_(1, chunk.minus, -1.0)
        slopes = torch.autograd.grad(scores, chunk.leaves, seed.view(scores.shape), allow_unused=True)
        return values, None, tuple(None if s is None else s.contiguous() for s in slopes)


@contextmanager
def _on_cuda(module: nn.Module | None, device: torch.device) -> Iterator[None]:
    """The inputs' device is current; recurrent layers in eval mode, where cuDNN has no gradient, do without cuDNN."""
    parts = module.modules() if module is not None else ()
    recurrent = any(isinstance(part, nn.RNNBase) and not part.training for part in parts)
    with torch.cuda.device(device), torch.backends.cudnn.flags(enabled=False) if recurrent else nullcontext():
        yield
