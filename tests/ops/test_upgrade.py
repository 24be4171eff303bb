"""Models of older operator sets: what import rewrites, against ONNX Runtime, or NumPy where that is too new."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import pyinfer
from nodes import assert_same, node_model, run

RNG = np.random.default_rng(7)


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def ort_run(model, feeds):
    ort = pytest.importorskip("onnxruntime")
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def old_model(op, inputs, attributes, opset, outputs=1, constant=()):
    model = node_model(op, inputs, attributes, outputs=outputs, opset=opset, constant=constant)
    model.ir_version = 7
    model = onnx.shape_inference.infer_shapes(model)
    for output in model.graph.output:  # ONNX Runtime wants their types, which inference knows
        assert output.type.WhichOneof("value"), (op, opset)
    return model


def check_old(op, inputs, attributes=None, *, opset, outputs=1, constant=(), rtol=1e-5, atol=1e-6):
    inputs = [None if x is None else np.asarray(x) for x in inputs]
    model = old_model(op, inputs, attributes, opset, outputs, constant)
    feeds = {f"x{i}": x for i, x in enumerate(inputs) if x is not None and i not in constant}
    expected = ort_run(model, feeds)
    actual = run(model, inputs, constant)
    for got, want in zip(actual, expected, strict=True):
        assert_same(got, want, rtol=rtol, atol=atol)


def check_numpy(op, inputs, attributes=None, *, opset, expected, constant=(), rtol=1e-5, atol=1e-6):
    model = node_model(op, inputs, attributes, opset=opset, constant=constant)
    (actual,) = run(model, inputs, constant)
    assert_same(actual, np.asarray(expected), rtol=rtol, atol=atol)


SOFTMAX_SHAPES = [
    ((2, 3, 4), 1),
    ((2, 3, 4), 0),
    ((2, 3, 4), 2),
    ((2, 3, 4), -1),
    ((4, 5), 1),
    ((3, 1, 2, 2), 2),
]


@pytest.mark.parametrize("opset", [7, 11, 12])
@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "Hardmax"])
@pytest.mark.parametrize(("shape", "axis"), SOFTMAX_SHAPES)
def test_softmax_over_flattened_rows(op, shape, axis, opset):
    if axis < 0 and opset < 11:
        pytest.skip("negative axes came with operator set 11")
    check_old(op, [floats(*shape)], {"axis": axis}, opset=opset)


def test_softmax_default_axis_was_one():
    check_old("Softmax", [floats(2, 3, 4)], opset=9)


def test_softmax_of_unknown_rank():
    # x -> Reshape(x, s) -> Softmax: the rank follows from the value of s in the run only.
    nodes = [
        helper.make_node("Reshape", ["x", "s"], ["r"]),
        helper.make_node("Softmax", ["r"], ["y"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [24]),
            helper.make_tensor_value_info("s", TensorProto.INT64, [None]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    model = pyinfer.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)]))
    x = floats(24)
    for shape in [(2, 3, 4), (4, 6), (1, 2, 3, 4), (24,)]:
        rows = x.reshape(shape[0], -1).astype(np.float64) if len(shape) > 1 else x[:, None].astype(np.float64)
        e = np.exp(rows - rows.max(axis=1, keepdims=True))
        got = model.run({"x": x, "s": np.array(shape)})["y"]
        np.testing.assert_allclose(got, (e / e.sum(axis=1, keepdims=True)).reshape(shape), rtol=1e-5)


@pytest.mark.parametrize("opset", [7, 11, 12])
@pytest.mark.parametrize("axes", [[0], [1, 2], [0, 1, 2, 3], None])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize(
    "op",
    [
        "ReduceSum",
        "ReduceMean",
        "ReduceMax",
        "ReduceMin",
        "ReduceProd",
        "ReduceL1",
        "ReduceL2",
        "ReduceLogSum",
        "ReduceLogSumExp",
        "ReduceSumSquare",
    ],
)
def test_reduce_axes(op, axes, keepdims, opset):
    attributes = {"keepdims": keepdims} | ({} if axes is None else {"axes": axes})
    x = floats(2, 3, 1, 4)
    check_old(op, [np.abs(x) if op == "ReduceLogSum" else x], attributes, opset=opset)


@pytest.mark.parametrize("opset", [13, 17])
def test_reduce_axes_until_18(opset):
    check_old("ReduceMean", [floats(2, 3, 4)], {"axes": [-1]}, opset=opset)


@pytest.mark.parametrize("opset", [7, 11])
def test_squeeze_and_unsqueeze(opset):
    check_old("Squeeze", [floats(1, 3, 1)], {"axes": [0, 2]}, opset=opset)
    check_old("Squeeze", [floats(1, 3, 1)], opset=opset)
    check_old("Unsqueeze", [floats(3, 2)], {"axes": [0, 3]}, opset=opset)


@pytest.mark.parametrize("axes", [[0, 1], [1], None])
def test_slice_attributes(axes):
    count = 2 if axes is None else len(axes)
    attributes = {"starts": [1, -3][:count], "ends": [1000, -1][:count]} | ({"axes": axes} if axes else {})
    check_old("Slice", [floats(4, 5, 2)], attributes, opset=9)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
@pytest.mark.parametrize("opset", [7, 10])
def test_pad_attributes(mode, opset):
    attributes = {"pads": [0, 1, 2, 1, 0, 1], "mode": mode, "value": 1.5}
    check_old("Pad", [floats(2, 3, 4)], attributes, opset=opset)


def test_pad_value_takes_the_type_of_the_data():
    x = np.ones((2, 3), np.float64)
    check_old("Pad", [x], {"pads": [1, 0, 0, 1], "value": 2.5}, opset=7)


@pytest.mark.parametrize(("low", "high"), [(-0.5, 0.5), (None, 0.25), (0.0, None), (None, None)])
@pytest.mark.parametrize("opset", [7, 10])
def test_clip_attributes(low, high, opset):
    attributes = {name: v for name, v in (("min", low), ("max", high)) if v is not None}
    check_old("Clip", [floats(4, 5)], attributes, opset=opset)
    check_old("Clip", [np.array([np.inf, -np.inf, np.nan, 0], np.float32)], attributes, opset=opset)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_clip_bounds_take_the_type_of_the_data(dtype):
    x = floats(4, 5).astype(dtype)
    check_numpy("Clip", [x], {"min": -0.5, "max": 0.5}, opset=6, expected=x.clip(-0.5, 0.5))


def test_dropout_is_identity():
    x = floats(3, 4)
    check_old("Dropout", [x], {"ratio": 0.75}, opset=7)
    check_old("Dropout", [x], {"ratio": 0.75}, opset=10)
    check_numpy("Dropout", [x], {"ratio": 0.75, "is_test": 1}, opset=6, expected=x)
    with pytest.raises(pyinfer.UnsupportedModel, match="is_test"):
        pyinfer.load(node_model("Dropout", [x], {"is_test": 0}, opset=6))


@pytest.mark.parametrize(("opset", "dtype"), [(7, np.float32), (10, np.bool_)])
def test_dropout_mask(opset, dtype):
    model = node_model("Dropout", [floats(3, 4)], outputs=2, opset=opset)
    _, mask = run(model, [floats(3, 4)])
    assert mask.dtype == dtype
    assert mask.all()


@pytest.mark.parametrize("axis", [0, 1])
def test_topk_attribute(axis):
    check_old("TopK", [floats(4, 5)], {"k": 3, "axis": axis}, opset=7, outputs=2)


@pytest.mark.parametrize(("split", "outputs"), [([2, 4], 2), (None, 3)])
@pytest.mark.parametrize("opset", [7, 11, 13])
def test_split(split, outputs, opset):
    if opset == 13 and split:
        check_old("Split", [floats(6, 2), np.array(split)], opset=13, outputs=outputs)
        return
    check_old("Split", [floats(6, 2)], {"split": split} if split else {}, opset=opset, outputs=outputs)


@pytest.mark.parametrize("opset", [7, 8])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_upsample_attribute(mode, opset):
    check_old("Upsample", [floats(1, 2, 3, 4)], {"mode": mode, "scales": [1.0, 1.0, 2.0, 3.0]}, opset=opset)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("constant", [(1,), ()])
def test_upsample_input(mode, constant):
    scales = np.array([1, 1, 1.5, 2], np.float32)
    model = node_model("Upsample", [floats(1, 2, 4, 3), scales], {"mode": mode}, opset=9, constant=constant)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    x = floats(1, 2, 4, 3)
    feeds = {"x0": x} if constant else {"x0": x, "x1": scales}
    (want,) = ort_run(model, feeds)
    assert_same(run(model, [x, scales], constant)[0], want)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("constant", [(1,), ()])
@pytest.mark.parametrize("scales", [(1, 1, 2, 2), (1, 1, 0.6, 0.5), (1, 1, 0.6, 2.0)])
def test_resize_10(mode, constant, scales):
    scales = np.array(scales, np.float32)
    x = floats(1, 2, 4, 6)
    model = node_model("Resize", [x, scales], {"mode": mode}, opset=10, constant=constant)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    (want,) = ort_run(model, {"x0": x} if constant else {"x0": x, "x1": scales})
    assert_same(run(model, [x, scales], constant)[0], want)


def test_resize_11_takes_empty_inputs_as_omitted():
    x = floats(1, 1, 2, 3)
    empty = np.zeros(0, np.float32)
    inputs = [x, empty, empty, np.array([1, 1, 4, 6])]
    attributes = {"mode": "linear", "coordinate_transformation_mode": "asymmetric"}
    check_old("Resize", inputs, attributes, opset=11, constant=(1, 2, 3))


@pytest.mark.parametrize("opset", [7, 9])
def test_batch_normalization(opset):
    x, scale, bias, mean = floats(2, 3, 4), floats(3), floats(3), floats(3)
    check_old("BatchNormalization", [x, scale, bias, mean, np.abs(floats(3)) + 0.1], opset=opset)


def test_batch_normalization_per_activation():
    x, scale, bias, mean = floats(2, 3, 4), floats(3, 4), floats(3, 4), floats(3, 4)
    variance = np.abs(floats(3, 4)) + 0.1
    expected = (x - mean) / np.sqrt(variance + 1e-3) * scale + bias
    attributes = {"spatial": 0, "epsilon": 1e-3}
    check_numpy(
        "BatchNormalization", [x, scale, bias, mean, variance], attributes, opset=7, expected=expected
    )


def test_batch_normalization_in_training_is_rejected():
    inputs = [floats(2, 3, 4), floats(3), floats(3), floats(3), np.ones(3, np.float32)]
    with pytest.raises(pyinfer.UnsupportedModel, match="training"):
        pyinfer.load(node_model("BatchNormalization", inputs, outputs=5, opset=9))


def test_group_normalization_18():
    x, scale, bias = floats(2, 6, 3), floats(2), floats(2)
    groups = x.astype(np.float64).reshape(2, 2, -1)
    normal = (groups - groups.mean(2, keepdims=True)) / np.sqrt(groups.var(2, keepdims=True) + 1e-5)
    expected = normal * scale[:, None] + bias[:, None]
    expected = expected.reshape(x.shape).astype(np.float32)
    check_numpy(
        "GroupNormalization", [x, scale, bias], {"num_groups": 2}, opset=18, expected=expected, atol=1e-5
    )


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("constant", [(1,), ()])
@pytest.mark.parametrize(
    ("shape", "axis"), [((3, 4), 1), ((2,), 0), ((4, 5), None), ((3,), 1), ((1, 1), 0), ((4, 5), -2)]
)
def test_explicit_broadcast(op, shape, axis, constant):
    a, b = floats(2, 3, 4, 5), floats(*shape) + 3
    attributes = {"broadcast": 1} | ({} if axis is None else {"axis": axis})
    at = 4 - len(shape) if axis is None else axis % 4
    wide = b.reshape(shape + (1,) * (4 - at - len(shape)))
    apply = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}[op]
    check_numpy(op, [a, b], attributes, opset=6, expected=apply(a, wide), constant=constant)


def test_explicit_broadcast_of_comparison_and_logic():
    a, b = floats(2, 3, 4), floats(3)
    check_numpy("Greater", [a, b], {"broadcast": 1, "axis": 1}, opset=6, expected=a > b[:, None])
    p, q = a > 0, b > 0
    check_numpy("And", [p, q], {"broadcast": 1, "axis": 1}, opset=6, expected=p & q[:, None])


@pytest.mark.parametrize(
    ("op", "apply"), [("Equal", np.equal), ("Less", np.less), ("Or", np.logical_or), ("Xor", np.logical_xor)]
)
@pytest.mark.parametrize("axis", [0, 1, None])
def test_explicit_broadcast_of_other_operators(op, apply, axis):
    shape = (3,) if axis == 1 else (2,) if axis == 0 else (4,)
    a, b = RNG.integers(0, 2, (2, 3, 4)), RNG.integers(0, 2, shape)
    a, b = (x.astype(np.float32 if op == "Less" else bool) for x in (a, b))
    wide = b.reshape(b.shape + (1,) * (0 if axis is None else 2 - axis))
    attributes = {"broadcast": 1} | ({} if axis is None else {"axis": axis})
    check_numpy(op, [a, b], attributes, opset=6, expected=apply(a, wide))


def test_explicit_broadcast_of_pow():
    a, b = np.abs(floats(2, 3, 4)), floats(3)
    check_numpy("Pow", [a, b], {"broadcast": 1, "axis": 1}, opset=6, expected=a ** b[:, None])


def test_explicit_broadcast_past_the_end_is_rejected():
    with pytest.raises(pyinfer.InvalidModel, match="axis"):
        pyinfer.load(node_model("Add", [floats(2, 3), floats(3, 4)], {"broadcast": 1, "axis": 1}, opset=6))


@pytest.mark.parametrize("slopes", [(3,), (1,)])
def test_prelu_slope_per_channel(slopes):
    x, slope = floats(2, 3, 4), floats(*slopes)
    check_numpy("PRelu", [x, slope], opset=6, expected=np.where(x < 0, x * slope[:, None], x))


def test_gemm_6_drops_broadcast():
    a, b, c = floats(2, 3), floats(3, 4), floats(4)
    check_numpy("Gemm", [a, b, c], {"broadcast": 1}, opset=6, expected=a @ b + c)


def test_cast_to_named_type():
    x = floats(3, 4) * 10
    check_numpy("Cast", [x], {"to": "INT32"}, opset=5, expected=x.astype(np.int32))
    with pytest.raises(pyinfer.InvalidModel, match="floot"):
        pyinfer.load(node_model("Cast", [x], {"to": "FLOOT"}, opset=5))


def test_reshape_attribute():
    x = floats(2, 6)
    check_numpy("Reshape", [x], {"shape": [3, -1]}, opset=1, expected=x.reshape(3, 4))


def test_concat_default_axis():
    a, b = floats(2, 3), floats(2, 1)
    check_numpy("Concat", [a, b], opset=1, expected=np.concatenate([a, b], axis=1))


def test_tile_along_one_axis():
    x = floats(2, 3)
    inputs = [x, np.array(2, np.float32), np.array(1, np.float32)]
    check_numpy("Tile", inputs, opset=1, expected=np.tile(x, (1, 2)))


def test_pad_paddings():
    x = floats(2, 3)
    check_numpy("Pad", [x], {"paddings": [0, 1, 0, 2]}, opset=1, expected=np.pad(x, ((0, 0), (1, 2))))


def test_scatter_became_scatter_elements():
    x, indices, updates = np.zeros((3, 3), np.float32), np.array([[1, 0, 2], [0, 2, 1]]), floats(2, 3)
    check_old("Scatter", [x, indices, updates], {"axis": 0}, opset=9)


def test_selu_had_other_constants():
    x = floats(3, 4)
    alpha, gamma = 1.6732, 1.0507
    expected = np.where(x > 0, gamma * x, gamma * (alpha * np.exp(x) - alpha))
    check_numpy("Selu", [x], opset=1, expected=expected.astype(np.float32))


def test_consumed_inputs_are_ignored():
    x = floats(3, 4)
    check_numpy("Relu", [x], {"consumed_inputs": [0]}, opset=1, expected=np.maximum(x, 0))


def test_lp_pool_had_a_float_exponent():
    x = floats(1, 2, 3, 4)
    expected = np.sqrt((x.astype(np.float64) ** 2).sum((2, 3), keepdims=True)).astype(np.float32)
    check_numpy("GlobalLpPool", [x], {"p": 2.0}, opset=1, expected=expected)


def test_lp_pool_of_windows_had_a_float_exponent():
    x = floats(1, 2, 4, 6)
    windows = np.abs(x.reshape(1, 2, 2, 2, 3, 2).astype(np.float64)) ** 3
    expected = (windows.sum((3, 5)) ** (1 / 3)).astype(np.float32)
    attributes = {"p": 3.0, "kernel_shape": [2, 2], "strides": [2, 2]}
    check_numpy("LpPool", [x], attributes, opset=1, expected=expected)
    with pytest.raises(pyinfer.UnsupportedModel, match="'p' = 2.5.* is no integer"):
        pyinfer.load(node_model("LpPool", [x], attributes | {"p": 2.5}, opset=1))


def test_split_sizes_were_an_input_of_floats():
    x, sizes = floats(2, 5), np.array([2, 3], np.float32)
    for constant in ((), (1,)):
        model = node_model("Split", [x, sizes], {"axis": 1}, opset=1, outputs=2, constant=constant)
        left, right = run(model, [x, sizes], constant)
        np.testing.assert_array_equal(left, x[:, :2])
        np.testing.assert_array_equal(right, x[:, 2:])


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_upsample_had_a_scale_per_side(mode):
    x = floats(1, 2, 3, 4)
    model = old_model("Upsample", [x], {"mode": mode.replace("bi", ""), "scales": [1.0, 1.0, 2.0, 3.0]}, 7)
    (want,) = ort_run(model, {"x0": x})
    attributes = {"mode": mode, "height_scale": 2.0, "width_scale": 3.0}
    check_numpy("Upsample", [x], attributes, opset=1, expected=want)


@pytest.mark.parametrize(("op", "gates"), [("RNN", 1), ("GRU", 3), ("LSTM", 4)])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_recurrent_operators_had_output_sequence(op, gates, direction):
    size, directions = 3, 2 if direction == "bidirectional" else 1
    x, w = floats(4, 2, 5), floats(directions, gates * size, 5)
    inputs = [x, w, floats(directions, gates * size, size), floats(directions, 2 * gates * size)]
    attributes = {"hidden_size": size, "direction": direction}
    want = ort_run(old_model(op, inputs, attributes, 7, 2), {f"x{i}": v for i, v in enumerate(inputs)})
    for opset in (1, 3, 6):
        got = run(node_model(op, inputs, attributes | {"output_sequence": 1}, opset=opset, outputs=2), inputs)
        for g, expected in zip(got, want, strict=True):
            assert_same(g, expected, rtol=1e-4, atol=1e-5)


def test_the_first_gru_spelt_its_default_wrongly():
    inputs = [floats(4, 2, 5), floats(1, 9, 5), floats(1, 9, 3)]
    want = run(node_model("GRU", inputs, {"hidden_size": 3}, opset=7), inputs)
    got = run(node_model("GRU", inputs, {"hidden_size": 3, "direction": "foward"}, opset=1), inputs)
    np.testing.assert_array_equal(got[0], want[0])


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_grid_sample_modes(mode):
    x, grid = floats(1, 2, 4, 4), np.clip(floats(1, 3, 3, 2) / 3, -1, 1)
    check_old("GridSample", [x, grid], {"mode": mode}, opset=16, rtol=1e-4, atol=1e-5)


def test_dft_axis_attribute():
    x = floats(2, 5, 3, 1)
    check_old("DFT", [x], {"axis": 2}, opset=17, rtol=1e-4, atol=1e-5)


def test_roi_align_16_default():
    x = floats(1, 2, 6, 6)
    rois = np.array([[0, 0, 4, 4], [1, 1, 5, 3]], np.float32)
    attributes = {"output_height": 2, "output_width": 2, "sampling_ratio": 2}
    check_old("RoiAlign", [x, rois, np.zeros(2, np.int64)], attributes, opset=10)


def test_newer_operator_set_is_rejected():
    model = node_model("Relu", [floats(2)], opset=1000)
    with pytest.raises(pyinfer.UnsupportedModel, match="operator set 1000"):
        pyinfer.load(model)


def test_missing_attribute_names_the_node():
    with pytest.raises(pyinfer.InvalidModel, match="Slice 'node'.*starts"):
        pyinfer.load(node_model("Slice", [floats(2)], opset=9))


def test_nodes_of_subgraphs_are_rewritten():
    # if c: Squeeze(x, axes=[0]) else: Clip(x[0], min=0)
    def graph(nodes, name):
        return helper.make_graph(
            nodes, name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)]
        )

    then_graph = graph([helper.make_node("Squeeze", ["x"], ["a"], axes=[0])], "a")
    else_nodes = [
        helper.make_node("Clip", ["x"], ["clipped"], min=0.0),
        helper.make_node("Squeeze", ["clipped"], ["b"], axes=[0]),
    ]
    node = helper.make_node("If", ["c"], ["y"], then_branch=then_graph, else_branch=graph(else_nodes, "b"))
    main = helper.make_graph(
        [node],
        "g",
        [
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    model = pyinfer.load(helper.make_model(main, opset_imports=[helper.make_opsetid("", 10)]))
    x = floats(1, 4)
    np.testing.assert_array_equal(model.run({"c": np.array(True), "x": x})["y"], x[0])
    np.testing.assert_array_equal(model.run({"c": np.array(False), "x": x})["y"], np.maximum(x[0], 0))
