"""Seeded, stateless augmentation of one slice: what scanners, bodies and operators vary.

There is no left-right mirror: it would erase what tells the spleen from the liver.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf
import tensorflow_addons as tfa

from spleen_tf.training.augment_config import AugmentConfig

_CURVE_KNOTS = 7
_TEXTURE_CHANNELS = 4
# By which the organ's intensity is multiplied: iron leaves T2 images a tenth of it.
_ORGAN_FACTORS = (0.08, 1.5)
_MOST_COARSE = 4.0
_MOST_CUT = 1 / 3
# Half axes, as shares of the height and width: from a simple cyst to a full stomach.
_MASS_REACH = (0.05, 0.3)
_MASS_LUMPS = 0.15
_MASS_BRIGHTEST = 1.5
# Bands as wide as this, and the standard deviation of the strongest ones.
_MOTTLE_PIXELS = 6
_MOST_MOTTLE = 0.15


def augment(
    image_hwc: tf.Tensor,
    label_hwc: tf.Tensor,
    seed: tf.Tensor,
    strengths: AugmentConfig,
    pixel_aspect: float = 1.0,
) -> tuple[tf.Tensor, tf.Tensor]:
    """One random variant of a slice and its label; the same seed gives the same variant.

    Each change is drawn between none and its strength.

    Args:
        image_hwc: float32 [H, W, C] in 0..1, static shape; channels are changed alike.
        label_hwc: float32 [H, W, C], 0 or 1: neighbours are recoloured where they show the organ.
        seed: int [2].
        strengths: of the changes.
        pixel_aspect: row spacing over column spacing, by which a rotation is one in mm.

    Returns:
        image in 0..1, of the same shape, and label [H, W, 1], 0 or 1, of the middle channel.
    """
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 13))
    image, label = image_hwc, label_hwc
    s = strengths
    if s.rotation_degrees or s.scale or s.shift or s.elastic_pixels:
        image, label = _warp(image, label, seeds[:2], s, pixel_aspect)
    image = _recolour_organ(image, label, seeds[2], s.organ)
    image = _mottle(image, label, tf.random.experimental.stateless_fold_in(seed, 13), s.mottle)
    image = _mass(image, label, seeds[12], s.mass, s.mass_darkest)
    image = _random_curve(image, seeds[8], s.curve)
    image = _texture(image, seeds[9], s.texture)
    image = _bias_field(image, seeds[3], s.bias_field)
    image = _gain_and_gamma(image, seeds[4:6], s.gain, s.gamma, s.invert)
    image = _coarse(image, seeds[10], s.coarse)
    image = _blur(image, seeds[6], s.blur_pixels)
    image = _noise(image, seeds[7], s.noise)
    shown = _field_of_view(image.shape[:2], seeds[11], s.cut)
    label = tf.expand_dims(label[..., image.shape[-1] // 2], -1)
    return tf.clip_by_value(image, 0.0, 1.0) * shown, label * shown


def _uniform(
    seed: tf.Tensor, shape: list[int] | tf.TensorShape, low: float, high: float
) -> tf.Tensor:
    return tf.random.stateless_uniform(shape, seed, low, high)


def _where_drawn(drawn: tf.Tensor, changed: Callable[[], tf.Tensor], image: tf.Tensor) -> tf.Tensor:
    """changed() if this slice is one of those that are drawn; else nothing is computed."""
    return tf.ensure_shape(tf.cond(drawn, changed, lambda: image), image.shape)


def _warp(
    image: tf.Tensor,
    label: tf.Tensor,
    seeds: list[tf.Tensor],
    strengths: AugmentConfig,
    pixel_aspect: float,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Rotation, zoom, shift and elastic warp in one interpolation.

    The label is interpolated like the image and cut at a half, which moves its outline by
    fractions of a pixel where nearest neighbours would move it by whole ones.
    """
    height, width, channels = image.shape
    angle, zoom, down, right = tf.unstack(_uniform(seeds[0], [4], -1.0, 1.0))
    angle *= math.radians(strengths.rotation_degrees)
    zoom = tf.exp(zoom * math.log1p(strengths.scale))
    rows, columns = tf.meshgrid(
        tf.range(height, dtype=tf.float32), tf.range(width, dtype=tf.float32), indexing="ij"
    )
    row = (rows - (height - 1) / 2) * pixel_aspect  # In units of a column's spacing.
    column = columns - (width - 1) / 2
    cos, sin = tf.cos(angle) / zoom, tf.sin(angle) / zoom
    source_row = (cos * row - sin * column) / pixel_aspect
    source_row += (height - 1) / 2 + down * strengths.shift * height
    source_col = sin * row + cos * column + (width - 1) / 2 + right * strengths.shift * width
    flow = tf.stack([rows - source_row, columns - source_col], axis=-1)
    if strengths.elastic_pixels:
        control = tf.random.stateless_normal(
            [1, height // 32 + 3, width // 32 + 3, 2],
            seeds[1],
            0.0,
            strengths.elastic_pixels,
        )
        flow += tf.image.resize(control, (height, width), "bicubic")[0]
    both = tf.concat([image, label], axis=-1)[tf.newaxis]
    warped = tfa.image.dense_image_warp(both, flow[tf.newaxis])[0]
    warped = tf.ensure_shape(warped, [height, width, 2 * channels])
    image, label = tf.split(warped, 2, axis=-1)
    return image, tf.cast(label > 0.5, tf.float32)


def _recolour_organ(image: tf.Tensor, label: tf.Tensor, seed: tf.Tensor, share: float) -> tf.Tensor:
    if not share:
        return image
    chance, factor, reach = tf.unstack(_uniform(seed, [3], 0.0, 1.0))
    darkest, brightest = (math.log(bound) for bound in _ORGAN_FACTORS)
    change = tf.exp(darkest + factor * (brightest - darkest))

    def recoloured() -> tf.Tensor:
        # The organ shades into its surroundings beyond its outline, now more, now less: a rim that
        # is always left as it was would give the outline away.
        wider_label = tf.nn.max_pool2d(label[tf.newaxis], 3, 1, "SAME")[0]
        organ = label + reach * (wider_label - label)
        soft_label = tf.nn.avg_pool2d(organ[tf.newaxis], 3, 1, "SAME")[0]
        return image * (1.0 + soft_label * (change - 1.0))

    return _where_drawn(chance < share, recoloured, image)


def _mottle(image: tf.Tensor, label: tf.Tensor, seed: tf.Tensor, share: float) -> tf.Tensor:
    if not share:
        return image
    height, width, _ = image.shape
    seeds = tf.random.experimental.stateless_split(seed, 2)
    chance, strength = tf.unstack(_uniform(seeds[0], [2], 0.0, 1.0))

    def mottled() -> tf.Tensor:
        points = [1, height // _MOTTLE_PIXELS + 1, width // _MOTTLE_PIXELS + 1, 1]
        bands = tf.random.stateless_normal(points, seeds[1], 0.0, _MOST_MOTTLE * strength)
        soft_label = tf.nn.avg_pool2d(label[tf.newaxis], 3, 1, "SAME")[0]
        return image + soft_label * tf.image.resize(bands, (height, width), "bicubic")[0]

    return _where_drawn(chance < share, mottled, image)


def _mass(
    image: tf.Tensor, label: tf.Tensor, seed: tf.Tensor, share: float, darkest: float
) -> tf.Tensor:
    if not share:
        return image
    height, width, _ = image.shape
    seeds = tf.random.experimental.stateless_split(seed, 2)
    chance, row, column, high, wide, brightness, opacity = tf.unstack(
        _uniform(seeds[0], [7], 0.0, 1.0)
    )

    def laid_in() -> tf.Tensor:
        least, most = _MASS_REACH
        half_rows = height * (least + (most - least) * high)
        half_columns = width * (least + (most - least) * wide)
        rows = tf.range(height, dtype=tf.float32)[:, tf.newaxis] - row * (height - 1)
        columns = tf.range(width, dtype=tf.float32) - column * (width - 1)
        distance = tf.sqrt((rows / half_rows) ** 2 + (columns / half_columns) ** 2)
        distance *= _smooth_factor((height, width), seeds[1], _MASS_LUMPS)[..., 0]
        # One at the centre, none outside, and a rim of about a pixel.
        shape = tf.clip_by_value((1.0 - distance) * tf.sqrt(half_rows * half_columns), 0.0, 1.0)
        # From black on, a third are as bright as can be, as fluid is in T2 images.
        value = tf.minimum(darkest + (_MASS_BRIGHTEST - darkest) * brightness, 1.0)
        covers = shape[..., tf.newaxis] * (0.7 + 0.3 * opacity) * (1.0 - label)
        return image + covers * (value - image)

    return _where_drawn(chance < share, laid_in, image)


def _bias_field(image: tf.Tensor, seed: tf.Tensor, strength: float) -> tf.Tensor:
    return image * _smooth_factor(image.shape[:2], seed, strength) if strength else image


def _smooth_factor(
    shape_hw: tuple[int, int] | tf.TensorShape, seed: tf.Tensor, strength: float
) -> tf.Tensor:
    """float32 [H, W, 1] around 1: the exponential of a smooth random field."""
    control = tf.random.stateless_normal([1, 4, 4, 1], seed, 0.0, strength)
    return tf.exp(tf.image.resize(control, shape_hw, "bicubic")[0])


def _random_curve(image: tf.Tensor, seed: tf.Tensor, share: float) -> tf.Tensor:
    """Intensities through straight lines between random values at evenly spaced knots."""
    if not share:
        return image
    seeds = tf.random.experimental.stateless_split(seed, 2)
    # Between a straight line (1) and nothing but chance (0).
    chance, order = tf.unstack(_uniform(seeds[0], [2], 0.0, 1.0))
    ramp = tf.linspace(0.0, 1.0, _CURVE_KNOTS)
    knots = order * ramp + (1.0 - order) * _uniform(seeds[1], [_CURVE_KNOTS], 0.0, 1.0)
    place = tf.clip_by_value(image, 0.0, 1.0) * (_CURVE_KNOTS - 1)
    below = tf.minimum(tf.floor(place), _CURVE_KNOTS - 2)
    index = tf.cast(below, tf.int32)
    start, end = tf.gather(knots, index), tf.gather(knots, index + 1)
    return tf.where(chance < share, start + (end - start) * (place - below), image)


def _texture(image: tf.Tensor, seed: tf.Tensor, share: float) -> tf.Tensor:
    if not share:
        return image
    seeds = tf.random.experimental.stateless_split(seed, 3)
    chance, mix = tf.unstack(_uniform(seeds[0], [2], 0.0, 1.0))
    planes = tf.transpose(image, [2, 0, 1])[..., tf.newaxis]
    wide = tf.random.stateless_normal([3, 3, 1, _TEXTURE_CHANNELS], seeds[1])
    narrow = tf.random.stateless_normal([3, 3, _TEXTURE_CHANNELS, 1], seeds[2])
    texture = tf.nn.leaky_relu(tf.nn.conv2d(planes - 0.5, wide, 1, "SAME"))
    texture = tf.nn.conv2d(texture, narrow, 1, "SAME")
    low, high = tf.reduce_min(texture), tf.reduce_max(texture)
    texture = tf.transpose(tf.math.divide_no_nan(texture - low, high - low)[..., 0], [1, 2, 0])
    return tf.where(chance < share, mix * image + (1.0 - mix) * texture, image)


def _coarse(image: tf.Tensor, seed: tf.Tensor, share: float) -> tf.Tensor:
    if not share:
        return image
    chance, down, across = tf.unstack(_uniform(seed, [3], 0.0, 1.0))
    size = tf.constant(image.shape[:2].as_list(), tf.float32)
    factors = _MOST_COARSE ** tf.stack([down, across])
    few = tf.cast(tf.math.ceil(size / factors), tf.int32)

    def coarsened() -> tf.Tensor:
        return tf.image.resize(tf.image.resize(image, few, antialias=True), image.shape[:2])

    return _where_drawn(chance < share, coarsened, image)


def _field_of_view(
    shape_hw: tuple[int, int] | tf.TensorShape, seed: tf.Tensor, share: float
) -> tf.Tensor:
    """float32 [H, W, 1]: 1 where it is seen."""
    if not share:
        return tf.ones([1, 1, 1])
    numbers = _uniform(seed, [5], 0.0, 1.0)
    top, bottom, left, right = tf.unstack(
        numbers[1:] * _MOST_CUT * tf.cast(numbers[0] < share, tf.float32)
    )
    rows = (tf.range(shape_hw[0], dtype=tf.float32) + 0.5) / shape_hw[0]
    columns = (tf.range(shape_hw[1], dtype=tf.float32) + 0.5) / shape_hw[1]
    shown_h = tf.logical_and(rows >= top, rows <= 1.0 - bottom)
    shown_w = tf.logical_and(columns >= left, columns <= 1.0 - right)
    return tf.cast(shown_h[:, tf.newaxis] & shown_w[tf.newaxis, :], tf.float32)[..., tf.newaxis]


def _gain_and_gamma(
    image: tf.Tensor, seeds: list[tf.Tensor], gain: float, gamma: float, invert: float
) -> tf.Tensor:
    exponent, slope, offset = tf.unstack(_uniform(seeds[0], [3], -1.0, 1.0))
    image = tf.where(_uniform(seeds[1], [], 0.0, 1.0) < invert, 1.0 - image, image)
    image = tf.clip_by_value(image, 0.0, 1.0)
    if gamma:
        # A power by its logarithm, which TensorFlow has in vector instructions; that of 0 is 0.
        image = tf.exp(tf.exp(exponent * gamma) * tf.math.log(image))
    return image * (1.0 + slope * gain) + 0.5 * offset * gain


def _blur(image: tf.Tensor, seed: tf.Tensor, max_sigma: float) -> tf.Tensor:
    if not max_sigma:
        return image
    sigma = _uniform(seed, [], -max_sigma, max_sigma)
    reach = math.ceil(2.5 * max_sigma)

    def blurred() -> tf.Tensor:
        weights = tf.exp(-0.5 * (tf.range(-reach, reach + 1, dtype=tf.float32) / sigma) ** 2)
        weights = tf.unstack(weights / tf.reduce_sum(weights))
        return _weighted_shifts(_weighted_shifts(image, weights, 0), weights, 1)

    return _where_drawn(sigma > 0.0, blurred, image)


def _weighted_shifts(image: tf.Tensor, weights: list[tf.Tensor], axis: int) -> tf.Tensor:
    """A convolution along the rows (0) or columns (1); tf.nn.conv2d takes several times as long."""
    reach, size = len(weights) // 2, image.shape[axis]
    padded = tf.pad(image, [[reach * (axis == i)] * 2 for i in range(3)], "SYMMETRIC")
    shifts = [slice(k, k + size) for k in range(len(weights))]
    parts = [padded[shift] if axis == 0 else padded[:, shift] for shift in shifts]
    return tf.add_n([weight * part for weight, part in zip(weights, parts, strict=True)])


def _noise(image: tf.Tensor, seed: tf.Tensor, strength: float) -> tf.Tensor:
    if not strength:
        return image
    seeds = tf.random.experimental.stateless_split(seed, 2)
    sigma = _uniform(seeds[0], [], 0.0, strength)
    return image + sigma * tf.random.stateless_normal(image.shape, seeds[1])
