"""What the tests of passes that join convolutions of images share."""

from __future__ import annotations

import numpy as np
import onnx

import pyinfer
from ort import ort_run


def operators(model: onnx.ModelProto) -> dict[str, int]:
    return pyinfer.load(model)._core.summary(None)["operators"]


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
