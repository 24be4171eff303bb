"""Operators of com.microsoft and ai.onnx.ml on random shapes, 0 and 1 among the lengths, and random attributes, against
ONNX Runtime.

What ONNX Runtime refuses is left out; each operator must be compared a few times. Its CPU provider lacks BiasAdd,
BiasDropout, BiasSoftmax and BiasSplitGelu, which have their tests in NumPy.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest

import pyinfer
from nodes import node_model, run
from ort import ort_model, ort_run

F = np.float32
MS, ML = "com.microsoft", "ai.onnx.ml"


@dataclass
class Case:
    """One node: inputs and attributes. Integers may differ by `steps`."""

    inputs: list[Any]
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    constant: tuple[int, ...] = ()
    rtol: float = 1e-4
    atol: float = 1e-5
    steps: int = 0


class Draw:
    """Random shapes, values and choices."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)

    def length(self) -> int:
        return int(self.rng.choice([0, 1, 1, 2, 3, 5, 8, 17]))

    def shape(self, least: int = 0, most: int = 4) -> tuple[int, ...]:
        return tuple(self.length() for _ in range(self.rng.integers(least, most + 1)))

    def floats(self, *shape: int, scale: float = 1) -> np.ndarray:
        return (scale * self.rng.standard_normal(shape)).astype(F)

    def positive(self, *shape: int) -> np.ndarray:
        return self.rng.uniform(0.01, 0.2, shape).astype(F)

    def integers(self, dtype: Any, *shape: int) -> np.ndarray:
        info = np.iinfo(dtype)
        return self.rng.integers(info.min, info.max + 1, shape).astype(dtype)

    def weights(self, dtype: Any, *shape: int) -> np.ndarray:
        """Of 7 bits: on CPUs without VNNI, ONNX Runtime's sums of uint8 by int8 saturate at 16 bits."""
        return (self.integers(dtype, *shape) // 2).astype(dtype)

    def any_of(self, *choices: Any) -> Any:
        return choices[self.rng.integers(len(choices))]

    def maybe(self, value: Any) -> Any:
        return self.any_of(value, None)

    def some(self, **attributes: Any) -> dict[str, Any]:
        """A random part of the attributes."""
        return {name: value for name, value in attributes.items() if self.rng.random() < 0.6}

    def broadcastable(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """A shape that broadcasts with `shape`."""
        cut = shape[self.rng.integers(len(shape) + 1) :]
        return tuple(self.any_of(n, n, 1) for n in cut)


def gelu(d: Draw) -> Case:
    return Case([d.floats(*d.shape())])


def quick_gelu(d: Draw) -> Case:
    return Case([d.floats(*d.shape())], d.some(alpha=d.any_of(1.0, -0.5, 2.0, 0.0)))


def bias_gelu(d: Draw) -> Case:
    shape = d.shape(1)
    return Case([d.floats(*shape), d.floats(shape[-1])])


def fast_gelu(d: Draw) -> Case:
    shape = d.shape(1)
    return Case([d.floats(*shape), d.maybe(d.floats(shape[-1]))])


def fused_matmul(d: Draw) -> Case:
    batch = d.shape(0, 2)
    m, k, n = d.length(), d.length(), d.length()
    a, b = d.any_of(0, 1), d.any_of(0, 1)
    x = d.floats(*batch, *((k, m) if a else (m, k)))
    y = d.floats(*batch, *((n, k) if b else (k, n)))
    return Case([x, y], {"transA": a, "transB": b} | d.some(alpha=d.any_of(0.5, -2.0)))


def fused_gemm(d: Draw) -> Case:
    m, k, n = d.length(), d.length(), d.length()
    a, b = d.any_of(0, 1), d.any_of(0, 1)
    x, y = d.floats(*((k, m) if a else (m, k))), d.floats(*((n, k) if b else (k, n)))
    c = d.any_of(None, d.floats(n), d.floats(m, n), d.floats(m, 1), d.floats(1, n), d.floats(1))
    activation = d.any_of(
        {"activation": "Relu"},
        {"activation": "LeakyRelu", "activation_alpha": 0.2},
        {"activation": "Tanh"},
        {"activation": "Sigmoid"},
    )
    return Case([x, y, c], {"transA": a, "transB": b} | d.some(alpha=0.5, beta=2.0) | activation)


def skip_norm(centred: bool) -> Callable[[Draw], Case]:
    def case(d: Draw) -> Case:
        shape = (d.length(), d.length(), max(d.length(), 1))
        n = shape[-1]
        skip = d.any_of(shape, (1, *shape[1:]), shape[1:])
        inputs = [d.floats(*shape), d.floats(*skip), d.floats(n)]
        inputs += [d.maybe(d.floats(n))] if centred else []
        inputs += [d.maybe(d.floats(n))]
        return Case(inputs, d.some(epsilon=1e-3), rtol=1e-3, atol=1e-4)

    return case


def embed_norm(d: Draw) -> Case:
    b, s, h = d.length(), d.length(), d.any_of(4, 16)
    ids = d.rng.integers(0, 9, (b, s)).astype(np.int32)
    segments = d.rng.integers(0, 2, (b, s)).astype(np.int32)
    mask = d.rng.integers(0, 2, (b, s)).astype(np.int32)
    typed = d.any_of(True, False)
    inputs = [
        ids,
        segments if typed else None,
        d.floats(9, h),
        d.floats(20, h),
        d.floats(2, h) if typed else None,
    ]
    inputs += [d.floats(h), d.floats(h), d.maybe(mask)]
    return Case(inputs, d.some(epsilon=1e-3), outputs=2, rtol=1e-3, atol=1e-4)


def qlinear_binary(d: Draw) -> Case:
    dtype = d.any_of(np.uint8, np.int8)
    shape = d.shape()
    other = d.broadcastable(shape)
    inputs = []
    for s in (shape, other):
        inputs += [d.integers(dtype, *s), d.positive()[()], d.integers(dtype)]
    return Case([*inputs, d.positive()[()] * F(9), d.integers(dtype)], steps=1)


def qlinear_unary(**attributes: Any) -> Callable[[Draw], Case]:
    def case(d: Draw) -> Case:
        dtype = d.any_of(np.uint8, np.int8)
        inputs = [d.integers(dtype, *d.shape()), d.positive()[()], d.integers(dtype)]
        return Case([*inputs, d.positive()[()], d.integers(dtype)], d.some(**attributes), steps=1)

    return case


def qlinear_softmax(d: Draw) -> Case:
    dtype = d.any_of(np.uint8, np.int8)
    shape = d.shape(1)
    axis = int(d.rng.integers(-len(shape), len(shape)))
    inputs = [d.integers(dtype, *shape), d.positive()[()], d.integers(dtype)]
    zero = np.array(np.iinfo(dtype).min, dtype)
    return Case(
        [*inputs, F(1 / 256), zero], {"axis": axis, "opset": d.any_of(11, 13)}, constant=(1, 2, 3, 4), steps=1
    )


def qlinear_concat(d: Draw) -> Case:
    dtype = d.any_of(np.uint8, np.int8)
    shape = list(d.shape(1))
    axis = int(d.rng.integers(-len(shape), len(shape)))
    inputs = [d.positive()[()] * F(2), d.integers(dtype)]
    for _ in range(d.rng.integers(1, 4)):
        shape[axis] = d.length()
        inputs += [d.integers(dtype, *shape), d.positive()[()], d.integers(dtype)]
    scales = tuple(i for i in range(len(inputs)) if i < 2 or i % 3 != 2)
    return Case(inputs, {"axis": axis}, constant=scales, steps=1)


def qlinear_where(d: Draw) -> Case:
    dtype = d.any_of(np.uint8, np.int8)
    shape = d.shape()
    inputs = [d.rng.integers(0, 2, d.broadcastable(shape)).astype(bool)]
    for s in (shape, d.broadcastable(shape)):
        inputs += [d.integers(dtype, *s), d.positive()[()], d.integers(dtype)]
    inputs += [d.positive()[()] * F(2), d.integers(dtype)]
    return Case(inputs, constant=(2, 3, 5, 6, 7, 8), steps=1)


def qlinear_pool(d: Draw, least: int = 1) -> Case:
    dtype = d.any_of(np.uint8, np.int8)
    last = d.any_of(0, 1)
    n, c, h, w = d.length(), d.length(), max(d.length(), least), max(d.length(), least)
    x = d.integers(dtype, *((n, h, w, c) if last else (n, c, h, w)))
    quantized = [d.positive()[()], d.integers(dtype), d.positive()[()], d.integers(dtype)]
    return Case([x, *quantized], {"channels_last": last}, constant=(1, 2, 3, 4), steps=1)


def qlinear_average_pool(d: Draw) -> Case:
    """Not both of ceil_mode and count_include_pad: ONNX Runtime counts what a window has beyond the padding, too."""
    case = qlinear_pool(d, least=3)  # windows that find no room divide by zero in ONNX Runtime
    kernel = [d.any_of(1, 2, 3), d.any_of(1, 2)]
    case.attributes |= {"kernel_shape": kernel} | d.some(
        strides=[d.any_of(1, 2), d.any_of(1, 2)],
        pads=[kernel[0] - 1, kernel[1] - 1, 0, 0],
        **d.any_of({"ceil_mode": 1}, {"count_include_pad": 1}, {}),
    )
    return case


def matmul_integer_to_float(d: Draw) -> Case:
    m, k, n = d.length(), max(d.length(), 1), d.length()  # a sum of nothing is left unwritten by ONNX Runtime
    a, b = d.any_of(np.uint8, np.int8), d.any_of(np.uint8, np.int8)
    batch = d.shape(0, 2)
    inputs = [
        d.integers(a, *batch, m, k),
        d.weights(b, k, n),
        d.positive()[()],
        d.any_of(d.positive()[()], d.positive(n)),
    ]
    inputs += [d.maybe(d.integers(a)), d.maybe(d.integers(b)), d.maybe(d.floats(n))]
    return Case(inputs, atol=1e-3)


def dynamic_quantize_matmul(d: Draw) -> Case:
    m, k, n = d.length(), max(d.length(), 1), d.length()  # a sum of nothing is left unwritten by ONNX Runtime
    b = d.any_of(np.uint8, np.int8)
    inputs = [d.floats(*d.shape(0, 2), m, k), d.weights(b, k, n), d.any_of(d.positive()[()], d.positive(n))]
    return Case([*inputs, d.maybe(d.integers(b)), d.maybe(d.floats(n))], atol=1e-2)


def qgemm(d: Draw) -> Case:
    m, k, n = d.length(), max(d.length(), 1), d.length()  # a sum of nothing is left unwritten by ONNX Runtime
    a, b = d.any_of(np.uint8, np.int8), d.any_of(np.uint8, np.int8)
    ta, tb = d.any_of(0, 1), d.any_of(0, 1)
    inputs = [d.integers(a, *((k, m) if ta else (m, k))), d.positive()[()], d.integers(a)]
    inputs += [d.weights(b, *((n, k) if tb else (k, n))), d.positive()[()], d.integers(b)]
    inputs += [d.maybe(d.rng.integers(-1000, 1000, d.any_of((n,), (m, n), (1, n))).astype(np.int32))]
    if d.any_of(True, False):
        inputs += [d.positive()[()] * F(50), d.integers(a)]
    return Case(inputs, {"transA": ta, "transB": tb}, atol=1e-3, steps=1)


def c_dist(d: Draw) -> Case:
    k = d.length()
    return Case(
        [d.floats(d.length(), k), d.floats(d.length(), k)],
        {"metric": d.any_of("euclidean", "sqeuclidean")},
        atol=2e-3,
    )


def trilu(d: Draw) -> Case:
    k = d.maybe(np.int64(d.rng.integers(-4, 5)))
    return Case([d.floats(*d.shape(2)), k], d.some(upper=d.any_of(0, 1)))


def ranges(d: Draw) -> Case:
    dtype = d.any_of(F, np.float64, np.int16, np.int32, np.int64)
    start, limit = d.rng.integers(-9, 10, 2).astype(dtype)
    step = d.any_of(None, dtype(2), dtype(-3), dtype(1))
    return Case([start, limit] if step is None else [start, limit, step])


def pad(d: Draw) -> Case:
    shape = d.shape(1)
    mode = d.any_of("constant", "edge", "reflect")
    pads = d.rng.integers(0, 3, 2 * len(shape))
    return Case([d.floats(*shape), pads, d.maybe(F(3)) if mode == "constant" else None], {"mode": mode})


def unique(d: Draw) -> Case:
    return Case([d.rng.integers(-3, 4, d.length()).astype(F)], outputs=3)


def expand_dims(d: Draw) -> Case:
    shape = d.shape(0, 3)
    return Case([d.floats(*shape), np.int32(d.rng.integers(-len(shape) - 1, len(shape) + 1))], constant=(1,))


def gather_nd(d: Draw) -> Case:
    shape = tuple(max(n, 1) for n in d.shape(1, 3))
    depth = int(d.rng.integers(1, len(shape) + 1))
    places = d.shape(0, 2)
    index = [d.rng.integers(-shape[i], shape[i], places) for i in range(depth)]
    return Case([d.floats(*shape), np.stack(index, -1).astype(d.any_of(np.int32, np.int64))])


def grid_sample(d: Draw) -> Case:
    x = d.floats(d.length(), d.length(), max(d.length(), 1), max(d.length(), 1))
    grid = d.rng.uniform(-1.4, 1.4, (len(x), d.length(), d.length(), 2)).astype(F)
    attributes = d.some(padding_mode=d.any_of("zeros", "reflection"), align_corners=d.any_of(0, 1))
    return Case([x, grid], attributes | d.some(mode=d.any_of("bilinear", "nearest")), rtol=1e-3, atol=1e-3)


def quantize(d: Draw) -> Case:
    dtype = d.any_of(np.uint8, np.int8, np.uint16, np.int16)
    shape = d.shape(1)
    axis = int(d.rng.integers(-len(shape), len(shape)))
    per_axis = d.any_of(True, False)
    size = (shape[axis],) if per_axis else ()
    inputs = [d.floats(*shape, scale=9), d.positive(*size), d.integers(dtype, *size)]
    return Case(inputs, {"axis": axis} if per_axis else {}, steps=1)


def dequantize(d: Draw) -> Case:
    case = quantize(d)
    dtype = case.inputs[2].dtype
    case.inputs[0] = d.integers(dtype, *case.inputs[0].shape)
    case.inputs[2] = d.maybe(case.inputs[2])
    return case


def fused_conv(d: Draw) -> Case:
    group = d.any_of(1, 2)
    c, m = group * d.any_of(1, 2, 3), group * d.any_of(1, 4)
    kernel = (d.any_of(1, 3), d.any_of(1, 2))
    x, w = d.floats(d.length(), c, d.any_of(3, 5, 8), d.any_of(2, 7)), d.floats(m, c // group, *kernel)
    activation = d.any_of(
        {"activation": "Relu"},
        {"activation": "Tanh"},
        {"activation": "Sigmoid"},
        {"activation": "LeakyRelu", "activation_params": [0.3]},
        {"activation": "Clip", "activation_params": [-0.5, 0.8]},
        {"activation": "HardSigmoid", "activation_params": [0.3, 0.4]},
    )
    attributes = {"group": group, "kernel_shape": list(kernel)} | activation
    attributes |= d.some(strides=[d.any_of(1, 2), 1], pads=[1, 0, d.any_of(0, 1), 1])
    return Case([x, w, d.maybe(d.floats(m))], attributes, constant=d.any_of((), (1,)))


def nhwc_max_pool(d: Draw) -> Case:
    x = d.integers(d.any_of(np.uint8, np.int8), d.length(), d.any_of(3, 5), d.any_of(2, 6), d.length())
    kernel = [d.any_of(1, 2, 3), d.any_of(1, 2)]
    return Case(
        [x], {"kernel_shape": kernel} | d.some(strides=[2, 1], pads=[kernel[0] - 1, 0, 0, kernel[1] - 1])
    )


def rotary(d: Draw) -> Case:
    heads, size = d.any_of(1, 2), d.any_of(2, 8)
    b, s = d.length(), d.any_of(1, 3)
    x = d.any_of(d.floats(b, s, heads * size), d.floats(b, heads, s, size))
    position = d.any_of(np.array([2], np.int64), d.rng.integers(0, 9, (b, s)))
    attributes = {"num_heads": heads} if x.ndim == 3 else {}
    inputs = [x, position, d.floats(12, size // 2), d.floats(12, size // 2)]
    return Case(inputs, attributes | d.some(interleaved=d.any_of(0, 1)))


def attention(d: Draw) -> Case:
    heads, size = d.any_of(1, 2), d.any_of(1, 4)
    b, s, h = d.any_of(1, 2), d.length(), heads * size
    x, w, bias = d.floats(b, s, h), d.floats(h, 3 * h), d.floats(3 * h)
    mask = d.any_of(None, d.rng.integers(0, 2, (b, s)).astype(np.int32), np.full(b, s, np.int32))
    return Case(
        [x, w, bias, mask],
        {"num_heads": heads} | d.some(unidirectional=d.any_of(0, 1), scale=0.7),
        rtol=1e-3,
        atol=1e-4,
    )


def multi_head(d: Draw) -> Case:
    """Causal only where queries and keys are equally many.

    Of more keys without a past, ONNX Runtime shows all to a lone query, but only the first ones to each of several.
    Nor does the schema say what a query gets that sees no key.
    """
    heads, size, wide = d.any_of(1, 3), d.any_of(1, 4), d.any_of(2, 5)
    b, s, t = d.any_of(1, 2), d.length(), d.length()
    inputs = [d.floats(b, s, heads * size), d.floats(b, t, heads * size), d.floats(b, t, heads * wide)]
    inputs += [d.maybe(d.floats(heads * (2 * size + wide)))]
    mask = d.rng.integers(0, 2, (b, t)).astype(np.int32)
    mask[:, :1] = 1
    inputs += [d.maybe(mask), d.maybe(d.floats(d.any_of(1, b), d.any_of(1, heads), s, t))]
    causal = d.any_of(0, int(s == t))
    return Case(inputs, {"num_heads": heads} | d.some(scale=0.5, unidirectional=causal), rtol=1e-3, atol=1e-4)


def matmul_nbits(d: Draw) -> Case:
    k, n, block, bits = d.any_of(1, 16, 40, 64), d.any_of(1, 5, 16), d.any_of(16, 32), d.any_of(4, 8)
    blocks = -(-k // block)
    weights = d.integers(np.uint8, n, blocks, block * bits // 8)
    zeros = d.maybe(d.integers(np.uint8, n, -(-blocks * bits // 8)))
    inputs = [d.floats(*d.shape(0, 2), d.length(), k), weights, d.positive(n, blocks), zeros]
    return Case(
        inputs, {"K": k, "N": n, "block_size": block, "bits": bits}, constant=(1, 2, 3), rtol=1e-3, atol=1e-3
    )


def tokenizer(d: Draw) -> Case:
    shape = d.shape(1, 2)
    texts = ["".join(d.rng.choice(list("ab, é"), d.length())) for _ in range(int(np.prod(shape)))]
    tokens = d.any_of(
        {"tokenexp": "[^ ,]+"}, {"tokenexp": "a*b"}, {"separators": [" ", ",+"]}, {"separators": [""]}
    )
    attributes = {"mark": d.any_of(0, 1), "pad_value": d.any_of("#", ""), "mincharnum": d.any_of(1, 1, 2)}
    return Case([np.array(texts, object).reshape(shape)], attributes | tokens)


def scaler(d: Draw) -> Case:
    n = max(d.length(), 1)
    dtype = d.any_of(F, np.float64, np.int32, np.int64)
    size = d.any_of(1, n)
    x = d.floats(d.length(), n, scale=5).astype(dtype)
    return Case([x], {"offset": d.floats(size).tolist(), "scale": d.floats(size).tolist()})


def binarizer(d: Draw) -> Case:
    return Case([d.floats(*d.shape())], d.some(threshold=float(d.floats()[()])))


def normalizer(d: Draw) -> Case:
    """Without negative numbers: by them, ONNX Runtime divides by the largest number, and the reference implementation
    of ONNX, as here, by the largest magnitude."""
    x = abs(d.floats(d.length(), max(d.length(), 1))).astype(d.any_of(F, np.float64, np.int64))
    return Case([x], d.some(norm=d.any_of("MAX", "L1", "L2")))


def imputer(d: Draw) -> Case:
    n = max(d.length(), 1)
    x = d.rng.integers(-1, 2, (d.length(), n)).astype(F)
    return Case(
        [x], {"imputed_value_floats": d.floats(d.any_of(1, n)).tolist(), "replaced_value_float": -1.0}
    )


def linear_regressor(d: Draw) -> Case:
    n, targets = max(d.length(), 1), d.any_of(1, 3)
    attributes: dict[str, Any] = {"coefficients": d.floats(targets * n).tolist(), "targets": targets}
    return Case([d.floats(d.length(), n)], attributes | d.some(intercepts=d.floats(targets).tolist()))


def linear_classifier(d: Draw) -> Case:
    n, classes = max(d.length(), 1), d.any_of(2, 3, 5)
    attributes = {
        "coefficients": d.floats(classes * n).tolist(),
        "intercepts": d.floats(classes).tolist(),
        "classlabels_ints": list(range(10, 10 + classes)),
        "post_transform": d.any_of("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO"),
        "multi_class": d.any_of(0, 1),
    }
    return Case([d.floats(d.length(), n)], attributes, outputs=2)


def svm_regressor(d: Draw) -> Case:
    n, vectors = max(d.length(), 1), d.any_of(1, 4)
    attributes = {
        "kernel_type": d.any_of("LINEAR", "POLY", "RBF", "SIGMOID"),
        "kernel_params": [0.3, 0.2, float(d.any_of(1, 2, 3))],
        "support_vectors": d.floats(vectors * n).tolist(),
        "n_supports": vectors,
        "coefficients": d.floats(vectors).tolist(),
        "rho": d.floats(1).tolist(),
    }
    return Case([d.floats(d.length(), n)], attributes | d.some(one_class=d.any_of(0, 1)))


def label_encoder(d: Draw) -> Case:
    x = d.rng.integers(-2, 5, d.shape())
    return Case(
        [x], {"keys_int64s": [0, 3, 1], "values_floats": [1.5, -2.0, 7.0]} | d.some(default_float=9.0)
    )


def one_hot(d: Draw) -> Case:
    x = d.rng.integers(0, 4, d.shape(1)).astype(d.any_of(np.int64, F))
    return Case([x], {"cats_int64s": [2, 0, 1, 3], "zeros": 1})


def feature_vectorizer(d: Draw) -> Case:
    """With rows: without any, ONNX Runtime ends the process."""
    rows, sizes = max(d.length(), 1), [max(d.length(), 1) for _ in range(d.any_of(1, 3))]
    return Case([d.floats(rows, n) for n in sizes], {"inputdimensions": sizes})


def array_features(d: Draw) -> Case:
    shape = (*d.shape(0, 2), max(d.length(), 1))
    indices = d.rng.integers(0, shape[-1], (1, d.any_of(1, 2, 5)))
    return Case([d.floats(*shape), indices])


OPERATORS: dict[tuple[str, str], Callable[[Draw], Case]] = {
    (MS, "Attention"): attention,
    (MS, "BiasGelu"): bias_gelu,
    (MS, "CDist"): c_dist,
    (MS, "DequantizeLinear"): dequantize,
    (MS, "DynamicQuantizeMatMul"): dynamic_quantize_matmul,
    (MS, "EmbedLayerNormalization"): embed_norm,
    (MS, "ExpandDims"): expand_dims,
    (MS, "FastGelu"): fast_gelu,
    (MS, "FusedConv"): fused_conv,
    (MS, "FusedGemm"): fused_gemm,
    (MS, "FusedMatMul"): fused_matmul,
    (MS, "GatherND"): gather_nd,
    (MS, "Gelu"): gelu,
    (MS, "GridSample"): grid_sample,
    (MS, "MatMulIntegerToFloat"): matmul_integer_to_float,
    (MS, "MatMulNBits"): matmul_nbits,
    (MS, "MultiHeadAttention"): multi_head,
    (MS, "NhwcMaxPool"): nhwc_max_pool,
    (MS, "Pad"): pad,
    (MS, "QGemm"): qgemm,
    (MS, "QLinearAdd"): qlinear_binary,
    (MS, "QLinearAveragePool"): qlinear_average_pool,
    (MS, "QLinearConcat"): qlinear_concat,
    (MS, "QLinearGlobalAveragePool"): qlinear_pool,
    (MS, "QLinearLeakyRelu"): qlinear_unary(alpha=0.2),
    (MS, "QLinearMul"): qlinear_binary,
    (MS, "QLinearSigmoid"): qlinear_unary(),
    (MS, "QLinearSoftmax"): qlinear_softmax,
    (MS, "QLinearWhere"): qlinear_where,
    (MS, "QuantizeLinear"): quantize,
    (MS, "QuickGelu"): quick_gelu,
    (MS, "Range"): ranges,
    (MS, "RotaryEmbedding"): rotary,
    (MS, "SkipLayerNormalization"): skip_norm(True),
    (MS, "SkipSimplifiedLayerNormalization"): skip_norm(False),
    (MS, "Tokenizer"): tokenizer,
    (MS, "TransposeMatMul"): fused_matmul,
    (MS, "Trilu"): trilu,
    (MS, "Unique"): unique,
    (ML, "ArrayFeatureExtractor"): array_features,
    (ML, "Binarizer"): binarizer,
    (ML, "FeatureVectorizer"): feature_vectorizer,
    (ML, "Imputer"): imputer,
    (ML, "LabelEncoder"): label_encoder,
    (ML, "LinearClassifier"): linear_classifier,
    (ML, "LinearRegressor"): linear_regressor,
    (ML, "Normalizer"): normalizer,
    (ML, "OneHotEncoder"): one_hot,
    (ML, "SVMRegressor"): svm_regressor,
    (ML, "Scaler"): scaler,
}


def reference(domain: str, model: onnx.ModelProto, feeds: dict[str, Any]) -> list[Any] | None:
    """ONNX Runtime's outputs; nothing where it refuses."""
    if domain == ML:
        model = onnx.shape_inference.infer_shapes(model)
    try:
        return ort_run(ort_model(model, feeds), feeds)
    except Exception:
        return None


def difference(got: np.ndarray, want: np.ndarray, case: Case) -> str:
    """How they differ; nothing where they do not."""
    if got.dtype != want.dtype or got.shape != want.shape:
        return f"{got.dtype}{got.shape}, expected {want.dtype}{want.shape}"
    if want.dtype.kind in "OUS":
        return "" if got.tolist() == want.tolist() else f"{got}, expected {want}"
    if want.dtype.kind in "iu":
        apart = np.abs(got.astype(np.int64) - want.astype(np.int64)).max(initial=0)
        return f"{apart} steps" if apart > case.steps else ""
    close = np.isclose(got, want, case.rtol, case.atol, equal_nan=True)
    return "" if close.all() else f"{got[~close][:4]}, expected {want[~close][:4]}"


@pytest.mark.parametrize(("domain", "op"), OPERATORS, ids=lambda v: v)
def test_agrees_with_onnxruntime(domain, op):
    compared, wrong = 0, []
    for seed in range(25):
        case = OPERATORS[domain, op](Draw(zlib.crc32(op.encode()) + seed))
        inputs = [None if x is None else np.asarray(x) for x in case.inputs]
        while inputs[-1] is None:
            inputs.pop()
        opset = {MS: 1, ML: 3}[domain]
        model = node_model(
            op,
            inputs,
            case.attributes,
            outputs=case.outputs,
            domain=domain,
            opset=opset,
            constant=case.constant,
        )
        feeds = {f"x{i}": x for i, x in enumerate(inputs) if x is not None and i not in case.constant}
        want = reference(domain, model, feeds)
        if want is None:
            continue
        compared += 1
        try:
            got = run(model, inputs, case.constant)
        except pyinfer.PyInferError as error:
            found = f"{type(error).__name__}: {error}"
        else:
            found = "; ".join(filter(None, (difference(g, w, case) for g, w in zip(got, want, strict=True))))
        if found:
            shapes = ["-" if x is None else f"{x.dtype}{list(x.shape)}" for x in inputs]
            wrong.append(f"seed {seed}: {', '.join(shapes)} {case.attributes}: {found}")
    assert not wrong, "\n" + "\n".join(wrong)
    assert compared >= 3
