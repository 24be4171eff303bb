"""Writes pyinfer/_core.pyi from the compiled extension; with --check compares instead, and prints the diff.

pybind11-stubgen reads names, types and docstrings from the extension. Two things it cannot see are put in
here: the exceptions, which name the package that users import them from and not the extension that makes
them, and the keywords of a constructor that takes one for each field. Exit status 1 on a difference.

Run from the repository root after a developer build: PYTHONPATH=. python tools/generate_stub.py
"""

from __future__ import annotations

import argparse
import ast
import difflib
import subprocess
import sys
import tempfile
from pathlib import Path

from pyinfer import _core

STUB = Path(__file__).resolve().parent.parent / "pyinfer" / "_core.pyi"


def raw_stub(module: str) -> ast.Module:
    """What pybind11-stubgen makes of `module`; raises CalledProcessError where it cannot read a type."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pybind11_stubgen", module, "--exit-code", "-o", folder]
        subprocess.run(command, check=True)
        text = Path(folder, *module.split(".")).with_suffix(".pyi").read_text(encoding="utf-8")
    return ast.parse(text)


def exception_class(name: str) -> ast.stmt:
    """`class name(bases): doc`, of an exception of the extension."""
    compiled = getattr(_core, name)
    bases = ", ".join(base.__name__ for base in compiled.__bases__)
    return ast.parse(f"class {name}({bases}):\n    {compiled.__doc__!r}").body[0]


def exceptions() -> list[ast.stmt]:
    """The exceptions of the extension, bases first."""
    found = [name for name, member in vars(_core).items() if isinstance(member, type)]
    found = [name for name in found if issubclass(getattr(_core, name), Exception)]
    return [exception_class(name) for name in sorted(found, key=lambda n: len(getattr(_core, n).__mro__))]


def name_keywords(body: list[ast.stmt]) -> None:
    """Gives an `__init__` that takes any keyword one for each field of the class."""
    init = next((n for n in body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if init is None or init.args.kwarg is None:
        return
    init.args.kwarg = None
    for node in body:
        if isinstance(node, ast.AnnAssign):
            init.args.kwonlyargs.append(ast.arg(ast.unparse(node.target), node.annotation))
            init.args.kw_defaults.append(ast.Constant(...))


def tidy(text: str) -> str:
    """`text` as ruff formats it."""
    for arguments in (["check", "--select=I,RUF022", "--fix", "--quiet"], ["format"]):
        command = [sys.executable, "-m", "ruff", *arguments, f"--stdin-filename={STUB}", "-"]
        text = subprocess.run(command, check=True, input=text, capture_output=True, text=True).stdout
    return text


def generate() -> str:
    """The text of the stub."""
    stub = raw_stub("pyinfer._core")
    head: list[ast.stmt] = []
    body: list[ast.stmt] = []
    for node in stub.body:
        if isinstance(node, ast.ImportFrom) and node.module == "pyinfer":
            continue
        if isinstance(node, ast.ClassDef):
            name_keywords(node.body)
        is_head = isinstance(node, (ast.Import, ast.ImportFrom, ast.Expr, ast.AnnAssign))
        (head if is_head else body).append(node)
    stub.body = head + exceptions() + body
    return tidy(ast.unparse(ast.fix_missing_locations(stub)))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the file instead of writing it")
    check = parser.parse_args().check
    text = generate()
    if not check:
        STUB.write_text(text, encoding="utf-8")
        return 0
    there = STUB.read_text(encoding="utf-8")
    diff = difflib.unified_diff(
        there.splitlines(True), text.splitlines(True), "pyinfer/_core.pyi", "the extension"
    )
    sys.stdout.writelines(diff)
    return 0 if there == text else 1


if __name__ == "__main__":
    sys.exit(main())
