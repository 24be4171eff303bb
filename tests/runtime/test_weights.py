"""Weights in memory: packed once, and given back by what no longer needs them."""

import subprocess
import sys

import numpy as np
import onnx
import onnx.helper as oh
import onnx.numpy_helper as nh
import pytest

import pyinfer

_RNG = np.random.default_rng(0)


def _weights(*shape: int) -> np.ndarray:
    return _RNG.standard_normal(shape).astype(np.float32)


def _model(nodes, weights: dict[str, np.ndarray], inputs, outputs) -> onnx.ModelProto:
    graph = oh.make_graph(
        nodes,
        "g",
        [oh.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [oh.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
        [nh.from_array(value, name) for name, value in weights.items()],
    )
    return oh.make_model(graph, ir_version=8, opset_imports=[oh.make_opsetid("", 17)])


def _check(model: onnx.ModelProto, feeds, expected: dict[str, np.ndarray], tmp_path) -> None:
    """From bytes and from a mapped file, whose pages are given back."""
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    for source in (model.SerializeToString(), path):
        loaded = pyinfer.load(source)
        for _ in range(2):
            outputs = loaded.run(feeds)
            for name, value in expected.items():
                np.testing.assert_allclose(outputs[name], value, rtol=1e-4, atol=1e-4)


def test_two_products_of_one_weight(tmp_path):
    x, w = _weights(5, 300), _weights(300, 300)
    nodes = [oh.make_node("MatMul", ["x", "w"], ["y"]), oh.make_node("MatMul", ["y", "w"], ["z"])]
    product = x.astype(np.float64) @ w
    _check(_model(nodes, {"w": w / 10}, {"x": x.shape}, ["z"]), {"x": x}, {"z": product @ w / 100}, tmp_path)


def test_a_weight_that_others_read_keeps_its_elements(tmp_path):
    x, w = _weights(300, 300), _weights(300, 300)
    nodes = [
        oh.make_node("MatMul", ["x", "w"], ["y"]),
        oh.make_node("Add", ["x", "w"], ["sum"]),
        oh.make_node("Identity", ["w"], ["out"]),
    ]
    model = _model(nodes, {"w": w}, {"x": x.shape}, ["y", "sum", "out"])
    _check(model, {"x": x}, {"y": x.astype(np.float64) @ w, "sum": x + w, "out": w}, tmp_path)


def test_a_weight_that_a_subgraph_reads_keeps_its_elements(tmp_path):
    x, w = _weights(300, 300), _weights(300, 300)
    out = oh.make_tensor_value_info("b", onnx.TensorProto.FLOAT, None)
    branches = {
        f"{name}_branch": oh.make_graph([oh.make_node(op, ["x", "w"], ["b"])], name, [], [out])
        for name, op in (("then", "Sub"), ("else", "MatMul"))
    }
    nodes = [
        oh.make_node("MatMul", ["x", "w"], ["y"]),
        oh.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
        oh.make_node("Greater", ["largest", "limit"], ["c"]),
        oh.make_node("If", ["c"], ["z"], **branches),
    ]
    for limit, expected in ((-1e9, x - w), (1e9, x.astype(np.float64) @ w)):
        model = _model(nodes, {"w": w, "limit": np.float32(limit)}, {"x": x.shape}, ["y", "z"])
        _check(model, {"x": x}, {"y": x.astype(np.float64) @ w, "z": expected}, tmp_path)


def test_a_convolution_whose_sizes_are_open_packs_for_each(tmp_path):
    w = _weights(64, 64, 3, 3) / 24
    nodes = [oh.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])]
    model = pyinfer.load(_model(nodes, {"w": w}, {"x": [1, 64, "h", "w"]}, ["y"]))
    direct = pyinfer.load(
        _model(nodes, {"w": w}, {"x": [1, 64, "h", "w"]}, ["y"]), passes={"choose_winograd": False}
    )
    for size in (3, 40, 5, 40):
        x = _weights(1, 64, size, size)
        np.testing.assert_allclose(model(x), direct(x), rtol=1e-3, atol=1e-4)


_PEAK = """
import sys
import numpy, pyinfer
def line(name):
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith(name))
before = line("VmRSS")
model = pyinfer.load(sys.argv[1], threads=1)
print((line("VmHWM") - before) * 1024, (line("VmRSS") - before) * 1024)
"""


@pytest.mark.parametrize("offset", [0, 1, 2, 3])
def test_loading_takes_little_more_memory_than_the_weights(tmp_path, offset):
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc/self/status")
    layers, width = 16, 1024
    weights = {f"w{i}": _weights(width, width) for i in range(layers)}
    nodes = [oh.make_node("MatMul", [f"x{i}", f"w{i}"], [f"x{i + 1}"]) for i in range(layers)]
    model = _model(nodes, weights, {"x0": [1, width]}, [f"x{layers}"])
    # Elements at every alignment: the reader borrows what is aligned and copies the rest.
    model.producer_name = "p" * (offset + 1)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    peak, kept = map(int, subprocess.check_output([sys.executable, "-c", _PEAK, str(path)]).split())
    size = layers * width * width * 4
    assert kept < 1.25 * size, f"{kept / size:.2f} times the weights stay in memory"
    assert peak < 1.6 * size, f"{peak / size:.2f} times the weights were in memory at once"
