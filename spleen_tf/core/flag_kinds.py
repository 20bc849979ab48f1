"""The types that a configuration's fields may have, and the text of a flag as such a value."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a field's annotation says.

    Attributes:
        scalar: str, bool, int or float; of each element of a tuple.
        is_tuple: the annotation is tuple[…, ...].
        is_optional: the field may be None, which means that the flag is not set.
        choices: the values of a Literal, else ().
    """

    scalar: type
    is_tuple: bool = False
    is_optional: bool = False
    choices: tuple[str, ...] = ()

    @property
    def is_number(self) -> bool:
        """Whether it holds numbers, one or several."""
        return self.scalar in (int, float)

    @property
    def value_name(self) -> str:
        """What --help shows behind the flag's equals sign."""
        one = {int: "INTEGER", float: "NUMBER"}.get(self.scalar, "TEXT")
        return f"{one}[,{one}]" if self.is_tuple and self.is_number else one

    @property
    def expected(self) -> str:
        """What a message says is expected."""
        if self.is_tuple:
            return f"{'integers' if self.scalar is int else 'numbers'} separated by commas"
        return "an integer" if self.scalar is int else "a number"

    def to_text(self, default: Any) -> Any:
        """A field's default as absl takes it; the inverse of `to_value`."""
        if default is None or self.scalar is bool:
            return default
        if self.is_tuple:
            return ",".join(map(str, default)) if self.is_number else list(default)
        return str(default)

    def to_value(self, text: Any) -> Any:
        """A field's value from what absl gives for its flag.

        An optional flag with nothing behind its equals sign is not set.

        Raises:
            ValueError: if the text is no such number.
        """
        if text is None or self.scalar is bool:
            return text
        if not isinstance(text, str):
            return tuple(text)  # Of a flag that may be repeated.
        if self.is_optional and not text.strip():
            return None
        if self.is_tuple:
            return tuple(self.scalar(part) for part in text.split(",") if part.strip())
        return self.scalar(text)


def kind_of(annotation: Any) -> Kind:
    """The kind of str, bool, int, float, a Literal, tuple[one of them, ...]; of each or None."""
    members = [annotation]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(annotation) if member is not type(None)]
    is_optional = members != [annotation]
    (inner,) = members
    is_tuple = typing.get_origin(inner) is tuple
    if is_tuple:
        inner = typing.get_args(inner)[0]
    if typing.get_origin(inner) is typing.Literal:
        return Kind(str, is_tuple, is_optional, typing.get_args(inner))
    return Kind(inner, is_tuple, is_optional)


def kinds(config_type: type) -> list[tuple[dataclasses.Field[Any], Kind]]:
    """The fields of a configuration, each with its kind."""
    annotations = typing.get_type_hints(config_type)
    return [(field, kind_of(annotations[field.name])) for field in dataclasses.fields(config_type)]
