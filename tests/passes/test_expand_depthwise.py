"""The first two convolutions of an inverted residual block as one step, to the bit."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import pyinfer
from fused_images import assert_same_bits, lone_node
from pass_models import operators

PASS = "fuse_expand_depthwise"
FUSED = "pyinfer.ExpandDepthwiseNhwc"


def block(
    rng,
    channels,
    expanded,
    size,
    kernel=(3, 3),
    *,
    relu="Relu",
    bias=(True, True),
    batch=2,
    first=None,
    **window,
) -> tuple[onnx.ModelProto, np.ndarray]:
    """Conv 1x1, an activation, a filter per channel, an activation; and an input for it."""
    constants = {
        "e": rng.standard_normal((expanded, channels, 1, 1), dtype=np.float32),
        "d": rng.standard_normal((expanded, 1, *kernel), dtype=np.float32),
    }
    for name, wanted in zip("bc", bias, strict=True):
        if wanted:
            constants[name] = rng.standard_normal(expanded, dtype=np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "e", "b"][: 2 + bias[0]], ["h"], **(first or {})),
        helper.make_node(relu, ["h"], ["a"]),
        helper.make_node("Conv", ["a", "d", "c"][: 2 + bias[1]], ["f"], group=expanded, **window),
        helper.make_node("HardSwish", ["f"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", channels, "h", "w"])],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    return model, rng.standard_normal((batch, channels, *size), dtype=np.float32)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_window(data):
    def draw(low, high):
        return data.draw(st.integers(low, high))

    kernel = (draw(1, 5), draw(1, 5))
    strides, dilations = [draw(1, 3), draw(1, 3)], [draw(1, 2), draw(1, 2)]
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    begin = [draw(0, e - 1) for e in extents]
    end = [draw(0, e - 1 - b) for e, b in zip(extents, begin, strict=True)]
    size = [draw(max(1, e - b - f), e + 30) for e, b, f in zip(extents, begin, end, strict=True)]
    model, x = block(
        np.random.default_rng(draw(0, 1000)),
        draw(1, 20),
        draw(1, 70),
        size,
        kernel,
        relu=data.draw(st.sampled_from(["Relu", "Sigmoid", "HardSigmoid", "Elu"])),
        bias=(data.draw(st.booleans()), data.draw(st.booleans())),
        strides=strides,
        dilations=dilations,
        pads=[*begin, *end],
    )
    assert operators(model).get(FUSED) == 1
    assert_same_bits(model, x, PASS)


@pytest.mark.parametrize(
    ("channels", "expanded", "size", "stride"),
    [
        (16, 96, (112, 112), 2),
        (8, 40, (3, 700), 1),
        (8, 300, (90, 5), 1),
        (24, 960, (7, 7), 1),
        (3, 17, (1, 1), 2),
    ],
)
def test_strips_of_rows_and_blocks_of_channels(channels, expanded, size, stride):
    model, x = block(
        np.random.default_rng(0), channels, expanded, size, pads=[1, 1, 1, 1], strides=[stride, stride]
    )
    assert operators(model)[FUSED] == 1
    assert_same_bits(model, x, PASS)


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_automatic_pads(auto_pad):
    model, x = block(np.random.default_rng(1), 5, 24, (9, 11), (5, 3), auto_pad=auto_pad, strides=[2, 2])
    assert operators(model)[FUSED] == 1
    assert_same_bits(model, x, PASS)


@pytest.mark.parametrize(
    "change",
    [
        {"first": {"strides": [2, 2]}},
        {"first": {"pads": [1, 0, 0, 0]}},
        {"pads": [2, 1, 1, 1]},  # a row of outputs may read padding alone
        {"kernel": (3, 3), "pads": [0, 2, 0, 1]},
    ],
    ids=["stride", "pad", "rows", "columns"],
)
def test_what_is_left_alone(change):
    model, x = block(np.random.default_rng(2), 4, 20, (6, 6), **change)
    assert FUSED not in operators(model)
    assert_same_bits(model, x, PASS)


def test_an_image_that_others_read_stays():
    model, x = block(np.random.default_rng(3), 4, 20, (6, 6), pads=[1, 1, 1, 1])
    model.graph.output.append(onnx.ValueInfoProto(name="a"))
    assert FUSED not in operators(model)
    on, off = (pyinfer.load(model, disable_passes=p).run({"x": x}) for p in ([], [PASS]))
    for name in on:
        np.testing.assert_array_equal(on[name], off[name])


def test_no_pixels_and_no_images():
    model, x = block(np.random.default_rng(4), 4, 20, (6, 6), pads=[1, 1, 1, 1])
    loaded, plain = pyinfer.load(model), pyinfer.load(model, disable_passes=[PASS])
    for shape in [(0, 4, 6, 6), (1, 4, 1, 1), (1, 4, 0, 6)]:
        feed = {"x": np.zeros(shape, np.float32)}
        try:
            (expected,) = plain.run(feed).values()
        except pyinfer.PyInferError as error:
            with pytest.raises(type(error)):
                loaded.run(feed)
        else:
            np.testing.assert_array_equal(loaded(feed["x"]), expected)


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"d": (20, 2, 3, 3)}, "weights of shapes"),
        ({"d": (21, 1, 3, 3)}, "weights of shapes"),
        ({"e": (20, 4, 1, 2)}, "weights of shapes"),
        ({"b": (19,)}, "bias of another shape"),
        ({"x": (1, 6, 6, 5)}, "X of shape"),
    ],
)
def test_a_node_that_does_not_fit(replaced, message):
    shapes = {"x": (1, 6, 6, 4), "e": (20, 4, 1, 1), "b": (20,), "d": (20, 1, 3, 3)} | replaced
    tensors = {k: np.ones(s, np.float32) for k, s in shapes.items()}
    with pytest.raises(pyinfer.PyInferError, match=message):
        pyinfer.load(lone_node("ExpandDepthwiseNhwc", tensors))(tensors["x"])
