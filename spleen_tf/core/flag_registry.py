"""The flags of a configuration as absl holds them, in a registry of their own."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

from spleen_tf.core import events, files, flag_help
from spleen_tf.core.flag_kinds import kinds

_BYTE_ORDER_MARK = "\ufeff"
_MOST_FLAG_BYTES = 1 << 20


def define(config_type: type) -> flags.FlagValues:
    """The flags of a configuration, and those that every command has.

    Importing two commands never clashes, as it would in the registry that absl shares.
    """
    names = {field.name for field in dataclasses.fields(config_type)}
    has_own_flagfile = "flagfile" in names
    registry: Any = _VerbatimFlagValues if has_own_flagfile else _FlagValues
    values: flags.FlagValues = registry()
    if not has_own_flagfile:
        flags.DEFINE_string("flagfile", "", "Reads flags from a file.", flag_values=values)
    if "verbosity" not in names:
        flags.DEFINE_string("verbosity", "0", flag_help.VERBOSITY, flag_values=values)
    if "log_json" not in names:
        flags.DEFINE_string("log_json", None, events.HELP, flag_values=values)
    for field, kind in kinds(config_type):
        define: Callable[..., Any] = flags.DEFINE_string
        if kind.scalar is bool:
            define = flags.DEFINE_boolean
        elif kind.is_tuple and not kind.is_number:
            define = flags.DEFINE_multi_string
        # Numbers are read as text, so that a complaint is the project's own and not absl's.
        define(field.name, kind.to_text(field.default), field.metadata["help"], flag_values=values)
        if kind.scalar is bool:
            values[field.name].parser = _Boolean()
    return values


class _Boolean(flags.BooleanParser):
    """Complains in the project's words."""

    def parse(self, argument: Any) -> bool:
        try:
            return bool(super().parse(argument))
        except ValueError:
            raise ValueError(f"expected true or false, found {argument!r}") from None


class _FlagValues(flags.FlagValues):
    """Skips the byte order mark that some editors put before the first line of a flag file, and
    reads no file that is none of flags by its size."""

    def _get_flag_file_lines(
        self, filename: str, parsed_file_stack: list[str] | None = None
    ) -> list[str]:
        with contextlib.suppress(OSError):  # absl tells of it.
            files.check_text(filename, _MOST_FLAG_BYTES)
        absl_values: Any = super()
        lines: list[str] = absl_values._get_flag_file_lines(filename, parsed_file_stack)
        return lines

    def read_flags_from_files(self, argv: Sequence[str], force_gnu: bool = True) -> list[str]:
        read = super().read_flags_from_files(argv, force_gnu)
        lines = [text.removeprefix(_BYTE_ORDER_MARK) for text in read]
        return [
            line
            for line, text in zip(lines, read, strict=True)
            if line == text or not line.startswith(("#", "//"))
        ]


class _VerbatimFlagValues(_FlagValues):
    """Leaves a flag file unread, for a command whose own field --flagfile fills."""

    def read_flags_from_files(self, argv: Sequence[str], force_gnu: bool = True) -> list[str]:
        return list(argv)
