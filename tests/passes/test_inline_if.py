"""An If whose condition is known at load gives way to its branch."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import onnx.parser
import onnx.reference
import pytest

import pyinfer

HEADER = '<ir_version: 10, opset_import: ["" : 21]>'


def parse(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(HEADER + text)


def operators(model: onnx.ModelProto, *off: str) -> dict[str, int]:
    return pyinfer.load(model, disable_passes=off)._core.summary(None)["operators"]


def agree(model: onnx.ModelProto, **feeds: np.ndarray) -> dict[str, np.ndarray]:
    on = pyinfer.load(model).run(feeds)
    off = pyinfer.load(model, disable_passes=["inline_if"]).run(feeds)
    reference = onnx.reference.ReferenceEvaluator(model).run(None, feeds)
    for (name, value), expected in zip(on.items(), reference, strict=True):
        np.testing.assert_array_equal(value, off[name])
        np.testing.assert_allclose(value, expected, rtol=1e-6)
    return on


def test_the_rank_of_an_input_decides():
    # What exporters write for squeeze(): by the declared shape the condition is known.
    text = """
    g (float[DIMS] x) => (float[] y) {
      shape = Shape (x)  last = Constant <value_ints = [-1]> ()  one = Constant <value_ints = [1]> ()
      size = Gather (shape, last)  is_one = Equal (size, one)
      y = If (is_one) <
        then_branch = t () => (float[] ty) { ty = Squeeze (x, last) },
        else_branch = e () => (float[] ey) { ey = Neg (x) }
      >
    }"""
    one, more = parse(text.replace("DIMS", "N, 1")), parse(text.replace("DIMS", "2, 3"))
    x = np.arange(6, dtype=np.float32)
    assert operators(one)["If"] == 1
    assert operators(more) == {"Neg": 1}
    assert operators(more, "inline_if") == {"If": 1}
    assert agree(more, x=x.reshape(2, 3))["y"].shape == (2, 3)
    assert agree(one, x=x.reshape(6, 1))["y"].shape == (6,)


NESTED = """
g (bool b, float[N] x) => (float[N] y, float[N] z) {
  yes = Constant <value_int = OUTER> ()  outer = Cast <to = 9> (yes)
  two = Constant <value_float = 2.0> ()
  doubled = Mul (x, two)
  y, z = If (outer) <
    then_branch = t () => (float[N] ty, float[N] tz) {
      no = Constant <value_int = INNER> ()  inner = Cast <to = 9> (no)
      v = Add (doubled, two)
      ty = If (inner) <
        then_branch = tt () => (float[N] p) { u = Mul (doubled, two)  p = Neg (u) },
        else_branch = te () => (float[N] q) { w = Sub (v, two)  q = Mul (w, w) }
      >
      tz = If (b) <
        then_branch = bt () => (float[N] p) { p = Exp (v) },
        else_branch = be () => (float[N] q) { q = Identity (doubled) }
      >
    },
    else_branch = e () => (float[N] ey, float[N] ez) { ey = Identity (x)  ez = Add (two, x) }
  >
}"""


@pytest.mark.parametrize(("outer", "inner", "b"), list(itertools.product([0, 1], repeat=3)))
def test_branches_within_branches_and_what_they_capture(outer, inner, b):
    text = NESTED.replace("OUTER", str(outer)).replace("INNER", str(inner))
    model = parse(text)
    assert operators(model).get("If", 0) == outer
    assert operators(model, "inline_if")["If"] == 1
    x = np.linspace(-1, 1, 5, dtype=np.float32)
    feeds = {"b": np.array(bool(b)), "x": x}
    on = pyinfer.load(model).run(feeds)
    v = 2 * x + 2
    y = (-(4 * x) if inner else (2 * x) ** 2) if outer else x
    z = (np.exp(v) if b else 2 * x) if outer else x + 2
    np.testing.assert_allclose(on["y"], y, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(on["z"], z, rtol=1e-6)
    for name, value in pyinfer.load(model, disable_passes=["inline_if"]).run(feeds).items():
        np.testing.assert_array_equal(on[name], value)


def test_names_stay_unique():
    branches = """
      {r} = If (yes) <
        then_branch = t{r} () => (float[N] o) {{ k = Neg ({x})  o = Abs (k) }},
        else_branch = e{r} () => (float[N] o) {{ o = Identity ({x}) }}
      >"""
    model = parse(
        "g (float[N] h) => (float[N] y) { one = Constant <value_int = 1> ()  yes = Cast <to = 9> (one)"
        + branches.format(r="a", x="h")
        + branches.format(r="b", x="a")
        + "  y = Add (a, b) }"
    )
    dump = pyinfer.load(model, disable_passes=["eliminate_identity"]).dump()
    written = [line.split("=")[0].strip() for line in dump.splitlines() if "(" in line and "=" in line]
    assert len(written) == len(set(written)), dump
    x = np.float32([-2, 3])
    np.testing.assert_array_equal(pyinfer.load(model).run({"h": x})["y"], 2 * np.abs(x))


def test_an_output_of_the_graph_keeps_its_name():
    model = parse("""
    g (float[N] x) => (float[N] y, float[M] z) {
      one = Constant <value_int = 0> ()  no = Cast <to = 9> (one)
      y, z = If (no) <
        then_branch = t () => (float[N] ty, float[M] tz) { ty = Neg (x)  tz = Neg (x) },
        else_branch = e () => (float[N] ey, float[M] ez) {
          ey = Identity (x)  ez = Constant <value_floats = [1.0, 2.0]> () }
      >
    }""")
    got = agree(model, x=np.float32([3, 4, 5]))
    assert list(got) == ["y", "z"]
    np.testing.assert_array_equal(got["y"], [3, 4, 5])
    np.testing.assert_array_equal(got["z"], [1, 2])


def test_a_condition_that_is_an_input_stays():
    model = parse("""
    g (bool c, float[N] x) => (float[N] y) {
      y = If (c) <then_branch = t () => (float[N] ty) { ty = Neg (x) },
                  else_branch = e () => (float[N] ey) { ey = Abs (x) }>
    }""")
    assert operators(model) == {"If": 1}


def test_a_chain_of_conditions_ends():
    # Each is known once the branch before it is in its place; only so many are looked at.
    links = "\n".join(
        f"""c{i + 1} = If (c{i}) <
          then_branch = t{i} () => (bool p{i}) {{ f{i} = Constant <value_int = 1> ()  p{i} = Cast <to = 9> (f{i}) }},
          else_branch = e{i} () => (bool q{i}) {{ g{i} = Constant <value_int = 0> ()  q{i} = Cast <to = 9> (g{i}) }}
        >"""
        for i in range(100)
    )
    model = parse(f"""
    g (float[N] x) => (float[N] y) {{
      one = Constant <value_int = 1> ()  c0 = Cast <to = 9> (one)
      {links}
      y = If (c100) <then_branch = t () => (float[N] ty) {{ ty = Neg (x) }},
                     else_branch = e () => (float[N] ey) {{ ey = Abs (x) }}>
    }}""")
    x = np.float32([1, -2])
    np.testing.assert_array_equal(pyinfer.load(model).run({"x": x})["y"], -x)
