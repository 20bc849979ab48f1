"""What a training's configuration accepts, and the words in which it refuses contradictions."""

import dataclasses

import pytest

from spleen_tf.core import flags
from spleen_tf.core.flags import ConfigError
from spleen_tf.datasets.fingerprint import Plan
from spleen_tf.training.augment_config import AugmentConfig
from spleen_tf.training.config import TrainConfig


def config(**changes):
    return TrainConfig(**{"records": "records", "model_dir": "model", "steps": 1, **changes})


def parsed(*arguments):
    required = ("--records=r", "--model_dir=m", "--steps=1")
    return flags.parse(["train.py", *required, *arguments], TrainConfig)


@pytest.mark.parametrize(
    "name",
    [
        *("records", "splits", "model_dir", "init_from", "image_size", "pixel_mm"),
        *("base_filters", "depth", "norm", "dropout", "in_channels", "batch_size"),
        *("learning_rate", "optimizer", "loss", "epochs", "steps", "steps_per_epoch", "minutes"),
        *("seed", "precision", "distribution", "foreground_fraction", "fingerprint"),
    ],
)
def test_the_flags_that_other_programs_use_are_there(name):
    assert name in {field.name for field in dataclasses.fields(TrainConfig)}


def test_the_defaults_are_a_512_pixel_network_with_one_channel():
    defaults = config().settled()
    assert defaults.image_hw == (512, 512)
    assert (defaults.in_channels, defaults.base_filters, defaults.depth) == (1, 32, 4)
    assert (defaults.norm, defaults.optimizer, defaults.loss) == ("batch", "adamw", "dice_ce")
    assert (defaults.precision, defaults.distribution) == ("auto", "none")


def test_a_fingerprint_gives_what_is_not_set():
    plan = Plan((4.0, 2.5), (-100.0, 300.0), (64, 96), depth=3, batch_size=16)
    settled = config(batch_size=4, fingerprint="f.json").settled(plan)
    assert (settled.image_hw, settled.pixel_mm) == ((64, 96), (4.0, 2.5))
    assert (settled.depth, settled.batch_size, settled.window) == (3, 4, (-100.0, 300.0))


def test_what_is_set_must_fit_what_a_fingerprint_gives():
    with pytest.raises(ConfigError, match=r"expected a multiple of 32 .*, found 48"):
        config(image_size=(48,), fingerprint="f.json").settled(
            Plan((1.0,), (0.5, 99.5), (64,), depth=5)
        )


def test_one_number_is_a_square_and_two_are_rows_and_columns():
    assert parsed("--image_size=96").image_hw == (96, 96)
    assert parsed("--image_size=64,144").image_hw == (64, 144)


def test_every_strength_of_augmentation_is_a_flag():
    flags_of_config = {field.name for field in dataclasses.fields(TrainConfig)}
    for field in dataclasses.fields(AugmentConfig):
        assert f"augment_{field.name}" in flags_of_config
        strengths = config(**{f"augment_{field.name}": 0.125}).augmentation
        assert getattr(strengths, field.name) == 0.125


def test_what_earlier_releases_wrote_for_not_set_still_means_that():
    earlier = config(splits="", image_size=(), pixel_mm=(), depth=0, batch_size=0, minutes=0.0)
    assert earlier == config()
    assert parsed("--depth=0", "--minutes=0") == parsed()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"image_size": (32, 32, 32)}, "--image_size: expected one or two integers, found"),
        (
            {"deterministic": True, "minutes": 3.0},
            "--deterministic: expected --steps or --epochs, since no .*; found --minutes",
        ),
        (
            {"image_size": (100,)},
            r"expected a multiple of 16 \(2\^depth\), found 100; 96 would do\.",
        ),
        (
            {"image_size": (96, 40)},
            r"expected a multiple of 16 \(2\^depth\), found 96,40; 96,32 would do\.",
        ),
        (
            {"depth": 6, "image_size": (96,)},
            r"a multiple of 64 \(2\^depth\), found 96; 128 would do\.",
        ),
        ({"pixel_mm": (1.0, 1.0, 5.0)}, "--pixel_mm: expected one or two sizes of 0.01 to 100 mm"),
        ({"pixel_mm": (0.0,)}, "--pixel_mm: expected one or two sizes of 0.01 to 100 mm, found"),
        ({"pixel_mm": (-0.8, 0.8)}, "--pixel_mm: expected one or two sizes of 0.01 to 100 mm"),
        ({"pixel_mm": (float("nan"),)}, "--pixel_mm: expected one or two sizes"),
        ({"window": (240.0, -160.0)}, "--window: expected low,high with low < high, found"),
        ({"window": (40.0, 40.0)}, "--window: expected low,high with low < high, found"),
        ({"window": (40.0,)}, "--window: expected low,high with low < high, found"),
        ({"window": (float("-inf"), 40.0)}, "--window: expected low,high with low < high, found"),
        ({"window": (float("nan"), 40.0)}, "--window: expected low,high with low < high, found"),
        ({"in_channels": 2}, "--in_channels: expected an odd number, found 2"),
        ({"steps": 0}, "--epochs, --steps or --minutes: expected at least one, found none"),
    ],
)
def test_a_contradiction_is_told_in_words(changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        config(**changes)


@pytest.mark.parametrize("optimizer", ["ranger", "swa"])
@pytest.mark.parametrize("distribution", ["mirrored", "multi_worker"])
def test_optimizers_of_one_device_are_refused_with_several(optimizer, distribution):
    sentence = f"expected adamw with --distribution={distribution}, found {optimizer}"
    with pytest.raises(ConfigError, match=sentence):
        config(optimizer=optimizer, distribution=distribution)


def test_swa_needs_a_number_of_steps_to_start_at():
    with pytest.raises(ConfigError, match="--optimizer=swa: expected --steps or --epochs"):
        config(optimizer="swa", steps=0, minutes=20)
    assert config(optimizer="swa", steps=0, epochs=2, minutes=20).optimizer == "swa"


def test_workers_cannot_stop_by_their_own_clocks():
    with pytest.raises(ConfigError, match="--minutes: expected --steps or --epochs with"):
        config(distribution="multi_worker", minutes=5)


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("--norm=layer", "--norm: expected one of batch, group, instance"),
        ("--optimizer=sgd", "--optimizer: expected one of adamw, ranger, swa"),
        ("--loss=mse", "--loss: expected one of dice_ce, dice_focal, tversky"),
        ("--precision=int8", "--precision: expected one of auto, float32, bfloat16, float16"),
        ("--distribution=tpu", "--distribution: expected one of none, mirrored, multi_worker"),
        ("--image_size=96.5", "--image_size: expected .*integers.*, found '96.5'"),
        ("--image_size=nan", "--image_size: expected"),
        ("--image_size=0", "--image_size: expected .* 8"),
        ("--foreground_fraction=1.2", "--foreground_fraction: expected .* 1"),
        ("--dropout=1", "--dropout: expected .* 0.9"),
        ("--batch_size=-1", "--batch_size: expected .* 0"),
        ("--ema=1", "--ema: expected .* 0.99999"),
        ("--learning_rate=0", "--learning_rate: expected"),
        ("--depth=9", "--depth: expected .* 8"),
        ("--seed=-1", "--seed: expected"),
        ("--seed=4294967296", "--seed: expected"),
    ],
)
def test_a_value_beyond_its_bounds_is_told_with_them(argument, sentence):
    with pytest.raises(ConfigError, match=sentence):
        parsed(argument)


def test_a_training_without_records_or_a_place_is_refused():
    with pytest.raises(ConfigError, match="--records: expected"):
        flags.parse(["train.py", "--model_dir=m", "--steps=1"], TrainConfig)
    with pytest.raises(ConfigError, match="--model_dir: expected"):
        flags.parse(["train.py", "--records=r", "--steps=1"], TrainConfig)
