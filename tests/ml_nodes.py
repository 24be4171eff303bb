"""What the tests of ai.onnx.ml share."""

import numpy as np
import onnx
import pytest

import pyinfer
from nodes import assert_same, node_model

TRANSFORMS = ["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"]


def ml_model(op, inputs, attributes, outputs=1, opset=3):
    inputs = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    model = node_model(op, inputs, attributes, outputs=outputs, domain="ai.onnx.ml", opset=opset)
    model.opset_import[0].version = 18
    model.ir_version = 9
    return onnx.shape_inference.infer_shapes(model)


def ort_run(model, feeds):
    ort = pytest.importorskip("onnxruntime")
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(model.SerializeToString(), options).run(None, feeds)


def run_ml(op, inputs, attributes, outputs=1, opset=3):
    inputs = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    model = pyinfer.load(ml_model(op, inputs, attributes, outputs, opset))
    return list(model.run({f"x{i}": x for i, x in enumerate(inputs)}).values())


def check_ort(op, inputs, attributes, outputs=1, opset=3, rtol=1e-4, atol=1e-5):
    inputs = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    want = ort_run(
        ml_model(op, inputs, attributes, outputs, opset), {f"x{i}": x for i, x in enumerate(inputs)}
    )
    got = run_ml(op, inputs, attributes, outputs, opset)
    for g, w in zip(got, want, strict=True):
        assert_same(np.asarray(g), np.asarray(w), rtol=rtol, atol=atol)
    return got
