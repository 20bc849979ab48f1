"""Cross-validates a recipe: in each plane, every case is segmented by a model that never saw it.

Converts the data set once a plane, trains every fold in every plane, segments the cases left out of
each, by plane and with the planes fused, and measures them on their native volumes. No held-out
case chooses weights. The output folder receives cv.json, cases.csv (every measure
of every case) and results.md; the same command again resumes where it stopped.

Examples:
    python tools/cross_validate.py --dataset=data/mr_t2 --output_dir=data/cv \\
        --flagfile=models/spleen_mr_t2/{plane}/train.flags
    python tools/cross_validate.py --dataset=data/mr_t2 --always_train=data/phantoms/ct \\
        --output_dir=data/cv_any --flagfile=models/spleen_any/{plane}/train.flags --jobs=2 \\
        --planes=axial,coronal
    python tools/cross_validate.py --dataset=data/mr_t2 --output_dir=data/cv_tversky \\
        --flagfile=models/spleen_mr_t2/axial/train.flags --planes=axial --folds=0,1 --minutes=8 \\
        --override=loss=tversky
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

# Lets the program run from a checkout in which the package is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from spleen_tf.core import files, flags, parallel, resume
from spleen_tf.core.files import InputError
from spleen_tf.core.flags import CommandFailed, flag
from spleen_tf.datasets import cases, fingerprint
from spleen_tf.datasets.cases import Case, Splits
from spleen_tf.evaluation import crossval
from spleen_tf.imaging.planes import PLANES
from spleen_tf.io import nifti, readers
from spleen_tf.training.config import TrainConfig

ROOT = pathlib.Path(__file__).resolve().parents[1]
FUSED = "fused"
# Where the files of a training are, which tells nothing of how it goes.
_PLACES = ("records", "model_dir", "splits", "fingerprint")


@dataclasses.dataclass(frozen=True)
class CrossValidateConfig:
    dataset: str = flag(
        "", "A data set's folder or CSV, as make_tfrecords takes it.", required=True
    )
    flagfile: str = flag(
        "",
        "The recipe: flags of spleen_tf.train. {plane} in its name stands for the plane, so that "
        "each can have a recipe of its own.",
        required=True,
    )
    always_train: tuple[str, ...] = flag(
        (), "Another data set, whose cases train in every fold and are never held out."
    )
    output_dir: str = flag("", "A folder for records, models, masks and results.", required=True)
    planes: str = flag("axial,coronal,sagittal", "Planes, separated by commas; several are fused.")
    num_folds: int = flag(5, "Folds that the cases are dealt into.", minimum=2)
    folds: str = flag("", "The folds to run, separated by commas. Empty: all.")
    seed: int = flag(0, "Seed of the folds.", minimum=0)
    minutes: float = flag(0.0, "Minutes a training, whatever the recipe says; 0: as it says.")
    override: tuple[str, ...] = flag(
        (), "A flag of spleen_tf.train that replaces the recipe's, such as base_filters=32."
    )
    threshold: float = flag(0.5, "Probability from which a voxel is spleen.", minimum=0, maximum=1)
    tta: bool = flag(False, "Test-time augmentation in prediction.")
    jobs: int = flag(1, "Trainings side by side, each on its share of the cores.", minimum=1)
    label_value: int = flag(
        0, "The label's value that means spleen; 0: any value above 0.", minimum=0
    )
    modality: str = flag(
        "", "CT or MR; needed where the data set does not say it.", choices=("", *cases.MODALITIES)
    )


@dataclasses.dataclass(frozen=True)
class Fold:
    """One part of the cases, held out while the others train."""

    number: int
    splits: Splits


def main(config: CrossValidateConfig) -> None:
    planes = _planes(config.planes)
    recipes = {plane: _recipe(config, plane) for plane in planes}
    listed = _listed(config)
    others = [case for path in config.always_train for case in _trained_too(path)]
    folds = _folds(config, listed, others)
    output = files.make_folder(config.output_dir)
    defaults = _as_json({field.name: field.default for field in dataclasses.fields(TrainConfig)})
    resume.hold(output, _plan(config, recipes, folds), may_grow={"recipes": defaults})
    by_name = {case.name: case for case in listed}
    for fold in folds:
        _link(output / "images" / f"fold_{fold.number}", fold, by_name, "image")
        _link(output / "labels", fold, by_name, "label")
        # Without validation cases, the weights of the last step are the ones that are kept.
        trained = dataclasses.replace(fold.splits, validation=())
        cases.write_splits(output / "splits" / f"fold_{fold.number}.json", trained)
    files.write_csv(output / "dataset.csv", [_row(case) for case in (*listed, *others)])
    for plane in planes:
        _convert(output, config, plane)
    trainings = [
        functools.partial(_train, output, fold, plane, recipes[plane], config.threshold)
        for fold in folds
        for plane in planes
    ]
    parallel.side_by_side(trainings, config.jobs, "train", "model")
    members = {plane: [plane] for plane in planes}
    if len(planes) > 1:
        members[FUSED] = planes
    predictions = [
        functools.partial(_predict, output, fold, its_planes, config.tta)
        for its_planes in members.values()
        for fold in folds
    ]
    parallel.side_by_side(predictions, config.jobs, "predict", "fold")
    evaluated = {name: output / "evaluation" / name for name in members}
    for name, folder in evaluated.items():
        asked = _gather(output, folds, name, members[name])
        _run(
            output / "logs" / f"evaluate_{name}.txt",
            *("-m", "spleen_tf.evaluate", f"--predictions={asked}"),
            *(f"--labels={output / 'labels'}", f"--output_dir={folder}"),
            f"--label_value={config.label_value}",
        )
    held_out = {fold.number: fold.splits.validation for fold in folds}
    print(crossval.write(output, _about(config, recipes), held_out, evaluated))


def _planes(text: str) -> list[str]:
    planes = [part.strip() for part in text.split(",")]
    for plane in planes:
        if plane not in PLANES or planes.count(plane) > 1:
            expected = ", ".join(PLANES)
            raise InputError(f"--planes: expected some of {expected}, once each, found {text!r}.")
    return planes


def _recipe(config: CrossValidateConfig, plane: str) -> list[str]:
    """The flags of `train` for a plane, without places; all are checked before anything runs."""
    recipe = [f"--flagfile={config.flagfile.replace('{plane}', plane)}"]
    recipe += [f"--{override.lstrip('-')}" for override in config.override]
    if config.minutes:
        recipe.append(f"--minutes={config.minutes:g}")
    flags.parse(["train", *recipe, "--records=-", "--model_dir=-"], TrainConfig)
    return recipe


def _folds(config: CrossValidateConfig, listed: list[Case], others: list[Case]) -> list[Fold]:
    dealt = crossval.deal(listed, config.seed, config.num_folds, config.folds)
    if others and config.label_value:
        raise InputError(
            "--label_value: expected labels of one kind, found it together with --always_train, "
            "whose labels may have other values; convert them to masks before."
        )
    names = [case.name for case in (*listed, *others)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(
            f"--always_train: expected cases of other names than those of {config.dataset}, found "
            f"{twice[0]!r} twice."
        )
    trained_too = tuple(case.name for case in others)
    return [
        Fold(number, dataclasses.replace(splits, train=(*splits.train, *trained_too)))
        for number, splits in dealt.items()
    ]


def _plan(
    config: CrossValidateConfig, recipes: dict[str, list[str]], folds: list[Fold]
) -> dict[str, Any]:
    """What makes two runs the same cross-validation; planes and folds may be added to one."""
    return {
        "dataset": str(config.dataset),
        **_about(config, recipes),
        "cases": sorted((*folds[0].splits.train, *folds[0].splits.validation)),
    }


def _about(config: CrossValidateConfig, recipes: dict[str, list[str]]) -> dict[str, Any]:
    """How the models are made and used: of the plan, and of cv.json."""
    return {
        "num_folds": config.num_folds,
        "seed": config.seed,
        "always_train": list(config.always_train),
        "recipes": {plane: _settled(recipe) for plane, recipe in recipes.items()},
        "threshold": config.threshold,
        "tta": config.tta,
        "label_value": config.label_value,
    }


def _settled(recipe: list[str]) -> dict[str, Any]:
    """The whole configuration that a recipe stands for, as JSON gives it back."""
    config = flags.parse(["train", *recipe, "--records=-", "--model_dir=-"], TrainConfig)
    proposed = fingerprint.read(config.fingerprint) if config.fingerprint else {}
    return _as_json(dataclasses.asdict(config.settled(proposed)))


def _as_json(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a training, less those that say where its files are."""
    kept = {k: v for k, v in settings.items() if k not in _PLACES}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in kept.items()}


def _listed(config: CrossValidateConfig) -> list[Case]:
    """The cases that are held out in turn: NIfTI, of which a folder can be linked together."""
    listed = cases.load(config.dataset, config.modality)
    for case in listed:
        if readers.is_dicom(case.image):
            raise InputError(
                f"{case.image}: expected NIfTI to cross-validate with, found DICOM; convert it, "
                "with dcm2niix for one."
            )
        for path in (case.image, case.label):
            _suffix(path)
    return listed


def _trained_too(path: str) -> list[Case]:
    """The cases of a data set of --always_train, which says their modality itself."""
    try:
        return cases.load(path)
    except InputError as error:
        if "--modality" not in str(error):
            raise
        raise InputError(
            f"--always_train={path}: expected a data set that says CT or MR of its cases, found "
            "one that does not; add a column modality to its table, or write it in its "
            "dataset.json."
        ) from None


def _link(folder: pathlib.Path, fold: Fold, by_name: dict[str, Case], kind: str) -> None:
    """Links the held-out cases' files by case name, which is how predict and evaluate pair them."""
    files.make_folder(folder)
    for name in fold.splits.validation:
        source = getattr(by_name[name], kind)
        link = folder / (name + _suffix(source))
        link.unlink(missing_ok=True)
        link.symlink_to(pathlib.Path(source).resolve())


def _suffix(path: str | os.PathLike) -> str:
    """A file's ending, of the name that was given: that may be a link into a store without any."""
    for suffix in nifti.SUFFIXES:
        if str(path).endswith(suffix):
            return suffix
    raise InputError(
        f"{path}: expected a name that ends in {' or '.join(nifti.SUFFIXES)} to cross-validate "
        "with, found another; rename it, or link to it by such a name."
    )


def _row(case: Case) -> dict[str, str]:
    """A case in the table of all cases that make_tfrecords gets."""
    image, label = (str(pathlib.Path(path).resolve()) for path in (case.image, case.label))
    about = {"case": case.name, "image": image, "label": label, "modality": case.modality}
    return about | {"series_uid": case.series_uid}


def _convert(output: pathlib.Path, config: CrossValidateConfig, plane: str) -> None:
    records = output / "records" / plane
    if (records / "dataset_info.json").is_file():
        return
    _run(
        output / "logs" / f"convert_{plane}.txt",
        *(str(ROOT / "tools" / "make_tfrecords.py"), f"--dataset={output / 'dataset.csv'}"),
        *(f"--output_dir={records}", f"--plane={plane}", f"--num_folds={config.num_folds}"),
        *(f"--label_value={config.label_value}", "--num_shards=16"),
    )


def _train(
    output: pathlib.Path, fold: Fold, plane: str, recipe: list[str], threshold: float
) -> None:
    """Trains and exports one model, unless that is done."""
    name = f"{plane}_fold_{fold.number}"
    model_dir = output / "models" / plane / f"fold_{fold.number}"
    if (model_dir / "saved_model").is_dir():
        return
    log = output / "logs" / f"train_{name}.txt"
    _run(
        log,
        *("-m", "spleen_tf.train", *recipe, f"--records={output / 'records' / plane}"),
        f"--splits={output / 'splits' / f'fold_{fold.number}.json'}",
        f"--model_dir={model_dir}",
    )
    _run(
        log,
        *("-m", "spleen_tf.export", f"--model_dir={model_dir}", f"--name={name}"),
        *(f"--export_dir={model_dir / 'saved_model'}", f"--threshold={threshold:g}"),
    )


def _masks(output: pathlib.Path, planes: Sequence[str]) -> pathlib.Path:
    """The folder for what these planes find together: planes may be added to a run."""
    return output / "predictions" / "_".join(planes)


def _predict(output: pathlib.Path, fold: Fold, planes: Sequence[str], tta: bool) -> None:
    """Segments a fold's held-out cases, unless that is done."""
    masks = _masks(output, planes)
    if all((masks / f"{case}.json").is_file() for case in fold.splits.validation):
        return
    models = [output / "models" / plane / f"fold_{fold.number}" / "saved_model" for plane in planes]
    _run(
        output / "logs" / f"predict_{masks.name}_fold_{fold.number}.txt",
        *("-m", "spleen_tf.predict", *(f"--model={model}" for model in models)),
        f"--input={output / 'images' / f'fold_{fold.number}'}",
        f"--output={masks}",
        f"--tta={'true' if tta else 'false'}",
    )


def _gather(
    output: pathlib.Path, folds: list[Fold], name: str, planes: Sequence[str]
) -> pathlib.Path:
    """A folder with links to the masks of these folds alone, and to their JSON."""
    asked = output / "evaluated_masks" / name
    shutil.rmtree(asked, ignore_errors=True)
    files.make_folder(asked)
    for fold in folds:
        for case in fold.splits.validation:
            for suffix in (*nifti.SUFFIXES, ".json"):
                path = _masks(output, planes) / (case + suffix)
                if path.is_file():
                    (asked / path.name).symlink_to(path.resolve())
    return asked


def _run(log: pathlib.Path, *arguments: str) -> None:
    """Runs a command of the project in a process of its own, so that its memory is given back.

    Raises:
        CommandFailed: with the last line of what it wrote.
    """
    files.make_folder(log.parent)
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with log.open("a") as out:
        code = subprocess.run(
            [sys.executable, *arguments],
            stdout=out,
            stderr=subprocess.STDOUT,
            # Trainings side by side share a GPU, of which one would take all memory otherwise.
            env={"TF_FORCE_GPU_ALLOW_GROWTH": "true", **os.environ, "PYTHONPATH": path},
        ).returncode
    if code:
        lines = log.read_text(errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "no word").strip()
        raise CommandFailed(f"{log}: expected exit code 0, found {code}: {last}")


if __name__ == "__main__":
    flags.run(main, CrossValidateConfig)
