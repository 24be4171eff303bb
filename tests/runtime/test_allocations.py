"""A warm run of a static plan allocates nothing but its outputs: buffers and what passes through operator new are
counted, in a process of its own, against models of the same inputs and outputs that do no work."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.backend.test.loader import load_model_tests

import pyinfer
from pyinfer._core import allocation_count
from zoo import DIMS, random_feeds, zoo_model

HERE = Path(__file__).parent

# What allocates by its nature: bodies own what they give, and the size of the others depends on data.
DYNAMIC = {"If", "Loop", "Scan", "SequenceMap", "FlexAttention", "ImageDecoder", "Unique"}


def numeric(values) -> bool:
    return all(isinstance(v, np.ndarray) and v.dtype.kind not in "OUS" for v in values)


def baseline(model: onnx.ModelProto, results: dict[str, np.ndarray]) -> onnx.ModelProto:
    """Inputs and outputs of the same names, types and shapes; the outputs are constants."""
    graph = onnx.GraphProto(name="baseline")
    graph.input.extend(model.graph.input)
    graph.output.extend(model.graph.output)
    for name, value in results.items():
        graph.initializer.append(numpy_helper.from_array(value, name + ".value"))
        graph.node.append(helper.make_node("Identity", [name + ".value"], [name]))
    opsets = {o.domain: o.version for o in model.opset_import} | {"": 21}
    return helper.make_model(
        graph, ir_version=10, opset_imports=[helper.make_opsetid(d, v) for d, v in opsets.items()]
    )


def per_run(model: pyinfer.Model, feeds) -> float:
    counter = ctypes.CDLL(None).counted_allocations
    counter.restype = ctypes.c_long
    for _ in range(3):
        model.run(feeds)
    before = counter() + allocation_count()
    for _ in range(4):
        model.run(feeds)
    return (counter() + allocation_count() - before) / 4


def cases():
    """Name, model and inputs: the onnx package's node cases, and whole models for what fusions make."""
    for case in load_model_tests(kind="node"):
        names = [i.name for i in case.model.graph.input]
        if case.data_sets and len(names) == len(case.data_sets[0][0]):
            yield case.name, case.model, dict(zip(names, case.data_sets[0][0], strict=True))
    for name in ["mobilenet_v2", "mobilenet_v2_int8", "efficientnet_b0", "deit_tiny", "minilm_l6"]:
        model = onnx.load(zoo_model(name))
        yield name, model, random_feeds(model, DIMS.get(name))


def measure() -> dict[str, list[float]]:
    """Allocations of a run and of its baseline's, for every case with a static plan."""
    counts = {}
    for name, proto, feeds in cases():
        if {n.op_type for n in proto.graph.node} & DYNAMIC or not feeds:
            continue
        try:
            model = pyinfer.load(proto)
            results = model.run(feeds)
        except pyinfer.PyInferError:
            continue
        if not numeric([*feeds.values(), *results.values()]):
            continue
        if model._core.summary({k: v.shape for k, v in feeds.items()})["plan"] is None:
            continue
        counts[name] = [per_run(model, feeds), per_run(pyinfer.load(baseline(proto, results)), feeds)]
    return counts


@pytest.mark.skipif(
    "asan" in os.environ.get("LD_PRELOAD", ""), reason="the sanitizer allocates in its own way"
)
def test_a_warm_run_of_a_static_plan_allocates_its_outputs_only(tmp_path):
    compiler = shutil.which("g++") or pytest.skip("needs g++, to build what counts allocations")
    library = tmp_path / "count_allocations.so"
    subprocess.run(
        [compiler, "-std=c++20", "-O1", "-fPIC", "-shared", "-o", library, HERE / "count_allocations.cc"],
        check=True,
    )
    counts = json.loads(
        subprocess.run(
            [sys.executable, "-W", "ignore", __file__],
            env=os.environ | {"LD_PRELOAD": str(library), "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
    )
    assert len(counts) > 1200
    assert "minilm_l6" in counts
    assert {name: c for name, c in counts.items() if c[0] > c[1]} == {}


if __name__ == "__main__":
    json.dump(measure(), sys.stdout)
