"""All volumes that predict was asked for, from the first check to the manifest."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import sys
import time
import warnings
from concurrent.futures import Future
from typing import TYPE_CHECKING

from spleen_tf.core import events, files, process
from spleen_tf.core.files import InputError
from spleen_tf.core.process import CommandFailed
from spleen_tf.inference.prediction import PredictionRecord
from spleen_tf.io import readers
from spleen_tf.io.dicom import web
from spleen_tf.jobs import bids, checks, manifest, plan
from spleen_tf.jobs.config import PredictConfig
from spleen_tf.jobs.job import Job
from spleen_tf.jobs.segmenter import Segmenter, check_voxel
from spleen_tf.reporting import outputs
from spleen_tf.reporting.outputs import DICOM_OBJECTS

# Modules that import pydicom, which takes a third of a second, are imported for DICOM alone.
if TYPE_CHECKING:
    from spleen_tf.io.dicom.network import Archive


def run(config: PredictConfig) -> int:
    """Segments every volume; a bad one of many is named, and the others are still done.

    Returns:
        The exit code.
    """
    if config.input is None or not web.is_address(config.input):
        return _segment_all(config)
    checks.check_flags(config)
    plan.check_single_places(config)  # Before a download that takes its time.
    with web.fetched(config.input) as folder:
        return _segment_all(dataclasses.replace(config, input=str(folder)))


def _segment_all(config: PredictConfig) -> int:
    start = time.monotonic()
    planned = plan.of(config)
    segmenter = Segmenter(config)
    checks.check_flags(config)
    is_batch = config.bids or not config.input or plan.is_batch(config.input)
    folder, manifest_place = pathlib.Path(config.output), None
    if is_batch:
        checks.check_for_many(config)
        manifest_place = manifest.place(folder / bids.LOGS if config.bids else folder, planned)
    else:
        planned = [_with_headers(planned[0], config)]

    archive = _archive(config.send, config) if config.send else None
    # TensorFlow takes seconds to import, which a wrong flag should not cost.
    segmenter.start()
    if config.bids:
        bids.write_description(folder, pathlib.Path(config.input or ""))
    records, failed = _results(planned, segmenter, config, archive, is_batch)
    if config.table and records:
        files.write_csv(
            config.table, [outputs.row(case, record) for case, record in records.items()]
        )
    if manifest_place:
        seconds = time.monotonic() - start
        manifest.write(manifest_place, folder, planned, records, failed, seconds)
    if failed:
        names = ", ".join(job.source.name for job in planned if job.case in failed)
        print(f"{len(failed)} of {len(planned)} cases failed: {names}", file=sys.stderr)
    return process.EXIT_FAILED if failed else process.EXIT_DONE


def _archive(address: str, config: PredictConfig) -> Archive:
    """The archive that --send names, which has said that it takes what is asked for."""
    from spleen_tf.io.dicom import network

    archive = network.archive(address, config.send_from)
    network.verify(archive, [kind for kind in DICOM_OBJECTS if getattr(config, kind)])
    return archive


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
    if kind := next((kind for kind in DICOM_OBJECTS if kind in job.others), None):
        from spleen_tf.io.dicom import sources

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


def _send(job: Job, archive: Archive) -> None:
    """Sends the DICOM objects of a volume, also those of an earlier run: they keep their UIDs."""
    from spleen_tf.io.dicom import network

    paths = [job.others[kind] for kind in DICOM_OBJECTS if kind in job.others]
    network.send(archive, paths)
    print(f"{', '.join(map(str, paths))}: sent to {archive}", flush=True)


def _sentence(record: PredictionRecord) -> str:
    seconds = record.seconds["total"] if isinstance(record.seconds, dict) else 0.0
    result = f"{record.volume_ml:.1f} mL" if record.voxels else "no spleen found"
    taken_for = f"taken for {record.modality} ({record.modality_reason})"
    review = f"; review: {'; '.join(record.reasons)}" if record.review else ""
    return f"{result} in {seconds:.1f} s, {taken_for}{review}"
