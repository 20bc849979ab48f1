"""Writes docs/schema/prediction.json: the JSON schema of what predict writes beside a mask.

Example:
    python tools/write_schema.py --output=docs/schema/prediction.json
"""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec

from spleen_tf.core import files, flags
from spleen_tf.core.flags import flag
from spleen_tf.inference.prediction import PredictionRecord


@dataclasses.dataclass(frozen=True)
class SchemaConfig:
    """Where to write."""

    output: str = flag("docs/schema/prediction.json", "The file to write.")


def main(config: SchemaConfig) -> None:
    """Writes the schema."""
    files.write_json(config.output, schema())


def schema() -> dict[str, Any]:
    """The JSON schema (2020-12) of PredictionRecord; docs/commands.md describes the keys."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": "made by tools/write_schema.py; docs/commands.md describes the keys",
        **without_docstrings(msgspec.json.schema(PredictionRecord)),
    }


def without_docstrings(node: Any) -> Any:
    """Docstrings are written for readers of the code."""
    if isinstance(node, dict):
        return {
            key: without_docstrings(value)
            for key, value in node.items()
            if not (key == "description" and isinstance(value, str))
        }
    return [without_docstrings(item) for item in node] if isinstance(node, list) else node


if __name__ == "__main__":
    flags.run(main, SchemaConfig)
