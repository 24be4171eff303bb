"""Inputs and shapes named on the command line."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from pyinfer import InvalidInput, Model, TensorSpec

Array = np.ndarray[Any, np.dtype[Any]]


def add_shape_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --shape and --dim."""
    parser.add_argument(
        "--shape",
        action="append",
        default=[],
        metavar="INPUT=N,N,...",
        help="the shape of an input that has dynamic lengths",
    )
    parser.add_argument(
        "--dim", action="append", default=[], metavar="NAME=N", help="a dynamic length by its name"
    )


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
    if not text.strip().isdecimal():
        raise InvalidInput(f"{option}: expected a length of 0 or more, got {text!r}")
    return int(text)


def input_shapes(model: Model, args: argparse.Namespace, default: int | None) -> dict[str, list[int]]:
    """The shape of each tensor input, from --shape, then --dim, then `default` for a dynamic length.

    An input some of whose lengths stay unknown is left out.
    """
    given = pairs(args.shape, "--shape")
    dims = {name: _length(text, "--dim") for name, text in pairs(args.dim, "--dim").items()}
    known = {spec.name for spec in model.inputs}
    for name in given:
        if name not in known:
            raise InvalidInput(f"--shape: unknown input {name!r}; the model has {', '.join(sorted(known))}")
    used = {dim for spec in model.inputs for dim in spec.shape or () if isinstance(dim, str)}
    for name in dims:
        if name not in used:
            raise InvalidInput(f"--dim: unknown length {name!r}; the model has {sorted(used)}")
    shapes = {}
    for spec in model.inputs:
        if spec.name in given:
            text = given[spec.name].strip()
            shapes[spec.name] = [_length(part, "--shape") for part in text.split(",")] if text else []
        elif spec.shape is not None:
            lengths = [dim if isinstance(dim, int) else dims.get(dim or "", default) for dim in spec.shape]
            whole = [length for length in lengths if length is not None]
            if len(whole) == len(lengths):
                shapes[spec.name] = whole
    return shapes


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
