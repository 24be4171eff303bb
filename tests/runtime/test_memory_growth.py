"""What a process holds after a thousand runs is what it holds after ten.

The test takes a few fast models; `PYTHONPATH=.:tests python tests/runtime/test_memory_growth.py [NAME...]` takes those
named, or all of tests/bits.py.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pyinfer
from bits import CASES, case_model, make_feeds

# Python and the C library take a page or two for what they do now and then, and to read the figure.
PAGES_KIB = 32
# What leaks may lie in pages that loading has left free: so the bytes that malloc has given out are counted too. A
# few of them lie in the caches of threads.
HEAP_KIB = 16
FEW, MANY = 10, 1000


def resident_kib() -> int:
    """Counted page by page: VmRSS of /proc/self/status lags behind by what each CPU has not yet added."""
    with open("/proc/self/smaps_rollup", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Rss:"))


class Mallinfo2(ctypes.Structure):
    _fields_ = [
        ("before", ctypes.c_size_t * 4),
        ("hblkhd", ctypes.c_size_t),
        ("between", ctypes.c_size_t * 2),
        ("uordblks", ctypes.c_size_t),
        ("after", ctypes.c_size_t * 2),
    ]


def heap_kib() -> float:
    """What malloc has given out, in all arenas and maps; 0 where it does not say."""
    call = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if call is None:
        return 0
    call.restype = Mallinfo2
    info = call()
    return (info.uordblks + info.hblkhd) / 1024


def growth_kib(name: str, batches: list[int]) -> list[float]:
    """Of the process and of its heap, from run FEW to run MANY, over inputs of the batches in turn."""
    case, model = CASES[name], case_model(name)
    assert model is not None
    loaded = pyinfer.load(model, threads=2)
    del model
    feeds = [make_feeds(loaded.inputs, case.shapes | case.small, batch) for batch in batches]
    before = [0.0, 0.0]
    for i in range(MANY):
        if i == FEW:
            gc.collect()
            before = [resident_kib(), heap_kib()]
        loaded.run(feeds[i % len(feeds)])
    gc.collect()
    return [resident_kib() - before[0], heap_kib() - before[1]]


def in_a_process(name: str, batches: list[int]) -> list[float]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "ignore", __file__, "--here", name, json.dumps(batches)]
    return json.loads(subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout)


@pytest.mark.skipif(
    "asan" in os.environ.get("LD_PRELOAD", ""), reason="the sanitizer keeps what was given back"
)
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="reads Linux's /proc")
@pytest.mark.parametrize("batches", [[1], [1, 3, 2]], ids=["one shape", "shapes in turn"])
@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v2_int8", "ppocr_cls", "silero_vad"])
def test_a_thousand_runs_hold_what_ten_do(name, batches):
    package = CASES[name].package
    if package and case_model(name) is None:
        pytest.skip(f"the package {package[0]} is not installed (see PYINFER_MODEL_PACKAGES)")
    pages, heap = in_a_process(name, batches)
    assert pages <= PAGES_KIB
    assert heap <= HEAP_KIB


if __name__ == "__main__":
    if sys.argv[1:2] == ["--here"]:
        print(json.dumps(growth_kib(sys.argv[2], json.loads(sys.argv[3]))))
    else:
        for each in sys.argv[1:] or CASES:
            for batches in ([1], [1, 3, 2]):
                pages, heap = in_a_process(each, batches)
                print(f"{each}, batches {batches}: {pages:.0f} KiB, of the heap {heap:.1f} KiB", flush=True)
