"""Trains the classifier of handwritten digits that `pyinfer demo` runs, with NumPy alone.

Reads scikit-learn's digits (1,797 images of 8 x 8 pixels, values 0 to 16), holds out a quarter of them,
and writes into pyinfer/data/:

- digits.onnx: image [batch, 1, 8, 8] float32, raw pixels -> probabilities [batch, 10] float32;
  Mul, Conv, BatchNormalization, Relu, Conv, BatchNormalization, Relu, MaxPool, Flatten, Gemm, Softmax.
- digits.npz: `images` uint8 [50, 8, 8] and `labels` uint8 [50], the first 50 of the held-out images.

Needs the extra `test`. The seed is fixed: two runs on one machine write the same files.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

DATA = Path(__file__).resolve().parent.parent / "pyinfer" / "data"
OPSET = 17
CHANNELS = (16, 32)
EPSILON = 1e-5


class Conv:
    """y[n,o,h,w] = sum over c,i,j of x[n,c,h+i-1,w+j-1] * weight[o,c,i,j], 3 x 3, zero padding of 1."""

    def __init__(self, rng: np.random.Generator, inputs: int, outputs: int):
        scale = np.sqrt(2 / (inputs * 9))
        self.weight = (rng.standard_normal((outputs, inputs, 3, 3)) * scale).astype(np.float32)

    def forward(self, x: np.ndarray, _train: bool) -> np.ndarray:
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
        n, c, h, w = x.shape
        self.columns = windows.transpose(0, 2, 3, 1, 4, 5).reshape(n * h * w, c * 9)
        self.shape = x.shape
        y = self.columns @ self.weight.reshape(len(self.weight), -1).T
        return y.reshape(n, h, w, -1).transpose(0, 3, 1, 2)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        n, c, h, w = self.shape
        rows = dy.transpose(0, 2, 3, 1).reshape(n * h * w, -1)
        self.dweight = (rows.T @ self.columns).reshape(self.weight.shape)
        dwindows = (rows @ self.weight.reshape(len(self.weight), -1)).reshape(n, h, w, c, 3, 3)
        dpadded = np.zeros((n, c, h + 2, w + 2), np.float32)
        for i in range(3):
            for j in range(3):
                dpadded[:, :, i : i + h, j : j + w] += dwindows[..., i, j].transpose(0, 3, 1, 2)
        return dpadded[:, :, 1:-1, 1:-1]

    def parameters(self) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(self.weight, self.dweight)]


class BatchNorm:
    """y = (x - mean) / sqrt(var + epsilon) * scale + bias per channel; running statistics for inference."""

    def __init__(self, channels: int):
        self.scale, self.bias = np.ones(channels, np.float32), np.zeros(channels, np.float32)
        self.mean, self.var = np.zeros(channels, np.float32), np.ones(channels, np.float32)

    def forward(self, x: np.ndarray, train: bool) -> np.ndarray:
        mean, var = (x.mean((0, 2, 3)), x.var((0, 2, 3))) if train else (self.mean, self.var)
        if train:
            self.mean += 0.1 * (mean - self.mean)
            self.var += 0.1 * (var - self.var)
        self.inverse = (1 / np.sqrt(var + EPSILON))[:, None, None]
        self.normal = (x - mean[:, None, None]) * self.inverse
        return self.normal * self.scale[:, None, None] + self.bias[:, None, None]

    def backward(self, dy: np.ndarray) -> np.ndarray:
        self.dscale, self.dbias = (dy * self.normal).sum((0, 2, 3)), dy.sum((0, 2, 3))
        count = dy.shape[0] * dy.shape[2] * dy.shape[3]
        centred = dy - (self.dbias[:, None, None] + self.normal * self.dscale[:, None, None]) / count
        return centred * self.inverse * self.scale[:, None, None]

    def parameters(self) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(self.scale, self.dscale), (self.bias, self.dbias)]


class Relu:
    """y = max(x, 0)."""

    def forward(self, x: np.ndarray, _train: bool) -> np.ndarray:
        self.on = x > 0
        return x * self.on

    def backward(self, dy: np.ndarray) -> np.ndarray:
        return dy * self.on

    def parameters(self) -> list[tuple[np.ndarray, np.ndarray]]:
        return []


class MaxPoolFlatten:
    """The largest of each 2 x 2 block, then one row per image."""

    def forward(self, x: np.ndarray, _train: bool) -> np.ndarray:
        n, c, h, w = x.shape
        blocks = x.reshape(n, c, h // 2, 2, w // 2, 2)
        y = blocks.max((3, 5), keepdims=True)
        at_max = blocks == y
        self.share = at_max / at_max.sum((3, 5), keepdims=True)
        self.shape = x.shape
        return y.reshape(n, -1)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        n, c, h, w = self.shape
        return (self.share * dy.reshape(n, c, h // 2, 1, w // 2, 1)).reshape(self.shape).astype(np.float32)

    def parameters(self) -> list[tuple[np.ndarray, np.ndarray]]:
        return []


class Linear:
    """y = x @ weight.T + bias."""

    def __init__(self, rng: np.random.Generator, inputs: int, outputs: int):
        self.weight = (rng.standard_normal((outputs, inputs)) * np.sqrt(1 / inputs)).astype(np.float32)
        self.bias = np.zeros(outputs, np.float32)

    def forward(self, x: np.ndarray, _train: bool) -> np.ndarray:
        self.x = x
        return x @ self.weight.T + self.bias

    def backward(self, dy: np.ndarray) -> np.ndarray:
        self.dweight, self.dbias = dy.T @ self.x, dy.sum(0)
        return dy @ self.weight

    def parameters(self) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(self.weight, self.dweight), (self.bias, self.dbias)]


class Adam:
    """Kingma and Ba, 2015, with a learning rate chosen by the caller at each step."""

    def __init__(self) -> None:
        self.moments: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self.steps = 0

    def step(self, parameters: list[tuple[np.ndarray, np.ndarray]], rate: float) -> None:
        self.steps += 1
        for i, (value, gradient) in enumerate(parameters):
            m, v = self.moments.setdefault(i, (np.zeros_like(value), np.zeros_like(value)))
            m += 0.1 * (gradient - m)
            v += 0.001 * (gradient * gradient - v)
            m_hat, v_hat = m / (1 - 0.9**self.steps), v / (1 - 0.999**self.steps)
            value -= (rate * m_hat / (np.sqrt(v_hat) + 1e-8)).astype(np.float32)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def forward(layers: list, x: np.ndarray, train: bool = False) -> np.ndarray:
    """Scores [batch, 10] of raw pixels [batch, 1, 8, 8]."""
    x = x * np.float32(1 / 16)
    for layer in layers:
        x = layer.forward(x, train)
    return x


def shifted(rng: np.random.Generator, images: np.ndarray) -> np.ndarray:
    """Each image moved by up to one pixel in each direction, the gap filled with zeros."""
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    moves = rng.integers(0, 3, (len(images), 2))
    return np.stack([image[:, i : i + 8, j : j + 8] for image, (i, j) in zip(padded, moves, strict=True)])


def train(images: np.ndarray, labels: np.ndarray, epochs: int, seed: int) -> list:
    """Layers fitted to images [n, 1, 8, 8] float32 and labels [n] by Adam on the cross entropy."""
    rng = np.random.default_rng(seed)
    first, second = CHANNELS
    layers = [
        Conv(rng, 1, first),
        BatchNorm(first),
        Relu(),
        Conv(rng, first, second),
        BatchNorm(second),
        Relu(),
        MaxPoolFlatten(),
        Linear(rng, second * 16, 10),
    ]
    adam = Adam()
    for epoch in range(epochs):
        order = rng.permutation(len(images))
        rate = 2e-3 * 0.5 * (1 + np.cos(np.pi * epoch / epochs))
        for start in range(0, len(order), 64):
            pick = order[start : start + 64]
            probabilities = softmax(forward(layers, shifted(rng, images[pick]), train=True))
            gradient = (probabilities - np.eye(10, dtype=np.float32)[labels[pick]]) / len(pick)
            for layer in reversed(layers):
                gradient = layer.backward(gradient)
            adam.step([pair for layer in layers for pair in layer.parameters()], rate)
    return layers


def to_onnx(layers: list) -> onnx.ModelProto:
    """The trained layers as an ONNX model with a dynamic batch."""
    conv1, norm1, _, conv2, norm2, _, _, linear = layers
    values = {"pixel_scale": np.array(1 / 16, np.float32)}
    for i, (conv, norm) in enumerate(((conv1, norm1), (conv2, norm2)), 1):
        values[f"conv{i}.weight"] = conv.weight
        for field in ("scale", "bias", "mean", "var"):
            values[f"norm{i}.{field}"] = getattr(norm, field)
    values["linear.weight"], values["linear.bias"] = linear.weight, linear.bias

    nodes = [helper.make_node("Mul", ["image", "pixel_scale"], ["scaled"], name="scale")]
    x = "scaled"
    for i in (1, 2):
        norm_inputs = [f"conv{i}.out", *(f"norm{i}.{field}" for field in ("scale", "bias", "mean", "var"))]
        nodes += [
            helper.make_node(
                "Conv",
                [x, f"conv{i}.weight"],
                [f"conv{i}.out"],
                f"conv{i}",
                kernel_shape=[3, 3],
                pads=[1] * 4,
            ),
            helper.make_node(
                "BatchNormalization", norm_inputs, [f"norm{i}.out"], f"norm{i}", epsilon=EPSILON
            ),
            helper.make_node("Relu", [f"norm{i}.out"], [f"relu{i}.out"], f"relu{i}"),
        ]
        x = f"relu{i}.out"
    nodes += [
        helper.make_node("MaxPool", [x], ["pool.out"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["pool.out"], ["flat"], "flatten", axis=1),
        helper.make_node("Gemm", ["flat", "linear.weight", "linear.bias"], ["scores"], "linear", transB=1),
        helper.make_node("Softmax", ["scores"], ["probabilities"], "softmax", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(np.ascontiguousarray(v, np.float32), name) for name, v in values.items()],
        doc_string="Classifier of handwritten digits, 8 x 8 pixels of 0 to 16.",
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="pyinfer tools/train_digits.py"
    )
    model.ir_version = 8
    helper.set_model_props(
        model, {"classes": ",".join(str(i) for i in range(10)), "source": "UCI digits, via scikit-learn"}
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=DATA, help="folder to write into")
    args = parser.parse_args()

    digits = load_digits()
    images = digits.images.astype(np.float32)[:, None]
    labels = digits.target
    train_x, test_x, train_y, test_y = train_test_split(
        images, labels, test_size=0.25, random_state=args.seed, stratify=labels
    )
    layers = train(train_x, train_y, args.epochs, args.seed)
    accuracy = np.mean(forward(layers, test_x).argmax(1) == test_y)
    print(f"{len(train_x)} training images, {len(test_x)} held out, accuracy on these {accuracy:.2%}")
    if accuracy < 0.97:
        raise SystemExit("not good enough to ship: nothing written")

    args.out.mkdir(parents=True, exist_ok=True)
    onnx.save(to_onnx(layers), args.out / "digits.onnx")
    np.savez_compressed(
        args.out / "digits.npz",
        images=test_x[:50, 0].astype(np.uint8),
        labels=test_y[:50].astype(np.uint8),
    )
    for path in sorted(args.out.glob("digits.*")):
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
