"""Rigid registration of two volumes of one patient by SimpleITK, and masks moved by the result.

Mattes mutual information (Mattes et al., IEEE Trans Med Imaging 2003; 22: 120-128) is maximised by
gradient descent at three resolutions, in the body alone. Bodies are aligned, not organs: between
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
from spleen_tf.imaging import intensity, masks
from spleen_tf.imaging.volume import Grid, Volume

_LEVELS_MM = (8.0, 4.0, 2.0)
_HISTOGRAM_BINS = 40
_SAMPLES = 50_000
_SEED = 1
_ITERATIONS = 200

_BODY_MM = 4.0  # The voxels in which the body is looked for.
_BODY_ABOVE_HU = -300.0
_BODY_OPENING_MM = 8.0  # Cuts the table off.
_LEAST_BODY_VOXELS = 100

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
        RegistrationError: if SimpleITK is not installed, a volume shows no body, or the two do not
            overlap.
    """
    itk = _simpleitk()
    fixed_body, moving_body = body(fixed), body(moving)
    if fixed_center_mm is None or moving_center_mm is None:
        fixed_center_mm, moving_center_mm = centroids_ras_mm(fixed_body, moving_body)
    transform = itk.Euler3DTransform()
    transform.SetCenter(_flipped(fixed_center_mm))
    transform.SetTranslation(_flipped(moving_center_mm - fixed_center_mm))
    for level_mm in _LEVELS_MM:
        try:
            _refine(itk, transform, level_mm, fixed, moving, fixed_body, moving_body)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise RegistrationError(
                f"{moving.source}: expected a volume of the same part of the body as "
                f"{fixed.source}, found none that can be registered ({reason})."
            ) from None
    x_mm, y_mm, z_mm = map(float, fixed_center_mm)
    return Rigid(_matrix_ras(transform), (x_mm, y_mm, z_mm))


def body(image: Volume) -> Volume:
    """Where the patient is: the largest piece of tissue and what it encloses, such as the lungs.

    Returns:
        A bool mask on a grid of its own, with voxels of about 4 mm.

    Raises:
        RegistrationError: if there is nothing but air.
    """
    small = _coarse(image, _BODY_MM)
    array = ndimage.gaussian_filter(small.array_ijk.astype(np.float32), 0.7)
    if intensity.guessed_modality(image.array_ijk) == "CT":
        above = _BODY_ABOVE_HU
    else:
        from skimage.filters import threshold_otsu  # Takes a third of a second to import.

        # Muscle without fat is dark on T2: half of what parts dark from bright.
        above = 0.5 * threshold_otsu(np.clip(array, None, np.percentile(array, 99)))
    steps = [max(1, round(_BODY_OPENING_MM / 2 / mm)) for mm in small.zooms_mm]
    ball = np.ones([2 * step + 1 if step else 1 for step in steps], bool)
    mask = masks.largest_component(ndimage.binary_opening(array > above, ball))
    axial = int(np.argmax(np.abs(small.affine[2, :3])))
    for slice_hw in np.moveaxis(mask, axial, 0):
        slice_hw[:] = ndimage.binary_fill_holes(slice_hw)
    if np.count_nonzero(mask) < _LEAST_BODY_VOXELS:
        raise RegistrationError(
            f"{image.source}: expected a patient's body, found nothing but air."
        )
    return dataclasses.replace(small, array_ijk=ndimage.binary_dilation(mask, iterations=1))


def centroids_ras_mm(*masks_of_one_organ: Volume) -> list[npt.NDArray[np.float64]]:
    """The mean place of each mask's voxels, (3,); none at all where one is empty."""
    places_ijk = [np.argwhere(mask.array_ijk) for mask in masks_of_one_organ]
    if not all(map(len, places_ijk)):
        return []
    return [
        (mask.affine @ [*places.mean(axis=0), 1.0])[:3]
        for mask, places in zip(masks_of_one_organ, places_ijk, strict=True)
    ]


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
    matrix = _LPS @ rigid.matrix @ _LPS
    center = np.array(_flipped(rigid.center_ras_mm))
    transform = itk.Euler3DTransform()
    transform.SetMatrix(matrix[:3, :3].ravel().tolist(), 1e-6)
    transform.SetCenter(center.tolist())
    transform.SetTranslation((matrix[:3, :3] @ center + matrix[:3, 3] - center).tolist())
    with files.replacing(path) as partial:
        itk.WriteTransform(transform, str(partial))


def _refine(
    itk: Any,
    transform: Any,
    level_mm: float,
    fixed: Volume,
    moving: Volume,
    fixed_body: Volume,
    moving_body: Volume,
) -> None:
    """Moves the transform to where mutual information is largest, in voxels of about level_mm."""
    fixed_image, moving_image = (_itk_image(itk, _coarse(v, level_mm)) for v in (fixed, moving))
    method = itk.ImageRegistrationMethod()
    method.SetNumberOfWorkUnits(1)  # Several add up in another order each time.
    method.SetMetricAsMattesMutualInformation(_HISTOGRAM_BINS)
    method.SetMetricFixedMask(_itk_image(itk, fixed_body))
    method.SetMetricMovingMask(_itk_image(itk, moving_body))
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


def _coarse(image: Volume, level_mm: float) -> Volume:
    """Means over blocks of voxels, so that they measure about level_mm along each axis."""
    factors = [max(1, round(level_mm / mm)) for mm in image.zooms_mm]
    factors = [min(factor, size) for factor, size in zip(factors, image.shape, strict=True)]
    kept = tuple(slice(0, n - n % f) for n, f in zip(image.shape, factors, strict=True))
    array_ijk = image.array_ijk[kept]
    for axis, factor in enumerate(factors):
        if factor > 1:
            shape = list(array_ijk.shape)
            shape[axis : axis + 1] = [shape[axis] // factor, factor]
            array_ijk = array_ijk.reshape(shape).mean(axis=axis + 1, dtype=np.float32)
    scale = np.diag([*map(float, factors), 1.0])
    scale[:3, 3] = [(factor - 1) / 2 for factor in factors]
    return dataclasses.replace(image, array_ijk=array_ijk, affine=image.affine @ scale)


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


def _matrix_ras(transform: Any) -> npt.NDArray[np.float64]:
    """(4, 4) of an ITK transform about a centre, between RAS+ mm."""
    rotation = np.reshape(transform.GetMatrix(), (3, 3))
    center = np.array(transform.GetCenter())
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = center + np.array(transform.GetTranslation()) - rotation @ center
    flipped: npt.NDArray[np.float64] = _LPS @ matrix @ _LPS
    return flipped


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
