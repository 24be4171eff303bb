import numpy as np
import pytest

import pyinfer
from dtypes_for_tests import MOVABLE, numbered
from nodes import check


def shape_input(*dims):
    return np.array(dims, np.int64)


@pytest.mark.parametrize("constant", [(1,), ()])
@pytest.mark.parametrize(
    ("dims", "shape", "allowzero", "expected"),
    [
        ((2, 3, 4), (4, 6), 0, (4, 6)),
        ((2, 3, 4), (0, -1), 0, (2, 12)),
        ((2, 3, 4), (-1,), 0, (24,)),
        ((2, 0, 4), (0, 0, 4), 0, (2, 0, 4)),
        ((2, 0, 4), (0, 5), 1, (0, 5)),
        ((1,), (), 0, ()),
        ((), (1, -1), 0, (1, 1)),
        ((0,), (3, -1), 0, (3, 0)),
    ],
)
def test_reshape(dims, shape, allowzero, expected, constant):
    x = np.random.default_rng(0).random(dims, np.float32)
    inputs = [x, shape_input(*shape)]
    check("Reshape", inputs, {"allowzero": allowzero}, expected=[x.reshape(expected)], constant=constant)


@pytest.mark.parametrize("dtype", MOVABLE)
def test_reshape_of_every_type(dtype):
    x = numbered(dtype, 2, 6)
    check("Reshape", [x, shape_input(3, 4)], expected=[x.reshape(3, 4)])


@pytest.mark.parametrize(
    ("dims", "shape"),
    [
        ((2, 3), (4, -1)),
        ((2, 3), (5,)),
        ((2, 3), (-1, -1)),
        ((2, 3), (-2, 3)),
        ((2, 3), (2, 3, 0)),
        ((0, 3), (0, -1)),
        ((2, 3), (2**62, 2**62)),
        ((2, 3), (1,) * 17),
    ],
)
def test_reshape_refuses(dims, shape):
    with pytest.raises(pyinfer.PyInferError):
        check("Reshape", [np.zeros(dims, np.float32), shape_input(*shape)])


@pytest.mark.parametrize("axis", [-3, -1, 0, 1, 3])
def test_flatten(axis):
    x = numbered(np.float32, 2, 3, 4)
    check("Flatten", [x], {"axis": axis}, expected=[x.reshape(int(np.prod(x.shape[:axis])), -1)])


@pytest.mark.parametrize("axis", [-4, 4, -(2**63), 2**63 - 1])
def test_flatten_refuses(axis):
    with pytest.raises(pyinfer.PyInferError):
        check("Flatten", [np.zeros((2, 3, 4), np.float32)], {"axis": axis})


def test_squeeze():
    x = numbered(np.float32, 1, 3, 1, 2, 1)
    check("Squeeze", [x], expected=[x.squeeze()])
    check("Squeeze", [x, shape_input(0, -1)], expected=[x.squeeze((0, -1))])
    check("Squeeze", [x, shape_input()], expected=[x])


@pytest.mark.parametrize("axes", [(1,), (5,), (-6,), (0, 0), (0, -5)])
def test_squeeze_refuses(axes):
    with pytest.raises(pyinfer.PyInferError):
        check("Squeeze", [np.zeros((1, 3, 1, 2, 1), np.float32), shape_input(*axes)])


@pytest.mark.parametrize("axes", [(0,), (-1,), (2, 0), (0, 1, 4), ()])
def test_unsqueeze(axes):
    x = numbered(np.float32, 3, 2)
    check("Unsqueeze", [x, shape_input(*axes)], expected=[np.expand_dims(x, axes)])


@pytest.mark.parametrize("axes", [(3,), (-4,), (0, 0), (0, -4), tuple(range(15))])
def test_unsqueeze_refuses(axes):
    with pytest.raises(pyinfer.PyInferError):
        check("Unsqueeze", [np.zeros((3, 2), np.float32), shape_input(*axes)])
