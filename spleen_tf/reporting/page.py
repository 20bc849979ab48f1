"""A page of HTML that needs nothing beside itself: its parts, and the whole."""

from __future__ import annotations

import base64
import html
import importlib.resources
import json
from collections.abc import Iterable, Sequence
from typing import Any

import plotly.io
import plotly.offline
from plotly.graph_objects import Figure

_ASSETS = importlib.resources.files("spleen_tf.reporting") / "assets"
_NOT_A_DEVICE = (
    "For research. This is not a medical device; look at the mask before you use the figures."
)
# Of several reports in tabs, each bears the name of its file. The page itself must not hold it: it
# may be a patient's name, and the file may be renamed.
_TAB_NAME = (
    'document.title = decodeURIComponent(location.pathname.split("/").pop()) || document.title;'
)


def page(title: str, sections: Iterable[str], footer: str, scripts: Iterable[str] = ()) -> str:
    """A whole page.

    Args:
        title: text.
        sections: HTML, as the functions below make it.
        footer: text.
        scripts: JavaScript, run in this order when all else is there.
    """
    body = "\n".join(sections)
    plotly_js = f"<script>{plotly.offline.get_plotlyjs()}</script>" if "Plotly." in body else ""
    run = "\n".join(f"<script>{script}</script>" for script in scripts)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<script>{_TAB_NAME}</script>
<link rel="icon" href="data:,">
<style>{asset("page.css")}</style>
{plotly_js}
</head>
<body>
<main>
<h1>{html.escape(title)}</h1>
<p class="soft">{_NOT_A_DEVICE}</p>
{body}
<p class="soft"><small>{html.escape(footer)}</small></p>
</main>
{run}
</body>
</html>
"""


def asset(name: str) -> str:
    """A file of the folder assets, as text."""
    return (_ASSETS / name).read_text(encoding="utf-8")


def section(heading: str, *parts: str) -> str:
    """A part of a page under a heading, of HTML parts."""
    return f"<section>\n<h2>{html.escape(heading)}</h2>\n" + "\n".join(parts) + "\n</section>"


def notice(heading: str, lines: Sequence[str], alert: bool, calm: bool = False) -> str:
    """What a reader has to see first: a heading and lines of text.

    Its colours are those of alarm, or of calm, or, where neither is due, of neither.
    """
    listed = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    kind = "notice alert" if alert else "notice calm" if calm else "notice"
    return (
        f'<section class="{kind}" role="{"alert" if alert else "note"}"><h2>'
        f"{html.escape(heading)}</h2>{f'<ul>{listed}</ul>' if listed else ''}</section>"
    )


def text(words: str) -> str:
    """A paragraph."""
    return f"<p>{html.escape(words)}</p>"


def facts(items: Iterable[tuple[str, str, str]]) -> str:
    """Figures to be seen at a glance: a name, a value and a remark each, which may be empty."""
    cells = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}"
        f"{f'<small>{html.escape(remark)}</small>' if remark else ''}</dd></div>"
        for name, value, remark in items
    )
    return f'<dl class="facts">{cells}</dl>'


def table(
    header: Sequence[str], rows: Sequence[Sequence[Any]], marked: Sequence[bool] | None = None
) -> str:
    """A table of text and numbers; rows that are marked stand out."""
    of_words = [all(isinstance(row[n], str) for row in rows) for n in range(len(header))]
    head = "".join(
        f'<th class="{"words" if words else "number"}">{html.escape(cell)}</th>'
        for cell, words in zip(header, of_words, strict=True)
    )
    marks = marked or [False] * len(rows)
    body = "".join(_row(row, mark) for row, mark in zip(rows, marks, strict=True))
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def pictures(items: Iterable[tuple[bytes, str]], wide: bool = False) -> str:
    """JPEG files with a caption each, side by side or, if wide, one below the other."""
    shown = "".join(
        f"<figure><figcaption>{html.escape(caption)}</figcaption>"
        f'<img class="picture" alt="{html.escape(caption)}" '
        f'src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"></figure>'
        for jpeg, caption in items
    )
    return f'<div class="{"" if wide else "pictures"}">{shown}</div>'


def chart(figure: Figure, name: str) -> str:
    """A plot that answers to the mouse and to fingers.

    Args:
        figure: of plotly.
        name: of the element; one of its kind on a page.
    """
    return plotly.io.to_html(
        figure,
        # Its bar of buttons has one that sends the data to a service of Plotly's.
        config={"responsive": True, "displayModeBar": False, "plotlyServerURL": ""},
        include_plotlyjs=False,
        full_html=False,
        div_id=name,
        default_height="500px",
    )


def script_json(content: Any) -> str:
    """JSON that can stand in a script element: no text in it can end the element."""
    return json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _row(row: Sequence[Any], is_marked: bool) -> str:
    cells = "".join(
        f'<td class="words">{html.escape(cell)}</td>'
        if isinstance(cell, str)
        else f"<td>{html.escape(_number(cell))}</td>"
        for cell in row
    )
    return f'<tr class="marked">{cells}</tr>' if is_marked else f"<tr>{cells}</tr>"


def _number(value: Any) -> str:
    if value is None or value != value:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
