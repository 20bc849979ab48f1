"""Seeded, stateless augmentation of one slice: what scanners, bodies and operators vary.

There is no left-right mirror: it would erase what tells the spleen from the liver.
"""

from __future__ import annotations

import math

import tensorflow as tf
import tensorflow_addons as tfa

from spleen_tf.training import draws, organ_changes, scanner_changes
from spleen_tf.training.augment_config import AugmentConfig

_MOST_CUT = 1 / 3


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
    # Each change keeps its seed for good: another change leaves the variants by the others as they
    # were, and a training that is resumed goes on with the same ones.
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 13))
    mottle_seed = tf.random.experimental.stateless_fold_in(seed, 13)
    image, label = image_hwc, label_hwc
    s = strengths
    if s.rotation_degrees or s.scale or s.shift or s.elastic_pixels:
        image, label = _warp(image, label, seeds[:2], s, pixel_aspect)
    image = organ_changes.recolour(image, label, seeds[2], s.organ)
    image = organ_changes.mottle(image, label, mottle_seed, s.mottle)
    image = organ_changes.mass(image, label, seeds[12], s.mass, s.mass_darkest)
    image = scanner_changes.random_curve(image, seeds[8], s.curve)
    image = scanner_changes.texture(image, seeds[9], s.texture)
    image = scanner_changes.bias_field(image, seeds[3], s.bias_field)
    image = scanner_changes.gain_and_gamma(image, seeds[4:6], s.gain, s.gamma, s.invert)
    image = scanner_changes.coarse(image, seeds[10], s.coarse)
    image = scanner_changes.blur(image, seeds[6], s.blur_pixels)
    image = scanner_changes.noise(image, seeds[7], s.noise)
    shown = _field_of_view(image.shape[:2], seeds[11], s.cut)
    label = tf.expand_dims(label[..., image.shape[-1] // 2], -1)
    return tf.clip_by_value(image, 0.0, 1.0) * shown, label * shown


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
    angle, zoom, down, right = tf.unstack(draws.uniform(seeds[0], [4], -1.0, 1.0))
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


def _field_of_view(
    shape_hw: tuple[int, int] | tf.TensorShape, seed: tf.Tensor, share: float
) -> tf.Tensor:
    """float32 [H, W, 1]: 1 where it is seen."""
    if not share:
        return tf.ones([1, 1, 1])
    numbers = draws.uniform(seed, [5], 0.0, 1.0)
    top, bottom, left, right = tf.unstack(
        numbers[1:] * _MOST_CUT * tf.cast(numbers[0] < share, tf.float32)
    )
    rows = (tf.range(shape_hw[0], dtype=tf.float32) + 0.5) / shape_hw[0]
    columns = (tf.range(shape_hw[1], dtype=tf.float32) + 0.5) / shape_hw[1]
    shown_h = tf.logical_and(rows >= top, rows <= 1.0 - bottom)
    shown_w = tf.logical_and(columns >= left, columns <= 1.0 - right)
    return tf.cast(shown_h[:, tf.newaxis] & shown_w[tf.newaxis, :], tf.float32)[..., tf.newaxis]
