"""Writes csrc/onnx/operator_attributes.inc: every operator's attributes and number of outputs, by version.

Names and types come from the schemas of the installed `onnx` and, for com.microsoft, `onnxruntime`.

Run from the repository root: python tools/operator_attributes.py
"""

from __future__ import annotations

import textwrap
from collections import defaultdict
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.capi import onnxruntime_pybind11_state as onnxruntime

TABLE = Path(__file__).resolve().parent.parent / "csrc" / "onnx" / "operator_attributes.inc"
WIDTH = 110
HEADER = """\
// Written by tools/operator_attributes.py. Domain, operator, its attributes: name:type[>=first][<end] says
// the versions of the operator set in which a name is known with that type. N:outputs says that there are N
// at most.
"""
Versions = dict[int, set[str]]  # attributes, as name:type, by the version since which they hold


def attributes(schema: Any) -> set[str]:
    """Of a schema, as name:type, and the most outputs where there is a most."""
    outputs = set() if schema.max_output > 1000 else {f"{schema.max_output}:outputs"}
    return {f"{name}:{a.type.name.lower()}" for name, a in schema.attributes.items()} | outputs


def schemas() -> dict[tuple[str, str], Versions]:
    """The attributes of each (domain, operator)."""
    found: dict[tuple[str, str], Versions] = defaultdict(dict)
    for schema in onnx.defs.get_all_schemas_with_history():
        if not schema.deprecated:
            found[schema.domain, schema.name][schema.since_version] = attributes(schema)
    standard = set(found)
    for schema in onnxruntime.get_all_operator_schema():
        # ONNX Runtime has operators of its own in the standard domain too.
        if schema.domain in ("", "com.microsoft") and (schema.domain, schema.name) not in standard:
            found[schema.domain, schema.name][schema.since_version] = attributes(schema)
    return found


def entries(versions: Versions) -> str:
    """The names with the versions in which they hold, apart by spaces."""
    since = sorted(versions)
    words = []
    for name in sorted(set().union(*versions.values())):
        known = [name in versions[v] for v in since]
        for i, v in enumerate(since):
            if not known[i] or (i > 0 and known[i - 1]):
                continue
            end = next((w for w, k in zip(since[i:], known[i:], strict=True) if not k), None)
            words.append(name + (f">={v}" if i > 0 else "") + (f"<{end}" if end else ""))
    return " ".join(words)


def row(domain: str, op: str, words: str) -> str:
    line = f'{{"{domain}", "{op}", "{words}"}},'
    if len(line) <= WIDTH:
        return line
    parts = textwrap.wrap(words, WIDTH - 10)
    return f'{{"{domain}", "{op}",\n' + "\n".join(f' "{part} "' for part in parts)[:-2] + '"},'


def main() -> None:
    rows = [row(domain, op, entries(versions)) for (domain, op), versions in sorted(schemas().items())]
    TABLE.write_text("// clang-format off\n" + HEADER + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
