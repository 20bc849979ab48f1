"""Writes docs/schema: JSON schemas of what predict writes per mask and batch, and of compare.json.

Example:
    python tools/write_schema.py --output_dir=docs/schema
"""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import msgspec

from spleen_tf.comparison.change import Comparison
from spleen_tf.core import files, flags
from spleen_tf.core.flags import flag
from spleen_tf.inference.prediction import PredictionRecord
from spleen_tf.jobs.manifest import Manifest

RECORDS = {"prediction": PredictionRecord, "compare": Comparison, "manifest": Manifest}


@dataclasses.dataclass(frozen=True)
class SchemaConfig:
    """Where to write."""

    output_dir: str = flag("docs/schema", "The folder for the files.")


def main(config: SchemaConfig) -> None:
    """Writes the schemas."""
    folder = files.make_folder(config.output_dir)
    for name, record in RECORDS.items():
        files.write_json(pathlib.Path(folder, f"{name}.json"), schema(record))


def schema(record: type[msgspec.Struct] = PredictionRecord) -> dict[str, Any]:
    """The JSON schema (2020-12) of a record; docs/commands.md describes the keys."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": "made by tools/write_schema.py; docs/commands.md describes the keys",
        **without_docstrings(msgspec.json.schema(record)),
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
