"""What is refused of DICOM, in one line that says what to do."""

import os

import dicom_files
import numpy as np
import pydicom
import pytest
from pydicom import config, uid
from pydicom.dataelem import DataElement

from spleen_tf.core.files import InputError
from spleen_tf.io.dicom import series

SECRETS = {
    "PatientName": "DOE^JANE",
    "PatientID": "ID4711",
    "StudyDescription": "STUDYTEXT",
    "InstitutionName": "HOSPITAL",
}


def refused(path, **options):
    """The message of a refusal, which must be one line without anything of the headers."""
    with pytest.raises(InputError) as caught:
        series.read(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    assert not [secret for secret in SECRETS.values() if secret in message]
    return message


def changed_in(wanted_k, **elements):
    """A change of one slice's elements; None removes one."""

    def change(k, dataset):
        for keyword, value in elements.items():
            if k == wanted_k and value is None:
                delattr(dataset, keyword)
            elif k == wanted_k:
                setattr(dataset, keyword, value)

    return change


def moved(offsets_lps_mm):
    """A change of slices' positions by offsets along x, y, z."""

    def change(k, dataset):
        place = [float(x) for x in dataset.ImagePositionPatient]
        offset = offsets_lps_mm.get(k, (0, 0, 0))
        dataset.ImagePositionPatient = [a + b for a, b in zip(place, offset, strict=True)]

    return change


def shorter_in(wanted_k):
    """A change that leaves one slice half of its rows."""

    def change(k, dataset):
        if k == wanted_k:
            dataset.Rows, dataset.PixelData = 3, dataset.PixelData[:48]

    return change


# name: what is changed of a sound series of 5 slices, 5 mm apart from z = 700 mm; what is said.
ODD_SERIES = {
    "two at one position": (
        {"change": moved({2: (0, 0, -5)})},
        r"expected one image at each position, found 2 at 705\.00 mm along .* by ImagePosition",
    ),
    "uneven": (
        {"change": moved({2: (0, 0, 0.2)})},  # 4% of 5 mm, and more than positions are rounded.
        r"expected slices at even distances, found 5\.200 mm "
        r"after the one at 705\.00 mm .*"
        r"5\.000 mm apart",
    ),
    "gantry tilt": (
        {"change": moved({k: (0, 0.5 * k, 0) for k in range(5)})},  # arctan(0.5 / 5) = 5.7°
        r"found a drift of 2\.0 mm, 5\.7 degrees off: a gantry tilt, .* by ImagePosition",
    ),
    "one slice aside": (
        {"change": moved({2: (30, 0, 0)})},
        r"expected slices that follow .* a drift of 30\.0 mm, .* by ImagePositionPatient \(0020",
    ),
    "another size": (
        {"change": shorter_in(2)},
        r"expected images of one size by Rows .* and Columns .*, found 4 of 6x8, 1 of 3x8; keep",
    ),
    "another pixel spacing": (
        {"change": changed_in(2, PixelSpacing=[0.7, 0.9])},
        r"expected images of one PixelSpacing \(0028,0030\), found 1 of 5 that differ",
    ),
    "another orientation": (
        {"change": changed_in(2, ImageOrientationPatient=[1, 0, 0, 0, 0, -1])},
        r"expected images of one ImageOrientationPatient \(0020,0037\), found 1 of 5 that differ",
    ),
    "directions that are not perpendicular": (
        {"ImageOrientationPatient": [1, 0, 0, 0.6, 0.8, 0]},
        r"expected ImageOrientationPatient \(0020,0037\) of two perpendicular .* at 53\.13 degrees",
    ),
    "no position": (
        {"change": changed_in(2, ImagePositionPatient=None)},
        r"IM\d+: expected ImagePositionPatient \(0020,0032\), found none",
    ),
    "no orientation": (
        {"change": changed_in(2, ImageOrientationPatient=None)},
        r"IM\d+: expected ImageOrientationPatient \(0020,0037\), found none",
    ),
    "a position of two numbers": (
        {"change": changed_in(2, ImagePositionPatient=[1, 2])},
        r"IM\d+: expected ImagePositionPatient \(0020,0032\) of 3 finite .*, found '1\.0\\2\.0'",
    ),
    "a pixel spacing of zero": (
        {"PixelSpacing": [0.7, 0]},
        r"IM\d+: expected PixelSpacing \(0028,0030\) above 0, found 0\.7\\0; correct",
    ),
    "a slope of zero": (
        {"RescaleSlope": "0"},
        r"IM\d+: expected RescaleSlope \(0028,1053\) other than 0, found 0; correct",
    ),
    "values beyond float32": (
        {"RescaleSlope": "1e40"},
        r"expected values within float32 by RescaleSlope \(0028,1053\) and .*, found greater ones",
    ),
    "18 of 16 bits": (
        {"BitsStored": 18, "HighBit": 15},
        r"IM\d+: expected BitsStored \(0028,0101\) and HighBit .* within the 16 .*, found 18 and",
    ),
    "no columns": (
        {"change": changed_in(2, Columns=None)},
        r"IM\d+: expected Columns \(0028,0011\), found none",
    ),
    "no rows": (
        {"change": changed_in(2, Rows=None)},
        r"IM\d+: expected Rows \(0028,0010\), found none",
    ),
    "other rows than pixels": (
        {"Rows": 3},
        r"IM\d+: expected 48 bytes of PixelData \(7FE0,0010\) for 1 frame of Rows \(0028,0010\) "
        r"3, Columns \(0028,0011\) 8, BitsAllocated \(0028,0100\) 16, found 96",
    ),
    "bits that are no bytes": (
        {"BitsAllocated": 12},
        r"IM\d+: expected BitsAllocated \(0028,0100\) of 8, 16 or 32, found 12",
    ),
    "a sign that is neither": (
        {"PixelRepresentation": 2},
        r"IM\d+: expected PixelRepresentation \(0028,0103\) of 0 or 1, found 2",
    ),
    "a spacing with decimal commas": (
        {"change": lambda k, dataset: undecoded(dataset, "PixelSpacing", b"0,7\\0,8 ")},
        r"IM\d+: expected PixelSpacing \(0028,0030\) of 2 finite numbers, found '0,7\\0,8'",
    ),
    "text for a position": (
        {"change": lambda k, dataset: undecoded(dataset, "ImagePositionPatient", b"DOE^JANE")},
        r"IM\d+: expected ImagePositionPatient \(0020,0032\) of 3 finite numbers, found something",
    ),
    "colors": (
        {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0},
        r"IM\d+: expected one value per pixel by SamplesPerPixel \(0028,0002\), found 3: colors",
    ),
    "a lookup table": (
        {"ModalityLUTSequence": [pydicom.Dataset()]},
        r"IM\d+: expected RescaleSlope .* and RescaleIntercept .*, found ModalityLUTSequence",
    ),
    "frames without places": (
        {"NumberOfFrames": 2},
        r"IM\d+: expected NumberOfFrames \(0028,0008\) of 1, or PerFrame.*, found 2 frames without",
    ),
    "no pixels": (
        {"change": changed_in(2, PixelData=None)},
        r"IM\d+: expected PixelData \(7FE0,0010\), found the file's end: .* without pixels; copy",
    ),
    "an encoding that nothing reads": (
        {"change": lambda k, dataset: relabel(dataset, uid.MPEG2MPML)},
        r"IM\d+: expected TransferSyntaxUID \(0002,0010\) that can be decoded here, found MPEG2",
    ),
    "an encoding that its pixels are not in": (
        {"change": lambda k, dataset: relabel(dataset, uid.JPEG2000Lossless)},
        r"IM\d+: expected PixelData \(7FE0,0010\) that can be decoded \(JPEG 2000 .*; copy it",
    ),
}


def undecoded(dataset, keyword, value):
    """Puts bytes into an element, which pydicom would not take for its value representation."""
    dataset[keyword] = DataElement(keyword, "LO", value.decode(), validation_mode=config.IGNORE)


def relabel(dataset, syntax):
    dataset.PixelData = pydicom.encaps.encapsulate([dataset.PixelData])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax


@pytest.mark.parametrize("odd", ODD_SERIES)
@pytest.mark.filterwarnings("ignore")  # Of pydicom, which sees them as they are written.
def test_a_series_that_is_no_regular_grid_is_refused(tmp_path, odd):
    elements, message = ODD_SERIES[odd]
    dicom_files.write_series(tmp_path, dicom_files.ramp(), **SECRETS, **elements)
    with pytest.raises(InputError, match=message):
        series.read(tmp_path)
    refused(tmp_path)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ([2], r"found 1 missing at 710\.00 mm along the normal by .*; copy"),
        ([1, 2], r"found 2 missing at 705\.00 mm along the normal by .*; copy"),
        ([1, 4], r"found 1 missing at 705\.00 mm along the normal, and 1 more gap by"),
    ],
)
def test_a_missing_slice_is_told_with_its_position(tmp_path, missing, message):
    paths = dicom_files.write_series(tmp_path, dicom_files.ramp((8, 6, 7)), **SECRETS)
    for k in missing:
        paths[k].unlink()
    with pytest.raises(InputError, match=r"expected a slice every 5 mm, " + message):
        series.read(tmp_path)
    refused(tmp_path)


def test_bits_below_a_value_are_empty(tmp_path):
    """Else HighBit or BitsStored is wrong, and the values would be halved."""
    dicom_files.write_series(tmp_path, dicom_files.ramp(), BitsStored=15, HighBit=15)
    message = r"IM\d+: expected HighBit \(0028,0102\) one below BitsStored \(0028,0101\), or"
    with pytest.raises(InputError, match=message):
        series.read(tmp_path)


def test_jpeg_that_no_decoder_reads_asks_for_another_one(tmp_path):
    def relabelled(k, dataset):
        relabel(dataset, uid.JPEGLosslessSV1)

    dicom_files.write_series(tmp_path, dicom_files.ramp(), change=relabelled)
    message = r"PixelData .* decoded \(JPEG Lossless, .* `pip install spleen_tf\[jpeg\]`"
    with pytest.raises(InputError, match=message):
        series.read(tmp_path)


def test_several_echoes_in_a_series_are_refused(tmp_path):
    for number, name in enumerate(("a", "b")):
        stored = dicom_files.ramp() + np.int16(number)
        dicom_files.write_series(tmp_path / name, stored, modality="MR")
    message = refused(tmp_path)
    assert "found 2 at 700.00 mm along the normal, 10 at 5 positions in all by ImagePos" in message


def test_several_echoes_in_an_enhanced_file_are_refused(tmp_path):
    def on_two_places(dataset):
        for number, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
            group.PlanePositionSequence[0].ImagePositionPatient = [0, 0, number % 2]

    dicom_files.write_enhanced(
        tmp_path / "a.dcm", dicom_files.ramp((8, 6, 4)), change=on_two_places
    )
    assert "found 2 at 0.00 mm along the normal, 4 at 2 positions" in refused(tmp_path)


def test_a_single_slice_is_refused_with_the_hint_to_name_its_folder(tmp_path):
    path = dicom_files.write_series(tmp_path, dicom_files.ramp())[0]
    expected = "expected 2 or more slices of 2 or more rows and columns, found 1 of 6 rows"
    message = refused(path)
    assert expected in message
    assert message.endswith("where each slice is a file, name their folder.")


def test_several_series_are_listed_with_what_to_choose_by(tmp_path):
    second = dicom_files.SERIES_UID + ".2"
    dicom_files.write_series(
        tmp_path / "a", dicom_files.ramp(), SeriesDescription="T2 SPIR", **SECRETS
    )
    dicom_files.write_series(
        tmp_path / "b", dicom_files.ramp((8, 6, 3)), SeriesInstanceUID=second, **SECRETS
    )
    listed = f"{dicom_files.SERIES_UID} (T2 SPIR, 5 images); {second} (no description, 3 images)"
    assert refused(tmp_path) == (
        f"{tmp_path}: expected one series, found 2: {listed}; choose one by --series_uid "
        "(in a table of cases, by the column series_uid)."
    )
    assert refused(tmp_path, series_uid="1.2.3") == (
        f"{tmp_path}: expected the series that --series_uid names, found others: {listed}."
    )


def test_a_folder_without_images_says_what_is_there(tmp_path):
    (tmp_path / "readme.txt").write_text("nothing")
    assert "expected a DICOM series of CT or MR images, found no DICOM file" in refused(tmp_path)
    for path in dicom_files.write_series(tmp_path, dicom_files.ramp()):
        dataset = pydicom.dcmread(path)
        dataset.SOPClassUID = uid.SecondaryCaptureImageStorage
        pydicom.dcmwrite(path, dataset)
    assert "found 5 of Secondary Capture Image Storage" in refused(tmp_path)


def test_a_folder_of_localizers_alone_says_so(tmp_path):
    dicom_files.write_series(
        tmp_path, dicom_files.ramp(), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]
    )
    assert "found 5 localizers (images for planning)" in refused(tmp_path)


def test_a_path_that_is_not_there_is_refused(tmp_path):
    assert "found no DICOM file" in refused(tmp_path / "absent")


@pytest.mark.parametrize("keep", [0, 100, 140, 300, 700, -1, -100])
def test_a_file_that_is_cut_short_is_named(tmp_path, keep):
    """At the first byte, in preamble, meta information, header and pixels."""
    paths = dicom_files.write_series(tmp_path, dicom_files.ramp((64, 32, 5)), **SECRETS)
    cut = paths[2].rename(paths[2].with_suffix(".dcm"))
    cut.write_bytes(cut.read_bytes()[:keep])
    message = refused(tmp_path)
    assert message.startswith(f"{cut}: expected ")


@pytest.mark.parametrize("keep", [-8, -30, -400])
@pytest.mark.parametrize("encoding", dicom_files.ENCODINGS)
def test_compressed_pixels_that_are_cut_short_are_named(tmp_path, encoding, keep):
    """Decoders of JPEG lossless and JPEG-LS fill up what is missing, and say nothing."""
    paths = dicom_files.write_series(
        tmp_path / "scan",
        np.random.default_rng(0).integers(0, 700, (40, 36, 3)).astype(np.int16),
        change=lambda k, dataset: dicom_files.ENCODINGS[encoding](dataset),
    )
    paths[1].write_bytes(paths[1].read_bytes()[:keep])
    with pytest.raises(
        InputError,
        match=r"expected PixelData \(7FE0,0010\) in .* with a mark at its end, found none: the",
    ):
        series.read_geometry(tmp_path / "scan")


@pytest.mark.parametrize("keep", [-40, -2000])
def test_a_multi_frame_file_that_is_cut_short_is_named(tmp_path, keep):
    path = tmp_path / "a.dcm"
    dicom_files.write_enhanced(path, dicom_files.ramp((64, 32, 5)))
    path.write_bytes(path.read_bytes()[:keep])
    assert refused(path).startswith(f"{path}: expected ")


def check_damage(folder, seed):
    """Either the file is refused in one line, or what is damaged does not matter."""
    paths = dicom_files.write_series(folder, dicom_files.ramp(), **SECRETS)
    content = bytearray(paths[2].read_bytes())
    generator = np.random.default_rng(seed)
    for place in generator.integers(132, len(content) - 480, generator.integers(1, 9)):
        content[place] = generator.integers(256)
    paths[2].write_bytes(content)
    try:
        series.read(folder)
    except InputError:
        refused(folder)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(10))
def test_damage_anywhere_in_a_header_never_ends_in_a_traceback(tmp_path, seed):
    check_damage(tmp_path, seed)


@pytest.mark.stress
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(10, 500))
def test_more_damage_anywhere_in_a_header(tmp_path, seed):
    check_damage(tmp_path, seed)


def test_a_length_that_does_not_fit_the_value_is_damage(tmp_path):
    """pydicom has an error of its own for these."""
    path = dicom_files.write_series(tmp_path, dicom_files.ramp())[2]
    content = path.read_bytes()  # FileMetaInformationGroupLength has four bytes.
    broken = content.replace(b"\2\0\0\0UL\4\0", b"\2\0\0\0UL\3\0", 1)
    assert broken != content
    path.write_bytes(broken)
    assert refused(tmp_path).startswith(f"{path}: expected a whole DICOM file")


def test_a_file_that_is_dicom_by_its_name_only_is_named(tmp_path):
    dicom_files.write_series(tmp_path, dicom_files.ramp())
    (tmp_path / "page.dcm").write_text("<html>session expired</html>")
    with pytest.raises(InputError, match=r"page\.dcm: expected a DICOM file by its name, found"):
        series.read(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_slice_that_may_not_be_read_is_named(tmp_path):
    path = dicom_files.write_series(tmp_path, dicom_files.ramp())[4]
    path.chmod(0)
    with pytest.raises(InputError, match=r"expected a readable file, found: Permission denied"):
        series.read(tmp_path)


def test_a_slice_twice_with_different_bytes_is_refused(tmp_path):
    paths = dicom_files.write_series(tmp_path, dicom_files.ramp())
    copy = pydicom.dcmread(paths[1])
    copy.PixelData = bytes(len(copy.PixelData))
    pydicom.dcmwrite(tmp_path / "copy", copy)
    message = refused(tmp_path)
    assert "found 2 at 705.00 mm along the normal, 6 at 5 positions in all" in message


def test_a_folder_that_cannot_be_looked_into_may_hold_another_series(tmp_path, monkeypatch):
    dicom_files.write_series(tmp_path / "a", dicom_files.ramp())
    scandir = os.scandir

    def locked(path):
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    (tmp_path / "b").mkdir()
    monkeypatch.setattr(os, "scandir", locked)
    with pytest.raises(InputError, match="b: expected a readable folder, found: Permission denied"):
        series.read(tmp_path)
