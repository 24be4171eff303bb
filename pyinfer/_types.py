"""The types of ONNX values and the NumPy element types that carry them."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Element:
    """One element type.

    Attributes
    ----------
    name : str
        NumPy's or ml_dtypes's name: "float32", "bfloat16", "int4"; "string" for strings.
    carrier : np.dtype
        The type of the arrays that the extension takes and gives.
    bits : int
        Size of one element in a file: 2, 4 or 6 for the sub-byte types; 0 for strings.
    native : bool
        Whether NumPy itself has this type.
    """

    name: str
    carrier: np.dtype[Any]
    bits: int
    native: bool

    @property
    def signed_sub_byte(self) -> bool:
        """Whether this is int4 or int2, which ml_dtypes stores without their sign's extension."""
        return self.name in ("int4", "int2")

    @functools.cached_property
    def extended(self) -> np.dtype[Any] | None:
        """The ml_dtypes type of this name; None for NumPy's own types and where ml_dtypes lacks it."""
        if self.native:
            return None
        try:
            import ml_dtypes

            dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, self.name))
        except (ImportError, AttributeError):
            return None
        return dtype

    @property
    def public(self) -> np.dtype[Any]:
        """The type of the arrays that users see: NumPy's, ml_dtypes's, or the carrier of raw values."""
        return self.extended or self.carrier


def _element(name: str, carrier: str, bits: int, native: bool = False) -> Element:
    return Element(name, np.dtype(carrier), bits, native)


# Keyed by ONNX's names, as in "tensor(float)".
ELEMENTS: dict[str, Element] = {
    "float": _element("float32", "float32", 32, True),
    "uint8": _element("uint8", "uint8", 8, True),
    "int8": _element("int8", "int8", 8, True),
    "uint16": _element("uint16", "uint16", 16, True),
    "int16": _element("int16", "int16", 16, True),
    "int32": _element("int32", "int32", 32, True),
    "int64": _element("int64", "int64", 64, True),
    "string": _element("string", "object", 0, True),
    "bool": _element("bool", "bool", 8, True),
    "float16": _element("float16", "float16", 16, True),
    "double": _element("float64", "float64", 64, True),
    "uint32": _element("uint32", "uint32", 32, True),
    "uint64": _element("uint64", "uint64", 64, True),
    "complex64": _element("complex64", "complex64", 64, True),
    "complex128": _element("complex128", "complex128", 128, True),
    "bfloat16": _element("bfloat16", "uint16", 16),
    "float8e4m3fn": _element("float8_e4m3fn", "uint8", 8),
    "float8e4m3fnuz": _element("float8_e4m3fnuz", "uint8", 8),
    "float8e5m2": _element("float8_e5m2", "uint8", 8),
    "float8e5m2fnuz": _element("float8_e5m2fnuz", "uint8", 8),
    "float8e8m0": _element("float8_e8m0fnu", "uint8", 8),
    "float4e2m1": _element("float4_e2m1fn", "uint8", 4),
    "float6e2m3": _element("float6_e2m3fn", "uint8", 6),
    "float6e3m2": _element("float6_e3m2fn", "uint8", 6),
    "uint4": _element("uint4", "uint8", 4),
    "int4": _element("int4", "int8", 4),
    "uint2": _element("uint2", "uint8", 2),
    "int2": _element("int2", "int8", 2),
}


@dataclass(frozen=True)
class Type:
    """A parsed ONNX type.

    Attributes
    ----------
    kind : str
        "tensor", "seq", "optional" or "map".
    element : Element or None
        Of a tensor.
    inner : Type or None
        The type of a sequence's items, an optional's content or a map's values.
    """

    kind: str
    element: Element | None = None
    inner: Type | None = None

    @property
    def leaf(self) -> Element | None:
        """The element type at the bottom of the nesting."""
        return self.inner.leaf if self.inner is not None else self.element


def parse_type(text: str) -> Type:
    """Read ONNX's notation: "tensor(float)", "seq(tensor(int64))", "map(string,tensor(float))".

    Raises
    ------
    ValueError
        When `text` is not in that notation.
    """
    head, opened, rest = text.strip().partition("(")
    if not opened:
        if head in ELEMENTS:
            return Type("tensor", ELEMENTS[head])
    elif rest.endswith(")"):
        body = rest[:-1].strip()
        if head in ("tensor", "sparse_tensor"):
            if body in ELEMENTS:
                return Type("tensor", ELEMENTS[body])
        elif head in ("seq", "optional"):
            return Type(head, inner=parse_type(body))
        elif head == "map":
            _key, comma, value = body.partition(",")
            if comma:
                return Type("map", inner=parse_type(value))
    raise ValueError(f"{text!r} is not an ONNX type")


@dataclass(frozen=True)
class TensorSpec:
    """What a model's input or output is.

    Attributes
    ----------
    name : str
        Its name in the model.
    dtype : str
        For a tensor the name of its element type as NumPy or ml_dtypes spells it ("float32", "int64",
        "bfloat16"; "string" for strings); for other values ONNX's notation ("seq(tensor(float))").
    shape : tuple or None
        One entry per axis: a length, the name of a dynamic length, or None for a length without a
        name. None in place of the tuple: the rank is not known, or the value is not a tensor.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...] | None

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The element type of the arrays to pass or to expect.

        Types that NumPy lacks are ml_dtypes's where that package is installed, else the unsigned (int4,
        int2: signed) integer type that carries their raw values.

        Raises
        ------
        TypeError
            When the value is not a tensor.
        """
        for element in ELEMENTS.values():
            if element.name == self.dtype:
                return element.public
        raise TypeError(f"{self.name!r} is a {self.dtype}, which has no NumPy type")

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.name}: {self.dtype}"
        dims = ", ".join("?" if dim is None else str(dim) for dim in self.shape)
        return f"{self.name}: {self.dtype}[{dims}]"
