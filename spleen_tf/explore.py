"""Looks a data set over before anything is trained on it.

Writes dataset.csv, a row a case with its geometry, its spleen and what is odd about it;
fingerprint.json, what the cases have in common and what a training should take from that
(python -m spleen_tf.train --fingerprint=FILE uses it); and report.html, both for a reader, with
histograms, the spleens' volumes and a picture of every case.

Example:
    python -m spleen_tf.explore --dataset=data/Task09_Spleen --output_dir=data/explored
"""

from __future__ import annotations

import collections
import dataclasses
import math
import os
import statistics
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import tqdm

from spleen_tf.core import files, flags
from spleen_tf.core.files import InputError
from spleen_tf.core.flags import flag
from spleen_tf.datasets import cases, fingerprint
from spleen_tf.datasets.cases import Case
from spleen_tf.imaging import intensity, planes
from spleen_tf.imaging.volume import Volume
from spleen_tf.io import readers
from spleen_tf.quality import checks, evidence
from spleen_tf.quality.evidence import Measurements
from spleen_tf.reporting import plots, preview

# A modified z-score beyond this is an outlier: Iglewicz and Hoaglin (1993), How to Detect and
# Handle Outliers.
OUTLIER_SCORE = 3.5
# The median absolute deviation of a normal distribution, in standard deviations.
_MAD_OF_NORMAL = 0.6745
# Organs are not waisted like that; labels with slices left out are.
_GAP_SHARE = 0.1
_MAX_NAMED = 5
_SAMPLED_VOXELS = 20_000
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
    plane: str = flag("coronal", "The plane that the fingerprint plans for.", choices=planes.PLANES)
    max_volume_mm3: float = flag(
        0.0, "Spleens above this are outliers, whatever the others measure; 0: no bound.", minimum=0
    )
    label_value: int = flag(
        0, "The label's value that means spleen; 0: any value above 0.", minimum=0
    )
    modality: str = flag(
        "", "CT or MR; needed where the data set does not say it.", choices=("", *cases.MODALITIES)
    )


@dataclasses.dataclass(frozen=True)
class Finding:
    """What is seen of one case; an empty `measured` where it cannot be read.

    Attributes:
        case: its name.
        measured: columns of dataset.csv.
        facts: what the fingerprint needs; None where the case cannot be read.
        oddities: in words.
        sample: (n,) intensities of a regular sample of the image's voxels.
        window: the intensities that a picture of it shows as black and white.
        picture: a JPEG of three planes with the label's outline.
    """

    case: str
    measured: dict[str, Any]
    facts: fingerprint.Facts | None
    oddities: tuple[str, ...]
    sample: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
    window: tuple[float, float] = (0.0, 1.0)
    picture: bytes = b""


def main(config: ExploreConfig) -> int:
    """Looks at every case; one that cannot be read is named in the table, and the others go on."""
    listed = cases.load(config.dataset, config.modality, missing_ok=True)
    output = files.make_folder(config.output_dir)
    findings = [
        look_at(case, config.plane, config.label_value)
        for case in tqdm.tqdm(listed, desc="explore", unit="case", disable=None)
    ]
    findings = mark_outliers(findings, config.max_volume_mm3)
    files.write_csv(output / "dataset.csv", [_row(finding) for finding in findings])
    known = [finding.facts for finding in findings if finding.facts is not None]
    if not known:
        raise InputError(
            f"{config.dataset}: expected a case that can be read, found none; "
            f"{output / 'dataset.csv'} says why."
        )
    if config.label_value and not any(facts.spleen_mm3 for facts in known):
        raise cases.no_such_label_value(config.label_value, len(known))
    proposed = fingerprint.propose(known, config.plane)
    files.write_json(output / fingerprint.FILE_NAME, proposed)
    files.write_text(output / "report.html", _report(findings, proposed))
    for finding in findings:
        for oddity in finding.oddities:
            if finding.facts is None:
                print(f"error: {oddity}", file=sys.stderr)
            else:
                print(f"{finding.case}: {oddity}")
    print(_summary(output, findings, proposed))
    return flags.EXIT_FAILED if len(known) < len(findings) else flags.EXIT_DONE


def look_at(case: Case, plane: str, label_value: int = 0) -> Finding:
    """One case's geometry, intensities and spleen.

    Args:
        case: which.
        plane: whose slices are counted.
        label_value: the label's value that means spleen; 0 for any value above 0.

    Returns:
        A Finding without facts where image or label is damaged, or they are on different grids.
    """
    try:
        image, label = cases.read(case, label_value)
    except InputError as error:
        return Finding(case.name, {}, None, (str(error),))
    inside = label.array_ijk > 0
    labels_nhw = planes.split(inside, image.affine, plane)
    spleen = evidence.measure(image, inside)
    measured = {
        "modality": case.modality,
        "shape": "x".join(map(str, image.shape)),
        "zooms_mm": "x".join(f"{mm:.4g}" for mm in image.zooms_mm),
        "orientation": image.orientation,
        **readers.storage(image),
        "lowest": float(image.array_ijk.min()),
        "highest": float(image.array_ijk.max()),
        "spleen_mm3": round(spleen.volume_mm3, 1),
        "spleen_slices": int(labels_nhw.any(axis=(1, 2)).sum()),
        "touches_edge": spleen.complete is False,
    }
    facts = fingerprint.Facts.of(image, inside, case.modality)
    window = intensity.default_window(image.array_ijk, case.modality)
    figure = preview.draw(image, inside, window=window, modality=case.modality)
    return Finding(
        case.name,
        measured,
        facts,
        tuple(_oddities(image, inside, spleen)),
        image.array_ijk.ravel("K")[:: max(1, image.array_ijk.size // _SAMPLED_VOXELS)].copy(),
        window,
        plots.jpeg(figure, _PICTURE_PX),
    )


def _oddities(image: Volume, inside_ijk: np.ndarray, spleen: Measurements) -> list[str]:
    if spleen.centroid_ras_mm is None:
        return ["no spleen in its label"]
    found = []
    if not spleen.complete:
        found.append("the spleen touches the volume's edge: its volume is a lower bound")
    if checks.is_on_the_right(image, spleen.centroid_ras_mm):
        found.append("the spleen lies in the right half of the volume; is the header right?")
    axis = int(np.argmax(image.zooms_mm))
    gaps = _gaps(np.moveaxis(inside_ijk, axis, 0))
    if gaps.size:
        named = ", ".join(map(str, gaps[:_MAX_NAMED])) + ", …" * (gaps.size > _MAX_NAMED)
        found.append(
            f"its label all but vanishes at {'ijk'[axis]} = {named}, counted from 0, between "
            "slices with much more of it"
        )
    return found


def _gaps(slices_nhw: np.ndarray) -> np.ndarray:
    """(M,) int: slices in which a label all but vanishes between larger ones."""
    areas = np.count_nonzero(slices_nhw, axis=(1, 2))
    before, after = np.maximum.accumulate(areas), np.maximum.accumulate(areas[::-1])[::-1]
    return np.flatnonzero(areas < _GAP_SHARE * np.minimum(before, after))


def mark_outliers(findings: Sequence[Finding], max_volume_mm3: float = 0.0) -> list[Finding]:
    """Adds to each case whether its spleen's volume is out of line, and why.

    Volumes vary by factors, so that their logarithms are compared: an outlier's modified z-score
    0.6745·(x − median) / MAD is beyond 3.5 (Iglewicz and Hoaglin, 1993). Median and MAD (the median
    absolute deviation) do not follow the outliers, as mean and standard deviation would.

    Args:
        findings: of all cases; those without spleen do not count.
        max_volume_mm3: a larger spleen is an outlier in any case; 0: no such bound.
    """
    volumes = [f.measured["spleen_mm3"] for f in findings if f.measured.get("spleen_mm3")]
    logs = [math.log(mm3) for mm3 in volumes]
    median = statistics.median(logs) if logs else 0.0
    mad = statistics.median(abs(x - median) for x in logs) if logs else 0.0
    marked = []
    for finding in findings:
        why = list(finding.oddities)
        mm3 = finding.measured.get("spleen_mm3")
        before = len(why)
        if (
            mm3
            and mad
            and abs(score := _MAD_OF_NORMAL * (math.log(mm3) - median) / mad) > (OUTLIER_SCORE)
        ):
            size = "large" if score > 0 else "small"
            why.append(f"outlier: {mm3:,.0f} mm3 is unusually {size}, modified z-score {score:.1f}")
        if mm3 and max_volume_mm3 and mm3 > max_volume_mm3:
            why.append(f"outlier: {mm3:,.0f} mm3 is above {max_volume_mm3:,.0f}")
        measured = {**finding.measured, "outlier": len(why) > before, "why": "; ".join(why)}
        marked.append(dataclasses.replace(finding, measured=measured, oddities=tuple(why)))
    return marked


def _row(finding: Finding) -> dict[str, Any]:
    return {"case": finding.case, **finding.measured}


def _report(findings: Sequence[Finding], proposed: dict[str, Any]) -> str:
    """The page: intensities are in HU for CT, else on the grey scale of each volume's picture."""
    from spleen_tf.reporting import report  # Its plotting library takes half a second to import.

    in_hu = proposed["modality"] == "CT"

    def scaled(values: np.ndarray, window: tuple[float, float]) -> np.ndarray:
        if in_hu:
            return values
        low, high = window
        # Beyond the grey scale, metal and air would stretch the axis.
        return np.clip((values.astype(np.float32) - low) / (high - low), -0.25, 1.25)

    everywhere, inside = [], []
    for finding in findings:
        if finding.facts is None:
            continue
        everywhere.append(scaled(finding.sample, finding.window))
        inside.append(scaled(finding.facts.spleen_values, finding.window))
    return report.exploration(
        [_row(finding) for finding in findings],
        proposed,
        {"whole image": np.concatenate(everywhere), "inside the spleen": np.concatenate(inside)},
        "intensity (HU)" if in_hu else "intensity, as a share of each volume's grey scale",
        {finding.case: finding.picture for finding in findings if finding.picture},
    )


def _summary(output: os.PathLike, findings: Sequence[Finding], proposed: dict[str, Any]) -> str:
    kinds = collections.Counter(f.measured["modality"] for f in findings if f.facts)
    counted = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
    outliers = sum(bool(f.measured["outlier"]) for f in findings)
    odd = sum(bool(f.measured["why"]) for f in findings)
    sizes = "x".join(map(str, proposed["image_size"]))
    pixel = " x ".join(f"{mm:g}" for mm in proposed["pixel_mm"])
    return (
        f"{output}: {counted} cases, {odd} of which deserve a look ({outliers} outliers); for "
        f"{proposed['plane']} slices: "
        f"{sizes} pixels of {pixel} mm, depth {proposed['depth']}, batch {proposed['batch_size']}"
    )


if __name__ == "__main__":
    flags.run(main, ExploreConfig)
