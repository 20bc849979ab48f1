"""The manifest of a batch: what was done, what failed, what a person should look at, with what."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence

import msgspec

from spleen_tf.core import files, versions
from spleen_tf.core.files import InputError
from spleen_tf.inference.prediction import PredictionRecord
from spleen_tf.jobs.job import Job

FILE_NAME = "manifest.json"
# What may change a mask, or a number.
_PACKAGES = ("numpy", "scipy", "nibabel", "pydicom", "onnxruntime", "tensorflow", "openvino")


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """A case that has its mask.

    Attributes:
        case: its name.
        mask: the file, relative to the manifest's folder where it lies in it.
        mask_sha256, source_sha256: of the bytes of the mask's and the volume's file; None for a
            source that is a folder.
        model, version: as in its JSON.
        seconds: that it took, in this run or an earlier one.
    """

    case: str
    mask: str
    mask_sha256: str
    source_sha256: str | None
    model: str
    version: str
    seconds: float | None


class Failed(msgspec.Struct, frozen=True):
    """A case that has no result, and why."""

    case: str
    message: str


class Review(msgspec.Struct, frozen=True):
    """A case that is done, whose result a person should look at before it is used, and why."""

    case: str
    reasons: tuple[str, ...]


class Entry(msgspec.Struct, frozen=True):
    """What the manifest says of a case that has its mask; nothing to review is None."""

    done: Done
    review: Review | None


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The content of manifest.json.

    Attributes:
        software: that made it.
        versions: of Python and of the packages that a result depends on, where installed.
        cases: how many the batch has; each is done or failed.
        done, failed: in the batch's order.
        review: of those that are done, the ones to look at.
        seconds: that the run took.
    """

    software: str
    versions: dict[str, str]
    cases: int
    done: tuple[Done, ...]
    failed: tuple[Failed, ...]
    review: tuple[Review, ...]
    seconds: float


def place(folder: pathlib.Path, planned: Sequence[Job]) -> pathlib.Path:
    """The manifest's file in a folder.

    Raises:
        InputError: if a case of that name has its JSON there.
    """
    path = folder / FILE_NAME
    for job in planned:
        if path in job.outputs:
            raise InputError(
                f"{job.source}: expected a case of another name than {path.stem!r}, which is that "
                "of the batch's manifest; rename it."
            )
    return path


def write(
    path: pathlib.Path,
    folder: pathlib.Path,
    planned: Sequence[Job],
    records: Mapping[str, PredictionRecord],
    failed: Mapping[str, str],
    seconds: float,
) -> None:
    """Writes the manifest of a batch that has ended, whole or not at all.

    Args:
        path: what `place` gave.
        folder: that of all masks, which it names from there.
        planned: the cases.
        records: by case, of those that have a result.
        failed: by case, why it has none, or was not sent.
        seconds: that the batch took.

    Raises:
        InputError: if it cannot be written.
    """
    done = [job for job in planned if job.case in records and job.case not in failed]
    entries = [entry(job, records[job.case], folder) for job in done]
    files.write_json(path, of(len(planned), entries, failed, seconds))


def entry(job: Job, record: PredictionRecord, folder: pathlib.Path) -> Entry:
    """What the manifest of a folder of masks says of a case that is done."""
    mask = job.mask.relative_to(folder) if job.mask.is_relative_to(folder) else job.mask
    done = Done(
        case=job.case,
        mask=mask.as_posix().encode(errors="backslashreplace").decode(),
        mask_sha256=files.sha256(job.mask),
        source_sha256=files.sha256(job.source) if job.source.is_file() else None,
        model=record.model,
        version=record.version,
        seconds=record.seconds.get("total") if isinstance(record.seconds, dict) else None,
    )
    return Entry(done, Review(job.case, record.reasons) if record.review else None)


def of(
    num_cases: int, entries: Sequence[Entry], failed: Mapping[str, str], seconds: float
) -> Manifest:
    """The manifest of so many cases, of which some are done and the others failed."""
    return Manifest(
        software=versions.SOFTWARE,
        versions=versions.installed(_PACKAGES),
        cases=num_cases,
        done=tuple(one.done for one in entries),
        failed=tuple(Failed(case, message) for case, message in failed.items()),
        review=tuple(one.review for one in entries if one.review),
        seconds=round(seconds, 1),
    )
