"""One-operator models for the kernel benchmarks, and what their times mean."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from onnx import helper, numpy_helper

import pyinfer
from pyinfer.bench.profile import Roofline, measure_roofline

THREADS = int(os.environ.get("PYINFER_BENCH_THREADS", "1"))

Array = np.ndarray


@cache
def roofline() -> Roofline:
    """This machine's, measured once per process."""
    return measure_roofline(THREADS)


def one_node(
    op: str, inputs: dict[str, Array], weights: dict[str, Array], domain: str = "", **attributes: Any
) -> bytes:
    """A model of one node, which takes `inputs`, then `weights` as constants, in the operator's own order."""
    graph = helper.make_graph(
        [helper.make_node(op, [*inputs, *weights], ["y"], domain=domain, **attributes)],
        op,
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in inputs.items()
        ],
        [helper.make_tensor_value_info("y", helper.np_dtype_to_tensor_dtype(np.dtype(np.float32)), None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


def normal(*shape: int, scale: float = 1.0) -> Array:
    """Normally distributed float32 numbers, the same in every process."""
    return (np.random.default_rng(0).standard_normal(shape) * scale).astype(np.float32)


def measure(benchmark: Any, model: bytes, inputs: dict[str, Array], flops: float) -> None:
    """Time the model; add GFLOP/s, GB/s and the percentage of the roofline to the benchmark's extra_info.

    Bytes are those of all inputs, weights and outputs. Times include the call from Python, some microseconds,
    and the allocation of the output.
    """
    loaded = pyinfer.load(model, threads=THREADS)
    (output,) = loaded.run(inputs).values()
    read = sum(value.nbytes for value in inputs.values()) + _weight_bytes(loaded)
    benchmark(loaded.run, inputs)
    if benchmark.stats is None:  # --benchmark-disable
        return
    seconds = benchmark.stats.stats.median
    benchmark.extra_info.update(
        {
            "threads": THREADS,
            "isa": pyinfer.cpu_isa(),
            "gflops_per_second": flops / seconds / 1e9,
            "gbytes_per_second": (read + output.nbytes) / seconds / 1e9,
            "percent_of_roofline": 100 * roofline().seconds(flops, read, output.nbytes) / seconds,
            "ceiling_gflops_per_second": roofline().flops / 1e9,
        }
    )


def _weight_bytes(model: pyinfer.Model) -> int:
    found = model.summary()["parameters"]["bytes"]
    assert isinstance(found, int)
    return found


def label(shape: Sequence[object]) -> str:
    """For test ids: "1x64x56x56"."""
    return "x".join(str(length) for length in shape)
