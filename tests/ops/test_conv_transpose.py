"""ConvTranspose in both layouts, against the scatter that defines it, in float64."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx.parser
import pytest

import pyinfer
from nodes import node_model, run
from windows import conv_transpose

FLOATS = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]
TOLERANCE = {"float32": 1e-6, "float64": 1e-14, "float16": 2e-3, "bfloat16": 1.6e-2}

# x, w, strides, pads, dilations, output_padding, groups
CASES: list[tuple[Any, ...]] = [
    ((2, 3, 5, 6), (3, 4, 3, 3), (1, 1), (0, 0, 0, 0), (1, 1), (0, 0), 1),
    ((2, 3, 5, 6), (3, 20, 3, 3), (2, 2), (1, 1, 1, 1), (1, 1), (1, 1), 1),
    ((1, 4, 5, 5), (4, 3, 2, 3), (3, 2), (0, 1, 1, 2), (2, 1), (0, 1), 1),
    ((1, 4, 5, 5), (4, 3, 1, 1), (3, 3), (0, 0, 0, 0), (1, 1), (2, 2), 1),
    ((2, 6, 4, 4), (6, 5, 3, 3), (2, 1), (1, 0, 0, 1), (1, 2), (0, 0), 3),
    ((2, 6, 4, 4), (6, 1, 4, 4), (2, 2), (1, 1, 1, 1), (1, 1), (0, 0), 6),
    ((2, 3, 9), (3, 7, 4), (2,), (1, 1), (1,), (0,), 1),
    ((1, 2, 3, 4, 3), (2, 3, 2, 2, 2), (1, 2, 2), (0, 0, 1, 0, 1, 0), (1, 1, 1), (0, 1, 0), 1),
    # Windows that do not overlap.
    ((2, 3, 5, 6), (3, 4, 2, 2), (2, 2), (0, 0, 0, 0), (1, 1), (0, 0), 1),
    ((2, 24, 7, 9), (24, 1, 2, 2), (2, 2), (0, 0, 0, 0), (1, 1), (0, 0), 1),
    ((1, 5, 3, 1), (5, 40, 1, 3), (1, 3), (0, 0, 0, 0), (1, 1), (0, 0), 1),
    ((2, 3, 4, 4), (3, 2, 2, 2), (2, 2), (0, 0, 0, 1), (1, 1), (0, 0), 1),
    ((2, 3, 4, 4), (3, 2, 2, 2), (2, 2), (0, 0, 0, 0), (1, 1), (1, 0), 1),
    ((3, 4, 11), (4, 17, 5), (5,), (0, 0), (1,), (0,), 1),
    ((2, 3, 2, 3, 4), (3, 5, 2, 3, 4), (2, 3, 4), (0, 0, 0, 0, 0, 0), (1, 1, 1), (0, 0, 0), 1),
    ((1, 1, 1, 1), (1, 1, 1, 1), (1, 1), (0, 0, 0, 0), (1, 1), (0, 0), 1),
    ((0, 2, 3, 3), (2, 3, 2, 2), (1, 1), (0, 0, 0, 0), (1, 1), (0, 0), 1),
    ((2, 0, 3, 3), (0, 3, 2, 2), (1, 1), (0, 0, 0, 0), (1, 1), (0, 0), 1),
]


def close(got: np.ndarray, want: np.ndarray, scale: np.ndarray, dtype: Any) -> None:
    assert got.dtype == dtype and got.shape == want.shape
    error = np.abs(got.astype(np.float64) - want)
    assert np.all(error <= TOLERANCE[np.dtype(dtype).name] * (scale + 1)), error.max()


def rand(seed: int, dtype: Any, *shapes: Any) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(s).astype(dtype) for s in shapes]


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_conv_transpose(case: Any, dtype: Any) -> None:
    x_shape, w_shape, strides, pads, dilations, output_padding, groups = case
    outputs = w_shape[1] * groups
    x, w, bias = rand(1, dtype, x_shape, w_shape, (outputs,))
    column = bias.astype(np.float64).reshape(-1, *[1] * (x.ndim - 2))
    want = conv_transpose(x, w, *case[2:]) + column
    scale = conv_transpose(np.abs(x), np.abs(w), *case[2:]) + np.abs(column)
    attrs = {
        "strides": strides,
        "pads": pads,
        "dilations": dilations,
        "output_padding": output_padding,
        "group": groups,
    }
    results = []
    for constant in [(), (1, 2)]:
        (y,) = run(
            node_model("ConvTranspose", [x, w, bias], attrs, constant=constant), [x, w, bias], constant
        )
        close(y, want, scale, dtype)
        results.append(y.tobytes())
    assert results[0] == results[1]
    if dtype == np.float64:
        return
    last = [np.ascontiguousarray(np.moveaxis(x, 1, -1)), w, bias]
    (y,) = run(node_model("ConvTransposeNhwc", last, attrs, domain="pyinfer"), last)
    assert np.ascontiguousarray(np.moveaxis(y, -1, 1)).tobytes() == results[0]


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "NOTSET", "VALID"])
@pytest.mark.parametrize("shape", [None, (9, 10), (8, 9), (12, 12)], ids=str)
@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
def test_output_shape(auto_pad: str, shape: Any, kernel: int) -> None:
    x, w = rand(2, np.float32, (1, 2, 4, 5), (2, 3, kernel, kernel))
    attrs: dict[str, Any] = {"auto_pad": auto_pad, "strides": (2, 2)}
    if shape:
        attrs["output_shape"] = shape
    full = [2 * (n - 1) + kernel for n in (4, 5)]
    if shape or auto_pad.startswith("SAME"):
        out = shape or (8, 10)
        total = [max(0, f - o) for f, o in zip(full, out, strict=True)]
        begin = [t // 2 if auto_pad == "SAME_UPPER" else t - t // 2 for t in total]
    else:
        out, begin = full, [0, 0]
    whole = conv_transpose(x, w, (2, 2), (0, 0, 0, 0), (1, 1), (12, 12))
    want = whole[:, :, begin[0] : begin[0] + out[0], begin[1] : begin[1] + out[1]]
    (y,) = run(node_model("ConvTranspose", [x, w], attrs), [x, w])
    assert y.shape == (1, 3, *out)
    np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("shape", [(8, 12, 9, 11), (8, 12, 70)], ids=str)
@pytest.mark.parametrize(("kernel", "pad"), [(4, 1), (2, 0)])
def test_same_bits_for_every_batch_and_thread_count(dtype: Any, shape: Any, kernel: int, pad: int) -> None:
    rank = len(shape) - 2
    x, w = rand(3, dtype, shape, (12, 40, *[kernel] * rank))
    attributes = {"strides": [2] * rank, "pads": [pad] * 2 * rank}
    model = node_model("ConvTranspose", [x, w], attributes, constant=(1,))
    one, two = pyinfer.load(model, threads=1), pyinfer.load(model, threads=2)
    whole = one(x)
    assert two(x).tobytes() == whole.tobytes()
    for i in range(8):
        assert one(x[i : i + 1]).tobytes() == whole[i : i + 1].tobytes()


@pytest.mark.parametrize("outputs", [1, 3, 24])
@pytest.mark.parametrize("activation", ["Relu", "Sigmoid"])
def test_bias_residual_and_activation_after_windows_that_do_not_overlap(
    outputs: int, activation: str
) -> None:
    x, w, b, r = rand(4, np.float32, (2, 6, 5, 7), (6, outputs, 2, 3), (outputs,), (2, outputs, 10, 21))
    model = onnx.parser.parse_model(f"""<ir_version: 9, opset_import: ["" : 20]>
        g (float[n, 6, 5, 7] x, float[n, {outputs}, 10, 21] r) => (y)
          {{ c = ConvTranspose <strides = [2, 3]> (x, w, b)  s = Add(c, r)  y = {activation}(s) }}""")
    model.graph.initializer.extend(onnx.numpy_helper.from_array(v, k) for k, v in {"w": w, "b": b}.items())
    sums = conv_transpose(x, w, (2, 3), (0, 0, 0, 0), (1, 1), (0, 0), 1) + b.reshape(1, -1, 1, 1) + r
    want = np.maximum(sums, 0) if activation == "Relu" else 1 / (1 + np.exp(-sums))
    np.testing.assert_allclose(pyinfer.load(model)(x, r), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "x,w,attrs",
    [
        ((1, 3, 4, 4), (2, 2, 3, 3), {}),
        ((1, 4, 4, 4), (4, 2, 3, 3), {"group": 3}),
        ((1, 3, 4), (3, 3, 3, 3), {}),
        ((1, 3, 4, 4), (3, 3, 3, 3), {"output_padding": (1,)}),
        ((1, 3, 4, 4), (3, 3, 3, 3), {"output_shape": (1,)}),
        ((1, 3, 4, 4), (3, 3, 3, 3), {"pads": (9, 0, 9, 0)}),
        ((1, 3, 4, 4), (3, 3, 0, 3), {}),
        ((1, 3, 4, 4), (3, 3, 3, 3), {"output_shape": (2**30, 2**30)}),
        ((1, 3, 4, 4), (3, 3, 3, 3), {"output_shape": (-1, 4)}),
        ((1, 3, 4, 4), (3, 3, 3, 3), {"output_padding": (2**62, 4)}),
        ((1, 3, 4, 4), (3, 3, 3, 3), {"strides": (2**30, 2**30)}),
    ],
    ids=str,
)
@pytest.mark.parametrize("constant", [(), (1,)], ids=["", "constant"])
def test_refuses(x: Any, w: Any, attrs: Any, constant: Any) -> None:
    values = [np.ones(x, np.float32), np.ones(w, np.float32)]
    with pytest.raises(pyinfer.PyInferError):
        run(node_model("ConvTranspose", values, attrs, constant=constant), values, constant)
