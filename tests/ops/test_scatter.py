import ml_dtypes
import numpy as np
import pytest

import pyinfer
from dtypes_for_tests import MOVABLE, numbered
from nodes import check

NUMBERS = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.int8, np.uint8, np.int64, np.uint32]
FUNCTIONS = {
    "none": lambda a, b: b,
    "add": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "max": max,
    "min": min,
}


def scatter_elements(x, indices, updates, axis, reduction):
    y = x.copy()
    for at in np.ndindex(indices.shape):
        to = list(at)
        to[axis] = int(indices[at])
        to = tuple(to)
        y[to] = FUNCTIONS[reduction](y[to], updates[at])
    return y


@pytest.mark.parametrize("dtype", MOVABLE)
@pytest.mark.parametrize("op", ["ScatterElements", "Scatter"])
def test_scatter_elements_of_every_type(dtype, op):
    x, updates = numbered(dtype, 3, 4, 2), numbered(dtype, 60)[36:].reshape(3, 4, 2)[:2, :3]
    indices = np.array([[[3, 0], [1, -4], [0, 2]], [[0, 1], [-1, 2], [2, 3]]])
    expected = scatter_elements(x, indices, updates, 1, "none")
    opset = 9 if op == "Scatter" else None
    if op == "Scatter" and x.dtype.name in ("bfloat16", "float8_e4m3fn", "int4"):
        pytest.skip("newer than Scatter")
    check(op, [x, indices, updates], {"axis": 1}, expected=[expected], opset=opset)


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("reduction", ["add", "mul", "max", "min"])
@pytest.mark.parametrize("axis", [0, -1])
def test_scatter_elements_reduces(dtype, reduction, axis):
    rng = np.random.default_rng(1)
    x = rng.integers(0, 4, (5, 6)).astype(dtype)
    dims = [5, 6]
    dims[axis] = 9
    indices = rng.integers(-x.shape[axis], x.shape[axis], dims).astype(np.int32)
    updates = rng.integers(0, 3, dims).astype(dtype)
    with np.errstate(over="ignore"):
        expected = scatter_elements(x, indices, updates, axis, reduction)
    attributes = {"axis": axis, "reduction": reduction}
    check("ScatterElements", [x, indices, updates], attributes, expected=[expected])


@pytest.mark.parametrize("dtype", MOVABLE)
def test_scatter_nd_of_every_type(dtype):
    x = numbered(dtype, 4, 3, 2)
    for indices, dims in [
        (np.array([[0], [-2]]), (2, 3, 2)),
        (np.array([[[0, 1], [3, -1]]]), (1, 2, 2)),
        (np.array([[3, 2, 1]]), (1,)),
        (np.array([1]), (3, 2)),
        (np.zeros((0, 2), np.int64), (0, 2)),
        (np.zeros((1, 0), np.int64), (1, 4, 3, 2)),
    ]:
        updates = numbered(dtype, 80)[50 : 50 + int(np.prod(dims))].reshape(dims)
        expected = x.copy()
        for at in np.ndindex(indices.shape[:-1]):
            expected[tuple(indices[at])] = updates[at]
        check("ScatterND", [x, indices, updates], expected=[expected])


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("reduction", ["add", "mul", "max", "min"])
def test_scatter_nd_reduces(dtype, reduction):
    rng = np.random.default_rng(2)
    x = rng.integers(0, 4, (4, 3, 2)).astype(dtype)
    indices = np.stack([rng.integers(-4, 4, 7), rng.integers(-3, 3, 7)], -1)
    updates = rng.integers(0, 3, (7, 2)).astype(dtype)
    expected = x.copy()
    for at, update in zip(indices, updates, strict=True):
        for j in range(2):
            to = (*at, j)
            expected[to] = FUNCTIONS[reduction](expected[to], update[j])
    check("ScatterND", [x, indices, updates], {"reduction": reduction}, expected=[expected])


def test_scatter_reduces_bool():
    x, indices = np.array([True, False, True, False]), np.array([[0], [1], [2], [3]])
    updates = np.array([True, True, False, False])
    check("ScatterND", [x, indices, updates], {"reduction": "max"}, expected=[x | updates])
    check("ScatterND", [x, indices, updates], {"reduction": "mul"}, expected=[x & updates])


def test_nan_wins_in_scatter():
    x, indices = np.array([np.nan, 1, 2], np.float32), np.array([0, 1, 2])
    updates = np.array([5, np.nan, 7], np.float32)
    for reduction in ("max", "min"):
        value = 7 if reduction == "max" else 2
        expected = np.array([np.nan, np.nan, value], np.float32)
        check("ScatterElements", [x, indices, updates], {"reduction": reduction}, expected=[expected])


@pytest.mark.parametrize(
    ("op", "indices", "updates", "attributes"),
    [
        ("ScatterElements", np.array([[3]]), (1, 1), {}),
        ("ScatterElements", np.array([[-4]]), (1, 1), {}),
        ("ScatterElements", np.array([[0]]), (1, 2), {}),
        ("ScatterElements", np.array([0]), (1,), {}),
        ("ScatterElements", np.zeros((1, 4), np.int64), (1, 4), {}),
        ("ScatterElements", np.array([[0]]), (1, 1), {"axis": 2}),
        ("ScatterElements", np.array([[0]]), (1, 1), {"reduction": "median"}),
        ("ScatterND", np.array([[3]]), (1, 3), {}),
        ("ScatterND", np.array([[-(2**63)]]), (1, 3), {}),
        ("ScatterND", np.array([[0]]), (1, 4), {}),
        ("ScatterND", np.array([[0, 0, 0]]), (1,), {}),
        ("ScatterND", np.array(0), (3,), {}),
    ],
)
def test_scatter_refuses(op, indices, updates, attributes):
    x = np.zeros((3, 3), np.float32)
    with pytest.raises(pyinfer.PyInferError):
        check(op, [x, indices, np.zeros(updates, np.float32)], attributes, expected=[])


@pytest.mark.parametrize(
    "dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.int8, ml_dtypes.float8_e4m3fn]
)
@pytest.mark.parametrize("mode", ["linear", "circular"])
def test_tensor_scatter(dtype, mode):
    cache, update = numbered(dtype, 2, 3, 5, 4), numbered(dtype, 2, 3, 2, 4)
    at = np.array([3, 0]) if mode == "linear" else np.array([4, 12])
    for axis in (-2, 2):
        expected = cache.copy()
        for b in range(2):
            for t in range(2):
                expected[b, :, (at[b] + t) % 5] = update[b, :, t]
        check("TensorScatter", [cache, update, at], {"axis": axis, "mode": mode}, expected=[expected])
    expected = cache.copy()
    expected[:, :, :2] = update
    check("TensorScatter", [cache, update], {"mode": mode}, expected=[expected])


@pytest.mark.parametrize(
    ("update", "at", "attributes"),
    [
        ((2, 2, 4), np.array([4, 0]), {}),
        ((2, 2, 4), np.array([-1, 0]), {}),
        ((2, 2, 4), np.array([2**63 - 1, 0]), {}),
        ((2, 6, 4), np.array([0, 0]), {}),
        ((2, 2, 3), np.array([0, 0]), {}),
        ((2, 2, 4), np.array([0]), {}),
        ((2, 5, 4), np.array([0, 0]), {"axis": 0}),
        ((2, 2, 4), np.array([0, 0]), {"mode": "spiral"}),
    ],
)
def test_tensor_scatter_refuses(update, at, attributes):
    with pytest.raises(pyinfer.PyInferError):
        inputs = [np.zeros((2, 5, 4), np.float32), np.zeros(update, np.float32), at]
        check("TensorScatter", inputs, attributes, expected=[])
