"""Elementwise operators on quantized tensors against ONNX Runtime and NumPy."""

import numpy as np
import pytest

import pyinfer
from nodes import node_model, run
from ort import ort_model, ort_run

MS = "com.microsoft"
F = np.float32
TYPES = [np.uint8, np.int8]


def integers(rng, shape, dtype):
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)


def wide(q, scale, zero):
    return (q.astype(np.float64) - (0 if zero is None else float(zero))) * float(scale)


def quantize(x, scale, zero, dtype):
    info = np.iinfo(dtype)
    return np.clip(np.rint(x / float(scale)) + (0 if zero is None else float(zero)), info.min, info.max)


def check(op, inputs, want, attributes=None):
    """Within one step of the exact result, for a half may fall to either side."""
    model = node_model(op, inputs, attributes, domain=MS)
    got = run(model, inputs)[0]
    assert got.shape == want.shape
    assert np.abs(got.astype(int) - want).max(initial=0) <= 1
    assert (got != want).mean() <= 0.02 if want.size > 100 else True
    if want.size and all(x is not None for x in inputs):  # it infers no types without zero points
        feeds = {f"x{i}": np.asarray(x) for i, x in enumerate(inputs) if x is not None}
        ort = ort_run(ort_model(model, feeds), feeds)[0]
        assert ort.dtype == got.dtype
        assert np.abs(got.astype(int) - ort.astype(int)).max() <= 1


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("op", ["QLinearAdd", "QLinearMul"])
def test_binary(op, dtype):
    rng = np.random.default_rng(1)
    shapes = [
        ((), ()),
        ((3, 5), (3, 5)),
        ((2, 3, 40), (3, 1)),
        ((1, 7), (4, 1, 1)),
        ((0, 3), (1, 3)),
        ((700,), ()),
    ]
    for shape_a, shape_b in shapes:
        for zeros in (True, False):
            a, b = integers(rng, shape_a, dtype), integers(rng, shape_b, dtype)
            za, zb, zc = [integers(rng, (), dtype) if zeros else None for _ in range(3)]
            sa, sb = F(0.03), F(0.05)
            x, y = wide(a, sa, za), wide(b, sb, zb)
            exact = x + y if op == "QLinearAdd" else x * y
            sc = F(max(np.abs(exact).max(initial=0) / 100, 0.01))
            check(op, [a, sa, za, b, sb, zb, sc, zc], quantize(exact, sc, zc, dtype))


@pytest.mark.parametrize("dtype", TYPES)
def test_unary(dtype):
    rng = np.random.default_rng(2)
    for shape in [(), (3, 5), (0,), (9, 300)]:
        x, zx, zy = integers(rng, shape, dtype), integers(rng, (), dtype), integers(rng, (), dtype)
        v = wide(x, 0.05, zx)
        check(
            "QLinearSigmoid",
            [x, F(0.05), zx, F(1 / 128), zy],
            quantize(1 / (1 + np.exp(-v)), 1 / 128, zy, dtype),
        )
        want = quantize(np.where(v < 0, v * 0.25, v), 0.04, zy, dtype)
        check("QLinearLeakyRelu", [x, F(0.05), zx, F(0.04), zy], want, {"alpha": 0.25})


@pytest.mark.parametrize("dtype", TYPES)
def test_where(dtype):
    rng = np.random.default_rng(3)
    for shapes in [((3, 4), (3, 4), (3, 4)), ((3, 1), (4,), (2, 3, 4)), ((1,), (5,), (1,))]:
        c = rng.integers(0, 2, shapes[0]).astype(bool)
        x, y = integers(rng, shapes[1], dtype), integers(rng, shapes[2], dtype)
        zx, zy, zz = [integers(rng, (), dtype) for _ in range(3)]
        exact = np.where(c, wide(x, 0.02, zx), wide(y, 0.07, zy))
        inputs = [c, x, F(0.02), zx, y, F(0.07), zy, F(0.05), zz]
        check("QLinearWhere", inputs, quantize(exact, 0.05, zz, dtype))


@pytest.mark.parametrize("dtype", TYPES)
def test_concat(dtype):
    rng = np.random.default_rng(4)
    for axis in (0, 1, -1):
        parts, inputs = [], [F(0.05), integers(rng, (), dtype)]
        for i in range(3):
            shape = [2, 3, 4]
            shape[axis] = i + 1
            x, zero, scale = integers(rng, shape, dtype), integers(rng, (), dtype), F(0.02 * (i + 1))
            inputs += [x, scale, zero]
            parts.append(wide(x, scale, zero))
        want = quantize(np.concatenate(parts, axis), 0.05, inputs[1], dtype)
        check("QLinearConcat", inputs, want, {"axis": axis})


def test_hostile():
    q, z, s = np.ones((2, 3), np.uint8), np.uint8(1), F(0.5)
    for op, inputs, attributes in [
        ("QLinearAdd", [q, s, z, q[:, :2], s, z, s, z], {}),
        ("QLinearAdd", [q, np.ones(3, F), z, q, s, z, s, z], {}),
        ("QLinearAdd", [q, s, np.int8(0), q, s, z, s, z], {}),
        ("QLinearAdd", [q.astype(F), s, z, q, s, z, s, z], {}),
        ("QLinearAdd", [q, s, z, q, s, z], {}),
        ("QLinearSigmoid", [q, s, z], {}),
        ("QLinearWhere", [q, q, s, z, q, s, z, s, z], {}),
        ("QLinearConcat", [s, z, q, s], {"axis": 0}),
        ("QLinearConcat", [s, z, q, s, z], {"axis": 5}),
        ("QLinearConcat", [s, z, q, s, z, q[0], s, z], {"axis": 0}),
        ("QLinearConcat", [s, z, q, s, z, q[:, :1], s, z], {"axis": 0}),
    ]:
        with pytest.raises(pyinfer.PyInferError):
            run(node_model(op, inputs, attributes, domain=MS), inputs)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("last", [0, 1])
def test_global_average_pool(dtype, last):
    rng = np.random.default_rng(5)
    for shape in [(2, 3, 4, 5), (1, 17, 7, 7), (2, 4, 3, 1)]:
        x, zx, zy = integers(rng, shape, dtype), integers(rng, (), dtype), integers(rng, (), dtype)
        mean = wide(x, 0.05, zx).mean((1, 2) if last else (2, 3), keepdims=True)
        want = quantize(mean, 0.01, zy, dtype)
        check("QLinearGlobalAveragePool", [x, F(0.05), zx, F(0.01), zy], want, {"channels_last": last})


@pytest.mark.parametrize("dtype", TYPES)
def test_softmax(dtype):
    rng = np.random.default_rng(6)
    for axis, opset in [(-1, 13), (1, 13), (0, 13), (1, 11), (2, 11)]:
        x, zx = integers(rng, (3, 4, 9), dtype), integers(rng, (), dtype)
        v = wide(x, 0.03, zx)
        axes = axis if opset >= 13 else tuple(range(axis, 3))
        e = np.exp(v - v.max(axes, keepdims=True))
        zero = dtype(-128 if dtype == np.int8 else 0)
        want = quantize(e / e.sum(axes, keepdims=True), 1 / 256, zero, dtype)
        check("QLinearSoftmax", [x, F(0.03), zx, F(1 / 256), zero], want, {"axis": axis, "opset": opset})


@pytest.mark.parametrize("last", [0, 1])
def test_convolution(last):
    # Weights so small that ONNX Runtime, on a CPU without VNNI, does not saturate sums of two products.
    rng = np.random.default_rng(7)
    x = integers(rng, (2, 6, 7, 3) if last else (2, 3, 6, 7), np.uint8)
    w = rng.integers(-60, 61, (5, 3, 3, 3)).astype(np.int8)
    inputs = [x, F(0.02), np.uint8(120), w, F(0.01), np.int8(0), F(0.05), np.uint8(128)]
    attributes = {"channels_last": last, "pads": [1, 1, 1, 1], "strides": [2, 1]}
    model = node_model("QLinearConv", inputs, attributes, domain=MS)
    feeds = {f"x{i}": np.asarray(v) for i, v in enumerate(inputs)}
    np.testing.assert_array_equal(run(model, inputs)[0], ort_run(ort_model(model, feeds), feeds)[0])


@pytest.mark.parametrize("dtype", TYPES)
def test_max_pool(dtype):
    x = integers(np.random.default_rng(8), (2, 6, 7, 5), dtype)
    model = node_model("NhwcMaxPool", [x], {"kernel_shape": [3, 2], "strides": [2, 1]}, domain=MS)
    np.testing.assert_array_equal(run(model, [x])[0], ort_run(ort_model(model, {"x0": x}), {"x0": x})[0])


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize(
    "attributes",
    [{}, {"strides": [2, 2], "pads": [1, 0, 1, 1]}, {"ceil_mode": 1, "strides": [2, 2]}],
    ids=str,
)
def test_average_pool(dtype, last, attributes):
    rng = np.random.default_rng(8)
    x, zx, zy = integers(rng, (2, 3, 7, 6), dtype), integers(rng, (), dtype), integers(rng, (), dtype)
    attributes = {"kernel_shape": [3, 2], **attributes}
    model = node_model("AveragePool", [np.zeros(x.shape, F)], attributes)
    mean = run(model, [wide(x, 0.05, zx).astype(F)])[0]
    want = quantize(mean.astype(np.float64), 0.0237, zy, dtype)
    if last:
        x, want = np.moveaxis(x, 1, -1).copy(), np.moveaxis(want, 1, -1)
    check("QLinearAveragePool", [x, F(0.05), zx, F(0.0237), zy], want, {"channels_last": last, **attributes})
