"""Values of DICOM frames in physical units, decoded one frame at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import pydicom
from pydicom import pixels, uid

from spleen_tf.imaging.volume import VolumeError
from spleen_tf.io.dicom.frames import Frame
from spleen_tf.io.dicom.headers import damage_in_words, quiet


def values(frames: Iterable[Frame]) -> Iterator[np.ndarray]:
    """Each frame's values in physical units.

    PhotometricInterpretation does not touch them: MONOCHROME1 says that low values are shown bright
    (PS3.3 C.7.6.3.1.2), after all else, and air in a CT is at -1000 HU either way.

    Yields:
        (rows, columns) int64 where slope and intercept are whole numbers, else float64.

    Raises:
        VolumeError: if pixels are missing, cut short, damaged, or in an encoding that cannot be
            read.
    """
    for path, of_file in itertools.groupby(frames, key=lambda frame: frame.path):
        wanted = list(of_file)
        with damage_in_words(path):
            decoded = _decoded(path, wanted)
        for frame in wanted:
            yield _physical(_next(decoded, frame), frame)


def _decoded(path: str, wanted: list[Frame]) -> Iterator[np.ndarray]:
    """Stored values of frames of one file, which is not in memory as a whole."""
    syntax = wanted[0].transfer_syntax
    return pixels.iter_pixels(
        # What was deflated as a whole, with its header, cannot be read in parts.
        pydicom.dcmread(path) if syntax.is_deflated else path,
        indices=[frame.index for frame in wanted],
        raw=True,  # No conversion of colours.
        correct_unused_bits=False,  # It takes the upper ones for unused; see _physical.
        transfer_syntax_uid=syntax,
        # pylibjpeg's decoder of RLE would be taken: on damage it panics, in many lines on stderr.
        decoding_plugin="pydicom" if syntax == uid.RLELossless else "",
    )


def _next(decoded: Iterator[np.ndarray], frame: Frame) -> np.ndarray:
    try:
        with quiet():
            stored = next(decoded)
        fits = stored.shape == frame.shape and stored.dtype.kind in "iu"
    except Exception:  # Each decoder fails in its own way, with words that may quote the file.
        fits = False
    if not fits:
        raise VolumeError(
            f"{frame.path}: expected pixels that can be decoded "
            f"({frame.transfer_syntax.name}), found none, damage, or too few; copy it "
            "again."
        )
    return stored


def _physical(stored: np.ndarray, frame: Frame) -> np.ndarray:
    bits_stored, high_bit, is_signed = frame.bits
    # Only these bits are the value (PS3.5 8.1.1); others may hold overlays or anything else.
    wide = stored.astype(np.int32) if high_bit < 16 else stored.astype(np.int64)
    value: np.ndarray = (wide >> (high_bit + 1 - bits_stored)) & ((1 << bits_stored) - 1)
    if is_signed:
        value -= (value >> (bits_stored - 1)) << bits_stored
    if frame.slope.is_integer() and frame.intercept.is_integer():
        return value.astype(np.int64) * int(frame.slope) + int(frame.intercept)
    return value * frame.slope + frame.intercept
