"""What tools/cross_validate.py left: for every case, models that never saw it."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Iterator

import tqdm

from spleen_tf import cases, ensemble, files
from spleen_tf.cases import Case
from spleen_tf.ensemble import Member
from spleen_tf.files import InputError
from spleen_tf.volume import Volume

FILE_NAME = "cv.json"


@dataclasses.dataclass(frozen=True)
class CrossValidation:
    """A finished cross-validation.

    Attributes:
        folder: where its models lie.
        planes: of its models, sorted.
        held_out: the names of the cases that each fold held out, by the fold's number.
    """

    folder: pathlib.Path
    planes: tuple[str, ...]
    held_out: dict[str, list[str]]

    @property
    def patients(self) -> int:
        """How many cases were held out in all."""
        return sum(map(len, self.held_out.values()))

    def members(self, fold: str) -> list[Member]:
        """The models of a fold, in the order of planes."""
        models = (self.folder / "models" / plane / f"fold_{fold}" for plane in self.planes)
        return ensemble.load(model / "saved_model" for model in models)

    def volumes(
        self, by_name: dict[str, Case], label_value: int, bar: tqdm.tqdm
    ) -> Iterator[tuple[str, str, list[Member], Volume, Volume]]:
        """Fold, case, the models that never saw it, image and label, of each held-out case.

        Args:
            by_name: the cases of the data set.
            label_value: the label's value that means spleen; 0 for any value above 0.
            bar: says which case is at work.
        """
        for fold, names in self.held_out.items():
            members = self.members(fold)
            for name in names:
                bar.set_postfix_str(name, refresh=False)
                yield fold, name, members, *cases.read(by_name[name], label_value)


def read(folder: str | os.PathLike, by_name: dict[str, Case]) -> CrossValidation:
    """Reads cv.json.

    Args:
        folder: what tools/cross_validate.py wrote.
        by_name: the cases of the data set that was cross-validated.

    Raises:
        InputError: if there is no cv.json, or a case of it is not in the data set.
    """
    folder = pathlib.Path(folder)
    if not (folder / FILE_NAME).is_file():
        raise InputError(
            f"{folder}: expected a folder that tools/cross_validate.py wrote, found no "
            f"{FILE_NAME} in it."
        )
    content = files.read_json(folder / FILE_NAME)
    found = CrossValidation(folder, tuple(sorted(content["recipes"])), content["folds"])
    for names in found.held_out.values():
        for name in names:
            if name not in by_name:
                raise InputError(
                    f"{folder}: expected the cases of its data set, found no {name!r} among them; "
                    "give --dataset as the cross-validation got it."
                )
    return found
