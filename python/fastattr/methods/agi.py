"""Adversarial Gradient Integration: along the paths by which each other class is reached."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..adversarial_paths import AdversarialPaths
from ..ascending import BROKEN, REACHED, STALLED, Ascended, Ascent, PathProgress, ascend, explained_classes
from ..engine import empty_result, in_session, warn_of_nonfinite
from ..false_classes import SELECTIONS, false_classes, is_number
from ..models.function import FunctionModel
from ..problem import Problem
from ..progress import Progress
from ..sampling import example_ids
from .base import GradientMethod, check_samples, is_count

PATHS = ("iterate", "local", "straight")
RULES = ("trapezoid", "left", "midpoint")
DIRECTIONS = ("target", "margin", "untargeted")


class AGI(GradientMethod):
    """Adversarial Gradient Integration (Pan, Li and Zhu, IJCAI 2021): no baseline is chosen, it is found.

    From the input steepest ascent leads to each of some false classes i; what the explained output f_t loses on the
    way is shared out over the features, A_i = - sum over steps of df_t/dx (x_{k+1} - x_k), and added up over i. The sum
    over the features of A_i is f_t(x) - f_t(end), up to ``paths.gap``. Positive values speak for the class.

    Parameters
    ----------
    model : torch.nn.Module, callable or FunctionModel
        With outputs (B, K), K >= 2. A FunctionModel returns the predicted classes as a third item.
    classes : int, "all", list of int, or integers (B, k)
        False classes: so many of them (fewer where there are not so many), all, or these.
    select : {"random", "top", "stride"}
        Which, for a number: drawn for each example, those with the highest outputs, or evenly spread ones.
    path : {"iterate", "local", "straight"}
        "iterate": each step starts where the last one ended (Algorithm 1). "local": each step starts at the input, as
        in the published code. "straight": the straight line from the end point of "iterate", integrated adaptively to
        one per cent (figure 4 of the paper).
    quadrature : {"trapezoid", "left", "midpoint"}, optional
        Of the contributions. Default: "trapezoid" for "iterate", "left" for "local", none for "straight".
    step : {"sign", "l2"}
        Steps of ``step_size`` in every feature, or of this length along the gradient.
    direction : {"target", "margin", "untargeted"}
        Up log f_i (f_i itself where the outputs are not probabilities); up f_i - f_t; or down f_t, one path to any
        other class.
    step_size : float
        In the unit of the inputs.
    max_steps : int
        m, of each path.
    clamp : (low, high), optional
        Numbers or arrays that broadcast to the inputs, between which all points stay.
    radius : float, optional
        The greatest change of any feature.
    reduce : {"sum", "mean", "none"}
        Over the classes; "none" keeps A_i: values (B, k, ...).
    seed : int
        Classes are drawn by (seed, example number).
    end_points : bool
        Keep where the paths end, ``paths.end_points`` (B, k, ...).
    output : {"softmax", "raw", "log_softmax", "sigmoid"}
        The explained output, as in `GradientMethod`.
    **options
        The other common options of `GradientMethod`.

    Notes
    -----
    ``paths`` is an `AdversarialPaths`: steps, end and gap of every path; ``gap`` is the sum of theirs. ``error`` and
    ``baseline_output`` are NaN, ``converged`` says that all is finite. ``evaluations`` counts gradients. One evaluation
    at the input serves all classes; later ones take one forward pass and two gradients for each path not yet at its
    end: 1 + (1 + k) + 3 (evaluations after the first), and 2 more for each path that the trapezoid closes.

    Examples
    --------
    >>> import torch, fastattr as fa
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).eval()
    >>> att = fa.AGI(model, classes="all")(torch.randn(5, 4), target=2)
    >>> att.values.shape, att.paths.classes.shape
    (torch.Size([5, 4]), torch.Size([5, 2]))
    """

    def __init__(
        self,
        model: Any,
        *,
        classes: Any = 20,
        select: str = "random",
        path: str = "iterate",
        quadrature: str | None = None,
        step: str = "sign",
        direction: str = "target",
        step_size: float = 0.05,
        max_steps: int = 20,
        clamp: Any = None,
        radius: float | None = None,
        reduce: str = "sum",
        seed: int = 0,
        end_points: bool = False,
        output: str = "softmax",
        **options: Any,
    ) -> None:
        super().__init__(model, output=output, **options)
        self.classes = classes
        self.select = select
        self.path = path
        self.quadrature = quadrature
        self.step = step
        self.direction = direction
        self.step_size = step_size
        self.max_steps = max_steps
        self.clamp = clamp
        self.radius = radius
        self.reduce = reduce
        self.seed = seed
        self.end_points = end_points

    def _adapter(self) -> Any:
        if isinstance(self.model, FunctionModel) and self.output == "softmax":
            return self.model  # the default speaks of what torch models return
        if self.engine == "native":
            raise NotImplementedError('engine: AGI does not run natively; expected "auto" or "callback"')
        return self._autograd()

    def _run(self, problem: Problem, target: Any, versus: Any, ids: Any, progress: Progress) -> dict[str, Any]:
        if versus is not None:
            raise ValueError("versus: AGI explains one output by its paths to others; name those by classes=")
        if problem.examples == 0:
            return _empty(problem)
        numbers = example_ids(ids, problem.examples)

        def work(session: Any) -> tuple[Any, NDArray[np.int64], NDArray[np.int64], Ascended]:
            targets, goals = self._goals(session, problem, target, numbers)
            session.progress = PathProgress(progress, goals.size)
            return session, targets, goals, self._ascend(session, problem, targets, goals)

        return self._finish(problem, *in_session(self._adapter(), problem, progress, work))

    def _goals(
        self, session: Any, problem: Problem, target: Any, ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The explained classes (B,), and those to go to (B, k), ascending; -1: any other."""
        untargeted = self.direction == "untargeted"
        ranked = not untargeted and self.select == "top" and is_number(self.classes)
        targets, scores = explained_classes(session, problem, target, ranked)
        if untargeted:
            return targets, np.full((problem.examples, 1), -1, np.int64)
        count = None if session.output_shape is None else int(session.output_shape[0])
        return targets, false_classes(self.classes, self.select, targets, count, scores, ids, int(self.seed))

    def _ascend(self, session: Any, problem: Problem, targets: NDArray[np.int64], goals: NDArray[np.int64]) -> Ascended:
        straight = self.path == "straight"
        plan = Ascent(
            step_size=float(self.step_size),
            max_steps=int(self.max_steps),
            direction=self.direction,
            step=self.step,
            rule=None if straight else self.quadrature or ("left" if self.path == "local" else "trapezoid"),
            radius=None if self.radius is None else float(self.radius),
            clamp=self.clamp,
            restart=self.path == "local",
        )
        return ascend(
            session,
            problem,
            plan,
            targets,
            goals,
            self.rows,
            scale=1.0 / goals.shape[1] if self.reduce == "mean" else 1.0,
            keep_ends=straight or bool(self.end_points),
            keep_contributions=self.reduce == "none" and not straight,
        )

    def _finish(
        self,
        problem: Problem,
        session: Any,
        targets: NDArray[np.int64],
        goals: NDArray[np.int64],
        found: Ascended,
    ) -> dict[str, Any]:
        """The fields of the `Attribution`; the session is closed, and the model as it was."""
        kit = problem.kit
        gap, output, final = found.total - (found.initial - found.final), found.initial[:, 0], found.final
        values = found.contributions if self.reduce == "none" else found.values
        gradients = found.gradients
        if self.path == "straight":
            from .agi_straight import integrate_lines

            values, gap, output, final, extra = integrate_lines(self, problem, targets, goals, found)
            gradients = gradients + extra
        elif self.path == "local":
            gap = np.full_like(gap, np.nan)
        broken = (found.outcome == BROKEN).any(1) | ~np.isfinite(output)
        warn_of_nonfinite(broken)
        paths = AdversarialPaths(
            classes=kit.report(goals),
            steps=kit.report(found.steps),
            reached=kit.report(found.outcome == REACHED),
            stalled=kit.report(found.outcome == STALLED),
            predicted=kit.report(found.predicted),
            target_output=kit.report(final),
            gap=kit.report(gap),
            forward_units=kit.report(found.units),
            end_points=problem.restore(found.ends) if self.end_points and found.ends is not None else None,
        )
        nothing = np.full(problem.examples, np.nan)
        assert values is not None
        return {
            "values": problem.restore(values),
            "gap": kit.report(gap.sum(1)),
            "error": kit.report(nothing),
            "evaluations": kit.report(gradients),
            "converged": kit.report(~broken),
            "output": kit.report(np.ascontiguousarray(output)),
            "baseline_output": kit.report(nothing.copy()),
            "paths": paths,
            "target": kit.report(targets),
            "engine": session.describe(found.rows),
        }

    def _check_options(self) -> None:
        super()._check_options()
        check_ascent(self.step, self.step_size, self.max_steps, self.radius)
        check_samples(1, self.seed)
        for name, known in (("path", PATHS), ("direction", DIRECTIONS), ("select", SELECTIONS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}: expected one of {known}, got {getattr(self, name)!r}")
        if self.reduce not in ("sum", "mean", "none"):
            raise ValueError(f'reduce: expected "sum", "mean" or "none", got {self.reduce!r}')
        allowed = {"iterate": (None, *RULES), "local": (None, "left"), "straight": (None,)}[self.path]
        if self.quadrature not in allowed:
            raise ValueError(f'quadrature: expected one of {allowed} for path="{self.path}", got {self.quadrature!r}')


def check_ascent(step: Any, step_size: Any, max_steps: Any, radius: Any) -> None:
    """Raise unless these are options of steepest ascent."""
    if step not in ("sign", "l2"):
        raise ValueError(f'step: expected "sign" or "l2", got {step!r}')
    number = isinstance(step_size, (int, float, np.integer, np.floating)) and not isinstance(step_size, bool)
    if not number or not 0 < float(step_size) < float("inf"):
        raise ValueError(f"step_size: expected a finite number > 0, got {step_size!r}")
    if not is_count(max_steps):
        raise ValueError(f"max_steps: expected an int >= 1, got {max_steps!r}")
    number = isinstance(radius, (int, float, np.integer, np.floating)) and not isinstance(radius, bool)
    if radius is not None and (not number or not 0 <= float(radius) < float("inf")):
        raise ValueError(f"radius: expected None or a finite number >= 0, got {radius!r}")


def _empty(problem: Problem) -> dict[str, Any]:
    none = problem.kit.report(np.empty((0, 0), np.int64))
    flags = problem.kit.report(np.empty((0, 0), np.bool_))
    reals = problem.kit.report(np.empty((0, 0)))
    paths = AdversarialPaths(
        classes=none,
        steps=none,
        reached=flags,
        stalled=flags,
        predicted=none,
        target_output=reals,
        gap=reals,
        forward_units=problem.kit.report(np.empty(0, np.int64)),
    )
    return empty_result(problem) | {"paths": paths}
