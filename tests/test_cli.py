"""The command line."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from onnx import TensorProto, helper

from models_for_tests import make_model, subtract
from pyinfer.cli import main


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "subtract.onnx"
    file.write_bytes(subtract())
    return str(file)


def test_demo(capsys):
    assert main(["demo", "--repeat", "1"]) == 0
    printed = capsys.readouterr().out
    assert float(re.search(r"accuracy +([\d.]+)%", printed)[1]) >= 97
    assert len(re.search(r"read +(.*)", printed)[1].split()) == 50
    assert "us per image" in printed
    assert "same bits yes" in printed


def test_python_dash_m(tmp_path):
    # From another folder: `-m` would find the sources of a checkout before the installed package.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    command = [sys.executable, "-m", "pyinfer", "--version"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert re.fullmatch(r"pyinfer \d+\.\d+\.\d+\n", done.stdout)


def test_run_on_files(path, tmp_path, capsys):
    a, b = np.arange(3, dtype=np.float32), np.ones(3, np.float32)
    np.save(tmp_path / "a.npy", a)
    np.save(tmp_path / "b.npy", b)
    out = tmp_path / "out"
    arguments = ["--input", f"a={tmp_path}/a.npy", "--input", f"b={tmp_path}/b.npy", "--save", str(out)]
    assert main(["run", path, *arguments]) == 0
    np.testing.assert_array_equal(np.load(out / "0_difference.npy"), a - b)
    np.testing.assert_array_equal(np.load(out / "1_negated.npy"), b - a)
    assert "difference: float32[3] min -1 mean 0 max 1" in capsys.readouterr().out


def test_run_on_random_values(path, capsys):
    assert main(["run", path, "--dim", "n=5", "--output", "negated"]) == 0
    first = capsys.readouterr().out
    assert "negated: float32[5]" in first
    assert "difference" not in first
    main(["run", path, "--shape", "a=5", "--shape", "b=5", "--output", "negated"])
    assert capsys.readouterr().out.splitlines()[:3] == first.splitlines()[:3]
    main(["run", path, "--dim", "n=5", "--seed", "1"])
    assert capsys.readouterr().out.splitlines()[0] != first.splitlines()[0]


def test_inspect(path, capsys):
    assert main(["inspect", path, "--dim", "n=4"]) == 0
    printed = capsys.readouterr().out
    for part in ("input       a: float32[n]", "author = 'somebody'", "opset ai.onnx 17", "plan        "):
        assert part in printed


def test_inspect_as_json(path, capsys):
    assert main(["inspect", path, "--dim", "n=4", "--json", "--dump"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["inputs"][0] == {"name": "a", "dtype": "float32", "shape": ["n"]}
    assert told["plan"]["arena_bytes"] >= 0
    assert told["metadata"]["purpose"] == "tests"
    assert told["graph"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["inspect", "absent.onnx"], "absent.onnx"),
        (["run", "PATH", "--input", "c=x.npy"], "unknown input 'c'"),
        (["run", "PATH", "--input", "a"], "expected NAME=VALUE"),
        (["run", "PATH", "--input", "a=absent.npy"], "absent.npy"),
        (["run", "PATH", "--dim", "m=3"], "unknown length 'm'"),
        (["run", "PATH", "--dim", "n=-3"], "expected a length"),
        (["run", "PATH", "--dim", f"n={2**63}"], "expected a length of 0 to 2**63 - 1"),
        (["run", "/proc/self/mem"], "'/proc/self/mem' is not a regular file"),
        (["inspect", "PATH", "--shape", f"a={2**63 - 1}"], f"[{2**63 - 1}] would exceed max_tensor_bytes"),
        (["inspect", "PATH", "--shape", f"a={2**53}"], f"[{2**53}] would exceed max_tensor_bytes"),
        (["inspect", "PATH", "--dim", f"n={2**63 - 1}"], "input 'a' of shape"),
        (["inspect", "PATH", "--shape", f"a={'9' * 30}"], "expected a length of 0 to 2**63 - 1"),
        (["inspect", "PATH", "--shape", "a=3x3"], "expected a length"),
        (["bench", "PATH", "--shape", "c=1"], "--shape: unknown input 'c'; the model has a, b"),
        (["bench", "PATH", "--shape", "a=1,1"], "--shape: input 'a': expected shape [n], got [1, 1]"),
        (["bench", "PATH", "--shape", "a=x"], "--shape: expected a length"),
        (["bench", "PATH", "--shape", "a=2", "--shape", "b=3"], "Sub"),
        (["bench", "PATH", "--input", "a=DOUBLES"], "input 'a': expected dtype float32, got float64"),
        (["run", "PATH", "--shape", "a=1,1"], "input 'a'"),
        (["run", "PATH", "--shape", "c=1"], "unknown input 'c'"),
        (["run", "PATH", "--output", "c"], "unknown output 'c'"),
        (["run", "PATH", "--threads", "0"], "threads"),
        (["demo", "--repeat", "0"], "--repeat"),
    ],
)
def test_mistakes_end_with_status_1_and_a_reason(path, tmp_path, capsys, arguments, reason):
    np.save(tmp_path / "doubles.npy", np.ones(3))
    arguments = [part.replace("DOUBLES", str(tmp_path / "doubles.npy")) for part in arguments]
    assert main([path if part == "PATH" else part for part in arguments]) == 1
    caught = capsys.readouterr()
    assert reason in caught.err
    assert caught.err.count("\n") == 1
    assert caught.out == ""
    assert "Traceback" not in caught.err


def test_only_tensors_have_shapes(tmp_path, capsys):
    items = helper.make_tensor_sequence_value_info("items", TensorProto.FLOAT, None)
    node = helper.make_node("SequenceLength", ["items"], ["n"])
    file = tmp_path / "sequence.onnx"
    file.write_bytes(make_model([node], [items], [("n", TensorProto.INT64, [])]))
    assert main(["run", str(file), "--shape", "items=3"]) == 1
    assert "--shape: input 'items' is no tensor: items: seq(tensor(float))" in capsys.readouterr().err


def test_a_wrong_command_line_ends_with_status_2():
    with pytest.raises(SystemExit) as caught:
        main(["no-such-command"])
    assert caught.value.code == 2


def test_files_that_hold_no_array_are_named(path, tmp_path, capsys):
    (tmp_path / "empty.npy").touch()
    (tmp_path / "zeros.npy").write_bytes(bytes(100))
    np.savez(tmp_path / "archive.npz", a=np.ones(3, np.float32))
    for name, reason in [("empty.npy", "is not a"), ("zeros.npy", "is not a"), ("archive.npz", "an archive")]:
        assert main(["run", path, "--input", f"a={tmp_path / name}"]) == 1
        said = capsys.readouterr().err
        assert name in said
        assert reason in said


def test_more_memory_than_there_is_ends_with_status_1(path, capsys):
    assert main(["run", path, "--dim", f"n={2**50}"]) == 1
    assert "Unable to allocate" in capsys.readouterr().err
