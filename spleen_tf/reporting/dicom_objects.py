"""The DICOM objects of a prediction: segmentation, report of the measurements, picture."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

from spleen_tf.imaging.intensity import Modality
from spleen_tf.imaging.volume import Volume
from spleen_tf.inference.prediction import Prediction
from spleen_tf.io.dicom import capture, measurements, segmentation
from spleen_tf.reporting import snapshot


def write(
    places: Mapping[str, pathlib.Path],
    image: Volume,
    prediction: Prediction,
    *,
    window: tuple[float, float] | None,
    modality: Modality,
) -> None:
    """Writes those that places names: dicom_seg, dicom_sr, dicom_sc.

    Args:
        places: files by kind. The report refers to the segmentation, where both are written.
        image: the volume, from DICOM.
        prediction: of the volume.
        window, modality: as in `preview.draw`.

    Raises:
        InputError: if a file cannot be written, or the images cannot be referred to.
    """
    record, model = prediction.record, (prediction.family, prediction.record.version)
    segmented = None
    if path := places.get("dicom_seg"):
        segmented = segmentation.write(path, prediction.mask_ijk, image, *model)
    if path := places.get("dicom_sr"):
        findings = measurements.Findings(
            volume_ml=record.volume_ml,
            volume_ml_interval=record.volume_ml_interval,
            length_mm=record.length_mm,
            width_mm=record.width_mm,
            thickness_mm=record.thickness_mm,
            splenic_index_ml=record.splenic_index_ml,
            reasons=record.reasons,
        )
        measurements.write(path, findings, image, *model, segmented)
    if path := places.get("dicom_sc"):
        picture_hwc = snapshot.draw(image, prediction, window=window, modality=modality)
        capture.write(path, picture_hwc, image)
