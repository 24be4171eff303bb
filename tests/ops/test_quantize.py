"""Linear quantization: every granularity and type against NumPy in the precision that the operator states."""

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper

import pyinfer
from nodes import assert_same, check, node_model, run

RANGES = {
    "INT8": (-128, 127),
    "UINT8": (0, 255),
    "INT16": (-32768, 32767),
    "UINT16": (0, 65535),
    "INT4": (-8, 7),
    "UINT4": (0, 15),
    "INT2": (-2, 1),
    "UINT2": (0, 3),
}
MINI_FLOATS = [
    "FLOAT8E4M3FN",
    "FLOAT8E4M3FNUZ",
    "FLOAT8E5M2",
    "FLOAT8E5M2FNUZ",
    "FLOAT4E2M1",
    "FLOAT6E2M3",
    "FLOAT6E3M2",
]
FLOATS = [np.float32, np.float16, ml_dtypes.bfloat16]

# x, scale, axis, block size
GRIDS = {
    "per tensor": ((3, 5, 7), (), 1, 0),
    "per tensor, [1]": ((3, 5), (1,), 1, 0),
    "scalar": ((), (), 1, 0),
    "empty": ((0, 4), (), 1, 0),
    "vector": ((33,), (33,), 0, 0),
    "axis 0": ((6, 35), (6,), 0, 0),
    "axis 1": ((3, 5, 7), (5,), 1, 0),
    "last axis": ((3, 5, 47), (47,), -1, 0),
    "axis, empty": ((0, 4), (4,), 1, 0),
    "blocks inside": ((2, 6, 5), (2, 3, 5), 1, 2),
    "ragged blocks": ((3, 7, 2), (3, 3, 2), 1, 3),
    "last, blocks": ((4, 64), (4, 2), -1, 32),
    "last, ragged": ((2, 3, 21), (2, 3, 3), 2, 8),
    "block over all": ((2, 5), (2, 1), 1, 99),
    "outermost": ((6, 3), (2, 3), 0, 3),
}


def np_dtype(name):
    return np.dtype(helper.tensor_dtype_to_np_dtype(getattr(TensorProto, name)))


def spread(parameter, shape, axis, block_size):
    """A scale or zero point for every element."""
    if parameter.size == 1 and parameter.ndim <= 1:
        return parameter.reshape(())
    if block_size == 0:
        dims = [1] * len(shape)
        dims[axis] = -1
        return parameter.reshape(dims)
    axis %= len(shape)
    repeated = np.repeat(parameter, block_size, axis)
    return repeated.take(np.arange(shape[axis]), axis)


def to_wide(x):
    return x.astype(np.float64)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("zero_points", [False, True])
def test_quantize_to_integers(grid, name, zero_points):
    rng = np.random.default_rng(1)
    x_shape, s_shape, axis, block = GRIDS[grid]
    low, high = RANGES[name]
    scale = rng.uniform(0.5, 2, s_shape).astype(np.float32)
    x = (rng.normal(size=x_shape) * (high - low)).astype(np.float32)
    zero = rng.integers(low, high, s_shape, endpoint=True).astype(np.int32)
    wide = spread(scale, x_shape, axis, block)
    steps = np.rint(x / wide).astype(np.int64) + (spread(zero, x_shape, axis, block) if zero_points else 0)
    expected = np.clip(steps, low, high).astype(np_dtype(name))
    inputs = [x, scale] + ([zero.astype(np_dtype(name))] if zero_points else [])
    attributes = {"axis": axis, "block_size": block}
    if not zero_points:
        attributes["output_dtype"] = getattr(TensorProto, name)
    for constant in ([], list(range(1, len(inputs)))):
        check("QuantizeLinear", inputs, attributes, constant=constant, expected=[expected])


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", [*RANGES, "INT32", *MINI_FLOATS])
@pytest.mark.parametrize("zero_points", [False, True])
def test_dequantize(grid, name, zero_points):
    rng = np.random.default_rng(2)
    x_shape, s_shape, axis, block = GRIDS[grid]
    low, high = RANGES.get(name, (-4, 4))
    scale = rng.uniform(0.5, 2, s_shape).astype(np.float32)
    x = rng.integers(low, high, x_shape, endpoint=True).astype(np.float32).astype(np_dtype(name))
    zero = np.zeros(s_shape, np_dtype(name))
    if name in RANGES:
        zero = rng.integers(low, high, s_shape, endpoint=True).astype(np_dtype(name))
    offset = spread(zero.astype(np.float32), x_shape, axis, block) if zero_points else np.float32(0)
    expected = (x.astype(np.float32) - offset) * spread(scale, x_shape, axis, block)
    inputs = [x, scale] + ([zero] if zero_points else [])
    check(
        "DequantizeLinear", inputs, {"axis": axis, "block_size": block}, expected=[expected], rtol=0, atol=0
    )


@pytest.mark.parametrize("x_dtype", [*FLOATS, np.int32])
@pytest.mark.parametrize("scale_dtype", FLOATS)
@pytest.mark.parametrize("precision", [None, "FLOAT", "FLOAT16", "BFLOAT16"])
def test_precision_of_the_division(x_dtype, scale_dtype, precision):
    rng = np.random.default_rng(3)
    x = (rng.normal(size=(40, 9)) * 30).astype(x_dtype)
    scale = rng.uniform(0.2, 2, 9).astype(scale_dtype)
    zero = rng.integers(0, 255, 9).astype(np.uint8)
    work = np_dtype(precision) if precision else scale.dtype
    quotient = (to_wide(x.astype(work)) / to_wide(scale.astype(work))).astype(np.float32).astype(work)
    expected = np.clip(np.rint(quotient.astype(np.float64)) + zero, 0, 255).astype(np.uint8)
    attributes = {"precision": getattr(TensorProto, precision)} if precision else {}
    check("QuantizeLinear", [x, scale, zero], attributes, expected=[expected])


@pytest.mark.parametrize("name", MINI_FLOATS)
@pytest.mark.parametrize("saturate", [0, 1])
@pytest.mark.parametrize("zero_points", [False, True])
def test_quantize_to_mini_floats(name, saturate, zero_points):
    rng = np.random.default_rng(4)
    x = (rng.normal(size=(7, 50)) * 10.0 ** rng.integers(-4, 6, (7, 50))).astype(np.float32)
    scale = rng.uniform(0.5, 2, 7).astype(np.float32)
    quotient = x / scale[:, None]
    dtype = np_dtype(name)
    if saturate:
        info = ml_dtypes.finfo(dtype)
        quotient = np.clip(quotient, float(info.min), float(info.max))
    expected = quotient.astype(dtype)
    if zero_points:
        inputs, attributes = [x, scale, np.zeros(7, dtype)], {}
    else:
        inputs, attributes = [x, scale], {"output_dtype": getattr(TensorProto, name)}
    check(
        "QuantizeLinear", inputs, {"axis": 0, "saturate": saturate, **attributes}, expected=[expected], rtol=0
    )


@pytest.mark.parametrize("scale_dtype", [*FLOATS, ml_dtypes.float8_e8m0fnu])
@pytest.mark.parametrize("to", [None, "FLOAT", "FLOAT16", "BFLOAT16"])
def test_type_of_the_dequantized(scale_dtype, to):
    rng = np.random.default_rng(5)
    x = rng.integers(-128, 127, (5, 66)).astype(np.int8)
    scale = (2.0 ** rng.integers(-3, 3, 66)).astype(np.float32).astype(scale_dtype)
    dtype = (
        np_dtype(to)
        if to
        else np.dtype(np.float32 if scale_dtype is ml_dtypes.float8_e8m0fnu else scale_dtype)
    )
    expected = (x * scale.astype(np.float32)).astype(dtype)
    attributes = {"output_dtype": getattr(TensorProto, to)} if to else {}
    check("DequantizeLinear", [x, scale], attributes, expected=[expected], rtol=0)


def test_ties_infinities_and_nan():
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5, np.inf, -np.inf, np.nan, 1e30, -1e30, 254.5, 255.5], np.float32)
    one, zero = np.float32(1), np.uint8(1)
    expected = np.array([1, 3, 3, 1, 0, 255, 0, 0, 255, 0, 255, 255], np.uint8)
    check("QuantizeLinear", [x, one, zero], expected=[expected])
    check(
        "QuantizeLinear",
        [x, np.float32(0)],
        expected=[np.array([255] * 3 + [0, 0, 255, 0, 0, 255, 0, 255, 255], np.uint8)],
    )
    top = np.array([65534.5, 65535.4, -0.4, 32767.5], np.float32)
    check(
        "QuantizeLinear", [top, one, np.uint16(0)], expected=[np.array([65534, 65535, 0, 32768], np.uint16)]
    )
    check("QuantizeLinear", [top, one, np.uint16(65535)], expected=[np.array([65535] * 4, np.uint16)])


def test_large_tensors_run_in_ranges():
    rng = np.random.default_rng(6)
    x = rng.normal(size=(211, 509)).astype(np.float32)
    for scale, axis in [
        (np.float32(0.02), 1),
        (rng.uniform(0.01, 0.03, 211).astype(np.float32), 0),
        (rng.uniform(0.01, 0.03, 509).astype(np.float32), 1),
    ]:
        wide = spread(np.asarray(scale), x.shape, axis, 0)
        q = np.clip(np.rint(x / wide), -128, 127).astype(np.int8)
        check("QuantizeLinear", [x, scale], {"axis": axis, "output_dtype": TensorProto.INT8}, expected=[q])
        check("DequantizeLinear", [q, scale], {"axis": axis}, expected=[q * wide], rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(), (1,), (5, 33), (300, 401), (0, 3)])
@pytest.mark.parametrize("offset", [-5.0, 0.0, 5.0])
def test_dynamic_quantize(shape, offset):
    x = np.asarray(np.random.default_rng(7).normal(size=shape) + offset).astype(np.float32)
    low, high = min(0, x.min(initial=0)), max(0, x.max(initial=0))
    scale = np.float32(1.0 if low == high else high - low) / np.float32(255)
    zero = np.rint(np.clip(np.float32(0) - low / scale, 0, 255))
    y = np.clip(np.rint(x / scale) + zero, 0, 255).astype(np.uint8)
    check("DynamicQuantizeLinear", [x], outputs=3, expected=[y, scale, np.uint8(zero)], rtol=0, atol=0)


def test_dynamic_quantize_of_nan_and_infinity():
    x = np.array([np.nan, 1, -3], np.float32)
    y, scale, zero = run(node_model("DynamicQuantizeLinear", [x], outputs=3), [x])
    assert_same(scale, np.float32(4) / np.float32(255))
    assert list(y) == [0, zero + 64, 0]
    x = np.array([np.inf, 1, -np.inf, np.nan], np.float32)
    y, scale, zero = run(node_model("DynamicQuantizeLinear", [x], outputs=3), [x])
    assert scale == np.inf
    assert zero == 0


def test_refusals():
    x, q = np.zeros((3, 6), np.float32), np.zeros((3, 6), np.int8)
    one = np.float32(1)
    three, six = np.ones(3, np.float32), np.ones(6, np.float32)
    for op, inputs, attributes in [
        ("QuantizeLinear", [x, three], {}),
        ("QuantizeLinear", [x, three], {"axis": 2}),
        ("QuantizeLinear", [x, three], {"axis": -3}),
        ("QuantizeLinear", [x, six, np.zeros(3, np.int8)], {}),
        ("QuantizeLinear", [x, np.ones((3, 2), np.float32)], {"block_size": 2}),
        ("QuantizeLinear", [x, np.ones((3, 2), np.float32)], {}),
        ("QuantizeLinear", [x, np.ones((3, 2), np.float32)], {"block_size": -3}),
        ("QuantizeLinear", [x, np.ones((3, 2), np.float32)], {"block_size": 2**63 - 1}),
        ("QuantizeLinear", [x, np.ones((2, 3), np.float32)], {"block_size": 3}),
        ("QuantizeLinear", [x, one, np.int8(0)], {"output_dtype": TensorProto.UINT8}),
        ("QuantizeLinear", [x, one], {"output_dtype": TensorProto.INT32}),
        ("QuantizeLinear", [x, one], {"output_dtype": 99}),
        ("QuantizeLinear", [x, one], {"precision": TensorProto.INT8}),
        ("QuantizeLinear", [x, one, np.int32(0)], {}),
        ("QuantizeLinear", [q, one], {}),
        ("QuantizeLinear", [x], {}),
        ("QuantizeLinear", [np.float32(1), six], {}),
        ("DequantizeLinear", [x, one], {}),
        ("DequantizeLinear", [q, one, np.uint8(0)], {}),
        ("DequantizeLinear", [q, np.float64(1)], {}),
        ("DequantizeLinear", [q, three], {}),
        ("DequantizeLinear", [q, one], {"output_dtype": TensorProto.DOUBLE}),
        ("DynamicQuantizeLinear", [q], {}),
    ]:
        with pytest.raises(pyinfer.PyInferError):
            check(op, inputs, attributes, outputs=3 if op.startswith("Dyn") else 1)
