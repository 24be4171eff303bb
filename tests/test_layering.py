"""The one-way order of the folders of csrc/, read from the `#include` lines."""

import re
from pathlib import Path

import pytest

CSRC = Path(__file__).resolve().parent.parent / "csrc"

_BELOW_OPS = {"base", "tensor", "kernels", "graph"}
_BELOW_RUNTIME = _BELOW_OPS | {"ops", "onnx", "passes", "plan"}

# What each folder may include besides itself.
ALLOWED: dict[str, set[str]] = {
    "base": set(),
    "tensor": {"base"},
    "kernels": {"base", "tensor"},
    "graph": {"base", "tensor"},
    "ops": _BELOW_OPS,
    "onnx": _BELOW_OPS | {"ops"},
    "passes": _BELOW_OPS | {"ops"},
    "plan": _BELOW_OPS | {"ops"},
    "runtime": _BELOW_RUNTIME,
    "bindings": _BELOW_RUNTIME | {"runtime"},
}

_QUOTED = re.compile(r'^\s*#\s*include\s*"([^"]+)"')
_ANGLED = re.compile(r"^\s*#\s*include\s*<([^>]+)>")
_CONDITION = re.compile(r"^\s*#\s*(?:el)?if(?:n?def)?\b(.*)")
_MACHINE = re.compile(
    r"__(?:AVX|SSE|FMA|F16C|BMI|ARM|arm|aarch64|x86_64|i386|amd64|CUDA|NVCC)|_M_(?:X64|IX86|ARM)"
    r"|PYINFER_(?:ISA|CUDA|HAVE_CUDA)|USE_CUDA"
)


def offences_in(folder: str, text: str) -> list[str]:
    """What in the source `text` of a file of csrc/`folder` breaks the order, as 'line: reason'."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if match := _QUOTED.match(line):
            target = match[1].split("/")[0]
            if "/" not in match[1] or target not in ALLOWED:
                found.append(f"{number}: {match[1]!r} is not a path from csrc/")
            elif target != folder and target not in ALLOWED[folder]:
                found.append(f"{number}: {folder}/ may not include {target}/ ({match[1]})")
        elif match := _ANGLED.match(line):
            if folder != "bindings" and re.match(r"pybind11|Python\.h|numpy/", match[1]):
                found.append(f"{number}: only bindings/ may include <{match[1]}>")
        elif match := _CONDITION.match(line):
            if folder not in ("kernels", "base") and _MACHINE.search(match[1]):
                found.append(
                    f"{number}: conditional on the machine outside kernels/ and base/: {line.strip()}"
                )
    return found


def sources() -> list[Path]:
    suffixes = {".h", ".cc", ".cu", ".cuh"}
    return sorted(path for path in CSRC.rglob("*") if path.suffix in suffixes)


def test_every_folder_has_its_place_in_the_order():
    assert {path.relative_to(CSRC).parts[0] for path in sources()} <= ALLOWED.keys()


def test_includes_go_one_way():
    found = []
    for path in sources():
        relative = path.relative_to(CSRC)
        text = path.read_text(encoding="utf-8")
        found += [f"csrc/{relative}:{offence}" for offence in offences_in(relative.parts[0], text)]
    assert not found, "\n".join(found)


def test_included_files_exist():
    missing = []
    for path in sources():
        for line in path.read_text(encoding="utf-8").splitlines():
            match = _QUOTED.match(line)
            if match and not (CSRC / match[1]).is_file():
                missing.append(f"{path.relative_to(CSRC)}: {match[1]}")
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize(
    ("folder", "line"),
    [
        ("base", '#include "tensor/shape.h"'),
        ("kernels", '#include "graph/graph.h"'),
        ("graph", '#include "kernels/kernel_table.h"'),
        ("ops", '#include "onnx/reader.h"'),
        ("onnx", '#include "passes/pipeline.h"'),
        ("passes", '#include "plan/plan.h"'),
        ("plan", '#  include "runtime/model.h"'),
        ("runtime", '#include "bindings/core.h"'),
        ("runtime", "#include <pybind11/pybind11.h>"),
        ("ops", '#include "shape.h"'),
        ("ops", "#ifdef __AVX2__"),
        ("runtime", "#if defined(__x86_64__)"),
        ("plan", "#elif defined(PYINFER_CUDA)"),
    ],
)
def test_an_offence_is_seen(folder, line):
    assert len(offences_in(folder, "// a comment\n" + line)) == 1


@pytest.mark.parametrize(
    ("folder", "line"),
    [
        ("ops", '#include "ops/registry.h"'),
        ("passes", '#include "ops/registry.h"'),
        ("bindings", "#include <pybind11/numpy.h>"),
        ("kernels", "#if defined(__AVX512F__)"),
        ("ops", "#include <vector>"),
        ("ops", "#ifdef PYINFER_DEBUG_DUMP"),
    ],
)
def test_what_is_allowed_is_left_alone(folder, line):
    assert not offences_in(folder, line)
