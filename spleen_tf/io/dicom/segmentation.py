"""A mask to a DICOM Segmentation that refers to the images it was found in, and belongs to them."""

from __future__ import annotations

import logging
import os
from typing import Any

import highdicom
import numpy as np
import numpy.typing as npt
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

import spleen_tf
from spleen_tf.core import files
from spleen_tf.imaging.volume import Volume, VolumeError
from spleen_tf.io.dicom import sources

_FLAG = "--dicom_seg"
_SERIES_NUMBER = 7700
# Characters that the value representation LO holds (PS3.5 6.2).
_LO = 64

# highdicom quotes names that it doubts; without a handler, Python prints that on stderr.
logging.getLogger("highdicom").addHandler(logging.NullHandler())


def write(
    path: str | os.PathLike[str],
    mask_ijk: npt.NDArray[Any],
    like: Volume,
    name: str,
    version: str,
) -> Dataset:
    """Writes a mask as a DICOM Segmentation (PS3.3 A.51) of one segment, the spleen.

    It is BINARY, and belongs to patient and study of the images, whose elements it repeats in
    Unicode. Frames without spleen are left out, unless there are none with: then all are written,
    empty. The segment has a tracking identifier, by which measurements name the same finding.

    Args:
        path: .dcm; replaced only when the new file is whole.
        mask_ijk: (I, J, K), nonzero inside.
        like: what `series.read` gave.
        name, version: of the model, for the algorithm's identification.

    Returns:
        What was written, for other objects to refer to.

    Raises:
        InputError: if it cannot be written, or the images lack what it must refer to.
    """
    images = sources.sources_of(like, _FLAG)
    if mask_ijk.shape != like.shape:
        raise VolumeError(f"{path}: expected a mask of shape {like.shape}, found {mask_ijk.shape}.")
    frames_krc = np.asarray(mask_ijk, bool).transpose(2, 1, 0)[images.frame_order]
    segmentation = _segmentation(images.images(), frames_krc, name[:_LO], version[:_LO])
    if len(images.files) > 1:
        sources.refer_to_class(segmentation, images.files[0].sop_class)
    segmentation.ContentCreatorName = ""  # May be empty, but not absent (PS3.3 10.9).
    with files.replacing(path) as partial:
        segmentation.save_as(partial)
    return segmentation


def _segmentation(
    images: list[Dataset], frames_krc: npt.NDArray[np.bool_], name: str, version: str
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
        tracking_uid=highdicom.UID(),
        tracking_id="Spleen",
    )
    return highdicom.seg.Segmentation(
        source_images=images,
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
