"""PixelData of DICOM files: whether it is all there, and its values in physical units."""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import os
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom import encaps, uid
from pydicom.pixels.decoders.base import get_decoder

from spleen_tf.imaging.volume import VolumeError
from spleen_tf.io.dicom import elements, headers, jpeg, streams
from spleen_tf.io.dicom.frames import Frame, ImageFile

_ITEM = b"\xfe\xff\x00\xe0"
_END_OF_ITEMS = b"\xfe\xff\xdd\xe0"
_NATIVE = (
    *(uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian),
    uid.DeflatedExplicitVRLittleEndian,
)
_JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)
# What the GPL-licensed decoder of the extra `jpeg` can do beyond the others.
_OF_EXTRA = (*_JPEG, uid.JPEGLSLossless, uid.JPEGLSNearLossless)
# Memory is taken for them before they are decoded. Slices of CT and MR have up to 2048 × 2048.
_MOST_PIXELS = 1 << 26
# Decoders fail each in its own way.
_DECODER_ERRORS = (*elements.PYDICOM_ERRORS, RuntimeError, ImportError)


def check(file: ImageFile) -> None:
    """Looks at the sizes of a file, and not at its pixels.

    Raises:
        VolumeError: if the file is cut short, PixelData is of another size than its header says, or
            it is in an encoding that no decoder here reads.
    """
    _check_decodable(file)
    if file.pixels is None:
        return  # How many bytes it inflates to shows itself when it is read.
    if file.transfer_syntax not in _NATIVE:
        _check_fragments(file)
        return
    rows, columns = file.shape
    row_bytes = columns * file.bits_allocated // 8
    expected = rows * row_bytes * file.num_frames
    declared = file.pixels.num_bytes
    present = os.path.getsize(file.path) - file.pixels.start
    if declared is not None and present < declared:
        raise elements.refusal(
            file.path,
            f"{declared:,} bytes of {elements.name('PixelData')}",
            f"{present:,}: the file is cut short",
            "copy it again",
        )
    # Files may be padded, but not by a row: then Rows, Columns or BitsAllocated are wrong.
    if declared is None or not expected <= declared < expected + max(row_bytes, 2):
        raise elements.refusal(
            file.path,
            f"{expected:,} bytes of {elements.name('PixelData')} for {file.num_frames} "
            f"frame{'s' if file.num_frames > 1 else ''} of {elements.name('Rows')} {rows}, "
            f"{elements.name('Columns')} {columns}, {elements.name('BitsAllocated')} "
            f"{file.bits_allocated}",
            "an undefined length" if declared is None else f"{declared:,}",
        )


def sha256(frame: Frame) -> str:
    """The SHA-256 of a frame's stored pixels; of the whole file where they do not stand apart."""
    file = frame.file
    start, length = 0, -1
    if file.pixels is not None:
        start, length = file.pixels.start, file.pixels.num_bytes or -1
        if length > 0 and file.transfer_syntax in _NATIVE:
            length //= file.num_frames
            start += frame.index * length
    with streams.readable(file.path) as stream:
        stream.seek(start)
        digest = hashlib.sha256(stream.read(length))
    if file.num_frames > 1 and file.transfer_syntax not in _NATIVE:
        digest.update(str(frame.index).encode())
    return digest.hexdigest()


def values(frames: Iterable[Frame]) -> Iterator[npt.NDArray[np.int64] | npt.NDArray[np.float64]]:
    """Each frame's values in physical units.

    PhotometricInterpretation does not touch them: MONOCHROME1 says that low values are shown bright
    (PS3.3 C.7.6.3.1.2), after all else, and air in a CT is at -1000 HU either way.

    Yields:
        (rows, columns) int64 where slope and intercept are whole numbers, else float64.

    Raises:
        VolumeError: if pixels are damaged.
    """
    for file, of_file in itertools.groupby(frames, key=lambda frame: frame.file):
        frames_of_file = list(of_file)
        decoded = _decoded(file, [frame.index for frame in frames_of_file])
        for frame, stored in zip(frames_of_file, decoded, strict=True):
            yield _physical(stored, frame)


def _decoded(file: ImageFile, indices: list[int]) -> Iterator[npt.NDArray[np.integer[Any]]]:
    """Stored values of frames of one file, which is not in memory as a whole.

    The elements that say what pixels are come from ImageFile; pydicom would read them anew, and
    needs some that do not matter.
    """
    with streams.readable(file.path) as stream:
        try:
            if file.transfer_syntax in _JPEG and file.pixels is not None:
                stream.seek(file.pixels.start)
                for frame in encaps.generate_frames(stream, number_of_frames=file.num_frames):
                    jpeg.check(frame)
            if file.transfer_syntax == uid.JPEGExtended12Bit and file.bits[0] > 8:
                arrays = _twelve_bit_jpeg(file, indices)
            else:
                arrays = _by_pydicom(file, stream, indices)
            for _ in indices:
                stored = next(arrays)
                if stored.shape != file.shape or stored.dtype.kind not in "iu":
                    raise ValueError(f"{stored.dtype} of {stored.shape}")
                yield stored
        except (*_DECODER_ERRORS, StopIteration) as error:
            raise _undecodable(file) from error


def _by_pydicom(
    file: ImageFile, stream: BinaryIO, indices: list[int]
) -> Iterator[npt.NDArray[Any]]:
    if file.pixels is None:
        source = pydicom.dcmread(stream, force=True).PixelData
    else:
        stream.seek(file.pixels.start)
        source = stream
    arrays = get_decoder(uid.UID(file.transfer_syntax)).iter_array(
        source,
        indices=indices,
        raw=True,  # No conversion of colors.
        correct_unused_bits=False,  # It takes the upper ones for unused; see _physical.
        # pylibjpeg's decoder of RLE panics on damage, in many lines on stderr.
        decoding_plugin="pydicom" if file.transfer_syntax == uid.RLELossless else "",
        rows=file.shape[0],
        columns=file.shape[1],
        number_of_frames=file.num_frames,
        samples_per_pixel=1,
        photometric_interpretation="MONOCHROME2",
        bits_allocated=file.bits_allocated,
        bits_stored=file.bits[0],
        pixel_representation=file.bits[2],
        pixel_keyword="PixelData",
        pixel_vr="OW",
    )
    return (array for array, _ in arrays)


def _twelve_bit_jpeg(file: ImageFile, indices: list[int]) -> Iterator[npt.NDArray[Any]]:
    """Stored values of 12-bit lossy JPEG, which GDCM decodes and pydicom does not ask it for."""
    import gdcm  # It takes a while, and few files need it.

    reader = gdcm.ImageReader()
    reader.SetFileName(file.path)
    if not reader.Read():
        raise ValueError("GDCM cannot read it")
    image = reader.GetImage()
    values = image.GetBuffer().encode("utf-8", "surrogateescape")  # It gives bytes as text.
    dtype = np.dtype(np.int16 if file.bits[2] else np.uint16)
    frames_krc = np.frombuffer(values, dtype).reshape(file.num_frames, *file.shape)
    yield from (frames_krc[index] for index in indices)


def _physical(
    stored: npt.NDArray[np.integer[Any]], frame: Frame
) -> npt.NDArray[np.int64] | npt.NDArray[np.float64]:
    bits_stored, high_bit, is_signed = frame.bits
    # Only these bits are the value (PS3.5 8.1.1); others may hold overlays or anything else.
    wide = stored.astype(np.int32) if high_bit < 16 else stored.astype(np.int64)
    below = high_bit + 1 - bits_stored
    if below and (wide & ((1 << below) - 1)).any():
        raise elements.refusal(
            frame.path,
            f"{elements.name('HighBit')} one below {elements.name('BitsStored')}, or empty bits "
            "below those stored",
            f"{high_bit} and {bits_stored}, and bits that are not empty",
        )
    value = (wide >> below) & ((1 << bits_stored) - 1)
    if is_signed:
        value -= (value >> (bits_stored - 1)) << bits_stored
    # Stored values have up to 32 bits: with these factors they fit into 64.
    if all(x.is_integer() and abs(x) < 1 << 30 for x in (frame.slope, frame.intercept)):
        return value.astype(np.int64) * int(frame.slope) + int(frame.intercept)
    return value * frame.slope + frame.intercept


def _check_decodable(file: ImageFile) -> None:
    try:
        decoder = get_decoder(uid.UID(file.transfer_syntax))
    except NotImplementedError:
        is_readable = False
    else:
        is_readable = decoder.is_available
    rows, columns = file.shape
    if file.transfer_syntax not in _NATIVE and rows * columns > _MOST_PIXELS:
        raise elements.refusal(
            file.path,
            f"at most {_MOST_PIXELS:,} compressed pixels in a frame",
            f"{elements.name('Rows')} {rows}, {elements.name('Columns')} {columns}",
        )
    if not is_readable:
        raise elements.refusal(
            file.path,
            f"{elements.name('TransferSyntaxUID')} that can be decoded here",
            headers.uid_name(file.transfer_syntax),
            _remedy(file),
        )


def _undecodable(file: ImageFile) -> VolumeError:
    return elements.refusal(
        file.path,
        f"{elements.name('PixelData')} that can be decoded "
        f"({headers.uid_name(file.transfer_syntax)})",
        "pixels that are damaged or of another encoding",
        _remedy(file, "copy it again"),
    )


def _remedy(file: ImageFile, otherwise: str = "") -> str:
    remedies = [otherwise] if otherwise else []
    if file.transfer_syntax in _OF_EXTRA and importlib.util.find_spec("libjpeg") is None:
        remedies.append("install another decoder by `pip install spleen_tf[jpeg]`")
    return ", or ".join(remedies or ["convert it, for example with gdcmconv --raw"])


def _check_fragments(file: ImageFile) -> None:
    """Follows the fragments of compressed pixels to their end (PS3.5 A.4).

    Not every decoder notices that the last one is cut short.
    """
    assert file.pixels is not None
    with streams.readable(file.path) as stream:
        stream.seek(file.pixels.start)
        while (item := stream.read(8))[:4] == _ITEM and len(item) == 8:
            stream.seek(int.from_bytes(item[4:], "little"), os.SEEK_CUR)
    if item[:4] != _END_OF_ITEMS:
        raise elements.refusal(
            file.path,
            f"{elements.name('PixelData')} in {headers.uid_name(file.transfer_syntax)} with a mark "
            "at its end",
            "none: the file is cut short or its pixels are of another encoding",
            "copy it again",
        )
