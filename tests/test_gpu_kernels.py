"""The CUDA kernels on a GPU against the CPU's, bit for bit; small enough for compute-sanitizer.

Torch is imported where there is a GPU only: it makes the tensors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fastattr as fa
from fastattr import _core

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.native,
    pytest.mark.skipif(_core.cuda_backend()[1] is not None, reason="needs CUDA"),
]

DTYPES = ["float16", "bfloat16", "float32", "float64"]


@pytest.fixture
def torch() -> Any:
    """Torch, if it has CUDA too."""
    found = pytest.importorskip("torch")
    if not found.cuda.is_available():
        pytest.skip("torch has no CUDA")
    return found


def numbers(torch: Any, dtype: str, *shape: int, seed: int = 0) -> Any:
    drawn: NDArray[Any] = np.random.default_rng(seed).normal(size=shape)
    return torch.from_numpy(drawn).to(getattr(torch, dtype))


def square(points: Any, index: Any, scalars: Any) -> Any:
    """f = sum of w x^2 / 2: elementwise, so its gradients have the same bits on every device."""
    (x,) = points
    weights = np.linspace(-1, 1, x[0].numel()).reshape(x[0].shape)
    w = x.new_tensor(weights)
    return (w * x * x).double().flatten(1).sum(1)[None] / 2, ((w * x)[None],)


def polyline(x: Any) -> Any:
    """Zero, twice x, x: (3, B, ...)."""
    path = x[None].repeat(3, *[1] * x.dim())
    path[0], path[1] = 0, 2 * x
    return path


METHODS = {
    "auto": lambda x: fa.IntegratedGradients(fa.FunctionModel(square))(x),
    "fixed": lambda x: fa.IntegratedGradients(fa.FunctionModel(square), steps=9, rule="midpoint", rows=4)(
        x, baseline=x[:1]
    ),
    "path": lambda x: fa.PathIntegratedGradients(fa.FunctionModel(square), polyline(x))(x),
    "expected": lambda x: fa.ExpectedGradients(fa.FunctionModel(square), x.flip(0), samples=11, rows=5)(x),
    "shap": lambda x: fa.GradientShap(fa.FunctionModel(square), x.flip(0), samples=11, noise=0.2)(x),
    "smooth": lambda x: fa.SmoothGrad(fa.FunctionModel(square), samples=11, kind="squared")(x),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3,), (8, 8), (5, 1001)], ids=str)
@pytest.mark.parametrize("name", METHODS)
def test_attributions(torch: Any, name: str, shape: tuple[int, ...], dtype: str) -> None:
    x = numbers(torch, dtype, 4, *shape)
    here, there = METHODS[name](x), METHODS[name](x.cuda())
    assert there.values.is_cuda
    assert torch.equal(here.values, there.values.cpu())
    np.testing.assert_allclose(here.error.numpy(), there.error.numpy(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("features", [1, 7, 64, 4099])
def test_random_numbers(torch: Any, dtype: str, features: int) -> None:
    x, found = numbers(torch, dtype, 3, features), []
    for device in ("cpu", "cuda"):
        out = torch.empty(3 * 5, features, dtype=x.dtype, device=device)
        ids = torch.tensor([4, 0, 2**40], device=device)
        stdev = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64, device=device)
        _core.noisy((out,), (x.to(device),), ids, stdev, 9, 3, 1, 2, 5)
        found.append(out.cpu())
    assert torch.equal(*found)


@pytest.mark.parametrize("transposed", [(False, False), (False, True), (True, False), (True, True)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gemm(torch: Any, dtype: str, transposed: tuple[bool, bool]) -> None:
    a, b, out = (numbers(torch, dtype, *s, seed=sum(s)) for s in ((17, 31), (31, 9), (17, 9)))
    wanted = out.double() + a.double() @ b.double()
    left = (a.t().contiguous() if transposed[0] else a).cuda()
    right = (b.t().contiguous() if transposed[1] else b).cuda()
    product = out.cuda()
    _core.gemm(left, right, product, transpose_a=transposed[0], transpose_b=transposed[1], accumulate=True)
    torch.testing.assert_close(product.cpu().double(), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", [{}, {"step": "l2"}, {"quadrature": "midpoint"}, {"path": "local"}], ids=str)
def test_adversarial_paths(torch: Any, dtype: str, options: dict[str, Any]) -> None:
    """A linear model of few features: its logits and gradients leave no room for another order of sums."""

    def linear(x: Any) -> Any:
        return torch.stack([x[:, 0] - x[:, 1], x[:, 1] + x[:, 2], x[:, 2] - x[:, 0]], 1)

    x = numbers(torch, dtype, 6, 3)
    method = fa.AGI(linear, classes="all", max_steps=6, step_size=0.25, output="raw", **options)
    torch.testing.assert_close(method(x, 0).values, method(x.cuda(), 0).values.cpu(), rtol=1e-5, atol=1e-6)
