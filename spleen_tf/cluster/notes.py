"""Notes that workers leave on cases, in a hidden folder of the output, for the end of a job."""

from __future__ import annotations

from typing import TypeVar

from spleen_tf.cluster import storage
from spleen_tf.core import files

Record = TypeVar("Record")
_SUFFIX = ".json"


def write(output: str, folder: str, case: str, record: object) -> None:
    """Leaves a note on a case; a second one takes the place of the first.

    Args:
        output: the folder of the outputs.
        folder: the name of that of the notes in it.
        case: its name.
        record: as `files.write_json` takes it.
    """
    with storage.scratch() as local:
        note = local / "note.json"
        files.write_json(note, record)
        storage.send(note, storage.joined(output, folder, case + _SUFFIX))


def cases(output: str, folder: str) -> set[str]:
    """The cases that have a note."""
    return {name.removesuffix(_SUFFIX) for name in storage.sizes(storage.joined(output, folder))}


def read(output: str, folder: str, kind: type[Record]) -> dict[str, Record]:
    """The notes by case.

    Raises:
        InputError: if one does not hold such a record.
    """
    noted = sorted(cases(output, folder))
    if not noted:
        return {}
    with storage.scratch() as local:
        storage.fetch(storage.joined(output, folder), local / folder)
        return {case: files.read_record(local / folder / (case + _SUFFIX), kind) for case in noted}


def clear(output: str, folder: str) -> None:
    """Removes the notes, if there are any."""
    storage.remove(storage.joined(output, folder))
