"""What scanners, sequences and settings do to brightness, contrast, noise and sharpness.

Each change takes `image`, float32 [H, W, C] in 0..1 with a static shape, and `seed`, int [2]. It
returns an image of the same shape, whose values may leave 0..1. `share` is that of the slices that
are changed; 0, as a strength of 0, leaves the change out of the graph.
"""

from __future__ import annotations

import math

import tensorflow as tf

from spleen_tf.training import draws

_CURVE_KNOTS = 7
_TEXTURE_CHANNELS = 4
_MOST_COARSE = 4.0


def random_curve(image: tf.Tensor, seed: tf.Tensor, share: float) -> tf.Tensor:
    """Intensities through straight lines between random values at evenly spaced knots."""
    if not share:
        return image
    seeds = tf.random.experimental.stateless_split(seed, 2)
    # Between a straight line (1) and nothing but chance (0).
    chance, order = tf.unstack(draws.uniform(seeds[0], [2], 0.0, 1.0))
    ramp = tf.linspace(0.0, 1.0, _CURVE_KNOTS)
    knots = order * ramp + (1.0 - order) * draws.uniform(seeds[1], [_CURVE_KNOTS], 0.0, 1.0)
    place = tf.clip_by_value(image, 0.0, 1.0) * (_CURVE_KNOTS - 1)
    below = tf.minimum(tf.floor(place), _CURVE_KNOTS - 2)
    index = tf.cast(below, tf.int32)
    start, end = tf.gather(knots, index), tf.gather(knots, index + 1)
    return tf.where(chance < share, start + (end - start) * (place - below), image)


def texture(image: tf.Tensor, seed: tf.Tensor, share: float) -> tf.Tensor:
    """A mixture with a random convolution of the slice (RandConv: Xu et al., ICLR 2021)."""
    if not share:
        return image
    seeds = tf.random.experimental.stateless_split(seed, 3)
    chance, mix = tf.unstack(draws.uniform(seeds[0], [2], 0.0, 1.0))
    planes = tf.transpose(image, [2, 0, 1])[..., tf.newaxis]
    wide = tf.random.stateless_normal([3, 3, 1, _TEXTURE_CHANNELS], seeds[1])
    narrow = tf.random.stateless_normal([3, 3, _TEXTURE_CHANNELS, 1], seeds[2])
    texture = tf.nn.leaky_relu(tf.nn.conv2d(planes - 0.5, wide, 1, "SAME"))
    texture = tf.nn.conv2d(texture, narrow, 1, "SAME")
    low, high = tf.reduce_min(texture), tf.reduce_max(texture)
    texture = tf.transpose(tf.math.divide_no_nan(texture - low, high - low)[..., 0], [1, 2, 0])
    return tf.where(chance < share, mix * image + (1.0 - mix) * texture, image)


def bias_field(image: tf.Tensor, seed: tf.Tensor, strength: float) -> tf.Tensor:
    """A smooth shading; `strength` is the standard deviation of its logarithm."""
    return image * draws.smooth_factor(image.shape[:2], seed, strength) if strength else image


def gain_and_gamma(
    image: tf.Tensor, seeds: list[tf.Tensor], gain: float, gamma: float, invert: float
) -> tf.Tensor:
    """Contrast, brightness, gamma; light and dark exchanged in a share `invert` of slices."""
    exponent, slope, offset = tf.unstack(draws.uniform(seeds[0], [3], -1.0, 1.0))
    image = tf.where(draws.uniform(seeds[1], [], 0.0, 1.0) < invert, 1.0 - image, image)
    image = tf.clip_by_value(image, 0.0, 1.0)
    if gamma:
        # A power by its logarithm, which TensorFlow has in vector instructions; that of 0 is 0.
        image = tf.exp(tf.exp(exponent * gamma) * tf.math.log(image))
    return image * (1.0 + slope * gain) + 0.5 * offset * gain


def coarse(image: tf.Tensor, seed: tf.Tensor, share: float) -> tf.Tensor:
    """The slice through larger rows and columns, in a share of the slices."""
    if not share:
        return image
    chance, down, across = tf.unstack(draws.uniform(seed, [3], 0.0, 1.0))
    size = tf.constant(image.shape[:2].as_list(), tf.float32)
    factors = _MOST_COARSE ** tf.stack([down, across])
    few = tf.cast(tf.math.ceil(size / factors), tf.int32)

    def coarsened() -> tf.Tensor:
        return tf.image.resize(tf.image.resize(image, few, antialias=True), image.shape[:2])

    return draws.where_drawn(chance < share, coarsened, image)


def blur(image: tf.Tensor, seed: tf.Tensor, max_sigma: float) -> tf.Tensor:
    """A Gaussian blur of up to `max_sigma` pixels in every other slice."""
    if not max_sigma:
        return image
    sigma = draws.uniform(seed, [], -max_sigma, max_sigma)
    reach = math.ceil(2.5 * max_sigma)

    def blurred() -> tf.Tensor:
        weights = tf.exp(-0.5 * (tf.range(-reach, reach + 1, dtype=tf.float32) / sigma) ** 2)
        weights = tf.unstack(weights / tf.reduce_sum(weights))
        return _weighted_shifts(_weighted_shifts(image, weights, 0), weights, 1)

    return draws.where_drawn(sigma > 0.0, blurred, image)


def noise(image: tf.Tensor, seed: tf.Tensor, strength: float) -> tf.Tensor:
    """Gaussian noise of a standard deviation up to `strength`."""
    if not strength:
        return image
    seeds = tf.random.experimental.stateless_split(seed, 2)
    sigma = draws.uniform(seeds[0], [], 0.0, strength)
    return image + sigma * tf.random.stateless_normal(image.shape, seeds[1])


def _weighted_shifts(image: tf.Tensor, weights: list[tf.Tensor], axis: int) -> tf.Tensor:
    """A convolution along the rows (0) or columns (1); tf.nn.conv2d takes several times as long."""
    reach, size = len(weights) // 2, image.shape[axis]
    padded = tf.pad(image, [[reach * (axis == i)] * 2 for i in range(3)], "SYMMETRIC")
    shifts = [slice(k, k + size) for k in range(len(weights))]
    parts = [padded[shift] if axis == 0 else padded[:, shift] for shift in shifts]
    return tf.add_n([weight * part for weight, part in zip(weights, parts, strict=True)])
