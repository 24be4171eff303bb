"""Normalisations and GELUs of com.microsoft against ONNX Runtime and NumPy."""

import math

import numpy as np
import pytest

import pyinfer
from nodes import check, node_model, run
from ort import check_ort

MS = "com.microsoft"
F = np.float32
TYPES = [np.float32, np.float64, np.float16]
TOLERANCE = {np.float32: 2e-5, np.float64: 1e-6, np.float16: 4e-3}


def normalized(s, gamma, beta, epsilon, centred):
    s = s.astype(np.float64)
    mean = s.mean(-1, keepdims=True) if centred else 0
    deviation = np.sqrt(((s - mean) ** 2).mean(-1, keepdims=True) + epsilon)
    return (s - mean) / deviation * gamma + beta, mean, 1 / deviation


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("centred", [True, False])
def test_skip_layer_normalization(dtype, centred):
    rng = np.random.default_rng(centred)
    op = "SkipLayerNormalization" if centred else "SkipSimplifiedLayerNormalization"
    for b, s, h in [(2, 3, 16), (1, 1, 1), (3, 5, 33), (2, 70, 300), (0, 3, 8)]:
        x = rng.standard_normal((b, s, h)).astype(dtype)
        gamma, beta, bias = (rng.standard_normal(h).astype(dtype) for _ in range(3))
        skips = [(b, s, h), (1, s, h), (s, h)]
        for skip_shape in skips:
            skip = rng.standard_normal(skip_shape).astype(dtype)
            for use_beta, use_bias in [(1, 1), (0, 1), (1, 0), (0, 0)]:
                inputs = [x, skip, gamma]
                inputs += [beta if use_beta else None] if centred else []
                inputs += [bias if use_bias else None]
                total = x.astype(np.float64) + skip + (bias if use_bias else 0)
                y, mean, inverse = normalized(
                    total, gamma, beta if use_beta and centred else 0, 1e-3, centred
                )
                mean = np.broadcast_to(mean, inverse.shape).astype(F)
                tolerance = TOLERANCE[dtype]
                check(
                    op, inputs, {"epsilon": 1e-3}, domain=MS, outputs=4, rtol=tolerance, atol=tolerance * 5,
                    expected=[y.astype(dtype), mean, inverse.astype(F), total.astype(dtype)],
                )  # fmt: skip
                check_skip_against_ort(op, inputs, tolerance)
    x = rng.standard_normal((4, 8)).astype(dtype)
    check_skip_against_ort(op, [x, x, x[0]], TOLERANCE[dtype])


def check_skip_against_ort(op, inputs, tolerance):
    if inputs[0].dtype != np.float64:  # has a kernel, but no place in the schema
        check_ort(op, inputs, {"epsilon": 1e-3}, rtol=tolerance, atol=tolerance * 5)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("domain", ["", MS])
def test_simplified_layer_normalization(dtype, domain):
    rng = np.random.default_rng(1)
    for shape, axis in [((2, 3, 16), -1), ((2, 3, 16), 1), ((1, 1), -1), ((5, 65), 1), ((0, 4), -1)]:
        x = rng.standard_normal(shape).astype(dtype)
        scale = rng.standard_normal(shape[axis:]).astype(dtype)
        rows = x.reshape(*shape[:axis], math.prod(shape[axis:])).astype(np.float64)
        y, _, inverse = normalized(rows, scale.ravel(), 0, 1e-4, False)
        inverse = inverse.reshape(*shape[:axis], *[1] * scale.ndim)
        tolerance = TOLERANCE[dtype]
        check(
            "SimplifiedLayerNormalization", [x, scale], {"axis": axis, "epsilon": 1e-4}, domain=domain, outputs=2,
            expected=[y.reshape(shape).astype(dtype), inverse.astype(F)], rtol=tolerance, atol=tolerance,
        )  # fmt: skip
        if domain == "" and x.size:
            check_ort(
                "SimplifiedLayerNormalization", [x, scale], {"axis": axis, "epsilon": 1e-4}, domain="", opset=17,
                outputs=2, rtol=tolerance, atol=tolerance,
            )  # fmt: skip


@pytest.mark.parametrize("segments", [True, False])
@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize("positions", [None, "shared", "own"])
def test_embed_layer_normalization(segments, mask, positions):
    rng = np.random.default_rng(2)
    for b, s, h in [(2, 3, 16), (1, 1, 4), (3, 9, 33)]:
        ids = rng.integers(0, 20, (b, s)).astype(np.int32)
        word, position, segment = (rng.standard_normal((n, h)).astype(F) for n in (20, 12, 2))
        gamma, beta = rng.standard_normal((2, h)).astype(F)
        inputs = [
            ids, rng.integers(0, 2, (b, s)).astype(np.int32) if segments else None, word, position,
            segment if segments else None, gamma, beta,
            rng.integers(0, 2, (b, s)).astype(np.int32) if mask else None,
            rng.integers(0, 12, (1 if positions == "shared" else b, s)).astype(np.int32) if positions else None,
        ]  # fmt: skip
        attributes = {"epsilon": 1e-5}
        got = check_ort("EmbedLayerNormalization", inputs, attributes, outputs=3, rtol=2e-5, atol=2e-5)
        at = inputs[8] if positions else np.arange(s)
        total = word[ids] + position[at] + (segment[inputs[1]] if segments else 0)
        want, _, _ = normalized(total, gamma, beta, 1e-5, True)
        np.testing.assert_allclose(got[0], want, rtol=1e-4, atol=1e-4)
        halves = [None if x is None else x.astype(np.float16) if x.dtype == F else x for x in inputs]
        model = node_model("EmbedLayerNormalization", halves, attributes, domain=MS, outputs=3)
        np.testing.assert_allclose(run(model, halves)[0], want, rtol=2e-2, atol=2e-2)


def gelu(x):
    return x / 2 * (1 + np.vectorize(math.erf, otypes=[np.float64])(x / math.sqrt(2)))


def fast_gelu(x):
    return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(2, 3, 8), (1,), (7, 515), (0, 4), (4, 0)])
def test_gelu_family(dtype, shape):
    rng = np.random.default_rng(3)
    x = (rng.standard_normal(shape) * 3).astype(dtype)
    bias = rng.standard_normal(shape[-1]).astype(dtype)
    wide, moved = x.astype(np.float64), x.astype(np.float64) + bias
    for op, inputs, attributes, want in [
        ("Gelu", [x], {}, gelu(wide)),
        ("BiasGelu", [x, bias], {}, gelu(moved)),
        ("FastGelu", [x], {}, fast_gelu(wide)),
        ("FastGelu", [x, bias], {}, fast_gelu(moved)),
        ("QuickGelu", [x], {}, wide / (1 + np.exp(-1.702 * wide))),
        ("QuickGelu", [x], {"alpha": 0.5}, wide / (1 + np.exp(-0.5 * wide))),
    ]:
        tolerance = TOLERANCE[dtype]
        check(
            op, inputs, attributes, domain=MS, expected=[want.astype(dtype)], rtol=tolerance, atol=tolerance
        )
        if dtype == F:
            check_ort(op, inputs, attributes, rtol=1e-4, atol=1e-5)
    if shape[-1] % 2 == 0:
        left, right = np.split(moved, 2, axis=-1)
        want = (left * gelu(right)).astype(dtype)
        check(
            "BiasSplitGelu",
            [x, bias],
            domain=MS,
            expected=[want],
            rtol=TOLERANCE[dtype],
            atol=TOLERANCE[dtype] * 3,
        )


def test_hostile():
    x, v = np.ones((2, 3, 4), F), np.ones(4, F)
    ids, table = np.zeros((2, 3), np.int32), np.ones((5, 4), F)
    for op, inputs in [
        ("SkipLayerNormalization", [x, x[:, :2], v]),
        ("SkipLayerNormalization", [x, x[0, 0], v]),
        ("SkipLayerNormalization", [x, x, v[:3]]),
        ("SkipLayerNormalization", [x, x, v, None, v[:1]]),
        ("SkipLayerNormalization", [x, x.astype(np.float16), v]),
        ("SkipLayerNormalization", [v, v, v]),
        ("SkipLayerNormalization", [x, x]),
        ("SkipSimplifiedLayerNormalization", [x[:0], x, v]),
        ("EmbedLayerNormalization", [ids + 5, None, table, table, None, v, v]),
        ("EmbedLayerNormalization", [ids - 1, None, table, table, None, v, v]),
        ("EmbedLayerNormalization", [ids, ids + 9, table, table, table, v, v]),
        ("EmbedLayerNormalization", [ids, None, table, table, table, v, v]),
        ("EmbedLayerNormalization", [ids, None, table, table[:2], None, v, v]),
        ("EmbedLayerNormalization", [ids, None, table, table, None, v, v, None, ids + 5]),
        ("EmbedLayerNormalization", [ids, None, table, table, None, v, v, ids[:1]]),
        ("EmbedLayerNormalization", [ids[0], None, table, table, None, v, v]),
        ("BiasGelu", [x, v[:3]]),
        ("BiasGelu", [F(1), v]),
        ("BiasGelu", [x, F(1)]),
        ("BiasSplitGelu", [x[..., :3], v[:3]]),
        ("FastGelu", [x, x]),
    ]:
        with pytest.raises(pyinfer.PyInferError):
            run(node_model(op, inputs, domain=MS), inputs)
