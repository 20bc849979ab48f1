"""Where outputs may go: checked before any work is done."""

from __future__ import annotations

import os
import pathlib
import re

from spleen_tf.core.files import InputError
from spleen_tf.io import nifti

# File systems allow 255, of which files.replacing takes some for the name of a file in the making.
_LONGEST_NAME_BYTES = 255 - len(".partial-01234567-")


def check_place(path: pathlib.Path, suffixes: tuple[str, ...]) -> None:
    """Raises InputError if a file of that name cannot be written there, or should not be."""
    # Letters of NIfTI's suffix count in either case, as in inputs.
    name = path.name.lower() if suffixes == nifti.SUFFIXES else path.name
    if not name.endswith(suffixes):
        raise InputError(f"{path}: expected an output name that ends in {' or '.join(suffixes)}.")
    if re.search(r"[\x00-\x1f\x7f-\x9f]", path.name):
        raise InputError(
            f"{str(path)!r}: expected an output name without control characters, found "
            f"{path.name!r}; rename the file that it is named after."
        )
    if len(os.fsencode(path.name)) > _LONGEST_NAME_BYTES:
        raise InputError(
            f"{path}: expected an output name of at most {_LONGEST_NAME_BYTES} bytes, found "
            f"{len(os.fsencode(path.name))}; shorten it."
        )
    if path.is_dir():
        raise InputError(f"{path}: expected a file to write, found a folder.")
    for parent in path.absolute().parents:
        if parent.is_symlink() and not parent.exists():
            raise InputError(
                f"{path}: expected {parent} to be a folder, found a link to a missing one; make "
                f"{os.readlink(parent)}, or remove the link."
            )
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        found = "one that cannot be written to" if folder.is_dir() else "a file"
        raise InputError(f"{path}: expected {folder} to be a folder, found {found}.")


class Owners:
    """Which input or output a path belongs to, so that no output takes another's place."""

    def __init__(self) -> None:
        self._owners: dict[pathlib.Path, str] = {}

    def add_input(self, source: pathlib.Path) -> None:
        """A file with the JSON that may lie beside it, or a DICOM folder."""
        self._owners[source.resolve()] = f"the input {source}"
        if not source.is_dir():
            self._owners[nifti.sidecar(source).resolve()] = f"the input {source}"

    def add_output(self, path: pathlib.Path, source: pathlib.Path) -> None:
        """An output for a source.

        Raises:
            InputError: if its place is an input's or another output's, or in the source's folder.
        """
        place = path.resolve()
        if owner := self._owners.get(place):
            raise InputError(
                f"{path}: expected a place of its own for each output, found that of {owner}; "
                "name another."
            )
        if source.is_dir() and place.is_relative_to(source.resolve()):
            raise InputError(
                f"{path}: expected a place outside of the DICOM folder {source}, found one inside."
            )
        self._owners[place] = f"an output for {source}"
