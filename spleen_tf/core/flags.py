"""Frozen configurations, the flags that fill them, and how every command starts and ends.

A command declares a frozen dataclass whose fields are made by `flag`, and calls `run`:

    @dataclasses.dataclass(frozen=True)
    class EvaluateConfig:
        labels: str = flag("", "A label file, or a folder of them.", required=True)

    def main(config: EvaluateConfig) -> int | None: ...

    if __name__ == "__main__":
        commands.run(main, EvaluateConfig)
"""

from __future__ import annotations

import dataclasses
import errno
import io
import logging
import os
import sys
import textwrap
import typing
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from absl import flags

from spleen_tf.core.files import InputError, InputWarning

Config = TypeVar("Config")

EXIT_DONE, EXIT_FAILED, EXIT_INPUT = 0, 1, 2

# What the system says of files and folders that someone named, as they are or where they lie.
_UNFIT_PLACES = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP),
    *(errno.EISDIR, errno.ENOTDIR),
)

_DEFINE: dict[Any, Callable[..., Any]] = {
    bool: flags.DEFINE_boolean,
    tuple[str, ...]: flags.DEFINE_multi_string,
}
# These are read as text, so that a complaint is the project's own and not absl's.
_NUMBERS: dict[Any, tuple[type, str, str]] = {
    int: (int, "an integer", "INTEGER"),
    float: (float, "a number", "NUMBER"),
    float | None: (float, "a number", "NUMBER"),
}


class ConfigError(InputError):
    """A command line that cannot be carried out."""


class CommandFailed(RuntimeError):
    """Work that failed although its inputs are in order: told in one line, exit code 1."""


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

    The type comes from the field's annotation: str, int, float, float | None (None: not given),
    bool, tuple[float, ...] (comma separated) or tuple[str, ...] (the flag may be repeated).

    Args:
        default: the one place where the default stands.
        help: a sentence for --help.
        required: an empty value is refused.
        choices: the values that a str may have.
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
    """Parses the command line, calls main(config), and exits with the project's exit codes.

    0: done. 2: the command line or an input is at fault (ConfigError and every other InputError, or
    a file or folder that the system does not let the command use), told in one line on stderr. 1:
    any other failure (CommandFailed in one line), or what main returns.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow leaves oneDNN off on CPUs without VNNI, BF16 or AMX; they, too, are faster with it.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    _show_own_warnings_only()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What a terminal cannot show, or the name of a file that is no text, ends no command.
        sys.stdout.reconfigure(errors="backslashreplace")
    description = sys.modules[main.__module__].__doc__ or ""
    try:
        sys.exit(main(parse(sys.argv, config_type, description)) or EXIT_DONE)
    except InputError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(EXIT_INPUT)
    except OSError as error:
        if error.filename is None or error.errno not in _UNFIT_PLACES:
            raise
        remedy = "change its permissions, or use another"
        if not isinstance(error, PermissionError):
            remedy = "use another"
        told = (
            f"error: {error.filename}: expected a file or folder that can be read and written, "
            f"found: {error.strerror}; {remedy}."
        )
        print(" ".join(told.split()), file=sys.stderr)
        sys.exit(EXIT_INPUT)
    except CommandFailed as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(EXIT_FAILED)
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        sys.exit(EXIT_FAILED)


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
    values = _define(config_type)
    if any(argument in ("--help", "-h", "-help") for argument in argv[1:]):
        print(_help(argv[0], config_type, description))
        sys.exit(EXIT_DONE)
    rest = _fill(values, argv)
    if rest[1:]:
        raise ConfigError(
            f"expected flags such as --{_fields(config_type)[0].name}=…, found {rest[1]!r}; "
            "--help lists the flags."
        )
    config = config_type(
        **{
            field.name: _converted(field.name, values[field.name].value, kind)
            for field, kind in _typed_fields(config_type)
        }
    )
    check(config)
    return config


def _fill(values: flags.FlagValues, argv: list[str]) -> list[str]:
    """Reads the flags and returns what is left; complaints of absl become a ConfigError."""
    try:
        return values(argv)
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
    except flags.Error as error:
        raise ConfigError(f"{error}; --help lists the flags.") from None


def check(config: Any) -> None:
    """Raises ConfigError where a field breaks what its `flag` declares."""
    missing = [
        field
        for field in _fields(type(config))
        if field.metadata["required"] and getattr(config, field.name) in ("", (), ("",))
    ]
    if missing:
        first, *others = missing
        too = f" Also required: {', '.join(f'--{field.name}' for field in others)}."
        raise ConfigError(
            f"--{first.name}: expected {_uncapitalized(first.metadata['help'])} Found nothing."
            f"{too if others else ''}"
        )
    for field, kind in _typed_fields(type(config)):
        value, rule = getattr(config, field.name), field.metadata
        if rule["choices"] and value not in rule["choices"]:
            expected = ", ".join(filter(None, rule["choices"]))
            raise ConfigError(f"--{field.name}: expected one of {expected}, found {value!r}.")
        if (kind in _NUMBERS and value is not None) or kind == tuple[float, ...]:
            _check_bounds(field.name, value if isinstance(value, tuple) else (value,), rule)


def _check_bounds(name: str, numbers: tuple, rule: Any) -> None:
    low, high = rule["minimum"], rule["maximum"]
    for number in numbers:
        if number != number:
            raise ConfigError(f"--{name}: expected a number, found {number}.")
        if low is not None and number < low:
            raise ConfigError(f"--{name}: expected at least {low}, found {number}.")
        if high is not None and number > high:
            raise ConfigError(f"--{name}: expected at most {high}, found {number}.")


def _typed_fields(config_type: type) -> list[tuple[dataclasses.Field, Any]]:
    kinds = typing.get_type_hints(config_type)
    return [(field, kinds[field.name]) for field in _fields(config_type)]


def _fields(config_type: type) -> tuple[dataclasses.Field, ...]:
    return dataclasses.fields(config_type)


class _Boolean(flags.BooleanParser):
    """Complains in the project's words."""

    def parse(self, argument):
        try:
            return super().parse(argument)
        except ValueError:
            raise ValueError(f"expected true or false, found {argument!r}") from None


class _VerbatimFlagValues(flags.FlagValues):
    """Leaves a flag file unread, for a command whose own field --flagfile fills."""

    def read_flags_from_files(self, argv, force_gnu=True):
        return list(argv)


def _define(config_type: type) -> flags.FlagValues:
    """Flags in a registry of their own, so that importing two commands never clashes."""
    if any(field.name == "flagfile" for field in _fields(config_type)):
        values: flags.FlagValues = _VerbatimFlagValues()
    else:
        values = flags.FlagValues()
        flags.DEFINE_string("flagfile", "", "Reads flags from a file.", flag_values=values)
    for field, kind in _typed_fields(config_type):
        define = _DEFINE.get(kind, flags.DEFINE_string)
        default: Any = field.default
        if kind == tuple[float, ...]:
            default = ",".join(str(number) for number in default)
        elif kind in _NUMBERS:
            default = None if default is None else str(default)
        define(
            field.name,
            list(default) if kind == tuple[str, ...] else default,
            field.metadata["help"],
            flag_values=values,
        )
        if kind is bool:
            values[field.name].parser = _Boolean()
    return values


def _converted(name: str, value: Any, kind: Any) -> Any:
    if kind == tuple[str, ...]:
        return tuple(value)
    if kind in _NUMBERS and value is not None:
        convert, expected, _ = _NUMBERS[kind]
        try:
            return convert(value)
        except ValueError:
            raise ConfigError(f"--{name}: expected {expected}, found {value!r}.") from None
    if kind == tuple[float, ...]:
        try:
            return tuple(float(part) for part in value.split(",") if part.strip())
        except ValueError:
            raise ConfigError(
                f"--{name}: expected numbers separated by commas, found {value!r}."
            ) from None
    return value


def _help(program: str, config_type: type, description: str) -> str:
    own = any(field.name == "flagfile" for field in _fields(config_type))
    usage = f"usage: {_program(program)} {'' if own else '[--flagfile=FILE] '}[flags]"
    lines = [description.strip(), "", usage, ""]
    for field, kind in _typed_fields(config_type):
        value = "" if kind is bool else "=" + _value_name(kind, field.metadata["choices"])
        name = f"--[no]{field.name}" if kind is bool else f"--{field.name}{value}"
        notes = _notes(field, kind)
        lines.append(f"  {name}")
        lines += textwrap.wrap(
            field.metadata["help"] + notes, 88, initial_indent=" " * 6, subsequent_indent=" " * 6
        )
    return "\n".join(lines)


def _program(path: str) -> str:
    name = os.path.basename(path).removesuffix(".py")
    in_package = os.path.basename(os.path.dirname(os.path.abspath(path))) == "spleen_tf"
    return f"python -m spleen_tf.{name}" if in_package else f"python tools/{name}.py"


def _value_name(kind: Any, choices: tuple[str, ...]) -> str:
    if choices:
        return "|".join(filter(None, choices))
    if kind in _NUMBERS:
        return _NUMBERS[kind][2]
    return "NUMBER[,NUMBER]" if kind == tuple[float, ...] else "TEXT"


def _notes(field: dataclasses.Field, kind: Any) -> str:
    if field.metadata["required"]:
        return " Required."
    if kind == tuple[str, ...]:
        return " May be repeated."
    if field.default in ("", (), None):
        return ""
    default = (
        ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
    )
    return f" Default: {default}."


def _uncapitalized(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _show_own_warnings_only() -> None:
    def show(message, category, filename, lineno, file=None, line=None):
        if issubclass(category, InputWarning):
            print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)

    warnings.showwarning = show
