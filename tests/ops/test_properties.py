"""Random shapes, broadcasting, axes and layouts against NumPy (hypothesis)."""

from __future__ import annotations

import numpy as np
import onnx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pyinfer
from nodes import check, node_model, run

common = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
DTYPES = [np.float32, np.float64, np.int32, np.int64, np.uint8, np.float16]
SHAPES = st.lists(st.integers(0, 5), min_size=0, max_size=5).map(tuple)


def array(shape, dtype, seed) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 100, shape).astype(dtype)


@st.composite
def broadcastable(draw, count):
    """Shapes that broadcast together."""
    full = draw(SHAPES)
    shapes = []
    for _ in range(count):
        kept = full[draw(st.integers(0, len(full))) :]
        shapes.append(tuple(1 if draw(st.booleans()) else d for d in kept))
    return shapes


@common
@given(
    broadcastable(2),
    st.sampled_from(DTYPES),
    st.sampled_from(["Add", "Sub", "Mul", "Max", "Min"]),
    st.integers(0, 99),
)
def test_binary(shapes, dtype, op, seed):
    a, b = (array(s, dtype, seed + i) for i, s in enumerate(shapes))
    functions = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Max": np.maximum, "Min": np.minimum}
    # NumPy rounds halves once more than float32 arithmetic does.
    check(op, [a, b], expected=[functions[op](a, b)], rtol=1e-3 if dtype is np.float16 else 1e-7)


@common
@given(broadcastable(3), st.sampled_from(DTYPES), st.integers(0, 99))
def test_where(shapes, dtype, seed):
    c = array(shapes[0], np.int32, seed) % 2 == 0
    a, b = array(shapes[1], dtype, seed + 1), array(shapes[2], dtype, seed + 2)
    check("Where", [c, a, b], expected=[np.where(c, a, b)])


@common
@given(SHAPES, st.sampled_from([*DTYPES, np.complex128, np.bool_]), st.randoms(use_true_random=False))
def test_transpose(shape, dtype, random):
    perm = list(range(len(shape)))
    random.shuffle(perm)
    x = array(shape, np.int64, 1).astype(dtype)
    check("Transpose", [x], {"perm": perm} if perm else {}, expected=[x.transpose(perm).copy()])


@common
@given(SHAPES.filter(len), st.data())
def test_reduce(shape, data):
    axes = data.draw(st.lists(st.integers(0, len(shape) - 1), unique=True, min_size=1))
    signed = [a - len(shape) if data.draw(st.booleans()) else a for a in axes]
    keep = data.draw(st.booleans())
    x = array(shape, np.float32, len(shape))
    want = x.astype(np.float64).sum(tuple(axes), keepdims=keep).astype(np.float32)
    check("ReduceSum", [x, np.array(signed)], {"keepdims": int(keep)}, expected=[want], rtol=1e-5, atol=1e-5)
    if all(shape[a] > 0 for a in axes):
        want = x.max(tuple(axes), keepdims=keep)
        check("ReduceMax", [x, np.array(signed)], {"keepdims": int(keep)}, expected=[want])


@common
@given(st.lists(SHAPES.filter(len), min_size=1, max_size=1), st.data())
def test_concat_and_split(shapes, data):
    shape = shapes[0]
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    sizes = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    parts = []
    for i, n in enumerate(sizes):
        s = list(shape)
        s[axis] = n
        parts.append(array(tuple(s), np.float32, i))
    whole = np.concatenate(parts, axis)
    check("Concat", parts, {"axis": axis}, expected=[whole])
    check("Split", [whole, np.array(sizes)], {"axis": axis}, outputs=len(sizes), expected=parts)


@common
@given(SHAPES.filter(len), st.data())
def test_slice(shape, data):
    axis = data.draw(st.integers(0, len(shape) - 1))
    start, end = data.draw(st.integers(-8, 8)), data.draw(st.integers(-8, 8))
    step = data.draw(st.sampled_from([1, 2, 3, -1, -2]))
    x = array(shape, np.int64, 3)
    n = shape[axis]
    index = [slice(None)] * len(shape)
    # ONNX clamps after adding the size once; NumPy's slices do the same.
    index[axis] = slice(start, end, step)
    inputs = [x, np.array([start]), np.array([end]), np.array([axis]), np.array([step])]
    if step < 0 and (end < -n or start < -n):
        return  # there NumPy and ONNX clamp differently
    check("Slice", inputs, expected=[np.ascontiguousarray(x[tuple(index)])])


@common
@given(SHAPES.filter(lambda s: len(s) > 0 and s[0] > 0), st.data())
def test_gather(shape, data):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    n = shape[axis]
    where = data.draw(SHAPES.filter(lambda s: len(s) < 3))
    if n == 0:
        where = (0,)
    indices = np.random.default_rng(1).integers(-n, max(n, 1), where)
    x = array(shape, np.float32, 4)
    check("Gather", [x, indices], {"axis": axis}, expected=[np.take(x, indices, axis)])


@common
@given(broadcastable(2), st.integers(0, 6), st.integers(0, 20), st.integers(0, 33), st.integers(0, 9))
def test_matmul(batch, m, k, n, seed):
    a, b = array((*batch[0], m, k), np.float32, seed), array((*batch[1], k, n), np.float32, seed + 1)
    want = np.matmul(a.astype(np.float64), b.astype(np.float64)).astype(np.float32)
    check("MatMul", [a, b], expected=[want], rtol=1e-4, atol=1e-5)
    if b.ndim == 2:
        check("MatMul", [a, b], expected=[want], rtol=1e-4, atol=1e-5, constant=(1,))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 5), st.integers(1, 7), st.integers(1, 9), st.integers(1, 9),
    st.integers(1, 3), st.integers(1, 2), st.integers(1, 2), st.integers(0, 2),
)  # fmt: skip
def test_conv(batch, channels, filters, height, width, kernel, stride, dilation, pad):
    span = (kernel - 1) * dilation + 1
    if span > height + 2 * pad or span > width + 2 * pad:
        return
    x = array((batch, channels, height, width), np.float32, 5)
    w, b = array((filters, channels, kernel, kernel), np.float32, 6), array((filters,), np.float32, 7)
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    rows, columns = (height + 2 * pad - span) // stride + 1, (width + 2 * pad - span) // stride + 1
    want = np.zeros((batch, filters, rows, columns))
    for i in range(kernel):
        for j in range(kernel):
            y, z = i * dilation, j * dilation
            part = padded[
                :, :, y : y + stride * (rows - 1) + 1 : stride, z : z + stride * (columns - 1) + 1 : stride
            ]
            want += np.einsum("nchw,fc->nfhw", part, w[:, :, i, j].astype(np.float64))
    want = (want + b[:, None, None]).astype(np.float32)
    attributes = {"strides": [stride] * 2, "dilations": [dilation] * 2, "pads": [pad] * 4}
    check("Conv", [x, w, b], attributes, expected=[want], rtol=1e-4, atol=1e-4, constant=(1, 2))
    check("Conv", [x, w, b], attributes, expected=[want], rtol=1e-4, atol=1e-4)


@common
@given(
    st.integers(1, 9), st.integers(1, 40), st.integers(1, 40), st.sampled_from(["MatMul", "Softmax", "Gemm"])
)
def test_a_row_has_the_same_bits_in_every_batch(batch, k, n, op):
    x = array((batch, k), np.float32, 8)
    inputs = [x] if op == "Softmax" else [x, array((k, n), np.float32, 9)]
    model = node_model(op, inputs, constant=(1,))
    together = run(model, inputs, (1,))[0]
    for i in range(batch):
        apart = run(model, [x[i : i + 1], *inputs[1:]], (1,))[0]
        assert np.array_equal(apart[0], together[i])


@common
@given(SHAPES, st.sampled_from(["C", "F", "stepped", "swapped", "readonly"]))
def test_every_memory_layout_is_taken(shape, layout):
    x = array(shape, np.float32, 10)
    given_ = {
        "C": lambda: x,
        "F": lambda: np.array(x, order="F"),
        "stepped": lambda: np.repeat(x, 2, axis=-1)[..., ::2] if x.ndim else x,
        "swapped": lambda: x.astype(x.dtype.newbyteorder()),
        "readonly": lambda: _readonly(x),
    }[layout]()
    model = pyinfer.load(node_model("Neg", [x]))
    np.testing.assert_array_equal(model(given_), -x)


def _readonly(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x.setflags(write=False)
    return x


def test_the_newest_opset_is_known():
    x = np.ones(3, np.float32)
    check("Neg", [x], opset=onnx.defs.onnx_opset_version(), expected=[-x])
