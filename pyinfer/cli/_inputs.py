"""Inputs and shapes named on the command line."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from pyinfer import InvalidInput, Model, TensorSpec
from pyinfer._coerce import checked_shape

Array = np.ndarray[Any, np.dtype[Any]]


def add_shape_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --shape and --dim."""
    parser.add_argument(
        "--shape",
        action="append",
        default=[],
        metavar="INPUT=N,N,...",
        help="the shape of an input that has dynamic lengths; INPUT:NxN... means the same",
    )
    parser.add_argument(
        "--dim", action="append", default=[], metavar="NAME=N", help="a dynamic length by its name"
    )


def add_value_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --input, --shape, --dim and --seed, which `feeds` reads."""
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME=FILE.npy",
        help="an input's values; NAME=random, or an input not named: random values",
    )
    add_shape_arguments(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the random values (default: 0)")


def counts(text: str, option: str) -> list[int]:
    """The numbers of a list such as "1,2", each at least 1."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise InvalidInput(f"{option}: expected numbers of at least 1, separated by commas, got {text!r}")
    return [int(part) for part in parts]


def pairs(arguments: list[str], option: str) -> dict[str, str]:
    """Split each NAME=VALUE of an option."""
    found = {}
    for argument in arguments:
        name, equals, value = argument.rpartition("=")
        if not equals or not name:
            raise InvalidInput(f"{option}: expected NAME=VALUE, got {argument!r}")
        found[name] = value
    return found


def _length(text: str, option: str) -> int:
    if not text.strip().isdecimal() or len(text) > 19 or int(text) >= 1 << 63:
        raise InvalidInput(f"{option}: expected a length of 0 to 2**63 - 1, got {text!r}")
    return int(text)


def _given_shapes(arguments: list[str]) -> dict[str, list[int]]:
    """INPUT=N,N,... or INPUT:NxN...; a scalar has nothing after the sign."""
    found = {}
    for argument in arguments:
        if "=" not in argument:
            name, _, text = argument.rpartition(":")
            argument = f"{name}={text.replace('x', ',')}" if name else argument
        for name, text in pairs([argument], "--shape").items():
            found[name] = [_length(part, "--shape") for part in text.split(",")] if text.strip() else []
    return found


def input_shapes(
    model: Model, args: argparse.Namespace, default: int | None, batch: int | None = None
) -> dict[str, list[int]]:
    """The shape of each tensor input: from --shape, then --dim, then `default` for a dynamic length.

    `batch` is the first length of each input where that is dynamic, and goes before all of these; likewise
    wherever else the name of that length appears. An input some of whose lengths stay unknown is left out.
    """
    given = _given_shapes(args.shape)
    dims = {name: _length(text, "--dim") for name, text in pairs(args.dim, "--dim").items()}
    known = {spec.name: spec for spec in model.inputs}
    for name, shape in given.items():
        if name not in known:
            raise InvalidInput(f"--shape: unknown input {name!r}; the model has {', '.join(sorted(known))}")
        if "(" in known[name].dtype:
            raise InvalidInput(f"--shape: input {name!r} is no tensor: {known[name]}")
        checked_shape(shape, known[name], f"--shape: input {name!r}")
    used = {dim for spec in model.inputs for dim in spec.shape or () if isinstance(dim, str)}
    for name in dims:
        if name not in used:
            raise InvalidInput(f"--dim: unknown length {name!r}; the model has {sorted(used)}")
    first = {spec.shape[0] for spec in model.inputs if spec.shape and not isinstance(spec.shape[0], int)}
    if batch is not None and not first:
        raise InvalidInput(f"--batch: no input of the model has a dynamic first length: {model.inputs}")
    shapes = {}
    for spec in model.inputs:
        if spec.shape is None and spec.name not in given:
            continue
        declared = spec.shape or ()
        lengths = given.get(
            spec.name, [dim if isinstance(dim, int) else dims.get(dim or "", default) for dim in declared]
        )
        if batch is not None:
            lengths = [
                batch if i < len(declared) and declared[i] in first and (declared[i] or i == 0) else length
                for i, length in enumerate(lengths)
            ]
        whole = [length for length in lengths if length is not None]
        if len(whole) == len(lengths):
            shapes[spec.name] = whole
    return shapes


def feeds(model: Model, args: argparse.Namespace, batch: int | None = None) -> dict[str, Any]:
    """A value for each input: from its file, else random."""
    files = pairs(args.input, "--input")
    known = ", ".join(spec.name for spec in model.inputs)
    for name in files:
        if name not in (spec.name for spec in model.inputs):
            raise InvalidInput(f"--input: unknown input {name!r}; the model has {known}")
    shapes = input_shapes(model, args, default=1, batch=batch)
    rng = np.random.default_rng(args.seed)
    values: dict[str, Any] = {}
    for spec in model.inputs:
        file = files.get(spec.name, "random")
        if file != "random":
            values[spec.name] = _load(file)
        elif spec.name in shapes:
            values[spec.name] = random_array(spec, shapes[spec.name], rng)
        elif not spec.dtype.startswith("optional("):
            raise InvalidInput(
                f"no random values for input {spec}: give its shape (--shape {spec.name}=...) or a file"
            )
    return values


def _load(file: str) -> Array:
    """The array in a .npy file."""
    try:
        array = np.load(file, allow_pickle=False)
    except (EOFError, ValueError) as error:
        raise InvalidInput(f"--input: {file!r} is not a .npy file of numbers: {error}") from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise InvalidInput(f"--input: {file!r} is an archive; expected a .npy file of one array")
    return array


def random_array(spec: TensorSpec, shape: list[int], rng: np.random.Generator) -> Array:
    """Values for `spec`: floats from the normal distribution; integers 0 or 1, which serve as indices too."""
    dtype = spec.numpy_dtype
    if spec.dtype == "string":
        return np.full(shape, "text", object)
    if spec.dtype == "bool" or "int" in spec.dtype:
        return rng.integers(0, 2, shape).astype(dtype)
    values = rng.standard_normal(shape)
    if np.issubdtype(dtype, np.complexfloating):
        return (values + 1j * rng.standard_normal(shape)).astype(dtype)
    if np.issubdtype(dtype, np.integer):
        return rng.integers(0, 2, shape).astype(dtype)  # raw codes of a float type that NumPy lacks
    return values.astype(dtype)
