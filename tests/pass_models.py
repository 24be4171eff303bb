"""Small models for the tests of passes."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import pyinfer


def model_of(nodes, inputs, outputs, constants=None) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [onnx.ValueInfoProto(name=n) for n in outputs],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def operators(model: onnx.ModelProto, *off: str) -> dict[str, int]:
    """How many nodes of each operator are left."""
    return pyinfer.load(model, disable_passes=off)._core.summary(None)["operators"]


def assert_agrees(model: onnx.ModelProto, name: str, *inputs: np.ndarray, tolerance: float = 0) -> None:
    on = pyinfer.load(model)(*inputs)
    off = pyinfer.load(model, disable_passes=[name])(*inputs)
    np.testing.assert_allclose(on, off, rtol=tolerance, atol=tolerance)
