#!/usr/bin/env python3
"""Hold models computed in float32 against float64, and compare the errors with ONNX Runtime's.

    PYTHONPATH=. python benchmarks/accuracy.py [--models resnet50,magika] [--rows 4] [--json FILE]

The models are those of tests/bits.py. Ends with status 1 when a model errs more than twice as much as in ONNX
Runtime.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import onnx

from pyinfer.bench.environment import stamp

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
from bits import CASES, case_model
from float64 import errors, worst_ratio

ENGINES = ("pyinfer", "pyinfer, no Winograd", "onnxruntime")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default=",".join(CASES), metavar="NAME,...")
    parser.add_argument("--rows", type=int, default=4, help="the batch")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    names = args.models.split(",")
    unknown = [name for name in names if name not in CASES]
    if unknown:
        parser.error(f"no model {', '.join(unknown)}; there are {', '.join(CASES)}")
    rows, failed = [], False
    for name in names:
        case = CASES[name].uncut()
        model = case_model(name, case)
        if model is None:
            print(f"{name}: its package is not installed (see PYINFER_MODEL_PACKAGES)", file=sys.stderr)
            continue
        if isinstance(model, Path):
            model = onnx.load(model)
        for output, found in errors(model, case.shapes, args.rows).items():
            ratio, direct = (worst_ratio(found, engine) for engine in ENGINES[:2])
            failed = failed or max(ratio, direct) > 2
            about = {"model": name, "output": output, "rows": args.rows, "shapes": case.shapes}
            rows.append({**about, "errors": found, "ratio": ratio, "ratio_without_winograd": direct})
            figures = ", ".join(f"{e} {found[e]['largest']:.1e} / {found[e]['rms']:.1e}" for e in ENGINES)
            print(f"{name}, {output}: {figures}; ratio {ratio:.2f} and {direct:.2f}", flush=True)
        if args.json:  # what is there so far, should the rest be interrupted
            content = {"schema": 1, "benchmark": "accuracy", "environment": stamp(), "rows": rows}
            args.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
