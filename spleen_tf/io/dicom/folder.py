"""The DICOM files of a folder: which of them are images, and what the others are."""

from __future__ import annotations

import collections
import os
import pathlib
import warnings
from collections.abc import Iterable, Iterator

from spleen_tf.core.files import InputWarning
from spleen_tf.imaging.volume import VolumeError
from spleen_tf.io.dicom.headers import Header, read_header
from spleen_tf.io.dicom.streams import is_dicom

_NAMED_KINDS = 3
_PACKED = (".gz", ".zip", ".tar", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst")


def holds_dicom(folder: str | os.PathLike[str]) -> bool:
    """Whether there is a DICOM file in a folder or below it; DICOMDIR does not count."""
    return any(is_dicom(path) for path in paths(folder))


def images_in(path: str | os.PathLike[str]) -> tuple[list[Header], list[Header]]:
    """The headers of all CT and MR images, and those of all other objects.

    Warns of what may have been a slice: empty files, and links to files that are not there.
    """
    images: list[Header] = []
    others: list[Header] = []
    lost: list[pathlib.Path] = []
    for file in _entries(path):
        is_named_dicom = file.suffix.lower() == ".dcm" and file.is_file()
        if file != pathlib.Path(path) and not is_named_dicom and _is_lost(file):
            lost.append(file)
            continue
        header = read_header(file) if _is_dicom_or_should_be(file) else None
        if header is not None:
            (images if header.modality else others).append(header)
    if any(header.states_class for header in images):
        # Beside images of the standard's classes, a maker's own ones are something else.
        others += [header for header in images if not header.states_class]
        images = [header for header in images if header.states_class]
    if lost and images:
        warnings.warn(
            f"{path}: left out, as empty or a link to a missing file: {lost[0].name}"
            f"{f' and {len(lost) - 1} more' if len(lost) > 1 else ''}; if these were slices, copy "
            "the series again",
            InputWarning,
            stacklevel=4,
        )
    return images, others


def paths(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Files in a steady order, without hidden ones and the list of files on a disc, DICOMDIR."""
    return (file for file in _entries(path) if file.is_file() or file == pathlib.Path(path))


def _entries(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """As `paths`, and links whose files are missing."""
    path = pathlib.Path(path)
    if not path.is_dir():
        yield path
        return
    seen = set[str]()  # Links to folders are followed, but not in circles.
    for folder, subfolders, names in os.walk(path, onerror=_refuse, followlinks=True):
        if (place := os.path.realpath(folder)) in seen:
            subfolders.clear()
            continue
        seen.add(place)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            hidden = name.startswith(".") or name.upper() == "DICOMDIR"
            file = pathlib.Path(folder, name)
            if not hidden and (file.is_file() or file.is_symlink()):
                yield file


def kinds_of(others: Iterable[Header], localizers: int = 0) -> str:
    """How many objects there are of which kind, for a message; '' where there are none."""
    counts = collections.Counter(header.kind for header in others)
    kinds = [f"{count} of {name}" for name, count in counts.most_common(_NAMED_KINDS)]
    if len(counts) > _NAMED_KINDS:
        kinds.append("more")
    if localizers:
        kinds.append(f"{localizers} localizers (images for planning)")
    return ", ".join(kinds)


def no_dicom(path: str | os.PathLike[str]) -> str:
    """What to say of a folder without any DICOM file."""
    for file in paths(path):
        if file.suffix.lower() in _PACKED:
            return f"no DICOM file, but a packed one, {file.name}: unpack it"
    return "no DICOM file"


def _is_lost(file: pathlib.Path) -> bool:
    return not file.is_file() or not file.stat().st_size


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
