"""Attention and its relatives against NumPy in float64 or the ONNX reference evaluator."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import pyinfer
from nodes import check, node_model, run

TOLERANCE = {np.float32: 2e-5, np.float64: 1e-6, np.float16: 5e-3, ml_dtypes.bfloat16: 4e-2}


def reference(
    q, k, v, mask=None, *, scale=None, causal=False, softcap=0.0, left=-1, right=-1, offset=None, valid=None
):
    """4-D inputs, K and V whole; `offset` and `valid` are per batch."""
    q, k, v = (x.astype(np.float64) for x in (q, k, v))
    batch, heads, rows, size = q.shape
    total = k.shape[2]
    k, v = (np.repeat(x, heads // x.shape[1], axis=1) for x in (k, v))
    s = q @ k.swapaxes(-1, -2) * (1 / np.sqrt(size) if scale is None else scale)
    raw = s.copy()
    if softcap:
        s = softcap * np.tanh(s / softcap)
    capped = s.copy()
    offset = np.zeros(batch, int) if offset is None else offset
    p = offset.reshape(-1, 1, 1, 1) + np.arange(rows).reshape(1, 1, -1, 1)
    j = np.arange(total)
    sees = np.ones((batch, 1, rows, total), bool)
    if causal:
        sees = sees & (j <= p)
    if left >= 0:
        sees = sees & (j >= p - left)
    if right >= 0:
        sees = sees & (j <= p + right)
    if valid is not None:
        sees = sees & (j < valid.reshape(-1, 1, 1, 1))
    bias = np.where(sees, 0.0, -np.inf)
    if mask is not None:
        pad = total - mask.shape[-1]
        mask = np.where(mask, 0.0, -np.inf) if mask.dtype == bool else mask.astype(np.float64)
        bias = bias + np.concatenate([mask, np.full((*mask.shape[:-1], pad), -np.inf)], -1)
    bias = np.broadcast_to(bias, s.shape)
    masked = s + bias
    top = masked.max(-1, keepdims=True, initial=-np.inf)
    with np.errstate(invalid="ignore", divide="ignore"):
        e = np.where(np.isneginf(bias), 0, np.exp(masked - top))
        probabilities = np.where(np.isneginf(top), 0, e / e.sum(-1, keepdims=True))
    return probabilities @ v, [raw, capped, masked, probabilities]


def random(rng, *shape, dtype=np.float32):
    return rng.standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("seed", range(10))
def test_attention(dtype, seed):
    rng = np.random.default_rng(seed)
    batch, kv_heads, group, rows, fresh, past, size, v_size = (int(n) for n in rng.integers(1, 7, 8))
    rows, fresh, past = rows * [1, 17][seed % 2], fresh * [1, 23][seed % 2], past if seed % 3 == 0 else 0
    total = past + fresh
    q = random(rng, batch, kv_heads * group, rows, size, dtype=dtype)
    k, v = (
        random(rng, batch, kv_heads, total, size, dtype=dtype),
        random(rng, batch, kv_heads, total, v_size, dtype=dtype),
    )
    attributes = {
        "is_causal": int(rng.integers(2)),
        "softcap": float(rng.choice([0.0, 1.5])),
        "left_window_size": int(rng.integers(-1, 4)),
        "right_window_size": int(rng.integers(-1, 4)),
        "qk_matmul_output_mode": seed % 4,
    }
    if rng.integers(2):
        attributes["scale"] = 0.25
    valid = rng.integers(0, total + 1, batch) if past == 0 and seed % 2 else None
    mask = [
        None,
        rng.integers(0, 2, (rows, total)).astype(bool),
        random(rng, batch, 1, rows, max(total - 1, 1), dtype=dtype),
    ][int(rng.integers(3))]
    if valid is not None:
        offset = valid - rows
    else:
        offset = np.full(batch, past)
    want, scores = reference(
        q,
        k,
        v,
        mask,
        scale=attributes.get("scale"),
        causal=attributes["is_causal"],
        softcap=attributes["softcap"],
        left=attributes["left_window_size"],
        right=attributes["right_window_size"],
        offset=offset,
        valid=valid,
    )
    inputs = [q, k[:, :, past:], v[:, :, past:], mask]
    inputs += [k[:, :, :past], v[:, :, :past]] if past else [None, None]
    inputs += [valid]
    expected = [want.astype(dtype), k, v, scores[seed % 4].astype(dtype)]
    check(
        "Attention",
        inputs,
        attributes,
        expected=expected,
        outputs=4,
        rtol=TOLERANCE[dtype],
        atol=TOLERANCE[dtype],
    )
    got = run(node_model("Attention", inputs, attributes), inputs)[0]
    np.testing.assert_allclose(
        got.astype(np.float64), want, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype]
    )  # without the scores, keys that no query sees are left out


def test_attention_of_3_dimensions():
    rng = np.random.default_rng(1)
    q, k, v = random(rng, 2, 5, 4 * 3), random(rng, 2, 7, 2 * 3), random(rng, 2, 7, 2 * 6)

    def split(x, heads):
        return x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2)

    want, _ = reference(split(q, 4), split(k, 2), split(v, 2), causal=True)
    want = want.swapaxes(1, 2).reshape(2, 5, -1).astype(np.float32)
    attributes = {"q_num_heads": 4, "kv_num_heads": 2, "is_causal": 1}
    check("Attention", [q, k, v], attributes, expected=[want], atol=1e-5)
    for bad in ({}, {"q_num_heads": 5, "kv_num_heads": 2}, {"q_num_heads": 4, "kv_num_heads": 3}):
        with pytest.raises(pyinfer.PyInferError):
            run(node_model("Attention", [q, k, v], bad), [q, k, v])


@pytest.mark.parametrize("precision", [TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_softmax_precision(precision):
    rng = np.random.default_rng(2)
    q, k, v = random(rng, 1, 2, 9, 8), random(rng, 1, 2, 40, 8), random(rng, 1, 2, 40, 4)
    want, _ = reference(q, k, v)
    tolerance = 1e-5 if precision == TensorProto.DOUBLE else 3e-2
    check(
        "Attention",
        [q, k, v],
        {"softmax_precision": precision},
        expected=[want.astype(np.float32)],
        rtol=tolerance,
        atol=tolerance,
    )


def test_attention_sizes():
    for batch, rows, total in [(0, 3, 4), (2, 0, 4), (2, 3, 0)]:
        q, k = np.ones((batch, 2, rows, 4), np.float32), np.ones((batch, 2, total, 4), np.float32)
        want = np.zeros if total == 0 else np.ones
        check("Attention", [q, k, k], expected=[want((batch, 2, rows, 4), np.float32)])


def test_attention_has_the_same_bits_in_every_batch():
    rng = np.random.default_rng(3)
    q, k, v = random(rng, 9, 4, 40, 16), random(rng, 9, 2, 300, 16), random(rng, 9, 2, 300, 8)
    whole = run(node_model("Attention", [q, k, v], {"is_causal": 1}), [q, k, v])[0]
    for n in (0, 4, 8):
        one = [x[n : n + 1] for x in (q, k, v)]
        np.testing.assert_array_equal(
            run(node_model("Attention", one, {"is_causal": 1}), one)[0], whole[n : n + 1]
        )


def test_attention_errors():
    rng = np.random.default_rng(4)
    q, k, v = random(rng, 2, 4, 5, 8), random(rng, 2, 2, 6, 8), random(rng, 2, 2, 6, 3)
    bad = [
        ([q, k[:, :, :, :7], v], {}),
        ([q, k, v[:, :, :5]], {}),
        ([q[:, :3], k, v], {}),
        ([q[0], k, v], {}),
        ([q, k, v, np.zeros((5, 7), np.float32)], {}),
        ([q, k, v, np.zeros((3, 1, 5, 6), np.float32)], {}),
        ([q, k, v, None, k], {}),
        ([q, k, v, None, k[:1], v[:1]], {}),
        ([q, k, v, None, None, None, np.array([7, 1])], {}),
        ([q, k, v, None, None, None, np.array([-1, 1])], {}),
        ([q, k, v, None, None, None, np.array([1])], {}),
        ([q, k, v], {"qk_matmul_output_mode": 4}),
        ([q, k, v], {"left_window_size": -2}),
        ([q, k, v], {"softmax_precision": 7}),
    ]
    for inputs, attributes in bad:
        with pytest.raises(pyinfer.PyInferError):
            run(node_model("Attention", inputs, attributes), inputs)


def modifier(name, op, elem_type, value):
    shape = ["B", "H", "L", "S"]
    return helper.make_graph(
        [helper.make_node(op, ["x", "c"], ["y"])],
        name,
        [helper.make_tensor_value_info("x", elem_type, shape)],
        [helper.make_tensor_value_info("y", elem_type, shape)],
        [onnx.numpy_helper.from_array(value, "c")],
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("score", [False, True])
@pytest.mark.parametrize("prob", [False, True])
def test_flex_attention(dtype, score, prob):
    rng = np.random.default_rng(5)
    q, k, v = (random(rng, 2, h, n, d, dtype=dtype) for h, n, d in ((4, 5, 8), (2, 70, 8), (2, 70, 3)))
    inner = np.float64 if dtype == np.float64 else np.float32
    elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(inner))
    attributes = {"scale": 0.3}
    s = q.astype(np.float64) @ np.repeat(k, 2, 1).astype(np.float64).swapaxes(-1, -2) * 0.3
    if score:
        attributes["score_mod"] = modifier("s", "Mul", elem_type, np.array(2, inner))
        s = s * 2
    p = np.exp(s - s.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    if prob:
        attributes["prob_mod"] = modifier("p", "Add", elem_type, np.array(0.5, inner))
        p = p + 0.5
    want = (p @ np.repeat(v, 2, 1).astype(np.float64)).astype(dtype)
    tolerance = TOLERANCE[dtype]
    check(
        "FlexAttention",
        [q, k, v],
        attributes,
        expected=[want],
        domain="ai.onnx.preview",
        rtol=tolerance,
        atol=tolerance * 10,
    )


def test_flex_attention_errors():
    q = np.ones((1, 2, 3, 4), np.float32)
    for inputs in ([q, q[:, :, :, :3], q], [q, q, q[:, :, :2]], [q[:, :1], q, q], [q[0], q[0], q[0]]):
        with pytest.raises(pyinfer.PyInferError):
            run(node_model("FlexAttention", inputs, domain="ai.onnx.preview"), inputs)


@pytest.mark.parametrize("rule", ["linear", "gated", "delta", "gated_delta"])
@pytest.mark.parametrize("seed", range(4))
def test_linear_attention(rule, seed):
    rng = np.random.default_rng(seed)
    batch, tokens, kv_heads, group, d_k, d_v = (int(n) for n in rng.integers(1, 7, 6))
    dtype = [np.float32, np.float16][seed % 2]
    q, k, v = (
        random(rng, batch, tokens, n, dtype=dtype) * dtype(0.3)
        for n in (kv_heads * group * d_k, kv_heads * d_k, kv_heads * d_v)
    )
    past = random(rng, batch, kv_heads, d_k, d_v) if seed // 2 else None
    decay = (
        -np.abs(random(rng, batch, tokens, kv_heads * (d_k if seed % 2 else 1), dtype=dtype))
        if "gated" in rule
        else None
    )
    beta = (
        np.abs(random(rng, batch, tokens, kv_heads if seed % 2 else 1, dtype=dtype))
        if "delta" in rule
        else None
    )
    inputs = [q, k, v, past, decay, beta]
    while inputs[-1] is None:
        inputs.pop()
    attributes = {"q_num_heads": kv_heads * group, "kv_num_heads": kv_heads, "update_rule": rule}
    tolerance = 1e-4 if dtype == np.float32 else 5e-3
    check("LinearAttention", inputs, attributes, outputs=2, rtol=tolerance, atol=tolerance)
    with pytest.raises(pyinfer.PyInferError):
        run(node_model("LinearAttention", inputs, {**attributes, "kv_num_heads": 0}, outputs=2), inputs)
    with pytest.raises(pyinfer.PyInferError):
        shorter = [inputs[0], inputs[1][:, :-1], *inputs[2:]]
        run(node_model("LinearAttention", shorter, attributes, outputs=2), shorter)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("dim", [0, 4])
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("by_position", [False, True])
def test_rotary_embedding(dtype, interleaved, dim, flat, by_position):
    rng = np.random.default_rng(6)
    batch, heads, rows, size = 2, 3, 5, 8
    x = (
        random(rng, batch, rows, heads * size, dtype=dtype)
        if flat
        else random(rng, batch, heads, rows, size, dtype=dtype)
    )
    half = (dim or size) // 2
    angles = rng.uniform(0, 6, (11, half) if by_position else (batch, rows, half))
    inputs = [x, np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)]
    if by_position:
        inputs.append(rng.integers(0, 11, (batch, rows)))
    attributes = {"interleaved": interleaved, "rotary_embedding_dim": dim}
    if flat:
        attributes["num_heads"] = heads
    tolerance = 1e-5 if dtype == np.float32 else 4e-3
    check("RotaryEmbedding", inputs, attributes, rtol=tolerance, atol=tolerance)


def test_rotary_embedding_errors():
    x, cache = np.ones((1, 2, 3, 8), np.float32), np.ones((5, 4), np.float32)
    for positions in (np.array([[0, 1, 5]]), np.array([[0, -1, 2]]), np.array([[0, 1]])):
        inputs = [x, cache, cache, positions]
        with pytest.raises(pyinfer.PyInferError):
            run(node_model("RotaryEmbedding", inputs), inputs)
    inputs = [x, cache, cache, np.array([[0, 1, 2]])]
    for dim in (3, 10, -2, 6):
        with pytest.raises(pyinfer.PyInferError):
            run(node_model("RotaryEmbedding", inputs, {"rotary_embedding_dim": dim}), inputs)
