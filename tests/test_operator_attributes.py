"""Attributes that an operator does not have, operator sets and IR versions from the future: never ignored."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

import pyinfer

TABLE = Path(__file__).resolve().parent.parent / "csrc" / "onnx" / "operator_attributes.inc"
NEWEST = 28


def model_of(
    *nodes: onnx.NodeProto, opset: int = 21, ir_version: int = 10, **domains: int
) -> onnx.ModelProto:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])
    output = onnx.ValueInfoProto(name=nodes[-1].output[0])
    graph = helper.make_graph(nodes, "g", [value], [output])
    imports = [helper.make_opsetid("", opset)]
    imports += [helper.make_opsetid(d.replace("_", "."), v) for d, v in domains.items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir_version)


def rows() -> dict[tuple[str, str], list[tuple[tuple[str, str], int, float]]]:
    """(domain, operator) to names and types of attributes, each with the versions that know it."""
    text = re.sub(r'"\n "', "", TABLE.read_text()).replace(",\n ", ", ")
    return {
        (domain, op): [
            ((name, type_), int(first or 0), int(end) if end else np.inf)
            for name, type_, first, end in re.findall(r"(\w+):(\w+)(?:>=(\d+))?(?:<(\d+))?", words)
        ]
        for domain, op, words in re.findall(r'^\{"(.*?)", "(.*?)", "(.*?)"\},$', text, re.MULTILINE)
    }


def test_the_table_is_what_the_schemas_say():
    table = rows()
    checked = 0
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.deprecated or (schema.domain == "" and schema.since_version > NEWEST):
            continue
        version = schema.since_version
        known = {n for n, first, end in table[schema.domain, schema.name] if first <= version < end}
        expected = {(name, a.type.name.lower()) for name, a in schema.attributes.items()}
        if schema.max_output < 1000:
            expected.add((str(schema.max_output), "outputs"))
        assert known == expected, (schema.name, version)
        checked += 1
    assert checked > 600


def test_the_table_has_every_operator_that_can_run():
    table = rows()
    missing = {(d, op) for d, op, _ in pyinfer.supported_operators() if d != "pyinfer"} - set(table)
    # An alias that the schemas of com.microsoft do not have.
    assert missing <= {("com.microsoft", "SimplifiedLayerNormalization")}


def test_supported_operators_are_those_that_are_known():
    supported = {(domain, op) for domain, op, _ in pyinfer.supported_operators() if domain != "pyinfer"}
    known = set()
    for domain, op in rows():
        # Their newest versions were deprecated.
        opset = {"Upsample": 9, "Scatter": 10}.get(op, 21)
        model = model_of(
            helper.make_node(op, [], ["y"], domain=domain),
            opset=opset,
            **({domain.replace(".", "_"): 1} if domain else {}),
        )
        try:
            pyinfer.load(model)
        except pyinfer.PyInferError as error:
            if "no such operator" in str(error):
                continue
            assert "cannot be run" in str(error) or op == "Constant", error
        known.add((domain, op))
    assert supported - known <= {("com.microsoft", "SimplifiedLayerNormalization")}
    assert known - supported == set()


@pytest.mark.parametrize(
    ("node", "opset", "message"),
    [
        (helper.make_node("Relu", ["x"], ["y"], foo=1), 21, r"Relu \(opset 21.*no attribute 'foo'; its attributes are: none"),
        (helper.make_node("Relu", ["x"], ["y"], _foo=1), 21, "no attribute '_foo'"),
        (helper.make_node("Relu", ["x"], ["y"], consumed_inputs=[0]), 6, r"'consumed_inputs' \(an attribute up to version 5\)"),
        (helper.make_node("ReduceSum", ["x"], ["y"], axes=[1]), 13,
         r"'axes' \(an attribute up to version 12\); its attributes are: keepdims \(int\), noop_with_empty_axes \(int\)"),
        (helper.make_node("Conv", ["x", "x"], ["y"], paddings=[0]), 21,
         r"'paddings'; its attributes are: auto_pad \(string\), dilations \(ints\), group \(int\), kernel_shape"),
        (helper.make_node("Cast", ["x"], ["y"], too=1), 21, r"'too'; its attributes are: saturate \(int\), to \(int\)$"),
        (helper.make_node("Cast", ["x"], ["y"], too="INT32"), 5, r"'too'; its attributes are: to \(string\)$"),
        (helper.make_node("Shape", ["x"], ["y"], start=1), 13, r"'start' \(an attribute from version 15 on\)"),
        (helper.make_node("Dropout", ["x"], ["y"], ratio=0.5), 13, "Dropout.*'ratio'"),
        (helper.make_node("Identity", ["x"], ["y"], axis=1, to=1), 13, "Identity.*'axis', 'to'"),
        (helper.make_node("QuickGelu", ["x"], ["y"], domain="com.microsoft", beta=1.0), 13, r"QuickGelu.*'beta'.*: alpha \(float\)"),
        (helper.make_node("Scaler", ["x"], ["y"], domain="ai.onnx.ml", bias=[1.0]), 13, r"Scaler.*'bias'.*: offset \(floats\), scale \(floats\)"),
    ],
    ids=lambda v: v.op_type if isinstance(v, onnx.NodeProto) else None,
)  # fmt: skip
@pytest.mark.parametrize("passes_off", [False, True])
def test_an_unknown_attribute_is_refused(node, opset, message, passes_off):
    model = model_of(node, opset=opset, com_microsoft=1, ai_onnx_ml=3)
    error = pyinfer.UnsupportedModel if node.domain == "com.microsoft" else pyinfer.InvalidModel
    with pytest.raises(error, match=message):
        pyinfer.load(model, disable_passes=pyinfer.pass_names() if passes_off else [])
    with pytest.raises(Exception, match="Unrecognized attribute"):
        ort.InferenceSession(model.SerializeToString())


@pytest.mark.parametrize(
    ("node", "opset"),
    [
        (helper.make_node("Relu", ["x"], ["y"], consumed_inputs=[0]), 5),
        (helper.make_node("Add", ["x", "x"], ["y"], axis=0, broadcast=1), 6),
        (helper.make_node("ReduceSum", ["x"], ["y"], axes=[1]), 12),
        (helper.make_node("Dropout", ["x"], ["y"], ratio=0.5), 11),
        (helper.make_node("Relu", ["x"], ["y"], __note=1), 21),
        (helper.make_node("QuickGelu", ["x"], ["y"], domain="com.microsoft", alpha=1.0), 13),
    ],
    ids=lambda v: v.op_type if isinstance(v, onnx.NodeProto) else None,
)
def test_what_the_version_knows_is_taken(node, opset):
    assert pyinfer.load(model_of(node, opset=opset, com_microsoft=1))(np.ones((2, 3), np.float32)) is not None


def test_one_error_lists_every_offending_node():
    branch = helper.make_graph(
        [helper.make_node("Abs", ["r"], ["b"], name="inner", slope=1.0)], "b", [], [onnx.ValueInfoProto(name="b")]
    )  # fmt: skip
    other = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["b"])], "o", [], [onnx.ValueInfoProto(name="b")]
    )
    model = model_of(
        helper.make_node("Relu", ["x"], ["r"], name="first", foo=1),
        helper.make_node("NoSuchOperator", ["x"], ["n"], name="second"),
        helper.make_node("Dropout", ["x"], ["d"], name="third", is_test=0),
        helper.make_node("Cast", ["x"], ["c"], to=TensorProto.BOOL, name="good"),
        helper.make_node("If", ["c"], ["i"], name="fourth", then_branch=branch, else_branch=other),
        helper.make_node("Relu", ["r"], ["y"], name="after"),
        opset=6,
    )
    with pytest.raises(pyinfer.UnsupportedModel) as caught:
        pyinfer.load(model)
    text = str(caught.value)
    assert text.startswith("4 nodes cannot be run:")
    for part in ("Relu 'first' (opset 6): it has no attribute 'foo'", "Abs 'inner' (opset 6): it has no attribute",
                 "Dropout 'third' (opset 6): training mode", "NoSuchOperator 'second' (opset 6, inputs: tensor"):  # fmt: skip
        assert part in text
    # What holds or depends on those cannot be judged; what holds them says where they are.
    assert "\n  If 'fourth', then_branch:\n    Abs 'inner' (opset 6): " in text
    assert "'fourth' (" not in text
    assert "'after'" not in text


def test_nodes_of_subgraphs_are_listed_below_those_that_hold_them():
    def graph(*nodes, inputs=()):
        outputs = [onnx.ValueInfoProto(name=n.output[0]) for n in nodes[-1:]]
        return helper.make_graph(nodes, "g", list(inputs), outputs)

    flag = [helper.make_tensor_value_info("c", TensorProto.BOOL, [])]
    inner = helper.make_node(
        "If", ["k"], ["i"], name="inner",
        then_branch=graph(helper.make_node("NoSuch", ["x"], ["t"], name="deep")),
        else_branch=graph(helper.make_node("Abs", ["x"], ["e"], name="wrong", slope=1.0)),
    )  # fmt: skip
    loop = graph(
        helper.make_node("NoSuch", ["x"], ["n"], name="lone"), inner, helper.make_node("Identity", ["c"], ["go"]),
        inputs=[helper.make_tensor_value_info("trip", TensorProto.INT64, []), *flag],
    )  # fmt: skip
    nodes = [
        helper.make_node("Cast", ["x"], ["k"], to=TensorProto.BOOL),
        helper.make_node("Loop", ["", "k"], [], name="loop", body=loop),
        helper.make_node(
            "If", ["k"], ["b"], name="outer",
            then_branch=graph(helper.make_node("NoSuch", ["x"], ["t"], name="one")),
            else_branch=graph(helper.make_node("NoSuch", ["x"], ["e"], name="two")),
        ),
        helper.make_node("Dropout", ["x"], ["y"], name="after", is_test=0),
    ]  # fmt: skip
    with pytest.raises(pyinfer.UnsupportedModel) as caught:
        pyinfer.load(model_of(*nodes, opset=6))
    lines = [re.sub(r" \(opset.*", "", line) for line in str(caught.value).splitlines()]
    # What import knows of a graph hides what only lowering would find there: 'lone' and 'deep'.
    assert lines == [
        "4 nodes cannot be run:",
        "  Loop 'loop', body:",
        "    If 'inner', else_branch:",
        "      Abs 'wrong'",
        "  Dropout 'after'",
        "  If 'outer', then_branch:",
        "    NoSuch 'one'",
        "  If 'outer', else_branch:",
        "    NoSuch 'two'",
    ]


def test_the_one_attribute_of_a_constant_has_a_known_name():
    for name, opset in (("value_float", 13), ("value_float", 11)):
        loaded = pyinfer.load(model_of(helper.make_node("Constant", [], ["y"], **{name: 2.5}), opset=opset))
        assert loaded.run({"x": np.ones((2, 3), np.float32)})["y"] == 2.5
    with pytest.raises(
        pyinfer.InvalidModel,
        match=r"Constant.*no attribute 'valeu_float'.*: sparse_value \(sparse_tensor\), value",
    ):
        pyinfer.load(model_of(helper.make_node("Constant", [], ["y"], valeu_float=2.5)))


def test_a_misspelt_attribute_in_a_function_is_refused_whether_or_not_its_caller_gives_it():
    text = """
    <ir_version: 10, opset_import: ["" : 21, "local" : 1]>
    g (float[2, 3] x) => (float[2, 3] y) { y = local.Leak (x) }
    <domain: "local", opset_import: ["" : 21]> Leak <slope> (a) => (b) {
      b = LeakyRelu <alhpa: float = @slope> (a)
    }"""
    with pytest.raises(pyinfer.InvalidModel, match="LeakyRelu.*no attribute 'alhpa'"):
        pyinfer.load(onnx.parser.parse_model(text))


@pytest.mark.parametrize(
    ("node", "most"),
    [
        (helper.make_node("GRU", ["x", "x", "x"], ["q", "y", "z"], hidden_size=5), 2),
        (helper.make_node("RNN", ["x", "x", "x"], ["a", "y", "z"], hidden_size=5), 2),
        (helper.make_node("NegativeLogLikelihoodLoss", ["x", "x"], ["y", "z"]), 1),
        (helper.make_node("LayerNormalization", ["x", "x"], ["y", "", "", "z"]), 3),
        (helper.make_node("Relu", ["x"], ["y", "z"]), 1),
    ],
    ids=lambda v: getattr(v, "op_type", ""),
)
def test_outputs_that_an_operator_does_not_have_are_refused(node, most):
    with pytest.raises(
        pyinfer.InvalidModel, match=f"it has {most} outputs?, the node names {len(node.output)}"
    ):
        pyinfer.load(model_of(node))


def test_outputs_without_a_name_are_none():
    node = helper.make_node("Relu", ["x"], ["y", "", ""])
    np.testing.assert_array_equal(pyinfer.load(model_of(node))(-np.ones((2, 3), np.float32)), 0)


@pytest.mark.parametrize(
    ("domain", "op", "newest"), [("", "Relu", NEWEST), ("ai.onnx.ml", "Normalizer", 5), ("com.microsoft", "QuickGelu", 1)]
)  # fmt: skip
def test_operator_sets_from_the_future_are_refused_where_they_are_used(domain, op, newest):
    node = helper.make_node(op, ["x"], ["y"], name="it", domain=domain)
    for version in (newest, newest + 1, 10**6):
        opset = version if domain == "" else 21
        model = model_of(node, opset=opset, **({domain.replace(".", "_"): version} if domain else {}))
        if version == newest:
            pyinfer.load(model)
            continue
        with pytest.raises(
            pyinfer.UnsupportedModel, match=rf"{op} 'it'.*{version} of '.*newer.*which is {newest}"
        ):
            pyinfer.load(model)
    # Exporters stamp operator sets that the model does not use.
    pyinfer.load(model_of(helper.make_node("Relu", ["x"], ["y"]), ai_onnx_ml=99, com_microsoft=99))


def test_ir_versions_from_the_future_are_refused():
    node = helper.make_node("Relu", ["x"], ["y"])
    pyinfer.load(model_of(node, ir_version=14))
    for version in (15, 99, 2**40):
        with pytest.raises(
            pyinfer.UnsupportedModel, match=f"IR version {version} is newer.*which is 14; save it"
        ):
            pyinfer.load(model_of(node, ir_version=version))
