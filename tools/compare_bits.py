"""Compare the bits that two builds compute: kernel by kernel, then whole models row by row.

    cmake -S . -B build-aarch64 -G Ninja -DPYINFER_DEV=ON -DPYINFER_PYTHON=OFF \
        -DCMAKE_TOOLCHAIN_FILE=tools/aarch64.cmake
    ninja -C build-aarch64 pyinfer_kernel_tests pyinfer_model_bits
    python tools/compare_bits.py build build-aarch64 [--models all]

The first build is this machine's, the second may be for 64-bit Arm, which then runs under emulation.
Models are those of benchmarks/zoo, whose weights are drawn where they are not there yet, and those inside the
packages that tests/models use.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from zoo import package_files, zoo_model  # noqa: E402

IDS = ["input_ids=1x128", "attention_mask=1x128:1"]
# Package, file, and inputs whose shapes are not those declared.
PACKAGES = {
    "magika": ("magika", "models/*/model.onnx", []),
    "silero": ("silero_vad", "data/silero_vad.onnx", ["input=Bx512", "state=2xBx128", "sr=:16000"]),
    "pp-ocr-cls": ("rapidocr", "models/*cls*.onnx", ["x=Bx3x48x192"]),
    "pp-ocr-rec": ("rapidocr", "models/*rec*.onnx", ["x=Bx3x48x320"]),
    "pp-ocr-det": ("rapidocr", "models/*det*.onnx", ["x=Bx3x160x160"]),
}
ZOO: dict[str, list[str]] = {
    "mobilenet_v2": [],
    "mobilenet_v2_int8": [],
    "efficientnet_b0": [],
    "deit_tiny": [],
    "minilm_l6": IDS,
    "minilm_l6_dyn8": IDS,
    "resnet50": [],
    "resnet50_int8": [],
    "bert_base": IDS,
    "gpt2_decode": ["input_ids=1x1", "attention_mask=1x33:1", "past=12x2x1x12x32x64"],
}
SMALL = ["magika", "silero", "pp-ocr-cls"]


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


def compare_model(first: Path, second: Path, name: str) -> list[str]:
    """The rows of a model's outputs whose bits differ.

    The first build compares batches and thread counts; the second, which may be slow, computes one batch.
    """
    if name in ZOO:
        path, several, feeds = zoo_model(name), [], ZOO[name]
    elif name in PACKAGES:
        package, pattern, feeds = PACKAGES[name]
        found = package_files(package, pattern)
        if not found:
            sys.exit(f"{name}: no {pattern} in package {package}; set PYINFER_MODEL_PACKAGES")
        path, several = found[0], ["--batch", "1,3,8"]
    else:
        sys.exit(f"{name} is no model; expected one of {', '.join([*PACKAGES, *ZOO])}")
    one = ["--batch", "3"] if several else []
    a = run(first, "pyinfer_model_bits", str(path), "--threads", "1,2,4", *several, *feeds)
    b = run(second, "pyinfer_model_bits", str(path), *one, *feeds)
    wrong = [f"{name}: {row}" for row in b if a.get(row) != b[row]]
    print(f"{name}: {'other' if wrong else 'the same'} bits", flush=True)
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the bits that two builds compute.")
    parser.add_argument("first", type=Path, help="build folder for this machine")
    parser.add_argument("second", type=Path, help="build folder to compare it with")
    parser.add_argument("--models", default="", help=f"comma-separated names; small: {', '.join(SMALL)}; all")
    parser.add_argument("--no-kernels", action="store_true", help="models only")
    parser.add_argument("--tests", default="", help="parts of names of kernel tests, separated by commas")
    options = parser.parse_args()
    builds = (options.first, options.second)
    models = {"": [], "small": SMALL, "all": [*PACKAGES, *ZOO]}.get(options.models, options.models.split(","))
    tests = [part for part in options.tests.split(",") if part]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = [] if options.no_kernels else [pool.submit(compare_kernels, *builds, tests)]
        found += [pool.submit(compare_model, *builds, name) for name in models]
    wrong = [name for result in found for name in result.result()]
    if wrong:
        sys.exit("other bits in\n" + "\n".join(wrong))
    print("the same bits")


if __name__ == "__main__":
    main()
