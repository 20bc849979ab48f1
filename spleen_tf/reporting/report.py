"""The reports: of a prediction, of an evaluation. That of a data set is in exploration."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from spleen_tf.evaluation import results, tables
from spleen_tf.evaluation.agreement import limits_of_agreement
from spleen_tf.evaluation.decision import Decision
from spleen_tf.evaluation.metrics import CaseMetrics
from spleen_tf.evaluation.summary import Summary
from spleen_tf.imaging.volume import Volume
from spleen_tf.inference.prediction import PredictionRecord
from spleen_tf.io import mesh
from spleen_tf.reporting import charts, gauge, key_figures, page, viewer
from spleen_tf.reporting.page import KeyFigure

# Of cases.csv, what the page's table shows.
_CASE_COLUMNS = ("dice", "jaccard", "nsd_2mm", "hd95_mm", "assd_mm", "volume_error_percent")
# Of a prediction's JSON, what the page has in sentences.
_SHOWN_ABOVE = ("reasons", "volume_reference")
# The surface of a finer mask is shown at a half, a third, … of its resolution.
_MOST_SURFACE_VOXELS = 150_000


def prediction(
    image: Volume,
    mask_ijk: npt.NDArray[Any],
    record: PredictionRecord,
    *,
    window: tuple[float, float] | None,
    modality: str,
    earlier: Markup | None = None,
) -> str:
    """The page of one prediction: warnings, figures, three planes, surface, particulars.

    Nothing of image.source is in it.

    Args:
        image: the volume.
        mask_ijk: (I, J, K) bool.
        record: the content of the prediction's JSON.
        window: the grey scale's ends to begin with; None: as `preview.draw` has them.
        modality: 'CT' or 'MR'.
        earlier: the part that compares it with an earlier examination (`comparison.earlier`).
    """
    element, script = viewer.viewer(image, mask_ijk, window, modality)
    surface = None
    if record.voxels:
        surface = page.chart(charts.surface(_surface(image, mask_ijk)), "surface")
    content = msgspec.to_builtins(record)
    reference = record.volume_reference
    return page.render(
        "prediction.html",
        verdict=key_figures.verdict(record),
        figures=key_figures.of_prediction(record),
        gauge=reference and gauge.gauge(record.volume_ml, record.volume_ml_interval, reference),
        gauge_note=key_figures.gauge_note(reference) if reference else "",
        has_interval=record.volume_ml_interval is not None,
        earlier=earlier or "",
        viewer=element,
        viewer_scripts=viewer.scripts(),
        viewer_script=script,
        charts={"surface": surface} if surface else {},
        particulars=[(key, _text(content[key])) for key in content if key not in _SHOWN_ABOVE],
    )


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
    return page.render(
        "evaluation.html",
        cases=len(rows),
        counted=tables.counted(len(rows)),
        without_overlap=_without_overlap(rows),
        means=_means(summary),
        interval_note=tables.INTERVAL_NOTE,
        charts={
            "volumes": page.chart(volumes, "volumes"),
            "scores": page.chart(scores, "scores"),
        },
        pictures=[(jpeg, f"{case}: Dice {dice_of[case]:.3f}") for case, jpeg in pictures.items()],
        decision=_decision(decision) if decision else None,
        header=["case", *_CASE_COLUMNS],
        rows=[[row.case, *(getattr(row, name) for name in _CASE_COLUMNS)] for row in in_order],
    )


def _surface(image: Volume, mask_ijk: npt.NDArray[Any]) -> mesh.Mesh:
    """The smoothed surface, of as many voxels as a browser turns with ease."""
    step = max(1, math.ceil((np.count_nonzero(mask_ijk) / _MOST_SURFACE_VOXELS) ** (1 / 3)))
    affine = image.affine.copy()
    affine[:3, :3] *= step
    return mesh.surface(mask_ijk[::step, ::step, ::step], affine, smooth=True)


def _text(value: object) -> str:
    """A value of a record, for a reader."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        parts = (f"[{_text(v)}]" if isinstance(v, list | tuple) else _text(v) for v in value)
        return ", ".join(parts)
    if value is None:
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _without_overlap(rows: Sequence[CaseMetrics]) -> list[str]:
    missed, absent = "nothing of the reference was found", "the reference is empty"
    return [f"{row.case}: {missed if row.truth_mm3 else absent}" for row in rows if row.dice == 0]


def _means(summary: Summary) -> list[KeyFigure]:
    figures = []
    for column, (name, digits) in tables.HEADLINES.items():
        measure = summary.measures[column]
        if measure.mean is None:
            figures.append(KeyFigure(name, "–", "defined in no case"))
            continue
        worst = measure.minimum if digits == 3 else measure.maximum
        without = f"without {tables.counted(measure.undefined)}, where it is undefined"
        remarks = [
            tables.in_brackets(measure.ci95, digits),
            f"worst {tables.number(worst, digits)}",
            without if measure.undefined else "",
        ]
        remark = "; ".join(filter(None, remarks))
        figures.append(KeyFigure(name, f"{measure.mean:.{digits}f}", remark))
    return figures


def _decision(decision: Decision) -> dict[str, object]:
    return {
        "rule": tables.decision_rule(decision),
        "counts": tables.decision_counts(decision),
        "estimates": tables.decision_estimates(decision),
        "notes": decision.notes,
    }
