"""Graphs between DequantizeLinear and QuantizeLinear compute on integers, to the bit of integer sums."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import pyinfer
from pass_models import operators

F = np.float32
PASS = "fuse_quantized"


class Qdq:
    """A graph of QuantizeLinear and DequantizeLinear, built node by node."""

    def __init__(self):
        self.nodes, self.constants = [], {}

    def constant(self, value) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(value)
        return name

    def add(self, op: str, inputs: list[str], **attributes) -> str:
        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def quantize(self, x: str, scale, zero) -> str:
        return self.add("QuantizeLinear", [x, self.constant(F(scale)), self.constant(zero)])

    def dequantize(self, x: str, scale, zero, **attributes) -> str:
        return self.add("DequantizeLinear", [x, self.constant(scale), self.constant(zero)], **attributes)

    def activation(self, x: str, scale, zero) -> str:
        return self.dequantize(self.quantize(x, scale, zero), F(scale), zero)

    def model(self, inputs: dict[str, list], outputs: list[str]) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "g",
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
            [onnx.ValueInfoProto(name=n) for n in outputs],
            [numpy_helper.from_array(v, k) for k, v in self.constants.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def limits(dtype) -> tuple[int, int]:
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


def to_grid(v: np.ndarray, scale, zero) -> np.ndarray:
    low, high = limits(zero.dtype)
    q = np.rint(np.asarray(v, F) / F(scale)).astype(np.float64) + int(zero)
    return np.clip(q, low, high).astype(zero.dtype)


def requantized(sums: np.ndarray, multiplier: np.ndarray, zero, low: int, high: int) -> np.ndarray:
    """The bytes that exact sums become, by the formula of QLinearConv: one rounding to float32 for each step."""
    v = sums.astype(np.int32).astype(F) * multiplier.astype(F)
    return np.clip(np.rint(v).astype(np.float64) + int(zero), low, high).astype(zero.dtype)


def convolved(x: np.ndarray, w: np.ndarray, stride: int, pad: int, groups: int) -> np.ndarray:
    """Exact sums; x less its zero point, so that padding is 0."""
    x = np.pad(x.astype(np.int64), ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    n, c, height, width = x.shape
    m, per_group, kh, kw = w.shape
    out = (n, m, (height - kh) // stride + 1, (width - kw) // stride + 1)
    y = np.zeros(out, np.int64)
    for i in range(m):
        first = i // (m // groups) * per_group
        for r in range(kh):
            for s in range(kw):
                part = x[
                    :,
                    first : first + per_group,
                    r : r + stride * out[2] : stride,
                    s : s + stride * out[3] : stride,
                ]
                y[:, i] += np.einsum(
                    "nchw,c->nhw", part[:, :, : out[2], : out[3]], w[i, :, r, s].astype(np.int64)
                )
    return y


@st.composite
def conv_cases(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["one", "many", "depthwise", "groups"]))
    groups = {"one": 1, "many": 1, "depthwise": int(rng.integers(1, 40)), "groups": int(rng.integers(2, 4))}[
        kind
    ]
    per_group = 1 if kind == "depthwise" else int(rng.integers(1, 21)) * (4 if kind == "many" else 1)
    outputs = groups * (1 if kind == "depthwise" else int(rng.integers(1, 30)))
    kernel = draw(st.sampled_from([1, 2, 3, 5]))
    return {
        "rng": rng,
        "groups": groups,
        "channels": groups * per_group,
        "outputs": outputs,
        "kernel": kernel,
        "stride": draw(st.integers(1, 3)),
        "pad": draw(st.integers(0, kernel - 1)),
        "batch": draw(st.integers(0, 3)),
        "size": (int(rng.integers(kernel, 14)), int(rng.integers(kernel, 14))),
        "x_type": draw(st.sampled_from([np.uint8, np.int8])),
        "w_type": draw(st.sampled_from([np.int8, np.int8, np.uint8])),
        "y_type": draw(st.sampled_from([np.uint8, np.int8])),
        "w_zero": draw(st.booleans()),
        "per_channel": draw(st.booleans()),
        "bias": draw(st.sampled_from(["none", "int32", "float"])),
        "activation": draw(st.sampled_from(["none", "Relu", "Clip"])),
        "extreme": draw(st.booleans()),
    }


@settings(max_examples=120, deadline=None)
@given(conv_cases())
def test_convolution_is_exact(case):
    rng, g = case["rng"], Qdq()
    draw = lambda dtype, shape: rng.integers(*limits(dtype), shape, endpoint=True).astype(dtype)  # noqa: E731
    w = draw(
        case["w_type"], (case["outputs"], case["channels"] // case["groups"], case["kernel"], case["kernel"])
    )
    if case["extreme"]:
        w = np.where(w > 0, limits(w.dtype)[1], limits(w.dtype)[0]).astype(w.dtype)
    slices = case["outputs"] if case["per_channel"] else 1
    w_scale = rng.uniform(0.001, 0.02, slices).astype(F)
    w_zero = draw(w.dtype, slices) if case["w_zero"] else np.zeros(slices, w.dtype)
    x_scale, x_zero = F(rng.uniform(0.01, 0.1)), draw(case["x_type"], ())
    depth = w[0].size
    y_scale, y_zero = F(rng.uniform(0.2, 2) * np.sqrt(depth) * 0.05), draw(case["y_type"], ())
    if slices == 1:
        w_scale, w_zero = w_scale[0], w_zero[0]

    x = g.activation("x", x_scale, x_zero)
    inputs = [x, g.dequantize(g.constant(w), w_scale, w_zero, **({"axis": 0} if slices > 1 else {}))]
    unit = x_scale * w_scale
    bias = np.zeros(case["outputs"], np.int32)
    if case["bias"] != "none":
        bias = rng.integers(-20000, 20000, case["outputs"]).astype(np.int32)
    if case["bias"] == "int32":
        scales = np.broadcast_to(unit, case["outputs"]) if slices > 1 else unit
        inputs.append(
            g.dequantize(g.constant(bias), scales.astype(F), np.zeros_like(scales, np.int32), axis=0)
        )
    elif case["bias"] == "float":
        inputs.append(g.constant((bias * unit.astype(np.float64)).astype(F)))
    y = g.add("Conv", inputs, strides=[case["stride"]] * 2, pads=[case["pad"]] * 4, group=case["groups"])
    low, high = limits(y_zero.dtype)
    if case["activation"] == "Relu":
        y = g.add("Relu", [y])
        low = max(low, int(y_zero))
    elif case["activation"] == "Clip":
        bounds = np.sort(rng.uniform(-20, 20, 2).astype(F) * y_scale)
        y = g.add("Clip", [y, g.constant(bounds[0]), g.constant(bounds[1])])
        low, high = (int(to_grid(b, y_scale, y_zero)) for b in bounds)
    y = g.quantize(y, y_scale, y_zero)
    model = g.model({"x": ["n", case["channels"], *case["size"]]}, [y])

    assert operators(model).get("pyinfer.QLinearConvNhwc") == 1
    data = rng.standard_normal((case["batch"], case["channels"], *case["size"])).astype(F)
    q = to_grid(data, x_scale, x_zero).astype(np.int64) - int(x_zero)
    centred = w.astype(np.int64) - np.reshape(w_zero, (-1, 1, 1, 1)).astype(np.int64)
    sums = convolved(q, centred, case["stride"], case["pad"], case["groups"]) + bias[None, :, None, None]
    multiplier = np.reshape(x_scale * w_scale / y_scale, (-1, 1, 1) if slices > 1 else ())
    expected = requantized(sums, multiplier, y_zero, low, high)
    for threads in (1, 2):
        np.testing.assert_array_equal(pyinfer.load(model, threads=threads)(data), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("finish", ["none", "quantized"])
@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm(dtype, finish, transposed):
    rng = np.random.default_rng(5)
    for rows, depth, columns in ((1, 8, 5), (3, 37, 40), (0, 4, 4), (17, 1, 1)):
        g = Qdq()
        w = rng.integers(-128, 127, (depth, columns), endpoint=True).astype(np.int8)
        w_scale = rng.uniform(0.001, 0.01, columns).astype(F)
        x_scale, x_zero = F(0.05), dtype(7)
        bias = rng.integers(-3000, 3000, columns).astype(np.int32)
        x = g.activation("x", x_scale, x_zero)
        stored = np.ascontiguousarray(w.T) if transposed else w
        axis = 0 if transposed else 1
        wd = g.dequantize(g.constant(stored), w_scale, np.zeros(columns, np.int8), axis=axis)
        b = g.dequantize(g.constant(bias), x_scale * w_scale, np.zeros(columns, np.int32), axis=0)
        y = g.add("Gemm", [x, wd, b], transB=transposed)
        y_scale, y_zero = F(0.1), np.uint8(120)
        if finish == "quantized":
            y = g.quantize(y, y_scale, y_zero)
        model = g.model({"x": ["n", depth]}, [y])
        left = operators(model)
        assert left.get("com.microsoft.QGemm") == 1
        assert left["QuantizeLinear"] == 1  # of x
        data = rng.standard_normal((rows, depth)).astype(F)
        q = to_grid(data, x_scale, np.asarray(x_zero)).astype(np.int64) - int(x_zero)
        sums = q @ w.astype(np.int64) + bias
        if finish == "quantized":
            expected = requantized(sums, x_scale * w_scale / y_scale, y_zero, 0, 255)
        else:
            expected = sums.astype(F) * (x_scale * w_scale)
        np.testing.assert_array_equal(pyinfer.load(model)(data), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_sum(dtype):
    rng = np.random.default_rng(6)
    zeros = [np.asarray(rng.integers(*limits(dtype)), dtype) for _ in range(3)]
    scales = [F(0.04), F(0.07), F(0.09)]
    g = Qdq()
    y = g.add("Add", [g.activation("a", scales[0], zeros[0]), g.activation("b", scales[1], zeros[1])])
    model = g.model({"a": ["n", "c", "h"], "b": ["n", "c", "h"]}, [g.quantize(y, scales[2], zeros[2])])
    assert operators(model).get("com.microsoft.QLinearAdd") == 1
    for shape in ((2, 3, 40), (1, 1, 1), (0, 2, 3), (5, 7, 13)):
        a, b = (rng.standard_normal(shape).astype(F) * 4 for _ in range(2))
        p, q = (to_grid(v, s, z).astype(F) - F(z) for v, s, z in zip((a, b), scales, zeros, strict=False))
        v = p * (scales[0] / scales[2]) + q * (scales[1] / scales[2])
        low, high = limits(dtype)
        expected = np.clip(np.rint(v).astype(np.float64) + int(zeros[2]), low, high).astype(dtype)
        np.testing.assert_array_equal(
            pyinfer.load(model).run({"a": a, "b": b})[model.graph.output[0].name], expected
        )


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_what_moves_bytes_stays_on_their_grid(dtype):
    """MaxPool behind a convolution, channels last, and a Reshape."""
    rng = np.random.default_rng(7)
    for channels, kernel, pad, stride in ((3, 3, 1, 2), (64, 2, 0, 2), (70, 3, 1, 1), (17, 5, 2, 3)):
        g = Qdq()
        w = rng.integers(-128, 127, (channels, 4, 1, 1)).astype(np.int8)
        zero = np.asarray(9, dtype)
        x = g.activation("x", 0.05, zero)
        y = g.add("Conv", [x, g.dequantize(g.constant(w), F(0.01), np.int8(0))])
        y = g.activation(y, 0.1, zero)
        y = g.add("MaxPool", [y], kernel_shape=[kernel] * 2, pads=[pad] * 4, strides=[stride] * 2)
        y = g.activation(y, 0.1, zero)
        y = g.add("Reshape", [y, g.constant(np.array([0, -1]))])
        model = g.model({"x": ["n", 4, "h", "w"]}, [g.quantize(y, 0.1, zero)])
        left = operators(model)
        assert left["pyinfer.MaxPoolNhwc"] == 1
        assert left.get("DequantizeLinear", 0) == 0
        assert left["QuantizeLinear"] == 1
        data = rng.standard_normal((2, 4, 11, 9)).astype(F)
        q = to_grid(data, F(0.05), zero).astype(np.int64) - int(zero)
        multiplier = F(0.05) * F(0.01) / F(0.1)
        q = requantized(convolved(q, w, 1, 0, 1), multiplier, zero, *limits(dtype))
        around = [(0, 0), (0, 0), (pad, pad), (pad, pad)]
        q = np.pad(q, around, constant_values=limits(dtype)[0])
        windows = np.lib.stride_tricks.sliding_window_view(q, (kernel, kernel), (2, 3))[
            :, :, ::stride, ::stride
        ]
        np.testing.assert_array_equal(pyinfer.load(model)(data), windows.max((4, 5)).reshape(2, -1))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("per_column", [False, True])
def test_matmul(dtype, per_column):
    rng = np.random.default_rng(9)
    for rows, depth, columns in ((3, 37, 40), (1, 8, 5), (0, 4, 4), (17, 1, 1)):
        g = Qdq()
        w = rng.integers(-128, 127, (depth, columns), endpoint=True).astype(np.int8)
        w_scale = rng.uniform(0.001, 0.01, columns).astype(F) if per_column else F(0.01)
        wd = g.dequantize(g.constant(w), w_scale, np.zeros_like(w_scale, np.int8), axis=1)
        zero, y_zero = np.asarray(7, dtype), np.asarray(-3 if dtype == np.int8 else 100, dtype)
        y = g.add("MatMul", [g.activation("x", 0.05, zero), wd])
        model = g.model({"x": ["n", 2, depth]}, [g.quantize(y, 0.1, y_zero)])
        assert operators(model).get("QLinearMatMul") == 1
        data = rng.standard_normal((rows, 2, depth)).astype(F)
        sums = (to_grid(data, F(0.05), zero).astype(np.int64) - int(zero)) @ w.astype(np.int64)
        expected = requantized(sums, F(0.05) * w_scale / F(0.1), y_zero, *limits(dtype))
        np.testing.assert_array_equal(pyinfer.load(model)(data), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize(
    ("op", "attributes"), [("Sigmoid", {}), ("Relu", {}), ("HardSwish", {}), ("LeakyRelu", {"alpha": 0.2})]
)
def test_table(op, attributes, dtype):
    """A function of one value on bytes, behind a convolution so that it goes channels last."""
    rng = np.random.default_rng(10)
    g = Qdq()
    zero, y_zero = np.asarray(9, dtype), np.asarray(3, dtype)
    w = rng.integers(-128, 127, (5, 4, 1, 1)).astype(np.int8)
    x = g.activation("x", 0.05, zero)
    y = g.activation(g.add("Conv", [x, g.dequantize(g.constant(w), F(0.01), np.int8(0))]), 0.1, zero)
    model = g.model({"x": ["n", 4, "h", "w"]}, [g.quantize(g.add(op, [y], **attributes), 0.07, y_zero)])
    assert operators(model) == {
        "QuantizeLinear": 1,
        "Transpose": 2,
        "pyinfer.QLinearConvNhwc": 1,
        "pyinfer.QLinearUnary": 1,
    }
    data = rng.standard_normal((2, 4, 5, 3)).astype(F)
    q = to_grid(data, F(0.05), zero).astype(np.int64) - int(zero)
    q = requantized(convolved(q, w, 1, 0, 1), F(0.05) * F(0.01) / F(0.1), zero, *limits(dtype))
    v = ((q.astype(F) - F(zero)) * F(0.1)).astype(np.float64)
    exact = {
        "Sigmoid": 1 / (1 + np.exp(-v)),
        "Relu": np.maximum(v, 0),
        "HardSwish": v * np.clip(v / 6 + 0.5, 0, 1),
        "LeakyRelu": np.where(v < 0, 0.2 * v, v),
    }[op]
    got = pyinfer.load(model)(data)
    exact = np.clip(exact / 0.07 + int(y_zero), *limits(dtype))
    assert got.dtype == dtype
    assert np.abs(got - exact).max() < 0.501


@pytest.mark.parametrize("one_grid", [False, True])
def test_concat_and_product(one_grid):
    rng = np.random.default_rng(11)
    g = Qdq()
    zero = np.asarray(9, np.uint8)
    parts, x = [], g.activation("x", 0.05, zero)
    for channels, scale in ((3, 0.1), (8, 0.1 if one_grid else 0.2)):
        w = rng.integers(-128, 127, (channels, 4, 1, 1)).astype(np.int8)
        parts.append(
            g.activation(g.add("Conv", [x, g.dequantize(g.constant(w), F(0.01), np.int8(0))]), scale, zero)
        )
    y = g.activation(g.add("Concat", parts, axis=1), 0.1, zero)
    y = g.quantize(g.add("Mul", [y, y]), 0.3, zero)
    model = g.model({"x": ["n", 4, "h", "w"]}, [y])
    left = operators(model)
    assert left.get("Concat", 0) == one_grid
    assert left.get("com.microsoft.QLinearConcat", 0) == (not one_grid)
    assert left["com.microsoft.QLinearMul"] == 1
    assert left["Transpose"] == 2
    data = rng.standard_normal((2, 4, 5, 3)).astype(F)
    plain = pyinfer.load(model, disable_passes=[PASS])(data)
    assert np.abs(pyinfer.load(model)(data).astype(int) - plain.astype(int)).max() <= 2


def test_a_table_is_dequantized_after_it_is_read():
    table = np.random.default_rng(12).integers(0, 255, (50, 7)).astype(np.uint8)
    g = Qdq()
    d = g.dequantize(g.constant(table), F(0.1), np.uint8(9))
    y = g.add("Gather", [d, "i"])
    z = g.add("Neg", [d])
    model = g.model({}, [y, z])
    model.graph.input.append(helper.make_tensor_value_info("i", TensorProto.INT64, ["n", 2]))
    real = (table.astype(F) - F(9)) * F(0.1)
    for rows in (0, 1, 5):
        i = np.random.default_rng(rows).integers(-50, 50, (rows, 2))
        got = pyinfer.load(model).run({"i": i})
        np.testing.assert_array_equal(got[y], real[i])
        np.testing.assert_array_equal(got[z], -real)


def conv_model(*, x_scale=0.05, w_scale=0.01, y_scale=0.1, bias=None, middle=None, w=None, axis=None, **conv):
    """Q(middle(Conv(D(Q(x)), D(w), bias))) with x of 4 channels."""
    g = Qdq()
    if w is None:
        w = np.random.default_rng(13).integers(-128, 127, (4, 4, 1, 1)).astype(np.int8)
    x = g.activation("x", x_scale, np.uint8(3))
    scale = np.asarray(w_scale, F)
    along = {} if axis is None else {"axis": axis}
    wd = g.dequantize(g.constant(w), scale, np.zeros_like(scale, np.int8), **along)
    y = g.add("Conv", [x, wd, *([bias(g)] if bias else [])], **conv)
    if middle:
        y = middle(g, y)
    return g.model({"x": ["n", 4, "h", "w"]}, [g.quantize(y, y_scale, np.uint8(100))])


def assert_as_without(model: onnx.ModelProto, fused: bool, shape=(2, 4, 5, 3), steps: int = 1) -> None:
    """The bytes are those that the operators give one by one, up to rounding."""
    assert any("QLinearConv" in op for op in operators(model)) == fused
    x = np.random.default_rng(14).standard_normal(shape).astype(F) * 4
    got, want = pyinfer.load(model)(x), pyinfer.load(model, disable_passes=[PASS])(x)
    assert got.dtype == want.dtype
    assert np.abs(got.astype(int) - want).max() <= steps


def test_a_bias_without_a_zero_point():
    """In many graphs, so that one grows while the pass adds a constant."""
    for extra in range(40):

        def bias(g, extra=extra):
            for _ in range(extra):
                g.constant(F(1))
            b, scale = g.constant(np.arange(4, dtype=np.int32) * 1000), g.constant(F(0.05) * F(0.01))
            return g.add("DequantizeLinear", [b, scale])

        assert_as_without(conv_model(bias=bias), True)


@pytest.mark.parametrize(
    ("value", "scales", "fused"),
    [
        ([0.1, -0.2, 0.3, 0.4], {}, True),
        ([0.45, -0.45, 0.3, 0.4], {"x_scale": 1.0, "w_scale": 1.0, "y_scale": 0.01}, False),  # would vanish
        # With the sum, beyond int32.
        ([2.1474] * 4, {"x_scale": 0.01, "w_scale": 1e-7, "y_scale": 0.01}, False),
    ],
)
def test_a_float_bias_keeps_its_value(value, scales, fused):
    assert_as_without(conv_model(bias=lambda g: g.constant(np.array(value, F)), **scales), fused)


def test_filters_shared_by_two_zero_points():
    rng = np.random.default_rng(15)
    w = rng.integers(-128, 127, (8, 1, 3, 3)).astype(np.int8)
    g = Qdq()
    x, name, out = g.quantize("x", 0.05, np.uint8(3)), g.constant(w), []
    for zero in (0, 5):
        xd = g.dequantize(x, F(0.05), np.uint8(3))
        y = g.add("Conv", [xd, g.dequantize(name, F(0.01), np.int8(zero))], group=8)
        out.append(g.quantize(y, 0.1, np.uint8(100)))
    model = g.model({"x": [1, 8, 6, 6]}, out)
    data = rng.standard_normal((1, 8, 6, 6)).astype(F)
    q = to_grid(data, F(0.05), np.asarray(3, np.uint8)).astype(np.int64) - 3
    got = pyinfer.load(model).run({"x": data})
    for y, zero in zip(out, (0, 5), strict=True):
        sums = convolved(q, w.astype(np.int64) - zero, 1, 0, 8)
        want = requantized(sums, F(0.05) * F(0.01) / F(0.1), np.asarray(100, np.uint8), 0, 255)
        np.testing.assert_array_equal(got[y], want)


@pytest.mark.parametrize("shape", [(4, 1), (1, 4), (4,), (1,), (4, 4)])
@pytest.mark.parametrize("finish", ["none", "quantized"])
def test_gemm_adds_what_broadcasts(shape, finish):
    rng = np.random.default_rng(16)
    g = Qdq()
    a, w = g.activation("x", 0.05, np.uint8(3)), rng.integers(-128, 127, (8, 4)).astype(np.int8)
    c = (rng.integers(-2000, 2000, shape) * (0.05 * 0.01)).astype(F)
    y = g.add("Gemm", [a, g.dequantize(g.constant(w), F(0.01), np.int8(0)), g.constant(c)])
    if finish == "quantized":
        y = g.quantize(y, 0.1, np.uint8(100))
    model = g.model({"x": [4, 8]}, [y])
    x = rng.standard_normal((4, 8)).astype(F)
    got, want = pyinfer.load(model)(x), pyinfer.load(model, disable_passes=[PASS])(x)
    most = 1 if finish == "quantized" else 1e-5
    np.testing.assert_allclose(got.astype(F), want.astype(F), rtol=1e-5, atol=most)


@pytest.mark.parametrize("scale", [-0.1, 0.0, np.nan, np.inf, 1e-30, 1e30])
def test_scales_that_are_no_ordinary_numbers(scale):
    for name in ("x_scale", "w_scale", "y_scale"):
        assert not any("QLinear" in op for op in operators(conv_model(**{name: scale})))


def test_a_negative_axis():
    assert_as_without(conv_model(w_scale=np.full(4, 0.01, F), axis=-4), True)


def test_types_that_are_not_float32():
    g = Qdq()
    w = np.arange(-16, 16, dtype=np.int8).reshape(8, 4)
    zero = g.constant(np.uint8(3))
    a = g.add("DequantizeLinear", [g.quantize("x", 0.05, np.uint8(3)), g.constant(np.float16(0.05)), zero])
    b = g.dequantize(g.constant(w), np.float16(0.01), np.int8(0))
    model = g.model({"x": [2, 8]}, [g.add("Gemm", [a, b])])
    x = np.random.default_rng(17).standard_normal((2, 8)).astype(F)
    assert pyinfer.load(model)(x).dtype == np.float16
    # By an attribute, from operator set 23 on.
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear":
            node.attribute.append(helper.make_attribute("output_dtype", TensorProto.FLOAT16))
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(F), tensor.name))
    model.opset_import[0].version = 23
    assert pyinfer.load(model)(x).dtype == np.float16


def test_blocks_stay_in_their_layout():
    """One block with one scale along an axis that moves when images go channels last."""

    def middle(g, y):
        scale = g.constant(np.full((1, 1, 1, 1), 0.1, F))
        zero = g.constant(np.zeros((1, 1, 1, 1), np.uint8))
        q = g.add("QuantizeLinear", [g.add("Relu", [y]), scale, zero], axis=1, block_size=4)
        return g.add("DequantizeLinear", [q, scale, zero], axis=1, block_size=4)

    model = conv_model(middle=middle)
    x = np.random.default_rng(18).standard_normal((1, 4, 1, 1)).astype(F)
    got, want = pyinfer.load(model)(x), pyinfer.load(model, disable_passes=pyinfer.pass_names())(x)
    assert np.abs(got.astype(int) - want).max() <= 1


def test_wide_strides_take_no_memory():
    model = conv_model(w=np.ones((4, 1, 3, 3), np.int8), group=4, strides=[1, 1 << 24])
    assert_as_without(model, True, (1, 4, 6, 6))
    plan = pyinfer.load(model)._core.summary({"x": (1, 4, 6, 6)})["plan"]
    assert plan["arena_bytes"] < 1 << 20


@pytest.mark.parametrize(("low", "high"), [(300, 400), (200, 100), (-(2**31), 0), (-1, 5)])
def test_bounds_outside_the_type_are_refused(low, high):
    zero, one = np.uint8(0), F(1)
    inputs = [
        np.zeros((1, 1, 2, 2), np.uint8),
        one,
        zero,
        np.ones((1, 1, 1, 1), np.int8),
        one,
        np.int8(0),
        one,
        zero,
    ]
    names = [f"i{k}" for k in range(len(inputs))]
    graph = helper.make_graph(
        [helper.make_node("QLinearConv", names, ["y"], domain="pyinfer", y_low=low, y_high=high)],
        "g",
        [helper.make_tensor_value_info("i0", TensorProto.UINT8, [1, 1, 2, 2])],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in zip(names[1:], inputs[1:], strict=True)],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("pyinfer", 1)]
    with pytest.raises(pyinfer.PyInferError, match="y_low"):
        pyinfer.load(helper.make_model(graph, opset_imports=opsets, ir_version=10))


def refused() -> dict[str, onnx.ModelProto]:
    """Graphs that look like the pattern."""
    cases = {}

    def case(name: str, **change):
        g = Qdq()
        w = np.arange(-8, 8, dtype=np.int8).reshape(4, 4, 1, 1)
        scale = change.get("w_scale", F(0.01))
        x = "x" if change.get("float") else g.activation("x", change.get("x_scale", 0.05), np.uint8(3))
        wd = g.dequantize(g.constant(w), scale, np.zeros_like(scale, np.int8), axis=change.get("axis", 0))
        y = conv = g.add("Conv", [x, wd])
        if change.get("middle"):
            y = g.add(change["middle"], [y])
        q = g.quantize(y, 0.1, np.uint8(5))
        out = g.dequantize(q, F(0.1), np.uint8(5))
        outputs = [out, conv] if change.get("read") else [out]
        cases[name] = g.model({"x": [1, 4, 3, 3]}, outputs)

    case("the convolution is read elsewhere", read=True)
    case("weights have scales along their inputs", w_scale=np.full(4, 0.01, F), axis=1)
    case("an activation that is no bound", middle="Sigmoid")
    case("a float input", float=True)
    return cases


@pytest.mark.parametrize("name", sorted(refused()))
def test_leaves_alone(name):
    model = refused()[name]
    assert not any("QLinear" in op for op in operators(model))
    x = np.random.default_rng(8).standard_normal((1, 4, 3, 3)).astype(F)
    loaded = pyinfer.load(model)
    plain = pyinfer.load(model, disable_passes=pyinfer.pass_names())
    for got, want in zip(loaded.run({"x": x}).values(), plain.run({"x": x}).values(), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
