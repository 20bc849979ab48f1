"""Volumes made coarser, by means over blocks of voxels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spleen_tf.imaging.volume import Volume


def factors_for(image: Volume, voxel_mm: float) -> list[int]:
    """How many voxels along i, j, k make a block of about voxel_mm: at least one, at most all."""
    wished = [max(1, round(voxel_mm / mm)) for mm in image.zooms_mm]
    return [min(factor, size) for factor, size in zip(wished, image.shape, strict=True)]


def reduced(image: Volume, factors: Sequence[int]) -> Volume:
    """A volume with one voxel per block, which covers the same part of the body.

    Args:
        image: any dtype.
        factors: voxels of a block along i, j, k.

    Returns:
        Its array is that of `means`; its affine puts each voxel at the centre of its block.
    """
    scale = np.diag([*map(float, factors), 1.0])
    scale[:3, 3] = [(factor - 1) / 2 for factor in factors]
    array_ijk = means(image.array_ijk, factors)
    return dataclasses.replace(image, array_ijk=array_ijk, affine=image.affine @ scale)


def means(array_ijk: NDArray[Any], factors: Sequence[int]) -> NDArray[np.float32]:
    """Means over blocks of voxels; voxels at the end that fill no block are dropped.

    Args:
        array_ijk: (I, J, K), any real dtype or bool.
        factors: voxels of a block along i, j, k.

    Returns:
        (I // factors[0], J // factors[1], K // factors[2]) float32.
    """
    whole = tuple(slice(n - n % factor) for n, factor in zip(array_ijk.shape, factors, strict=True))
    array_ijk = array_ijk[whole]
    # An axis at a time: the first one leaves little for the others.
    for axis, factor in enumerate(factors):
        if factor > 1:
            blocks = list(array_ijk.shape)
            blocks[axis : axis + 1] = [blocks[axis] // factor, factor]
            array_ijk = array_ijk.reshape(blocks).mean(axis=axis + 1, dtype=np.float32)
    return array_ijk.astype(np.float32, copy=False)
