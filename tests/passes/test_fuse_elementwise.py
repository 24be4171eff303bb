"""Elementwise operators that read one another as one step, to the bit."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import pyinfer
from pass_models import model_of, operators

PASS = "fuse_elementwise"
FUSED = "pyinfer.Elementwise"


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


_erf = np.vectorize(math.erf, otypes=[np.float64])

# Each with what it computes in float64, on any finite numbers.
UNARY = {
    "Abs": ({}, np.abs),
    "Neg": ({}, np.negative),
    "Relu": ({}, lambda x: np.maximum(x, 0)),
    "Sigmoid": ({}, sigmoid),
    "Tanh": ({}, np.tanh),
    "Erf": ({}, lambda x: _erf(x) if x.size else x),
    "Cos": ({}, np.cos),
    "Atan": ({}, np.arctan),
    "Softsign": ({}, lambda x: x / (1 + np.abs(x))),
    "LeakyRelu": ({"alpha": 0.25}, lambda x: np.where(x < 0, 0.25 * x, x)),
    "Elu": ({"alpha": 0.5}, lambda x: np.where(x < 0, 0.5 * np.expm1(np.minimum(x, 0)), x)),
    "HardSigmoid": ({"alpha": 0.25}, lambda x: np.clip(0.25 * x + 0.5, 0, 1)),
    "Gelu": (
        {"approximate": "tanh"},
        lambda x: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    ),
    "Clip": ({}, lambda x: np.clip(x, -0.5, 0.75)),
}
BINARY = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Min": np.minimum,
    "Max": np.maximum,
    "Sum": np.add,
    "PRelu": lambda a, b: np.where(a < 0, a * b, a),
}


class Graph:
    """Elementwise nodes over inputs and constants, with the value of each result in float64."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: dict[str, list] = {}
        self.constants = {"low": np.float32(-0.5), "high": np.float32(0.75)}
        self.feeds: dict[str, np.ndarray] = {}
        self.values: dict[str, np.ndarray] = {}

    def leaf(self, shape: tuple[int, ...], declared: list | None) -> str:
        """An input of those declared dimensions, or a constant."""
        name = f"l{len(self.values)}"
        value = self.rng.uniform(-2, 2, shape).astype(np.float32)
        if declared is None:
            self.constants[name] = value
        else:
            self.inputs[name] = declared
            self.feeds[name] = value
        self.values[name] = value.astype(np.float64)
        return name

    def node(self, op: str, *operands: str) -> str:
        name = f"r{len(self.values)}"
        attributes, function = UNARY[op] if op in UNARY else ({}, BINARY[op])
        bounds = ["low", "high"] if op == "Clip" else []
        self.nodes.append(helper.make_node(op, [*operands, *bounds], [name], name=name, **attributes))
        self.values[name] = function(*(self.values[o] for o in operands))
        return name

    def model(self, outputs: list[str]) -> onnx.ModelProto:
        return model_of(self.nodes, self.inputs, outputs, self.constants)


def runs(model: onnx.ModelProto, feeds: dict[str, np.ndarray], threads=(1, 2, 4)) -> dict[str, np.ndarray]:
    """The outputs, which have the bits that they have without the pass, whatever the number of threads."""
    expected = pyinfer.load(model, threads=1, disable_passes=[PASS]).run(feeds)
    for n in threads:
        found = pyinfer.load(model, threads=n).run(feeds)
        for name, value in expected.items():
            assert found[name].shape == value.shape
            assert found[name].tobytes() == value.tobytes(), name
    return expected


def broadcasting(draw, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape that broadcasts to `shape`."""
    dims = [draw(st.sampled_from([d, 1])) for d in shape]
    return tuple(dims[draw(st.integers(0, len(dims))) :])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_graph(data):
    draw = data.draw
    graph = Graph(np.random.default_rng(draw(st.integers(0, 1000))))
    shape = tuple(draw(st.lists(st.sampled_from([0, 1, 2, 3, 5, 17, 40]), min_size=0, max_size=4)))

    def declared(dims):
        how = draw(st.sampled_from(["known", "unknown", "constant"]))
        return {"known": list(dims), "unknown": [None] * len(dims), "constant": None}[how]

    full = [graph.leaf(shape, draw(st.sampled_from([list(shape), [None] * len(shape)])))]
    for _ in range(draw(st.integers(1, 40))):
        op = draw(st.sampled_from([*UNARY, *BINARY]))
        # Mostly the newest, or few results are read once.
        a = draw(st.sampled_from([full[-1], full[-1], draw(st.sampled_from(full))]))
        if op in UNARY:
            full.append(graph.node(op, a))
            continue
        if draw(st.booleans()):
            b = draw(st.sampled_from(full))
        else:
            dims = draw(st.sampled_from([(), (1,), shape, broadcasting(draw, shape)]))
            dims = dims[-len(shape) :] if shape else ()
            b = graph.leaf(dims, declared(dims))
            if draw(st.booleans()):
                b = graph.node(draw(st.sampled_from(list(UNARY))), b)
        swap = op != "PRelu" and draw(st.booleans())
        full.append(graph.node(op, *((b, a) if swap else (a, b))))
    outputs = [full[-1]]
    if draw(st.booleans()):
        outputs.append(draw(st.sampled_from(graph.nodes)).output[0])
    model = graph.model(list(dict.fromkeys(outputs)))
    for name, value in runs(model, graph.feeds).items():
        scale = max(1.0, float(np.abs(graph.values[name]).max(initial=0)))
        assert value.shape == graph.values[name].shape
        if np.isfinite(scale) and scale < 1e4:
            np.testing.assert_allclose(value, graph.values[name], rtol=0, atol=1e-3 * scale)


def chain(shape, operand, *, known=True):
    """Two operands that broadcast, in a chain of seven."""
    graph = Graph(np.random.default_rng(1))
    x = graph.leaf(shape, list(shape) if known else [None] * len(shape))
    a = graph.node("Mul", x, graph.leaf(operand, None))
    b = graph.node("Add", a, graph.leaf(operand, None))
    c = graph.node("Mul", b, graph.node("Sigmoid", b))
    d = graph.node("Max", graph.leaf((), None), graph.node("Neg", c))
    return graph, graph.node("Add", d, x)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    ("shape", "operand"),
    [
        ((3, 7, 56, 56), (7, 1, 1)),
        ((2, 130, 33), (33,)),
        ((2, 130, 33), (130, 1)),
        ((1, 3, 5000), (1, 5000)),
        ((4, 6, 700), (4, 1, 700)),
        ((100_003,), ()),
        ((100_003,), (1,)),
        ((5, 4096), (5, 4096)),
        ((2, 1, 1), (2, 1, 1)),
        ((0, 5), (5,)),
        ((3, 0, 4), (3, 1, 1)),
        ((), ()),
    ],
)
def test_one_step_for_all(shape, operand, known):
    graph, y = chain(shape, operand, known=known)
    model = graph.model([y])
    if known:
        assert operators(model) == {FUSED: 1}
    assert sum(operators(model, PASS).values()) >= 6
    (value,) = runs(model, graph.feeds).values()
    np.testing.assert_allclose(value, graph.values[y], rtol=1e-5, atol=1e-5)


def test_batches_have_the_same_bits():
    graph, y = chain((5, 3, 41, 43), (3, 1, 1))
    model = graph.model([y])
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    assert operators(model) == {FUSED: 1}
    (x,) = graph.feeds.values()
    for threads in (1, 3):
        loaded = pyinfer.load(model, threads=threads)
        whole = loaded(x)
        for begin, end in ((0, 1), (2, 4), (4, 5), (0, 0)):
            assert loaded(x[begin:end]).tobytes() == whole[begin:end].tobytes()


def test_numbers_that_are_not_finite():
    nodes = [
        helper.make_node("Mul", ["x", "inf"], ["a"]),
        helper.make_node("Min", ["a", "nan"], ["b"]),
        helper.make_node("Max", ["b", "a"], ["c"]),
        helper.make_node("Clip", ["c", "zero", "inf"], ["y"]),
    ]
    constants = {"inf": np.float32(np.inf), "nan": np.float32(np.nan), "zero": np.float32(-0.0)}
    model = model_of(nodes, {"x": [5]}, ["y"], constants)
    x = np.float32([0, -0.0, np.nan, np.inf, 1])
    on, off = (pyinfer.load(model, disable_passes=p)(x) for p in ([], [PASS]))
    np.testing.assert_array_equal(on, off)


def ops_of(*chain: str, first="x", last="y") -> list[onnx.NodeProto]:
    names = [first, *(f"h{i}" for i in range(len(chain) - 1)), last]
    return [helper.make_node(op, [a], [b]) for op, a, b in zip(chain, names[:-1], names[1:], strict=True)]


def test_what_the_step_is_called():
    nodes = ops_of("Tanh", "Neg", "Exp")
    nodes[-1].name = "last"
    model = pyinfer.load(model_of(nodes, {"x": [3]}, ["y"]))
    assert "pyinfer.Elementwise 'last: Tanh, Neg, Exp'" in model.dump()


def test_a_result_that_is_an_output_stays():
    model = model_of(ops_of("Tanh", "Neg", "Exp", "Neg"), {"x": [3]}, ["y", "h1"])
    assert operators(model) == {FUSED: 2}
    runs(model, {"x": np.float32([1, 2, 3])})


def test_a_result_that_others_read_stays():
    nodes = [*ops_of("Tanh", "Neg", "Exp", "Neg"), helper.make_node("Softmax", ["h1"], ["z"])]
    model = model_of(nodes, {"x": [2, 3]}, ["y", "z"])
    assert operators(model) == {FUSED: 2, "Softmax": 1}
    runs(model, {"x": np.ones((2, 3), np.float32)})


def test_a_result_that_a_subgraph_reads_stays():
    branches = {
        name: helper.make_graph(
            [helper.make_node(op, ["h0"], [f"{name}_y"])], name, [], [onnx.ValueInfoProto(name=f"{name}_y")]
        )
        for name, op in (("then_branch", "Neg"), ("else_branch", "Abs"))
    }
    nodes = [
        *ops_of("Tanh", "Exp"),
        helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
        helper.make_node("Cast", ["m"], ["c"], to=TensorProto.BOOL),
        helper.make_node("If", ["c"], ["z"], **branches),
    ]
    model = model_of(nodes, {"x": [3]}, ["y", "z"])
    assert FUSED not in operators(model)
    runs(model, {"x": np.float32([1, 2, 3])})


def test_a_smaller_result_stays():
    """A row is not computed again for each row of the result."""
    nodes = [
        *ops_of("Tanh", "Exp", first="r", last="row"),
        helper.make_node("Mul", ["x", "row"], ["h"]),
        helper.make_node("Neg", ["h"], ["y"]),
    ]
    model = model_of(nodes, {"r": [1, 4], "x": [3, 4]}, ["y"])
    assert operators(model) == {FUSED: 2}
    rng = np.random.default_rng(3)
    runs(model, {n: rng.standard_normal(s, dtype=np.float32) for n, s in (("r", (1, 4)), ("x", (3, 4)))})


@pytest.mark.parametrize("rows", [1, 5])
def test_a_result_that_may_be_smaller_stays(rows):
    nodes = [
        *ops_of("Tanh", "Exp", last="h"),
        helper.make_node("Add", ["h", "z"], ["s"]),
        helper.make_node("Neg", ["s"], ["y"]),
    ]
    model = model_of(nodes, {"x": ["n", 4], "z": ["m", 4]}, ["y"])
    assert operators(model) == {FUSED: 2}
    rng = np.random.default_rng(4)
    for n, m in ((rows, rows), (1, rows), (rows, 1)):
        runs(model, {"x": rng.random((n, 4), np.float32), "z": rng.random((m, 4), np.float32)})


def test_operands_that_broadcast_together():
    """[3, 1] + [1, 4] has the shape of the result, which neither operand has."""
    nodes = [
        helper.make_node("Add", ["c", "r"], ["s"]),
        helper.make_node("Mul", ["s", "x"], ["m"]),
        helper.make_node("Sub", ["m", "c"], ["y"]),
    ]
    model = model_of(nodes, {"c": [3, 1], "r": [1, 4], "x": [3, 4]}, ["y"])
    assert operators(model) == {FUSED: 1}
    rng = np.random.default_rng(5)
    runs(model, {n: rng.random(s, np.float32) for n, s in (("c", (3, 1)), ("r", (1, 4)), ("x", (3, 4)))})


def test_a_number_that_adds_dimensions():
    nodes = [helper.make_node("Mul", ["x", "two"], ["h"]), *ops_of("Neg", "Exp", first="h")]
    model = model_of(nodes, {"x": [3]}, ["y"], {"two": np.full((1, 1, 1), 2, np.float32)})
    (y,) = runs(model, {"x": np.float32([1, 2, 3])}).values()
    assert y.shape == (1, 1, 3)


@pytest.mark.parametrize("early", [False, True])
def test_operands_are_held_no_longer_for_it(early):
    """a + b is computed before the softmax, which then has less in memory beside it."""
    total = [helper.make_node("Add", ["a", "b"], ["s"])]
    other = [helper.make_node("Softmax", ["x"], ["p"])]
    nodes = [
        *(total + other if early else other + total),
        helper.make_node("Mul", ["s", "p"], ["m"]),
        helper.make_node("Neg", ["m"], ["y"]),
    ]
    model = model_of(nodes, dict.fromkeys(("a", "b", "x"), (2, 3)), ["y"])
    assert operators(model) == {FUSED: 1, "Softmax": 1} | ({"Add": 1} if early else {})
    rng = np.random.default_rng(6)
    runs(model, {n: rng.random((2, 3), np.float32) for n in ("a", "b", "x")})


def test_prelu_of_a_number():
    nodes = [helper.make_node("PRelu", ["number", "x"], ["h"]), helper.make_node("Neg", ["h"], ["y"])]
    model = model_of(nodes, {"x": [1]}, ["y"], {"number": np.float32([-2])})
    assert operators(model) == {FUSED: 1}
    runs(model, {"x": np.float32([3])})


def test_a_slope_that_is_wider_is_refused():
    nodes = [helper.make_node("PRelu", ["x", "slope"], ["h"]), helper.make_node("Neg", ["h"], ["y"])]
    model = model_of(nodes, {"x": ["n", 4]}, ["y"], {"slope": np.ones((3, 4), np.float32)})
    assert operators(model) == {"PRelu": 1, "Neg": 1}
    with pytest.raises(pyinfer.InvalidInput):
        pyinfer.load(model)(np.ones((1, 4), np.float32))


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16])
def test_other_types_are_left_alone(dtype):
    model = model_of(ops_of("Tanh", "Neg", "Exp"), {"x": [3]}, ["y"])
    model.graph.input[0].type.tensor_type.elem_type = dtype
    assert FUSED not in operators(model)


def test_an_exponent_of_another_type_is_left_alone():
    nodes = [helper.make_node("Pow", ["x", "n"], ["h"]), helper.make_node("Neg", ["h"], ["y"])]
    model = model_of(nodes, {"x": [3]}, ["y"], {"n": np.int64([1, 2, 3])})
    assert operators(model) == {"Pow": 1, "Neg": 1}
    model = model_of(nodes, {"x": [3]}, ["y"], {"n": np.float32([1, 2, 3])})
    assert operators(model) == {FUSED: 1}
    runs(model, {"x": np.float32([1, 2, 3])})


def test_what_follows_from_shapes_is_left_to_planning():
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Cast", ["s"], ["f"], to=TensorProto.FLOAT),
        *ops_of("Sqrt", "Neg", first="f", last="g"),
        helper.make_node("Add", ["x", "g"], ["h"]),
        helper.make_node("Neg", ["h"], ["y"]),
    ]
    model = model_of(nodes, {"x": ["n", 2]}, ["y"])
    found = operators(model)
    assert (found["Sqrt"], found["Neg"], found[FUSED]) == (1, 1, 1)
    runs(model, {"x": np.ones((3, 2), np.float32)})


def test_groups_are_bounded():
    model = model_of(ops_of(*["Neg", "Tanh"] * 50), {"x": [3]}, ["y"])
    assert operators(model) == {FUSED: 4}
    runs(model, {"x": np.float32([1, 2, 3])})
    names = [f"x{i}" for i in range(20)]
    sums = ["x0", *(f"s{i}" for i in range(1, 19)), "y"]
    nodes = [helper.make_node("Add", [sums[i], names[i + 1]], [sums[i + 1]]) for i in range(19)]
    model = model_of(nodes, {name: [3] for name in names}, ["y"])
    assert operators(model) == {FUSED: 3}
    runs(model, {n: np.full(3, i, np.float32) for i, n in enumerate(names)})


def test_inside_a_body():
    """What the inputs of a body declare is not believed; the shape of what is computed follows all the same."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_out"]),
            helper.make_node("Mul", ["v", "half"], ["a"]),
            helper.make_node("Tanh", ["a"], ["b"]),
            helper.make_node("Add", ["b", "v"], ["v_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, [1]),
        ],
        [onnx.ValueInfoProto(name=n) for n in ("go_out", "v_out")],
        [numpy_helper.from_array(np.float32(0.5), "half")],
    )
    node = helper.make_node("Loop", ["trips", "go", "x"], ["y"], body=body)
    model = model_of([node], {"x": ["n"]}, ["y"], {"trips": np.array(3), "go": np.array(True)})
    assert "Elementwise" in pyinfer.load(model).dump()
    runs(model, {"x": np.linspace(-1, 1, 7, dtype=np.float32)})


def lone(ops, operands, params, shapes) -> onnx.ModelProto:
    names = [f"x{i}" for i in range(len(shapes))]
    node = helper.make_node(
        "Elementwise", names, ["y"], domain="pyinfer", ops=ops, operands=operands, params=params
    )
    model = model_of([node], dict(zip(names, shapes, strict=True)), ["y"])
    model.opset_import.append(helper.make_opsetid("pyinfer", 1))
    return model


@pytest.mark.parametrize(
    ("ops", "operands", "params", "message"),
    [
        (["Add"], [0, 2], [0, 0], "expected less than 2"),
        (["Neg", "Neg"], [0, -1, 3, -1], [0] * 4, "expected less than 3"),
        (["Add"], [0, -2], [0, 0], "operands 0 and -2"),
        (["Add"], [-1, -1], [0, 0], "operands -1 and -1"),
        (["Neg"], [-1, -1], [0, 0], "operands -1 and -1"),
        (["Neg"], [0, 1], [0, 0], "operands 0 and 1"),
        (["Neg"], [0], [0, 0], "expected two of each"),
        (["Neg"], [0, -1], [0], "expected two of each"),
        (["Not"], [0, -1], [0, 0], "operator 'Not'"),
        (["Foo"], [0, -1], [0, 0], "operator 'Foo'"),
        (["Neg"] * 1025, [0, -1] * 1025, [0, 0] * 1025, "expected two of each"),
    ],
)
def test_a_program_that_cannot_be(ops, operands, params, message):
    with pytest.raises(pyinfer.PyInferError, match=message):
        pyinfer.load(lone(ops, operands, [float(p) for p in params], [[3], [3]]))


def test_results_of_other_shapes_are_refused():
    model = lone(["Neg", "Add"], [0, -1, 2, 1], [0.0] * 4, [[1, 4], [3, 4]])
    with pytest.raises(pyinfer.InvalidInput, match="instruction 1 has shape"):
        pyinfer.load(model)(np.ones((1, 4), np.float32), np.ones((3, 4), np.float32))
    model = lone(["Add", "PRelu"], [0, 1, 0, 2], [0.0] * 4, [[1, 4], [3, 4]])
    with pytest.raises(pyinfer.InvalidInput, match="instruction 1 has shape"):
        pyinfer.load(model)(np.ones((1, 4), np.float32), np.ones((3, 4), np.float32))


def test_many_results_at_a_time_and_some_that_nothing_reads():
    ops = ["Neg"] * 40 + ["Add"] * 39
    operands = [0, -1] * 40 + [v for i in range(39) for v in (2 + i, 40 + i)]
    x = np.arange(70, dtype=np.float32)
    np.testing.assert_array_equal(pyinfer.load(lone(ops, operands, [0.0] * 158, [[70]]))(x), x * -40)
