"""Exports that fix their batch, made to take any, as exports with a dynamic batch would be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper


def any_batch(
    path: Path, batch_axes: dict[str, int] | None = None, tokens: tuple[int, int] | None = None
) -> onnx.ModelProto:
    """The zoo's model of one row (an image, a sentence), made to take any number of them.

    `batch_axes` names the batch of inputs and outputs where it is not in front. `tokens`, the declared length of
    sentences and a shorter one, cuts those. Images may be of any size where the graph does not hold theirs.
    """
    model = onnx.load(path)
    graph = model.graph
    axes = batch_axes or {}
    for value in [*graph.input, *graph.output]:
        dims = value.type.tensor_type.shape.dim
        dims[axes.get(value.name, 0)].dim_param = "batch"
        for dim in dims:
            if tokens and dim.dim_value == tokens[0]:
                dim.dim_value = tokens[1]
        if len(dims) == 4 and dims[1].dim_value == 3:
            dims[2].dim_param, dims[3].dim_param = "height", "width"
    del graph.value_info[:]
    _open_reshapes(graph, tokens)
    for node in list(graph.node):
        # The exported sentence encoders and decoders gather every row's mask by indices that name row 0.
        if node.op_type == "GatherND":
            axes_name = _constant(graph, np.array([1, 2]), f"{node.output[0]}_axes")
            node.CopyFrom(helper.make_node("Unsqueeze", [node.input[0], axes_name], node.output))
        # And the exported image transformer has one class token, which goes in front of every row's patches.
        if node.op_type == "Concat":
            _repeat_class_token(graph, node)
    if tokens:
        _cut_constants(graph, *tokens)
    return model


def _open_reshapes(graph: onnx.GraphProto, tokens: tuple[int, int] | None) -> None:
    """A zero copies the batch, and the sentences' length."""
    reshapes = [node for node in graph.node if node.op_type == "Reshape"]
    for node in reshapes:
        del node.attribute[:]  # allowzero
    shapes = {node.input[1] for node in reshapes}
    for tensor in graph.initializer:
        if tensor.name not in shapes:
            continue
        dims = numpy_helper.to_array(tensor).copy()
        if len(dims) > 1:
            dims[0] = 0
            if tokens and dims[1] == tokens[0]:
                dims[1] = 0
        tensor.CopyFrom(numpy_helper.from_array(dims, tensor.name))


def _cut_constants(graph: onnx.GraphProto, tokens: int, shorter: int) -> None:
    """Positions, and the mask of all pairs of them."""
    for tensor in graph.initializer:
        if tensor.data_type in (onnx.TensorProto.INT64, onnx.TensorProto.BOOL) and tokens in tensor.dims:
            cut = tuple(slice(shorter if n == tokens else n) for n in tensor.dims)
            value = numpy_helper.to_array(tensor)[cut]
            tensor.CopyFrom(numpy_helper.from_array(value.copy(), tensor.name))


def _repeat_class_token(graph: onnx.GraphProto, concat: onnx.NodeProto) -> None:
    tokens = [t for t in graph.initializer if t.name == concat.input[0] and len(t.dims) == 3]
    if not tokens:
        return
    name = concat.output[0]
    rest = _constant(graph, np.array(tokens[0].dims[1:]), f"{name}_rest")
    made = [
        helper.make_node("Shape", [graph.input[0].name], [f"{name}_batch"], start=0, end=1),
        helper.make_node("Concat", [f"{name}_batch", rest], [f"{name}_shape"], axis=0),
        helper.make_node("Expand", [concat.input[0], f"{name}_shape"], [f"{name}_token"]),
    ]
    concat.input[0] = f"{name}_token"
    place = list(graph.node).index(concat)
    for i, node in enumerate(made):
        graph.node.insert(place + i, node)


def _constant(graph: onnx.GraphProto, value: np.ndarray, name: str) -> str:
    graph.initializer.append(numpy_helper.from_array(value, name))
    return name
