"""Pages of HTML that need nothing beside themselves: templates, filled and escaped."""

from __future__ import annotations

import base64
import functools
import importlib.resources
import json
from typing import NamedTuple

import jinja2
import plotly.io
import plotly.offline
from markupsafe import Markup
from plotly.graph_objects import Figure

import spleen_tf

_ASSETS = importlib.resources.files("spleen_tf.reporting") / "assets"


class KeyFigure(NamedTuple):
    """A figure to be seen at a glance; the remark may be empty."""

    name: str
    value: str
    remark: str


class Notice(NamedTuple):
    """What a reader has to see first; the kind, 'alert', 'calm' or '', gives its colours."""

    heading: str
    lines: tuple[str, ...] = ()
    kind: str = ""


def render(template: str, **values: object) -> Markup:
    """Fills a template; text among the values is escaped, and a missing value is an error.

    Args:
        template: the name of a file in the folder templates.
        **values: by the names that the template uses. Markup is taken as it is.
    """
    return Markup(environment().get_template(template).render(values))


@functools.cache
def environment() -> jinja2.Environment:
    """The templates, and what they may call."""
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("spleen_tf.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals |= {
        "asset": asset,
        "plotly_js": lambda: Markup(plotly.offline.get_plotlyjs()),
        "version": spleen_tf.__version__,
    }
    templates.filters |= {
        "base64": lambda content: base64.b64encode(content).decode(),
        "figure": _number,
    }
    return templates


def asset(name: str) -> Markup:
    """A file of the folder assets, as it is."""
    return Markup((_ASSETS / name).read_text(encoding="utf-8"))


def chart(figure: Figure, name: str) -> Markup:
    """An interactive plot.

    Args:
        figure: of plotly.
        name: of the element; one of its kind on a page.
    """
    return Markup(
        plotly.io.to_html(
            figure,
            # Its bar of buttons has one that sends the data to a service of Plotly's.
            config={"responsive": True, "displayModeBar": False, "plotlyServerURL": ""},
            include_plotlyjs=False,
            full_html=False,
            div_id=name,
            default_height="500px",
        )
    )


def script_json(content: object) -> Markup:
    """JSON that can stand in a script element: no text in it can end the element."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))


def _number(value: float | None) -> str:
    """'–' for what is undefined; four digits of a fraction."""
    if value is None or value != value:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
