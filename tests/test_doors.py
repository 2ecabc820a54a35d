"""The doors beside capsules: the buffer protocol and the exchange table of a type, a case a line.

Each object is refused in a sentence of a typed error that begins with the argument's name, or is read right; in both
cases nothing is held afterwards.
"""

from __future__ import annotations

import array
import ctypes
import gc
import sys
from typing import Any

import numpy as np
import pytest
from helpers_native import Producer, capsule_of, exchange_type, job
from test_check import MALFORMED, integrate, matrix, refuses, replaced

pytestmark = pytest.mark.native

Case = tuple[Any, type[Exception], str]
FLAT = "expected C-contiguous memory"


# ---- buffers ------------------------------------------------------------------------------------------------------

BYTES = matrix().tobytes()
BUFFERS: dict[str, Any] = {
    "memoryview": lambda: memoryview(matrix()),
    "read-only": lambda: memoryview(BYTES).cast("f"),
    "bytearray": lambda: memoryview(bytearray(BYTES)).cast("f"),
    "two axes": lambda: memoryview(BYTES).cast("f", (4, 3)),
    "64 axes": lambda: memoryview(BYTES).cast("f", (4, *[1] * 62, 3)),
    "a part": lambda: memoryview(b"1234" + BYTES)[4:].cast("f"),
    "of a memoryview": lambda: memoryview(memoryview(matrix())).toreadonly(),
    "array": lambda: array.array("f", BYTES),
    "array view": lambda: memoryview(array.array("f", BYTES)),
    "ctypes": lambda: (ctypes.c_float * 12).from_buffer_copy(BYTES),
    "ctypes matrix": lambda: (ctypes.c_float * 3 * 4).from_buffer_copy(BYTES),
    "ctypes over array": lambda: (ctypes.c_float * 12).from_buffer(array.array("f", BYTES)),
    "memory map": lambda: memoryview(np.frombuffer(BYTES, np.float32)),
}


@pytest.mark.parametrize("label", BUFFERS)
def test_buffers_are_read(label: str) -> None:
    buffer = BUFFERS[label]()
    rows = len(buffer)
    x = matrix().reshape(rows, -1)
    before = sys.getrefcount(buffer)
    assert np.array_equal(integrate(replaced(job(x), "inputs", buffer)), x)
    assert sys.getrefcount(buffer) == before


@pytest.mark.parametrize("code", ["e", "d"])
def test_buffers_of_other_floats(code: str) -> None:
    x = matrix().astype(code)
    flat = integrate(replaced(job(x.reshape(-1, 1)), "inputs", memoryview(x.ravel())))
    assert np.array_equal(flat.ravel(), matrix().ravel())


def released() -> memoryview:
    view = memoryview(BYTES)
    view.release()
    return view


class Pair(ctypes.Structure):
    _fields_ = [("a", ctypes.c_float), ("b", ctypes.c_float)]


NUMBERS = "expected a floating dtype, got"
NO_NUMBERS = "no array of numbers"
REFUSED_BUFFERS: dict[str, Case] = {
    "bytes": (BYTES, TypeError, f"{NUMBERS} uint8"),
    "no bytes": (b"", TypeError, f"{NUMBERS} uint8"),
    "bytearray": (bytearray(BYTES), TypeError, f"{NUMBERS} uint8"),
    **{
        f"array {code}": (array.array(code, [0] * 12), TypeError, f"{NUMBERS} (u?)int")
        for code in "bBhHiIlLqQ"
    },
    "array u": (array.array("u", "abc"), TypeError, "expected a numeric array"),
    "ctypes bool": ((ctypes.c_bool * 12)(), TypeError, f"{NUMBERS} bool"),
    "ctypes char": ((ctypes.c_char * 12)(), TypeError, "expected a numeric array"),
    "ctypes int": ((ctypes.c_int16 * 12)(), TypeError, f"{NUMBERS} int16"),
    "swapped": ((ctypes.c_float.__ctype_be__ * 12)(), TypeError, "native byte order"),
    "records": ((Pair * 6)(), TypeError, "expected a numeric array"),
    "objects": ((ctypes.py_object * 12)(), TypeError, "expected a numeric array"),
    "chars": (memoryview(BYTES).cast("c"), TypeError, "expected a numeric array"),
    "backwards": (memoryview(matrix().ravel())[::-1], ValueError, FLAT),
    "every other": (memoryview(matrix().ravel())[::2], ValueError, FLAT),
    "transposed": (memoryview(matrix().T), ValueError, FLAT),
    "unaligned": (memoryview(bytearray(49))[1:].cast("f"), ValueError, "expected aligned memory"),
    "text of NumPy": (np.str_("a"), TypeError, "expected a numeric array"),
    "date of NumPy": (np.datetime64(3, "s"), TypeError, "got uint8"),
    "str": ("abc", TypeError, "or the buffer protocol, got str"),
    "list": ([[1.0] * 3] * 4, TypeError, "or the buffer protocol, got list"),
    "tuple": ((1.0,), TypeError, "or the buffer protocol, got tuple"),
    "dict": ({}, TypeError, "got dict"),
    "float": (3.5, TypeError, "got float"),
    "complex": (1j, TypeError, "got complex"),
    "range": (range(12), TypeError, "got range"),
    "iterator": (iter([1.0]), TypeError, "got list_iterator"),
    "function": (len, TypeError, "got builtin_function_or_method"),
    "module": (sys, TypeError, "got module"),
    "Ellipsis": (..., TypeError, "got ellipsis"),
    "object": (object(), TypeError, "got object"),
}  # fmt: skip


@pytest.mark.parametrize("label", REFUSED_BUFFERS)
def test_buffers_that_are_refused(label: str) -> None:
    value, kind, message = REFUSED_BUFFERS[label]
    before = sys.getrefcount(value)
    refuses(value, kind, message)
    gc.collect()
    assert sys.getrefcount(value) == before or label in ("no bytes", "Ellipsis", "float", "complex")


def test_buffers_of_pointers_to_rows() -> None:
    """What Pillow used to export: the memory of a row is somewhere else."""
    made = pytest.importorskip("_testbuffer", reason="needs the test modules of CPython")
    rows = made.ndarray(matrix().ravel().tolist(), shape=[4, 3], format="f", flags=made.ND_PIL)
    refuses(rows, TypeError, NO_NUMBERS)


UNREADABLE_BUFFERS: dict[str, Any] = {
    "released": released,
    "pointers": ctypes.c_void_p * 12,
    "wide characters": ctypes.c_wchar * 12,
    "functions": ctypes.CFUNCTYPE(None) * 2,
    "long double": ctypes.c_longdouble * 12,
}


@pytest.mark.parametrize("label", UNREADABLE_BUFFERS)
def test_buffers_that_numpy_cannot_read(label: str) -> None:
    refuses(UNREADABLE_BUFFERS[label](), TypeError, NO_NUMBERS)


def test_outputs_may_be_buffers() -> None:
    """They are written in place, the exports are given back: a bytearray can be resized again."""
    x, arguments = matrix(), job(matrix())
    given = {
        "index": array.array("q", bytes(arguments["index"].nbytes)),
        "target": memoryview(np.zeros_like(arguments["target"])),
        "scalars": (ctypes.c_int64 * arguments["scalars"].size)(),
        "scratch": bytearray(arguments["scratch"].nbytes),
        "values": (memoryview(bytearray(48)).cast("f"),),
    }
    integrate(arguments | given)
    assert given["values"][0].tolist() == x.ravel().tolist()
    given["scratch"].append(1)
    with pytest.raises(ValueError, match="^scratch: expected .* elements"):
        integrate(arguments | given)
    given["scratch"].append(1)
    given["index"].append(1)


@pytest.mark.parametrize("buffer", [bytes(8), memoryview(bytes(8)), memoryview(bytearray(8)).toreadonly()])
@pytest.mark.parametrize("name", ["scratch", "values", "index"])
def test_outputs_that_cannot_be_written(name: str, buffer: Any) -> None:
    refuses(buffer, ValueError, "expected writable memory, got read-only", name)


# ---- exchange tables ----------------------------------------------------------------------------------------------

OLD, NEW = "__c_dlpack_exchange_api__", "__dlpack_c_exchange_api__"


def exchanged(kept: list[Any] | None = None, attribute: str = NEW, **fields: Any) -> Any:
    arrays: dict[int, Any] = {}
    for name in ("shape", "strides"):
        if fields.get(name) is not None:
            fields[name] = (ctypes.c_int64 * max(1, len(fields[name])))(*fields[name])
            fields[name] = ctypes.cast(fields[name], ctypes.c_void_p)
    made = exchange_type(arrays, **{k: getattr(v, "value", v) for k, v in fields.items()})
    new = type("Exchanged", (), {attribute: made.__dict__[NEW], "kept": (made, fields)})()
    arrays[id(new)] = matrix()
    return new


@pytest.mark.parametrize(("fields", "kind", "message"), MALFORMED)
def test_tables_are_checked_like_capsules(fields: dict[str, Any], kind: type[Exception], message: str) -> None:
    refuses(exchanged(**fields), kind, message)


def test_the_older_name_of_the_table() -> None:
    """DLPack 1.2 had it under another name; where a type has both, the newer one counts."""
    x = matrix()
    assert np.array_equal(integrate(replaced(job(x), "inputs", exchanged(attribute=OLD))), x)
    both = exchanged()
    setattr(type(both), OLD, exchanged(attribute=OLD, ndim=-1).__class__.__dict__[OLD])
    assert np.array_equal(integrate(replaced(job(x), "inputs", both)), x)


TABLE = (ctypes.c_uint64 * 7)(1)  # version 1.0, every entry NULL
NAMES = b"dlpack_exchange_api", b"dlpack_exchange"  # a capsule keeps no copy
NO_TABLES: dict[str, Any] = {
    "NULL entry": capsule_of(ctypes.addressof(TABLE), NAMES[0]),
    "another name": capsule_of(ctypes.addressof(TABLE), NAMES[1]),
    "no name": capsule_of(ctypes.addressof(TABLE), None),
    "an address": ctypes.addressof(TABLE),  # DLPack 1.2 said so; whoever holds an integer need not hold a table
    "address 16": 16,
    "minus one": -1,
    "large": 2**200,
    "None": None,
    "text": "dlpack_exchange_api",
    "function": lambda *_: None,
    "property": property(lambda self: 1 / 0),
}


@pytest.mark.parametrize("attribute", [NEW, OLD])
@pytest.mark.parametrize("label", NO_TABLES)
def test_what_is_no_table_is_passed_over(label: str, attribute: str) -> None:
    named = {attribute: NO_TABLES[label]}
    refuses(type("Without", (), named)(), TypeError, "got Without")
    x = matrix()
    assert np.array_equal(integrate(replaced(job(x), "inputs", type("With", (Producer,), named)(x))), x)


def test_a_table_of_an_object_is_none_of_its_type() -> None:
    plain = type("Plain", (), {})()
    plain.__dict__[NEW] = exchanged().__class__.__dict__[NEW]
    refuses(plain, TypeError, "got Plain")


def with_entry(function: Any) -> Any:
    signature = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    thunk = signature(function)
    table = (ctypes.c_uint64 * 7)(1, 0, 0, 0, 0, ctypes.cast(thunk, ctypes.c_void_p).value or 0, 0)
    capsule = capsule_of(ctypes.addressof(table), b"dlpack_exchange_api")
    return type("Entry", (), {NEW: capsule, "kept": (thunk, table)})()


def test_a_table_that_gives_no_view() -> None:
    refuses(with_entry(lambda *_: -1), TypeError, "Entry gave no view of its memory")


def test_a_table_that_writes_nothing() -> None:
    refuses(with_entry(lambda *_: 0), TypeError, "expected a scalar dtype, got 0 lanes")
