"""Two convolutions of 1x1, one after the other, as one step, to the bit."""

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

PASS = "fuse_pointwise_pair"
FUSED = "pyinfer.PointwisePairNhwc"


def pair(
    rng,
    channels=(6, 20, 6),
    size=(9, 11),
    *,
    between="Relu",
    bias=(True, True),
    residual=None,
    batch=2,
    first=None,
    second=None,
) -> tuple[onnx.ModelProto, np.ndarray]:
    """Conv 1x1, an activation, Conv 1x1, a residual ("x", "r" or none), an activation; and an input for it."""
    constants = {}
    for name, outputs, inputs in (("v", channels[1], channels[0]), ("w", channels[2], channels[1])):
        constants[name] = rng.standard_normal((outputs, inputs, 1, 1), dtype=np.float32)
    for name, outputs, wanted in (("b", channels[1], bias[0]), ("c", channels[2], bias[1])):
        if wanted:
            constants[name] = rng.standard_normal(outputs, dtype=np.float32)
    if residual == "r":
        constants["r"] = rng.standard_normal((1, channels[2], 1, 1), dtype=np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "v", "b"][: 2 + bias[0]], ["h"], **(first or {})),
        helper.make_node(between, ["h"], ["a"]),
        helper.make_node("Conv", ["a", "w", "c"][: 2 + bias[1]], ["f"], **(second or {})),
        *([helper.make_node("Add", ["f", residual], ["s"])] if residual else []),
        helper.make_node("HardSwish", ["s" if residual else "f"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", channels[0], "h", "w"])],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    return model, rng.standard_normal((batch, channels[0], *size), dtype=np.float32)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_channels(data):
    def draw(low, high):
        return data.draw(st.integers(low, high))

    outer = draw(1, 40)
    same = data.draw(st.booleans())
    model, x = pair(
        np.random.default_rng(draw(0, 1000)),
        (outer, draw(1, 130), outer if same else draw(1, 40)),
        (draw(1, 40), draw(1, 40)),
        between=data.draw(st.sampled_from(["Relu", "Sigmoid", "HardSigmoid", "Elu"])),
        bias=(data.draw(st.booleans()), data.draw(st.booleans())),
        residual=data.draw(st.sampled_from(["x", None])) if same else None,
    )
    assert operators(model).get(FUSED) == 1
    assert_same_bits(model, x, PASS)


@pytest.mark.parametrize(
    ("channels", "size"),
    [((48, 96, 48), (70, 70)), ((3, 2048, 5), (30, 3)), ((64, 16, 24), (1, 1)), ((1, 1, 1), (200, 200))],
)
def test_blocks_of_pixels(channels, size):
    model, x = pair(np.random.default_rng(0), channels, size)
    assert operators(model)[FUSED] == 1
    assert_same_bits(model, x, PASS)


@pytest.mark.parametrize(
    "change",
    [
        {"first": {"strides": [2, 2]}},
        {"second": {"strides": [2, 1]}},
        {"second": {"pads": [1, 0, 0, 0]}},
        {"channels": (128, 200, 128)},
        {"residual": "r"},
    ],
    ids=["stride", "second stride", "pad", "weights beyond the caches", "residual of another shape"],
)
def test_what_is_left_alone(change):
    model, x = pair(np.random.default_rng(2), **change)
    if "residual" not in change:
        assert FUSED not in operators(model)
    assert_same_bits(model, x, PASS)


@pytest.mark.parametrize("which", ["first", "second"])
@pytest.mark.parametrize(
    "attribute",
    [
        {"kernel_shape": [3, 3]},
        {"strides": [1]},
        {"dilations": [0, 0]},
        {"pads": [0]},
        {"auto_pad": "FOO"},
    ],
    ids=lambda a: next(iter(a)),
)
def test_attributes_that_a_convolution_refuses(which, attribute):
    model, x = pair(np.random.default_rng(6), **{which: attribute})
    for off in ([], [PASS]):
        with pytest.raises(pyinfer.PyInferError):
            pyinfer.load(model, disable_passes=off)(x)


def test_an_image_that_others_read_stays():
    model, x = pair(np.random.default_rng(3))
    model.graph.output.append(onnx.ValueInfoProto(name="a"))
    assert FUSED not in operators(model)
    on, off = (pyinfer.load(model, disable_passes=p).run({"x": x}) for p in ([], [PASS]))
    for name in on:
        np.testing.assert_array_equal(on[name], off[name])


@pytest.mark.parametrize("shape", [(0, 6, 6, 6), (1, 6, 1, 1), (1, 6, 5, 1)])
def test_no_images_and_few_pixels(shape):
    model, _ = pair(np.random.default_rng(4), residual="x")
    assert_same_bits(model, np.ones(shape, np.float32), PASS)


def test_an_image_without_pixels():
    model, _ = pair(np.random.default_rng(5))
    for off in ([], [PASS]):
        with pytest.raises(pyinfer.InvalidInput):
            pyinfer.load(model, disable_passes=off)(np.ones((1, 6, 0, 6), np.float32))


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"v": (20, 4, 1, 2)}, "weights of shape"),
        ({"w": (4, 19, 1, 1)}, "weights of 20 outputs before weights of 19 inputs"),
        ({"b": (19,)}, "bias of another shape"),
        ({"c": (5,)}, "bias of another shape"),
        ({"x": (1, 6, 6, 5)}, "X of shape"),
        ({"r": (1, 6, 6, 5)}, "residual of shape"),
    ],
)
def test_a_node_that_does_not_fit(replaced, message):
    shapes = {"x": (1, 6, 6, 4), "v": (20, 4, 1, 1), "b": (20,), "w": (4, 20, 1, 1), "c": (4,)}
    tensors = {k: np.ones(s, np.float32) for k, s in ({**shapes, "r": (1, 6, 6, 4)} | replaced).items()}
    with pytest.raises(pyinfer.PyInferError, match=message):
        pyinfer.load(lone_node("PointwisePairNhwc", tensors))(tensors["x"])
