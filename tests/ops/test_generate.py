import ml_dtypes
import numpy as np
import onnx
import pytest

import pyinfer
from dtypes_for_tests import MOVABLE, numbered
from nodes import check


@pytest.mark.parametrize("dtype", [d for d in MOVABLE if d is not np.object_])
@pytest.mark.parametrize("shape", [(2, 3), (0, 4), (), (1,), (70000,)])
def test_constant_of_shape(dtype, shape):
    value = numbered(dtype, 9)[8:]
    for constant in [(0,), ()]:
        check(
            "ConstantOfShape",
            [np.array(shape, np.int64)],
            {"value": onnx.numpy_helper.from_array(value)},
            expected=[np.full(shape, value[0])],
            constant=constant,
        )


def test_constant_of_shape_is_zero_by_default():
    check("ConstantOfShape", [np.array([2, 2])], expected=[np.zeros((2, 2), np.float32)])


@pytest.mark.parametrize("shape", [(-1,), (2**62, 2**62), (2**50,), (1,) * 17])
def test_constant_of_shape_refuses(shape):
    with pytest.raises(pyinfer.PyInferError):
        check("ConstantOfShape", [np.array(shape, np.int64)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.int32, np.int64])
@pytest.mark.parametrize(
    ("start", "limit", "delta"),
    [(0, 5, 1), (3, 9, 3), (10, 4, -2), (1, 1, 1), (5, 1, 1), (-7, 8, 4), (0, 5000, 1)],
)
def test_range(dtype, start, limit, delta):
    inputs = [np.array(v, dtype) for v in (start, limit, delta)]
    check("Range", inputs, expected=[np.arange(start, limit, delta).astype(dtype)])


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_range_of_halves(dtype):
    expected = (np.arange(40, dtype=np.float32) * 0.5 + 1).astype(dtype)
    check("Range", [np.array(v).astype(dtype) for v in (1, 21, 0.5)], expected=[expected])


def test_range_at_the_ends_of_int64():
    low, high = -(2**63), 2**63 - 1
    check("Range", [np.array(v) for v in (low, high, high)], expected=[np.array([low, -1, high - 1])])
    check("Range", [np.array(v) for v in (high, low, low)], expected=[np.array([high, -1])])


@pytest.mark.parametrize(
    "values",
    [
        [np.array(v, np.int64) for v in (0, 5, 0)],
        [np.array(v, np.int64) for v in (-(2**63), 2**63 - 1, 1)],
        [np.array(v, np.float32) for v in (0, 5, np.nan)],
        [np.array(v, np.float32) for v in (0, 0, 0)],
        [np.array(v, np.float32) for v in (0, np.inf, 1)],
        [np.array(v, np.float32) for v in (0, 1e30, 1)],
        [np.array([0, 1]), np.array(5), np.array(1)],
        [np.array(0), np.array(5), np.array(1, np.int32)],
    ],
)
def test_range_refuses(values):
    with pytest.raises(pyinfer.PyInferError):
        check("Range", values)
