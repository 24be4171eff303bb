"""A report of races: as JSON, as a table, as a page."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pyinfer.bench.environment import stamp
from pyinfer.bench.page import bar, document, escape, table
from pyinfer.bench.race import Settings, geometric_mean

SCHEMA = 1


def best_ratios(rows: Sequence[dict[str, Any]]) -> list[float]:
    """The ratio to the fastest other engine, of each row that has one; where goals are set, of those rows."""
    if any(row.get("goal") for row in rows):
        rows = [row for row in rows if row.get("goal")]
    return [row["ratios"][row["best_peer"]]["ratio"] for row in rows if row["best_peer"]]


def report(rows: Sequence[dict[str, Any]], settings: Settings) -> dict[str, Any]:
    """The rows of `measure`, each with its "model", and what they were measured on."""
    ratios = best_ratios(rows)
    return {
        "schema": SCHEMA,
        "benchmark": "race",
        "environment": stamp(),
        "settings": asdict(settings),
        "rows": list(rows),
        "geometric_mean": geometric_mean(ratios) if ratios else None,
    }


def save(path: str | os.PathLike[str], content: dict[str, Any]) -> None:
    """Write `content` as JSON."""
    Path(path).write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a report; ValueError where the file holds none."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{os.fspath(path)}: not a JSON file ({error})") from error
    if not isinstance(content, dict) or content.get("benchmark") != "race" or content.get("schema") != SCHEMA:
        raise ValueError(f"{os.fspath(path)}: expected a report of races of schema {SCHEMA}")
    return content


def engine_names(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Every engine in the rows, in order of appearance."""
    return list(dict.fromkeys(name for row in rows for name in row["engines"]))


def milliseconds(seconds: float) -> str:
    """Four significant digits or so."""
    ms = seconds * 1e3
    return f"{ms:.1f}" if ms >= 100 else f"{ms:.2f}" if ms >= 10 else f"{ms:.3f}"


def _ratio_cells(row: dict[str, Any]) -> list[str]:
    """Ratio with its interval, goal, and that of the first output."""
    best, goal = row.get("best_peer"), row.get("goal")
    cells = ["n/a", "", f"{goal:.2f}" if goal else "", "n/a"]
    if best:
        found = row["ratios"][best]
        low, high = found["interval"]
        cells[0], cells[1] = f"{found['ratio']:.2f}", f"{low:.2f}-{high:.2f}"
    first = row.get("first_output") or {"best_peer": None}
    if first["best_peer"]:
        cells[3] = f"{first['ratios'][first['best_peer']]['ratio']:.2f}"
    return cells


def _table(content: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    names = engine_names(content["rows"])
    head = ["model", "threads", *(f"{name} ms" for name in names), "ratio", "95%", "goal", "first output"]
    body = []
    for row in content["rows"]:
        times = [
            milliseconds(entry["seconds"]) if entry and "seconds" in entry else "n/a"
            for entry in (row["engines"].get(name) for name in names)
        ]
        label = row["model"] + (f" batch {row['batch']}" if row.get("batch", 1) != 1 else "")
        body.append([label, str(row["threads"]), *times, *_ratio_cells(row)])
    return head, body


def _cold_table(content: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    head = [
        "model",
        "threads",
        "engine",
        "load ms",
        "first run ms",
        "peak MiB",
        "of the model MiB",
        "idle CPU ms",
    ]
    body = []
    for row in content["rows"]:
        for name, entry in row["engines"].items():
            cold = entry.get("cold")
            if cold is None:
                continue
            peak, base = cold["peak_rss_bytes"], cold["base_rss_bytes"]
            body.append(
                [
                    row["model"],
                    str(row["threads"]),
                    name,
                    milliseconds(cold["load_seconds"]),
                    milliseconds(cold["first_run_seconds"]),
                    f"{peak / 2**20:.0f}",
                    f"{(peak - base) / 2**20:.0f}",
                    f"{cold['idle_cpu_seconds'] * 1e3:.1f}",
                ]
            )
    return head, body


def _failures(content: dict[str, Any]) -> list[str]:
    return [
        f"{row['model']}, {row['threads']} threads: {name}: {entry['error']}"
        for row in content["rows"]
        for name, entry in row["engines"].items()
        if entry["error"] is not None
    ]


def columns(head: Sequence[str], body: Sequence[Sequence[str]], left: int = 1) -> str:
    """Text in columns; the first `left` are aligned to the left."""
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
    lines = []
    for line in [head, *body]:
        cells = [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _environment(content: dict[str, Any]) -> str:
    e = content["environment"]
    packages = ", ".join(f"{name} {version}" for name, version in e["packages"].items())
    load_average = ", ".join(f"{value:.2f}" for value in e["load_average"])
    return (
        f"{e['cpu']}; {e['cores']} cores; {e['isa']} in use; {e['kernel']}; Python {e['python']}, "
        f"pyinfer {e['pyinfer']}, {packages}; load average {load_average}; {e['time']}"
    )


def as_text(content: dict[str, Any]) -> str:
    """Tables for a terminal. A ratio is the time of the fastest other engine by pyinfer's."""
    parts = [columns(*_table(content))]
    head, body = _cold_table(content)
    if body:
        parts.append(columns(head, body, left=3))
    parts += ["\n".join(f"n/a: {line}" for line in _failures(content))] if _failures(content) else []
    if content["geometric_mean"] is not None:
        parts.append(f"geometric mean of the ratios {content['geometric_mean']:.3f}")
    parts.append(_environment(content))
    return "\n\n".join(parts)


def as_html(content: dict[str, Any], title: str = "pyinfer: benchmark") -> str:
    """One page without outside parts."""
    rows = content["rows"]
    bars = []
    for row in rows:
        timed = {name: e["seconds"] for name, e in row["engines"].items() if "seconds" in e}
        longest = max(timed.values(), default=math.inf)
        label = f"{row['model']}, {row['threads']} threads, batch {row.get('batch', 1)}"
        bars.append(f"<h3>{escape(label)}</h3>")
        bars += [
            bar(name, f"{milliseconds(seconds)} ms", seconds / longest) for name, seconds in timed.items()
        ]
    head, body = _cold_table(content)
    parts = [
        "<p>Times are medians of interleaved rounds. A ratio is the time of the fastest other engine by "
        "pyinfer's: above 1, pyinfer is faster.</p>",
        table(*_table(content), left=1),
        f"<p>Geometric mean {content['geometric_mean']:.3f}</p>" if content["geometric_mean"] else "",
        "".join(f"<p>n/a: {escape(line)}</p>" for line in _failures(content)),
        "<h2>Time of a run</h2>",
        *bars,
        "<h2>Loading, memory, idling</h2>" + table(head, body, left=3) if body else "",
        f"<footer>{escape(_environment(content))}</footer>",
    ]
    return document(title, "\n".join(parts))
