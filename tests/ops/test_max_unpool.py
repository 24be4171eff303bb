"""MaxUnpool against plain placement."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import pyinfer
from nodes import node_model, run


@pytest.mark.parametrize(
    "dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16], ids=lambda d: np.dtype(d).name
)
@pytest.mark.parametrize(
    "spatial,larger", [((6, 8), (6, 8)), ((6, 8), (7, 11)), ((8,), (9,)), ((4, 4, 6), (4, 5, 6))], ids=str
)
def test_inverts_max_pool(dtype: Any, spatial: Any, larger: Any) -> None:
    rank = len(spatial)
    x = np.random.default_rng(1).standard_normal((2, 3, *spatial)).astype(dtype)
    attrs = {"kernel_shape": [2] * rank, "strides": [2] * rank}
    values, indices = run(node_model("MaxPool", [x], attrs, outputs=2), [x])
    want = np.zeros((2, 3, *larger), dtype)
    placed = np.zeros(x.shape, dtype)
    placed.reshape(-1)[indices.reshape(-1)] = values.reshape(-1)
    want[tuple(slice(0, n) for n in x.shape)] = placed
    inputs = [values, indices] + ([np.array(want.shape)] if larger != spatial else [])
    for constant in [(), (2,)] if len(inputs) == 3 else [()]:
        (y,) = run(node_model("MaxUnpool", inputs, attrs, constant=constant), inputs, constant)
        assert y.dtype == dtype and y.shape == want.shape and y.tobytes() == want.tobytes()


def test_empty() -> None:
    x, indices = np.zeros((0, 2, 3), np.float32), np.zeros((0, 2, 3), np.int64)
    (y,) = run(node_model("MaxUnpool", [x, indices], {"kernel_shape": [2], "strides": [2]}), [x, indices])
    assert y.shape == (0, 2, 6)


@pytest.mark.parametrize("index", [-1, 4, 2**62, -(2**63)])
def test_refuses_indices(index: int) -> None:
    x, indices = np.ones((1, 1, 2), np.float32), np.array([[[0, index]]])
    with pytest.raises(pyinfer.InvalidInput, match="index"):
        run(node_model("MaxUnpool", [x, indices], {"kernel_shape": [2], "strides": [2]}), [x, indices])


@pytest.mark.parametrize("shape", [[1, 1, 3], [1, 1], [1, 1, -4], [2**40, 2**40, 2**40]], ids=str)
def test_refuses_output_shape(shape: Any) -> None:
    x, indices = np.ones((1, 1, 2), np.float32), np.zeros((1, 1, 2), np.int64)
    inputs = [x, indices, np.array(shape)]
    with pytest.raises(pyinfer.PyInferError):
        run(node_model("MaxUnpool", inputs, {"kernel_shape": [2], "strides": [2]}), inputs)


def test_refuses_shapes() -> None:
    x = np.ones((1, 1, 2), np.float32)
    for indices, attrs in [
        (np.zeros((1, 1, 3), np.int64), {"kernel_shape": [2]}),
        (np.zeros((1, 1, 2), np.int64), {"kernel_shape": [2, 2]}),
        (np.zeros((1, 1, 2), np.int64), {"kernel_shape": [1], "pads": [9, 9]}),
    ]:
        with pytest.raises(pyinfer.InvalidInput):
            run(node_model("MaxUnpool", [x, indices], attrs), [x, indices])
