"""Parts of a Concat that are written where it wants them, parts of a Split that are read where they are."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import pyinfer
from ort import ort_run


class Images:
    """A random graph over images of one size, `channels` of each value known."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.constants = [], {}
        self.channels = {"x": int(self.rng.integers(2, 20))}

    def add(self, op: str, inputs: list[str], channels: list[int], **attributes) -> None:
        names = [f"v{len(self.channels) + i}" for i in range(len(channels))]
        self.nodes.append(helper.make_node(op, inputs, names, **attributes))
        self.channels.update(zip(names, channels, strict=True))

    def constant(self, *shape: int) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = self.rng.standard_normal(shape, dtype=np.float32) / 2
        return name

    def pick(self) -> str:
        """A value, mostly a late one."""
        names = list(self.channels)
        return names[-1 - min(int(self.rng.exponential(1.5)), len(names) - 1)]

    def grow(self) -> None:
        rng, value = self.rng, self.pick()
        c = self.channels[value]
        match rng.choice(
            ["conv", "depthwise", "pool", "split", "concat", "unary", "add"],
            p=[0.3] + [0.1] * 2 + [0.15] + [0.2] + [0.1, 0.05],
        ):
            case "conv":
                k, out = int(rng.choice([1, 3])), int(rng.integers(1, 40))
                self.add(
                    "Conv", [value, self.constant(out, c, k, k), self.constant(out)], [out], pads=[k // 2] * 4
                )
            case "depthwise":
                self.add("Conv", [value, self.constant(c, 1, 3, 3)], [c], pads=[1] * 4, group=c)
            case "pool":
                kind = str(rng.choice(["MaxPool", "AveragePool"]))
                self.add(kind, [value], [c], kernel_shape=[3, 3], pads=[1] * 4)
            case "split" if c > 1:
                cut = int(rng.integers(1, c))
                sizes = numpy_helper.from_array(np.array([cut, c - cut]), f"s{len(self.nodes)}")
                self.constants[sizes.name] = numpy_helper.to_array(sizes)
                self.add("Split", [value, sizes.name], [cut, c - cut], axis=1)
            case "concat":
                parts = [value] + [self.pick() for _ in range(int(rng.integers(1, 4)))]
                total = sum(self.channels[p] for p in parts)
                if total <= 120:
                    self.add("Concat", parts, [total], axis=1)
            case "unary":
                self.add(str(rng.choice(["Relu", "Sigmoid", "HardSwish"])), [value], [c])
            case "add":
                same = [v for v, n in self.channels.items() if n == c]
                self.add("Add", [value, str(rng.choice(same))], [c])

    def model(self, outputs: list[str]) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", self.channels["x"], "h", "w"])],
            [
                helper.make_tensor_value_info(o, TensorProto.FLOAT, ["n", self.channels[o], "h", "w"])
                for o in outputs
            ],
            [numpy_helper.from_array(v, k) for k, v in self.constants.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.mark.parametrize("seed", range(60))
def test_random_graphs(seed):
    """A value that is an output lies by itself: with all of them outputs, nothing lies inside another."""
    images = Images(seed)
    while len(images.nodes) < 12:
        images.grow()
    values = [v for v in images.channels if v != "x"]
    last = values[-1:] + ([str(images.rng.choice(values))] if seed % 3 == 0 else [])
    last = list(dict.fromkeys(last))
    model = pyinfer.load(
        images.model(last),
        threads=1 + seed % 3,
        disable_passes=["fuse_epilogue", "fuse_expand_depthwise", "fuse_pointwise_pair"] if seed % 2 else [],
    )
    apart = pyinfer.load(
        images.model(values),
        disable_passes=[
            "fuse_epilogue",
            "fuse_expand_depthwise",
            "fuse_pointwise_pair",
            "eliminate_dead_code",
        ],
    )
    for batch, height, width in ((1, 9, 7), (3, 4, 5), (1, 1, 1), (2, 1, 6), (0, 3, 3)):
        x = images.rng.standard_normal((batch, images.channels["x"], height, width), dtype=np.float32)
        expected = apart.run({"x": x})
        for _ in range(2):  # again, in memory that holds the first run's numbers
            for name, value in model.run({"x": x}).items():
                assert value.tobytes() == expected[name].tobytes(), (name, batch)
        if batch:
            for name, value in zip(last, ort_run(images.model(last), {"x": x}), strict=True):
                scale = max(1.0, float(np.abs(value).max()))
                np.testing.assert_allclose(expected[name], value, rtol=0, atol=2e-4 * scale)


def arena_floats(nodes, constants, shape) -> float:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    loaded = pyinfer.load(model)
    x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    np.testing.assert_allclose(loaded(x), ort_run(model, {"x": x})[0], rtol=1e-4, atol=1e-4)
    return loaded._core.summary({"x": shape})["plan"]["arena_bytes"] / 4


def test_rows_of_parts_lie_apart():
    """Two convolutions, their Concat and a pool of it: the parts need no memory of their own."""
    w = np.random.default_rng(1).standard_normal((16, 4, 1, 1), dtype=np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("MaxPool", ["a"], ["b"], kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Concat", ["a", "b"], ["c"], axis=1),
        helper.make_node("Conv", ["c", "v"], ["y"]),
    ]
    v = np.random.default_rng(2).standard_normal((1, 32, 1, 1), dtype=np.float32)
    pixels = 64 * 64
    assert arena_floats(nodes, {"w": w, "v": v}, [2, 4, 64, 64]) / (2 * pixels) < 16 + 16 + 4 + 8


def test_parts_of_any_operator_where_the_whole_is_one_row():
    nodes = [
        helper.make_node("Exp", ["x"], ["a"]),
        helper.make_node("Softmax", ["x"], ["b"], axis=-1),
        helper.make_node("Concat", ["a", "b"], ["c"], axis=0),
        helper.make_node("Split", ["c"], ["d", "e"], axis=0, num_outputs=2),
        helper.make_node("Mul", ["d", "e"], ["f"]),
        helper.make_node("ReduceSum", ["f"], ["y"], keepdims=1),
    ]
    shape = [64, 64]
    assert arena_floats(nodes, {}, shape) <= 3.1 * 64 * 64


@pytest.mark.parametrize("whole", ["concat", "split"])
def test_a_part_that_outlives_its_whole(whole):
    """The activation could be computed in the bytes of the whole, but a part there is read after it."""
    rng = np.random.default_rng(3)
    w, v = (rng.standard_normal((8, c, 1, 1), dtype=np.float32) for c in (4, 8))
    if whole == "concat":
        nodes = [
            helper.make_node("Conv", ["x", "w"], ["a"]),
            helper.make_node("MaxPool", ["x"], ["b"], kernel_shape=[1, 1]),
            helper.make_node("Concat", ["a", "b"], ["c"], axis=1),
        ]
    else:
        nodes = [
            helper.make_node("Conv", ["x", "w"], ["c"]),
            helper.make_node("Split", ["c"], ["a", "b"], axis=1, num_outputs=2),
        ]
        v = v[:, :4]
    nodes += [
        helper.make_node("Erf", ["c"], ["d"]),
        helper.make_node("Conv", ["a", "v"], ["e"]),
        helper.make_node("ReduceSum", ["d"], ["f"]),
        helper.make_node("Add", ["e", "f"], ["y"]),
    ]
    arena_floats(nodes, {"w": w, "v": v}, [2, 4, 16, 16])
