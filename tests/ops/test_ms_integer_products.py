"""Products of com.microsoft on 8-bit integers against ONNX Runtime and NumPy."""

import numpy as np
import pytest

import pyinfer
from nodes import check, node_model, run
from ort import check_ort

MS = "com.microsoft"
F = np.float32


def integers(rng, shape, dtype):
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)


def quantized(rng, shape, dtype, per_column):
    n = shape[-1]
    scale = rng.uniform(0.01, 0.1, n if per_column else ()).astype(F)
    return integers(rng, shape, dtype), scale, integers(rng, n if per_column else (), dtype)


def wide(x, scale, zero):
    return (x.astype(np.int64) - zero.astype(np.int64)).astype(np.float64) * scale


def narrow(inputs, weight):
    """Smaller int8 weights: on a CPU without VNNI, ONNX Runtime saturates sums of two products."""
    return [x // 3 if i == weight and x.dtype == np.int8 else x for i, x in enumerate(inputs)]


SHAPES = [
    ((4, 8), (8, 5)),
    ((1, 33), (33, 17)),
    ((2, 3, 20), (20, 40)),
    ((2, 3, 20), (2, 20, 9)),
    ((0, 4), (4, 3)),
    ((3, 0), (0, 4)),
    ((70, 5), (5, 1)),
]


@pytest.mark.parametrize("a_type, b_type", [("uint8", "uint8"), ("uint8", "int8"), ("int8", "int8")])
@pytest.mark.parametrize("per_column", [False, True])
@pytest.mark.parametrize("shapes", SHAPES)
def test_matmul_integer_to_float(a_type, b_type, per_column, shapes):
    rng = np.random.default_rng([len(a_type), len(b_type), per_column])
    a, a_scale, a_zero = quantized(rng, shapes[0], a_type, False)
    b, b_scale, b_zero = quantized(rng, shapes[1], b_type, per_column)
    bias = rng.standard_normal(shapes[1][-1]).astype(F)
    want = wide(a, a_scale, a_zero) @ wide(b, b_scale, b_zero)
    for with_zeros, with_bias, constant in [(1, 1, [1, 3, 5]), (1, 0, []), (0, 1, [1])]:
        inputs = (
            [a, b, a_scale, b_scale, a_zero, b_zero] if with_zeros else [a, b, a_scale, b_scale, None, None]
        )
        if not with_zeros:
            want = (a.astype(np.float64) @ b.astype(np.float64)) * a_scale * b_scale
        inputs += [bias] if with_bias else []
        expected = (want + (bias if with_bias else 0)).astype(F)
        check(
            "MatMulIntegerToFloat",
            inputs,
            domain=MS,
            constant=constant,
            expected=[expected],
            rtol=1e-5,
            atol=1e-4,
        )
        if b.ndim == 2 and 0 not in a.shape + b.shape:
            check_ort("MatMulIntegerToFloat", narrow(inputs, 1), constant=constant, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("b_type", ["uint8", "int8"])
@pytest.mark.parametrize("per_column", [False, True])
@pytest.mark.parametrize("shapes", SHAPES)
def test_dynamic_quantize_matmul(b_type, per_column, shapes):
    rng = np.random.default_rng(per_column + len(b_type))
    for lowest in (-1.0, 0.0, 0.5):
        a = rng.uniform(lowest, 2, shapes[0]).astype(F)
        b, b_scale, b_zero = quantized(rng, shapes[1], b_type, per_column)
        bias = rng.standard_normal(shapes[1][-1]).astype(F)
        low, high = min(a.min(initial=0), 0), max(a.max(initial=0), 0)
        a_scale = F(high - low) / F(255) if high > low else F(1)
        a_zero = np.uint8(np.clip(np.rint(-low / a_scale), 0, 255))
        quantized_a = np.clip(np.rint(a / a_scale) + a_zero, 0, 255).astype(np.uint8)
        want = wide(quantized_a, a_scale, a_zero) @ wide(b, b_scale, b_zero) + bias
        inputs = [a, b, b_scale, b_zero, bias]
        check("DynamicQuantizeMatMul", inputs, domain=MS, expected=[want.astype(F)], rtol=1e-5, atol=1e-4)
        if b.ndim == 2 and 0 not in a.shape + b.shape:
            inputs = narrow(inputs, 1)
            check_ort("DynamicQuantizeMatMul", inputs, constant=[1, 2, 3], rtol=1e-5, atol=1e-4)
            check_ort("DynamicQuantizeMatMul", inputs[:3], rtol=1e-5, atol=1e-4)


def test_float16_scales():
    rng = np.random.default_rng(3)
    a, a_scale, a_zero = quantized(rng, (9, 30), np.uint8, False)
    b, b_scale, b_zero = quantized(rng, (30, 21), np.int8, True)
    h = [a_scale.astype(np.float16), b_scale.astype(np.float16)]
    bias = rng.standard_normal(21).astype(np.float16)
    want = wide(a, h[0].astype(F), a_zero) @ wide(b, h[1].astype(F), b_zero) + bias
    check(
        "MatMulIntegerToFloat",
        [a, b, *h, a_zero, b_zero, bias],
        domain=MS,
        expected=[want.astype(np.float16)],
        rtol=2e-3,
        atol=2e-3,
    )


@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("types", [("uint8", "uint8"), ("uint8", "int8"), ("int8", "int8")])
def test_qgemm(trans_a, trans_b, types):
    rng = np.random.default_rng(trans_a * 2 + trans_b)
    attributes = {"transA": trans_a, "transB": trans_b, "alpha": 1.5}
    for m, n, k in [(3, 5, 7), (1, 17, 33), (20, 40, 64), (5, 1, 2)]:
        for per_column in (False, True):
            a, a_scale, a_zero = quantized(rng, (k, m) if trans_a else (m, k), types[0], False)
            b, b_scale, b_zero = quantized(rng, (k, n), types[1], per_column)
            b = np.ascontiguousarray(b.T) if trans_b else b
            for c_shape in (None, (), (n,), (1, n), (m, 1), (m, n)):
                c = None if c_shape is None else rng.integers(-999, 999, c_shape).astype(np.int32)
                inputs = [a, a_scale, a_zero, b, b_scale, b_zero, c]
                y_scale = F(abs(a_scale * b_scale.max()) * 3000)
                if c is None or c.ndim > 0:
                    small, y_zero = narrow(inputs, 3), integers(rng, (), types[0])
                    check_ort("QGemm", small, attributes, constant=[3, 4, 5], rtol=1e-5, atol=1e-4)
                    check_ort("QGemm", [*small, y_scale, y_zero], attributes, constant=[3])
                left, right = a.T if trans_a else a, b.T if trans_b else b
                sums = (left.astype(np.int64) - a_zero) @ (right.astype(np.int64) - b_zero.astype(np.int64))
                sums = sums + (0 if c is None else c)
                want = sums * (1.5 * a_scale.astype(np.float64) * b_scale)
                check("QGemm", inputs, attributes, domain=MS, expected=[want.astype(F)], atol=1e-4)


def test_same_bits_for_every_batch():
    rng = np.random.default_rng(8)
    a, a_scale, a_zero = quantized(rng, (260, 90), np.uint8, False)
    b, b_scale, b_zero = quantized(rng, (90, 50), np.int8, True)
    inputs = [a, b, a_scale, b_scale, a_zero, b_zero]
    model = node_model("MatMulIntegerToFloat", inputs, domain=MS, constant=[1])
    whole = run(model, inputs, [1])[0]
    for rows in (1, 3, 200):
        assert run(model, [a[:rows], *inputs[1:]], [1])[0].tobytes() == whole[:rows].tobytes()


def test_hostile():
    u8, one = np.ones((4, 4), np.uint8), F(1)
    for op, inputs in [
        ("MatMulIntegerToFloat", [u8, u8[:3], one, one]),
        ("MatMulIntegerToFloat", [u8, u8, one, np.ones(3, F)]),
        ("MatMulIntegerToFloat", [u8, u8, np.ones((2, 2), F), one]),
        ("MatMulIntegerToFloat", [u8, u8, one, one, np.zeros(3, np.uint8)]),
        ("MatMulIntegerToFloat", [u8, u8, one, one, np.int8(0)]),
        ("MatMulIntegerToFloat", [u8, u8, one, one, None, None, np.ones(3, F)]),
        ("MatMulIntegerToFloat", [u8, u8, one]),
        ("DynamicQuantizeMatMul", [u8.astype(F), u8, np.ones(3, F)]),
        ("DynamicQuantizeMatMul", [u8.astype(F), u8.astype(F), one]),
        ("DynamicQuantizeMatMul", [u8.astype(F), u8, one, None, np.ones(9, F)]),
        ("QGemm", [u8, one, np.uint8(0), u8[0], one, np.uint8(0)]),
        ("QGemm", [u8, one, np.uint8(0), u8, np.ones(3, F), np.uint8(0)]),
        ("QGemm", [u8, np.ones(2, F), np.uint8(0), u8, one, np.uint8(0)]),
        ("QGemm", [u8, one, np.uint8(0), u8, one, np.uint8(0), np.ones(3, np.int32)]),
        ("QGemm", [u8, one, np.uint8(0), u8, one, np.uint8(0), np.ones((5, 4), np.int32)]),
        ("QGemm", [u8, one, np.uint8(0), u8, one, np.uint8(0), None, None, np.uint8(0)]),
        ("QGemm", [u8, one, np.uint8(0), u8, one, np.uint8(0), None, np.ones(2, F), np.uint8(0)]),
    ]:
        with pytest.raises(pyinfer.PyInferError):
            run(node_model(op, inputs, domain=MS), inputs)
