"""What the extension takes from the C library, and what its objects compiled for one instruction set show to
the linker.

The linker keeps one copy of each weak symbol. Were an inline function compiled in an AVX-512 file
weak and external, the whole program might call that copy, and crash on an older CPU. So these
objects may define nothing that others see, except the kernel table.
"""

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parent.parent

_TABLE = re.compile(r"pyinfer::k\w+Kernels")
# Functions of libm whose result depends on the libm; floor, fma, sqrt and the like are exact and allowed.
_INEXACT = re.compile(
    r"_*(exp|exp2|exp10|expm1|log|log2|log10|log1p|pow|sin|cos|tan|sincos|asin|acos|atan|atan2|sinh|cosh|tanh"
    r"|asinh|acosh|atanh|erf|erfc|cbrt|hypot|tgamma|lgamma)[fl]?(_finite)?(@.*)?"
)


def offences_in(listing: str) -> list[str]:
    """The lines of `nm -C`'s output that break the rule."""
    found = []
    for line in listing.splitlines():
        match = re.match(r"[0-9a-fA-F]*\s+([A-Za-z])\s+(.*)", line)
        if match is None:
            continue
        kind, name = match[1], match[2]
        external = kind.isupper() and kind != "U"
        if (external or kind in "uvw") and not _TABLE.fullmatch(name):
            found.append(line)
        elif kind == "U" and _INEXACT.fullmatch(name):
            found.append(line)
    return found


def inexact_in(listing: str) -> list[str]:
    """The lines of `nm`'s output that take a function from the C library whose bits are that library's own."""
    return [line for line in offences_in(listing) if re.match(r"\s+U ", line)]


def objects() -> list[Path]:
    """Of each isa_*.o the newest that carries no sanitizer (its runtime adds symbols of its own)."""
    newest: dict[str, Path] = {}
    for cache in sorted(ROOT.glob("build*/**/CMakeCache.txt")):
        text = cache.read_text(encoding="utf-8", errors="replace")
        switch = re.search(r"^PYINFER_SANITIZE:\w+=(.*)$", text, re.MULTILINE)
        if switch and switch[1].strip():
            continue
        for path in cache.parent.glob("CMakeFiles/pyinfer_kernels.dir/csrc/kernels/cpu/isa_*.o"):
            known = newest.setdefault(path.name, path)
            if path.stat().st_mtime > known.stat().st_mtime:
                newest[path.name] = path
    return list(newest.values())


def unreadable(reason: str) -> NoReturn:
    """Skip, but not in CI, where the rule would no longer be held."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(reason)
    pytest.skip(reason)


def test_isa_objects_export_only_the_kernel_table():
    if shutil.which("nm") is None:
        unreadable("nm is not installed")
    paths = objects()
    if not paths:
        unreadable("no build folder: configure one with CMake, or `pip install .` in this folder")
    found = []
    for path in paths:
        listing = subprocess.run(["nm", "-C", str(path)], check=True, capture_output=True, text=True).stdout
        assert _TABLE.search(listing), f"{path.name} defines no kernel table"
        found += [f"{path.name}: {line}" for line in offences_in(listing)]
    assert not found, "\n".join(found)


def test_the_extension_calls_no_inexact_function_of_libm():
    if shutil.which("nm") is None:
        unreadable("nm is not installed")
    spec = importlib.util.find_spec("pyinfer._core")
    assert spec is not None and spec.origin is not None
    command = ["nm", "-D", "--undefined-only", spec.origin]
    listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert " U memcpy" in listing
    assert inexact_in(listing) == []


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_what_cannot_be_read_fails_in_ci(monkeypatch, ci, outcome):
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("PATH", "")
    for test in (
        test_isa_objects_export_only_the_kernel_table,
        test_the_extension_calls_no_inexact_function_of_libm,
    ):
        with pytest.raises(outcome, match="nm is not installed"):
            test()


@pytest.mark.parametrize(
    "line",
    [
        "0000000000000000 W std::vector<float>::push_back(float const&)",
        "0000000000000000 T pyinfer::gemm(float const*)",
        "0000000000000000 V typeinfo for pyinfer::Thing",
        "0000000000000000 u pyinfer::counter",
        "                 w __gmon_start__",
        "                 U expf",
        "                 U powf",
        "                 U tanh@GLIBC_2.2.5",
        "                 U pow@GLIBC_2.29",
    ],
)
def test_an_offence_is_seen(line):
    assert offences_in(line) == [line]


@pytest.mark.parametrize(
    "line",
    [
        "0000000000000000 R pyinfer::kAvx2Kernels",
        "0000000000000000 D pyinfer::kBaselineKernels",
        "0000000000000010 t pyinfer::(anonymous namespace)::gemm(float const*)",
        "                 U memcpy",
        "                 U floorf",
        "                 U fmod@GLIBC_2.38",
        "                 U _GLOBAL_OFFSET_TABLE_",
    ],
)
def test_what_is_allowed_is_left_alone(line):
    assert offences_in(line) == []
