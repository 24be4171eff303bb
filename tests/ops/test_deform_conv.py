"""DeformConv against its definition in float64."""

from __future__ import annotations

import itertools
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import pyinfer
from nodes import node_model, run
from windows import conv, output_size

TOLERANCE = {"float32": 2e-5, "float64": 1e-12, "float16": 2e-2, "bfloat16": 1e-1}


def sample(plane: np.ndarray, point: np.ndarray) -> float:
    low = np.floor(point).astype(int)
    total = 0.0
    for corner in itertools.product((0, 1), repeat=plane.ndim):
        at = low + corner
        if np.any(at < 0) or np.any(at >= plane.shape):
            continue
        weight = np.prod(np.where(corner, point - low, 1 - (point - low)))
        total += float(weight * plane[tuple(at)])
    return total


def reference(
    x: Any, w: Any, offset: Any, bias: Any, mask: Any, geometry: Any, groups: int, offset_groups: int
) -> Any:
    strides, pads, dilations = geometry
    rank, kernel = x.ndim - 2, w.shape[2:]
    taps = list(itertools.product(*map(range, kernel)))
    out = offset.shape[2:]
    offset = offset.reshape(x.shape[0], offset_groups, len(taps), rank, *out).astype(np.float64)
    if mask is not None:
        mask = mask.reshape(x.shape[0], offset_groups, len(taps), *out).astype(np.float64)
    y = np.zeros((x.shape[0], w.shape[0], *out))
    per_group, outputs, per_offset = w.shape[1], w.shape[0] // groups, x.shape[1] // offset_groups
    for n, o in itertools.product(range(x.shape[0]), np.ndindex(*out)):
        for c, (t, tap) in itertools.product(range(x.shape[1]), enumerate(taps)):
            field = (n, c // per_offset, t)
            start = np.array(o) * strides - np.array(pads[:rank]) + np.array(tap) * dilations
            value = sample(x[n, c].astype(np.float64), start + offset[(*field, slice(None), *o)])
            if mask is not None:
                value *= mask[(*field, *o)]
            g = c // per_group
            weights = w[(slice(g * outputs, (g + 1) * outputs), c % per_group, *tap)].astype(np.float64)
            y[(n, slice(g * outputs, (g + 1) * outputs), *o)] += weights * value
    if bias is not None:
        y += bias.astype(np.float64).reshape(-1, *[1] * rank)
    return y


# x, kernel, outputs, strides, pads, dilations, groups, offset groups
CASES: list[tuple[Any, ...]] = [
    ((1, 1, 3, 3), (2, 2), 1, (1, 1), (0, 0, 0, 0), (1, 1), 1, 1),
    ((2, 4, 5, 6), (3, 2), 6, (2, 1), (1, 0, 1, 1), (1, 2), 2, 1),
    ((1, 4, 4, 4), (2, 2), 20, (1, 1), (1, 1, 1, 1), (1, 1), 1, 2),
    ((1, 2, 7), (3,), 3, (2,), (1, 1), (1,), 1, 2),
    ((1, 2, 3, 4, 3), (2, 2, 2), 2, (1, 1, 1), (0,) * 6, (1, 1, 1), 1, 1),
    ((1, 2, 0, 3), (2, 2), 20, (1, 1), (1, 0, 1, 0), (1, 1), 1, 1),
    ((0, 1, 3, 3), (2, 2), 1, (1, 1), (0, 0, 0, 0), (1, 1), 1, 1),
]


def make(case: Any, dtype: Any, spread: float = 1.5) -> tuple[list[np.ndarray], dict[str, Any]]:
    x_shape, kernel, outputs, strides, pads, dilations, groups, offset_groups = case
    rank = len(kernel)
    out = [
        output_size(x_shape[2 + d], kernel[d], strides[d], dilations[d], pads[d], pads[rank + d])
        for d in range(rank)
    ]
    taps = int(np.prod(kernel))
    rng = np.random.default_rng(1)
    shapes = [
        x_shape,
        (outputs, x_shape[1] // groups, *kernel),
        (x_shape[0], offset_groups * taps * rank, *out),
        (outputs,),
        (x_shape[0], offset_groups * taps, *out),
    ]
    inputs = [rng.standard_normal(s).astype(dtype) for s in shapes]
    inputs[2] = (np.round(inputs[2].astype(np.float64) * spread * 8) / 8).astype(dtype)
    attrs = {
        "strides": strides,
        "pads": pads,
        "dilations": dilations,
        "group": groups,
        "offset_group": offset_groups,
        "kernel_shape": kernel,
    }
    return inputs, attrs


@pytest.mark.parametrize(
    "dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16], ids=lambda d: np.dtype(d).name
)
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("optional", [(True, True), (True, False), (False, True), (False, False)])
def test_deform_conv(case: Any, optional: Any, dtype: Any) -> None:
    inputs, attrs = make(case, dtype)
    inputs[3:] = [value if given else None for value, given in zip(inputs[3:], optional, strict=True)]
    (y,) = run(node_model("DeformConv", inputs, attrs), inputs)
    want = reference(*inputs, case[3:6], *case[6:])
    assert y.dtype == dtype and y.shape == want.shape
    tolerance = TOLERANCE[np.dtype(dtype).name]
    np.testing.assert_allclose(y.astype(np.float64), want, rtol=tolerance, atol=4 * tolerance)


def test_without_offsets_it_is_conv() -> None:
    inputs, attrs = make(CASES[1], np.float32, spread=0.0)
    (y,) = run(node_model("DeformConv", inputs[:3], attrs), inputs[:3])
    want = conv(inputs[0], inputs[1], *CASES[1][3:6], CASES[1][6])
    np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("offset", [np.nan, np.inf, -np.inf, 1e30, -1e30, 2.0**31, 100])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_far_offsets_sample_zero(offset: float, dtype: Any) -> None:
    inputs, attrs = make(CASES[0], dtype)
    inputs[2][:] = offset
    (y,) = run(node_model("DeformConv", inputs[:4], attrs), inputs[:4])
    np.testing.assert_array_equal(y, np.full(y.shape, inputs[3][0]))


def test_same_bits_for_every_batch_and_thread_count() -> None:
    inputs, attrs = make(((4, 16, 20, 20), (3, 3), 24, (1, 1), (1, 1, 1, 1), (1, 1), 1, 1), np.float32)
    model = node_model("DeformConv", inputs, attrs)
    one, two = pyinfer.load(model, threads=1), pyinfer.load(model, threads=2)
    whole = one(*inputs)
    assert two(*inputs).tobytes() == whole.tobytes()
    x, w, offset, bias, mask = inputs
    assert one(x[2:3], w, offset[2:3], bias, mask[2:3]).tobytes() == whole[2:3].tobytes()


@pytest.mark.parametrize(
    "i,shape",
    [(1, (1, 2, 2, 2)), (2, (1, 8, 2, 3)), (2, (1, 6, 2, 2)), (3, (2,)), (4, (1, 8, 2, 2))],
    ids=str,
)
def test_refuses_shapes(i: int, shape: Any) -> None:
    inputs, attrs = make(CASES[0], np.float32)
    inputs[i] = np.ones(shape, np.float32)
    with pytest.raises(pyinfer.InvalidInput):
        run(node_model("DeformConv", inputs, attrs), inputs)


@pytest.mark.parametrize("attrs", [{"offset_group": 0}, {"offset_group": -1}, {"group": 0}], ids=str)
def test_refuses_attributes(attrs: Any) -> None:
    inputs, _ = make(CASES[0], np.float32)
    with pytest.raises(pyinfer.InvalidModel):
        pyinfer.load(node_model("DeformConv", inputs, attrs))
