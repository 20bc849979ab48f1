"""Measures predicted masks against the truth.

Predictions and labels are single files, or folders whose files pair by name (CASE.nii.gz or
CASE.nii; a prediction CASE_0000.nii.gz, named like an input of nnU-Net, goes with CASE.nii.gz). The
output folder receives cases.csv (every measure of every case), summary.json (mean, sd, median,
minimum, maximum, 95% interval of the mean by BCa bootstrap, number undefined), results.md (the
table of results, then the cases with the worst first) and bland_altman.png (volumes). With
--decision=splenomegaly also decision.json: how well the predicted volume tells cases above a volume
from the others, with sensitivity, specificity, predictive values, likelihood ratios and what they
make of a prior probability; the same stands in results.md.

  python -m spleen_tf.evaluate --predictions=data/predictions --labels=data/Task09_Spleen \\
      --output_dir=data/evaluation
"""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
import time
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
from tqdm import tqdm

from spleen_tf.core import cores, events, files, flags, locks
from spleen_tf.core.files import InputError, InputWarning
from spleen_tf.core.flags import ConfigError, flag
from spleen_tf.evaluation import metrics, results, tables
from spleen_tf.evaluation.decision import SPLENOMEGALY_ML, Decision, assess
from spleen_tf.evaluation.metrics import CaseMetrics
from spleen_tf.evaluation.pairing import Pair, as_cases, find_pairs, read_mask, volumes_at
from spleen_tf.evaluation.summary import Summary, summarize
from spleen_tf.imaging import intensity, volume
from spleen_tf.io import nifti
from spleen_tf.reporting import plots, preview

# A third of the cases, within these.
_MIN_PICTURES, _MAX_PICTURES = 4, 12
_PICTURE_PX = 1000


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """The flags of `python -m spleen_tf.evaluate`."""

    predictions: str = flag("", "A predicted mask, or a folder of them.", required=True)
    labels: str = flag(
        "",
        "A label, a folder of them, or a data set's folder that has labelsTr/. Labels without a "
        "prediction are left out.",
        required=True,
    )
    output_dir: str = flag("", "The folder for the files of results.", required=True)
    label_value: int = flag(0, "The value of the organ in the labels; 0: any value > 0.", minimum=0)
    prediction_value: int = flag(
        0, "The value of the organ in the predictions; 0: any value > 0.", minimum=0
    )
    report: str | None = flag(
        None, "A self-contained HTML page with all results and pictures of the worst cases."
    )
    images: str | None = flag(
        None,
        "For the pictures of the report: the image of the label, or a folder of images named like "
        "the labels. If left out, the imagesTr/ beside labelsTr/; without it, outlines only.",
    )
    workers: int = flag(
        min(cores.available(), 4),
        "Cases measured at the same time; one of 512×512×1000 voxels takes over 1 GB.",
        minimum=1,
    )
    seed: int = flag(0, "Seed of the bootstrap.", minimum=0)
    decision: Literal["splenomegaly"] | None = flag(
        None,
        "A decision to measure: splenomegaly is a volume above --threshold_ml, in truth and as "
        "predicted.",
    )
    threshold_ml: float | None = flag(
        None,
        f"The volume in mL above which a spleen counts as enlarged; {SPLENOMEGALY_ML} if "
        "left out, the largest of 140 normal ones on CT (Prassopoulos et al., Eur Radiol "
        "7:246–248, 1997).",
    )
    prior: float | None = flag(
        None,
        "The probability of splenomegaly before the measurement, between 0 and 1; if left out, the "
        "prevalence among the cases.",
    )


def main(config: EvaluateConfig) -> None:
    """Pairs, measures, summarizes and writes."""
    _check(config)
    pairs = find_pairs(config.predictions, config.labels)
    for pair in pairs:  # Headers are quick to read: wrong input is rejected before the long work.
        label = nifti.read_geometry(pair.label)
        pred = nifti.read_geometry(pair.prediction)
        volume.check_same_grid(label, volume.in_order_of(pred, label.grid))
    image_of = _images(config, [pair.case for pair in pairs])
    models = [results.model_of(pair.prediction) for pair in pairs]
    with locks.folder(files.make_folder(config.output_dir)):
        _evaluate(config, pairs, models, image_of)


def _evaluate(
    config: EvaluateConfig,
    pairs: Sequence[Pair],
    models: Sequence[results.Model],
    image_of: Mapping[str, pathlib.Path],
) -> None:
    folder = pathlib.Path(config.output_dir)
    rows = measure(pairs, config)

    truth_ml, pred_ml = [row.truth_ml for row in rows], [row.pred_ml for row in rows]
    decision = None
    if config.decision:
        decision = assess(truth_ml, pred_ml, config.threshold_ml, config.prior)
    summary = summarize(rows, config.seed)
    results.write(folder, models, rows, summary, decision)
    plots.bland_altman(folder / "bland_altman.png", truth_ml, pred_ml, [row.case for row in rows])
    print(f"{results.model_table(models, rows)}\n\n{tables.means({str(len(rows)): summary})}")
    if decision:
        print(f"\n{tables.decision_section(decision)}")
    if config.report:
        files.write_text(config.report, _report(pairs, rows, summary, decision, image_of, config))


def _check(config: EvaluateConfig) -> None:
    """Raises InputError where flags do not fit together or name what is not there."""
    if config.report and not config.report.endswith(".html"):
        raise ConfigError(f"--report: expected a name that ends in .html, found {config.report!r}.")
    flags.check_together(
        config, ("images", "report"), ("threshold_ml", "decision"), ("prior", "decision")
    )
    if config.images and not os.path.exists(config.images):
        raise InputError(f"{config.images}: expected an image or a folder of them, found nothing.")
    if config.threshold_ml is not None and not 0 < config.threshold_ml < math.inf:
        raise ConfigError(
            f"--threshold_ml: expected a volume above 0 mL, found {config.threshold_ml:g}."
        )
    if config.prior is not None and not 0 < config.prior < 1:
        raise ConfigError(
            f"--prior: expected a probability above 0 and below 1, found {config.prior:g}."
        )


def measure(pairs: Sequence[Pair], config: EvaluateConfig) -> list[CaseMetrics]:
    """Measures each pair, in order, with a progress bar.

    Raises:
        InputError: if a file cannot be used, or if the grids of a pair differ.
    """

    def measure_one(pair: Pair) -> CaseMetrics:
        start = time.monotonic()
        truth = read_mask(pair.label, config.label_value)
        if not truth.array_ijk.any():
            inside = f"of value {config.label_value}" if config.label_value else "above 0"
            warnings.warn(
                f"{pair.label}: expected a label with voxels {inside}, found none; measures "
                "that are undefined for it are left out of the means",
                InputWarning,
                stacklevel=2,
            )
        pred = read_mask(pair.prediction, config.prediction_value)
        row = metrics.measure(pair.case, truth, volume.in_order_of(pred, truth.grid))
        seconds = time.monotonic() - start
        events.emit("evaluate", case=pair.case, seconds=seconds, values={"dice": row.dice})
        return row

    # Threads do: unpacking, counting and the search for neighbours all leave the lock.
    with ThreadPoolExecutor(config.workers) as pool:
        done = pool.map(measure_one, pairs)
        return list(tqdm(done, "evaluate", len(pairs), unit="case", disable=None))


def _report(
    pairs: Sequence[Pair],
    rows: Sequence[CaseMetrics],
    summary: Summary,
    decision: Decision | None,
    image_of: Mapping[str, pathlib.Path],
    config: EvaluateConfig,
) -> str:
    """The page, with pictures of the worst cases."""
    from spleen_tf.reporting import report  # Its plotting library takes half a second to import.

    pair_of = {pair.case: pair for pair in pairs}
    defined = [row.case for row in results.worst_first(rows) if not math.isnan(row.dice)]
    count = min(_MAX_PICTURES, max(_MIN_PICTURES, math.ceil(len(defined) / 3)))
    pictures = {
        case: _picture(pair_of[case], image_of.get(case), config) for case in defined[:count]
    }
    return report.evaluation(rows, summary, pictures, decision)


def _images(config: EvaluateConfig, cases: Sequence[str]) -> dict[str, pathlib.Path]:
    """The images that exist for the report's pictures, by case."""
    if not config.report:
        return {}
    if not config.images:
        folder = _images_beside(pathlib.Path(config.labels))
        # Nobody asked for these: where they are of no use, outlines do.
        has_images = folder.is_dir() and any(nifti.is_nifti(path) for path in folder.iterdir())
        return as_cases(volumes_at(folder), cases) if has_images else {}
    if os.path.isfile(config.images):
        return dict.fromkeys(cases, pathlib.Path(config.images))
    image_of = as_cases(volumes_at(pathlib.Path(config.images)), cases)
    if not any(case in image_of for case in cases):
        raise InputError(
            f"{config.images}: expected images named like the labels, found none of them."
        )
    return image_of


def _images_beside(labels: pathlib.Path) -> pathlib.Path:
    """The imagesTr/ of a data set, of its labelsTr/, or of a label in that."""
    if (labels / "labelsTr").is_dir():
        return labels / "imagesTr"
    return (labels.parent if labels.is_file() else labels).parent / "imagesTr"


def _picture(pair: Pair, path: pathlib.Path | None, config: EvaluateConfig) -> bytes:
    """A JPEG of both outlines, on the case's image where there is one."""
    truth = read_mask(pair.label, config.label_value)
    pred = volume.in_order_of(read_mask(pair.prediction, config.prediction_value), truth.grid)
    black = np.broadcast_to(np.uint8(0), truth.shape)
    image = nifti.read(path) if path else dataclasses.replace(truth, array_ijk=black)
    image = volume.in_order_of(image, truth.grid)
    volume.check_same_grid(truth, image)
    figure = preview.draw(
        image,
        pred.array_ijk,
        truth_ijk=truth.array_ijk,
        modality=intensity.guessed_modality(image.array_ijk) if path else "outlines only",
    )
    return plots.jpeg(figure, _PICTURE_PX)


if __name__ == "__main__":
    flags.run(main, EvaluateConfig)
