"""Which convolutions are marked for minimal filtering, and that what they compute stays near the direct sum."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from onnx import helper

import pyinfer
from pass_models import model_of

PASS = "choose_winograd"


def conv_model(weights, image, **attributes) -> onnx.ModelProto:
    """A Conv on images of `image` = (channels, sizes...)."""
    rng = np.random.default_rng(1)
    w = rng.standard_normal(weights, dtype=np.float32)
    return model_of(
        [helper.make_node("Conv", ["x", "w"], ["y"], **attributes)], {"x": [1, *image]}, ["y"], {"w": w}
    )


def mark(model: onnx.ModelProto, *off: str) -> int:
    found = re.search(r"winograd=(\d)", pyinfer.load(model, disable_passes=off).dump())
    return int(found[1]) if found else 0


@pytest.mark.parametrize("off", [(), ("channels_last",)], ids=["last", "first"])
@pytest.mark.parametrize(
    "weights,image,attributes,expected",
    [
        ((64, 64, 3, 3), (64, 28, 28), {}, 4),
        ((512, 512, 3, 3), (512, 9, 9), {}, 2),
        ((64, 64, 3), (64, 200), {}, 4),
        ((64, 64, 5), (64, 200), {}, 2),
        ((512, 256, 5, 1), (256, 512, 1), {}, 2),
        ((64, 64, 1, 3), (64, 9, 40), {"pads": [0, 1, 0, 1]}, 4),
        ((64, 64, 5, 1), (64, 40, 9), {}, 2),
        ((64, 64, 3), (64, "n"), {}, 1),
        ((64, 64, 1, 5), (64, "h", 40), {}, 1),
        ((64, 64, 3), (64, 4), {}, 0),
        ((64, 8, 3), (8, 200), {}, 0),
        ((64, 32, 3), (64, 200), {"group": 2}, 0),
        ((64, 64, 3), (64, 200), {"strides": [2]}, 0),
        ((64, 64, 5, 1), (64, 200, 1), {"strides": [1, 2]}, 0),
        ((64, 64, 5), (64, 200), {"dilations": [2]}, 0),
        ((64, 64, 5, 5), (64, 28, 28), {}, 0),
        ((64, 64, 7), (64, 200), {}, 0),
        ((64, 64, 1), (64, 200), {}, 0),
        ((64, 64, 1, 1, 3), (64, 2, 2, 200), {}, 0),
    ],
    ids=str,
)
def test_marks(weights, image, attributes, expected, off):
    model = conv_model(weights, image, **attributes)
    assert mark(model, *off) == expected
    assert mark(model, PASS, *off) == 0
    x = np.random.default_rng(2).standard_normal(
        (1, *(40 if isinstance(n, str) else n for n in image)), dtype=np.float32
    )
    on, direct = (
        pyinfer.load(model, disable_passes=off)(x),
        pyinfer.load(model, disable_passes=[PASS, *off])(x),
    )
    assert np.abs(on - direct).max() <= 1e-5 * np.abs(direct).max()
    assert (on.tobytes() == direct.tobytes()) == (expected == 0)
