"""What this installation runs on."""

from __future__ import annotations

import platform
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np

from . import _core


def set_num_threads(n: int) -> None:
    """Threads of fastattr's own loops, for the whole process; 0 = one per available CPU.

    Torch keeps its own number (``torch.set_num_threads``); where it has OpenMP threads, the loops run on those, on no
    more than torch may use. Results do not depend on either.
    """
    _core.set_num_threads(n)


@lru_cache(maxsize=1)
def share_threads() -> bool:
    """Have the core's loops done by torch's OpenMP threads: whether they are.

    Those spin on for milliseconds after torch's own loops, and would keep other threads from the cores.
    """
    root = Path(sys.modules["torch"].__file__ or "").parent
    bundled = [*root.glob("lib/libgomp*.so*"), *root.parent.glob("torch.libs/libgomp*.so*")]
    return any(_core.share_threads(str(path)) for path in bundled)


def _cuda() -> str:
    archs, missing = _core.cuda_backend()
    if archs is None:
        return "cuda not built" if missing and "no CUDA backend" in missing else f"cuda: {missing}"
    return f"cuda (for {archs.replace(';', ', ')})" + (f": {missing}" if missing else "")


def show_config() -> None:
    """Print versions, threads and backends, for bug reports.

    The compute capabilities that the CUDA backend was built for are named, and what it lacks to run here.
    """
    from . import __version__

    torch = sys.modules.get("torch")
    lines = (
        f"fastattr {__version__}",
        f"python   {platform.python_version()} on {platform.platform()}",
        f"numpy    {np.__version__}",
        f"torch    {torch.__version__ if torch else 'not imported'}",
        f"threads  {_core.get_num_threads()}",
        f"backends cpu ({_core.cpu_level()}), {_cuda()}",
    )
    print("\n".join(lines))  # noqa: T201
