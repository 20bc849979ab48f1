"""What the organ may look like, and what must not pass for it.

Each change takes `image`, float32 [H, W, C] in 0..1 with a static shape, `label`, float32 of the
same shape, 0 or 1, and `seed`, int [2]. It returns an image, whose values may leave 0..1. `share`
is that of the slices that are changed; 0 leaves the change out of the graph.
"""

from __future__ import annotations

import math

import tensorflow as tf

from spleen_tf.training import draws

# By which the organ's intensity is multiplied: iron leaves T2 images a tenth of it.
_ORGAN_FACTORS = (0.08, 1.5)
# Half axes, as shares of the height and width: from a simple cyst to a full stomach.
_MASS_REACH = (0.05, 0.3)
_MASS_LUMPS = 0.15
_MASS_BRIGHTEST = 1.5
# Bands as wide as this, and the standard deviation of the strongest ones.
_MOTTLE_PIXELS = 6
_MOST_MOTTLE = 0.15


def recolour(image: tf.Tensor, label: tf.Tensor, seed: tf.Tensor, share: float) -> tf.Tensor:
    """The organ darker or brighter, as by iron or contrast medium, in a share of the slices."""
    if not share:
        return image
    chance, factor, reach = tf.unstack(draws.uniform(seed, [3], 0.0, 1.0))
    darkest, brightest = (math.log(bound) for bound in _ORGAN_FACTORS)
    change = tf.exp(darkest + factor * (brightest - darkest))

    def recoloured() -> tf.Tensor:
        # The organ shades into its surroundings beyond its outline, now more, now less: a rim that
        # is always left as it was would give the outline away.
        wider_label = tf.nn.max_pool2d(label[tf.newaxis], 3, 1, "SAME")[0]
        organ = label + reach * (wider_label - label)
        soft_label = tf.nn.avg_pool2d(organ[tf.newaxis], 3, 1, "SAME")[0]
        return image * (1.0 + soft_label * (change - 1.0))

    return draws.where_drawn(chance < share, recoloured, image)


def mottle(image: tf.Tensor, label: tf.Tensor, seed: tf.Tensor, share: float) -> tf.Tensor:
    """Bright and dark bands in the organ, in a share of the slices."""
    if not share:
        return image
    height, width, _ = image.shape
    seeds = tf.random.experimental.stateless_split(seed, 2)
    chance, strength = tf.unstack(draws.uniform(seeds[0], [2], 0.0, 1.0))

    def mottled() -> tf.Tensor:
        points = [1, height // _MOTTLE_PIXELS + 1, width // _MOTTLE_PIXELS + 1, 1]
        bands = tf.random.stateless_normal(points, seeds[1], 0.0, _MOST_MOTTLE * strength)
        soft_label = tf.nn.avg_pool2d(label[tf.newaxis], 3, 1, "SAME")[0]
        return image + soft_label * tf.image.resize(bands, (height, width), "bicubic")[0]

    return draws.where_drawn(chance < share, mottled, image)


def mass(
    image: tf.Tensor, label: tf.Tensor, seed: tf.Tensor, share: float, darkest: float
) -> tf.Tensor:
    """A round body of even brightness behind the organ, in a share of the slices."""
    if not share:
        return image
    height, width, _ = image.shape
    seeds = tf.random.experimental.stateless_split(seed, 2)
    chance, row, column, high, wide, brightness, opacity = tf.unstack(
        draws.uniform(seeds[0], [7], 0.0, 1.0)
    )

    def laid_in() -> tf.Tensor:
        least, most = _MASS_REACH
        half_rows = height * (least + (most - least) * high)
        half_columns = width * (least + (most - least) * wide)
        rows = tf.range(height, dtype=tf.float32)[:, tf.newaxis] - row * (height - 1)
        columns = tf.range(width, dtype=tf.float32) - column * (width - 1)
        distance = tf.sqrt((rows / half_rows) ** 2 + (columns / half_columns) ** 2)
        distance *= draws.smooth_factor((height, width), seeds[1], _MASS_LUMPS)[..., 0]
        # One at the centre, none outside, and a rim of about a pixel.
        shape = tf.clip_by_value((1.0 - distance) * tf.sqrt(half_rows * half_columns), 0.0, 1.0)
        # From black on, a third are as bright as can be, as fluid is in T2 images.
        value = tf.minimum(darkest + (_MASS_BRIGHTEST - darkest) * brightness, 1.0)
        covers = shape[..., tf.newaxis] * (0.7 + 0.3 * opacity) * (1.0 - label)
        return image + covers * (value - image)

    return draws.where_drawn(chance < share, laid_in, image)
