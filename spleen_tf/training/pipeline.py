"""Records to batches: what a training sees, and what it is validated on."""

from __future__ import annotations

import dataclasses
import warnings

import tensorflow as tf

from spleen_tf.core.files import InputWarning
from spleen_tf.datasets import records
from spleen_tf.imaging import intensity
from spleen_tf.network import preprocess
from spleen_tf.training import augment
from spleen_tf.training.config import TrainConfig
from spleen_tf.training.run import Training

_SHUFFLE_SLICES = 256
_VALIDATION_BATCH = 8


def for_training(training: Training, start: int = 0) -> tf.data.Dataset:
    """Endless batches of augmented slices: float32 images [N, H, W, C] and labels [N, H, W, 1].

    The same configuration and start give the same batches, in the same order.

    Args:
        training: what to read, sizes, sampling and augmentation.
        start: the number of slices seen before, by a training that is resumed.
    """
    config = training.config
    aspect = training.pixel_mm[0] / training.pixel_mm[1]

    def variant(
        index: tf.Tensor, image: tf.Tensor, label: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        image, label = _place(config, image, label, [config.seed, index])
        seed = [config.seed + 1, index]
        return augment.augment(image, label, seed, training.augmentation, aspect)

    slices = _sampled(training, config.seed + start)
    numbered = tf.data.Dataset.zip((tf.data.Dataset.counter(start), slices))
    # The zip hands over (index, (image, label)).
    augmented = numbered.map(
        lambda index, pair: variant(tf.cast(index, tf.int32), *pair), tf.data.AUTOTUNE
    )
    batches = augmented.batch(training.batch_size, drop_remainder=True)
    return batches.prefetch(tf.data.AUTOTUNE).with_options(records.options())


def for_validation(training: Training) -> tf.data.Dataset:
    """Native slices of the validation cases, whole, in batches of one case.

    Returns:
        A dataset of dicts: images [N, H, W, C] in raw units, labels uint8 [N, H, W], pixel_mm
        [2], window [2] (intensities), case (its index in training.validation), slice_index [N].
    """
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(
            tf.constant(training.validation), tf.range(len(training.validation), dtype=tf.int64)
        ),
        default_value=-1,
    )
    in_channels = training.network.in_channels
    slices = _read(training, training.validation, shuffle_seed=None)
    slices = slices.map(lambda e: {**_decoded(e), "index": table.lookup(e["case"])})
    batches = slices.group_by_window(
        key_func=lambda example: example["index"],
        reduce_func=lambda _, window: window.batch(_VALIDATION_BATCH),
        window_size=_VALIDATION_BATCH,
    )
    native = batches.map(
        lambda example: {
            "images": example["image"],
            "labels": example["label"][..., in_channels // 2],
            "pixel_mm": example["pixel_mm"][0],
            "window": _window(
                training, example["modality"][0], example["intensity_percentiles"][0]
            ),
            "case": example["index"][0],
            "slice_index": example["slice_index"],
        }
    )
    return native.prefetch(1).with_options(records.options())


def _window(training: Training, modality: tf.Tensor, percentiles: tf.Tensor) -> tf.Tensor:
    """float32 [2]: the intensities of a case that become 0 and 1."""
    if training.modality == "CT":
        return tf.constant(training.window, tf.float32)
    window = tf.gather(percentiles, [intensity.PERCENTILES.index(q) for q in training.window])
    if training.modality == "any":
        # By what the data set says: the values of a CT that was clipped do not show that it is one.
        return tf.where(modality == "CT", tf.constant(intensity.CT_HU, tf.float32), window)
    return window


@dataclasses.dataclass(frozen=True)
class _Kind:
    """Slices that one stream is drawn from.

    Attributes:
        case_names: whose slices.
        has_spleen: whether they show spleen.
        slices: how many there are.
        weight: the share of them that a batch should have, relative to other kinds.
    """

    case_names: tuple[str, ...]
    has_spleen: bool
    slices: int
    weight: float


def _sampled(training: Training, seed: int) -> tf.data.Dataset:
    """Endless (image, label) on the grid, with foreground_fraction of slices that show spleen."""
    kinds = _kinds(training)
    streams = [_stream(training, seed, kind) for kind in kinds]
    if len(streams) == 1:
        return streams[0]
    weights = [kind.weight for kind in kinds]
    return tf.data.Dataset.sample_from_datasets(
        streams, weights if any(weights) else None, seed=seed
    )


def _kinds(training: Training) -> list[_Kind]:
    """What there is of slices with and without spleen.

    Where there are cases of both modalities, each gives half of the slices of either kind.
    """
    fraction = training.config.foreground_fraction
    if not training.spleen_slices(training.train) and fraction:
        warnings.warn(
            f"{training.config.records}: no training slice shows spleen", InputWarning, stacklevel=2
        )
    kinds = []
    for modality in sorted({training.cases[name].modality for name in training.train}):
        names = tuple(n for n in training.train if training.cases[n].modality == modality)
        with_spleen = training.spleen_slices(names)
        without = training.num_slices(names) - with_spleen
        kinds += [
            _Kind(names, True, with_spleen, fraction),
            _Kind(names, False, without, 1.0 - fraction),
        ]
    present = [kind for kind in kinds if kind.slices]
    # Where only one kind is asked for and there is none of it, the other has to do.
    return [kind for kind in present if kind.weight] or present


def _stream(training: Training, seed: int, kind: _Kind) -> tf.data.Dataset:
    """Endless (image, label) of one kind of slices, on the grid."""

    def on_grid(raw: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        example = _decoded(raw)
        window = _window(training, example["modality"], example["intensity_percentiles"])
        images = preprocess.normalize(example["image"], window)
        both = tf.concat([images, tf.cast(example["label"], tf.float32)], axis=-1)
        both = preprocess.to_grid(both[tf.newaxis], example["pixel_mm"], training.pixel_mm)[0]
        images, labels = tf.split(both, 2, axis=-1)
        return images, tf.cast(labels > 0.5, tf.float32)

    slices = _read(training, kind.case_names, seed, kind.has_spleen)
    if training.config.cache:
        slices = slices.map(on_grid, tf.data.AUTOTUNE).cache()
        return slices.shuffle(kind.slices, seed=seed).repeat()
    # Slices wait in the shuffle buffer as raw bytes: half the memory of decoded ones, or less.
    slices = slices.shuffle(min(kind.slices, _SHUFFLE_SLICES), seed=seed).repeat()
    return slices.map(on_grid, tf.data.AUTOTUNE)


def _read(
    training: Training,
    case_names: tuple[str, ...],
    shuffle_seed: int | None,
    has_spleen: bool | None = None,
) -> tf.data.Dataset:
    """Slices of some cases: records.parse with the raw images and labels of C neighbours.

    All shards are read, whatever split they were written for: a split file may deal the cases
    anew. Reading several side by side mixes patients.
    """
    names = tf.constant(case_names, tf.string)
    shards = tf.data.Dataset.from_tensor_slices(list(training.shards))
    if shuffle_seed is not None:
        shards = shards.shuffle(len(training.shards), seed=shuffle_seed)

    def examples_of(path: tf.Tensor) -> tf.data.Dataset:
        examples = tf.data.TFRecordDataset(path).map(records.parse)
        examples = examples.filter(lambda e: tf.reduce_any(names == e["case"]))
        examples = with_neighbours(examples, training.network.in_channels)
        if has_spleen is not None:
            examples = examples.filter(lambda e: (e["has_spleen"] > 0) == has_spleen)
        return examples

    return shards.interleave(
        examples_of,
        cycle_length=len(training.shards) if shuffle_seed is not None else 1,
        block_length=1,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )


def with_neighbours(examples: tf.data.Dataset, in_channels: int) -> tf.data.Dataset:
    """Gives each parsed Example what its neighbours show: image and label become [C] bytes.

    Args:
        examples: parsed, all slices of a case in a row.
        in_channels: C, odd.
    """
    if in_channels == 1:
        return examples.map(
            lambda e: {**e, **{name: e[name][tf.newaxis] for name in ("image", "label")}}
        )
    reach = in_channels // 2
    # Slices of no case at both ends of the file, so that every slice is the middle of a window.
    blank = examples.take(1).map(lambda e: {**e, "case": ""}).repeat(reach)
    windows = (
        blank.concatenate(examples)
        .concatenate(blank)
        .window(in_channels, shift=1, drop_remainder=True)
    )

    def middle(window: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        is_same = window["case"] == window["case"][reach]
        first = tf.argmax(is_same)
        last = in_channels - 1 - tf.argmax(tf.reverse(is_same, [0]))
        index = tf.clip_by_value(tf.range(in_channels, dtype=tf.int64), first, last)
        example = {name: values[reach] for name, values in window.items()}
        return {**example, **{n: tf.gather(window[n], index) for n in ("image", "label")}}

    stacked = windows.flat_map(
        lambda window: tf.data.Dataset.zip(window).batch(in_channels, drop_remainder=True)
    )
    return stacked.map(middle)


def _decoded(example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    shape = [example["height"], example["width"]]
    channels = example["image"].shape[0]
    decoded = {
        "image": records.image_values(example["image"], example["dtype"]),
        "label": tf.io.decode_raw(example["label"], tf.uint8),
    }
    for name, values in decoded.items():
        decoded[name] = tf.transpose(tf.reshape(values, [channels, *shape]), [1, 2, 0])
    return {**example, **decoded}


def _place(
    config: TrainConfig, image: tf.Tensor, label: tf.Tensor, seed: list[tf.Tensor | int]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Crops or pads to the training size, at random places."""
    position = tf.random.stateless_uniform([2], seed)
    both = preprocess.crop_or_pad(tf.concat([image, label], axis=-1), config.image_hw, position)
    both = tf.ensure_shape(both, [*config.image_hw, 2 * config.in_channels])
    image, label = tf.split(both, 2, axis=-1)
    return image, label
