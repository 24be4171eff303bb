"""Every field of Limits, at load and at run, and what counts against it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import TensorProto, helper, numpy_helper

import pyinfer

ONE = np.ones(1, np.float32)


def parse(text: str, functions: str = "") -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21, "loc" : 1]> {text} {functions}')


def products(shape: tuple[int, int], count: int) -> onnx.ModelProto:
    """y = tanh(... tanh(x w) w ...), all with one w."""
    nodes, value = [], "x"
    for i in range(count):
        nodes.append(helper.make_node("MatMul", [value, "w"], [f"p{i}"]))
        nodes.append(helper.make_node("Tanh", [f"p{i}"], [f"t{i}"]))
        value = f"t{i}"
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", shape[0]])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.full(shape, 1e-3, np.float32), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


LOOP = """g (int64 n, float[N] x) => (float[N] y) {
  c = Constant <value = bool {1}> ()
  y = Loop (n, c, x) <body = b (int64 i, bool k, float[N] v) => (bool k_out, float[N] v_out) {
    k_out = Identity (k) v_out = Neg (v) }> }"""
IF = """g (bool c, float[N] x) => (float[N] y) { y = If (c) <
  then_branch = t () => (float[N] o) { a = Exp (x) o = Neg (a) },
  else_branch = e () => (float[N] p) { b = Exp (x) p = Abs (b) }> }"""
FUNCTIONS = """<domain: "loc", opset_import: ["" : 21, "loc" : 1]> f (a) => (b) { t = loc.h (a) b = Neg (t) }
  <domain: "loc", opset_import: ["" : 21, "loc" : 1]> h (a) => (b) { t = Exp (a) b = Neg (t) }"""

AT_LOAD = {
    "a weight": ({"max_tensor_bytes": 1000}, lambda: products((100, 100), 1)),
    "weights together": ({"max_initializer_bytes": 1000}, lambda: products((100, 100), 1)),
    "a weight of a node": (
        {"max_initializer_bytes": 1000},
        lambda: parse(
            f"g (float[N] x) => (float[N] y) {{ c = Constant <value = float[300] {{{','.join('1' * 300)}}}> ()"
            " y = Add (x, c) }"
        ),
    ),
    # One column is packed as a panel of 16.
    "the packed form of a weight": ({"max_initializer_bytes": 10_000}, lambda: products((1000, 1), 1)),
    "nodes": (
        {"max_nodes": 2},
        lambda: parse("g (float[N] x) => (float[N] y) { a = Exp (x) b = Neg (a) y = Abs (b) }"),
    ),
    "nodes of subgraphs": ({"max_nodes": 4}, lambda: parse(IF)),
    "nodes of functions": (
        {"max_nodes": 5},
        lambda: parse("g (float[N] x) => (float[N] y) { a = loc.f (x) y = loc.f (a) }", FUNCTIONS),
    ),
    "a name": (
        {"max_string_bytes": 10},
        lambda: parse("g (float[N] a_long_long_name) => (float[N] y) { y = Abs (a_long_long_name) }"),
    ),
    "the parsed form": ({"max_parsed_bytes": 500}, lambda: parse(IF)),
    "the depth of subgraphs": ({"max_nesting_depth": 0}, lambda: parse(IF)),
    "the depth of functions": (
        {"max_nesting_depth": 1},
        lambda: parse("g (float[N] x) => (float[N] y) { y = loc.f (x) }", FUNCTIONS),
    ),
}


@pytest.mark.parametrize("case", AT_LOAD)
def test_a_load_is_bounded(case):
    limits, make = AT_LOAD[case]
    (field,) = limits
    model = make()
    pyinfer.load(model)
    with pytest.raises(pyinfer.LimitExceeded, match=field):
        pyinfer.load(model, limits=pyinfer.Limits(**limits))


AT_RUN = {
    "an activation": (
        {"max_tensor_bytes": 100_000},
        "g (float[N] x, float[M, 1] z) => (float[M, N] y) { y = Add (x, z) }",
        lambda big: {"x": np.ones(200, np.float32), "z": np.ones((200 if big else 10, 1), np.float32)},
    ),
    "an input": (
        {"max_tensor_bytes": 1000},
        "g (float[N] x) => (int64[1] y) { y = Shape (x) }",
        lambda big: {"x": np.ones(300 if big else 10, np.float32)},
    ),
    "an input within a sequence": (
        {"max_tensor_bytes": 1000},
        "g (seq(float[N]) x) => (int64 y) { y = SequenceLength (x) }",
        lambda big: {"x": [np.ones(300 if big else 10, np.float32)]},
    ),
    "a string of an input": (
        {"max_string_bytes": 50},
        "g (string[N] x) => (string[N] y) { y = Identity (x) }",
        lambda big: {"x": ["a" * (60 if big else 40)]},
    ),
    "a string of a sequence": (
        {"max_string_bytes": 50},
        "g (seq(string[N]) x) => (int64 y) { y = SequenceLength (x) }",
        lambda big: {"x": [np.array(["a" * (60 if big else 40)])]},
    ),
    "a string that grows": (
        {"max_string_bytes": 70},
        "g (string[N] x) => (string[N] y) { a = StringConcat (x, x) y = StringConcat (a, a) }",
        lambda big: {"x": ["a" * (20 if big else 10)]},
    ),
    "strings that are repeated": (
        {"max_total_bytes": 1 << 20},
        "g (string[1] x, int64[1] n) => (bool[N] y) { a = Expand (x, n) y = Equal (a, x) }",
        lambda big: {"x": ["a" * 1000], "n": np.array([2000 if big else 200])},
    ),
    "strings that grow": (
        {"max_total_bytes": 100_000},
        "g (string[N] x) => (bool[N] y) { a = StringConcat (x, x) b = StringConcat (a, a) y = Equal (a, b) }",
        lambda big: {"x": ["a" * 5000] * (10 if big else 1)},
    ),
    "strings that a loop keeps": (
        {"max_total_bytes": 100_000},
        """g (string[1] x, int64 n) => (string[K, 1] y) { c = Constant <value = bool {1}> ()
           y = Loop (n, c) <body = b (int64 i, bool k) => (bool k_out, string[1] o) {
             k_out = Identity (k) o = StringConcat (x, x) }> }""",
        lambda big: {"x": ["a" * 1000], "n": np.int64(100 if big else 10)},
    ),
    "the arena": (
        {"max_total_bytes": 100_000},
        "g (float[N] x) => (float[N] y) { a = Exp (x) b = Neg (a) c = Add (a, b) y = Mul (c, a) }",
        lambda big: {"x": np.ones(50_000 if big else 1000, np.float32)},
    ),
    "trips of a Loop": (
        {"max_loop_trips": 10},
        LOOP,
        lambda big: {"n": np.int64(11 if big else 10), "x": ONE},
    ),
    "trips of a Scan": (
        {"max_loop_trips": 10},
        """g (float[N, K] x) => (float[A, B] y) { y = Scan <num_scan_inputs = 1,
             body = b (float[K] v) => (float[K] o) { o = Neg (v) }> (x) }""",
        lambda big: {"x": np.ones((11 if big else 10, 2), np.float32)},
    ),
    "trips of a SequenceMap": (
        {"max_loop_trips": 10},
        """g (seq(float[N]) x) => (seq(float[N]) y) { y = SequenceMap <
             body = b (float[N] v) => (float[N] o) { o = Neg (v) }> (x) }""",
        lambda big: {"x": [ONE] * (11 if big else 10)},
    ),
}


@pytest.mark.parametrize("case", AT_RUN)
def test_a_run_is_bounded(case):
    limits, text, feeds = AT_RUN[case]
    (field,) = limits
    model = pyinfer.load(parse(text), limits=pyinfer.Limits(**limits))
    model.run(feeds(False))
    with pytest.raises(pyinfer.LimitExceeded, match=field):
        model.run(feeds(True))
    model.run(feeds(False))
    pyinfer.load(parse(text)).run(feeds(True))


def test_one_weight_is_packed_once():
    weight = 200 * 208 * 4
    model = pyinfer.load(products((200, 200), 50), limits=pyinfer.Limits(max_initializer_bytes=weight))
    x = np.random.default_rng(0).standard_normal((3, 200), np.float32)
    expected = x
    for _ in range(50):
        expected = np.tanh(expected @ np.full((200, 200), 1e-3))
    np.testing.assert_allclose(model(x), expected, rtol=1e-4, atol=1e-7)


def test_strings_split_and_selected_take_their_own_room():
    """Their number times the longest would be far more than the limit."""
    text = """g (string[N] x, bool[N] keep) => (string[N, M] parts, int64[N] counts, string[K] kept, string[U] u) {
      parts, counts = StringSplit <delimiter = ","> (x)
      kept = Compress <axis = 0> (x, keep)
      u, i, j, k = Unique (x) }"""
    model = pyinfer.load(parse(text), limits=pyinfer.Limits(max_total_bytes=3 << 20))
    x = ["a" * 100_000] + [f"{i},{i}" for i in range(200)]
    out = model.run({"x": x, "keep": np.ones(201, bool)})
    assert out["parts"].shape == (201, 2) and out["kept"].tolist() == x and out["u"].tolist() == sorted(x)


def test_a_long_string_of_a_model_is_not_repeated_at_load():
    text = "g (int64[N] unused) => (bool[K] y) { e = Expand (s, n) y = Equal (e, s) }"
    model = parse(
        text.replace(
            "=> (bool[K] y)", '=> (bool[K] y) <string[1] s = {"' + "a" * 100_000 + '"}, int64[1] n = {30000}>'
        )
    )
    loaded = pyinfer.load(model, limits=pyinfer.Limits(max_total_bytes=1 << 20))
    with pytest.raises(pyinfer.LimitExceeded, match="max_total_bytes"):
        loaded(np.zeros(1, np.int64))


FIELDS = [
    "max_tensor_bytes",
    "max_initializer_bytes",
    "max_total_bytes",
    "max_string_bytes",
    "max_nodes",
    "max_parsed_bytes",
    "max_loop_trips",
    "max_nesting_depth",
]


@pytest.mark.parametrize("value", [-1, True, 1.5, "3", None, 2**63], ids=str)
@pytest.mark.parametrize("field", FIELDS)
def test_a_field_takes_integers_of_0_or_more_alone(field, value):
    with pytest.raises(pyinfer.InvalidInput, match=rf"Limits\.{field}: expected an integer from 0 to"):
        pyinfer.Limits(**{field: value})
    limits = pyinfer.Limits()
    before = getattr(limits, field)
    with pytest.raises(pyinfer.InvalidInput, match=rf"Limits\.{field}: expected an integer from 0 to"):
        setattr(limits, field, value)
    assert getattr(limits, field) == before
    setattr(limits, field, 7)
    assert getattr(limits, field) == 7


_STARVED = """
import resource
import numpy as np, onnx.parser, pyinfer
model = pyinfer.load(onnx.parser.parse_model(
    '<ir_version: 10, opset_import: ["" : 21]> g (float[N, 1] x, float[M] z) => (float[N, M] y) { y = Add (x, z) }'
), threads=1)
x = np.ones((40_000, 1), np.float32)
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
try:
    model(x, x[:, 0])
except pyinfer.OutOfMemory as e:
    assert isinstance(e, MemoryError) and isinstance(e, pyinfer.PyInferError)
    assert model(x[:2], x[:3, 0]).tolist() == [[2.0] * 3] * 2
    print("starved")
"""


def test_memory_that_the_system_refuses_is_an_error_of_its_own():
    done = subprocess.run([sys.executable, "-c", _STARVED], capture_output=True, text=True, check=False)
    assert done.stdout == "starved\n", done.stderr
