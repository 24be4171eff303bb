"""What a figure was measured on."""

from __future__ import annotations

import datetime
import os
import platform
from importlib import metadata
from pathlib import Path


def stamp() -> dict[str, object]:
    """CPU, its flags that matter, cores, packages and time."""
    import pyinfer

    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    cpu = {key.strip(): value.strip() for key, value in lines.items()}
    flags = set(cpu.get("flags", "").split())
    packages = {}
    for name in ("numpy", "onnx", "onnxruntime", "openvino"):
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "cpu": cpu.get("model name", platform.processor()),
        "cores": len(os.sched_getaffinity(0)),
        "flags": sorted(flags & {"avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8"}),
        "python": platform.python_version(),
        "pyinfer": pyinfer.__version__,
        "isa": pyinfer.cpu_isa(),
        "packages": packages,
        "load_average": os.getloadavg(),
    }
