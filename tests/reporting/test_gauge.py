"""A volume on the scale of a population: where things lie in the picture, and what it says."""

import re

import pytest

from spleen_tf.quality.reference import Reference
from spleen_tf.reporting import gauge

ADULTS = Reference(population="adults", source="a paper", low_ml=100, high_ml=300, expected_ml=200)
MEN = Reference(population="men", source="a paper", high_ml=300)
CHILDREN = Reference(population="children", source="a paper", expected_ml=90)


def numbers(html, pattern):
    return [float(text) for text in re.search(pattern, html).groups()]


def test_places_by_hand():
    """The axis has 672 of 720 units, from 24 on; 300 mL and 8% need 400 mL in steps of 100."""
    html = gauge.gauge(250, (200, 280), ADULTS)
    assert re.findall(r"<text[^>]*>(.*?)</text>", html) == ["0", "100", "200", "300", "400 mL"]
    assert numbers(html, r'class="band" x="([\d.]+)" y="22" width="([\d.]+)"') == [192, 336]
    assert numbers(html, r'class="volume" cx="([\d.]+)"') == [24 + 672 * 250 / 400]
    assert numbers(html, r'class="interval" d="M([\d.]+) 32V48M[\d.]+ 40H([\d.]+)M') == [
        24 + 672 * 200 / 400,
        24 + 672 * 280 / 400,
    ]
    assert numbers(html, r'class="expected" x1="([\d.]+)"') == [24 + 672 * 200 / 400]


def test_a_range_without_a_lower_bound_begins_at_nothing():
    html = gauge.gauge(250, None, MEN)
    assert numbers(html, r'class="band" x="([\d.]+)" y="22" width="([\d.]+)"') == [24, 504]
    assert "interval" not in html


def test_where_no_range_is_known_there_is_no_band():
    html = gauge.gauge(400, None, CHILDREN)
    assert "band" not in html
    assert "expected" in html


@pytest.mark.parametrize("volume_ml", [0.03, 12, 314.5, 3077, 12_000])
def test_every_volume_lies_on_the_axis(volume_ml):
    html = gauge.gauge(volume_ml, (0.9 * volume_ml, 1.1 * volume_ml), ADULTS)
    (at,) = numbers(html, r'class="volume" cx="([\d.]+)"')
    assert 24 <= at <= 696
    assert 3 <= len(re.findall("<text", html)) <= 7


def test_those_who_do_not_see_it_can_read_it():
    html = gauge.gauge(250, (200, 280), ADULTS)
    text = "250.0 mL, 90% interval 200 to 280 mL; adults: 100.0 to 300.0 mL"
    assert f'aria-label="{text}"' in html
    assert gauge.range_text(MEN) == "up to 300 mL"
    assert gauge.range_text(CHILDREN) == "90 mL expected"
