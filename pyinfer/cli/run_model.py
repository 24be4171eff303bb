"""Run a model once, on arrays from .npy files or on random ones."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

import pyinfer
from pyinfer.cli import _inputs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("model", help="path of an ONNX file")
    _inputs.add_value_arguments(parser)
    parser.add_argument("--output", action="append", metavar="NAME", help="compute only these outputs")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="write each output as a .npy file there")
    parser.add_argument("--threads", type=int, help="threads to use at most (default: one per core)")


def execute(args: argparse.Namespace) -> int:
    """Run the command."""
    start = time.perf_counter()
    model = pyinfer.load(args.model, threads=args.threads)
    loaded = time.perf_counter()
    feeds = _inputs.feeds(model, args)
    begin = time.perf_counter()
    values = model.run(feeds, args.output)
    end = time.perf_counter()

    for name, value in feeds.items():
        print(f"input   {_describe(name, value)}")
    for name, value in values.items():
        print(f"output  {_describe(name, value)}")
    print(f"time    load {(loaded - start) * 1e3:.2f} ms, first run {(end - begin) * 1e3:.2f} ms")
    if args.save is not None:
        _save(values, args.save)
    return 0


def _describe(name: str, value: object) -> str:
    if not isinstance(value, np.ndarray):
        return f"{name}: {type(value).__name__} {value!r:.200}"
    text = f"{name}: {value.dtype.name}{list(value.shape)}"
    if value.size and value.dtype.kind in "fiu":
        numbers = value.astype(np.float64)
        text += f" min {numbers.min():.6g} mean {numbers.mean():.6g} max {numbers.max():.6g}"
        missing = int(np.isnan(numbers).sum())
        if missing:
            text += f" ({missing} NaN)"
    return text


def _save(values: dict[str, object], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, (name, value) in enumerate(values.items()):
        if not isinstance(value, np.ndarray) or value.dtype.kind == "O":
            print(f"kept    {name}: only arrays of numbers are saved")
            continue
        safe = "".join(c if c.isalnum() or c in "._-" else "_" for c in name).lstrip(".")
        path = folder / f"{i}_{safe}.npy"
        np.save(path, value, allow_pickle=False)
        print(f"saved   {path}")
