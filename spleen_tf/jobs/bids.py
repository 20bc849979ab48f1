"""BIDS: the images of a data set, and masks as a derivative of it.

The Brain Imaging Data Structure (Gorgolewski et al., 2016) names files by entities, as in
sub-01_ses-a_acq-fast_T2w.nii.gz; see its specification, "Common derivatives" and "Masks".
"""

from __future__ import annotations

import collections
import dataclasses
import os
import pathlib
import re
import urllib.parse
import warnings
from collections.abc import Sequence

import msgspec
from msgspec import UNSET, UnsetType

import spleen_tf
from spleen_tf.core import files
from spleen_tf.core.files import InputError, InputWarning
from spleen_tf.imaging.intensity import Modality
from spleen_tf.inference.prediction import PredictionRecord
from spleen_tf.io import nifti

DESCRIPTION = "dataset_description.json"
LOGS = "logs"  # Whose content BIDS leaves open, unlike that of other folders.
_VERSION = "1.9.0"
_SOFTWARE = "spleen_tf"
# How BIDS URIs in a sidecar call the data set that the images are of.
_SOURCE = "raw"

_MR_SUFFIXES = (
    *("T1w", "T2w", "PDw", "T2starw", "FLAIR", "inplaneT1", "inplaneT2"),
    *("T2star", "FLASH", "PD"),
)
# CT is not in the specification yet; data sets follow its extension proposal 24.
_CT_SUFFIX = "ct"
_DATATYPES = ("anat", "ct")
_NAME = re.compile(
    r"(?P<entities>sub-[a-zA-Z0-9]+(_[a-z]+-[a-zA-Z0-9]+)*)_(?P<suffix>[a-zA-Z0-9]+)"
)
_NO_MAGNITUDE = ("part-phase", "part-real", "part-imag")
_README = f"""# Spleen masks

Masks of the spleen, found automatically by {_SOFTWARE}, for research only: not a medical device.

Each mask lies on the grid of its source, which the sidecar names (`Sources`); 1 is spleen. The
sidecar also has the volume in mL (`volume_ml`), whether a person should look at the result before
it is used (`review`, `reasons`), and the model. Keys in small letters are those of the JSON that
{_SOFTWARE} writes beside every mask.
"""


@dataclasses.dataclass(frozen=True)
class Image:
    """An anatomical image of a BIDS data set.

    Attributes:
        path: the file.
        uri: its BIDS URI, as sidecars of the derivative name it.
        modality: by its suffix.
        mask: the file of its mask, relative to the derivative's folder.
    """

    path: pathlib.Path
    uri: str
    modality: Modality
    mask: pathlib.PurePath


class Sidecar(PredictionRecord, frozen=True, kw_only=True):
    """The record of a prediction with the keys that BIDS recommends for masks."""

    description: str = msgspec.field(name="Description")
    sources: tuple[str, ...] = msgspec.field(name="Sources")
    kind: str = msgspec.field(name="Type")
    spatial_reference: str = msgspec.field(name="SpatialReference")
    is_manual: bool = msgspec.field(name="Manual")

    @classmethod
    def of(cls, record: PredictionRecord, uri: str) -> Sidecar:
        """The sidecar of a mask that was found in the image of a BIDS URI."""
        return cls(
            **msgspec.structs.asdict(record),
            description="Spleen, found automatically, for research",
            sources=(uri,),
            kind="ROI",
            spatial_reference=uri,
            is_manual=False,
        )


class _Software(msgspec.Struct, frozen=True, rename="pascal"):
    name: str | None = None
    version: str | None = None
    description: str | None = None


class _Source(msgspec.Struct, frozen=True):
    url: str = msgspec.field(name="URL")
    doi: str | UnsetType = msgspec.field(default=UNSET, name="DOI")


class _Derivative(msgspec.Struct, frozen=True, rename="pascal"):
    """A dataset_description.json that is written."""

    name: str
    generated_by: tuple[_Software, ...]
    source_datasets: tuple[_Source, ...]
    dataset_links: dict[str, str]
    bids_version: str = msgspec.field(default=_VERSION, name="BIDSVersion")
    dataset_type: str = "derivative"


class _Description(msgspec.Struct, frozen=True, rename="pascal"):
    """What is read of a dataset_description.json."""

    name: str
    generated_by: tuple[_Software, ...] = ()
    doi: str | UnsetType = msgspec.field(default=UNSET, name="DatasetDOI")


def images(folder: pathlib.Path) -> list[Image]:
    """The anatomical images of a BIDS data set; a warning names others beside them.

    Taken are MR images of magnitudes (T1w, T2w and the like) in `anat/`, and CT in `ct/` or
    `anat/`, of all subjects and sessions. Where images of one subject and session differ by their
    suffix alone, it goes on in the names of their masks as desc-T2w.

    Raises:
        InputError: if the folder is no BIDS data set, or holds no such image.
    """
    _check_is_data_set(folder)
    names = [
        path.relative_to(folder)
        for datatype in _DATATYPES
        for pattern in ("sub-*", "sub-*/ses-*")
        for path in sorted(folder.glob(f"{pattern}/{datatype}/*"))
        if nifti.is_nifti(path) and not path.name.startswith(".")
    ]
    taken = {path: match for path in names if (match := _understood(path))}
    if not taken:
        raise InputError(
            f"{folder}: expected images such as sub-01/anat/sub-01_T2w.nii.gz in it, found none; "
            f"the suffixes are {', '.join(_MR_SUFFIXES)} and {_CT_SUFFIX}."
        )
    _warn_of_others(folder, [path for path in names if path not in taken])
    stems = collections.Counter(match["entities"] for match in taken.values())
    return sorted(
        (
            _image(folder, path, match, stems[match["entities"]] > 1)
            for path, match in taken.items()
        ),
        key=lambda image: image.mask,
    )


def check_output(folder: pathlib.Path) -> None:
    """Raises InputError if another data set lies where a derivative is to be written."""
    path = folder / DESCRIPTION
    if not path.exists():
        return
    makers = [maker.name for maker in files.read_record(path, _Description).generated_by]
    if _SOFTWARE not in makers:
        raise InputError(
            f"{folder}: expected a new folder, or a derivative by {_SOFTWARE}, found another data "
            f"set; name a folder such as derivatives/{_SOFTWARE}."
        )


def write_description(folder: pathlib.Path, source: pathlib.Path) -> None:
    """Writes what makes a folder of masks a derivative: its description and README.

    Args:
        folder: the derivative's.
        source: the data set that the images are of.

    Raises:
        InputError: if one cannot be written.
    """
    described = files.read_record(source / DESCRIPTION, _Description)
    link = _relative_url(source, folder)
    maker = _Software(_SOFTWARE, spleen_tf.__version__, "Masks of the spleen, found automatically")
    derivative = _Derivative(
        name=f"Spleen masks of {described.name}",
        generated_by=(maker,),
        source_datasets=(_Source(link, described.doi),),
        dataset_links={_SOURCE: link},
    )
    files.write_json(folder / DESCRIPTION, derivative)
    files.write_text(folder / "README.md", _README)


def _check_is_data_set(folder: pathlib.Path) -> None:
    if not (folder / DESCRIPTION).is_file():
        raise InputError(
            f"{folder}: expected a BIDS data set for --bids, found no {DESCRIPTION} in it."
        )
    files.read_record(folder / DESCRIPTION, _Description)


def _understood(path: pathlib.PurePath) -> re.Match[str] | None:
    """The parts of a name, if it is that of an image in which a spleen can be sought."""
    match = _NAME.fullmatch(nifti.stem(path))
    if match is None or match["suffix"] not in (*_MR_SUFFIXES, _CT_SUFFIX):
        return None
    is_magnitude = not set(_NO_MAGNITUDE) & set(match["entities"].split("_"))
    return match if is_magnitude else None


def _image(
    folder: pathlib.Path, path: pathlib.PurePath, match: re.Match[str], with_suffix: bool
) -> Image:
    entities, suffix = match["entities"].split("_"), match["suffix"]
    described = [entity for entity in entities if entity.startswith("desc-")]  # It goes last.
    if with_suffix:
        described = [f"{described[0] if described else 'desc-'}{suffix}"]
    kept = [entity for entity in entities if not entity.startswith("desc-")]
    name = "_".join([*kept, "label-spleen", *described, "mask.nii.gz"])
    return Image(
        path=folder / path,
        uri=f"bids:{_SOURCE}:{path.as_posix()}",
        modality="CT" if suffix == _CT_SUFFIX else "MR",
        mask=path.parent.parent / "anat" / name,
    )


def _warn_of_others(folder: pathlib.Path, others: Sequence[pathlib.PurePath]) -> None:
    if others:
        names = [path.name for path in others]
        warnings.warn(
            f"{folder}: left out, since their names are not those of anatomical images: "
            f"{files.listed(names, 3)}",
            InputWarning,
            stacklevel=4,
        )


def _relative_url(target: pathlib.Path, folder: pathlib.Path) -> str:
    """A path from a folder, with slashes; so that nothing tells where on a machine it was."""
    try:
        relative = os.path.relpath(target.resolve(), folder.resolve())
    except ValueError:  # Of another drive of Windows.
        return target.resolve().as_uri()
    return urllib.parse.quote(pathlib.PurePath(relative).as_posix())
