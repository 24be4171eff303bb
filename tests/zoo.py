"""The models that whole-model tests run: the zoo's, and those inside packages."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import onnx

import pyinfer

ROOT = Path(__file__).resolve().parent.parent
ZOO = ROOT / "benchmarks" / "zoo"
DIMS = {"gpt2_decode": {"s53": 33, "s62": 32}}
NAMES = sorted(path.stem for path in ZOO.glob("*.onnx"))


def zoo_model(name: str) -> Path:
    """The path of a zoo model with its weights drawn; kept in `.cache/zoo` between runs."""
    cache = ROOT / ".cache" / "zoo"
    path = cache / f"{name}.onnx"
    if not path.exists():
        spec = importlib.util.spec_from_file_location("materialize", ZOO / "materialize.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        partial = cache / f"{os.getpid()}"
        module.materialize(ZOO / f"{name}.onnx", partial).replace(path)
        partial.rmdir()
    return path


def package_files(package: str, pattern: str) -> list[Path]:
    """Files inside an installed package, or inside one below the folder PYINFER_MODEL_PACKAGES."""
    for folder in [os.environ.get("PYINFER_MODEL_PACKAGES", ""), *sys.path]:
        found = sorted(Path(folder or ".", package).glob(pattern))
        if found:
            return found
    return []


def random_feeds(
    model: onnx.ModelProto | Path, dims: dict[str, int] | None = None, seed: int = 0
) -> dict[str, np.ndarray]:
    """Inputs for a model: normal floats, ids below 200, masks of ones. `dims` gives the open dimensions."""
    if isinstance(model, Path):
        model = onnx.load(model, load_external_data=False)
    rng = np.random.default_rng(seed)
    initialized = {t.name for t in model.graph.initializer}
    feeds = {}
    for info in model.graph.input:
        if info.name in initialized:
            continue
        tensor = info.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        shape = [
            d.dim_value or (dims or {}).get(f"{info.name}.{i}", (dims or {}).get(d.dim_param, 1))
            for i, d in enumerate(tensor.shape.dim)
        ]
        if dtype.kind == "f":
            feeds[info.name] = rng.standard_normal(shape).astype(dtype)
        elif "mask" in info.name:
            feeds[info.name] = np.ones(shape, dtype)
        else:
            feeds[info.name] = rng.integers(0, 200, shape).astype(dtype)
    return feeds


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference, relative to the largest value."""
    if a.size == 0:
        return 0
    return float(np.abs(a.astype(np.float64) - b).max() / max(float(np.abs(b).max()), 1e-30))


def assert_passes_agree(
    model: onnx.ModelProto | Path,
    feeds: dict[str, np.ndarray],
    tolerance: float = 2e-5,
    coarse: tuple[str, ...] = ("choose_winograd",),
    together: float = 5e-5,
) -> None:
    """The outputs with all passes are those without any, by the largest value of each.

    `together` is for all of them, `tolerance` for all but the `coarse` ones: the sums of choose_winograd round more
    (docs/architecture.md).
    """
    names = pyinfer.pass_names()
    expected = pyinfer.load(model, disable_passes=names).run(feeds)
    for off, most in (([], together), (list(coarse), tolerance)):
        actual = pyinfer.load(model, disable_passes=off).run(feeds)
        assert actual.keys() == expected.keys()
        for name, want in expected.items():
            pairs = zip(actual[name], want, strict=True) if isinstance(want, list) else [(actual[name], want)]
            for got, value in pairs:
                assert got.shape == value.shape
                assert got.dtype == value.dtype
                assert distance(got, value) <= most, (name, off, distance(got, value))
