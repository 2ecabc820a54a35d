"""A fitted `GANMEX` in a file, bound to its classifier by a fingerprint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from . import networks
from .classifier import Scale, same_classifier
from .fitting import write

if TYPE_CHECKING:
    from .ganmex import GANMEX

FORMAT = 1
OPTIONS = ("classes", "input_shape", "weights", "fallback", "swap", "anew", "width", "kind", "output_key", "autocast")


def save(owner: GANMEX, path: Path) -> None:
    """See `GANMEX.save`."""
    generator, scale = owner._fitted()
    weights = None if owner.weights is None else {name: float(w) for name, w in owner.weights.items()}
    training = owner._training if owner.fallback == "mdts" else None
    content = {
        "ganmex": FORMAT,
        **{name: getattr(owner, name) for name in OPTIONS},
        "weights": weights,
        "kind": owner._classifier.kind,
        "range": (scale.low.cpu(), scale.high.cpu(), scale.hard),
        "generator": {name: value.cpu() for name, value in generator.state_dict().items()},
        "history": owner.history,
        "selected": owner.selected,
        "fingerprint": owner._classifier.fingerprint(scale, owner.input_shape),
        "training": None if training is None else tuple(value.cpu() for value in training),
    }
    write(path, content)


def load(kind: type[GANMEX], path: Path, model: Callable[..., Any]) -> GANMEX:
    """See `GANMEX.load`."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, dict) or content.get("ganmex") != FORMAT:
        raise ValueError(f"path: expected a file written by GANMEX.save, got {str(path)!r}")
    low, high, hard = content["range"]
    range_given = (low, high) if hard else None
    loaded = kind(model, value_range=range_given, **{name: content[name] for name in OPTIONS})
    scale = Scale(low, high, hard)
    if not same_classifier(content["fingerprint"], loaded._classifier.fingerprint(scale, loaded.input_shape)):
        raise ValueError("model: expected the classifier that this GANMEX was trained with, got another")
    shape, width = loaded.input_shape, loaded.width
    generator = networks.generator_from(content["generator"], shape, loaded.classes, width, loaded.anew)
    loaded._generator = generator.to(loaded._classifier.device(torch.device("cpu")))
    loaded._scale = scale
    loaded.history, loaded.selected = content["history"], content["selected"]
    loaded._training = content["training"]
    return loaded
