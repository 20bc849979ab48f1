"""The cases of a job that failed: each worker leaves a note, and the job ends with a list."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from spleen_tf.cluster import notes, storage
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
    letter = DeadLetter(case, source, kind + " ".join(str(error).split()))
    notes.write(output, _NOTES, case, letter)


def clear(output: str) -> None:
    """Removes the notes and the list of an earlier run."""
    notes.clear(output, _NOTES)
    storage.remove(storage.joined(output, LIST))


def collect(output: str, source_of: Mapping[str, str]) -> list[DeadLetter]:
    """The failed cases, sorted; where there are any, they are written to LIST.

    Args:
        output: the folder of the outputs.
        source_of: the cases that have no result, each with the place of its volume. A note on
            another is of a first try, of which the second came out well.
    """
    noted = notes.read(output, _NOTES, DeadLetter)
    letters = [
        noted.get(case, DeadLetter(case, source, _LOST))
        for case, source in sorted(source_of.items())
    ]
    if letters:
        with storage.scratch() as folder:
            files.write_csv(folder / LIST, [msgspec.structs.asdict(letter) for letter in letters])
            storage.send(folder / LIST, storage.joined(output, LIST))
    notes.clear(output, _NOTES)
    return letters
