"""NonZero, Compress, Unique, OneHot, Trilu, ReverseSequence."""

import ml_dtypes
import numpy as np
import pytest

import pyinfer
from dtypes_for_tests import MOVABLE, numbered
from nodes import check


@pytest.mark.parametrize(
    "dtype",
    [
        np.bool_,
        np.uint8,
        np.int16,
        np.float16,
        ml_dtypes.bfloat16,
        np.float32,
        np.float64,
        np.int64,
        np.complex64,
    ],
)
@pytest.mark.parametrize("dims", [(3, 4, 5), (7,), (0, 3), (2, 0), (1, 1)])
def test_non_zero(dtype, dims):
    x = np.random.default_rng(0).integers(0, 3, dims).astype(dtype)
    x[x == x.dtype.type(1)] = x.dtype.type(0)
    check("NonZero", [x], expected=[np.array(np.nonzero(x))])


def test_non_zero_of_special_values():
    x = np.array([0.0, -0.0, np.nan, np.inf, 1e-45, -1e-45], np.float32)
    check("NonZero", [x], expected=[np.array([[2, 3, 4, 5]])])
    check("NonZero", [x.astype(np.float64)], expected=[np.array([[2, 3, 4, 5]])])
    check("NonZero", [np.array([-0j, 1j, -1.0])], expected=[np.array([[1, 2]])])
    check("NonZero", [np.array(["", "a"], object)], expected=[np.array([[1]])])
    check("NonZero", [np.array(3.0, np.float32)], expected=[np.zeros((0, 1), np.int64)])


@pytest.mark.parametrize("dtype", MOVABLE)
def test_compress(dtype):
    x = numbered(dtype, 3, 4, 2)
    rng = np.random.default_rng(1)
    for axis in (0, 1, -1, None):
        n = x.size if axis is None else x.shape[axis]
        for length in (n, max(n - 1, 0), 0):
            keep = rng.random(length) < 0.5
            attributes = {} if axis is None else {"axis": axis}
            check("Compress", [x, keep], attributes, expected=[np.compress(keep, x, axis)])


def test_compress_refuses():
    x = np.zeros((3, 4), np.float32)
    for condition, axis in [(np.ones((2, 2), bool), 0), (np.ones(3, bool), 2), (np.ones(3, np.int64), 0)]:
        with pytest.raises(pyinfer.PyInferError):
            check("Compress", [x, condition], {"axis": axis}, expected=[])


@pytest.mark.parametrize(
    "dtype", [np.float32, np.float64, np.float16, np.int8, np.int64, np.uint16, np.bool_, np.object_]
)
@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_unique(dtype, in_order, axis):
    rng = np.random.default_rng(2)
    for dims in [(4, 3, 2), (30, 1, 2), (2, 9, 1), (5, 1, 40)]:
        x = rng.integers(0, 2, dims)
        if dtype is np.object_:
            x = np.array(["b", "a", "aa"], object)[x]
        else:
            x = x.astype(dtype)
        moved = x.reshape(-1, 1) if axis is None else np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)
        rows = [tuple(r) for r in moved.tolist()]
        distinct = sorted(set(rows)) if in_order else list(dict.fromkeys(rows))
        first = [rows.index(d) for d in distinct]
        inverse = [distinct.index(r) for r in rows]
        counts = [rows.count(d) for d in distinct]
        y = np.take(x.ravel() if axis is None else x, first, 0 if axis is None else axis)
        attributes = {"sorted": int(in_order)} | ({} if axis is None else {"axis": axis})
        expected = [y, *(np.array(v, np.int64) for v in (first, inverse, counts))]
        check("Unique", [x], attributes, expected=expected, outputs=4)
        check("Unique", [x], attributes, expected=expected[:1])


def test_unique_of_special_values():
    x = np.array([np.nan, 0.0, -0.0, np.inf, np.nan, -np.inf], np.float32)
    expected = [np.array([-np.inf, 0, np.inf, np.nan], np.float32), np.array([5, 1, 3, 0])]
    check(
        "Unique", [x], expected=[*expected, np.array([3, 1, 1, 2, 3, 0]), np.array([1, 2, 1, 2])], outputs=4
    )
    z = np.array([1 + 2j, 1 - 1j, 0 + 5j, 1 + 2j])
    check("Unique", [z], expected=[np.array([5j, 1 - 1j, 1 + 2j])])
    check("Unique", [np.zeros((0,), np.float32)], expected=[np.zeros((0,), np.float32)])
    check("Unique", [np.zeros((2, 0), np.float32)], {"axis": 0}, expected=[np.zeros((1, 0), np.float32)])


@pytest.mark.parametrize("dtype", MOVABLE)
@pytest.mark.parametrize("axis", [-1, 0, 1, -2])
def test_one_hot(dtype, axis):
    values = numbered(dtype, 8)[[2, 7]]
    indices = np.array([[0, 2, -1], [4, -6, 5]])
    hot = np.zeros((2, 3, 5), np.int64)
    for at in np.ndindex(2, 3):
        if -5 <= indices[at] < 5:
            hot[(*at, indices[at] % 5)] = 1
    expected = values[np.moveaxis(hot, -1, axis)]
    check("OneHot", [indices, np.array(5), values], {"axis": axis}, expected=[expected])


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float16, np.float32, np.float64, np.uint64])
def test_one_hot_takes_numbers_of_any_type(dtype):
    indices, depth = np.array([0, 2, 3], dtype), np.array([3], dtype)
    check(
        "OneHot",
        [indices, depth, np.array([0, 1], np.float32)],
        expected=[np.eye(4, dtype=np.float32)[[0, 2, 3], :3]],
    )


def test_one_hot_of_what_no_index_can_be():
    off = np.array([3, 4])
    indices = np.array([np.nan, np.inf, -np.inf, 1e30, 1.9], np.float32)
    expected = np.full((5, 2), 3)
    expected[4, 1] = 4
    check("OneHot", [indices, np.array(2), off], expected=[expected])
    check("OneHot", [np.array([2**64 - 1], np.uint64), np.array(2), off], expected=[expected[:1]])
    check("OneHot", [np.array([-(2**63), 2**63 - 1]), np.array(2), off], expected=[expected[:2]])
    check("OneHot", [np.array([0, 1]), np.array(0), off], expected=[np.zeros((2, 0), np.int64)])


def test_one_hot_refuses():
    indices, values = np.array([0, 1]), np.array([0.0, 1.0], np.float32)
    for depth, v, axis in [
        (np.array(-1), values, -1),
        (np.array([1, 2]), values, -1),
        (np.array(2**60), values, -1),
        (np.array(np.nan, np.float32), values, -1),
        (np.array(2), values[:1], -1),
        (np.array(2), values, 2),
        (np.array(2), values, -3),
    ]:
        with pytest.raises(pyinfer.PyInferError):
            check("OneHot", [indices, depth, v], {"axis": axis}, expected=[])


@pytest.mark.parametrize("dtype", MOVABLE)
@pytest.mark.parametrize("upper", [0, 1])
def test_trilu(dtype, upper):
    for dims in [(3, 4), (2, 5, 3), (1, 1), (0, 3), (3, 0)]:
        x = numbered(dtype, *dims)
        zero = "" if dtype is np.object_ else np.zeros((), dtype)
        for k in (None, 0, 1, -1, 3, -7, 2**63 - 1, -(2**63)):
            keep = np.zeros(dims[-2:], bool)
            for a in range(dims[-2]):
                for b in range(dims[-1]):
                    keep[a, b] = b - a >= (k or 0) if upper else b - a <= (k or 0)
            expected = x.copy()
            expected[..., ~keep] = zero
            inputs = [x] if k is None else [x, np.array(k, np.int64)]
            check("Trilu", inputs, {"upper": upper}, expected=[expected])


def test_trilu_refuses():
    with pytest.raises(pyinfer.PyInferError):
        check("Trilu", [np.zeros(3, np.float32)], expected=[])


@pytest.mark.parametrize("dtype", MOVABLE)
@pytest.mark.parametrize("batch_axis", [0, 1])
def test_reverse_sequence(dtype, batch_axis):
    x = numbered(dtype, 4, 4, 3)
    lens = np.array([0, 1, 3, 4])
    expected = x.copy()
    for b, n in enumerate(lens):
        if batch_axis == 0:
            expected[b, :n] = x[b, :n][::-1]
        else:
            expected[:n, b] = x[:n, b][::-1]
    attributes = {"batch_axis": batch_axis, "time_axis": 1 - batch_axis}
    check("ReverseSequence", [x, lens], attributes, expected=[expected])


@pytest.mark.parametrize(
    ("lens", "attributes"),
    [
        ((5, 1), {}),
        ((-1, 1), {}),
        ((1,), {}),
        ((1, 1), {"batch_axis": 0}),
        ((1, 1), {"batch_axis": 2, "time_axis": 0}),
        ((1, 1), {"batch_axis": -1, "time_axis": 0}),
    ],
)
def test_reverse_sequence_refuses(lens, attributes):
    with pytest.raises(pyinfer.PyInferError):
        check("ReverseSequence", [np.zeros((4, 2), np.float32), np.array(lens)], attributes, expected=[])
