"""Reductions and softmax against NumPy in float64 (or exact integers)."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import pyinfer
from nodes import assert_same, check, node_model, run


def wide(x):
    return x.astype(np.float64) if x.dtype.kind not in "iub" else x


def log_sum_exp(x, **k):
    with np.errstate(all="ignore"):
        return np.log(np.sum(np.exp(x), **k))


REFERENCES = {
    "ReduceSum": lambda x, **k: np.sum(x, **k, dtype=x.dtype),
    "ReduceMean": lambda x, **k: np.mean(x, **k),
    "ReduceMax": lambda x, **k: np.max(x, **k),
    "ReduceMin": lambda x, **k: np.min(x, **k),
    "ReduceProd": lambda x, **k: np.prod(x, **k, dtype=x.dtype),
    "ReduceSumSquare": lambda x, **k: np.sum(x * x, **k, dtype=x.dtype),
    "ReduceL1": lambda x, **k: np.sum(np.abs(x), **k, dtype=x.dtype),
    "ReduceL2": lambda x, **k: np.sqrt(np.sum(x * x, **k, dtype=x.dtype)),
    "ReduceLogSum": lambda x, **k: np.log(np.sum(x, **k)),
    "ReduceLogSumExp": log_sum_exp,
}
FLOATS = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]
TOLERANCE = {np.float32: 2e-5, np.float64: 1e-12, np.float16: 2e-3, ml_dtypes.bfloat16: 2e-2}
CASES = [
    ((), ()),
    ((7,), (0,)),
    ((3, 5), (1,)),
    ((3, 5), (0,)),
    ((4, 33, 3), (1,)),
    ((4, 3, 300), (0, 2)),
    ((3, 4, 5, 6), (1, 3)),
    ((3, 4, 5, 6), (0, 2)),
    ((3, 4, 5, 6), (-1, -2)),
    ((2, 1, 40), (1, 2)),
    ((2, 700), (1,)),
    ((700, 2), (0,)),
]


@pytest.mark.parametrize("op", sorted(REFERENCES))
@pytest.mark.parametrize("dtype", FLOATS)
def test_floats(op, dtype):
    rng = np.random.default_rng(0)
    low = 0.5 if op in ("ReduceLogSum", "ReduceProd") else -2
    for i, (shape, axes) in enumerate(CASES):
        x = rng.uniform(low, 1.5, shape).astype(dtype)
        keep = i % 2
        with np.errstate(over="ignore"):
            want = np.asarray(REFERENCES[op](wide(x), axis=axes or None, keepdims=bool(keep))).astype(dtype)
        if op == "ReduceProd" and x.size > 200:
            continue
        inputs = [x, np.array(axes, np.int64)]
        check(
            op,
            inputs,
            {"keepdims": keep},
            expected=[want],
            constant=(1,) if i % 3 else (),
            rtol=TOLERANCE[dtype],
            atol=TOLERANCE[dtype],
        )


@pytest.mark.parametrize(
    "op", ["ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSumSquare", "ReduceL1"]
)
@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint32, np.uint64])
def test_integers_are_exact_and_wrap(op, dtype):
    rng = np.random.default_rng(1)
    info = np.iinfo(dtype)
    for shape, axes in CASES:
        x = rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
        x = np.asarray(x)
        with np.errstate(over="ignore"):
            want = np.asarray(REFERENCES[op](x, axis=axes or None, keepdims=True))
        check(op, [x, np.array(axes, np.int64)], expected=[want])


def test_integer_means_and_norms():
    x = np.array([[7, -8, 2], [3, 4, 12]], np.int32)
    axes = np.array([1], np.int64)
    check("ReduceMean", [x, axes], {"keepdims": 0}, expected=[np.array([0, 6], np.int32)])
    check("ReduceL2", [x, axes], {"keepdims": 0}, expected=[np.array([10, 13], np.int32)])


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.bool_])
@pytest.mark.parametrize("op", ["ReduceMax", "ReduceMin"])
def test_small_types(op, dtype):
    rng = np.random.default_rng(2)
    for shape, axes in CASES:
        x = np.asarray(rng.integers(0, 2, shape)).astype(dtype)
        want = np.asarray(REFERENCES[op](x, axis=axes or None, keepdims=True))
        check(op, [x, np.array(axes, np.int64)], expected=[want])


@pytest.mark.parametrize(
    ("op", "dtype", "value"),
    [
        ("ReduceSum", np.float32, 0),
        ("ReduceSum", np.int64, 0),
        ("ReduceProd", np.float32, 1),
        ("ReduceMax", np.float32, -np.inf),
        ("ReduceMin", np.float16, np.inf),
        ("ReduceMax", np.int8, -128),
        ("ReduceMin", np.uint32, 2**32 - 1),
        ("ReduceMax", np.bool_, False),
        ("ReduceMin", np.bool_, True),
        ("ReduceLogSum", np.float32, -np.inf),
        ("ReduceLogSumExp", np.float64, -np.inf),
        ("ReduceL2", np.float32, 0),
    ],
)
def test_reduction_of_nothing(op, dtype, value):
    for shape, axis in [((2, 0, 3), 1), ((2, 0), 1), ((0,), 0)]:
        x = np.zeros(shape, dtype)
        want = np.full([1 if i == axis else d for i, d in enumerate(shape)], value, dtype)
        check(op, [x, np.array([axis], np.int64)], expected=[want])
    x = np.zeros((0, 3), dtype)
    check(op, [x, np.array([1], np.int64)], expected=[np.zeros((0, 1), dtype)])


def test_empty_axes():
    x = np.linspace(-1, 2, 12, dtype=np.float32).reshape(3, 4)
    none = np.zeros(0, np.int64)
    check("ReduceSum", [x, none], expected=[x.sum(keepdims=True)])
    check("ReduceSum", [x], expected=[x.sum(keepdims=True)])
    check("ReduceSum", [x, none], {"noop_with_empty_axes": 1}, expected=[x])
    check("ReduceSumSquare", [x, none], {"noop_with_empty_axes": 1}, expected=[x * x])
    check("ReduceL1", [x], {"noop_with_empty_axes": 1}, expected=[np.abs(x)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_special_values(dtype):
    nan, inf = np.nan, np.inf
    for row in ([1, nan, 2], [inf, 1, 2], [-inf, -inf, -inf], [-inf, 0, 1], [nan, inf, -inf]):
        for shape in ((1, 3), (3, 1), (3, 2)):
            x = np.resize(np.repeat(np.array(row, dtype), shape[0] * shape[1] // 3), shape)
            axis = 1 if shape == (1, 3) else 0
            with np.errstate(all="ignore"):
                for op in ("ReduceMax", "ReduceMin", "ReduceSum", "ReduceLogSumExp"):
                    want = np.asarray(REFERENCES[op](x, axis=axis, keepdims=True))
                    check(op, [x, np.array([axis], np.int64)], expected=[want.astype(dtype)])


def test_reduce_errors():
    x = np.zeros((2, 3), np.float32)
    for axes in ([2], [-3], [2**62]):
        with pytest.raises(pyinfer.PyInferError, match="axis"):
            run(node_model("ReduceSum", [x, np.array(axes, np.int64)]), [x, np.array(axes, np.int64)])
    s = np.array(["a"])
    with pytest.raises(pyinfer.PyInferError):
        run(node_model("ReduceSum", [s]), [s])


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


SHAPES = [
    ((1,), 0),
    ((5,), -1),
    ((3, 17), 1),
    ((33, 5), 0),
    ((2, 100, 3), 1),
    ((2, 3, 300), -1),
    ((4, 7, 70), 1),
]


@pytest.mark.parametrize("dtype", FLOATS)
def test_softmax(dtype):
    rng = np.random.default_rng(3)
    tolerance = TOLERANCE[dtype]
    for shape, axis in SHAPES:
        x = (rng.standard_normal(shape) * 5).astype(dtype)
        want = softmax(wide(x), axis)
        options = {"rtol": tolerance, "atol": tolerance}
        check("Softmax", [x], {"axis": axis}, expected=[want.astype(dtype)], **options)
        check("LogSoftmax", [x], {"axis": axis}, expected=[np.log(want).astype(dtype)], **options)
        hard = np.zeros(shape, np.float32)
        np.put_along_axis(hard, np.expand_dims(x.astype(np.float64).argmax(axis), axis), 1, axis)
        check("Hardmax", [x], {"axis": axis}, expected=[hard.astype(dtype)])


def test_softmax_sizes_and_extremes():
    for shape in [(0, 3), (3, 0), (2, 0, 3)]:
        x = np.zeros(shape, np.float32)
        for op in ("Softmax", "LogSoftmax", "Hardmax"):
            check(op, [x], {"axis": 1}, expected=[x])
    x = np.array([[1e30, -1e30, 0], [-np.inf, 0, 0]], np.float32)
    check("Softmax", [x], expected=[np.array([[1, 0, 0], [0, 0.5, 0.5]], np.float32)])
    with pytest.raises(pyinfer.PyInferError, match="axis"):
        run(node_model("Softmax", [x], {"axis": 2}), [x])


def test_softmax_before_version_13_takes_trailing_dimensions_as_one():
    x = np.random.default_rng(4).standard_normal((2, 3, 4)).astype(np.float32)
    want = softmax(x.reshape(2, 12), 1).reshape(x.shape)
    check("Softmax", [x], expected=[want], opset=11)


@pytest.mark.parametrize("op", ["ReduceSum", "ReduceLogSumExp", "Softmax", "LogSoftmax"])
@pytest.mark.parametrize("axis", [1, 2])
def test_same_bits_for_every_batch(op, axis):
    x = np.random.default_rng(5).standard_normal((37, 50, 41)).astype(np.float32)
    attributes = {"axis": axis} if "max" in op else {}
    inputs = [x] if "max" in op else [x, np.array([axis], np.int64)]
    whole = run(node_model(op, inputs, attributes), inputs)[0]
    for n in (0, 20, 36):
        one = [x[n : n + 1], *inputs[1:]]
        alone = run(node_model(op, one, attributes), one)[0]
        assert_same(alone, whole[n : n + 1], rtol=0, atol=0)


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceSum", "ReduceL1", "ReduceL2", "ReduceLogSumExp"])
@pytest.mark.parametrize("axes", [(1, 2), (0, 2)])
def test_long_reductions_over_outer_axes_round_as_little_as_those_over_inner_ones(op, axes):
    # One chain of float32 additions over 2 ** 14 rows of values of one sign would be off by 1e-5 to 1e-4.
    x = (
        np.random.default_rng(8)
        .uniform(0.5, 1.5, (128, 128, 128, 3))
        .astype(np.float32)[: 1 if 0 not in axes else None]
    )
    model = node_model(op, [x, np.array(axes)], {"keepdims": 0}, constant=(1,))
    got = run(model, [x, np.array(axes)], (1,))[0]
    want = REFERENCES[op](x.astype(np.float64), axis=axes)
    np.testing.assert_allclose(got, want, rtol=1e-6)
