"""What GANMEX is tried on: data, the explained classifier and an outside judge, and the figures of a fitted one.

A figure is (mean, standard error). Pairs of one input are not independent: its targets are averaged first, and the
standard error is that over the inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

import fastattr as fa
from fastattr import baselines, datasets

Figure = tuple[float, float]
EXPLAINED = 200
"""Shapes whose maps are compared."""
NO_SIMILARITY = {"adversarial": 1.0, "classification": 10.0, "reconstruction": 10.0, "similarity": 0.0}


@dataclass
class Task:
    """Data of one kind, on which one classifier is explained and another judges."""

    name: str
    x: Tensor
    y: Tensor
    unseen_x: Tensor
    unseen_y: Tensor
    classes: int
    steps: int
    value_range: tuple[float, float] | None
    model: nn.Module
    judge: nn.Module
    extra: dict[str, Any] = field(default_factory=dict)

    def shares(self) -> tuple[float, float]:
        """Of unseen inputs that the classifier and the judge read correctly."""
        with torch.no_grad():
            right = [
                (net(self.unseen_x).argmax(1) == self.unseen_y).double().mean() for net in (self.model, self.judge)
            ]
        return float(right[0]), float(right[1])


def digits(steps: int = 800) -> Task:
    data = datasets.digits()
    nets = image_classifier(1, 10, 8, 16), image_classifier(1, 10, 8, 24, seed=7)
    return _task("digits", data, 10, steps, (0.0, 1.0), nets, epochs=30)


def shapes(steps: int = 1200) -> Task:
    data = datasets.shapes()
    nets = image_classifier(3, 3, 32, 16), image_classifier(3, 3, 32, 20, seed=7)
    extra = {"counterfactual": torch.from_numpy(data.counterfactual), "mask": torch.from_numpy(data.mask)}
    return _task("shapes", data, 3, steps, (0.0, 1.0), nets, epochs=6, extra=extra)


def vectors(steps: int = 2000) -> Task:
    data = datasets.breast_cancer()
    nets = vector_classifier(30, 2, 32), vector_classifier(30, 2, 48, seed=7)
    return _task("vectors", data, 2, steps, None, nets, epochs=40)


TASKS: dict[str, Callable[..., Task]] = {"digits": digits, "shapes": shapes, "vectors": vectors}


def fitted(
    task: Task, variant: str, seed: int, steps: int | None = None, autocast: bool = False, **fit: Any
) -> fa.GANMEX:
    """GANMEX as it is, or with a part left out."""
    options: dict[str, Any] = {
        "full": {},
        "no similarity": {"weights": NO_SIMILARITY},
        "no similarity, drawn anew": {"weights": NO_SIMILARITY, "anew": True},
        "no swap": {"swap": False},
    }[variant]
    gx = fa.GANMEX(
        task.model, classes=task.classes, input_shape=task.x.shape[1:], value_range=task.value_range, fallback="none",
        autocast=autocast, **options,
    )  # fmt: skip
    return gx.fit(task.x, task.y, steps=steps or task.steps, seed=seed, threads=1, progress=False, **fit)


def pairs(task: Task) -> tuple[Tensor, Tensor, Tensor]:
    """Every unseen input (number of it, label) towards every other class: (P,) each, consecutive per input."""
    count, classes = len(task.unseen_x), task.classes
    number = torch.arange(count).repeat_interleave(classes - 1)
    label = task.unseen_y[number]
    shift = torch.arange(1, classes).repeat(count)
    return number, label, (label + shift) % classes


def edit_figures(task: Task, gx: fa.GANMEX) -> dict[str, Figure]:
    """Conversion, outside judge, and L2 distance to the inputs beside that of MDTS."""
    number, _, target = pairs(task)
    x = task.unseen_x[number]
    made = gx.edit(x, target).values
    near = baselines.MDTS(task.x, task.y, task.model).baseline(x, target)
    with torch.no_grad():
        converted = task.model(made).argmax(1) == target
        judged = task.judge(made).argmax(1) == target
    ours, theirs = distance(made, x), distance(near, x)
    found = {
        "conversion": figure(converted, task),
        "judge": figure(judged, task),
        "distance": figure(ours, task),
        "MDTS distance": figure(theirs, task),
        "share of MDTS distance": ratio(ours, theirs, task),
        "closer than MDTS": figure(ours < theirs, task),
    }
    return found | (shape_figures(task, made, near) if task.name == "shapes" else {})


def shape_figures(task: Task, made: Tensor, near: Tensor) -> dict[str, Figure]:
    """Against the true counterfactual: distance, and mass of Integrated Gradients on the true difference."""
    number, label, target = pairs(task)
    truth = task.extra["counterfactual"][number, target]
    ours, theirs = distance(made, truth), distance(near, truth)
    found = {
        "to the true counterfactual": figure(ours, task),
        "MDTS to the true counterfactual": figure(theirs, task),
        "share of MDTS to the true": ratio(ours, theirs, task),
    }
    shape, colour = (label != 1) & (target != 1), (label != 2) & (target != 2)
    found["shape-only pairs: judge"] = figure_of(_judged(task, made, target), number, shape)
    found["colour-only pairs: judge"] = figure_of(_judged(task, made, target), number, colour)
    part = number < EXPLAINED
    x, mask = task.unseen_x[number[part]], task.extra["mask"][number[part], target[part]]
    method = fa.IntegratedGradients(task.model, tolerance=0.02)
    for name, base in (("GANMEX", made), ("MDTS", near), ("zero", None), ("true counterfactual", truth)):
        start = None if base is None else base[part]
        maps = method(x, label[part], versus=target[part], baseline=start).values.sum(1).abs()
        mass = (maps * mask).flatten(1).sum(1) / maps.flatten(1).sum(1)
        found[f"mass, {name}"] = figure_of(mass, number[part])
        found[f"shape-only pairs: mass, {name}"] = figure_of(mass, number[part], shape[part])
        found[f"cosine of two versus, {name}"] = cosines(maps)
    single = method(x, label[part]).values.sum(1).abs()
    found["cosine of two versus, zero, single output"] = cosines(single)
    return found


def _judged(task: Task, made: Tensor, target: Tensor) -> Tensor:
    with torch.no_grad():
        return task.judge(made).argmax(1) == target


def cosines(maps: Tensor) -> Figure:
    """Of the maps of one input against its two other classes, (2 N, ...)."""
    flat = maps.flatten(1)
    found = torch.cosine_similarity(flat[::2], flat[1::2], dim=1).double()
    return float(found.mean()), float(found.std() / len(found) ** 0.5)


def distance(a: Tensor, b: Tensor) -> Tensor:
    """(P,) L2, on the scale [-1, 1] for images, in the unit of the inputs for vectors."""
    return (2 if a.dim() == 4 else 1) * (a - b).double().flatten(1).norm(dim=1)


def figure(values: Tensor, task: Task) -> Figure:
    return figure_of(values, pairs(task)[0])


def figure_of(values: Tensor, number: Tensor, chosen: Tensor | None = None) -> Figure:
    """Mean over inputs of the means over their pairs, and its standard error."""
    if chosen is not None:
        values, number = values[chosen], number[chosen]
    _, place = torch.unique(number, return_inverse=True)
    sums = torch.zeros(int(place.max()) + 1, dtype=torch.float64).index_add_(0, place, values.double())
    means = sums / torch.bincount(place)
    return float(means.mean()), float(means.std() / len(means) ** 0.5)


def ratio(ours: Tensor, theirs: Tensor, task: Task) -> Figure:
    """Of two means, with the standard error of its linearisation."""
    share = float(ours.mean() / theirs.mean())
    return share, figure(ours - share * theirs, task)[1] / float(theirs.mean())


# ---- classifiers --------------------------------------------------------------------------------------------------


def image_classifier(channels: int, classes: int, size: int, width: int, seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
        while size > 4:
            layers += [nn.Conv2d(width, 2 * width, 3, 2, 1), nn.ReLU()]
            width, size = 2 * width, size // 2
        layers += [nn.Flatten(), nn.Linear(width * size * size, 64), nn.ReLU(), nn.Linear(64, classes)]
        return nn.Sequential(*layers)


def vector_classifier(features: int, classes: int, width: int, seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(features, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
                             nn.Linear(width, classes))  # fmt: skip


def trained(net: nn.Module, x: Tensor, y: Tensor, epochs: int, seed: int) -> nn.Module:
    """Adam on shuffled batches of 64, one thread, in eval mode."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3, weight_decay=1e-4)
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=order).split(64):
            optimizer.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()
    torch.set_num_threads(threads)
    return net.eval()


def _task(
    name: str,
    data: Any,
    classes: int,
    steps: int,
    value_range: tuple[float, float] | None,
    nets: tuple[nn.Module, nn.Module],
    epochs: int,
    extra: dict[str, Any] | None = None,
) -> Task:
    x, y, unseen_x, unseen_y = (torch.from_numpy(part) for part in data[:4])
    model, judge = (trained(net, x, y, epochs, seed) for seed, net in enumerate(nets))
    return Task(name, x, y, unseen_x, unseen_y, classes, steps, value_range, model, judge, extra or {})
