"""A fold of the comparison: its volumes to the other interpreter, and its masks back."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import tempfile
from collections.abc import Callable, Mapping

import msgspec
import numpy as np

import spleen_tf
from spleen_tf.benchmark.machine import Machine
from spleen_tf.benchmark.peers import exchange
from spleen_tf.benchmark.peers.exchange import Outcome, Scan, Settings
from spleen_tf.core import files
from spleen_tf.core.files import InputError
from spleen_tf.core.process import CommandFailed
from spleen_tf.datasets import cases
from spleen_tf.datasets.layouts import Case
from spleen_tf.imaging import masks, volume
from spleen_tf.imaging.volume import Grid, Volume
from spleen_tf.io import nifti, readers

PROGRAM = "spleen_tf.benchmark.peers.program"
_ROOT = pathlib.Path(spleen_tf.__file__).parents[1]
_VERSIONS = """
import importlib.metadata, json, platform
versions = {name: importlib.metadata.version(name) for name in ("torch", "monai", "numpy")}
print(json.dumps({"python": platform.python_version(), **versions}))
"""


class FoldReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was run in a fold, beside its masks.

    Attributes:
        fold, num_folds, fold_seed: which cases are held out, as in cross_validate.
        settings: of the training, with the names of its cases.
        outcome: steps, images, minutes, and what a case took.
        versions: of Python, PyTorch, MONAI and numpy.
        machine: that ran it.
    """

    fold: int
    num_folds: int
    fold_seed: int
    settings: Settings
    outcome: Outcome
    versions: dict[str, str]
    machine: Machine


def versions(python: str) -> dict[str, str]:
    """The versions of an interpreter and of its PyTorch, MONAI and numpy.

    Raises:
        InputError: if there is no such interpreter.
        CommandFailed: if one of the packages is missing.
    """
    try:
        done = subprocess.run([python, "-c", _VERSIONS], capture_output=True, text=True)
    except OSError as error:
        raise InputError(
            f"--peer_python: expected a Python interpreter, found {python}: {error.strerror}."
        ) from None
    if done.returncode:
        raise CommandFailed(
            "--peer_python: expected an interpreter with PyTorch and MONAI, found: "
            f"{_last_line(done.stderr)}; install requirements-peers.txt."
        )
    return msgspec.json.decode(done.stdout, type=dict[str, str])


def run(
    case_of: Mapping[str, Case],
    settings: Settings,
    output: pathlib.Path,
    python: str,
    label_value: int = 0,
    say: Callable[[str], object] = print,
) -> Outcome:
    """Trains on the cases of a fold, and writes the masks of those held out.

    Args:
        case_of: the cases by name.
        settings: of the training.
        output: receives NAME.nii.gz, only the largest component, on the image's own grid.
        python: the interpreter that has PyTorch and MONAI.
        label_value: as in `cases.read`.
        say: is called with each line that the training prints.

    Raises:
        CommandFailed: if the training fails.
    """
    with tempfile.TemporaryDirectory(prefix="spleen_tf_peers_") as name:
        folder = pathlib.Path(name)
        for case in (*settings.train, *settings.held_out):
            _scan(case_of[case], label_value).save(folder, case)
        _train_and_segment(settings, folder, python, say)
        for case in settings.held_out:
            image = readers.read(case_of[case].image, case_of[case].series_uid)
            mask = dataclasses.replace(
                _in_ras(image), array_ijk=np.load(exchange.mask_path(folder, case))
            )
            mask_ijk = masks.largest_component(volume.in_order_of(mask, image.grid).array_ijk)
            nifti.write_mask(output / f"{case}.nii.gz", mask_ijk, like=image)
        return files.read_record(exchange.outcome_path(folder), Outcome)


def _scan(case: Case, label_value: int) -> Scan:
    image, label = cases.read(case, label_value)
    image_ras = _in_ras(image)
    return Scan(image_ras.array_ijk, _in_ras(label).array_ijk, image_ras.zooms_mm)


def _in_ras(placed: Volume) -> Volume:
    """The same voxels, from left to right, back to front, feet to head."""
    return volume.in_order_of(placed, Grid(placed.shape, np.eye(4)))


def _train_and_segment(
    settings: Settings, folder: pathlib.Path, python: str, say: Callable[[str], object]
) -> None:
    """Runs the program of the other interpreter, which gets this package, and none of its cwd."""
    command = [python, "-P", "-s", "-m", PROGRAM, str(folder)]
    command.append(json.dumps(dataclasses.asdict(settings)))
    with (
        (folder / "stderr").open("w+") as stderr,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
        ) as process,
    ):
        try:
            assert process.stdout
            for line in process.stdout:
                say(line.rstrip("\n"))
        except BaseException:  # A signal, for one: it must not train on.
            process.kill()
            raise
        if process.wait():
            stderr.seek(0)
            raise CommandFailed(
                f"expected {python} to train and segment, found: {_last_line(stderr.read())}."
            )


def _last_line(text: str) -> str:
    *_, last = text.strip().splitlines() or ["nothing that says why"]
    return last
