"""pyinfer.load and Model, from the outside."""

import copy
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest

import pyinfer
from models_for_tests import identity, subtract


@pytest.fixture(scope="module")
def model():
    return pyinfer.load(subtract())


A, B = np.array([1, 2, 3], np.float32), np.array([10, 20, 30], np.float32)


def test_what_a_model_says_of_itself(model):
    assert [str(spec) for spec in model.inputs] == ["a: float32[n]", "b: float32[n]"]
    assert model.outputs[0] == pyinfer.TensorSpec("difference", "float32", ("n",))
    assert model.metadata == {"author": "somebody", "purpose": "tests"}
    assert model.info["producer_name"] == "tests"
    assert model.info["opset_imports"] == {"": 17}
    assert "a: float32[n]" in repr(model)
    assert "negated" in repr(model)


def test_by_position_by_name_and_by_mapping(model):
    for difference, negated in (
        model(A, B),
        model(A, b=B),
        model(b=B, a=A),
        model.run({"b": B, "a": A}).values(),
    ):
        np.testing.assert_array_equal(difference, A - B)
        np.testing.assert_array_equal(negated, B - A)


def test_one_output_comes_alone():
    x = np.ones((2, 3), np.float32)
    y = pyinfer.load(identity())(x)
    assert isinstance(y, np.ndarray)
    np.testing.assert_array_equal(y, x)


def test_outputs_are_chosen_by_name(model):
    assert list(model.run({"a": A, "b": B}, ["negated"])) == ["negated"]
    assert list(model.run({"a": A, "b": B}, ["negated", "difference"])) == ["negated", "difference"]
    assert model.run({"a": A, "b": B}, []) == {}


def test_outputs_belong_to_the_caller(model):
    first = model(A, B)[0]
    kept = first.copy()
    first[:] = 0
    second = model(A, B)[0]
    np.testing.assert_array_equal(second, kept)
    assert second.flags.writeable
    x = np.ones((2, 3), np.float32)
    y = pyinfer.load(identity())(x)
    y[:] = 5
    np.testing.assert_array_equal(x, np.ones((2, 3)))


def test_lists_and_scalars(model):
    np.testing.assert_array_equal(model([1, 2], [0.5, 0.25])[0], np.array([0.5, 1.75], np.float32))


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda m: m(A), "missing input 'b'; the model has a: float32"),
        (lambda m: m(), "missing input 'a', 'b'"),
        (lambda m: m(A, B, A), "at most 2 inputs .*got 3"),
        (lambda m: m(A, a=A), "'a' is given by position and by name"),
        (lambda m: m(A, c=B), "unknown input 'c'; the model has a: float32.*b: float32"),
        (lambda m: m.run({"a": A, "b": B}, ["c"]), "unknown output 'c'; the model has difference: .*negated"),
        (lambda m: m.run([A, B]), "expected a mapping of input names to values, got list"),
        (
            lambda m: m(A, B.astype(np.float64)),
            r"input 'b': expected dtype float32, got float64; .*astype\(numpy.f",
        ),
        (lambda m: m(A, B[None]), r"input 'b': expected shape \[n\], got \[1, 3\]"),
        (lambda m: m.summary({"z": [1]}), "unknown input 'z'"),
        (lambda m: m.summary([1]), "expected a mapping of input names to shapes, got list"),
        (lambda m: m.run({"a": A, "b": B}, [np.array([1, 2])]), "unknown output array"),
    ],
)
def test_wrong_calls_are_explained(model, call, reason):
    with pytest.raises(pyinfer.InvalidInput, match=reason) as caught:
        call(model)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, pyinfer.PyInferError)


def test_inputs_of_unequal_length_are_refused(model):
    with pytest.raises(pyinfer.InvalidInput):
        model(A, B[:2])


@pytest.mark.parametrize("kind", [str, Path, bytes, bytearray, memoryview, onnx.ModelProto])
def test_sources(kind, tmp_path):
    data = identity()
    path = tmp_path / "model ä.onnx"
    path.write_bytes(data)
    if kind in (str, Path):
        source = kind(path)
    elif kind is onnx.ModelProto:
        source = onnx.load_model_from_string(data)
    else:
        source = kind(data)
    np.testing.assert_array_equal(pyinfer.load(source)([[1, 2, 3]]), [[1, 2, 3]])


def test_a_model_outlives_its_source():
    data = bytearray(identity())
    model = pyinfer.load(data)
    data[:] = bytes(len(data))
    np.testing.assert_array_equal(model([[1, 2, 3]]), [[1, 2, 3]])


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(pyinfer.ModelIOError, match="absent.onnx") as caught:
        pyinfer.load(tmp_path / "absent.onnx")
    assert isinstance(caught.value, OSError)


@pytest.mark.parametrize("data", [b"", b"not a model", identity()[:-9], bytes(100)])
def test_a_damaged_file_is_an_invalid_model(data):
    with pytest.raises(pyinfer.PyInferError):
        pyinfer.load(data)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"device": "cuda"}, "device: expected one of 'cpu', got 'cuda'"),
        ({"threads": 0}, "threads: expected"),
        ({"threads": 1.5}, "threads: expected"),
        ({"threads": 2**40}, "threads: expected 1 to 1024"),
        ({"disable_passes": "cse"}, "expected a list of names"),
        ({"disable_passes": None}, "expected a list of names"),
        ({"disable_passes": [1]}, "no pass is named 1"),
        ({"passes": ["fold_constants"]}, "passes: expected a mapping"),
        ({"passes": {"no_such_pass": True}}, "no_such_pass"),
        (
            {"passes": {"fold_constants": "no"}},
            r"passes\['fold_constants'\]: expected True or False, got 'no'",
        ),
        ({"passes": {"fold_constants": 0}}, "expected True or False, got 0"),
        ({"disable_passes": [["x"]]}, r"no pass is named \['x'\]; the passes are: fuse_quantized, "),
        ({"device": np.array(["cpu", "cpu"])}, "device: expected one of 'cpu'"),
        ({"external_data_root": "\ud800"}, "external_data_root: .* is no file's name"),
        ({"limits": {}}, "limits: expected a pyinfer.Limits or None, got dict"),
        ({"external_data_root": 5}, "external_data_root: expected a path"),
    ],
)
def test_wrong_options_are_refused(options, reason):
    with pytest.raises(pyinfer.InvalidInput, match=reason):
        pyinfer.load(identity(), **options)


@pytest.mark.parametrize("value", [-1, 2**63, 2**70, 1.5, "3"])
@pytest.mark.parametrize("field", ["max_nodes", "max_nesting_depth"])
def test_wrong_limits_are_refused(field, value):
    with pytest.raises(pyinfer.InvalidInput, match=f"Limits.{field}: expected"):
        pyinfer.Limits(**{field: value})


def test_threads_may_be_any_integer_type():
    assert pyinfer.load(identity(), threads=np.int64(2))._core.threads == 2


def test_a_file_name_need_not_be_utf8(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"m\xff.onnx")
    with open(path, "wb") as file:
        file.write(identity())
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(pyinfer.load(os.fsdecode(path))(x), x)


def test_what_is_no_model_is_refused():
    with pytest.raises(pyinfer.InvalidInput, match="expected a path, bytes or an onnx.ModelProto, got int"):
        pyinfer.load(3)


class NumberedPath:
    """Breaks the promise of `__fspath__`."""

    def __fspath__(self):
        return 3


class Serializes:
    """Breaks the promise of `SerializeToString`."""

    def SerializeToString(self):
        return "model.onnx"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("\ud800", r"model: '\\ud800' is no file's name \(.*surrogates not allowed\); pass a str"),
        (NumberedPath(), "model: .* is no file's name .*not int"),
        (Serializes(), "model: Serializes.SerializeToString.* gives str; expected bytes"),
        (onnx.ModelProto, "expected a path, bytes or an onnx.ModelProto, got the class ModelProto"),
    ],
    ids=["surrogate", "number", "text", "class"],
)
def test_sources_that_break_their_promise_are_refused(source, reason):
    with pytest.raises(pyinfer.InvalidInput, match=reason):
        pyinfer.load(source)


def test_a_pass_is_switched_off_by_either_bool():
    for off in (False, np.bool_(False)):
        assert pyinfer.load(identity(), passes={"eliminate_identity": off}).summary()["operators"] == {
            "Identity": 1
        }
    assert pyinfer.load(identity(), passes={"eliminate_identity": True}).summary()["operators"] == {}


def test_a_list_nested_deeper_than_any_array_is_refused(model):
    deep = 1.0
    for _ in range(3000):
        deep = [deep]
    itself = []
    itself.append(itself)
    for value in (deep, itself):
        with pytest.raises(pyinfer.InvalidInput, match="input 'a': list cannot be read as an array"):
            model(value, B)


@pytest.mark.parametrize("path", ["/proc/self/mem", "/proc/cpuinfo", "/dev/null"])
@pytest.mark.skipif(sys.platform != "linux", reason="these files are Linux's")
def test_what_only_looks_like_an_empty_file_is_named(path):
    with pytest.raises(pyinfer.ModelIOError, match=f"'{path}' is not a regular file"):
        pyinfer.load(path)


def test_an_empty_file_is_named(tmp_path):
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(pyinfer.ModelIOError, match=r"empty.onnx' is empty"):
        pyinfer.load(tmp_path / "empty.onnx")


def test_an_unknown_pass_is_refused():
    with pytest.raises(pyinfer.InvalidInput, match="no_such_pass"):
        pyinfer.load(identity(), disable_passes=["no_such_pass"])
    with pytest.raises(pyinfer.InvalidInput, match="no_such_pass"):
        pyinfer.load(identity(), passes={"no_such_pass": False})


def test_passes_named_in_the_environment_are_switched_off(monkeypatch):
    monkeypatch.setenv("PYINFER_DISABLE_PASSES", "no_such_pass")
    with pytest.raises(pyinfer.InvalidInput, match="no_such_pass"):
        pyinfer.load(identity())


def test_threads_share_a_model(model):
    wrong = []

    def work(seed):
        a = np.random.default_rng(seed).random(100 + seed, np.float32)
        for _ in range(50):
            if not np.array_equal(model(a, a * 2)[1], a):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_import_needs_numpy_alone():
    code = (
        "import sys, numpy; before = set(sys.modules); import pyinfer;"
        "print(*sorted(m.partition('.')[0] for m in set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    third_party = set(done.stdout.split()) - set(sys.stdlib_module_names) - {"pyinfer"}
    assert not third_party
    assert "argparse" not in done.stdout.split()


@pytest.mark.parametrize("shape", [[1, 2], [-1], [1.5], 3, "a", [2**70]])
def test_a_shape_that_does_not_fit_has_no_summary(model, shape):
    with pytest.raises(pyinfer.InvalidInput, match="input 'a': expected"):
        model.summary({"a": shape})


@pytest.mark.parametrize("length", [2**63 - 1, 2**53])
def test_a_shape_too_large_has_no_summary(model, length):
    for shapes in ({"a": [length]}, {"a": [length], "b": [length]}):
        with pytest.raises(pyinfer.LimitExceeded, match=rf"\[{length}\]"):
            model.summary(shapes)


def test_an_input_too_large_has_no_summary_though_nothing_is_computed():
    with pytest.raises(pyinfer.LimitExceeded, match="would exceed max_tensor_bytes"):
        pyinfer.load(identity()).summary({"x": [2**61, 3]})
    with pytest.raises(pyinfer.LimitExceeded, match="would exceed max_tensor_bytes"):
        pyinfer.load(identity(shape=["n"])).summary({"x": [2**62]})


def test_summary_and_dump(model):
    summary = model.summary({"a": [4], "b": [4]})
    assert sum(summary["operators"].values()) >= 1
    assert summary["parameters"]["bytes"] >= 0
    assert summary["plan"]["steps"] >= 1
    assert model.dump()


def test_supported_operators():
    supported = pyinfer.supported_operators()
    assert supported == sorted(set(supported))
    assert {("", "Identity", 1), ("", "Constant", 1), ("", "Upsample", 1)} <= set(supported)


def test_a_core_model_cannot_be_made_without_a_model():
    core = pyinfer.load(identity())._core
    for make in (
        type(core),
        lambda: type(core).__new__(type(core)),
        lambda: type(core).__base__.__new__(type(core)),
        lambda: object.__new__(type(core)),
        lambda: type("Sub", (type(core),), {})(),
        lambda: copy.copy(core),
    ):
        with pytest.raises(TypeError):
            make()
