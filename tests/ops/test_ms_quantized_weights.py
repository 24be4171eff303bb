"""Operators of com.microsoft on quantized weights, read as their float meaning, against ONNX Runtime."""

import numpy as np
import pytest

import pyinfer
from nodes import node_model, run
from ort import check_ort

MS = "com.microsoft"
F = np.float32


def pack(values, bits):
    """Numbers of `bits` bits along the last dimension as bytes, the lowest first."""
    per_byte = 8 // bits
    lacking = -values.shape[-1] % per_byte
    full = np.concatenate([values, np.zeros((*values.shape[:-1], lacking), values.dtype)], -1)
    groups = full.reshape(*values.shape[:-1], -1, per_byte).astype(np.uint8)
    return np.bitwise_or.reduce(groups << (np.arange(per_byte, dtype=np.uint8) * bits), -1)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("with_zeros", [False, True])
@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_gather_of_packed_bytes(bits, with_zeros, index):
    rng = np.random.default_rng([bits, with_zeros])
    for shape, block, ids in [
        ((7, 48), 16, (2, 3)),
        ((5, 64), 32, ()),
        ((1, 40), 16, (1,)),
        ((3, 2, 32), 32, (4,)),
    ]:
        data = pack(rng.integers(0, 1 << bits, shape), bits)
        blocks = (*shape[:-1], -(-shape[-1] // block))
        scales = rng.uniform(0.5, 2, blocks).astype(F)
        zeros = pack(rng.integers(0, 1 << bits, blocks), bits) if with_zeros else None
        rows = rng.integers(-shape[0], shape[0], ids).astype(index)
        attributes = {"bits": bits, "block_size": block, "quantize_axis": -1}
        inputs = [data, rows, scales, zeros]
        constant = [0, 2, 3] if with_zeros else [0, 2]
        check_ort("GatherBlockQuantized", inputs, attributes, constant=constant)


@pytest.mark.parametrize("name", ["int4", "uint4"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_gather_of_four_bits(name, dtype):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    rng = np.random.default_rng(len(name))
    low = -8 if name == "int4" else 0
    for gather in (0, 1, 2):
        for quantize in (0, 1, 2):
            shape = [3, 5, 6]
            shape[quantize] = 36
            blocks = list(shape)
            blocks[quantize] = 3
            numbers = [rng.integers(low, low + 16, s).astype(np.int8) for s in (shape, blocks)]
            data, zeros = (x.astype(getattr(ml_dtypes, name)) for x in numbers)
            scales = rng.uniform(0.5, 2, blocks).astype(dtype)
            # The last two are out of range and give zeros.
            rows = np.array([[0, -1], [shape[gather] - 1, 1], [shape[gather], -shape[gather] - 1]])
            attributes = {"block_size": 16, "gather_axis": gather, "quantize_axis": quantize}
            for with_zeros in (False, True):
                inputs = [data, rows, scales, zeros if with_zeros else None]
                constant = [0, 2, 3] if with_zeros else [0, 2]
                check_ort("GatherBlockQuantized", inputs, attributes, constant=constant, rtol=1e-3)


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2", "float4_e2m1fn"])
def test_gather_of_small_floats(name):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    rng = np.random.default_rng(3)
    data = rng.integers(-4, 5, (6, 40)).astype(F).astype(getattr(ml_dtypes, name))
    rows = np.array([2, -1, 0])
    for block, shape in [(16, (6, 3)), (0, (6, 1)), (0, (1, 1)), (16, (1, 3))]:
        scales = rng.uniform(0.5, 2, shape).astype(F)
        inputs = [data, rows, scales]
        check_ort("GatherBlockQuantized", inputs, {"block_size": block}, constant=[0, 2])


@pytest.mark.parametrize(
    "change", [{"bits": 3}, {"block_size": 8}, {"block_size": 48}, {"gather_axis": 1}, {"quantize_axis": 2}]
)
def test_hostile_gather(change):
    inputs = [np.zeros((3, 16), np.uint8), np.array([1]), np.ones((3, 2), F)]
    with pytest.raises(pyinfer.PyInferError):
        run(node_model("GatherBlockQuantized", inputs, {"block_size": 16, **change}, domain=MS), inputs)


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("per_column", [False, True])
def test_dynamic_quantize_lstm(directions, per_column):
    # ONNX Runtime rounds the inputs of the products to 8 bits; here they are kept as they are.
    rng = np.random.default_rng([directions, per_column])
    steps, b, n, hidden = 4, 2, 12, 8
    attributes = {"hidden_size": hidden, "direction": "forward" if directions == 1 else "bidirectional"}

    def weights(rows):
        scale = rng.uniform(0.005, 0.01, (directions, 4 * hidden) if per_column else directions).astype(F)
        return (
            rng.integers(-60, 61, (directions, rows, 4 * hidden)).astype(np.int8),
            scale,
            np.zeros(scale.shape, np.int8),
        )

    (w, w_scale, w_zero), (r, r_scale, r_zero) = weights(n), weights(hidden)
    normal = lambda *shape: rng.standard_normal(shape).astype(F)  # noqa: E731
    for extra in (False, True):
        inputs = [
            normal(steps, b, n), w, r, normal(directions, 8 * hidden) if extra else None,
            np.array([4, 2], np.int32) if extra else None, normal(directions, b, hidden) if extra else None,
            normal(directions, b, hidden) if extra else None, normal(directions, 3 * hidden) if extra else None,
            w_scale, w_zero, r_scale, r_zero,
        ]  # fmt: skip
        constant = [1, 2, 8, 9, 10, 11]
        check_ort(
            "DynamicQuantizeLSTM", inputs, attributes, outputs=3, constant=constant, rtol=0.02, atol=0.02
        )


@pytest.mark.parametrize("segments", [False, True])
def test_quantized_embed_layer_norm(segments):
    rng = np.random.default_rng(segments)
    b, s, hidden = 2, 5, 16
    tables = [
        rng.integers(0, 256, shape).astype(np.uint8)
        for shape in [(20, hidden), (9, hidden), (3, hidden), hidden, hidden]
    ]
    scales = [F(x) for x in rng.uniform(0.01, 0.03, 5)]
    zeros = [np.uint8(x) for x in rng.integers(100, 140, 5)]
    if not segments:
        tables[2] = scales[2] = zeros[2] = None
    inputs = [
        rng.integers(0, 20, (b, s)).astype(np.int32), rng.integers(0, 3, (b, s)).astype(np.int32) if segments else None,
        *tables, np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32), *scales, *zeros,
    ]  # fmt: skip
    constant = [i for i, x in enumerate(inputs) if x is not None and i > 1 and i != 7]
    check_ort(
        "QEmbedLayerNormalization",
        inputs,
        {"epsilon": 1e-5},
        outputs=2,
        constant=constant,
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_distances(metric, dtype):
    rng = np.random.default_rng(1)
    for m, n, k in [(3, 4, 5), (1, 1, 1), (7, 2, 30)]:
        a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((n, k)).astype(dtype)
        check_ort("CDist", [a, b], {"metric": metric}, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("k, n, block", [(32, 5, 16), (24, 7, 32), (3, 1, 16), (128, 9, 64)])
def test_matmul_of_coded_weights(kind, k, n, block):
    rng = np.random.default_rng([kind, k])
    codes = rng.integers(0, 256, (n * k + 1) // 2).astype(np.uint8)
    scales = rng.uniform(0.5, 2, -(-n * k // block)).astype(F)
    attributes = {"K": k, "N": n, "block_size": block, "quant_type": kind}
    for shape in [(4, k), (2, 3, k)]:
        a = rng.standard_normal(shape).astype(F)
        check_ort("MatMulBnb4", [a, codes, scales], attributes, constant=[1, 2], rtol=1e-4, atol=1e-4)
    a = rng.standard_normal((4, n)).astype(F)
    back = {**attributes, "transB": 0}
    one = np.eye(k, dtype=F)
    model = node_model("MatMulBnb4", [one, codes, scales], attributes, domain=MS, constant=[1, 2])
    identity = run(model, [one])[0]
    got = run(node_model("MatMulBnb4", [a, codes, scales], back, domain=MS, constant=[1, 2]), [a])[0]
    np.testing.assert_allclose(got, a @ identity.T, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("change", [{"K": 0}, {"N": 2**62}, {"K": 31}, {"block_size": 0}, {"quant_type": 2}])
def test_hostile_coded_weights(change):
    attributes = {"K": 32, "N": 2, "block_size": 16, "quant_type": 1, **change}
    inputs = [np.ones((1, 32), F), np.zeros(32, np.uint8), np.ones(4, F)]
    with pytest.raises(pyinfer.PyInferError):
        run(node_model("MatMulBnb4", inputs, attributes, domain=MS, constant=[1, 2]), inputs[:1])
