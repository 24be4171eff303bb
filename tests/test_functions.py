"""Local functions of a model: attributes, nesting, subgraphs, names."""

import numpy as np
import onnx.parser
import pytest

import pyinfer

HEADER = '<ir_version: 10, opset_import: ["" : 21, "local" : 1]>'
FUNCTION = '<domain: "local", opset_import: ["" : 21, "local" : 1]>'
X = np.array([-1.5, 0.0, 2.0], np.float32)


def load(text, **options):
    return pyinfer.load(onnx.parser.parse_model(HEADER + text.replace("FUNCTION", FUNCTION)), **options)


def test_function_is_inlined():
    model = load("""
    g (float[N] x) => (float[N] y) { t = local.Twice (x)  y = local.Twice (t) }
    FUNCTION Twice (a) => (b) { b = Add (a, a) }""")
    np.testing.assert_array_equal(model.run({"x": X})["y"], X * 4)


def test_attributes_given_defaulted_and_left_out():
    model = load("""
    g (float[N] x) => (float[N] y, float[N] z) {
      y = local.Leak <slope = 0.5> (x)
      z = local.Leak (x)
    }
    <domain: "local", opset_import: ["" : 21]> Leak <slope: float = 0.25> (a) => (b) {
      b = LeakyRelu <alpha: float = @slope> (a)
    }""")
    got = model.run({"x": X})
    np.testing.assert_array_equal(got["y"], np.where(X < 0, X * 0.5, X))
    np.testing.assert_array_equal(got["z"], np.where(X < 0, X * 0.25, X))


def test_attribute_left_out_takes_the_default_of_the_operator():
    model = load("""
    g (float[N] x) => (float[N] y) { y = local.Leak (x) }
    <domain: "local", opset_import: ["" : 21]> Leak <slope> (a) => (b) {
      b = LeakyRelu <alpha: float = @slope> (a)
    }""")
    np.testing.assert_allclose(model.run({"x": X})["y"], np.where(X < 0, X * 0.01, X), rtol=1e-6)


def test_attribute_of_a_constant_and_through_two_functions():
    text = """
    g (float[N] x) => (float[N] y) { y = local.Outer <c = 3.0> (x) }
    FUNCTION Outer <c> (a) => (b) { b = local.Inner <value: float = @c> (a) }
    FUNCTION Inner <value> (a) => (b) { k = Constant <value_float: float = @value> ()  b = Mul (a, k) }"""
    np.testing.assert_array_equal(load(text).run({"x": X})["y"], X * 3)
    with pytest.raises(pyinfer.InvalidModel, match="'value'.*no default"):
        load(text.replace("<c = 3.0>", ""))


def test_function_with_subgraphs_that_capture_its_values_and_use_its_attributes():
    model = load("""
    g (float[N] x, bool c) => (float[N] y) { y = local.Choose <k = 2.0> (x, c) }
    <domain: "local", opset_import: ["" : 21]> Choose <k: float = 1.0> (a, c) => (b) {
      s = Mul (a, a)
      b = If (c) <
        then_branch = t () => (p) { f = Constant <value_float: float = @k> ()  p = Mul (s, f) },
        else_branch = e () => (q) { q = LeakyRelu <alpha: float = @k> (a) }
      >
    }""")
    np.testing.assert_array_equal(model.run({"x": X, "c": np.array(True)})["y"], X * X * 2)
    np.testing.assert_array_equal(model.run({"x": X, "c": np.array(False)})["y"], np.where(X < 0, X * 2, X))


def test_function_called_in_a_subgraph():
    model = load("""
    g (float[N] x, bool c) => (float[N] y) {
      y = If (c) <
        then_branch = t () => (float[N] p) { p = local.Twice (x) },
        else_branch = e () => (float[N] q) { h = Neg (x)  q = local.Twice (h) }
      >
    }
    FUNCTION Twice (a) => (b) { b = Add (a, a) }""")
    np.testing.assert_array_equal(model.run({"x": X, "c": np.array(True)})["y"], X * 2)
    np.testing.assert_array_equal(model.run({"x": X, "c": np.array(False)})["y"], X * -2)


def test_omitted_inputs_and_outputs():
    model = load("""
    g (float[N] x) => (float[N] y) {
      low = Constant <value_float = 0.0> ()
      y, unused = local.Bound (x, low)
    }
    FUNCTION Bound (a, lo, hi) => (b, c) { b = Clip (a, lo, hi)  c = Neg (a) }""")
    np.testing.assert_array_equal(model.run({"x": X})["y"], np.maximum(X, 0))


def test_input_omitted_from_a_subgraph_of_the_function():
    model = load("""
    g (float[N] x, bool c) => (float[N] y) {
      low = Constant <value_float = 0.0> ()
      y = local.Bound (x, c, low)
    }
    FUNCTION Bound (a, c, lo, hi) => (b) {
      b = If (c) <
        then_branch = t () => (p) { p = Clip (a, lo, hi) },
        else_branch = e () => (q) { q = Identity (a) }
      >
    }""")
    np.testing.assert_array_equal(model.run({"x": X, "c": np.array(True)})["y"], np.maximum(X, 0))


def test_output_that_is_an_input_and_output_given_twice():
    model = load("""
    g (float[N] x) => (float[N] y, float[N] z, float[N] w) { y, z, w = local.Pass (x) }
    FUNCTION Pass (a) => (a, b, b) { b = Neg (a) }""")
    got = model.run({"x": X})
    np.testing.assert_array_equal(got["y"], X)
    np.testing.assert_array_equal(got["z"], -X)
    np.testing.assert_array_equal(got["w"], -X)


def test_constant_as_output_of_a_function():
    model = load("""
    g (float[N] x) => (float[N] y, float k) { k = local.Four ()  y = Mul (x, k) }
    FUNCTION Four () => (b) { b = Constant <value_float = 4.0> () }""")
    got = model.run({"x": X})
    np.testing.assert_array_equal(got["y"], X * 4)
    assert got["k"] == 4


def test_function_with_an_operator_set_of_its_own():
    model = load("""
    g (float[N, M] x) => (float[M] y) { y = local.Drop (x) }
    <domain: "local", opset_import: ["" : 11]> Drop (a) => (b) { b = Squeeze <axes = [0]> (a) }""")
    np.testing.assert_array_equal(model.run({"x": X[None]})["y"], X)


def test_function_replaces_an_operator_of_that_name():
    model = load("""
    g (float[N] x) => (float[N] y) { y = NoSuchOperator (x) }
    <domain: "", opset_import: ["" : 21]> NoSuchOperator (a) => (b) { b = Neg (a) }""")
    np.testing.assert_array_equal(model.run({"x": X})["y"], -X)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("(a) => (b) { c = Neg (a) }", "none of its nodes"),
        ("(a) => (b) { b = Neg (nowhere) }", "'nowhere' is not defined"),
        ("(a) => (b) { a = Neg (a)  b = Neg (a) }", "defined twice"),
        ("(a) => (b) { b = Neg (a)  b = Abs (a) }", "defined twice"),
        ("(a, a) => (b) { b = Neg (a) }", "two inputs"),
        ("() => (b) { b = Constant <value_float = 1.0> () }", "more inputs"),
    ],
)
def test_malformed_functions_are_rejected(body, message):
    with pytest.raises(pyinfer.PyInferError, match=message):
        load("g (float[N] x) => (float[N] y) { y = local.F (x) } FUNCTION F " + body)


def test_exponential_inlining_meets_the_limit():
    functions = "FUNCTION F0 (a) => (b) { b = Neg (a) }"
    for i in range(1, 30):
        functions += f" FUNCTION F{i} (a) => (b) {{ t = local.F{i - 1} (a)  b = local.F{i - 1} (t) }}"
    with pytest.raises(pyinfer.LimitExceeded, match="max_nodes"):
        load(
            "g (float[N] x) => (float[N] y) { y = local.F29 (x) } " + functions,
            limits=pyinfer.Limits(max_nodes=10_000),
        )


def test_a_function_that_calls_itself_is_named():
    itself = """
    g (float[N] x) => (float[N] y) { y = local.F (x) }
    FUNCTION F (a) => (b) { b = local.F (a) }"""
    with pytest.raises(pyinfer.InvalidModel) as caught:
        load(itself)
    assert str(caught.value) == (
        "F: F: function 'F' of domain 'local' calls itself; ONNX functions cannot be recursive"
    )
    in_a_branch = """
    g (float[N] x, bool c) => (float[N] y) { y = local.F (x, c) }
    FUNCTION F (a, c) => (b) { b = local.G (a, c) }
    FUNCTION G (a, c) => (b) {
      b = If (c) <then_branch = t () => (u) { u = local.F (a, c) }, else_branch = e () => (v) { v = Neg (a) }>
    }"""
    with pytest.raises(
        pyinfer.InvalidModel, match=r"^F: G: If: F: function 'F' of domain 'local' calls itself"
    ):
        load(in_a_branch)
