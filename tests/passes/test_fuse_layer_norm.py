"""Normalizations written out, in the forms that exporters give them, become one operator."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

import pyinfer
from pass_models import assert_agrees, chain, operators_apart

PASS = "fuse_layer_norm"
EPSILON = 1e-5
LAST = np.array([-1])
CONSTANTS = {"axes": LAST, "eps": EPSILON, "two": 2, "half": 0.5, "less": -0.5, "one": 1}
RNG = np.random.default_rng(0)

MEAN = "m = ReduceMean(x, axes); d = Sub(x, m);"
VARIANCE = MEAN + "q = Pow(d, two); v = ReduceMean(q, axes); e = Add(v, eps);"
ROOT = VARIANCE + "s = Sqrt(e);"
# Each leaves the normalized x in n.
LAYER = {
    "torch": ROOT + "n = Div(d, s);",
    "epsilon first": ROOT.replace("Add(v, eps)", "Add(eps, v)") + "n = Div(d, s);",
    "product": ROOT.replace("Pow(d, two)", "Mul(d, d)") + "n = Div(d, s);",
    "reciprocal": ROOT + "r = Reciprocal(s); n = Mul(d, r);",
    "one over": ROOT + "r = Div(one, s); n = Mul(r, d);",
    "power": VARIANCE + "s = Pow(e, half); n = Div(d, s);",
    "negative power": VARIANCE + "r = Pow(e, less); n = Mul(d, r);",
    "twice": ROOT + "mm = ReduceMean(x, axes); dd = Sub(x, mm); n = Div(dd, s);",
}
SQUARES = "q = Pow(x, two); v = ReduceMean(q, axes); e = Add(v, eps);"
RMS = {
    "torch": SQUARES + "s = Sqrt(e); r = Div(one, s); n = Mul(x, r);",
    "reciprocal": SQUARES + "s = Sqrt(e); r = Reciprocal(s); n = Mul(r, x);",
    "quotient": SQUARES + "s = Sqrt(e); n = Div(x, s);",
    "product": SQUARES.replace("Pow(x, two)", "Mul(x, x)") + "s = Sqrt(e); n = Div(x, s);",
    "power": SQUARES + "r = Pow(e, less); n = Mul(x, r);",
}
AFFINE = {
    "": "y = Identity(n)",
    "scale": "y = Mul(n, w)",
    "bias": "y = Add(n, b)",
    "scale and bias": "z = Mul(n, w); y = Add(z, b)",
    "bias and scale, first": "z = Mul(w, n); y = Add(b, z)",
}
# Those that mix the scale with what is normalized.
SCALED = {
    "r w": ROOT + "r = Reciprocal(s); t = Mul(r, w); z = Mul(d, t); y = Add(z, b)",
    "w r": ROOT + "r = Div(one, s); t = Mul(w, r); z = Mul(t, d); y = Add(z, b)",
    "d w": ROOT + "t = Mul(w, d); z = Div(t, s); y = Add(z, b)",
    "x r + (b - m r)": ROOT
    + "r = Reciprocal(s); t = Mul(r, w); p = Mul(x, t); k = Mul(m, t); c = Sub(b, k); y = Add(p, c)",
    "(b - m r) + r x": ROOT
    + "r = Reciprocal(s); t = Mul(w, r); p = Mul(t, x); k = Mul(t, m); c = Sub(b, k); y = Add(c, p)",
    "x r + (-m r + b)": ROOT
    + "r = Reciprocal(s); t = Mul(r, w); p = Mul(x, t); g = Neg(m); k = Mul(g, t); c = Add(k, b); y = Add(p, c)",
    "x r + (b + r -m)": ROOT
    + "r = Reciprocal(s); t = Mul(r, w); p = Mul(x, t); g = Neg(m); k = Mul(t, g); c = Add(b, k); y = Add(p, c)",
}
SHAPES = [(3, 5), (2, 3, 17), (1, 1), (4, 1), (0, 7), (2, 0, 3), (3, 0), (2, 2, 2, 40), (6,)]


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def reference(x, w=None, b=None, axes=1, centered=True, epsilon=EPSILON):
    x = x.astype(np.float64)
    over = tuple(range(x.ndim - axes, x.ndim))
    d = x - x.mean(over, keepdims=True) if centered and x.size else x
    y = d / np.sqrt((d**2).mean(over, keepdims=True) + epsilon) if x.size else d
    return y * (1 if w is None else w) + (0 if b is None else b)


def check(text, x, want, constants=None, fused=None, tolerance=2e-5, **options) -> None:
    """Fused or not, the outputs are those wanted, and `fused` is what is left of the nodes."""
    model = chain(text, {**CONSTANTS, **(constants or {})}, options.pop("shape", x.shape), **options)
    if fused is not None:
        assert operators_apart(model) == fused
    for off in ([], [PASS]):
        got = pyinfer.load(model, disable_passes=off)(x)
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


def untouched(text: str, constants=None, **options) -> dict[str, int]:
    """The operators that are left, which are those without the pass."""
    model = chain(text, {**CONSTANTS, **(constants or {})}, **options)
    left = operators_apart(model)
    assert left == operators_apart(model, PASS)
    assert left.keys().isdisjoint({"LayerNormalization", "RMSNormalization"})
    shape = options.get("shape", [3, 5])
    assert_agrees(model, PASS, RNG.standard_normal(shape).astype(options.get("dtype", np.float32)))
    return left


@pytest.mark.parametrize("form", LAYER)
@pytest.mark.parametrize("affine", AFFINE)
def test_layer_norm(form: str, affine: str):
    for shape in SHAPES:
        x, w, b = normal(*shape) + 2, normal(shape[-1]), normal(shape[-1])
        want = reference(x, w if "scale" in affine else None, b if "bias" in affine else None)
        check(LAYER[form] + AFFINE[affine], x, want, {"w": w, "b": b}, {"LayerNormalization": 1})


@pytest.mark.parametrize("form", RMS)
@pytest.mark.parametrize("affine", AFFINE)
def test_rms_norm(form: str, affine: str):
    for shape in SHAPES:
        x, w, b = normal(*shape), normal(shape[-1]), normal(shape[-1])
        want = reference(x, w if "scale" in affine else None, b if "bias" in affine else None, centered=False)
        left = {"RMSNormalization": 1, **({"Add": 1} if "bias" in affine else {})}
        check(RMS[form] + AFFINE[affine], x, want, {"w": w, "b": b}, left)


@pytest.mark.parametrize("form", SCALED)
def test_scale_inside(form: str):
    for shape in SHAPES:
        x, w, b = normal(*shape), normal(shape[-1]), normal(shape[-1])
        # Written out, x r and m r cancel where x is its mean, and r is then 1 / sqrt(epsilon).
        tolerance = 2e-5 if shape[-1] > 1 else 3e-3
        left = {"LayerNormalization": 1}
        check(SCALED[form], x, reference(x, w, b), {"w": w, "b": b}, left, tolerance)


def test_an_affine_map_without_scale_or_bias():
    text = ROOT + "r = Reciprocal(s); p = Mul(x, r); g = Neg(m); k = Mul(g, r); n = Add(p, k);"
    x, w, b = normal(3, 5), normal(5), normal(5)
    check(text + "y = Identity(n)", x, reference(x), {}, {"LayerNormalization": 1})
    check(text + AFFINE["scale and bias"], x, reference(x, w, b), {"w": w, "b": b}, {"LayerNormalization": 1})


@pytest.mark.parametrize("axes", [[-1], [2], [-2, -1], [-1, -2], [1, 2], [2, -2], [0, 1, 2], [-3, 2, 1]])
def test_axes(axes: list[int]):
    x, count = normal(3, 4, 5), len(axes)
    for w in (normal(*x.shape[3 - count :]), normal(5), normal(1), normal(1, 1, 5)):
        b = normal(5)
        constants = {"w": w, "b": b, "axes": np.array(axes)}
        want = reference(x, w, b, count)
        check(LAYER["torch"] + AFFINE["scale and bias"], x, want, constants, {"LayerNormalization": 1})
        want = reference(x, w, None, count, centered=False)
        check(RMS["torch"] + AFFINE["scale"], x, want, constants, {"RMSNormalization": 1})


def test_axes_as_an_attribute():
    model = chain(LAYER["torch"] + AFFINE["scale"], {**CONSTANTS, "w": normal(5)}, opset=13)
    for node in model.graph.node:
        if node.op_type == "ReduceMean":
            del node.input[1:]
            node.attribute.append(helper.make_attribute("axes", [-1]))
    assert operators_apart(model) == {"LayerNormalization": 1}
    assert_agrees(model, PASS, normal(3, 5), tolerance=1e-5)


def test_an_integer_exponent():
    check(
        LAYER["torch"] + AFFINE[""],
        x := normal(3, 5),
        reference(x),
        {"two": np.array(2)},
        {"LayerNormalization": 1},
    )


CASTS = {
    # T5, Llama, and torch where Pow wants one type.
    "of what is squared": ("c = Cast(x, to=1);" + RMS["torch"].replace("Pow(x,", "Pow(c,"), {}),
    "of the result": (RMS["torch"].replace("n = ", "k = ") + "n = Cast(k, to=1);", {}),
    "of all": (
        "c = Cast(x, to=1);" + RMS["torch"].replace("x,", "c,").replace("n =", "k =") + "n = Cast(k, to=1);",
        {"Cast": 1},
    ),
    "of the difference": (LAYER["torch"].replace("q = Pow(d,", "c = Cast(d, to=1); q = Pow(c,"), {}),
    "of the layer norm": (LAYER["torch"].replace("n =", "k =") + "n = Cast(k, to=1);", {}),
}


@pytest.mark.parametrize("form", CASTS)
def test_casts_to_the_same_type(form: str):
    text, left = CASTS[form]
    x, w = normal(3, 5), normal(5)
    norm = "LayerNormalization" if "Sub" in text else "RMSNormalization"
    want = reference(x, w, centered="Sub" in text)
    check(text + "y = Mul(n, w)", x, want, {"w": w}, {norm: 1, **left})
    check(text + "z = Mul(n, w); y = Cast(z, to=1)", x, want, {"w": w}, {norm: 1, **left})


@pytest.mark.parametrize("off", [[], [PASS]])
def test_casts_to_another_type(off: list[str]):
    # float16 outside, float32 inside, as mixed precision has it.
    text = "c = Cast(x, to=1);" + RMS["torch"].replace("x,", "c,") + "h = Cast(n, to=10); y = Mul(h, w)"
    x, w = normal(3, 5).astype(np.float16), normal(5).astype(np.float16)
    arrays = {k: v if k == "axes" else np.asarray(v, np.float32) for k, v in CONSTANTS.items()}
    model = chain(text, {**arrays, "w": w}, dtype=np.float16)
    assert operators_apart(model) == {"RMSNormalization": 1, "Cast": 2, "Mul": 1}
    got = pyinfer.load(model, disable_passes=off)(x)
    assert got.dtype == np.float16
    np.testing.assert_allclose(got, reference(x, w, centered=False), rtol=3e-3, atol=3e-3)


def test_a_cast_that_rounds_is_left_alone():
    text = "h = Cast(x, to=10); c = Cast(h, to=1);" + RMS["quotient"].replace("Pow(x,", "Pow(c,")
    untouched(text + "y = Abs(n)")


def test_equal_nodes_need_not_be_joined():
    text = LAYER["twice"] + AFFINE[""]
    model = chain(text, CONSTANTS)
    assert operators_apart(model, "eliminate_common_subexpressions") == {"LayerNormalization": 1}


def test_what_the_pattern_reads_may_be_read_by_others():
    text = LAYER["torch"] + "z = Mul(n, w); y = Add(x, z)"
    x, w = normal(3, 5), normal(5)
    check(text, x, reference(x, w) + x, {"w": w}, {"LayerNormalization": 1, "Add": 1})
    check(RMS["torch"] + "z = Mul(n, w); y = Add(x, z)", x, reference(x, w, centered=False) + x, {"w": w})


def test_two_scales_of_one_normalized_value():
    x, w, u = normal(3, 5), normal(5), normal(5)
    text = LAYER["torch"] + "a = Mul(n, w); c = Mul(n, u); y = Sub(a, c)"
    check(
        text,
        x,
        reference(x, w) - reference(x, u),
        {"w": w, "u": u},
        {"LayerNormalization": 1, "Mul": 2, "Sub": 1},
    )


def test_scales_that_are_no_constants():
    # z is one row, or one number for each row.
    for shape, left in {(5,): {}, (1, 5): {}, (1,): {}, (3, 1): {"Mul": 1}}.items():
        inputs = {"x": [3, 5], "z": list(shape)}
        model = chain(LAYER["torch"] + "y = Mul(n, z)", CONSTANTS, inputs=inputs)
        assert operators_apart(model) == {"LayerNormalization": 1, **left}
        x, z = normal(3, 5), normal(*shape)
        assert_agrees(model, PASS, x, z, tolerance=1e-5)
        np.testing.assert_allclose(pyinfer.load(model)(x, z), reference(x, z), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", [*LAYER.values(), *RMS.values()])
def test_an_open_width_may_be_one(form: str):
    w, b = normal(5), normal(5)
    for width in (5, 1):
        x = normal(3, width)
        want = reference(x, w, b, centered="m = " in form)
        norm = "LayerNormalization" if "m = " in form else "RMSNormalization"
        left = {norm: 1, "Mul": 1, "Add": 1}
        check(form + AFFINE["scale and bias"], x, want, {"w": w, "b": b}, left, shape=["n", "d"])


def test_a_value_of_unknown_rank():
    # Positive axes then say nothing about which dimension is the last.
    text = "h = Reshape(x, shape);" + LAYER["torch"].replace("x,", "h,") + AFFINE["scale"]
    for axis in (-1, 1):
        model = chain(text, {**CONSTANTS, "axes": np.array([axis]), "w": normal(5)})
        model.graph.input.append(helper.make_tensor_value_info("shape", TensorProto.INT64, ["r"]))
        assert operators_apart(model).get("LayerNormalization", 0) == (axis < 0)
        assert_agrees(model, PASS, normal(3, 5), np.array([3, 5]), tolerance=1e-5)


def test_float64():
    x, w = RNG.standard_normal((3, 5)) * 1e-3, RNG.standard_normal(5)
    exact = {"w": w, "eps": np.array(2.0**-20)}
    for forms, left in ((LAYER, {"LayerNormalization": 1}), (RMS, {"RMSNormalization": 1})):
        want = reference(x, w, centered=forms is LAYER, epsilon=2.0**-20)
        for affine in ("", "scale"):
            result = want if affine else want / w
            options = {"fused": left, "dtype": np.float64, "tolerance": 1e-13}
            check(forms["torch"] + AFFINE[affine], x, result, exact, **options)
        # An attribute would round the number.
        want = reference(x, centered=forms is LAYER)
        text = forms["torch"] + AFFINE[""]
        check(text, x, want, {}, dtype=np.float64, tolerance=1e-13)
        untouched(text, dtype=np.float64)


def test_float16_is_left_alone():
    untouched(LAYER["torch"] + AFFINE[""], dtype=np.float16)
    untouched(RMS["torch"] + AFFINE[""], dtype=np.float16)


@pytest.mark.parametrize("value", ["m", "d", "q", "v", "e", "s"])
def test_inner_values_that_others_read(value: str):
    text = LAYER["torch"] + f"o = Abs({value}); y = Add(n, o)"
    assert untouched(text)["Sqrt"] == 1
    if value in "qves":
        assert untouched(RMS["torch"] + f"o = Abs({value}); y = Add(n, o)")["Sqrt"] == 1


@pytest.mark.parametrize("value", ["m", "d", "q", "v", "e", "s"])
def test_inner_values_that_are_outputs(value: str):
    model = chain(LAYER["torch"] + AFFINE[""], CONSTANTS, outputs=["y", value])
    assert "LayerNormalization" not in operators_apart(model)
    x = normal(3, 5)
    y, _ = pyinfer.load(model)(x)
    np.testing.assert_allclose(y, reference(x), rtol=1e-5, atol=1e-5)


def test_a_normalized_value_that_is_an_output():
    model = chain(LAYER["torch"] + AFFINE["scale"], {**CONSTANTS, "w": normal(5)}, outputs=["y", "n"])
    assert operators_apart(model) == {"LayerNormalization": 1, "Mul": 1}
    x = normal(3, 5)
    np.testing.assert_allclose(pyinfer.load(model)(x)[1], reference(x), rtol=1e-5, atol=1e-5)


def test_inner_values_that_a_body_reads():
    body = helper.make_graph(
        [helper.make_node("Identity", ["d"], ["o"])],
        "body",
        [],
        [helper.make_tensor_value_info("o", TensorProto.FLOAT, None)],
    )
    model = chain(LAYER["torch"] + "y = Identity(n)", CONSTANTS, outputs=["y", "o"])
    model.graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, []))
    model.graph.node.append(helper.make_node("If", ["c"], ["o"], then_branch=body, else_branch=body))
    assert "LayerNormalization" not in operators_apart(model)
    x = normal(3, 5)
    y, o = pyinfer.load(model)(x, np.array(True))
    np.testing.assert_allclose(y, reference(x), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(o, x - x.mean(-1, keepdims=True), rtol=1e-5, atol=1e-6)


OTHERS = {
    "another axis": (LAYER["torch"], {"axes": np.array([0])}),
    "an axis in front": (LAYER["torch"].replace("q, axes", "q, front"), {"front": np.array([0])}),
    "all axes unsaid": (LAYER["torch"].replace(", axes", ""), {}),
    "epsilon outside": (VARIANCE.replace("Add(v, eps)", "Sqrt(v)") + "s = Add(e, eps); n = Div(d, s);", {}),
    "no epsilon": (VARIANCE + "s = Sqrt(v); n = Div(d, s);", {}),
    "epsilon of many": (LAYER["torch"], {"eps": np.full(5, EPSILON, np.float32)}),
    "epsilon that adds a dimension": (LAYER["torch"], {"eps": np.full((1, 1, 1), EPSILON, np.float32)}),
    "a cube": (LAYER["torch"], {"two": 3}),
    "another root": (LAYER["power"], {"half": 0.25}),
    "two over": (LAYER["one over"], {"one": 2}),
    "a one that adds a dimension": (LAYER["one over"], {"one": [[[1]]]}),
    "the wrong way": (LAYER["torch"].replace("Div(d, s)", "Div(s, d)"), {}),
    "a sum of squares": (LAYER["torch"].replace("v = ReduceMean", "v = ReduceSum"), {}),
    "x over the deviation": (LAYER["torch"].replace("Div(d, s)", "Div(x, s)"), {}),
    "d over the root": (MEAN + RMS["quotient"].replace("Div(x, s)", "Div(d, s)"), {}),
}


@pytest.mark.parametrize("form", OTHERS)
def test_what_is_no_normalization(form: str):
    text, constants = OTHERS[form]
    untouched(text + "y = Abs(n)", constants)


@pytest.mark.parametrize(
    "change",
    [
        ("Sub(x, m)", "Sub(m, x)"),
        ("m = ReduceMean", "m = ReduceMax"),
        ("m = ReduceMean(x, axes", "m = ReduceMean(x, first"),
        ("m = ReduceMean(x, axes", "m = ReduceMean(x, axes, keepdims=0"),
        ("v = ReduceMean(q, axes", "v = ReduceMean(q, both"),
    ],
)
def test_other_differences_have_an_rms(change: tuple[str, str]):
    constants = {**CONSTANTS, "first": np.array([0]), "both": np.array([0, 1])}
    model = chain(LAYER["torch"].replace(*change) + "y = Abs(n)", constants, [5, 5])
    left = operators_apart(model)
    assert left["RMSNormalization"] == 1
    assert "LayerNormalization" not in left
    assert_agrees(model, PASS, normal(5, 5), tolerance=1e-5)


@pytest.mark.parametrize("form", [LAYER["torch"], RMS["torch"]])
def test_a_mean_that_drops_its_dimension(form: str):
    # Of a square, so that what is left broadcasts.
    untouched(form.replace("q, axes", "q, axes, keepdims=0") + "y = Abs(n)", shape=[5, 5])


@pytest.mark.parametrize("shape", [(3, 5), (3, 1), (2, 3, 5), (1, 1, 1), (2, 1, 1)])
def test_scales_of_other_shapes_stay_outside(shape: tuple[int, ...]):
    x, w = normal(3, 5), normal(*shape)
    check(LAYER["torch"] + AFFINE["scale"], x, reference(x, w), {"w": w}, {"LayerNormalization": 1, "Mul": 1})
    check(
        LAYER["torch"] + AFFINE["bias"],
        x,
        reference(x, None, w),
        {"b": w},
        {"LayerNormalization": 1, "Add": 1},
    )
    check(
        RMS["torch"] + AFFINE["scale"],
        x,
        reference(x, w, None, 1, False),
        {"w": w},
        {"RMSNormalization": 1, "Mul": 1},
    )
    # Where it cannot, nothing is fused.
    model = chain(SCALED["r w"], {**CONSTANTS, "w": w, "b": normal(5)})
    assert "LayerNormalization" not in operators_apart(model)
    assert_agrees(model, PASS, x)


@pytest.mark.parametrize("shape", [(3, 5), (1, 5), (5,)])
def test_a_scale_that_the_pattern_computes(shape: tuple[int, ...]):
    for text in ("t = Mul(r, r)", "t = Mul(m, r)", "t = Mul(r, s)", "t = Mul(r, e)"):
        untouched(ROOT + f"r = Reciprocal(s); {text}; y = Mul(d, t)", shape=shape)
    text = "r = Reciprocal(s); p = Mul(x, r); k = Mul(m, r); c = Sub(m, k); y = Add(p, c)"
    untouched(ROOT + text, shape=shape)


def test_an_affine_map_by_the_rms_is_left_alone():
    text = "m = ReduceMean(x, axes); r = Reciprocal(s); p = Mul(x, r); k = Mul(m, r); c = Sub(b, k); y = Add(p, c)"
    untouched(SQUARES + "s = Sqrt(e);" + text, {"b": normal(5)})


@pytest.mark.parametrize("off", [[], [PASS]])
def test_mixed_types_are_refused(off: list[str]):
    for form in (LAYER["torch"] + "y = Mul(n, w)", RMS["torch"] + "y = Mul(n, w)", SCALED["r w"]):
        constants = {**CONSTANTS, "b": normal(5)}
        wide = helper.make_tensor_value_info("w", TensorProto.DOUBLE, [5])
        models = [chain(form, {**constants, "w": np.ones(5)}), chain(form, constants)]
        models[1].graph.input.append(wide)
        models.append(chain(form, {**constants, "w": normal(5)}))
        models[2].graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
        for model in models:
            with pytest.raises(pyinfer.PyInferError):
                pyinfer.load(model, disable_passes=off)


@pytest.mark.parametrize("off", [[], [PASS]])
@pytest.mark.parametrize("form", [LAYER["torch"], RMS["torch"]])
def test_axes_beyond_x_are_refused(form: str, off: list[str]):
    for axes, shape in ([-1], []), ([-1, -2], [5]), ([1], [5]), ([-2], [5]):
        model = chain(form + "y = Abs(n)", {**CONSTANTS, "axes": np.array(axes)}, shape)
        with pytest.raises(pyinfer.PyInferError, match="ReduceMean"):
            pyinfer.load(model, disable_passes=off)(normal(*shape))


def test_x_as_its_own_scale():
    x = normal(5)
    for text in ("y = Mul(n, x)", "z = Mul(n, x); y = Add(z, x)"):
        for form in (LAYER["torch"], RMS["torch"]):
            want = reference(x, x, x if "Add" in text else None, centered=form is LAYER["torch"])
            check(form + text, x, want)


def test_many_take_no_time():
    text = "".join(
        f"m{i} = ReduceMean({x}, axes); d{i} = Sub({x}, m{i}); q{i} = Mul(d{i}, d{i}); v{i} = ReduceMean(q{i}, axes);"
        f"e{i} = Add(v{i}, eps); s{i} = Sqrt(e{i}); n{i} = Div(d{i}, s{i}); a{i} = Add({x}, n{i});"
        for i, x in enumerate(["x", *(f"a{i}" for i in range(99))])
    )
    assert operators_apart(chain(text + "y = Abs(a99)", CONSTANTS)) == {
        "LayerNormalization": 100,
        "Add": 100,
        "Abs": 1,
    }


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_shape(data: st.DataObject):
    shape = tuple(data.draw(st.lists(st.integers(0, 7), min_size=1, max_size=4)))
    count = data.draw(st.integers(1, len(shape)))
    axes = [a - data.draw(st.sampled_from([0, len(shape)])) for a in range(len(shape) - count, len(shape))]

    def operand() -> np.ndarray:
        part = shape[data.draw(st.integers(0, len(shape))) :]
        dims = [d if data.draw(st.booleans()) else 1 for d in part]
        return RNG.uniform(-2, 2, dims).astype(np.float32)

    x, w, b = normal(*shape) + 1, operand(), operand()
    centered = data.draw(st.booleans())
    form = data.draw(st.sampled_from(list((LAYER if centered else RMS).values())))
    affine = data.draw(st.sampled_from(list(AFFINE)))
    want = reference(x, w if "scale" in affine else None, b if "bias" in affine else None, count, centered)
    constants = {"w": w, "b": b, "axes": np.array(data.draw(st.permutations(axes)))}
    declared = [d if data.draw(st.booleans()) else None for d in shape]
    model = chain(form + AFFINE[affine], {**CONSTANTS, **constants}, declared)
    assert ("LayerNormalization" if centered else "RMSNormalization") in operators_apart(model)
    check(form + AFFINE[affine], x, want, constants, shape=declared, tolerance=1e-4)
