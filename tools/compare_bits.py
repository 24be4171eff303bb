"""Compare the bits that two builds compute: kernel by kernel, then whole models row by row.

    cmake -S . -B build-aarch64 -G Ninja -DPYINFER_DEV=ON -DPYINFER_PYTHON=OFF \
        -DCMAKE_TOOLCHAIN_FILE=tools/aarch64.cmake
    ninja -C build-aarch64 pyinfer_kernel_tests pyinfer_model_bits
    ninja -C build pyinfer_kernel_tests pyinfer_model_bits
    python tools/compare_bits.py build build-aarch64 [--models all]

The first build is this machine's, the second may be for 64-bit Arm, which then runs under emulation.
Models are those of tests/bits.py: the zoo, whose weights are drawn where they are not there yet, and those
inside the packages that tests/models use.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import onnx

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from bits import BATCHES, CASES, THREADS, case_model  # noqa: E402

# Of each kind of layers one, and seconds of emulation.
LIGHT = [
    "magika",
    "silero_vad",
    "ppocr_cls",
    "mobilenet_v2",
    "mobilenet_v2_int8",
    "efficientnet_b0",
    "minilm_l6_dyn8",
]


def run(build: Path, program: str, *arguments: str) -> dict[str, str]:
    """What a program of a build prints as `bits NAME HASH`; under emulation where its CPU is another."""
    cache = (build / "CMakeCache.txt").read_text(encoding="utf-8")
    emulated = "tools/aarch64.cmake" in cache
    command = ["qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu"] if emulated else []
    command += [str(build / program), *arguments]
    environment = {**os.environ} if emulated else {"PYINFER_CPU_ISA": "avx2", **os.environ}
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("bits ")]
    if not lines:
        sys.exit(f"{' '.join(command)}\nprinted no hashes")
    what = Path(arguments[0]).stem if program == "pyinfer_model_bits" else program
    print(f"{build.name}: {len(lines)} hashes of {what} in {time.monotonic() - start:.0f} s", flush=True)
    return {name: digest for _, name, digest in lines}


def compare_kernels(first: Path, second: Path, tests: list[str]) -> list[str]:
    """The kernels' tests whose bits differ."""
    a, b = (run(build, "pyinfer_kernel_tests", "--bits", *tests) for build in (first, second))
    return [name for name in sorted(a.keys() | b.keys()) if a.get(name) != b.get(name)]


def compare_model(first: Path, second: Path, name: str, batches: str, threads: str, full: bool) -> list[str]:
    """The rows of a model's outputs whose bits differ.

    The first build computes all batches and thread counts; the second, which may be slow, those given.
    """
    case = CASES[name]
    (ROOT / ".cache").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / ".cache") as folder:
        model = case_model(name)
        if model is None:
            sys.exit(f"{name}: its package is not installed; set PYINFER_MODEL_PACKAGES")
        if isinstance(model, onnx.ModelProto):
            onnx.save(model, Path(folder, f"{name}.onnx"))
            model = Path(folder, f"{name}.onnx")
        feeds = [f"{key}={shape}" for key, shape in {**case.shapes, **({} if full else case.small)}.items()]
        if case.rows_depend:
            feeds.append("--whole")
        every = ["--batch", ",".join(map(str, BATCHES)), "--threads", ",".join(map(str, THREADS))]
        a = run(first, "pyinfer_model_bits", str(model), *every, *feeds)
        b = run(second, "pyinfer_model_bits", str(model), "--batch", batches, "--threads", threads, *feeds)
    wrong = [f"{name}: {row}" for row in b if a.get(row) != b[row]]
    print(f"{name}: {'other' if wrong else 'the same'} bits in {len(b)} rows", flush=True)
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the bits that two builds compute.")
    parser.add_argument("first", type=Path, help="build folder for this machine")
    parser.add_argument("second", type=Path, help="build folder to compare it with")
    parser.add_argument("--models", default="", help=f"comma-separated names; light: {', '.join(LIGHT)}; all")
    parser.add_argument("--batch", default=",".join(map(str, BATCHES)), help="of the second build")
    parser.add_argument("--threads", default=",".join(map(str, THREADS)), help="of the second build")
    parser.add_argument("--full", action="store_true", help="images not cut for emulation")
    parser.add_argument("--no-kernels", action="store_true", help="models only")
    parser.add_argument("--tests", default="", help="parts of names of kernel tests, separated by commas")
    options = parser.parse_args()
    builds = (options.first, options.second)
    models = {"": [], "light": LIGHT, "all": [*CASES]}.get(options.models, options.models.split(","))
    unknown = [name for name in models if name not in CASES]
    if unknown:
        parser.error(f"no model {', '.join(unknown)}; there are {', '.join(CASES)}")
    tests = [part for part in options.tests.split(",") if part]
    how = (options.batch, options.threads, options.full)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = [] if options.no_kernels else [pool.submit(compare_kernels, *builds, tests)]
        found += [pool.submit(compare_model, *builds, name, *how) for name in models]
    wrong = [name for result in found for name in result.result()]
    if wrong:
        sys.exit("other bits in\n" + "\n".join(wrong))
    print("the same bits")


if __name__ == "__main__":
    main()
