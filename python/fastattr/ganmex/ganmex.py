"""GANMEX: baselines made by a generator that the explained classifier itself has trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..baselines.base import Pinned, class_numbers
from ..warning import warn
from . import networks
from .classifier import Classifier, Scale
from .fitting import Fit, progress_bar
from .losses import Weights
from .prepare import check_classifier, labels_of, rows_of, scale_of, threads_of
from .report import Report, report
from .saving import load, save
from .training import Options

FALLBACKS = ("warn", "raise", "mdts", "none")
SMALL = 256
"""Elements of an input up to which the weights are those found for 8 x 8 digits, else those for 32 x 32 x 3."""
BATCH = 512


class Edit(NamedTuple):
    """What `GANMEX.edit` returns: arrays like the inputs (B, ...), and (B,) bool on the CPU."""

    values: Any
    converted: Any


class GANMEX:
    """Baselines G(x, c): the nearest realistic sample of class c, by a generative adversarial network.

    A StarGAN whose class discriminator *is* the explained, frozen classifier (Shih, Tien, Karnin, "GANMEX: one-vs-one
    attributions guided by GAN-based counterfactual explanation baselines", ICML 2021). With it, Integrated Gradients of
    the difference between two classes say why a 3 *and not an 8*.

    Parameters
    ----------
    model : torch.nn.Module or callable
        The explained classifier, (B, ...) to logits or probabilities (B, K). It is left as it was found.
    classes : int
        K.
    input_shape : tuple of int
        Of one example: images (C, H, W), C from 1 to 4, H and W divisible by 4 and at least 8; or vectors (D,).
    value_range : (low, high), optional
        Numbers or arrays that broadcast to one input; nothing lies outside. Default for images the least and the
        largest value of the training data, for vectors four standard deviations around the mean of each feature,
        where an input beyond that keeps what it has beyond.
    weights : dict, optional
        Of the losses: ``adversarial``, ``classification``, ``reconstruction``, ``similarity``. Default 1, 10, 10, 20
        for inputs of up to 256 numbers, 1, 2, 10, 20 for larger ones. A zero leaves a term out.
    fallback : {"warn", "raise", "mdts", "none"}
        What `baseline` does where the classifier does not take an edit for its class: warn and use it all the same,
        raise, or take the nearest training sample of the class (`fastattr.baselines.MDTS`).
    swap : bool
        False trains a class discriminator of the GAN's own, as StarGAN does: a control, not a baseline of ``model``.
    anew : bool
        True draws G(x, c) from nothing, not as an edit of x, which keeps near it even without similarity: a control.
    width : int, optional
        Channels of the first layers, a multiple of 4.
    kind : {"auto", "logits", "probabilities"}
        What ``model`` returns.
    output_key : str or int, optional
        Which member of a dict or tuple output holds the scores.
    autocast : bool
        Train the generator in bfloat16 (the critic stays in float32).

    Attributes
    ----------
    history : list of dict
        The checks of the last `fit`: step, conversion, judge, distance (a share of that of MDTS), realism (distance
        from the training data, a multiple of that of real inputs), score.
    selected : dict
        The one whose generator was kept.

    Examples
    --------
    >>> gx = fa.GANMEX(model, classes=10, input_shape=(1, 8, 8), value_range=(0., 1.))  # doctest: +SKIP
    >>> gx.fit(x_train, y_train, steps=1500, seed=0)  # doctest: +SKIP
    >>> fa.IntegratedGradients(model)(x, target=3, versus=8, baseline=gx)  # doctest: +SKIP
    """

    def __init__(
        self,
        model: Callable[..., Any],
        *,
        classes: int,
        input_shape: Sequence[int],
        value_range: tuple[Any, Any] | None = None,
        weights: Mapping[str, float] | None = None,
        fallback: str = "warn",
        swap: bool = True,
        anew: bool = False,
        width: int | None = None,
        kind: str = "auto",
        output_key: Any = None,
        autocast: bool = False,
    ) -> None:
        self.model = model
        self.classes = classes
        self.input_shape = tuple(int(n) for n in input_shape)
        self.value_range = value_range
        self.weights = weights
        self.fallback = fallback
        self.swap = swap
        self.anew = anew
        self.width = width
        self.kind = kind
        self.output_key = output_key
        self.autocast = autocast
        self.history: list[dict[str, float]] = []
        self.selected: dict[str, float] = {}
        self._check_options()
        self._classifier = Classifier(model, classes, kind, output_key)
        self._generator: networks.Generator | None = None
        self._scale: Scale | None = None
        self._state: dict[str, Any] | None = None
        self._training: tuple[Tensor, Tensor] | None = None
        self._mdts: Any = None

    # ---- training --------------------------------------------------------------------------------------------------

    def fit(
        self,
        X: Any,  # noqa: N803
        y: Any,
        *,
        steps: int = 1500,
        seed: int = 0,
        batch: int = 32,
        learning_rate: float = 5e-4,
        critic_steps: int = 1,
        ema: float = 0.999,
        validation: float = 0.15,
        every: int = 50,
        check: bool = True,
        threads: int | None = None,
        progress: bool = True,
        resume: bool = False,
        state_file: str | Path | None = None,
    ) -> GANMEX:
        """Train the generator and keep its best checkpoint.

        Parameters
        ----------
        X : array (N, ...)
            Inputs, as the classifier takes them.
        y : (N,) integers
            Their labels.
        steps : int
            Of the training; 1,500 of 32 inputs take about a minute and a half on one core for 8 x 8 digits.
        seed : int
            Of the split, the networks and the batches. The global random state is neither read nor changed.
        batch, learning_rate, critic_steps, ema
            Inputs a step; of Adam, falling after 400 steps; steps of the critic for each of the generator; of the
            averaged generator.
        validation : float
            Share of the data, at most 512 inputs, by which checkpoints are compared, see ``history``.
        every : int
            Steps between two checks.
        check : bool
            False trains also for a classifier that is no better than the most frequent class.
        threads : int, optional
            Set torch's number of threads for the training (one is often much faster for tiny convolutions); it belongs
            to the whole process, and is set back at the end.
        progress : bool
            Show a bar (tqdm).
        resume : bool
            Go on where the last fit to the same data was interrupted (or ended: with more ``steps``), to the same
            result as without an interruption.
        state_file : path, optional
            Where the state of the training is kept at each check; ``resume`` finds it there in a new process.

        Returns
        -------
        GANMEX
            Itself. After an interruption too it can be used, as of the best check so far.

        Raises
        ------
        ValueError
            Shapes, labels or values out of range; a classifier no better than the most frequent class; a state of
            another fit.
        """
        x = rows_of(X, "X", self.input_shape)
        labels = labels_of(y, len(x), self.classes, check)
        device = self._classifier.device(x.device)
        x, labels = x.to(device), labels.to(device)
        scale = scale_of(self.value_range, self.input_shape, x)
        options = Options(
            self.input_shape, self.classes, self._weights(), batch, seed, learning_rate, critic_steps, ema,
            self.swap, self.width, self.anew, self.autocast,
        )  # fmt: skip
        path = None if state_file is None else Path(state_file)
        with threads_of(threads), self._classifier.frozen(device), torch.inference_mode(False), torch.no_grad():
            self._classifier.settle(x[:64])
            if check:
                check_classifier(self._classifier.predict(x), labels)
            fit = Fit(self._classifier, scale, options, x, labels, validation, every)
            if resume:
                fit.load(self._unfinished(path))
            try:
                with progress_bar(progress, fit.trainer.step, steps) as bar:
                    fit.run(steps, bar, path)
            finally:
                self._keep(fit, scale, x, labels)
        return self

    def _unfinished(self, path: Path | None) -> dict[str, Any]:
        if self._state is not None:
            return self._state
        if path is None or not path.exists():
            raise ValueError("resume: expected an earlier fit of this object, or its state_file, got neither")
        found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return found

    def _keep(self, fit: Fit, scale: Scale, x: Tensor, y: Tensor) -> None:
        self._state = fit.state()
        self._scale, self._training, self._mdts = scale, (x, y), None
        self.history = [check.as_dict() for check in fit.history]
        if fit.best is not None:
            self.selected = max(self.history, key=lambda check: check["score"])
            self._generator = networks.generator_from(fit.best, self.input_shape, self.classes, self.width, self.anew)
            self._generator.to(x.device)

    # ---- use -------------------------------------------------------------------------------------------------------

    def baseline(self, x: Any, target: Any = None) -> Any:
        """G(x, c) for c = ``target``, an int or integers (B,); where that fails, what ``fallback`` says.

        Attribution methods call this with ``versus`` as the target.

        Returns
        -------
        array (B, ...)
            Of the framework, dtype and device of ``x``.

        Raises
        ------
        ValueError
            No target, or with ``fallback="raise"`` an edit that the classifier does not take for its class.
        """
        edit = self.edit(x, target)
        failed = np.flatnonzero(~np.asarray(edit.converted))
        if failed.size == 0 or self.fallback == "none":
            return edit.values
        shown = ", ".join(map(str, failed[:10].tolist())) + (", ..." if failed.size > 10 else "")
        what = f"{failed.size} of {len(edit.converted)} baselines ({shown}) are not taken for their class"
        if self.fallback == "raise":
            raise ValueError(f"target: expected classes that GANMEX reaches, but {what} by the classifier")
        if self.fallback == "warn":
            warn(f"GANMEX: {what} by the classifier; attributions from there do not explain one class versus another.")
            return edit.values
        return self._replaced(x, target, edit.values, failed)

    def edit(self, x: Any, target: Any) -> Edit:
        """G(x, c) and whether the classifier takes it for class c, without a fallback.

        Parameters
        ----------
        x : array (B, ...)
            Values outside a given value range are clipped.
        target : int or integers (B,)

        Returns
        -------
        Edit
            ``values`` like ``x``, ``converted`` (B,) bool, in the framework of ``x``.
        """
        generator, scale = self._fitted()
        rows = rows_of(x, "x", self.input_shape)
        device = self._classifier.device(next(generator.parameters()).device)
        wanted = class_numbers(target, len(rows), self.classes)
        goal = torch.from_numpy(wanted).to(device)
        generator.to(device)
        self._scale = scale.to(device)
        with self._classifier.frozen(device), torch.inference_mode(False), torch.no_grad():
            parts = zip(rows.split(BATCH), goal.split(BATCH), strict=True)
            made = [self._edited(part.to(device).float(), c) for part, c in parts]
            values = torch.cat(made) if made else rows.to(device)
            converted = (self._classifier.predict(values) == goal).cpu()
        if isinstance(x, Tensor):
            return Edit(values.to(x.device, x.dtype), converted)
        return Edit(values.cpu().numpy().astype(np.asarray(x).dtype), converted.numpy())

    def towards(self, target: Any) -> Pinned:
        """The same with its class fixed: for a single output, or a class that is not ``versus``."""
        return Pinned(self, target)

    def report(
        self,
        x: Any,
        y: Any,
        *,
        judge: Callable[..., Any] | None = None,
        apart: Mapping[str, Sequence[tuple[int, int]]] | None = None,
        training: tuple[Any, Any] | None = None,
    ) -> Report:
        """How good the baselines of unseen inputs are: every input towards every other class.

        Parameters
        ----------
        x : array (B, ...)
            Inputs that `fit` did not see.
        y : (B,) integers
            Their labels.
        judge : module or callable, optional
            A classifier of the same classes that had no part in the training: edits that fool only ``model`` are
            noise.
        apart : dict of name to list of (label, target), optional
            Pairs of classes that get a line of their own, as {"shape only": [(0, 2), (2, 0)]}.
        training : (X, y), optional
            For the distances to MDTS; default that of `fit`, which `load` does not bring back.

        Returns
        -------
        Report
        """
        return report(self, x, y, judge, apart or {}, training)

    # ---- files -----------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the generator and the fingerprint of the classifier; with ``fallback="mdts"`` the training data too."""
        save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path, model: Callable[..., Any]) -> GANMEX:
        """Read what `save` wrote, for the classifier it was trained with. Nothing is unpickled.

        Raises
        ------
        ValueError
            Another classifier, or not such a file.
        """
        return load(cls, Path(path), model)

    def __repr__(self) -> str:
        state = f"step {self.selected['step']:.0f} of the last fit" if self.selected else "not fitted"
        return f"GANMEX({self.classes} classes, inputs {self.input_shape}, {state})"

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _fitted(self) -> tuple[networks.Generator, Scale]:
        if self._generator is None or self._scale is None:
            raise ValueError("GANMEX: expected a fitted one, call .fit(X, y) first")
        return self._generator, self._scale

    def _edited(self, x: Tensor, target: Tensor) -> Tensor:
        generator, scale = self._fitted()
        return scale.edited(x, generator(scale.down(x), target))

    def _replaced(self, x: Any, target: Any, values: Any, failed: Any) -> Any:
        """``values`` with the rows ``failed`` taken from the training data."""
        if self._mdts is None:
            from ..baselines import MDTS

            if self._training is None:
                raise ValueError('fallback: "mdts" needs the training data, which this file does not hold; fit again')
            self._mdts = MDTS(*self._training, self.model, output_key=self.output_key)
        wanted = class_numbers(target, len(x), self.classes)[failed]
        values[failed] = self._mdts.baseline(x[failed], wanted)
        return values

    def _weights(self) -> Weights:
        if self.weights is not None:
            return Weights(**self.weights)
        small = int(np.prod(self.input_shape)) <= SMALL
        return Weights() if small else Weights(1.0, 2.0, 10.0, 20.0)

    def _check_options(self) -> None:
        if self.fallback not in FALLBACKS:
            raise ValueError(f"fallback: expected one of {FALLBACKS}, got {self.fallback!r}")
        if self.classes < 2:
            raise ValueError(f"classes: expected at least 2, got {self.classes}")
        if self.kind not in ("auto", "logits", "probabilities"):
            raise ValueError(f'kind: expected "auto", "logits" or "probabilities", got {self.kind!r}')
        if self.width is not None and (self.width < 4 or self.width % 4):
            raise ValueError(f"width: expected a multiple of 4, got {self.width}")
        unknown = set(self.weights or {}) - set(Weights._fields)
        if unknown or any(not 0 <= float(w) < float("inf") for w in (self.weights or {}).values()):
            raise ValueError(f"weights: expected numbers >= 0 by the names {Weights._fields}, got {self.weights}")
        shape = self.input_shape
        image = len(shape) == 3 and 1 <= shape[0] <= 4 and all(n >= 8 and n % 4 == 0 for n in shape[1:])
        if not image and not (len(shape) == 1 and shape[0] >= 1):
            raise ValueError(
                "input_shape: expected (C, H, W) with C from 1 to 4 and H, W divisible by 4 and at least 8, or (D,), "
                f"got {shape}"
            )
