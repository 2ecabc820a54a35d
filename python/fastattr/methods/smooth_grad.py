"""SmoothGrad: any method, averaged over noisy inputs."""

from __future__ import annotations

import copy
import inspect
from typing import Any

from ..problem import Problem
from ..progress import Progress
from ..sampling import SamplePlan, explain_samples
from ..smoothing import smooth
from .base import GradientMethod, check_samples, check_spread
from .input_x_gradient import InputXGradient
from .path_integrated_gradients import PathIntegratedGradients
from .saliency import Saliency

KINDS = ("mean", "squared", "variance")
_COMMON = tuple(inspect.signature(GradientMethod).parameters)[1:]  # without the model


class SmoothGrad(GradientMethod):
    """Mean of a method over n draws of the input x + N(0, s^2) (Smilkov et al., 2017).

    Parameters
    ----------
    model_or_method : model or GradientMethod
        A model is explained by `Saliency`. A method is applied to every draw, each of which it finishes as it would an
        example of its own: error bars are met draw by draw. Its baseline is not noised.
    samples : int
        Draws n.
    noise : float
        s as a share of max(x) - min(x), per example and input.
    stdev : float, optional
        s in the unit of the inputs, in place of ``noise``.
    kind : {"mean", "squared", "variance"}
        The mean, the mean of squares, or the variance (VarGrad; divisor n) of the draws' attributions.
    seed : int
        Draws are keyed by (seed, example number, draw): they do not depend on the batch, and ``ids=`` names the
        examples of a batch that is part of a larger one.
    **options
        The common options of `GradientMethod`, when a model is given; a method brings its own.

    Notes
    -----
    With ``layer`` the noise is on the layer's activations (token ids have no neighbours), s as a share of their range.
    ``standard_error`` has the shape of the values (None for the variance); ``error`` is its L1 norm over that of the
    values. ``evaluations`` counts the gradients of all draws. Around a method with a baseline ``output`` and ``gap``
    are means over the draws; otherwise ``output`` is that of the input itself and ``gap`` is NaN.

    Examples
    --------
    >>> import torch, fastattr as fa
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)).eval()
    >>> x = torch.randn(5, 4)
    >>> fa.SmoothGrad(model)(x, target=2).values.shape
    torch.Size([5, 4])
    >>> fa.SmoothGrad(fa.IntegratedGradients(model), samples=10)(x, target=2).values.shape
    torch.Size([5, 4])
    """

    def __init__(
        self,
        model_or_method: Any,
        *,
        samples: int = 50,
        noise: float = 0.15,
        stdev: float | None = None,
        kind: str = "mean",
        seed: int = 0,
        **options: Any,
    ) -> None:
        if isinstance(model_or_method, GradientMethod):
            if options:
                raise ValueError(f"{', '.join(options)}: pass the options of a method to the method itself")
            options = {name: getattr(model_or_method, name) for name in _COMMON}
            super().__init__(model_or_method.model, **options)
            self.method = model_or_method
        else:
            super().__init__(model_or_method, **options)
            self.method = Saliency(model_or_method, **options)
        self.samples = samples
        self.noise = noise
        self.stdev = stdev
        self.kind = kind
        self.seed = seed
        self.uses_baseline = self.method.uses_baseline

    def _run(self, problem: Problem, target: Any, versus: Any, ids: Any, progress: Progress) -> dict[str, Any]:
        method = self.method
        plain = type(method) is InputXGradient or (type(method) is Saliency and not method.absolute)
        plan = SamplePlan(
            draws=int(self.samples),
            seed=int(self.seed),
            multiply=type(method) is InputXGradient,
            noise=float(self.noise),
            stdev=None if self.stdev is None else float(self.stdev),
            kind=self.kind,
        )
        if plain:
            return explain_samples(self._adapter(), problem, plan, None, target, versus, ids, self.rows, progress)
        return smooth(method, problem, plan, target, versus, ids, progress)

    def _enter(self, part: Any, lower: Any) -> None:
        super()._enter(part, lower)
        self.method = copy.copy(self.method)
        self.method._enter(part, lower)

    def _explain_copy(self, model: Any, note: str) -> None:
        super()._explain_copy(model, note)
        self.method = copy.copy(self.method)
        self.method._explain_copy(model, note)

    def _check_options(self) -> None:
        super()._check_options()
        check_samples(self.samples, self.seed)
        check_spread("noise", self.noise)
        if self.stdev is not None:
            check_spread("stdev", self.stdev)
        if isinstance(self.method, PathIntegratedGradients) and not callable(self.method.path):
            raise ValueError(
                "model_or_method: a polyline ends at the input, so it cannot be noised; pass a callable path"
            )
        if self.kind not in KINDS:
            raise ValueError(f"kind: expected one of {KINDS}, got {self.kind!r}")
