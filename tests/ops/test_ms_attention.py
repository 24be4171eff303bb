"""Attention operators of com.microsoft against ONNX Runtime."""

import numpy as np
import pytest

import pyinfer
from nodes import assert_same, node_model, run
from ort import ort_model, ort_run

MS = "com.microsoft"
F = np.float32


def check(op, inputs, attributes, outputs=1, tolerance=2e-5):
    """One model, with its shapes known, here and in ONNX Runtime."""
    inputs = [None if x is None else np.asarray(x) for x in inputs]
    model = node_model(op, inputs, attributes, domain=MS, outputs=outputs)
    feeds = {f"x{i}": x for i, x in enumerate(inputs) if x is not None}
    want = ort_run(ort_model(model, feeds), feeds)
    for got, expected in zip(run(model, inputs), want, strict=True):
        assert_same(got, expected, rtol=tolerance, atol=tolerance)


def normal(rng, *shape):
    return rng.standard_normal(shape).astype(F)


@pytest.mark.parametrize("mask", [None, 2, 3])
@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("past", [0, 3])
def test_attention(mask, causal, past):
    rng = np.random.default_rng([past, causal, mask or 0])
    for b, s, heads, size, v_size in [(2, 5, 3, 4, 4), (1, 1, 1, 8, 8), (3, 17, 2, 16, 8)]:
        if past and v_size != size:
            continue
        hidden, total = 12, s + past
        sizes = [heads * size, heads * size, heads * v_size]
        shape = {2: (b, total), 3: (b, s, total)}.get(mask)
        inputs = [
            normal(rng, b, s, hidden), normal(rng, hidden, sum(sizes)), normal(rng, sum(sizes)),
            None if mask is None else (rng.random(shape) < 0.8).astype(np.int32),
            normal(rng, 2, b, heads, past, size) if past else None,
            None if past else normal(rng, b, heads, s, total),
        ]  # fmt: skip
        if mask is not None:
            inputs[3][..., 0] = 1
        attributes = {"num_heads": heads, "unidirectional": causal, "qkv_hidden_sizes": sizes}
        if v_size == size:
            check("Attention", inputs[:5], {"num_heads": heads, "unidirectional": causal}, 2 if past else 1)
        check("Attention", inputs, {**attributes, "scale": 0.3}, 2 if past else 1)


@pytest.mark.parametrize("mask", [None, 2, 3])
@pytest.mark.parametrize("past", [0, 3])
def test_multi_head_attention(mask, past):
    rng = np.random.default_rng([past, mask or 0])
    for b, s, length, heads, size, v_size in [(2, 5, 5, 3, 4, 4), (1, 1, 6, 2, 8, 8), (2, 7, 4, 2, 16, 8)]:
        if past and v_size != size:
            continue
        total = length + past
        shape = {2: (b, total), 3: (b, s, total)}.get(mask)
        inputs = [
            normal(rng, b, s, heads * size), normal(rng, b, length, heads * size),
            normal(rng, b, length, heads * v_size), normal(rng, heads * (2 * size + v_size)),
            None if mask is None else (rng.random(shape) < 0.8).astype(np.int32),
            normal(rng, 1, heads, s, total), *(normal(rng, b, heads, past, size) if past else None for _ in range(2)),
        ]  # fmt: skip
        if mask is not None:
            inputs[4][..., 0] = 1
        outputs = 3 if past else 1
        check("MultiHeadAttention", inputs, {"num_heads": heads, "scale": 0.4}, outputs)
        inputs[3] = inputs[5] = None
        check("MultiHeadAttention", inputs, {"num_heads": heads}, outputs)
        if s == length:
            check("MultiHeadAttention", inputs, {"num_heads": heads, "unidirectional": 1}, outputs)


@pytest.mark.parametrize("interleaved", [0, 1])
def test_rotary_embedding(interleaved):
    rng = np.random.default_rng(interleaved)
    b, s, heads, size, longest = 2, 5, 3, 8, 20
    angles = rng.uniform(0, 6, (longest, size // 2))
    cos, sin = np.cos(angles).astype(F), np.sin(angles).astype(F)
    own = rng.integers(0, longest, (b, s))
    for x in (normal(rng, b, s, heads * size), normal(rng, b, heads, s, size)):
        for position in (own, np.array([4])):
            check("RotaryEmbedding", [x, position, cos, sin], {"interleaved": interleaved})
    half = size // 4
    partial = {"interleaved": interleaved, "rotary_embedding_dim": size // 2, "num_heads": heads}
    x = normal(rng, b, s, heads * size)
    check("RotaryEmbedding", [x, own, cos[:, :half], sin[:, :half]], partial)


def test_hostile():
    rng = np.random.default_rng(9)
    x, w = normal(rng, 2, 3, 12), normal(rng, 12, 36)
    ids, cache = np.zeros((2, 3), np.int64), normal(rng, 5, 3)
    for op, inputs, attributes in [
        ("Attention", [x, w], {"num_heads": 5}),
        ("Attention", [x, w], {"num_heads": 0}),
        ("Attention", [x, w[:11]], {"num_heads": 3}),
        ("Attention", [x, w, None, np.ones((2, 4), np.int32)], {"num_heads": 3}),
        ("Attention", [x, w], {"num_heads": 3, "qkv_hidden_sizes": [12]}),
        ("Attention", [x, w], {"num_heads": 3, "qkv_hidden_sizes": [12, 12, -5]}),
        ("MultiHeadAttention", [x, x, x[:, :2]], {"num_heads": 3}),
        ("MultiHeadAttention", [x, x, x], {"num_heads": -3}),
        ("MultiHeadAttention", [x, x, x, np.ones(30, F)], {"num_heads": 3}),
        ("RotaryEmbedding", [x, ids + 5, cache, cache], {}),
        ("RotaryEmbedding", [x, ids - 1, cache, cache], {}),
        ("RotaryEmbedding", [x, ids[0], cache, cache], {}),
        ("RotaryEmbedding", [x, ids, cache, cache[:2]], {}),
    ]:
        with pytest.raises(pyinfer.PyInferError):
            run(node_model(op, inputs, attributes, domain=MS), inputs)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("rotary", [0, 1])
@pytest.mark.parametrize("extra", [{}, {"local_window_size": 3}, {"softcap": 2.0}, {"scale": 0.2}])
def test_group_query_attention(packed, rotary, extra):
    rng = np.random.default_rng([packed, rotary, len(extra)])
    heads, kv_heads, size, longest = 4, 2, 16, 32
    angles = rng.uniform(0, 6, (longest, size // 2))
    cache = [np.cos(angles).astype(F), np.sin(angles).astype(F)] if rotary else [None, None]
    attributes = {"num_heads": heads, "kv_num_heads": kv_heads, "do_rotary": rotary, **extra}
    # A first prompt, a step of decoding, several rows after a past; ragged lengths in a batch.
    for s, past, lengths in [(5, 0, [5]), (1, 6, [7]), (3, 4, [7]), (1, 6, [7, 4])]:
        b, total = len(lengths), max(lengths)
        q, k, v = (normal(rng, b, s, n * size) for n in (heads, kv_heads, kv_heads))
        head = [np.concatenate([q, k, v], -1), None, None] if packed else [q, k, v]
        inputs = [
            *head, normal(rng, b, kv_heads, past, size), normal(rng, b, kv_heads, past, size),
            np.array(lengths, np.int32) - 1, np.array([total], np.int32), *cache,
        ]  # fmt: skip
        model = node_model("GroupQueryAttention", inputs, attributes, domain=MS, outputs=3)
        feeds = {f"x{i}": x for i, x in enumerate(inputs) if x is not None}
        want = ort_run(ort_model(model, feeds), feeds)
        got = run(model, inputs)
        assert_same(got[0], want[0], rtol=1e-4, atol=1e-4)
        for mine, ort in zip(got[1:], want[1:], strict=True):
            assert mine.shape == ort.shape
            for i, n in enumerate(lengths):
                np.testing.assert_allclose(mine[i, :, :n], ort[i, :, :n], rtol=1e-4, atol=1e-5)
