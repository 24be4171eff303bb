"""What happens once: loading, the first run, memory, and the CPU time of an idle engine.

Each measurement is a process of its own, so that engines share neither memory nor warmth.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyinfer.bench.engines import ENGINES, Feeds, quiet, reason

_RUNS = 10
_IDLE_SECONDS = 0.5
_TIMEOUT_SECONDS = 600
# The new process looks for modules where this one does.
_CHILD = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from pyinfer.bench.cold import main
main(sys.argv[2])
"""


@dataclass(frozen=True)
class Cold:
    """One process's figures."""

    load_seconds: float  # from the path to an engine that is ready to run
    first_run_seconds: float
    base_rss_bytes: int  # with the engine imported, before it loads the model
    peak_rss_bytes: int
    idle_cpu_seconds: float  # used by the process in the half second after its last run


def _rss(field: str) -> int:
    """VmRSS or VmHWM of this process. Unlike ru_maxrss they know nothing of the parent's memory."""
    try:
        with open("/proc/self/status", encoding="utf-8") as file:
            for line in file:
                if line.startswith(field):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _measure_here(engine: str, path: str, threads: int, feeds: Feeds) -> Cold:
    quiet()
    importlib.import_module(engine)
    base = _rss("VmRSS")
    start = time.perf_counter()
    run = ENGINES[engine](path, threads, feeds)
    loaded = time.perf_counter()
    run()
    end = time.perf_counter()
    for _ in range(_RUNS):
        run()
    cpu = time.process_time()
    time.sleep(_IDLE_SECONDS)
    idle = time.process_time() - cpu
    return Cold(loaded - start, end - loaded, base, _rss("VmHWM"), idle)


def measure_cold(engine: str, path: str | os.PathLike[str], threads: int, feeds: Feeds) -> Cold:
    """Measure `engine` in a new process.

    Raises
    ------
    RuntimeError
        The engine failed; the message is the last line of what it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "feeds.npz")
        arrays: dict[str, Any] = {f"x{i}": value for i, value in enumerate(feeds.values())}
        np.savez(file, **arrays)
        job = json.dumps([engine, os.fspath(path), threads, list(feeds), str(file)])
        command = [sys.executable, "-c", _CHILD, json.dumps(sys.path), job]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"gave no result within {_TIMEOUT_SECONDS} seconds") from None
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise RuntimeError(said[-1])
    return Cold(**json.loads(done.stdout.splitlines()[-1]))


def median_cold(rounds: Sequence[Cold]) -> Cold:
    """Field by field; the peak of memory is the largest."""
    return Cold(
        statistics.median(c.load_seconds for c in rounds),
        statistics.median(c.first_run_seconds for c in rounds),
        int(statistics.median(c.base_rss_bytes for c in rounds)),
        max(c.peak_rss_bytes for c in rounds),
        statistics.median(c.idle_cpu_seconds for c in rounds),
    )


def main(job: str) -> None:
    """What the new process does: measure, and print the figures as JSON."""
    engine, path, threads, names, file = json.loads(job)
    with np.load(file, allow_pickle=False) as data:
        feeds = {name: data[f"x{i}"] for i, name in enumerate(names)}
    try:
        cold = _measure_here(engine, path, threads, feeds)
    except Exception as error:
        sys.exit(reason(error))
    print(json.dumps(asdict(cold)), flush=True)
