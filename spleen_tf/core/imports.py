"""Imports of libraries that import more than is needed."""

from __future__ import annotations

import importlib
import sys


def import_without(library: str, optional: str) -> None:
    """Imports a library as if another, which it imports where that is installed, were not.

    For programs alone: in a process of someone else's, the library may be needed whole. Nothing
    happens where either is imported already, and the other one can be imported afterwards.
    """
    if library in sys.modules or optional in sys.modules:
        return
    sys.modules[optional] = None  # type: ignore[assignment]  # Its import raises ImportError.
    try:
        importlib.import_module(library)
    finally:
        del sys.modules[optional]
