"""The official conformance suite of the onnx package: onnx.backend.test.BackendTest."""

from __future__ import annotations

import onnx.backend.test
import pytest
from onnx.backend.test.loader import load_model_tests

import pyinfer
import pyinfer.backend

# Cases that cannot be run, each with its reason: at load, which the last test holds, or where only the data
# says so, at run.
UNSUPPORTED = {
    "test_gradient_of_": "asks for the derivative of another node; pyinfer runs models and does not train them",
    "test_image_decoder_decode_jpeg2k": "the image that is given is JPEG 2000",
    "test_image_decoder_decode_webp": "the image that is given is WebP",
}

# Cases that the suite itself judges wrongly.
MISJUDGED = {
    "test_dft_inverse_cpu": "the expected values carry the error of a float32 FFT where they should be 0",
    "test_dft_inverse_opset19_cpu": "the same",
    "test_loop16_seq_none_cpu": "the suite asks for the length of a scalar in a sequence",
    "test_attention_4d_causal_fp16_expanded_cpu": "one float16 unit, on the other side of the exact value",
}

# What these expect came from an unseeded generator; tests/ops/test_random.py judges the operator.
RANDOM = "test_bernoulli"

# Models that the suite would download.
DOWNLOADED = r"test_(bvlc_alexnet|densenet121|inception_v1|inception_v2|resnet50|shufflenet|squeezenet|vgg19|zfnet512)_cpu"

backend_test = onnx.backend.test.BackendTest(pyinfer.backend, __name__)
for pattern in [DOWNLOADED, RANDOM, "_cuda", *UNSUPPORTED, *(f"{name}$" for name in MISJUDGED)]:
    backend_test.exclude(pattern)
globals().update(backend_test.test_cases)


def unsupported_cases() -> list:
    cases = load_model_tests(kind="node")
    return [c for c in cases if any(c.name.startswith(prefix) for prefix in UNSUPPORTED)]


@pytest.mark.parametrize("case", unsupported_cases(), ids=lambda c: c.name)
def test_what_is_unsupported_says_so(case):
    operator = case.model.graph.node[-1].op_type
    inputs, _ = case.data_sets[0]
    if operator == "ImageDecoder":  # only the data says what format it has
        loaded = pyinfer.backend.prepare(case.model)
        with pytest.raises(pyinfer.UnsupportedModel, match="ImageDecoder.*(JPEG 2000|WebP)"):
            loaded.run(list(inputs))
        return
    with pytest.raises(pyinfer.UnsupportedModel, match=rf"1 node cannot be run:\n.*{operator}.*opset"):
        pyinfer.backend.prepare(case.model)
