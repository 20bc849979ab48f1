"""Finds the spleen in a volume, or in every volume of a folder.

Writes the mask as NIfTI in the source's geometry and, beside it, a JSON with its volume. A source
is a NIfTI file or a DICOM series.

Examples:
    python -m spleen_tf.predict --model=models/spleen_mr_t2 --input=scan.nii.gz \\
        --output=data/out.nii.gz --preview=data/out.png --mesh=data/out.stl
    python -m spleen_tf.predict --model=models/spleen_any --input=DICOM_FOLDER \\
        --output=data/out.nii.gz --dicom_seg=data/out.dcm
    python -m spleen_tf.predict --model=models/spleen_mr_t2 --input=imagesTs --output=data/masks
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import re
import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

import spleen_tf
from spleen_tf.core import files, flags, timing
from spleen_tf.core.files import InputError
from spleen_tf.core.flags import flag
from spleen_tf.imaging import intensity
from spleen_tf.imaging.volume import Geometry, Volume
from spleen_tf.inference import jobs, model_files, prediction
from spleen_tf.inference.jobs import Job
from spleen_tf.inference.prediction import Rule, Segmentation
from spleen_tf.io import nifti, readers
from spleen_tf.quality import calibration
from spleen_tf.quality.calibration import Calibration
from spleen_tf.reporting import outputs
from spleen_tf.reporting import preview as render

if TYPE_CHECKING:
    from spleen_tf.inference.fusion import Member


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """What to segment, with what, and what to write."""

    model: tuple[str, ...] = flag(
        (),
        "A SavedModel folder, or a folder with several below it, which are fused.",
        required=True,
    )
    input: str = flag(
        "",
        "A NIfTI file, a folder of them, or a DICOM series: a folder, or a multi-frame file.",
        required=True,
    )
    series_uid: str = flag("", "The SeriesInstanceUID, where a DICOM folder has several series.")
    output: str = flag(
        "data/out.nii.gz",
        "The mask's file, or a folder for it, where that of DICOM becomes spleen.nii.gz; for a "
        "folder of volumes, a folder of masks.",
    )
    preview: str = flag(
        "", "A PNG with three planes and the outline; for a folder of volumes, a folder of PNGs."
    )
    preview_voxel: tuple[float, ...] = flag(
        (),
        "i,j,k of a voxel, counted from 0, through which the preview's planes go; by default they "
        "go through the middle of the spleen.",
        minimum=0,
    )
    report: str = flag(
        "",
        "A page of HTML to look at the result with, whole in one file; for a folder of volumes, a "
        "folder of pages.",
    )
    mesh: str = flag(
        "",
        "The surface in mm (RAS+), as .stl, .obj or .ply; for a folder of volumes, a folder of "
        ".stl. Where no spleen is found none is written.",
    )
    smooth_mesh: bool = flag(False, "Takes the steps of voxels off the surface.")
    dicom_seg: str = flag(
        "", "A DICOM Segmentation (.dcm) that refers to the images; for DICOM only."
    )
    table: str = flag("", "A CSV with a row a volume: what was found, and what is to be looked at.")
    probabilities: str = flag(
        "", "A NIfTI with the probability of each voxel; for a folder of volumes, a folder."
    )
    threshold: float = flag(
        0.0,
        "Probability from which a voxel is spleen; 0: what the model says.",
        minimum=0,
        maximum=1,
    )
    largest_component: bool = flag(True, "Keeps only the largest connected component.")
    fill_holes: bool = flag(True, "Fills cavities in the mask.")
    second_opinion: bool = flag(
        True,
        "Where a family's models do not agree on a spleen, asks those in its folder "
        "second_opinion, if there is one.",
    )
    tta: bool = flag(
        False, "Test-time augmentation: also sees the body a little larger and smaller."
    )
    skip_existing: bool = flag(
        False, "Leaves alone a volume whose outputs are all there, whatever models made them."
    )
    precision: str = flag(
        "auto",
        "auto takes float16 on GPUs with tensor cores, bfloat16 on CPUs that have it.",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
    device: str = flag("auto", "auto, cpu, gpu, or gpu:N.")


def main(config: PredictConfig) -> int:
    """Segments every volume; a bad one of a folder is named, and the others are still done."""
    asked = {kind: getattr(config, kind) for kind in jobs.SUFFIXES}
    planned = jobs.plan(config.input, config.output, asked, config.series_uid)
    _check(config)
    is_batch = jobs.is_batch(config.input)
    if not is_batch:
        _check_headers(planned[0], config)

    known = _calibration(config)
    others = model_files.second_opinion(config.model) if config.second_opinion else []
    # TensorFlow takes seconds to import, which a wrong flag should not cost.
    from spleen_tf.inference import fusion

    note = fusion.setup(config.device, config.precision)
    members = fusion.load(config.model)
    second_opinion = functools.cache(lambda: fusion.load(others)) if others else None
    print(f"{', '.join(member.info['name'] for member in members)}; {note}", flush=True)
    rows, failed = [], []
    for job in planned:
        try:
            if config.skip_existing and (result := job.result()):
                rows.append(outputs.row(nifti.stem(job.mask), result))
                print(f"{job.mask}: is there already", flush=True)
                continue
            result = segment(job, members, config, known, second_opinion)
            rows.append(outputs.row(nifti.stem(job.mask), result))
            print(f"{job.mask}: {_sentence(result)}", flush=True)
            if "mesh" in job.others and not result["voxels"]:
                print(f"{job.others['mesh']}: not written: there is no surface", flush=True)
        except InputError as error:
            if not is_batch:
                raise
            failed.append(job.source.name)
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
    if config.table and rows:
        files.write_csv(config.table, rows)
    if failed:
        names = ", ".join(failed)
        print(f"{len(failed)} of {len(planned)} cases failed: {names}", file=sys.stderr)
    return flags.EXIT_FAILED if failed else flags.EXIT_DONE


def _check(config: PredictConfig) -> None:
    """Raises InputError for what can be seen without TensorFlow."""
    model_files.find(config.model)
    if not re.fullmatch(r"auto|cpu|gpu(:\d+)?", config.device):
        raise InputError(f"--device: expected auto, cpu, gpu or gpu:N, found {config.device!r}.")
    if config.table:
        jobs.check_place(pathlib.Path(config.table), (".csv",))
    for name, other in (("preview_voxel", "preview"), ("smooth_mesh", "mesh")):
        if getattr(config, name) and not getattr(config, other):
            raise InputError(f"--{name}: expected together with --{other}, found it alone.")
    numbers = config.preview_voxel
    if numbers and not (len(numbers) == 3 and all(n.is_integer() for n in numbers)):
        found = ",".join(f"{n:g}" for n in numbers)
        raise InputError(f"--preview_voxel: expected three whole numbers i,j,k, found {found}.")


def _check_voxel(config: PredictConfig, image: Volume | Geometry) -> None:
    """Raises VolumeError if --preview_voxel is not in the volume."""
    if voxel_ijk := _voxel_ijk(config):
        render.check_voxel(image, voxel_ijk)


def _voxel_ijk(config: PredictConfig) -> tuple[int, ...] | None:
    return tuple(map(int, config.preview_voxel)) or None


def _check_headers(job: Job, config: PredictConfig) -> None:
    """Raises InputError for what the headers of a volume show without its voxels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Said again when the volume is read.
        image = readers.read_geometry(job.source, job.series_uid)
    _check_voxel(config, image)
    if "dicom_seg" in job.others:
        from spleen_tf.io.dicom import segmentation  # Its library takes a second to import.

        segmentation.check(image)


def _calibration(config: PredictConfig) -> Calibration | None:
    """What is known of predictions that are made in this way by these members, and no others.

    It lies beside the model's card: in the folder that --model names or, where that is a SavedModel
    itself, in the one above.
    """
    if len(config.model) > 1 or config.tta or config.threshold:
        return None
    if not (config.largest_component and config.fill_holes):
        return None
    folder = pathlib.Path(config.model[0])
    found = model_files.find(config.model)
    path = (folder.parent if folder in found else folder) / calibration.FILE_NAME
    if not path.is_file():
        return None
    known = calibration.read(path)
    return known if known.members == len(found) else None


def segment(
    job: Job,
    members: list[Member],
    config: PredictConfig,
    known: Calibration | None = None,
    second_opinion: Callable[[], list[Member]] | None = None,
) -> dict[str, Any]:
    """One volume from file to files.

    Args:
        job: what to read and write.
        members: the models.
        config: how to use them.
        known: what cross-validation has taught of them; None: no Dice is predicted.
        second_opinion: gives the models that are asked where they do not agree; None: there are
            none.

    Returns:
        The content of the JSON.
    """
    clock = timing.Clock()
    image = readers.read(job.source, job.series_uid)
    _check_voxel(config, image)  # In a folder, each volume has a shape of its own.
    clock.lap("read")

    def keep(probability_ijk: np.ndarray) -> None:
        if path := job.others.get("probabilities"):
            as_float32 = probability_ijk.astype("float32")
            nifti.write(path, dataclasses.replace(image, array_ijk=as_float32))
            clock.lap("probabilities")

    rule = Rule(config.threshold, config.largest_component, config.fill_holes, config.tta)
    found = prediction.segment(
        image,
        members,
        rule,
        known=known,
        second_opinion=second_opinion,
        keep=keep,
        lap=clock.lap,
    )
    nifti.write_mask(job.mask, found.mask_ijk, like=image)
    modality = members[0].modality(image)
    result = _result(found, known, modality)
    files.write_json(job.json, result)  # Whatever becomes of the others, the mask has its word.
    clock.lap("write")
    if job.others:
        window = members[0].window(image) if modality == "CT" else None
        if window is None:  # A model for MR may have been given a CT, which is shown as one.
            modality = image.modality or intensity.guessed_modality(image.array_ijk)
        made_by = model_files.family_name([member.info for member in found.members])
        how = outputs.How(modality, window, _voxel_ijk(config), config.smooth_mesh, made_by)
        outputs.write(job.others, image, found.mask_ijk, result, how)
        clock.lap("others")
    result |= {"seconds": clock.seconds(), "peak_rss_mb": timing.peak_rss_mb()}
    files.write_json(job.json, result)
    return result


def _result(found: Segmentation, known: Calibration | None, modality: str) -> dict[str, Any]:
    """The content of the JSON, but for what it cost."""
    note = known.foreign(modality) if known and found.predicted_dice is not None else ""
    return {
        **found.measured,
        "components": found.components,
        "predicted_dice": found.predicted_dice,
        "predicted_dice_interval": found.predicted_dice_interval,
        "predicted_dice_note": note or None,
        "signs": found.signs,
        "review": bool(found.reasons),
        "reasons": found.reasons,
        **model_files.in_common([member.info for member in found.members]),
        "software": f"spleen_tf {spleen_tf.__version__}",
    }


def _sentence(result: dict[str, Any]) -> str:
    if not result["voxels"]:
        return "no spleen found; look at the volume"
    review = f"; review: {'; '.join(result['reasons'])}" if result["review"] else ""
    return f"{result['volume_ml']:.1f} mL in {result['seconds']['total']:.1f} s{review}"


if __name__ == "__main__":
    flags.run(main, PredictConfig)
