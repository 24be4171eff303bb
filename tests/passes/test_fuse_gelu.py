"""Activations written out as products, in the forms that exporters give them, become one operator."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

import pyinfer
from pass_models import assert_agrees, chain, model_of, operators_apart

X = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32) * 3


ERF = {"h": 0.5, "r": 1.4142135, "i": 0.70710677, "one": 1}
ERF_FORMS = {
    "x * (0.5 * (1 + erf))": "a = Div(x, r); e = Erf(a); p = Add(e, one); q = Mul(h, p); y = Mul(x, q)",
    "(x * (1 + erf)) * 0.5": "a = Mul(i, x); e = Erf(a); p = Add(one, e); q = Mul(x, p); y = Mul(q, h)",
    "(x * 0.5) * (1 + erf)": "a = Div(x, r); e = Erf(a); p = Add(e, one); q = Mul(x, h); y = Mul(q, p)",
}
TANH = {"h": 0.5, "c": 0.044715, "s": 0.7978846, "sc": 0.0356774, "one": 1, "three": 3}
TANH_FORMS = {
    "pow": "p = Pow(x, three); q = Mul(p, c); a = Add(x, q); t = Mul(a, s); e = Tanh(t); o = Add(e, one);"
    "m = Mul(x, h); y = Mul(m, o)",
    "x x x": "a = Mul(x, x); p = Mul(a, x); q = Mul(c, p); b = Add(x, q); t = Mul(s, b); e = Tanh(t);"
    "o = Add(one, e); m = Mul(h, o); y = Mul(x, m)",
    "x (s + sc x x)": "a = Mul(x, x); b = Mul(a, sc); d = Add(b, s); t = Mul(x, d); e = Tanh(t);"
    "o = Add(e, one); m = Mul(x, o); y = Mul(m, h)",
}


@pytest.mark.parametrize("form", ERF_FORMS)
def test_gelu(form: str):
    model = chain(ERF_FORMS[form], ERF)
    assert operators_apart(model) == {"Gelu": 1}
    assert operators_apart(model, "fuse_gelu")["Erf"] == 1
    assert_agrees(model, "fuse_gelu", X, tolerance=1e-6)


@pytest.mark.parametrize("form", TANH_FORMS)
def test_gelu_by_tanh(form: str):
    model = chain(TANH_FORMS[form], TANH)
    assert operators_apart(model) == {"Gelu": 1}
    assert_agrees(model, "fuse_gelu", X, tolerance=2e-6)


def test_gelu_of_a_product():
    text = "z = Mul(x, w); a = Div(z, r); e = Erf(a); p = Add(e, one); q = Mul(h, p); y = Mul(z, q)"
    model = chain(text, {**ERF, "w": np.float32([1, 2, 3, 4, 5])})
    assert operators_apart(model) == {"Gelu": 1, "Mul": 1}
    assert_agrees(model, "fuse_gelu", X, tolerance=1e-6)


@pytest.mark.parametrize("alpha", [1.0, 1.702])
def test_swish(alpha: float):
    model = chain("a = Mul(x, k); s = Sigmoid(a); y = Mul(s, x)", {"k": alpha})
    assert operators_apart(model) == {"Swish": 1}
    assert_agrees(model, "fuse_gelu", X, tolerance=2e-6)
    assert operators_apart(chain("s = Sigmoid(x); y = Mul(x, s)", {})) == {"Swish": 1}


@pytest.mark.parametrize(
    ("change", "of"),
    [
        ({"h": 0.6}, "erf"),
        ({"r": 1.5}, "erf"),
        ({"one": 2}, "erf"),
        ({"c": 0.05}, "tanh"),
        ({"s": 0.7}, "tanh"),
    ],
)
def test_other_constants_are_left_alone(change: dict[str, float], of: str):
    forms, constants = (ERF_FORMS, ERF) if of == "erf" else (TANH_FORMS, TANH)
    model = chain(next(iter(forms.values())), {**constants, **change})
    assert "Gelu" not in operators_apart(model)


def test_float64_keeps_its_own_arithmetic():
    model = model_of(
        [
            helper.make_node("Mul", ["x", "a"], ["h"]),
            helper.make_node("Sigmoid", ["h"], ["s"]),
            helper.make_node("Mul", ["x", "s"], ["y"]),
        ],
        {"x": [5]},
        ["y"],
        {"a": np.float64(1.702)},
    )
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    x = np.linspace(-3, 3, 5)
    np.testing.assert_allclose(pyinfer.load(model)(x), x / (1 + np.exp(-1.702 * x)), rtol=1e-14)


def test_a_constant_that_adds_a_dimension_is_left_alone():
    model = chain(ERF_FORMS["(x * 0.5) * (1 + erf)"], {**ERF, "h": [[[0.5]]]})
    assert "Gelu" not in operators_apart(model)


def test_another_gate_is_left_alone():
    text = "z = Add(x, one); a = Div(z, r); e = Erf(a); p = Add(e, one); q = Mul(h, p); y = Mul(x, q)"
    assert "Gelu" not in operators_apart(chain(text, ERF))


def test_inner_values_that_others_read_stay():
    text = "a = Div(x, r); e = Erf(a); p = Add(e, one); q = Mul(h, p); g = Mul(x, q); y = Add(g, e)"
    model = chain(text, ERF)
    assert operators_apart(model) == {"Gelu": 1, "Div": 1, "Erf": 1, "Add": 1}
    assert_agrees(model, "fuse_gelu", X, tolerance=1e-6)


def test_many_residuals_take_no_time():
    # Every sum has two ways back to the start.
    nodes, x = [], "x"
    for i in range(60):
        nodes += [
            helper.make_node("Relu", [x], [f"r{i}"]),
            helper.make_node("Sigmoid", [f"r{i}"], [f"s{i}"]),
            helper.make_node("Mul", [f"r{i}", f"s{i}"], [f"m{i}"]),
            helper.make_node("Add", [x, f"m{i}"], [f"a{i}"]),
        ]
        x = f"a{i}"
    model = model_of([*nodes, helper.make_node("Relu", [x], ["y"])], {"x": [3, 5]}, ["y"])
    assert operators_apart(model)["Swish"] == 60
