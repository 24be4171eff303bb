"""Pools of every kind, rank and layout, against the definition in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import pyinfer
from nodes import node_model, run
from windows import output_size, pool

FLOATS = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]
TOLERANCE = {"float32": 2e-6, "float64": 1e-13, "float16": 2e-3, "bfloat16": 1.6e-2}

# x, kernel, strides, pads, dilations, ceil_mode
CASES: list[tuple[Any, ...]] = [
    ((2, 3, 8, 9), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 0),
    ((2, 3, 8, 9), (3, 2), (2, 3), (1, 0, 0, 1), (1, 1), 0),
    ((2, 3, 8, 9), (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), 1),
    ((1, 1, 1, 2), (3, 3), (3, 3), (1, 1, 1, 1), (1, 1), 1),
    ((2, 19, 7, 7), (2, 2), (2, 2), (0, 0, 0, 0), (1, 1), 1),
    ((2, 1, 9, 9), (2, 3), (1, 2), (1, 2, 1, 2), (2, 2), 0),
    ((2, 4, 11), (3,), (2,), (1, 1), (1,), 1),
    ((1, 3, 4, 5, 6), (2, 2, 3), (1, 2, 2), (0, 1, 1, 1, 0, 1), (1, 1, 1), 0),
    ((1, 2, 3, 3, 3, 3), (2, 2, 2, 2), (1, 1, 1, 1), (0,) * 8, (1, 1, 1, 1), 0),
    ((3, 40, 6, 6), (6, 6), (1, 1), (0, 0, 0, 0), (1, 1), 0),
    ((0, 3, 4, 4), (2, 2), (1, 1), (0, 0, 0, 0), (1, 1), 0),
    ((2, 0, 4, 4), (2, 2), (1, 1), (0, 0, 0, 0), (1, 1), 0),
]


def attributes(case: Any) -> dict[str, Any]:
    _, kernel, strides, pads, dilations, ceil = case
    return {
        "kernel_shape": kernel,
        "strides": strides,
        "pads": pads,
        "dilations": dilations,
        "ceil_mode": ceil,
    }


def close(got: np.ndarray, want: np.ndarray, dtype: Any) -> None:
    assert got.dtype == dtype and got.shape == want.shape
    tolerance = TOLERANCE[np.dtype(dtype).name]
    np.testing.assert_allclose(got.astype(np.float64), want, rtol=4 * tolerance, atol=tolerance)


def rand(seed: int, shape: Any, dtype: Any) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def channels_last(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


def same_in_nhwc(op: str, x: np.ndarray, attrs: dict[str, Any], y: np.ndarray) -> None:
    (last,) = run(node_model(op + "Nhwc", [channels_last(x)], attrs, domain="pyinfer"), [channels_last(x)])
    assert np.ascontiguousarray(np.moveaxis(last, -1, 1)).tobytes() == y.tobytes()


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("include", [0, 1])
def test_average(case: Any, dtype: Any, include: int) -> None:
    x = rand(1, case[0], dtype)
    attrs = attributes(case) | {"count_include_pad": include}
    (y,) = run(node_model("AveragePool", [x], attrs), [x])
    want = pool(x, lambda v, padded: v.sum() / (padded if include else v.size), *case[1:])
    close(y, want, dtype)
    same_in_nhwc("AveragePool", x, attrs, y)


@pytest.mark.parametrize("dtype", [*FLOATS, np.int8, np.uint8], ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_max(case: Any, dtype: Any) -> None:
    x = (
        (rand(2, case[0], np.float64) * (50 if np.dtype(dtype).kind in "iu" else 1))
        .astype(np.int64)
        .astype(dtype)
    )
    attrs = attributes(case)
    (y,) = run(node_model("MaxPool", [x], attrs), [x])
    np.testing.assert_array_equal(y.astype(np.float64), pool(x, lambda v, _: v.max(), *case[1:]))
    assert y.dtype == dtype
    same_in_nhwc("MaxPool", x, attrs, y)
    for order in (0, 1):
        model = node_model("MaxPool", [x], attrs | {"storage_order": order}, outputs=2)
        values, indices = run(model, [x])
        np.testing.assert_array_equal(values, y)
        assert indices.dtype == np.int64 and indices.shape == y.shape
        # Ties go to the first, so the index is checked by what lies there and by being the least.
        np.testing.assert_array_equal(indices, first_maxima(x, case, order))


def first_maxima(x: np.ndarray, case: Any, order: int) -> np.ndarray:
    _, kernel, strides, pads, dilations, ceil = case
    rank, spatial = x.ndim - 2, x.shape[2:]
    out = [
        output_size(spatial[d], kernel[d], strides[d], dilations[d], pads[d], pads[rank + d], bool(ceil))
        for d in range(rank)
    ]
    result = np.zeros((*x.shape[:2], *out), np.int64)
    for index in np.ndindex(*result.shape):
        inside = []
        for d in range(rank):
            at = index[2 + d] * strides[d] - pads[d] + np.arange(kernel[d]) * dilations[d]
            inside.append(at[(at >= 0) & (at < spatial[d])])
        window = x[index[:2]][np.ix_(*inside)].astype(np.float64)
        at = np.unravel_index(int(np.argmax(window)), window.shape)
        pixel = tuple(int(inside[d][at[d]]) for d in range(rank))
        flat = int(np.ravel_multi_index(pixel, spatial, order="F" if order else "C"))
        result[index] = (index[0] * x.shape[1] + index[1]) * int(np.prod(spatial)) + flat
    return result


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("p", [1, 2, 3])
def test_lp(case: Any, dtype: Any, p: int) -> None:
    x = rand(3, case[0], dtype)
    (y,) = run(node_model("LpPool", [x], attributes(case) | {"p": p}), [x])
    close(y, pool(x, lambda v, _: (np.abs(v) ** p).sum() ** (1 / p), *case[1:]), dtype)


GLOBAL: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "GlobalAveragePool": lambda x: x.mean(axis=tuple(range(2, x.ndim)), keepdims=True),
    "GlobalMaxPool": lambda x: x.max(axis=tuple(range(2, x.ndim)), keepdims=True),
    "GlobalLpPool": lambda x: np.sqrt((x * x).sum(axis=tuple(range(2, x.ndim)), keepdims=True)),
}


@pytest.mark.parametrize("op", GLOBAL)
@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize(
    "shape",
    [(2, 3, 7, 7), (1, 1, 1, 1), (2, 70, 14, 14), (3, 2, 130), (1, 3, 4, 5, 6), (0, 3, 4, 4), (2, 0, 3, 3)],
    ids=str,
)
def test_global(op: str, dtype: Any, shape: Any) -> None:
    x = rand(4, shape, dtype)
    (y,) = run(node_model(op, [x]), [x])
    close(y, GLOBAL[op](x.astype(np.float64)), dtype)
    if op != "GlobalLpPool":
        same_in_nhwc(op, x, {}, y)


def test_nan_stays() -> None:
    for dtype in (np.float32, np.float64):
        x = np.zeros((1, 1, 4), dtype)
        x[0, 0, 1] = np.nan
        values, indices = run(node_model("MaxPool", [x], {"kernel_shape": (2,)}, outputs=2), [x])
        np.testing.assert_array_equal(values, np.array([[[np.nan, np.nan, 0]]], dtype))
        np.testing.assert_array_equal(indices, [[[1, 1, 2]]])


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("size,kernel,stride", [(4, 3, 1), (5, 3, 2), (7, 2, 2), (1, 3, 1), (9, 2, 3)])
def test_auto_pad(auto_pad: str, size: int, kernel: int, stride: int) -> None:
    if auto_pad == "VALID" and size < kernel:
        pytest.skip("does not fit")
    x = rand(5, (1, 2, size), np.float32)
    out = -(-size // stride)
    total = max(0, (out - 1) * stride + kernel - size) if auto_pad != "VALID" else 0
    begin = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
    attrs = {"kernel_shape": (kernel,), "strides": (stride,), "auto_pad": auto_pad}
    want = pool(x, lambda v, _: v.max(), (kernel,), (stride,), (begin, total - begin), (1,))
    np.testing.assert_array_equal(run(node_model("MaxPool", [x], attrs), [x])[0], want.astype(np.float32))
    want = pool(x, lambda v, _: v.mean(), (kernel,), (stride,), (begin, total - begin), (1,))
    np.testing.assert_allclose(run(node_model("AveragePool", [x], attrs), [x])[0], want, rtol=1e-6)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_same_bits_for_every_batch_and_thread_count(op: str, dtype: Any) -> None:
    x = rand(6, (8, 37, 24, 23), dtype)
    attrs = {} if op.startswith("Global") else {"kernel_shape": (3, 3), "pads": (1, 1, 1, 1)}
    model = node_model(op, [x], attrs)
    one, two = pyinfer.load(model, threads=1), pyinfer.load(model, threads=2)
    whole = one(x)
    assert two(x).tobytes() == whole.tobytes()
    for i in range(8):
        assert one(x[i : i + 1]).tobytes() == whole[i : i + 1].tobytes()


@pytest.mark.parametrize(
    "attrs",
    [
        {},
        {"kernel_shape": (0, 2)},
        {"kernel_shape": (-1, 2)},
        {"kernel_shape": (2, 2), "strides": (0, 1)},
        {"kernel_shape": (2, 2), "pads": (-1, 0, 0, 0)},
        {"kernel_shape": (2, 2), "dilations": (2**62, 1)},
        {"kernel_shape": (2**62, 2)},
        {"kernel_shape": (2, 2), "auto_pad": "sideways"},
    ],
    ids=str,
)
def test_refuses_attributes(attrs: Any) -> None:
    with pytest.raises(pyinfer.InvalidModel):
        pyinfer.load(node_model("MaxPool", [np.ones((1, 1, 5, 5), np.float32)], attrs))


@pytest.mark.parametrize(
    "shape,attrs",
    [
        ((1, 1, 5, 5), {"kernel_shape": (2,)}),
        ((1, 1, 5, 5), {"kernel_shape": (6, 2)}),
        ((1, 1, 5, 5), {"kernel_shape": (2, 2), "strides": (1,)}),
        ((1, 1), {"kernel_shape": (2,)}),
        ((5,), {"kernel_shape": (2,)}),
        ((1, 1, 0, 5), {"kernel_shape": (2, 2), "pads": (2, 0, 2, 0)}),
        ((1, 1, 1, 1), {"kernel_shape": (2**29, 2**29), "pads": (2**29,) * 4}),
        ((1, 1, 1, 1), {"kernel_shape": (1, 1), "pads": (2**30,) * 4}),
    ],
    ids=str,
)
@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "LpPool"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_refuses_shapes(op: str, shape: Any, attrs: Any, dtype: Any) -> None:
    x = np.ones(shape, dtype)
    with pytest.raises((pyinfer.InvalidInput, pyinfer.LimitExceeded)):
        run(node_model(op, [x], attrs), [x])


def test_refuses_p_and_empty_images() -> None:
    x = np.ones((1, 1, 4), np.float32)
    with pytest.raises(pyinfer.InvalidModel):
        pyinfer.load(node_model("LpPool", [x], {"kernel_shape": (2,), "p": 0}))
    empty = np.ones((1, 1, 0), np.float32)
    with pytest.raises(pyinfer.InvalidInput):
        run(node_model("GlobalAveragePool", [empty]), [empty])
