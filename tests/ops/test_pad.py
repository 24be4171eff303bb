import numpy as np
import pytest

import pyinfer
from dtypes_for_tests import MOVABLE, numbered
from nodes import check


def ints(*values):
    return np.array(values, np.int64)


@pytest.mark.parametrize("dtype", MOVABLE)
@pytest.mark.parametrize("constant", [(1,), ()])
def test_pad_with_a_constant(dtype, constant):
    x = numbered(dtype, 2, 3, 4)
    value = numbered(dtype, 6)[5:].reshape(())
    expected = np.full((3, 5, 9), value[()], x.dtype)
    expected[1:, 0:3, 2:6] = x
    check("Pad", [x, ints(1, 0, 2, 0, 2, 3), value], expected=[expected], constant=constant)


@pytest.mark.parametrize("dtype", MOVABLE)
def test_pad_is_zero_by_default(dtype):
    x = numbered(dtype, 2, 3)
    zero = "" if dtype is np.object_ else np.zeros((), dtype)
    expected = np.full((2, 5), zero, x.dtype)
    expected[:, 1:4] = x
    check("Pad", [x, ints(0, 1, 0, 1)], expected=[expected])


@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap"])
@pytest.mark.parametrize("dtype", MOVABLE)
def test_pad_with_the_input_itself(mode, dtype):
    for dims, pads in [
        ((5,), ((2, 3),)),
        ((3, 4, 2), ((1, 2), (3, 0), (0, 0))),
        ((3, 4), ((0, 0), (2, 3))),
        ((2, 1, 3), ((1, 0), (0, 0), (2, 2))),
        ((3, 2), ((7, 8), (0, 0))),
        ((1, 1), ((2, 2), (1, 1))),
    ]:
        x = numbered(dtype, *dims)
        width = ints(*(p[0] for p in pads), *(p[1] for p in pads))
        index = np.pad(np.arange(x.size).reshape(dims), pads, mode=mode)
        check("Pad", [x, width], {"mode": mode}, expected=[x.ravel()[index]])


def test_pad_takes_axes():
    x = numbered(np.float32, 2, 3, 4)
    for axes, pads in [(ints(1), ints(2, 1)), (ints(-1, 0), ints(1, 0, 0, 2))]:
        width = [(0, 0)] * 3
        for i, a in enumerate(axes):
            width[a] = (pads[i], pads[len(axes) + i])
        check("Pad", [x, pads, None, axes], expected=[np.pad(x, width)])
        check(
            "Pad",
            [x, pads, None, axes.astype(np.int32)],
            {"mode": "edge"},
            expected=[np.pad(x, width, "edge")],
        )


def test_negative_pads_crop():
    x = numbered(np.float32, 4, 5)
    cropped = np.pad(x[1:, :3], ((0, 2), (1, 0)))
    check("Pad", [x, ints(-1, 1, 2, -2)], expected=[cropped])
    check(
        "Pad",
        [x, ints(-1, 1, 2, -2)],
        {"mode": "edge"},
        expected=[np.pad(x[1:, :3], ((0, 2), (1, 0)), "edge")],
    )
    check("Pad", [x, ints(-4, 0, 0, 0)], expected=[x[4:]])
    check("Pad", [x, ints(-5, 0, 7, 0)], expected=[np.zeros((6, 5), np.float32)])
    check("Pad", [x, ints(0, 0, 0, 0)], {"mode": "wrap"}, expected=[x])


def test_pad_of_an_empty_input():
    x = np.zeros((0, 3), np.float32)
    check("Pad", [x, ints(1, 0, 1, 0), np.array(7, np.float32)], expected=[np.full((2, 3), 7, np.float32)])
    check("Pad", [x, ints(0, 1, 0, 0)], {"mode": "edge"}, expected=[np.zeros((0, 4), np.float32)])


def test_large_pads_on_several_threads():
    x = np.random.default_rng(0).random((3, 7, 200, 133), np.float32)
    width = ((0, 0), (0, 0), (3, 2), (5, 1))
    pads = ints(0, 0, 3, 5, 0, 0, 2, 1)
    for mode in ("constant", "reflect", "edge", "wrap"):
        check("Pad", [x, pads], {"mode": mode}, expected=[np.pad(x, width, mode)])


@pytest.mark.parametrize(
    ("pads", "mode", "axes"),
    [
        ((1, 1, 1), "constant", None),
        ((-2, -2, -2, 0), "constant", None),
        ((-(2**63), 0, 0, 0), "constant", None),
        ((2**63 - 1, 0, 2**63 - 1, 0), "constant", None),
        ((2**63 - 1, 0, -(2**63), 0), "constant", None),
        ((2**50, 0, 0, 0), "edge", None),
        ((-3, 0, 4, 0), "edge", None),
        ((1, 1), "constant", (2,)),
        ((1, 1, 1, 1), "constant", (0, 0)),
        ((1, 1, 1, 1), "diagonal", None),
    ],
)
def test_pad_refuses(pads, mode, axes):
    inputs = [np.zeros((3, 2), np.float32), ints(*pads)]
    if axes is not None:
        inputs += [None, ints(*axes)]
    with pytest.raises(pyinfer.PyInferError):
        check("Pad", inputs, {"mode": mode}, expected=[])


def test_reflection_of_nothing_is_refused():
    with pytest.raises(pyinfer.PyInferError):
        check("Pad", [np.zeros((0, 2), np.float32), ints(1, 0, 0, 0)], {"mode": "reflect"}, expected=[])


@pytest.mark.parametrize("dtype", MOVABLE)
@pytest.mark.parametrize("shape", [(10, 7, 9), (20, 10, 9), (3, 1, 0), (7, 7, 10), (6, 8, 4)])
def test_center_crop_pad(dtype, shape):
    x = numbered(dtype, 7, 6, 9)
    expected = np.full(shape, "" if dtype is np.object_ else np.zeros((), dtype), x.dtype)
    to, take = [], []
    for n, m in zip(x.shape, shape, strict=True):
        size = min(n, m)
        to.append(slice((m - size) // 2, (m - size) // 2 + size))
        take.append(slice((n - size) // 2, (n - size) // 2 + size))
    expected[tuple(to)] = x[tuple(take)]
    check("CenterCropPad", [x, ints(*shape)], expected=[expected])


def test_center_crop_pad_takes_axes():
    x = numbered(np.float32, 7, 6, 9)
    check("CenterCropPad", [x, ints(5, 8)], {"axes": [-1, 1]})


@pytest.mark.parametrize(
    ("shape", "axes"), [((1,), [0, 1]), ((1, -1), [0, 1]), ((1,), [3]), ((2**62, 4), [0, 1])]
)
def test_center_crop_pad_refuses(shape, axes):
    with pytest.raises(pyinfer.PyInferError):
        check("CenterCropPad", [np.zeros((2, 3, 4), np.float32), ints(*shape)], {"axes": axes}, expected=[])
