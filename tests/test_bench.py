"""Racing engines: the figures, the command `pyinfer bench`, and benchmarks/compare.py."""

from __future__ import annotations

import copy
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from models_for_tests import make_model, subtract
from pyinfer import bench
from pyinfer.bench.engines import ENGINES
from pyinfer.bench.race import difference
from pyinfer.cli import main

COMPARE = Path(__file__).resolve().parent.parent / "benchmarks" / "compare.py"
QUICK = ["--rounds", "2", "--cold-rounds", "0"]


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "subtract.onnx"
    file.write_bytes(subtract())
    return str(file)


def test_bench_against_onnxruntime(path, tmp_path, capsys):
    out, page = tmp_path / "out.json", tmp_path / "out.html"
    arguments = [
        "--vs",
        "onnxruntime",
        "--threads",
        "1,2",
        "--batch",
        "4",
        "--rounds",
        "3",
        "--cold-rounds",
        "1",
    ]
    assert main(["bench", path, *arguments, "--json", str(out), "--html", str(page)]) == 0
    printed = capsys.readouterr().out
    assert "onnxruntime ms" in printed
    assert "geometric mean" in printed
    told = json.loads(out.read_text())
    assert told["benchmark"] == "race"
    assert {"cpu", "cores", "isa", "kernel", "packages", "load_average", "time"} <= told["environment"].keys()
    assert [row["threads"] for row in told["rows"]] == [1, 2]
    for row in told["rows"]:
        assert row["model"] == "subtract"
        assert row["batch"] == 4
        assert row["shapes"] == {"a": [4], "b": [4]}
        assert row["reference"].startswith("onnxruntime")
        assert row["best_peer"] == "onnxruntime"
        low, high = row["ratios"]["onnxruntime"]["interval"]
        assert 0 < low <= row["ratios"]["onnxruntime"]["ratio"] <= high
        assert row["first_output"]["ratios"]["onnxruntime"]["ratio"] > 0
        for engine in ("pyinfer", "onnxruntime"):
            entry = row["engines"][engine]
            assert entry["error"] is None
            assert entry["difference"] == 0
            assert len(entry["rounds"]) == 3
            assert entry["seconds"] > 0
            cold = entry["cold"]
            assert cold["load_seconds"] > 0
            assert cold["first_run_seconds"] > 0
            assert cold["peak_rss_bytes"] >= cold["base_rss_bytes"] > 1 << 20
            assert cold["idle_cpu_seconds"] >= 0
    html = page.read_text()
    assert html.startswith("<!doctype html>")
    assert "<script" not in html
    assert "http" not in html
    assert "subtract" in html


def test_batch_replaces_the_first_dynamic_length(tmp_path, capsys):
    shapes = {"x": ["n", 2], "state": [2, "n", 3], "y": ["n", 2]}
    values = [(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    nodes = [
        helper.make_node("ReduceSum", ["state"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    file, out = tmp_path / "m.onnx", tmp_path / "out.json"
    file.write_bytes(make_model(nodes, values[:2], values[2:]))
    for shape in ([], ["--shape", "x:5x2"], ["--shape", "x=5,2"]):
        assert main(["bench", str(file), "--batch", "1,8", *shape, *QUICK, "--json", str(out)]) == 0
        rows = json.loads(out.read_text())["rows"]
        assert [row["shapes"] for row in rows] == [{"x": [n, 2], "state": [2, n, 3]} for n in (1, 8)]
    assert main(["bench", str(file), "--shape", "x:3x2", *QUICK, "--json", str(out)]) == 0
    assert json.loads(out.read_text())["rows"][0]["shapes"]["x"] == [3, 2]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--vs", "tensorflow"], "unknown engine 'tensorflow'"),
        (["--threads", "0"], "--threads"),
        (["--threads", "1,x"], "--threads"),
        (["--batch", ""], "--batch"),
        (["--rounds", "0"], "--rounds"),
        (["--cold-rounds", "-1"], "--cold-rounds"),
        (["--shape", "a:1xn"], "expected a length"),
        (["--shape", "a"], "expected NAME=VALUE"),
        (["--json", "no/such/folder/x.json", *QUICK], "no/such/folder"),
    ],
)
def test_mistakes(path, capsys, arguments, reason):
    assert main(["bench", path, *arguments]) == 1
    assert reason in capsys.readouterr().err


def test_a_fixed_batch_is_not_changed(tmp_path, capsys):
    file = tmp_path / "m.onnx"
    values = [(name, TensorProto.FLOAT, [1, 2]) for name in "xy"]
    file.write_bytes(make_model([helper.make_node("Neg", ["x"], ["y"])], values[:1], values[1:]))
    assert main(["bench", str(file), "--batch", "8", *QUICK]) == 1
    assert "dynamic first length" in capsys.readouterr().err


def test_a_peer_that_is_not_installed(path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert main(["bench", path, "--vs", "openvino"]) == 1
    assert "pip install openvino" in capsys.readouterr().err


def test_peers_are_imported_only_when_named():
    code = """if True:
        import json, sys
        sys.path[:] = json.loads(sys.argv[1])
        import pyinfer.bench, pyinfer.cli
        print({"onnx", "onnxruntime", "openvino"} & set(sys.modules))
    """
    command = [sys.executable, "-c", code, json.dumps(sys.path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"


def test_openvino(path, tmp_path):
    pytest.importorskip("openvino", reason="OpenVINO is in the extra 'bench', not in 'test'")
    out = tmp_path / "out.json"
    arguments = ["--vs", "onnxruntime,openvino", "--dim", "n=4", "--rounds", "2", "--cold-rounds", "1"]
    assert main(["bench", path, *arguments, "--json", str(out)]) == 0
    row = json.loads(out.read_text())["rows"][0]
    assert row["engines"]["openvino"]["error"] is None
    assert row["ratios"].keys() == {"onnxruntime", "openvino"}


def test_an_engine_that_fails_or_errs_is_reported(path, monkeypatch):
    def broken(path, threads, feeds):
        raise RuntimeError("no such\noperator")

    def wrong(path, threads, feeds):
        return lambda: [feeds["a"] - feeds["b"], feeds["a"]]

    monkeypatch.setitem(ENGINES, "broken", broken)
    monkeypatch.setitem(ENGINES, "wrong", wrong)
    feeds = {"a": np.ones(3, np.float32), "b": np.full(3, 4, np.float32)}
    settings = bench.Settings(rounds=2, cold_rounds=0, pause_seconds=0)
    row = bench.measure(path, feeds, ["pyinfer", "broken", "wrong"], 1, settings)
    assert row["reference"] == "pyinfer"
    assert row["engines"]["pyinfer"]["error"] is None
    assert row["engines"]["broken"]["error"] == "RuntimeError: no such operator"
    assert "differ" in row["engines"]["wrong"]["error"]
    assert row["best_peer"] is None
    text = bench.as_text(bench.report([{"model": "m", **row}], settings))
    assert "n/a: m, 1 threads: broken: RuntimeError: no such operator" in text


def test_a_process_that_fails_gives_its_reason(tmp_path):
    with pytest.raises(RuntimeError, match=r"ModelIOError.*absent\.onnx"):
        bench.measure_cold("pyinfer", tmp_path / "absent.onnx", 1, {})


def test_difference():
    x = np.array([1.0, -4.0, np.nan, np.inf], np.float32)
    assert difference([x], [x]) == 0
    y = x.copy()
    y[0] = 2
    assert difference([y], [x]) == 0.25
    assert difference([x[:2]], [x]) == math.inf
    assert difference([x], [x, x]) == math.inf
    assert difference([np.array([1.0, np.nan])], [np.array([1.0, 2.0])]) == math.inf
    assert difference([np.array([np.inf])], [np.array([1.0])]) == math.inf
    assert difference([np.zeros((0, 3))], [np.zeros((0, 3))]) == 0
    assert difference([np.array(["a"], object)], [np.array(["b"], object)]) == math.inf


def test_the_interval_narrows_with_more_samples():
    rng = np.random.default_rng(0)
    few, many = (bench.interval(rng.normal(2, 0.1, n)) for n in (9, 900))
    for low, high in (few, many):
        assert 1.8 < low < 2 + 0.02
        assert 2 - 0.02 < high < 2.2
    assert many[1] - many[0] < (few[1] - few[0]) / 3
    assert bench.interval([3.0, 3.0]) == (3, 3)
    assert bench.interval([1.0, 2.0, 4.0]) == bench.interval([1.0, 2.0, 4.0])


# compare.py on two reports


def report(ratio: float, spread: float = 0.01, seconds: float = 0.01, **row: object) -> dict:
    """A report of one row that might have been measured."""
    entry = {"version": "1", "error": None, "difference": 0.0, "seconds": seconds, "rounds": [seconds] * 3}
    found = {"ratio": ratio, "interval": [ratio - spread, ratio + spread]}
    ratios = {"ratios": {"onnxruntime": found}, "best_peer": "onnxruntime"}
    whole = {
        "model": "m",
        "threads": 1,
        "batch": 1,
        "engines": {"pyinfer": entry, "onnxruntime": copy.deepcopy(entry)},
        **ratios,
        "first_output": copy.deepcopy(ratios),
        **row,
    }
    return {"schema": 1, "benchmark": "race", "environment": bench.stamp(), "rows": [whole]}


def compare(tmp_path: Path, before: dict, after: dict) -> tuple[int, str]:
    files = []
    for name, content in (("a.json", before), ("b.json", after)):
        files.append(tmp_path / name)
        files[-1].write_text(json.dumps(content))
    done = subprocess.run([sys.executable, COMPARE, *files], capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def test_compare_sees_what_became_slower(tmp_path):
    assert compare(tmp_path, report(1.3), report(1.3))[0] == 0
    status, printed = compare(tmp_path, report(1.3), report(1.2))
    assert status == 1
    assert "slower  m, 1 threads, batch 1, run: onnxruntime / pyinfer 1.300" in printed
    assert "2 slower" in printed  # the first output too


def test_compare_allows_what_lies_within_the_intervals(tmp_path):
    assert compare(tmp_path, report(1.3, 0.06), report(1.2, 0.06))[0] == 0
    status, printed = compare(tmp_path, report(1.2), report(1.3))
    assert status == 0
    assert "faster  m" in printed


def test_compare_sees_a_failure(tmp_path):
    after = report(1.3)
    after["rows"][0]["engines"]["pyinfer"] = {"version": "1", "error": "InternalError: defect"}
    status, printed = compare(tmp_path, report(1.3), after)
    assert status == 1
    assert "failed  m, 1 threads, batch 1: InternalError: defect" in printed


def test_compare_goes_by_times_where_there_is_no_peer(tmp_path):
    alone = {"ratios": {}, "best_peer": None, "first_output": None}
    assert compare(tmp_path, report(1, **alone), report(1, **alone))[0] == 0
    status, printed = compare(tmp_path, report(1, **alone), report(1, seconds=0.02, **alone))
    assert status == 1
    assert "10.000 -> 20.000 ms" in printed


def test_compare_with_nothing_in_common(tmp_path):
    status, printed = compare(tmp_path, report(1.3), report(1.3, threads=2))
    assert status == 2
    assert "no row in common" in printed


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["absent.json", "absent.json"], "absent.json"),
        (["one.json"], "expected two reports"),
        ([str(COMPARE), str(COMPARE)], "not a JSON file"),
        (["--models", "resnet51"], "unknown model 'resnet51'"),
        (["--vs", "tensorflow"], "unknown engine"),
    ],
)
def test_compare_mistakes_end_with_status_2(arguments, reason):
    done = subprocess.run([sys.executable, COMPARE, *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


def test_compare_measures_a_model_of_the_zoo(tmp_path):
    out = tmp_path / "out.json"
    arguments = ["--models", "mobilenet_v2", "--vs", "onnxruntime", "--threads", "2", "--rounds", "1"]
    command = [sys.executable, COMPARE, *arguments, "--cold-rounds", "0", "--json", out]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "geometric mean" in done.stdout
    (row,) = json.loads(out.read_text())["rows"]
    assert row["goal"] == 1.2
    assert row["shapes"] == {"pixel_values": [1, 3, 224, 224]}
    assert row["engines"]["onnxruntime"]["difference"] < 1e-4
