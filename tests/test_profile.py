"""Profiles: their structure, the command `pyinfer profile`, and the measured roofline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import pyinfer
from models_for_tests import make_model
from pyinfer.bench.profile import Roofline, as_text, chrome_trace, measure_roofline, profile
from pyinfer.cli import main

KERNELS = Path(__file__).resolve().parent.parent / "benchmarks" / "kernels"
FLOAT = TensorProto.FLOAT


def product() -> bytes:
    """y = softmax(x w), x of n x 8, w of 8 x 4."""
    weights = numpy_helper.from_array(np.ones((8, 4), np.float32), "w")
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"], name="product"),
        helper.make_node("Softmax", ["p"], ["y"], name="shares"),
    ]
    return make_model(nodes, [("x", FLOAT, ["n", 8])], [("y", FLOAT, ["n", 4])], [weights])


def loop() -> bytes:
    """y = x doubled three times, in a Loop."""
    body = helper.make_graph(
        [
            helper.make_node("Add", ["v", "v"], ["v_out"], name="double"),
            helper.make_node("Identity", ["go"], ["go_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", FLOAT, ["n"]),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_out", FLOAT, ["n"]),
        ],
    )
    trips = numpy_helper.from_array(np.array(3, np.int64), "trips")
    node = helper.make_node("Loop", ["trips", "", "x"], ["y"], name="repeat", body=body)
    return make_model([node], [("x", FLOAT, ["n"])], [("y", FLOAT, ["n"])], [trips])


def by_operator(content: dict) -> dict[str, dict]:
    return {step["operator"]: step for step in content["steps"]}


def test_steps_carry_their_work():
    model = pyinfer.load(product(), threads=1)
    content = profile(model, {"x": np.ones((5, 8), np.float32)}, "product", runs=3)
    assert content["runs"] == 3
    assert content["threads"] == 1
    assert content["shapes"] == {"x": [5, 8]}
    assert [step["operator"] for step in content["steps"]] == ["MatMul", "Softmax"]
    step = by_operator(content)["MatMul"]
    assert step["label"] == "MatMul 'product'"
    assert step["shape"] == [5, 4]
    assert step["count"] == 1
    assert step["depth"] == 0
    assert step["flops"] == 2 * 5 * 8 * 4
    assert step["read_bytes"] == 4 * (5 * 8 + 8 * 4)
    assert step["written_bytes"] == 4 * 5 * 4
    assert sum(s["flops"] for s in content["steps"]) == model.summary({"x": [5, 8]})["plan"]["flops"]
    for s in content["steps"]:
        assert s["seconds"] > 0
        assert s["own_seconds"] == s["seconds"]
        assert s["least_seconds"] > 0
    assert {entry["operator"] for entry in content["operators"]} == {"MatMul", "Softmax"}
    json.dumps(content, allow_nan=False)


def test_steps_of_a_body_are_one_deeper_and_added_up():
    content = profile(pyinfer.load(loop()), {"x": np.ones(1000, np.float32)}, "loop", runs=2)
    steps = by_operator(content)
    outer, inner = steps["Loop"], steps["Add"]
    assert (outer["depth"], outer["count"]) == (0, 1)
    assert (inner["depth"], inner["count"]) == (1, 3)
    assert outer["seconds"] >= inner["seconds"]
    assert outer["own_seconds"] < outer["seconds"]
    assert outer["least_seconds"] == 0  # its bytes are those of the steps inside
    assert [record["label"] for record in content["trace"]].count("Add 'double'") == 3


def test_records_nest():
    content = profile(pyinfer.load(loop()), {"x": np.ones(4, np.float32)}, "loop", runs=1)
    around: list[dict] = []
    for record in content["trace"]:
        assert record["begin_ns"] <= record["end_ns"]
        del around[record["depth"] :]
        assert len(around) == record["depth"]
        if around:
            assert around[-1]["begin_ns"] <= record["begin_ns"]
            assert record["end_ns"] <= around[-1]["end_ns"]
        around.append(record)
    trace = chrome_trace(content)["traceEvents"]
    assert len(trace) == len(content["trace"])
    assert all({"name", "ph", "ts", "dur", "pid", "tid"} <= event.keys() for event in trace)


def test_a_profiled_run_leaves_later_runs_alone():
    model = pyinfer.load(product())
    x = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
    before = model(x).tobytes()
    profile(model, {"x": x}, "product", runs=2)
    assert model(x).tobytes() == before


def test_a_gather_counts_the_rows_that_it_reads():
    table = numpy_helper.from_array(np.ones((10000, 16), np.float32), "table")
    data = make_model(
        [helper.make_node("Gather", ["table", "ids"], ["y"])],
        [("ids", TensorProto.INT64, ["n"])],
        [("y", FLOAT, ["n", 16])],
        [table],
    )
    content = profile(pyinfer.load(data), {"ids": np.arange(5)}, "gather", runs=1)
    step = by_operator(content)["Gather"]
    assert step["read_bytes"] == step["written_bytes"] == 4 * 5 * 16


def test_roofline():
    found = measure_roofline(1)
    assert found.threads == 1
    assert found.flops > 1e8
    sizes = [size for size, _, _ in found.bandwidth]
    assert len(sizes) >= 4
    assert sizes[-1] > 1e8
    assert sizes == sorted(set(sizes))
    assert all(read > 1e7 and copy > 1e7 for _, read, copy in found.bandwidth)
    with pytest.raises(pyinfer.InvalidInput, match="threads"):
        measure_roofline(0)


def test_the_least_time_follows_from_the_ceilings():
    roofline = Roofline(1, 100.0, [(1000, 10.0, 5.0), (100000, 2.0, 1.0)])
    assert roofline.seconds(flops=500, read=0, written=0) == 5
    assert roofline.seconds(flops=0, read=100, written=0) == 10
    assert roofline.seconds(flops=0, read=100, written=100) == 40
    assert roofline.seconds(flops=0, read=300, written=100) == 20 + 40
    assert roofline.seconds(flops=0, read=1008, written=0) == pytest.approx(
        100.8
    )  # the set itself, in whole blocks
    assert roofline.seconds(flops=0, read=2000, written=0) == 1000  # from the larger, slower memory
    assert roofline.seconds(flops=0, read=10**6, written=0) == 500000
    assert roofline.seconds(flops=5000, read=100, written=0) == 50  # the later of the two


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "product.onnx"
    file.write_bytes(product())
    return str(file)


def test_command(path, tmp_path, capsys):
    trace, page, out = (tmp_path / name for name in ("trace.json", "page.html", "out.json"))
    files = ["--trace", str(trace), "--html", str(page), "--json", str(out)]
    assert main(["profile", path, "--dim", "n=6", "--runs", "2", "--threads", "1", "--top", "1", *files]) == 0
    printed = capsys.readouterr().out
    assert "GFLOP/s" in printed
    assert "roofline" in printed
    assert ("MatMul 'product'" in printed) != ("Softmax 'shares'" in printed)  # --top 1
    assert "6x4" in printed
    assert len(json.loads(trace.read_text())["traceEvents"]) == 2
    content = json.loads(out.read_text())
    assert content["benchmark"] == "profile"
    assert content["environment"]["cpu"]
    assert as_text(content, 5)
    html = page.read_text()
    assert "MatMul &#x27;product&#x27;" in html
    assert "Softmax" in html
    assert "<script" not in html
    assert "http" not in html


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--runs", "0"], "--runs"),
        (["--top", "-1"], "--top"),
        (["--threads", "0"], "threads"),
        (["--dim", "m=3"], "unknown length 'm'"),
        (["--trace", "no/such/folder/t.json"], "no/such/folder"),
    ],
)
def test_mistakes(path, capsys, arguments, reason):
    assert main(["profile", path, *arguments]) == 1
    assert reason in capsys.readouterr().err


def test_the_kernel_benchmarks_run(tmp_path):
    pytest.importorskip("pytest_benchmark", reason="pytest-benchmark is in the extra 'bench', not in 'test'")
    out = tmp_path / "out.json"
    chosen = "1x768x3072 or 576x14x14 or 1-129 or 197x192 or Relu-32x1024"
    code = """if True:
        import json, sys
        sys.path[:] = json.loads(sys.argv[1])
        import pytest
        sys.exit(pytest.main(sys.argv[2:]))
    """
    options = ["--benchmark-max-time=0.001", "--benchmark-min-rounds=1", "--benchmark-warmup=off"]
    arguments = ["-q", "-p", "no:cacheprovider", "-k", chosen, *options, f"--benchmark-json={out}"]
    command = [sys.executable, "-c", code, json.dumps(sys.path), *arguments]
    # In a worker of pytest-xdist the benchmarks would be off.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    files = sorted(KERNELS.glob("bench_*.py"))
    done = subprocess.run([*command, *files], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout
    benchmarks = json.loads(out.read_text())["benchmarks"]
    assert len({benchmark["fullname"].split("::")[0] for benchmark in benchmarks}) == 5
    for benchmark in benchmarks:
        extra = benchmark["extra_info"]
        assert extra["gbytes_per_second"] > 0
        assert extra["percent_of_roofline"] > 0
        assert extra["step_seconds"] > 0
        assert extra["ceiling_gflops_per_second"] > 0
