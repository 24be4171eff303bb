"""Models as ONNX Runtime's optimisers and quantizers write them agree with ONNX Runtime."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import quantization

import pyinfer
from zoo import random_feeds, zoo_model

F = np.float32
LEVELS = {
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
Feeds = dict[str, np.ndarray]


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def as_it_stands(path: Path, feeds: Feeds) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(None, feeds)


def save_optimised(path: Path, level: str, to: Path) -> Path:
    """The model as ONNX Runtime's session rewrites it."""
    options = ort.SessionOptions()
    options.graph_optimization_level = LEVELS[level]
    options.optimized_model_filepath = str(to)
    options.log_severity_level = 4
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return to


def operators(path: Path) -> set[str]:
    return {node.op_type for node in onnx.load(path).graph.node}


def assert_agrees(path: Path, feeds: Feeds, tolerance: float = 1e-4) -> None:
    for got, want in zip(pyinfer.load(path).run(feeds).values(), as_it_stands(path, feeds), strict=True):
        assert got.shape == want.shape
        assert got.dtype == want.dtype
        assert np.ptp(want) > 0
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * float(np.abs(want).max()))


class Builder:
    """Nodes one after the other; weights are drawn."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def constant(self, value: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def draw(self, shape: int | tuple[int, ...], scale: float) -> np.ndarray:
        return (self.rng.standard_normal(shape) * scale).astype(F)

    def weight(self, *shape: int) -> str:
        return self.constant(self.draw(shape, 0.3))

    def add(self, op: str, *inputs: str, outputs: int = 1, **attributes: object) -> str:
        names = [f"{op}{len(self.nodes)}" + (f"_{i}" if i else "") for i in range(outputs)]
        node = helper.make_node(op, inputs, names, name=names[0], **attributes)
        self.nodes.append(node)
        return names[0]

    def fused(self, op: str, *inputs: str, outputs: int = 1, **attributes: object) -> str:
        return self.add(op, *inputs, outputs=outputs, domain="com.microsoft", **attributes)

    def linear(self, x: str, rows: int, columns: int) -> str:
        return self.add("Add", self.add("MatMul", x, self.weight(rows, columns)), self.weight(columns))

    def norm(self, x: str, size: int) -> str:
        scale = self.constant(1 + self.draw(size, 0.1))
        return self.add("LayerNormalization", x, scale, self.weight(size), axis=-1, epsilon=1e-12)

    def save(self, path: Path, inputs: dict[str, tuple[int, list[object]]], output: str) -> Path:
        infos = [helper.make_tensor_value_info(n, t, s) for n, (t, s) in inputs.items()]
        result = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        graph = helper.make_graph(self.nodes, "g", infos, [result], self.weights)
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
        return path


def bert(path: Path, layers: int = 2, hidden: int = 32, heads: int = 2) -> tuple[Path, Feeds]:
    """A small BERT as PyTorch exports it, so that the optimisers find their patterns."""
    b = Builder(1)
    i64 = lambda *v: b.constant(np.array(v, np.int64))  # noqa: E731
    sizes = [hidden // heads, heads, hidden]
    words = b.add("Gather", b.weight(40, hidden), "ids")
    x = b.add("Add", words, b.add("Gather", b.weight(2, hidden), "segments"))
    positions = b.constant(np.arange(6, dtype=np.int64)[None])
    x = b.norm(b.add("Add", x, b.add("Gather", b.weight(6, hidden), positions)), hidden)
    mask = b.add("Unsqueeze", b.add("Unsqueeze", "mask", i64(1)), i64(2))
    mask = b.add("Sub", b.constant(F(1)), b.add("Cast", mask, to=TensorProto.FLOAT))
    mask = b.add("Mul", mask, b.constant(F(-10000)))
    for _ in range(layers):
        parts = []
        for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]):
            part = b.add("Reshape", b.linear(x, hidden, hidden), i64(0, 0, heads, sizes[0]))
            parts.append(b.add("Transpose", part, perm=perm))
        scores = b.add("Div", b.add("MatMul", parts[0], parts[1]), b.constant(F(np.sqrt(sizes[0]))))
        seen = b.add("Softmax", b.add("Add", scores, mask), axis=-1)
        y = b.add("Transpose", b.add("MatMul", seen, parts[2]), perm=[0, 2, 1, 3])
        y = b.linear(b.add("Reshape", y, i64(0, 0, hidden)), hidden, hidden)
        x = b.norm(b.add("Add", y, x), hidden)
        y = b.linear(x, hidden, 4 * hidden)
        erf = b.add("Erf", b.add("Div", y, b.constant(F(np.sqrt(2)))))
        y = b.add("Mul", b.add("Mul", y, b.add("Add", erf, b.constant(F(1)))), b.constant(F(0.5)))
        x = b.norm(b.add("Add", b.linear(y, 4 * hidden, hidden), x), hidden)
    inputs = {name: (TensorProto.INT64, ["b", 6]) for name in ("ids", "segments", "mask")}
    feeds = {
        "ids": b.rng.integers(0, 40, (2, 6)),
        "segments": np.array([[0] * 3 + [1] * 3] * 2),
        "mask": np.array([[1] * 6, [1] * 4 + [0] * 2]),
    }
    return b.save(path, inputs, x), feeds


@pytest.mark.parametrize("level", ["basic", "extended"])
@pytest.mark.parametrize("name", ["mobilenet_v2", "minilm_l6"])
def test_saved_by_a_session(name, level, tmp_path):
    path = zoo_model(name)
    saved = save_optimised(path, level, tmp_path / "saved.onnx")
    if level == "extended":
        assert operators(saved) & {"FusedConv", "SkipLayerNormalization"}
    assert_agrees(saved, random_feeds(path), 2e-5)


def test_a_layout_for_one_cpu_says_so(tmp_path):
    saved = save_optimised(zoo_model("mobilenet_v2"), "all", tmp_path / "saved.onnx")
    if "ReorderOutput" not in operators(saved):
        pytest.skip("ONNX Runtime has no such layout for this CPU")
    with pytest.raises(pyinfer.PyInferError, match="ORT_ENABLE_EXTENDED"):
        pyinfer.load(saved)


def test_bert_saved_by_a_session(tmp_path):
    path, feeds = bert(tmp_path / "bert.onnx")
    saved = save_optimised(path, "extended", tmp_path / "saved.onnx")
    assert {"FusedMatMul", "SkipLayerNormalization", "BiasGelu"} <= operators(saved)
    assert_agrees(saved, feeds)


def test_bert_fused_by_patterns(tmp_path):
    pytest.importorskip("sympy", reason="onnxruntime.transformers needs it")
    from onnxruntime.transformers import optimizer

    path, feeds = bert(tmp_path / "bert.onnx")
    fused = tmp_path / "fused.onnx"
    model = optimizer.optimize_model(str(path), model_type="bert", num_heads=2, hidden_size=32, opt_level=0)
    model.save_model_to_file(str(fused))
    assert {"Attention", "SkipLayerNormalization", "BiasGelu"} <= operators(fused)
    assert_agrees(fused, feeds)


def fused_bert(path: Path, hidden: int = 32, heads: int = 2) -> tuple[Path, Feeds]:
    """A layer of BERT as onnxruntime.transformers fuses it."""
    b = Builder(2)
    factors = lambda: [b.constant(1 + b.draw(hidden, 0.1)), b.weight(hidden)]  # noqa: E731
    tables = [b.weight(rows, hidden) for rows in (40, 6, 2)]
    x = b.fused(
        "EmbedLayerNormalization", "ids", "segments", *tables, *factors(), "mask", outputs=2, epsilon=1e-12
    )
    y = b.fused("Attention", x, b.weight(hidden, 3 * hidden), b.weight(3 * hidden), f"{x}_1", num_heads=heads)
    y = b.add("MatMul", y, b.weight(hidden, hidden))
    x = b.fused("SkipLayerNormalization", y, x, *factors(), b.weight(hidden), epsilon=1e-12)
    y = b.fused("BiasGelu", b.add("MatMul", x, b.weight(hidden, 64)), b.weight(64))
    y = b.add("MatMul", y, b.weight(64, hidden))
    x = b.fused("SkipLayerNormalization", y, x, *factors(), b.weight(hidden), epsilon=1e-12)
    names = ("ids", "segments", "mask")
    ids, segments = b.rng.integers(0, 40, (2, 6)), b.rng.integers(0, 2, (2, 6))
    mask = np.array([[1] * 6, [1] * 4 + [0] * 2])
    feeds = {n: v.astype(np.int32) for n, v in zip(names, (ids, segments, mask), strict=True)}
    return b.save(path, {n: (TensorProto.INT32, ["b", "s"]) for n in names}, x), feeds


def test_fused_bert_quantized(tmp_path):
    path, feeds = fused_bert(tmp_path / "fused.onnx")
    assert_agrees(path, feeds)
    quantized = tmp_path / "quantized.onnx"
    quantization.quantize_dynamic(
        path,
        quantized,
        weight_type=quantization.QuantType.QInt8,
        reduce_range=True,
        extra_options={"DefaultTensorType": TensorProto.FLOAT},
    )
    assert {"QAttention", "QEmbedLayerNormalization"} <= operators(quantized)
    assert_agrees(quantized, feeds, 0.01)
    saved = save_optimised(quantized, "extended", tmp_path / "saved.onnx")
    assert "DynamicQuantizeMatMul" in operators(saved)
    assert_agrees(saved, feeds, 0.01)


def test_lstm_quantized(tmp_path):
    b = Builder(3)
    lstm = b.add("LSTM", "x", b.weight(1, 64, 8), b.weight(1, 64, 16), b.weight(1, 128), hidden_size=16)
    path = b.save(tmp_path / "lstm.onnx", {"x": (TensorProto.FLOAT, [5, 2, 8])}, lstm)
    quantized = tmp_path / "quantized.onnx"
    quantization.quantize_dynamic(path, quantized, weight_type=quantization.QuantType.QInt8)
    assert "DynamicQuantizeLSTM" in operators(quantized)
    # ONNX Runtime rounds the inputs of the products to 8 bits, which are kept as they are here.
    assert_agrees(quantized, {"x": b.rng.standard_normal((5, 2, 8)).astype(F)}, 0.03)


class Samples(quantization.CalibrationDataReader):
    def __init__(self, path: Path) -> None:
        self.feeds = iter([random_feeds(path, seed=seed) for seed in (1, 2)])

    def get_next(self) -> Feeds | None:
        return next(self.feeds, None)


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_quantized_with_samples(form, tmp_path):
    b = Builder(4)
    x = b.add("Conv", "x", b.weight(8, 3, 3, 3), b.weight(8), pads=[1, 1, 1, 1])
    x = b.add("Relu", x)
    y = b.add("Conv", x, b.weight(8, 8, 3, 3), b.weight(8), pads=[1, 1, 1, 1])
    x = b.add("LeakyRelu", b.add("Add", x, y), alpha=0.1)
    x = b.add("Concat", b.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]),
              b.add("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2]), axis=1)  # fmt: skip
    x = b.add("Mul", x, b.add("Sigmoid", x))
    x = b.add("Flatten", b.add("GlobalAveragePool", x))
    x = b.add("Softmax", b.add("Gemm", x, b.weight(16, 10), b.weight(10)), axis=-1)
    path = b.save(tmp_path / "net.onnx", {"x": (TensorProto.FLOAT, [2, 3, 8, 8])}, x)
    quantized = tmp_path / "quantized.onnx"
    quantization.quantize_static(
        path,
        quantized,
        Samples(path),
        quant_format=quantization.QuantFormat[form],
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        reduce_range=True,
    )
    saved = save_optimised(quantized, "extended", tmp_path / "saved.onnx")
    assert {"QLinearConv", "QLinearAdd", "QLinearConcat"} <= operators(saved)
    # One step of the output's grid, or of an earlier one.
    for each in (quantized, saved):
        assert_agrees(each, random_feeds(path, seed=3), 0.02)


def decoder(path: Path, past: int) -> tuple[Path, Feeds]:
    """A layer of a decoder with a cache, in the operators that onnxruntime-genai's builder writes."""
    b = Builder(5)
    vocabulary, hidden, heads, kv_heads, size, block, step = 24, 64, 4, 2, 16, 32, 3
    to_int32 = {"to": TensorProto.INT32}

    def product(x: str, rows: int, columns: int) -> str:
        weight = b.constant(b.rng.integers(0, 256, (columns, rows // block, block // 2)).astype(np.uint8))
        scales = b.constant(b.rng.uniform(0.01, 0.03, (columns, rows // block)).astype(F))
        sizes = {"K": rows, "N": columns, "bits": 4, "block_size": block}
        return b.fused("MatMulNBits", x, weight, scales, **sizes)

    one = b.constant(np.array([1], np.int64))
    lengths = b.add("Sub", b.add("ReduceSum", "attention_mask", one, keepdims=0), one)
    lengths = b.add("Cast", lengths, **to_int32)
    total = b.add("Gather", b.add("Shape", "attention_mask"), b.constant(np.array(1, np.int64)), axis=0)
    total = b.add("Cast", total, **to_int32)
    table = b.constant(b.rng.integers(0, 256, (vocabulary, hidden // 2)).astype(np.uint8))
    scales = b.constant(b.rng.uniform(0.05, 0.1, (vocabulary, hidden // block)).astype(F))
    x = b.fused("GatherBlockQuantized", table, "input_ids", scales, block_size=block, quantize_axis=1)
    y = b.add("SimplifiedLayerNormalization", x, b.constant(1 + b.draw(hidden, 0.1)), axis=-1, epsilon=1e-5)
    q, k, v = (product(y, hidden, n * size) for n in (heads, kv_heads, kv_heads))
    angles = b.rng.uniform(0, 6, (32, size // 2))
    turns = [b.constant(f(angles).astype(F)) for f in (np.cos, np.sin)]
    attributes = {"num_heads": heads, "kv_num_heads": kv_heads, "do_rotary": 1, "local_window_size": 4}
    y = b.fused(
        "GroupQueryAttention",
        q,
        k,
        v,
        "past_key",
        "past_value",
        lengths,
        total,
        *turns,
        outputs=3,
        **attributes,
    )
    norm = ("SkipSimplifiedLayerNormalization", x, product(y, hidden, hidden))
    y = b.fused(*norm, b.constant(1 + b.draw(hidden, 0.1)), outputs=4, epsilon=1e-5)
    gate = b.fused("QuickGelu", product(y, hidden, 2 * hidden), alpha=1.0)
    z = product(b.add("Mul", gate, product(y, hidden, 2 * hidden)), 2 * hidden, hidden)
    x = b.add("Add", f"{y}_3", z)
    cache = (TensorProto.FLOAT, ["b", kv_heads, "past", size])
    infos = {"input_ids": (TensorProto.INT64, ["b", "s"]), "attention_mask": (TensorProto.INT64, ["b", "t"])}
    feeds = {
        "input_ids": b.rng.integers(0, vocabulary, (2, 1 if past else step)),
        "attention_mask": np.ones((2, past + (1 if past else step)), np.int64),
        **{name: b.draw((2, kv_heads, past, size), 1.0) for name in ("past_key", "past_value")},
    }
    return b.save(path, {**infos, "past_key": cache, "past_value": cache}, x), feeds


@pytest.mark.parametrize("past", [0, 6])
def test_decoder(past, tmp_path):
    path, feeds = decoder(tmp_path / "decoder.onnx", past)
    assert_agrees(path, feeds)
    assert_agrees(save_optimised(path, "extended", tmp_path / "saved.onnx"), feeds)
