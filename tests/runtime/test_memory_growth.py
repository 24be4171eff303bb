"""What a process holds after a thousand runs is what it holds after ten.

The test takes a few fast models; `PYTHONPATH=.:tests python tests/runtime/test_memory_growth.py [NAME...]` takes those
named, or all of tests/bits.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pyinfer
from bits import CASES, case_model, make_feeds

# Python and the C library grow by a page or two for what they do now and then, and reading the figure takes some.
# A leak of 40 bytes a run is more than this.
TOLERANCE_KIB = 32
FEW, MANY = 10, 1000


def resident_kib() -> int:
    """Counted page by page: VmRSS of /proc/self/status lags behind by what each CPU has not yet added."""
    with open("/proc/self/smaps_rollup", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Rss:"))


def growth_kib(name: str, batches: list[int]) -> int:
    """From run FEW to run MANY, over inputs of the batches in turn."""
    case, model = CASES[name], case_model(name)
    assert model is not None
    loaded = pyinfer.load(model, threads=2)
    del model
    feeds = [make_feeds(loaded.inputs, case.shapes | case.small, batch) for batch in batches]
    before = 0
    for i in range(MANY):
        if i == FEW:
            before = resident_kib()
        loaded.run(feeds[i % len(feeds)])
    return resident_kib() - before


def in_a_process(name: str, batches: list[int]) -> int:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "ignore", __file__, "--here", name, json.dumps(batches)]
    return int(subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout)


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
    assert in_a_process(name, batches) <= TOLERANCE_KIB


if __name__ == "__main__":
    if sys.argv[1:2] == ["--here"]:
        print(growth_kib(sys.argv[2], json.loads(sys.argv[3])))
    else:
        for each in sys.argv[1:] or CASES:
            grown = [in_a_process(each, batches) for batches in ([1], [1, 3, 2])]
            print(f"{each}: {grown[0]} KiB with one shape, {grown[1]} KiB with three in turn", flush=True)
