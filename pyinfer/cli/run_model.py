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
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME=FILE.npy",
        help="an input's values; NAME=random, or an input not named: random values",
    )
    _inputs.add_shape_arguments(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the random values (default: 0)")
    parser.add_argument("--output", action="append", metavar="NAME", help="compute only these outputs")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="write each output as a .npy file there")
    parser.add_argument("--threads", type=int, help="threads to use at most (default: one per core)")


def execute(args: argparse.Namespace) -> int:
    """Run the command."""
    start = time.perf_counter()
    model = pyinfer.load(args.model, threads=args.threads)
    loaded = time.perf_counter()
    feeds = _feeds(model, args)
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


def _feeds(model: pyinfer.Model, args: argparse.Namespace) -> dict[str, object]:
    files = _inputs.pairs(args.input, "--input")
    known = ", ".join(spec.name for spec in model.inputs)
    for name in files:
        if name not in (spec.name for spec in model.inputs):
            raise pyinfer.InvalidInput(f"--input: unknown input {name!r}; the model has {known}")
    shapes = _inputs.input_shapes(model, args, default=1)
    rng = np.random.default_rng(args.seed)
    feeds: dict[str, object] = {}
    for spec in model.inputs:
        file = files.get(spec.name, "random")
        if file != "random":
            feeds[spec.name] = _load(file)
        elif spec.name in shapes:
            feeds[spec.name] = _inputs.random_array(spec, shapes[spec.name], rng)
        elif not spec.dtype.startswith("optional("):
            raise pyinfer.InvalidInput(
                f"no random values for input {spec}: give its shape (--shape {spec.name}=...) or a file"
            )
    return feeds


def _load(file: str) -> object:
    """The array in a .npy file."""
    try:
        array = np.load(file, allow_pickle=False)
    except (EOFError, ValueError) as error:
        raise pyinfer.InvalidInput(f"--input: {file!r} is not a .npy file of numbers: {error}") from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise pyinfer.InvalidInput(f"--input: {file!r} is an archive; expected a .npy file of one array")
    return array


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
