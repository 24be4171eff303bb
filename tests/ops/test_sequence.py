"""Sequences and optionals, with graphs in ONNX's text form, against Python lists."""

import numpy as np
import onnx.parser
import pytest
from dtypes_for_tests import MOVABLE, numbered
from nodes import assert_same
from onnx import helper

import pyinfer

RNG = np.random.default_rng(5)


def load(text, **options):
    return pyinfer.load(
        onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 28]>' + text), **options
    )


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def assert_lists(got, want):
    assert len(got) == len(want)
    for g, w in zip(got, want, strict=True):
        assert_same(g, w)


LISTS = [[], [floats(2, 3)], [floats(2), floats(0, 4), floats(), floats(1, 1)]]


@pytest.mark.parametrize("dtype", MOVABLE)
def test_construct_and_at_for_every_type(dtype):
    x = numbered(dtype, 2, 3)
    name = helper.tensor_dtype_to_string(helper.np_dtype_to_tensor_dtype(x.dtype)).rpartition(".")[2].lower()
    name = {"float": "float", "double": "double"}.get(name, name)
    model = load(f"""
    g ({name}[A, B] x) => (seq({name}[A, B]) s, {name}[C, D] y) {{
      s = SequenceConstruct (x, x)
      minus = Constant <value_int = -1> ()
      y = SequenceAt (s, minus)
    }}""")
    got = model.run({"x": x})
    assert_lists(got["s"], [x, x])
    assert_same(got["y"], x)


@pytest.mark.parametrize("items", LISTS)
@pytest.mark.parametrize("position_type", ["int32", "int64"])
def test_insert_erase_at_and_length(items, position_type):
    ndtype = np.dtype(position_type)
    n = len(items)
    insert = load(
        f"""
    g (seq(float) s, float x, {position_type} p) => (seq(float) y, int64 n) {{
      y = SequenceInsert (s, x, p)  n = SequenceLength (s)
    }}""".replace("float x", "float[A] x")
    )
    x = floats(3)
    for p in range(-n, n + 1):
        got = insert.run({"s": items, "x": x, "p": np.array(p, ndtype)})
        want = list(items)
        want.insert(p, x)
        assert_lists(got["y"], want)
        assert got["n"] == n
    for p in (-n - 1, n + 1):
        with pytest.raises(pyinfer.InvalidInput, match="position"):
            insert.run({"s": items, "x": x, "p": np.array(p, ndtype)})
    pick = load(
        f"""
    g (seq(float) s, {position_type} p) => (seq(float) y, float z) {{
      y = SequenceErase (s, p)  z = SequenceAt (s, p)
    }}""".replace("float z", "float[] z")
    )
    for p in range(-n, n):
        got = pick.run({"s": items, "p": np.array(p, ndtype)})
        want = list(items)
        assert_same(got["z"], want.pop(p))
        assert_lists(got["y"], want)
    for p in (-n - 1, n):
        with pytest.raises(pyinfer.InvalidInput):
            pick.run({"s": items, "p": np.array(p, ndtype)})


def test_default_positions_are_the_end():
    model = load("""
    g (seq(float) s, float[A] x) => (seq(float) y, seq(float) z) {
      y = SequenceInsert (s, x)  z = SequenceErase (s)
    }""")
    items, x = LISTS[2], floats(3)
    got = model.run({"s": items, "x": x})
    assert_lists(got["y"], [*items, x])
    assert_lists(got["z"], items[:-1])
    with pytest.raises(pyinfer.InvalidInput, match="empty sequence"):
        model.run({"s": [], "x": x})


def test_insert_of_another_type_is_rejected():
    with pytest.raises(pyinfer.InvalidModel, match="cannot insert"):
        load("g (seq(float) s, int64[A] x) => (seq(float) y) { y = SequenceInsert (s, x) }")


SPLITS = [
    (None, None, 1),
    (None, None, 0),
    ("scalar", 2, 1),
    ("scalar", 100, 1),
    ("list", [1, 0, 4], 1),
    ("list", [5], 0),
]


@pytest.mark.parametrize(("kind", "split", "keepdims"), SPLITS)
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.object_])
def test_split_to_sequence(kind, split, keepdims, axis, dtype):
    dims = [2, 3]
    dims.insert(axis if axis >= 0 else 2, 5)
    x = numbered(dtype, *dims)
    name = {np.float32: "float", np.int8: "int8", np.object_: "string"}[dtype]
    rank = "" if kind == "scalar" else "[N]"
    given = f", int64{rank} split" if kind else ""
    model = load(f"""
    g ({name}[A, B, C] x{given}) => (seq({name}[D]) y) {{
      y = SplitToSequence <axis = {axis}, keepdims = {keepdims}> (x{", split" if kind else ""})
    }}""")
    got = model.run({"x": x} | ({"split": np.array(split)} if kind else {}))["y"]
    if kind == "list":
        want = np.split(x, np.cumsum(split)[:-1], axis)
    else:
        size = split or 1
        want = [np.take(x, range(at, min(at + size, 5)), axis) for at in range(0, 5, size)]
        if not kind and not keepdims:
            want = [w.squeeze(axis) for w in want]
    assert_lists(got, want)


@pytest.mark.parametrize("split", [0, -1, [2, 2], [3, 3], [-1, 6]])
def test_split_to_sequence_rejects(split):
    split = np.array(split)
    rank = "[N]" if split.ndim else ""
    model = load(f"g (float[A] x, int64{rank} n) => (seq(float[B]) y) {{ y = SplitToSequence (x, n) }}")
    with pytest.raises(pyinfer.InvalidInput, match="split"):
        model.run({"x": floats(5), "n": split})


def test_split_into_too_many_parts_meets_the_limit():
    model = load(
        "g (float[A, B] x) => (seq(float[C]) y) { y = SplitToSequence (x) }",
        limits=pyinfer.Limits(max_tensor_bytes=1 << 20),
    )
    with pytest.raises(pyinfer.LimitExceeded, match="max_tensor_bytes"):
        model.run({"x": np.zeros((1 << 40, 0), np.float32)})


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concat_from_sequence(axis):
    parts = [floats(2, 3), floats(2, 3), floats(2, 3)]
    for new_axis, join in ((0, np.concatenate), (1, np.stack)):
        model = load(f"""
        g (seq(float[A, B]) s) => (float[] y) {{
          y = ConcatFromSequence <axis = {axis}, new_axis = {new_axis}> (s)
        }}""")
        assert_same(model.run({"s": parts})["y"], join(parts, axis=axis))
    ragged = [np.moveaxis(floats(n, 2), 0, axis) for n in (3, 0, 1)]
    model = load(f"g (seq(float[A, B]) s) => (float[] y) {{ y = ConcatFromSequence <axis = {axis}> (s) }}")
    assert_same(model.run({"s": ragged})["y"], np.concatenate(ragged, axis=axis))
    with pytest.raises(pyinfer.InvalidInput, match="to join"):
        model.run({"s": []})
    with pytest.raises(pyinfer.InvalidInput, match="do not fit"):
        model.run({"s": [floats(2, 3), floats(2)]})


def test_sequence_map_over_sequences_and_a_tensor():
    model = load("""
    g (seq(float[A]) s, seq(float[A]) t, float[A] x) => (seq(float[A]) y, seq(int64[B]) n) {
      one = Constant <value_float = 1.0> ()
      y, n = SequenceMap (s, t, x) <
        body = b (float[A] a, float[A] b, float[A] c) => (float[A] p, int64[B] q) {
          ab = Mul (a, b)  abc = Add (ab, c)  p = Add (abc, one)  q = Shape (a)
        }
      >
    }""")
    s, t, x = [floats(n) for n in (3, 1, 0)], [floats(n) for n in (3, 1, 0)], floats(1)
    got = model.run({"s": s, "t": t, "x": x})
    assert_lists(got["y"], [a * b + x + np.float32(1) for a, b in zip(s, t, strict=True)])
    assert_lists(got["n"], [np.array(a.shape) for a in s])
    assert model.run({"s": [], "t": [], "x": x})["y"] == []
    with pytest.raises(pyinfer.InvalidInput, match="3 and 2 elements"):
        model.run({"s": s, "t": t[:2], "x": x})


def test_identity_of_a_sequence():
    model = load("g (seq(float) s) => (seq(float) y) { y = Identity (s) }")
    assert_lists(model.run({"s": LISTS[2]})["y"], LISTS[2])


def test_optional_of_each_kind():
    model = load("""
    g (float[N] x) => (optional(float[N]) o, bool has, float[N] y, bool plain) {
      o = Optional (x)  has = OptionalHasElement (o)  y = OptionalGetElement (o)  plain = OptionalHasElement (x)
    }""")
    x = floats(3)
    got = model.run({"x": x})
    assert_same(got["o"], x)
    assert_same(got["y"], x)
    assert got["has"]
    assert got["plain"]


def test_optional_input_that_is_empty():
    model = load("g (optional(float[N]) o) => (bool has) { has = OptionalHasElement (o) }")
    assert not model.run({"o": None})["has"]
    assert model.run({"o": floats(2)})["has"]
    model = load("g (optional(float[N]) o) => (float[N] y) { y = OptionalGetElement (o) }")
    assert_same(model.run({"o": np.ones(2, np.float32)})["y"], np.ones(2, np.float32))
    with pytest.raises(pyinfer.InvalidInput, match="holds nothing"):
        model.run({"o": None})


def test_optional_of_a_type_is_empty():
    node = helper.make_node(
        "Optional", [], ["o"], type=helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, None))
    )
    output = helper.make_value_info(
        "o",
        helper.make_optional_type_proto(
            helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, None))
        ),
    )
    graph = helper.make_graph([node], "g", [], [output])
    assert (
        pyinfer.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 28)])).run({})["o"]
        is None
    )
