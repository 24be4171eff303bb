"""ONNX Runtime's CPU provider as the reference for the operators of com.microsoft."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest

from nodes import assert_same, node_model, run

onnxruntime = pytest.importorskip("onnxruntime")


def ort_run(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The outputs of `model`, its graph as it stands."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)


def ort_model(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> onnx.ModelProto:
    """`model` with the shapes of `feeds`, which some operators need there, at an operator set that it knows."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    for info in model.graph.input:
        for dim, size in zip(info.type.tensor_type.shape.dim, feeds[info.name].shape, strict=True):
            dim.dim_value = size
    for opset in model.opset_import:
        if opset.domain == "":
            opset.version = min(opset.version, 21)
    return model


def check_ort(
    op_type: str,
    inputs: Sequence[np.ndarray | None],
    attributes: dict[str, Any] | None = None,
    *,
    domain: str = "com.microsoft",
    outputs: int = 1,
    constant: Sequence[int] = (),
    rtol: float = 1e-5,
    atol: float = 1e-6,
    **kwargs: Any,
) -> list[Any]:
    """Run one node here and in ONNX Runtime and compare; give the outputs."""
    inputs = [None if x is None else np.asarray(x) for x in inputs]
    model = node_model(
        op_type, inputs, attributes, outputs=outputs, domain=domain, constant=constant, **kwargs
    )
    actual = run(model, inputs, constant)
    feeds = {f"x{i}": x for i, x in enumerate(inputs) if x is not None and i not in constant}
    expected = ort_run(ort_model(model, feeds), feeds)
    assert len(actual) == len(expected)
    for got, want in zip(actual, expected, strict=True):
        assert_same(got, want, rtol=rtol, atol=atol)
    return actual
