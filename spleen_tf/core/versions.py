"""Versions: of this project as files name it, and of installed packages."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable

import spleen_tf

SOFTWARE = f"spleen_tf {spleen_tf.__version__}"


def installed(packages: Iterable[str]) -> dict[str, str]:
    """Versions by name: of Python, and of those packages that are installed."""
    versions = {"python": platform.python_version()}
    for name in packages:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
