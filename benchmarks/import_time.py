"""What `import pyinfer` costs beyond `import numpy`, in fresh processes.

The two are timed in turns, so that a busy machine slows both; the medians are compared. Exit status 1
when the difference exceeds the budget of 50 ms.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

BUDGET_MS = 50.0
CODE = """
import time
start = time.perf_counter()
import {module}
print(1e3 * (time.perf_counter() - start))
"""


def import_ms(module: str) -> float:
    """Milliseconds that `import module` takes in a process of its own."""
    command = [sys.executable, "-c", CODE.format(module=module)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    numpy_ms, pyinfer_ms = [], []
    for _ in range(args.rounds):
        numpy_ms.append(import_ms("numpy"))
        pyinfer_ms.append(import_ms("pyinfer"))
    numpy_median, pyinfer_median = statistics.median(numpy_ms), statistics.median(pyinfer_ms)
    extra = pyinfer_median - numpy_median
    print(f"import numpy    {numpy_median:7.1f} ms")
    print(f"import pyinfer  {pyinfer_median:7.1f} ms (numpy included)")
    print(f"difference      {extra:7.1f} ms of at most {BUDGET_MS:.0f}")
    return 0 if extra <= BUDGET_MS else 1


if __name__ == "__main__":
    sys.exit(main())
