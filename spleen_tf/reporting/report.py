"""The reports: of a prediction, of an evaluation, of a data set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import spleen_tf
from spleen_tf.evaluation import results, tables
from spleen_tf.evaluation.agreement import limits_of_agreement
from spleen_tf.evaluation.decision import SPLENOMEGALY_ML, Decision
from spleen_tf.evaluation.metrics import CaseMetrics
from spleen_tf.evaluation.summary import Summary
from spleen_tf.imaging.volume import Volume
from spleen_tf.io import mesh
from spleen_tf.reporting import charts, page, viewer

# CT of 140 adults without disease of the spleen: 107.2 to 314.5 mL, mean 214.6 mL (Prassopoulos et
# al., Eur Radiol 1997; 7: 246-248).
ADULTS_ML = (107.2, SPLENOMEGALY_ML)
_SOURCE_OF_ADULTS = "Prassopoulos et al., Eur Radiol 1997; 7: 246–248"
# Of dataset.csv, what the page's table begins with.
_FIRST_COLUMNS = ("case", "spleen_mm3", "spleen_slices", "touches_edge", "outlier", "why")
# Of cases.csv, what the page's table shows.
_CASE_COLUMNS = ("dice", "jaccard", "nsd_2mm", "hd95_mm", "assd_mm", "volume_error_percent")
# The surface of a finer mask is shown at a half, a third, … of its resolution.
_MOST_SURFACE_VOXELS = 150_000


def prediction(
    image: Volume,
    mask_ijk: np.ndarray,
    result: Mapping[str, Any],
    *,
    window: tuple[float, float] | None,
    modality: str,
) -> str:
    """The page of one prediction: warnings, figures, three planes, surface, particulars.

    Nothing of image.source is in it.

    Args:
        image: the volume.
        mask_ijk: (I, J, K) bool.
        result: the content of the prediction's JSON.
        window: the grey scale's ends to begin with; None: as `preview.draw` has them.
        modality: 'CT' or 'MR'.
    """
    view, script = viewer.viewer(image, mask_ijk, window, modality)
    sections = [
        _verdict(result),
        page.section("Result", page.facts(_figures(result))),
        page.section("Three planes", view),
    ]
    if result["voxels"]:
        shown = charts.surface(_surface(image, mask_ijk))
        sections.append(
            page.section(
                "Surface",
                page.chart(shown, "surface"),
                page.text("Drag to turn it. It is smoothed for the eye; the volume is not."),
            )
        )
    sections.append(page.section("Particulars", _particulars(result)))
    return page.page("Spleen segmentation", sections, _footer(), [script])


def evaluation(
    rows: Sequence[CaseMetrics],
    summary: Summary,
    pictures: Mapping[str, bytes],
    decision: Decision | None = None,
) -> str:
    """The page of an evaluation: summary, agreement of volumes, cases, the worst with pictures.

    Args:
        rows: (N,) the cases.
        summary: of all of them.
        pictures: JPEG by case, of those to be shown, the worst first.
        decision: how a decision by their volumes agrees with the truth.
    """
    in_order = results.worst_first(rows)
    dice_of = {row.case: row.dice for row in rows}
    by_measure = {
        "Dice": [row.dice for row in in_order],
        "NSD at 2 mm": [row.nsd_2mm for row in in_order],
    }
    agreement = limits_of_agreement([row.truth_ml for row in rows], [row.pred_ml for row in rows])
    volumes = charts.bland_altman(agreement, [row.case for row in rows])
    scores = charts.scores([row.case for row in in_order], by_measure)
    sections = [
        _shortfalls(rows),
        page.section(
            "Summary",
            page.facts(_means(summary)),
            page.text(
                f"Means over {tables.counted(len(rows))}, each measured over its whole volume on "
                f"its own grid. {tables.INTERVAL_NOTE}"
            ),
        ),
        page.section("Volumes", page.chart(volumes, "volumes")),
        page.section("Cases", page.chart(scores, "scores")),
    ]
    if pictures:
        shown = [(jpeg, f"{case}: Dice {dice_of[case]:.3f}") for case, jpeg in pictures.items()]
        sections.append(page.section("The worst cases", page.pictures(shown, wide=True)))
    if decision:
        sections.append(_decision(decision))
    table = page.table(
        ["case", *_CASE_COLUMNS],
        [[row.case, *(getattr(row, column) for column in _CASE_COLUMNS)] for row in in_order],
    )
    sections.append(page.section("All cases, the worst first", table))
    return page.page("Evaluation", sections, _footer())


def exploration(
    rows: Sequence[Mapping[str, Any]],
    proposed: Mapping[str, Any],
    intensities: Mapping[str, np.ndarray],
    intensity_title: str,
    pictures: Mapping[str, bytes],
) -> str:
    """The page of a data set: what is odd, what it is like, intensities, volumes, every case.

    Args:
        rows: those of dataset.csv, with at least case, why, outlier and spleen_mm3.
        proposed: the fingerprint.
        intensities: of a sample of voxels, by where they lie.
        intensity_title: what these intensities are.
        pictures: JPEG by case.
    """
    odd = [f"{row['case']}: {row['why']}" for row in rows if row["why"]]
    measured = [row for row in rows if row.get("spleen_mm3")]
    heading = f"{len(odd)} of {len(rows)} cases deserve a look" if odd else "Nothing odd was found"
    volumes = charts.volumes(
        [row["case"] for row in measured],
        [row["spleen_mm3"] / 1000 for row in measured],
        [bool(row["outlier"]) for row in measured],
    )
    columns = max((list(row) for row in rows), key=len)
    header = sorted(columns, key=lambda column: column not in _FIRST_COLUMNS)
    shown = [(jpeg, case) for case, jpeg in pictures.items()]
    sections = [
        page.notice(heading, odd, alert=bool(odd)),
        page.section("Fingerprint", page.facts(_fingerprint(proposed))),
        page.section(
            "Volumes",
            page.chart(volumes, "volumes"),
            page.text(
                "An outlier, in red, has a modified z-score beyond 3.5: 0.6745·(x − median)/MAD of "
                "the logarithm of its volume (Iglewicz and Hoaglin, 1993), or lies above the bound "
                "that was given. Median and MAD do not follow the outliers, as mean and standard "
                "deviation would."
            ),
        ),
        page.section(
            "Intensities",
            page.chart(charts.histogram(intensities, intensity_title), "histogram"),
            page.text(
                "Shares of all voxels, sampled, and of those inside. The peaks of air and padding "
                "are cut off at the frame."
            ),
        ),
        page.section(
            "Table",
            page.table(
                header,
                [[row.get(column, "") for column in header] for row in rows],
                [bool(row["why"]) for row in rows],
            ),
        ),
        page.section("Every case, with its label", page.pictures(shown, wide=True)),
    ]
    return page.page("Data set", sections, _footer())


def _decision(decision: Decision) -> str:
    return page.section(
        "Decision",
        page.text(tables.decision_rule(decision)),
        page.table(["", "truly positive", "truly negative"], tables.decision_counts(decision)),
        page.table(["measure", "value", "95% interval"], tables.decision_estimates(decision)),
        *map(page.text, decision.notes),
    )


def _verdict(result: Mapping[str, Any]) -> str:
    if result["review"]:
        return page.notice("Look at this result before it is used", result["reasons"], alert=True)
    if result["predicted_dice"] is None:
        return page.notice(
            "Nothing odd was found, but quality is not estimated",
            ["No calibration belongs to this use of the models: how far to trust it is unknown."],
            alert=False,
        )
    if note := result["predicted_dice_note"]:
        return page.notice(
            "Nothing odd was found, but the expected Dice is not of such images",
            [f"It was {note}."],
            alert=False,
        )
    return page.notice("Nothing odd was found in this result", [], alert=False, calm=True)


def _figures(result: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    low, high = ADULTS_ML
    volume_ml = result["volume_ml"]
    bound = "" if result["complete"] is not False else "a lower bound: the volume cuts the organ; "
    place = "within" if low <= volume_ml <= high else "below" if volume_ml < low else "above"
    expected, interval = "not known", "no calibration belongs to this use of the models"
    if not result["voxels"]:
        interval = "nothing was found"
    if result["predicted_dice"] is not None:
        expected = f"{result['predicted_dice']:.2f}"
        interval = "90% interval {:.2f} to {:.2f}".format(*result["predicted_dice_interval"])
        if note := result["predicted_dice_note"]:
            interval += f"; {note}"
    intensity = result["mean_intensity"]
    return [
        (
            "Volume",
            f"{volume_ml:.1f} mL",
            f"{bound}{place} the {low:g} to {high:g} mL of adults without disease of the spleen "
            f"({_SOURCE_OF_ADULTS})",
        ),
        ("Expected Dice", expected, interval),
        (
            "Components found",
            str(result["components"]),
            "in the whole volume, before any was dropped",
        ),
        ("Mean intensity", "–" if intensity is None else f"{intensity:.1f}", ""),
    ]


def _surface(image: Volume, mask_ijk: np.ndarray) -> mesh.Mesh:
    """The smoothed surface, of as many voxels as a browser turns with ease."""
    step = max(1, math.ceil((np.count_nonzero(mask_ijk) / _MOST_SURFACE_VOXELS) ** (1 / 3)))
    affine = image.affine.copy()
    affine[:3, :3] *= step
    return mesh.surface(mask_ijk[::step, ::step, ::step], affine, smooth=True)


def _particulars(result: Mapping[str, Any]) -> str:
    rows = [[key, _spelt(value)] for key, value in result.items() if key not in ("reasons",)]
    return page.table(["", ""], rows)


def _spelt(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_spelt(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        parts = (f"[{_spelt(v)}]" if isinstance(v, list | tuple) else _spelt(v) for v in value)
        return ", ".join(parts)
    if value is None:
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _shortfalls(rows: Sequence[CaseMetrics]) -> str:
    lines = [
        f"{row.case}: nothing of the reference was found"
        if row.truth_mm3
        else f"{row.case}: the reference is empty"
        for row in rows
        if row.dice == 0
    ]
    heading = f"{len(lines)} of {len(rows)} cases have no overlap" if lines else ""
    return page.notice(heading, lines, alert=True) if lines else ""


def _means(summary: Summary) -> list[tuple[str, str, str]]:
    figures = []
    for column, (name, digits) in tables.HEADLINES.items():
        measure = summary.measures[column]
        if measure.mean is None:
            figures.append((name, "–", "defined in no case"))
            continue
        worst = measure.minimum if digits == 3 else measure.maximum
        without = f"without {tables.counted(measure.undefined)}, where it is undefined"
        remarks = [
            tables.in_brackets(measure.ci95, digits),
            f"worst {tables.number(worst, digits)}",
            without if measure.undefined else "",
        ]
        remark = "; ".join(filter(None, remarks))
        figures.append((name, f"{measure.mean:.{digits}f}", remark))
    return figures


def _fingerprint(proposed: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    volumes = proposed["spleen_volume_ml"]
    span = f"{volumes['minimum']:.0f} to {volumes['maximum']:.0f} mL" if volumes else ""
    median = f"{volumes['median']:.0f} mL" if volumes else "–"
    window_unit = "HU" if proposed["modality"] == "CT" else "percentiles of each volume"
    return [
        ("Cases", str(proposed["cases"]), str(proposed["modality"])),
        ("Median shape", "×".join(map(str, proposed["median_shape"])), "right, anterior, superior"),
        ("Median spacing", "×".join(f"{mm:g}" for mm in proposed["median_zooms_mm"]), "mm"),
        ("Median spleen", median, span),
        ("Proposed pixels", " × ".join(f"{mm:g}" for mm in proposed["pixel_mm"]), "mm"),
        ("Proposed image size", " × ".join(map(str, proposed["image_size"])), proposed["plane"]),
        ("Proposed window", " to ".join(f"{end:g}" for end in proposed["window"]), window_unit),
        ("Proposed depth", str(proposed["depth"]), "halvings of the resolution"),
        ("Proposed batch", str(proposed["batch_size"]), "slices a step"),
    ]


def _footer() -> str:
    return f"Made by spleen_tf {spleen_tf.__version__}."
