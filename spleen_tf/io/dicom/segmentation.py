"""A mask to a DICOM Segmentation that refers to the images it was found in, and belongs to them."""

from __future__ import annotations

import logging
import os
from typing import Any

import highdicom
import numpy as np
import numpy.typing as npt
import pydicom
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription
from pydicom import config, uid
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.valuerep import format_number_as_ds

import spleen_tf
from spleen_tf.core import files
from spleen_tf.imaging.volume import Geometry, Volume, VolumeError
from spleen_tf.io.dicom import elements, headers, study
from spleen_tf.io.dicom.frames import Frame
from spleen_tf.io.dicom.stack import Stack

SUFFIXES = (".dcm",)

_SERIES_NUMBER = 7700
# Characters that the value representation LO holds (PS3.5 6.2).
_LO = 64
# What an image must have for another object to refer to it (PS3.3 C.7.3.1, C.7.4.1, C.12.1).
_REFERRED_BY = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")

# highdicom quotes names that it doubts; without a handler, Python prints that on stderr.
logging.getLogger("highdicom").addHandler(logging.NullHandler())


def check(image: Volume | Geometry) -> None:
    """Raises VolumeError unless a segmentation can refer to what a volume was read from."""
    slices = image.header
    if not isinstance(slices, Stack):
        raise VolumeError(f"{image.source}: expected DICOM for --dicom_seg, found NIfTI.")
    image_files = list(dict.fromkeys(frame.file for frame in slices.frames))
    if len(image_files) not in (1, len(slices.frames)):
        raise VolumeError(
            f"{image.source}: expected one file per slice or one multi-frame file for --dicom_seg, "
            f"found {len(image_files)} multi-frame files."
        )
    uids = set[str]()
    for file in image_files:
        if not file.instance_uid or file.instance_uid in uids:
            raise elements.refusal(
                file.path,
                f"{elements.name('SOPInstanceUID')} of its own for --dicom_seg",
                "that of another slice" if file.instance_uid else "none",
                "export the series again, or leave out --dicom_seg",
            )
        uids.add(file.instance_uid)
    _references(image_files[0].path)


def write(
    path: str | os.PathLike[str],
    mask_ijk: npt.NDArray[Any],
    like: Volume,
    name: str,
    version: str,
) -> None:
    """Writes a mask as a DICOM Segmentation (PS3.3 A.51) of one segment, the spleen.

    It is BINARY, and belongs to patient and study of the images, whose elements it repeats in
    Unicode. Frames without spleen are left out, unless there are none with: then all are written,
    empty.

    Args:
        path: .dcm; replaced only when the new file is whole.
        mask_ijk: (I, J, K), nonzero inside.
        like: what `series.read` gave.
        name, version: of the model, for the algorithm's identification.

    Raises:
        InputError: if it cannot be written, or the images lack what it must refer to.
    """
    check(like)
    slices = like.header
    assert isinstance(slices, Stack)
    if mask_ijk.shape != like.shape:
        raise VolumeError(f"{path}: expected a mask of shape {like.shape}, found {mask_ijk.shape}.")
    frames_krc = np.asarray(mask_ijk, bool).transpose(2, 1, 0)
    spacing_mm = float(like.zooms_mm[2])
    shared = study.elements_of(slices.paths[0])
    for keyword, value in _references(slices.paths[0]).items():
        shared[keyword] = DataElement(keyword, "UI", value, validation_mode=config.IGNORE)
    if len(slices.paths) == 1:  # In the order of its frames.
        order = np.argsort([frame.index for frame in slices.frames])
        frames_krc = frames_krc[order]
        sources = [_multi_frame(shared, [slices.frames[k] for k in order], spacing_mm)]
    else:
        sources = [_classic(shared, frame, slices.frames[0], spacing_mm) for frame in slices.frames]
    segmentation = _segmentation(sources, frames_krc, name[:_LO], version[:_LO])
    if len(sources) > 1:
        _refer_to_class(segmentation, slices.frames[0].file.sop_class)
    with files.replacing(path) as partial:
        segmentation.save_as(partial)


def _references(path: str) -> dict[str, str]:
    """The UIDs by which a segmentation refers to a series, of one of its files."""
    with headers.readable(path) as stream:
        try:
            dataset = pydicom.dcmread(
                stream, stop_before_pixels=True, force=True, specific_tags=list(_REFERRED_BY)
            )
        except elements.PYDICOM_ERRORS as error:
            raise headers.damaged(path) from error
    uids = {keyword: elements.text(dataset, keyword, path) for keyword in _REFERRED_BY}
    for keyword, value in uids.items():
        if not value:
            raise elements.refusal(
                path,
                f"{elements.name(keyword)} for --dicom_seg",
                "none",
                "export the series with it, or leave out --dicom_seg",
            )
    return uids


def _classic(shared: Dataset, frame: Frame, first: Frame, spacing_mm: float) -> Dataset:
    """A slice as highdicom wants it: with all that it reads, however odd the file itself is."""
    source = _common(shared, frame)
    # Of a classic class, be the file an enhanced one of a single frame: see _refer_to_class.
    source.SOPClassUID = uid.CTImageStorage
    source.ImagePositionPatient = _decimals(frame.position_mm)
    # highdicom wants these the same in all slices; that they agree but for rounding is checked.
    source.ImageOrientationPatient = _decimals(first.directions)
    source.PixelSpacing = _decimals(first.pixel_mm)
    source.SliceThickness = source.SpacingBetweenSlices = format_number_as_ds(spacing_mm)
    return source


def _multi_frame(shared: Dataset, frames: list[Frame], spacing_mm: float) -> Dataset:
    """A multi-frame file as highdicom wants it, its frames in the order of the file."""
    source = _common(shared, frames[0])
    source.NumberOfFrames = len(frames)
    measures, orientation, groups = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = _decimals(frames[0].pixel_mm)
    measures.SliceThickness = measures.SpacingBetweenSlices = format_number_as_ds(spacing_mm)
    orientation.ImageOrientationPatient = _decimals(frames[0].directions)
    groups.PixelMeasuresSequence, groups.PlaneOrientationSequence = [measures], [orientation]
    source.SharedFunctionalGroupsSequence = [groups]
    source.PerFrameFunctionalGroupsSequence = []
    for frame in frames:
        position, group = Dataset(), Dataset()
        position.ImagePositionPatient = _decimals(frame.position_mm)
        group.PlanePositionSequence = [position]
        source.PerFrameFunctionalGroupsSequence.append(group)
    return source


def _common(shared: Dataset, frame: Frame) -> Dataset:
    source = Dataset()
    source.update(shared)  # A copy of it would share its elements' dictionary.
    source.SOPClassUID, source.SOPInstanceUID = frame.file.sop_class, frame.file.instance_uid
    source.Rows, source.Columns = frame.shape
    source.PositionReferenceIndicator = ""
    return source


def _decimals(numbers: tuple[float, ...]) -> list[str]:
    """Of at most 16 characters, as value representation DS has them (PS3.5 6.2)."""
    return [format_number_as_ds(number) for number in numbers]


def _refer_to_class(segmentation: Dataset, sop_class: str) -> None:
    """Puts the class of the images into all references to them."""

    def correct(dataset: Dataset, element: DataElement) -> None:
        if element.keyword == "ReferencedSOPClassUID":
            element.value = sop_class

    segmentation.walk(correct)


def _segmentation(
    sources: list[Dataset], frames_krc: npt.NDArray[np.bool_], name: str, version: str
) -> highdicom.seg.Segmentation:
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
