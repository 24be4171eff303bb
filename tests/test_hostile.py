"""Broken models and bytes raise a PyInferError, at load or at run; nothing crashes or hangs."""

from __future__ import annotations

import contextlib
import importlib.util
import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

import pyinfer
from zoo import random_feeds

TOOL = Path(__file__).resolve().parent.parent / "tools" / "mutate_models.py"


@pytest.fixture(scope="module")
def mutate():
    spec = importlib.util.spec_from_file_location("mutate_models", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_and_run(path: Path) -> None:
    model = pyinfer.load(path, limits=pyinfer.Limits(max_loop_trips=1000, max_tensor_bytes=1 << 28))
    feeds = {}
    for spec in model.inputs:
        shape = [d if isinstance(d, int) else 1 for d in spec.shape or ()]
        feeds[spec.name] = np.ones(shape, spec.dtype)
    model.run(feeds)


def test_the_bases_are_sound(mutate, tmp_path):
    for i, model in enumerate(mutate.bases()):
        pyinfer.load(model).run(random_feeds(model))
        (tmp_path / f"{i}.onnx").write_bytes(model.SerializeToString())
        load_and_run(tmp_path / f"{i}.onnx")


@contextlib.contextmanager
def refusing(always: bool = False) -> Iterator[None]:
    """What is inside may raise a PyInferError, or has to; a broken invariant is no refusal."""
    try:
        yield
    except pyinfer.PyInferError as error:
        assert not isinstance(error, pyinfer.InternalError), error
        assert str(error)
    else:
        assert not always


def test_three_hundred_broken_models_raise(mutate, tmp_path):
    accepted = []
    for path in mutate.write(tmp_path, 300):
        with refusing():
            load_and_run(path)
            accepted.append(path.name)
    assert accepted == []


def test_random_bytes_never_crash(mutate):
    rng = np.random.default_rng(5)
    for base in mutate.bases():
        data = np.frombuffer(base.SerializeToString(), np.uint8)
        for _ in range(60):
            changed = data.copy()
            where = rng.integers(0, len(data), rng.integers(1, 4))
            changed[where] = rng.integers(0, 256, len(where))
            with refusing():
                model = pyinfer.load(changed.tobytes(), limits=pyinfer.Limits(max_tensor_bytes=1 << 26))
                shapes = [[d if isinstance(d, int) else 1 for d in s.shape or ()] for s in model.inputs]
                tensors = all("(" not in s.dtype for s in model.inputs)
                if tensors and all(np.prod(s, dtype=float) < 1e6 for s in shapes):
                    specs = zip(model.inputs, shapes, strict=True)
                    model.run({s.name: np.zeros(d, s.numpy_dtype) for s, d in specs})


FAR = [0, -1, 1 << 31, 1 << 62, (1 << 63) - 1, -(1 << 63)]


@pytest.mark.parametrize("padding", ["NOTSET", "SAME_UPPER", "VALID"])
@pytest.mark.parametrize("name", ["kernel_shape", "strides", "dilations", "pads"])
def test_windows_of_any_numbers_load_or_raise(name, padding):
    for number in FAR:
        numbers = {"kernel_shape": [3, 3], name: [number] * (4 if name == "pads" else 2)}
        attributes = ", ".join(f"{key} = {value}" for key, value in numbers.items())
        text = f"""<ir_version: 10, opset_import: ["" : 21]> g (float[1, 2, 8, 8] x) => (float[A, B, C, D] y) {{
          y = AveragePool <auto_pad = "{padding}", {attributes}> (x)
        }}"""
        never = name == "strides" and number <= 0
        with refusing(always=never):
            pyinfer.load(onnx.parser.parse_model(text)).run({"x": np.ones((1, 2, 8, 8), np.float32)})


def test_dimensions_of_any_numbers_load_or_raise():
    far = 1 << 62
    text = f"""<ir_version: 10, opset_import: ["" : 21]>
    g (float[{far}, {far}] x, int64[2, 2] i, int64[1] n) => (float[A] y, int64[B] z) {{
      joined = Concat <axis = 0> (x, x, x, x)
      shape = Constant <value = int64[3] {{{far}, {far}, -1}}> ()  three = Reshape (joined, shape)
      flat = Constant <value = int64[1] {{-1}}> ()  y = Reshape (three, flat)
      {" ".join(f"i{k + 1} = Gather (i{k or ''}, i{k or ''})" for k in range(24))}
      z = Reshape (i24, n)
    }}"""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model = pyinfer.load(onnx.parser.parse_model(text))
    # In KiB. Each Gather nearly doubles the rank: what is known of shapes must not grow with it.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10
    with refusing(always=True):
        model.run({"x": np.ones((1, 1), np.float32), "i": np.zeros((2, 2), np.int64), "n": np.array([-1])})


# What the passes look for.
PATTERNS = [
    """g (float[1, 4, 8, 8] x, float[4, 4, 3, 3] w, float[4] s) => (float[A, B, C, D] y) {
      a = Conv <pads = [1, 1, 1, 1]> (x, w)  n = BatchNormalization (a, s, s, s, s)  r = Relu (n)
      p = MaxPool <kernel_shape = [2, 2]> (r)  g = Sigmoid (p)  m = Mul (p, g)  c = Concat <axis = 1> (m, p)
      t = Transpose <perm = [0, 2, 3, 1]> (c)  o = Softmax <axis = -1> (t)  y = Transpose <perm = [0, 3, 1, 2]> (o)
    }""",
    """g (float[2, 6, 8] x, float[8, 8] w, int64[4] s, float h) => (float[A, B, C, D] y) {
      q = MatMul (x, w)  r = Reshape (q, s)  a = Transpose <perm = [0, 2, 1, 3]> (r)
      k = Transpose <perm = [0, 2, 3, 1]> (r)  v = Transpose <perm = [0, 2, 1, 3]> (r)
      d = MatMul (a, k)  e = Mul (d, h)  f = Add (e, h)  p = Softmax <axis = -1> (f)
      o = MatMul (p, v)  y = Transpose <perm = [0, 2, 1, 3]> (o)
    }""",
    """g (float[1, 4, 8, 8] x, float[4, 1, 3, 3] w, float c, float i) => (float[A, B, C, D] y) {
      a = Conv <group = 4> (x, w)  t = Add (a, c)  l = Clip (t, i, c)  d = Div (l, c)  h = Mul (a, d)
      e = Erf (h)  o = Add (e, c)  u = Mul (h, o)  g = Mul (u, i)  z = Identity (g)  y = Max (z, z)
    }""",
]


def broken_nodes(model: onnx.ModelProto) -> Iterator[onnx.ModelProto]:
    """The model with one node that lacks an input, or all, or its output, or has axes that there are not."""
    for n, node in enumerate(model.graph.node):
        changes = [lambda m: m.ClearField("input"), lambda m: m.ClearField("output"), lambda m: m.input.pop()]
        changes += [lambda m, i=i: m.input.__setitem__(i, "") for i in range(len(node.input))]
        changes.append(lambda m: m.output.__setitem__(0, ""))
        if node.op_type == "Transpose":
            for axes in ([0, 2, 1, 1 << 40], [0, 2, 1, -1], [0, 0, 0, 0]):
                changes.append(lambda m, axes=axes: m.attribute[0].ints.__setitem__(slice(4), axes))
        for change in changes:
            broken = onnx.ModelProto()
            broken.CopyFrom(model)
            change(broken.graph.node[n])
            yield broken


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("constant", [False, True])
def test_nodes_without_what_they_need_load_or_raise(pattern, constant):
    model = onnx.parser.parse_model('<ir_version: 10, opset_import: ["" : 21]>' + pattern)
    feeds = random_feeds(model)
    feeds.update({"s": np.array([2, 6, 2, 4])} if "Reshape" in pattern else {})
    if constant:
        for name, value in list(feeds.items())[1:]:
            model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
            del model.graph.input[1], feeds[name]
    pyinfer.load(model).run(feeds)
    for broken in broken_nodes(model):
        with refusing():  # an input may have been optional
            pyinfer.load(broken).run(feeds)


@pytest.mark.parametrize("op", ["BitShift", "GridSample", "Einsum", "DepthToSpace", "Gelu"])
def test_bytes_that_are_no_text_are_quoted_in_an_error_of_pyinfer(op):
    name = {"BitShift": "direction", "GridSample": "mode", "Einsum": "equation", "DepthToSpace": "mode"}
    node = onnx.helper.make_node(op, ["x", "x"][: 2 - (op in ("DepthToSpace", "Gelu"))], ["y"], blocksize=2)
    if op != "DepthToSpace":
        del node.attribute[:]
    node.attribute.add(name=name.get(op, "approximate"), type=onnx.AttributeProto.STRING, s=b"\xff")
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.UINT8, [1, 4, 2, 2])
    graph = onnx.helper.make_graph([node], "g", [x], [onnx.ValueInfoProto(name="y")])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=9)
    if op in ("GridSample", "Gelu"):
        model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    with pytest.raises(pyinfer.PyInferError, match=r"\\xff"):
        pyinfer.load(model)
