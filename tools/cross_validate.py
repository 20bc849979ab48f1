"""Cross-validates a recipe: in each plane, every case is segmented by a model that never saw it.

Converts the data set once per plane, trains every fold in every plane, segments the cases that each
fold leaves out, by plane and with the planes fused, and measures them on their native volumes. No
held-out case chooses weights. The output folder receives cv.json, cases.csv (every measure of every
case) and results.md; the same command again resumes where it stopped.

Examples:
    python tools/cross_validate.py --dataset=data/mr_t2 --output_dir=data/cv \\
        --flagfile=models/spleen_mr_t2/{plane}/train.flags
    python tools/cross_validate.py --dataset=data/mr_t2 --always_train=data/phantoms/ct \\
        --output_dir=data/cv_any --flagfile=models/spleen_any/{plane}/train.flags --jobs=2 \\
        --planes=axial,coronal
    python tools/cross_validate.py --dataset=data/ct_btcv --output_dir=data/cv_ct --num_folds=3 \\
        --flagfile=models/experiments/around_organ/train.flags \\
        --first_look=models/experiments/first_look/train.flags
    python tools/cross_validate.py --dataset=data/mr_t2 --output_dir=data/cv_tversky \\
        --flagfile=models/spleen_mr_t2/axial/train.flags --planes=axial --folds=0,1 --minutes=8 \\
        --override=loss=tversky
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys

# Lets the program run from a checkout in which the package is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from spleen_tf.core import files, flags
from spleen_tf.core.files import InputError
from spleen_tf.core.flags import flag
from spleen_tf.datasets import cases
from spleen_tf.datasets.layouts import Case
from spleen_tf.evaluation import crossval, protocol
from spleen_tf.evaluation.protocol import Protocol, Setup
from spleen_tf.imaging.intensity import Modality
from spleen_tf.imaging.planes import PLANES, Plane
from spleen_tf.io import readers


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
    first_look: str | None = flag(
        None,
        "The recipe of axial models that find where the organ is in the whole volume. The others "
        "then train on its surroundings only.",
    )
    always_train: tuple[str, ...] = flag(
        (), "Another data set, whose cases train in every fold and are never held out."
    )
    output_dir: str = flag("", "A folder for records, models, masks and results.", required=True)
    planes: str = flag("axial,coronal,sagittal", "Planes, separated by commas; several are fused.")
    num_folds: int = flag(5, "Folds that the cases are dealt into.", minimum=2)
    folds: str | None = flag(None, "The folds to run, separated by commas. Not set: all.")
    seed: int = flag(0, "Seed of the folds.", minimum=0)
    minutes: float = flag(0.0, "Minutes per training; 0: as the recipe says.")
    override: tuple[str, ...] = flag(
        (), "A flag of spleen_tf.train that replaces the recipe's, such as base_filters=32."
    )
    threshold: float = flag(0.5, "Probability from which a voxel is spleen.", minimum=0, maximum=1)
    tta: bool = flag(False, "Predicts with test-time augmentation.")
    jobs: int = flag(1, "Trainings side by side, each on its share of the cores.", minimum=1)
    label_value: int = flag(
        0, "The label's value that means spleen; 0: any value above 0.", minimum=0
    )
    modality: Modality | None = flag(None, "Of all cases, where the data set does not say it.")


def main(config: CrossValidateConfig) -> None:
    recipes = {plane: _recipe(config, plane) for plane in _planes(config.planes)}
    settings = {plane: protocol.settings(recipe) for plane, recipe in recipes.items()}
    first_look = [f"--flagfile={config.first_look}"] if config.first_look else None
    held_out = _held_out(config)
    extra = [case for path in config.always_train for case in _extra(path)]
    _check_apart(config, held_out, extra)
    setup = Setup(
        output=files.make_folder(config.output_dir),
        dataset=str(config.dataset),
        cases=held_out,
        extra_cases=extra,
        folds=protocol.deal(held_out, config.seed, config.num_folds, config.folds),
        recipes=recipes,
        protocol=Protocol(
            num_folds=config.num_folds,
            seed=config.seed,
            always_train=config.always_train,
            recipes=settings,
            first_look=protocol.settings(first_look) if first_look else None,
            threshold=config.threshold,
            tta=config.tta,
            label_value=config.label_value,
        ),
        first_look=first_look,
        jobs=config.jobs,
    )
    print(crossval.run(setup))


def _planes(text: str) -> list[Plane]:
    names = [part.strip() for part in text.split(",")]
    if not set(names) <= set(PLANES) or len(set(names)) < len(names):
        expected = ", ".join(PLANES)
        raise InputError(f"--planes: expected some of {expected}, once each, found {text!r}.")
    return [plane for name in names for plane in PLANES if plane == name]


def _recipe(config: CrossValidateConfig, plane: Plane) -> list[str]:
    """The flags of `train` for a plane, without places of files."""
    recipe = [f"--flagfile={config.flagfile.replace('{plane}', plane)}"]
    recipe += [f"--{override.lstrip('-')}" for override in config.override]
    if config.minutes:
        recipe.append(f"--minutes={config.minutes:g}")
    return recipe


def _held_out(config: CrossValidateConfig) -> list[Case]:
    """The cases that are held out in turn: NIfTI, of which a folder can be linked together."""
    listed = cases.load(config.dataset, config.modality)
    for case in listed:
        if readers.is_dicom(case.image):
            raise InputError(
                f"{case.image}: expected NIfTI to cross-validate with, found DICOM; convert it, "
                "for example with dcm2niix."
            )
        for path in (case.image, case.label):
            crossval.suffix(path)
    return listed


def _extra(path: str) -> list[Case]:
    """The cases of a data set of --always_train, which names their modality itself."""
    try:
        return cases.load(path)
    except cases.UnknownModalityError:
        raise InputError(
            f"--always_train={path}: expected a data set that says CT or MR of its cases, found "
            "one that does not; add a column modality to its table, or write it in its "
            "dataset.json."
        ) from None


def _check_apart(config: CrossValidateConfig, held_out: list[Case], extra: list[Case]) -> None:
    """Raises InputError where cases that always train are confused with those held out."""
    if extra and config.label_value:
        raise InputError(
            "--label_value: expected labels of one kind, found it together with --always_train, "
            "whose labels may have other values; convert them to masks before."
        )
    names = [case.name for case in (*held_out, *extra)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(
            f"--always_train: expected cases of other names than those of {config.dataset}, found "
            f"{twice[0]!r} twice."
        )


if __name__ == "__main__":
    flags.run(main, CrossValidateConfig)
