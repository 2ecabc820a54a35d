"""The door for foreign tensors (csrc/check.c, csrc/python/borrow.c): falsified descriptions, capsules and objects.

A case a line. Whatever comes in, the answer is a typed error that begins with the argument's name, and nothing is held
afterwards: NumPy's deleter counts the capsules.
"""

from __future__ import annotations

import sys
from typing import Any

import helpers_native as native
import numpy as np
import pytest
from helpers_native import PRODUCERS, Answers, HandMade, Producer, VersionedProducer, exchange_type, job
from numpy.typing import NDArray

from fastattr import BackendError, _core

pytestmark = pytest.mark.native

TOP = 2**63 - 1
SINGLES = ("index", "scalars", "target", "scratch")
TUPLES = ("inputs", "bases", "points", "results", "values")
OUTPUTS = ("points", "results", "values", *SINGLES)


def matrix(rows: int = 4, columns: int = 3) -> NDArray[np.float32]:
    return np.arange(1, rows * columns + 1, dtype=np.float32).reshape(rows, columns)


def integrate(arguments: dict[str, Any]) -> NDArray[Any]:
    _core.integrate(**arguments)
    return arguments["values"][0]


def replaced(arguments: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    return arguments | {name: (value,) if name in TUPLES else value}


def held(arguments: dict[str, Any], name: str) -> NDArray[Any]:
    return arguments[name][0] if name in TUPLES else arguments[name]


def refuses(value: Any, kind: type[BaseException], message: str, name: str = "inputs") -> None:
    with pytest.raises(kind, match=rf"^{name}(\[0\])?: .*{message}"):
        integrate(replaced(job(matrix()), name, value))


# ---- descriptions -------------------------------------------------------------------------------------------------

MALFORMED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"ndim": -1}, ValueError, "expected 0 to 64 axes, got -1"),
    ({"ndim": -(2**31)}, ValueError, "expected 0 to 64 axes"),
    ({"ndim": 65, "shape": [1] * 65, "strides": [1] * 65}, ValueError, "expected 0 to 64 axes, got 65"),
    ({"ndim": 2**31 - 1}, ValueError, "expected 0 to 64 axes"),
    ({"shape": None}, ValueError, "a tensor of 2 axes came without a shape"),
    ({"lanes": 2}, TypeError, "expected a scalar dtype, got 2 lanes"),
    ({"lanes": 0}, TypeError, "expected a scalar dtype, got 0 lanes"),
    ({"bits": 4}, TypeError, "expected 8, 16, 32 or 64 bits an element, got 4"),
    ({"bits": 128}, TypeError, "bits an element, got 128"),
    ({"bits": 0}, TypeError, "bits an element, got 0"),
    ({"bits": 8}, TypeError, "got float8"),
    ({"code": 0}, TypeError, "got int32"),
    ({"code": 1}, TypeError, "got uint32"),
    ({"code": 3}, TypeError, "got an unknown dtype"),
    ({"code": 4}, TypeError, "got an unknown dtype"),
    ({"code": 5}, TypeError, "got complex32"),
    ({"code": 6}, TypeError, "got an unknown dtype"),
    ({"code": 255}, TypeError, "got an unknown dtype"),
    ({"shape": [-1, 3]}, ValueError, "expected extents >= 0, got -1 on axis 0"),
    ({"shape": [4, -(2**63)]}, ValueError, "expected extents >= 0, got -9223372036854775808 on axis 1"),
    ({"shape": [0, -1]}, ValueError, "expected extents >= 0, got -1 on axis 1"),
    ({"shape": [2**40, 2**40]}, ValueError, "the number of elements does not fit 64 bits"),
    ({"shape": [TOP, 2], "strides": None}, ValueError, "the number of elements does not fit 64 bits"),
    ({"shape": [2**61, 1], "strides": None}, ValueError, "exceed the address space"),
    ({"shape": [2**60, 1], "strides": None}, ValueError, "exceed the address space"),
    ({"strides": [2**62, 1]}, ValueError, "exceed the address space"),
    ({"strides": [-(2**62), 1]}, ValueError, "exceed the address space"),
    ({"strides": [-(2**63), 1]}, ValueError, "exceed the address space"),
    ({"strides": [2**60, 2**60]}, ValueError, "exceed the address space"),
    ({"byte_offset": 2**64 - 1}, ValueError, "exceed the address space"),
    ({"byte_offset": 2**63}, ValueError, "exceed the address space"),
    ({"data": None}, ValueError, "a tensor of 12 elements came without data"),
    ({"data": None, "strides": None}, ValueError, "a tensor of 12 elements came without data"),
    ({"strides": [1, 4]}, ValueError, "expected C-contiguous memory, got strides"),
    ({"strides": [6, 2]}, ValueError, "expected C-contiguous memory"),
    ({"strides": [0, 0]}, ValueError, "expected C-contiguous memory"),
    ({"strides": [0, 1]}, ValueError, "expected C-contiguous memory"),
    ({"strides": [-3, 1]}, ValueError, "expected C-contiguous memory"),
]


@pytest.mark.parametrize("producer", PRODUCERS)
@pytest.mark.parametrize(("fields", "kind", "message"), MALFORMED)
def test_malformed(fields: dict[str, Any], kind: type[Exception], message: str, producer: Any) -> None:
    x = matrix()
    arguments = replaced(job(matrix()), "inputs", producer(x, **fields))
    before = sys.getrefcount(x)
    with pytest.raises(kind, match=rf"^inputs.*: .*{message}"):
        integrate(arguments)
    assert sys.getrefcount(x) == before


WELL_FORMED: list[tuple[dict[str, Any], tuple[int, int]]] = [
    ({}, (4, 3)),
    ({"strides": None}, (4, 3)),
    ({"shape": [12, 1], "strides": [1, TOP]}, (12, 1)),
    ({"shape": [1, 12], "strides": [-(2**63), 1]}, (1, 12)),
    ({"ndim": 64, "shape": [4, *[1] * 62, 3], "strides": None}, (4, 3)),
    ({"ndim": 1, "shape": [12], "strides": None}, (12, 1)),
    ({"ndim": 0, "shape": None, "strides": None}, (1, 1)),
    ({"shape": [2, 3], "strides": None, "byte_offset": 24}, (2, 3)),
    ({"shape": [2, 0], "strides": None, "data": None}, (2, 0)),
    ({"shape": [0, 3], "strides": None, "data": None}, (0, 1)),
    ({"shape": [0, 3], "strides": [TOP, TOP], "data": None, "byte_offset": 2**64 - 1}, (0, 1)),
    ({"ndim": 3, "shape": [2, 2**40, 0], "strides": None, "data": None}, (2, 0)),
    ({"ndim": 4, "shape": [0, 2**40, 2**40, 3], "strides": None}, (0, 1)),
]


@pytest.mark.parametrize("producer", PRODUCERS)
@pytest.mark.parametrize(("fields", "shape"), WELL_FORMED)
def test_well_formed(fields: dict[str, Any], shape: tuple[int, int], producer: Any) -> None:
    """All are read as the matrix (first axis, the rest): the values are x - 2."""
    x = matrix()
    before = sys.getrefcount(x)
    skipped = fields.get("byte_offset", 0) // 4 if shape[0] else 0
    wanted = x.reshape(-1)[skipped : skipped + shape[0] * shape[1]].reshape(shape)
    base = np.full((1, shape[1]), 2, np.float32)
    got = integrate(replaced(job(wanted, base=base), "inputs", producer(x, **fields)))
    assert np.array_equal(got, wanted - 2)
    assert sys.getrefcount(x) == before


@pytest.mark.parametrize("fields", [{"minor": 99}, {"flags": 1}, {"flags": 2**64 - 1}])
def test_later_minor_versions_and_flags_are_read(fields: dict[str, int]) -> None:
    x = matrix()
    assert np.array_equal(integrate(replaced(job(x), "inputs", VersionedProducer(x, **fields))), x)


@pytest.mark.parametrize("shape", [[2**62, 0], [TOP, 0], [2**60, 0]])
def test_an_absurd_number_of_empty_examples(shape: list[int]) -> None:
    """No element, so nothing to refuse at the door; what is computed from the extent must not overflow."""
    x = matrix()
    arguments = replaced(job(np.zeros((4, 0), np.float32)), "inputs", Producer(x, shape=shape, data=None, strides=None))
    with pytest.raises((ValueError, MemoryError), match="^(inputs|results|values|target|scratch|no memory)"):
        integrate(arguments)


@pytest.mark.parametrize("rows", [2**62, TOP, 0, -1])
def test_an_absurd_number_of_rows(rows: int) -> None:
    with pytest.raises(ValueError, match="^(rows|points): "):
        integrate(job(matrix()) | {"rows": rows})


# ---- every argument -----------------------------------------------------------------------------------------------

ANY_ARGUMENT: list[tuple[str, Any, type[Exception], str]] = [
    ("ndim -1", lambda a: VersionedProducer(a, ndim=-1), ValueError, "expected 0 to 64 axes, got -1"),
    ("lanes 4", lambda a: Producer(a, lanes=4), TypeError, "got 4 lanes"),
    ("no data", lambda a: Producer(a, data=None), ValueError, "came without data"),
    ("major 2", lambda a: VersionedProducer(a, major=2), TypeError, "expected DLPack version 1, got version 2"),
    ("major 0", lambda a: VersionedProducer(a, major=0), TypeError, "expected DLPack version 1, got version 0"),
    ("used", lambda a: HandMade(a, b"used_dltensor"), TypeError, "__dlpack__ of HandMade returned no DLPack capsule"),
    ("used 1", lambda a: HandMade(a, b"used_dltensor_versioned"), TypeError, "returned no DLPack capsule"),
    ("no name", lambda a: HandMade(a, None), TypeError, "returned no DLPack capsule"),
    ("almost", lambda a: HandMade(a, b"dltensor "), TypeError, "returned no DLPack capsule"),
    ("None", lambda a: Answers(None), TypeError, "__dlpack__ of Answers returned no DLPack capsule"),
    ("the array", lambda a: Answers(a), TypeError, "returned no DLPack capsule"),
    (
        "int",
        lambda a: 3,
        TypeError,
        "expected a NumPy array, a torch tensor, or an object with __dlpack__ or the buffer protocol, got int",
    ),
    ("type", lambda a: Producer, TypeError, "missing 1 required positional argument"),
    ("strides", lambda a: np.repeat(a, 2).reshape(*a.shape, 2)[..., 0], ValueError, "expected C-contiguous memory"),
    ("bytes", lambda a: a.astype("S4"), TypeError, "expected a numeric array in native byte order"),
    ("object", lambda a: a.astype(object), TypeError, "expected a numeric array in native byte order"),
    ("dates", lambda a: a.astype(np.int64).astype("M8[s]"), TypeError, "expected a numeric array"),
    ("long", lambda a: a.astype(np.longdouble), TypeError, "numeric array|expected [u]?(int|float)"),
    ("complex", lambda a: a.astype(np.complex64), TypeError, "got complex64|expected .*(dtype|int)"),
    ("bool", lambda a: a.astype(np.bool_), TypeError, "got bool"),
    ("int16", lambda a: a.astype(np.int16), TypeError, "got int16"),
    ("swapped", lambda a: a.astype(np.dtype("f4").newbyteorder()), TypeError, "in native byte order"),
]


@pytest.mark.parametrize("name", [*TUPLES, *SINGLES])
@pytest.mark.parametrize("case", ANY_ARGUMENT, ids=[case[0] for case in ANY_ARGUMENT])
def test_every_argument_passes_the_door(case: tuple[str, Any, type[Exception], str], name: str) -> None:
    label, make, kind, message = case
    arguments = job(matrix())
    array = held(arguments, name)
    changed = replaced(arguments, name, make(array))
    before = sys.getrefcount(array)
    if name == "bases" and label in ("complex", "bool", "int16"):  # refused as unlike their input
        kind, message = ValueError, "dtype of the input"
    with pytest.raises(kind, match=message) as caught:
        integrate(changed)
    if label != "type":
        assert str(caught.value).startswith(name) and len(str(caught.value)) < 250
    del caught
    assert sys.getrefcount(array) == before


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_must_be_writable(name: str) -> None:
    arguments = job(matrix())
    array = held(arguments, name)
    frozen = array.copy()
    frozen.flags.writeable = False
    for read_only in (VersionedProducer(array, flags=1), frozen):
        with pytest.raises(ValueError, match=f"^{name}: expected writable memory, got read-only"):
            integrate(replaced(arguments, name, read_only))


@pytest.mark.parametrize("name", [*TUPLES, *SINGLES])
def test_every_argument_has_a_size(name: str) -> None:
    arguments = job(matrix())
    array = held(arguments, name).reshape(-1)
    with pytest.raises(ValueError, match="expected"):
        integrate(replaced(arguments, name, np.concatenate([array, array[:1]])))


@pytest.mark.parametrize("name", [*TUPLES, *SINGLES])
def test_every_argument_may_be_unaligned(name: str) -> None:
    """DLPack promises no alignment: either it is read all the same, or refused in a sentence."""
    arguments = job(matrix())
    array = held(arguments, name)
    odd = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    odd[...] = array
    try:
        got = integrate(replaced(arguments, name, odd))
    except ValueError as error:
        assert "aligned" in str(error)
    else:
        assert np.array_equal(got, matrix())


@pytest.mark.parametrize("name", TUPLES)
def test_tuples_are_tuples_of_one_length(name: str) -> None:
    arguments = job(matrix())
    with pytest.raises(TypeError, match=f"{name}: expected a tuple of"):
        integrate(arguments | {name: list(arguments[name])})
    for wrong in ((), arguments[name] * 2, arguments[name] * 65):
        with pytest.raises(ValueError, match="expected a tuple of"):
            integrate(arguments | {name: wrong})


def test_steps_that_the_nested_rule_does_not_have() -> None:
    for steps in (2, 4, 8, 100):
        with pytest.raises(ValueError, match="^steps: "):
            _core.integrate_plan("nested", steps, False, 1)


@pytest.mark.parametrize(("steps", "examples"), [(TOP, 1), (2**61, 1), (5, TOP), (5, 2**60), (5, -3)])
def test_plans_beyond_memory(steps: int, examples: int) -> None:
    with pytest.raises((ValueError, MemoryError), match="^(steps|examples)|memory"):
        _core.integrate_plan("left", steps, False, examples)


# ---- devices, objects, tables -------------------------------------------------------------------------------------


def on_device(device_type: int) -> dict[str, Any]:
    """All tensors on another device. They are refused before anybody looks at the memory."""
    arguments = job(matrix())
    for name in (*TUPLES, *SINGLES):
        arguments = replaced(arguments, name, Producer(held(arguments, name), device_type=device_type))
    return arguments


@pytest.mark.parametrize(
    ("device_type", "message"),
    [(2, "no CUDA"), (13, "no CUDA"), (8, r"on cpu or cuda, got mps \(DLPack device type 8\)"), (-1, "device type -1")],
)
def test_devices_without_a_backend(device_type: int, message: str) -> None:
    with pytest.raises(BackendError, match=message):
        _core.integrate(**on_device(device_type))


@pytest.mark.parametrize("name", [*TUPLES[1:], *SINGLES])
@pytest.mark.parametrize("fields", [{"device_type": 2}, {"device_id": 1}])
def test_one_device_for_all(name: str, fields: dict[str, int]) -> None:
    arguments = job(matrix())
    changed = replaced(arguments, name, Producer(held(arguments, name), **fields))
    with pytest.raises(ValueError, match=rf"^{name}: expected device \(1, 0\) like inputs\[0\], got \("):
        _core.integrate(**changed)


@pytest.mark.parametrize("kind", [ValueError, BufferError, KeyboardInterrupt, MemoryError])
def test_what_a_producer_raises_comes_out(kind: type[BaseException]) -> None:
    error = kind("mine")
    with pytest.raises(kind, match="mine") as caught:
        integrate(replaced(job(matrix()), "inputs", Answers(error)))
    assert caught.value is error


def test_a_property_that_raises_comes_out() -> None:
    class Broken:
        @property
        def __dlpack__(self) -> Any:
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        integrate(replaced(job(matrix()), "inputs", Broken()))


@pytest.mark.parametrize("name", [b"dltensor", b"dltensor_versioned"])
def test_a_null_deleter_is_no_business_of_a_borrower(name: bytes) -> None:
    x = matrix()
    assert np.array_equal(integrate(replaced(job(x), "inputs", HandMade(x, name))), x)


def test_exchange_table() -> None:
    """An object's own table is used without a capsule, that of another major version or of a base class is not."""
    x, arrays = matrix(), {}
    exchanged = exchange_type(arrays)()
    arrays[id(exchanged)] = x
    assert np.array_equal(integrate(replaced(job(x), "inputs", exchanged)), x)

    newer = exchange_type(arrays, major=2)()
    derived = type("Derived", (type(exchanged),), {})()
    for refused in (newer, derived):
        arrays[id(refused)] = x
        with pytest.raises(TypeError, match="inputs: expected a NumPy array"):
            integrate(replaced(job(x), "inputs", refused))


@pytest.mark.parametrize(("fields", "message"), [({"ndim": -1}, "0 to 64 axes"), ({"data": None}, "without data")])
def test_exchange_tables_are_checked_too(fields: dict[str, Any], message: str) -> None:
    arrays: dict[int, NDArray[Any]] = {}
    exchanged = exchange_type(arrays, **fields)()
    arrays[id(exchanged)] = matrix()
    with pytest.raises(ValueError, match=message):
        integrate(replaced(job(matrix()), "inputs", exchanged))


# ---- answers of the model -----------------------------------------------------------------------------------------

GOOD = (np.zeros(4), None, (np.ones((4, 3), np.float32),))
ANSWERS: list[tuple[Any, type[Exception], str]] = [
    (None, TypeError, r"expected a tuple \(values, predicted, gradients\)"),
    (list(GOOD), TypeError, r"expected a tuple \(values, predicted, gradients\), got <class 'list'>"),
    (GOOD[:2], TypeError, r"expected a tuple \(values, predicted, gradients\)"),
    ((3.0, None, GOOD[2]), TypeError, "model: values: expected a NumPy array.* got float"),
    ((GOOD[0][:3], None, GOOD[2]), ValueError, "model: values: expected 4 elements, got 3"),
    ((np.zeros(4, np.int64), None, GOOD[2]), TypeError, "model: values: expected a floating dtype, got int64"),
    ((GOOD[0], np.zeros(4, np.int32), GOOD[2]), TypeError, "model: predicted: expected int64, got int32"),
    ((GOOD[0], np.zeros(5, np.int64), GOOD[2]), ValueError, "model: predicted: expected 4 elements, got 5"),
    ((GOOD[0], None, None), TypeError, "model: expected a tuple of 1 gradients"),
    ((GOOD[0], None, GOOD[2] * 2), TypeError, "model: expected a tuple of 1 gradients"),
    ((GOOD[0], None, (GOOD[2][0].astype("f8"),)), TypeError, "model: gradient: expected float32, got float64"),
    ((GOOD[0], None, (GOOD[2][0][:, :2].copy(),)), ValueError, "model: gradient: expected 12 elements, got 8"),
    ((GOOD[0], None, (np.ones((3, 4), "f4").T,)), ValueError, "model: gradient: expected C-contiguous memory"),
    ((GOOD[0], None, (Producer(matrix(), ndim=-1),)), ValueError, "model: gradient: expected 0 to 64 axes"),
    ((GOOD[0], None, (Producer(matrix(), device_type=2),)), ValueError, r"model: gradient: expected device \(1, 0\)"),
    ((VersionedProducer(GOOD[0], major=3), None, GOOD[2]), TypeError, "model: values: expected DLPack version 1"),
]


@pytest.mark.parametrize(("answer", "kind", "message"), ANSWERS)
def test_answers_pass_the_door(answer: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        integrate(job(matrix()) | {"evaluate": lambda *_: answer})


@pytest.mark.parametrize("producer", PRODUCERS)
def test_answers_of_any_producer_are_borrowed_and_given_back(producer: Any) -> None:
    values, gradients = np.arange(4.0), matrix()
    before = sys.getrefcount(values), sys.getrefcount(gradients)
    arguments = job(matrix()) | {"evaluate": lambda *_: (producer(values), None, (producer(gradients),))}
    assert np.array_equal(integrate(arguments), matrix() * matrix())
    assert (sys.getrefcount(values), sys.getrefcount(gradients)) == before


def test_no_gradient_is_a_gradient_of_zero() -> None:
    assert not integrate(native.job(matrix()) | {"evaluate": lambda *_: (np.zeros(4), None, (None,))}).any()
