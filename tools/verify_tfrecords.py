"""Verifies records: checksums, schema, counts and hashes; and rebuilds the volumes they hold.

Exit code 1 says that damage was found; each damaged file or case has its line.

Example:
    python tools/verify_tfrecords.py --records=data/records/coronal --rebuild_dir=data/rebuilt
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

# Lets the program run from a checkout in which the package is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np
import tqdm

from spleen_tf.core import files, flags
from spleen_tf.core.files import InputError
from spleen_tf.core.flags import flag
from spleen_tf.datasets import cases
from spleen_tf.imaging import planes, volume
from spleen_tf.imaging.volume import Volume
from spleen_tf.io import nifti

# Fields that all slices of a case have in common.
SHARED = (
    *("height", "width", "dtype", "modality", "plane", "num_slices", "pixel_mm", "slice_mm"),
    *("affine", "source_shape", "source_sha256", "label_sha256", "intensity_percentiles"),
)


@dataclasses.dataclass(frozen=True)
class VerifyConfig:
    records: str = flag("", "A folder that make_tfrecords.py wrote.", required=True)
    rebuild_dir: str = flag("", "Writes CASE.nii.gz and CASE_label.nii.gz of every case here.")


def main(config: VerifyConfig) -> int:
    from spleen_tf.datasets import shards  # TensorFlow: seconds that a wrong flag should not cost.

    shards.check_folder(config.records)
    if config.rebuild_dir:
        files.make_folder(config.rebuild_dir)
    seen: dict[str, int] = {}
    damage = 0
    for line in _faults(config, seen):
        print(f"damage: {' '.join(line.split())}", file=sys.stderr)
        damage += 1
    print(
        f"{config.records}: {sum(seen.values())} slices of {len(seen)} cases, "
        + (f"{damage} faults" if damage else "intact")
    )
    return flags.EXIT_FAILED if damage else flags.EXIT_DONE


def _faults(config: VerifyConfig, seen: dict[str, int]) -> Iterator[str]:
    """A line for each fault. `seen` is filled with the slices of each case."""
    from spleen_tf.datasets import shards

    folder = pathlib.Path(config.records)
    try:
        expected = shards.read_cases(folder)
        lengths = shards.read_shard_lengths(folder)
    except InputError as error:  # Nothing tells what the shards should hold.
        yield str(error)
        return
    labels_of = {f"{name}_label" for name in expected if config.rebuild_dir}
    for name in sorted(labels_of & set(expected)):
        raise InputError(f"--rebuild_dir: expected {name}.nii.gz for one file, found it for two.")
    yield from _metadata_faults(folder, expected)
    named = set()
    for split, lengths_of_split in lengths.items():
        for index, length in enumerate(lengths_of_split):
            path = folder / shards.shard_name(split, index, len(lengths_of_split))
            named.add(path)
            yield from _shard_faults(path, split, length, expected, seen, config.rebuild_dir)
    for path in sorted(set(folder.glob(f"{shards.NAME}-*.tfrecord-*")) - named):
        yield f"{path}: expected no file that dataset_info.json does not name, found this one."
    for name in sorted(set(expected) - set(seen)):
        yield f"{folder}: expected the case {name!r} as cases.json says, found no intact slice."


def _metadata_faults(folder: pathlib.Path, expected: dict[str, Any]) -> Iterator[str]:
    from spleen_tf.datasets import shards

    try:
        shards.check_features(folder)
    except InputError as error:
        yield str(error)
    try:
        splits = cases.read_splits(folder / "splits.json")
    except InputError as error:
        yield str(error)
        return
    for split in cases.SPLITS:
        held = {name for name, about in expected.items() if about["split"] == split}
        odd = sorted(held ^ set(getattr(splits, split)))
        if odd:
            yield (
                f"{folder / 'splits.json'}: expected the cases of {split} that cases.json names, "
                f"found a difference in {odd[0]!r}."
            )


def _shard_faults(path, split, length, expected, seen, rebuild_dir) -> Iterator[str]:
    from spleen_tf.datasets.records import RecordError, read_examples

    count = 0
    try:
        groups = _by_case(read_examples(path))
        for examples in tqdm.tqdm(groups, desc=path.name, unit="case", disable=None):
            count += len(examples)
            name = examples[0]["case"]
            again = name in seen
            seen[name] = seen.get(name, 0) + len(examples)
            try:
                if again:
                    raise RecordError(f"{path}: case {name!r}: found for the second time.")
                about = expected.get(name)
                rebuilt = _checked(f"{path}: case {name!r}", split, examples, about)
            except InputError as error:
                yield str(error)
            else:
                _write(rebuilt, name, rebuild_dir)
    except RecordError as error:
        yield str(error)
        return
    if count != length:
        yield f"{path}: expected {length} records as dataset_info.json says, found {count}."


def _by_case(examples: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Groups the consecutive slices of a case."""
    for _, group in itertools.groupby(examples, key=lambda example: example["case"]):
        yield list(group)


def _checked(where: str, split: str, examples, expected) -> dict[str, Volume]:
    """Image and label of a case, rebuilt; RecordError unless they are what cases.json says."""
    from spleen_tf.datasets.records import RecordError

    if expected is None or expected["split"] != split:
        raise RecordError(f"{where}: expected a case of {split} in cases.json, found another.")
    for key in SHARED:
        if any(np.any(example[key] != examples[0][key]) for example in examples):
            raise RecordError(f"{where}: expected one {key} in all slices, found several.")
    for key in ("source_sha256", "label_sha256", "plane", "modality", "num_slices"):
        if examples[0][key] != expected[key]:
            raise RecordError(
                f"{where}: expected {key} {expected[key]} as in cases.json, found "
                f"{examples[0][key]}."
            )
    found = sorted(example["slice_index"] for example in examples)
    if found != list(range(examples[0]["num_slices"])):
        raise RecordError(
            f"{where}: expected each of {examples[0]['num_slices']} slices once, found "
            f"{len(set(found))} different ones."
        )
    volume.check_affine(_affine(examples[0]), where)
    rebuilt = _rebuilt(examples)
    for key, hash_key in (("image", "voxels_sha256"), ("label", "label_voxels_sha256")):
        array_ijk = rebuilt[key].array_ijk
        if list(array_ijk.shape) != expected["shape"]:
            raise RecordError(
                f"{where}: expected shape {expected['shape']}, found {list(array_ijk.shape)}."
            )
        digest = hashlib.sha256(array_ijk.ravel(order="F")).hexdigest()
        if digest != expected[hash_key]:
            raise RecordError(
                f"{where}: expected {key} voxels with SHA-256 {expected[hash_key]}, found {digest}."
            )
    return rebuilt


def _rebuilt(examples: list[dict[str, Any]]) -> dict[str, Volume]:
    """Image and label in stored order, from the slices of a case."""
    first = examples[0]
    affine = _affine(first)
    order = sorted(examples, key=lambda example: example["slice_index"])
    if planes.stored_index(0, len(order), affine, first["plane"]) > 0:
        order.reverse()
    rebuilt = {}
    for key, dtype in (("image", np.dtype(first["dtype"]).newbyteorder("<")), ("label", np.uint8)):
        slices_nhw = np.stack(
            [np.frombuffer(e[key], dtype).reshape(first["height"], first["width"]) for e in order]
        )
        array_ijk = planes.stack(slices_nhw, affine, first["plane"])
        rebuilt[key] = Volume(array_ijk, affine, first["case"])
    return rebuilt


def _affine(example: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(example["affine"], "<f8").reshape(4, 4)


def _write(rebuilt: dict[str, Volume], name: str, rebuild_dir: str) -> None:
    if rebuild_dir:
        folder = pathlib.Path(rebuild_dir)
        nifti.write(folder / f"{name}.nii.gz", rebuilt["image"])
        nifti.write(folder / f"{name}_label.nii.gz", rebuilt["label"])


if __name__ == "__main__":
    flags.run(main, VerifyConfig)
