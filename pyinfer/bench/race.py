"""Engines timed in turns, so that whatever slows the machine slows all of them.

The speed of a shared machine drifts within minutes: only ratios of neighbouring turns mean something. A round
is one turn of each engine, in random order; its ratio is one sample, and the interval is that of the samples'
median.
"""

from __future__ import annotations

import gc
import itertools
import math
import os
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

import numpy as np

import pyinfer
from pyinfer.bench import engines
from pyinfer.bench.cold import Cold, measure_cold, median_cold
from pyinfer.bench.engines import ENGINES, Feeds, Outputs, Run


@dataclass(frozen=True)
class Settings:
    """How much is measured."""

    rounds: int = 15
    turn_seconds: float = 0.05  # a turn has at least this much of runs ...
    turn_runs: int = 3  # ... and at least so many
    pause_seconds: float = 0.1  # before a turn: other engines' threads spin for a while after a run
    cold_rounds: int = 3  # processes per engine; 0: none
    tolerance: float = 1e-3  # of outputs: largest difference from the reference, by its largest value


def interval(
    samples: Sequence[float], confidence: float = 0.95, resamples: int = 2000
) -> tuple[float, float]:
    """The bootstrap confidence interval of the samples' median; the same samples give the same interval."""
    values = np.asarray(samples, np.float64)
    picks = np.random.default_rng(0).integers(0, len(values), (resamples, len(values)))
    tail = 50 * (1 - confidence)
    low, high = np.percentile(np.median(values[picks], axis=1), [tail, 100 - tail])
    return float(low), float(high)


def geometric_mean(values: Sequence[float]) -> float:
    """The n-th root of the product of `values`, all positive."""
    return math.exp(statistics.fmean(math.log(value) for value in values))


def race(runs: Mapping[str, Run], settings: Settings) -> dict[str, list[float]]:
    """For each engine, the median seconds of a run in each round."""
    counts = {}
    for name, run in runs.items():
        run()
        start = time.perf_counter()
        run()
        once = max(time.perf_counter() - start, 1e-7)
        counts[name] = max(settings.turn_runs, math.ceil(settings.turn_seconds / once))
    times: dict[str, list[float]] = {name: [] for name in runs}
    order = list(runs)
    shuffle = random.Random(0).shuffle
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(settings.rounds):
            shuffle(order)
            for name in order:
                time.sleep(settings.pause_seconds)
                times[name].append(_turn(runs[name], counts[name]))
    finally:
        if collecting:
            gc.enable()
    return times


def _turn(run: Run, count: int) -> float:
    run()  # brings back its threads, weights and caches
    clock = time.perf_counter
    stops = [clock()]
    for _ in range(count):
        run()
        stops.append(clock())
    return statistics.median(b - a for a, b in itertools.pairwise(stops))


def difference(actual: Outputs, expected: Outputs) -> float:
    """The largest difference of any output, relative to that output's largest expected value.

    Infinite where the outputs differ in number, shape, or in what is not a number.
    """
    if len(actual) != len(expected):
        return math.inf
    worst = 0.0
    for got, want in zip(actual, expected, strict=True):
        a, b = np.asarray(got), np.asarray(want)
        if a.shape != b.shape:
            return math.inf
        if a.size == 0:
            continue
        if b.dtype.kind not in "fiub":
            worst = max(worst, 0.0 if np.array_equal(a, b) else math.inf)
            continue
        x, y = a.astype(np.float64), b.astype(np.float64)
        same = (x == y) | (np.isnan(x) & np.isnan(y))
        with np.errstate(invalid="ignore"):
            apart = np.where(same, 0.0, np.abs(x - y))
        scale = float(np.abs(y[np.isfinite(y)]).max(initial=0)) or 1.0
        largest = float(apart.max())
        worst = max(worst, math.inf if math.isnan(largest) else largest / scale)
    return worst


def measure(
    path: str | os.PathLike[str],
    feeds: Feeds,
    names: Sequence[str],
    threads: int,
    settings: Settings,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Measure the engines `names`, the first of which is compared with the others, on one model.

    An engine that fails, or whose outputs differ from the reference, has its reason under "error" and no
    times. docs/benchmarking.md describes the result.
    """
    engines.quiet()
    path = os.fspath(path)
    found: dict[str, dict[str, Any]] = {name: {"version": _version(name), "error": None} for name in names}
    samples = _cold_rounds(path, feeds, found, threads, settings, say)
    say("checking outputs")
    reference, runs = _checked_runs(path, feeds, found, threads, settings.tolerance)
    if runs:
        say(f"timing {', '.join(runs)}")
        for name, seconds in race(runs, settings).items():
            found[name]["seconds"] = statistics.median(seconds)
            found[name]["rounds"] = seconds
    row: dict[str, Any] = {"threads": threads, "reference": reference, "engines": found}
    row.update(_ratios(names[0], found))
    valid = {name: rounds for name, rounds in samples.items() if found[name]["error"] is None}
    if names[0] in valid:
        row["first_output"] = _first_output(names[0], valid)
    return row


def _version(name: str) -> str | None:
    if name == "pyinfer":
        return pyinfer.__version__
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cold_rounds(
    path: str,
    feeds: Feeds,
    found: dict[str, dict[str, Any]],
    threads: int,
    settings: Settings,
    say: Callable[[str], None],
) -> dict[str, list[Cold]]:
    samples: dict[str, list[Cold]] = {}
    for i in range(settings.cold_rounds):
        for name, entry in found.items():
            if entry["error"] is not None:
                continue
            say(f"loading {name} in a new process ({i + 1} of {settings.cold_rounds})")
            try:
                samples.setdefault(name, []).append(measure_cold(name, path, threads, feeds))
            except RuntimeError as error:
                entry["error"] = str(error)
                samples.pop(name, None)
    for name, rounds in samples.items():
        found[name]["cold"] = asdict(median_cold(rounds))
    return samples


def _checked_runs(
    path: str, feeds: Feeds, found: dict[str, dict[str, Any]], threads: int, tolerance: float
) -> tuple[str | None, dict[str, Run]]:
    """What the outputs were compared with, and the engines that agree with it, ready to run."""
    reference, expected = None, None
    if "onnxruntime" in found:
        try:
            expected = _copied(engines.onnxruntime_plain(path, threads, feeds)())
            reference = "onnxruntime without optimisations"
        except Exception:
            expected = None  # the first engine that runs takes its place
    runs: dict[str, Run] = {}
    for name, entry in found.items():
        if entry["error"] is not None:
            continue
        try:
            run = ENGINES[name](path, threads, feeds)
            actual = _copied(run())
        except Exception as error:
            entry["error"] = engines.reason(error)
            continue
        if expected is None:
            reference, expected = name, actual
        entry["difference"] = difference(actual, expected)
        if entry["difference"] <= tolerance:
            runs[name] = run
        else:
            entry["error"] = (
                f"outputs differ from {reference} by {entry['difference']:.3g}, over {tolerance:g}"
            )
            if math.isinf(entry["difference"]):
                entry["difference"] = None  # JSON has no infinity
    return reference, runs


def _copied(outputs: Outputs) -> list[Any]:
    return [np.array(value) if isinstance(value, np.ndarray) else value for value in outputs]


def _ratio(theirs: Sequence[float], ours: Sequence[float]) -> dict[str, Any]:
    samples = [a / b for a, b in zip(theirs, ours, strict=True)]
    return {"ratio": statistics.median(samples), "interval": list(interval(samples))}


def _ratios(ours: str, found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Every peer's time by ours, and the fastest peer."""
    timed = {name: entry for name, entry in found.items() if "rounds" in entry}
    peers = [name for name in timed if name != ours]
    if ours not in timed or not peers:
        return {"ratios": {}, "best_peer": None}
    ratios = {name: _ratio(timed[name]["rounds"], timed[ours]["rounds"]) for name in peers}
    return {"ratios": ratios, "best_peer": min(peers, key=lambda name: ratios[name]["ratio"])}


def _first_output(ours: str, samples: dict[str, list[Cold]]) -> dict[str, Any]:
    """The same for the time from the file to the first output."""
    seconds = {
        name: [c.load_seconds + c.first_run_seconds for c in rounds] for name, rounds in samples.items()
    }
    peers = [name for name in seconds if name != ours]
    ratios = {name: _ratio(seconds[name], seconds[ours]) for name in peers}
    best = min(peers, key=lambda name: ratios[name]["ratio"]) if peers else None
    return {"ratios": ratios, "best_peer": best}
