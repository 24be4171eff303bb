"""Cast between every pair of types against NumPy and ml_dtypes."""

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import pyinfer
from nodes import assert_same, check, node_model, run

NAMES = [
    "FLOAT",
    "DOUBLE",
    "FLOAT16",
    "BFLOAT16",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "BOOL",
    "INT4",
    "UINT4",
    "INT2",
    "UINT2",
    "FLOAT8E4M3FN",
    "FLOAT8E4M3FNUZ",
    "FLOAT8E5M2",
    "FLOAT8E5M2FNUZ",
    "FLOAT4E2M1",
    "FLOAT6E2M3",
    "FLOAT6E3M2",
]
NARROW = {n: {"4": 4, "2": 2}[n[-1]] for n in ("INT4", "UINT4", "INT2", "UINT2")}


def np_dtype(name):
    return np.dtype(helper.tensor_dtype_to_np_dtype(getattr(TensorProto, name)))


def is_integer(name):
    return "INT" in name


def cast(x, to, **attributes):
    return run(node_model("Cast", [x], {"to": getattr(TensorProto, to), **attributes}), [x])[0]


def sample(name):
    """Small numbers that fit every type but the sign of the unsigned, halves where there are some."""
    low = 0 if name[0] == "U" or name == "BOOL" else -2
    high = 1 if name in ("INT2", "BOOL") else 3
    steps = np.arange(low, high + 1)
    if not is_integer(name) and name != "BOOL":
        steps = np.arange(2 * low, 2 * high + 1) / 2
    return np.tile(steps, 5).astype(np.float32).astype(np_dtype(name))


@pytest.mark.parametrize("to", NAMES)
@pytest.mark.parametrize("source", NAMES)
def test_values_that_fit(source, to):
    x = sample(source)
    wide = x.astype(np.float64)
    if is_integer(to):
        bits = NARROW.get(to, np_dtype(to).itemsize * 8)
        whole = np.trunc(wide).astype(np.int64) & ((1 << bits) - 1 if bits < 64 else -1)
        if to[0] == "I":
            whole = np.where(whole >> (bits - 1) & 1, whole - (1 << bits), whole) if bits < 64 else whole
        expected = whole.astype(np_dtype(to))
    elif to == "BOOL":
        expected = wide != 0
    else:
        expected = wide.astype(np.float32).astype(np_dtype(to))
    assert_same(cast(x, to), expected, rtol=0, atol=0)
    assert_same(cast(x.reshape(-1, 1)[:0], to), expected.reshape(-1, 1)[:0])


@pytest.mark.parametrize("to", ["INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "INT64", "UINT64"])
@pytest.mark.parametrize("source", ["INT8", "UINT8", "INT16", "UINT16", "INT32", "UINT32", "INT64", "UINT64"])
def test_integers_keep_their_low_bits(source, to):
    info = np.iinfo(np_dtype(source))
    x = np.random.default_rng(1).integers(info.min, info.max, 1111, info.dtype, endpoint=True)
    x[:2] = info.min, info.max
    assert_same(cast(x, to), x.astype(np_dtype(to)))


@pytest.mark.parametrize("to", ["FLOAT16", "BFLOAT16", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("source", ["FLOAT", "DOUBLE", "INT32", "INT64", "UINT64"])
def test_rounding_once(source, to):
    rng = np.random.default_rng(2)
    dtype = np_dtype(source)
    if is_integer(source):
        x = rng.integers(0, 2**31 - 1, 999).astype(dtype) >> rng.integers(0, 31, 999).astype(dtype)
    else:
        x = (rng.normal(size=999) * 10.0 ** rng.integers(-9, 5, 999)).astype(dtype)
        # Halfway between two float16 or bfloat16 numbers, and just beside.
        x[:6] = np.array([1 + 2.0**-11, 1 + 3 * 2.0**-11, 1 + 2.0**-8, 1 + 3 * 2.0**-8, 65520, 1e30])
        if source == "DOUBLE":
            x[6:10] = [
                1 + 2.0**-11 + 2.0**-40,
                1 + 2.0**-8 + 2.0**-40,
                1 + 2.0**-11 - 2.0**-40,
                2.0**-25 + 2.0**-60,
            ]
    with np.errstate(over="ignore"):
        expected = x.astype(np_dtype(to))
    if source == "DOUBLE" and to == "BFLOAT16":  # ml_dtypes rounds twice
        expected[7] = ml_dtypes.bfloat16(1 + 2.0**-7)
    got = cast(x, to)
    np.testing.assert_array_equal(got.astype(np.float64), expected.astype(np.float64))


def test_floats_out_of_range_of_integers():
    x = np.array([np.nan, np.inf, -np.inf, 3e9, -3e9, 300.0, -1.0, 2.9, -2.9, 1e30], np.float32)
    top, low = 2**31 - 1, -(2**31)
    assert_same(cast(x, "INT32"), np.array([0, top, low, top, low, 300, -1, 2, -2, top], np.int32))
    assert_same(cast(x[5:9], "UINT8"), np.array([44, 255, 2, 254], np.uint8))
    wide = np.array([0, 2**63 - 1, -(2**63), 3000000000, -3000000000, 300, -1, 2, -2, 2**63 - 1], np.int64)
    assert_same(cast(x, "INT64"), wide)
    assert_same(cast(x.astype(np.float64), "INT64"), wide)
    assert_same(cast(x[[0, 1, 3, 5]], "UINT64"), np.array([0, 2**64 - 1, 3000000000, 300], np.uint64))
    assert_same(cast(np.array([2.0**63, 1.5 * 2.0**63]), "UINT64"), np.array([2**63, 3 * 2**62], np.uint64))


@pytest.mark.parametrize("to", ["FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ"])
@pytest.mark.parametrize("source", [np.float32, np.float16, ml_dtypes.bfloat16, np.float64])
def test_float8(source, to):
    rng = np.random.default_rng(3)
    x = (rng.normal(size=500) * 10.0 ** rng.integers(-6, 6, 500)).astype(np.float16).astype(source)
    x[:3] = np.array([np.nan, np.inf, -np.inf], np.float32)
    narrow = np_dtype(to)
    info = ml_dtypes.finfo(narrow)
    wide = x.astype(np.float32)
    assert_same(cast(x, to, saturate=0), wide.astype(narrow), rtol=0)
    limited = np.clip(wide, float(info.min), float(info.max)).astype(narrow)
    assert_same(cast(x, to), limited, rtol=0)
    codes = np.arange(256, dtype=np.uint8).view(narrow)
    assert_same(cast(codes, "FLOAT"), codes.astype(np.float32), rtol=0)


@pytest.mark.parametrize("name", ["FLOAT4E2M1", "FLOAT6E2M3", "FLOAT6E3M2"])
@pytest.mark.parametrize("saturate", [0, 1])
def test_floats_without_infinity(name, saturate):
    rng = np.random.default_rng(6)
    x = (rng.normal(size=700) * 10.0 ** rng.integers(-3, 3, 700)).astype(np.float32)
    x[:5] = [np.inf, -np.inf, 0, -0.0, 1e30]
    narrow = np_dtype(name)
    got = cast(x, name, saturate=saturate)
    np.testing.assert_array_equal(np.asarray(got).view(np.uint8), x.astype(narrow).view(np.uint8))
    codes = np.arange(2 ** int(name[5]), dtype=np.uint8).view(narrow)
    assert_same(cast(codes, "FLOAT"), codes.astype(np.float32), rtol=0, atol=0)
    model = node_model("Cast", [codes], {"to": TensorProto.FLOAT}, constant=[0])
    assert_same(run(model, [codes], [0])[0], codes.astype(np.float32), rtol=0, atol=0)


@pytest.mark.parametrize("saturate", [0, 1])
@pytest.mark.parametrize("mode", ["up", "down", "nearest"])
def test_float8e8m0(mode, saturate):
    rng = np.random.default_rng(4)
    x = np.abs(rng.normal(size=99) * 10.0 ** rng.integers(-9, 9, 99)).astype(np.float32)
    x[:8] = [0.25, 0.5, 1.1, 1.5, 1.4999, 3.0, 2.0**-126, np.nan]
    expected = onnx.numpy_helper.to_float8e8m0(x, bool(saturate), mode)
    got = cast(x, "FLOAT8E8M0", saturate=saturate, round_mode=mode)
    np.testing.assert_array_equal(np.asarray(got).view(np.uint8), expected.view(np.uint8))
    codes = np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e8m0fnu)
    assert_same(cast(codes, "FLOAT"), codes.astype(np.float32), rtol=0, atol=0)


def test_to_strings_and_back():
    for x in [
        np.array([0.1, -2.5, 1e-20, 3.0, 1e30], np.float32),
        np.array([0.1, 1 / 3, 1e300]),
        np.array([1.5, 65504], np.float16),
        np.array([-3, 2**62]),
        np.array([2**64 - 1], np.uint64),
        np.array([-8, 7], np.int8),
    ]:
        name = TensorProto.DataType.Name(helper.np_dtype_to_tensor_dtype(x.dtype))
        text = cast(x, "STRING")
        assert [type(s) for s in text.ravel()] == [str] * x.size
        assert_same(cast(text, name), x, rtol=0, atol=0)
        assert_same(np.array([float(s) for s in text]), x.astype(np.float64), rtol=1e-3)
    special = np.array(["NaN", "INF", "-INF", "+inf", " 1.5e3 ", "+7", "1e-999", "-1e999"], object)
    assert_same(cast(special, "DOUBLE"), np.array([np.nan, np.inf, -np.inf, np.inf, 1500, 7, 0, -np.inf]))
    assert_same(cast(np.array(["100.5", "-3"], object), "INT32"), np.array([100, -3], np.int32))
    assert_same(
        cast(cast(np.array([np.nan, np.inf, -np.inf], np.float32), "STRING"), "FLOAT"),
        np.array([np.nan, np.inf, -np.inf], np.float32),
    )
    assert list(cast(np.array([True, False]), "STRING")) == ["True", "False"]
    same = np.array(["a", "b"], object)
    assert list(cast(same, "STRING")) == ["a", "b"]
    for bad in ["", "Hello World!", "1.5x", "+-1", "0x10", "1 2", " "]:
        with pytest.raises(pyinfer.InvalidInput):
            cast(np.array([bad], object), "FLOAT")


def test_cast_like():
    x = np.array([[1.7, -2.2]], np.float32)
    check("CastLike", [x, np.zeros(3, np.int64)], expected=[np.array([[1, -2]], np.int64)])
    check("CastLike", [x, x], expected=[x])
    text = check("CastLike", [x, np.array(["any"], object)], expected=[np.array([["1.7", "-2.2"]], object)])
    assert text[0].shape == (1, 2)


def test_large_tensors_run_in_ranges():
    x = np.random.default_rng(5).normal(size=100_003).astype(np.float32) * 1000
    assert_same(cast(x, "INT16"), x.astype(np.int16))
    assert_same(cast(x, "FLOAT16"), x.astype(np.float16), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("source", "to"),
    [
        ("FLOAT", "INT32"),
        ("INT64", "DOUBLE"),
        ("UINT8", "INT8"),
        ("FLOAT16", "BFLOAT16"),
        ("UINT16", "FLOAT16"),
        ("FLOAT8E5M2", "UINT8"),
        ("FLOAT6E2M3", "FLOAT6E3M2"),
        ("UINT32", "FLOAT"),
        ("BOOL", "INT8"),
        ("INT16", "UINT16"),
    ],
)
def test_bit_cast(source, to):
    x = sample(source)
    check("BitCast", [x], {"to": getattr(TensorProto, to)}, expected=[x.view(np_dtype(to))], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("source", "to"),
    [
        ("INT4", "UINT4"),
        ("UINT4", "INT4"),
        ("FLOAT4E2M1", "UINT4"),
        ("UINT4", "FLOAT4E2M1"),
        ("INT4", "FLOAT4E2M1"),
        ("UINT2", "INT2"),
    ],
)
def test_bit_cast_of_less_than_a_byte(source, to):
    bits = 2 if source[-1] == "2" else 4
    bits = 4 if source == "FLOAT4E2M1" else bits
    codes = np.arange(1 << bits, dtype=np.uint8)

    def of_codes(name):
        if name[0] == "I":
            signed = codes.astype(np.int8)
            return np.where(signed >= 1 << (bits - 1), signed - (1 << bits), signed).astype(np_dtype(name))
        return codes.astype(np_dtype(name)) if name[0] == "U" else codes.view(np_dtype(name))

    x = of_codes(source)
    got = run(node_model("BitCast", [x], {"to": getattr(TensorProto, to)}), [x])[0]
    assert got.dtype == np_dtype(to)
    np.testing.assert_array_equal(got.astype(np.float32), of_codes(to).astype(np.float32))


def test_refusals():
    x = np.zeros(3, np.float32)
    for op, inputs, attributes in [
        ("Cast", [x], {}),
        ("Cast", [x], {"to": 0}),
        ("Cast", [x], {"to": 999}),
        ("Cast", [x], {"to": -1}),
        ("Cast", [x], {"to": TensorProto.COMPLEX64}),
        ("Cast", [x.astype(np.complex64)], {"to": TensorProto.FLOAT}),
        ("Cast", [x], {"to": TensorProto.FLOAT8E8M0, "round_mode": "sideways"}),
        ("CastLike", [x], {}),
        ("BitCast", [x], {"to": TensorProto.INT64}),
        ("BitCast", [x], {"to": TensorProto.STRING}),
        ("BitCast", [x], {}),
    ]:
        with pytest.raises(pyinfer.PyInferError):
            check(op, inputs, attributes)
