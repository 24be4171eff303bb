"""Runs from Python: threads, forks, ownership of arrays, plans, limits."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import pyinfer
from nodes import node_model


def affine_model() -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    w = onnx.numpy_helper.from_array(rng.standard_normal((64, 32)).astype(np.float32), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 32])
    return helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], [w]), opset_imports=[helper.make_opsetid("", 21)]
    )


def test_many_threads_run_one_model():
    model = pyinfer.load(affine_model(), threads=2)
    x = np.random.default_rng(1).standard_normal((40, 64)).astype(np.float32)
    expected = model(x)
    wrong = []

    def work(seed: int) -> None:
        for rows in np.random.default_rng(seed).integers(1, 40, 50):
            if not np.array_equal(model(x[:rows]), expected[:rows]):
                wrong.append(rows)

    threads = [threading.Thread(target=work, args=(s,)) for s in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is a POSIX call")
def test_a_model_works_after_fork():
    model = pyinfer.load(affine_model(), threads=2)
    x = np.random.default_rng(2).standard_normal((512, 64)).astype(np.float32)
    expected = model(x)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        same = all(np.array_equal(model(x), expected) for _ in range(3))
        os.write(write, b"1" if same else b"0")
        os._exit(0)
    os.close(write)
    answer = os.read(read, 1)
    os.close(read)
    assert os.waitpid(child, 0)[1] == 0
    assert answer == b"1"
    assert np.array_equal(model(x), expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is a POSIX call")
def test_a_forked_process_may_drop_a_model_without_a_run():
    model = pyinfer.load(affine_model(), threads=4)
    model(np.zeros((512, 64), np.float32))
    time.sleep(0.01)  # the workers sleep by now
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        del model
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_outputs_belong_to_the_caller():
    model = pyinfer.load(affine_model())
    x = np.ones((3, 64), np.float32)
    first = model(x)
    kept = first.copy()
    first[:] = 7
    assert np.array_equal(model(x), kept)
    assert first.flags.writeable
    assert first.flags.owndata or first.base is not None


def test_an_input_passed_on_is_copied():
    model = pyinfer.load(node_model("Identity", [np.zeros(3, np.float32)]))
    x = np.arange(3, dtype=np.float32)
    y = model(x)
    y[:] = 9
    assert np.array_equal(x, [0, 1, 2])


def test_a_constant_passed_on_is_copied():
    c = onnx.numpy_helper.from_array(np.arange(4, dtype=np.float32), "c")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    out = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("y", "z")]
    nodes = [helper.make_node("Identity", ["c"], ["y"]), helper.make_node("Neg", ["x"], ["z"])]
    model = pyinfer.load(
        helper.make_model(
            helper.make_graph(nodes, "g", [x], out, [c]), opset_imports=[helper.make_opsetid("", 21)]
        )
    )
    y, _ = model(np.ones(1, np.float32))
    y[:] = 5
    assert np.array_equal(model(np.ones(1, np.float32))[0], np.arange(4))


def test_the_same_output_twice():
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", [x], [y])
    model = pyinfer.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]))
    assert list(model.run({"x": np.ones(2, np.float32)}, outputs=["y"])) == ["y"]


def test_a_shape_input_is_part_of_the_signature():
    model = pyinfer.load(node_model("Reshape", [np.zeros((2, 3), np.float32), np.array([3, 2])]))
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    for shape in ([3, 2], [6], [1, -1], [3, 2]):
        y = model(x, np.array(shape))
        assert np.array_equal(y, x.reshape(shape))


def test_warm_runs_make_no_buffers_but_outputs():
    from pyinfer._core import allocation_count

    model = pyinfer.load(affine_model())
    x = np.ones((5, 64), np.float32)
    for _ in range(3):
        model(x)
    before = allocation_count()
    for _ in range(10):
        model(x)
    assert allocation_count() - before == 10


def test_a_sequence_that_a_loop_grows_is_bounded():
    body = helper.make_graph(
        [helper.make_node("SequenceInsert", ["s", "x"], ["t"]), helper.make_node("Identity", ["c"], ["d"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("d", TensorProto.BOOL, []),
            helper.make_tensor_sequence_value_info("t", TensorProto.FLOAT, None),
        ],
    )
    nodes = [
        helper.make_node("SequenceEmpty", [], ["empty"]),
        helper.make_node("Loop", ["n", "", "empty"], ["y"], body=body),
    ]
    n = helper.make_tensor_value_info("n", TensorProto.INT64, [])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1000])
    y = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)
    model = helper.make_model(
        helper.make_graph(nodes, "g", [n, x], [y]), opset_imports=[helper.make_opsetid("", 21)]
    )
    model = pyinfer.load(model, limits=pyinfer.Limits(max_total_bytes=100_000))
    assert len(model(np.int64(20), np.ones(1000, np.float32))) == 20
    with pytest.raises(pyinfer.LimitExceeded, match="max_total_bytes"):
        model(np.int64(10**6), np.ones(1000, np.float32))


def test_the_error_of_a_run_names_the_node():
    model = pyinfer.load(node_model("Add", [np.zeros(2, np.float32), np.zeros(2, np.float32)]))
    with pytest.raises(pyinfer.InvalidInput, match=r"Add 'node'.*\[2\].*\[3\]"):
        model(np.zeros(2, np.float32), np.zeros(3, np.float32))
    assert np.array_equal(model(np.ones(2, np.float32), np.ones(2, np.float32)), [2, 2])


def test_an_unsupported_model_lists_every_node():
    nodes = [
        helper.make_node("NoSuchOp", ["x"], ["a"], name="first"),
        helper.make_node("Other", ["x"], ["b"], name="second", domain="my.domain"),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    out = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in ("a", "b")]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], out),
        opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("my.domain", 1)],
    )
    with pytest.raises(pyinfer.UnsupportedModel) as error:
        pyinfer.load(model)
    text = str(error.value)
    assert "2 nodes" in text
    assert "NoSuchOp 'first' (opset 21, inputs: tensor(float))" in text
    assert "my.domain.Other 'second'" in text


def test_errors_pickle():
    error = pyinfer.InvalidInput("x")
    assert str(pickle.loads(pickle.dumps(error))) == "x"
