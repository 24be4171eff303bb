"""The official conformance suite of the onnx package: onnx.backend.test.BackendTest."""

from __future__ import annotations

import onnx.backend.test

import pyinfer.backend

backend_test = onnx.backend.test.BackendTest(pyinfer.backend, __name__)

# Models that the suite would download.
backend_test.exclude(
    r"test_(bvlc_alexnet|densenet121|inception_v1|inception_v2|resnet50|shufflenet|squeezenet|vgg19|zfnet512)_cpu"
)
backend_test.exclude(r"_cuda")
# What these expect came from an unseeded generator; tests/ops/test_random.py judges the operator.
backend_test.exclude(r"test_bernoulli")

globals().update(backend_test.enable_report().test_cases)
