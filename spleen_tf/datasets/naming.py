"""What the texts of a data set's description name: files, and the modality of a channel."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import re

from spleen_tf.core.files import InputError
from spleen_tf.imaging.intensity import Modality
from spleen_tf.io import nifti

# Words of a channel's name; those of MR may go on, as T1w and T2-weighted do.
_CT_WORDS = r"\b(ct|cta|ct[apv]|cect|ncct|ldct|computed tomography)\b|^ct"
_MR_WORDS = r"\b(mri?|t[12]|flair|dwi|adc|pdw?\b|magnetic resonance|dixon|bssfp)"


def located(folder: pathlib.Path, text: str) -> pathlib.Path:
    """The file that a description names, relative to a folder; it may be missing.

    Where there is none of this very name, backslashes count as slashes, and the suffix may be in
    other letters or of the other kind: SCAN.NII.GZ and SCAN.nii for SCAN.nii.gz.

    Raises:
        InputError: if no file can have such a name.
    """
    if "\0" in text:
        raise InputError(f"{folder}: expected the name of a file, found {text[:40]!r}.")
    try:
        return _located(folder, text)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise InputError(
            f"{folder}: expected the name of a file, found {len(text)} letters, {text[:40]!r}…."
        ) from None


def understood_modality(name: str) -> Modality | None:
    """The modality that the name of a channel, such as 'T1w', means."""
    name = name.strip().lower().replace("_", " ")
    is_ct, is_mr = (re.search(words, name) is not None for words in (_CT_WORDS, _MR_WORDS))
    if is_ct == is_mr:
        return None
    return "CT" if is_ct else "MR"


def _located(folder: pathlib.Path, text: str) -> pathlib.Path:
    path = folder / text
    if not path.exists():
        path = folder / os.path.expanduser(text)
    if path.exists():
        return path
    if "\\" in text:
        path = folder / text.replace("\\", "/")
    suffix = nifti.suffix(path)
    if not suffix or path.exists():
        return path
    stem = path.name[: -len(suffix)]
    with contextlib.suppress(OSError):  # No folder, or one that may not be read: no such file.
        for other in sorted(os.listdir(path.parent)):
            if other.lower() == path.name.lower() and other.startswith(stem):
                return path.with_name(other)
    other_kind = path.with_name(stem + (".nii" if suffix == ".nii.gz" else ".nii.gz"))
    return other_kind if other_kind.is_file() else path
