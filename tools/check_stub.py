"""Checks pyinfer/_core.pyi against the compiled extension: the same names, bases and parameters.

mypy's stubtest sees names and classes. It cannot see the parameters of a compiled function, so they are
read here from the signature that pybind11 puts first in each docstring. Exit status 1 on a difference.

Run from the repository root after a developer build: PYTHONPATH=. python tools/check_stub.py
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

from pyinfer import _core

STUB = Path(__file__).resolve().parent.parent / "pyinfer" / "_core.pyi"
Parameter = tuple[str, str, bool]  # name, "positional" or "keyword", whether it has a default
_POINTER = re.compile(r"<[^<>]*>")


def parameters(function: ast.FunctionDef) -> list[Parameter] | None:
    """What `function` takes but self; None when it takes any keyword."""
    spec = function.args
    positional = [*spec.posonlyargs, *spec.args]
    no_default = len(positional) - len(spec.defaults)
    if spec.kwarg is not None:
        return None
    found = [(arg.arg, "positional", i >= no_default) for i, arg in enumerate(positional)]
    found += [
        (arg.arg, "keyword", default is not None)
        for arg, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True)
    ]
    return [parameter for parameter in found if parameter[0] != "self"]


def compiled_signature(function: object) -> ast.FunctionDef | None:
    """The signature that opens a compiled function's docstring."""
    first = (getattr(function, "__doc__", None) or "").splitlines()[:1]
    if not first or "(" not in first[0]:
        return None
    text = _POINTER.sub("...", first[0]).replace("pyinfer._core.", "")
    try:
        parsed = ast.parse(f"def {text}: ...").body[0]
    except SyntaxError:
        return None
    return parsed if isinstance(parsed, ast.FunctionDef) else None


def differences(body: list[ast.stmt], compiled: object, prefix: str) -> list[str]:
    """What the functions of the stub's `body` say otherwise than the members of `compiled`."""
    found = []
    for node in body:
        member = getattr(compiled, getattr(node, "name", ""), None)
        if isinstance(node, ast.ClassDef):
            found += differences(node.body, member, f"{prefix}{node.name}.")
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            if not hasattr(compiled, node.target.id):
                found.append(f"{prefix}{node.target.id}: the extension has no such attribute")
        elif isinstance(node, ast.FunctionDef) and not node.decorator_list:
            if node.args.vararg is not None:
                continue  # Python's own, which take anything
            signature = compiled_signature(member)
            if signature is None:
                found.append(f"{prefix}{node.name}: the extension's docstring has no signature")
                continue
            have = parameters(signature)
            if have is not None and have != parameters(node):
                found.append(f"{prefix}{node.name}: stub {parameters(node)}, extension {have}")
    return found


def missing(body: list[ast.stmt]) -> list[str]:
    """The extension's public names that the stub leaves out."""
    stubbed = {getattr(node, "name", "") for node in body}
    return [f"{name} is not in the stub" for name in dir(_core) if name[0] != "_" and name not in stubbed]


def main() -> int:
    body = ast.parse(STUB.read_text(encoding="utf-8")).body
    found = differences(body, _core, "") + missing(body)
    command = [sys.executable, "-m", "mypy.stubtest", "pyinfer._core", "--concise"]
    checked = subprocess.run(command, check=False, cwd=STUB.parent.parent, capture_output=True, text=True)
    # pybind11's classes have a metaclass of their own, which no stub can name.
    lines = [line for line in checked.stdout.splitlines() if not line.endswith("metaclass differs")]
    print("\n".join([*found, *lines, checked.stderr]).strip() or f"{STUB.name} agrees with the extension")
    return 1 if found or lines or checked.stderr else 0


if __name__ == "__main__":
    sys.exit(main())
