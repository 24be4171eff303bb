"""Conv in both layouts and its fused form, against the definition in float64."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnxruntime
import pytest

import pyinfer
from nodes import node_model, run
from windows import conv

FLOATS = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]
TOLERANCE = {"float32": 1e-6, "float64": 1e-14, "float16": 2e-3, "bfloat16": 1.6e-2}

# x, w, strides, pads, dilations, groups
CASES: list[tuple[Any, ...]] = [
    ((2, 3, 8, 9), (5, 3, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    ((1, 1, 5, 5), (1, 1, 3, 3), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    ((2, 16, 7, 7), (33, 16, 1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1),
    ((1, 16, 7, 7), (8, 16, 1, 1), (2, 2), (0, 0, 0, 0), (1, 1), 1),
    ((3, 4, 9, 6), (6, 4, 2, 3), (2, 3), (1, 0, 2, 1), (2, 1), 1),
    ((2, 6, 8, 8), (9, 2, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 3),
    ((2, 40, 6, 6), (40, 1, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 40),
    ((2, 5, 9, 9), (5, 1, 5, 5), (2, 2), (2, 2, 2, 2), (1, 1), 5),
    ((2, 4, 6, 6), (8, 1, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 4),
    ((2, 3, 20), (7, 3, 5), (2,), (2, 1), (2,), 1),
    ((1, 3, 5, 6, 7), (4, 3, 2, 3, 2), (1, 2, 1), (0, 1, 1, 1, 0, 0), (2, 1, 1), 1),
    ((1, 2, 3, 4, 3, 3), (2, 2, 2, 2, 2, 2), (1, 1, 1, 1), (0,) * 8, (1, 1, 1, 1), 1),
    ((1, 2, 1, 1), (3, 2, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    ((1, 2, 2, 2), (3, 2, 1, 1), (1, 1), (3, 3, 3, 3), (1, 1), 1),
    ((0, 3, 4, 4), (5, 3, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    ((2, 3, 4, 4), (0, 3, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    ((2, 0, 4, 4), (5, 0, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    ((2, 3, 0, 4), (5, 3, 3, 3), (1, 1), (2, 1, 2, 1), (1, 1), 1),
    ((1, 130, 14, 14), (70, 130, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1),
    ((1, 3, 40, 40), (64, 3, 7, 7), (2, 2), (3, 3, 3, 3), (1, 1), 1),
]


def close(got: np.ndarray, want: np.ndarray, scale: np.ndarray, dtype: Any) -> None:
    assert got.dtype == dtype and got.shape == want.shape
    error = np.abs(got.astype(np.float64) - want)
    assert np.all(error <= TOLERANCE[np.dtype(dtype).name] * (scale + 1)), error.max()


def attributes(strides: Any, pads: Any, dilations: Any, groups: int) -> dict[str, Any]:
    return {"strides": strides, "pads": pads, "dilations": dilations, "group": groups}


def rand(seed: int, dtype: Any, *shapes: Any) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(s).astype(dtype) for s in shapes]


def channels_last(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_conv(case: Any, dtype: Any) -> None:
    x_shape, w_shape, *geometry = case
    x, w, bias = rand(1, dtype, x_shape, w_shape, w_shape[:1])
    column = bias.astype(np.float64).reshape(-1, *[1] * (x.ndim - 2))
    want = conv(x, w, *geometry) + column
    scale = conv(np.abs(x), np.abs(w), *geometry) + np.abs(column)
    attrs = attributes(*geometry)
    results = []
    for constant in [(), (1, 2)]:
        model = node_model("Conv", [x, w, bias], attrs, constant=constant)
        close(run(model, [x, w, bias], constant)[0], want, np.max(scale, initial=0), dtype)
        given = [v for i, v in enumerate([x, w, bias]) if i not in constant]
        y = pyinfer.load(model, disable_passes=["choose_winograd"])(*given)
        close(y, want, scale, dtype)
        results.append(y.tobytes())
    assert results[0] == results[1]
    if dtype == np.float64:
        return
    last = [channels_last(x), w, bias]
    (y,) = run(node_model("ConvNhwc", last, attrs, domain="pyinfer"), last)
    assert np.ascontiguousarray(np.moveaxis(y, -1, 1)).tobytes() == results[0]


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"])
@pytest.mark.parametrize("size", [1, 4, 7, 8])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3])
def test_auto_pad(auto_pad: str, size: int, stride: int, kernel: int) -> None:
    if size < kernel and not auto_pad.startswith("SAME"):
        pytest.skip("does not fit")
    x, w = rand(2, np.float32, (1, 2, size, 6), (3, 2, kernel, 3))
    attrs = {"auto_pad": auto_pad, "strides": (stride, 2)}
    model = node_model("Conv", [x, w], attrs)
    want = onnxruntime.InferenceSession(with_older_opset(model)).run(None, {"x0": x, "x1": w})
    np.testing.assert_allclose(run(model, [x, w])[0], want[0], rtol=1e-4, atol=1e-5)


def with_older_opset(model: Any) -> bytes:
    model = type(model).FromString(model.SerializeToString())
    model.opset_import[0].version = 21
    for value in model.graph.input:
        value.type.tensor_type.elem_type = 1
    model.graph.output[0].type.tensor_type.elem_type = 1
    return model.SerializeToString()


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("shape", [(2, 3, 6, 6), (2, 1, 6, 6), (1, 3, 1, 1)], ids=str)
@pytest.mark.parametrize("outputs,groups", [(5, 1), (1, 1), (3, 3)])
def test_fused(dtype: Any, shape: Any, outputs: int, groups: int) -> None:
    if shape[1] % groups:
        pytest.skip("channels do not divide")
    x, w, bias, z = rand(
        3, dtype, shape, (outputs, shape[1] // groups, 3, 3), (outputs,), (shape[0], outputs, *shape[2:])
    )
    geometry = ((1, 1), (1, 1, 1, 1), (1, 1), groups)
    attrs = attributes(*geometry) | {"activation": "LeakyRelu", "activation_params": [0.25]}
    total = conv(x, w, *geometry) + bias.astype(np.float64).reshape(-1, 1, 1) + z.astype(np.float64)
    want = np.where(total >= 0, total, 0.25 * total)
    scale = conv(np.abs(x), np.abs(w), *geometry) + 4
    inputs = [x, w, bias, z]
    (y,) = run(node_model("FusedConv", inputs, attrs, domain="com.microsoft"), inputs)
    close(y, want, scale, dtype)
    if dtype == np.float64:
        return
    inputs = [channels_last(x), w, bias, channels_last(z)]
    (last,) = run(node_model("ConvNhwc", inputs, attrs, domain="pyinfer"), inputs)
    assert np.ascontiguousarray(np.moveaxis(last, -1, 1)).tobytes() == y.tobytes()


# x, output channels, kernel, pads
WINOGRAD: list[tuple[Any, ...]] = [
    ((2, 24, 13, 11), 40, (3, 3), (1, 1, 1, 1)),
    ((1, 64, 28, 30), 64, (3, 3), (0, 2, 1, 0)),
    ((3, 33, 17, 9), 17, (3, 3), (2, 2, 2, 2)),
    ((1, 256, 14, 14), 64, (3, 3), (1, 1, 1, 1)),
    ((1, 200, 7, 7), 520, (3, 3), (1, 1, 1, 1)),
    ((2, 64, 131), 70, (3,), (1, 1)),
    ((1, 130, 16), 130, (3,), (1, 1)),
    ((1, 256, 90), 64, (5,), (0, 3)),
    ((2, 65, 3, 41), 40, (1, 3), (0, 1, 0, 2)),
    ((1, 48, 5, 33), 65, (1, 5), (1, 2, 2, 2)),
    ((2, 48, 77, 1), 48, (3, 1), (2, 0, 0, 0)),
    ((1, 256, 127, 1), 130, (5, 1), (0, 0, 0, 0)),
    ((1, 40, 33, 6), 40, (5, 1), (2, 1, 2, 0)),
]


@pytest.mark.parametrize(
    "dtype", [np.float32, np.float16, ml_dtypes.bfloat16], ids=lambda d: np.dtype(d).name
)
@pytest.mark.parametrize("x_shape,outputs,kernel,pads", WINOGRAD, ids=str)
def test_winograd(x_shape: Any, outputs: int, kernel: Any, pads: Any, dtype: Any) -> None:
    w_shape = (outputs, x_shape[1], *kernel)
    ones = (1,) * len(kernel)
    geometry = (ones, pads, ones, 1)
    x, w, bias = rand(5, dtype, x_shape, w_shape, (outputs,))
    want = conv(x, w, *geometry)
    (z,) = rand(6, dtype, want.shape)
    total = want + bias.astype(np.float64).reshape(-1, *ones) + z.astype(np.float64)
    # A tile's errors follow from all that it reads, at the border more than one pixel's own window.
    scale = np.max(conv(np.abs(x), np.abs(w), *geometry)) + 4
    attrs = attributes(*geometry) | {"activation": "Relu"}
    results = []
    for op, domain, inputs in [
        ("FusedConv", "com.microsoft", [x, w, bias, z]),
        ("ConvNhwc", "pyinfer", [channels_last(x), w, bias, channels_last(z)]),
    ]:
        model = node_model(op, inputs, attrs, domain=domain, constant=(1, 2))
        for off in [(), ("choose_winograd",)]:
            y = pyinfer.load(model, disable_passes=off)(inputs[0], inputs[3])
            y = np.ascontiguousarray(np.moveaxis(y, -1, 1)) if domain == "pyinfer" else y
            close(y, np.maximum(total, 0), scale, dtype)
            results.append(y.tobytes())
    assert results[:2] == results[2:]
    if dtype == np.float32:
        assert results[0] != results[1]  # else nothing was computed another way


# Of the largest output: what Winograd's way may be off along one axis.
ALONG_ONE_AXIS = 4e-6


@pytest.mark.parametrize(
    "channels,image,kernel,most",
    [
        (64, (56, 56), (3, 3), 1e-5),
        (256, (14, 14), (3, 3), 1e-5),
        (512, (28, 28), (3, 3), 1e-5),
        (64, (2000,), (3,), ALONG_ONE_AXIS),
        (512, (500,), (3,), ALONG_ONE_AXIS),
        (64, (2000,), (5,), ALONG_ONE_AXIS),
        (512, (500,), (5,), ALONG_ONE_AXIS),
    ],
)
def test_winograd_rounds_as_little_as_the_documentation_says(
    channels: int, image: Any, kernel: Any, most: float
) -> None:
    """Elements normally distributed: docs/architecture.md, "Same bits"."""
    rng = np.random.default_rng(channels)
    x, w = (
        rng.standard_normal(s).astype(np.float32)
        for s in [(1, channels, *image), (channels, channels, *kernel)]
    )
    shown = rng.integers(0, channels, 8)
    ones, pads = (1,) * len(kernel), [k // 2 for k in kernel] * 2
    want = conv(x, w[shown], ones, pads, ones, 1)
    model = node_model("Conv", [x, w], {"pads": pads}, constant=(1,))
    for off, bound in (((), most), (("choose_winograd",), 1e-6)):
        y = pyinfer.load(model, disable_passes=off)(x)[:, shown]
        assert np.abs(y - want).max() <= bound * np.abs(want).max()


@pytest.mark.parametrize("kernel", [(3, 3), (3,), (1, 5), (5, 1)], ids=str)
def test_winograd_on_changing_sizes(kernel: Any) -> None:
    """One model whose sizes call for one algorithm after another gives what a model of each size gives."""
    image, ones = (40,) * len(kernel), (1,) * len(kernel)
    x, w = rand(7, np.float32, (1, 64, *image), (64, 64, *kernel))
    pads = [k // 2 for k in kernel] * 2
    model = node_model("Conv", [x, w], {"pads": pads}, constant=(1,))
    shared = pyinfer.load(model)
    for size in (40, 1, 3, 40, 5, 8):
        part = np.ascontiguousarray(x[(..., *[slice(size)] * len(kernel))])
        assert shared(part).tobytes() == pyinfer.load(model)(part).tobytes()
        close(shared(part), conv(part, w, ones, pads, ones, 1), np.float64(600), np.float32)


@pytest.mark.parametrize("x_shape,outputs,kernel,pads", WINOGRAD[5:], ids=str)
def test_winograd_along_one_axis_is_near_onnx_runtime(
    x_shape: Any, outputs: int, kernel: Any, pads: Any
) -> None:
    x, w, bias = rand(8, np.float32, x_shape, (outputs, x_shape[1], *kernel), (outputs,))
    model = node_model("Conv", [x, w, bias], {"pads": pads}, constant=(1, 2))
    want = onnxruntime.InferenceSession(with_older_opset(model)).run(None, {"x0": x})[0]
    assert np.abs(pyinfer.load(model)(x) - want).max() <= 1e-5 * np.abs(want).max()


def test_winograd_reaches_no_further_than_a_tile() -> None:
    """What is not finite reaches the outputs of the tiles that read it, and no line beside it."""
    x, w = rand(9, np.float32, (1, 64, 3, 64), (64, 64, 1, 5))
    x[0, 0, 1, 20] = np.inf
    model = node_model("Conv", [x, w], {"pads": [0, 2, 0, 2]}, constant=(1,))
    bad = ~np.isfinite(pyinfer.load(model)(x))
    assert bad[:, :, 1, 18:23].all()
    assert not bad[:, :, [0, 2]].any() and not bad[:, :, 1, :17].any() and not bad[:, :, 1, 24:].any()


@pytest.mark.parametrize("tile", [2, 4])
@pytest.mark.parametrize(
    "kernel,attrs",
    [
        ((1, 1), {}),
        ((5, 5), {}),
        ((3, 5), {}),
        ((7, 1), {}),
        ((4,), {}),
        ((3, 3, 3), {}),
        ((3, 3), {"strides": (1, 2)}),
        ((3, 3), {"dilations": (2, 1)}),
        ((3, 3), {"group": 2}),
    ],
    ids=str,
)
def test_refuses_tiles_that_the_windows_do_not_allow(kernel: Any, attrs: Any, tile: int) -> None:
    """A file may bring the attribute that choose_winograd sets."""
    x, w = np.ones((1, *[9] * len(kernel), 4), np.float32), np.ones((4, 4, *kernel), np.float32)
    w = w[:, : 4 // attrs.get("group", 1)]
    model = node_model("ConvNhwc", [x, w], attrs | {"winograd": tile}, domain="pyinfer", constant=(1,))
    with pytest.raises(pyinfer.InvalidModel, match="winograd"):
        pyinfer.load(model, disable_passes=["choose_winograd"])


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize(
    "w_shape,groups,kernel",
    [((40, 24, 3, 3), 1, 3), ((24, 1, 3, 3), 24, 3), ((40, 24, 1, 1), 1, 1), ((24, 8, 3, 3), 3, 3)],
)
def test_same_bits_for_every_batch_and_thread_count(
    dtype: Any, w_shape: Any, groups: int, kernel: int
) -> None:
    x, w, bias = rand(4, dtype, (8, 24, 19, 17), w_shape, w_shape[:1])
    attrs = {"group": groups, "pads": [kernel // 2] * 4}
    model = node_model("Conv", [x, w, bias], attrs, constant=(1, 2))
    one, two = pyinfer.load(model, threads=1), pyinfer.load(model, threads=2)
    whole = one(x)
    assert two(x).tobytes() == whole.tobytes()
    for i in range(8):
        assert one(x[i : i + 1]).tobytes() == whole[i : i + 1].tobytes()
    assert two(x[3:6]).tobytes() == whole[3:6].tobytes()


@pytest.mark.parametrize(
    "x,w,attrs",
    [
        ((1, 3, 4, 4), (2, 2, 3, 3), {}),
        ((1, 3, 4, 4), (2, 3, 5, 3), {}),
        ((1, 4, 4, 4), (3, 2, 3, 3), {"group": 2}),
        ((1, 3, 4), (2, 3, 3, 3), {}),
        ((1, 3), (2, 3), {}),
        ((1, 3, 4, 4), (2, 3, 3, 3), {"strides": (1,)}),
        ((1, 3, 4, 4), (2, 3, 3, 3), {"pads": (1, 1)}),
        ((1, 3, 4, 4), (2, 3, 3, 3), {"dilations": (1, 1, 1)}),
        ((1, 3, 4, 4), (2, 3, 3, 3), {"kernel_shape": (2, 2)}),
        ((1, 3, 4, 4), (2, 3, 0, 3), {}),
        ((1, 3, 0, 4), (2, 3, 3, 3), {}),
    ],
    ids=str,
)
@pytest.mark.parametrize("constant", [(), (1,)], ids=["", "constant"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_refuses_shapes(x: Any, w: Any, attrs: Any, constant: Any, dtype: Any) -> None:
    values = [np.ones(x, dtype), np.ones(w, dtype)]
    with pytest.raises(pyinfer.PyInferError):
        run(node_model("Conv", values, attrs, constant=constant), values, constant)


@pytest.mark.parametrize(
    "attrs",
    [
        {"strides": (0, 1)},
        {"strides": (-1, 1)},
        {"dilations": (0, 1)},
        {"pads": (-1, 0, 0, 0)},
        {"strides": (2**62, 1)},
        {"pads": (2**62, 0, 2**62, 0)},
        {"dilations": (2**63 - 1, 1)},
        {"group": 0},
        {"group": -1},
        {"auto_pad": "SAME"},
        {"kernel_shape": (0, 0)},
    ],
    ids=str,
)
def test_refuses_attributes(attrs: Any) -> None:
    values = [np.ones((1, 2, 5, 5), np.float32), np.ones((2, 2, 3, 3), np.float32)]
    with pytest.raises(pyinfer.InvalidModel):
        pyinfer.load(node_model("Conv", values, attrs))


def test_refuses_huge_outputs() -> None:
    values = [np.ones((1, 1, 1, 1), np.float32), np.ones((1, 1, 1, 1), np.float32)]
    with pytest.raises(pyinfer.LimitExceeded):
        run(node_model("Conv", values, {"pads": [2**30] * 4}), values)
    with pytest.raises(pyinfer.InvalidInput):
        run(node_model("Conv", [*values, np.ones(2, np.float32)]), [*values, np.ones(2, np.float32)])
