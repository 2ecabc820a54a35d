"""Several draws of a baseline, averaged at a layer."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from models_zoo import B, C, D, data  # noqa: E402
from test_layer import IDS, LENGTH, MASK, TEXT, WORDS, X, cnn, seeded  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.testing import assert_close  # noqa: E402

import fastattr as fa  # noqa: E402


@pytest.mark.parametrize("layer", ["0", "2"])
def test_draws_of_a_baseline_are_averaged_at_the_layer(layer: str) -> None:
    net, made = seeded(cnn), fa.baselines.Gaussian(0.4, draws=5, seed=3)
    method = fa.IntegratedGradients(net, steps=9, layer=layer)
    found = method(X, baseline=made)
    target = net(X).argmax(1)
    each = [method(X, target, baseline=made.baseline(X, draw=k)) for k in range(5)]
    values = torch.stack([att.values for att in each]).double()
    assert_close(found.values.double(), values.mean(0), rtol=1e-5, atol=1e-6)
    assert_close(found.standard_error.double(), values.std(0) / 5**0.5, rtol=1e-4, atol=1e-6)
    assert_close(
        found.baseline_output, torch.stack([att.baseline_output for att in each]).mean(0), rtol=1e-5, atol=1e-6
    )
    assert found.evaluations.tolist() == [45] * B
    assert torch.equal(found.target, target)
    empty = method(X[:0], baseline=made)
    assert empty.values.shape == (0, *found.values.shape[1:]) == empty.standard_error.shape


class Masked(nn.Module):
    """An input with a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(D, 6), nn.Linear(6, C)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.head(self.body(x * mask).tanh())


def test_draws_beside_an_input_that_stays() -> None:
    net, x, mask = seeded(Masked), data(B, D), torch.ones(B, D, dtype=torch.long)
    mask[1, 2:] = 0
    made = fa.baselines.Uniform((-1.0, 1.0), draws=4, seed=1)
    method = fa.IntegratedGradients(net, steps=9, layer="body")
    found = method((x, mask), 1, baseline=(made, None))
    each = [method((x, mask), 1, baseline=(made.baseline(x, draw=k), None)).values for k in range(4)]
    assert_close(found.values, torch.stack(each).mean(0), rtol=1e-5, atol=1e-6)


def test_draws_of_token_ids() -> None:
    """Sentences of a pool in place of pads; ids have no neighbours, so no noise."""
    pool = torch.from_numpy(np.random.default_rng(1).integers(1, WORDS, (30, LENGTH)))
    made = fa.baselines.DataSet(pool, draws=4)
    method = fa.IntegratedGradients(TEXT, steps=9, layer="embeddings")
    drawn = [made.baseline(IDS, draw=k) for k in range(4)]
    assert all(len(torch.cat([pool, one]).unique(dim=0)) == len(pool.unique(dim=0)) for one in drawn)
    for inputs, given in ((IDS, lambda b: b), ((IDS, MASK), lambda b: (b, None))):
        each = [method(inputs, 1, baseline=given(one)).values for one in drawn]
        assert_close(method(inputs, 1, baseline=given(made)).values, torch.stack(each).mean(0), rtol=1e-5, atol=1e-7)
    with pytest.raises(TypeError, match="x: expected floating inputs, got int64"):
        method(IDS, 1, baseline=fa.baselines.Gaussian(0.3))
