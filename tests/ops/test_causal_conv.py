"""CausalConvWithState against its definition, and fed piece by piece."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import pyinfer
from nodes import node_model, run

TYPES = {np.float32: 2e-6, np.float16: 2e-3, ml_dtypes.bfloat16: 1.6e-2}


def reference(
    x: np.ndarray, w: np.ndarray, bias: Any, past: Any, activation: str
) -> tuple[np.ndarray, np.ndarray]:
    k = w.shape[2]
    if past is None:
        past = np.zeros((*x.shape[:2], k - 1), x.dtype)
    padded = np.concatenate([past, x], axis=2)
    wide = padded.astype(np.float64)
    y = sum(w[:, 0, t, None].astype(np.float64) * wide[:, :, t : t + x.shape[2]] for t in range(k))
    if bias is not None:
        y = y + bias.astype(np.float64)[:, None]
    if activation != "none":
        y = y / (1 + np.exp(-y))
    return np.asarray(y), padded[:, :, padded.shape[2] - (k - 1) :]


@pytest.mark.parametrize("dtype", TYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("shape", [(2, 5, 9), (1, 20, 1), (3, 1, 4), (2, 3, 0), (0, 3, 4)], ids=str)
@pytest.mark.parametrize("k", [1, 2, 4, 7])
@pytest.mark.parametrize("activation", ["none", "silu", "swish"])
@pytest.mark.parametrize("optional", [(False, False), (True, False), (False, True), (True, True)])
def test_causal_conv(shape: Any, k: int, activation: str, optional: Any, dtype: Any) -> None:
    rng = np.random.default_rng(1)
    x, w, bias, past = (
        rng.standard_normal(s).astype(dtype)
        for s in (shape, (shape[1], 1, k), (shape[1],), (shape[0], shape[1], k - 1))
    )
    bias, past = (value if given else None for value, given in zip((bias, past), optional, strict=True))
    inputs = [x, w, bias, past]
    y, present = run(node_model("CausalConvWithState", inputs, {"activation": activation}, outputs=2), inputs)
    want, state = reference(x, w, bias, past, activation)
    assert y.dtype == dtype and y.shape == x.shape
    np.testing.assert_allclose(y.astype(np.float64), want, rtol=TYPES[dtype], atol=4 * TYPES[dtype])
    assert present.dtype == dtype and present.shape == state.shape and present.tobytes() == state.tobytes()


def test_pieces_have_the_bits_of_the_whole() -> None:
    rng = np.random.default_rng(2)
    x, w, bias = (rng.standard_normal(s).astype(np.float32) for s in ((8, 40, 50), (40, 1, 4), (40,)))
    past = np.zeros((8, 40, 3), np.float32)
    inputs = [x, w, bias, past]
    model = node_model("CausalConvWithState", inputs, {"activation": "silu"}, outputs=2)
    one, two = pyinfer.load(model, threads=1), pyinfer.load(model, threads=2)
    whole, last = one(*inputs)
    again, _ = two(*inputs)
    assert again.tobytes() == whole.tobytes()
    begin = 0
    for length in (1, 1, 5, 40, 3):
        piece, past = one(x[:, :, begin : begin + length], w, bias, past)
        assert piece.tobytes() == whole[:, :, begin : begin + length].tobytes()
        begin += length
    assert past.tobytes() == last.tobytes()
    row, _ = one(x[3:4], w, bias, np.zeros((1, 40, 3), np.float32))
    assert row.tobytes() == whole[3:4].tobytes()


@pytest.mark.parametrize(
    "shapes",
    [
        [(2, 3), (3, 1, 4)],
        [(2, 3, 5), (4, 1, 4)],
        [(2, 3, 5), (3, 2, 4)],
        [(2, 3, 5), (3, 1, 0)],
        [(2, 3, 5), (3, 1, 4), (2,)],
        [(2, 3, 5), (3, 1, 4), (3,), (2, 3, 4)],
    ],
    ids=str,
)
def test_refuses_shapes(shapes: Any) -> None:
    inputs = [np.ones(s, np.float32) for s in shapes]
    with pytest.raises(pyinfer.InvalidInput):
        run(node_model("CausalConvWithState", inputs, outputs=2), inputs)


def test_refuses_activation() -> None:
    inputs = [np.ones((1, 2, 3), np.float32), np.ones((2, 1, 2), np.float32)]
    with pytest.raises(pyinfer.InvalidModel, match="activation"):
        pyinfer.load(node_model("CausalConvWithState", inputs, {"activation": "relu"}, outputs=2))
