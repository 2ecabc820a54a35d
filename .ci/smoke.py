"""What an installed fastattr must do with nothing but its hard requirements; run outside the repository."""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import fastattr as fa

REPOSITORY = Path(__file__).resolve().parent.parent
installed = Path(fa.__file__).resolve().parent

assert REPOSITORY not in installed.parents, installed
assert find_spec("torch") is None, "the environment was to have no torch"
assert version("fastattr") == fa.__version__
assert (installed / "py.typed").is_file()
assert (installed / "_core.pyi").is_file()

# f(x) = sum of w x^2, from a zero baseline: the attribution is w x^2
w = np.array([1.0, -2.0, 3.0])


def value_and_gradient(points, index, scalars):
    (x,) = points
    return ((x * x) @ w)[None], ((2 * w * x)[None],)


x = np.array([[1.0, 2.0, 3.0], [-1.0, 0.5, 0.0]])
model = fa.FunctionModel(value_and_gradient)
for method in (fa.IntegratedGradients(model), fa.IntegratedGradients(model, steps=10)):
    found = method(x)
    np.testing.assert_allclose(found.values, w * x * x, rtol=1e-12)
    np.testing.assert_allclose(found.gap, 0, atol=1e-12)
np.testing.assert_allclose(fa.Saliency(model)(x).values, 2 * w * x, rtol=1e-12)
print(f"fastattr {fa.__version__} works in {installed}")
