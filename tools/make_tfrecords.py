"""Converts volumes and their labels to sharded TFRecords of slices.

Example:
    python tools/make_tfrecords.py --dataset=data/Task09_Spleen --output_dir=data/records/coronal
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import multiprocessing
import os
import pathlib
import shutil
import sys
import warnings
from collections.abc import Iterator

# Lets the program run from a checkout in which the package is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import tqdm

from spleen_tf.core import files, flags, parallel
from spleen_tf.core.files import InputError, InputWarning
from spleen_tf.core.flags import flag
from spleen_tf.datasets import cases
from spleen_tf.datasets.cases import Case, Splits
from spleen_tf.imaging import planes as slices
from spleen_tf.imaging.volume import Volume
from spleen_tf.io import readers


@dataclasses.dataclass(frozen=True)
class ConvertConfig:
    dataset: str = flag(
        "",
        "A data set's folder (Medical Segmentation Decathlon or nnU-Net v2 layout) or a CSV with "
        "the columns case,image,label[,split], where an image may be a folder with a DICOM series.",
        required=True,
    )
    output_dir: str = flag("", "A folder for the records.", required=True)
    plane: str = flag("coronal", "The anatomical plane of the slices.", choices=slices.PLANES)
    array_axis: int = flag(
        -1,
        "Cuts along this axis of the stored array (0, 1, 2) instead of by anatomy; -1: by --plane.",
        minimum=-1,
        maximum=2,
    )
    num_shards: int = flag(
        8, "Files a split; a split of fewer cases gets one a case.", minimum=1, maximum=99999
    )
    workers: int = flag(
        min(parallel.available_cores(), 8),
        "Processes that read volumes, each of which holds one or two in memory.",
        minimum=1,
    )
    splits: str = flag(
        "",
        "A splits.json that says which cases train and which validate; nnU-Net's "
        "splits_final.json will do, with --fold.",
    )
    fold: int = flag(0, "The fold that validates.", minimum=0)
    num_folds: int = flag(5, "Folds that the cases are dealt into.", minimum=2)
    seed: int = flag(0, "Seed of the split.", minimum=0)
    label_value: int = flag(
        0, "The label's value that means spleen; 0: any value above 0.", minimum=0
    )
    modality: str = flag(
        "", "CT or MR; needed where the data set does not say it.", choices=("", *cases.MODALITIES)
    )
    skip_bad: bool = flag(False, "Leaves out cases that cannot be used, and lists them.")


def main(config: ConvertConfig) -> None:
    if config.fold >= config.num_folds and not config.splits:
        raise InputError(
            f"--fold: expected 0 to {config.num_folds - 1} of {config.num_folds} folds, "
            f"found {config.fold}."
        )
    listed = cases.load(config.dataset, config.modality, missing_ok=config.skip_bad)
    found, bad = _usable(listed, config)
    splits = _splits(found, bad, config)
    by_name = {case.name: case for case in found}
    output = files.make_folder(config.output_dir)
    staging = output / ".partial"
    shutil.rmtree(staging, ignore_errors=True)  # Of a run that was killed.
    files.make_folder(staging)
    try:
        summary = _convert(
            {s: [by_name[n] for n in getattr(splits, s)] for s in cases.SPLITS}, staging, config
        )
        cases.write_splits(staging / "splits.json", splits)
        _publish(staging, output)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    print(f"{output}: {summary}")
    if bad:
        print(f"left out: {', '.join(bad)}")


def _usable(found: list[Case], config: ConvertConfig) -> tuple[list[Case], list[str]]:
    """The cases that can be used and the names of those that cannot.

    Headers are looked at before anything is written, so that a long conversion does not fail at
    its end. With --skip_bad every voxel is: what is left out must be known before cases are dealt
    to splits and shards.
    """
    good, bad = [], []
    for case in tqdm.tqdm(found, desc="check", unit="case", disable=None):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Said again when the case is read.
                cases.check_geometry(case)
                if config.skip_bad:
                    cases.read(case, config.label_value)
            good.append(case)
        except InputError as error:
            if not config.skip_bad:
                raise
            bad.append(case.name)
            print(f"left out: {case.name}: {error}", file=sys.stderr)
    if not good:
        raise InputError(f"{config.dataset}: expected at least one usable case, found none.")
    return good, bad


def _splits(found: list[Case], bad: list[str], config: ConvertConfig) -> Splits:
    if not config.splits:
        return cases.make_splits(found, config.seed, config.fold, config.num_folds)
    splits = cases.read_splits(config.splits, config.fold)
    names = {case.name for case in found}
    absent = [n for n in (*splits.train, *splits.validation) if n not in names and n not in bad]
    if absent:
        raise InputError(
            f"{config.splits}: expected cases of {config.dataset}, found {absent[0]!r}."
        )
    train, validation = (
        tuple(name for name in part if name in names) for part in (splits.train, splits.validation)
    )
    if not train and not validation:
        raise InputError(f"{config.splits}: expected at least one usable case, found none.")
    return dataclasses.replace(splits, train=train, validation=validation)


def _convert(split_cases: dict[str, list[Case]], folder: pathlib.Path, config) -> str:
    """Writes all shards and their metadata to a folder; a sentence on what was written."""
    from spleen_tf.datasets import shards  # TensorFlow: seconds that a wrong flag should not cost.

    about: dict[str, dict] = {}
    shard_sizes: dict[str, list] = {}
    for split, members in split_cases.items():
        shard_sizes[split] = _write_shards(split, members, folder, about, config)
    if config.label_value and not any(entry["spleen_slices"] for entry in about.values()):
        raise cases.no_such_label_value(config.dataset, config.label_value)
    planes = sorted({entry["plane"] for entry in about.values()})
    if len(planes) > 1:
        warnings.warn(
            f"{config.dataset}: axis {config.array_axis} is {' and '.join(planes)} in different "
            "cases; a model is trained on one plane",
            InputWarning,
            stacklevel=2,
        )
    shards.write_metadata(folder, about, shard_sizes)
    parts = [f"{len(members)} cases for {split}" for split, members in split_cases.items()]
    total = sum(n for sizes in shard_sizes.values() for n, _ in sizes)
    return f"{total} {'/'.join(planes)} slices, {', '.join(parts)}"


def _write_shards(split: str, members: list[Case], folder, about, config) -> list[tuple[int, int]]:
    """Writes the shards of a split and fills `about`; (slices, bytes) of each shard."""
    from spleen_tf.datasets import records, shards

    num_shards = min(config.num_shards, len(members))
    paths = [folder / shards.shard_name(split, i, num_shards) for i in range(num_shards)]
    counts = [0] * num_shards
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(records.writer(path)) for path in paths]
        loaded = _load_all(members, config)
        progress = tqdm.tqdm(loaded, desc=split, total=len(members), unit="case", disable=None)
        for position, (case, image, label, hashes) in enumerate(progress):
            plane = _plane(image, config)
            identity = {"case": case.name, "modality": case.modality, **hashes}
            shard = position % num_shards
            for serialized in records.encode(image, label, plane, identity):
                writers[shard].write(serialized)
            about[case.name] = _about(split, case, image, label, plane, hashes)
            counts[shard] += about[case.name]["num_slices"]
    return [(n, path.stat().st_size) for n, path in zip(counts, paths, strict=True)]


def _plane(image: Volume, config: ConvertConfig) -> str:
    if config.array_axis < 0:
        return config.plane
    return slices.plane_of_axis(image.affine, config.array_axis)


def _about(split, case, image, label, plane, hashes) -> dict:
    labels_nhw = slices.split(label.array_ijk, image.affine, plane)
    return {
        "split": split,
        "modality": case.modality,
        "plane": plane,
        "num_slices": len(labels_nhw),
        "spleen_slices": int(labels_nhw.any(axis=(1, 2)).sum()),
        "pixel_mm": slices.pixel_mm(image.affine, plane).tolist(),
        "slice_mm": slices.slice_mm(image.affine, plane),
        "shape": list(image.shape),
        **hashes,
        "voxels_sha256": _voxels_sha256(image),
        "label_voxels_sha256": _voxels_sha256(label),
    }


def _voxels_sha256(image: Volume) -> str:
    """Of the voxels in the order of a NIfTI file, the first index fastest; nothing is copied."""
    return hashlib.sha256(image.array_ijk.reshape(-1, order="F")).hexdigest()


def _load_all(members: list[Case], config: ConvertConfig) -> Iterator[tuple]:
    """Loads cases in order; with several workers, a few of them ahead in other processes."""
    if config.workers == 1 or len(members) < 2:
        for case in members:
            yield _load(case, config.label_value)[:4]
        return
    # "spawn", because a fork of a process that runs TensorFlow's threads may hang.
    context = multiprocessing.get_context("spawn")
    with (
        parallel.loss_in_words(),
        concurrent.futures.ProcessPoolExecutor(config.workers, mp_context=context) as pool,
    ):
        waiting = collections.deque(members)
        ahead: collections.deque = collections.deque()
        try:
            while waiting or ahead:
                while waiting and len(ahead) <= config.workers:  # Bounds the memory.
                    ahead.append(pool.submit(_load_quietly, waiting.popleft(), config.label_value))
                *loaded, messages = ahead.popleft().result()
                for message in messages:
                    warnings.warn(message, InputWarning, stacklevel=2)
                yield tuple(loaded)
        finally:
            pool.shutdown(cancel_futures=True)


def _load_quietly(case: Case, label_value: int) -> tuple:
    """_load in another process, which hands its warnings over to be shown in order."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = _load(case, label_value)
    return (*loaded, [str(w.message) for w in caught if issubclass(w.category, InputWarning)])


def _load(case: Case, label_value: int) -> tuple[Case, Volume, Volume, dict[str, str]]:
    image, label = cases.read(case, label_value)
    hashes = {
        "source_sha256": readers.sha256(image),
        "label_sha256": files.sha256(case.label),
    }
    return case, image, label, hashes


def _publish(staging: pathlib.Path, output: pathlib.Path) -> None:
    """Moves a whole conversion to its place; dataset_info.json goes last and marks it complete."""
    marker = output / "dataset_info.json"
    marker.unlink(missing_ok=True)
    for stale in output.glob("spleen-*.tfrecord-*"):
        stale.unlink()
    for path in sorted(staging.iterdir(), key=lambda p: p.name == marker.name):
        os.replace(path, output / path.name)


if __name__ == "__main__":
    flags.run(main, ConvertConfig)
