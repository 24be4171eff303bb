"""Held against float64, no model of the zoo errs more than twice as much as in ONNX Runtime, with Winograd's
algorithm and without. benchmarks/accuracy.py makes a table of all."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

import pyinfer
from bits import CASES, case_model, make_feeds
from float64 import errors, feeds_to_float64, to_float64, worst_ratio


def model_of(name: str) -> onnx.ModelProto:
    model = case_model(name) or pytest.skip("its package is not installed (see PYINFER_MODEL_PACKAGES)")
    return model if isinstance(model, onnx.ModelProto) else onnx.load(model)


# A row's errors have much in common, so that luck makes one three times as large as the next: the fewer values of
# its own a row has, the more rows it takes. bert_base and gpt2_decode take too much memory in float64 for a test.
ROWS = {
    "mobilenet_v2": 2,
    "mobilenet_v2_int8": 2,
    "efficientnet_b0": 16,
    "resnet50": 1,
    "deit_tiny": 2,
    "minilm_l6": 2,
    "minilm_l6_dyn8": 2,
    "magika": 3,
    "silero_vad": 32,
    "ppocr_cls": 16,
    "ppocr_rec": 2,
    "ppocr_det": 2,
}


@pytest.mark.parametrize("name", ROWS)
def test_errs_no_more_than_twice_as_much_as_onnxruntime(name):
    case = CASES[name]
    for output, found in errors(model_of(name), case.shapes | case.small, ROWS[name]).items():
        assert worst_ratio(found) <= 2, (output, found)
        assert worst_ratio(found, "pyinfer, no Winograd") <= 2, (output, found)


class Erf(OpRun):
    """The evaluator's own gives float32."""

    op_domain = ""

    def _run(self, x):
        return (np.vectorize(math.erf, otypes=[np.float64])(x),)


# Not those whose operators the evaluator computes otherwise than they are defined.
@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("mobilenet_v2", {"pixel_values": "Bx3x64x64"}),
        ("deit_tiny", {}),
        ("silero_vad", {}),
        ("ppocr_det", {"x": "Bx3x32x64"}),
    ],
)
def test_float64_agrees_with_the_reference_evaluator(name, shapes):
    model = to_float64(model_of(name))
    loaded = pyinfer.load(model)
    feeds = feeds_to_float64(make_feeds(loaded.inputs, CASES[name].shapes | shapes, 1))
    expected = ReferenceEvaluator(model, new_ops=[Erf]).run(None, feeds)
    for got, want in zip(loaded.run(feeds).values(), expected, strict=True):
        assert got.dtype == want.dtype == np.float64
        assert np.any(want != 0)
        assert np.abs(got - want).max() <= 1e-13 * np.abs(want).max()
