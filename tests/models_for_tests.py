"""Small ONNX models that several tests use."""

import onnx
from onnx import TensorProto, helper

OPSET = 17


def make_model(nodes, inputs, outputs, initializers=(), opset=OPSET, **properties) -> bytes:
    """A serialised model; inputs and outputs are (name, element type, shape) or ValueInfoProtos."""

    def described(values):
        return [
            value if not isinstance(value, tuple) else helper.make_tensor_value_info(*value)
            for value in values
        ]

    graph = helper.make_graph(nodes, "test", described(inputs), described(outputs), list(initializers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="tests")
    model.ir_version = 10 if opset > 20 else 8
    helper.set_model_props(model, properties)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def identity(element=TensorProto.FLOAT, shape=("n", 3), opset=OPSET) -> bytes:
    """x -> y, the same values."""
    node = helper.make_node("Identity", ["x"], ["y"])
    return make_model([node], [("x", element, shape)], [("y", element, shape)], opset=opset)


def subtract() -> bytes:
    """(a, b) -> (difference = a - b, negated = b - a), float32 [n]."""
    nodes = [
        helper.make_node("Sub", ["a", "b"], ["difference"]),
        helper.make_node("Neg", ["difference"], ["negated"]),
    ]
    values = [(name, TensorProto.FLOAT, ["n"]) for name in ("a", "b", "difference", "negated")]
    return make_model(nodes, values[:2], values[2:], author="somebody", purpose="tests")
