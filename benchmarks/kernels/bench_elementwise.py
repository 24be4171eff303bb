"""Elementwise operators; bound by memory, in a cache or outside."""

import pytest
from harness import label, measure, normal, one_node

SHAPES = [(32, 1024), (1024, 1024), (16, 1024, 1024)]
UNARY = ["Relu", "Sigmoid", "Tanh", "Erf", "Exp", "Gelu", "HardSwish", "Sqrt"]


@pytest.mark.parametrize("shape", SHAPES, ids=label)
@pytest.mark.parametrize("op", UNARY)
def test_unary(benchmark, op, shape):
    inputs = {"x": abs(normal(*shape)) if op == "Sqrt" else normal(*shape)}
    measure(benchmark, one_node(op, inputs, {}), inputs, 0)


@pytest.mark.parametrize("shape", SHAPES, ids=label)
@pytest.mark.parametrize("op", ["Add", "Mul"])
@pytest.mark.parametrize("broadcast", [False, True], ids=["same", "row"])
def test_binary(benchmark, op, shape, broadcast):
    inputs = {"a": normal(*shape), "b": normal(*(shape[-1:] if broadcast else shape))}
    measure(benchmark, one_node(op, inputs, {}), inputs, 0)
