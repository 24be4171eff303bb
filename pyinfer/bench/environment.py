"""What a figure was measured on."""

from __future__ import annotations

import datetime
import os
import platform
from importlib import metadata
from pathlib import Path

import pyinfer

_PACKAGES = ("numpy", "onnx", "onnxruntime", "openvino")
_FLAGS = {
    "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8",
    "asimd", "asimddp", "i8mm", "sve",
}  # fmt: skip


def stamp() -> dict[str, object]:
    """CPU, its flags that matter, cores, kernel, packages, load and time."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.exists() else ""
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    cpu = {key.strip(): value.strip() for key, value in pairs}
    flags = set((cpu.get("flags") or cpu.get("Features") or "").split())
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    affinity = getattr(os, "sched_getaffinity", None)
    model = cpu.get("model name") or platform.processor() or platform.machine()
    family = [f"{key} {cpu[key]}" for key in ("cpu family", "model", "stepping") if key in cpu]
    return {
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "cpu": ", ".join([model, *family]),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "flags": sorted(flags & _FLAGS),
        "kernel": platform.platform(),
        "python": platform.python_version(),
        "pyinfer": pyinfer.__version__,
        "isa": pyinfer.cpu_isa(),
        "packages": packages,
        "load_average": list(os.getloadavg()),
    }
