"""MatMul, Gemm and their fused forms against NumPy in float64 (integers: exactly)."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest

import pyinfer
from nodes import check, node_model, run

FLOATS = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]
INTEGERS = [np.int32, np.uint32, np.int64, np.uint64]
# Relative to the sum of magnitudes.
TOLERANCE = {"float32": 1e-6, "float64": 1e-14, "float16": 2e-3, "bfloat16": 1.6e-2}


def rand(rng: np.random.Generator, shape: Any, dtype: Any) -> np.ndarray:
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, shape, dtype, endpoint=True)
    return rng.standard_normal(shape).astype(dtype)


def close(got: np.ndarray, want: np.ndarray, scale: np.ndarray | float, dtype: Any) -> None:
    assert got.dtype == dtype and got.shape == want.shape
    error = np.abs(got.astype(np.float64) - want)
    assert np.all(error <= TOLERANCE[np.dtype(dtype).name] * (np.abs(scale) + 1)), error.max()


SHAPES = [
    ((3, 4), (4, 5)),
    ((1, 7), (7, 33)),
    ((65, 40), (40, 17)),
    ((5,), (5,)),
    ((5,), (5, 3)),
    ((3, 5), (5,)),
    ((2, 3, 5), (5,)),
    ((5,), (2, 5, 3)),
    ((2, 3, 4, 5), (5, 6)),
    ((4, 5), (2, 3, 5, 6)),
    ((2, 1, 4, 5), (3, 5, 6)),
    ((2, 3, 4, 5), (2, 3, 5, 6)),
    ((0, 4), (4, 5)),
    ((3, 0), (0, 5)),
    ((3, 4), (4, 0)),
    ((0, 3, 4), (4, 5)),
    ((2, 0, 3, 4), (2, 1, 4, 5)),
    ((2, 300, 500), (500, 70)),
]


@pytest.mark.parametrize("dtype", FLOATS + INTEGERS, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("constant", [(), (1,)], ids=["", "constant"])
def test_matmul(shapes: Any, dtype: Any, constant: Any) -> None:
    rng = np.random.default_rng(1)
    a, b = (rand(rng, s, dtype) for s in shapes)
    (y,) = run(node_model("MatMul", [a, b], constant=constant), [a, b], constant)
    if np.dtype(dtype).kind in "iu":
        want = np.matmul(a, b)
        assert y.dtype == dtype and y.shape == np.shape(want)
        np.testing.assert_array_equal(y, want)
    else:
        wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
        close(y, np.asarray(wide_a @ wide_b), np.asarray(np.abs(wide_a) @ np.abs(wide_b)), dtype)


@pytest.mark.parametrize(
    "shapes", [((3, 4), (5, 6)), ((), (3,)), ((3,), ()), ((2, 3, 4), (3, 4, 5)), ((4,), (3, 5))], ids=str
)
def test_matmul_refuses_shapes(shapes: Any) -> None:
    a, b = (np.ones(s, np.float32) for s in shapes)
    with pytest.raises(pyinfer.InvalidInput):
        run(node_model("MatMul", [a, b]), [a, b])


def test_matmul_refuses_types() -> None:
    a = np.ones((2, 2), np.int8)
    with pytest.raises(pyinfer.UnsupportedModel):
        pyinfer.load(node_model("MatMul", [a, a]))
    with pytest.raises(pyinfer.InvalidModel):
        pyinfer.load(node_model("MatMul", [a.astype(np.float32), a.astype(np.float64)]))


def test_special_values() -> None:
    a = np.array([[np.inf, 1], [np.nan, 0], [1e38, 1e38]], np.float32)
    b = np.array([[1, 0], [2, 3]], np.float32)
    with np.errstate(all="ignore"):
        check("MatMul", [a, b], expected=[a @ b])


@pytest.mark.parametrize("dtype", FLOATS + INTEGERS, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("transpose", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("c_shape", [None, (), (1,), (7,), (1, 7), (33, 1), (33, 7), (1, 1)], ids=str)
@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.5, -2.0)], ids=str)
def test_gemm(dtype: Any, transpose: Any, c_shape: Any, scale: Any) -> None:
    rng = np.random.default_rng(2)
    integer = np.dtype(dtype).kind in "iu"
    small = (lambda s: rng.integers(0, 9, s).astype(dtype)) if integer else (lambda s: rand(rng, s, dtype))
    a = small((20, 33) if transpose[0] else (33, 20))
    b = small((7, 20) if transpose[1] else (20, 7))
    c = None if c_shape is None else small(c_shape)
    alpha, beta = scale
    if integer:
        alpha, beta = abs(alpha) * 2, abs(beta)
    attributes = {"transA": transpose[0], "transB": transpose[1], "alpha": alpha, "beta": beta}
    wa, wb = (t.astype(np.float64) for t in (a.T if transpose[0] else a, b.T if transpose[1] else b))
    want = alpha * (wa @ wb) + (0 if c is None else beta * c.astype(np.float64))
    magnitude = abs(alpha) * (np.abs(wa) @ np.abs(wb)) + (
        0 if c is None else np.abs(beta * c.astype(np.float64))
    )
    for constant in [(), (1,), (1, 2)]:
        if c is None and 2 in constant:
            continue
        (y,) = run(node_model("Gemm", [a, b, c], attributes, constant=constant), [a, b, c], constant)
        if integer:
            np.testing.assert_array_equal(y, want.astype(dtype))
        else:
            close(y, want, magnitude, dtype)


@pytest.mark.parametrize("m,n,k", [(0, 3, 4), (3, 0, 4), (3, 4, 0), (1, 1, 1), (1, 1, 0)])
def test_gemm_edges(m: int, n: int, k: int) -> None:
    rng = np.random.default_rng(3)
    a, b, c = (rng.standard_normal(s).astype(np.float32) for s in ((m, k), (k, n), (m, n)))
    check("Gemm", [a, b, c], expected=[a @ b + c])
    check("Gemm", [a, b, c], {"beta": 0.0}, expected=[a @ b])


@pytest.mark.parametrize("c_shape", [(2,), (3, 3), (1, 2), (4, 5), (1, 4, 5)], ids=str)
def test_gemm_refuses_addend(c_shape: Any) -> None:
    values = [np.ones(s, np.float32) for s in ((4, 3), (3, 6), c_shape)]
    with pytest.raises(pyinfer.InvalidInput, match="broadcast"):
        run(node_model("Gemm", values), values)


def test_gemm_integer_scale_saturates() -> None:
    a = np.array([[2**31 - 1]], np.int32)
    (y,) = run(node_model("Gemm", [a, np.ones_like(a)], {"alpha": 4.0}), [a, np.ones_like(a)])
    assert y[0, 0] == 2**31 - 1


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("transpose", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_fused_matmul(dtype: Any, transpose: Any) -> None:
    rng = np.random.default_rng(4)
    a = rand(rng, (2, 1, 9, 6) if transpose[0] else (2, 1, 6, 9), dtype)
    b = rand(rng, (3, 20, 9) if transpose[1] else (3, 9, 20), dtype)
    wa, wb = (t.astype(np.float64) for t in (a, b))
    wa, wb = (t.swapaxes(-1, -2) if flag else t for t, flag in zip((wa, wb), transpose, strict=True))
    attributes = {"transA": transpose[0], "transB": transpose[1], "alpha": 0.3}
    (y,) = run(node_model("FusedMatMul", [a, b], attributes, domain="com.microsoft"), [a, b])
    close(y, float(np.float32(0.3)) * (wa @ wb), np.abs(wa) @ np.abs(wb), dtype)


ACTIVATIONS = {
    "Relu": lambda x: np.maximum(x, 0),
    "LeakyRelu": lambda x: np.where(x >= 0, x, np.float32(0.2) * x),
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Tanh": np.tanh,
    "Silu": lambda x: x / (1 + np.exp(-x)),
    "HardSigmoid": lambda x: np.clip(np.float32(0.2) * x + 0.5, 0, 1),
    "HardSwish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "Clip": lambda x: np.clip(x, np.float32(0.2), 0.5),
    "Softplus": lambda x: np.log1p(np.exp(x)),
    "Mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "Elu": lambda x: np.where(x > 0, x, np.float32(0.2) * np.expm1(x)),
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: np.dtype(d).name)
def test_fused_gemm_activation(activation: str, dtype: Any) -> None:
    rng = np.random.default_rng(5)
    a, b, c = (rand(rng, s, dtype) for s in ((5, 8), (8, 21), (5, 21)))
    attributes: dict[str, Any] = {"activation": activation}
    if activation in ("LeakyRelu", "HardSigmoid", "Clip", "Elu"):
        attributes |= {"activation_alpha": 0.2, "activation_beta": 0.5}
    (y,) = run(node_model("FusedGemm", [a, b, c], attributes, domain="com.microsoft"), [a, b, c])
    wa, wb, wc = (t.astype(np.float64) for t in (a, b, c))
    close(y, ACTIVATIONS[activation](wa @ wb + wc), np.abs(wa) @ np.abs(wb) + 1, dtype)


def test_unknown_activation() -> None:
    a = np.ones((2, 2), np.float32)
    model = node_model("FusedGemm", [a, a], {"activation": "Sinh"}, domain="com.microsoft")
    with pytest.raises(pyinfer.UnsupportedModel, match="Sinh"):
        pyinfer.load(model)


def internal(a: np.ndarray, b: np.ndarray, extra: list[Any], attributes: dict[str, Any]) -> Any:
    return run(node_model("FusedMatMul", [a, b, *extra], attributes, domain="pyinfer"), [a, b, *extra])[0]


@pytest.mark.parametrize(
    "dtype", [np.float32, np.float16, ml_dtypes.bfloat16], ids=lambda d: np.dtype(d).name
)
def test_bias_residual_activation(dtype: Any) -> None:
    rng = np.random.default_rng(6)
    a, b, bias, residual = (rand(rng, s, dtype) for s in ((2, 5, 8), (8, 19), (19,), (2, 5, 19)))
    y = internal(a, b, [bias, residual], {"activation": "Relu"})
    wa, wb, w1, w2 = (t.astype(np.float64) for t in (a, b, bias, residual))
    close(y, np.maximum(wa @ wb + w1 + w2, 0), np.abs(wa) @ np.abs(wb) + 2, dtype)
    y = internal(a, b, [None, residual], {})
    close(y, wa @ wb + w2, np.abs(wa) @ np.abs(wb) + 2, dtype)
    with pytest.raises(pyinfer.InvalidInput, match="bias"):
        internal(a, b, [bias[:5]], {})
    with pytest.raises(pyinfer.InvalidInput, match="residual"):
        internal(a, b, [None, residual[:1]], {})


def bits(x: np.ndarray) -> bytes:
    return x.tobytes()


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: np.dtype(d).name)
def test_same_bits_for_every_batch_and_thread_count(dtype: Any) -> None:
    rng = np.random.default_rng(7)
    a, b, c = (rand(rng, s, dtype) for s in ((333, 450), (450, 170), (170,)))
    model = node_model("Gemm", [a, b, c], {"alpha": 0.7}, constant=(1, 2))
    one = pyinfer.load(model, threads=1)
    whole = one(a)
    assert bits(pyinfer.load(model, threads=2)(a)) == bits(whole)
    for begin, end in [(0, 1), (332, 333), (5, 13), (100, 297)]:
        assert bits(one(a[begin:end])) == bits(whole[begin:end])
    # The operand packed while loading and while running.
    assert bits(run(node_model("Gemm", [a, b, c], {"alpha": 0.7}), [a, b, c])[0]) == bits(whole)


def test_same_bits_in_stacks() -> None:
    rng = np.random.default_rng(8)
    a, b = (rng.standard_normal(s).astype(np.float32) for s in ((8, 3, 17, 90), (8, 3, 90, 33)))
    model = node_model("MatMul", [a, b])
    one, two = pyinfer.load(model, threads=1), pyinfer.load(model, threads=2)
    whole = one(a, b)
    assert bits(two(a, b)) == bits(whole)
    for i in range(8):
        assert bits(one(a[i : i + 1], b[i : i + 1])) == bits(whole[i : i + 1])
        part = (slice(i, i + 1), slice(1, 2))
        assert bits(one(a[part], b[part])) == bits(whole[part])


def test_order_of_the_sum() -> None:
    """Each output is one chain of fused multiply-adds over ascending k."""
    a = np.array([[1e8, 1.0, -1e8, 1.0]], np.float32)
    b = np.ones((4, 1), np.float32)
    (y,) = run(node_model("MatMul", [a, b]), [a, b])
    acc = np.float32(0)
    for v in a[0]:
        acc = np.float32(acc + v)
    assert y[0, 0] == acc


def test_older_versions() -> None:
    a, b = np.ones((2, 3), np.float32), np.ones((3, 4), np.float32)
    for opset in (7, 9, 11):
        check("Gemm", [a, b, np.ones(4, np.float32)], opset=opset, expected=[np.full((2, 4), 4, np.float32)])
        check("MatMul", [a, b], opset=opset, expected=[a @ b])
    assert onnx.defs.onnx_opset_version() >= 13
