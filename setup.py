"""Build of the C core; everything else about the package is in pyproject.toml.

Environment: CFLAGS come last and win; FASTATTR_WERROR=1 makes warnings errors.
"""

from __future__ import annotations

import os
import shlex
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


def files(pattern: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "csrc").rglob(pattern))


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
