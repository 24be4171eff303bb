"""Every model of the zoo agrees with ONNX Runtime, and with itself without its passes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

import pyinfer
from any_batch import any_batch
from zoo import DIMS, NAMES, assert_passes_agree, distance, random_feeds, zoo_model

INT8 = {"mobilenet_v2_int8", "resnet50_int8", "minilm_l6_dyn8"}


def session(path: str | bytes, optimised: bool = True) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(path, options)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in INT8])
def test_agrees_with_onnxruntime(name):
    path = zoo_model(name)
    feeds = random_feeds(path, DIMS.get(name))
    expected = session(str(path)).run(None, feeds)
    actual = pyinfer.load(path).run(feeds)
    for got, want in zip(actual.values(), expected, strict=True):
        assert got.shape == want.shape
        assert got.dtype == want.dtype
        assert distance(got, want) < 2e-5


def plain_and_optimised(path: Path, feeds: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """ONNX Runtime's output without and with its graph optimisations."""
    plain = session(str(path), optimised=False).run(None, feeds)[0]
    return plain, session(str(path)).run(None, feeds)[0]


def yardstick(plain: np.ndarray, optimised: np.ndarray) -> float:
    """With random weights one step of rounding grows through the layers: ONNX Runtime differs from itself by that
    much when its graph optimisations are switched off."""
    return 1.25 * distance(optimised, plain) + 1e-4


@pytest.mark.parametrize("name", sorted(INT8))
def test_quantized_model_agrees_with_onnxruntime(name):
    path = zoo_model(name)
    feeds = random_feeds(path)
    plain, optimised = plain_and_optimised(path, feeds)
    actual = next(iter(pyinfer.load(path).run(feeds).values()))
    assert min(distance(actual, plain), distance(actual, optimised)) < yardstick(plain, optimised)


@pytest.mark.parametrize("name", ["minilm_l6", "bert_base"])
def test_a_padded_sentence_has_the_same_bits_in_every_batch(name):
    model = any_batch(zoo_model(name))
    ids = np.random.default_rng(5).integers(0, 30000, (3, 128))
    places = np.arange(128)
    # Padded behind, in front and not at all.
    mask = np.stack([places < 50, places >= 121, places >= 0]).astype(np.int64)
    expected = session(model.SerializeToString()).run(None, {"input_ids": ids, "attention_mask": mask})[0]
    for threads in (1, 2):
        loaded = pyinfer.load(model, threads=threads)
        together = loaded(ids, mask)
        assert distance(together, expected) < 2e-5
        for i in range(3):
            assert np.array_equal(loaded(ids[i : i + 1], mask[i : i + 1]), together[i : i + 1])
        assert not np.allclose(loaded(ids, np.ones_like(mask))[:2], together[:2], atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_all_passes_together_do_not_change_the_result(name):
    path = zoo_model(name)
    feeds = random_feeds(path, DIMS.get(name))
    if name not in INT8:
        assert_passes_agree(path, feeds)
        return
    # Where a float is rounded to eight bits, another order of additions may take it to the next step. Other passes
    # than these two leave the order of a convolution's sums.
    steps = yardstick(*plain_and_optimised(path, feeds))
    coarse = ("choose_winograd", "fuse_quantized")
    tolerance = steps if name == "minilm_l6_dyn8" else 0
    assert_passes_agree(path, feeds, tolerance=tolerance, coarse=coarse, together=steps)


@pytest.mark.parametrize("name", ["mobilenet_v2", "minilm_l6", "deit_tiny"])
def test_each_pass_does_not_change_the_result(name):
    path = zoo_model(name)
    feeds = random_feeds(path)
    expected = next(iter(pyinfer.load(path).run(feeds).values()))
    for disabled in [*pyinfer.pass_names(), None]:
        off = pyinfer.pass_names() if disabled is None else [disabled]
        actual = next(iter(pyinfer.load(path, disable_passes=off).run(feeds).values()))
        assert distance(actual, expected) < 2e-5, off
