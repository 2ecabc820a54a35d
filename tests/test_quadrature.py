"""csrc/quadrature.c: exactness by algebra, against the reference, nestedness, ends of the range."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from fastattr import _core, reference

pytestmark = pytest.mark.native

RULES = reference.RULES
COUNTS = (1, 2, 3, 4, 7, 8, 15, 50, 127, 255)
GAUSS_2 = (0.21132486540518712, 0.78867513459481288)
GAUSS_3 = (0.11270166537925831, 0.5, 0.88729833462074169)


def rule(name: str, n: int) -> tuple[Any, Any]:
    return _core.quadrature(name, n)


def legendre(nodes: np.ndarray, degree: int) -> np.ndarray:
    """Shifted Legendre polynomials 0..degree at the nodes, (degree + 1, n), in long double."""
    x = 2 * nodes.astype(np.longdouble) - 1
    rows = [np.ones_like(x), x]
    for k in range(2, degree + 1):
        rows.append(((2 * k - 1) * x * rows[-1] - (k - 1) * rows[-2]) / k)
    return np.stack(rows[: degree + 1])


@pytest.mark.parametrize("n", COUNTS)
@pytest.mark.parametrize("name", RULES)
def test_equals_the_reference(name: str, n: int) -> None:
    for got, wanted in zip(rule(name, n), reference.quadrature(name, n)):
        assert got.dtype == np.float64 and got.shape == (n,)
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-15)


@pytest.mark.parametrize("n", COUNTS)
@pytest.mark.parametrize("name", RULES)
def test_nodes_ascend_in_the_interval_and_weights_sum_to_one(name: str, n: int) -> None:
    nodes, weights = rule(name, n)
    assert np.all(np.diff(nodes) > 0) and nodes[0] >= 0 and nodes[-1] <= 1
    assert weights.min() > 0
    assert abs(float(sum(map(Fraction, weights.tolist())) - 1)) < 1e-15


@pytest.mark.parametrize("n", COUNTS)
@pytest.mark.parametrize("name", ["gauss_legendre", "nested", "midpoint", "trapezoid"])
def test_symmetric_rules_mirror(name: str, n: int) -> None:
    nodes, weights = rule(name, n)
    np.testing.assert_array_equal(weights, weights[::-1])
    np.testing.assert_allclose(nodes, 1 - nodes[::-1], rtol=0, atol=2.3e-16)
    if n % 2:
        assert nodes[n // 2] == 0.5


@pytest.mark.parametrize(("name", "degree"), [("gauss_legendre", lambda n: 2 * n - 1), ("nested", lambda n: n - 1)])
@pytest.mark.parametrize("n", COUNTS)
def test_exact_up_to_its_degree(name: str, degree: Any, n: int) -> None:
    """Moments of P_0..P_d: 1, 0, 0, ...; powers too, whose integrals are 1 / (k + 1)."""
    nodes, weights = rule(name, n)
    moments = legendre(nodes, degree(n)) @ weights.astype(np.longdouble)
    moments[0] -= 1
    assert np.abs(moments).max() < 4e-15 * max(1, n**0.5)
    for power in range(min(degree(n), 30) + 1):
        assert abs(float(np.longdouble(1) * weights @ nodes**power) - 1 / (power + 1)) < 1.5e-15


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_exact_no_further(n: int) -> None:
    """A rule that is exact everywhere would be a test that is exact nowhere."""
    nodes, weights = rule("gauss_legendre", n)
    assert abs(weights @ nodes ** (2 * n) - 1 / (2 * n + 1)) > 1e-8
    nodes, weights = rule("nested", n)
    after = n + n % 2  # odd n: symmetry gives degree n too
    assert abs(weights @ nodes ** (after + 1) - 1 / (after + 2)) > 1e-8


def test_gauss_legendre_by_hand() -> None:
    np.testing.assert_allclose(rule("gauss_legendre", 2), (GAUSS_2, (0.5, 0.5)), rtol=0, atol=1e-16)
    np.testing.assert_allclose(rule("gauss_legendre", 3), (GAUSS_3, (5 / 18, 8 / 18, 5 / 18)), rtol=0, atol=1e-16)


def test_equidistant_rules_are_the_nearest_doubles() -> None:
    for n in (1, 3, 10, 49, 1000):
        k = [Fraction(i) for i in range(n)]
        for name, nodes in (
            ("left", [i / n for i in k]),
            ("right", [(i + 1) / n for i in k]),
            ("midpoint", [(2 * i + 1) / (2 * n) for i in k]),
        ):
            assert rule(name, n)[0].tolist() == [float(x) for x in nodes]
            assert rule(name, n)[1].tolist() == [1 / n] * n


@pytest.mark.parametrize("n", [2, 3, 10, 50])
def test_trapezoid_has_both_ends_at_half_weight(n: int) -> None:
    nodes, weights = rule("trapezoid", n)
    assert nodes.tolist() == [float(Fraction(k, n - 1)) for k in range(n)]
    assert weights.tolist() == [float(Fraction(1 if 0 < k < n - 1 else Fraction(1, 2), n - 1)) for k in range(n)]


@pytest.mark.parametrize("name", RULES)
def test_one_node(name: str) -> None:
    nodes, weights = rule(name, 1)
    assert nodes.tolist() == [{"left": 0.0, "right": 1.0}.get(name, 0.5)]
    assert weights.tolist() == [1.0]


def test_fejer_levels_are_nested_bit_for_bit() -> None:
    for n in (1, 3, 7, 15, 31, 63, 127, 255, 511):
        assert rule("nested", n)[0].tolist() == rule("nested", 2 * n + 1)[0][1::2].tolist()


@pytest.mark.parametrize("name", RULES)
def test_many_nodes(name: str) -> None:
    """Every fourth moment of a rule with 2,001 nodes that should know them; left and right know their own error."""
    n = 2001
    nodes, weights = rule(name, n)
    assert np.all(np.diff(nodes) > 0)
    assert weights.sum() == pytest.approx(1, abs=1e-13)
    error = {"left": -0.5 / n, "right": 0.5 / n}.get(name, 0)
    assert weights @ nodes == pytest.approx(0.5 + error, abs=1e-13)
    if name in ("gauss_legendre", "nested"):
        assert weights @ nodes**4 == pytest.approx(0.2, abs=1e-13)


def test_the_arrays_are_the_callers_own() -> None:
    """What is handed out is a copy of the cache."""
    first = rule("gauss_legendre", 11)
    first[0][:], first[1][:] = 7, 7
    assert rule("gauss_legendre", 11)[1].sum() == pytest.approx(1)
    assert first[0].flags.writeable and first[0].flags.owndata


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (("simpson", 3), ValueError, 'rule: expected "nested", .* got "simpson"'),
        (("", 3), ValueError, "rule: expected"),
        (("Nested", 3), ValueError, "rule: expected"),
        (("left", 0), ValueError, "steps: expected at least 1, got 0"),
        (("nested", -5), ValueError, "steps: expected at least 1, got -5"),
        (("left", 2**60), MemoryError, "steps: no memory for 1152921504606846976 nodes"),
        (("gauss_legendre", 2**63 - 1), MemoryError, "steps: no memory"),
        (("left", 2**63), OverflowError, "too (big|large)"),
        (("left", 2.0), TypeError, "float"),
        (("left", "2"), TypeError, "str"),
        ((3, 3), TypeError, "must be str"),
        (("left\0", 3), ValueError, "null"),
        (("left",), TypeError, "2 arguments"),
        (("left", 3, 3), TypeError, "2 arguments"),
    ],
)
def test_refuses(arguments: tuple[Any, ...], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        _core.quadrature(*arguments)
