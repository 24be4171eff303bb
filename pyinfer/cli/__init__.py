"""The command `pyinfer`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import pyinfer
from pyinfer.cli import bench_model, demo, inspect_model, profile_model, run_model


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pyinfer", description="Run ONNX models.")
    parser.add_argument("--version", action="version", version=f"pyinfer {pyinfer.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in (
        ("demo", demo),
        ("run", run_model),
        ("inspect", inspect_model),
        ("bench", bench_model),
        ("profile", profile_model),
    ):
        summary = (module.__doc__ or "").splitlines()[0]
        command = commands.add_parser(name, help=summary, description=summary)
        module.add_arguments(command)
        command.set_defaults(execute=module.execute)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's) and return its exit status.

    0: done. 1: the model or its inputs were refused, or a check failed. 2: the command line is wrong.
    """
    args = _parser().parse_args(argv)
    try:
        status: int = args.execute(args)
    except BrokenPipeError:
        return 1
    except (pyinfer.PyInferError, OSError, ValueError, MemoryError) as error:
        print(f"pyinfer {args.command}: {error}", file=sys.stderr)
        return 1
    return status
