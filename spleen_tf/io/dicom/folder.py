"""The DICOM files of a folder: which of them are images, and what the others are."""

from __future__ import annotations

import collections
import os
import pathlib
from collections.abc import Iterator

from spleen_tf.imaging.volume import VolumeError
from spleen_tf.io.dicom.headers import Header, is_dicom, read_header

_NAMED_KINDS = 3


def holds_dicom(folder: str | os.PathLike[str]) -> bool:
    """Whether there is a DICOM file in a folder or below it; DICOMDIR does not count."""
    return any(is_dicom(path) for path in paths(folder))


def images_in(
    path: str | os.PathLike[str],
) -> tuple[list[Header], collections.Counter[str]]:
    """The headers of all CT and MR images, and how many objects there are of each other kind."""
    images, others = [], collections.Counter[str]()
    for file in paths(path):
        header = read_header(file) if _is_dicom_or_should_be(file) else None
        if header is None:
            continue
        if header.modality:
            images.append(header)
        else:
            others[header.kind] += 1
    if any(header.states_class for header in images):
        # Beside images of the standard's classes, a maker's own ones are something else.
        others.update(header.kind for header in images if not header.states_class)
        images = [header for header in images if header.states_class]
    return images, others


def paths(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Files in a steady order, without hidden ones and the list of files on a disc, DICOMDIR."""
    path = pathlib.Path(path)
    if not path.is_dir():
        yield path
        return
    for folder, subfolders, names in os.walk(path, onerror=_refuse):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            hidden = name.startswith(".") or name.upper() == "DICOMDIR"
            if not hidden and (file := pathlib.Path(folder, name)).is_file():
                yield file


def kinds_of(others: collections.Counter[str], localizers: int) -> str:
    """How many objects there are of which kind, for a message; '' where there are none."""
    kinds = [f"{count} of {name}" for name, count in others.most_common(_NAMED_KINDS)]
    if len(others) > _NAMED_KINDS:
        kinds.append("more")
    if localizers:
        kinds.append(f"{localizers} localizers (images for planning)")
    return ", ".join(kinds)


def _refuse(error: OSError) -> None:
    """What cannot be looked into may hold slices, or another series to choose from."""
    raise VolumeError(f"{error.filename}: expected a readable folder, found: {error.strerror}.")


def _is_dicom_or_should_be(file: pathlib.Path) -> bool:
    if is_dicom(file):
        return True
    if file.suffix.lower() == ".dcm":
        found = "an empty one" if file.is_file() and not file.stat().st_size else "other content"
        raise VolumeError(f"{file}: expected a DICOM file by its name, found {found}.")
    return False
