"""Runs a cross-validation: in each plane, every case is segmented by models that never saw it.

Training, prediction and evaluation are commands in processes of their own, so that their memory is
given back. A step that is done is not done again: the same run resumes where it stopped.
"""

from __future__ import annotations

import dataclasses
import errno
import functools
import os
import pathlib
import shutil
import sys
from collections.abc import Sequence
from typing import NamedTuple

import spleen_tf
from spleen_tf.core import cores, files, locks, parallel, resume
from spleen_tf.core.children import Children
from spleen_tf.core.files import InputError
from spleen_tf.core.process import CommandFailed
from spleen_tf.datasets import cases, convert
from spleen_tf.datasets.splits import make_splits, write_splits
from spleen_tf.evaluation import held_out, places, protocol
from spleen_tf.evaluation.protocol import Setup
from spleen_tf.imaging.planes import Plane
from spleen_tf.inference import model_files
from spleen_tf.io import nifti
from spleen_tf.network import spec

_SHARDS = 16
_MOST_WORKERS = 8  # Each of which holds a volume or two in memory.
_ROOT = pathlib.Path(spleen_tf.__file__).resolve().parents[1]


def run(setup: Setup) -> str:
    """Runs all folds in all planes and writes cv.json, cases.csv and results.md.

    Returns:
        The table of means.

    Raises:
        InputError: if the folder holds another cross-validation, or one that is at work.
        CommandFailed: if a step fails.
    """
    with locks.folder(files.make_folder(setup.output)):
        return _run(setup, Children())


def _run(setup: Setup, children: Children) -> str:
    resume.hold(setup.output, setup.plan(), may_grow={"recipes": protocol.default_settings()})
    _write_inputs(setup)
    _convert_all(setup)
    trainings = [
        functools.partial(_train, children, setup, training)
        for fold in setup.folds
        for training in _trainings(setup, fold)
    ]
    parallel.side_by_side(trainings, setup.jobs, "train", "model", children.stop)
    predictions = [
        functools.partial(_predict, children, setup, fold, planes)
        for planes in setup.planes_of.values()
        for fold in setup.folds
    ]
    parallel.side_by_side(predictions, setup.jobs, "predict", "fold", children.stop)
    evaluated = {
        name: _evaluate(children, setup, name, planes) for name, planes in setup.planes_of.items()
    }
    names = {fold: splits.validation for fold, splits in setup.folds.items()}
    modality_of = {case.name: case.modality for case in setup.cases}
    return held_out.write(setup.output, setup.protocol, names, evaluated, modality_of)


def _write_inputs(setup: Setup) -> None:
    """Links to the held-out volumes and labels, and the splits of each fold."""
    case_of = {case.name: case for case in setup.cases}
    for fold, splits in setup.folds.items():
        for name in splits.validation:
            link(case_of[name].image, setup.places.images(fold), name)
            link(case_of[name].label, setup.places.labels, name)
        # Without validation cases, the weights of the last step are the ones that are kept.
        extra = tuple(case.name for case in setup.extra_cases)
        trained = dataclasses.replace(splits, train=(*splits.train, *extra), validation=())
        write_splits(setup.places.splits(fold), trained)


def link(source: str | os.PathLike[str], folder: pathlib.Path, name: str) -> None:
    """Links to a file by the name of its case, which is how predict and evaluate pair files."""
    target = files.make_folder(folder) / (name + suffix(source))
    target.unlink(missing_ok=True)
    target.symlink_to(pathlib.Path(source).resolve())


def suffix(path: str | os.PathLike[str]) -> str:
    """The ending of a NIfTI file's name as given: the file may be a link into a store without any.

    Raises:
        InputError: if it has none.
    """
    for ending in nifti.SUFFIXES:
        if str(path).endswith(ending):
            return ending
    raise InputError(
        f"{path}: expected a name that ends in {' or '.join(nifti.SUFFIXES)} to cross-validate "
        "with, found another; rename it, or link to it by such a name."
    )


def _convert_all(setup: Setup) -> None:
    has_first_look = setup.first_look is not None
    if has_first_look:
        _convert(
            setup, places.FIRST_LOOK_PLANE, setup.places.first_look_records, around_organ=False
        )
    for plane in setup.recipes:
        _convert(setup, plane, setup.places.records(plane), around_organ=has_first_look)


def _convert(setup: Setup, plane: Plane, records: pathlib.Path, around_organ: bool) -> None:
    """Converts all cases to slices of a plane, unless that is done."""
    if (records / "dataset_info.json").is_file():
        return
    listed = [dataclasses.replace(c, split=None) for c in (*setup.cases, *setup.extra_cases)]
    usable, _ = cases.usable(listed, setup.protocol.label_value)
    options = convert.Options(
        plane=plane,
        num_shards=_SHARDS,
        workers=min(cores.available(), _MOST_WORKERS, len(usable)),
        label_value=setup.protocol.label_value,
        around_organ=around_organ,
    )
    # Every training names its own splits; those of the records are of no consequence.
    splits = make_splits(usable, seed=0, fold=0, num_folds=setup.protocol.num_folds)
    convert.convert(usable, splits, records, options)


class _Training(NamedTuple):
    """A model to train.

    Attributes:
        name: of the model, and of the log.
        fold: whose cases train.
        recipe: flags of spleen_tf.train.
        records, model_dir: what is read and written.
    """

    name: str
    fold: int
    recipe: Sequence[str]
    records: pathlib.Path
    model_dir: pathlib.Path


def _trainings(setup: Setup, fold: int) -> list[_Training]:
    """The trainings of a fold, that of the first look before the others."""
    trainings = [
        _Training(
            f"{plane}_fold_{fold}",
            fold,
            recipe,
            setup.places.records(plane),
            setup.places.model_dir(fold, plane),
        )
        for plane, recipe in setup.recipes.items()
    ]
    if setup.first_look is not None:
        name = f"{model_files.FIRST_LOOK}_fold_{fold}"
        folders = (setup.places.first_look_records, setup.places.first_look_dir(fold))
        trainings.insert(0, _Training(name, fold, setup.first_look, *folders))
    return trainings


def _train(children: Children, setup: Setup, training: _Training) -> None:
    """Trains and exports one model, unless that is done."""
    saved_model = places.saved_model(training.model_dir)
    if spec.onnx_path(saved_model).is_file():  # What an export writes last.
        return
    log = setup.places.log(f"train_{training.name}")
    _command(
        *(children, log),
        *("-m", "spleen_tf.train", *training.recipe),
        f"--records={training.records}",
        f"--splits={setup.places.splits(training.fold)}",
        f"--model_dir={training.model_dir}",
    )
    _command(
        *(children, log),
        *("-m", "spleen_tf.export", f"--model_dir={training.model_dir}"),
        *(f"--name={training.name}", f"--export_dir={saved_model}"),
        f"--threshold={setup.protocol.threshold:g}",
    )


def _predict(children: Children, setup: Setup, fold: int, planes: Sequence[Plane]) -> None:
    """Segments a fold's held-out cases, unless that is done."""
    masks = setup.places.masks(planes)
    if all((masks / f"{case}.json").is_file() for case in setup.folds[fold].validation):
        return
    models = [setup.places.model_dir(fold, plane) for plane in planes]
    _command(
        children,
        setup.places.log(f"predict_{masks.name}_fold_{fold}"),
        *("-m", "spleen_tf.predict", *(f"--model={places.saved_model(model)}" for model in models)),
        f"--input={setup.places.images(fold)}",
        f"--output={masks}",
        f"--tta={'true' if setup.protocol.tta else 'false'}",
    )


def _evaluate(children: Children, setup: Setup, name: str, planes: Sequence[str]) -> pathlib.Path:
    """Measures only the masks of these folds; returns the folder with the results."""
    chosen = setup.places.evaluated_masks(name)
    names = [case for splits in setup.folds.values() for case in splits.validation]
    gather(setup.places.masks(planes), chosen, names)
    folder = setup.places.evaluation(name)
    _command(
        children,
        setup.places.log(f"evaluate_{name}"),
        *("-m", "spleen_tf.evaluate", f"--predictions={chosen}"),
        *(f"--labels={setup.places.labels}", f"--output_dir={folder}"),
        f"--label_value={setup.protocol.label_value}",
    )
    return folder


def gather(masks: pathlib.Path, folder: pathlib.Path, names: Sequence[str]) -> None:
    """Fills a folder anew with links to these cases' masks and JSON."""
    shutil.rmtree(folder, ignore_errors=True)
    files.make_folder(folder)
    for name in names:
        for ending in (*nifti.SUFFIXES, ".json"):
            path = masks / (name + ending)
            if path.is_file():
                (folder / path.name).symlink_to(path.resolve())


def _command(children: Children, log: pathlib.Path, *arguments: str) -> None:
    """Runs Python in a process of its own, its output appended to a log.

    Raises:
        CommandFailed: with the last line of what it wrote.
        OSError: if the disk is full.
    """
    files.make_folder(log.parent)
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    # Trainings side by side share a GPU, of which one would take all memory otherwise.
    environment = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", **os.environ, "PYTHONPATH": path}
    code = children.run([sys.executable, *arguments], log, environment)
    if code:
        if not shutil.disk_usage(log.parent).free:  # The log has not what went wrong, either.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(log))
        lines = log.read_text(errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "no output").strip()
        raise CommandFailed(f"{log}: expected exit code 0, found {code}: {last}")
