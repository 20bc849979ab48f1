"""The cases of a job that failed: each worker leaves a note, and the job ends with a list."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from spleen_tf.cluster import storage
from spleen_tf.core import files
from spleen_tf.core.files import InputError

LIST = "dead_letter.csv"
_NOTES = ".dead_letter"
_LOST = "expected a result, found none; run again"


class DeadLetter(msgspec.Struct, frozen=True):
    """A case that failed.

    Attributes:
        case: its name.
        source: the place of its volume.
        error: one line.
    """

    case: str
    source: str
    error: str


def write(output: str, case: str, source: str, error: BaseException) -> None:
    """Leaves a note on a case, below the output folder."""
    kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
    with storage.scratch() as folder:
        note = folder / "note.json"
        files.write_json(note, DeadLetter(case, source, kind + " ".join(str(error).split())))
        storage.send(note, _note(output, case))


def clear(output: str) -> None:
    """Removes the notes and the list of an earlier run."""
    storage.remove(storage.joined(output, _NOTES))
    storage.remove(storage.joined(output, LIST))


def collect(output: str, source_of: Mapping[str, str]) -> list[DeadLetter]:
    """The failed cases, sorted; where there are any, they are written to LIST.

    Args:
        output: the folder of the outputs.
        source_of: the cases that have no result, each with the place of its volume. A note on
            another is of a first try, of which the second came out well.
    """
    notes = storage.joined(output, _NOTES)
    noted = storage.sizes(notes)
    letters = []
    with storage.scratch() as folder:
        for case, source in sorted(source_of.items()):
            if (name := f"{case}.json") in noted:
                storage.fetch(storage.joined(notes, name), folder / name)
                letters.append(files.read_record(folder / name, DeadLetter))
            else:
                letters.append(DeadLetter(case, source, _LOST))
        if letters:
            files.write_csv(folder / LIST, [msgspec.structs.asdict(letter) for letter in letters])
            storage.send(folder / LIST, storage.joined(output, LIST))
    storage.remove(notes)
    return letters


def _note(output: str, case: str) -> str:
    return storage.joined(output, _NOTES, f"{case}.json")
