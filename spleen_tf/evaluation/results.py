"""The files of an evaluation: cases.csv, summary.json, results.md and decision.json."""

from __future__ import annotations

import math
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from spleen_tf.core import files
from spleen_tf.evaluation import metrics
from spleen_tf.io import nifti

_ABSENT = "–"
# What is told of an evaluation at a glance: titles and digits.
HEADLINES = {
    "dice": ("Dice", 3),
    "jaccard": ("Jaccard", 3),
    "hd95_mm": ("HD95 (mm)", 1),
    "nsd_2mm": ("NSD at 2 mm", 3),
    "abs_volume_error_percent": ("volume error (%)", 1),
}
# Of a decision: their titles and digits.
_ESTIMATES = {
    "sensitivity": ("sensitivity", 3),
    "specificity": ("specificity", 3),
    "accuracy": ("accuracy", 3),
    "ppv": ("positive predictive value, at the prevalence of these cases", 3),
    "npv": ("negative predictive value, at the prevalence of these cases", 3),
    "lr_positive": ("likelihood ratio of a positive result, LR+", 2),
    "lr_negative": ("likelihood ratio of a negative result, LR−", 3),
}


class Model(NamedTuple):
    """What made a prediction, as its CASE.json tells it; cells of the table of results."""

    name: str
    image_size: str
    learning_rate: str


def model_of(prediction: pathlib.Path) -> Model:
    """Reads what CASE.json beside CASE.nii.gz says of the model; '–' where it says nothing.

    Raises:
        InputError: if the file is there but is not JSON.
    """
    path = prediction.with_name(nifti.stem(prediction) + ".json")
    content = files.read_json(path) if path.is_file() else {}
    if not isinstance(content, dict):
        content = {}
    size = content.get("image_size")
    return Model(
        _cell(content.get("model")),
        f"{size}x{size}" if isinstance(size, int) else _cell(size),
        _cell(content.get("learning_rate")),
    )


def write(
    folder: pathlib.Path,
    cases: Sequence[str],
    models: Sequence[Model],
    rows: Sequence[Mapping[str, float]],
    summary: Mapping[str, Any],
    decision: Mapping[str, Any] | None = None,
) -> None:
    """Writes cases.csv, summary.json and results.md, and decision.json where there is one.

    Args:
        folder: it exists.
        cases: (N,) their names.
        models: (N,) what made each prediction.
        rows: (N,) what `metrics.case` returned for each.
        summary: what `metrics.summary` returned for all of them.
        decision: what `decision.assess` returned.

    Raises:
        InputError: if a file cannot be written.
    """
    write_cases(folder / "cases.csv", cases, rows)
    files.write_json(folder / "summary.json", _strict({"cases": len(cases), **summary}))
    text = page(cases, models, rows, summary)
    if decision:
        files.write_json(folder / "decision.json", _strict(dict(decision)))
        text += f"\n## Decision\n\n{decision_section(decision)}\n"
    else:  # An earlier one would be taken for these cases'.
        (folder / "decision.json").unlink(missing_ok=True)
    files.write_text(folder / "results.md", text)


def write_cases(
    path: str | os.PathLike, cases: Sequence[str], rows: Sequence[Mapping[str, float]]
) -> None:
    """Writes a row a case, with all digits, and `nan` where a measure is undefined."""
    named = zip(cases, rows, strict=True)
    files.write_csv(
        path, [{"case": c, **{name: row[name] for name in metrics.COLUMNS}} for c, row in named]
    )


def table(models: Sequence[Model], rows: Sequence[Mapping[str, float]]) -> str:
    """The table of results in Markdown: for each model the mean over its cases."""
    lines = []
    for model in dict.fromkeys(models):
        of_model = [row for row, its in zip(rows, models, strict=True) if its == model]
        means = (_mean([row[column] for row in of_model]) for column in ("dice", "jaccard"))
        lines.append([*model, *(_number(mean, 4) for mean in means)])
    return _markdown(["model", "image-size", "learning rate", "dice", "jaccard"], lines)


def means_table(summaries: Mapping[str, Mapping[str, Any]], of: str = "cases") -> str:
    """Means in Markdown, each with its 95% interval where more than one case gives one.

    Args:
        summaries: what `metrics.summary` returned or summary.json holds, by what stands in the
            first column.
        of: the title of that column.
    """
    header = [of, *(title for title, _ in HEADLINES.values()), "worst Dice"]
    lines = []
    for name, summary in summaries.items():
        cells = [
            f"{_number(told['mean'], digits)} {in_brackets(told['ci95'], digits)}".rstrip()
            for column, (_, digits) in HEADLINES.items()
            for told in [summary[column]]
        ]
        lines.append([name, *cells, _number(summary["dice"]["minimum"], 3)])
    return _markdown(header, lines)


def page(
    cases: Sequence[str],
    models: Sequence[Model],
    rows: Sequence[Mapping[str, float]],
    summary: Mapping[str, Any],
) -> str:
    """results.md: the table of results, the means, then the cases, the worst Dice first.

    A case that is empty in truth and prediction has no Dice; it comes last.
    """
    in_order = sorted(
        zip(cases, rows, strict=True),
        key=lambda item: (math.isnan(item[1]["dice"]), item[1]["dice"], item[0]),
    )
    lines = [
        [
            _cell(case),
            _number(row["dice"], 4),
            _number(row["hd95_mm"], 2),
            _number(row["volume_error_mm3"] / 1000, 2),
            _number(row["volume_error_percent"], 1),
        ]
        for case, row in in_order
    ]
    header = ["case", "dice", "hd95 (mm)", "volume error (mL)", "volume error (%)"]
    note = (
        f"Means over {counted(len(rows))}, each measured over its whole volume on its own grid; in "
        f"brackets the bootstrapped 95% interval of the mean. {left_out(summary)}"
    ).rstrip()
    means = means_table({str(len(rows)): summary})
    parts = ["# Results", table(models, rows), means, note, "## Cases, the worst first"]
    return "\n\n".join([*parts, _markdown(header, lines)]) + "\n"


def left_out(summary: Mapping[str, Any]) -> str:
    """In words, of how many cases each mean knows nothing; '' where all are in all.

    The distance to an empty mask is undefined, and so is the Dice of two: cases in which nothing is
    found would better a mean distance in silence.
    """
    lacking = [
        f"{title} of {summary[column]['undefined']}"
        for column, (title, _) in HEADLINES.items()
        if summary[column]["undefined"]
    ]
    return f"Left out of a mean, since undefined: {', '.join(lacking)}." if lacking else ""


def decision_section(decision: Mapping[str, Any]) -> str:
    """What `decision.assess` returned, in Markdown: the rule, the counts, the estimates, notes."""
    counts = decision_counts(decision)
    return "\n\n".join(
        [
            decision_rule(decision),
            _markdown(["", "truly positive", "truly negative"], [map(str, row) for row in counts]),
            _markdown(["measure", "value", "95% interval"], decision_rows(decision)),
            *decision["notes"],
        ]
    )


def decision_rule(decision: Mapping[str, Any]) -> str:
    """A sentence on what was decided, of how many cases, with what prior."""
    prior = f"Prior probability {_number(decision['prior'], 3)} ({decision['prior_source']})."
    return (
        f"{decision['decision']}: a volume above {decision['threshold_ml']:g} mL. "
        f"{counted(decision['cases'])}. {prior}"
    )


def decision_counts(decision: Mapping[str, Any]) -> list[list[Any]]:
    """The counts of cases: a row a call, a column a truth."""
    return [
        ["called positive", decision["true_positive"], decision["false_positive"]],
        ["called negative", decision["false_negative"], decision["true_negative"]],
    ]


def decision_rows(decision: Mapping[str, Any]) -> list[list[str]]:
    """Each estimate as its title, its value and its 95% interval."""
    rows = [
        [title, _number(decision[name]["value"], digits), _interval(decision[name]["ci95"], digits)]
        for name, (title, digits) in _ESTIMATES.items()
    ]
    for result in ("positive", "negative"):
        after = decision[f"posterior_{result}"]
        title = f"probability after a {result} result (odds {_number(after['odds'], 3)})"
        rows.append([title, _number(after["probability"], 3), _interval(after["ci95"], 3)])
    return rows


def counted(cases: int) -> str:
    """'1 case', '14 cases'."""
    return f"{cases} case{'s' * (cases != 1)}"


def in_brackets(ci95: Sequence[float | None], digits: int) -> str:
    """(low–high) of an interval; '' where too few cases leave it undefined."""
    interval = _interval(ci95, digits)
    return "" if interval == _ABSENT else f"({interval})"


def _interval(ci95: Sequence[float | None], digits: int) -> str:
    low, high = (_number(value, digits) for value in ci95)
    return _ABSENT if low == high == _ABSENT else f"{low}–{high}"


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return math.fsum(defined) / len(defined) if defined else math.nan


def _number(value: float | None, digits: int) -> str:
    """'–' for what is undefined: NaN as measured, None as read from JSON."""
    return _ABSENT if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _cell(value: Any) -> str:
    """Text that fits a cell of a Markdown table; a list is spelt out, None is '–'."""
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    text = " ".join(str(value).split()).replace("|", "\\|") if value is not None else ""
    return text or _ABSENT


def _markdown(header: Sequence[str], lines: Iterable[Iterable[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _strict(content: Any) -> Any:
    """NaN, which strict JSON does not know, becomes None."""
    if isinstance(content, dict):
        return {key: _strict(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_strict(value) for value in content]
    return None if isinstance(content, float) and math.isnan(content) else content
