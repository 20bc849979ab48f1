"""DICOM objects against validators that others wrote, and places against a second reader.

`.ci/run` installs dciodvfy (Debian's dicom3tools), and fetches the tables of the standard that
dicom-validator needs.
"""

import shutil
import subprocess

import dicom_files
import highdicom
import numpy as np
import pydicom
import pytest

from spleen_tf.io.dicom import capture, measurements, segmentation, series

FINDINGS = measurements.Findings(
    182.5, (170.0, 200.5), 105.0, 98.0, 40.0, 411.6, ("complete: cut off",)
)
# Schemes of one's own begin with 99; dciodvfy lists those that it knows.
OWN_SCHEME = "Warning - Unrecognized defined term <99SPLEENTF>"
KINDS = ("seg", "sr", "sr_alone", "sc")


@pytest.fixture(scope="session", params=["CT", "enhanced MR", "empty"])
def objects(request, tmp_path_factory):
    """The objects of a prediction, by kind; the series is classic CT, or one enhanced MR file."""
    folder = tmp_path_factory.mktemp("objects")
    if request.param == "enhanced MR":
        dicom_files.write_enhanced(folder / "scan" / "e.dcm", dicom_files.ramp(), modality="MR")
    else:
        dicom_files.write_series(folder / "scan", dicom_files.ramp(), modality="CT")
    image = series.read(folder / "scan")
    mask_ijk = np.zeros(image.shape, bool)
    if request.param != "empty":
        mask_ijk[2:5, 1:3, 1:3] = True
    paths = {kind: folder / f"{kind}.dcm" for kind in KINDS}
    model = ("spleen_ct", "1.2.0")
    seg = segmentation.write(paths["seg"], mask_ijk, image, *model)
    measurements.write(paths["sr"], FINDINGS, image, *model, seg)
    measurements.write(paths["sr_alone"], FINDINGS, image, *model)
    capture.write(paths["sc"], np.zeros((3, 4, 3), np.uint8), image)
    return paths


@pytest.mark.parametrize("kind", KINDS)
def test_dciodvfy_finds_no_error(objects, kind):
    if not (program := shutil.which("dciodvfy")):
        pytest.skip("no dciodvfy on the PATH (Debian: dicom3tools)")
    done = subprocess.run([program, objects[kind]], capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if not line.startswith(OWN_SCHEME)]
    # The first line, and nothing else, is the name of the object's definition.
    assert len(said) == 1, said
    assert said[0] in ("Segmentation", "Comprehensive3DSR", "SCImage")


@pytest.fixture(scope="session")
def standard():
    """The newest tables of the standard that dicom-validator has fetched on this machine."""
    reader = pytest.importorskip("dicom_validator.spec_reader.edition_reader").EditionReader()
    editions = sorted(path.parts[-3] for path in reader.path.glob("*/json/module_info.json"))
    if not editions:
        pytest.skip("no tables of the standard in ~/dicom-validator; .ci/run fetches them")
    return reader.load_dicom_info(editions[-1])


@pytest.mark.parametrize("kind", KINDS)
def test_dicom_validator_finds_no_error(objects, standard, kind):
    from dicom_validator.validator.iod_validator import IODValidator

    result = IODValidator(pydicom.dcmread(objects[kind]), standard).validate()
    assert result.sop_class_uid
    assert result.errors == 0, result.module_errors


NEGATED = {
    # A row runs to the patient's right, a column to the front: both cosines are negated.
    "negated cosines": ((-1, 0, 0), (0, -1, 0)),
    # The patient lies feet first: slices follow one another towards the feet.
    "feet first": ((-1, 0, 0), (0, 1, 0)),
}


PLANES = {**dicom_files.PLANES, **NEGATED}


@pytest.mark.parametrize("plane", PLANES.values(), ids=PLANES)
def test_the_segmentations_centroid_lies_where_the_masks_does(tmp_path, plane):
    """By pydicom's elements alone (PS3.3 C.7.6.2.1.1), and by highdicom's volume.

    The mask is a box and a single voxel, on different sides of every axis.
    """
    affine = dicom_files.affine_of(plane)
    dicom_files.write_series(tmp_path / "scan", dicom_files.ramp(), affine)
    image = series.read(tmp_path / "scan")
    mask_ijk = np.zeros(image.shape, bool)
    mask_ijk[2:5, 1:3, 1:3] = True
    mask_ijk[7, 5, 4] = True
    path = tmp_path / "seg.dcm"
    segmentation.write(path, mask_ijk, image, "spleen_ct", "1.2.0")
    # In LPS: what the files of the series say of the voxels inside.
    inside = np.argwhere(mask_ijk)
    expected = (dicom_files.LPS @ affine @ [*inside.mean(axis=0), 1])[:3]
    np.testing.assert_allclose(centroid_by_elements(pydicom.dcmread(path)), expected, atol=2e-3)
    volume = highdicom.seg.segread(path).get_volume(combine_segments=True)
    theirs = (volume.affine @ [*np.argwhere(volume.array).mean(axis=0), 1])[:3]
    np.testing.assert_allclose(theirs, expected, atol=2e-3)


def centroid_by_elements(seg):
    """The mean place of the pixels inside, in LPS, from position, orientation and spacing."""
    shared = seg.SharedFunctionalGroupsSequence[0]
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    row_mm, column_mm = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    places = []
    for frame, groups in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        position = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        for row, column in np.argwhere(frame):
            along_row = cosines[:3] * column_mm * column
            places.append(position + along_row + cosines[3:] * row_mm * row)
    return np.mean(places, axis=0)
