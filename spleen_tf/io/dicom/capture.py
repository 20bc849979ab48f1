"""A picture as a DICOM Secondary Capture that belongs to the images it shows."""

from __future__ import annotations

import os

import highdicom
import numpy as np
import numpy.typing as npt
from highdicom.sc import SCImage
from pydicom import uid
from pydicom.dataset import Dataset

import spleen_tf
from spleen_tf.core import files
from spleen_tf.imaging.volume import Volume
from spleen_tf.io.dicom import sources

_FLAG = "--dicom_sc"
_SERIES_NUMBER = 7702


def write(
    path: str | os.PathLike[str], picture_hwc: npt.NDArray[np.uint8], like: Volume
) -> Dataset:
    """Writes a picture as a Secondary Capture Image (PS3.3 A.8.1), uncompressed, in RGB.

    It belongs to patient and study of the images, and names them as its sources. It says that it
    has text burnt in (figures, no patient).

    Args:
        path: .dcm; replaced only when the new file is whole.
        picture_hwc: (H, W, 3) uint8, RGB.
        like: what it shows, as `series.read` gave it.

    Returns:
        What was written.

    Raises:
        InputError: if it cannot be written, or the images lack what it must refer to.
    """
    images = sources.sources_of(like, _FLAG).references()
    capture = SCImage.from_ref_dataset(
        ref_dataset=images[0],
        pixel_array=picture_hwc,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "P"),  # Replaced below.
        series_instance_uid=highdicom.UID(),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="spleen_tf",
        manufacturer_model_name="spleen_tf.predict",
        software_versions=spleen_tf.__version__,
        device_serial_number="none",
        series_description="Spleen, automatic: picture, for research",
        transfer_syntax_uid=uid.ExplicitVRLittleEndian,
    )
    # Three planes have no orientation in common.
    capture.PatientOrientation = []
    capture.BodyPartExamined = "SPLEEN"  # Which has no laterality.
    capture.ConversionType = "SYN"  # Synthetic image.
    capture.BurnedInAnnotation = "YES"
    capture.DerivationDescription = "Three planes with the outline of the spleen and its measures"
    capture.SourceImageSequence = [_reference(image) for image in images]
    with files.replacing(path) as partial:
        capture.save_as(partial)
    return capture


def _reference(image: Dataset) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = image.SOPClassUID
    reference.ReferencedSOPInstanceUID = image.SOPInstanceUID
    return reference
