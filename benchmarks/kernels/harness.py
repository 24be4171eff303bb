"""One-operator models for the kernel benchmarks, and what share of the machine's ceilings they reach."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from onnx import helper, numpy_helper

import pyinfer
from pyinfer.bench.profile import Roofline, measure_roofline, profile

THREADS = int(os.environ.get("PYINFER_BENCH_THREADS", "1"))

# Steps that are not the operator's own: what takes the images' layout to the kernel, and what one_node adds.
_AROUND = {"Transpose", "Slice"}
_PROFILED_SECONDS = 0.5

Array = np.ndarray


@cache
def roofline() -> Roofline:
    """This machine's, measured once per process; the best of three, as nothing makes a rate too high."""
    found = [measure_roofline(THREADS) for _ in range(3)]
    levels = zip(*(one.bandwidth for one in found), strict=True)
    bandwidth = [(same[0][0], max(s[1] for s in same), max(s[2] for s in same)) for same in levels]
    return Roofline(THREADS, max(one.flops for one in found), bandwidth)


def one_node(
    op: str,
    inputs: dict[str, Array],
    weights: dict[str, Array],
    domain: str = "",
    whole: bool = True,
    **attributes: Any,
) -> bytes:
    """A model of one node, which takes `inputs`, then `weights` as constants, in the operator's own order.

    Unless `whole`, it gives the first element of each matrix of the result, which so stays in the model's own
    memory: what a run gives is new memory, and where it is large, zeroing its pages takes longer than many an
    operator does.
    """
    name = "y" if whole else "inner"
    nodes = [helper.make_node(op, [*inputs, *weights], [name], domain=domain, **attributes)]
    constants = [numpy_helper.from_array(value, key) for key, value in weights.items()]
    if not whole:
        nodes.append(helper.make_node("Slice", [name, "zeros", "ones", "axes"], ["y"]))
        for key, value in {"zeros": [0, 0], "ones": [1, 1], "axes": [-2, -1]}.items():
            constants.append(numpy_helper.from_array(np.array(value), key))
    graph = helper.make_graph(
        nodes,
        op,
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in inputs.items()
        ],
        [helper.make_tensor_value_info("y", helper.np_dtype_to_tensor_dtype(np.dtype(np.float32)), None)],
        constants,
    )
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


def normal(*shape: int, scale: float = 1.0) -> Array:
    """Normally distributed float32 numbers, the same in every process."""
    return (np.random.default_rng(0).standard_normal(shape) * scale).astype(np.float32)


def measure(
    benchmark: Any,
    op: str,
    inputs: dict[str, Array],
    weights: dict[str, Array] | None = None,
    goal: int | None = None,
    whole: bool = False,
    **attributes: Any,
) -> None:
    """Time a model of one node; add the node's own figures to the benchmark's extra_info.

    The benchmark's times include the call from Python, some microseconds. The figures are those of the
    operator's step alone, as `pyinfer profile` has them. `goal` is the percentage of the ceiling that it
    should reach: of multiply-adds, or of the rate of memory for as much as it reads and writes.
    """
    loaded = pyinfer.load(one_node(op, inputs, weights or {}, whole=whole, **attributes), threads=THREADS)
    benchmark(loaded.run, inputs)
    if benchmark.stats is None:  # --benchmark-disable
        return
    runs = int(min(max(_PROFILED_SECONDS / benchmark.stats.stats.median, 20), 2000))
    steps = profile(loaded, inputs, op, runs, roofline())["steps"]
    own = [step for step in steps if step["operator"] not in _AROUND]
    seconds, least, flops, read, written = (
        sum(step[key] for step in own)
        for key in ("own_seconds", "least_seconds", "flops", "read_bytes", "written_bytes")
    )
    benchmark.extra_info.update(
        {
            "threads": THREADS,
            "isa": pyinfer.cpu_isa(),
            "step_seconds": seconds,
            "working_set_bytes": read + written,
            "gflops_per_second": flops / seconds / 1e9,
            "gbytes_per_second": (read + written) / seconds / 1e9,
            "percent_of_roofline": 100 * least / seconds,
            "goal_percent": goal,
            "ceiling_gflops_per_second": roofline().flops / 1e9,
            "ceiling_gbytes_per_second": roofline().level(read + written)[2] / 1e9,
        }
    )


def label(shape: Sequence[object]) -> str:
    """For test ids: "1x64x56x56"."""
    return "x".join(str(length) for length in shape)
