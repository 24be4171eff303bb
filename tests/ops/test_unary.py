"""Functions of one tensor against NumPy in float64."""

import math

import ml_dtypes
import numpy as np
import pytest

import pyinfer
from nodes import check, node_model, run

FLOATS = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]
EPSILON = {np.float32: 2.0**-23, np.float64: 2.0**-52, np.float16: 2.0**-10, ml_dtypes.bfloat16: 2.0**-7}
INTEGERS = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]

erf = np.vectorize(math.erf, otypes=[np.float64])


def sigmoid(x):
    return np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


# The defaults are float32 in the schema.
SELU = float(np.float32(1.67326319)), float(np.float32(1.05070102))
ANY = (-30.0, 30.0)
CASES = [
    ("Abs", {}, np.abs, ANY),
    ("Acos", {}, np.arccos, (-1.0, 1.0)),
    ("Acosh", {}, np.arccosh, (1.0, 50.0)),
    ("Asin", {}, np.arcsin, (-1.0, 1.0)),
    ("Asinh", {}, np.arcsinh, ANY),
    ("Atan", {}, np.arctan, ANY),
    ("Atanh", {}, np.arctanh, (-0.99, 0.99)),
    ("Ceil", {}, np.ceil, ANY),
    ("Celu", {}, lambda x: np.maximum(x, 0) + np.minimum(0, np.expm1(x)), ANY),
    ("Celu", {"alpha": 2.0}, lambda x: np.maximum(x, 0) + np.minimum(0, 2 * np.expm1(x / 2)), ANY),
    ("Cos", {}, np.cos, ANY),
    ("Cosh", {}, np.cosh, (-9.0, 9.0)),
    ("Elu", {}, lambda x: np.where(x < 0, np.expm1(x), x), ANY),
    ("Elu", {"alpha": 0.5}, lambda x: np.where(x < 0, 0.5 * np.expm1(x), x), ANY),
    ("Erf", {}, erf, (-5.0, 5.0)),
    ("Exp", {}, np.exp, (-9.0, 9.0)),
    ("Floor", {}, np.floor, ANY),
    ("Gelu", {}, lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))), ANY),
    (
        "Gelu",
        {"approximate": "tanh"},
        lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        ANY,
    ),
    ("HardSigmoid", {}, lambda x: np.clip(np.float32(0.2) * x + 0.5, 0, 1), ANY),
    ("HardSigmoid", {"alpha": 0.5, "beta": 0.25}, lambda x: np.clip(0.5 * x + 0.25, 0, 1), ANY),
    ("HardSwish", {}, lambda x: x * np.clip(x / 6 + 0.5, 0, 1), ANY),
    ("LeakyRelu", {}, lambda x: np.where(x < 0, float(np.float32(0.01)) * x, x), ANY),
    ("LeakyRelu", {"alpha": -0.5}, lambda x: np.where(x < 0, -0.5 * x, x), ANY),
    ("Log", {}, np.log, (0.01, 90.0)),
    ("Mish", {}, lambda x: x * np.tanh(softplus(x)), ANY),
    ("Neg", {}, np.negative, ANY),
    ("Reciprocal", {}, np.reciprocal, (0.2, 90.0)),
    ("Relu", {}, lambda x: np.maximum(x, 0), ANY),
    ("Round", {}, np.rint, ANY),
    ("Selu", {}, lambda x: SELU[1] * np.where(x < 0, SELU[0] * np.expm1(x), x), ANY),
    ("Selu", {"alpha": 2.0, "gamma": 3.0}, lambda x: 3 * np.where(x < 0, 2 * np.expm1(x), x), ANY),
    ("Shrink", {}, lambda x: np.where(np.abs(x) > 0.5, x, 0), (-2.0, 2.0)),
    (
        "Shrink",
        {"bias": 1.5, "lambd": 1.5},
        lambda x: np.where(x < -1.5, x + 1.5, np.where(x > 1.5, x - 1.5, 0)),
        (-4.0, 4.0),
    ),
    ("Sigmoid", {}, sigmoid, ANY),
    ("Sign", {}, np.sign, ANY),
    ("Sin", {}, np.sin, ANY),
    ("Sinh", {}, np.sinh, (-9.0, 9.0)),
    ("Softplus", {}, softplus, ANY),
    ("Softsign", {}, lambda x: x / (1 + np.abs(x)), ANY),
    ("Sqrt", {}, np.sqrt, (0.0, 90.0)),
    ("Swish", {}, lambda x: x * sigmoid(x), ANY),
    ("Swish", {"alpha": 1.5}, lambda x: x * sigmoid(1.5 * x), ANY),
    ("Tan", {}, np.tan, (-1.4, 1.4)),
    ("Tanh", {}, np.tanh, ANY),
    ("ThresholdedRelu", {}, lambda x: np.where(x > 1, x, 0), ANY),
    ("ThresholdedRelu", {"alpha": 3.0}, lambda x: np.where(x > 3, x, 0), ANY),
]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("op", "attributes", "f", "domain"),
    CASES,
    ids=[f"{c[0]}-{'-'.join(map(str, c[1].values()))}" for c in CASES],
)
def test_floats(op, attributes, f, domain, dtype):
    rng = np.random.default_rng(1)
    for shape in [(), (0, 3), (1,), (7, 37)]:
        x = np.asarray(rng.uniform(*domain, shape)).astype(dtype)
        expected = np.asarray(f(x.astype(np.float64))).astype(dtype)
        epsilon = EPSILON[dtype]
        # 1 + erf(x) cancels.
        floor = 1e-6 if op == "Gelu" else 3e-7
        check(
            op,
            [x],
            attributes,
            expected=[expected],
            rtol=6 * epsilon,
            atol=floor if dtype is np.float32 else epsilon,
        )


@pytest.mark.parametrize("op", ["Abs", "Neg", "Sign", "Relu"])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers(op, dtype):
    x = np.random.default_rng(2).integers(
        np.iinfo(dtype).min, np.iinfo(dtype).max, (3, 41), dtype, endpoint=True
    )
    x[0, :3] = 0, np.iinfo(dtype).min, np.iinfo(dtype).max
    if op in ("Neg", "Relu") and dtype in INTEGERS[4:]:
        return
    f = {"Abs": np.abs, "Neg": np.negative, "Sign": np.sign, "Relu": lambda v: np.maximum(v, 0)}[op]
    check(op, [x], expected=[f(x).astype(dtype)])


@pytest.mark.parametrize("dtype", INTEGERS)
def test_shrink_and_not_of_integers(dtype):
    low = -9 if dtype in INTEGERS[:4] else 0
    x = np.arange(low, 50).astype(dtype)
    wide = x.astype(np.float64)
    expected = np.where(wide < -2.5, wide + 2, np.where(wide > 2.5, wide - 2, 0)).astype(dtype)
    check("Shrink", [x], {"bias": 2.0, "lambd": 2.5}, expected=[expected])
    check("BitwiseNot", [x], expected=[~x])


def test_not():
    x = np.random.default_rng(3).random((5, 40)) < 0.5
    check("Not", [x], expected=[~x])
    check("Not", [x[:0]], expected=[~x[:0]])


@pytest.mark.parametrize(
    "dtype",
    [
        *FLOATS,
        ml_dtypes.float8_e4m3fn,
        ml_dtypes.float8_e4m3fnuz,
        ml_dtypes.float8_e5m2,
        ml_dtypes.float8_e5m2fnuz,
    ],
)
def test_nan_and_infinity(dtype):
    x = np.array([0.0, 1.0, -2.0, np.nan, np.inf, -np.inf, 3.0, -np.nan] * 9, np.float32).astype(dtype)
    wide = x.astype(np.float64)
    check("IsNaN", [x], expected=[np.isnan(wide)])
    for positive in (0, 1):
        for negative in (0, 1):
            expected = (wide == np.inf) & bool(positive) | (wide == -np.inf) & bool(negative)
            check(
                "IsInf", [x], {"detect_positive": positive, "detect_negative": negative}, expected=[expected]
            )


def test_infinity_needs_more_than_float32():
    x = np.array([1e300, -1e300, np.inf, 5e-324])
    check("IsInf", [x], expected=[np.isinf(x)])


@pytest.mark.parametrize("dtype", FLOATS + INTEGERS)
def test_clip(dtype):
    rng = np.random.default_rng(4)
    low, high = np.array(2, dtype), np.array(70, dtype)
    for shape in [(), (0,), (3, 43)]:
        x = np.asarray(rng.uniform(0, 120, shape)).astype(dtype)
        check("Clip", [x, low, high], expected=[np.minimum(np.maximum(x, low), high)])
        check("Clip", [x, low, high], constant=[1, 2], expected=[np.minimum(np.maximum(x, low), high)])
        check("Clip", [x, low], expected=[np.maximum(x, low)])
        check("Clip", [x, None, high], expected=[np.minimum(x, high)])
        check("Clip", [x], expected=[x])
        check("Clip", [x, high, low], expected=[np.full(shape, low, dtype)])


def test_clip_keeps_nan():
    x = np.array([np.nan, np.inf, -np.inf, 0.5], np.float32)
    check("Clip", [x, np.float32(0), np.float32(1)], expected=[np.array([np.nan, 1, 0, 0.5], np.float32)])
    check("Clip", [x, None, np.float32(1)], expected=[np.array([np.nan, 1, -np.inf, 0.5], np.float32)])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("alpha", [1.0, 1.25])
def test_swiglu(dtype, alpha):
    rng = np.random.default_rng(5)
    for shape in [(), (0, 4), (3, 5, 67)]:
        a, b = (np.asarray(rng.normal(size=shape) * 3).astype(dtype) for _ in range(2))
        wide = a.astype(np.float64), b.astype(np.float64)
        expected = (wide[0] * sigmoid(alpha * wide[0]) * wide[1]).astype(dtype)
        check(
            "SwiGLU",
            [a, b],
            {"alpha": alpha},
            expected=[expected],
            rtol=6 * EPSILON[dtype],
            atol=EPSILON[dtype],
        )
    with pytest.raises(pyinfer.PyInferError):
        check("SwiGLU", [np.zeros((2, 3), np.float32), np.zeros(3, np.float32)])


def test_large_tensors_run_in_ranges():
    x = np.random.default_rng(6).normal(size=(211, 509)).astype(np.float32)
    wide = x.astype(np.float64)
    check("Tanh", [x], expected=[np.tanh(wide).astype(np.float32)], rtol=1e-6)
    check("IsNaN", [x], expected=[np.isnan(x)])
    check("Clip", [x, np.float32(-1), np.float32(1)], expected=[np.clip(x, -1, 1)], rtol=0, atol=0)


def test_refusals():
    x = np.zeros(3, np.float32)
    for op, inputs in [
        ("Exp", [np.zeros(3, np.int32)]),
        ("Exp", [np.array(["a"], object)]),
        ("Not", [x]),
        ("Exp", []),
        ("Exp", [x, x]),
        ("BitwiseNot", [x]),
        ("IsNaN", [np.zeros(3, np.int32)]),
        ("Clip", [x > 0]),
        ("Clip", [x, np.zeros(2, np.float32)]),
        ("Clip", [x, np.zeros(())]),
    ]:
        with pytest.raises(pyinfer.PyInferError):
            check(op, inputs)
    with pytest.raises(pyinfer.PyInferError):
        check("Gelu", [x], {"approximate": "cubic"})


@pytest.mark.parametrize("op", ["Sin", "Tan", "Sinh", "Tanh", "Asin", "Atan", "Asinh", "Atanh", "Erf"])
def test_odd_functions_keep_the_sign_of_zero(op):
    y = run(node_model(op, [np.zeros(1, np.float32)]), [np.array([-0.0, 0.0], np.float32)])[0]
    assert np.signbit(y).tolist() == [True, False]
