"""Broadcast arithmetic, comparisons, logic and bits against NumPy."""

import ml_dtypes
import numpy as np
import pytest

import pyinfer
from nodes import check, node_model

FLOATS = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]
INTEGERS = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]
SHAPES = [
    ((), ()),
    ((1,), (1,)),
    ((0,), (1,)),
    ((3, 0, 2), (0, 1)),
    ((7,), ()),
    ((), (7,)),
    ((37,), (37,)),
    ((5, 33), (33,)),
    ((5, 33), (5, 1)),
    ((5, 1), (1, 33)),
    ((2, 3, 4, 5), (3, 1, 5)),
    ((3, 1, 5), (2, 3, 4, 5)),
    ((2, 1, 4, 1), (1, 3, 1, 5)),
    ((1, 1, 1), (6, 2)),
]


def values(rng, dtype, shape):
    if dtype is np.bool_:
        return rng.random(shape) < 0.5
    if dtype in FLOATS:
        return np.asarray(rng.normal(size=shape) * 4).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype, endpoint=True)


def tolerance(dtype):
    return {np.float16: 2e-3, ml_dtypes.bfloat16: 1.6e-2, np.float64: 1e-14}.get(dtype, 1e-6)


ARITHMETIC = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Max": np.maximum, "Min": np.minimum}
COMPARISONS = {
    "Equal": np.equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
}


@pytest.mark.parametrize("op", ARITHMETIC)
@pytest.mark.parametrize("dtype", FLOATS + INTEGERS)
def test_arithmetic(op, dtype):
    rng = np.random.default_rng(1)
    for a, b in SHAPES:
        x, y = values(rng, dtype, a), values(rng, dtype, b)
        with np.errstate(over="ignore"):
            check(op, [x, y], expected=[ARITHMETIC[op](x, y)], rtol=0, atol=0)


@pytest.mark.parametrize("op", COMPARISONS)
@pytest.mark.parametrize("dtype", FLOATS + INTEGERS)
def test_comparisons(op, dtype):
    rng = np.random.default_rng(2)
    for a, b in SHAPES:
        x, y = values(rng, dtype, a), values(rng, dtype, b)
        check(op, [x, y], expected=[COMPARISONS[op](x, y)])
        check(op, [x, x], expected=[COMPARISONS[op](x, x)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_comparisons_and_extremes_of_nan(dtype):
    x = np.array([np.nan, 1, np.nan, np.inf, -np.inf, 0.0], dtype)
    y = np.array([1, np.nan, np.nan, np.inf, np.inf, -0.0], dtype)
    for op, f in COMPARISONS.items():
        check(op, [x, y], expected=[f(x, y)])
    check("Max", [x, y], expected=[np.maximum(x, y)])
    check("Min", [x, y], expected=[np.minimum(x, y)])


@pytest.mark.parametrize(
    ("op", "f"), [("And", np.logical_and), ("Or", np.logical_or), ("Xor", np.logical_xor)]
)
def test_logic(op, f):
    rng = np.random.default_rng(3)
    for a, b in SHAPES:
        x, y = values(rng, np.bool_, a), values(rng, np.bool_, b)
        check(op, [x, y], expected=[f(x, y)])
    check("Equal", [x, y], expected=[x == y])


@pytest.mark.parametrize("dtype", INTEGERS)
def test_bits(dtype):
    rng = np.random.default_rng(4)
    for a, b in SHAPES:
        x, y = values(rng, dtype, a), values(rng, dtype, b)
        check("BitwiseAnd", [x, y], expected=[x & y])
        check("BitwiseOr", [x, y], expected=[x | y])
        check("BitwiseXor", [x, y], expected=[x ^ y])


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
def test_shifts(dtype, direction):
    rng = np.random.default_rng(5)
    bits = np.iinfo(dtype).bits
    x = values(rng, dtype, (6, 40))
    low = -3 if np.iinfo(dtype).min < 0 else 0
    counts = rng.integers(low, bits + 3, (6, 40)).astype(dtype)
    counts[0, :2] = np.iinfo(dtype).max, np.iinfo(dtype).min

    def shift(v, n):
        n = int(n)
        inside = 0 <= n < bits
        if direction == "RIGHT":
            return int(v) >> (n if inside else bits)
        return int(v) << n & (2**bits - 1) if inside else 0

    expected = np.array([shift(v, n) for v, n in zip(x.ravel(), counts.ravel(), strict=True)], dtype=object)
    mask = 2**bits - 1
    unsigned = np.array([int(e) & mask for e in expected], f"u{bits // 8}")
    check("BitShift", [x, counts], {"direction": direction}, expected=[unsigned.view(dtype).reshape(x.shape)])
    n = np.array(3, dtype)
    down = direction == "RIGHT"
    check("BitShift", [x, n], {"direction": direction}, expected=[x >> n if down else x << n])
    check(
        "BitShift",
        [n, np.abs(x % 5)],
        {"direction": direction},
        expected=[n >> np.abs(x % 5) if down else n << np.abs(x % 5)],
    )


@pytest.mark.parametrize("dtype", FLOATS)
def test_division_of_floats(dtype):
    rng = np.random.default_rng(6)
    for a, b in SHAPES:
        x, y = values(rng, dtype, a), values(rng, dtype, b)
        wide = x.astype(np.float64) / y.astype(np.float64)
        check("Div", [x, y], expected=[wide.astype(dtype)], rtol=tolerance(dtype), atol=0)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_division_of_integers(dtype):
    rng = np.random.default_rng(7)
    x, y = values(rng, dtype, (9, 31)), values(rng, dtype, (31,)) // np.array(16, dtype)
    y[y == 0] = 1
    x[x == np.iinfo(dtype).min] //= 2
    quotient = np.array(
        [abs(int(p)) // abs(int(q)) * (1 if (p < 0) == (q < 0) else -1) for p, q in np.broadcast(x, y)],
        np.int64 if np.iinfo(dtype).min < 0 else np.uint64,
    )
    check("Div", [x, y], expected=[quotient.astype(dtype).reshape(x.shape)])
    check("Mod", [x, y], expected=[np.mod(x, y)])
    check("Mod", [x, y], {"fmod": 1}, expected=[np.fmod(x, y)])


def test_division_that_traps_in_hardware():
    for dtype in [np.int32, np.int64, np.int8]:
        low = np.iinfo(dtype).min
        x = np.array([low, 5, low, 0], dtype)
        y = np.array([-1, 0, 0, 0], dtype)
        check("Div", [x, y], expected=[np.array([low, 0, 0, 0], dtype)])
        for fmod in [0, 1]:
            check("Mod", [x, y], {"fmod": fmod}, expected=[np.zeros(4, dtype)])


@pytest.mark.parametrize("dtype", FLOATS)
def test_mod_of_floats(dtype):
    rng = np.random.default_rng(8)
    x, y = values(rng, dtype, (9, 31)), values(rng, dtype, (9, 31))
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 3.0, -3.0, 1e-3], np.float32).astype(dtype)
    x[0, :8], y[0, :8] = special, special[::-1]
    x[1, :8], y[1, :8] = special[5], special
    x[2, :8], y[2, :8] = special, special[6]
    wide = x.astype(np.float64), y.astype(np.float64)
    with np.errstate(invalid="ignore"):
        check("Mod", [x, y], {"fmod": 1}, expected=[np.fmod(*wide).astype(dtype)], rtol=tolerance(dtype))
        check(
            "Mod",
            [x, y],
            expected=[np.mod(*wide).astype(dtype)],
            rtol=tolerance(dtype),
            atol=tolerance(dtype),
        )


@pytest.mark.parametrize("base", [*FLOATS, np.int32, np.int64])
@pytest.mark.parametrize("exponent", FLOATS + INTEGERS)
def test_pow(base, exponent):
    rng = np.random.default_rng(9)
    for a, b in SHAPES:
        x = (
            (np.abs(rng.normal(size=a)) * 3 + 0.5).astype(base)
            if base in FLOATS
            else rng.integers(-5, 6, a).astype(base)
        )
        y = rng.integers(0, 4, b).astype(exponent)
        if base in FLOATS and exponent in FLOATS:
            y = (rng.normal(size=b) * 2).astype(exponent)
        expected = np.power(np.asarray(x).astype(np.float64), np.asarray(y).astype(np.float64)).astype(base)
        rtol = max(tolerance(base), tolerance(exponent) if base is np.float64 else 0) * 3
        check("Pow", [x, y], expected=[expected], rtol=rtol, atol=0)


def test_pow_of_integers_wraps():
    x = np.array([3, -7, 10, 2, -1, 1, 0, 2], np.int64)
    y = np.array([50, 30, 25, 64, 7, -3, -1, -1], np.int64)
    expected = [
        pow(int(p), int(q)) if q >= 0 else {1: 1, -1: -1}.get(int(p), 0) for p, q in zip(x, y, strict=True)
    ]
    expected = np.array([e & (2**64 - 1) for e in expected], np.uint64).view(np.int64)
    check("Pow", [x, y], expected=[expected])


@pytest.mark.parametrize("dtype", [*FLOATS, np.int32, np.int64, np.uint32, np.uint64])
def test_prelu(dtype):
    rng = np.random.default_rng(10)
    for x_shape, slope_shape in [
        ((4, 5, 6), (5, 1)),
        ((33,), (1,)),
        ((33,), ()),
        ((2, 17), (2, 17)),
        ((0, 3), (3,)),
    ]:
        x = (
            values(rng, dtype, x_shape) // np.array(64, dtype)
            if dtype not in FLOATS
            else values(rng, dtype, x_shape)
        )
        slope = values(rng, dtype, slope_shape)
        with np.errstate(over="ignore"):
            check(
                "PRelu",
                [x, slope],
                expected=[np.where(x < np.array(0, dtype), slope * x, x)],
                rtol=tolerance(dtype),
            )
    with pytest.raises(pyinfer.PyInferError):
        check("PRelu", [np.zeros(3, np.float32), np.zeros((2, 3), np.float32)])


def test_equal_of_strings():
    x = np.array([["a", "bc"], ["", "long enough to live on the heap"]], object)
    for y in [np.array(["a", "nope"], object), np.array("bc", object), x]:
        check("Equal", [x, y], expected=[x == y])


@pytest.mark.parametrize("dtype", FLOATS + INTEGERS)
@pytest.mark.parametrize("op", ["Max", "Min", "Sum", "Mean"])
def test_variadic(op, dtype):
    if op in ("Sum", "Mean") and dtype in INTEGERS:
        with pytest.raises(pyinfer.PyInferError):
            check(op, [np.zeros(2, dtype)] * 3)
        return
    rng = np.random.default_rng(11)
    fold = {"Max": np.maximum, "Min": np.minimum}.get(op, np.add)
    for shapes in [
        [(3, 5)],
        [(3, 5), (5,)],
        [(1,), (), (4, 5)],
        [(2, 1), (1, 3), (3,), (2, 2, 3)],
        [(0, 2), (2,), (1, 2)],
    ]:
        xs = [values(rng, dtype, s) for s in shapes]
        expected = xs[0]
        for x in xs[1:]:
            expected = fold(expected, x)
        if op == "Mean":
            expected = (expected.astype(np.float64) / len(xs)).astype(dtype)
        check(op, xs, expected=[expected], rtol=tolerance(dtype))
    x = values(rng, np.float32, (7,))
    model = node_model("Sum", [x, x, x])
    for i in range(3):
        model.graph.node[0].input[i] = "x0"
    del model.graph.input[1:]
    np.testing.assert_array_equal(pyinfer.load(model)(x), x + x + x)


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS, np.bool_, np.complex64, np.complex128, np.object_])
def test_where(dtype):
    rng = np.random.default_rng(12)
    for c, a, b in [
        ((4, 5), (4, 5), (4, 5)),
        ((4, 1), (5,), (1, 5)),
        ((), (3, 4), (4,)),
        ((5,), (), ()),
        ((2, 1, 3), (4, 1), (1,)),
        ((0, 4), (4,), (1, 1)),
        ((33, 1), (33, 40), ()),
    ]:
        condition = rng.random(c) < 0.5
        if dtype is np.object_:
            x, y = (np.asarray(rng.integers(0, 99, s)).astype(str).astype(object) for s in (a, b))
        elif dtype in (np.complex64, np.complex128):
            x, y = (np.asarray(rng.normal(size=s) + 1j * rng.normal(size=s)).astype(dtype) for s in (a, b))
        else:
            x, y = values(rng, dtype, a), values(rng, dtype, b)
        check("Where", [condition, x, y], expected=[np.where(condition, x, y)])


def test_large_tensors_run_in_ranges():
    rng = np.random.default_rng(13)
    x, y = rng.normal(size=(301, 1, 517)).astype(np.float32), rng.normal(size=(3, 1)).astype(np.float32)
    check("Sub", [x, y], expected=[x - y], rtol=0, atol=0)
    check("Where", [x > 0, y, x], expected=[np.where(x > 0, y, x)])
    check("Less", [y, x], expected=[y < x])


def test_refusals():
    x = np.zeros((2, 3), np.float32)
    for op, inputs in [
        ("Add", [x, np.zeros((2, 2), np.float32)]),
        ("Add", [x, np.zeros((2, 3))]),
        ("Add", [x]),
        ("Add", [x, x, x]),
        ("Add", [x > 0, x > 0]),
        ("And", [x, x]),
        ("BitwiseOr", [x, x]),
        ("Where", [x, x, x]),
        ("Where", [x > 0, x, x.astype(np.int32)]),
        ("Pow", [x > 0, x]),
        ("Max", []),
        ("Mean", [x, x.astype(np.float64)]),
    ]:
        with pytest.raises(pyinfer.PyInferError):
            check(op, inputs)
    with pytest.raises(pyinfer.PyInferError):
        check("BitShift", [np.array([1]), np.array([1])], {"direction": "UP"})
