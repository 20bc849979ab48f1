"""The change of a volume between two examinations, against the error of measurement."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import msgspec

from spleen_tf.comparison import family_error
from spleen_tf.comparison.family_error import FamilyError
from spleen_tf.comparison.timepoints import TimePoint
from spleen_tf.core import files, versions
from spleen_tf.evaluation.agreement import limits_of_change

JSON_NAME, CSV_NAME = "compare.json", "compare.csv"


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """How the earlier image was moved onto the later one.

    Attributes:
        rotation_degrees: the angle of the one turn that the rotation is.
        shift_mm: how far it moves the centre of the later mask.
        dice: of the later mask and the earlier one, moved onto it; None where both are empty.
    """

    rotation_degrees: float
    shift_mm: float
    dice: float | None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One case at two examinations.

    Attributes:
        case: its name.
        before_ml, after_ml: the volumes, each on its own grid.
        before_interval_ml, after_interval_ml: the 90% intervals of the true volumes, as predict
            wrote them; None where it did not.
        change_ml: the later less the earlier volume.
        change_percent: the same, in percent of the earlier one; None where that is empty.
        limits_percent: the 95% limits of agreement, in percent of the earlier volume: a change
            within them is no more than two measurements of an unchanged spleen differ by. None
            where the error of measurement is not known.
        limits_ml: the same in mL.
        beyond_limits: whether the change is beyond them; None where that cannot be said.
        limits_from: where the limits come from, or why there are none.
        before_model, after_model: what made the masks; None where that is not known.
        notes: what a reader should know.
        registration: where the images were registered.
    """

    case: str
    before_ml: float
    after_ml: float
    before_interval_ml: tuple[float, float] | None
    after_interval_ml: tuple[float, float] | None
    change_ml: float
    change_percent: float | None
    limits_percent: tuple[float, float] | None
    limits_ml: tuple[float, float] | None
    beyond_limits: bool | None
    limits_from: str
    before_model: str | None
    after_model: str | None
    notes: tuple[str, ...]
    registration: Registration | None = None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The content of compare.json.

    Attributes:
        changes: one per case.
        beyond_limits: in how many the change is beyond the limits.
        not_judged: in how many that cannot be said.
        software: that made it.
    """

    changes: tuple[Change, ...]
    beyond_limits: int
    not_judged: int
    software: str


def compare(
    case: str,
    before: TimePoint,
    after: TimePoint,
    given_error: FamilyError | None = None,
) -> Change:
    """The change of one case.

    Args:
        case: its name.
        before, after: the two examinations.
        given_error: of what measured both; None: of the released families that their JSON names.
    """
    limits, source = _limits(before, after, given_error)
    change_ml = after.volume_ml - before.volume_ml
    percent = 100 * change_ml / before.volume_ml if before.volume_ml else None
    reason = _why_not_judged(before, after)
    beyond = None
    if limits and percent is not None and not reason:
        beyond = not limits[0] <= percent <= limits[1]
    limits_ml = None
    if limits:
        limits_ml = (limits[0] * before.volume_ml / 100, limits[1] * before.volume_ml / 100)
    return Change(
        case=case,
        before_ml=before.volume_ml,
        after_ml=after.volume_ml,
        before_interval_ml=before.record.volume_ml_interval if before.record else None,
        after_interval_ml=after.record.volume_ml_interval if after.record else None,
        change_ml=change_ml,
        change_percent=percent,
        limits_percent=limits,
        limits_ml=limits_ml,
        beyond_limits=beyond,
        limits_from=source,
        before_model=before.model,
        after_model=after.model,
        notes=(*([reason] if reason else []), *_notes(before, after)),
    )


def summarize(changes: Sequence[Change]) -> Comparison:
    """What compare.json holds of one case or more."""
    return Comparison(
        changes=tuple(changes),
        beyond_limits=sum(change.beyond_limits is True for change in changes),
        not_judged=sum(change.beyond_limits is None for change in changes),
        software=versions.SOFTWARE,
    )


def write(folder: pathlib.Path, comparison: Comparison) -> None:
    """Writes compare.json and compare.csv.

    Raises:
        InputError: if a file cannot be written.
    """
    files.write_json(folder / JSON_NAME, comparison)
    files.write_csv(folder / CSV_NAME, [_row(change) for change in comparison.changes])


def sentence(change: Change) -> str:
    """The change of a case, for a reader."""
    percent = "" if change.change_percent is None else f" ({change.change_percent:+.1f}%)"
    volumes = f"{change.before_ml:.1f} to {change.after_ml:.1f} mL"
    said = "; ".join((verdict(change), *further_notes(change)))
    return f"{change.case}: {volumes}, {change.change_ml:+.1f} mL{percent}; {said}"


def verdict(change: Change) -> str:
    """Whether a change is beyond the limits of agreement, or why that cannot be said."""
    if change.limits_percent is None:
        return f"not judged: {change.limits_from}"
    if change.beyond_limits is None:
        return f"not judged: {change.notes[0]}"
    low, high = change.limits_percent
    place = "beyond" if change.beyond_limits else "within"
    return f"{place} the limits of agreement, {low:+.1f}% to {high:+.1f}% ({change.limits_from})"


def further_notes(change: Change) -> tuple[str, ...]:
    """The notes that `verdict` does not have, such as a review that a result asks for."""
    said = verdict(change)
    return tuple(note for note in change.notes if note not in said)


def _limits(
    before: TimePoint, after: TimePoint, given_error: FamilyError | None
) -> tuple[tuple[float, float] | None, str]:
    """The limits in percent, and where they come from or why there are none."""
    before_error, after_error = (
        family_error.of_record(point.record, given_error) for point in (before, after)
    )
    if before_error and after_error:
        sources = dict.fromkeys((before_error.source, after_error.source))
        return limits_of_change(before_error.error, after_error.error), "; ".join(sources)
    unknown = [
        f"{point.record.model} {point.record.version} on {point.record.modality}"
        if point.record
        else "a mask without JSON"
        for point, error in ((before, before_error), (after, after_error))
        if error is None
    ]
    return None, f"no measurement error is known for {' and '.join(dict.fromkeys(unknown))}"


def _why_not_judged(before: TimePoint, after: TimePoint) -> str | None:
    for name, point in (("earlier", before), ("later", after)):
        if not point.volume_ml:
            return f"the {name} mask is empty"
        if point.complete is False:
            return f"the {name} volume is a lower bound: the mask touches the edge of its image"
    return None


def _notes(before: TimePoint, after: TimePoint) -> list[str]:
    notes = []
    for name, point in (("earlier", before), ("later", after)):
        if point.is_edited:
            notes.append(f"the {name} mask is not the one that the JSON beside it describes")
        if point.record and point.record.review:
            notes.append(f"the {name} result asks for a review: {'; '.join(point.record.reasons)}")
    return notes


def _row(change: Change) -> dict[str, object]:
    """A row of compare.csv; what is not known stays empty."""
    row = msgspec.structs.asdict(change)
    for name in ("before_interval_ml", "after_interval_ml", "limits_percent", "limits_ml"):
        low, high = row.pop(name) or (None, None)
        row |= {f"{name}_low": low, f"{name}_high": high}
    registration = row.pop("registration")
    row["notes"] = "; ".join(change.notes)
    return row | (msgspec.structs.asdict(registration) if registration else {})
