"""One-node models against an independent reference: how the operator tests are written.

>>> check("Add", [a, b])                          # the ONNX reference evaluator is the reference
>>> check("Add", [a, b], expected=[a + b])        # or the test's own
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper

import pyinfer


def node_model(
    op_type: str,
    inputs: Sequence[np.ndarray | None],
    attributes: dict[str, Any] | None = None,
    *,
    outputs: int = 1,
    domain: str = "",
    opset: int | None = None,
    constant: Sequence[int] = (),
) -> onnx.ModelProto:
    """A model of one node. `None` is an omitted input; those in `constant` become initializers."""
    names = ["" if x is None else f"x{i}" for i, x in enumerate(inputs)]
    node = helper.make_node(
        op_type, names, [f"y{i}" for i in range(outputs)], name="node", domain=domain, **(attributes or {})
    )
    graph_inputs, initializers = [], []
    for i, (name, x) in enumerate(zip(names, inputs, strict=True)):
        if x is None:
            continue
        x = np.asarray(x)
        if i in constant:
            initializers.append(onnx.numpy_helper.from_array(x, name))
        else:
            dtype = helper.np_dtype_to_tensor_dtype(x.dtype)
            graph_inputs.append(helper.make_tensor_value_info(name, dtype, [None] * x.ndim))
    graph = helper.make_graph(
        [node], "g", graph_inputs, [onnx.ValueInfoProto(name=o) for o in node.output], initializers
    )
    opsets = [helper.make_opsetid("", opset if opset and not domain else onnx.defs.onnx_opset_version())]
    if domain:
        opsets.append(helper.make_opsetid(domain, opset or 1))
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def run(
    model: onnx.ModelProto, inputs: Sequence[np.ndarray | None], constant: Sequence[int] = ()
) -> list[Any]:
    """The outputs of `model`."""
    feeds = {f"x{i}": x for i, x in enumerate(inputs) if x is not None and i not in constant}
    return list(pyinfer.load(model).run(feeds).values())


def check(
    op_type: str,
    inputs: Sequence[np.ndarray | None],
    attributes: dict[str, Any] | None = None,
    *,
    expected: Sequence[np.ndarray] | None = None,
    outputs: int = 1,
    domain: str = "",
    opset: int | None = None,
    constant: Sequence[int] = (),
    rtol: float = 1e-5,
    atol: float = 1e-6,
) -> list[Any]:
    """Run one node and compare values, shapes and element types with the reference; give the outputs."""
    inputs = [None if x is None else np.asarray(x) for x in inputs]
    model = node_model(
        op_type, inputs, attributes, outputs=outputs, domain=domain, opset=opset, constant=constant
    )
    actual = run(model, inputs, constant)
    if expected is None:
        from onnx.reference import ReferenceEvaluator

        feeds = {f"x{i}": x for i, x in enumerate(inputs) if x is not None and i not in constant}
        expected = ReferenceEvaluator(model).run(None, feeds)
    assert len(actual) == len(expected)
    for got, want in zip(actual, expected, strict=True):
        assert_same(got, np.asarray(want), rtol=rtol, atol=atol)
    return actual


def assert_same(got: np.ndarray, want: np.ndarray, *, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    """Same element type, shape and, within tolerance for floats, values."""
    if want.dtype.kind in "OUST":
        assert got.shape == want.shape
        assert [str(s) for s in got.ravel()] == [str(s) for s in want.ravel()]
        return
    assert got.dtype == want.dtype, (got.dtype, want.dtype)
    assert got.shape == want.shape, (got.shape, want.shape)
    if want.dtype.kind in "biu":
        np.testing.assert_array_equal(got, want)
    elif want.dtype.kind in "fc":
        np.testing.assert_allclose(got, want, rtol=rtol, atol=atol)
    else:  # ml_dtypes
        np.testing.assert_allclose(got.astype(np.float32), want.astype(np.float32), rtol=rtol, atol=atol)
