"""Rigid registration of two volumes of one patient by SimpleITK, and masks moved by the result.

Mattes mutual information (Mattes et al., IEEE Trans Med Imaging 2003; 22: 120-128) is maximised by
gradient descent at three resolutions, only in the body. Bodies are aligned, not organs: between
two examinations the spleen moves against the spine with each breath.
"""

from __future__ import annotations

import dataclasses
import math
import os
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial.transform import Rotation

from spleen_tf.core import files
from spleen_tf.core.files import InputError
from spleen_tf.imaging import blocks, body
from spleen_tf.imaging.volume import Grid, Volume

_LEVELS_MM = (8.0, 4.0, 2.0)
_HISTOGRAM_BINS = 40
_SAMPLES = 50_000
_SEED = 1
_ITERATIONS = 200

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # From RAS+ to ITK's axes, and back.


class RegistrationError(InputError):
    """Two volumes that cannot be registered."""


@dataclasses.dataclass(frozen=True, eq=False)
class Rigid:
    """A rotation and a translation from places in the fixed volume to those in the moving one.

    Attributes:
        matrix: (4, 4) float64, RAS+ mm of the fixed to RAS+ mm of the moving volume.
        center_ras_mm: the place in the fixed volume about which it turns.
    """

    matrix: npt.NDArray[np.float64]
    center_ras_mm: tuple[float, float, float]

    @staticmethod
    def about(
        center_ras_mm: npt.NDArray[np.float64],
        turn_radians: npt.NDArray[np.float64],
        shift_mm: npt.NDArray[np.float64],
    ) -> Rigid:
        """A turn about a place, (3,), whose axis and angle are turn_radians, (3,), then a shift."""
        matrix = np.eye(4)
        matrix[:3, :3] = Rotation.from_rotvec(turn_radians).as_matrix()
        matrix[:3, 3] = center_ras_mm + shift_mm - matrix[:3, :3] @ center_ras_mm
        x_mm, y_mm, z_mm = center_ras_mm.tolist()
        return Rigid(matrix, (x_mm, y_mm, z_mm))

    @property
    def shift_mm(self) -> float:
        """How far the centre moves."""
        moved = (self.matrix @ [*self.center_ras_mm, 1.0])[:3]
        return float(np.linalg.norm(moved - self.center_ras_mm))

    @property
    def rotation_degrees(self) -> float:
        """The angle of the one turn that the rotation is."""
        cosine = (np.trace(self.matrix[:3, :3]) - 1) / 2
        return math.degrees(math.acos(min(1.0, max(-1.0, cosine))))


def check_installed() -> None:
    """Raises RegistrationError where SimpleITK is not installed."""
    _simpleitk()


def register(
    fixed: Volume,
    moving: Volume,
    fixed_center_mm: npt.NDArray[Any] | None = None,
    moving_center_mm: npt.NDArray[Any] | None = None,
) -> Rigid:
    """Finds the rigid movement that takes a fixed volume onto a moving one.

    Args:
        fixed, moving: CT or MR, also one of each.
        fixed_center_mm, moving_center_mm: (3,) RAS+, places that belong together, such as the
            centroids of an organ, from which the search starts; None: the bodies' centroids.

    Raises:
        RegistrationError: if SimpleITK is not installed, or the volumes do not overlap.
        VolumeError: if a volume shows no body.
    """
    itk = _simpleitk()
    bodies = body.find(fixed), body.find(moving)
    if fixed_center_mm is None or moving_center_mm is None:
        fixed_center_mm, moving_center_mm = (
            _mean_ras_mm(np.argwhere(mask.array_ijk), mask.affine) for mask in bodies
        )
    transform = itk.Euler3DTransform()
    transform.SetCenter(_flipped(fixed_center_mm))
    transform.SetTranslation(_flipped(moving_center_mm - fixed_center_mm))
    for level_mm in _LEVELS_MM:
        try:
            _refine(itk, transform, level_mm, (fixed, moving), bodies)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise RegistrationError(
                f"{moving.source}: expected a volume of the same part of the body as "
                f"{fixed.source}, found none that can be registered ({reason})."
            ) from None
    return _rigid(transform)


def centroid_ras_mm(mask: Volume) -> npt.NDArray[np.float64] | None:
    """(3,): the mean place of a mask's voxels; None where it is empty."""
    places_ijk = np.argwhere(mask.array_ijk)
    return _mean_ras_mm(places_ijk, mask.affine) if len(places_ijk) else None


def resampled(
    moving: Volume, grid: Grid, rigid: Rigid, outside: float = 0.0
) -> npt.NDArray[np.float32]:
    """The moving volume on the fixed one's grid, by linear interpolation.

    Args:
        moving: any dtype.
        grid: of shape (I, J, K).
        rigid: what `register` found.
        outside: the value where the moving volume has no voxels.

    Returns:
        (I, J, K) float32.
    """
    ijk_to_ijk = np.linalg.inv(moving.affine) @ rigid.matrix @ grid.affine
    array_ijk: npt.NDArray[np.float32] = ndimage.affine_transform(
        moving.array_ijk.astype(np.float32),
        ijk_to_ijk[:3, :3],
        ijk_to_ijk[:3, 3],
        output_shape=grid.shape,
        order=1,
        cval=outside,
    )
    return array_ijk


def resampled_mask(moving: Volume, grid: Grid, rigid: Rigid) -> npt.NDArray[np.bool_]:
    """(I, J, K) bool: the moving mask on the fixed grid, by linear interpolation cut at a half."""
    inside: npt.NDArray[np.bool_] = resampled(moving, grid, rigid) >= 0.5
    return inside


def write_transform(path: str | os.PathLike[str], rigid: Rigid) -> None:
    """Writes an ITK transform (.tfm): an Euler3DTransform in LPS mm, from the fixed to the moving.

    It is the direction that ITK resamples in: sitk.Resample(moving, fixed, transform).

    Raises:
        InputError: if the file cannot be written.
    """
    itk = _simpleitk()
    transform = _itk_transform(itk, rigid)
    with files.replacing(path) as partial:
        itk.WriteTransform(transform, str(partial))


def _refine(
    itk: Any,
    transform: Any,
    level_mm: float,
    volumes: tuple[Volume, Volume],
    bodies: tuple[Volume, Volume],
) -> None:
    """Moves the transform to where mutual information is largest, in voxels of about level_mm.

    Args:
        itk: SimpleITK.
        transform: an Euler3DTransform, which is changed.
        level_mm: the size of the voxels.
        volumes, bodies: of the fixed and of the moving volume.
    """
    fixed_image, moving_image = (
        _itk_image(itk, blocks.reduced(image, blocks.factors_for(image, level_mm)))
        for image in volumes
    )
    fixed_body, moving_body = (_itk_image(itk, mask) for mask in bodies)
    method = itk.ImageRegistrationMethod()
    method.SetNumberOfWorkUnits(1)  # Several add up in another order each time.
    method.SetMetricAsMattesMutualInformation(_HISTOGRAM_BINS)
    method.SetMetricFixedMask(fixed_body)
    method.SetMetricMovingMask(moving_body)
    method.SetMetricSamplingStrategy(method.RANDOM)
    share = min(1.0, _SAMPLES / max(1, math.prod(fixed_image.GetSize())))
    method.SetMetricSamplingPercentage(share, _SEED)
    method.SetInterpolator(itk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=level_mm / 2,
        minStep=level_mm / 200,
        numberOfIterations=_ITERATIONS,
        relaxationFactor=0.6,
        gradientMagnitudeTolerance=1e-8,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(fixed_image, moving_image)


def _itk_image(itk: Any, image: Volume) -> Any:
    """A Volume as ITK's image: masks as uint8, others as float32."""
    dtype = np.uint8 if image.array_ijk.dtype == bool else np.float32
    array_kji = np.ascontiguousarray(image.array_ijk.transpose(2, 1, 0), dtype)
    made = itk.GetImageFromArray(array_kji)
    affine = _LPS @ image.affine
    made.SetSpacing(image.zooms_mm.tolist())
    made.SetDirection((affine[:3, :3] / image.zooms_mm).ravel().tolist())
    made.SetOrigin(affine[:3, 3].tolist())
    return made


def _mean_ras_mm(
    places_ijk: npt.NDArray[np.intp], affine: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    """(3,): the mean of (N, 3) voxel indices, N at least 1, in RAS+ mm."""
    mean_mm: npt.NDArray[np.float64] = (affine @ [*places_ijk.mean(axis=0), 1.0])[:3]
    return mean_mm


def _itk_transform(itk: Any, rigid: Rigid) -> Any:
    """An Euler3DTransform of the same movement; `_rigid` is the inverse."""
    matrix = _LPS @ rigid.matrix @ _LPS
    center = np.array(_flipped(rigid.center_ras_mm))
    transform = itk.Euler3DTransform()
    transform.SetMatrix(matrix[:3, :3].ravel().tolist(), 1e-6)
    transform.SetCenter(center.tolist())
    transform.SetTranslation((matrix[:3, :3] @ center + matrix[:3, 3] - center).tolist())
    return transform


def _rigid(transform: Any) -> Rigid:
    """The movement that an ITK transform about a centre is; the inverse of `_itk_transform`."""
    rotation = np.reshape(transform.GetMatrix(), (3, 3))
    center = np.array(transform.GetCenter())
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = center + np.array(transform.GetTranslation()) - rotation @ center
    x_mm, y_mm, z_mm = _flipped(center)
    return Rigid(_LPS @ matrix @ _LPS, (x_mm, y_mm, z_mm))


def _flipped(place_mm: Any) -> list[float]:
    """RAS+ mm to ITK's LPS+ mm, or back."""
    return [-float(place_mm[0]), -float(place_mm[1]), float(place_mm[2])]


def _simpleitk() -> Any:
    try:
        import SimpleITK
    except ImportError:
        raise RegistrationError(
            "--before_image: expected SimpleITK, which registers images, found it not installed; "
            "install it with pip install 'spleen_tf[registration]'."
        ) from None
    return SimpleITK
