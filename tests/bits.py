"""The models whose bits are compared row by row, and the inputs that this takes.

Used by tests/models/test_same_bits.py, for this machine's instruction sets, and by tools/compare_bits.py, which
compares two builds.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx

import pyinfer
from any_batch import any_batch
from zoo import package_files, zoo_model

BATCHES = (1, 3, 8)
THREADS = (1, 2, 4)


@dataclass(frozen=True)
class Case:
    """A model, and by input SHAPE[:VALUE]: numbers joined by x, with B where the batch is, empty for a scalar.

    VALUE fills the input; else floats lie in [-2, 2) and integers below 200.
    """

    shapes: dict[str, str]
    package: tuple[str, str] | None = None  # where it is and the file there, instead of the zoo
    batch_axes: dict[str, int] = field(default_factory=dict)
    tokens: tuple[int, int] | None = None
    small: dict[str, str] = field(default_factory=dict)  # what differs under emulation
    # Whether a row is computed from other rows too: dynamic quantization takes its scale from the whole batch.
    rows_depend: bool = False

    def uncut(self) -> Case:
        """Sentences of their declared length."""
        if self.tokens is None:
            return self
        declared, shorter = (f"Bx{length}" for length in self.tokens)
        return replace(
            self, tokens=None, shapes={k: v.replace(shorter, declared) for k, v in self.shapes.items()}
        )


def _image(size: int, small: int) -> Case:
    """`small` leaves other sizes to the last layers than `size` does, and takes less of an emulator's time."""
    shape = "Bx3x{0}x{0}".format
    return Case({"pixel_values": shape(size)}, small={"pixel_values": shape(small)})


def _sentence(tokens: int, **more: bool) -> Case:
    return Case({"input_ids": f"Bx{tokens}", "attention_mask": f"Bx{tokens}:1"}, tokens=(128, tokens), **more)


CASES = {
    "mobilenet_v2": _image(224, 96),
    "mobilenet_v2_int8": _image(224, 96),
    "efficientnet_b0": _image(224, 96),
    "resnet50": _image(224, 96),
    "resnet50_int8": _image(224, 96),
    "deit_tiny": Case({"pixel_values": "Bx3x224x224"}),
    "minilm_l6": _sentence(24),
    "minilm_l6_dyn8": _sentence(24, rows_depend=True),
    "bert_base": _sentence(16),
    "gpt2_decode": Case(
        {"input_ids": "Bx1", "attention_mask": "Bx33:1", "past": "12x2xBx12x32x64"},
        batch_axes={"past": 2, "present": 2},
    ),
    "magika": Case({"bytes": "Bx2048"}, ("magika", "models/standard*/model.onnx")),
    "silero_vad": Case(
        {"input": "Bx576", "state": "2xBx128", "sr": ":16000"}, ("silero_vad", "data/silero_vad.onnx")
    ),
    "ppocr_cls": Case({"x": "Bx3x48x192"}, ("rapidocr", "models/*_cls_*.onnx")),
    "ppocr_rec": Case({"x": "Bx3x48x320"}, ("rapidocr", "models/*_rec_*.onnx"), small={"x": "Bx3x48x96"}),
    "ppocr_det": Case({"x": "Bx3x320x416"}, ("rapidocr", "models/*_det_*.onnx"), small={"x": "Bx3x96x160"}),
}


def case_model(name: str, case: Case | None = None) -> Path | onnx.ModelProto | None:
    """The model, taking any batch; None where its package is not installed."""
    case = case or CASES[name]
    if case.package is None:
        return any_batch(zoo_model(name), case.batch_axes, case.tokens)
    found = package_files(*case.package)
    return found[0] if found else None


def make_feeds(
    specs: tuple[pyinfer.TensorSpec, ...], shapes: dict[str, str], batch: int, first: int = 0
) -> dict[str, np.ndarray]:
    """Rows from `first` on; what is in a row depends on its number alone, whatever batch it travels in."""
    feeds = {}
    for number, spec in enumerate(specs):
        shape, _, value = shapes[spec.name].partition(":")
        dims = shape.split("x") if shape else []
        one = [1 if d == "B" else int(d) for d in dims]
        rows = []
        for row in range(first, first + batch):
            rng = np.random.default_rng([number, row])
            if value:
                rows.append(np.full(one, float(value), spec.dtype))
            elif np.dtype(spec.dtype).kind == "f":
                rows.append(rng.uniform(-2, 2, one).astype(spec.dtype))
            else:
                rows.append(rng.integers(0, 200, one).astype(spec.dtype))
        feeds[spec.name] = np.concatenate(rows, dims.index("B")) if "B" in dims else rows[0]
    return feeds


def row_hashes(outputs: dict[str, np.ndarray], batch: int, apart: bool, first: int = 0) -> dict[str, str]:
    """The hash of each row of each output, or, unless `apart`, of each output, named by its batch.

    The batch of an output is its first dimension of that length.
    """
    found = {}
    for name, value in outputs.items():
        if apart and batch in value.shape:
            rows = np.moveaxis(value, value.shape.index(batch), 0)
            parts = {f"{name}[{first + i}]": row for i, row in enumerate(rows)}
        else:
            parts = {f"{name}[{first}]" if apart else f"{name} of {batch}": value}
        for part, data in parts.items():
            found[part] = hashlib.sha256(np.ascontiguousarray(data).tobytes()).hexdigest()
    return found
