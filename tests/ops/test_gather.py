import numpy as np
import pytest

import pyinfer
from dtypes_for_tests import MOVABLE, numbered
from nodes import check


@pytest.mark.parametrize("dtype", MOVABLE)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather(dtype, axis):
    x = numbered(dtype, 3, 5, 4)
    for indices in [
        np.array([[0, 2], [-1, 1]]),
        np.array(1),
        np.array([], np.int64),
        np.array([[-3]], np.int32),
    ]:
        check("Gather", [x, indices], {"axis": axis}, expected=[np.take(x, indices, axis)])


def test_gather_of_many_rows():
    rng = np.random.default_rng(1)
    table = rng.random((1000, 96), np.float32)
    ids = rng.integers(-1000, 1000, (40, 77))
    check("Gather", [table, ids], expected=[table[ids]])
    wide = rng.random((3000, 2, 50), np.float32)
    check("Gather", [wide, np.array([1, 0, 1])], {"axis": 1}, expected=[wide[:, [1, 0, 1]]])
    check("Gather", [wide, ids % 50], {"axis": 2}, expected=[wide[:, :, ids % 50]])


@pytest.mark.parametrize("bad", [3, -4, 2**31, -(2**63), 2**63 - 1])
def test_gather_refuses_indices_out_of_range(bad):
    x = np.zeros((3, 3), np.float32)
    for op, index in [
        ("Gather", np.array([0, bad])),
        ("GatherElements", np.array([[0, bad]])),
        ("GatherND", np.array([[0, bad]])),
    ]:
        with pytest.raises(pyinfer.PyInferError):
            check(op, [x, index])


def test_gather_refuses():
    x = np.zeros((3, 3), np.float32)
    for axis in [2, -3]:
        with pytest.raises(pyinfer.PyInferError):
            check("Gather", [x, np.array([0])], {"axis": axis})
    with pytest.raises(pyinfer.PyInferError):
        check("Gather", [np.zeros((0, 3), np.float32), np.array([0])])
    with pytest.raises(pyinfer.PyInferError):
        check("Gather", [x, np.array([0.0], np.float32)])


@pytest.mark.parametrize("dtype", MOVABLE)
@pytest.mark.parametrize("axis", [0, 1, 2, -2])
def test_gather_elements(dtype, axis):
    x = numbered(dtype, 3, 4, 5)
    rng = np.random.default_rng(2)
    dims = [3, 4, 5]
    dims[axis] = 7
    n = x.shape[axis]
    indices = rng.integers(-n, n, dims)
    expected = np.take_along_axis(x, indices % n, axis)
    check("GatherElements", [x, indices], {"axis": axis}, expected=[expected])
    part = indices[:2, :2, :3].astype(np.int32)
    at = list(np.indices(part.shape))
    at[axis] = part % n
    check("GatherElements", [x, part], {"axis": axis}, expected=[x[tuple(at)]])


def test_gather_elements_refuses():
    x = np.zeros((3, 4), np.float32)
    for index in [np.zeros((4, 4), np.int64), np.zeros((3,), np.int64), np.zeros((3, 4, 1), np.int64)]:
        with pytest.raises(pyinfer.PyInferError):
            check("GatherElements", [x, index], {"axis": 1})


@pytest.mark.parametrize("dtype", MOVABLE)
def test_gather_nd(dtype):
    x = numbered(dtype, 2, 3, 4)
    rng = np.random.default_rng(3)
    for depth in (1, 2, 3):
        indices = np.stack([rng.integers(-n, n, (5, 2)) for n in x.shape[:depth]], -1)
        check("GatherND", [x, indices], expected=[x[tuple(np.moveaxis(indices, -1, 0))]])
    for depth in (1, 2):
        indices = np.stack([rng.integers(-n, n, (2, 6)) for n in x.shape[1 : 1 + depth]], -1)
        expected = np.stack([x[b][tuple(np.moveaxis(indices[b], -1, 0))] for b in range(2)])
        check("GatherND", [x, indices], {"batch_dims": 1}, expected=[expected])


@pytest.mark.parametrize(
    ("dims", "batch_dims"),
    [((2, 4), 0), ((2, 0), 0), ((3, 1), 1), ((2, 3, 3), 1), ((2, 1), -1), ((2, 1), 2), ((), 0)],
)
def test_gather_nd_refuses(dims, batch_dims):
    with pytest.raises(pyinfer.PyInferError):
        check(
            "GatherND",
            [np.zeros((2, 3, 4), np.float32), np.zeros(dims, np.int64)],
            {"batch_dims": batch_dims},
        )
