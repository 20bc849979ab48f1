"""What a measurement was made on."""

from __future__ import annotations

import os
import pathlib
import platform

import msgspec

import spleen_tf
from spleen_tf.core import cores
from spleen_tf.core import versions as core_versions

_CPUINFO = pathlib.Path("/proc/cpuinfo")
_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")
_LIBRARIES = (
    *("tensorflow", "keras", "tensorflow-addons", "onnxruntime", "openvino", "numpy", "nibabel"),
    *("isal", "connected-components-3d"),
)


class Machine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A machine, as the JSON of a measurement has it.

    Attributes:
        cpu: the model of the processor.
        instructions: those of the processor that decide how fast it convolves.
        cores: that this process may use.
        system: the operating system and the architecture.
        memory_gb: in 10^9 bytes; None where the system does not say it.
        load: processes that ran or waited to, over the last minute; None likewise.
    """

    cpu: str
    instructions: str
    cores: int
    system: str
    memory_gb: float | None = None
    load: float | None = None

    def __str__(self) -> str:
        """In one line, for a reader."""
        return ", ".join(f"{key} {value}" for key, value in msgspec.to_builtins(self).items())


def describe() -> Machine:
    """The machine that runs this."""
    cpu_flags = _cpu_field("flags").split()
    return Machine(
        cpu=_cpu_field("model name") or platform.processor() or platform.machine(),
        instructions=", ".join(name for name in _INSTRUCTIONS if name in cpu_flags) or "unknown",
        cores=cores.available(),
        system=f"{platform.system()} {platform.machine()}",
        memory_gb=_memory_gb(),
        load=round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
    )


def versions() -> dict[str, str]:
    """Versions by name: this project, Python, and what is installed of the libraries."""
    return {"spleen_tf": spleen_tf.__version__, **core_versions.installed(_LIBRARIES)}


def _memory_gb() -> float | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1)


def _cpu_field(name: str) -> str:
    """The first core's value of a field of /proc/cpuinfo; empty if there is none."""
    if not _CPUINFO.is_file():
        return ""
    for line in _CPUINFO.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""
