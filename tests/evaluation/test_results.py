"""The files of an evaluation, written from rows drawn by hand."""

import json
import math
import re

import pytest

from spleen_tf.core import files
from spleen_tf.core.files import InputError
from spleen_tf.evaluation import metrics, results, tables
from spleen_tf.evaluation.metrics import CaseMetrics
from spleen_tf.evaluation.summary import summarize

UNET = results.Model("unet", "256x256", "0.001")
OTHER = results.Model("other", "–", "–")


def row(case="a", **values):
    undefined = dict.fromkeys(metrics.COLUMNS, math.nan) | {"volume_error_mm3": 0.0}
    return CaseMetrics(case, **(undefined | values))


def test_table_holds_a_mean_for_each_model_over_its_own_cases():
    rows = [row(dice=0.9, jaccard=0.8), row(dice=0.5, jaccard=0.4), row(dice=0.8, jaccard=0.7)]
    assert results.model_table([UNET, OTHER, UNET], rows) == (
        "| model | image-size | learning rate | dice | jaccard |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| unet | 256x256 | 0.001 | 0.8500 | 0.7500 |\n"
        "| other | – | – | 0.5000 | 0.4000 |"
    )


def test_table_leaves_undefined_dice_out_of_the_mean():
    rows = [row(dice=0.9, jaccard=0.8), row()]
    assert results.model_table([UNET, UNET], rows).endswith("| 0.9000 | 0.8000 |")
    assert results.model_table([UNET], rows[1:]).endswith("| – | – |")


def test_page_names_the_worst_case_first_and_the_undefined_last():
    found = {"hd95_mm": 2.0, "volume_error_mm3": 1500.0, "volume_error_percent": 1.5}
    missed = {"volume_error_mm3": -90000.0, "volume_error_percent": -100.0}
    rows = [
        row("a", dice=0.9, jaccard=0.8, **found),
        row("b"),
        row("c|d", dice=0.0, jaccard=0.0, **missed),
    ]
    page = results.page([UNET] * 3, rows, summarize(rows))
    assert page.split("## Cases, the worst first\n\n")[1] == (
        "| case | dice | hd95 (mm) | volume error (mL) | volume error (%) |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| c\\|d | 0.0000 | – | -90.00 | -100.0 |\n"
        "| a | 0.9000 | 2.00 | 1.50 | 1.5 |\n"
        "| b | – | – | 0.00 | – |\n"
    )
    assert "Means over 3 cases" in page
    assert "bias-corrected and accelerated (BCa) bootstrap over cases (9,999 resamples)." in page
    told = "Dice of 1, Jaccard of 1, HD95 (mm) of 2, NSD at 2 mm of 3, volume error (%) of 3"
    assert f"Left out of a mean, since undefined: {told}." in page


def test_nothing_is_said_of_means_that_know_all_cases():
    whole = dict.fromkeys(tables.HEADLINES, 1.0)
    assert tables.left_out(summarize([row(**whole), row(**whole)])) == ""


def test_means_have_intervals_where_several_cases_give_one():
    rows = [row(dice=0.9, hd95_mm=2.0), row(dice=0.7, hd95_mm=math.nan)]
    header, _, line = tables.means({"2": summarize(rows)}).splitlines()
    assert header == (
        "| cases | Dice | Jaccard | HD95 (mm) | NSD at 2 mm | volume error (%) | worst Dice |"
    )
    dice = r"0\.800 \(0\.7\d\d–0\.9\d\d\)"
    assert re.fullmatch(rf"\| 2 \| {dice} \| – \| 2\.0 \| – \| – \| 0\.700 \|", line)
    one = tables.means({"fused": summarize(rows[:1])}, "plane")
    assert one.endswith("| fused | 0.900 | – | 2.0 | – | – | 0.900 |")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            {"model": "unet", "image_size": 512, "learning_rate": 1e-5, "voxels": 3},
            ("unet", "512x512", "1e-05"),
        ),
        ({"model": ["a", "b"], "image_size": None}, ("a, b", "–", "–")),
        ({"model": "", "image_size": "512x256"}, ("–", "512x256", "–")),
        ([1, 2], ("–", "–", "–")),
    ],
)
def test_model_is_read_from_the_json_beside_the_mask(tmp_path, content, expected):
    files.write_json(tmp_path / "case_1.json", content)
    assert results.model_of(tmp_path / "case_1.nii.gz") == expected
    assert results.model_of(tmp_path / "case_1.nii") == expected


def test_a_mask_without_json_names_no_model(tmp_path):
    assert results.model_of(tmp_path / "case_1.nii.gz") == ("–", "–", "–")


def test_json_that_does_not_parse_is_named(tmp_path):
    (tmp_path / "case_1.json").write_text('{"model": ')
    with pytest.raises(InputError, match=r"case_1.json: expected JSON"):
        results.model_of(tmp_path / "case_1.nii.gz")


def test_cases_keep_all_digits_and_say_nan(tmp_path):
    results.write_cases(tmp_path / "cases.csv", [row("a,b", dice=2 / 3, truth_mm3=10.0)])
    header, line = (tmp_path / "cases.csv").read_text().splitlines()
    assert header == "case," + ",".join(metrics.COLUMNS)
    assert line.startswith('"a,b",0.6666666666666666,nan,')
    assert line.split(",")[header.split(",").index("truth_mm3") + 1] == "10.0"


def test_cases_come_back_from_their_file(tmp_path):
    rows = [row("a,b", dice=2 / 3, truth_mm3=10.0), row("12", dice=1e-5)]
    results.write_cases(tmp_path / "cases.csv", rows)
    read = results.read_cases(tmp_path / "cases.csv")
    assert [(r.case, r.dice) for r in read] == [("a,b", 2 / 3), ("12", 1e-5)]
    assert math.isnan(read[1].truth_mm3)
    # A spreadsheet puts a byte order mark before the first column's name.
    (tmp_path / "cases.csv").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "cases.csv").read_bytes())
    assert [r.case for r in results.read_cases(tmp_path / "cases.csv")] == ["a,b", "12"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "expected what spleen_tf.evaluate wrote, found no such file"),
        ("case,dice\na,0.5\n", "missing required field `jaccard`"),
        (
            "case,dice\na,high\n",
            "expected the columns case, dice, jaccard, sensitivity, …, as sple",
        ),
    ],
)
def test_another_table_is_refused(tmp_path, content, sentence):
    if content is not None:
        (tmp_path / "cases.csv").write_text(content)
    with pytest.raises(InputError, match=rf"cases.csv: .*{sentence}"):
        results.read_cases(tmp_path / "cases.csv")


def test_summary_is_strict_json_with_null_for_undefined(tmp_path):
    rows = [row(dice=0.5)]
    results.write(tmp_path, [UNET], rows, summarize(rows))

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    text = (tmp_path / "summary.json").read_text()
    summary = json.loads(text, parse_constant=refuse)
    assert [*summary] == ["cases", *metrics.COLUMNS]
    assert summary["cases"] == 1
    assert summary["dice"]["mean"] == 0.5
    assert summary["dice"]["ci95"] == [None, None]
    assert summary["hd_mm"]["mean"] is None
    assert summary["hd_mm"]["undefined"] == 1
