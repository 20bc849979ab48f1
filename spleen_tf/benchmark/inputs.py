"""The volumes to measure with: real ones where they lie beside the project, else phantoms."""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
from typing import Any

import numpy as np
from nibabel import orientations
from numpy.typing import NDArray

from spleen_tf.core import files
from spleen_tf.imaging.intensity import Modality
from spleen_tf.imaging.volume import Volume
from spleen_tf.io import nifti
from spleen_tf.phantom import generate

CT_SHAPE = (512, 512, 133)
MR_SHAPE = (256, 256, 36)
LONG_SHAPE = (512, 512, 1000)
# Where the tests look for real volumes, too.
_REAL_DATA = "SPLEEN_TF_REAL_DATA"
_PLACES: dict[Modality, str] = {"CT": "ct", "MR": "mr_t2"}


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The volumes' files, in a folder that keeps those that have to be made.

    Attributes:
        folder: receives what is made.
        real_data: a folder with ct/ and mr_t2/, data sets in the Decathlon layout; it need not be
            there.
        shrink: divides every shape, for tests.
    """

    folder: pathlib.Path
    real_data: pathlib.Path
    shrink: int = 1

    @functools.cached_property
    def ct(self) -> pathlib.Path:
        """A CT of 512×512×133."""
        return self._volume("CT", CT_SHAPE)

    @functools.cached_property
    def mr(self) -> pathlib.Path:
        """An MR of 256×256×36."""
        return self._volume("MR", MR_SHAPE)

    @functools.cached_property
    def long_ct(self) -> pathlib.Path:
        """The CT with its slices repeated to 1000."""
        path = self._place("long_ct", LONG_SHAPE)
        if not path.exists():
            nifti.write(path, resized(nifti.read(self.ct), self._shape(LONG_SHAPE)))
        return path

    def phantoms(self, count: int) -> list[generate.Phantom]:
        """CT phantoms; the same two, their voxels shifted by one unit from case to case."""
        size = max(generate.MIN_SIZE, 256 // self.shrink)
        drawn = [generate.make(seed, "CT", size) for seed in (0, 1)]
        phantoms = []
        for number in range(count):
            phantom = drawn[number % 2]
            shifted = phantom.image.array_ijk + np.int16(number // 2)
            image = dataclasses.replace(phantom.image, array_ijk=shifted)
            phantoms.append(dataclasses.replace(phantom, image=image))
        return phantoms

    def _volume(self, modality: Modality, shape: tuple[int, int, int]) -> pathlib.Path:
        # Of several, the first of that size.
        for path in sorted(self.real_data.glob(f"{_PLACES[modality]}/imagesTr/*.nii.gz")):
            if nifti.read_geometry(path).shape == self._shape(shape):
                return path
        path = self._place(modality.lower(), shape)
        if not path.exists():
            phantom = generate.make(0, modality, max(generate.MIN_SIZE, shape[0] // self.shrink))
            nifti.write(path, resized(phantom.image, self._shape(shape)))
        return path

    def _shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        i, j, k = (max(2, length // self.shrink) for length in shape)
        return i, j, k

    def _place(self, name: str, shape: tuple[int, int, int]) -> pathlib.Path:
        size = "x".join(map(str, self._shape(shape)))
        return files.make_folder(self.folder) / f"{name}_{size}.nii.gz"


def default_real_data(root: pathlib.Path) -> pathlib.Path:
    """Where real volumes would lie: in $SPLEEN_TF_REAL_DATA, else beside the project."""
    return pathlib.Path(os.environ.get(_REAL_DATA) or root.parent / "shared" / "data")


def resized(volume: Volume, shape: tuple[int, int, int]) -> Volume:
    """The same volume with so many voxels from left to right, back to front and foot to head.

    Voxels are repeated or left out; the grid still covers the same body.
    """
    to_ras = orientations.io_orientation(volume.affine)
    array_ijk: NDArray[Any] = orientations.apply_orientation(volume.array_ijk, to_ras)
    affine = volume.affine @ orientations.inv_ornt_aff(to_ras, volume.array_ijk.shape)
    for axis, length in enumerate(shape):
        before = array_ijk.shape[axis]
        index = np.arange(length) * before // length
        array_ijk = np.take(array_ijk, index, axis)
        affine = affine @ _scaling(axis, before / length)
    return Volume(np.ascontiguousarray(array_ijk), affine, volume.source)


def _scaling(axis: int, factor: float) -> NDArray[Any]:
    scaling = np.eye(4)
    scaling[axis, axis] = factor
    return scaling
