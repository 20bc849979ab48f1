"""One case of a conversion: read, looked at, and encoded as records."""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

from spleen_tf.core import files
from spleen_tf.core.files import InputWarning
from spleen_tf.datasets import cases, gate
from spleen_tf.datasets.layouts import Case, Split
from spleen_tf.datasets.metadata import CaseRecord
from spleen_tf.imaging import intensity, masks, planes, regions
from spleen_tf.imaging.planes import Plane
from spleen_tf.imaging.volume import Volume
from spleen_tf.io import readers
from spleen_tf.quality import measurements


@dataclasses.dataclass(frozen=True)
class Options:
    """How cases are converted.

    Attributes:
        plane: of the slices.
        array_axis: a stored axis to cut along in place of the plane.
        num_shards: files per split; a split of fewer cases gets one per case.
        workers: processes that read volumes, each of which holds one or two in memory.
        label_value: the label's value that means spleen; 0 for any value above 0.
        around_organ: only the region around the organ is kept; a case without spleen stays whole.
        strict: rejects cases that the gate finds doubtful, of which it would only warn.
    """

    plane: Plane = "coronal"
    array_axis: int | None = None
    num_shards: int = 8
    workers: int = 1
    label_value: int = 0
    around_organ: bool = False
    strict: bool = False


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A case that was read, and the warnings that it caused in another process."""

    case: Case
    image: Volume
    label: Volume
    source_sha256: str
    label_sha256: str
    percentiles: tuple[float, ...]
    look: gate.Look
    warnings: tuple[str, ...] = ()


def load(case: Case, options: Options) -> Loaded:
    """Reads a case.

    Raises:
        VolumeError: as `cases.read` does.
    """
    image, label = cases.read(case, options.label_value)
    image_sha256, percentiles = readers.sha256(image), intensity.percentiles(image.array_ijk)
    inside = label.array_ijk > 0
    look = gate.look_at(case, image, inside, measurements.measure(image, inside))
    if options.around_organ and (box := masks.bounding_box(label.array_ijk)):
        region = regions.around(box, image.grid, regions.TRAINING_MARGIN_MM)
        image, label = region.crop(image), region.crop(label)
    label_sha256 = files.sha256(case.label)
    return Loaded(case, image, label, image_sha256, label_sha256, tuple(percentiles.tolist()), look)


def load_quietly(case: Case, options: Options) -> Loaded:
    """`load`, perhaps in another process, which hands its warnings over to be shown in order."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = load(case, options)
    messages = (str(w.message) for w in caught if issubclass(w.category, InputWarning))
    return dataclasses.replace(loaded, warnings=tuple(messages))


def slices(loaded: Loaded, options: Options) -> Iterator[bytes]:
    """Serialized Examples of a case, in the order of a shard."""
    from spleen_tf.datasets import records  # TensorFlow: seconds that a wrong flag should not cost.

    identity = records.Identity(
        loaded.case.name,
        loaded.case.modality,
        loaded.source_sha256,
        loaded.label_sha256,
        loaded.percentiles,
    )
    plane = _plane(loaded.image, options)
    return records.encode(loaded.image, loaded.label, plane, identity)


def case_record(split: Split, loaded: Loaded, options: Options) -> CaseRecord:
    """What cases.json says of a case."""
    image, label = loaded.image, loaded.label
    plane = _plane(image, options)
    labels_nhw = planes.split(label.array_ijk, image.affine, plane)
    row_mm, column_mm = planes.pixel_mm(image.affine, plane).tolist()
    i, j, k = image.shape
    return CaseRecord(
        split=split,
        modality=loaded.case.modality,
        plane=plane,
        num_slices=len(labels_nhw),
        spleen_slices=int(labels_nhw.any(axis=(1, 2)).sum()),
        pixel_mm=(row_mm, column_mm),
        slice_mm=planes.slice_mm(image.affine, plane),
        shape=(i, j, k),
        source_sha256=loaded.source_sha256,
        label_sha256=loaded.label_sha256,
        voxels_sha256=voxels_sha256(image.array_ijk),
        label_voxels_sha256=voxels_sha256(label.array_ijk),
    )


def voxels_sha256(array_ijk: NDArray[Any]) -> str:
    """The SHA-256 of voxels in the order of a NIfTI file, the first index fastest."""
    # Of an array that lies in memory in that order, nothing is copied.
    return hashlib.sha256(array_ijk.ravel(order="F").data).hexdigest()


def _plane(image: Volume, options: Options) -> Plane:
    if options.array_axis is None:
        return options.plane
    return planes.plane_of_axis(image.affine, options.array_axis)
