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


def rows() -> dict[tuple[str, str], list[tuple[str, int, float]]]:
    """(domain, operator) to names of attributes, each with the versions that know it."""
    text = re.sub(r'"\n "', "", TABLE.read_text()).replace(",\n ", ", ")
    return {
        (domain, op): [
            (name, int(first or 0), int(end) if end else np.inf)
            for name, first, end in re.findall(r"(\w+)(?:>=(\d+))?(?:<(\d+))?", words)
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
        assert known == set(schema.attributes), (schema.name, version)
        checked += 1
    assert checked > 600


def test_the_table_has_every_operator_that_can_run():
    table = rows()
    missing = {(d, op) for d, op, _ in pyinfer.supported_operators() if d != "pyinfer"} - set(table)
    # An alias that the schemas of com.microsoft do not have.
    assert missing <= {("com.microsoft", "SimplifiedLayerNormalization")}


@pytest.mark.parametrize(
    ("node", "opset", "message"),
    [
        (helper.make_node("Relu", ["x"], ["y"], foo=1), 21, r"Relu \(opset 21.*no attribute 'foo'; its attributes are: none"),
        (helper.make_node("Relu", ["x"], ["y"], _foo=1), 21, "no attribute '_foo'"),
        (helper.make_node("Relu", ["x"], ["y"], consumed_inputs=[0]), 6, r"'consumed_inputs' \(an attribute up to version 5\)"),
        (helper.make_node("ReduceSum", ["x"], ["y"], axes=[1]), 13,
         r"'axes' \(an attribute up to version 12\); its attributes are: keepdims, noop_with_empty_axes"),
        (helper.make_node("Shape", ["x"], ["y"], start=1), 13, r"'start' \(an attribute from version 15 on\)"),
        (helper.make_node("Dropout", ["x"], ["y"], ratio=0.5), 13, "Dropout.*'ratio'"),
        (helper.make_node("Identity", ["x"], ["y"], axis=1, to=1), 13, "Identity.*'axis', 'to'"),
        (helper.make_node("QuickGelu", ["x"], ["y"], domain="com.microsoft", beta=1.0), 13, "QuickGelu.*'beta'.*: alpha"),
        (helper.make_node("Scaler", ["x"], ["y"], domain="ai.onnx.ml", bias=[1.0]), 13, "Scaler.*'bias'.*: offset, scale"),
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
    # What depends on those cannot be judged.
    assert "'fourth'" not in text
    assert "'after'" not in text


def test_the_one_attribute_of_a_constant_has_a_known_name():
    for name, opset in (("value_float", 13), ("value_float", 11)):
        loaded = pyinfer.load(model_of(helper.make_node("Constant", [], ["y"], **{name: 2.5}), opset=opset))
        assert loaded.run({"x": np.ones((2, 3), np.float32)})["y"] == 2.5
    with pytest.raises(
        pyinfer.InvalidModel, match="Constant.*no attribute 'valeu_float'.*: sparse_value, value"
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
