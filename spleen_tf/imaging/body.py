"""Where the patient is in a volume, without couch and air."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import ndimage

from spleen_tf.imaging import blocks, intensity, masks
from spleen_tf.imaging.volume import Volume, VolumeError

_VOXEL_MM = 4.0
_SMOOTHING_VOXELS = 0.7
_ABOVE_HU = -300.0
_OPENING_MM = 8.0  # Cuts the couch off.
_LEAST_VOXELS = 100


def find(image: Volume) -> Volume:
    """The largest piece of tissue, and what it encloses, such as the lungs.

    Args:
        image: CT or MR.

    Returns:
        A bool mask on a grid of its own, with voxels of about 4 mm.

    Raises:
        VolumeError: if there is nothing but air.
    """
    small = blocks.reduced(image, blocks.factors_for(image, _VOXEL_MM))
    smooth = ndimage.gaussian_filter(small.array_ijk, _SMOOTHING_VOXELS)
    if intensity.guessed_modality(image.array_ijk) == "CT":
        above = _ABOVE_HU
    else:
        from skimage.filters import threshold_otsu  # Takes a third of a second to import.

        # Muscle without fat is dark on T2: half of what parts dark from bright.
        above = 0.5 * threshold_otsu(np.clip(smooth, None, np.percentile(smooth, 99)))
    reach = [max(1, round(_OPENING_MM / 2 / mm)) for mm in small.zooms_mm]
    box = np.ones([2 * voxels + 1 for voxels in reach], bool)
    mask = masks.largest_component(ndimage.binary_opening(smooth > above, box))
    axial = int(np.argmax(np.abs(small.affine[2, :3])))
    for slice_hw in np.moveaxis(mask, axial, 0):
        slice_hw[:] = ndimage.binary_fill_holes(slice_hw)
    if np.count_nonzero(mask) < _LEAST_VOXELS:
        raise VolumeError(f"{image.source}: expected a patient's body, found nothing but air.")
    return dataclasses.replace(small, array_ijk=ndimage.binary_dilation(mask, iterations=1))
