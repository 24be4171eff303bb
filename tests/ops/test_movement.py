"""Transpose, Concat, Split, Slice, Expand, Tile, DepthToSpace, SpaceToDepth: strided boxes."""

import itertools

import numpy as np
import pytest

import pyinfer
from dtypes_for_tests import MOVABLE, numbered
from nodes import check


def ints(*values):
    return np.array(values, np.int64)


@pytest.mark.parametrize("dtype", MOVABLE)
def test_transpose_of_every_type(dtype):
    x = numbered(dtype, 3, 5, 2)
    for perm in itertools.permutations(range(3)):
        check("Transpose", [x], {"perm": perm}, expected=[x.transpose(perm)])


def test_transpose_of_random_shapes():
    rng = np.random.default_rng(1)
    for _ in range(150):
        rank = int(rng.integers(0, 7))
        dims = rng.choice([0, 1, 2, 3, 5, 17], size=rank, p=[0.03, 0.17, 0.3, 0.3, 0.1, 0.1])
        perm = [int(i) for i in rng.permutation(rank)]
        dtype = rng.choice([np.uint8, np.float16, np.float32, np.float64, np.complex128])
        x = numbered(dtype, *dims)
        check("Transpose", [x], {"perm": perm} if rank else {}, expected=[x.transpose(perm)])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.int64, np.complex128])
@pytest.mark.parametrize("dims", [(1, 700), (700, 3), (65, 1037), (16, 16), (130, 129)])
def test_transpose_of_matrices(dtype, dims):
    x = (np.arange(2 * np.prod(dims)) * 7919 % 65521).astype(dtype).reshape(2, *dims)
    check("Transpose", [x], {"perm": [0, 2, 1]}, expected=[x.transpose(0, 2, 1)])
    check("Transpose", [x], expected=[x.transpose()])


def test_transpose_on_several_threads_is_the_same():
    x = np.random.default_rng(2).random((64, 3, 130, 70), np.float32)
    check("Transpose", [x], {"perm": [0, 2, 3, 1]}, expected=[x.transpose(0, 2, 3, 1)])
    check("Transpose", [x], {"perm": [3, 1, 0, 2]}, expected=[x.transpose(3, 1, 0, 2)])


@pytest.mark.parametrize("perm", [[0, 0], [0, 2], [-1, 0], [1, 0, 2], [2, 0, 1]])
def test_transpose_refuses(perm):
    with pytest.raises(pyinfer.PyInferError):
        check("Transpose", [np.zeros((2, 3), np.float32)], {"perm": perm}, expected=[])


@pytest.mark.parametrize("dtype", MOVABLE)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concat(dtype, axis):
    parts = []
    for n in (2, 0, 1, 7):
        dims = [3, 4, 2]
        dims[axis] = n
        parts.append(numbered(dtype, *dims))
    check("Concat", parts, {"axis": axis}, expected=[np.concatenate(parts, axis)])


def test_concat_of_one_and_of_empties():
    x, none = numbered(np.float32, 2, 3), np.zeros((2, 0), np.float32)
    check("Concat", [x], {"axis": 0}, expected=[x])
    check("Concat", [none, x, none], {"axis": 1}, expected=[x])
    check("Concat", [none, none], {"axis": 1}, expected=[none])
    check("Concat", [np.zeros((2, 0), np.float32)] * 2, {"axis": 0}, expected=[np.zeros((4, 0), np.float32)])


def test_large_concat_and_split():
    parts = [np.random.default_rng(n).random((200, n, 33), np.float32) for n in (40, 1, 64)]
    whole = np.concatenate(parts, 1)
    check("Concat", parts, {"axis": 1}, expected=[whole])
    check("Split", [whole, ints(40, 1, 64)], {"axis": 1}, expected=parts, outputs=3)


def test_concat_refuses():
    x = np.zeros((2, 3), np.float32)
    for other, axis in [
        (np.zeros((3, 3), np.float32), 1),
        (np.zeros((2, 3, 1), np.float32), 1),
        (x.astype(np.float64), 0),
        (x, 2),
        (x, -3),
    ]:
        with pytest.raises(pyinfer.PyInferError):
            check("Concat", [x, other], {"axis": axis})


@pytest.mark.parametrize("dtype", MOVABLE)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_split(dtype, axis):
    dims = [3, 4, 2]
    dims[axis] = 7
    x = numbered(dtype, *dims)
    expected = np.split(x, [2, 2, 6], axis)
    check("Split", [x, ints(2, 0, 4, 1)], {"axis": axis}, expected=expected, outputs=4)


def test_split_in_parts():
    x = numbered(np.float32, 7, 2)
    check("Split", [x], {"num_outputs": 3}, expected=[x[:3], x[3:6], x[6:]], outputs=3)
    check("Split", [x], {"num_outputs": 1}, expected=[x], outputs=1)


@pytest.mark.parametrize("sizes", [(3, 3), (4, 4), (8, -1), (7,), (2**62, 2**62), (3, 3, 1)])
def test_split_refuses(sizes):
    with pytest.raises(pyinfer.PyInferError):
        check("Split", [np.zeros((7, 2), np.float32), ints(*sizes)], outputs=2)


@pytest.mark.parametrize("dtype", MOVABLE)
@pytest.mark.parametrize(
    ("slices", "axes"),
    [
        ((slice(1, 3), slice(None, None, 2)), (0, 1)),
        ((slice(None, None, -1),), (-1,)),
        ((slice(5, 0, -2), slice(-3, -1)), (1, 2)),
        ((slice(2, 2),), (0,)),
        ((slice(-100, 100), slice(3, 1)), (2, 1)),
    ],
)
def test_slice(dtype, slices, axes):
    x = numbered(dtype, 4, 6, 5)
    index = [slice(None)] * 3
    for s, a in zip(slices, axes, strict=True):
        index[a] = s
    starts = [s.start if s.start is not None else (0 if (s.step or 1) > 0 else 2**63 - 1) for s in slices]
    ends = [s.stop if s.stop is not None else (2**63 - 1 if (s.step or 1) > 0 else -(2**63)) for s in slices]
    steps = [s.step or 1 for s in slices]
    inputs = [x, ints(*starts), ints(*ends), ints(*axes), ints(*steps)]
    for constant in [(1, 2, 3, 4), ()]:
        check("Slice", inputs, expected=[x[tuple(index)]], constant=constant)


def test_slice_of_random_ranges():
    rng = np.random.default_rng(3)
    for _ in range(200):
        n = int(rng.integers(0, 6))
        x = numbered(np.float32, 2, n)
        start, end = (int(v) for v in rng.integers(-n, n + 3, 2))
        step = int(rng.choice([1, 2, 3, -1, -2, 7, -7, 2**63 - 1, -(2**63)]))
        stop = None if step < 0 and end < -n else end
        expected = x[:, start:stop:step]
        check("Slice", [x, ints(start), ints(end), ints(1), ints(step)], expected=[expected])


def test_slice_takes_int32_and_defaults():
    x = numbered(np.float32, 4, 3)
    two = np.array([1, 1], np.int32)
    check("Slice", [x, two, two + 2], expected=[x[1:3, 1:3]])


@pytest.mark.parametrize(
    ("starts", "ends", "axes", "steps"),
    [
        ((0,), (1,), (0,), (0,)),
        ((0,), (1,), (2,), (1,)),
        ((0, 0), (1, 1), (0, 0), (1, 1)),
        ((0, 0), (1,), (0, 1), (1, 1)),
        ((0,) * 3, (1,) * 3, (0, 1, 2), (1,) * 3),
    ],
)
def test_slice_refuses(starts, ends, axes, steps):
    with pytest.raises(pyinfer.PyInferError):
        check("Slice", [np.zeros((2, 3), np.float32), ints(*starts), ints(*ends), ints(*axes), ints(*steps)])


@pytest.mark.parametrize("dtype", MOVABLE)
def test_expand(dtype):
    for dims, shape in [
        ((3, 1), (2, 1, 6)),
        ((3, 1), (3, 4)),
        ((1,), (1,)),
        ((), (2, 3)),
        ((2, 1, 3), (1, 5, 1)),
        ((1, 40), (3, 1)),
        ((1, 2), (0, 2)),
    ]:
        x = numbered(dtype, *dims)
        expected = np.broadcast_to(x, np.broadcast_shapes(dims, shape))
        check("Expand", [x, ints(*shape)], expected=[expected])


def test_expand_refuses():
    x = np.zeros((2, 3), np.float32)
    for shape in [(2, 2), (-1, 3), (2**40, 2, 3), (2**62, 2**62, 1, 1)]:
        with pytest.raises(pyinfer.PyInferError):
            check("Expand", [x, ints(*shape)])


@pytest.mark.parametrize("dtype", MOVABLE)
def test_tile(dtype):
    for dims, repeats in [((2, 3), (2, 2)), ((3,), (0,)), ((2, 1, 2), (1, 3, 1)), ((), ()), ((4, 1), (1, 5))]:
        x = numbered(dtype, *dims)
        check("Tile", [x, ints(*repeats)], expected=[np.tile(x, repeats)] if dims else [x])


def test_tile_refuses():
    for repeats in [(1,), (1, -1), (2**62, 2**62), (1, 2**62)]:
        with pytest.raises(pyinfer.PyInferError):
            check("Tile", [np.zeros((2, 3), np.float32), ints(*repeats)])


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64, np.object_])
@pytest.mark.parametrize("block", [1, 2, 3])
def test_depth_and_space(dtype, block):
    n, c, h, w, b = 2, 3, 4, 5, block
    deep = numbered(dtype, n, c * b * b, h, w)
    dcr = deep.reshape(n, b, b, c, h, w).transpose(0, 3, 4, 1, 5, 2).reshape(n, c, h * b, w * b)
    crd = deep.reshape(n, c, b, b, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(n, c, h * b, w * b)
    check("DepthToSpace", [deep], {"blocksize": b}, expected=[dcr])
    check("DepthToSpace", [deep], {"blocksize": b, "mode": "CRD"}, expected=[crd])
    check("SpaceToDepth", [dcr], {"blocksize": b}, expected=[deep])


@pytest.mark.parametrize("op", ["DepthToSpace", "SpaceToDepth"])
def test_depth_and_space_refuse(op):
    x = np.zeros((1, 6, 5, 5), np.float32)
    for block, value in [(2, x), (0, x), (-1, x), (2**62, x), (1, x[0])]:
        with pytest.raises(pyinfer.PyInferError):
            check(op, [value], {"blocksize": block})
    with pytest.raises(pyinfer.PyInferError):
        check(op, [x], {"blocksize": 1, "mode": "XYZ"})
