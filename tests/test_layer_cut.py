"""`layer=`: models are cut at the layer where containers or torch.fx allow, and compute the same as under hooks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from models_zoo import B, C, D, data  # noqa: E402
from test_layer import seeded  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.testing import assert_close  # noqa: E402

import fastattr as fa  # noqa: E402


class Blocks(nn.Module):
    """Six blocks in a row."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(nn.Sequential(nn.Linear(D, D), nn.Tanh()) for _ in range(6)))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


class Branches(nn.Module):
    """What comes after `mid` sees the inputs, a mask and an earlier layer too."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.mid, self.head = nn.Linear(D, 8), nn.Linear(8, 8), nn.Linear(8, C)
        self.negative = False

    def forward(self, x: Tensor, mask: Tensor | None = None, scale: float = 1.0) -> dict[str, Tensor]:
        low = self.low(x).tanh()
        y = self.mid(low).view(x.shape[0], -1) * scale
        y = y if mask is None else y * mask
        y = torch.tanh(-y if self.negative else y) + low + torch.arange(8) / 8
        return {"logits": self.head(y) + x.mean(1, keepdim=True)}


@contextmanager
def rows_of(net: nn.Module) -> Iterator[dict[nn.Module, int]]:
    """How many rows every linear layer sees."""
    seen: dict[nn.Module, int] = {part: 0 for part in net.modules() if isinstance(part, nn.Linear)}
    forward = nn.Linear.forward

    def count(self: nn.Linear, x: Tensor) -> Tensor:
        if not isinstance(x, torch.fx.Proxy):
            seen[self] += len(x)
        return forward(self, x)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Linear, "forward", count)
        yield seen


@contextmanager
def by_hooks() -> Iterator[None]:
    """Nothing is cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastattr.models.layer.cut", lambda *_: None)
        patch.setattr("fastattr.models.cut.cut_traced", lambda *_: None)
        yield


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_part_below_runs_once(wrapped: bool) -> None:
    """For the inputs and for their baseline (a trace is checked on three rows more); all rows run above."""
    net, x = seeded(Blocks), data(B, D)
    method = fa.IntegratedGradients(net if wrapped else net.blocks, steps=40, layer=net.blocks[3], rows=7)
    method(x, 1)
    with rows_of(net) as seen:
        att = method(x, 1)
    assert "model cut there" in att.engine
    assert [seen[block[0]] for block in net.blocks[:4]] == [B + 1 + (3 if wrapped else 0)] * 4
    assert all(seen[block[0]] >= 40 * B for block in net.blocks[4:])
    net.blocks.register_forward_hook(lambda *_: None)  # somebody listens: nothing is cut
    again = method(x, 1)
    assert "by a hook" in again.engine
    assert_close(again.values, att.values)


@pytest.mark.parametrize("layer", ["low", "mid", "head"])
@pytest.mark.parametrize("call", [{}, {"args": (data(B, 8, seed=5),)}, {"kwargs": {"scale": 0.5}}])
def test_what_is_needed_from_below_comes_along(layer: str, call: dict[str, Any]) -> None:
    net, x = seeded(Branches).double(), data(B, D, dtype=torch.float64)
    call = {key: tuple(v.double() for v in value) if key == "args" else value for key, value in call.items()}
    method = fa.IntegratedGradients(net, steps=20, layer=layer)
    for numbers in (x, x[:1], x.numpy()):
        few = {"args": tuple(v[: len(numbers)] for v in call["args"])} if "args" in call else call
        got = method(numbers, 1, baseline=0.3, **few)
        with by_hooks():
            want = method(numbers, 1, baseline=0.3, **few)
        assert "model cut there" in got.engine and "by a hook" in want.engine
        np.testing.assert_allclose(np.asarray(got.values), np.asarray(want.values), rtol=1e-12, atol=1e-14)
        assert_close(got.baseline_output, want.baseline_output)


def test_a_cut_does_not_outlive_the_forward_it_was_made_of() -> None:
    net, x = seeded(Branches).double(), data(B, D, dtype=torch.float64)
    method, values = fa.IntegratedGradients(net, steps=20, layer="mid"), []
    for change in (
        lambda: None,
        lambda: setattr(net, "negative", True),
        lambda: net.head.weight.data.mul_(2),
        lambda: setattr(net, "head", seeded(Branches, 3).double().head),
    ):
        change()
        method(x, 1)
        got = method(x, 1)
        with by_hooks():
            want = method(x, 1)
        assert "model cut there" in got.engine
        assert_close(got.values, want.values, rtol=1e-12, atol=1e-14)
        values.append(float(got.values.sum()))
    assert len(set(values)) == 4


class Frozen(nn.Module):
    """The number of rows is taken out of the graph by Python: a trace knows that of its time only."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.head, self.rows = nn.Linear(400, 48), nn.Linear(48, C), 1

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, Tensor):
            self.rows = len(x)
        y = self.low(x).tanh() + torch.zeros(self.rows, 48)
        return self.head(y).view(self.rows, C)


def test_pieces_that_do_not_run_are_done_without() -> None:
    net, x = seeded(Frozen), data(B, 400)
    att = fa.Saliency(net, layer="low")(x, 1)
    assert "by a hook" in att.engine
    with torch.no_grad():
        z = net.low(x)
    assert_close(att.values, fa.Saliency(nn.Sequential(nn.Tanh(), net.head).eval(), engine="callback")(z, 1).values)
    plain = nn.Sequential(net.low, nn.Tanh(), net.head).eval()
    got = fa.IntegratedGradients(net, steps=200)(x, 1)
    assert "affine prefix" not in got.engine
    assert_close(got.values, fa.IntegratedGradients(plain, steps=200, engine="callback")(x, 1).values)


def test_adversarial_paths_start_at_the_layer() -> None:
    """AGI climbs in the space of the layer: what it gives there is what it gives for the part above alone."""
    net = seeded(lambda: nn.Sequential(nn.Linear(D, 8), nn.Tanh(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, C)))
    x = data(B, D)
    options: dict[str, Any] = {"classes": "all", "step_size": 0.05, "max_steps": 15}
    found = fa.AGI(net, layer=net[1], **options)(x)
    with torch.no_grad():
        inner = net[:2](x)
    wanted = fa.AGI(net[2:].eval(), **options)(inner)
    assert found.values.shape == inner.shape
    assert_close(found.values, wanted.values)
    assert_close(found.output, wanted.output)
    assert torch.equal(found.paths.steps, wanted.paths.steps) and torch.equal(found.target, wanted.target)
