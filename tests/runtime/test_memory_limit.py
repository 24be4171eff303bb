"""max_total_bytes bounds all that one run holds, its bodies included."""

from __future__ import annotations

import resource

import numpy as np
import onnx.parser
import pytest

import pyinfer

HEADER = '<ir_version: 10, opset_import: ["" : 21]>'
MIB = 1 << 20


def load(text: str, limit: int, **limits: int) -> pyinfer.Model:
    return pyinfer.load(
        onnx.parser.parse_model(HEADER + text), limits=pyinfer.Limits(max_total_bytes=limit, **limits)
    )


def f32(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


ENDLESS = {
    "concat": (
        "float[N] x",
        "v",
        "x",
        "float[K]",
        "v_in = Identity (v)  v_out = Concat <axis = 0> (v_in, v_in)",
    ),
    "expand": (
        "float[N] x",
        "v",
        "x",
        "float[K]",
        "two = Constant <value_ints = [2, 1]> ()  flat = Constant <value_ints = [-1]> ()"
        "  wide = Expand (v, two)  v_out = Reshape (wide, flat)",
    ),
    "sequence of new tensors": (
        "float[N] x",
        "v",
        "empty",
        "seq(float[K])",
        "e = Neg (x)  v_out = SequenceInsert (v, e)",
    ),
    "sequence of one tensor": (
        "float[N] x",
        "v",
        "empty",
        "seq(float[K])",
        "v_out = SequenceInsert (v, x)",
    ),
}


@pytest.mark.parametrize("case", ENDLESS)
def test_a_loop_that_grows_without_end_stops(case):
    inputs, value, start, kind, body = ENDLESS[case]
    model = load(
        f"""
        g ({inputs}) => ({kind} y) {{
          empty = SequenceEmpty ()
          y = Loop (, , {start}) <
            body = b (int64 i, bool c, {kind} {value}) => (bool c_out, {kind} v_out) {{
              c_out = Identity (c)  {body}
            }}
          >
        }}""",
        4 * MIB,
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(pyinfer.LimitExceeded, match=rf"Loop: .*max_total_bytes={4 * MIB}"):
        model.run({"x": f32(1000)})
    # In KiB. Counted before it is spent: nothing near the next doubling, with room for the rest of the process.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


def test_values_that_depend_on_data_add_up():
    text = (
        "g (float[N] x) => (int64[K, M] a, int64[L, M] b) { a = NonZero (x)  n = Neg (x)  b = NonZero (n) }"
    )
    x = f32(MIB // 8)
    assert load(text, 4 * MIB).run({"x": x})["b"].shape == (1, MIB // 8)
    with pytest.raises(pyinfer.LimitExceeded, match="NonZero: .*max_total_bytes"):
        load(text, MIB + MIB // 2 + MIB // 4).run({"x": x})


@pytest.mark.parametrize("op", ["Expand", "Tile"])
def test_repeated_values_add_up(op):
    # Each result is under the limit, as an output, or in the arena as a value that is used once more.
    outputs = f"g (float[N] x, int64[R] n) => (float[A] a, float[B] b) {{ a = {op} (x, n)  m = Neg (x)  b = {op} (m, n) }}"
    inner = f"""g (float[N] x, int64[R] n) => (float[] y) {{
        a = {op} (x, n)  b = Neg (a)  y = ReduceSum <keepdims = 0> (b)  }}"""
    n = np.array([MIB // 4], np.int64)
    for text, count in ((outputs, 2), (inner, 1)):
        load(text, (count + 1) * MIB).run({"x": f32(1), "n": n})
        with pytest.raises(pyinfer.LimitExceeded, match="max_total_bytes"):
            load(text, count * MIB - 1).run({"x": f32(1), "n": n})


BRANCHES = """
g (bool c, float[N] x) => (float[] y) {
  y = If (c) <
    then_branch = t () => (float[] ty) {
      n = Constant <value_ints = [1048576]> ()
      big = Expand (x, n)  negative = Neg (big)
      ty = ReduceSum <keepdims = 0> (negative)
    },
    else_branch = e () => (float[] ey) { ey = ReduceSum <keepdims = 0> (x) }
  >
}"""


def test_the_branch_that_runs_counts():
    model = load(BRANCHES, 2 * MIB)
    for _ in range(3):
        with pytest.raises(pyinfer.LimitExceeded, match="If: .*max_total_bytes"):
            model.run({"c": np.array(True), "x": f32(1)})
        # What a run that failed held is given back.
        assert model.run({"c": np.array(False), "x": f32(1)})["y"] == 1
    assert load(BRANCHES, 16 * MIB).run({"c": np.array(True), "x": f32(1)})["y"] == -MIB


def test_what_a_trip_has_given_back_does_not_count():
    model = load(
        """
        g (int64 m, float[N] x) => (float[N] y) {
          y = Loop (m, , x) <
            body = b (int64 i, bool c, float[N] v) => (bool c_out, float[N] v_out) {
              c_out = Identity (c)  mask = NonZero (v)  s = Shape (mask)  f = Cast <to = 1> (s)
              zero = Constant <value_float = 0.0> ()  z = Mul (f, zero)
              r = ReduceSum <keepdims = 0> (z)  v_out = Add (v, r)
            }
          >
        }""",
        MIB,
    )
    x = f32(MIB // 32)
    np.testing.assert_array_equal(model.run({"m": np.array(200), "x": x})["y"], x)


def test_outputs_that_the_caller_keeps_do_not_count_in_later_runs():
    model = load("g (float[N] x) => (float[N] y, int64[K, M] n) { y = Neg (x)  n = NonZero (x) }", 4 * MIB)
    kept = [model.run({"x": f32(MIB // 8)}) for _ in range(8)]
    assert all(run["n"].shape == (1, MIB // 8) for run in kept)


def test_outputs_of_a_scan_count_while_they_are_gathered():
    text = """
    g (float[N, M] x) => (float[N, K] y) {
      y = Scan <num_scan_inputs = 1, body = b (float[M] row) => (float[K] p) {
        n = Constant <value_ints = [65536]> ()  p = Expand (row, n)
      }> (x)
    }"""
    assert load(text, 16 * MIB).run({"x": f32(8, 1)})["y"].shape == (8, 65536)
    with pytest.raises(pyinfer.LimitExceeded, match="Scan: .*max_total_bytes"):
        load(text, MIB).run({"x": f32(8, 1)})


MANY = 64
# What one node can make of one value of a MiB, MANY times over.
COPIES = {
    "SequenceConstruct": "s = SequenceConstruct ({xs})  y = SequenceLength (s)",
    "Loop": """{ys} = Loop (one, , {xs}) <
        body = b (int64 i, bool c, {ins}) => (bool d, {outs}) {{ d = Identity (c)  {body} }}
      >  y = Size (y0)""",
    "Scan": """{ys} = Scan <num_scan_inputs = 1, body = b ({ins}, int64 k) => ({outs}) {{ {body} }}> ({xs}, ones)
        y = Size (y0)""",
    "SequenceMap": """s = SequenceConstruct (one{ones})  t = SequenceMap <
        body = b (int64 i) => (float[K] o) {{ o = Identity (big) }}
      > (s)  y = SequenceLength (t)""",
    "If": """{ys} = If (cond) <
        then_branch = t () => ({outs}) {{ {copies} }}, else_branch = e () => ({outs}) {{ {copies} }}
      >  y = Size (y0)""",
}


@pytest.mark.parametrize("op", COPIES)
def test_a_node_that_copies_one_value_many_times_stops(op):
    numbers = range(MANY)
    parts = {
        "xs": ", ".join(["big"] * MANY),
        "ys": ", ".join(f"y{i}" for i in numbers),
        "ins": ", ".join(f"float[K] v{i}" for i in numbers),
        "outs": ", ".join(f"float[K] o{i}" for i in numbers),
        "body": " ".join(f"o{i} = Identity (v{i})" for i in numbers),
        "copies": " ".join(f"o{i} = Reshape (big, r)" for i in numbers),
        "ones": ", one" * (MANY - 1),
    }
    text = f"""
    g (float[N] x, int64[1] r, int64 one, int64[1] ones, bool cond) => (int64 y) {{
      wide = Expand (x, r)  big = Neg (wide)
      {COPIES[op].format(**parts)}
    }}"""
    feeds = {
        "x": f32(1),
        "r": np.array([MIB // 4], np.int64),
        "one": np.array(1),
        "ones": np.array([1]),
        "cond": np.array(True),
    }
    assert load(text, 4 * MANY * MIB).run(feeds)["y"] > 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(pyinfer.LimitExceeded, match=rf"{op}.*max_total_bytes"):
        load(text, 8 * MIB).run(feeds)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10


def test_arenas_of_bodies_add_up():
    # One after the other: each keeps its memory for the next run.
    branches = "\n".join(
        f"""y{i} = If (c) <
          then_branch = t{i} () => (float s{i}) {{ w{i} = Expand (x, r)  n{i} = Neg (w{i})
            s{i} = ReduceSum <keepdims = 0> (n{i}) }},
          else_branch = e{i} () => (float z{i}) {{ z{i} = Identity (x) }}
        >"""
        for i in range(16)
    )
    text = f"""g (bool c, float x, int64[1] r) => (float y) {{
      {branches}
      y = Sum ({", ".join(f"y{i}" for i in range(16))})
    }}"""
    feeds = {"c": np.array(True), "x": np.float32(1), "r": np.array([MIB // 4], np.int64)}
    model = load(text, 64 * MIB)
    for _ in range(3):  # what an earlier run left behind is counted once
        assert model.run(feeds)["y"] == -16 * (MIB // 4)
    with pytest.raises(pyinfer.LimitExceeded, match="If.*max_total_bytes"):
        load(text, 8 * MIB).run(feeds)
