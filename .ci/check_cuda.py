"""What the CUDA library of an installed wheel must be, with a GPU or without; run outside the repository."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import fastattr as fa
from fastattr import _core

REPOSITORY = Path(__file__).resolve().parent.parent
installed = Path(fa.__file__).resolve().parent
library = installed / "libfastattr_cuda.so"

assert REPOSITORY not in installed.parents, installed
assert library.is_file(), f"the wheel has no {library.name}"

table = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True).stdout
symbols = {line.split()[-1] for line in table.splitlines()}
assert symbols - {"_init", "_fini", "_edata", "_end", "__bss_start"} == {"fa_backend_open"}, symbols

needed = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True).stdout
loads = [line.split("[")[1].rstrip("]") for line in needed.splitlines() if "(NEEDED)" in line]
assert not [name for name in loads if "cuda" in name or "cublas" in name], loads

built_for, problem = _core.cuda_backend()
wanted = os.environ.get("FASTATTR_CUDA_ARCHS", built_for)
assert built_for is not None and wanted in built_for, (built_for, problem)
assert problem is None or "no CUDA device" in problem or "compute capability" in problem, problem
print(f"{library.name}, {library.stat().st_size >> 10} KiB, {built_for}: {problem or 'ready'}")
