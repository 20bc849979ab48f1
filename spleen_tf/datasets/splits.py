"""Which cases train and which validate: dealt into folds by patient, and read from files."""

from __future__ import annotations

import collections
import dataclasses
import os
import warnings
from collections.abc import Sequence, Set
from typing import cast

import msgspec
import numpy as np

from spleen_tf.core import files
from spleen_tf.core.files import InputWarning
from spleen_tf.datasets.layouts import SPLITS, Case, DatasetError

_REMEDY = (
    "write an object with the lists train and validation of case names, or a list of folds, each "
    "with train and val, as nnU-Net does"
)


@dataclasses.dataclass(frozen=True)
class Splits:
    """A splits.json: case names; seed, fold and num_folds say how they were dealt."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    seed: int | None = None
    fold: int | None = None
    num_folds: int | None = None

    def of(self, split: str) -> tuple[str, ...]:
        """The cases of one of SPLITS."""
        return self.train if split == "train" else self.validation

    def restricted_to(self, names: Set[str]) -> Splits:
        """The same splits without the cases that are not among some names."""
        train, validation = (
            tuple(name for name in part if name in names) for part in (self.train, self.validation)
        )
        return dataclasses.replace(self, train=train, validation=validation)


class _NnunetFold(msgspec.Struct, frozen=True):
    """A fold of nnU-Net's splits_final.json."""

    train: tuple[str, ...]
    val: tuple[str, ...]


def make_splits(cases: Sequence[Case], seed: int, fold: int, num_folds: int) -> Splits:
    """One fold of a cross-validation: a seeded shuffle dealt into num_folds parts of even size.

    Where the data set itself assigns splits, those are taken, and there are no folds. A single case
    trains, and nothing validates.

    Raises:
        DatasetError: if the fold does not exist or would hold no case, or is asked for beside a
            data set's own splits.
    """
    names = sorted(case.name for case in cases)
    if any(case.split for case in cases):
        if fold:
            raise DatasetError(
                f"--fold: expected none with a table that has a column split of its own, found "
                f"{fold}; leave out the column to have folds dealt."
            )
        train, validation = ([c.name for c in cases if c.split == split] for split in SPLITS)
        return Splits(tuple(train), tuple(validation))
    if not 0 <= fold < num_folds:
        raise DatasetError(f"--fold: expected 0 to {num_folds - 1} of {num_folds}, found {fold}.")
    if len(names) == 1:
        warnings.warn("one case only: it trains, and nothing validates", InputWarning, stacklevel=2)
        return Splits(tuple(names), (), seed, fold, num_folds)
    if fold >= len(names):
        raise DatasetError(
            f"--fold: expected a fold below {len(names)}, the number of cases, found {fold}."
        )
    order = np.random.default_rng(seed).permutation(names)
    validation = sorted(str(name) for name in np.array_split(order, num_folds)[fold])
    train = [name for name in names if name not in set(validation)]
    return Splits(tuple(train), tuple(validation), seed, fold, num_folds)


def read_splits(path: str | os.PathLike[str], fold: int = 0) -> Splits:
    """Reads a splits.json, or a fold of nnU-Net's splits_final.json.

    Args:
        path: an object with the lists train and validation, as write_splits makes it; or a list of
            folds, each an object with the lists train and val.
        fold: which one of a list of folds.

    Raises:
        InputError: if it has not these lists, or not this fold (DatasetError), or a case stands in
            both lists, or twice in one.
    """
    kind = cast("type[Splits | list[_NnunetFold]]", Splits | list[_NnunetFold])
    content = files.read_record(path, kind, _REMEDY)
    if isinstance(content, list):
        content = _fold_of(content, fold, path)
    if fold and content.fold != fold:
        raise DatasetError(f"{path}: expected a list of folds, of which --fold={fold}, found one.")
    both = sorted(set(content.train) & set(content.validation))
    if both:
        raise DatasetError(f"{path}: expected each case in one split, found {both[0]!r} in both.")
    for name, count in collections.Counter(content.train + content.validation).items():
        if count > 1:
            raise DatasetError(f"{path}: expected each case once, found {name!r} {count} times.")
    return content


def write_splits(path: str | os.PathLike[str], splits: Splits) -> None:
    """Writes a splits.json that read_splits gives back."""
    files.write_json(path, splits)


def _fold_of(folds: Sequence[_NnunetFold], fold: int, path: str | os.PathLike[str]) -> Splits:
    if not folds:
        raise DatasetError(f"{path}: expected at least one fold, found an empty list; {_REMEDY}.")
    if not 0 <= fold < len(folds):
        raise DatasetError(
            f"{path}: expected --fold below {len(folds)}, the number of folds in it, found {fold}."
        )
    return Splits(folds[fold].train, folds[fold].val, fold=fold, num_folds=len(folds))
