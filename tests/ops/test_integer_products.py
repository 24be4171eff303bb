"""MatMulInteger, QLinearMatMul, ConvInteger and QLinearConv against exact integer arithmetic."""

from __future__ import annotations

import itertools
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import pyinfer
from nodes import node_model, run
from windows import conv

BYTES = [np.int8, np.uint8]


def rand(rng: np.random.Generator, shape: Any, dtype: Any) -> np.ndarray:
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype, endpoint=True)


def wrap(x: np.ndarray) -> np.ndarray:
    return x.astype(np.int64).astype(np.uint32).view(np.int32) if np.ndim(x) else np.int64(x).astype(np.int32)


def quantize(sums: np.ndarray, multiplier: np.ndarray, zero: np.ndarray) -> np.ndarray:
    """The definition in float32, in the order that the operators document."""
    info = np.iinfo(zero.dtype)
    value = np.rint(sums.astype(np.float32) * multiplier.astype(np.float32)).astype(np.float64)
    return np.clip(value + int(zero), info.min, info.max).astype(zero.dtype)


# a, b, a_zero, b_zero
MATMUL: list[tuple[Any, ...]] = [
    ((3, 4), (4, 5), None, None),
    ((3, 4), (4, 5), (), ()),
    ((3, 4), (4, 5), (1,), (1,)),
    ((33, 70), (70, 19), (33,), (19,)),
    ((33, 70), (70, 19), (33, 1), (1, 19)),
    ((2, 3, 9), (9, 5), (3,), (5,)),
    ((2, 3, 9), (9, 5), (2, 3, 1), (1, 5)),
    ((2, 3, 9), (2, 9, 5), (1, 3, 1), (2, 1, 5)),
    ((4, 1, 3, 9), (2, 9, 5), (4, 1, 3, 1), (2, 1, 5)),
    ((9,), (9, 5), (), (5,)),
    ((3, 9), (9,), (3,), ()),
    ((9,), (9,), (), ()),
    ((0, 4), (4, 5), (), ()),
    ((3, 0), (0, 5), (), ()),
    ((3, 0), (0, 5), (3,), (5,)),
    ((300, 600), (600, 40), (), ()),
]


@pytest.mark.parametrize(
    "types", list(itertools.product(BYTES, BYTES)), ids=lambda t: f"{t[0].__name__}-{t[1].__name__}"
)
@pytest.mark.parametrize("case", MATMUL, ids=str)
@pytest.mark.parametrize("constant", [(), (1,)], ids=["", "constant"])
def test_matmul_integer(case: Any, types: Any, constant: Any) -> None:
    rng = np.random.default_rng(1)
    a, b = rand(rng, case[0], types[0]), rand(rng, case[1], types[1])
    zeros = [None if s is None else rand(rng, s, t) for s, t in zip(case[2:], types, strict=True)]
    inputs = [a, b, *zeros]
    (y,) = run(node_model("MatMulInteger", inputs, constant=constant), inputs, constant)
    want = wrap(centred(a, zeros[0], True) @ centred(b, zeros[1], False))
    assert y.dtype == np.int32 and y.shape == np.shape(want)
    np.testing.assert_array_equal(y, want)


def centred(x: np.ndarray, zero: np.ndarray | None, rows: bool) -> np.ndarray:
    if zero is None:
        return x.astype(np.int64)
    zero = zero.astype(np.int64)
    if zero.ndim == 1 and zero.size > 1 and rows:
        zero = zero[:, None]
    return x.astype(np.int64) - zero


def test_extremes_do_not_saturate() -> None:
    for a_value, b_value, dtype in [(-128, -128, np.int8), (255, 255, np.uint8)]:
        a, b = np.full((5, 1000), a_value, dtype), np.full((1000, 17), b_value, dtype)
        (y,) = run(node_model("MatMulInteger", [a, b]), [a, b])
        np.testing.assert_array_equal(y, np.full((5, 17), 1000 * a_value * b_value))


@pytest.mark.parametrize(
    "scale_type", [np.float32, np.float16, ml_dtypes.bfloat16], ids=lambda d: np.dtype(d).name
)
@pytest.mark.parametrize(
    "types",
    [(np.uint8, np.int8, np.uint8), (np.int8, np.int8, np.int8), (np.uint8, np.uint8, np.int8)],
    ids=str,
)
@pytest.mark.parametrize("case", [c for c in MATMUL if c[2] is not None], ids=str)
def test_qlinear_matmul(case: Any, types: Any, scale_type: Any) -> None:
    rng = np.random.default_rng(2)
    a, b = rand(rng, case[0], types[0]), rand(rng, case[1], types[1])
    a_zero, b_zero = (rand(rng, s, t) for s, t in zip(case[2:], types[:2], strict=True))
    a_scale, b_scale = ((0.5 + rng.random(s)).astype(scale_type) for s in case[2:])
    y_scale, y_zero = np.asarray(500.0, scale_type), np.asarray(7, types[2])
    inputs = [a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero]
    (y,) = run(node_model("QLinearMatMul", inputs), inputs)
    sums = wrap(centred(a, a_zero, True) @ centred(b, b_zero, False))
    rows, columns = a_scale.astype(np.float32), b_scale.astype(np.float32)
    if rows.ndim == 1 and rows.size > 1:
        rows = rows[:, None] if b.ndim > 1 else rows
    elif b.ndim == 1 and rows.ndim > 1:
        rows = rows[..., 0]
    multiplier = rows * columns / y_scale.astype(np.float32)
    np.testing.assert_array_equal(y, quantize(sums, multiplier, y_zero))
    assert y.dtype == types[2]


FLOAT8 = [
    ml_dtypes.float8_e4m3fn,
    ml_dtypes.float8_e4m3fnuz,
    ml_dtypes.float8_e5m2,
    ml_dtypes.float8_e5m2fnuz,
]


@pytest.mark.parametrize("dtype", FLOAT8, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("case", [c for c in MATMUL[:9] if c[2] is not None], ids=str)
@pytest.mark.parametrize("y_type", [None, np.int8])
def test_qlinear_matmul_float8(case: Any, dtype: Any, y_type: Any) -> None:
    rng = np.random.default_rng(6)
    a, b, a_zero, b_zero = (rng.standard_normal(s).astype(dtype) for s in case)
    a_scale, b_scale = ((0.5 + rng.random(s)).astype(np.float32) for s in case[2:])
    y_scale, y_zero = np.asarray(0.25, np.float32), np.asarray(2, y_type or dtype)
    inputs = [a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero]
    (y,) = run(node_model("QLinearMatMul", inputs), inputs)
    wide = [np.asarray(x, np.float64) for x in inputs]
    rows, row_zero = (x[:, None] if x.ndim == 1 and x.size > 1 else x for x in (wide[1], wide[2]))
    want = ((wide[0] - row_zero) @ (wide[3] - wide[5])) * (rows * wide[4] / wide[6])
    assert y.dtype == y_zero.dtype and y.shape == want.shape
    if y_type:
        near = np.clip(np.rint(want) + 2, -128, 127)
        assert np.max(np.abs(y.astype(np.int64) - near), initial=0) <= 1
        return
    most = float(ml_dtypes.finfo(dtype).max)
    # Half a unit in the last place of the format.
    np.testing.assert_allclose(y.astype(np.float64), np.clip(want + 2, -most, most), rtol=0.13, atol=0.01)


def test_rounds_ties_to_even_and_saturates() -> None:
    a = np.array([[1], [3], [5], [-1], [-3], [127], [-128]], np.int8)
    one = np.array([[1]], np.int8)
    zero8 = np.int8(0)
    inputs = [a, np.float32(1), zero8, one, np.float32(1), zero8, np.float32(2), zero8]
    inputs = [np.asarray(x) for x in inputs]
    (y,) = run(node_model("QLinearMatMul", inputs), inputs)
    np.testing.assert_array_equal(y[:, 0], [0, 2, 2, 0, -2, 64, -64])
    inputs[6] = np.asarray(np.float32(1e-30))
    (y,) = run(node_model("QLinearMatMul", inputs), inputs)
    np.testing.assert_array_equal(y[:, 0], [127, 127, 127, -128, -128, 127, -128])


@pytest.mark.parametrize(
    "zeros", [((2,), ()), ((), (3,)), ((3, 5), ()), ((1, 3), ()), ((), (5, 1)), ((3, 1, 1), ())], ids=str
)
def test_matmul_refuses_zero_points(zeros: Any) -> None:
    inputs = [np.ones(s, np.uint8) for s in ((3, 4), (4, 5), *zeros)]
    with pytest.raises(pyinfer.InvalidInput, match="zero point"):
        run(node_model("MatMulInteger", inputs), inputs)


# x, w, attributes
CONV: list[tuple[Any, ...]] = [
    ((2, 3, 7, 8), (5, 3, 3, 3), {"pads": (1, 1, 1, 1)}),
    ((1, 16, 6, 6), (33, 16, 1, 1), {}),
    ((2, 6, 8, 8), (9, 2, 3, 3), {"group": 3, "strides": (2, 1)}),
    ((2, 24, 6, 6), (24, 1, 3, 3), {"group": 24, "pads": (1, 1, 1, 1)}),
    ((1, 4, 9, 9), (8, 4, 3, 2), {"dilations": (2, 3), "pads": (2, 0, 1, 3)}),
    ((2, 3, 20), (7, 3, 5), {"pads": (2, 2)}),
    ((1, 2, 4, 5, 4), (3, 2, 2, 2, 2), {}),
    ((0, 3, 4, 4), (5, 3, 3, 3), {}),
    ((2, 0, 4, 4), (5, 0, 3, 3), {}),
    ((2, 64, 14, 14), (40, 64, 3, 3), {"pads": (1, 1, 1, 1)}),
]


def exact_conv(x: np.ndarray, w: np.ndarray, attrs: dict[str, Any]) -> np.ndarray:
    rank = x.ndim - 2
    geometry = (
        attrs.get("strides", (1,) * rank),
        attrs.get("pads", (0,) * 2 * rank),
        attrs.get("dilations", (1,) * rank),
        attrs.get("group", 1),
    )
    return wrap(conv(x, w, *geometry, dtype=np.int64))


@pytest.mark.parametrize(
    "types", list(itertools.product(BYTES, BYTES)), ids=lambda t: f"{t[0].__name__}-{t[1].__name__}"
)
@pytest.mark.parametrize("case", CONV, ids=str)
@pytest.mark.parametrize("zero", ["none", "scalar", "per channel"])
def test_conv_integer(case: Any, types: Any, zero: str) -> None:
    rng = np.random.default_rng(3)
    x, w = rand(rng, case[0], types[0]), rand(rng, case[1], types[1])
    x_zero = None if zero == "none" else rand(rng, (), types[0])
    w_zero = None if zero == "none" else rand(rng, () if zero == "scalar" else (w.shape[0],), types[1])
    column = 0 if w_zero is None else w_zero.astype(np.int64).reshape(-1, *[1] * (w.ndim - 1))
    want = exact_conv(
        x.astype(np.int64) - (0 if x_zero is None else int(x_zero)), w.astype(np.int64) - column, case[2]
    )
    inputs = [x, w, x_zero, w_zero]
    for constant in [(), (1,)]:
        (y,) = run(node_model("ConvInteger", inputs, case[2], constant=constant), inputs, constant)
        assert y.dtype == np.int32
        np.testing.assert_array_equal(y, want)
    inputs[0] = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    (y,) = run(node_model("ConvIntegerNhwc", inputs, case[2], domain="pyinfer"), inputs)
    np.testing.assert_array_equal(np.moveaxis(y, -1, 1), want)


@pytest.mark.parametrize(
    "types",
    [(np.uint8, np.int8, np.uint8), (np.int8, np.int8, np.int8), (np.uint8, np.uint8, np.int8)],
    ids=str,
)
@pytest.mark.parametrize("case", CONV, ids=str)
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
def test_qlinear_conv(case: Any, types: Any, per_channel: bool, with_bias: bool) -> None:
    rng = np.random.default_rng(4)
    x, w = rand(rng, case[0], types[0]), rand(rng, case[1], types[1])
    lines = (w.shape[0],) if per_channel else ()
    x_zero, w_zero, y_zero = rand(rng, (), types[0]), rand(rng, lines, types[1]), np.asarray(100, types[2])
    x_scale, w_scale = np.asarray(0.02, np.float32), (0.5 + rng.random(lines)).astype(np.float32)
    y_scale = np.asarray(3.0, np.float32)
    bias = rng.integers(-9999, 9999, w.shape[0], np.int32) if with_bias else None
    shape = (-1, *[1] * (w.ndim - 2))
    sums = exact_conv(
        x.astype(np.int64) - int(x_zero),
        w.astype(np.int64) - w_zero.astype(np.int64).reshape(-1, *[1] * (w.ndim - 1)),
        case[2],
    )
    if bias is not None:
        sums = sums + bias.reshape(shape)
    want = quantize(sums, (x_scale * w_scale / y_scale).reshape(shape), y_zero)
    inputs = [x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias]
    for constant in [(), (3,)]:
        (y,) = run(node_model("QLinearConv", inputs, case[2], constant=constant), inputs, constant)
        assert y.dtype == types[2]
        np.testing.assert_array_equal(y, want)
    inputs[0] = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    (y,) = run(node_model("QLinearConvNhwc", inputs, case[2], domain="pyinfer"), inputs)
    np.testing.assert_array_equal(np.moveaxis(y, -1, 1), want)


def test_threads_agree() -> None:
    rng = np.random.default_rng(5)
    x, w = rand(rng, (4, 32, 20, 20), np.uint8), rand(rng, (48, 32, 3, 3), np.int8)
    model = node_model("ConvInteger", [x, w], {"pads": (1, 1, 1, 1)}, constant=(1,))
    np.testing.assert_array_equal(pyinfer.load(model, threads=1)(x), pyinfer.load(model, threads=2)(x))
    a, b = rand(rng, (300, 200), np.uint8), rand(rng, (200, 300), np.int8)
    model = node_model("MatMulInteger", [a, b], constant=(1,))
    np.testing.assert_array_equal(pyinfer.load(model, threads=1)(a), pyinfer.load(model, threads=2)(a))


@pytest.mark.parametrize("zeros", [((2,), ()), ((), (3,)), ((1, 1), ())], ids=str)
def test_conv_refuses_zero_points(zeros: Any) -> None:
    inputs = [np.ones(s, np.uint8) for s in ((1, 2, 4, 4), (5, 2, 3, 3), *zeros)]
    with pytest.raises(pyinfer.InvalidInput, match="values"):
        run(node_model("ConvInteger", inputs), inputs)


def test_refuses_types() -> None:
    x, w = np.ones((1, 2, 4, 4), np.uint8), np.ones((5, 2, 3, 3), np.uint8)
    with pytest.raises(pyinfer.InvalidModel):
        pyinfer.load(node_model("ConvInteger", [x, w, np.int8(0)]))
    with pytest.raises(pyinfer.UnsupportedModel):
        pyinfer.load(node_model("ConvInteger", [x.astype(np.float32), w]))
