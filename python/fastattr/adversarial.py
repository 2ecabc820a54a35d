"""Adversarial examples by steepest ascent: the walk of AGI alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from .ascending import REACHED, Ascended, Ascent, PathProgress, ascend, explained_classes, random_starts
from .engine import in_session, target_table
from .methods.agi import check_ascent
from .methods.base import check_samples
from .methods.saliency import Saliency
from .models.function import FunctionModel
from .problem import normalise
from .progress import Progress
from .sampling import example_ids
from .targets import check_different


class Adversarial:
    """What `adversarial` found, for B examples; arrays (B,) are on the CPU.

    Attributes
    ----------
    x : as the inputs
        The points that were reached.
    reached : (B,) bool
        Their class is the one wanted.
    predicted : (B,) int64
        Their class.
    steps : (B,) int64
        Steps that were taken.
    """

    def __init__(self, x: Any, reached: Any, predicted: Any, steps: Any) -> None:
        self.x = x
        self.reached = reached
        self.predicted = predicted
        self.steps = steps

    def __repr__(self) -> str:
        return f"Adversarial({int(self.reached.sum())} of {len(self.reached)} reached)"


def adversarial(
    model: Any,
    x: Any,
    target: Any = None,
    *,
    towards: Any = None,
    step_size: float,
    max_steps: int,
    radius: float | None = None,
    clamp: Any = None,
    random_start: bool = False,
    stop: str = "arrival",
    seed: int = 0,
    step: str = "sign",
    output: str | None = None,
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
    ids: Any = None,
    **options: Any,
) -> Adversarial:
    """Adversarial examples: up the log-probability of a class, or down that of the target.

    With ``max_steps=1, stop="never"`` the fast gradient sign method (Goodfellow et al., ICLR 2015), with ``radius`` and
    ``random_start`` projected gradient descent (Madry et al., ICLR 2018).

    Parameters
    ----------
    model : torch.nn.Module, callable or FunctionModel
        With outputs (B, K), K >= 2. A FunctionModel returns the predicted classes as a third item.
    x : array (B, ...), or tuple or dict of such
    target : int or integers (B,), optional
        The class to leave; default the predicted one.
    towards : int or integers (B,), optional
        The class to go to; default any but ``target``.
    step_size : float
        In every feature (``step="sign"``) or of the whole step (``"l2"``), in the unit of the inputs.
    max_steps : int
    radius : float, optional
        The greatest change of any feature.
    clamp : (low, high), optional
        Numbers or arrays that broadcast to the inputs, between which all points stay.
    random_start : bool
        Start at a point drawn uniformly from the ball of ``radius``.
    stop : {"arrival", "never"}
        Whether an example that is misclassified as wished goes on.
    seed : int
        Of the random starts, keyed by (seed, example number).
    output : {"softmax", "log_softmax", "sigmoid", "raw"}, optional
        What is ascended: logarithms of probabilities, or with "raw" the model's outputs themselves. Default "softmax",
        for a FunctionModel "raw".
    args, kwargs, ids
        As in the call of a method.
    **options
        ``rows``, ``progress``, ``output_axis`` and ``output_key`` of the methods.

    Returns
    -------
    Adversarial

    Raises
    ------
    ValueError, TypeError
        With the argument, what was expected and what came.

    Examples
    --------
    >>> import torch, fastattr as fa
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).eval()
    >>> found = fa.adversarial(model, torch.randn(5, 4), step_size=0.1, max_steps=40)
    >>> found.x.shape
    torch.Size([5, 4])
    """
    is_function = isinstance(model, FunctionModel)
    method = Saliency(model, output=output or ("raw" if is_function else "softmax"), **options)
    method._check_options()
    check_ascent(step, step_size, max_steps, radius)
    check_samples(1, seed)
    if stop not in ("arrival", "never"):
        raise ValueError(f'stop: expected "arrival" or "never", got {stop!r}')
    if random_start and radius is None:
        raise ValueError("random_start: expected a radius to draw from, got radius=None")
    problem = normalise(x, None, args, kwargs)
    plan = Ascent(
        step_size=float(step_size),
        max_steps=int(max_steps),
        direction="untargeted" if towards is None else "target",
        step=step,
        rule=None,
        radius=None if radius is None else float(radius),
        clamp=clamp,
        stop=stop == "arrival",
    )
    kit, numbers = problem.kit, example_ids(ids, problem.examples)
    if problem.examples == 0:
        flags, none = np.empty(0, np.bool_), np.empty(0, np.int64)
        return Adversarial(x, kit.report(flags), kit.report(none), kit.report(none.copy()))
    start = random_starts(problem, float(radius or 0.0), clamp, int(seed), numbers) if random_start else None
    with Progress(method.progress, "adversarial") as progress:
        found = _walk(method, problem, plan, target, towards, start, progress)
    return Adversarial(
        _restored(problem, found),
        kit.report(found.outcome[:, 0] == REACHED),
        kit.report(np.ascontiguousarray(found.predicted[:, 0])),
        kit.report(np.ascontiguousarray(found.steps[:, 0])),
    )


def _restored(problem: Any, found: Ascended) -> Any:
    """End points in the form of the inputs, members that are not attributed as they were given."""
    assert found.ends is not None
    ends = dict(zip(problem.attributed, (end[:, 0] for end in found.ends), strict=True))
    return problem.assemble({key: ends.get(key, member) for key, member in problem.members.items()})


def _walk(
    method: Any, problem: Any, plan: Ascent, target: Any, towards: Any, start: list[Any] | None, progress: Progress
) -> Ascended:
    def work(session: Any) -> Ascended:
        targets, _ = explained_classes(session, problem, target)
        goals = np.full((problem.examples, 1), -1, np.int64)
        if towards is not None:
            goals[:, 0] = target_table(session, towards, None, problem.examples, "towards")[0][:, 0]
            check_different(targets, goals[:, 0], "towards")
        session.progress = PathProgress(progress, problem.examples)
        return ascend(session, problem, plan, targets, goals, method.rows, keep_ends=True, start=start)

    return in_session(method._autograd(), problem, progress, work)
