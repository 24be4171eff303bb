"""Convolutions of ResNet, MobileNet, EfficientNet and PP-OCR, at batch 1."""

from dataclasses import dataclass

import pytest
from harness import measure, normal


@dataclass(frozen=True)
class Case:
    channels: int
    size: tuple[int, int]
    filters: int
    kernel: int
    stride: int = 1
    group: int = 1

    def __str__(self) -> str:
        kind = "depthwise" if self.group > 1 else f"{self.filters}"
        return f"{self.channels}x{self.size[0]}x{self.size[1]}-{kind}-k{self.kernel}s{self.stride}"


CASES = [
    Case(3, (224, 224), 64, 7, 2),
    Case(64, (56, 56), 64, 1),
    Case(64, (56, 56), 256, 1),
    Case(256, (56, 56), 64, 1),
    Case(512, (7, 7), 2048, 1),
    Case(64, (56, 56), 64, 3),
    Case(128, (28, 28), 128, 3),
    Case(256, (14, 14), 256, 3),
    Case(512, (7, 7), 512, 3),
    Case(128, (56, 56), 128, 3, 2),
    Case(3, (224, 224), 32, 3, 2),
    Case(96, (112, 112), 96, 3, 2, 96),
    Case(144, (56, 56), 144, 3, 1, 144),
    Case(576, (14, 14), 576, 3, 1, 576),
    Case(240, (28, 28), 240, 5, 1, 240),
    Case(1152, (7, 7), 1152, 5, 1, 1152),
    Case(24, (160, 160), 24, 3),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_conv(benchmark, case):
    per_group = case.channels // case.group
    inputs = {"x": normal(1, case.channels, *case.size)}
    weights = {
        "w": normal(case.filters, per_group, case.kernel, case.kernel, scale=0.1),
        "b": normal(case.filters),
    }
    pad = case.kernel // 2
    attributes = {"pads": [pad] * 4, "strides": [case.stride] * 2, "group": case.group}
    measure(benchmark, "Conv", inputs, weights, **attributes)
