"""The CUDA kernels on the CPU, by the stand-in for their runtime in tests/cuda_host.

Here without sanitizers; `make cuda-host` and `make tsan` run the same programs with them, and `make test` runs the
tests marked `backend` once more with the kernels in the place of the CPU's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent / "cuda_host"
BUILD = FOLDER.parent.parent / "build" / "cuda_host"
LIBRARY = BUILD / "libfastattr_cuda_host.so"

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or any(shutil.which(tool) is None for tool in ("make", "g++")),
    reason="needs make and g++ on Linux",
)


def make(*targets: str) -> None:
    jobs = len(os.sched_getaffinity(0))
    command = ["make", "-s", f"-j{jobs}", "-C", str(FOLDER), *targets]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def in_python(code: str, library: Path | str) -> subprocess.CompletedProcess[str]:
    settings = {"FASTATTR_STAND_IN": str(library), "CUDA_HOST_MANAGED": "1", "CUDA_HOST_DEFER": "1"}
    return subprocess.run([sys.executable, "-c", code], env=os.environ | settings, capture_output=True, text=True)


@pytest.fixture(scope="module")
def programs() -> Path:
    make("plain", "library")
    return BUILD / "plain"


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["selftest", "4"], ["faults"], ["strict", "4"]], ids=lambda words: words[0])
def test_program(programs: Path, arguments: list[str]) -> None:
    """The stand-in against plain loops; mistakes that it must notice; every operation and engine, bit for bit."""
    run = subprocess.run([programs / arguments[0], *arguments[1:]], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stderr == ""


CODE = """
import ctypes, sys
import numpy as np
import fastattr as fa
from fastattr import _core
def f(points, index, scalars):
    (x,) = points
    return (x * x).sum(1)[None], ((2 * x)[None],)
x = np.random.default_rng(0).normal(size=(5, 33))
att = fa.IntegratedGradients(fa.FunctionModel(f), steps=9, rows=4)(x)
print(_core.stand_in(), att.values.tobytes().hex(), att.gap.tobytes().hex())
"""
COUNT = "print(ctypes.CDLL({!r}).cuda_host_launches())"


def test_kernels_stand_in_for_the_cpu(programs: Path) -> None:
    kernels, cpu = in_python(CODE + COUNT.format(str(LIBRARY)), LIBRARY), in_python(CODE, "")
    assert (kernels.stderr, cpu.stderr) == ("", "")
    (stands_in, *numbers, launches), (alone, *wanted) = kernels.stdout.split(), cpu.stdout.split()
    assert (stands_in, alone) == ("True", "False")
    assert numbers == wanted
    assert int(launches) > 10


def test_a_library_that_is_none(tmp_path: Path) -> None:
    other = tmp_path / "other.so"
    subprocess.run(["g++", "-shared", "-x", "c++", "/dev/null", "-o", str(other)], check=True)
    for library, said in ((tmp_path / "nothing.so", "does not load"), (other, "no backend library")):
        run = in_python("import fastattr._core", library)
        assert run.returncode != 0
        assert "ImportError" in run.stderr and said in run.stderr
