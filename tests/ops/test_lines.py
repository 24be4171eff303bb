"""ArgMax, ArgMin, CumSum, CumProd, TopK: along one axis."""

import ml_dtypes
import numpy as np
import pytest

import pyinfer
from nodes import check

FLOATS = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]
INTEGERS = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]
SHAPES = [
    ((7,), 0),
    ((3, 5), 1),
    ((3, 5), 0),
    ((2, 4, 3), -2),
    ((2, 1, 3), 1),
    ((0, 3), 1),
    ((1500, 3), 0),
    ((3, 2100), 0),
]


@pytest.mark.parametrize("dtype", FLOATS + INTEGERS)
@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("last", [0, 1])
def test_arg_extreme(dtype, op, last):
    rng = np.random.default_rng(0)
    find = np.argmax if op == "ArgMax" else np.argmin
    for dims, axis in SHAPES:
        x = rng.integers(0, 5, dims).astype(dtype)
        wide = x.astype(np.float64)
        index = dims[axis] - 1 - find(np.flip(wide, axis), axis) if last else find(wide, axis)
        for keep in (0, 1):
            attributes = {"axis": axis, "keepdims": keep, "select_last_index": last}
            expected = np.asarray(np.expand_dims(index, axis) if keep else index)
            check(op, [x], attributes, expected=[expected])


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
def test_arg_extreme_of_nan(op):
    x = np.array([[1, np.nan, 3, np.nan], [np.nan, 5, 6, 7], [-np.inf, np.inf, 0, -np.inf]], np.float32)
    first = [1, 0, 1 if op == "ArgMax" else 0]
    last = [3, 0, 1 if op == "ArgMax" else 3]
    for array, axis in [(x, 1), (np.ascontiguousarray(x.T), 0)]:
        check(op, [array], {"axis": axis, "keepdims": 0}, expected=[np.array(first)])
        attributes = {"axis": axis, "keepdims": 0, "select_last_index": 1}
        check(op, [array], attributes, expected=[np.array(last)])


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("length", [1, 63, 64, 65, 130, 1000])
def test_arg_extreme_of_long_lines(op, length):
    rng = np.random.default_rng(length)
    x = rng.integers(0, 4, (30, length)).astype(np.float32)
    x[10:20][rng.random((10, length)) < 2 / length] = np.nan
    x[20:] = rng.choice([np.inf, -np.inf, 0.0, -0.0], (10, length))
    find = np.argmax if op == "ArgMax" else np.argmin
    first, last = find(x, 1), length - 1 - find(x[:, ::-1], 1)
    for array, axis in [(x, 1), (np.ascontiguousarray(x.T), 0)]:
        check(op, [array], {"axis": axis, "keepdims": 0}, expected=[first])
        check(op, [array], {"axis": axis, "keepdims": 0, "select_last_index": 1}, expected=[last])


@pytest.mark.parametrize(("dims", "axis"), [((2, 0), 1), ((2, 3), 2), ((2, 3), -3), ((), 0)])
@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
def test_arg_extreme_refuses(op, dims, axis):
    with pytest.raises(pyinfer.PyInferError):
        check(op, [np.zeros(dims, np.float32)], {"axis": axis}, expected=[])


def cumulative(op, x, axis, exclusive, reverse):
    if reverse:
        x = np.flip(x, axis)
    y = (np.cumsum if op == "CumSum" else np.cumprod)(x, axis)
    if exclusive:
        head = np.full_like(np.take(y, [0], axis), 0 if op == "CumSum" else 1) if y.shape[axis] else y
        y = np.concatenate([head, np.take(y, range(max(y.shape[axis] - 1, 0)), axis)], axis)
    return np.flip(y, axis) if reverse else y


@pytest.mark.parametrize("dtype", [*FLOATS, np.int32, np.uint32, np.int64, np.uint64])
@pytest.mark.parametrize("op", ["CumSum", "CumProd"])
@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
def test_cumulative(op, dtype, exclusive, reverse):
    rng = np.random.default_rng(1)
    for dims, axis in SHAPES:
        x = rng.integers(1, 3 if dims[axis] < 10 else 2, dims).astype(dtype)
        wide = x.astype(np.float64 if x.dtype.kind in "fV" else x.dtype)
        expected = cumulative(op, wide, axis, exclusive, reverse).astype(dtype)
        attributes = {"exclusive": exclusive, "reverse": reverse}
        for index in (np.array(axis), np.array(axis, np.int32), np.array([axis])):
            check(op, [x, index], attributes, expected=[expected])


def test_cumulative_wraps_around():
    x = np.array([2**31 - 1, 1, 5], np.int32)
    with np.errstate(over="ignore"):
        check("CumSum", [x, np.array(0)], expected=[np.cumsum(x, dtype=np.int32)])
        check("CumProd", [x, np.array(0)], expected=[np.cumprod(x, dtype=np.int32)])


def test_cumulative_refuses():
    x = np.zeros((2, 3), np.float32)
    for op in ("CumSum", "CumProd"):
        for value, axis in [
            (x, np.array(2)),
            (x, np.array(-3)),
            (x, np.array([0, 1])),
            (x[0, 0], np.array(0)),
        ]:
            with pytest.raises(pyinfer.PyInferError):
                check(op, [value, axis], expected=[])


@pytest.mark.parametrize("dtype", FLOATS + INTEGERS)
@pytest.mark.parametrize("largest", [0, 1])
def test_top_k(dtype, largest):
    rng = np.random.default_rng(2)
    for dims, axis in SHAPES:
        x = rng.integers(0, 9, dims).astype(dtype)
        if x.dtype.kind in "if" or dtype is ml_dtypes.bfloat16:
            x = x - np.array(4, dtype)
        n = dims[axis]
        wide = x.astype(np.float64)
        order = np.argsort(-wide if largest else wide, axis, kind="stable")
        for k in sorted({0, 1, n // 2, n}):
            index = np.take(order, range(k), axis)
            expected = [np.take_along_axis(x, index, axis), index]
            check(
                "TopK", [x, np.array([k])], {"axis": axis, "largest": largest}, expected=expected, outputs=2
            )


def test_top_k_of_many():
    x = np.random.default_rng(3).standard_normal((3, 20011)).astype(np.float32)
    order = np.argsort(-x, 1, kind="stable")
    for k in (1, 5, 100, 19000):
        expected = [np.take_along_axis(x, order[:, :k], 1), order[:, :k]]
        check("TopK", [x, np.array([k])], expected=expected, outputs=2)


def test_top_k_of_special_values():
    x = np.array([0.0, np.nan, -0.0, np.inf, -np.inf, np.nan, 1e-45], np.float32)
    expected = np.array([1, 5, 3, 6, 0, 2, 4])
    check("TopK", [x, np.array([7])], expected=[x[expected], expected], outputs=2)
    expected = np.array([4, 0, 2, 6, 3, 1, 5])
    check("TopK", [x, np.array([7])], {"largest": 0}, expected=[x[expected], expected], outputs=2)


@pytest.mark.parametrize("k", [[4], [-1], [1, 2], [2**62], []])
def test_top_k_refuses(k):
    with pytest.raises(pyinfer.PyInferError):
        check("TopK", [np.zeros((2, 3), np.float32), np.array(k, np.int64)], expected=[], outputs=2)
