"""A mask to a DICOM Segmentation that refers to the images it was found in, and belongs to them."""

from __future__ import annotations

import os

import highdicom
import numpy as np
import pydicom
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription
from pydicom.sr.codedict import codes

import spleen_tf
from spleen_tf.core import files
from spleen_tf.imaging.volume import Geometry, Volume, VolumeError
from spleen_tf.io.dicom.headers import damage_in_words, quiet
from spleen_tf.io.dicom.stack import Stack

SUFFIXES = (".dcm",)

# Elements of type 2: an image may lack them against the rules, and they may be empty
# (PS3.3 C.7.1.1, C.7.2.1).
_MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber"),
    *("StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)
_SERIES_NUMBER = 7700
# Characters that the value representation LO holds (PS3.5 6.2).
_LO = 64


def check(image: Volume | Geometry) -> None:
    """Raises VolumeError unless a segmentation can refer to what a volume was read from."""
    if not isinstance(image.header, Stack):
        raise VolumeError(f"{image.source}: expected DICOM for --dicom_seg, found NIfTI.")
    paths = image.header.paths
    if len(paths) not in (1, len(image.header.frames)):
        raise VolumeError(
            f"{image.source}: expected a file a slice or one multi-frame file for --dicom_seg, "
            f"found {len(paths)} multi-frame files."
        )
    with damage_in_words(paths[0]):
        header = pydicom.dcmread(paths[0], stop_before_pixels=True, force=True)
        for keyword in ("StudyInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
            if not header.get(keyword):
                raise VolumeError(f"{paths[0]}: expected {keyword} for --dicom_seg, found none.")


def write(
    path: str | os.PathLike, mask_ijk: np.ndarray, like: Volume, name: str, version: str
) -> None:
    """Writes a mask as a DICOM Segmentation (PS3.3 A.51) of one segment, the spleen.

    It is BINARY, and belongs to patient and study of the images, whose elements it repeats. Frames
    without spleen are left out, unless there are none with: then all are written, empty.

    Args:
        path: .dcm; replaced only when the new file is whole.
        mask_ijk: (I, J, K), nonzero inside.
        like: what `series.read` gave.
        name, version: of the model, for the algorithm's identification.

    Raises:
        InputError: if it cannot be written, or the images lack what it must refer to.
    """
    check(like)
    stack: Stack = like.header
    if mask_ijk.shape != like.shape:
        raise VolumeError(f"{path}: expected a mask of shape {like.shape}, found {mask_ijk.shape}.")
    sources = [_source(path) for path in stack.paths]
    frames_krc = np.asarray(mask_ijk, bool).transpose(2, 1, 0)
    if len(sources) == 1:  # Of a multi-frame file, in the order of its frames.
        frames_krc = frames_krc[np.argsort([frame.index for frame in stack.frames])]
    try:
        with quiet():
            segmentation = _segmentation(sources, frames_krc, name[:_LO], version[:_LO])
    except (AttributeError, TypeError, ValueError):  # Whose words quote elements.
        raise VolumeError(
            f"{like.source}: expected images that a DICOM Segmentation can refer to, found "
            "elements of patient, study or series that break the standard; leave out --dicom_seg."
        ) from None
    with files.replacing(path) as partial, quiet():
        segmentation.save_as(partial)


def _source(path: str) -> pydicom.Dataset:
    with damage_in_words(path):
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        for keyword in _MAY_BE_EMPTY:
            if keyword not in header:
                setattr(header, keyword, "")
    return header


def _segmentation(sources, frames_krc, name, version) -> highdicom.seg.Segmentation:
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=name, family=codes.DCM.ArtificialIntelligence, version=version
    )
    spleen = SegmentDescription(
        segment_number=1,
        segment_label="Spleen",
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=codes.SCT.Spleen,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
    )
    return highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=frames_krc,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[spleen],
        series_instance_uid=highdicom.UID(),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="spleen_tf",
        manufacturer_model_name="spleen_tf.predict",
        software_versions=spleen_tf.__version__,
        device_serial_number="none",
        content_label="SPLEEN",
        content_description="Spleen, found automatically, for research",
        series_description="Spleen, automatic",
    )
