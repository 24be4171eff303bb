"""Norms, softmax and reductions over rows; bound by memory, in a cache or outside."""

import pytest
from harness import label, measure, normal, one_node

SHAPES = [(128, 768), (197, 192), (4096, 768), (16384, 1024)]


@pytest.mark.parametrize("shape", SHAPES, ids=label)
@pytest.mark.parametrize("op", ["LayerNormalization", "RMSNormalization", "Softmax", "ReduceMean"])
def test_rows(benchmark, op, shape):
    inputs = {"x": normal(*shape)}
    weights, attributes = {}, {}
    if op.endswith("Normalization"):
        weights["scale"] = normal(shape[1])
    if op == "LayerNormalization":
        weights["bias"] = normal(shape[1])
    if op == "ReduceMean":
        attributes["keepdims"] = 0  # over all axes
    measure(benchmark, one_node(op, inputs, weights, **attributes), inputs, 0)
