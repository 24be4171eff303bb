"""Models computed in float64, and how far float32 is from that in pyinfer and in ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

import pyinfer
from bits import make_feeds

# Their floats are float32 by definition: they get casts around them.
_FLOAT32_ONLY = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}
# Inputs that are float32 by definition, of operators that compute in float64.
_FLOAT32_INPUTS = {"Resize": (1, 2)}
_ROUNDING = 2.0**-24


def to_float64(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` with each float32 tensor, cast and constant in float64, inputs and outputs too."""
    double = onnx.ModelProto()
    double.CopyFrom(model)
    _convert(double.graph)
    return double


def feeds_to_float64(feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: x.astype(np.float64) if x.dtype == np.float32 else x for name, x in feeds.items()}


def errors(
    model: onnx.ModelProto, shapes: dict[str, str], batch: int
) -> dict[str, dict[str, dict[str, float]]]:
    """By output and engine, the differences from float64: `largest`, relative to the largest value, and `rms`,
    relative to that of the values. Inputs are those of bits.make_feeds."""
    loaded = pyinfer.load(model, threads=2)
    feeds = make_feeds(loaded.inputs, shapes, batch)
    direct = pyinfer.load(model, threads=2, disable_passes=["choose_winograd"])
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options)
    found = {"pyinfer": loaded.run(feeds), "pyinfer, no Winograd": direct.run(feeds)}
    found["onnxruntime"] = dict(zip(found["pyinfer"], session.run(None, feeds), strict=True))
    exact = pyinfer.load(to_float64(model), threads=2).run(feeds_to_float64(feeds))
    return {
        name: {engine: _error(outputs[name], value) for engine, outputs in found.items()}
        for name, value in exact.items()
    }


def worst_ratio(by_engine: dict[str, dict[str, float]], engine: str = "pyinfer") -> float:
    """Of `engine`'s error to ONNX Runtime's, by either measure. What rounding the exact result to float32 may cost
    counts as no error."""
    own, other = by_engine[engine], by_engine["onnxruntime"]
    return max(max(own[key], _ROUNDING) / max(other[key], _ROUNDING) for key in own)


def _error(value: np.ndarray, exact: np.ndarray) -> dict[str, float]:
    assert value.shape == exact.shape
    assert exact.dtype == np.float64
    difference = value - exact
    return {
        "largest": float(np.abs(difference).max() / np.abs(exact).max()),
        "rms": float(np.sqrt(np.mean(difference**2) / np.mean(exact**2))),
    }


def _convert(graph: onnx.GraphProto) -> None:
    del graph.value_info[:]
    for value in [*graph.input, *graph.output]:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    kept = {
        name
        for node in graph.node
        for i, name in enumerate(node.input)
        if node.op_type in _FLOAT32_ONLY or i in _FLOAT32_INPUTS.get(node.op_type, ())
    }
    for tensor in graph.initializer:
        if tensor.name not in kept:
            _convert_tensor(tensor)
    constants = {tensor.name for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _convert(attribute.g)
            elif attribute.type == onnx.AttributeProto.TENSOR and not kept & set(node.output):
                _convert_tensor(attribute.t)
            elif (node.op_type, attribute.name, attribute.i) == ("Cast", "to", TensorProto.FLOAT):
                attribute.i = TensorProto.DOUBLE
        if node.op_type == "Constant" and node.attribute[0].name.startswith("value_float"):
            _constant_as_tensor(node)
        nodes += _cast_around(node, constants) if node.op_type in _FLOAT32_ONLY else [node]
    kept_nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept_nodes)


def _convert_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT:
        tensor.CopyFrom(
            numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name)
        )


def _constant_as_tensor(node: onnx.NodeProto) -> None:
    value = np.array(helper.get_attribute_value(node.attribute[0]), np.float64)
    del node.attribute[:]
    node.attribute.append(helper.make_attribute("value", numpy_helper.from_array(value)))


def _cast_around(node: onnx.NodeProto, constants: set[str]) -> list[onnx.NodeProto]:
    before, after = [], []
    if node.op_type != "DequantizeLinear" and node.input[0] not in constants:
        name = f"{node.output[0]}_float32"
        before = [helper.make_node("Cast", [node.input[0]], [name], to=TensorProto.FLOAT)]
        node.input[0] = name
    place = {"DequantizeLinear": 0, "DynamicQuantizeLinear": 1}.get(node.op_type)
    if place is not None:
        name = f"{node.output[place]}_float32"
        after = [helper.make_node("Cast", [name], [node.output[place]], to=TensorProto.DOUBLE)]
        node.output[place] = name
    return [*before, node, *after]
