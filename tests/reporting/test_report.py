"""The reports, as a reader sees them: opened in a browser, without a network."""

import json
import math
import re
import time

import msgspec
import numpy as np
import pytest

from spleen_tf.datasets import fingerprint
from spleen_tf.datasets.survey import CaseSurvey, Measured
from spleen_tf.evaluation import metrics
from spleen_tf.evaluation.agreement import limits_of_agreement
from spleen_tf.evaluation.metrics import CaseMetrics
from spleen_tf.evaluation.summary import summarize
from spleen_tf.imaging.demographics import NOTHING_KNOWN, Demographics
from spleen_tf.imaging.volume import Volume
from spleen_tf.inference.prediction import PredictionRecord
from spleen_tf.io.mesh import Mesh
from spleen_tf.quality import reference
from spleen_tf.quality.measurements import Intensity
from spleen_tf.reporting import charts, exploration, key_figures, report


def made_volume():
    """A body with a bright block on the patient's left, 40 x 30 x 20 voxels of 5 x 5 x 8 mm."""
    array = np.full((40, 30, 20), -100, np.int16)
    array[5:35, 5:25] = 40
    array[6:14, 8:16, 6:14] = 150
    return Volume(array, np.diag([5.0, 5.0, 8.0, 1.0]), "DOE_JANE.nii")


def record_of(**changes):
    values = {
        "volume_ml": 102.4,
        "volume_mm3": 102_400.0,
        "voxels": 512,
        "bounding_box_ijk": ((6, 13), (8, 15), (6, 13)),
        "centroid_ras_mm": (47.5, 57.5, 76.0),
        "complete": True,
        "mean_intensity": 150.0,
        "length_mm": 112.4,
        "width_mm": 86.6,
        "thickness_mm": 41.0,
        "splenic_index_ml": 399.1,
        "intensity": Intensity(mean=150.0, sd=12.0, median=151.0, p5=130.0, p95=170.0),
        "volume_ml_interval": (95.0, 111.0),
        "components": 1,
        "predicted_dice": 0.91,
        "predicted_dice_interval": (0.85, 0.97),
        "predicted_dice_note": None,
        "calibrated_on": "18 CT cases",
        "review": False,
        "reasons": (),
        "model": "a model",
        "image_size": 112,
        "learning_rate": 0.001,
        "version": "1",
        "software": "spleen_tf",
    }
    record = PredictionRecord(**values | changes)
    compared = reference.of(record, NOTHING_KNOWN)
    return msgspec.structs.replace(record, **{"volume_reference": compared} | changes)


def prediction(**changes):
    image = made_volume()
    return report.prediction(
        image, image.array_ijk == 150, record_of(**changes), window=(-160, 240), modality="CT"
    )


def console(browser):
    """What the browser complained of; Plotly's own reading back of pixels is no complaint."""
    return [
        entry["message"]
        for entry in browser.get_log("browser")
        if "willReadFrequently" not in entry["message"] and "GPU stall" not in entry["message"]
    ]


@pytest.fixture
def open_page(browser, tmp_path):
    """A function that opens HTML in the browser and waits until its viewer and charts are there."""

    def open_(html):
        path = tmp_path / "report.html"
        path.write_text(html, encoding="utf-8")
        browser.get_log("browser")
        browser.get(path.as_uri())
        for wanted in ("#viewer[data-ready=yes]", ".plotly-graph-div .main-svg"):
            if wanted.split("[")[0].split(" ")[0].strip("#.") in html:
                wait_for(browser, f"return document.querySelector({json.dumps(wanted)}) !== null")
        return browser

    return open_


def wait_for(browser, script, seconds=60):
    start = time.monotonic()
    while not (found := browser.execute_script(script)):
        assert time.monotonic() - start < seconds, f"never came true: {script}"
        time.sleep(0.1)
    return found


def picture(browser, plane):
    return browser.execute_script(
        f"return document.querySelector('[data-plane={plane}] canvas').toDataURL()"
    )


def set_control(browser, selector, value):
    """Moves a control as a hand would, and waits for the next frame, when it is drawn."""
    browser.execute_async_script(
        "const [selector, value, done] = arguments;"
        "const control = document.querySelector(selector);"
        "if (control.type === 'checkbox') control.checked = value; else control.value = value;"
        "control.dispatchEvent(new Event('input', {bubbles: true}));"
        "requestAnimationFrame(() => requestAnimationFrame(() => done()));",
        selector,
        value,
    )


def amber_pixels(browser, plane):
    """How many pixels of a plane have the outline's colour."""
    return browser.execute_script(
        f"const c = document.querySelector('[data-plane={plane}] canvas');"
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "let n = 0;"
        "for (let i = 0; i < d.length; i += 4)"
        "  if (d[i] > 240 && d[i + 1] > 160 && d[i + 1] < 190 && d[i + 2] < 20) n++;"
        "return n;"
    )


def test_a_prediction_opens_without_a_complaint(open_page):
    browser = open_page(prediction())
    assert console(browser) == []
    words = browser.find_element("tag name", "body").text
    assert "102.4 mL" in words
    assert (
        "90% interval 95 to 111 mL; below what is usual: 107.2 to 314.5 mL in 140 adults" in words
    )
    assert "0.91" in words
    assert "90% interval 0.85 to 0.97; calibrated on 18 CT cases" in words
    for figure in ("11.2 cm", "8.7 × 4.1 cm", "399 mL", "150.0 ± 12.0"):
        assert figure in words


@pytest.mark.slow
def test_a_tab_bears_the_name_that_the_file_has_now(browser, tmp_path):
    path = tmp_path / "case 7 (späte Phase).html"
    path.write_text(prediction(), encoding="utf-8")
    assert path.stem not in path.read_text(encoding="utf-8")
    browser.get(path.as_uri())
    assert browser.title == path.name


@pytest.mark.slow
def test_no_button_sends_anything_anywhere(open_page):
    """Plotly has one that uploads a plot's data to a service of its makers."""
    browser = open_page(prediction())
    wait_for(browser, "return document.querySelector('#surface .main-svg') !== null")
    assert browser.find_elements("css selector", ".modebar-btn") == []


@pytest.mark.slow
def test_the_place_is_told_as_a_voxel_and_in_the_patient(open_page):
    """The block's middle is voxel 9 or 10, 11 or 12, 9 or 10, at 5, 5 and 8 mm a voxel."""
    browser = open_page(prediction())
    place = browser.find_element("css selector", "[data-shows=place]")
    i, j, k = map(int, re.match(r"voxel i, j, k: (\d+), (\d+), (\d+);", place.text).groups())
    assert (i in (9, 10), j in (11, 12), k in (9, 10)) == (True, True, True)
    assert place.text.endswith(f"; R {5 * i}.0, A {5 * j}.0, S {8 * k}.0 mm")
    set_control(browser, "[data-plane=axial] input", "2")
    assert f"voxel i, j, k: {i}, {j}, 2;" in place.text


def test_green_is_for_results_whose_quality_is_estimated():
    assert 'class="notice calm"' in prediction()
    unknown = prediction(predicted_dice=None, predicted_dice_interval=None)
    assert 'class="notice calm"' not in unknown
    assert "the quality is not estimated" in unknown
    note = "calibrated on MR; the interval is not valid for CT"
    elsewhere = prediction(predicted_dice_note=note)
    assert 'class="notice calm"' not in elsewhere
    assert f"<li>{note}</li>" in elsewhere
    assert f"90% interval 0.85 to 0.97; {note}" in elsewhere


@pytest.mark.slow
@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_slider_moves_its_plane(open_page, plane):
    browser = open_page(prediction())
    before = picture(browser, plane)
    set_control(browser, f"[data-plane={plane}] input", "2")
    assert picture(browser, plane) != before
    label = browser.find_element("css selector", f"[data-plane={plane}] output").text
    assert label.startswith("3 of ")
    assert console(browser) == []


@pytest.mark.slow
def test_the_overlay_is_switched_off_and_on(open_page):
    browser = open_page(prediction())
    assert all(amber_pixels(browser, plane) > 100 for plane in ("axial", "coronal", "sagittal"))
    shown = picture(browser, "axial")
    set_control(browser, "[name=overlay]", False)
    assert amber_pixels(browser, "axial") == 0
    set_control(browser, "[name=overlay]", True)
    assert picture(browser, "axial") == shown


@pytest.mark.slow
def test_the_window_changes_the_greys(open_page):
    """At level 40 and width 400 the block of 150 HU has 255 * (150 + 160) / 400 = 198."""
    browser = open_page(prediction())
    set_control(browser, "[name=overlay]", False)
    middle = (
        "const c = document.querySelector('[data-plane=axial] canvas');"
        "return c.getContext('2d').getImageData(c.width * 0.70, c.height * 0.55, 1, 1).data[0];"
    )
    assert abs(browser.execute_script(middle) - 198) <= 3
    set_control(browser, "[name=width]", "220")  # (150 + 70) / 220: white.
    assert browser.execute_script(middle) >= 252
    back = next(b for b in browser.find_elements("tag name", "button") if b.text == "as it was")
    back.click()
    wait_for(browser, "return document.querySelector('[data-shows=width]').value === '400'")
    assert abs(browser.execute_script(middle) - 198) <= 3


@pytest.mark.slow
def test_a_click_takes_the_other_planes_there(open_page):
    browser = open_page(prediction())
    sagittal = browser.find_element("css selector", "[data-plane=sagittal] output")
    before = sagittal.text
    browser.execute_script(
        "const c = document.querySelector('[data-plane=axial] canvas');"
        "const at = c.getBoundingClientRect();"
        "c.dispatchEvent(new MouseEvent('click', {bubbles: true, clientX: at.left + 10,"
        "  clientY: at.top + at.height / 2}));"
    )
    wait_for(
        browser,
        f"return document.querySelector('[data-plane=sagittal] output').value !== "
        f"{json.dumps(before)}",
    )
    assert sagittal.text.startswith(("1 of", "2 of"))


def amber_width(browser, plane):
    """How much of a canvas' width the outline takes."""
    return browser.execute_script(
        f"const c = document.querySelector('[data-plane={plane}] canvas');"
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "let [low, high] = [c.width, 0];"
        "for (let i = 0; i < d.length; i += 4)"
        "  if (d[i] > 240 && d[i + 1] > 160 && d[i + 1] < 190 && d[i + 2] < 20) {"
        "    const x = (i / 4) % c.width; low = Math.min(low, x); high = Math.max(high, x); }"
        "return (high - low) / c.width;"
    )


def send(browser, plane, event):
    """Sends an event to a plane's canvas, and waits until it is drawn."""
    browser.execute_async_script(
        f"const c = document.querySelector('[data-plane={plane}] canvas');"
        "const at = c.getBoundingClientRect();"
        f"c.dispatchEvent({event});"
        "const done = arguments[0];"
        "requestAnimationFrame(() => requestAnimationFrame(() => done()));"
    )


def key(name, **options):
    options = {"key": name, "bubbles": True, **options}
    return f"new KeyboardEvent('keydown', {json.dumps(options)})"


def wheel(delta, **options):
    """Turned above the middle of the block, which an axial slice has at 75% and 60% of its size."""
    options = {"deltaY": delta, "bubbles": True, "cancelable": True, **options}
    place = "clientX: at.left + 0.75 * at.width, clientY: at.top + 0.6 * at.height"
    return f"new WheelEvent('wheel', {{...{json.dumps(options)}, {place}}})"


@pytest.mark.slow
def test_wheel_and_keys_change_the_slice(open_page):
    """A notch is one slice; of a touchpad's steps of 20, the third reaches it."""
    browser = open_page(prediction())
    label = browser.find_element("css selector", "[data-plane=axial] output")
    start = int(label.text.split()[0])
    send(browser, "axial", wheel(100))
    assert label.text == f"{start + 1} of 20"
    for _ in range(3):
        send(browser, "axial", wheel(-20))
    assert label.text == f"{start} of 20"
    places = (("ArrowUp", start + 1), ("ArrowDown", start), ("End", 20), ("PageDown", 10))
    for name, slice_number in places:
        send(browser, "axial", key(name))
        assert label.text == f"{slice_number} of 20"


@pytest.mark.slow
def test_wheel_keys_and_buttons_zoom_and_move(open_page):
    browser = open_page(prediction())
    whole = amber_width(browser, "axial")
    assert whole == pytest.approx(8 / 40, abs=0.02)  # The block has 8 of 40 columns.
    for _ in range(3):
        send(browser, "axial", key("+"))
    assert amber_width(browser, "axial") == pytest.approx(1.25**3 * whole, abs=0.03)
    before = picture(browser, "axial")
    send(browser, "axial", key("ArrowRight", shiftKey=True))
    assert picture(browser, "axial") != before
    send(browser, "axial", key("0"))
    assert amber_width(browser, "axial") == pytest.approx(whole, abs=0.005)
    send(browser, "axial", wheel(-100, ctrlKey=True))
    assert amber_width(browser, "axial") == pytest.approx(math.exp(1 / 3) * whole, abs=0.03)
    box = "[data-plane=axial] "
    browser.find_element("css selector", f"{box}[data-zoom='0']").click()
    browser.find_element("css selector", f"{box}[name=enlarge]").click()
    wide = "return document.querySelector('[data-plane=axial]').getBoundingClientRect().width"
    assert browser.execute_script(wide) > 900
    assert console(browser) == []


@pytest.mark.slow
def test_the_surface_is_drawn(open_page):
    """Its canvas, of WebGL, holds pixels of the surface's red."""
    browser = open_page(prediction())
    wait_for(browser, "return document.querySelector('#surface canvas') !== null")
    found = browser.execute_async_script(
        "const done = arguments[0];"
        "Plotly.toImage('surface', {format: 'png', width: 300, height: 300}).then((url) => {"
        "  const picture = new Image();"
        "  picture.onload = () => {"
        "    const c = document.createElement('canvas'); c.width = c.height = 300;"
        "    const x = c.getContext('2d'); x.drawImage(picture, 0, 0);"
        "    const d = x.getImageData(0, 0, 300, 300).data; let n = 0;"
        "    for (let i = 0; i < d.length; i += 4)"
        "      if (d[i] > 60 && d[i] > 1.6 * d[i + 1] && d[i] > 1.6 * d[i + 2]) n++;"
        "    done(n); };"
        "  picture.src = url; });"
    )
    assert found > 1000
    assert console(browser) == []


@pytest.mark.slow
def test_it_is_readable_on_a_phone(open_page, browser):
    """Nothing is wider than 360 pixels, and no value is cut off."""
    # Chromium's windows are not narrower than 500 pixels.
    phone = {"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    try:
        open_page(prediction())
        widths = browser.execute_script(
            "return ['html', '.pairs .scroll', '.planes', '#surface']"
            ".map((part) => document.querySelector(part))"
            ".map((element) => [element.scrollWidth, element.clientWidth])"
        )
        assert [needed for needed, _ in widths] == [given for _, given in widths]
        assert widths[0][0] == 360
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.slow
def test_warnings_come_first(open_page):
    html = prediction(review=True, reasons=("first reason", "second reason"))
    assert html.index("first reason") < html.index("102.4 mL")
    browser = open_page(html)
    alert = browser.find_element("css selector", "[role=alert]")
    assert "second reason" in alert.text


def test_nothing_of_the_source_is_in_the_page():
    assert "DOE" not in prediction()


def test_an_empty_mask_has_no_surface_and_says_so():
    image = made_volume()
    nothing = record_of(
        volume_ml=0.0,
        volume_mm3=0.0,
        voxels=0,
        complete=None,
        mean_intensity=None,
        intensity=None,
        length_mm=None,
        volume_ml_interval=None,
        bounding_box_ijk=None,
        centroid_ras_mm=None,
        predicted_dice=None,
        predicted_dice_interval=None,
        review=True,
        reasons=("no spleen was found",),
    )
    html = report.prediction(
        image, np.zeros(image.shape, bool), nothing, window=None, modality="MR"
    )
    assert "no spleen was found" in html
    assert 'id="surface"' not in html
    for absent in ("gauge", "Length", "Mean intensity", "90% interval"):
        assert absent not in html.partition("<body>")[2].partition("<script>")[0]


def test_a_clipped_organ_is_told_as_a_lower_bound():
    assert "a lower bound" in prediction(complete=False)
    assert "a lower bound" not in prediction()


@pytest.mark.parametrize(
    ("volume_ml", "place"), [(107.2, "within"), (314.5, "within"), (90.0, "below"), (400, "above")]
)
def test_the_volume_is_held_against_adults(volume_ml, place):
    html = prediction(volume_ml=volume_ml)
    assert f"{place} what is usual: 107.2 to 314.5 mL in 140 adults" in html


def test_the_bounds_of_sex_and_height_are_shown_for_volume_and_length():
    """4.3803 · 180 - 457.15 = 331 mL and 0.0544 · 180 + 3.6693 = 13.5 cm."""
    man = reference.of(record_of(), Demographics(sex="M", height_cm=180.0))
    html = prediction(volume_reference=man)
    assert "within what is usual: up to 331 mL in healthy men of 180 cm" in html
    assert "head to foot; up to 13.5 cm in healthy men of 180 cm" in html
    assert "Chow et al., Radiology 2016" in html


def test_a_child_s_volume_is_shown_beside_what_is_expected():
    """0.7 + 4.6 · 20 = 92.7 mL."""
    child = reference.of(record_of(), Demographics(age_years=6.0, weight_kg=20.0))
    html = prediction(volume_reference=child)
    assert "93 mL expected in children of 20 kg" in html
    assert "Schlesinger" in html


def test_without_an_interval_the_page_says_so():
    assert "the interval is not known" in prediction(volume_ml_interval=None)


def measured(case, dice):
    volumes = {"truth_mm3": 200_000.0, "pred_mm3": 200_000.0 * (dice or 0.1)}
    return CaseMetrics(case, **(dict.fromkeys(metrics.COLUMNS, 0.5) | {"dice": dice} | volumes))


@pytest.mark.slow
def test_an_evaluation_shows_the_worst_first(open_page):
    rows = [measured("good", 0.95), measured("missed", 0.0), measured("fair", 0.8)]
    html = report.evaluation(rows, summarize(rows), {"missed": b"jpeg", "fair": b"jpeg"})
    assert html.index("missed: nothing of the reference was found") < html.index("Summary")
    order = re.findall(r'<td class="words">(\w+)</td>', html)
    assert order == ["missed", "fair", "good"]
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", html)
    assert captions == ["missed: Dice 0.000", "fair: Dice 0.800"]
    browser = open_page(html)
    words = browser.find_element("tag name", "body").text
    assert "0.583" in words  # (0.95 + 0 + 0.8) / 3
    assert "bias" in words


def test_names_of_cases_are_text_and_no_html():
    """In a table, a chart, a caption and a notice; as HTML, each would run."""
    rows = [measured("<script>alert(1)</script>", 0.0), measured("b", 0.9)]
    html = report.evaluation(rows, summarize(rows), {rows[0].case: b"jpeg"})
    assert "<script>alert" not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 4
    # Plotly's own JSON escapes <, too.
    assert html.count("\\u003cscript\\u003ealert(1)\\u003c\\u002fscript\\u003e") >= 2


def test_two_empty_masks_agree_and_are_no_alarm():
    undefined = dict.fromkeys(metrics.COLUMNS, math.nan)
    empty = CaseMetrics("none", **(undefined | {"truth_mm3": 0.0, "pred_mm3": 0.0}))
    rows = [measured("found", 0.9), empty]
    html = report.evaluation(rows, summarize(rows), {})
    assert "without overlap" not in html
    assert "without 1 case, where it is undefined" in html


def test_limits_of_agreement_are_those_of_the_plot():
    agreement = limits_of_agreement([100, 200, 300], [110, 190, 330])
    drawn = charts.bland_altman(agreement, ["a", "b", "c"])
    levels = sorted(shape.y0 for shape in drawn.layout.shapes)
    assert levels == sorted([agreement.bias_ml, *agreement.limits_ml])


def measured_as(**changes):
    values = {"modality": "CT", "shape": "4x4x4", "zooms_mm": "1x1x1", "orientation": "RAS"}
    values |= dict.fromkeys(("bits_per_voxel", "stored_as", "space_unit", "time_unit"), "")
    values |= {"lowest": -100.0, "highest": 200.0, "spleen_slices": 3, "touches_edge": False}
    return Measured(**values | changes)


@pytest.mark.slow
def test_a_data_set_page_names_what_is_odd(open_page):
    profile = fingerprint.CaseProfile("CT", np.eye(4), (64, 64, 64), np.arange(50.0, 150.0), 2e5)
    sample = np.arange(-100.0, 200.0)
    surveys = [
        CaseSurvey("a", measured_as(spleen_mm3=200_000.0), profile, (), sample=sample),
        CaseSurvey(
            "b", measured_as(spleen_mm3=900_000.0), profile, ("large",), outlier=True, sample=sample
        ),
        CaseSurvey("c", None, None, ("damaged",)),
    ]
    proposed = fingerprint.propose([profile], "axial")
    html = exploration.report(surveys, proposed, {"a": b"jpeg"})
    browser = open_page(html)
    assert console(browser) == []
    alert = browser.find_element("css selector", "[role=alert]").text
    assert "2 of 3 cases deserve a look" in alert
    assert "b: large" in alert
    assert "c: damaged" in alert
    marked = browser.find_elements("css selector", "tr.marked")
    assert [row.text.split()[0] for row in marked] == ["b", "c"]


def test_outliers_are_drawn_in_another_colour():
    drawn = charts.volumes(["a", "b"], [300.0, 100.0], [True, False])
    assert list(drawn.data[0].x) == ["b", "a"]
    assert drawn.data[0].marker.color[0] != drawn.data[0].marker.color[1]


def test_a_surface_keeps_its_vertices():
    vertices = np.array([[0, 0, 0], [10.04, 0, 0], [0, 10, 0], [0, 0, 10]], np.float32)
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)
    drawn = charts.surface(Mesh(vertices, faces)).data[0]
    assert list(drawn.x) == [0, 10, 0, 0]
    assert list(drawn.k) == [1, 3, 2, 3]


def test_a_long_organ_fits_into_the_frame_of_its_surface():
    """10 × 20 × 80 mm: the longest side is 1, and the others keep their proportion to it."""
    vertices = np.array([[0, 0, 0], [10, 0, 0], [0, 20, 0], [0, 0, 80]], np.float32)
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)
    scene = charts.surface(Mesh(vertices, faces)).layout.scene
    assert scene.aspectratio.to_plotly_json() == {"x": 0.125, "y": 0.25, "z": 1}
    assert scene.zaxis.range == (0, 80)


@pytest.mark.parametrize(("modality", "mean"), [("CT", "150.0 ± 12.0 HU"), ("MR", "150.0 ± 12.0")])
def test_intensities_of_ct_are_in_hounsfield_units(modality, mean):
    shown = {
        figure.name: figure.value
        for figure in key_figures.of_prediction(record_of(modality=modality))
    }
    assert shown["Mean intensity"] == mean


def test_a_histogram_of_nothing_is_drawn_empty():
    assert not charts.histogram({"whole image": np.zeros(0)}, "intensity").data
