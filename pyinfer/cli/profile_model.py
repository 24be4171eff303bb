"""Show where a run's time goes, step by step, against this machine's measured limits."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pyinfer
from pyinfer.cli import _inputs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("model", help="path of an ONNX file")
    _inputs.add_value_arguments(parser)
    parser.add_argument("--threads", type=int, help="threads to use at most (default: one per core)")
    parser.add_argument("--runs", type=int, default=20, help="runs to take the median of (default: 20)")
    parser.add_argument("--top", type=int, default=20, help="steps to print, longest first (default: 20)")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="write a Chrome trace of one run there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with all steps there")


def execute(args: argparse.Namespace) -> int:
    """Run the command."""
    from pyinfer.bench import profile
    from pyinfer.bench.report import save

    for name, least in (("runs", 1), ("top", 0)):
        if getattr(args, name) < least:
            raise pyinfer.InvalidInput(f"--{name}: expected at least {least}, got {getattr(args, name)}")
    model = pyinfer.load(args.model, threads=args.threads)
    content = profile.profile(model, _inputs.feeds(model, args), Path(args.model).name, args.runs)
    print(profile.as_text(content, args.top))
    if args.trace:
        args.trace.write_text(json.dumps(profile.chrome_trace(content)), encoding="utf-8")
    if args.json:
        save(args.json, content)
    if args.html:
        args.html.write_text(profile.as_html(content), encoding="utf-8")
    return 0
