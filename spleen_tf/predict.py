"""Finds the spleen in a volume, or in every volume of a folder.

Writes the mask as NIfTI in the source's geometry and, beside it, a JSON with its volume. A source
is a NIfTI file or a DICOM series. Without --model, the released family that is best for the
volume's modality is taken.

Examples:
    python -m spleen_tf.predict --model=models/spleen_mr_t2 --input=scan.nii.gz \\
        --output=data/out.nii.gz --preview=data/out.png --mesh=data/out.stl
    python -m spleen_tf.predict --input=DICOM_FOLDER --output=data/out.nii.gz \\
        --dicom_seg=data/out.dcm
    python -m spleen_tf.predict --model=models/spleen_mr_t2 --input=imagesTs --output=data/masks
    python -m spleen_tf.predict --model=models/mine --dataset=data/mr_t2 \\
        --splits=data/records/splits.json --output=data/masks
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import re
import sys
import warnings
from collections.abc import Sequence

from spleen_tf.core import files, flags, locks, timing
from spleen_tf.core.files import InputError
from spleen_tf.imaging.intensity import Modality
from spleen_tf.imaging.volume import Geometry, Volume
from spleen_tf.inference import bids, jobs, modality, places, released
from spleen_tf.inference import family as families
from spleen_tf.inference.config import PredictConfig
from spleen_tf.inference.engine import Engine
from spleen_tf.inference.family import Family
from spleen_tf.inference.jobs import Job
from spleen_tf.inference.prediction import Options, PredictionRecord
from spleen_tf.io import nifti, readers
from spleen_tf.io.dicom import sources
from spleen_tf.reporting import outputs, preview


def main(config: PredictConfig) -> int:
    """Segments every volume; a bad one of many is named, and the others are still done."""
    planned = _plan(config)
    named = _named_family(config)
    _check(config)
    is_batch = config.bids or not config.input or jobs.is_batch(config.input)
    if not is_batch:
        planned = [_with_headers(planned[0], config)]

    # TensorFlow takes seconds to import, which a wrong flag should not cost.
    if named:
        _start(named, config)
    if config.bids:
        bids.write_description(pathlib.Path(config.output), pathlib.Path(config.input or ""))
    records, failed = {}, []
    for job in planned:
        try:
            records[job.case] = _result(job, named, config)
        except InputError as error:
            if not is_batch:
                raise
            failed.append(job.source.name)
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
    if config.table and records:
        files.write_csv(
            config.table, [outputs.row(case, record) for case, record in records.items()]
        )
    if failed:
        names = ", ".join(failed)
        print(f"{len(failed)} of {len(planned)} cases failed: {names}", file=sys.stderr)
    return flags.EXIT_FAILED if failed else flags.EXIT_DONE


def _plan(config: PredictConfig) -> list[Job]:
    """The volumes to segment.

    Raises:
        InputError: if flags do not go together, or an input or output is at fault.
    """
    asked = {kind: getattr(config, kind) for kind in jobs.SUFFIXES}
    if bool(config.input) == bool(config.dataset):
        found = "both" if config.input else "nothing"
        raise InputError(
            "--input: expected a NIfTI file, a folder of them, or a DICOM series, or --dataset "
            f"with --splits in its place, found {found}."
        )
    together = (
        *(("dataset", "splits"), ("splits", "dataset")),
        *(("series_uid", "input"), ("bids", "input")),
    )
    for flag_name, other in together:
        if getattr(config, flag_name) and not getattr(config, other):
            raise InputError(f"--{flag_name}: expected together with --{other}, found it alone.")
    if config.dataset and config.splits:
        cases = (config.dataset, config.splits, config.split, config.fold)
        return jobs.plan_split(*cases, config.output, asked, config.modality)
    if config.bids and config.series_uid:
        raise InputError("--series_uid: expected DICOM, found --bids, whose images are NIfTI.")
    if config.bids:
        return jobs.plan_bids(config.input or "", config.output, asked, config.modality)
    return jobs.plan(config.input or "", config.output, asked, config.series_uid, config.modality)


def _options(config: PredictConfig, job: Job | None = None) -> Options:
    return Options(
        threshold=config.threshold or None,
        largest_component=config.largest_component,
        fill_holes=config.fill_holes,
        tta=config.tta,
        full=config.full,
        modality=job.modality if job else None,
        with_probability=bool(config.probabilities),
    )


def _named_family(config: PredictConfig) -> Family | None:
    """The family that --model names, not loaded yet; None where each volume gets a released one.

    Raises:
        InputError: if it is not there or not in order, or there is no released one at all.
    """
    if config.model:
        return _resolve(config.model, config)
    needed: tuple[Modality, ...] = (config.modality,) if config.modality else ("CT", "MR")
    for modality_of_volume in needed:
        released.best_for(modality_of_volume)
    return None


@functools.cache
def _released_family(place: pathlib.Path, config: PredictConfig) -> Family:
    family = _resolve([str(place)], config)
    _start(family, config)
    return family


def _resolve(paths: Sequence[str], config: PredictConfig) -> Family:
    is_calibrated = _options(config).is_as_calibrated
    return families.resolve(paths, _engine(config), config.second_opinion, is_calibrated)


def _engine(config: PredictConfig) -> Engine:
    return Engine(config.runtime, config.device, config.precision)


def _start(family: Family, config: PredictConfig) -> None:
    note = family.start(_engine(config))
    names = ", ".join(info.name for info in family.infos)
    print(f"{family.name}: {names}; {note}", flush=True)


def _check(config: PredictConfig) -> None:
    """Raises InputError for what can be seen without TensorFlow."""
    if not re.fullmatch(r"auto|cpu|gpu(:\d+)?", config.device):
        raise InputError(f"--device: expected auto, cpu, gpu or gpu:N, found {config.device!r}.")
    if config.table:
        places.check_place(pathlib.Path(config.table), (".csv",))
    for name, other in (("preview_voxel", "preview"), ("smooth_mesh", "mesh")):
        if getattr(config, name) and not getattr(config, other):
            raise InputError(f"--{name}: expected together with --{other}, found it alone.")
    if config.preview_voxel and len(config.preview_voxel) != 3:
        found = ",".join(map(str, config.preview_voxel))
        raise InputError(f"--preview_voxel: expected three whole numbers i,j,k, found {found}.")


def _with_headers(job: Job, config: PredictConfig) -> Job:
    """The job, with what the headers of its volume say.

    Raises:
        InputError: for what they show without the voxels.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        geometry = readers.read_geometry(job.source, job.series_uid)
    if readers.from_dicom(geometry):  # Others come again when the volume is read.
        for warning in caught:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    _check_voxel(config, geometry)
    if kind := next((kind for kind in jobs.DICOM_OBJECTS if kind in job.others), None):
        sources.check(geometry, f"--{kind}")
    return dataclasses.replace(job, geometry=geometry)


def _check_voxel(config: PredictConfig, image: Volume | Geometry) -> None:
    """Raises VolumeError if --preview_voxel is not in the volume."""
    if config.preview_voxel:
        preview.check_voxel(image, config.preview_voxel)


def _result(job: Job, named: Family | None, config: PredictConfig) -> PredictionRecord:
    """The result of a volume, from an earlier run if there is one and that is asked for."""
    if config.skip_existing and (earlier := job.result()):
        print(f"{job.mask}: exists already", flush=True)
        return earlier
    files.make_folder(job.mask.parent)
    with locks.output(job.mask):
        record = segment(job, named, config)
    print(f"{job.mask}: {_sentence(record)}", flush=True)
    if "mesh" in job.others and not record.voxels:
        print(f"{job.others['mesh']}: not written: there is no surface", flush=True)
    return record


def segment(job: Job, named: Family | None, config: PredictConfig) -> PredictionRecord:
    """One volume from file to files.

    Args:
        job: what to read and write.
        named: the models; None: the released family that is best for the volume.
        config: how to use them.

    Returns:
        The content of the JSON.
    """
    clock = timing.Clock()
    image = (
        readers.read_voxels(job.geometry)
        if job.geometry
        else readers.read(job.source, job.series_uid)
    )
    _check_voxel(config, image)  # In a folder, each volume has a shape of its own.
    clock.lap("read")
    if not (family := named):
        family = _best_family(image, job, config)
        clock.lap("load")
    result = family.segment(image, _options(config, job))
    clock.take_over(result.seconds)
    if "probabilities" in job.others:
        outputs.write_probability(job.others, image, result)
        clock.lap("probabilities")
    nifti.write_mask(job.mask, result.mask_ijk, like=image)
    # If another output fails, the mask still has its JSON.
    job.write_record(result.record)
    clock.lap("write")
    if job.others:
        style = outputs.Style(config.preview_voxel or None, config.smooth_mesh)
        outputs.write(job.others, image, result, style)
        clock.lap("others")
    record = result.record.with_cost(clock.seconds(), timing.peak_rss_mb())
    job.write_record(record)
    return record


def _best_family(image: Volume, job: Job, config: PredictConfig) -> Family:
    volume_modality = modality.of_volume(image, job.modality)
    return _released_family(released.best_for(volume_modality.modality), config)


def _sentence(record: PredictionRecord) -> str:
    seconds = record.seconds["total"] if isinstance(record.seconds, dict) else 0.0
    result = f"{record.volume_ml:.1f} mL" if record.voxels else "no spleen found"
    taken_for = f"taken for {record.modality} ({record.modality_reason})"
    review = f"; review: {'; '.join(record.reasons)}" if record.review else ""
    return f"{result} in {seconds:.1f} s, {taken_for}{review}"


if __name__ == "__main__":
    flags.run(main, PredictConfig)
