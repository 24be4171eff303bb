"""Elementwise operators, in the second-level cache, a third and memory: the cheap ones are bound by those."""

import pytest
from harness import label, measure, normal

SHAPES = [(32, 1024), (1024, 1024), (16, 1024, 1024)]
UNARY = ["Relu", "Sigmoid", "Tanh", "Erf", "Exp", "Gelu", "HardSwish", "Sqrt"]


@pytest.mark.parametrize("shape", SHAPES, ids=label)
@pytest.mark.parametrize("op", UNARY)
def test_unary(benchmark, op, shape):
    inputs = {"x": abs(normal(*shape)) if op == "Sqrt" else normal(*shape)}
    measure(benchmark, op, inputs, goal=85 if op == "Relu" else None)


@pytest.mark.parametrize("shape", SHAPES, ids=label)
@pytest.mark.parametrize("op", ["Add", "Mul"])
@pytest.mark.parametrize("broadcast", [False, True], ids=["same", "row"])
def test_binary(benchmark, op, shape, broadcast):
    inputs = {"a": normal(*shape), "b": normal(*(shape[-1:] if broadcast else shape))}
    measure(benchmark, op, inputs, goal=85)
