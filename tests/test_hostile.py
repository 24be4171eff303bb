"""Broken models and bytes raise a PyInferError, at load or at run; nothing crashes or hangs."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
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


def test_three_hundred_broken_models_raise(mutate, tmp_path):
    accepted = []
    for path in mutate.write(tmp_path, 300):
        try:
            load_and_run(path)
        except pyinfer.PyInferError as error:
            assert not isinstance(error, pyinfer.InternalError), (path.name, error)
            assert str(error)
        else:
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
            try:
                model = pyinfer.load(changed.tobytes(), limits=pyinfer.Limits(max_tensor_bytes=1 << 26))
                shapes = [[d if isinstance(d, int) else 1 for d in s.shape or ()] for s in model.inputs]
                if all(np.prod(s, dtype=float) < 1e6 for s in shapes):
                    model.run(
                        {s.name: np.zeros(d, s.dtype) for s, d in zip(model.inputs, shapes, strict=True)}
                    )
            except (pyinfer.PyInferError, TypeError):
                pass
