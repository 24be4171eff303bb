"""Norms, softmax and reductions over rows, in the second-level cache, a third and memory."""

import pytest
from harness import label, measure, normal

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
    goal = 85 if op.endswith("Normalization") or op == "Softmax" else None
    measure(benchmark, op, inputs, weights, goal, whole=op == "ReduceMean", **attributes)
