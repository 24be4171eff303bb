#!/usr/bin/env python3
"""Race pyinfer against other engines on the benchmark's models, or compare two reports.

    python benchmarks/compare.py [--models resnet50,magika] [--threads 1,2] [--json FILE] [--html FILE]
    python benchmarks/compare.py before.json after.json

The models are the zoo's, with drawn weights in .cache/zoo, and those inside the PyPI packages rapidocr,
magika and silero-vad, installed or found in the folder PYINFER_MODEL_PACKAGES. A comparison prints what
became slower beyond the confidence intervals, and ends with status 1 when something did.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import pyinfer
from pyinfer import bench
from pyinfer.bench.report import best_ratios, load, save

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
from zoo import package_files, random_feeds, zoo_model

Feeds = dict[str, np.ndarray]


@dataclass(frozen=True)
class Entry:
    """A model of the benchmark: where it is, what it is run on, and the ratio that it should reach."""

    name: str
    goal: float | None
    find: Callable[[], Path | None]
    feeds: Callable[[Path], Feeds]
    tolerance: float = 1e-3
    default: bool = True


def _zoo(name: str, goal: float | None, dims: dict[str, int] | None = None, **more: Any) -> Entry:
    return Entry(name, goal, lambda: zoo_model(name), lambda path: random_feeds(path, dims), **more)


def _packaged(
    name: str, goal: float | None, package: str, pattern: str, feeds: Callable[[np.random.Generator], Feeds]
) -> Entry:
    def find() -> Path | None:
        files = package_files(package, pattern)
        return files[0] if files else None

    return Entry(name, goal, find, lambda _: feeds(np.random.default_rng(0)))


def _image(*shape: int) -> Callable[[np.random.Generator], Feeds]:
    return lambda rng: {"x": rng.uniform(-1, 1, shape).astype(np.float32)}


def _chunk(rng: np.random.Generator) -> Feeds:
    """32 ms at 16 kHz behind 4 ms of context, and the state."""
    return {
        "input": (0.1 * rng.standard_normal((1, 576))).astype(np.float32),
        "state": np.zeros((2, 1, 128), np.float32),
    }


def _chunk_and_rate(rng: np.random.Generator) -> Feeds:
    return {**_chunk(rng), "sr": np.array(16000, np.int64)}


# Rounding in quantized models grows through layers of random weights: engines differ by several percent.
_INT8 = {"tolerance": 0.5, "default": False}

MODELS = [
    _zoo("resnet50", 1.25),
    _zoo("mobilenet_v2", 1.2),
    _zoo("efficientnet_b0", 1.5),
    _zoo("deit_tiny", 1.15),
    _zoo("minilm_l6", 1.12),
    _zoo("bert_base", 1.02),
    _zoo("gpt2_decode", 1.2, {"s62": 128, "s53": 129}),
    _packaged("ppocr_det", 1.3, "rapidocr", "models/*_det_*.onnx", _image(1, 3, 640, 640)),
    _packaged("ppocr_rec", 1.25, "rapidocr", "models/*_rec_*.onnx", _image(1, 3, 48, 320)),
    _packaged("ppocr_cls", 1.3, "rapidocr", "models/*_cls_*.onnx", _image(1, 3, 48, 192)),
    _packaged(
        "magika",
        1.5,
        "magika",
        "models/standard*/model.onnx",
        lambda rng: {"bytes": rng.integers(0, 256, (1, 2048)).astype(np.int32)},
    ),
    _packaged("silero_vad", 2.0, "silero_vad", "data/silero_vad.onnx", _chunk_and_rate),
    # The same network without the choice of a rate, which OpenVINO cannot read.
    _packaged("silero_vad_16k", None, "silero_vad", "data/silero_vad_openvino_16k.onnx", _chunk),
    _zoo("resnet50_int8", 1.1, **_INT8),
    _zoo("mobilenet_v2_int8", 1.15, **_INT8),
    _zoo("minilm_l6_dyn8", 1.2, **_INT8),
]


def chosen(names: str | None) -> list[Entry]:
    """The entries named, or those that run by default."""
    if names is None:
        return [entry for entry in MODELS if entry.default]
    by_name = {entry.name: entry for entry in MODELS}
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in by_name:
            raise ValueError(f"--models: unknown model {name!r}; there are {', '.join(by_name)}")
    return [by_name[name] for name in wanted]


def run(args: argparse.Namespace) -> int:
    """Measure; 1 when pyinfer fails on a model or gives other outputs than the reference."""
    engines = ["pyinfer", *(name.strip() for name in args.vs.split(",") if name.strip())]
    entries = chosen(args.models)
    bench.check_installed(engines)
    threads = [int(part) for part in args.threads.split(",")]
    rows: list[dict[str, Any]] = []
    settings = bench.Settings(rounds=args.rounds, cold_rounds=args.cold_rounds)
    for entry in entries:
        path = entry.find()
        if path is None:
            print(f"{entry.name}: its package is not installed (see PYINFER_MODEL_PACKAGES)", file=sys.stderr)
            continue
        feeds = entry.feeds(path)
        for count in threads:
            own = bench.Settings(rounds=args.rounds, cold_rounds=args.cold_rounds, tolerance=entry.tolerance)
            shapes = {name: list(value.shape) for name, value in feeds.items()}
            about = {"model": entry.name, "batch": 1, "shapes": shapes, "goal": entry.goal}
            rows.append({**about, **bench.measure(path, feeds, engines, count, own)})
            print(progress(rows[-1]), file=sys.stderr, flush=True)
            if args.json:  # what is there so far, should the rest be interrupted
                save(args.json, bench.report(rows, settings))
    content = bench.report(rows, settings)
    print(bench.as_text(content))
    for count in threads:
        ratios = best_ratios([row for row in rows if row["threads"] == count])
        if ratios:
            mean = bench.geometric_mean(ratios)
            print(f"{count} threads: geometric mean {mean:.3f}, least {min(ratios):.3f}")
    if args.html:
        args.html.write_text(bench.as_html(content), encoding="utf-8")
    return 0 if all(row["engines"]["pyinfer"]["error"] is None for row in rows) else 1


def progress(row: dict[str, Any]) -> str:
    """One line of a row just measured."""
    parts = [f"{row['model']}, {row['threads']} threads:"]
    for name, entry in row["engines"].items():
        parts.append(f"{name} {entry['seconds'] * 1e3:.3f} ms" if "seconds" in entry else f"{name} n/a")
    if row["best_peer"]:
        parts.append(f"ratio {row['ratios'][row['best_peer']]['ratio']:.2f}")
    return " ".join(parts)


def key(row: dict[str, Any]) -> tuple[str, int, int]:
    """What makes rows of two reports the same measurement."""
    return row["model"], row["threads"], row.get("batch", 1)


def name_of(row: dict[str, Any]) -> str:
    model, threads, batch = key(row)
    return f"{model}, {threads} threads, batch {batch}"


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, str]]:
    """(verdict, line) for each row of both; a verdict is "slower", "faster", "same" or "failed"."""
    found = []
    old_rows = {key(row): row for row in before["rows"]}
    for row in after["rows"]:
        old = old_rows.get(key(row))
        if old is None:
            continue
        reason = row["engines"]["pyinfer"]["error"]
        if reason is not None:
            if old["engines"]["pyinfer"]["error"] is None:
                found.append(("failed", f"{name_of(row)}: {reason}"))
            continue
        for what, a, b in (
            ("run", old, row),
            ("first output", old.get("first_output"), row.get("first_output")),
        ):
            verdict = _change(a, b)
            if verdict is not None:
                found.append((verdict[0], f"{name_of(row)}, {what}: {verdict[1]}"))
        if (old["best_peer"] is None or row["best_peer"] is None) and "rounds" in old["engines"]["pyinfer"]:
            a_time, b_time = (r["engines"]["pyinfer"] for r in (old, row))
            verdict = _judge(
                bench.interval([1 / s for s in a_time["rounds"]]),
                bench.interval([1 / s for s in b_time["rounds"]]),
            )
            text = (
                f"{a_time['seconds'] * 1e3:.3f} -> {b_time['seconds'] * 1e3:.3f} ms, no other engine to go by"
            )
            found.append((verdict, f"{name_of(row)}, run: {text}"))
    return found


def _change(old: dict[str, Any] | None, new: dict[str, Any] | None) -> tuple[str, str] | None:
    """Compare the ratios to the peer that was fastest before, or to one that both have."""
    if not old or not new:
        return None
    common = [name for name in old["ratios"] if name in new["ratios"]]
    if not common:
        return None
    peer = old["best_peer"] if old["best_peer"] in common else common[0]
    a, b = old["ratios"][peer], new["ratios"][peer]
    verdict = _judge(a["interval"], b["interval"])
    return verdict, (
        f"{peer} / pyinfer {a['ratio']:.3f} [{a['interval'][0]:.3f}, {a['interval'][1]:.3f}] -> "
        f"{b['ratio']:.3f} [{b['interval'][0]:.3f}, {b['interval'][1]:.3f}]"
    )


def _judge(old: list[float] | tuple[float, float], new: list[float] | tuple[float, float]) -> str:
    """Of two intervals in which more is better."""
    return "slower" if new[1] < old[0] else "faster" if new[0] > old[1] else "same"


def compare(before_path: str, after_path: str) -> int:
    """Print the changes; 1 when something became slower or fails now, 2 when nothing can be compared."""
    before, after = load(before_path), load(after_path)
    for field in ("cpu", "cores", "isa", "packages"):
        a, b = before["environment"][field], after["environment"][field]
        if a != b:
            print(f"warning: {field} differs: {a} -> {b}")
    missing = {key(row) for row in before["rows"]} - {key(row) for row in after["rows"]}
    for model, threads, batch in sorted(missing):
        print(f"only in {before_path}: {model}, {threads} threads, batch {batch}")
    found = changes(before, after)
    for wanted in ("failed", "slower", "faster"):
        for verdict, line in found:
            if verdict == wanted:
                print(f"{verdict:7s} {line}")
    count = {v: sum(verdict == v for verdict, _ in found) for v in ("failed", "slower", "faster", "same")}
    print(", ".join(f"{number} {verdict}" for verdict, number in count.items()))
    if not found:
        print("the reports have no row in common that can be compared")
        return 2
    return 1 if count["failed"] or count["slower"] else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reports", nargs="*", metavar="REPORT", help="two reports to compare")
    parser.add_argument("--models", metavar="NAME,...", help=", ".join(entry.name for entry in MODELS))
    parser.add_argument("--vs", default="onnxruntime,openvino", metavar="ENGINE,...")
    parser.add_argument("--threads", default="1,2", metavar="N,...")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cold-rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--html", type=Path, metavar="FILE")
    args = parser.parse_args()
    if len(args.reports) not in (0, 2):
        parser.error(f"expected two reports to compare, or none to measure, got {len(args.reports)}")
    try:
        return compare(*args.reports) if args.reports else run(args)
    except (pyinfer.PyInferError, OSError, ValueError) as error:
        print(f"compare.py: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
