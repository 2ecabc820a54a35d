"""The command line: ``fastattr demo`` and ``fastattr show-config``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command of ``argv`` (default: the process's own); 0 on success, 1 on failure, 2 on wrong usage."""
    parser = argparse.ArgumentParser(prog="fastattr", description="Feature attributions of PyTorch models.")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="train a small network on digits and draw what speaks for its answers")
    demo.add_argument("--out", default="out", help="folder of the page (default: out)")
    demo.add_argument("--seed", type=int, default=0, help="of the training, the noise and the samples (default: 0)")
    commands.add_parser("show-config", help="version, compiled backends, threads and libraries")
    arguments = parser.parse_args(argv)
    try:
        return _demo(arguments.out, arguments.seed) if arguments.command == "demo" else _show_config()
    except (ImportError, OSError) as error:
        print(f"fastattr: {error}", file=sys.stderr)
        return 1


def _demo(out: str, seed: int) -> int:
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise ImportError("the demo needs PyTorch: pip install torch") from error
    from .demo import run

    run(out, seed, partial(print, flush=True), progress=True)
    return 0


def _show_config() -> int:
    import fastattr as fa

    fa.show_config()
    return 0
