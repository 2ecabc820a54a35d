"""What is reported of adversarial paths, path by path."""

from __future__ import annotations

from typing import Any

import numpy as np

from .visualize.convert import to_numpy

_ROWS = 40  # of the printed table


class AdversarialPaths:
    """The paths of B examples to k classes each. Arrays (B, k) are of the inputs' framework, on the CPU.

    Attributes
    ----------
    classes : int64
        Where the path was to go, ascending; -1 where any class but the explained one would do.
    steps : int64
        Steps that were taken.
    reached : bool
        The class at the end is the one wanted.
    stalled : bool
        Nothing moved any more, for want of a gradient or of room.
    predicted : int64
        The class at the end.
    target_output : float64
        The explained output f_t at the end.
    gap : float64
        sum of the path's contributions - (f_t(x) - f_t(end)); NaN where they promise no such sum.
    forward_units : (B,) int64
        Cost: forward passes and gradients of one row each, class selection and the last look at open ends not counted.
    end_points : as the inputs, with k inserted after B, or None
        Where the paths end, if asked for.
    """

    def __init__(
        self,
        *,
        classes: Any,
        steps: Any,
        reached: Any,
        stalled: Any,
        predicted: Any,
        target_output: Any,
        gap: Any,
        forward_units: Any,
        end_points: Any = None,
    ) -> None:
        self.classes = classes
        self.steps = steps
        self.reached = reached
        self.stalled = stalled
        self.predicted = predicted
        self.target_output = target_output
        self.gap = gap
        self.forward_units = forward_units
        self.end_points = end_points

    def __str__(self) -> str:
        """One line a path, the first 40."""
        columns = ("classes", "steps", "reached", "stalled", "predicted", "target_output", "gap")
        table = {name: to_numpy(getattr(self, name)) for name in columns}
        examples, paths = table["classes"].shape
        lines = ["example  class  steps  reached  stalled  ends as  f_t(end)        gap"]
        for e, i in list(np.ndindex(examples, paths))[:_ROWS]:
            goal, steps, reached, stalled, predicted, output, gap = (table[name][e, i] for name in columns)
            lines.append(
                f"{e:7d}  {'any' if goal < 0 else goal!s:>5}  {steps:5d}  {'yes' if reached else 'no':>7}  "
                f"{'yes' if stalled else 'no':>7}  {predicted:7d}  {output:8.4g}  {gap:9.2g}"
            )
        if examples * paths > _ROWS:
            lines.append(f"... {examples * paths - _ROWS} more")
        return "\n".join(lines)

    def __repr__(self) -> str:
        shape = tuple(self.classes.shape)
        share = float(to_numpy(self.reached).mean()) if 0 not in shape else float("nan")
        return f"AdversarialPaths({shape[0]} examples x {shape[1]} paths, {share:.0%} reached)"
