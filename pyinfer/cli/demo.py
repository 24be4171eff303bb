"""Read 50 handwritten digits with the classifier that comes with the package."""

from __future__ import annotations

import argparse
import time
from importlib import resources
from typing import Any

import numpy as np

import pyinfer

Array = np.ndarray[Any, np.dtype[Any]]
_SHADES = " .:-=+*#%"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("--threads", type=int, help="threads to use at most (default: one per core)")
    parser.add_argument("--repeat", type=int, default=20, help="rounds of the timing (default: 20)")


def execute(args: argparse.Namespace) -> int:
    """Run the command; 1 when it reads digits badly or the batch changes a result."""
    if args.repeat < 1:
        raise pyinfer.InvalidInput(f"--repeat: expected at least 1, got {args.repeat}")
    folder = resources.files("pyinfer") / "data"
    with resources.as_file(folder / "digits.onnx") as path:
        model = pyinfer.load(path, threads=args.threads)
    with (folder / "digits.npz").open("rb") as file, np.load(file, allow_pickle=False) as data:
        images, labels = data["images"], data["labels"]
    x = images[:, None].astype(np.float32)

    print(f"pyinfer {pyinfer.__version__} on this CPU's {pyinfer.cpu_isa()} instructions")
    print(f"model     {model.inputs[0]} -> {model.outputs[0]}")
    print(f"images    {len(images)} of 8 x 8 pixels, none of them seen in training; the first five:")
    print(_picture(images[:5]))

    together = model(x)
    one_by_one = np.concatenate([model(x[i : i + 1]) for i in range(len(x))])
    read = together.argmax(1)
    right = int((read == labels).sum())
    print(f"read      {_spaced(read)}")
    print(f"labels    {_spaced(labels)}")
    wrong = " ".join("^" if a != b else " " for a, b in zip(read, labels, strict=True)).rstrip()
    if wrong:
        print(f"          {wrong}")
    print(f"accuracy  {right / len(labels):.1%} ({right} of {len(labels)})")

    single = _best_seconds(lambda: [model(x[i : i + 1]) for i in range(len(x))], args.repeat) / len(x)
    batch = _best_seconds(lambda: model(x), args.repeat) / len(x)
    print(
        f"time      {single * 1e6:.1f} us per image one at a time, "
        f"{batch * 1e6:.1f} us per image in a batch of {len(x)}"
    )
    same = together.tobytes() == one_by_one.tobytes()
    print(f"same bits {'yes' if same else 'NO'}: the batch and the single images")
    return 0 if same and right >= 0.9 * len(labels) else 1


def _spaced(digits: Array) -> str:
    return " ".join(str(digit) for digit in digits)


def _picture(images: Array) -> str:
    """The images side by side, pixels of 0 to 16 as two characters each."""
    lines = []
    for row in images.transpose(1, 0, 2):
        cells = ("".join(_SHADES[int(pixel) // 2] * 2 for pixel in line) for line in row)
        lines.append(("          " + "  ".join(cells)).rstrip())
    return "\n".join(lines)


def _best_seconds(work: Any, repeat: int) -> float:
    """The shortest of `repeat` timings of `work()`, in seconds."""
    best = float("inf")
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best
