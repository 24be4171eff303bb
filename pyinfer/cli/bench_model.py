"""Time a model against other engines: speed, loading, memory."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import pyinfer
from pyinfer.cli import _inputs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("model", help="path of an ONNX file")
    parser.add_argument(
        "--vs",
        default="",
        metavar="ENGINE,...",
        help="other engines, of onnxruntime and openvino; they must be installed",
    )
    parser.add_argument("--threads", default="1", metavar="N,...", help="numbers of threads (default: 1)")
    parser.add_argument(
        "--batch", metavar="N,...", help="lengths of the first dimension of each input, where it is dynamic"
    )
    _inputs.add_value_arguments(parser)
    parser.add_argument("--rounds", type=int, default=15, help="turns of each engine (default: 15)")
    parser.add_argument(
        "--cold-rounds",
        type=int,
        default=3,
        help="new processes per engine to measure loading, memory and idling in; 0: none (default: 3)",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=1e-3,
        help="largest difference of an output from the reference, by its largest value (default: 0.001)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page there")


def execute(args: argparse.Namespace) -> int:
    """Run the command; 1 when pyinfer itself fails or gives other outputs than the reference."""
    from pyinfer import bench
    from pyinfer.bench.report import save

    threads = _inputs.counts(args.threads, "--threads")
    batches = _inputs.counts(args.batch, "--batch") if args.batch is not None else [None]
    for option, least in (("rounds", 1), ("cold_rounds", 0)):
        if getattr(args, option) < least:
            name = option.replace("_", "-")
            raise pyinfer.InvalidInput(f"--{name}: expected at least {least}, got {getattr(args, option)}")
    peers = [name.strip() for name in args.vs.split(",") if name.strip()]
    engines = list(dict.fromkeys(["pyinfer", *peers]))
    bench.check_installed(engines)
    settings = bench.Settings(rounds=args.rounds, cold_rounds=args.cold_rounds, tolerance=args.tolerance)
    model = pyinfer.load(args.model)
    jobs = [(batch, _inputs.feeds(model, args, batch)) for batch in batches]
    for _, feeds in jobs:
        model.run(feeds)  # what the model does not take is a mistake of the command line, not a finding
    del model  # its memory is not the peers' to bear
    rows = []
    for batch, feeds in jobs:
        about: dict[str, Any] = {
            "model": Path(args.model).stem,
            "batch": 1 if batch is None else batch,
            "shapes": {name: list(value.shape) for name, value in feeds.items()},
        }
        for count in threads:
            rows.append({**about, **bench.measure(args.model, feeds, engines, count, settings, _say)})
    content = bench.report(rows, settings)
    _say("")
    print(bench.as_text(content))
    if args.json:
        save(args.json, content)
    if args.html:
        args.html.write_text(bench.as_html(content, f"pyinfer: {Path(args.model).name}"), encoding="utf-8")
    return 0 if all(row["engines"]["pyinfer"]["error"] is None for row in rows) else 1


def _say(text: str) -> None:
    """Show progress where somebody watches."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
