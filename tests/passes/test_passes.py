"""What each pass does to a graph, and that outputs agree with it on and off."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import pyinfer
from pass_models import assert_agrees, model_of

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 3, 6, 6)).astype(np.float32)


def floats(*shape: int) -> np.ndarray:
    return RNG.uniform(0.5, 2, shape).astype(np.float32)


# Those that come after the passes tested here.
LATER = (
    "fuse_gelu",
    "fuse_hard_swish",
    "fuse_layer_norm",
    "fuse_attention",
    "channels_last",
    "fuse_epilogue",
    "fuse_elementwise",
)


def operators(model: onnx.ModelProto, *off: str) -> dict[str, int]:
    return pyinfer.load(model, disable_passes=[*off, *LATER])._core.summary(None)["operators"]


def test_fold_constants():
    nodes = [
        helper.make_node("Mul", ["a", "a"], ["aa"]),
        helper.make_node("Neg", ["aa"], ["n"]),
        helper.make_node("Add", ["x", "n"], ["y"]),
    ]
    model = model_of(nodes, {"x": [3]}, ["y"], {"a": np.float32([1, 2, 3])})
    assert operators(model) == {"Add": 1}
    assert operators(model, "fold_constants") == {"Add": 1, "Mul": 1, "Neg": 1}
    assert_agrees(model, "fold_constants", np.float32([1, 2, 3]))


def test_fold_constants_leaves_large_results_to_the_run():
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["big"]),
        helper.make_node("Add", ["x", "big"], ["y"]),
    ]
    model = model_of(nodes, {"x": [1]}, ["y"], {"shape": np.array([1 << 20])})
    assert operators(model) == {"Add": 1, "ConstantOfShape": 1}


def test_fold_shapes_of_declared_inputs():
    nodes = [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Reshape", ["z", "s"], ["y"])]
    model = model_of(nodes, {"x": [2, 3], "z": [6]}, ["y"])
    assert operators(model) == {"Reshape": 1}
    assert operators(model, "fold_shapes") == {"Reshape": 1, "Shape": 1}
    assert operators(model_of(nodes, {"x": ["n", 3], "z": [6]}, ["y"]))["Shape"] == 1
    assert_agrees(model, "fold_shapes", np.zeros((2, 3), np.float32), np.arange(6, dtype=np.float32))


def test_shapes_that_a_loop_body_declares_are_not_believed():
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["c"], ["c_out"]),
            helper.make_node("Concat", ["v", "v"], ["v_out"], axis=0),
            helper.make_node("Shape", ["v"], ["s"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, [1]),
        ],
        [onnx.ValueInfoProto(name=n) for n in ("c_out", "v_out", "s")],
    )
    node = helper.make_node("Loop", ["trips", "go", "x"], ["y", "shapes"], body=body)
    model = model_of([node], {"x": [1]}, ["y", "shapes"], {"trips": np.array(3), "go": np.array(True)})
    y, shapes = pyinfer.load(model)(np.ones(1, np.float32))
    assert y.shape == (8,)
    assert shapes.ravel().tolist() == [1, 2, 4]


IDENTITIES = {
    "Identity": {},
    "Dropout": {},
    "Transpose": {},
    "Sum": {},
    "Pad": {"pads": np.zeros(8, np.int64)},
    "Mul": {"one": np.float32(1)},
    "Div": {"one": np.float32(1)},
}


@pytest.mark.parametrize("op", IDENTITIES)
def test_eliminate_identity(op):
    constants = IDENTITIES[op]
    attributes = {"perm": [0, 1, 2, 3]} if op == "Transpose" else {}
    nodes = [
        helper.make_node(op, ["x", *constants], ["h"], **attributes),
        helper.make_node("Abs", ["h"], ["y"]),
    ]
    model = model_of(nodes, {"x": [2, 3, 6, 6]}, ["y"], constants)
    assert operators(model) == {"Abs": 1}
    assert operators(model, "eliminate_identity") == {"Abs": 1, op: 1}
    assert_agrees(model, "eliminate_identity", X)


def test_eliminate_identity_merges_transposes_and_reshapes():
    nodes = [
        helper.make_node("Transpose", ["x"], ["a"], perm=[0, 2, 3, 1]),
        helper.make_node("Transpose", ["a"], ["b"], perm=[0, 3, 1, 2]),
        helper.make_node("Reshape", ["b", "flat"], ["c"]),
        helper.make_node("Reshape", ["c", "square"], ["y"]),
    ]
    constants = {"flat": np.array([-1]), "square": np.array([12, 18])}
    model = model_of(nodes, {"x": [2, 3, 6, 6]}, ["y"], constants)
    assert operators(model) == {"Reshape": 1}
    assert_agrees(model, "eliminate_identity", X)


@pytest.mark.parametrize("perm", [[0], [0, 1, 2], [0, 2, 1]])
@pytest.mark.parametrize("off", [(), ("eliminate_identity",)], ids=["on", "off"])
def test_a_perm_of_another_length_than_the_input_has_dimensions(perm, off):
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Transpose", ["r"], ["t"], perm=perm, name="turn"),
        helper.make_node("Abs", ["t"], ["y"]),
    ]
    wrong = rf"Transpose 'turn'.*perm has {len(perm)} elements, the input has"
    if not off:
        with pytest.raises(pyinfer.InvalidModel, match=wrong):
            pyinfer.load(model_of(nodes, {"x": [2, 3]}, ["y"]))
    # Of unknown rank, it is the run that finds out.
    loaded = pyinfer.load(model_of(nodes, {"x": None}, ["y"]), disable_passes=off)
    with pytest.raises(pyinfer.InvalidModel, match=wrong):
        loaded(np.ones((2, 3), np.float32))
    fitting = np.arange(6, dtype=np.float32).reshape([2, 3, 1][: len(perm)] if len(perm) > 1 else [6])
    np.testing.assert_array_equal(loaded(fitting), fitting.transpose(perm))


@pytest.mark.parametrize("perm", [[0, 9, 1, 2], [0, -1, 1, 2], [0, 1, 1, 2], [0, 1, 2]])
def test_a_perm_that_is_none_behind_a_convolution(perm):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Transpose", ["c"], ["t"], perm=perm),
        helper.make_node("Transpose", ["t"], ["y"], perm=[0, 2, 3, 1]),
    ]
    model = model_of(nodes, {"x": [2, 3, 6, 6]}, ["y"], {"w": floats(4, 3, 1, 1)})
    with pytest.raises(pyinfer.InvalidModel, match=r"perm (is no permutation|has 3 elements)"):
        pyinfer.load(model)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (1, 1, 1)], ids=str)
def test_a_factor_of_one_that_adds_a_dimension_stays(dtype, shape):
    nodes = [helper.make_node("Mul", ["x", "one"], ["h"]), helper.make_node("Abs", ["h"], ["y"])]
    model = model_of(nodes, {"x": [2, 3]}, ["y"], {"one": np.ones(shape, dtype)})
    model.graph.input[0].type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    assert operators(model).get("Mul", 0) == (len(shape) > 2)
    x = np.array([[1, -2, 3], [4, 5, 6]], dtype)
    np.testing.assert_array_equal(pyinfer.load(model)(x), np.abs(x * np.ones(shape, dtype)))


def test_identity_between_input_and_output():
    loaded = pyinfer.load(model_of([helper.make_node("Identity", ["x"], ["y"])], {"x": [2]}, ["y"]))
    assert loaded.outputs[0].name == "y"
    assert loaded(np.float32([1, 2])).tolist() == [1, 2]


def test_attributes_that_differ_in_the_sign_of_zero_are_two():
    nodes = [
        helper.make_node("Scaler", ["x"], [name], domain="ai.onnx.ml", offset=[0.0], scale=[zero])
        for name, zero in (("a", 0.0), ("b", -0.0))
    ]
    nodes += [helper.make_node("Reciprocal", [v], [w]) for v, w in ("ap", "bq")]
    model = model_of(nodes, {"x": [2]}, ["p", "q"])
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    p, q = pyinfer.load(model)(np.ones(2, np.float32))
    assert (p == np.inf).all() and (q == -np.inf).all()


def test_many_nodes_that_almost_compute_the_same():
    """Compared pair by pair, they would take minutes."""
    count = 100_000
    nodes = [helper.make_node("LeakyRelu", ["x"], [f"h{i}"], alpha=i / count) for i in range(count)]
    model = model_of([*nodes, helper.make_node("Max", ["h0", f"h{count - 1}"], ["y"])], {"x": [2]}, ["y"])
    np.testing.assert_array_equal(pyinfer.load(model)(-np.ones(2, np.float32)), 0)


def test_eliminate_common_subexpressions():
    nodes = [
        helper.make_node("Exp", ["x"], ["a"]),
        helper.make_node("Exp", ["x"], ["b"]),
        helper.make_node("Softmax", ["x"], ["c"], axis=0),
        helper.make_node("Softmax", ["x"], ["d"], axis=1),
        helper.make_node("Sum", ["a", "b", "c", "d"], ["y"]),
    ]
    model = model_of(nodes, {"x": [2, 3]}, ["y"])
    assert operators(model) == {"Exp": 1, "Softmax": 2, "Sum": 1}
    assert_agrees(model, "eliminate_common_subexpressions", floats(2, 3))


def test_random_nodes_are_not_common():
    nodes = [helper.make_node("RandomNormalLike", ["x"], [n]) for n in ("a", "b")]
    model = model_of([*nodes, helper.make_node("Sub", ["a", "b"], ["y"])], {"x": [50]}, ["y"])
    assert operators(model)["RandomNormalLike"] == 2
    assert np.any(pyinfer.load(model)(np.zeros(50, np.float32)) != 0)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("group", [1, 2])
def test_fold_batch_norm(transposed, group):
    channels, inputs = 4, 6
    shape = (inputs, channels // group, 3, 3) if transposed else (channels, inputs // group, 3, 3)
    constants = {"w": floats(*shape), "b": floats(channels)}
    constants |= {name: floats(channels) for name in ("scale", "shift", "mean", "variance")}
    nodes = [
        helper.make_node("ConvTranspose" if transposed else "Conv", ["x", "w", "b"], ["h"], group=group),
        helper.make_node("BatchNormalization", ["h", "scale", "shift", "mean", "variance"], ["y"]),
    ]
    model = model_of(nodes, {"x": [2, inputs, 6, 6]}, ["y"], constants)
    assert "BatchNormalization" not in operators(model)
    assert "BatchNormalization" in operators(model, "fold_batch_norm")
    assert_agrees(model, "fold_batch_norm", floats(2, inputs, 6, 6), tolerance=1e-5)


def test_batch_norm_stays_when_its_input_is_read_elsewhere():
    constants = {"w": floats(4, 3, 3, 3)} | {n: floats(4) for n in ("scale", "shift", "mean", "variance")}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"]),
        helper.make_node("BatchNormalization", ["h", "scale", "shift", "mean", "variance"], ["n"]),
        helper.make_node("Add", ["h", "n"], ["y"]),
    ]
    assert operators(model_of(nodes, {"x": [2, 3, 6, 6]}, ["y"], constants))["BatchNormalization"] == 1


@pytest.mark.parametrize("op", ["Mul", "Add", "Sub", "Div"])
@pytest.mark.parametrize("shape", [(), (1,), (4, 1, 1), (1, 4, 1, 1)])
def test_fold_affine(op, shape):
    constants = {"w": floats(4, 3, 3, 3), "b": floats(4), "k": floats(*shape)}
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["h"]), helper.make_node(op, ["h", "k"], ["y"])]
    model = model_of(nodes, {"x": [2, 3, 6, 6]}, ["y"], constants)
    assert operators(model) == {"Conv": 1}
    assert operators(model, "fold_affine") == {"Conv": 1, op: 1}
    assert_agrees(model, "fold_affine", X, tolerance=2e-5)


@pytest.mark.parametrize("shape", [(4,), (1, 1, 4, 4), (2, 1, 1, 1)])
def test_fold_affine_leaves_other_shapes(shape):
    constants = {"w": floats(4, 3, 3, 3), "k": floats(*shape)}
    nodes = [helper.make_node("Conv", ["x", "w"], ["h"]), helper.make_node("Mul", ["h", "k"], ["y"])]
    assert operators(model_of(nodes, {"x": [2, 3, 6, 6]}, ["y"], constants))["Mul"] == 1


def test_eliminate_dead_code():
    nodes = [helper.make_node("Exp", ["x"], ["unused"]), helper.make_node("Neg", ["x"], ["y"])]
    model = model_of(nodes, {"x": [2]}, ["y"])
    assert operators(model) == {"Neg": 1}


def test_an_unknown_pass_is_an_error_that_names_the_passes():
    model = model_of([helper.make_node("Neg", ["x"], ["y"])], {"x": [2]}, ["y"])
    with pytest.raises(pyinfer.InvalidInput, match=r"no_such.*fold_constants"):
        pyinfer.load(model, disable_passes=["no_such"])
