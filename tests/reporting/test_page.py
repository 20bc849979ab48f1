"""Parts of a page: what is text stays text, and the whole needs nothing beside itself."""

import json
import re

import jinja2
import pytest
from plotly import graph_objects

from spleen_tf.reporting import page
from spleen_tf.reporting.page import KeyFigure

HOSTILE = '</script><img src=x onerror="alert(1)">'


@pytest.fixture
def parts():
    """The macros of parts.html."""
    return page.environment().get_template("parts.html").module


def whole_page(**values):
    """A page of an evaluation in which there is next to nothing."""
    nothing = {
        "cases": 0,
        "counted": "0 cases",
        "without_overlap": [],
        "means": [],
        "interval_note": "",
        "charts": {"volumes": "", "scores": ""},
        "pictures": [],
        "decision": None,
        "header": ["case"],
        "rows": [],
    }
    return page.render("evaluation.html", **{**nothing, **values})


def test_text_from_files_is_never_taken_for_html(parts):
    for part in (
        parts.notice(HOSTILE, [HOSTILE], "alert"),
        parts.key_figures([KeyFigure(HOSTILE, HOSTILE, HOSTILE)]),
        parts.table([HOSTILE], [[HOSTILE]]),
        parts.pictures([(b"", HOSTILE)]),
        whole_page(rows=[[HOSTILE]], without_overlap=[HOSTILE], pictures=[(b"", HOSTILE)]),
        whole_page(
            decision=dict.fromkeys(("rule", "notes"), HOSTILE) | {"counts": [], "estimates": []}
        ),
    ):
        assert "onerror" in part
        assert "<img src=x" not in part
        assert 'onerror="' not in part


def test_a_value_that_a_template_lacks_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="'cases' is undefined"):
        page.render("evaluation.html", without_overlap=["a"], charts={})


def test_json_cannot_end_the_script_that_holds_it():
    written = page.script_json({"name": HOSTILE})
    assert "<" not in written
    assert json.loads(written) == {"name": HOSTILE}


def test_numbers_have_four_digits_and_what_is_undefined_a_dash(parts):
    table = parts.table(["a", "b", "c", "d"], [[0.123456, 12, float("nan"), None]])
    assert re.findall(r"<td>(.*?)</td>", table) == ["0.1235", "12", "–", "–"]


def test_columns_of_text_are_headed_at_their_left(parts):
    table = parts.table(["case", "dice", "odd"], [["a", 0.5, "yes"], ["b", None, "no"]])
    assert re.findall(r'<th class="(.*?)">(.*?)</th>', table) == [
        *(("words", "case"), ("number", "dice"), ("words", "odd")),
    ]


def test_a_marked_row_stands_out(parts):
    table = parts.table(["case"], [["a"], ["b"]], [False, True])
    assert '<tr class="marked"><td class="words">b</td></tr>' in table
    assert '<tr><td class="words">a</td></tr>' in table


def test_a_notice_alarms_only_where_it_should(parts):
    assert 'class="notice alert" role="alert"' in parts.notice("h", ["a"], "alert")
    assert 'class="notice" role="note"' in parts.notice("h")


def test_nothing_is_loaded_from_elsewhere():
    chart = page.chart(graph_objects.Figure(), "chart")
    whole = whole_page(charts={"volumes": chart, "scores": ""}, pictures=[(b"jpeg", "a")])
    loading = re.findall(r'<(?:script|img|link|iframe)[^>]*?(?:src|href)="([^"]*)"', whole)
    assert loading == ["data:,", "data:image/jpeg;base64,anBlZw=="]


def test_the_plotting_library_is_there_only_where_a_chart_is():
    assert len(whole_page()) > 1_000_000
    base = page.environment().from_string('{% extends "base.html" %}')
    assert len(base.render()) < 10_000


def test_the_same_chart_gives_the_same_page():
    one, two = (page.chart(graph_objects.Figure(), "chart") for _ in range(2))
    assert one == two
