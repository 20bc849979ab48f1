"""The volumes that a prediction reads, and the files that it writes for each."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import warnings
from collections.abc import Mapping, Sequence

from spleen_tf.core.files import InputError, InputWarning
from spleen_tf.datasets import cases
from spleen_tf.datasets.splits import read_splits
from spleen_tf.imaging.intensity import Modality
from spleen_tf.imaging.volume import Geometry
from spleen_tf.inference import bids, places, prediction
from spleen_tf.inference.prediction import PredictionRecord
from spleen_tf.io import nifti, readers

# What may be written for a volume besides its mask, and how the names of such files end; in a
# folder, they end in the first of these.
SUFFIXES: dict[str, tuple[str, ...]] = {
    "preview": (".png",),
    "probabilities": (".nii.gz", ".nii"),
    "report": (".html",),
    "mesh": (".stl", ".obj", ".ply"),  # As mesh.SUFFIXES, whose module takes longer to import.
    "seg_nrrd": (".seg.nrrd",),
    "dicom_seg": (".dcm",),
    "dicom_sr": (".dcm",),
    "dicom_sc": (".dcm",),
}
# Those that belong to the images of a DICOM series, in the order in which they are written.
DICOM_OBJECTS = ("dicom_seg", "dicom_sr", "dicom_sc")

_MOST_NAMED = 3


@dataclasses.dataclass(frozen=True)
class Job:
    """One volume and the files that are written for it.

    Attributes:
        source: the volume's file, or its DICOM folder.
        mask: the mask's file.
        others: by kind, one of SUFFIXES, the other files that were asked for.
        series_uid: the SeriesInstanceUID that was asked for; None: the only series.
        modality: of the volume, where the user or a data set says it.
        geometry: what the volume's headers say, where they are read already.
        bids_uri: of the source, where the mask belongs to a BIDS derivative.
    """

    source: pathlib.Path
    mask: pathlib.Path
    others: Mapping[str, pathlib.Path] = dataclasses.field(default_factory=dict)
    series_uid: str | None = None
    modality: Modality | None = None
    geometry: Geometry | None = dataclasses.field(default=None, compare=False)
    bids_uri: str | None = None

    @property
    def case(self) -> str:
        """The case's name, as text that can be shown and written anywhere."""
        return nifti.case(self.mask)

    @property
    def json(self) -> pathlib.Path:
        """The JSON beside the mask."""
        return places.sidecar(self.mask)

    @property
    def outputs(self) -> list[pathlib.Path]:
        """All files that are written."""
        return [self.mask, self.json, *self.others.values()]

    def result(self) -> PredictionRecord | None:
        """The content of the JSON, if all outputs are there from an earlier run; else None.

        Raises:
            InputError: if the JSON is none.
        """
        if not self.json.is_file():
            return None
        record = prediction.read(self.json)
        if record is None:
            return None
        # Of an empty mask there is no surface.
        needed = [path for kind, path in self.others.items() if kind != "mesh" or record.voxels]
        return record if all(path.is_file() for path in (self.mask, *needed)) else None

    def write_record(self, record: PredictionRecord) -> None:
        """Writes the JSON, whole or not at all.

        Raises:
            InputError: if it cannot be written.
        """
        content = bids.Sidecar.of(record, self.bids_uri) if self.bids_uri else record
        prediction.write(self.json, content)


def plan(
    source: str,
    output: str,
    others: Mapping[str, str | None] | None = None,
    series_uid: str | None = None,
    modality: Modality | None = None,
) -> list[Job]:
    """The volumes to segment and where their outputs go.

    Args:
        source: a NIfTI file, a folder of them, or a DICOM series: a folder or a file.
        output: the mask's file, or an existing folder for it; for a folder of volumes, a folder,
            which gets masks of the same names. A DICOM series' own name may be its patient's, so
            that its mask in a folder is spleen.nii.gz.
        others: by kind, one of SUFFIXES, a file; for a folder of volumes, a folder. Empty: none.
        series_uid: which series, where a DICOM folder has several.
        modality: of all volumes, where the user says it.

    Raises:
        InputError: if there is no volume, an output has a wrong name or no place to go to, or
            would overwrite an input or another output.
    """
    source_path, output_path = pathlib.Path(source), pathlib.Path(output)
    asked = {kind: path for kind, path in (others or {}).items() if path}
    if not source_path.exists():
        raise InputError(
            f"{source}: expected a NIfTI file, a folder of them, or a DICOM series, found nothing."
        )
    _check_output(output)
    is_dicom = readers.is_dicom(source)
    for_dicom = ["series_uid"] if series_uid else [kind for kind in DICOM_OBJECTS if kind in asked]
    if not is_dicom and for_dicom:
        raise InputError(f"{source}: expected DICOM for --{for_dicom[0]}, found none.")
    if source_path.is_dir() and not is_dicom:
        _check_folders(output, asked, "--input")
        jobs = [
            _in_folder(path, _mask_name(path), output, asked, modality=modality)
            for path in _volumes(source_path)
        ]
    else:
        name = "spleen.nii.gz" if is_dicom else _mask_name(source_path)
        mask = output_path / name if output_path.is_dir() else output_path
        other_paths = {kind: pathlib.Path(path) for kind, path in asked.items()}
        jobs = [Job(source_path, mask, other_paths, series_uid, modality)]
    return _checked(jobs)


def plan_split(
    dataset: str,
    splits: str,
    split: str,
    fold: int,
    output: str,
    others: Mapping[str, str | None] | None = None,
    modality: Modality | None = None,
) -> list[Job]:
    """The cases that a split of a data set names; outputs are named after the cases.

    Args:
        dataset: as in `cases.load`.
        splits: a splits.json, or nnU-Net's splits_final.json.
        split: train or validation.
        fold: which one of a list of folds.
        output, others: as in `plan`, for a folder of volumes.
        modality: of all cases; None: what the data set says.

    Raises:
        InputError: as `plan`, `cases.load` and `read_splits` do, or if a case is not in the data
            set, or the split is empty.
    """
    asked = {kind: path for kind, path in (others or {}).items() if path}
    _check_output(output)
    by_name = {case.name: case for case in cases.load(dataset, modality)}
    names = read_splits(splits, fold).of(split)
    if not names:
        raise InputError(f"{splits}: expected cases for {split}, found none.")
    for name in names:
        if name not in by_name:
            raise InputError(f"{splits}: expected cases of {dataset}, found {name!r}, none of it.")
    _check_folders(output, asked, "--dataset")
    jobs = []
    for case in (by_name[name] for name in names):
        suffix = ".nii" if case.image.lower().endswith(".nii") else ".nii.gz"
        mask_name = case.name + suffix
        image = pathlib.Path(case.image)
        jobs.append(_in_folder(image, mask_name, output, asked, case.series_uid, case.modality))
    return _checked(jobs)


def plan_bids(
    source: str,
    output: str,
    others: Mapping[str, str | None] | None = None,
    modality: Modality | None = None,
) -> list[Job]:
    """The images of a BIDS data set; masks are a derivative of it.

    Args:
        source: the data set's folder.
        output: the derivative's folder.
        others: as in `plan`, for a folder of volumes.
        modality: of all images; None: by their suffixes.

    Raises:
        InputError: as `plan` and `bids.images` do, or if another data set lies in the output.
    """
    asked = {kind: path for kind, path in (others or {}).items() if path}
    if kind := next((kind for kind in DICOM_OBJECTS if kind in asked), None):
        raise InputError(f"--{kind}: expected DICOM, found --bids, whose images are NIfTI.")
    _check_output(output)
    images = bids.images(pathlib.Path(source))
    _check_folders(output, asked, "--bids")
    bids.check_output(pathlib.Path(output))
    jobs = []
    for image in images:
        job = _in_folder(
            *(image.path, image.mask.name, output, asked),
            modality=modality or image.modality,
        )
        mask = pathlib.Path(output, image.mask)
        jobs.append(dataclasses.replace(job, mask=mask, bids_uri=image.uri))
    return _checked(jobs)


def check_single_places(output: str, others: Mapping[str, str | None]) -> None:
    """Raises InputError for names of outputs that `plan` would refuse for any single volume."""
    _check_output(output)
    if not os.path.isdir(output):
        places.check_place(pathlib.Path(output), nifti.SUFFIXES)
    for kind, path in others.items():
        if path:
            places.check_place(pathlib.Path(path), SUFFIXES[kind])


def is_batch(source: str | os.PathLike[str]) -> bool:
    """Whether a path names a folder of volumes, and not one volume."""
    return os.path.isdir(source) and not readers.is_dicom(source)


def _in_folder(
    source: pathlib.Path,
    mask_name: str,
    output: str,
    asked: Mapping[str, str],
    series_uid: str | None = None,
    modality: Modality | None = None,
) -> Job:
    """One of many volumes: its outputs go into folders, and are named as its mask."""
    others = {
        kind: pathlib.Path(folder, nifti.stem(mask_name) + SUFFIXES[kind][0])
        for kind, folder in asked.items()
    }
    return Job(source, pathlib.Path(output, mask_name), others, series_uid, modality)


def _mask_name(source: pathlib.Path) -> str:
    """The source's name; an extension in capitals becomes the usual one."""
    suffix = next((s for s in reversed(nifti.SUFFIXES) if source.name.lower().endswith(s)), "")
    return source.name[: len(source.name) - len(suffix)] + suffix


def _check_output(output: str) -> None:
    if not output:
        raise InputError("--output: expected a file's name, or a folder's, found nothing.")


def _check_folders(output: str, asked: Mapping[str, str], flag: str) -> None:
    """Raises InputError where many volumes would be written to one file."""
    folders = [(output, nifti.SUFFIXES), *((p, SUFFIXES[kind]) for kind, p in asked.items())]
    for folder, suffixes in folders:
        if folder.endswith(suffixes) and not os.path.isdir(folder):
            kind = "since --input is a folder" if flag == "--input" else f"for the cases of {flag}"
            raise InputError(f"{folder}: expected a folder, {kind}, found a file's name.")


def _volumes(folder: pathlib.Path) -> list[pathlib.Path]:
    """The NIfTI files of a folder; a warning names what else is in it."""
    shown = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    volumes = [path for path in shown if path.is_file() and nifti.is_nifti(path)]
    if not volumes:
        is_bids = (folder / bids.DESCRIPTION).is_file()
        remedy = "; a BIDS data set needs --bids" if is_bids else ""
        raise InputError(
            f"{folder}: expected .nii or .nii.gz files, or a DICOM series, in it, found none"
            f"{remedy}."
        )
    # A JSON beside a volume describes it, as BIDS has it.
    own = {*volumes, *map(places.sidecar, volumes)}
    if left_out := [path for path in shown if path not in own]:
        names = [f"{path.name}/" if path.is_dir() else path.name for path in left_out]
        listed = ", ".join(names[:_MOST_NAMED]) + ", …" * (len(names) > _MOST_NAMED)
        warnings.warn(
            f"{folder}: {len(names)} of {len(shown)} entries are left out, since they are no .nii "
            f"or .nii.gz files: {listed}",
            InputWarning,
            stacklevel=3,
        )
    return volumes


def _checked(jobs: Sequence[Job]) -> list[Job]:
    """Raises InputError for what would fail, or destroy something, after the work is done."""
    for job in jobs:
        places.check_place(job.mask, nifti.SUFFIXES)
        places.check_place(job.json, (".json",))
        for kind, path in job.others.items():
            places.check_place(path, SUFFIXES[kind])
    owners = places.Owners()
    for job in jobs:
        owners.add_input(job.source)
    for job in jobs:
        for path in job.outputs:
            owners.add_output(path, job.source)
    return list(jobs)
