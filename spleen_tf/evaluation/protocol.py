"""What a cross-validation does: which cases each fold holds out, and how its models are made."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import msgspec

from spleen_tf.core import flags
from spleen_tf.core.files import InputError
from spleen_tf.datasets import fingerprint
from spleen_tf.datasets.layouts import Case
from spleen_tf.datasets.splits import Splits, make_splits
from spleen_tf.evaluation.places import Places
from spleen_tf.imaging.planes import Plane
from spleen_tf.training.config import TrainConfig

FUSED = "fused"
# Where the files of a training lie, which says nothing about how it goes.
_PLACES = ("records", "model_dir", "splits", "fingerprint")


class Protocol(msgspec.Struct, frozen=True, kw_only=True):
    """How the models of a cross-validation are made and used.

    Attributes:
        num_folds: parts that the cases are dealt into.
        seed: of the folds.
        always_train: other data sets, whose cases train in every fold.
        recipes: by plane, the settings of its trainings (`TrainConfig`) without places of files.
        first_look: those of the models that say where the others look; None: there are none.
        threshold: the probability from which a voxel is spleen.
        tta: whether prediction uses test-time augmentation.
        label_value: the labels' value that means spleen; 0 for any value above 0.
    """

    num_folds: int
    seed: int
    always_train: tuple[str, ...] = ()
    recipes: dict[Plane, dict[str, object]]
    first_look: dict[str, object] | None = None
    threshold: float = 0.5
    tta: bool = False
    label_value: int = 0


@dataclasses.dataclass(frozen=True)
class Setup:
    """A cross-validation to run.

    Attributes:
        output: the folder for records, models, masks and results.
        dataset: the name of the data set, which a resumed run must share.
        cases: NIfTI cases, each held out once.
        extra_cases: cases that train in every fold; their names differ from those of `cases`.
        folds: the splits of each fold, by its number; `deal` makes them.
        recipes: by plane, the flags of spleen_tf.train without places of files.
        protocol: how models are made and used; `settings` makes its recipes from the flags.
        first_look: flags likewise, of the models that say where the others look; None: none do.
        jobs: trainings side by side.
    """

    output: pathlib.Path
    dataset: str
    cases: Sequence[Case]
    extra_cases: Sequence[Case]
    folds: Mapping[int, Splits]
    recipes: Mapping[Plane, Sequence[str]]
    protocol: Protocol
    first_look: Sequence[str] | None = None
    jobs: int = 1

    @property
    def planes_of(self) -> dict[str, list[Plane]]:
        """Each plane on its own and, if there are several, all of them fused."""
        planes = list(self.recipes)
        alone: dict[str, list[Plane]] = {plane: [plane] for plane in planes}
        return {**alone, FUSED: planes} if len(planes) > 1 else alone

    @property
    def places(self) -> Places:
        """Where its files lie."""
        return Places(self.output)

    def plan(self) -> dict[str, object]:
        """What makes two runs the same cross-validation; planes and folds may be added to one."""
        names = (case.name for case in (*self.cases, *self.extra_cases))
        protocol = msgspec.structs.asdict(self.protocol)
        return _json({"dataset": self.dataset, **protocol, "cases": sorted(names)})


def deal(
    cases: Sequence[Case], seed: int, num_folds: int, asked: str | None = None
) -> dict[int, Splits]:
    """The splits of the folds that --folds names, by their number.

    Args:
        cases: all of them. Splits that the data set itself gives are for one training, and do not
            count.
        seed: of the shuffle.
        num_folds: parts that the cases are dealt into.
        asked: numbers separated by commas; None: all.

    Raises:
        InputError: if there are fewer cases than folds, or a number names no fold, or stands twice.
    """
    numbers = list(range(num_folds))
    if asked:
        numbers = [int(n) if n.strip().isdigit() else -1 for n in asked.split(",")]
    if any(not 0 <= n < num_folds or numbers.count(n) > 1 for n in numbers):
        raise InputError(
            f"--folds: expected numbers from 0 to {num_folds - 1}, once each, found {asked!r}."
        )
    if num_folds > len(cases):
        raise InputError(
            f"--num_folds: expected at most {len(cases)}, the number of cases, found {num_folds}."
        )
    without_splits = [dataclasses.replace(case, split=None) for case in cases]
    return {n: make_splits(without_splits, seed, n, num_folds) for n in numbers}


def settings(recipe: Sequence[str]) -> dict[str, object]:
    """All settings of the training that a recipe's flags ask for, without places of files.

    Raises:
        InputError: if the flags are wrong.
    """
    config = flags.parse(["train", *recipe, "--records=-", "--model_dir=-"], TrainConfig)
    plan = fingerprint.read(config.fingerprint) if config.fingerprint else None
    return _without_places(dataclasses.asdict(config.settled(plan)))


def default_settings() -> dict[str, object]:
    """The settings of a training without flags, as `settings` returns them."""
    return _without_places({field.name: field.default for field in dataclasses.fields(TrainConfig)})


def _without_places(values: Mapping[str, object]) -> dict[str, object]:
    return _json({name: value for name, value in values.items() if name not in _PLACES})


def _json(values: Mapping[str, object]) -> dict[str, object]:
    """The same values as JSON gives them back, in which tuples are lists."""
    return msgspec.json.decode(msgspec.json.encode(values), type=dict[str, object])
