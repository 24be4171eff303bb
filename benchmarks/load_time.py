#!/usr/bin/env python3
"""From a model file to its first output: pyinfer against ONNX Runtime, each in a process of its own.

    python benchmarks/load_time.py model.onnx ... [--rounds 7] [--threads 2] [--json FILE]

Rounds interleave the engines. The clock starts after the engine is imported and the inputs are made; the file
is in the page cache. Reports medians and the ratio ONNX Runtime / pyinfer.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from environment import stamp

MEASURE = {
    "pyinfer": """
import pyinfer
start = time.perf_counter()
model = pyinfer.load(path, threads=threads)
model.run(feeds)
""",
    "onnxruntime": """
import onnxruntime
onnxruntime.set_default_logger_severity(3)
start = time.perf_counter()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
session = onnxruntime.InferenceSession(path, options)
session.run(None, feeds)
""",
}

PRELUDE = """
import json, sys, time
import numpy as np
path, threads = sys.argv[1], int(sys.argv[2])
feeds = {n: np.ones(s, d) for n, (s, d) in json.loads(sys.argv[3]).items()}
"""


def first_output(engine: str, path: Path, threads: int, specs: dict) -> float:
    """Seconds, measured in a new process."""
    code = PRELUDE + MEASURE[engine] + "print(time.perf_counter() - start)"
    command = [sys.executable, "-c", code, str(path), str(threads), json.dumps(specs)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    import pyinfer

    rows = []
    for path in args.models:
        inputs = pyinfer.load(path).inputs
        specs = {s.name: ([d if isinstance(d, int) else 1 for d in s.shape or ()], s.dtype) for s in inputs}
        times: dict[str, list[float]] = {engine: [] for engine in MEASURE}
        for _ in range(args.rounds):
            for engine, list_ in times.items():
                list_.append(first_output(engine, path, args.threads, specs))
        medians = {engine: statistics.median(values) for engine, values in times.items()}
        ratios = [o / p for o, p in zip(times["onnxruntime"], times["pyinfer"], strict=True)]
        row = {"model": path.stem, "seconds": medians, "ratio": statistics.median(ratios), "ratios": ratios}
        rows.append(row)
        print(
            f"{path.stem:24s} pyinfer {medians['pyinfer']:.3f} s   onnxruntime {medians['onnxruntime']:.3f} s"
            f"   ratio {row['ratio']:.2f}",
            flush=True,
        )
    if args.json:
        report = {"benchmark": "load_time", "threads": args.threads, "environment": stamp(), "rows": rows}
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
