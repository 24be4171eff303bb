"""Small models for the tests of passes."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

import pyinfer


def model_of(nodes, inputs, outputs, constants=None, dtype=np.float32, opset=21) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()]
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, element, s) for n, s in inputs.items()],
        [onnx.ValueInfoProto(name=n) for n in outputs],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def chain(text: str, constants: dict[str, object], shape=(3, 5), dtype=np.float32, **more) -> onnx.ModelProto:
    """`text` holds statements such as "a = Mul(x, h)", the inputs before the attributes, which are integers.

    Its input is x, its result is y. Constants that are no arrays are of the input's type.
    """
    nodes = []
    for statement in filter(str.strip, text.split(";")):
        out, call = (s.strip() for s in statement.split(" = "))
        op, arguments = call[:-1].split("(")
        names = [a.strip() for a in arguments.split(",")]
        attributes = {k: int(v) for k, v in (n.split("=") for n in names if "=" in n)}
        nodes.append(helper.make_node(op, [n for n in names if "=" not in n], [out], **attributes))
    values = {k: v if isinstance(v, np.ndarray) else np.asarray(v, dtype) for k, v in constants.items()}
    options = {"inputs": {"x": list(shape)}, "outputs": ["y"], **more}
    return model_of(nodes, constants=values, dtype=dtype, **options)


def operators(model: onnx.ModelProto, *off: str) -> dict[str, int]:
    """How many nodes of each operator are left."""
    return pyinfer.load(model, disable_passes=off)._core.summary(None)["operators"]


def operators_apart(model: onnx.ModelProto, *off: str) -> dict[str, int]:
    """Before those that are left join each other."""
    return operators(model, "fuse_elementwise", *off)


def assert_agrees(model: onnx.ModelProto, name: str, *inputs: np.ndarray, tolerance: float = 0) -> None:
    on = pyinfer.load(model)(*inputs)
    off = pyinfer.load(model, disable_passes=[name])(*inputs)
    np.testing.assert_allclose(on, off, rtol=tolerance, atol=tolerance)
