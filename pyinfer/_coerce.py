"""From what callers pass to what the extension takes, and back.

Arrays must have the declared element type: a wrong one is an error, never a silent conversion. Python
numbers and lists have no element type of their own, and take the declared one where no value changes
its kind or leaves the range. Layout, byte order and writability do not matter.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from pyinfer._core import InvalidInput
from pyinfer._types import Element, TensorSpec, Type

Array = np.ndarray[Any, np.dtype[Any]]
_MOST_DIMENSIONS = 64  # of NumPy's arrays
_KIND_ORDER = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}


def _reject(where: str, reason: str) -> NoReturn:
    raise InvalidInput(f"{where}: {reason}")


def to_core(value: object, type_: Type, where: str) -> object:
    """`value` as the extension takes a value of type `type_`; `where` opens each error message."""
    if type_.kind == "tensor":
        assert type_.element is not None
        return _tensor(value, type_.element, where)
    assert type_.inner is not None
    if type_.kind == "optional":
        return None if value is None else to_core(value, type_.inner, where)
    if type_.kind == "seq":
        if isinstance(value, (str, bytes, np.ndarray, Mapping)) or not isinstance(value, Sequence):
            _reject(where, f"expected a list (a sequence of values), got {type(value).__name__}")
        return [to_core(item, type_.inner, f"{where}[{i}]") for i, item in enumerate(value)]
    if not isinstance(value, Mapping):
        _reject(where, f"expected a dict (a map), got {type(value).__name__}")
    return dict(value)


def check_shape(given: tuple[int, ...], spec: TensorSpec, where: str) -> None:
    """Raise InvalidInput unless `given` has the rank and the fixed lengths that `spec` states."""
    shape = spec.shape
    if shape is None:
        return
    if len(shape) != len(given) or any(
        isinstance(want, int) and want != have for want, have in zip(shape, given, strict=True)
    ):
        dims = ", ".join("?" if dim is None else str(dim) for dim in shape)
        reason = f"expected shape [{dims}], got {list(given)}"
        if len(shape) != len(given):
            reason += f" (rank {len(shape)} expected, {len(given)} given)"
        _reject(where, reason)


def checked_shape(dims: object, spec: TensorSpec, where: str) -> list[int]:
    """`dims` as a shape that fits `spec`; raises InvalidInput where it is none or does not fit."""
    try:
        shape = [operator.index(dim) for dim in dims]  # type: ignore[attr-defined]
    except TypeError:
        _reject(where, f"expected a shape as a list of integers, got {dims!r}")
    if any(not 0 <= dim < 1 << 63 for dim in shape):
        _reject(where, f"expected lengths of 0 to 2**63 - 1, got {shape}")
    check_shape(tuple(shape), spec, where)
    return shape


def from_core(value: object, type_: Type) -> object:
    """What the extension gave for a value of type `type_`, with raw values as ml_dtypes arrays."""
    if value is None:
        return None
    if type_.kind == "tensor":
        assert type_.element is not None
        target = type_.element.extended
        if target is None or not isinstance(value, np.ndarray):
            return value
        return value.astype(target) if type_.element.signed_sub_byte else value.view(target)
    assert type_.inner is not None
    if type_.kind == "optional":
        return from_core(value, type_.inner)
    if type_.kind == "seq" and isinstance(value, list):
        return [from_core(item, type_.inner) for item in value]
    return value


def output_converter(type_: Type) -> Callable[[object], object] | None:
    """How to finish an output of type `type_`; None when there is nothing to do."""
    leaf = type_.leaf
    if leaf is None or leaf.extended is None:
        return None
    return lambda value: from_core(value, type_)


def _tensor(value: object, element: Element, where: str) -> Array:
    if type(value) is not np.ndarray and _has_mask(value):
        _reject(where, "masked elements have no value to compute with; replace them with .filled(value)")
    if element.name == "string":
        return _strings(value, where)
    if isinstance(value, np.ndarray):
        array = value
    elif isinstance(value, np.generic):
        array = np.asarray(value)
    elif isinstance(value, (bool, int, float, complex, list, tuple)):
        array = _from_python(value, element, where)
    else:
        array = _as_array(value, where)
    return _carried(array, element, where)


def _has_mask(value: object, depth: int = 0) -> bool:
    """Whether an array, or one in a list, has masked elements: np.asarray would drop the mask.

    What lies deeper than an array can have dimensions is np.asarray's to refuse.
    """
    if isinstance(value, (list, tuple)):
        return depth <= _MOST_DIMENSIONS and any(
            isinstance(item, (list, tuple, np.ma.MaskedArray)) and _has_mask(item, depth + 1)
            for item in value
        )
    return isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value)


def _as_array(value: object, where: str, dtype: type[object] | None = None) -> Array:
    try:
        array = np.asarray(value, dtype=dtype)
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        _reject(where, f"{type(value).__name__} cannot be read as an array: {error}")
    if array.dtype.kind == "O" and dtype is None:
        _reject(where, f"{type(value).__name__} cannot be read as an array of numbers")
    return array


def _carried(array: Array, element: Element, where: str) -> Array:
    """`array` in native byte order, contiguous and aligned, with the carrier's element type."""
    dtype = array.dtype
    if dtype == element.carrier:
        if not element.native and element.bits < 8:
            _check_codes(array, element, where)
    elif element.extended is not None and dtype == element.extended:
        array = array.astype(np.int8) if element.signed_sub_byte else array.view(element.carrier)
    elif dtype.newbyteorder("=") != element.carrier:
        target = f"numpy.{element.name}" if element.native else f"ml_dtypes.{element.name}"
        raw = "" if element.native else f", or pass the raw values as {element.carrier.name}"
        _reject(
            where, f"expected dtype {element.name}, got {dtype.name}; convert it with .astype({target}){raw}"
        )
    array = np.asarray(array, dtype=element.carrier, order="C")
    if element.name == "bool" and array.size and array.view(np.uint8).max() > 1:
        array = array.view(np.uint8) != 0  # a view of other bytes; kernels count on 0 and 1
    return array if array.flags.aligned else array.copy(order="C")


def _check_codes(array: Array, element: Element, where: str) -> None:
    """Raise InvalidInput unless each raw value fits into the bits of `element`."""
    low, high = 0, (1 << element.bits) - 1
    if element.signed_sub_byte:
        low, high = -(1 << (element.bits - 1)), (1 << (element.bits - 1)) - 1
    if array.size and (int(array.min()) < low or int(array.max()) > high):
        _reject(where, f"raw values of {element.name} lie in {low}..{high}, got {array.min()}..{array.max()}")


def _from_python(value: object, element: Element, where: str) -> Array:
    """Python numbers, or lists of them, in the declared type where that loses no kind and no range."""
    found = _as_array(value, where)
    if found.size == 0:
        return np.empty(found.shape, element.carrier)
    target = element.public
    kind, have = _target_kind(element), found.dtype.kind
    if have not in _KIND_ORDER or _KIND_ORDER[have] > _KIND_ORDER[kind]:
        _reject(where, f"expected values of dtype {element.name}, got {_kind_name(found)}")
    if kind in "ui":
        low, high = _integer_range(element)
        smallest, largest = int(found.min()), int(found.max())
        if smallest < low or largest > high:
            outside = smallest if smallest < low else largest
            _reject(where, f"{outside} does not fit into {element.name} ({low}..{high})")
    elif not element.native and element.extended is None:
        _reject(
            where, f"numbers become {element.name} only where ml_dtypes is installed (pip install ml_dtypes)"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        array = found.astype(target)
    if kind == "f" and bool(np.any(np.isfinite(found) & ~np.isfinite(array.astype(np.float64)))):
        _reject(where, f"a value lies outside the range of {element.name}")
    return array


def _target_kind(element: Element) -> str:
    if element.native:
        return element.carrier.kind
    if element.name.startswith("uint"):
        return "u"
    return "i" if element.name.startswith("int") else "f"


def _kind_name(array: Array) -> str:
    names = {"b": "bool", "i": "integers", "u": "integers", "f": "floats", "c": "complex numbers"}
    return names.get(array.dtype.kind, f"values of dtype {array.dtype.name}")


def _integer_range(element: Element) -> tuple[int, int]:
    if element.name.startswith("uint"):
        return 0, (1 << element.bits) - 1
    return -(1 << (element.bits - 1)), (1 << (element.bits - 1)) - 1


def _strings(value: object, where: str) -> Array:
    """A contiguous object array of bytes in UTF-8, of str or bytes in any array or list."""
    array = value if isinstance(value, np.ndarray) else _as_array(value, where, object)
    if array.dtype.kind not in "OUST":
        _reject(where, f"expected strings, got dtype {array.dtype.name}")
    result = np.empty(array.shape, object)
    flat = result.reshape(-1)
    for i, item in enumerate(array.astype(object).reshape(-1)):
        if isinstance(item, str):
            try:
                flat[i] = item.encode("utf-8", "surrogateescape")
            except UnicodeEncodeError as error:
                _reject(where, f"item {i} cannot be written as UTF-8: {error}")
        elif isinstance(item, bytes):
            flat[i] = bytes(item)
        else:
            _reject(where, f"expected strings, got {type(item).__name__} at item {i}")
    return result
