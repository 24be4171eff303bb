"""Operators of com.microsoft that are read as standard ones, against ONNX Runtime and NumPy."""

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

import pyinfer
from nodes import check, node_model, run
from ort import check_ort, ort_model, ort_run

MS = "com.microsoft"
F = np.float32
RNG = np.random.default_rng(4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_trilu(dtype):
    x = (RNG.standard_normal((2, 4, 5)) * 9).astype(dtype)
    for upper in (0, 1):
        check_ort("Trilu", [x], {"upper": upper})
        for k in (-2, 0, 1, 9):
            check_ort("Trilu", [x, np.int64(k)], {"upper": upper})


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.int32, np.int64])
def test_range(dtype):
    for start, limit, delta in [(0, 5, 1), (10, 0, -3), (3, 3, 1), (1, 8, 2)]:
        check_ort("Range", [dtype(start), dtype(limit), dtype(delta)])
        check_ort("Range", [np.array([start], dtype), np.array([limit], dtype), np.array([delta], dtype)])
    check_ort("Range", [dtype(2), dtype(7)])


def test_pad():
    x = RNG.standard_normal((2, 3, 4)).astype(F)
    for pads in ([0, 1, 0, 0, 0, 2], [1, 0, 2, 0, 1, 3], [0, -1, 0, 0, 0, -2]):
        for shape in (6, (1, 6)):
            check_ort("Pad", [x, np.array(pads, np.int64).reshape(shape), F(7)])
            check_ort("Pad", [x, np.array(pads, np.int64).reshape(shape)])
    check_ort("Pad", [x, np.array([0, 1, 2, 0, 0, 1])], {"mode": "reflect"})
    check_ort("Pad", [x, np.array([1, 1, 2, 0, 0, 1])], {"mode": "edge"})


def test_unique():
    for n in (1, 2, 17, 100):
        check_ort("Unique", [RNG.integers(0, 9, n).astype(F)], outputs=3)


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.bool_])
def test_expand_dims(dtype):
    x = (RNG.standard_normal((2, 3)) > 0).astype(dtype)
    for axis in (0, 1, 2, -1, -2):
        check_ort("ExpandDims", [x, np.int32(axis)], constant=[1])
        check("ExpandDims", [x, np.int32(axis)], domain=MS, expected=[np.expand_dims(x, axis)])


@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_gather_nd(index):
    x = RNG.standard_normal((3, 4, 5)).astype(F)
    for shape, depth in [((2,), 1), ((2, 3), 2), ((1, 2), 3)]:
        indices = np.stack([RNG.integers(0, x.shape[d], shape) for d in range(depth)], -1).astype(index)
        check_ort("GatherND", [x, indices])


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_grid_sample(mode, padding):
    x = RNG.standard_normal((2, 3, 5, 6)).astype(F)
    grid = RNG.uniform(-1.3, 1.3, (2, 4, 7, 2)).astype(F)
    for align in (0, 1):
        attributes = {"mode": mode, "padding_mode": padding, "align_corners": align}
        if (mode, padding) != ("bicubic", "border"):
            check_ort("GridSample", [x, grid], attributes, rtol=1e-4, atol=1e-4)
            continue
        # ONNX Runtime clamps the point, PyTorch and ONNX each pixel that it reads.
        standard = node_model("GridSample", [x, grid], {**attributes, "mode": "cubic"}, opset=20)
        want = ReferenceEvaluator(standard).run(None, {"x0": x, "x1": grid})
        check("GridSample", [x, grid], attributes, domain=MS, expected=want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16"])
def test_quantize_linear(dtype):
    info = np.iinfo(dtype)
    x = (RNG.standard_normal((3, 4, 5)) * info.max).astype(F)
    zero = np.array(5, dtype)
    q = check_ort("QuantizeLinear", [x, F(1.7), zero])[0]
    check_ort("DequantizeLinear", [q, F(1.7), zero])
    check_ort("DequantizeLinear", [q, F(1.7)])
    scales, zeros = RNG.uniform(0.5, 2, 4).astype(F), np.arange(4).astype(dtype)
    q = check_ort("QuantizeLinear", [x, scales, zeros], {"axis": 1})[0]
    check_ort("DequantizeLinear", [q, scales, zeros], {"axis": 1})


def test_quantize_linear_of_four_bits():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = (RNG.standard_normal((3, 4)) * 8).astype(F)
    for dtype, low, high in [(ml_dtypes.int4, -8, 7), (ml_dtypes.uint4, 0, 15)]:
        zero = np.array(3).astype(dtype)
        want = np.clip(np.rint(x / F(1.5)) + 3, low, high)
        q = check(
            "QuantizeLinear", [x, F(1.5), zero], domain=MS, expected=[want.astype(np.int8).astype(dtype)]
        )[0]
        back = ((want - 3) * 1.5).astype(F)
        check("DequantizeLinear", [q, F(1.5), zero], domain=MS, expected=[back])


@pytest.mark.parametrize("op", ["FusedMatMul", "TransposeMatMul"])
def test_matmul(op):
    for rank in (2, 3, 4):
        batch = (2, 3)[: rank - 2]
        for trans_a in (0, 1):
            for trans_b in (0, 1):
                a = RNG.standard_normal((*batch, *((5, 4) if trans_a else (4, 5)))).astype(F)
                b = RNG.standard_normal((*batch, *((6, 5) if trans_b else (5, 6)))).astype(F)
                attributes = {"transA": trans_a, "transB": trans_b, "alpha": 0.5}
                check_ort(op, [a, b], attributes)
                if op == "FusedMatMul" and rank > 2:
                    check_batch_first(op, a, b, attributes)


def check_batch_first(op, a, b, attributes):
    """The first dimension of the matrix in front of the batch; the rank must be known."""
    for batch_a in (0, 1):
        for batch_b in (0, 1):
            x = np.ascontiguousarray(np.moveaxis(a, -2, 0)) if batch_a else a
            y = np.ascontiguousarray(np.moveaxis(b, -2, 0)) if batch_b else b
            fused = {**attributes, "transBatchA": batch_a, "transBatchB": batch_b}
            model = node_model(op, [x, y], fused, domain=MS)
            feeds = {"x0": x, "x1": y}
            want = ort_run(ort_model(model, feeds), feeds)[0]
            np.testing.assert_allclose(run(model, [x, y])[0], want, rtol=1e-5, atol=1e-5)


def test_fused_matmul_activation():
    a, b = RNG.standard_normal((4, 5)).astype(F), RNG.standard_normal((5, 6)).astype(F)
    product = a @ b
    for attributes, want in [
        ({"activation": "Relu"}, np.maximum(product, 0)),
        (
            {"activation": "LeakyRelu", "activation_alpha": 0.2},
            np.where(product < 0, product * F(0.2), product),
        ),
        ({"activation": "Tanh"}, np.tanh(product)),
    ]:
        check("FusedMatMulActivation", [a, b], attributes, domain=MS, expected=[want], rtol=1e-4, atol=1e-5)


def test_bias_operators():
    x, skip = RNG.standard_normal((2, 2, 3, 8)).astype(F)
    bias = RNG.standard_normal(8).astype(F)
    check("BiasAdd", [x, bias, skip], domain=MS, expected=[x + bias + skip])
    check("BiasDropout", [x, bias], domain=MS, expected=[x + bias])
    check("BiasDropout", [x, bias, skip, F(0.5)], domain=MS, expected=[x + bias + skip])
    check(
        "BiasDropout",
        [x, bias, skip],
        domain=MS,
        outputs=2,
        expected=[x + bias + skip, np.ones(x.shape, bool)],
    )
    scores = RNG.standard_normal((2, 3, 4, 5)).astype(F)
    mask = RNG.standard_normal((2, 1, 1, 5)).astype(F)

    def softmax(s, axes):
        e = np.exp(s - s.max(axes, keepdims=True))
        return e / e.sum(axes, keepdims=True)

    for axis in (3, -1, 2, 1):
        axes = tuple(range(axis % 4, 4))
        want = softmax(scores + mask, axes)
        attributes = {"axis": axis, "is_inner_broadcast": 1}
        check("BiasSoftmax", [scores, mask], attributes, domain=MS, expected=[want], rtol=1e-4, atol=1e-6)


def test_hostile():
    x = np.ones((2, 3), F)
    for op, inputs, attributes in [
        ("Trilu", [x[0]], {}),
        ("Range", [F(0), F(np.inf), F(1)], {}),
        ("Range", [F(0), F(1), F(0)], {}),
        ("Pad", [x, np.ones(3, np.int64)], {}),
        ("Pad", [x, np.full(4, 2**62)], {}),
        ("ExpandDims", [x, np.int32(5)], {}),
        ("ExpandDims", [x, np.array([0, 1], np.int32)], {}),
        ("GatherND", [x, np.array([[5, 0]], np.int32)], {}),
        ("GridSample", [x, x], {}),
        ("QuantizeLinear", [x, np.ones(4, F), np.zeros(4, np.uint8)], {"axis": 1}),
        ("FusedMatMulActivation", [x, x.T.copy()], {"activation": "Nonsense"}),
        ("BiasAdd", [x, np.ones(4, F), x], {}),
    ]:
        with pytest.raises(pyinfer.PyInferError):
            run(node_model(op, inputs, attributes, domain=MS), inputs)


def test_a_local_function_of_the_same_name_comes_first():
    function = onnx.helper.make_function(
        MS,
        "Gelu",
        ["x"],
        ["y"],
        [onnx.helper.make_node("Neg", ["x"], ["y"])],
        [onnx.helper.make_opsetid("", 17)],
    )
    x = RNG.standard_normal((2, 3)).astype(F)
    model = node_model("Gelu", [x], domain=MS)
    model.functions.append(function)
    np.testing.assert_array_equal(run(model, [x])[0], -x)


def test_fused_convolution_of_images_with_channels_last():
    x, w, bias = (RNG.standard_normal(s).astype(F) for s in [(2, 4, 6, 7), (6, 2, 3, 3), (6,)])
    z = RNG.standard_normal((2, 6, 3, 7)).astype(F)
    attributes = {"group": 2, "pads": [1, 1, 1, 1], "strides": [2, 1], "activation": "Relu"}
    want = run(node_model("FusedConv", [x, w, bias, z], attributes, domain=MS), [x, w, bias, z])[0]
    last = [np.ascontiguousarray(np.moveaxis(v, 1, -1)) for v in (x, z)]
    inputs = [last[0], w, bias, last[1]]
    got = run(node_model("NhwcFusedConv", inputs, attributes, domain=MS), inputs)[0]
    np.testing.assert_allclose(np.moveaxis(got, -1, 1), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("activation", ["none", "silu"])
def test_causal_convolution(activation):
    for b, c, n, k in [(2, 3, 5, 4), (1, 1, 1, 3)]:
        x, w, bias, past = (
            RNG.standard_normal(s).astype(F) for s in [(b, c, n), (c, 1, k), (c,), (b, c, k - 1)]
        )
        inputs = [x, w, bias, past]
        check_ort("CausalConvWithState", inputs, {"activation": activation}, outputs=2, rtol=1e-4, atol=1e-5)
    with pytest.raises(pyinfer.PyInferError, match="dilation 2"):
        pyinfer.load(node_model("CausalConvWithState", inputs, {"dilation": 2}, domain=MS, outputs=2))


@pytest.mark.parametrize("rule", ["linear", "gated", "delta", "gated_delta"])
def test_linear_attention(rule):
    b, n, heads, size, v_size = 2, 4, 2, 4, 6
    q, k = RNG.standard_normal((2, b, n, heads * size)).astype(F)
    v = RNG.standard_normal((b, n, heads * v_size)).astype(F)
    past = RNG.standard_normal((b, heads, size, v_size)).astype(F)
    decay = -RNG.random((b, n, heads)).astype(F) if "gated" in rule else None
    beta = RNG.random((b, n, heads)).astype(F) if "delta" in rule else None
    attributes = {"q_num_heads": heads, "kv_num_heads": heads, "update_rule": rule, "chunk_size": 16}
    inputs = [q, k / 2, v, past, decay, beta]
    check_ort("LinearAttention", inputs, attributes, outputs=2, rtol=1e-4, atol=1e-4)
