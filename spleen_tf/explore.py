"""Looks a data set over before anything is trained on it.

Writes dataset.csv, a row per case with its geometry, its spleen and what is odd about it;
fingerprint.json, what the cases have in common and what a training should take from that
(python -m spleen_tf.train --fingerprint=FILE uses it); and report.html, both for a reader, with
histograms, the spleens' volumes and a picture of every case.

Example:
    python -m spleen_tf.explore --dataset=data/Task09_Spleen --output_dir=data/explored
"""

from __future__ import annotations

import collections
import dataclasses
import os
import pathlib
import sys
from collections.abc import Sequence

import tqdm

from spleen_tf.core import files, flags, locks
from spleen_tf.core.files import InputError
from spleen_tf.core.flags import flag
from spleen_tf.datasets import cases, fingerprint, survey
from spleen_tf.datasets.fingerprint import Fingerprint
from spleen_tf.datasets.layouts import Case
from spleen_tf.datasets.survey import CaseSurvey
from spleen_tf.imaging.intensity import Modality
from spleen_tf.imaging.planes import Plane
from spleen_tf.reporting import plots, preview

_PICTURE_PX = 1000


@dataclasses.dataclass(frozen=True)
class ExploreConfig:
    """What to look at."""

    dataset: str = flag(
        "",
        "A data set's folder (Medical Segmentation Decathlon or nnU-Net v2 layout) or a CSV with "
        "the columns case,image,label[,split], where an image may be a folder with a DICOM series.",
        required=True,
    )
    output_dir: str = flag(
        "", "A folder for dataset.csv, fingerprint.json and report.html.", required=True
    )
    plane: Plane = flag("coronal", "The plane that the fingerprint plans for.")
    max_volume_mm3: float = flag(
        0.0, "Spleens above this are outliers, whatever the others measure; 0: no bound.", minimum=0
    )
    label_value: int = flag(
        0, "The label's value that means spleen; 0: any value above 0.", minimum=0
    )
    modality: Modality | None = flag(None, "Of all cases, where the data set does not say it.")


def main(config: ExploreConfig) -> int:
    """Looks at every case; one that cannot be read is named in the table, and the others go on."""
    listed = cases.load(config.dataset, config.modality, missing_ok=True)
    output = files.make_folder(config.output_dir)
    with locks.folder(output):
        return _explore(config, listed, output)


def _explore(config: ExploreConfig, listed: Sequence[Case], output: pathlib.Path) -> int:
    # The plotting library of the report takes half a second to import.
    from spleen_tf.reporting import exploration

    seen = [
        _look_at(case, config.plane, config.label_value)
        for case in tqdm.tqdm(listed, desc="explore", unit="case", disable=None)
    ]
    surveys = survey.mark_outliers([one for one, _ in seen], config.max_volume_mm3 or None)
    pictures = {one.case: jpeg for one, jpeg in seen if jpeg is not None}
    files.write_csv(output / "dataset.csv", [one.row() for one in surveys])
    profiles = [one.profile for one in surveys if one.profile is not None]
    if not profiles:
        raise InputError(
            f"{config.dataset}: expected a case that can be read, found none; "
            f"{output / 'dataset.csv'} says why."
        )
    if config.label_value and not any(profile.spleen_mm3 for profile in profiles):
        raise cases.no_such_label_value(config.label_value, len(profiles))
    proposed = fingerprint.propose(profiles, config.plane)
    files.write_json(output / fingerprint.FILE_NAME, proposed)
    files.write_text(output / "report.html", exploration.report(surveys, proposed, pictures))
    for one in surveys:
        for oddity in one.oddities:
            if one.measured is None:
                print(f"error: {oddity}", file=sys.stderr)
            else:
                print(f"{one.case}: {oddity}")
    print(_summary(output, surveys, proposed))
    return flags.EXIT_FAILED if len(profiles) < len(surveys) else flags.EXIT_DONE


def _look_at(case: Case, plane: Plane, label_value: int) -> tuple[CaseSurvey, bytes | None]:
    """What is seen of a case, and a JPEG of three planes; None for one that cannot be read."""
    try:
        image, label = cases.read(case, label_value)
    except InputError as error:
        return survey.unreadable(case, error), None
    one = survey.survey(case, image, label, plane)
    figure = preview.draw(image, label.array_ijk > 0, window=one.window, modality=case.modality)
    return one, plots.jpeg(figure, _PICTURE_PX)


def _summary(output: os.PathLike[str], surveys: Sequence[CaseSurvey], proposed: Fingerprint) -> str:
    kinds = collections.Counter(one.measured.modality for one in surveys if one.measured)
    counted = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
    outliers = sum(one.outlier for one in surveys)
    odd = sum(bool(one.oddities) for one in surveys)
    sizes = "x".join(map(str, proposed.image_size))
    pixel = " x ".join(f"{mm:g}" for mm in proposed.pixel_mm)
    return (
        f"{output}: {counted} cases, {odd} of which deserve a look ({outliers} outliers); for "
        f"{proposed.plane} slices: "
        f"{sizes} pixels of {pixel} mm, depth {proposed.depth}, batch {proposed.batch_size}"
    )


if __name__ == "__main__":
    flags.run(main, ExploreConfig)
