"""Det against numpy.linalg.det in float64."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import pyinfer
from nodes import node_model, run


@pytest.mark.parametrize(
    "dtype,tolerance",
    [(np.float32, 1e-6), (np.float64, 1e-12), (np.float16, 1e-3), (ml_dtypes.bfloat16, 8e-3)],
)
@pytest.mark.parametrize(
    "shape", [(1, 1), (2, 2), (3, 3), (17, 17), (4, 5, 5), (2, 3, 4, 4), (0, 3, 3), (2, 0, 0)], ids=str
)
def test_det(shape: Any, dtype: Any, tolerance: float) -> None:
    x = (np.random.default_rng(1).standard_normal(shape) / max(1, shape[-1]) ** 0.5).astype(dtype)
    (y,) = run(node_model("Det", [x]), [x])
    want = np.linalg.det(x.astype(np.float64))
    assert y.dtype == dtype and y.shape == want.shape
    np.testing.assert_allclose(
        y.astype(np.float64), want, rtol=tolerance, atol=1e-7 if dtype == np.float16 else 1e-12
    )


def test_singular_and_exchanged() -> None:
    x = np.array([[[0, 1], [1, 0]], [[1, 2], [2, 4]], [[0, 0], [0, 3]], [[np.nan, 1], [1, 1]]], np.float32)
    (y,) = run(node_model("Det", [x]), [x])
    np.testing.assert_array_equal(y, np.array([-1, 0, 0, np.nan], np.float32))


def test_threads_and_batch_agree() -> None:
    x = np.random.default_rng(2).standard_normal((64, 20, 20)).astype(np.float32)
    model = node_model("Det", [x])
    one, two = pyinfer.load(model, threads=1), pyinfer.load(model, threads=2)
    assert one(x).tobytes() == two(x).tobytes()
    assert one(x[5:6]).tobytes() == one(x)[5:6].tobytes()


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (3, 2, 3)], ids=str)
def test_refuses(shape: Any) -> None:
    x = np.ones(shape, np.float32)
    with pytest.raises(pyinfer.InvalidInput):
        run(node_model("Det", [x]), [x])
