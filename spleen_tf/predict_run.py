"""What `spleen_tf.predict` does, which imports this when its flags are in order."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import re
import sys
import time
import warnings
from concurrent.futures import Future

from spleen_tf.core import events, files, process, runners
from spleen_tf.core.files import InputError
from spleen_tf.core.process import CommandFailed
from spleen_tf.inference import bids, jobs, manifest, places
from spleen_tf.inference.config import PredictConfig
from spleen_tf.inference.jobs import Job
from spleen_tf.inference.prediction import PredictionRecord
from spleen_tf.io import readers
from spleen_tf.io.dicom import network, sources, web
from spleen_tf.io.dicom.network import Archive
from spleen_tf.reporting import outputs
from spleen_tf.reporting.segmenter import Segmenter, check_voxel


def main(config: PredictConfig) -> int:
    """Segments every volume; a bad one of many is named, and the others are still done."""
    runners.check_flags(
        config.runner,
        config.runner_option,
        {name: getattr(config, name) for name in ("input", "dataset", "splits", "output")},
    )
    if config.runner:
        return _on_cluster(config)
    if not (config.input and web.is_address(config.input)):
        return _segment_all(config)
    _check(config)
    asked = {kind: getattr(config, kind) for kind in jobs.SUFFIXES}
    jobs.check_single_places(config.output, asked)  # Before a download that takes its time.
    with web.fetched(config.input) as folder:
        return _segment_all(dataclasses.replace(config, input=str(folder)))


def _on_cluster(config: PredictConfig) -> int:
    """The same by Apache Beam: cases that have no result yet."""
    _check(config)
    _check_no_patient(config)
    for name in ("bids", "series_uid", "send"):
        if getattr(config, name):
            raise InputError(f"--{name}: expected no --runner beside it, found {config.runner}.")
    from spleen_tf.cluster import prediction  # The file systems that it needs are an extra.

    outcome = prediction.predict(config, _plan)
    print(f"{config.output}: {outcome}", flush=True)
    return process.EXIT_FAILED if outcome.failed else process.EXIT_DONE


def _segment_all(config: PredictConfig) -> int:
    start = time.monotonic()
    planned = _plan(config)
    segmenter = Segmenter(config)
    _check(config)
    is_batch = config.bids or not config.input or jobs.is_batch(config.input)
    manifest_place = None
    if is_batch:
        _check_no_patient(config)
        manifest_place = manifest.place(config.output, planned)
    else:
        planned = [_with_headers(planned[0], config)]

    archive = _archive(config)
    if archive:
        network.verify(archive, _sent_kinds(config))
    # TensorFlow takes seconds to import, which a wrong flag should not cost.
    segmenter.start()
    if config.bids:
        source = pathlib.Path(config.input or "")
        bids.write_description(pathlib.Path(config.output), source, [manifest.FILE_NAME])
    records, failed = _results(planned, segmenter, config, archive, is_batch)
    if config.table and records:
        files.write_csv(
            config.table, [outputs.row(case, record) for case, record in records.items()]
        )
    if manifest_place:
        manifest.write(manifest_place, planned, records, failed, time.monotonic() - start)
    if failed:
        names = ", ".join(job.source.name for job in planned if job.case in failed)
        print(f"{len(failed)} of {len(planned)} cases failed: {names}", file=sys.stderr)
    return process.EXIT_FAILED if failed else process.EXIT_DONE


def _results(
    planned: list[Job],
    segmenter: Segmenter,
    config: PredictConfig,
    archive: Archive | None,
    is_batch: bool,
) -> tuple[dict[str, PredictionRecord], dict[str, str]]:
    """By case, the results, and what is wrong with those of a batch that failed."""
    left = [job for job in planned if not (config.skip_existing and _is_done(job))]
    is_left = {job.mask for job in left}
    records: dict[str, PredictionRecord] = {}
    failed: dict[str, str] = {}
    with contextlib.closing(segmenter.segment_each(left)) as results:
        for job in planned:
            try:
                is_new = job.mask in is_left
                record = _new_result(job, next(results)) if is_new else _earlier_result(job)
                records[job.case] = record
                if archive:
                    _send(job, archive)
                _log(job, record, is_new)
            except (InputError, CommandFailed) as error:
                message = failed[job.case] = " ".join(str(error).split())
                events.emit("case", "failed", case=job.case, message=message)
                if not is_batch:
                    raise
                print(f"error: {message}", file=sys.stderr, flush=True)
    return records, failed


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


def _check(config: PredictConfig) -> None:
    """Raises InputError for what can be seen without TensorFlow."""
    if _archive(config) and not _sent_kinds(config):
        raise InputError(
            "--send: expected together with --dicom_seg, --dicom_sr or --dicom_sc, found it alone."
        )
    if not re.fullmatch(r"auto|cpu|gpu(:\d+)?", config.device):
        raise InputError(f"--device: expected auto, cpu, gpu or gpu:N, found {config.device!r}.")
    if config.table:
        places.check_place(pathlib.Path(config.table), (".csv",))
    together = (
        *(("preview_voxel", "preview"), ("smooth_mesh", "mesh")),
        *(("before", "report"), ("before_image", "before")),
    )
    for name, other in together:
        if getattr(config, name) and not getattr(config, other):
            raise InputError(f"--{name}: expected together with --{other}, found it alone.")
    if config.preview_voxel and len(config.preview_voxel) != 3:
        found = ",".join(map(str, config.preview_voxel))
        raise InputError(f"--preview_voxel: expected three whole numbers i,j,k, found {found}.")
    if config.before:
        from spleen_tf.evaluation import aligned, timepoints  # Few need what they import.

        timepoints.read(config.before)
        if config.before_image:
            aligned.check_files(config.before, config.before_image)


def _check_no_patient(config: PredictConfig) -> None:
    """Raises InputError where one patient's data would be taken for those of many."""
    for name in ("sex", "age_years", "height_cm", "weight_kg", "before"):
        if getattr(config, name) is not None:
            raise InputError(f"--{name}: expected one volume to segment, found a folder of them.")


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
    check_voxel(config, geometry)
    if kind := next((kind for kind in jobs.DICOM_OBJECTS if kind in job.others), None):
        sources.check(geometry, f"--{kind}")
    return dataclasses.replace(job, geometry=geometry)


def _is_done(job: Job) -> bool:
    """Whether an earlier run left a result, be it one that cannot be read."""
    try:
        return job.result() is not None
    except InputError:
        return True


def _earlier_result(job: Job) -> PredictionRecord:
    record = job.result()
    if record is None:
        raise InputError(f"{job.json}: expected the result of an earlier run, found it gone.")
    print(f"{job.mask}: exists already", flush=True)
    return record


def _new_result(job: Job, future: Future[PredictionRecord]) -> PredictionRecord:
    record = future.result()
    print(f"{job.mask}: {_sentence(record)}", flush=True)
    if "mesh" in job.others and not record.voxels:
        print(f"{job.others['mesh']}: not written: there is no surface", flush=True)
    return record


def _log(job: Job, record: PredictionRecord, is_new: bool) -> None:
    """The stages of a case, and how it ended, for --log_json."""
    seconds = record.seconds if is_new and isinstance(record.seconds, dict) else {}
    for stage, duration in seconds.items():
        if stage != "total":
            events.emit(stage, case=job.case, seconds=duration)
    events.emit(
        "case",
        "review" if record.review else "done" if is_new else "skipped",
        case=job.case,
        seconds=seconds.get("total"),
        message="; ".join(record.reasons) or None,
        values={"volume_ml": record.volume_ml},
    )


def _archive(config: PredictConfig) -> Archive | None:
    """Whom the DICOM objects are sent to, if anyone."""
    return network.archive(config.send, config.send_from) if config.send else None


def _sent_kinds(config: PredictConfig) -> list[str]:
    return [kind for kind in jobs.DICOM_OBJECTS if getattr(config, kind)]


def _send(job: Job, archive: Archive) -> None:
    """Sends the DICOM objects of a volume, also those of an earlier run: they keep their UIDs."""
    paths = [job.others[kind] for kind in jobs.DICOM_OBJECTS if kind in job.others]
    network.send(archive, paths)
    print(f"{', '.join(map(str, paths))}: sent to {archive}", flush=True)


def _sentence(record: PredictionRecord) -> str:
    seconds = record.seconds["total"] if isinstance(record.seconds, dict) else 0.0
    result = f"{record.volume_ml:.1f} mL" if record.voxels else "no spleen found"
    taken_for = f"taken for {record.modality} ({record.modality_reason})"
    review = f"; review: {'; '.join(record.reasons)}" if record.review else ""
    return f"{result} in {seconds:.1f} s, {taken_for}{review}"
