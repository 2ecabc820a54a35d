"""The CUDA backend as a library: found or not, of this build or not, on the right stream; and what each says.

The library itself is only looked at. In its place stands a few lines of C beside a copy of the package.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import fastattr as fa
from fastattr import _core

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path(_core.__file__).parent
LIBRARY = PACKAGE / "libfastattr_cuda.so"
CC = shutil.which("cc") or shutil.which("gcc")
CUDA = 2

STAND_IN = """
#include "fastattr.h"
#include <stdio.h>

static fa_status ready(int32_t id, fa_error *error)
{
    return id < 2 ? FA_OK : fa_fail(error, FA_EDEVICE, "no cuda:%d here", id);
}

static fa_status copy(void *to, const void *from, int64_t bytes, void *stream, fa_error *error)
{
    (void)to, (void)from, (void)bytes;
    return fa_fail(error, FA_EDEVICE, "copied on stream %p", stream);
}

__attribute__((visibility("default"))) const fa_backend *fa_backend_open(void);

const fa_backend *fa_backend_open(void)
{
    static int times;
    static char text[16];
    static fa_backend backend = {.device_type = kDLCUDA, .name = "stand-in", .built_for = text,
                                 .ready = ready, .upload = copy, .download = copy};
    backend.abi = FA_ABI + ABI_OFFSET;
    snprintf(text, sizeof(text), "open %d", ++times);
    return &backend;
}
"""

Run = Callable[[str], str]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package without its CUDA library; the folder that holds it."""
    shutil.copytree(
        PACKAGE, tmp_path / "fastattr", ignore=shutil.ignore_patterns("libfastattr_cuda*", "__pycache__", "demo")
    )
    return tmp_path


@pytest.fixture
def run(package: Path) -> Run:
    """Run Python code with the copy; what it prints."""

    def run(code: str) -> str:
        path = [str(package), str(ROOT / "tests")]
        prelude = (
            f"import sys; sys.path[:0] = {path}; from fastattr import _core\nassert {path[0]!r} in _core.__file__\n"
        )
        done = subprocess.run([sys.executable, "-c", prelude + code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def build(package: Path, source: str, *flags: str) -> None:
    if CC is None:
        pytest.skip("needs a C compiler")
    (package / "stand_in.c").write_text(source)
    command = [CC, "-shared", "-fPIC", "-fvisibility=hidden", "-I", str(ROOT / "csrc"), *flags, "stand_in.c"]
    library = package / "fastattr" / "libfastattr_cuda.so"
    subprocess.run([*command, str(ROOT / "csrc" / "error.c"), "-o", str(library)], cwd=package, check=True)


ASK = """
try:
    _core.require_device(2, 0)
except Exception as error:
    print(type(error).__name__, error)
"""


def test_not_built(run: Run) -> None:
    said = run(ASK + "print(_core.cuda_backend()[0]); import fastattr; fastattr.show_config()")
    assert said.startswith("BackendError CUDA tensors: this build of fastattr has no CUDA backend")
    assert "FASTATTR_CUDA=1" in said
    assert "move the model and the inputs to the CPU" in said
    assert "None\n" in said
    assert "cuda not built" in said


def test_a_file_that_is_no_library(run: Run, package: Path) -> None:
    (package / "fastattr" / "libfastattr_cuda.so").write_text("not one")
    assert run(ASK).startswith("BackendError the backend library does not load: ")


def test_a_library_that_is_no_backend(run: Run, package: Path) -> None:
    build(package, "int something_else;")
    assert run(ASK).startswith("BackendError no backend library: ")


@pytest.mark.parametrize("offset", ["1", "-8", "65536"])
def test_another_abi(run: Run, package: Path, offset: str) -> None:
    build(package, STAND_IN, f"-DABI_OFFSET={offset}")
    said = run(ASK)
    assert said.startswith("BackendError the backend library is of another build of fastattr: expected ABI ")
    assert "rebuild" in said


def test_the_library_answers_for_its_devices(run: Run, package: Path) -> None:
    build(package, STAND_IN, "-DABI_OFFSET=0")
    said = run(ASK + "print('well'); import fastattr; fastattr.show_config()" + ASK.replace("2, 0", "2, 7"))
    assert said.startswith("well\n")
    assert "cuda (for open 1)" in said
    assert said.endswith("BackendError no cuda:7 here\n")


def test_threads_open_it_once(run: Run, package: Path) -> None:
    build(package, STAND_IN, "-DABI_OFFSET=0")
    code = """
import threading
start, seen = threading.Barrier(8), []
def ask():
    start.wait()
    _core.require_device(2, 1)
    seen.append(_core.cuda_backend())
threads = [threading.Thread(target=ask) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(seen), set(seen))
"""
    assert run(code) == "8 {('open 1', None)}\n"


STREAM = """
import ctypes, numpy as np
from helpers_native import Tensor, capsule_of, job

arrays, kept = {}, []

def view(address, out):
    array = arrays[address]
    extents = (ctypes.c_int64 * array.ndim)(*array.shape)
    kept.append(extents)
    tensor = Tensor.from_address(out)
    tensor.data, tensor.device_type, tensor.device_id = array.ctypes.data, DEVICE_TYPE, 1
    tensor.ndim, tensor.code = array.ndim, "iuf".index(array.dtype.kind)
    tensor.bits, tensor.lanes = 8 * array.itemsize, 1
    tensor.shape, tensor.strides, tensor.byte_offset = ctypes.addressof(extents), None, 0
    return 0

def stream(device_type, device_id, out):
    assert (device_type, device_id) == (2, 1)
    ctypes.c_uint64.from_address(out).value = 0x1234
    return 0

thunks = (ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(view),
          ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_int32, ctypes.c_int32, ctypes.c_void_p)(stream))
entries = [ctypes.cast(thunk, ctypes.c_void_p).value for thunk in thunks]
table = (ctypes.c_uint64 * 7)(1, 0, 0, 0, 0, *entries)
Cuda = type("Cuda", (), {"__dlpack_c_exchange_api__": capsule_of(ctypes.addressof(table), b"dlpack_exchange_api")})

def on_cuda(value):
    if isinstance(value, tuple):
        return tuple(map(on_cuda, value))
    if not isinstance(value, np.ndarray):
        return value
    found = Cuda()
    arrays[id(found)] = value
    kept.append(found)
    return found

try:
    _core.integrate(**{name: on_cuda(value) for name, value in job(np.ones((3, 4))).items()})
except _core.BackendError as error:
    print(error)
"""


@pytest.mark.parametrize("device_type", [CUDA, 13], ids=["device memory", "managed memory"])
def test_work_goes_to_the_stream_of_the_framework(run: Run, package: Path, device_type: int) -> None:
    build(package, STAND_IN, "-DABI_OFFSET=0")
    assert run(STREAM.replace("DEVICE_TYPE", str(device_type))) == "copied on stream 0x1234\n"


@pytest.mark.parametrize(("number", "name"), [(8, "mps"), (10, "rocm"), (14, "xpu"), (7, "a device")])
def test_unsupported_devices(number: int, name: str) -> None:
    with pytest.raises(fa.BackendError, match=f"expected tensors on cpu or cuda, got {name} .* type {number}"):
        _core.require_device(number, 0)


def test_host_devices() -> None:
    _core.require_device(1, 0)
    _core.require_device(3, 0)  # pinned


# ---- the library that was built, if nvcc was there ------------------------------------------------------------------

built = pytest.mark.skipif(not LIBRARY.is_file(), reason="built without nvcc")


@built
def test_it_exports_one_symbol() -> None:
    nm = shutil.which("nm") or pytest.skip("needs nm")
    run = subprocess.run([nm, "-D", "--defined-only", LIBRARY], capture_output=True, text=True, check=True)
    assert [line.split()[-1] for line in run.stdout.splitlines()] == ["fa_backend_open"]


@built
def test_it_needs_no_driver_to_load() -> None:
    ctypes.CDLL(str(LIBRARY))
    archs, missing = _core.cuda_backend()
    assert archs is not None
    assert all(arch.rstrip("af").isdigit() for arch in archs.split(";"))
    if missing is not None:
        assert "CUDA" in missing or "cuda" in missing


@built
def test_without_a_device_it_says_so() -> None:
    if _core.cuda_backend()[1] is None:
        pytest.skip("there is one")
    with pytest.raises(fa.BackendError, match="no CUDA device: .*; move the model and inputs to the CPU"):
        _core.require_device(CUDA, 0)


@built
def test_it_is_not_loaded_by_an_import() -> None:
    code = "import fastattr; print('libfastattr_cuda' in open('/proc/self/maps').read())"
    if sys.platform != "linux":
        pytest.skip("needs /proc")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"
