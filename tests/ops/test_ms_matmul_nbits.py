"""MatMulNBits against ONNX Runtime and against NumPy's product with the weights widened by hand."""

import numpy as np
import pytest

import pyinfer
from nodes import check, node_model, run
from ort import check_ort

MS = "com.microsoft"


def sizes(k, n, bits, block):
    return {"K": k, "N": n, "bits": bits, "block_size": block}


def weights(rng, k, n, bits, block, zero=None):
    """B, scales, zero points and the K x N matrix that they stand for."""
    groups = -(-k // block)
    q = rng.integers(0, 1 << bits, (n, groups * block))
    shifts = np.arange(0, 8, bits)
    packed = (q.reshape(n, -1, 8 // bits) << shifts).sum(-1).astype(np.uint8)
    scales = rng.uniform(0.5, 1.5, (n, groups)).astype(np.float32)
    if zero == "packed":
        zeros = rng.integers(0, 1 << bits, (n, groups))
        padded = np.pad(zeros, ((0, 0), (0, -groups % (8 // bits))))
        stored = (padded.reshape(n, -1, 8 // bits) << shifts).sum(-1).astype(np.uint8)
    elif zero == "plain":
        zeros = stored = rng.uniform(0, (1 << bits) - 1, (n, groups)).astype(np.float32)
    else:
        zeros, stored = np.full((n, groups), 1 << (bits - 1)), None
    return packed.reshape(n, groups, block * bits // 8), scales, stored, q, zeros


def widen(q, scales, zeros, k, group):
    w = (q[:, :k].astype(np.float64) - zeros[:, group]) * scales[:, group].astype(np.float64)
    return w.T


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("zero", [None, "packed", "plain"])
@pytest.mark.parametrize("constant", [True, False])
def test_product(bits, zero, constant):
    rng = np.random.default_rng([bits, len(zero or ""), constant])
    for trial in range(12):
        block = int(rng.choice([16, 32, 64, 128, 256]))
        k, n, m = int(rng.integers(1, 400)), int(rng.integers(1, 50)), int(rng.integers(0, 20))
        b, scales, stored, q, zeros = weights(rng, k, n, bits, block, zero)
        a = rng.standard_normal((2, m, k) if trial % 2 else (m, k)).astype(np.float32)
        bias = rng.standard_normal(n).astype(np.float32) if trial % 3 else None
        want = a.astype(np.float64) @ widen(q, scales, zeros, k, np.arange(k) // block)
        if bias is not None:
            want += bias
        check(
            "MatMulNBits", [a, b, scales, stored, None, bias], sizes(k, n, bits, block),
            domain=MS, constant=[1, 2, 3, 5] if constant else [], expected=[want.astype(np.float32)],
            rtol=1e-4, atol=2e-3 * (1 << bits) / 16 * np.sqrt(k),
        )  # fmt: skip


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("block", [16, 32, 128])
@pytest.mark.parametrize("zero", [None, "packed"])
def test_against_onnxruntime(bits, block, zero):
    rng = np.random.default_rng(bits * block)
    k, n = 160, 37
    b, scales, stored, _, _ = weights(rng, k, n, bits, block, zero)
    a = rng.standard_normal((3, 5, k)).astype(np.float32)
    bias = rng.standard_normal(n).astype(np.float32)
    check_ort(
        "MatMulNBits", [a, b, scales, stored, None, bias], sizes(k, n, bits, block),
        constant=[1, 2, 3, 5], rtol=1e-4, atol=1e-4 * (1 << bits) * 4,
    )  # fmt: skip


@pytest.mark.parametrize("constant", [True, False])
def test_group_index(constant):
    rng = np.random.default_rng(5)
    for bits in (2, 4, 8):
        k, n, block = 75, 20, 16
        b, scales, stored, q, zeros = weights(rng, k, n, bits, block, "packed")
        index = rng.integers(0, scales.shape[1], k).astype(np.int32)
        a = rng.standard_normal((7, k)).astype(np.float32)
        want = a.astype(np.float64) @ widen(q, scales, zeros, k, index)
        check(
            "MatMulNBits", [a, b, scales, stored, index], sizes(k, n, bits, block),
            domain=MS, constant=[1, 2, 3, 4] if constant else [], expected=[want.astype(np.float32)],
            rtol=1e-4, atol=1e-2,
        )  # fmt: skip


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half(dtype):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    rng = np.random.default_rng(6)
    t = np.float16 if dtype == "float16" else ml_dtypes.bfloat16
    k, n, block = 96, 33, 32
    b, scales, _, q, zeros = weights(rng, k, n, 4, block)
    a, scales = (rng.standard_normal((5, k)) * 0.1).astype(t), scales.astype(t)
    bias = rng.standard_normal(n).astype(t)
    want = a.astype(np.float64) @ widen(q, scales.astype(np.float64), zeros, k, np.arange(k) // block)
    check(
        "MatMulNBits", [a, b, scales, None, None, bias], sizes(k, n, 4, block),
        domain=MS, constant=[1], expected=[(want + bias.astype(np.float64)).astype(t)],
        rtol=1e-2, atol=1e-2,
    )  # fmt: skip


def test_same_bits_for_every_batch():
    rng = np.random.default_rng(7)
    k, n, block = 600, 40, 64
    b, scales, stored, _, _ = weights(rng, k, n, 4, block, "packed")
    a = rng.standard_normal((300, k)).astype(np.float32)
    inputs = [a, b, scales, stored]
    model = node_model("MatMulNBits", inputs, sizes(k, n, 4, block), domain=MS, constant=[1, 2, 3])
    whole = run(model, inputs, [1, 2, 3])[0]
    for rows in (1, 2, 13, 250):
        part = run(model, [a[:rows], *inputs[1:]], [1, 2, 3])[0]
        assert part.tobytes() == whole[:rows].tobytes()


def test_omitted_weights_are_zeros():
    a = np.ones((3, 32), np.float32)
    bias = np.arange(5, dtype=np.float32)
    attributes = {"K": 32, "N": 5, "bits": 4, "block_size": 16}
    empty, scales = np.zeros((0, 2, 8), np.uint8), np.zeros(0, np.float32)
    want = [np.zeros((3, 5), np.float32) + bias]
    check("MatMulNBits", [a, empty, scales, None, None, bias], attributes, domain=MS, expected=want)
    check(
        "MatMulNBits",
        [a, empty, scales, None, None, bias],
        attributes,
        domain=MS,
        expected=want,
        constant=[1, 2],
    )
    check("MatMulNBits", [a, empty, scales], attributes, domain=MS, expected=[want[0] * 0])


@pytest.mark.parametrize(
    "change",
    [
        {"bits": 3}, {"bits": 0}, {"block_size": 8}, {"block_size": 48}, {"block_size": -16}, {"K": 0},
        {"N": -1}, {"K": 2**62}, {"N": 2**62}, {"K": 1000}, {"N": 7}, {"weight_prepacked": 1},
        {"block_size": 2**62},
    ],
)  # fmt: skip
def test_hostile_attributes(change):
    a, b = np.ones((3, 32), np.float32), np.zeros((5, 2, 8), np.uint8)
    attributes = {"K": 32, "N": 5, "bits": 4, "block_size": 16, **change}
    for constant in ([1], []):
        inputs = [a, b, np.ones((5, 2), np.float32)]
        with pytest.raises(pyinfer.PyInferError):
            run(node_model("MatMulNBits", inputs, attributes, domain=MS, constant=constant), inputs, constant)


def test_hostile_shapes():
    good = {
        "a": np.ones((3, 32), np.float32), "b": np.zeros((5, 2, 8), np.uint8),
        "scales": np.ones((5, 2), np.float32), "zeros": np.zeros((5, 1), np.uint8),
        "index": np.zeros(32, np.int32), "bias": np.ones(5, np.float32),
    }  # fmt: skip
    attributes = {"K": 32, "N": 5, "bits": 4, "block_size": 16}
    bad = [
        {"a": np.ones((3, 31), np.float32)}, {"a": np.float32(1)}, {"b": np.zeros((5, 16), np.uint8)},
        {"scales": np.ones((5, 3), np.float32)}, {"zeros": np.zeros((5, 3), np.uint8)},
        {"index": np.full(32, 2, np.int32)}, {"index": np.full(32, -1, np.int32)},
        {"index": np.zeros(31, np.int32)}, {"bias": np.ones(4, np.float32)},
    ]  # fmt: skip
    check(
        "MatMulNBits", list(good.values()), attributes, domain=MS, expected=[np.full((3, 5), 1, np.float32)]
    )
    for change in bad:
        inputs = list({**good, **change}.values())
        for constant in ([1, 2, 3, 4, 5], []):
            with pytest.raises(pyinfer.PyInferError):
                run(
                    node_model("MatMulNBits", inputs, attributes, domain=MS, constant=constant),
                    inputs,
                    constant,
                )
