"""Measures predicted masks against the truth.

Predictions and labels are a file each, or folders whose files pair by name (CASE.nii.gz or
CASE.nii; a prediction CASE_0000.nii.gz, named like an input of nnU-Net, goes with CASE.nii.gz). The
output folder receives cases.csv (every measure of every case), summary.json (mean, sd, median,
minimum, maximum, bootstrapped 95% interval of the mean, number undefined), results.md (the table of
results, then the cases with the worst first) and bland_altman.png (volumes). With
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
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from spleen_tf import commands, files, metrics, nifti, plots, render, results, volume
from spleen_tf.cases import check_is_label
from spleen_tf.commands import ConfigError, flag
from spleen_tf.decision import SPLENOMEGALY_ML, assess
from spleen_tf.files import InputError, InputWarning
from spleen_tf.volume import Volume, VolumeError

_MAX_NAMED = 5
_MAX_PICTURES = 12
_PICTURE_PX = 1000
_NNUNET_CHANNEL = "_0000"


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """What `python -m spleen_tf.evaluate` can be told."""

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
    report: str = flag(
        "", "A page of HTML with all results and pictures of the worst cases, whole in one file."
    )
    images: str = flag(
        "",
        "For the pictures of the report: the image of the label, or a folder of images named like "
        "the labels. If left out, the imagesTr/ beside labelsTr/; without it, outlines only.",
    )
    workers: int = flag(
        min(os.cpu_count() or 1, 4),
        "Cases that are measured at a time; one of 512×512×1000 voxels takes over 1 GB.",
        minimum=1,
    )
    seed: int = flag(0, "Seed of the bootstrap.", minimum=0)
    decision: str = flag(
        "",
        "A decision to judge by cases: splenomegaly is a volume above --threshold_ml, in truth and "
        "as predicted.",
        choices=("", "splenomegaly"),
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


class Pair(NamedTuple):
    """One case to evaluate."""

    case: str
    prediction: pathlib.Path
    label: pathlib.Path


def main(config: EvaluateConfig) -> None:
    """Pairs, measures, summarizes and writes."""
    _check(config)
    pairs = find_pairs(config.predictions, config.labels)
    for pair in pairs:  # Headers are quick to read: what is unfit is told before the long work.
        volume.check_same_grid(
            nifti.read_geometry(pair.label), nifti.read_geometry(pair.prediction)
        )
    models = [results.model_of(pair.prediction) for pair in pairs]
    folder = files.make_folder(config.output_dir)

    rows = measure(pairs, config)

    cases = [pair.case for pair in pairs]
    truth_ml = [row["truth_mm3"] / 1000 for row in rows]
    pred_ml = [row["pred_mm3"] / 1000 for row in rows]
    judged = None
    if config.decision:
        judged = assess(truth_ml, pred_ml, config.threshold_ml, config.prior)
    results.write(folder, cases, models, rows, config.seed, judged)
    plots.bland_altman(folder / "bland_altman.png", truth_ml, pred_ml, cases)
    print(results.table(models, rows))
    if judged:
        print(f"\n{results.decision_section(judged)}")
    if config.report:
        files.write_text(config.report, _report(pairs, rows, judged, config))


def _check(config: EvaluateConfig) -> None:
    """Raises InputError where flags do not fit together or name what is not there."""
    if config.report and not config.report.endswith(".html"):
        raise ConfigError(f"--report: expected a name that ends in .html, found {config.report!r}.")
    if config.images and not config.report:
        raise ConfigError("--images: expected together with --report, found it alone.")
    if config.images and not os.path.exists(config.images):
        raise InputError(f"{config.images}: expected an image or a folder of them, found nothing.")
    for name in ("threshold_ml", "prior"):
        if getattr(config, name) is not None and not config.decision:
            raise ConfigError(f"--{name}: expected together with --decision, found it alone.")
    if config.threshold_ml is not None and not 0 < config.threshold_ml < math.inf:
        raise ConfigError(
            f"--threshold_ml: expected a volume above 0 mL, found {config.threshold_ml:g}."
        )
    if config.prior is not None and not 0 < config.prior < 1:
        raise ConfigError(
            f"--prior: expected a probability above 0 and below 1, found {config.prior:g}."
        )


def find_pairs(predictions: str | os.PathLike, labels: str | os.PathLike) -> list[Pair]:
    """Pairs predictions with labels: two files as they are, else by the name without suffix.

    CASE_0000.nii.gz, as nnU-Net names inputs, and as predictions from them are named then, pairs
    with the label CASE.nii.gz where no other prediction does. Warns of labels that have no
    prediction.

    Returns:
        At least one Pair, sorted by case. A pair of files goes by the name of the label.

    Raises:
        InputError: if a path does not exist or holds no NIfTI file, or if a prediction has no
            label.
    """
    predictions, labels = pathlib.Path(predictions), pathlib.Path(labels)
    if (labels / "labelsTr").is_dir():
        labels = labels / "labelsTr"
    if predictions.is_file() and labels.is_file():
        return [Pair(nifti.stem(labels), predictions, labels)]
    prediction_of, label_of = _masks_at(predictions), _masks_at(labels)
    for name in [name for name in prediction_of if name not in label_of]:
        case = name.removesuffix(_NNUNET_CHANNEL)
        if case in label_of and case not in prediction_of:
            prediction_of[case] = prediction_of.pop(name)
    for case, path in prediction_of.items():
        if case not in label_of:
            raise InputError(
                f"{path}: expected a label of the same name in {labels}, found none among "
                f"{len(label_of)}; give the two files themselves, or rename one."
            )
    left_out = sorted(label_of.keys() - prediction_of.keys())
    if left_out:
        named = ", ".join(left_out[:_MAX_NAMED]) + ", …" * (len(left_out) > _MAX_NAMED)
        warnings.warn(
            f"{labels}: {len(left_out)} of {len(label_of)} labels have no prediction in "
            f"{predictions} and are left out: {named}",
            InputWarning,
            stacklevel=2,
        )
    return [Pair(case, prediction_of[case], label_of[case]) for case in sorted(prediction_of)]


def measure(pairs: Sequence[Pair], config: EvaluateConfig) -> list[dict[str, float]]:
    """What `metrics.case` says of each pair, in order, with a progress bar.

    Raises:
        InputError: if a file cannot be used, or if the grids of a pair differ.
    """

    def measure_one(pair: Pair) -> dict[str, float]:
        truth = read_mask(pair.label, config.label_value)
        if not truth.array_ijk.any():
            wanted = f"of value {config.label_value}" if config.label_value else "above 0"
            warnings.warn(
                f"{pair.label}: expected a label with voxels {wanted}, found none; what cannot "
                "be measured without is left out of the means",
                InputWarning,
                stacklevel=2,
            )
        return metrics.case(truth, read_mask(pair.prediction, config.prediction_value))

    # Threads do: unpacking, counting and the search for neighbours all leave the lock.
    with ThreadPoolExecutor(config.workers) as pool:
        done = pool.map(measure_one, pairs)
        return list(tqdm(done, "evaluate", len(pairs), unit="case", disable=None))


def _report(
    pairs: Sequence[Pair],
    rows: Sequence[dict[str, float]],
    judged: Mapping[str, Any] | None,
    config: EvaluateConfig,
) -> str:
    """The page, with pictures of the worst cases."""
    from spleen_tf import report  # Its plotting library takes half a second to import.

    image_of = _images(config.images, config.labels)
    summary = metrics.summary(rows, config.seed)
    defined = [n for n, row in enumerate(rows) if not np.isnan(row["dice"])]
    worst = sorted(defined, key=lambda n: rows[n]["dice"])[:_MAX_PICTURES]
    pictures = {pairs[n].case: _picture(pairs[n], image_of, config) for n in worst}
    cases = [pair.case for pair in pairs]
    return report.evaluation(cases, rows, summary, pictures, judged)


def _images(images: str, labels: str) -> dict[str, pathlib.Path] | pathlib.Path:
    """Case to image, or the only image; without any, an empty dict."""
    if not images:
        folder = pathlib.Path(labels)
        folder = folder if (folder / "labelsTr").is_dir() else folder.parent
        images = str(folder / "imagesTr")
        if not os.path.isdir(images):
            return {}
    path = pathlib.Path(images)
    return path if path.is_file() else _masks_at(path)


def _picture(
    pair: Pair, image_of: dict[str, pathlib.Path] | pathlib.Path, config: EvaluateConfig
) -> bytes:
    """A JPEG of both outlines, on the case's image where there is one."""
    truth = read_mask(pair.label, config.label_value)
    pred = read_mask(pair.prediction, config.prediction_value)
    path = image_of.get(pair.case) if isinstance(image_of, dict) else image_of
    image = nifti.read(path) if path else dataclasses.replace(truth, array_ijk=truth.array_ijk * 0)
    volume.check_same_grid(truth, image)
    figure = render.draw(
        image,
        pred.array_ijk,
        truth_ijk=truth.array_ijk,
        modality=render.guessed_modality(image) if path else "outlines only",
    )
    return plots.jpeg(figure, _PICTURE_PX)


def read_mask(path: pathlib.Path, value: int) -> Volume:
    """Reads a label map as a bool mask of one value, or of all above 0 where value is 0.

    Raises:
        VolumeError: if the file cannot be read, holds fractions, as probabilities do, or more
            values than labels have, as an image does.
    """
    labels = nifti.read(path)
    array = labels.array_ijk
    if array.dtype.kind == "f" and (fractions := array[array != np.rint(array)]).size:
        raise VolumeError(
            f"{path}: expected whole numbers as labels, found {fractions[0]:g}; a map of "
            "probabilities must be cut at a threshold before."
        )
    check_is_label(labels)
    return dataclasses.replace(labels, array_ijk=array == value if value else array > 0)


def _masks_at(path: pathlib.Path) -> dict[str, pathlib.Path]:
    """Case to file: of a folder, or of a single file."""
    if path.is_file():
        return {nifti.stem(path): path}
    if not path.is_dir():
        raise InputError(f"{path}: expected a mask or a folder of masks, found no such path.")
    try:
        listing = sorted(path.iterdir())
    except OSError as error:
        raise InputError(f"{path}: expected a readable folder, found: {error.strerror}.") from None
    masks: dict[str, pathlib.Path] = {}
    for file in listing:
        # Archives made on a Mac bring a ._CASE.nii.gz beside each file.
        if not nifti.is_nifti(file) or file.name.startswith(".") or not file.is_file():
            continue
        twin = masks.setdefault(nifti.stem(file), file)
        if twin != file:
            raise InputError(f"{file}: expected one file a case, found {twin.name} beside it.")
    if not masks:
        raise InputError(f"{path}: expected masks (CASE.nii.gz or CASE.nii), found none.")
    return masks


if __name__ == "__main__":
    commands.run(main, EvaluateConfig)
