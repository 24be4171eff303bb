"""What is installed: its version, its size, its promises to type checkers."""

import ast
import importlib.metadata
import re
import zlib
from pathlib import Path

import pytest

import pyinfer
from pyinfer import _core

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path(pyinfer.__file__).parent
INSTALLED = not PACKAGE.is_relative_to(ROOT) or "site-packages" in PACKAGE.parts


def test_the_version_has_one_home():
    assert re.fullmatch(r"\d+\.\d+\.\d+", pyinfer.__version__)
    if INSTALLED:
        assert importlib.metadata.version("pyinfer") == pyinfer.__version__
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert pyinfer.__version__ not in settings.replace("numpy", "")


def test_numpy_is_the_only_dependency():
    if not INSTALLED:
        pytest.skip("not installed: this is the package in the source folder")
    required = [line for line in importlib.metadata.requires("pyinfer") or [] if "extra ==" not in line]
    assert len(required) == 1
    assert required[0].startswith("numpy")


def test_the_package_is_small():
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    # A wheel is a zip file: each file deflated on its own.
    assert sum(len(zlib.compress(path.read_bytes())) for path in files) < 5_000_000
    data = [path for path in files if path.parent.name == "data"]
    assert {path.name for path in data} == {"digits.npz", "digits.onnx"}
    assert sum(path.stat().st_size for path in data) < 200_000


def test_the_package_is_typed():
    assert (PACKAGE / "py.typed").is_file()
    assert (PACKAGE / "_core.pyi").is_file()


def test_the_stub_has_every_name_of_the_extension():
    stub = ast.parse((PACKAGE / "_core.pyi").read_text(encoding="utf-8"))
    named = {node.name: node for node in stub.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    assert set(named) == {name for name in dir(_core) if not name.startswith("_")}
    for name in ("PyInferError", "InvalidInput", "ModelIOError"):
        assert [ast.unparse(base) for base in named[name].bases] == [
            base.__name__ for base in getattr(_core, name).__bases__
        ]
    init = next(node for node in named["Limits"].body if getattr(node, "name", "") == "__init__")
    fields = {name for name in dir(_core.Limits) if not name.startswith("_")}
    assert {arg.arg for arg in init.args.kwonlyargs} == fields
    # Precise: no container without the types of what it holds.
    functions = [node for node in ast.walk(stub) if isinstance(node, ast.FunctionDef)]
    written = [f.returns for f in functions] + [a.annotation for f in functions for a in f.args.kwonlyargs]
    for annotation in filter(None, written):
        assert not re.search(r"\b(?:list|dict|tuple)\b(?!\[)", ast.unparse(annotation))


def test_all_names_exist():
    for name in pyinfer.__all__:
        assert getattr(pyinfer, name) is not None
    assert pyinfer.cpu_isa() in {"baseline", "avx2", "avx512", "neon"}
    assert pyinfer.cpu_isa() in _core.build_info()["available_isas"]


def test_errors_have_one_base_and_the_builtin_ones():
    for name in ("InvalidModel", "UnsupportedModel", "LimitExceeded", "InternalError"):
        assert issubclass(getattr(pyinfer, name), pyinfer.PyInferError)
    assert issubclass(pyinfer.InvalidInput, ValueError)
    assert issubclass(pyinfer.ModelIOError, OSError)


def test_limits_know_their_fields():
    assert pyinfer.Limits(max_nodes=7).max_nodes == 7
    assert pyinfer.Limits().max_tensor_bytes > 1 << 30
    with pytest.raises(pyinfer.InvalidInput, match="max_nods"):
        pyinfer.Limits(max_nods=7)
    with pytest.raises(pyinfer.InvalidInput):
        pyinfer.Limits(max_nodes="many")
