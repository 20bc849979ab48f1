"""Verifies records: checksums, schema, counts and hashes; and rebuilds the volumes they hold.

Exit code 1 says that damage was found; each damaged file or case has its line.

Example:
    python tools/verify_tfrecords.py --records=data/records/coronal --rebuild_dir=data/rebuilt
"""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

# Lets the program run from a checkout in which the package is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np
import tqdm

from spleen_tf import cases, commands, files, nifti, slices
from spleen_tf.commands import flag
from spleen_tf.volume import Volume


@dataclasses.dataclass(frozen=True)
class VerifyConfig:
    records: str = flag("", "A folder that make_tfrecords.py wrote.", required=True)
    rebuild_dir: str = flag("", "Writes CASE.nii.gz and CASE_label.nii.gz of every case here.")


def main(config: VerifyConfig) -> int:
    from spleen_tf import records  # TensorFlow: seconds that a wrong flag should not cost.

    expected = records.read_cases(config.records)
    lengths = records.read_shard_lengths(config.records)
    if config.rebuild_dir:
        files.make_folder(config.rebuild_dir)
    damage, seen, total = [], set(), 0
    for split in cases.SPLITS:
        paths = records.shard_paths(config.records, split)
        if len(paths) != len(lengths.get(split, ())):
            damage.append(
                f"{config.records}: expected {len(lengths.get(split, ()))} shards of {split}, "
                f"found {len(paths)}."
            )
            continue
        for path, length in zip(paths, lengths.get(split, ()), strict=True):
            count = 0
            try:
                for examples in tqdm.tqdm(
                    _by_case(records.read_examples(path)),
                    desc=pathlib.Path(path).name,
                    unit="case",
                    disable=None,
                ):
                    count += len(examples)
                    name = examples[0]["case"]
                    if name in seen:
                        raise records.RecordError(
                            f"{path}: found case {name!r} for the second time."
                        )
                    seen.add(name)
                    _verify_case(path, split, examples, expected.get(name), config.rebuild_dir)
                if count != length:
                    raise records.RecordError(f"{path}: expected {length} records, found {count}.")
            except records.RecordError as error:
                damage.append(str(error))
            total += count
    damage += [
        f"{config.records}: case {name!r} is missing." for name in sorted(set(expected) - seen)
    ]
    for line in damage:
        print(f"damage: {line}", file=sys.stderr)
    print(
        f"{config.records}: {total} slices of {len(seen)} cases, "
        + (f"{len(damage)} faults" if damage else "intact")
    )
    return commands.EXIT_FAILED if damage else commands.EXIT_DONE


def _by_case(examples: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Groups the consecutive slices of a case."""
    group: list[dict[str, Any]] = []
    for example in examples:
        if group and example["case"] != group[0]["case"]:
            yield group
            group = []
        group.append(example)
    if group:
        yield group


def _verify_case(path, split, examples, expected, rebuild_dir) -> None:
    from spleen_tf.records import RecordError

    name = examples[0]["case"]
    where = f"{path}: case {name!r}"
    if expected is None or expected["split"] != split:
        raise RecordError(f"{where}: expected a case of {split} as cases.json says, found another.")
    if len(examples) != examples[0]["num_slices"]:
        raise RecordError(
            f"{where}: expected {examples[0]['num_slices']} slices, found {len(examples)}."
        )
    for key in ("source_sha256", "label_sha256", "plane", "modality"):
        if any(example[key] != expected[key] for example in examples):
            raise RecordError(
                f"{where}: expected {key} {expected[key]} in every slice, found another."
            )
    for key, volume_of_key in _rebuild(examples).items():
        digest = hashlib.sha256(volume_of_key.array_ijk.tobytes(order="F")).hexdigest()
        hash_key = "voxels_sha256" if key == "image" else "label_voxels_sha256"
        if digest != expected[hash_key]:
            raise RecordError(
                f"{where}: expected {key} voxels with SHA-256 {expected[hash_key]}, found {digest}."
            )
        if rebuild_dir:
            suffix = "" if key == "image" else "_label"
            nifti.write(pathlib.Path(rebuild_dir) / f"{name}{suffix}.nii.gz", volume_of_key)


def _rebuild(examples: list[dict[str, Any]]) -> dict[str, Volume]:
    """Image and label in stored order, from the slices of a case."""
    first = examples[0]
    affine = np.frombuffer(first["affine"], "<f8").reshape(4, 4)
    order = sorted(
        examples,
        key=lambda e: slices.stored_index(e["slice_index"], len(examples), affine, first["plane"]),
    )
    rebuilt = {}
    for key, dtype in (("image", np.dtype(first["dtype"]).newbyteorder("<")), ("label", np.uint8)):
        slices_nhw = np.stack(
            [np.frombuffer(e[key], dtype).reshape(first["height"], first["width"]) for e in order]
        )
        array_ijk = slices.stack(slices_nhw, affine, first["plane"])
        rebuilt[key] = Volume(array_ijk, affine, first["case"])
    return rebuilt


if __name__ == "__main__":
    commands.run(main, VerifyConfig)
