"""The core's loops on torch's threads: the same numbers, after a fork too, and where torch is to use one."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

import fastattr as fa
from fastattr import _core
from fastattr.config import share_threads

RUN = """
import os, pathlib, torch
import fastattr as fa
from fastattr.config import share_threads

torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(300, 200), torch.nn.ReLU(), torch.nn.Linear(200, 5)).eval()
x = torch.randn(300, 300)
fa.set_num_threads(2)

def explain(threads):
    torch.set_num_threads(threads)
    return fa.IntegratedGradients(net, steps=30)(x, 1).values

wanted = explain(2)
bundled = list(pathlib.Path(torch.__file__).parent.glob("lib/libgomp*.so*"))
assert share_threads() or not bundled
for threads in (1, 2, 3, 2):
    assert torch.equal(explain(threads), wanted)
child = os.fork()
if child == 0:
    found = fa.IntegratedGradients(net, steps=30)(x, 1).values  # by NumPy: torch's loops wait for good here
    os._exit(0 if (found.numpy() == wanted.numpy()).all() else 1)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(sys.platform != "linux", reason="fork, and a runtime by its file")
def test_the_same_numbers_on_torchs_threads_and_in_a_fork() -> None:
    """Whose child has no such threads: its loops run on the core's own."""
    run = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr[-2000:]


def test_a_runtime_that_is_not_loaded_is_not_loaded() -> None:
    assert not _core.share_threads("libgomp-that-is-not-there.so.1")
    with pytest.raises(TypeError):
        _core.share_threads(3)  # type: ignore[arg-type]


def test_loops_of_several_callers_on_shared_threads() -> None:
    import threading

    share_threads()
    net = nn.Sequential(nn.Linear(300, 200), nn.ReLU(), nn.Linear(200, 5)).eval()
    x = torch.randn(200, 300, generator=torch.Generator().manual_seed(1))
    method = fa.IntegratedGradients(net, steps=30)
    wanted, found = method(x, 1).values, []
    threads = [threading.Thread(target=lambda: found.extend(method(x, 1).values for _ in range(10))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 40 and all(torch.equal(values, wanted) for values in found)
