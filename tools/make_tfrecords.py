"""Converts volumes and their labels to sharded TFRecords of slices.

Example:
    python tools/make_tfrecords.py --dataset=data/Task09_Spleen --output_dir=data/records/coronal
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys

# Lets the program run from a checkout in which the package is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from spleen_tf.core import cores, flags, runners
from spleen_tf.core.files import InputError
from spleen_tf.core.flags import flag
from spleen_tf.core.runners import Runner
from spleen_tf.datasets import cases, convert
from spleen_tf.datasets.layouts import Case
from spleen_tf.datasets.splits import Splits, make_splits, read_splits
from spleen_tf.imaging.intensity import Modality
from spleen_tf.imaging.planes import Plane


@dataclasses.dataclass(frozen=True)
class ConvertConfig:
    dataset: str = flag(
        "",
        "A data set's folder (Medical Segmentation Decathlon or nnU-Net v2 layout) or a CSV with "
        "the columns case,image,label[,split], where an image may be a folder with a DICOM series.",
        required=True,
    )
    output_dir: str = flag("", "A folder for the records.", required=True)
    plane: Plane = flag("coronal", "The anatomical plane of the slices.")
    array_axis: int = flag(
        -1,
        "Cuts along this axis of the stored array (0, 1, 2) instead of by anatomy; -1: by --plane.",
        minimum=-1,
        maximum=2,
    )
    num_shards: int = flag(
        8, "Files per split; a split of fewer cases gets one per case.", minimum=1, maximum=99999
    )
    workers: int = flag(
        min(cores.available(), 8),
        "Processes that read volumes, each of which holds one or two in memory.",
        minimum=1,
    )
    splits: str | None = flag(
        None,
        "A splits.json that says which cases train and which validate; nnU-Net's "
        "splits_final.json works, too, with --fold.",
    )
    fold: int = flag(0, "The fold that validates.", minimum=0)
    num_folds: int = flag(5, "Folds that the cases are dealt into.", minimum=2)
    seed: int = flag(0, "Seed of the split.", minimum=0)
    label_value: int = flag(
        0, "The label's value that means spleen; 0: any value above 0.", minimum=0
    )
    around_organ: bool = flag(
        False,
        "Keeps only the region around the organ, for members of a family that has a first look.",
    )
    modality: Modality | None = flag(None, "Of all cases, where the data set does not say it.")
    skip_bad: bool = flag(False, "Leaves out cases that cannot be used, and lists them.")
    strict: bool = flag(
        False,
        "Writes nothing where a case is doubtful: a spleen on the patient's right or cut off, a "
        "label that is shifted or holds other intensities than the others, an image that occurs "
        "twice. By default, such a case causes a warning.",
    )
    runner: Runner | None = flag(None, runners.RUNNER_HELP)
    runner_option: tuple[str, ...] = flag((), runners.OPTION_HELP)


def main(config: ConvertConfig) -> int:
    places = {name: getattr(config, name) for name in ("dataset", "output_dir", "splits")}
    runners.check_flags(config.runner, config.runner_option, places)
    if config.fold >= config.num_folds and not config.splits:
        raise InputError(
            f"--fold: expected 0 to {config.num_folds - 1} of {config.num_folds} folds, "
            f"found {config.fold}."
        )
    if config.runner:
        return _on_cluster(config, config.runner)
    listed = cases.load(config.dataset, config.modality, missing_ok=config.skip_bad)
    usable, error_of = cases.usable(listed, config.label_value, skip=config.skip_bad)
    for name, error in error_of.items():
        print(f"left out: {name}: {error}", file=sys.stderr)
    if not usable:
        raise InputError(f"{config.dataset}: expected at least one usable case, found none.")
    splits = _splits(usable, listed, config)
    conversion = convert.convert(usable, splits, config.output_dir, _options(config))
    print(f"{config.output_dir}: {conversion}")
    if error_of:
        print(f"left out: {', '.join(error_of)}")
    return flags.EXIT_DONE


def _on_cluster(config: ConvertConfig, runner: Runner) -> int:
    """The same by Apache Beam: cases that are not converted yet; bad ones are left out."""
    from spleen_tf.cluster import conversion  # The file systems that it needs are an extra.

    listed = conversion.load(config.dataset, config.modality)
    outcome = conversion.convert_cases(
        listed,
        lambda usable: _splits(usable, listed, config),
        config.output_dir,
        _options(config),
        runner,
        config.runner_option,
    )
    print(f"{config.output_dir}: {outcome}")
    return flags.EXIT_FAILED if outcome.failed else flags.EXIT_DONE


def _options(config: ConvertConfig) -> convert.Options:
    return convert.Options(
        plane=config.plane,
        array_axis=None if config.array_axis < 0 else config.array_axis,
        num_shards=config.num_shards,
        workers=config.workers,
        label_value=config.label_value,
        strict=config.strict,
        around_organ=config.around_organ,
    )


def _splits(usable: list[Case], listed: list[Case], config: ConvertConfig) -> Splits:
    """The flags' splits of the usable cases; a file may name the others, too."""
    if not config.splits:
        return make_splits(usable, config.seed, config.fold, config.num_folds)
    splits = read_splits(config.splits, config.fold)
    names = {case.name for case in listed}
    absent = [name for name in (*splits.train, *splits.validation) if name not in names]
    if absent:
        raise InputError(
            f"{config.splits}: expected cases of {config.dataset}, found {absent[0]!r}."
        )
    splits = splits.restricted_to({case.name for case in usable})
    if not splits.train and not splits.validation:
        raise InputError(f"{config.splits}: expected at least one usable case, found none.")
    return splits


if __name__ == "__main__":
    flags.run(main, ConvertConfig)
