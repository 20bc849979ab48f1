"""In the graph: raw slices to the network's grid, and its probabilities back to the slices.

Training and the exported model share these functions, so that a network sees in service what it
saw in training. The grid has a fixed pixel size; slices keep their corner of row 0, column 0.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from spleen_tf.imaging import intensity


def segment(
    network: Callable[[tf.Tensor], tf.Tensor],
    images_nhwc: tf.Tensor,
    pixel_mm: tf.Tensor,
    window: tf.Tensor,
    grid_mm: tuple[float, float],
    multiple: int,
) -> tf.Tensor:
    """Probability of spleen at native resolution.

    Args:
        network: images on the grid, [N, h, w, C] in 0..1, to logits, [N, h, w, 1].
        images_nhwc: float32 [N, H, W, C], raw units; C neighbouring slices, the middle one asked.
        pixel_mm: float32 [2], row and column spacing of the slices.
        window: float32 [2], the intensities that become 0 and 1.
        grid_mm: row and column spacing of the network's grid.
        multiple: height and width are padded to a multiple of this.

    Returns:
        float32 [N, H, W].
    """
    images = normalized_grid(images_nhwc, window, pixel_mm, grid_mm)
    on_grid = probability_on_grid(network, images, multiple)
    return from_grid(on_grid, pixel_mm, grid_mm, tf.shape(images_nhwc)[1:3])


def probability_on_grid(
    network: Callable[[tf.Tensor], tf.Tensor], images_nhwc: tf.Tensor, multiple: int
) -> tf.Tensor:
    """Probability of spleen on the network's grid.

    Args:
        network: images on the grid, [N, h, w, C] in 0..1, to logits, [N, h, w, 1].
        images_nhwc: float32 [N, h, w, C], what `normalized_grid` returned.
        multiple: height and width are padded to a multiple of this.

    Returns:
        float32 [N, h, w].
    """
    grid_hw = tf.shape(images_nhwc)[1:3]
    logits = network(pad_to_multiple(images_nhwc, multiple))[..., 0]
    return tf.sigmoid(tf.cast(logits, tf.float32))[:, : grid_hw[0], : grid_hw[1]]


def normalize(images: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    """Maps window[0]..window[1] to 0..1 and clips, in float32, before any lower precision.

    A window of no width (a constant image) gives zeros.
    """
    low, high = window[0], window[1]
    return tf.clip_by_value(tf.math.divide_no_nan(images - low, high - low), 0.0, 1.0)


def normalized_grid(
    images: tf.Tensor, window: tf.Tensor, pixel_mm: tf.Tensor, grid_mm: tuple[float, float]
) -> tf.Tensor:
    """What `to_grid` makes of what `normalize` returns, with less work at native resolution.

    Only the clipping has to come before the resampling, which is linear.

    Args:
        images: float32 [N, H, W] or [N, H, W, C], raw units. A last axis of length 1 makes ONNX
            Runtime ten times as slow here.
        window, pixel_mm, grid_mm: as in `segment`.
    """
    low, width = window[0], window[1] - window[0]
    clipped = tf.raw_ops.ClipByValue(t=images - low, clip_value_min=0.0, clip_value_max=width)
    return to_grid(clipped, pixel_mm, grid_mm) * tf.math.divide_no_nan(1.0, width)


def window_for_any(lowest: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    """float32 [2]: the window of a model for any modality; see `imaging.intensity`.

    Args:
        lowest: the volume's intensity.LOWEST_PERCENTILE.
        window: float32 [2], what its percentiles say.
    """
    is_hounsfield = lowest < intensity.HOUNSFIELD_BELOW
    return tf.where(is_hounsfield, tf.constant(intensity.CT_HU, tf.float32), window)


def percentile_window(values: tf.Tensor, percentiles: tuple[float, float]) -> tf.Tensor:
    """float32 [2]: two percentiles of all values, by linear interpolation as numpy has it."""
    ordered = tf.sort(tf.reshape(values, [-1]))
    last = tf.cast(tf.size(ordered) - 1, tf.float64)
    rank = tf.constant(percentiles, tf.float64) / 100.0 * last
    below = tf.gather(ordered, tf.cast(tf.floor(rank), tf.int32))
    above = tf.gather(ordered, tf.cast(tf.math.ceil(rank), tf.int32))
    return below + (above - below) * tf.cast(rank - tf.floor(rank), tf.float32)


def neighbours(slices_nhw: tf.Tensor, in_channels: int) -> tf.Tensor:
    """[N, H, W, C]: each slice amid its in_channels // 2 neighbours on either side.

    Beyond the first and the last slice, these are repeated.
    """
    if in_channels == 1:
        return slices_nhw[..., tf.newaxis]
    count = tf.shape(slices_nhw)[0]
    reach = in_channels // 2
    index = tf.range(count)[:, tf.newaxis] + tf.range(-reach, reach + 1)[tf.newaxis]
    stacked = tf.gather(slices_nhw, tf.clip_by_value(index, 0, count - 1))
    return tf.transpose(stacked, [0, 2, 3, 1])


def to_grid(images: tf.Tensor, pixel_mm: tf.Tensor, grid_mm: tuple[float, float]) -> tf.Tensor:
    """Resamples to the grid's pixel size, with anti-aliasing where that is coarser.

    Args:
        images: float32 [N, H, W] or [N, H, W, C].
        pixel_mm, grid_mm: as in `segment`.
    """
    scale = pixel_mm / tf.constant(grid_mm, tf.float32)
    native_hw = tf.cast(tf.shape(images)[1:3], tf.float32)
    # A hundredth of a pixel is rounding of the spacings, not a pixel more.
    grid_hw = tf.cast(tf.math.ceil(native_hw * scale - 0.01), tf.int32)
    return _resample(images, scale, tf.maximum(grid_hw, 1))


def from_grid(
    images: tf.Tensor, pixel_mm: tf.Tensor, grid_mm: tuple[float, float], native_hw: tf.Tensor
) -> tf.Tensor:
    """Resamples from the grid to slices of native_hw pixels of size pixel_mm; see `to_grid`."""
    return _resample(images, tf.constant(grid_mm, tf.float32) / pixel_mm, native_hw)


def pad_to_multiple(images_nhwc: tf.Tensor, multiple: int) -> tf.Tensor:
    """Pads with zeros below and on the right."""
    height, width = tf.unstack(tf.shape(images_nhwc)[1:3])
    # Without negative numbers, whose remainder ONNX takes otherwise.
    below, right = ((multiple - size % multiple) % multiple for size in (height, width))
    return tf.pad(images_nhwc, [[0, 0], [0, below], [0, right], [0, 0]])


def crop_or_pad(image_hwc: tf.Tensor, size_hw: tuple[int, int], position: tf.Tensor) -> tf.Tensor:
    """Crops, or pads with zeros, each side to a fixed size.

    Args:
        image_hwc: [H, W, C].
        size_hw: the size wanted.
        position: float32 [2] in 0..1, where the crop (or the image in its padding) lies between
            the first and the last place possible.
    """
    height, width = tf.unstack(tf.shape(image_hwc)[:2])
    spare_h, spare_w = size_hw[0] - height, size_hw[1] - width
    top = tf.cast(tf.round(tf.cast(tf.abs(spare_h), tf.float32) * position[0]), tf.int32)
    left = tf.cast(tf.round(tf.cast(tf.abs(spare_w), tf.float32) * position[1]), tf.int32)
    crop_top, crop_left = tf.where(spare_h < 0, top, 0), tf.where(spare_w < 0, left, 0)
    pad_top, pad_left = tf.where(spare_h > 0, top, 0), tf.where(spare_w > 0, left, 0)
    image = image_hwc[crop_top : crop_top + size_hw[0], crop_left : crop_left + size_hw[1]]
    bottom = tf.maximum(spare_h, 0) - pad_top
    right = tf.maximum(spare_w, 0) - pad_left
    image = tf.pad(image, [[pad_top, bottom], [pad_left, right], [0, 0]])
    return tf.ensure_shape(image, [*size_hw, image_hwc.shape[-1]])


def _resample(images: tf.Tensor, scale: tf.Tensor, size_hw: tf.Tensor) -> tf.Tensor:
    """Resamples rows and columns, with weights as in `resampling_matrix`.

    Slices go through matrix products; images of several channels, which only training has here,
    through the operation that weighs all channels of a pixel at once and is faster for them.

    Args:
        images: float32 [N, H, W] or [N, H, W, C].
        scale: float32 [2], output pixels per input pixel, down and across.
        size_hw: int32 [2], output pixels.

    Returns:
        float32, with size_hw in the place of H, W.
    """
    if images.shape.rank == 3:
        input_hw = tf.shape(images)[1:3]
        down = resampling_matrix(input_hw[0], size_hw[0], scale[0])
        across = resampling_matrix(input_hw[1], size_hw[1], scale[1])
        return tf.linalg.matmul(tf.linalg.matmul(down, images), across, transpose_b=True)
    if images.shape[-1] == 1:
        return _resample(images[..., 0], scale, size_hw)[..., tf.newaxis]
    resampled = tf.raw_ops.ScaleAndTranslate(
        images=images,
        size=size_hw,
        scale=scale,
        translation=tf.zeros([2]),
        kernel_type="triangle",
        antialias=True,
    )
    return tf.ensure_shape(resampled, [*images.shape[:1], None, None, images.shape[-1]])


def resampling_matrix(input_size: tf.Tensor, output_size: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """The weights with which input pixels make up each output pixel along one axis.

    They are those of tf.raw_ops.ScaleAndTranslate with a triangle kernel and antialias=True: linear
    interpolation between centres where the output is finer, a triangle as wide as two output pixels
    where it is coarser, normalized to a sum of 1 where the kernel reaches beyond the image. A
    product with this matrix takes a fraction of that operation's time, and ONNX has it.

    Args:
        input_size, output_size: int32 scalars, in pixels.
        scale: float32 scalar, output pixels per input pixel.

    Returns:
        float32 [output_size, input_size]; a row is 0 where its pixel's centre lies beyond the
        input.
    """
    inverse = 1.0 / scale
    reach = tf.maximum(inverse, 1.0)  # Half of the triangle's width, in input pixels.
    centers = (tf.range(output_size, dtype=tf.float32) + 0.5) * inverse
    inputs = tf.range(input_size, dtype=tf.float32) + 0.5
    distance = tf.abs(inputs - centers[:, tf.newaxis])
    weights = tf.maximum(1.0 - distance * (1.0 / reach), 0.0)
    weights = tf.math.divide_no_nan(weights, tf.reduce_sum(weights, axis=1, keepdims=True))
    is_inside = tf.cast(centers <= tf.cast(input_size, tf.float32), tf.float32)
    return weights * is_inside[:, tf.newaxis]
