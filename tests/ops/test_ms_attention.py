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


def padding(rng, form, b, length, keys):
    """A mask of keys in one of the forms that say where the padding is."""
    ends = rng.integers(1, keys + 1, b).astype(np.int32)
    if form == "ends":
        return ends
    if form == "ends and starts":
        return np.concatenate([ends, rng.integers(0, ends)]).astype(np.int32)
    if form == "packed":
        return np.concatenate([ends, np.arange(b + 1) * length, np.arange(b + 1) * keys]).astype(np.int32)
    return np.zeros((b if form == "dummy" else 1, 1), np.int32)  # one column stands for no mask


@pytest.mark.parametrize("form", ["ends", "ends and starts", "packed", "dummy", "one"])
@pytest.mark.parametrize("past", [0, 3])
def test_padding_of_attention(form, past):
    rng = np.random.default_rng([past, len(form)])
    for b, s, heads, size, causal in [(2, 5, 3, 4, 0), (1, 1, 1, 8, 0), (3, 6, 2, 8, 1)]:
        hidden = heads * size
        inputs = [
            normal(rng, b, s, hidden), normal(rng, hidden, 3 * hidden), normal(rng, 3 * hidden),
            padding(rng, form, b, s, s + past), normal(rng, 2, b, heads, past, size) if past else None,
        ]  # fmt: skip
        attributes = {"num_heads": heads, "unidirectional": causal, "mask_filter_value": -1000.0}
        check("Attention", inputs, attributes, 2 if past else 1, 1e-4)
        inputs[4:] = [None, normal(rng, 1, 1, s, s)]
        inputs[3] = padding(rng, form, b, s, s)
        check("Attention", inputs, attributes, 1, 1e-4)


def test_megatron_mask():
    """The mask of all positions, of which the last rows count; ONNX Runtime has no kernel for it."""
    rng = np.random.default_rng(11)
    b, s, heads, size, past, longest = 2, 4, 2, 8, 3, 9
    hidden, total = heads * size, s + past
    mask = (rng.random((b, 1, longest, longest)) < 0.7).astype(np.int32)
    mask[..., 0] = 1
    inputs = [
        normal(rng, b, s, hidden), normal(rng, hidden, 3 * hidden), normal(rng, 3 * hidden), mask,
        normal(rng, 2, b, heads, past, size),
    ]  # fmt: skip
    same = [*inputs[:3], np.ascontiguousarray(mask[:, 0, past:total, :total]), inputs[4]]
    attributes = {"num_heads": heads}
    got, want = (run(node_model("Attention", x, attributes, domain=MS, outputs=2), x) for x in (inputs, same))
    for a, e in zip(got, want, strict=True):
        assert_same(a, e)


@pytest.mark.parametrize("form", ["ends", "packed"])
def test_padding_of_multi_head_attention(form):
    rng = np.random.default_rng(len(form))
    for b, s, length, heads, size, past in [(2, 5, 5, 3, 4, 0), (1, 2, 6, 2, 8, 3), (3, 1, 4, 1, 16, 2)]:
        q, k = normal(rng, b, s, heads * size), normal(rng, b, length, heads * size)
        cache = [normal(rng, b, heads, past, size) for _ in range(2)] if past else [None, None]
        mask = padding(rng, form, b, s, length + past)
        bias = normal(rng, b, 1, s, length + past)
        for scores_bias in (None, bias):
            inputs = [q, k, k * 2, None, mask, scores_bias, *cache]
            check("MultiHeadAttention", inputs, {"num_heads": heads}, 3 if past else 1, 1e-4)


def test_keys_head_by_head():
    """A cross attention whose keys and values come as [batch, heads, keys, size]."""
    rng = np.random.default_rng(5)
    for b, s, length, heads, size, v_size in [(2, 3, 5, 2, 8, 8), (1, 1, 1, 3, 4, 4), (2, 4, 7, 2, 8, 8)]:
        inputs = [
            normal(rng, b, s, heads * size), normal(rng, b, heads, length, size),
            normal(rng, b, heads, length, v_size), None, (rng.random((b, length)) < 0.7).astype(np.int32),
        ]  # fmt: skip
        check("MultiHeadAttention", inputs, {"num_heads": heads}, 1, 1e-4)
        inputs[3:] = [normal(rng, heads * (2 * size + v_size)), None]
        check("MultiHeadAttention", inputs, {"num_heads": heads, "scale": 0.5}, 1, 1e-4)


def test_packed_heads():
    """Q, K and V, or K and V, side by side within a head: the same as apart. ONNX Runtime's GPU has these."""
    rng = np.random.default_rng(6)
    for b, s, length, heads, size in [(2, 4, 4, 2, 8), (1, 1, 1, 1, 4), (3, 5, 7, 2, 8)]:
        q, (k, v) = normal(rng, b, s, heads, size), normal(rng, 2, b, length, heads, size)
        apart = [q.reshape(b, s, -1), k.reshape(b, length, -1), v.reshape(b, length, -1)]
        packed = [[apart[0], np.stack([k, v], 3)]]
        if s == length:
            packed.append([np.stack([q, k, v], 3), None, None, normal(rng, 3 * heads * size)])
        for inputs in packed:
            same = [*apart, *inputs[3:]]
            model = node_model("MultiHeadAttention", same, {"num_heads": heads}, domain=MS)
            want = run(model, same)[0]
            got = run(node_model("MultiHeadAttention", inputs, {"num_heads": heads}, domain=MS), inputs)[0]
            assert_same(got, want)


def group_query(rng, s, past, lengths, rotary, extra=()):
    """Inputs of GroupQueryAttention with 4 query heads for 2 of keys, of 16 elements."""
    b, size = len(lengths), 16
    caches = [normal(rng, 32, size // 2) for _ in range(2)] if rotary else [None, None]
    return [
        *(normal(rng, b, s, n * size) for n in (4, 2, 2)), *(normal(rng, b, 2, past, size) for _ in range(2)),
        np.array(lengths, np.int32) - 1, np.array([max(lengths)], np.int32), *caches, *extra,
    ]  # fmt: skip


def check_group_query(inputs, attributes):
    attributes = {"num_heads": 4, "kv_num_heads": 2, **attributes}
    model = node_model("GroupQueryAttention", inputs, attributes, domain=MS, outputs=3)
    feeds = {f"x{i}": x for i, x in enumerate(inputs) if x is not None}
    want, got = ort_run(ort_model(model, feeds), feeds), run(model, inputs)
    assert_same(got[0], want[0], rtol=1e-4, atol=1e-4)
    for mine, ort in zip(got[1:], want[1:], strict=True):
        for i, n in enumerate(inputs[5] + 1):
            np.testing.assert_allclose(mine[i, :, :n], ort[i, :, :n], rtol=1e-4, atol=1e-5)


CASES = [(5, 0, [5]), (1, 6, [7]), (3, 4, [7]), (1, 6, [7, 4])]


@pytest.mark.parametrize("case", CASES)
def test_positions_of_group_query_attention(case):
    s, _, lengths = case
    rng = np.random.default_rng(s)
    ids = rng.integers(0, 20, (len(lengths), s))
    for interleaved in (0, 1):
        inputs = group_query(rng, *case, True, [ids])
        check_group_query(inputs, {"do_rotary": 1, "rotary_interleaved": interleaved})


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("softcap", [0.0, 2.0])
@pytest.mark.parametrize("window", [-1, 3])
def test_sinks_and_biases_of_group_query_attention(case, softcap, window):
    s, _, lengths = case
    rng = np.random.default_rng([s, window + 1])
    attributes = {"softcap": softcap, "local_window_size": window}
    bias = normal(rng, len(lengths), 4, s, max(lengths))
    for extra, more in [
        ([None, None, normal(rng, 4)], {}),
        ([], {"smooth_softmax": 1}),
        ([None, bias], {}),
        ([None, bias[:1, :1]], {"smooth_softmax": 1}),
        ([None, bias, normal(rng, 4)], {}),
    ]:
        check_group_query(group_query(rng, *case, False, extra), {**attributes, **more})


def test_both_ways_and_no_cache_of_group_query_attention():
    rng = np.random.default_rng(12)
    for case in CASES:
        check_group_query(group_query(rng, *case, True), {"causal": 0, "do_rotary": 1})
    inputs = group_query(rng, 4, 0, [4, 4], False)
    inputs[3:5] = [None, None]
    check_group_query(inputs, {})


def test_norms_of_group_query_attention():
    """Heads normalised before they are turned; ONNX Runtime's CPU has no kernel for it."""
    rng = np.random.default_rng(13)
    weights = [np.abs(normal(rng, 16)) for _ in range(2)]
    inputs = group_query(rng, 3, 4, [7], True, [None] * 5 + weights)
    attributes = {"num_heads": 4, "kv_num_heads": 2, "do_rotary": 1, "qk_norm_epsilon": 1e-3}

    def norm(x, weight):
        heads = x.reshape(*x.shape[:2], -1, 16).astype(np.float64)
        scaled = heads / np.sqrt((heads**2).mean(-1, keepdims=True) + 1e-3) * weight
        return scaled.reshape(x.shape).astype(F)

    plain = [norm(inputs[0], weights[0]), norm(inputs[1], weights[1]), *inputs[2:9]]
    got = run(node_model("GroupQueryAttention", inputs, attributes, domain=MS, outputs=3), inputs)
    attributes.pop("qk_norm_epsilon")
    model = node_model("GroupQueryAttention", plain, attributes, domain=MS, outputs=3)
    feeds = {f"x{i}": x for i, x in enumerate(plain)}
    for a, e in zip(got, ort_run(ort_model(model, feeds), feeds), strict=True):
        assert_same(a, e, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("per_column", [False, True])
def test_quantized_attention(per_column):
    # Weights so small that ONNX Runtime does not saturate sums of two products of 8 bits.
    rng = np.random.default_rng(per_column)
    for b, s, heads, size, past, form in [
        (2, 5, 3, 4, 0, None),
        (1, 1, 1, 8, 0, "ends"),
        (2, 3, 2, 8, 4, "ends"),
    ]:
        hidden = heads * size
        x = rng.integers(0, 256, (b, s, hidden)).astype(np.uint8)
        w = rng.integers(-60, 61, (hidden, 3 * hidden)).astype(np.int8)
        scales = rng.uniform(0.005, 0.02, 3 * hidden if per_column else ()).astype(F)
        inputs = [
            x, w, normal(rng, 3 * hidden), F(0.02), scales,
            None if form is None else padding(rng, form, b, s, s + past), np.uint8(120), np.zeros(scales.shape, np.int8),
            normal(rng, 2, b, heads, past, size) if past else None,
        ]  # fmt: skip
        inputs = [None if x is None else np.asarray(x) for x in inputs]
        feeds = {f"x{i}": x for i, x in enumerate(inputs) if x is not None and i not in (1, 7)}
        attributes = {"num_heads": heads}
        model = node_model(
            "QAttention", inputs, attributes, domain=MS, outputs=2 if past else 1, constant=[1, 7]
        )
        want = ort_run(ort_model(model, feeds), feeds)
        for got, expected in zip(run(model, inputs, [1, 7]), want, strict=True):
            assert_same(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "op, inputs, attributes, reason",
    [
        ("Attention", 2, {"do_rotary": 1}, "do_rotary"),
        ("Attention", 2, {"past_present_share_buffer": 1}, "past_present_share_buffer"),
        ("GroupQueryAttention", 7, {"sliding_window_cache": 1}, "sliding_window_cache"),
        ("GroupQueryAttention", 7, {"k_quant_type": "PER_TENSOR"}, "k_quant_type"),
        ("GroupQueryAttention", 17, {}, "query_seqlens"),
    ],
)
def test_what_is_not_supported_says_so_at_load(op, inputs, attributes, reason):
    given = [np.ones((1, 1, 4), F) if i < 7 or i == 16 else None for i in range(inputs)]
    attributes = {"num_heads": 2, **({"kv_num_heads": 2} if op.startswith("Group") else {}), **attributes}
    with pytest.raises(pyinfer.PyInferError, match=reason):
        pyinfer.load(node_model(op, given, attributes, domain=MS))
