"""The report of a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spleen_tf.datasets import survey
from spleen_tf.datasets.fingerprint import Fingerprint
from spleen_tf.datasets.survey import CaseSurvey
from spleen_tf.reporting import charts, page
from spleen_tf.reporting.page import KeyFigure

# Of dataset.csv, what the page's table begins with.
_FIRST_COLUMNS = ("case", "spleen_mm3", "spleen_slices", "touches_edge", "outlier", "why")


def report(
    surveys: Sequence[CaseSurvey], proposed: Fingerprint, pictures: Mapping[str, bytes]
) -> str:
    """The page of a data set: what is odd, what it is like, intensities, volumes, every case.

    Args:
        surveys: of all cases; at least one could be read.
        proposed: the fingerprint.
        pictures: JPEG by case.
    """
    spleens = [
        (one.case, one.measured.spleen_mm3 / 1000, one.outlier)
        for one in surveys
        if one.measured and one.measured.spleen_mm3
    ]
    volumes = charts.volumes(
        [case for case, _, _ in spleens],
        [volume_ml for _, volume_ml, _ in spleens],
        [is_outlier for _, _, is_outlier in spleens],
    )
    in_hu = proposed.modality == "CT"
    histogram = charts.histogram(
        survey.intensities(surveys, proposed.modality),
        "intensity (HU)" if in_hu else "intensity, as a share of each volume's grey scale",
    )
    rows = [one.row() for one in surveys]
    columns = max((list(row) for row in rows), key=len)
    header = sorted(columns, key=lambda column: column not in _FIRST_COLUMNS)
    return page.render(
        "exploration.html",
        odd=[f"{one.case}: {'; '.join(one.oddities)}" for one in surveys if one.oddities],
        fingerprint=_fingerprint(proposed),
        charts={
            "volumes": page.chart(volumes, "volumes"),
            "histogram": page.chart(histogram, "histogram"),
        },
        header=header,
        rows=[[row.get(column, "") for column in header] for row in rows],
        marked=[bool(one.oddities) for one in surveys],
        pictures=[(jpeg, case) for case, jpeg in pictures.items()],
    )


def _fingerprint(proposed: Fingerprint) -> list[KeyFigure]:
    volumes = proposed.spleen_volume_ml
    span = f"{volumes['minimum']:.0f} to {volumes['maximum']:.0f} mL" if volumes else ""
    median = f"{volumes['median']:.0f} mL" if volumes else "–"
    shape = "×".join(map(str, proposed.median_shape))
    image_size = " × ".join(map(str, proposed.image_size))
    window_unit = "HU" if proposed.modality == "CT" else "percentiles of each volume"
    return [
        KeyFigure("Cases", str(proposed.cases), str(proposed.modality)),
        KeyFigure("Median shape", shape, "right, anterior, superior"),
        KeyFigure("Median spacing", "×".join(f"{mm:g}" for mm in proposed.median_zooms_mm), "mm"),
        KeyFigure("Median spleen", median, span),
        KeyFigure("Proposed pixels", " × ".join(f"{mm:g}" for mm in proposed.pixel_mm), "mm"),
        KeyFigure("Proposed image size", image_size, proposed.plane),
        KeyFigure("Proposed window", " to ".join(f"{x:g}" for x in proposed.window), window_unit),
        KeyFigure("Proposed depth", str(proposed.depth), "halvings of the resolution"),
        KeyFigure("Proposed batch", str(proposed.batch_size), "slices per step"),
    ]
