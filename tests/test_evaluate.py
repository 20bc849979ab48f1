"""`python -m spleen_tf.evaluate` on tiny NIfTI files, and the pairing of files."""

import base64
import csv
import io
import json
import math
import re
import subprocess
import sys
import types

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from spleen_tf import evaluate
from spleen_tf.core import files
from spleen_tf.core.files import InputWarning
from spleen_tf.evaluation import metrics, pairing
from spleen_tf.imaging.volume import Volume, VolumeError
from spleen_tf.io import nifti

SHAPE = (6, 5, 4)
AFFINE = np.diag([2.0, 1.0, 5.0, 1.0])  # A voxel has 10 mm³.


def block(i, j, k, value=1):
    """A label map with one box, given as (from, to) along each axis."""
    array_ijk = np.zeros(SHAPE, np.int16)
    array_ijk[slice(*i), slice(*j), slice(*k)] = value
    return array_ijk


SPLEEN = block((1, 3), (1, 3), (1, 3))  # 8 voxels, each on the surface.
HALF = block((1, 2), (1, 3), (1, 3))  # Of these 4; the others lie 2 mm farther along i.
NOTHING = np.zeros(SHAPE, np.int16)


def save(path, array_ijk, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nifti.write(path, Volume(array_ijk, affine, str(path)))
    return path


@pytest.fixture
def two_cases(tmp_path):
    """Case a is right, case b finds half; a data set that holds both."""
    save(tmp_path / "predictions/b.nii.gz", HALF)
    save(tmp_path / "predictions/a.nii.gz", SPLEEN)
    model = {"model": "unet", "image_size": 256, "learning_rate": 0.001}
    for case in "ab":
        save(tmp_path / f"data_set/labelsTr/{case}.nii.gz", SPLEEN)
        files.write_json(tmp_path / f"predictions/{case}.json", model)
    return tmp_path


@pytest.fixture
def run(run_main):
    """The command in this process, with the folder of two_cases unless flags say otherwise."""

    def run_(folder, *arguments):
        given = [
            f"--predictions={folder}/predictions",
            f"--labels={folder}/data_set",
            f"--output_dir={folder}/out",
            *arguments,
        ]
        code, stdout, stderr = run_main(evaluate.main, evaluate.EvaluateConfig, *given)
        return types.SimpleNamespace(returncode=code, stdout=stdout, stderr=stderr)

    return run_


def config(folder, **values):
    return evaluate.EvaluateConfig(
        **{
            "predictions": str(folder / "predictions"),
            "labels": str(folder / "data_set"),
            "output_dir": str(folder / "out"),
        }
        | values
    )


def assert_refused(done, folder, *sentences):
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")
    for sentence in sentences:
        assert sentence in done.stderr
    assert not (folder / "out").exists()


def test_two_cases_from_files_to_results(two_cases, run):
    done = run(two_cases)
    assert (done.returncode, done.stderr) == (0, "")
    table = (
        "| model | image-size | learning rate | dice | jaccard |\n"
        "| --- | --- | --- | --- | --- |\n"
        # Dice 1 and 2·4 / (8 + 4); Jaccard 1 and 4/8.
        "| unet | 256x256 | 0.001 | 0.8333 | 0.7500 |\n"
    )
    means = (
        "| cases | Dice | Jaccard | HD95 (mm) | NSD at 2 mm | volume error (%) | worst Dice |\n"
        "| --- | --- | --- | --- | --- | --- | --- |\n"
        # Of two cases, resampled means reach from one case to the other.
        "| 2 | 0.833 (0.667–1.000) | 0.750 (0.500–1.000) | 1.0 (0.0–2.0) | 1.000 (1.000–1.000) "
        "| 25.0 (0.0–50.0) | 0.667 |\n"
    )
    assert done.stdout == f"{table}\n{means}"
    out = two_cases / "out"
    assert sorted(path.name for path in out.iterdir()) == [
        *("bland_altman.png", "cases.csv", "results.md", "summary.json")
    ]
    page = (out / "results.md").read_text()
    assert page.startswith("# Results\n\n" + table)
    assert page.endswith(
        "| --- | --- | --- | --- | --- |\n"
        "| b | 0.6667 | 2.00 | -0.04 | -50.0 |\n"
        "| a | 1.0000 | 0.00 | 0.00 | 0.0 |\n"
    )
    assert (out / "bland_altman.png").read_bytes().startswith(b"\x89PNG\r\n")
    summary = json.loads((out / "summary.json").read_text())
    assert [*summary] == ["cases", *metrics.COLUMNS]
    assert summary["cases"] == 2
    assert summary["dice"] == {
        "mean": pytest.approx(5 / 6),
        "sd": pytest.approx(math.sqrt(2) / 6),
        "median": pytest.approx(5 / 6),
        "minimum": pytest.approx(2 / 3),
        "maximum": 1.0,
        "ci95": [pytest.approx(2 / 3), 1.0],
        "undefined": 0,
    }
    assert summary["lr_positive"]["mean"] is None
    assert summary["lr_positive"]["undefined"] == 2


def test_a_decision_is_judged_by_cases_in_json_page_and_print(two_cases, run):
    """True volumes are 80 mm³; those predicted 80 (a) and 40 (b). Of c, 40 and 40."""
    save(two_cases / "data_set/labelsTr/c.nii.gz", HALF)
    save(two_cases / "predictions/c.nii.gz", HALF)
    done = run(two_cases, "--decision=splenomegaly", "--threshold_ml=0.05", "--prior=0.2")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads((two_cases / "out/decision.json").read_text())
    counts = ("true_positive", "false_positive", "false_negative", "true_negative")
    assert [found[name] for name in counts] == [1, 0, 1, 1]
    assert found["sensitivity"]["value"] == 1 / 2
    # With 0.5 added: 1.5, 0.5, 1.5, 1.5. LR+ = (1.5/3) / (0.5/2) = 2, LR− = (1.5/3) / (1.5/2).
    assert found["lr_positive"]["value"] == pytest.approx(2)
    assert found["lr_negative"]["value"] == pytest.approx(2 / 3)
    assert found["zero_cell_correction"] == 0.5
    # Prior odds 1/4: posterior odds 1/2 and 1/6.
    assert found["posterior_positive"]["probability"] == pytest.approx(1 / 3)
    assert found["posterior_negative"]["probability"] == pytest.approx(1 / 7)
    section = (
        "splenomegaly: a volume above 0.05 mL. 3 cases. Prior probability 0.200 (--prior).\n\n"
        "|  | truly positive | truly negative |\n"
        "| --- | --- | --- |\n"
        "| called positive | 1 | 0 |\n"
        "| called negative | 1 | 1 |\n\n"
        "| measure | value | 95% interval |\n"
        "| --- | --- | --- |\n"
        "| sensitivity | 0.500 | 0.095–0.905 |\n"
    )
    assert f"\n## Decision\n\n{section}" in (two_cases / "out/results.md").read_text()
    assert section in done.stdout
    assert "| probability after a positive result (odds 0.500) | 0.333 | " in done.stdout
    assert "0.5 is added to all four counts (Haldane–Anscombe)." in done.stdout


def test_a_decision_without_a_diseased_case_is_null_in_json_and_explained(two_cases, run):
    done = run(two_cases, "--decision=splenomegaly")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads((two_cases / "out/decision.json").read_text())
    assert found["threshold_ml"] == 314.5
    assert found["lr_positive"] == {"value": None, "ci95": [None, None]}
    assert found["specificity"]["value"] == 1.0
    assert "| sensitivity | – | – |" in done.stdout
    assert "No case is truly positive: sensitivity, likelihood ratios and post" in done.stdout


def test_without_a_decision_none_is_written_and_none_of_before_stays(two_cases):
    files.make_folder(two_cases / "out")
    (two_cases / "out/decision.json").touch()
    evaluate.main(config(two_cases))
    assert not (two_cases / "out/decision.json").exists()
    assert "Decision" not in (two_cases / "out/results.md").read_text()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--threshold_ml=314",), "--threshold_ml: expected together with --decision"),
        (("--prior=0.1",), "--prior: expected together with --decision"),
        (("--decision=splenomegaly", "--prior=0"), "--prior: expected a probability above 0 and"),
        (("--decision=splenomegaly", "--prior=1"), "below 1, found 1."),
        (("--decision=splenomegaly", "--prior=half"), "--prior: expected a number, found 'half'."),
        (("--decision=splenomegaly", "--threshold_ml=0"), "expected a volume above 0 mL, found 0."),
        (("--decision=splenomegaly", "--threshold_ml=inf"), "above 0 mL, found inf."),
        (("--decision=cirrhosis",), "--decision: expected one of"),
    ],
)
def test_flags_of_a_decision_that_do_not_fit_are_refused(two_cases, flags, sentence, run):
    assert_refused(run(two_cases, *flags), two_cases, sentence)


def pictures_of(page):
    """Case to (H, W, 3) of the pictures in a report, in their order."""
    found = re.findall(r"<figcaption>(\w+): .*?base64,([^\"]*)", page)
    jpegs = {case: io.BytesIO(base64.b64decode(jpeg)) for case, jpeg in found}
    return {case: np.array(Image.open(jpeg), int) for case, jpeg in jpegs.items()}


def amounts(picture_hwc):
    """How many pixels are of the prediction's amber and of the reference's blue."""
    red, _, blue = np.moveaxis(picture_hwc, -1, 0)
    return ((red > blue + 80) & (red > 100)).sum(), ((blue > red + 80) & (blue > 100)).sum()


def test_a_report_shows_the_worst_case_first_with_both_outlines(two_cases, run):
    """Without images, on black; case b misses half, so that blue is left alone there."""
    done = run(two_cases, f"--report={two_cases}/r.html", "--decision=splenomegaly")
    assert (done.returncode, done.stderr) == (0, "")
    page = (two_cases / "r.html").read_text()
    pictures = pictures_of(page)
    assert list(pictures) == ["b", "a"]
    assert all(min(amounts(picture)) > 50 for picture in pictures.values())
    assert amounts(pictures["b"])[1] > amounts(pictures["a"])[1]
    assert "0.833" in page  # The mean of 1 and 2 * 4 / (4 + 8).
    assert "a volume above 314.5 mL" in page


def test_a_report_draws_on_the_images_of_the_data_set_or_on_those_that_are_named(two_cases, run):
    def brightness():
        picture = pictures_of((two_cases / "r.html").read_text())["a"]
        return np.percentile(picture, 75)

    report = f"--report={two_cases}/r.html"
    run(two_cases, report)
    assert brightness() < 10
    bright = np.full(SHAPE, 100, np.int16)
    bright[0] = 0
    for folder in ("elsewhere", "data_set/imagesTr"):
        for case in "ab":
            save(two_cases / folder / f"{case}.nii.gz", bright)
        flags = [f"--images={two_cases}/elsewhere"] if folder == "elsewhere" else []
        assert run(two_cases, report, *flags).returncode == 0
        assert brightness() > 150


@pytest.mark.parametrize("labels", ["", "labelsTr", "labelsTr/a.nii.gz"])
def test_images_are_looked_for_beside_the_labels_whatever_names_these(two_cases, labels):
    save(two_cases / "data_set/imagesTr/a.nii.gz", SPLEEN)
    settings = config(two_cases, report="r.html", labels=str(two_cases / "data_set" / labels))
    assert evaluate._images(settings, ["a"])["a"] == two_cases / "data_set/imagesTr/a.nii.gz"


def test_images_that_nobody_asked_for_refuse_nothing(two_cases):
    (two_cases / "data_set/imagesTr").mkdir()
    (two_cases / "data_set/imagesTr/scan.dcm").touch()
    assert evaluate._images(config(two_cases, report="r.html"), ["a"]) == {}


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--report=r.pdf"], "--report: expected a name that ends in .html, found 'r.pdf'"),
        (["--images=somewhere"], "--images: expected together with --report"),
        (["--report=r.html", "--images=nowhere"], "nowhere: expected an image or a folder"),
    ],
)
def test_flags_of_a_report_that_do_not_fit_are_refused(two_cases, flags, sentence, run):
    assert_refused(run(two_cases, *flags), two_cases, sentence)


def test_images_of_other_cases_are_refused_before_the_work(two_cases, run):
    save(two_cases / "elsewhere/x.nii.gz", SPLEEN)
    done = run(two_cases, "--report=r.html", f"--images={two_cases}/elsewhere")
    assert_refused(done, two_cases, "elsewhere: expected images named like the labels, found none")


def test_cases_csv_holds_the_columns_of_the_contract_in_order(two_cases):
    evaluate.main(config(two_cases))
    with open(two_cases / "out/cases.csv", newline="") as stream:
        header, *rows = csv.reader(stream)
    assert header == [
        *("case", "dice", "jaccard", "sensitivity", "specificity", "precision", "accuracy"),
        *("lr_positive", "lr_negative", "truth_mm3", "pred_mm3", "volume_error_mm3"),
        *("volume_error_percent", "abs_volume_error_percent"),
        *("hd_mm", "hd95_mm", "assd_mm", "nsd_1mm", "nsd_2mm"),
    ]
    assert [row[0] for row in rows] == ["a", "b"]
    assert rows[1][header.index("lr_positive")] == "nan"
    # Distances: from the truth 0 and 2 mm, four times each; from the prediction 0, four times.
    expected = [2 / 3, 1 / 2, 1 / 2, 1, 1, 116 / 120, math.nan, 1 / 2, 80, 40, -40, -50, 50]
    expected += [2, 2, 8 / 12, 8 / 12, 1]
    assert [float(cell) for cell in rows[1][1:]] == pytest.approx(expected, nan_ok=True)


def test_workers_and_a_second_run_change_no_byte(two_cases):
    evaluate.main(config(two_cases, workers=1))
    first = {path.name: path.read_bytes() for path in (two_cases / "out").iterdir()}
    evaluate.main(config(two_cases, workers=3))
    assert {path.name: path.read_bytes() for path in (two_cases / "out").iterdir()} == first


def test_a_label_on_another_grid_is_an_error(two_cases, run):
    save(two_cases / "predictions/b.nii.gz", HALF, np.diag([2.0, 1.0, 4.0, 1.0]))
    assert_refused(
        run(two_cases),
        two_cases,
        "predictions/b.nii.gz: expected the affine of",
        "labelsTr/b.nii.gz",
        "resample",
    )


def test_the_same_grid_with_its_axes_in_another_order_is_no_other_grid(two_cases, run):
    """As a converter of DICOM leaves them: the voxels lie where they were."""
    turned = nib.as_closest_canonical(nib.Nifti1Image(HALF, AFFINE @ np.diag([-1, -1, 1, 1])))
    assert turned.affine[0, 0] > 0  # i and j run the other way in memory, not in the patient.
    expected = nib.Nifti1Image(HALF, AFFINE @ np.diag([-1, -1, 1, 1]))
    nib.save(turned, two_cases / "predictions/b.nii.gz")
    truth = nib.Nifti1Image(SPLEEN, expected.affine)
    nib.save(truth, two_cases / "data_set/labelsTr/b.nii.gz")
    done = run(two_cases, f"--report={two_cases}/r.html")
    assert (done.returncode, done.stderr) == (0, "")
    rows = list(csv.DictReader((two_cases / "out/cases.csv").open()))
    assert float(rows[1]["dice"]) == pytest.approx(2 * 4 / (4 + 8))


def test_a_name_that_is_no_text_is_escaped_in_all_results(two_cases, run):
    name = b"m\xfcller.nii.gz".decode(errors="surrogateescape")
    for folder in ("predictions", "data_set/labelsTr"):
        save(two_cases / folder / name, SPLEEN)
    done = run(two_cases, f"--report={two_cases}/out.html")
    assert (done.returncode, done.stderr) == (0, "")
    for path in ("out/cases.csv", "out/results.md", "out.html"):
        assert r"m\udcfcller" in (two_cases / path).read_text(encoding="utf-8")


def test_a_prediction_without_label_is_an_error(two_cases, run):
    save(two_cases / "predictions/c.nii.gz", HALF)
    assert_refused(
        run(two_cases), two_cases, "predictions/c.nii.gz: expected a label of the same name"
    )


def test_an_output_folder_that_cannot_be_is_an_error(two_cases, run):
    (two_cases / "taken").write_text("a file")
    done = run(two_cases, f"--output_dir={two_cases}/taken/out")
    assert_refused(done, two_cases, "taken/out: expected a folder to write to")


def test_an_unreadable_prediction_is_an_error_that_leaves_earlier_results(two_cases):
    evaluate.main(config(two_cases))
    before = (two_cases / "out/cases.csv").read_bytes()
    whole = (two_cases / "predictions/b.nii.gz").read_bytes()
    (two_cases / "predictions/b.nii.gz").write_bytes(whole[:-9])
    with pytest.raises(VolumeError, match=r"predictions/b.nii.gz: expected a whole gzip stream"):
        evaluate.main(config(two_cases))
    assert (two_cases / "out/cases.csv").read_bytes() == before


def test_help_names_the_flags():
    done = subprocess.run(
        [sys.executable, "-m", "spleen_tf.evaluate", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    for name in ("predictions", "labels", "output_dir", "label_value", "workers"):
        assert f"--{name}=" in done.stdout


def test_tensorflow_is_not_imported():
    script = "import sys, spleen_tf.evaluate; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_a_label_without_the_organ_is_told_and_left_out_of_the_mean(two_cases):
    save(two_cases / "data_set/labelsTr/b.nii.gz", NOTHING)
    save(two_cases / "predictions/b.nii.gz", NOTHING)
    with pytest.warns(InputWarning, match=r"b.nii.gz: expected a label with voxels above 0"):
        evaluate.main(config(two_cases))
    summary = files.read_json(two_cases / "out/summary.json")
    assert (summary["dice"]["mean"], summary["dice"]["undefined"]) == (1.0, 1)
    assert (summary["pred_mm3"]["minimum"], summary["pred_mm3"]["undefined"]) == (0.0, 0)


def test_a_map_of_probabilities_is_not_taken_for_a_mask(two_cases):
    save(two_cases / "predictions/b.nii.gz", SPLEEN.astype(np.float32) * 0.25)
    with pytest.raises(VolumeError, match=r"b.nii.gz: expected whole numbers .* found 0.25"):
        evaluate.main(config(two_cases))
    assert not (two_cases / "out/cases.csv").exists()


@pytest.mark.parametrize("folder", ["predictions", "data_set/labelsTr"])
def test_an_image_is_not_taken_for_a_mask(two_cases, folder):
    """Even one of whole numbers: 1020 different values above 0, where a map of organs has 104."""
    shape, affine = (17, 12, 5), np.eye(4)
    labels = np.arange(1020).reshape(shape) % 105
    for place in ("predictions", "data_set/labelsTr"):
        save(two_cases / f"{place}/b.nii.gz", labels.astype(np.int16), affine)
    evaluate.main(config(two_cases, label_value=1, prediction_value=1))
    image = np.arange(1, 1021, dtype=np.int16).reshape(shape)
    save(two_cases / f"{folder}/b.nii.gz", image, affine)
    with pytest.raises(VolumeError, match=rf"{folder}/b.nii.gz: expected a label, found 1020 diff"):
        evaluate.main(config(two_cases))


def test_a_value_picks_one_organ_of_the_labels_and_of_the_predictions(two_cases):
    liver = block((3, 6), (0, 5), (0, 4), value=6)
    save(two_cases / "data_set/labelsTr/b.nii.gz", SPLEEN + liver)
    pairs = pairing.find_pairs(two_cases / "predictions", two_cases / "data_set")
    every_organ = evaluate.measure(pairs, config(two_cases))
    assert every_organ[1].truth_mm3 == pytest.approx((8 + 60) * 10)
    spleen_only = evaluate.measure(pairs, config(two_cases, label_value=1))
    assert spleen_only[1].dice == pytest.approx(2 / 3)
    save(two_cases / "predictions/b.nii.gz", 3 * HALF + 2 * liver)
    both = evaluate.measure(pairs[1:], config(two_cases, label_value=1, prediction_value=3))
    assert both[0].dice == pytest.approx(2 / 3)
