"""Makes labelled synthetic abdomens, CT or MR, as a data set in the Decathlon's layout.

A case depends only on --seed, its number, its modality, --max_size and --protocol: the same flags
give the same bytes with any number of workers, and a longer run begins with the cases of a shorter
one.

Example:
    python tools/make_phantom.py --output_dir=data/phantoms --num_cases=20 --seed=0
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys

# Lets the program run from a checkout in which the package is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np
import tqdm

from spleen_tf.core import cores, files, flags, parallel
from spleen_tf.core.files import InputError
from spleen_tf.core.flags import flag
from spleen_tf.datasets import layouts
from spleen_tf.imaging.intensity import MODALITIES
from spleen_tf.io import nifti
from spleen_tf.phantom import generate

NAME = "Synthetic abdomens"


@dataclasses.dataclass(frozen=True)
class PhantomConfig:
    output_dir: str = flag(
        "", "A folder for the data set; with --modality=both for ct/ and mr/ in it.", required=True
    )
    num_cases: int = flag(10, "Cases to make, of both modalities together.", minimum=1)
    seed: int = flag(0, "Another seed gives other patients.", minimum=0)
    modality: str = flag(
        "CT",
        "The modality; 'both' takes turns, and writes a data set of each.",
        choices=(*MODALITIES, "both"),
    )
    protocol: str = flag(
        "",
        "Makes cases of this contrast phase or sequence only, as at one site. Empty: of all of the "
        "modality.",
        choices=("", *(name for names in generate.PROTOCOLS.values() for name in names)),
    )
    max_size: int = flag(
        256,
        "Rows and columns of a slice, at most; fewer make cases coarser, in less time.",
        minimum=generate.MIN_SIZE,
        maximum=1024,
    )
    workers: int = flag(cores.available(), "Processes that make cases.", minimum=1)


@dataclasses.dataclass(frozen=True)
class Task:
    """One case to make: its number counts within its data set."""

    dataset: pathlib.Path
    modality: str
    number: int
    seed: int
    max_size: int
    protocol: str

    @property
    def name(self) -> str:
        return f"phantom_{self.modality.lower()}_{self.number:03d}"


def main(config: PhantomConfig) -> None:
    protocols = generate.PROTOCOLS.get(config.modality, ())
    if config.protocol and config.protocol not in protocols:
        raise InputError(
            f"--protocol: expected one of {', '.join(protocols) or 'none'} with "
            f"--modality={config.modality}, found {config.protocol!r}."
        )
    tasks = _tasks(config)
    datasets = sorted({(task.dataset, task.modality) for task in tasks})
    for dataset, _ in datasets:
        _clear(dataset)
    bar = tqdm.tqdm(
        parallel.in_processes(_make, tasks, config.workers),
        total=len(tasks),
        desc="make",
        unit="case",
        disable=None,
    )
    entries = list(bar)
    for dataset, modality in datasets:
        members = [
            entry for task, entry in zip(tasks, entries, strict=True) if task.dataset == dataset
        ]
        layouts.write_decathlon(
            dataset,
            name=NAME,
            description=f"Synthetic abdominal volumes with spleen labels; seed {config.seed}.",
            modality=modality,
            training=members,
        )
        print(f"{dataset}: {len(members)} synthetic {modality} cases")


def _tasks(config: PhantomConfig) -> list[Task]:
    output, both = pathlib.Path(config.output_dir), config.modality == "both"
    modalities = MODALITIES if both else (config.modality,)
    tasks = []
    for position in range(config.num_cases):
        number, which = divmod(position, len(modalities))
        modality = modalities[which]
        # Mixed, not added: seeds 0 and 1 must not share patients.
        seed = int(np.random.SeedSequence([config.seed, number]).generate_state(1, np.uint64)[0])
        dataset = output / modality.lower() if both else output
        tasks.append(Task(dataset, modality, number, seed, config.max_size, config.protocol))
    return tasks


def _clear(dataset: pathlib.Path) -> None:
    """Removes an earlier data set of this program; any other is rejected.

    Its dataset.json goes first, without which a folder is no data set.
    """
    marker = dataset / "dataset.json"
    if marker.exists():
        name = layouts.read_name(marker)
        if name != NAME:
            raise InputError(
                f"{marker}: expected none or one of {NAME!r}, found {name!r}; choose another "
                "--output_dir."
            )
        marker.unlink()
        print(f"{dataset}: replaces the synthetic cases in it", flush=True)
    for folder in ("imagesTr", "labelsTr"):
        for path in files.make_folder(dataset / folder).glob("phantom_*.nii.gz"):
            path.unlink()


def _make(task: Task) -> dict[str, str | float]:
    """Makes and writes one case; its entry in dataset.json."""
    case = generate.make(task.seed, task.modality, task.max_size, task.protocol)
    file_name = f"{task.name}.nii.gz"
    nifti.write(task.dataset / "imagesTr" / file_name, case.image)
    nifti.write(task.dataset / "labelsTr" / file_name, case.label)
    return {
        "image": f"./imagesTr/{file_name}",
        "label": f"./labelsTr/{file_name}",
        "protocol": case.protocol,
        "spleen_ml": round(case.spleen_ml, 2),
    }


if __name__ == "__main__":
    flags.run(main, PhantomConfig)
