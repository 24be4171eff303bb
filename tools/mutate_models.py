#!/usr/bin/env python3
"""Write model files that are broken, each in one known way: every one must raise, at load or at run.

    python tools/mutate_models.py OUT [--count 300]

`tests/test_hostile.py` loads them through Python; `PYINFER_HOSTILE_MODELS=OUT pyinfer_tests hostile` does
the same in C++, which CI runs under ASan and UBSan.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper

DIGITS = Path(__file__).resolve().parent.parent / "pyinfer" / "data" / "digits.onnx"
Mutation = Callable[[ModelProto, random.Random], "bytes | None"]


def _model(nodes, inputs, outputs, initializers=(), functions=()) -> ModelProto:
    graph = helper.make_graph(list(nodes), "g", list(inputs), list(outputs), list(initializers))
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("local", 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=list(functions), ir_version=10)


def _float(name: str, shape) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _int64(name: str, shape) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.INT64, shape)


def _one(
    op: str, *initializers: np.ndarray, shape=(2, 3, 4, 5), opset_outputs: int = 1, **attributes
) -> ModelProto:
    """A model of one node on a float input `x` and constants."""
    tensors = [numpy_helper.from_array(a, f"c{i}") for i, a in enumerate(initializers)]
    node = helper.make_node(
        op, ["x", *(t.name for t in tensors)], [f"y{i}" for i in range(opset_outputs)], **attributes
    )
    return _model([node], [_float("x", list(shape))], [_float("y0", None)], tensors)


def bases() -> list[ModelProto]:
    """Sound models, small and of different kinds."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal((4, 3, 3, 3)).astype(np.float32)
    branch = helper.make_graph([helper.make_node("Neg", ["x"], ["b"])], "then", [], [_float("b", None)])
    other = helper.make_graph([helper.make_node("Abs", ["x"], ["b"])], "else", [], [_float("b", None)])
    condition = numpy_helper.from_array(np.array(True), "condition")
    chosen = helper.make_node("If", ["condition"], ["y0"], then_branch=branch, else_branch=other)
    return [
        onnx.load(DIGITS),
        _one("Conv", w, kernel_shape=[3, 3], shape=(1, 3, 8, 8)),
        _one("Gather", np.array([0, 1], np.int64), axis=1),
        _one("Softmax", axis=-1),
        _one("Reshape", np.array([6, -1], np.int64)),
        _one("ReduceMean", np.array([1, -1], np.int64), keepdims=0),
        _model([chosen], [_float("x", [3])], [_float("y0", None)], [condition]),
    ]


def _pick_tensor(m: ModelProto, r: random.Random) -> TensorProto | None:
    tensors = [t for t in m.graph.initializer if t.HasField("raw_data") and len(t.raw_data) > 0]
    return r.choice(tensors) if tensors else None


def truncated(m: ModelProto, r: random.Random) -> bytes | None:
    data, graph = m.SerializeToString(), m.graph.SerializeToString()
    start = data.find(graph)
    return data[: r.randrange(start + 1, start + len(graph) - 1)]


def unknown_operator(m: ModelProto, r: random.Random) -> bytes | None:
    r.choice(m.graph.node).op_type = "NoSuchOperator"
    return m.SerializeToString()


def undefined_input(m: ModelProto, r: random.Random) -> bytes | None:
    node = r.choice(m.graph.node)
    node.input[r.randrange(len(node.input))] = "defined nowhere"
    return m.SerializeToString()


def duplicate_output(m: ModelProto, r: random.Random) -> bytes | None:
    node = r.choice(m.graph.node)
    m.graph.node.add().CopyFrom(node)
    return m.SerializeToString()


def cycle(m: ModelProto, r: random.Random) -> bytes | None:
    node = r.choice(m.graph.node)
    node.input[0] = node.output[0]
    return m.SerializeToString()


def undefined_graph_output(m: ModelProto, _r: random.Random) -> bytes | None:
    m.graph.output[0].name = "computed nowhere"
    return m.SerializeToString()


def input_without_type(m: ModelProto, _r: random.Random) -> bytes | None:
    m.graph.input[0].ClearField("type")
    return m.SerializeToString()


def dims_do_not_match_data(m: ModelProto, r: random.Random) -> bytes | None:
    t = _pick_tensor(m, r)
    if t is None:
        return None
    t.dims.append(r.choice([2, 7, 0, -1, 2**31, 2**62]))
    return m.SerializeToString()


def data_of_another_size(m: ModelProto, r: random.Random) -> bytes | None:
    t = _pick_tensor(m, r)
    if t is None:
        return None
    t.raw_data = t.raw_data[:-1] if r.random() < 0.5 else t.raw_data + b"\0"
    return m.SerializeToString()


def unknown_element_type(m: ModelProto, r: random.Random) -> bytes | None:
    t = _pick_tensor(m, r)
    if t is None:
        return None
    t.data_type = r.choice([0, 99, -1, 2**31 - 1])
    return m.SerializeToString()


def stray_external_data(m: ModelProto, r: random.Random) -> bytes | None:
    t = _pick_tensor(m, r)
    if t is None:
        return None
    t.ClearField("raw_data")
    t.data_location = TensorProto.EXTERNAL
    place = r.choice(["../secret", "/etc/passwd", "/dev/zero", "missing.bin", "a/../../b", ".", ""])
    for key, value in {
        "location": place,
        "offset": str(r.choice([0, -1, 2**63 - 1])),
        "length": str(2**62),
    }.items():
        t.external_data.add(key=key, value=value)
    return m.SerializeToString()


def attribute_of_another_type(m: ModelProto, r: random.Random) -> bytes | None:
    attributes = [a for n in m.graph.node for a in n.attribute if a.type != AttributeProto.GRAPH]
    if not attributes:
        return None
    a = r.choice(attributes)
    name = a.name
    a.Clear()
    a.CopyFrom(
        helper.make_attribute(name, "text" if r.random() < 0.5 else numpy_helper.from_array(np.zeros(2)))
    )
    return m.SerializeToString()


def no_inputs(m: ModelProto, r: random.Random) -> bytes | None:
    del r.choice(m.graph.node).input[:]
    return m.SerializeToString()


def recursive_function(_m: ModelProto, _r: random.Random) -> bytes | None:
    call = helper.make_node("f", ["x"], ["y0"], domain="local")
    function = helper.make_function("local", "f", ["x"], ["y0"], [call], [helper.make_opsetid("", 21)])
    return _model([call], [_float("x", [2])], [_float("y0", None)], functions=[function]).SerializeToString()


def _field(number: int, payload: bytes) -> bytes:
    """A length-delimited field of the protobuf wire format."""
    size, length = b"", len(payload)
    while length > 127:
        size += bytes([length & 127 | 128])
        length >>= 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + payload


def nested_too_deep(_m: ModelProto, r: random.Random) -> bytes | None:
    # The protobuf library refuses to make such a model: its outermost graph is wrapped by hand.
    leaf = helper.make_graph([helper.make_node("Neg", ["x"], ["b"])], "leaf", [], [_float("b", None)])
    graph = leaf.SerializeToString()
    for _ in range(r.choice([70, 500])):
        attributes = b"".join(
            _field(
                5,
                _field(1, name)
                + _field(6, leaf.SerializeToString() if name == b"else_branch" else graph)
                + b"\xa0\x01\x05",
            )
            for name in (b"then_branch", b"else_branch")
        )
        node = _field(1, b"condition") + _field(2, b"b") + _field(4, b"If") + attributes
        graph = _field(1, node) + _field(2, b"body") + _field(12, _float("b", None).SerializeToString())
    condition = numpy_helper.from_array(np.array(True), "condition").SerializeToString()
    graph += _field(5, condition) + _field(11, _float("x", [2]).SerializeToString())
    return b"\x08\x0a" + _field(7, graph) + _field(8, helper.make_opsetid("", 21).SerializeToString())


def bomb(_m: ModelProto, r: random.Random) -> bytes | None:
    size = numpy_helper.from_array(np.array([r.choice([2**20, 2**40])] * 3, np.int64), "c0")
    op = r.choice(["ConstantOfShape", "Expand", "Tile"])
    inputs = ["c0"] if op == "ConstantOfShape" else ["x", "c0"]
    return _model(
        [helper.make_node(op, inputs, ["y0"])], [_float("x", [1, 1, 1])], [_float("y0", None)], [size]
    ).SerializeToString()


def endless_loop(_m: ModelProto, _r: random.Random) -> bytes | None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c_out"]), helper.make_node("Neg", ["v"], ["v_out"])],
        "body",
        [_int64("i", []), helper.make_tensor_value_info("c", TensorProto.BOOL, []), _float("v", [1])],
        [helper.make_tensor_value_info("c_out", TensorProto.BOOL, []), _float("v_out", [1])],
    )
    trips = numpy_helper.from_array(np.array(2**63 - 1, np.int64), "trips")
    go = numpy_helper.from_array(np.array(True), "go")
    node = helper.make_node("Loop", ["trips", "go", "x"], ["y0"], body=body)
    return _model([node], [_float("x", [1])], [_float("y0", None)], [trips, go]).SerializeToString()


def bad_window(_m: ModelProto, r: random.Random) -> bytes | None:
    attributes = {"kernel_shape": [3, 3], "strides": [1, 1], "dilations": [1, 1], "pads": [0, 0, 0, 0]}
    name = r.choice(list(attributes))
    bad = r.choice([-1, -(2**62), 2**62] if name == "pads" else [0, -1, -(2**62), 2**62])
    attributes[name] = [bad] * len(attributes[name])
    if name == "strides" and bad > 0:
        attributes[name] = [0, 0]
    if r.random() < 0.5:
        return _one("MaxPool", **attributes).SerializeToString()
    return _one("Conv", np.ones((4, 3, 3, 3), np.float32), **attributes).SerializeToString()


def bad_group(_m: ModelProto, r: random.Random) -> bytes | None:
    return _one(
        "Conv", np.ones((4, 3, 3, 3), np.float32), group=r.choice([0, -1, 7, 2**62])
    ).SerializeToString()


def bad_axis(_m: ModelProto, r: random.Random) -> bytes | None:
    op, axis = (
        r.choice(["Softmax", "Flatten", "ArgMax", "LogSoftmax", "Hardmax", "Concat"]),
        r.choice([9, -9, 2**62, -(2**63)]),
    )
    return _one(op, axis=axis).SerializeToString()


def bad_index(_m: ModelProto, r: random.Random) -> bytes | None:
    i = np.array([r.choice([99, -99, 2**62, -(2**63)])], np.int64)
    if r.random() < 0.3:
        return _one("Gather", i, axis=1).SerializeToString()
    if r.random() < 0.5:
        return _one("GatherND", i.reshape(1, 1)).SerializeToString()
    update = np.ones((1, 3, 4, 5), np.float32)
    return _one("ScatterND", i.reshape(1, 1), update).SerializeToString()


def bad_shape(_m: ModelProto, r: random.Random) -> bytes | None:
    shape = r.choice([[7, -1], [-1, -1], [-2, 3], [2**62, 4], [0, 0, 0, 0, 0]])
    return _one("Reshape", np.array(shape, np.int64)).SerializeToString()


def bad_pads(_m: ModelProto, r: random.Random) -> bytes | None:
    pads = np.full(8, r.choice([2**61, -(2**62), 2**40]), np.int64)
    return _one("Pad", pads).SerializeToString()


def bad_axes(_m: ModelProto, r: random.Random) -> bytes | None:
    axes = np.array(r.choice([[4], [-5], [0, 0, 9], [2**62]]), np.int64)
    return _one(r.choice(["ReduceSum", "ReduceMax", "Squeeze"]), axes).SerializeToString()


def input_twice(m: ModelProto, _r: random.Random) -> bytes | None:
    m.graph.input.add().CopyFrom(m.graph.input[0])
    return m.SerializeToString()


def opset_ambiguous(m: ModelProto, r: random.Random) -> bytes | None:
    if r.random() < 0.5:
        m.opset_import.append(helper.make_opsetid("", 13))
    else:
        m.ClearField("opset_import")
    return m.SerializeToString()


def function_twice(m: ModelProto, _r: random.Random) -> bytes | None:
    opsets = [helper.make_opsetid("", 21)]
    for op in ("Neg", "Abs"):
        node = helper.make_node(op, ["a"], ["b"])
        m.functions.append(helper.make_function("local", "f", ["a"], ["b"], [node], opsets))
    return m.SerializeToString()


MUTATIONS: list[Mutation] = [
    truncated,
    unknown_operator,
    undefined_input,
    duplicate_output,
    cycle,
    undefined_graph_output,
    input_without_type,
    input_twice,
    opset_ambiguous,
    function_twice,
    dims_do_not_match_data,
    data_of_another_size,
    unknown_element_type,
    stray_external_data,
    attribute_of_another_type,
    no_inputs,
    recursive_function,
    nested_too_deep,
    bomb,
    endless_loop,
    bad_window,
    bad_group,
    bad_axis,
    bad_index,
    bad_shape,
    bad_pads,
    bad_axes,
]


def write(out: Path, count: int) -> list[Path]:
    """Write `count` broken models into `out`, named after what is wrong with each."""
    out.mkdir(parents=True, exist_ok=True)
    random_source = random.Random(20)
    sound = bases()
    paths: list[Path] = []
    turn = 0
    while len(paths) < count:
        mutation = MUTATIONS[turn % len(MUTATIONS)]
        model = ModelProto()
        model.CopyFrom(random_source.choice(sound))
        turn += 1
        data = mutation(model, random_source)
        if data is None:
            continue
        paths.append(out / f"{len(paths):03d}_{mutation.__name__}.onnx")
        paths[-1].write_bytes(data)
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=300)
    args = parser.parse_args()
    print(f"{len(write(args.out, args.count))} models in {args.out}")


if __name__ == "__main__":
    main()
