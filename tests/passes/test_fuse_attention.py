"""Attention written out becomes one operator, and gives what the operators gave."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import pyinfer

RNG = np.random.default_rng(0)
FLOAT, BOOL = TensorProto.FLOAT, TensorProto.BOOL


class Graph:
    """Builds a model from calls such as g.Add("a", "b")."""

    def __init__(self, **inputs: tuple[int, list[object]]):
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self.inputs = [helper.make_tensor_value_info(n, t, s) for n, (t, s) in inputs.items()]

    def __getattr__(self, op: str):
        def add(*args: object, **attributes: object) -> str:
            names = [a if isinstance(a, str) else self.constant(a) for a in args]
            out = f"{op}_{len(self.nodes)}"
            self.nodes.append(helper.make_node(op, names, [out], **attributes))
            return out

        return add

    def constant(self, value: object) -> str:
        array = np.asarray(value)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        name = f"c{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(array, name))
        return name

    def model(self, *outputs: str) -> onnx.ModelProto:
        infos = [onnx.ValueInfoProto(name=n) for n in outputs]
        graph = helper.make_graph(self.nodes, "g", self.inputs, infos, self.tensors)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def split_heads(g: Graph, x: str, heads: int = 2) -> str:
    return g.Reshape(x, np.array([0, 0, heads, 4]))


def merged(g: Graph, y: str) -> str:
    return g.Reshape(g.Transpose(y, perm=[0, 2, 1, 3]), np.array([0, 0, 8]))


def rows(batch: int, n: int, width: int) -> np.ndarray:
    return RNG.standard_normal((batch, n, width)).astype(np.float32)


def qkv(**more: tuple[int, list[object]]) -> Graph:
    shapes = {n: (FLOAT, ["b", f"n{n}", 8]) for n in ("q", "k", "v")}
    shapes["k"] = shapes["v"] = (FLOAT, ["b", "m", 8])
    return Graph(**shapes, **more)


def attention(g: Graph, change=lambda g, s: s, guard=lambda g, p: p, scale: float = 0.5) -> str:
    q, k, v = (split_heads(g, x) for x in "qkv")
    q, v = (g.Transpose(x, perm=[0, 2, 1, 3]) for x in (q, v))
    s = g.Mul(g.MatMul(q, g.Transpose(k, perm=[0, 2, 3, 1])), scale)
    p = guard(g, g.Softmax(change(g, s), axis=-1))
    return merged(g, g.MatMul(p, v))


def operators(model: onnx.ModelProto, *off: str) -> dict[str, int]:
    return pyinfer.load(model, disable_passes=off)._core.summary(None)["operators"]


def check(model: onnx.ModelProto, feeds: dict[str, np.ndarray], fused: bool = True, tolerance: float = 2e-6):
    """The outputs, which agree with the pass on and off."""
    assert ("pyinfer.Attention" in operators(model)) == fused
    assert ("Softmax" in operators(model)) != fused
    on = pyinfer.load(model).run(feeds)
    off = pyinfer.load(model, disable_passes=["fuse_attention"]).run(feeds)
    for name, expected in off.items():
        np.testing.assert_allclose(on[name], expected, rtol=tolerance, atol=tolerance)
    return list(on.values())


def feeds(batch: int = 2, n: int = 5, m: int = 7) -> dict[str, np.ndarray]:
    return {"q": rows(batch, n, 8), "k": rows(batch, m, 8), "v": rows(batch, m, 8)}


@pytest.mark.parametrize("n", [0, 1, 5, 33, 70])
@pytest.mark.parametrize("m", [1, 16, 19])
def test_plain(n: int, m: int):
    g = qkv()
    check(g.model(attention(g)), feeds(n=n, m=m))


def test_against_numpy():
    g = qkv()
    f = feeds(1, 3, 4)
    (y,) = check(g.model(attention(g)), f)
    q, k, v = (f[x].astype(np.float64).reshape(1, -1, 2, 4).transpose(0, 2, 1, 3) for x in "qkv")
    s = 0.5 * q @ k.transpose(0, 1, 3, 2)
    p = np.exp(s - s.max(-1, keepdims=True))
    expected = (p / p.sum(-1, keepdims=True) @ v).transpose(0, 2, 1, 3).reshape(1, 3, 8)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_scales_on_queries_and_keys():
    g = qkv()
    q, k, v = (split_heads(g, x) for x in "qkv")
    q, v = (g.Transpose(x, perm=[0, 2, 1, 3]) for x in (q, v))
    k = g.Transpose(g.Transpose(k, perm=[0, 2, 1, 3]), perm=[0, 1, 3, 2])
    s = g.Div(g.MatMul(g.Mul(q, 0.7), g.Mul(0.7, k)), 1.5)
    model = g.model(merged(g, g.MatMul(g.Softmax(s, axis=3), v)))
    assert operators(model) == {"pyinfer.Attention": 1, "Reshape": 4}
    check(model, feeds())


MASKS = {"rows": ["b", 1, "n", "m"], "keys": ["b", 1, 1, "m"], "flat": ["m"], "each": ["b", 2, "n", 1]}


@pytest.mark.parametrize("form", MASKS)
@pytest.mark.parametrize("low", [-np.inf, np.finfo(np.float32).min, -1e4])
def test_added_mask(form: str, low: float):
    g = qkv(mask=(FLOAT, MASKS[form]))
    model = g.model(attention(g, lambda g, s: g.Add(s, "mask")))
    shape = [{"b": 2, "n": 40, "m": 7}.get(d, d) for d in MASKS[form]]
    mask = np.where(RNG.random(shape) < 0.4, np.float32(low), RNG.standard_normal(shape).astype(np.float32))
    check(model, {**feeds(n=40), "mask": mask})
    check(model, {**feeds(n=40), "mask": np.full(shape, low, np.float32)})  # nothing is seen


@pytest.mark.parametrize("fill", [-np.inf, -1e4])
@pytest.mark.parametrize("swapped", [False, True])
def test_chosen_scores(fill: float, swapped: bool):
    g = qkv(keep=(BOOL, ["b", 1, 1, "m"]), mask=(FLOAT, [1, 1, "n", "m"]))

    def change(g: Graph, s: str) -> str:
        chosen = g.Where("keep", fill, s) if swapped else g.Where("keep", s, fill)
        return g.Add("mask", chosen)

    model = g.model(attention(g, change))
    mask = RNG.standard_normal((1, 1, 5, 7)).astype(np.float32)
    for keep in (RNG.random((2, 1, 1, 7)) < 0.5, np.zeros((2, 1, 1, 7), bool), np.ones((2, 1, 1, 7), bool)):
        check(model, {**feeds(), "keep": keep, "mask": mask})


def test_nan_becomes_zero_where_the_model_says_so():
    g = qkv(mask=(FLOAT, ["b", 1, 1, "m"]))
    model = g.model(
        attention(g, lambda g, s: g.Add(s, "mask"), lambda g, p: g.Where(g.IsNaN(p), np.float32(0), p))
    )
    assert operators(model) == {"pyinfer.Attention": 1, "Reshape": 4}
    mask = np.zeros((2, 1, 1, 7), np.float32)
    mask[1] = -np.inf
    (y,) = check(model, {**feeds(), "mask": mask})
    assert (y[1] == 0).all()
    assert (y[0] != 0).all()


def test_a_mask_of_zeros_still_broadcasts():
    g = qkv()
    model = g.model(attention(g, lambda g, s: g.Add(s, np.zeros((3, 1, 4, 7), np.float32))))
    (y,) = check(model, feeds(batch=1, n=1))
    assert y.shape == (3, 4, 8)


def test_shared_heads_and_batches_broadcast():
    g = Graph(q=(FLOAT, [2, 3, 5, 4]), k=(FLOAT, [1, 1, 6, 4]), v=(FLOAT, [2, 1, 6, 4]))
    q, k, v = (g.Transpose(x, perm=[0, 2, 1, 3]) for x in "qkv")
    s = g.MatMul(q, g.Transpose(k, perm=[0, 1, 3, 2]))
    model = g.model(g.Transpose(g.MatMul(g.Softmax(s), v), perm=[0, 2, 1, 3]))
    shapes = {"q": (2, 5, 3, 4), "k": (1, 6, 1, 4), "v": (2, 6, 1, 4)}
    g.inputs[:] = [helper.make_tensor_value_info(n, FLOAT, s) for n, s in shapes.items()]
    model.graph.ClearField("input")
    model.graph.input.extend(g.inputs)
    check(model, {n: RNG.standard_normal(s).astype(np.float32) for n, s in shapes.items()})


def with_past(uses_length: bool = False) -> onnx.ModelProto:
    g = qkv(past_k=(FLOAT, ["b", 2, "p", 4]), past_v=(FLOAT, ["b", 2, "p", 4]))
    q, k, v = (g.Transpose(split_heads(g, x), perm=[0, 2, 1, 3]) for x in "qkv")
    k, v = g.Concat("past_k", k, axis=2), g.Concat("past_v", v, axis=-2)
    s = g.Mul(g.MatMul(q, g.Transpose(k, perm=[0, 1, 3, 2])), 0.5)
    if uses_length:
        length = g.Shape(k, start=2, end=3)
        s = g.Add(s, g.Expand(np.float32(-1), length))
    return g.model(merged(g, g.MatMul(g.Softmax(s), v)), g.Identity(k), v)


@pytest.mark.parametrize(("n", "p"), [(1, 0), (1, 20), (3, 5), (40, 3)])
@pytest.mark.parametrize("uses_length", [False, True])
def test_past_and_present(n: int, p: int, uses_length: bool):
    model = with_past(uses_length)
    assert ("Concat" in operators(model)) == uses_length
    past = {x: RNG.standard_normal((2, 2, p, 4)).astype(np.float32) for x in ("past_k", "past_v")}
    f = {**feeds(n=n, m=n), **past}
    _, k, v = check(model, f)
    for got, name in ((k, "k"), (v, "v")):
        new = f[name].reshape(2, n, 2, 4).transpose(0, 2, 1, 3)
        np.testing.assert_array_equal(got, np.concatenate([past[f"past_{name}"], new], axis=2))


def test_scores_that_others_read_stay():
    g = qkv()
    seen: list[str] = []

    def guard(g: Graph, p: str) -> str:
        seen.append(p)
        return p

    y = attention(g, guard=guard)
    check(g.model(y, seen[0]), feeds(), fused=False)


def test_softmax_over_another_axis_is_left_alone():
    g = qkv()
    q, k, v = (g.Transpose(split_heads(g, x), perm=[0, 2, 1, 3]) for x in "qkv")
    s = g.MatMul(q, g.Transpose(k, perm=[0, 1, 3, 2]))
    check(g.model(merged(g, g.MatMul(g.Softmax(s, axis=2), v))), feeds(), fused=False)


def test_float64_keeps_its_scale():
    g = Graph(q=(TensorProto.DOUBLE, [1, 4, 2, 3]))
    q = g.Transpose("q", perm=[0, 2, 1, 3])
    scale = numpy_helper.from_array(np.float64(1 / 3), "scale")
    g.tensors.append(scale)
    s = g.Mul(g.MatMul(q, g.Transpose("q", perm=[0, 2, 3, 1])), "scale")
    model = g.model(g.Transpose(g.MatMul(g.Softmax(s), q), perm=[0, 2, 1, 3]))
    check(model, {"q": RNG.standard_normal((1, 4, 2, 3))}, tolerance=1e-14)


def test_same_bits_in_any_batch():
    g = qkv(mask=(FLOAT, ["b", 1, 1, "m"]))
    model = pyinfer.load(g.model(attention(g, lambda g, s: g.Add(s, "mask"))), threads=2)
    for n in (1, 40):
        f = {**feeds(5, n, 130), "mask": RNG.standard_normal((5, 1, 1, 130)).astype(np.float32)}
        (whole,) = model.run(f).values()
        for b in range(5):
            (alone,) = model.run({k: v[b : b + 1] for k, v in f.items()}).values()
            np.testing.assert_array_equal(alone[0], whole[b])


def test_a_residual_rides_on_the_product_after_attention():
    g = Graph(x=(FLOAT, ["b", "n", 8]), mask=(FLOAT, [1, 1, 1, "n"]))
    q, k, v = (split_heads(g, "x") for _ in range(3))
    q, v = (g.Transpose(x, perm=[0, 2, 1, 3]) for x in (q, v))
    s = g.Add(g.MatMul(q, g.Transpose(k, perm=[0, 2, 3, 1])), "mask")
    y = merged(g, g.MatMul(g.Softmax(s), v))
    model = g.model(g.Add(g.MatMul(y, RNG.standard_normal((8, 8)).astype(np.float32)), "x"))
    assert operators(model)["pyinfer.FusedMatMul"] == 1
    assert "Add" not in operators(model)
    check(model, {"x": rows(3, 5, 8), "mask": rows(1, 1, 5)[None]}, tolerance=1e-5)


def test_heads_in_front_by_arithmetic():
    g = qkv()
    cos = RNG.standard_normal((1, 1, 1, 4)).astype(np.float32)
    q, k, v = (g.Transpose(split_heads(g, x), perm=[0, 2, 1, 3]) for x in "qkv")
    q, k = g.Add(g.Mul(q, cos), q), g.Add(k, g.Mul(cos, k))
    s = g.MatMul(q, g.Transpose(k, perm=[0, 1, 3, 2]))
    check(g.model(merged(g, g.MatMul(g.Softmax(s), v))), feeds(), tolerance=1e-5)
