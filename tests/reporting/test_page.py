"""Parts of a page: what is text stays text, and the whole needs nothing beside itself."""

import json
import re

import pytest
from plotly import graph_objects

from spleen_tf.reporting import page

HOSTILE = '</script><img src=x onerror="alert(1)">'


@pytest.mark.parametrize(
    "part",
    [
        page.section(HOSTILE),
        page.notice(HOSTILE, [HOSTILE], alert=True),
        page.text(HOSTILE),
        page.facts([(HOSTILE, HOSTILE, HOSTILE)]),
        page.table([HOSTILE], [[HOSTILE]]),
        page.pictures([(b"", HOSTILE)]),
        page.page(HOSTILE, [], HOSTILE),
    ],
)
def test_text_from_files_is_never_taken_for_html(part):
    assert "onerror" in part
    assert "<img src=x" not in part
    assert 'onerror="' not in part


def test_json_cannot_end_the_script_that_holds_it():
    written = page.script_json({"name": HOSTILE})
    assert "<" not in written
    assert json.loads(written) == {"name": HOSTILE}


def test_numbers_have_four_digits_and_what_is_undefined_a_dash():
    found = page.table(["a", "b", "c", "d"], [[0.123456, 12, float("nan"), None]])
    assert re.findall(r"<td>(.*?)</td>", found) == ["0.1235", "12", "–", "–"]


def test_a_marked_row_stands_out():
    found = page.table(["case"], [["a"], ["b"]], [False, True])
    assert '<tr class="marked"><td class="words">b</td></tr>' in found
    assert '<tr><td class="words">a</td></tr>' in found


def test_a_notice_alarms_only_where_it_should():
    assert 'class="notice alert" role="alert"' in page.notice("h", ["a"], alert=True)
    assert "alert" not in page.notice("h", [], alert=False)


def test_nothing_is_loaded_from_elsewhere():
    chart = page.chart(graph_objects.Figure(), "chart")
    whole = page.page("Title", [chart, page.pictures([(b"jpeg", "a")])], "footer", ["run()"])
    loading = re.findall(r'<(?:script|img|link|iframe)[^>]*?(?:src|href)="([^"]*)"', whole)
    assert loading == ["data:,", "data:image/jpeg;base64,anBlZw=="]
    assert whole.rindex("run()") > whole.index("chart")


def test_the_plotting_library_is_there_only_where_a_chart_is():
    assert len(page.page("Title", [page.text("no chart")], "footer")) < 10_000


def test_the_same_chart_gives_the_same_page():
    one, two = (page.chart(graph_objects.Figure(), "chart") for _ in range(2))
    assert one == two
