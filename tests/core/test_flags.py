"""Flags fill frozen configurations, and a command line at fault costs one line and exit code 2."""

import dataclasses
import re
from typing import Literal

import pytest

from spleen_tf.core import flags
from spleen_tf.core.flags import ConfigError, flag


@dataclasses.dataclass(frozen=True)
class TrainLikeConfig:
    records: str = flag("", "The folder of records.", required=True)
    plane: str = flag("coronal", "The plane of the slices.", choices=("coronal", "axial"))
    epochs: int = flag(10, "How often all slices are seen.", minimum=1, maximum=1000)
    learning_rate: float = flag(1e-3, "The first learning rate.", minimum=0.0)
    offset: float = flag(0.0, "Any number.")
    pixel_mm: tuple[float, ...] = flag((0.8, 0.7), "Row and column spacing.", minimum=0.1)
    model: tuple[str, ...] = flag((), "A model folder.")
    resume: bool = flag(True, "Whether an earlier run goes on.")
    limit: float | None = flag(None, "A number that may be left out.", minimum=0)
    image_size: tuple[int, ...] = flag((256,), "Rows and columns.", minimum=1)
    fold: int | None = flag(None, "A fold, or all.", minimum=0)
    window: tuple[float, ...] | None = flag(None, "Two numbers, or none.")
    split: Literal["train", "validation"] | None = flag(None, "A split, or all.")


@dataclasses.dataclass(frozen=True)
class ExportLikeConfig:
    records: str = flag("none", "Another meaning of the same name.")
    epochs: str = flag("last", "Another type, too.")


def parsed(*arguments, kind=TrainLikeConfig):
    return flags.parse(["train.py", *arguments], kind)


def test_defaults_stand_in_the_configuration_alone():
    assert parsed("--records=r") == TrainLikeConfig(records="r")
    assert parsed("--records=r").pixel_mm == (0.8, 0.7)
    assert parsed("--records=r").model == ()


def test_every_type_of_flag_is_read():
    assert parsed(
        "--records=a b",
        "--plane=axial",
        "--epochs=3",
        "--learning_rate=2e-4",
        "--offset=-1.5",
        "--pixel_mm=1.25, 2",
        "--model=x",
        "--model=y,z",
        "--noresume",
        "--limit=0",
        "--image_size=96,128",
        "--fold=0",
        "--window=-160,240",
        "--split=train",
    ) == TrainLikeConfig(
        records="a b",
        plane="axial",
        epochs=3,
        learning_rate=2e-4,
        offset=-1.5,
        pixel_mm=(1.25, 2.0),
        model=("x", "y,z"),
        resume=False,
        limit=0.0,
        image_size=(96, 128),
        fold=0,
        window=(-160.0, 240.0),
        split="train",
    )


@pytest.mark.parametrize("text", [(), ("--fold=", "--limit= ", "--window=", "--split=")])
def test_an_optional_flag_is_none_unless_it_has_a_value(text):
    config = parsed("--records=r", *text)
    assert (config.fold, config.limit, config.window, config.split) == (None, None, None, None)


def test_integers_stay_integers_in_a_tuple():
    assert [type(n) for n in parsed("--records=r", "--image_size=96").image_size] == [int]


@pytest.mark.parametrize(
    ("text", "numbers"), [("1", (1.0,)), ("1,2,3", (1.0, 2.0, 3.0)), ("1e1,", (10.0,))]
)
def test_a_tuple_of_numbers_may_have_any_length(text, numbers):
    assert parsed("--records=r", f"--pixel_mm={text}").pixel_mm == numbers


@pytest.mark.parametrize(
    ("text", "value"),
    [("--resume", True), ("--noresume", False), ("--resume=true", True), ("--resume=false", False)],
)
def test_booleans_are_written_in_four_ways(text, value):
    assert parsed("--records=r", text).resume is value


def test_a_value_may_follow_its_flag_after_a_space():
    assert parsed("--records", "r", "--epochs", "3") == TrainLikeConfig(records="r", epochs=3)


def test_a_number_that_may_be_left_out_is_none_and_has_no_default_in_the_help(capsys):
    assert parsed("--records=r").limit is None
    with pytest.raises(SystemExit):
        parsed("--help")
    assert "--limit=NUMBER\n      A number that may be left out.\n" in capsys.readouterr().out


def test_numbers_from_flags_have_the_types_of_their_fields():
    config = parsed("--records=r", "--epochs=3", "--offset=2")
    assert (type(config.epochs), type(config.offset)) == (int, float)
    assert (type(parsed("--records=r").epochs), type(parsed("--records=r").offset)) == (int, float)


def test_the_later_of_two_values_rules():
    assert parsed("--records=r", "--epochs=3", "--epochs=4").epochs == 4


def test_a_configuration_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        parsed("--records=r").epochs = 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "--records: expected the folder of records. Found nothing."),
        (("--records=",), "--records: expected the folder of records. Found nothing."),
        (("--epoch=3",), "Unknown command line flag 'epoch'. Did you mean: epochs ?; --help lists"),
        (("--epochs=many",), "--epochs: expected an integer, found 'many'."),
        (("--epochs=1e3",), "--epochs: expected an integer, found '1e3'."),
        (("--epochs=",), "--epochs: expected an integer, found ''."),
        (("--offset=two",), "--offset: expected a number, found 'two'."),
        (("--limit=two",), "--limit: expected a number, found 'two'."),
        (("--limit=-1",), "--limit: expected at least 0, found -1.0."),
        (("--image_size=96.5",), "--image_size: expected integers separated by commas, found '96."),
        (("--image_size=96,0",), "--image_size: expected at least 1, found 0."),
        (("--fold=-1",), "--fold: expected at least 0, found -1."),
        (("--fold=one",), "--fold: expected an integer, found 'one'."),
        (("--split=test",), "--split: expected one of train, validation, found 'test'."),
        (("--verbosity=much",), "--verbosity: expected an integer, found 'much'."),
        (("--epochs",), "Missing value for flag --epochs; --help lists the flags."),
        (("--epochs=0",), "--epochs: expected at least 1, found 0."),
        (("--epochs=1001",), "--epochs: expected at most 1000, found 1001."),
        (("--learning_rate=-0.1",), "--learning_rate: expected at least 0.0, found -0.1."),
        (("--learning_rate=nan",), "--learning_rate: expected a number, found nan."),
        (("--offset=nan",), "--offset: expected a number, found nan."),
        (("--pixel_mm=1,0.05",), "--pixel_mm: expected at least 0.1, found 0.05."),
        (("--pixel_mm=1x2",), "--pixel_mm: expected numbers separated by commas, found '1x2'."),
        (("--plane=transverse",), "--plane: expected one of coronal, axial, found 'transverse'."),
        (("--resume=maybe",), "flag --resume=maybe: expected true or false, found 'maybe'; "),
        (("volume.nii",), "expected flags such as --records=…, found 'volume.nii'; --help lists"),
    ],
)
def test_a_command_line_at_fault_is_refused_in_words(arguments, sentence):
    given = () if any(text.startswith("--records") for text in arguments) else ("--records=r",)
    with pytest.raises(ConfigError, match="^" + re.escape(sentence)):
        parsed(*(given if arguments else ()), *arguments)


@pytest.mark.parametrize("value", ["1", "1000"])
def test_bounds_are_inclusive(value):
    assert parsed("--records=r", f"--epochs={value}").epochs == int(value)


def test_a_configuration_made_in_code_is_checked_by_the_same_rules():
    flags.check(TrainLikeConfig(records="r"))
    with pytest.raises(ConfigError, match="--epochs: expected at least 1, found 0"):
        flags.check(TrainLikeConfig(records="r", epochs=0))


def test_two_commands_may_use_the_same_flag_in_their_own_ways():
    assert parsed("--records=r", "--epochs=3").epochs == 3
    assert parsed("--epochs=best", kind=ExportLikeConfig) == ExportLikeConfig("none", "best")
    assert parsed("--records=r").epochs == 10  # And nothing is left of the calls before.


def test_a_flagfile_is_read_with_its_comments_and_empty_lines(tmp_path):
    flagfile = tmp_path / "train.flags"
    flagfile.write_text(
        "# Coronal, two cores, 40 minutes.\n\n--records=r\n// Another comment.\n  --epochs=3\n"
        "--model=a\n--model=b\n--noresume\n"
    )
    assert parsed(f"--flagfile={flagfile}") == TrainLikeConfig(
        records="r", epochs=3, model=("a", "b"), resume=False
    )


def test_a_flagfile_may_open_with_a_byte_order_mark(tmp_path):
    for first in ("", "# A comment.\n", "// Another.\n"):
        (tmp_path / "train.flags").write_text(f"{first}--records=r\n", encoding="utf-8-sig")
        assert parsed(f"--flagfile={tmp_path}/train.flags") == TrainLikeConfig(records="r")


def test_a_plane_that_was_left_to_cross_validation_is_asked_for():
    with pytest.raises(ConfigError, match=r"such as axial, in place of \{plane\}\.$"):
        parsed("--records=r", "--flagfile=models/{plane}/train.flags")


def test_all_flags_that_are_missing_are_named():
    @dataclasses.dataclass(frozen=True)
    class Config:
        model: str = flag("", "A model.", required=True)
        source: str = flag("", "A volume.", required=True)
        output: str = flag("", "A mask.", required=True)

    with pytest.raises(ConfigError) as refusal:
        flags.parse(["program", "--source=a"], Config)
    assert (
        str(refusal.value) == "--model: expected a model. Found nothing. Also required: --output."
    )


def test_a_flag_behind_the_flagfile_overrides_it_and_one_before_does_not(tmp_path):
    flagfile = tmp_path / "train.flags"
    flagfile.write_text("--records=r\n--epochs=3\n")
    assert parsed(f"--flagfile={flagfile}", "--epochs=4").epochs == 4
    assert parsed("--epochs=4", f"--flagfile={flagfile}").epochs == 3


def test_a_flagfile_may_name_another(tmp_path):
    (tmp_path / "base.flags").write_text("--records=r\n--epochs=3\n")
    (tmp_path / "more.flags").write_text(f"--flagfile={tmp_path}/base.flags\n--plane=axial\n")
    config_read = parsed(f"--flagfile={tmp_path}/more.flags")
    assert config_read == TrainLikeConfig(records="r", epochs=3, plane="axial")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"--records=r\n--epoch=3\n", "Unknown command line flag 'epoch'"),
        (b"--records=r\nepochs=3\n", "expected flags such as --records=…, found 'epochs=3'"),
        (b"--records=r\n--epochs=0\n", "--epochs: expected at least 1, found 0"),
        (b"\x1f\x8b\xff\xfe", "--flagfile: expected a text file, found other bytes"),
    ],
)
def test_a_flagfile_at_fault_is_refused_in_words(tmp_path, content, sentence):
    (tmp_path / "train.flags").write_bytes(content)
    with pytest.raises(ConfigError, match="^" + re.escape(sentence)):
        parsed(f"--flagfile={tmp_path}/train.flags")


def test_a_flagfile_that_is_missing_or_a_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.flags: expected a file of flags, found: No such"):
        parsed(f"--flagfile={tmp_path}/none.flags")
    with pytest.raises(ConfigError, match="expected a file of flags, found: Is a directory"):
        parsed(f"--flagfile={tmp_path}")


@pytest.mark.parametrize("asked", [("--help",), ("-h",), ("--records=r", "--epochs=0", "--help")])
def test_help_names_every_flag_with_its_sentence_and_default_and_ends_with_0(capsys, asked):
    with pytest.raises(SystemExit) as caught:
        flags.parse(["tools/make.py", *asked], TrainLikeConfig, "Trains.\n\nIn two lines.")
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("Trains.\n\nIn two lines.\n\nusage: python tools/make.py ")
    for field in dataclasses.fields(TrainLikeConfig):
        assert re.search(rf"^  --(\[no\])?{field.name}(=|$)", text, re.MULTILINE)
        assert field.metadata["help"] in text
    assert "--plane=coronal|axial" in text
    assert "--split=train|validation" in text
    assert "--image_size=INTEGER[,INTEGER]" in text
    assert "--verbosity=INTEGER" in text
    assert "Default: 0.001." in text
    assert "Default: 0.8,0.7." in text
    assert text.count("Required.") == 1
    assert text.count("May be repeated.") == 1
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("value", [0.0, 2.5])
def test_a_flag_that_needs_another_is_rejected_alone(value):
    """Also where its value is 0, which is one."""
    alone = TrainLikeConfig(limit=value)
    with pytest.raises(ConfigError, match=r"^--limit: expected together with --fold, found it alo"):
        flags.check_together(alone, ("window", "fold"), ("limit", "fold"))
    flags.check_together(dataclasses.replace(alone, fold=0), ("limit", "fold"))
