"""Where a run's time goes: every step, against what this machine can do at most."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pyinfer import Model, _core
from pyinfer.bench.environment import stamp
from pyinfer.bench.page import bar, document, escape, table
from pyinfer.bench.report import columns, environment_line, milliseconds

SCHEMA = 1

# Operators that read about as much as they write of an input that may be far larger (an embedding, a cache).
_READ_PART = {"Gather", "GatherElements", "GatherND", "Slice", "Split", "Pad", "Shape", "Size"}


class Record(NamedTuple):
    """One execution of a step."""

    step: int
    label: str
    depth: int
    begin_ns: int
    end_ns: int
    flops: int
    read_bytes: int
    written_bytes: int
    shape: list[int]


@dataclass
class _Step:
    """The executions of one step in one run, added up."""

    first: Record
    count: int = 0
    nanoseconds: int = 0
    inside: int = 0  # of that, in the steps of its subgraphs
    flops: int = 0
    read: int = 0
    written: int = 0


@dataclass(frozen=True)
class Roofline:
    """The measured ceilings of the machine on some threads; per second."""

    threads: int
    flops: float
    bandwidth: list[tuple[int, float, float]] = field(default_factory=list)

    def level(self, size: float) -> tuple[int, float, float]:
        """The smallest working set measured that holds `size` bytes, and its rates of reading and of copying.

        Sets are whole blocks, and so a little less than the power of two that they stand for.
        """
        return next((level for level in self.bandwidth if size <= 1.01 * level[0]), self.bandwidth[-1])

    def seconds(self, flops: float, read: float, written: float) -> float:
        """The least time for this much work.

        What is read and written goes at the rate of copying, what remains of the larger one at that of
        reading, from the smallest memory that holds all.
        """
        _, read_rate, copy_rate = self.level(read + written)
        both = min(read, written)
        return max(flops / self.flops, 2 * both / copy_rate + (max(read, written) - both) / read_rate)


def measure_roofline(threads: int) -> Roofline:
    """Takes a fraction of a second."""
    flops, bandwidth = _core.roofline(threads)
    return Roofline(threads, flops, bandwidth)


def profile(
    model: Model, inputs: Mapping[str, object], name: str, runs: int = 20, roofline: Roofline | None = None
) -> dict[str, Any]:
    """Profile `runs` runs after one that warms up; docs/benchmarking.md describes the result.

    The roofline is measured unless given.
    """
    feeds = model._feeds(inputs)
    core = model._core
    core.run(feeds, None)
    profiles = [[Record(*record) for record in core.profile(feeds)] for _ in range(runs)]
    totals = [_total(records) for records in profiles]
    middle = profiles[sorted(range(runs), key=totals.__getitem__)[runs // 2]]
    roofline = roofline or measure_roofline(core.threads)
    steps = _steps([_by_step(records) for records in profiles], roofline)
    return {
        "schema": SCHEMA,
        "benchmark": "profile",
        "environment": stamp(),
        "model": name,
        "shapes": {key: list(getattr(value, "shape", ())) for key, value in feeds.items()},
        "threads": core.threads,
        "runs": runs,
        "seconds": statistics.median(totals),
        "roofline": {
            "threads": roofline.threads,
            "flops": roofline.flops,
            "bandwidth": [
                {"bytes": size, "read": read, "copy": copy} for size, read, copy in roofline.bandwidth
            ],
        },
        "steps": steps,
        "operators": _operators(steps),
        "trace": [record._asdict() for record in middle],
    }


def _total(records: Sequence[Record]) -> float:
    """Seconds from the begin of the first step to the end of the last."""
    return (max(r.end_ns for r in records) - records[0].begin_ns) / 1e9 if records else 0.0


def _by_step(records: Sequence[Record]) -> dict[int, _Step]:
    steps: dict[int, _Step] = {}
    around: list[_Step] = []  # the steps that hold the current one, outermost first
    for record in records:
        step = steps.setdefault(record.step, _Step(record))
        del around[record.depth :]
        took = record.end_ns - record.begin_ns
        if around:
            around[-1].inside += took
        around.append(step)
        step.count += 1
        step.nanoseconds += took
        step.flops += record.flops
        part = record.label.partition(" ")[0] in _READ_PART
        step.read += min(record.read_bytes, record.written_bytes) if part else record.read_bytes
        step.written += record.written_bytes
    return steps


def _steps(runs: Sequence[dict[int, _Step]], roofline: Roofline) -> list[dict[str, Any]]:
    """Each step's medians over the runs, in order of execution."""
    found = []
    for number, step in runs[-1].items():
        # A run whose data took another way may lack the step.
        same = [run[number] for run in runs if number in run and run[number].first.label == step.first.label]
        seconds = statistics.median(s.nanoseconds for s in same) / 1e9
        own = statistics.median(s.nanoseconds - s.inside for s in same) / 1e9
        entry: dict[str, Any] = {
            "label": step.first.label,
            "operator": step.first.label.partition(" ")[0],
            "depth": step.first.depth,
            "shape": step.first.shape,
            "count": step.count,
            "seconds": seconds,
            "own_seconds": own,
            "flops": step.flops,
            "read_bytes": step.read,
            "written_bytes": step.written,
            "least_seconds": 0.0,
        }
        if step.inside == 0:  # else its bytes are those of the steps inside
            # Each execution works on its own share of the bytes.
            share = (step.flops / step.count, step.read / step.count, step.written / step.count)
            entry["least_seconds"] = step.count * roofline.seconds(*share)
        found.append(entry)
    return found


def _operators(steps: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The steps added up by operator, longest first."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for step in steps:
        groups[step["operator"]].append(step)
    fields = ("count", "own_seconds", "flops", "read_bytes", "written_bytes", "least_seconds")
    added = [
        {"operator": name, **{key: sum(step[key] for step in group) for key in fields}}
        for name, group in groups.items()
    ]
    return sorted(added, key=lambda entry: -entry["own_seconds"])


def chrome_trace(content: dict[str, Any]) -> dict[str, Any]:
    """The run of median length, for chrome://tracing or ui.perfetto.dev."""
    return {
        "displayTimeUnit": "ms",
        "traceEvents": [
            {
                "name": record["label"],
                "cat": record["label"].partition(" ")[0],
                "ph": "X",
                "pid": 1,
                "tid": 1,
                "ts": record["begin_ns"] / 1e3,
                "dur": (record["end_ns"] - record["begin_ns"]) / 1e3,
                "args": {key: record[key] for key in ("shape", "flops", "read_bytes", "written_bytes")},
            }
            for record in content["trace"]
        ],
    }


def _rates(entry: dict[str, Any], total: float) -> list[str]:
    """Time, its share, GFLOP/s, GB/s, percent of the roofline."""
    seconds = entry["own_seconds"]
    safe = seconds or 1e-9
    moved = entry["read_bytes"] + entry["written_bytes"]
    least = entry["least_seconds"]
    return [
        milliseconds(seconds),
        f"{100 * seconds / (total or 1e-9):.1f}",
        f"{entry['flops'] / safe / 1e9:.1f}" if entry["flops"] else "",
        f"{moved / safe / 1e9:.1f}" if least else "",
        f"{100 * least / safe:.0f}" if least else "",
    ]


_RATES = ["ms", "% of run", "GFLOP/s", "GB/s", "% of roofline"]


def _step_table(content: dict[str, Any], top: int | None) -> tuple[list[str], list[list[str]]]:
    steps = content["steps"]
    if top is not None:
        steps = sorted(steps, key=lambda step: -step["own_seconds"])[:top]
    body = []
    for step in steps:
        shape = "x".join(str(length) for length in step["shape"])
        times = "" if step["count"] == 1 else f" ({step['count']} times)"
        body.append(["  " * step["depth"] + step["label"] + times, shape, *_rates(step, content["seconds"])])
    return ["step", "output", *_RATES], body


def _operator_table(content: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    body = [
        [entry["operator"], str(entry["count"]), *_rates(entry, content["seconds"])]
        for entry in content["operators"]
    ]
    return ["operator", "steps", *_RATES], body


def _summary(content: dict[str, Any]) -> str:
    roofline = content["roofline"]
    levels = ", ".join(
        f"{_size(level['bytes'])} {level['read'] / 1e9:.1f} / {level['copy'] / 1e9:.1f}"
        for level in roofline["bandwidth"]
    )
    flops = sum(step["flops"] for step in content["steps"])
    least = sum(step["least_seconds"] for step in content["steps"])
    seconds = content["seconds"] or 1e-9
    return (
        f"{content['model']}: {milliseconds(seconds)} ms a run on {content['threads']} threads, "
        f"{flops / 1e9:.3f} GFLOP, {flops / seconds / 1e9:.1f} GFLOP/s, "
        f"{100 * least / seconds:.0f}% of the roofline\n"
        f"roofline: {roofline['flops'] / 1e9:.1f} GFLOP/s; GB/s reading / copying within {levels}"
    )


def _size(count: int) -> str:
    return f"{count / 2**20:.0f} MiB" if count >= 2**20 else f"{count / 2**10:.0f} KiB"


def as_text(content: dict[str, Any], top: int) -> str:
    """Tables for a terminal."""
    head, body = _step_table(content, top)
    shortened = [[line[0] if len(line[0]) <= 60 else line[0][:57] + "...", *line[1:]] for line in body]
    return "\n\n".join(
        [_summary(content), columns(head, shortened, left=2), columns(*_operator_table(content))]
    )


def as_html(content: dict[str, Any]) -> str:
    """One page without outside parts."""
    longest = content["operators"][0]["own_seconds"] if content["operators"] else 1.0
    bars = [
        bar(
            entry["operator"],
            f"{milliseconds(entry['own_seconds'])} ms",
            entry["own_seconds"] / (longest or 1),
        )
        for entry in content["operators"]
    ]
    parts = [
        *(f"<p>{escape(line)}</p>" for line in _summary(content).splitlines()),
        "<h2>Operators</h2>",
        *bars,
        table(*_operator_table(content)),
        "<h2>Steps</h2>",
        table(*_step_table(content, None), left=2),
        f"<footer>{escape(environment_line(content))}</footer>",
    ]
    return document(f"pyinfer: profile of {content['model']}", "\n".join(parts))
