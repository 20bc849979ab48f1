"""What is written of a segmentation beside its mask: picture, page, surface, SEG, table's row."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from spleen_tf.core import files
from spleen_tf.imaging.volume import Volume
from spleen_tf.reporting import preview


@dataclasses.dataclass(frozen=True)
class How:
    """How a segmentation is shown.

    Attributes:
        modality: 'CT' or 'MR'.
        window: the grey scale's ends; None: as `preview.draw` has them.
        center_ijk: the voxel that the preview's planes go through; None: the mask's middle.
        smooth: whether the surface is smoothed.
        made_by: the name of the models, for the DICOM Segmentation.
    """

    modality: str
    window: tuple[float, float] | None = None
    center_ijk: tuple[int, ...] | None = None
    smooth: bool = False
    made_by: str = ""


def row(case: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the table of many predictions, from the content of a JSON."""
    low, high = result["predicted_dice_interval"] or (None, None)
    return {
        "case": case,
        **{key: result[key] for key in ("volume_ml", "complete", "predicted_dice")},
        "predicted_dice_low": low,
        "predicted_dice_high": high,
        **{key: result[key] for key in ("review", "predicted_dice_note")},
        "reasons": "; ".join(result["reasons"]),
    }


def write(
    places: Mapping[str, pathlib.Path],
    image: Volume,
    mask_ijk: np.ndarray,
    result: Mapping[str, Any],
    how: How,
) -> None:
    """Writes what was asked for, whole or not at all. Libraries are imported where they are needed.

    Args:
        places: files by kind: preview, report, mesh, dicom_seg; of others nothing is written. Of an
            empty mask there is no surface, and an earlier one, which would be taken for its, is
            removed.
        image: the volume.
        mask_ijk: (I, J, K) bool.
        result: the content of the JSON.
        how: how it is shown.

    Raises:
        InputError: if a file cannot be written, or DICOM images cannot be referred to.
    """
    shown: dict[str, Any] = {"window": how.window, "modality": how.modality}
    if path := places.get("preview"):
        preview.preview(path, image, mask_ijk, center_ijk=how.center_ijk, **shown)
    if path := places.get("report"):
        from spleen_tf.reporting import report

        files.write_text(path, report.prediction(image, mask_ijk, result, **shown))
    if path := places.get("mesh"):
        if result["voxels"]:
            from spleen_tf.io import mesh

            mesh.write(path, mesh.surface(mask_ijk, image.affine, how.smooth))
        else:
            path.unlink(missing_ok=True)
    if path := places.get("dicom_seg"):
        from spleen_tf.io.dicom import segmentation

        segmentation.write(path, mask_ijk, image, how.made_by, result["version"])
