"""What the tests of passes that join convolutions of images share."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import pyinfer
from ort import ort_run


def assert_same_bits(model: onnx.ModelProto, x: np.ndarray, without: str) -> None:
    """As without that pass, whatever the number of threads and the batch; and as ONNX Runtime, nearly."""
    (expected,) = pyinfer.load(model, threads=1, disable_passes=[without]).run({"x": x}).values()
    for threads in (1, 2, 4):
        one = pyinfer.load(model, threads=threads)
        np.testing.assert_array_equal(one(x), expected)
        np.testing.assert_array_equal(one(x[:1]), expected[:1])
    (reference,) = ort_run(model, {"x": x})
    scale = max(1.0, float(np.abs(reference).max(initial=0)))
    np.testing.assert_allclose(expected, reference, rtol=0, atol=2e-5 * scale)


def lone_node(op_type: str, tensors: dict[str, np.ndarray]) -> onnx.ModelProto:
    """A model of one of pyinfer's own operators: input x, and constants under the names of the others."""
    graph = helper.make_graph(
        [helper.make_node(op_type, list(tensors), ["y"], domain="pyinfer")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, tensors["x"].shape)],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(v, k) for k, v in tensors.items() if k != "x"],
    )
    imports = [helper.make_opsetid("", 22), helper.make_opsetid("pyinfer", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)
