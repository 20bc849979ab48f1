"""What --help prints for a configuration."""

from __future__ import annotations

import dataclasses
import os
import textwrap
from typing import Any

from spleen_tf.core import events
from spleen_tf.core.flag_kinds import Kind, kinds

VERBOSITY = "1: also logs, on stderr, the cause of each rejected file."


def text(program: str, config_type: type, description: str) -> str:
    """The description, how to call the program, and every flag with its sentence and default.

    Args:
        program: the path that the program was started by.
        config_type: a dataclass whose fields were made by `flags.flag`.
        description: the docstring of the program's module.
    """
    fields = kinds(config_type)
    own_flagfile = any(field.name == "flagfile" for field, _ in fields)
    usage = f"usage: {_command(program)} {'' if own_flagfile else '[--flagfile=FILE] '}[flags]"
    lines = [description.strip(), "", usage, ""]
    for field, kind in fields:
        lines += _entry(_usage(field, kind), field.metadata["help"] + _notes(field, kind))
    if all(field.name != "verbosity" for field, _ in fields):
        lines += _entry("--verbosity=INTEGER", f"{VERBOSITY} Default: 0.")
    if all(field.name != "log_json" for field, _ in fields):
        lines += _entry("--log_json=TEXT", events.HELP)
    return "\n".join(lines)


def _entry(usage: str, sentence: str) -> list[str]:
    indent = " " * 6
    return [
        f"  {usage}",
        *textwrap.wrap(sentence, 88, initial_indent=indent, subsequent_indent=indent),
    ]


def _command(program: str) -> str:
    name = os.path.basename(program).removesuffix(".py")
    in_package = os.path.basename(os.path.dirname(os.path.abspath(program))) == "spleen_tf"
    return f"python -m spleen_tf.{name}" if in_package else f"python tools/{name}.py"


def _usage(field: dataclasses.Field[Any], kind: Kind) -> str:
    if kind.scalar is bool:
        return f"--[no]{field.name}"
    choices = field.metadata["choices"] or kind.choices
    return f"--{field.name}={'|'.join(filter(None, choices)) or kind.value_name}"


def _notes(field: dataclasses.Field[Any], kind: Kind) -> str:
    if field.metadata["required"]:
        return " Required."
    if kind.is_tuple and not kind.is_number:
        return " May be repeated."
    if field.default in ("", (), None):
        return ""
    return f" Default: {kind.to_text(field.default)}."
