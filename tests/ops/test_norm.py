"""Normalisations against NumPy in float64."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import pyinfer
from nodes import check, node_model, run

FLOATS = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]
# Attributes are float32: float64 results differ by their rounding.
TOLERANCE = {np.float32: 1e-4, np.float64: 1e-6, np.float16: 5e-3, ml_dtypes.bfloat16: 5e-2}


def options(dtype):
    return {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}


def random(rng, shape, dtype, offset=0.0):
    return np.asarray(rng.standard_normal(shape) + offset).astype(dtype)


def layer_norm(x, scale, bias, axis, epsilon, centered=True):
    axes = tuple(range(axis % x.ndim, x.ndim))
    x, scale = x.astype(np.float64), scale.astype(np.float64)
    mean = x.mean(axes, keepdims=True) if centered else 0
    inverse = 1 / np.sqrt(((x - mean) ** 2).mean(axes, keepdims=True) + epsilon)
    return (x - mean) * inverse * scale + (0 if bias is None else bias.astype(np.float64)), mean, inverse


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(3, 5), (1, 1), (2, 3, 64), (4, 2, 3, 100), (7,)])
def test_layer_norm(dtype, shape):
    rng = np.random.default_rng(0)
    for axis in range(-len(shape), len(shape)):
        x = random(rng, shape, dtype)
        inner = shape[axis % len(shape) :]
        for scale_shape in (inner, inner[-1:], (1,), shape):
            scale = random(rng, scale_shape, dtype)
            bias = random(rng, inner, dtype) if axis % 2 else None
            want, mean, inverse = layer_norm(x, scale, bias, axis, 1e-3)
            check(
                "LayerNormalization",
                [x, scale, bias],
                {"axis": axis, "epsilon": 1e-3},
                expected=[want.astype(dtype), mean.astype(np.float32), inverse.astype(np.float32)],
                outputs=3,
                **options(dtype),
            )
            want, _, _ = layer_norm(x, scale, None, axis, 1e-3, centered=False)
            check(
                "RMSNormalization",
                [x, scale],
                {"axis": axis, "epsilon": 1e-3},
                expected=[want.astype(dtype)],
                **options(dtype),
            )


def test_layer_norm_with_a_large_mean():
    x = random(np.random.default_rng(1), (4, 256), np.float32, offset=1000)
    scale = np.ones(256, np.float32)
    want, _, _ = layer_norm(x, scale, None, -1, 1e-5)
    check("LayerNormalization", [x, scale], expected=[want.astype(np.float32)], rtol=1e-3, atol=1e-3)


def test_layer_norm_sizes_and_errors():
    for shape in [(0, 4), (4, 0)]:
        x = np.zeros(shape, np.float32)
        check("LayerNormalization", [x, np.ones(shape[1:], np.float32)], expected=[x])
    x = np.zeros((2, 4), np.float32)
    for scale, attributes in [
        (np.ones(3, np.float32), {}),
        (np.ones((3, 2, 4), np.float32), {}),
        (np.ones(4, np.float32), {"axis": 2}),
        (np.ones(4, np.float32), {"stash_type": 7}),
    ]:
        with pytest.raises(pyinfer.PyInferError):
            run(node_model("LayerNormalization", [x, scale], attributes), [x, scale])


def spatial(x):
    return (-1,) + (1,) * (x.ndim - 2)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (4, 17), (1, 1, 300), (3, 2, 1), (2, 300)])
@pytest.mark.parametrize("training", [0, 1])
def test_batch_norm(dtype, shape, training):
    rng = np.random.default_rng(2)
    c = shape[1]
    x, scale, bias, mean = (random(rng, s, dtype) for s in (shape, c, c, c))
    var = rng.uniform(0.5, 2, c).astype(dtype)
    xw, sw, bw, mw, vw = (v.astype(np.float64) for v in (x, scale, bias, mean, var))
    expected = []
    if training:
        axes = (0, *range(2, x.ndim))
        current, spread = xw.mean(axes), xw.var(axes)
        expected = [mw * 0.8 + current * 0.2, vw * 0.8 + spread * 0.2]
        mw, vw = current, spread
    mw, vw, sw, bw = (v.reshape(spatial(x)) for v in (mw, vw, sw, bw))
    expected.insert(0, (xw - mw) / np.sqrt(vw + 1e-2) * sw + bw)
    check(
        "BatchNormalization",
        [x, scale, bias, mean, var],
        {"training_mode": training, "momentum": 0.8, "epsilon": 1e-2},
        expected=[e.astype(dtype) for e in expected],
        outputs=len(expected),
        **options(dtype),
    )


def test_batch_norm_of_mixed_types():
    rng = np.random.default_rng(3)
    x = random(rng, (2, 3, 4), np.float16)
    scale, bias = random(rng, 3, np.float32), random(rng, 3, np.float32)
    mean, var = random(rng, 3, np.float64), rng.uniform(0.5, 2, 3)
    want = (x - mean.reshape(-1, 1)) / np.sqrt(var + 1e-5).reshape(-1, 1) * scale.reshape(
        -1, 1
    ) + bias.reshape(-1, 1)
    check(
        "BatchNormalization",
        [x, scale, bias, mean, var],
        expected=[want.astype(np.float16)],
        rtol=2e-3,
        atol=2e-3,
    )


def group_norm(x, scale, bias, groups, epsilon):
    n = x.shape[0]
    g = x.astype(np.float64).reshape(n, groups, -1)
    g = (g - g.mean(2, keepdims=True)) / np.sqrt(g.var(2, keepdims=True) + epsilon)
    shape = spatial(x)
    return g.reshape(x.shape) * scale.astype(np.float64).reshape(shape) + bias.astype(np.float64).reshape(
        shape
    )


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(2, 6, 4, 5), (1, 6, 3), (3, 6, 300), (2, 6, 1, 1, 2)])
def test_group_and_instance_norm(dtype, shape):
    rng = np.random.default_rng(4)
    x = random(rng, shape, dtype, offset=3)
    scale, bias = random(rng, 6, dtype), random(rng, 6, dtype)
    for groups in (1, 2, 3, 6):
        want = group_norm(x, scale, bias, groups, 1e-2).astype(dtype)
        check(
            "GroupNormalization",
            [x, scale, bias],
            {"num_groups": groups, "epsilon": 1e-2},
            expected=[want],
            **options(dtype),
        )
    check("InstanceNormalization", [x, scale, bias], {"epsilon": 1e-2}, expected=[want], **options(dtype))


def test_group_norm_before_version_21_scales_groups():
    rng = np.random.default_rng(5)
    x = random(rng, (2, 6, 5), np.float32)
    scale, bias = random(rng, 3, np.float32), random(rng, 3, np.float32)
    want = group_norm(x, np.repeat(scale, 2), np.repeat(bias, 2), 3, 1e-5).astype(np.float32)
    check(
        "GroupNormalization",
        [x, scale, bias],
        {"num_groups": 3},
        expected=[want],
        opset=20,
        rtol=1e-4,
        atol=1e-4,
    )


def test_channel_errors():
    x = np.zeros((2, 6, 4), np.float32)
    ones, few = np.ones(6, np.float32), np.ones(5, np.float32)
    for op, inputs, attributes in [
        ("GroupNormalization", [x, ones, ones], {"num_groups": 4}),
        ("GroupNormalization", [x, ones, ones], {"num_groups": 0}),
        ("GroupNormalization", [x, few, ones], {"num_groups": 3}),
        ("InstanceNormalization", [x, ones, few], {}),
        ("InstanceNormalization", [x[0, 0], ones, ones], {}),
        ("BatchNormalization", [x, ones, ones, few, ones], {}),
        ("BatchNormalization", [np.float32(1), ones, ones, ones, ones], {}),
    ]:
        with pytest.raises(pyinfer.PyInferError):
            run(node_model(op, inputs, attributes), inputs)


def test_no_elements():
    for shape in [(0, 3, 4), (2, 3, 0), (2, 0, 4)]:
        x, c = np.zeros(shape, np.float32), np.ones(shape[1], np.float32)
        check("BatchNormalization", [x, c, c, c, c], expected=[x])
        check("InstanceNormalization", [x, c, c], expected=[x])


@pytest.mark.parametrize("dtype", FLOATS)
def test_mean_variance_norm(dtype):
    rng = np.random.default_rng(6)
    for shape, axes in [((2, 3, 4, 5), (0, 2, 3)), ((3, 300), (1,)), ((30, 3), (0,)), ((2, 3, 4), (0, 1))]:
        x = random(rng, shape, dtype)
        w = x.astype(np.float64)
        want = (w - w.mean(axes, keepdims=True)) / (w.std(axes, keepdims=True) + 1e-9)
        attributes = {} if len(shape) == 4 else {"axes": axes}
        check("MeanVarianceNormalization", [x], attributes, expected=[want.astype(dtype)], **options(dtype))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("p", [1, 2])
def test_lp_norm(dtype, p):
    rng = np.random.default_rng(7)
    for shape, axis in [((5,), 0), ((3, 300), -1), ((30, 3), 0), ((2, 17, 20), 1)]:
        x = random(rng, shape, dtype)
        x[0] = 0
        w = x.astype(np.float64)
        norm = (np.abs(w) ** p).sum(axis, keepdims=True) ** (1 / p)
        want = np.where(norm == 0, 0, w / np.where(norm == 0, 1, norm))
        check("LpNormalization", [x], {"axis": axis, "p": p}, expected=[want.astype(dtype)], **options(dtype))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_lrn(dtype, size):
    rng = np.random.default_rng(8)
    for shape in [(2, 7, 3, 4), (1, 1, 300), (2, 5)]:
        x = random(rng, shape, dtype)
        w = x.astype(np.float64)
        total = np.zeros_like(w)
        for c in range(shape[1]):
            low, high = max(0, c - (size - 1) // 2), min(shape[1] - 1, c + size // 2)
            total[:, c] = (w[:, low : high + 1] ** 2).sum(1)
        want = w / (1.5 + 0.3 / size * total) ** 0.6
        attributes = {"size": size, "alpha": 0.3, "beta": 0.6, "bias": 1.5}
        check("LRN", [x], attributes, expected=[want.astype(dtype)], **options(dtype))
    with pytest.raises(pyinfer.PyInferError, match="size"):
        run(node_model("LRN", [x], {"size": 0}), [x])
    with pytest.raises(pyinfer.PyInferError, match="p is"):
        run(node_model("LpNormalization", [x], {"p": 3}), [x])
