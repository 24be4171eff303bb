"""The engines that can be measured, each at its best settings for the latency of float32 models."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from pyinfer import InvalidInput, load

Array = np.ndarray[Any, np.dtype[Any]]
Feeds = Mapping[str, Array]
Outputs = Sequence[Any]
Run = Callable[[], Outputs]
"""Runs the model once on the inputs it was made with; the outputs in the model's order."""
Loader = Callable[[str, int, Feeds], Run]
"""From (path, threads, inputs): all that comes before the first run."""


def _pyinfer(path: str, threads: int, feeds: Feeds) -> Run:
    model = load(path, threads=threads)
    return lambda: list(model.run(feeds).values())


def _onnxruntime_session(path: str, threads: int, optimised: bool) -> Any:
    ort = importlib.import_module("onnxruntime")
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimised else level.ORT_DISABLE_ALL
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _onnxruntime(path: str, threads: int, feeds: Feeds) -> Run:
    session = _onnxruntime_session(path, threads, optimised=True)
    return partial(session.run, None, dict(feeds))


def onnxruntime_plain(path: str, threads: int, feeds: Feeds) -> Run:
    """ONNX Runtime with its graph optimisations off: the reference for outputs, never timed."""
    session = _onnxruntime_session(path, threads, optimised=False)
    return partial(session.run, None, dict(feeds))


def _openvino(path: str, threads: int, feeds: Feeds) -> Run:
    ov = importlib.import_module("openvino")
    core = ov.Core()
    model = core.read_model(path)
    # Known shapes let it choose better kernels. Inputs that a model declares without names in OpenVINO's
    # sense keep their order.
    names = [port.get_any_name() for port in model.inputs]
    model.reshape({name: list(feeds[name].shape) for name in names})
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    given = dict(feeds)
    # Neither inputs nor outputs are copied.
    return lambda: list(request.infer(given, share_inputs=True, share_outputs=True).values())


ENGINES: dict[str, Loader] = {"pyinfer": _pyinfer, "onnxruntime": _onnxruntime, "openvino": _openvino}


def quiet() -> None:
    """Keep engines from reporting over the network while they are measured, where they can be told."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("OPENVINO_TELEMETRY_DISABLED", "1")


def reason(error: Exception) -> str:
    """One line of an engine's error; some say what happened only after where."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


def check_installed(names: Sequence[str]) -> None:
    """Raise InvalidInput for an engine that is unknown or not installed."""
    for name in names:
        if name not in ENGINES:
            raise InvalidInput(f"unknown engine {name!r}; expected one of {', '.join(ENGINES)}")
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise InvalidInput(
                f"the engine {name} cannot be imported ({error}): "
                f"pip install {name}, or leave it out of the comparison"
            ) from error
