"""SciPy's BLAS, without the rest of `scipy.linalg`: what it imports besides takes a tenth of a second and 14 MB."""

from __future__ import annotations

import contextlib
import importlib
import sys
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any

NAME = "scipy.linalg.cython_blas"


def functions() -> Any:
    """The capsules of ``scipy.linalg.cython_blas``; raises ImportError without SciPy."""
    if "scipy.linalg" not in sys.modules:
        with contextlib.suppress(Exception):  # whatever a SciPy does otherwise, its import is the documented way
            return alone().__pyx_capi__
    return importlib.import_module(NAME).__pyx_capi__


def alone() -> Any:
    """That module without its package, which is as it was: a later import gets the same module, in the usual place."""
    package = find_spec("scipy")
    if package is None or package.origin is None:
        raise ImportError("no SciPy")
    folder = str(Path(package.origin).parent / "linalg")
    spec = FileFinder(folder, (ExtensionFileLoader, EXTENSION_SUFFIXES)).find_spec(NAME)
    if spec is None or spec.loader is None:
        raise ImportError(f"{NAME} is no extension module of its own")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules.pop(NAME, None)  # Cython has put it there, but not into the package
    return module
