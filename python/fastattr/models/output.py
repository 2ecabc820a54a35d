"""From what a torch model returns to the scores that are explained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class Output:
    """The options ``output``, ``output_axis`` and ``output_key`` of a method, applied to a model's answers.

    Attributes
    ----------
    probabilities : Tensor (bool, 0-d) or None
        Whether softmax was asked of rows that are probabilities already; kept on the device until the call ends.
    """

    def __init__(self, kind: str, axis: int, key: Any) -> None:
        self.kind = kind
        self.axis = axis
        self.key = key
        self.probabilities: Tensor | None = None

    def scores(self, answer: Any, rows: int) -> Tensor:
        """(R, ...) floating scores of ``rows`` rows."""
        plain = self._extract(answer)
        if plain.dim() == 0 or plain.shape[0] != rows:
            got = "one number for the whole batch" if plain.dim() == 0 else f"shape {tuple(plain.shape)}"
            raise ValueError(f"model: expected one output row for each of {rows} input rows, got {got}")
        if not plain.is_floating_point():
            raise TypeError(f"model: expected a floating output, got {plain.dtype}")
        return plain if self.kind == "raw" else self._apply(plain)

    def logarithms(self, answer: Any, scores: Tensor) -> Tensor:
        """Logarithms of ``scores`` that are probabilities, without underflow; others as they are."""
        if self.kind == "softmax":
            return self._extract(answer).log_softmax(self.axis)
        return torch.nn.functional.logsigmoid(self._extract(answer)) if self.kind == "sigmoid" else scores

    def _extract(self, answer: Any) -> Tensor:
        """The tensor (R, ...) in a dict, tuple or output object."""
        found = answer
        if self.key is not None:
            found = self._member(answer)
        elif not isinstance(answer, Tensor) and hasattr(answer, "logits"):
            found = answer.logits
        elif isinstance(answer, Mapping) and "logits" in answer:
            found = answer["logits"]
        if not isinstance(found, Tensor):
            known = f" with keys {list(found)}" if isinstance(found, Mapping) else ""
            raise TypeError(
                f"model: expected it to return a tensor or something with .logits, got {type(found).__name__}{known}; "
                "name the member by output_key="
            )
        return found

    def _member(self, answer: Any) -> Any:
        if isinstance(self.key, str) and not isinstance(answer, Mapping) and hasattr(answer, self.key):
            return getattr(answer, self.key)
        try:
            return answer[self.key]
        except (KeyError, IndexError, TypeError) as error:
            known = list(answer) if isinstance(answer, Mapping) else type(answer).__name__
            raise ValueError(
                f"output_key: expected a member of the model's output {known}, got {self.key!r}"
            ) from error

    def _apply(self, plain: Tensor) -> Tensor:
        if self.kind == "sigmoid":
            return plain.sigmoid()
        axis = self.axis + plain.dim() if self.axis < 0 else self.axis
        if plain.dim() > 1 and not 1 <= axis < plain.dim():
            raise ValueError(
                f"output_axis: expected an axis after the batch, 1 to {plain.dim() - 1}, for outputs of shape "
                f"{tuple(plain.shape)}, got {self.axis}"
            )
        if plain.dim() == 1 or plain.shape[axis] < 2:
            raise ValueError(
                f'output: "{self.kind}" needs at least two classes on axis {self.axis}, got output shape '
                f'{tuple(plain.shape)}; use output="sigmoid"'
            )
        if self.probabilities is None:
            values = plain.detach()
            self.probabilities = (values >= 0).all() & ((values.sum(axis) - 1).abs() < 1e-3).all()
        return plain.softmax(axis) if self.kind == "softmax" else plain.log_softmax(axis)

    def finish(self) -> None:
        """Raise if softmax was applied twice."""
        if self.probabilities is not None and bool(self.probabilities):
            raise ValueError(
                f'output: expected a model that returns logits for output="{self.kind}", got probabilities (rows are '
                '>= 0 and sum to 1): softmax would be applied twice; use output="raw"'
            )
