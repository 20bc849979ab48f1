"""Frozen configurations, and the command line flags that fill them.

A command declares a frozen dataclass whose fields are made by `flag`, and calls `run`:

    @dataclasses.dataclass(frozen=True)
    class EvaluateConfig:
        labels: str = flag("", "A label file, or a folder of them.", required=True)
        fold: int | None = flag(None, "The fold, or all of them.", minimum=0)

    def main(config: EvaluateConfig) -> int | None: ...

    if __name__ == "__main__":
        flags.run(main, EvaluateConfig)
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys
import typing
from collections.abc import Callable
from typing import Any, TypeVar

from absl import flags

from spleen_tf.core import events, flag_help, flag_registry, log, process
from spleen_tf.core.files import InputError
from spleen_tf.core.flag_kinds import kinds
from spleen_tf.core.process import EXIT_DONE as EXIT_DONE
from spleen_tf.core.process import EXIT_FAILED as EXIT_FAILED
from spleen_tf.core.process import EXIT_INPUT as EXIT_INPUT
from spleen_tf.core.process import CommandFailed as CommandFailed

Config = TypeVar("Config")


class ConfigError(InputError):
    """A command line that cannot be carried out."""


def flag(
    default: Any,
    help: str,
    *,
    required: bool = False,
    choices: tuple[str, ...] = (),
    minimum: float | None = None,
    maximum: float | None = None,
) -> Any:
    """A field of a configuration that is also a command line flag.

    The type comes from the field's annotation: str, a Literal, int, float, bool, tuple[float, ...]
    or tuple[int, ...] (comma separated), tuple[str, ...] (the flag may be repeated); each also with
    `| None`, where None is a flag that is not set.

    Args:
        default: the one place where the default stands.
        help: a sentence for --help.
        required: an empty value is refused.
        choices: the values that a str may have; those of a Literal need not be repeated.
        minimum, maximum: inclusive bounds of a number, or of each number of a tuple.
    """
    metadata = {
        "help": help,
        "required": required,
        "choices": choices,
        "minimum": minimum,
        "maximum": maximum,
    }
    return dataclasses.field(default=default, metadata=metadata)


def run(main: Callable[[Config], int | None], config_type: type[Config]) -> typing.NoReturn:
    """Parses the command line, calls main(config), and exits as `process.run` says.

    The exit code of work that ends is what main returns, or 0.
    """

    def command() -> int:
        description = sys.modules[main.__module__].__doc__ or ""
        config, common = _parse(sys.argv, config_type, description)
        log.set_verbosity(common.verbosity)

        def work() -> int:
            check(config)
            return main(config) or EXIT_DONE

        return events.run(work, pathlib.Path(sys.argv[0]).stem, common.log_json)

    process.run(command)


def parse(argv: list[str], config_type: type[Config], description: str = "") -> Config:
    """A configuration from a command line; --help prints and exits with 0.

    Args:
        argv: the program's name and its arguments; --flagfile=FILE is read in place, unless the
            configuration has a field of that name, which then gets it.
        config_type: a frozen dataclass whose fields were made by `flag`.
        description: what --help says above the flags.

    Raises:
        ConfigError: on an unknown flag, a value out of bounds, or a required one missing.
    """
    config, _ = _parse(argv, config_type, description)
    check(config)
    return config


def check(config: Any) -> None:
    """Raises ConfigError where a field breaks what its `flag` declares."""
    missing = [
        field
        for field in dataclasses.fields(config)
        if field.metadata["required"] and getattr(config, field.name) in ("", (), ("",), None)
    ]
    if missing:
        first, *others = missing
        too = f" Also required: {', '.join(f'--{field.name}' for field in others)}."
        raise ConfigError(
            f"--{first.name}: expected {_uncapitalized(first.metadata['help'])} Found nothing."
            f"{too if others else ''}"
        )
    for field, kind in kinds(type(config)):
        value, rule = getattr(config, field.name), field.metadata
        values = value if isinstance(value, tuple) else () if value is None else (value,)
        choices = rule["choices"] or kind.choices
        for one in values:
            if choices and one not in choices:
                expected = ", ".join(filter(None, choices))
                raise ConfigError(f"--{field.name}: expected one of {expected}, found {one!r}.")
        if kind.is_number:
            _check_bounds(field.name, values, rule["minimum"], rule["maximum"])


def check_together(config: Any, *pairs: tuple[str, str]) -> None:
    """Raises ConfigError where the first flag of a pair is set, and the second is not."""
    for name, other in pairs:
        if _is_set(getattr(config, name)) and not _is_set(getattr(config, other)):
            raise ConfigError(f"--{name}: expected together with --{other}, found it alone.")


def _is_set(value: Any) -> bool:
    return value is not None and value is not False and value not in ("", ())


def _check_bounds(
    name: str, numbers: tuple[float, ...], low: float | None, high: float | None
) -> None:
    for number in numbers:
        if number != number:
            raise ConfigError(f"--{name}: expected a number, found {number}.")
        if low is not None and number < low:
            raise ConfigError(f"--{name}: expected at least {low}, found {number}.")
        if high is not None and number > high:
            raise ConfigError(f"--{name}: expected at most {high}, found {number}.")


class _Common(typing.NamedTuple):
    """The flags that every command has."""

    verbosity: int
    log_json: str | None


def _parse(argv: list[str], config_type: type[Config], description: str) -> tuple[Config, _Common]:
    """The configuration, unchecked, and the flags that every command has."""
    values = flag_registry.define(config_type)
    if any(argument in ("--help", "-h", "-help") for argument in argv[1:]):
        print(flag_help.text(argv[0], config_type, description))
        sys.exit(EXIT_DONE)
    rest = _fill(values, argv)
    if rest[1:]:
        first = dataclasses.fields(config_type)[0].name  # type: ignore[arg-type]
        raise ConfigError(
            f"expected flags such as --{first}=…, found {rest[1]!r}; --help lists the flags."
        )
    filled = {}
    for field, kind in kinds(config_type):
        text = values[field.name].value
        try:
            filled[field.name] = kind.to_value(text)
        except ValueError:
            raise ConfigError(
                f"--{field.name}: expected {kind.expected}, found {text!r}."
            ) from None
    verbosity = str(values["verbosity"].value)
    if not verbosity.lstrip("-").isdigit():
        raise ConfigError(f"--verbosity: expected an integer, found {verbosity!r}.")
    return config_type(**filled), _Common(int(verbosity), values["log_json"].value or None)


def _fill(values: flags.FlagValues, argv: list[str]) -> list[str]:
    """Reads the flags and returns what is left; complaints of absl become a ConfigError."""
    try:
        return list(values(argv))
    except flags.CantOpenFlagFileError as error:
        cause = error.__context__
        assert isinstance(cause, OSError)
        remedy = ""
        if "{plane}" in str(cause.filename):
            remedy = " Write a plane, such as axial, in place of {plane}."
        raise ConfigError(
            f"{cause.filename}: expected a file of flags, found: {cause.strerror}.{remedy}"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"--flagfile: expected a text file, found other bytes: {error}."
        ) from None
    except RecursionError:  # absl looks for a similar name, letter by letter.
        raise ConfigError(
            "expected flags that --help lists, found one of a very long name, or flag files that "
            "name one another without end."
        ) from None
    except flags.Error as error:
        raise ConfigError(f"{error}; --help lists the flags.") from None


def _uncapitalized(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
