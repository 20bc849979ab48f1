"""What a measurement was made on."""

from __future__ import annotations

import os
import pathlib
import platform

import spleen_tf
from spleen_tf.core import cores
from spleen_tf.core import versions as core_versions

_CPUINFO = pathlib.Path("/proc/cpuinfo")
# Those of a CPU that decide how fast it convolves.
_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")
_LIBRARIES = (
    *("tensorflow", "keras", "tensorflow-addons", "onnxruntime", "openvino", "numpy", "nibabel"),
    *("isal", "connected-components-3d"),
)


def describe() -> dict[str, str | int | float]:
    """The processor with its instructions, cores that this process may use, memory, system."""
    cpu = _cpu_field("model name") or platform.processor() or platform.machine()
    cpu_flags = _cpu_field("flags").split()
    described: dict[str, str | int | float] = {
        "cpu": cpu,
        "instructions": ", ".join(name for name in _INSTRUCTIONS if name in cpu_flags) or "unknown",
        "cores": cores.available(),
        "system": f"{platform.system()} {platform.machine()}",
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        described["memory_gb"] = round(memory_bytes / 1e9, 1)
    if hasattr(os, "getloadavg"):
        described["load"] = round(os.getloadavg()[0], 1)
    return described


def versions() -> dict[str, str]:
    """Versions by name: this project, Python, and what is installed of the libraries."""
    return {"spleen_tf": spleen_tf.__version__, **core_versions.installed(_LIBRARIES)}


def _cpu_field(name: str) -> str:
    """The first core's value of a field of /proc/cpuinfo; empty if there is none."""
    if not _CPUINFO.is_file():
        return ""
    for line in _CPUINFO.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""
