"""pyinfer.backend as other code calls it. The official suite is in onnx_backend/."""

import numpy as np
import onnx
import pytest
from onnx import helper

import pyinfer
from models_for_tests import subtract
from pyinfer import backend

A, B = np.array([1, 2], np.float32), np.array([5, 7], np.float32)


def test_devices():
    assert backend.supports_device("CPU")
    assert backend.supports_device("CPU:0")
    assert not backend.supports_device("CUDA")
    with pytest.raises(pyinfer.InvalidInput, match="expected 'CPU', got 'CUDA'"):
        backend.prepare(onnx.load_model_from_string(subtract()), "CUDA")


@pytest.mark.parametrize("inputs", [[A, B], (A, B), {"b": B, "a": A}])
def test_a_model(inputs):
    model = onnx.load_model_from_string(subtract())
    for outputs in (backend.prepare(model, threads=1).run(inputs), backend.run_model(model, inputs)):
        assert isinstance(outputs, tuple)
        np.testing.assert_array_equal(outputs[0], A - B)
        np.testing.assert_array_equal(outputs[1], B - A)


def test_too_many_inputs():
    with pytest.raises(pyinfer.InvalidInput, match="at most 2 inputs, got 3"):
        backend.prepare(onnx.load_model_from_string(subtract())).run([A, B, A])


def test_a_node():
    node = helper.make_node("Sub", ["a", "b"], ["c"])
    np.testing.assert_array_equal(backend.run_node(node, [A, B])[0], A - B)
    np.testing.assert_array_equal(backend.run_node(node, {"b": B, "a": A}, opset_version=13)[0], A - B)
    np.testing.assert_array_equal(backend.run_node(node, [A, B], outputs_info=[(np.float32, (2,))])[0], A - B)
    split = helper.make_node("Split", ["x"], ["y", "z"], axis=0, num_outputs=2)
    got = backend.run_node(split, [np.arange(4, dtype=np.int64)])
    assert [part.tolist() for part in got] == [[0, 1], [2, 3]]
