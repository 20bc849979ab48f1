"""Compares the spleen at two examinations: has its volume changed by more than measurements differ?

An examination is a mask, a JSON that predict wrote, or a folder of such files, which pair by name.
The output folder receives compare.json and compare.csv: both volumes, the change in mL and percent,
the 95% limits of agreement of two independent measurements, and whether the change is beyond them.
The limits come from the cross-validation of the models that made the masks, which the JSON beside a
mask names.

With both images, the earlier one is moved rigidly onto the later one. The folder also receives
before_on_after.nii.gz, the earlier mask on the grid of the later image, and compare.html, a page
with both outlines. The volumes compared are those of the masks as they are.

Examples:
    python -m spleen_tf.compare --before=2024/spleen.nii.gz --after=2025/spleen.nii.gz \\
        --output_dir=data/change
    python -m spleen_tf.compare --before=2024/masks --after=2025/masks --output_dir=data/changes
    python -m spleen_tf.compare --before=2024/spleen.nii.gz --before_image=2024/ct.nii.gz \\
        --after=2025/spleen.nii.gz --after_image=2025/ct.nii.gz --output_dir=data/change \\
        --transform=data/change/later_to_earlier.tfm
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from collections.abc import Sequence

import msgspec
from tqdm import tqdm

from spleen_tf.comparison import aligned, change, family_error, timepoints
from spleen_tf.comparison.change import Change
from spleen_tf.comparison.family_error import FamilyError
from spleen_tf.comparison.timepoints import TimePoint
from spleen_tf.core import files, flags, locks
from spleen_tf.core.files import InputError
from spleen_tf.core.flags import ConfigError, flag
from spleen_tf.imaging import registration
from spleen_tf.io import nifti, readers
from spleen_tf.jobs import places

PAGE_NAME, MOVED_NAME = "compare.html", "before_on_after.nii.gz"


@dataclasses.dataclass(frozen=True)
class CompareConfig:
    """The flags of `python -m spleen_tf.compare`."""

    before: str = flag(
        "",
        "The earlier examination: a mask, a JSON of predict, or a folder of them.",
        required=True,
    )
    after: str = flag(
        "", "The later examination: a mask, a JSON of predict, or a folder of them.", required=True
    )
    output_dir: str = flag("", "The folder for the files of results.", required=True)
    label_value: int = flag(0, "The value of the organ in the masks; 0: any value > 0.", minimum=0)
    model: str | None = flag(
        None,
        "The family that made the masks, a folder or the name of a released one, whose "
        "cross-validation gives the limits. By default the one that the JSON beside a mask names.",
    )
    error_percent: float | None = flag(
        None,
        "The error of one measurement, as a standard deviation in percent of the volume: for masks "
        "that were drawn by hand or by another program.",
    )
    before_image: str | None = flag(
        None,
        "The image of --before, NIfTI or a DICOM series. Both images are registered, which needs "
        "the extra [registration].",
    )
    after_image: str | None = flag(None, "The image of --after.")
    transform: str | None = flag(
        None,
        "A file (.tfm) for the rigid transform as ITK reads it, from the later image to the "
        "earlier: the one to resample the earlier image with.",
    )


def main(config: CompareConfig) -> int:
    """Compares every pair; a bad one of many is named, and the others are still done."""
    pairs = timepoints.pair(config.before, config.after)
    _check(config, pairs)
    given = _given_error(config)
    folder = files.make_folder(config.output_dir)
    with locks.folder(folder):
        return _compare(pairs, given, config, folder)


def _compare(
    pairs: Sequence[timepoints.Pair],
    given: FamilyError | None,
    config: CompareConfig,
    folder: pathlib.Path,
) -> int:
    changes, failed = [], []
    for case, before_path, after_path in tqdm(pairs, "compare", unit="case", disable=None):
        try:
            before = timepoints.read(before_path, config.label_value)
            after = timepoints.read(after_path, config.label_value)
            changes.append(_change(case, before, after, given, config))
        except InputError as error:
            if len(pairs) == 1:
                raise
            failed.append(case)
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
    if not changes:
        raise InputError(f"{config.after}: expected a pair that can be compared, found none.")
    comparison = change.summarize(changes)
    change.write(folder, comparison)
    for one in changes:
        print(change.sentence(one))
    if len(changes) > 1:
        print(
            f"{len(changes)} cases: {comparison.beyond_limits} beyond the limits of agreement, "
            f"{comparison.not_judged} not judged"
        )
    if failed:
        print(f"{len(failed)} of {len(pairs)} cases failed: {', '.join(failed)}", file=sys.stderr)
    return flags.EXIT_FAILED if failed else flags.EXIT_DONE


def _check(config: CompareConfig, pairs: Sequence[timepoints.Pair]) -> None:
    """Raises InputError for what can be seen before the work."""
    if config.model and config.error_percent is not None:
        raise ConfigError("--error_percent: expected it or --model, found both.")
    if config.error_percent is not None and not 0 < config.error_percent < 100:
        raise ConfigError(
            f"--error_percent: expected above 0 and below 100, found {config.error_percent:g}."
        )
    flags.check_together(
        config,
        ("before_image", "after_image"),
        ("after_image", "before_image"),
        ("transform", "before_image"),
    )
    if not config.before_image or not config.after_image:
        return
    if config.transform:
        places.check_place(pathlib.Path(config.transform), (".tfm",))
    _, before, after = pairs[0]
    if pathlib.Path(config.before).is_dir():
        raise ConfigError(
            f"{config.before}: expected one mask where images are given, found a folder; register "
            "one pair at a time."
        )
    aligned.check_files(before, config.before_image)
    aligned.check_files(after, config.after_image)


def _given_error(config: CompareConfig) -> FamilyError | None:
    """The error of measurement that the command line says."""
    if config.error_percent is not None:
        return family_error.stated(config.error_percent)
    return family_error.of_family(config.model) if config.model else None


def _change(
    case: str,
    before: TimePoint,
    after: TimePoint,
    given: FamilyError | None,
    config: CompareConfig,
) -> Change:
    """The change of a case; where images are given, they are registered and drawn, too."""
    changed = change.compare(case, before, after, given)
    if not (config.before_image and config.after_image and before.mask and after.mask):
        return changed
    # Its plotting library takes half a second to import.
    from spleen_tf.reporting import comparison

    images = readers.read(config.before_image), readers.read(config.after_image)
    found = aligned.align(images[0], before.mask, images[1], after.mask)
    changed = msgspec.structs.replace(changed, registration=found.record)
    folder = pathlib.Path(config.output_dir)
    nifti.write_mask(folder / MOVED_NAME, found.before_mask, like=found.after)
    if config.transform:
        registration.write_transform(config.transform, found.rigid)
    files.write_text(folder / PAGE_NAME, comparison.page_of(changed, found))
    return changed


if __name__ == "__main__":
    flags.run(main, CompareConfig)
