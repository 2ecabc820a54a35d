"""Build of the C core and of the CUDA library; everything else about the package is in pyproject.toml.

Environment: CFLAGS come last and win; FASTATTR_WERROR=1 makes warnings errors.
FASTATTR_CUDA: "auto" (the default) builds the CUDA library if nvcc is found, 0 never, 1 always or fails.
FASTATTR_CUDA_ARCHS: compute capabilities like "80;90". Default: those of a release for wheels, else one.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent

# No -ffast-math (it flips flush-to-zero for the process), no -march=native (a wheel travels),
# no OpenMP runtime (a second one beside torch's; forks hang).
FLAGS = [
    *("-std=c11", "-O3", "-pthread", "-fopenmp-simd", "-fvisibility=hidden"),
    *("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"),
]
WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Wstrict-prototypes", "-Wmissing-prototypes"]
MACROS = [
    ("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"),
    ("NPY_TARGET_VERSION", "NPY_2_0_API_VERSION"),
]


# The library exports one symbol and needs nothing but the C library: it loads where no driver is. Contraction to fma
# is off, so that elementwise operations have the CPU's bits.
CUDA_LIBRARY = "libfastattr_cuda.so"
CUDA_FLAGS = [
    *("-std=c++17", "-O3", "-fmad=false", "--compress-mode=size"),
    "-Xcompiler=-fPIC,-fvisibility=hidden,-fno-exceptions,-fno-rtti,-fno-threadsafe-statics,-Wall,-Wextra,-Wshadow",
    "-Xptxas=-warn-spills",
]
CUDA_LINK = ["-shared", "-cudart=static", "-Xlinker=--exclude-libs,ALL", "-Xcompiler=-pthread", "-lrt", "-ldl"]
CUDA_SHARED = ("csrc/check.c", "csrc/error.c")  # what both libraries are made of
CUDA_RELEASE = "75;80;86;90;100;120"  # the last one as PTX too, for devices to come
CUDA_ONE = "90"
CUDA_OLDEST = (12, 8)


def files(pattern: str, folder: str = "csrc") -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob(pattern))


def compile_flags() -> list[str]:
    # as system headers, Python's and NumPy's are free of our warnings
    system = [sysconfig.get_path("include"), numpy.get_include()]
    werror = ["-Werror"] if os.environ.get("FASTATTR_WERROR") == "1" else []
    user = shlex.split(os.environ.get("CFLAGS", ""))
    return FLAGS + WARNINGS + werror + [word for path in system for word in ("-isystem", path)] + user


class BuildExt(build_ext):
    """Compile the files of the extension in parallel: setuptools does so for whole extensions only."""

    def build_extensions(self) -> None:
        compile_serially = self.compiler.compile

        def compile_in_parallel(sources: list[str], *args: object, **options: object) -> list[str]:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                objects = pool.map(lambda source: compile_serially([source], *args, **options), sources)
                return [name for names in objects for name in names]

        self.compiler.compile = compile_in_parallel
        super().build_extensions()

    def run(self) -> None:
        super().run()
        developing = bool(self.inplace or self.editable_mode)
        folder = ROOT / "python" if developing else Path(self.build_lib)
        nvcc = find_nvcc()
        if nvcc:
            c_compiler = [word for word in self.compiler.compiler_so if "sanitize" not in word]
            default = CUDA_RELEASE if "bdist_wheel" in self.distribution.commands else CUDA_ONE
            CudaLibrary(nvcc, c_compiler, default).build(folder / "fastattr" / CUDA_LIBRARY)


def find_nvcc() -> str | None:
    """Return the compiler to be used, or None; raise if there must be one."""
    wanted = os.environ.get("FASTATTR_CUDA", "auto")
    if wanted not in ("auto", "0", "1"):
        raise SystemExit(f"FASTATTR_CUDA: expected auto, 0 or 1, got {wanted}")
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    nvcc = shutil.which("nvcc", path=f"{home}/bin" if home else None) if wanted != "0" else None
    problem = "nvcc was not found"
    if nvcc:
        text = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
        found = re.search(r"release (\d+)\.(\d+)", text)
        if found and (int(found[1]), int(found[2])) >= CUDA_OLDEST:
            return nvcc
        problem = f"{nvcc} is older than {'.'.join(map(str, CUDA_OLDEST))}"
    if wanted == "1":
        raise SystemExit(f"FASTATTR_CUDA=1: {problem}")
    if wanted == "auto":
        print(f"without CUDA: {problem}")
    return None


class CudaLibrary:
    """Objects of cuda/*.cu, made anew where they are older than their source or any header, and linked.

    They are named by the command that made them and shared by all builds of this tree.
    """

    folder = ROOT / "build" / "cuda"

    def __init__(self, nvcc: str, c_compiler: list[str], default_archs: str) -> None:
        archs = os.environ.get("FASTATTR_CUDA_ARCHS", "") or default_archs
        if not re.fullmatch(r"\d+[a-z]?(;\d+[a-z]?)*", archs):
            raise SystemExit(f'FASTATTR_CUDA_ARCHS: expected compute capabilities like "80;90", got {archs!r}')
        code = [word for arch in archs.split(";") for word in ("-gencode", f"arch=compute_{arch},code=sm_{arch}")]
        newest = archs.split(";")[-1]
        code += ["-gencode", f"arch=compute_{newest},code=compute_{newest}"] if ";" in archs else []
        werror = ["-Werror", "all-warnings"] if os.environ.get("FASTATTR_WERROR") == "1" else []
        self.compile_cuda = [nvcc, *CUDA_FLAGS, *werror, *code, f'-DFA_CUDA_ARCHS="{archs}"']
        self.compile_c = [*c_compiler, *FLAGS, "-fPIC"]
        self.link = [nvcc, *CUDA_LINK]

    def build(self, library: Path) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        headers = [*files("*.h"), *files("*.h", "cuda"), *files("*.cuh", "cuda")]
        newest = max((ROOT / name).stat().st_mtime for name in headers)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            sources = [*files("*.cu", "cuda"), *CUDA_SHARED]
            objects = list(pool.map(lambda source: self.compile(source, newest), sources))
        library.parent.mkdir(parents=True, exist_ok=True)
        made = max(path.stat().st_mtime for path in objects)
        linked = self.folder / named(CUDA_LIBRARY, [*self.link, *map(str, objects)])
        if not linked.exists() or linked.stat().st_mtime < made:
            run([*self.link, *map(str, objects), "-o", str(linked)])
        shutil.copyfile(linked, library)

    def compile(self, source: str, newest_header: float) -> Path:
        command = self.compile_cuda if source.endswith(".cu") else self.compile_c
        made = self.folder / named(Path(source).with_suffix(".o").name, command)
        changed = max((ROOT / source).stat().st_mtime, newest_header)
        if not made.exists() or made.stat().st_mtime < changed:
            run([*command, "-c", str(ROOT / source), "-o", str(made)])
        return made


def named(name: str, command: list[str]) -> str:
    return f"{hashlib.sha256(repr(command).encode()).hexdigest()[:12]}-{name}"


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)}\n{done.stdout}{done.stderr}FASTATTR_CUDA=0 builds without CUDA")


setup(
    ext_modules=[
        Extension(
            "fastattr._core",
            files("*.c"),
            depends=[*files("*.h"), "setup.py"],
            include_dirs=["csrc"],
            define_macros=MACROS,
            extra_compile_args=compile_flags(),
            extra_link_args=["-pthread"],
            libraries=["m", "dl"],
        )
    ],
    cmdclass={"build_ext": BuildExt},
)
