"""The strengths of augmentation, which the flags augment_* of a training fill."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """How strongly a slice is varied; 0 leaves a change out.

    Attributes:
        rotation_degrees: rotation to either side, up to this.
        scale: zoom by up to this share, in or out.
        shift: by up to this share of the height and width.
        elastic_pixels: standard deviation of the shifts of an elastic warp's control points.
        gain: contrast by up to this share, brightness by up to half of it.
        gamma: exponents from exp(-gamma) to exp(gamma).
        bias_field: standard deviation of the logarithm of a smooth shading.
        organ: share of slices in which the organ itself is made darker or brighter.
        mottle: share of slices in which the organ has bright and dark bands, as a spleen has in the
            arterial phase.
        mass: share of slices into which a round body of even brightness is laid, behind the organ:
            a cyst, a tumour, a full stomach, which must not pass for the organ.
        mass_darkest: brightness of the darkest such body, from 0 (black) to 1 (the window's upper
            end). On CT, bowel with contrast medium is near 1; a large spleen is an even body, too.
        invert: share of slices in which light and dark are exchanged.
        curve: share of slices whose intensities go through a random curve, rising or not, so that
            tissues change places in brightness, as they do from one MR sequence to another.
        texture: share of slices that are mixed with a random shallow convolution of themselves,
            which leaves shapes and changes everything else (Xu et al., 2021, RandConv).
        coarse: share of slices that are seen through rows and columns of up to four times their
            size, as thick slices cut across and small matrices show them.
        cut: share of slices whose field of view shows a part: up to a third of each side is
            black, and the organ is not there.
        noise: standard deviation of Gaussian noise, up to this.
        blur_pixels: sigma of a Gaussian blur, up to this, in every other slice.
    """

    rotation_degrees: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    elastic_pixels: float = 0.0
    gain: float = 0.0
    gamma: float = 0.0
    bias_field: float = 0.0
    organ: float = 0.0
    mottle: float = 0.0
    mass: float = 0.0
    mass_darkest: float = 0.0
    invert: float = 0.0
    curve: float = 0.0
    texture: float = 0.0
    coarse: float = 0.0
    cut: float = 0.0
    noise: float = 0.0
    blur_pixels: float = 0.0
