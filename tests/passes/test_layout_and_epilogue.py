"""Channels-last images, activations from their parts, and what rides on a product's store."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import pyinfer
from ort import ort_run
from pass_models import operators_apart

RNG = np.random.default_rng(7)
TOLERANCE = 2e-5


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def node(op: str, inputs: str, output: str, **attributes) -> onnx.NodeProto:
    """Names are separated by spaces; an omitted input is an empty name."""
    return helper.make_node(op, inputs.split(" "), output.split(" "), **attributes)


def model_of(nodes, inputs, outputs, constants) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [onnx.ValueInfoProto(name=n) for n in outputs.split()],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def assert_agrees(model: onnx.ModelProto, feeds: dict[str, np.ndarray], *off: str) -> None:
    """With the passes on and off, and with ONNX Runtime."""
    on = pyinfer.load(model).run(feeds)
    plain = pyinfer.load(model, disable_passes=off).run(feeds)
    reference = ort_run(model, feeds)
    for name, expected in zip(on, reference, strict=True):
        scale = max(1.0, float(np.abs(expected).max(initial=0)))
        np.testing.assert_allclose(on[name], expected, rtol=0, atol=TOLERANCE * scale)
        np.testing.assert_allclose(plain[name], expected, rtol=0, atol=TOLERANCE * scale)


CONV = {"w": normal(6, 3, 3, 3), "b": normal(6), "v": normal(6, 6, 1, 1)}
CONVS = [node("Conv", "x w b", "c", pads=[1, 1, 1, 1]), node("Conv", "m v", "y")]


@pytest.mark.parametrize(
    ("middle", "constants", "expected"),
    [
        ([node("Sqrt", "c0", "m"), node("Abs", "c", "c0")], {}, {"Sqrt": 1, "Abs": 1}),
        ([node("Add", "c k", "m")], {"k": normal(1, 6, 5, 7)}, {"Add": 1}),
        ([node("Mul", "k c", "m")], {"k": normal(6, 5, 1)}, {"Mul": 1}),
        ([node("Sub", "k c", "m")], {"k": normal(7)}, {"Sub": 1}),
        ([node("PRelu", "c k", "m")], {"k": normal(6, 1, 1)}, {"PRelu": 1}),
        ([node("Concat", "c c", "cc", axis=-3), node("Slice", "cc s e a", "m")],
         {"s": [3], "e": [9], "a": [1]}, {"Concat": 1, "Slice": 1}),
        ([node("Split", "c", "p q", axis=1, num_outputs=2), node("Concat", "q p", "m", axis=1)], {}, {"Split": 1, "Concat": 1}),
        ([node("Softmax", "c", "m", axis=1)], {}, {"Softmax": 1}),
        ([node("Pad", "c k", "m")], {"k": [0, 0, 1, 2, 0, 0, 0, 1]}, {"Pad": 1}),
        ([node("Pad", "c k z a", "m")], {"k": [1, 0, 2, 1], "z": np.float32(0.5), "a": [3, -2]}, {"Pad": 1}),
        ([node("Resize", "c  k", "m", mode="linear")], {"k": np.float32([1, 1, 2, 1.5])}, {"Resize": 1}),
        ([node("Resize", "c roi k", "m", mode="linear")],
         {"k": np.float32([1, 1, 2, 1.5]), "roi": np.float32([])}, {"Resize": 1}),
        ([node("Resize", "c   k", "m", mode="nearest")], {"k": [2, 6, 3, 9]}, {"Resize": 1}),
        ([node("Resize", "c  k", "m", axes=[3, 2])], {"k": np.float32([2, 1])}, {"Resize": 1}),
        ([node("ReduceMean", "c k", "m")], {"k": [2, 3]}, {"ReduceMean": 1}),
        ([node("MaxPool", "c", "m", kernel_shape=[2, 3], strides=[2, 1])], {}, {"pyinfer.MaxPoolNhwc": 1}),
        ([node("AveragePool", "c", "m", kernel_shape=[3, 3], pads=[1, 1, 1, 1])], {}, {"pyinfer.AveragePoolNhwc": 1}),
        ([node("GlobalMaxPool", "c", "m")], {}, {"pyinfer.GlobalMaxPoolNhwc": 1}),
        ([node("ConvTranspose", "c t", "m", strides=[2, 2])], {"t": normal(6, 6, 2, 2)}, {"pyinfer.ConvTransposeNhwc": 1}),
    ],
    ids=lambda v: "-".join(n.op_type for n in v) if isinstance(v, list) else "",
)  # fmt: skip
def test_what_stands_between_convolutions_goes_channels_last(middle, constants, expected):
    model = model_of([CONVS[0], *middle, CONVS[1]], {"x": [2, 3, 5, 7]}, "y", CONV | constants)
    assert (
        operators_apart(model, "fuse_epilogue", "fold_affine")
        == {"pyinfer.ConvNhwc": 2, "Transpose": 2} | expected
    )
    assert_agrees(model, {"x": normal(2, 3, 5, 7)}, "channels_last")


def test_images_that_meet_other_values():
    # The second operand is no image of a convolution: it is turned, or, where its rank is unknown, left.
    nodes = [*CONVS[:1], node("Mul", "c z", "m"), CONVS[1], node("Flatten", "y", "f"), node("Relu", "c", "r")]
    for shape in ([2, 6, 5, 7], ["n", 6, "h", "w"], None):
        model = model_of(nodes, {"x": [2, 3, 5, 7], "z": shape}, "y f r", CONV)
        assert_agrees(model, {"x": normal(2, 3, 5, 7), "z": normal(2, 6, 5, 7)}, "channels_last")


def test_axes_that_are_dropped_and_transposes_of_the_model():
    nodes = [
        CONVS[0],
        node("Transpose", "c", "last", perm=[0, 2, 3, 1]),
        node("ReduceMean", "c k", "mean", keepdims=0),
        node("ReduceMax", "c one", "channel", keepdims=0),
        node("ReduceMean", "c three", "row", keepdims=0),
        node("Squeeze", "narrow three", "squeezed"),
        node("Conv", "c wide", "narrow"),
        node("Transpose", "squeezed", "words", perm=[0, 2, 1]),
        node("Relu", "row", "row_relu"),
    ]
    constants = CONV | {"k": [-1, 2], "one": [1], "three": [3], "wide": normal(4, 6, 1, 7)}
    model = model_of(nodes, {"x": [2, 3, 5, 7]}, "last mean channel row_relu words", constants)
    assert_agrees(model, {"x": normal(2, 3, 5, 7)}, "channels_last")
    # Channels last are the words' own order: nothing is moved but the input and the row.
    assert operators_apart(model)["Transpose"] <= 3


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_every_spatial_rank(rank):
    size = [4, 5, 6][:rank]
    constants = {"w": normal(5, 3, *[2] * rank), "v": normal(2, 5, *[1] * rank)}
    nodes = [node("Conv", "x w", "c"), node("Sigmoid", "c", "m"), node("Conv", "m v", "y")]
    model = model_of(nodes, {"x": [2, 3, *size]}, "y", constants)
    assert operators_apart(model) == {"pyinfer.ConvNhwc": 2, "Transpose": 2}
    assert_agrees(model, {"x": normal(2, 3, *size)}, "channels_last", "fuse_epilogue")


SIX, THREE, SIXTH = np.float32(6), np.float32(3), np.float32(1 / 6)
ACTIVATIONS = {
    "Silu": [node("Sigmoid", "c", "s"), node("Mul", "c s", "m")],
    "Swish": [node("Mul", "three c", "t"), node("Sigmoid", "t", "s"), node("Mul", "s c", "m")],
    "HardSwish": [node("HardSigmoid", "c", "s", alpha=1 / 6), node("Mul", "s c", "m")],
    "HardSwish by Div": [
        node("Add", "c three", "a"),
        node("Clip", "a zero six", "s"),
        node("Mul", "c s", "p"),
        node("Div", "p six", "m"),
    ],
    "HardSwish by Mul": [
        node("Add", "three c", "a"),
        node("Clip", "a zero six", "s"),
        node("Mul", "s c", "p"),
        node("Mul", "p sixth", "m"),
    ],
    "Relu": [node("Relu", "c", "m")],
    "Relu6": [node("Clip", "c zero six", "m")],
    "Clip from below": [node("Clip", "c three", "m")],
    "LeakyRelu": [node("LeakyRelu", "c", "m", alpha=0.3)],
    "Elu": [node("Elu", "c", "m", alpha=0.7)],
    "HardSigmoid": [node("HardSigmoid", "c", "m", alpha=0.4, beta=0.3)],
    "Sigmoid": [node("Sigmoid", "c", "m")],
    "Tanh": [node("Tanh", "c", "m")],
    "Softplus": [node("Softplus", "c", "m")],
    "Mish": [node("Mish", "c", "m")],
    "Gelu": [node("Gelu", "c", "m")],
    "GeluTanh": [node("Gelu", "c", "m", approximate="tanh")],
}
SCALARS = {"zero": np.float32(0), "three": THREE, "six": SIX, "sixth": SIXTH}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_ride_on_the_product(name):
    for first, shape in ((CONVS[0], [2, 3, 5, 7]), (node("MatMul", "x u", "c"), [2, 3, 5, 4])):
        constants = CONV | SCALARS | {"u": normal(4, 6) * 2}
        last = node("Conv", "m e", "y") if first.op_type == "Conv" else node("Identity", "m", "y")
        model = model_of(
            [first, *ACTIVATIONS[name], last], {"x": shape}, "y", constants | {"e": normal(6, 6, 1, 1)}
        )
        found = operators_apart(model)
        assert set(found) <= {"pyinfer.ConvNhwc", "pyinfer.FusedMatMul", "Transpose"}
        assert_agrees(model, {"x": normal(*shape) * 2}, "fuse_gelu", "fuse_hard_swish", "fuse_epilogue")


def test_fused_activations_keep_their_bits():
    for name, nodes in ACTIVATIONS.items():
        if len(nodes) > 1:
            continue
        model = model_of([CONVS[0], *nodes, CONVS[1]], {"x": [1, 3, 9, 9]}, "y", CONV | SCALARS)
        x = normal(1, 3, 9, 9)
        on, off = pyinfer.load(model)(x), pyinfer.load(model, disable_passes=["fuse_epilogue"])(x)
        assert on.tobytes() == off.tobytes(), name


def test_gates_that_are_read_elsewhere_or_have_other_factors_stay():
    for gate in (
        [node("HardSigmoid", "c", "s"), node("Mul", "c s", "m")],
        [node("Add", "c three", "a"), node("Clip", "a zero three", "s"), node("Mul", "c s", "p"), node("Div", "p six", "m")],
        [node("Sigmoid", "x", "s"), node("Mul", "c s", "m")],
    ):  # fmt: skip
        model = model_of([node("Conv", "x v", "c"), *gate], {"x": [1, 6, 4, 4]}, "m s", CONV | SCALARS)
        assert "Mul" in operators_apart(model)
        assert_agrees(model, {"x": normal(1, 6, 4, 4)}, "fuse_hard_swish")


@pytest.mark.parametrize("at", ["three", "sixth"])
def test_factors_that_add_dimensions_stay(at):
    nodes = [
        node("Add", "x three", "a"),
        node("Clip", "a zero six", "s"),
        node("Mul", "x s", "p"),
        node("Mul", "p sixth", "y"),
    ]
    constants = SCALARS | {at: SCALARS[at].reshape(1, 1, 1)}
    model = model_of(nodes, {"x": [2, 3]}, "y", constants)
    assert pyinfer.load(model)(normal(2, 3)).shape == (1, 2, 3)
    assert_agrees(model, {"x": normal(2, 3)}, "fuse_hard_swish")


@pytest.mark.parametrize("shape", [[2, 3, 8, 8], ["n", 3, "h", "w"]])
def test_residuals_ride_on_the_convolution(shape):
    nodes = [
        node("Conv", "x w b", "c", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Conv", "x p", "d", strides=[2, 2]),
        node("Add", "d c", "sum"),
        node("Relu", "sum", "r"),
        node("Conv", "r v", "e", auto_pad="SAME_UPPER"),
        node("Add", "e r", "y"),
    ]
    model = model_of(nodes, {"x": shape}, "y", CONV | {"p": normal(6, 3, 1, 1)})
    assert operators_apart(model) == {"pyinfer.ConvNhwc": 3, "Transpose": 2}
    assert_agrees(model, {"x": normal(2, 3, 8, 8)}, "fuse_epilogue")


def test_sums_that_broadcast_do_not_ride():
    # The pooled image has one pixel; z may have one in any run.
    nodes = [node("Conv", "x w b", "c"), node("Add", "c z", "y")]
    model = model_of(nodes, {"x": ["n", 3, "h", "w"], "z": ["n", 6, "h", "w"]}, "y", CONV)
    assert operators_apart(model)["Add"] == 1
    for z in (normal(1, 6, 1, 1), normal(2, 6, 3, 5), normal(2, 6, 1, 5)):
        assert_agrees(model, {"x": normal(2, 3, 5, 7), "z": z}, "fuse_epilogue")
    nodes = [node("GlobalAveragePool", "x", "g"), node("Conv", "g q", "c"), node("Add", "c x", "y")]
    model = model_of(nodes, {"x": ["n", 3, "h", "w"]}, "y", {"q": normal(3, 3, 1, 1)})
    assert_agrees(model, {"x": normal(2, 3, 5, 7)}, "fuse_epilogue")


@pytest.mark.parametrize("rows", [[3, 4], [2, 3, 4], ["n", "rows", 4]])
def test_bias_and_residual_ride_on_matrix_products(rows):
    nodes = [
        node("MatMul", "x w", "c"),
        node("Add", "b c", "d"),
        node("Gelu", "d", "e"),
        node("MatMul", "e v", "f"),
        node("Add", "f row", "g"),
        node("Add", "x g", "y"),
    ]
    constants = {"w": normal(4, 6), "b": normal(6), "v": normal(6, 4), "row": normal(1, 4)}
    model = model_of(nodes, {"x": rows}, "y", constants)
    assert operators_apart(model) == {"pyinfer.FusedMatMul": 2}
    shape = [d if isinstance(d, int) else 2 for d in rows]
    assert_agrees(model, {"x": normal(*shape)}, "fuse_epilogue")


def test_gemm_takes_an_epilogue_where_its_addend_is_a_row():
    constants = {"w": normal(6, 4), "row": normal(6), "column": normal(3, 1), "full": normal(3, 6)}
    for c, attributes, fused in (
        ("row", {"transB": 1, "alpha": 0.5}, True),
        ("", {"transB": 1}, True),
        ("column", {"transB": 1}, False),
        ("full", {"transB": 1, "beta": 2.0}, False),
        ("row", {"transB": 1, "beta": 2.0}, False),
    ):
        nodes = [
            node("Gemm", f"x w {c}".strip(), "c", **attributes),
            node("Tanh", "c", "t"),
            node("Add", "t z", "y"),
        ]
        model = model_of(nodes, {"x": [3, 4], "z": [3, 6]}, "y", constants)
        assert ("Tanh" not in operators_apart(model)) == fused, (c, attributes)
        assert_agrees(model, {"x": normal(3, 4), "z": normal(3, 6)}, "fuse_epilogue")
