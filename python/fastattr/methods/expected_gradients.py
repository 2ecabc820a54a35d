"""Expected Gradients: Integrated Gradients averaged over reference inputs, by sampling."""

from __future__ import annotations

from typing import Any

from ..problem import Problem, reference_arrays
from ..progress import Progress
from ..sampling import SamplePlan, explain_samples
from .base import GradientMethod, check_samples


class ExpectedGradients(GradientMethod):
    """Mean over references x' and a in [0, 1] of (x - x') df_t(x' + a (x - x'))/dx (Erion et al., 2021).

    Parameters
    ----------
    model : torch.nn.Module, callable or FunctionModel
    references : array (M, ...), or tuple or dict of such like the inputs
        What baselines are drawn from: a sample of the data. Every example goes through fresh permutations of them, so
        that none is drawn twice before all were drawn once.
    samples : int
        Draws, and gradients, per example.
    stratified : bool
        One a in every ``samples``-th part of [0, 1], in random order; else independent ones.
    seed : int
        Draws are keyed by (seed, example number, draw): they do not depend on the batch, and ``ids=`` names the
        examples of a batch that is part of a larger one.
    **options
        The common options of `GradientMethod`.

    Notes
    -----
    ``standard_error`` is that of a mean of independent draws: honest for ``stratified=False``, conservative for
    stratified ones. ``error`` is its L1 norm over that of the attribution. ``gap`` is against f(x) minus the mean of f
    over the drawn references, whose forward passes ``evaluations`` does not count. ``converged`` says that all is
    finite.

    Examples
    --------
    >>> import torch, fastattr as fa
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).eval()
    >>> att = fa.ExpectedGradients(model, torch.randn(20, 4), samples=40)(torch.randn(5, 4), target=2)
    >>> att.values.shape, att.standard_error.shape
    (torch.Size([5, 4]), torch.Size([5, 4]))
    """

    def __init__(
        self,
        model: Any,
        references: Any,
        *,
        samples: int = 100,
        stratified: bool = True,
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(model, **options)
        self.references = references
        self.samples = samples
        self.stratified = stratified
        self.seed = seed

    def _noise(self) -> float:
        return 0.0

    def _enter(self, part: Any, lower: Any) -> None:
        super()._enter(part, lower)
        self.references = lower.references(self.references)

    def _run(self, problem: Problem, target: Any, versus: Any, ids: Any, progress: Progress) -> dict[str, Any]:
        plan = SamplePlan(
            draws=int(self.samples),
            seed=int(self.seed),
            multiply=True,
            along_path=True,
            stratified=bool(self.stratified),
            noise=self._noise(),
        )
        references = reference_arrays(self.references, problem)
        return explain_samples(self._adapter(), problem, plan, references, target, versus, ids, self.rows, progress)

    def _check_options(self) -> None:
        super()._check_options()
        check_samples(self.samples, self.seed)
