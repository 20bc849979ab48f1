"""What is written of a prediction beside its mask: picture, page, surface, SEG, table's row."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from spleen_tf.core import files
from spleen_tf.imaging import intensity
from spleen_tf.imaging.intensity import Modality
from spleen_tf.imaging.volume import Volume
from spleen_tf.inference.prediction import Prediction, PredictionRecord

# The kinds of files, and how their names end; in a folder of many, they end in the first of these.
SUFFIXES: dict[str, tuple[str, ...]] = {
    "preview": (".png",),
    "probabilities": (".nii.gz", ".nii"),
    "report": (".html",),
    "mesh": (".stl", ".obj", ".ply"),  # As mesh.SUFFIXES, whose module takes longer to import.
    "seg_nrrd": (".seg.nrrd",),
    "dicom_seg": (".dcm",),
    "dicom_sr": (".dcm",),
    "dicom_sc": (".dcm",),
}
# Those that belong to the images of a DICOM series, in the order in which they are written.
DICOM_OBJECTS = ("dicom_seg", "dicom_sr", "dicom_sc")


@dataclasses.dataclass(frozen=True)
class Style:
    """How a prediction is shown.

    Attributes:
        center_ijk: the voxel that the preview's planes go through; None: the mask's middle.
        smooth: whether the surface is smoothed.
        before: the mask of an earlier examination, or its JSON, that the report compares with.
        before_image: its image, which is registered.
    """

    center_ijk: tuple[int, ...] | None = None
    smooth: bool = False
    before: str | None = None
    before_image: str | None = None


def row(case: str, record: PredictionRecord) -> dict[str, Any]:
    """A row of the table of many predictions."""
    low, high = record.predicted_dice_interval or (None, None)
    low_ml, high_ml = record.volume_ml_interval or (None, None)
    reference, intensity = record.volume_reference, record.intensity
    return {
        "case": case,
        "volume_ml": record.volume_ml,
        "volume_ml_low": low_ml,
        "volume_ml_high": high_ml,
        "volume_place": reference and reference.place,
        "complete": record.complete,
        "length_mm": record.length_mm,
        "width_mm": record.width_mm,
        "thickness_mm": record.thickness_mm,
        "splenic_index_ml": record.splenic_index_ml,
        "mean_intensity": record.mean_intensity,
        "sd_intensity": intensity and intensity.sd,
        "modality": record.modality,
        "predicted_dice": record.predicted_dice,
        "predicted_dice_low": low,
        "predicted_dice_high": high,
        "review": record.review,
        "predicted_dice_note": record.predicted_dice_note,
        "reasons": "; ".join(record.reasons),
    }


def write(
    places: Mapping[str, pathlib.Path],
    image: Volume,
    prediction: Prediction,
    style: Style = Style(),
) -> None:
    """Writes what was asked for, whole or not at all. Libraries are imported where they are needed.

    Args:
        places: files by kind, as in SUFFIXES. Of an empty mask there is no surface, and an
            earlier one, which would be taken for its, is removed.
        image: the volume.
        prediction: of the volume; with its probability, where that is to be written.
        style: how it is shown.

    Raises:
        InputError: if a file cannot be written, or DICOM images cannot be referred to.
    """
    mask_ijk, record = prediction.mask_ijk, prediction.record
    modality, window = _shown_as(image, prediction)
    if path := places.get("preview"):
        from spleen_tf.reporting import preview  # Matplotlib takes half a second to import.

        preview.preview(
            path,
            image,
            mask_ijk,
            window=window,
            modality=modality,
            center_ijk=style.center_ijk,
        )
    if path := places.get("report"):
        from spleen_tf.reporting import comparison, report

        earlier = None
        if style.before:
            earlier = comparison.earlier(style.before, style.before_image, image, mask_ijk, record)
        page = report.prediction(
            image, mask_ijk, record, window=window, modality=modality, earlier=earlier
        )
        files.write_text(path, page)
    if path := places.get("mesh"):
        if record.voxels:
            from spleen_tf.io import mesh

            mesh.write(path, mesh.surface(mask_ijk, image.affine, style.smooth))
        else:
            path.unlink(missing_ok=True)
    if path := places.get("seg_nrrd"):
        from spleen_tf.io import seg_nrrd

        seg_nrrd.write(path, mask_ijk, image, record.review)
    if any(kind in places for kind in DICOM_OBJECTS):
        from spleen_tf.reporting import dicom_objects

        dicom_objects.write(places, image, prediction, window=window, modality=modality)


def write_probability(
    places: Mapping[str, pathlib.Path], image: Volume, prediction: Prediction
) -> None:
    """Writes the probability of each voxel as float32 NIfTI, where places has 'probabilities'.

    Raises:
        InputError: if the file cannot be written.
    """
    from spleen_tf.io import nifti

    if (path := places.get("probabilities")) and prediction.probability_ijk is not None:
        as_float32 = prediction.probability_ijk.astype("float32")
        nifti.write(path, dataclasses.replace(image, array_ijk=as_float32))


def _shown_as(image: Volume, prediction: Prediction) -> tuple[Modality, tuple[float, float] | None]:
    """The modality in whose greys a volume is shown, and the window; None: the default one."""
    if prediction.record.modality == "CT":
        return "CT", prediction.window
    # A model for MR may have been given a CT, which is shown as one.
    return image.modality or intensity.guessed_modality(image.array_ijk), None
