"""A table of cases whose images are DICOM folders, from the CSV to records and an exploration."""

import csv
import hashlib
import pathlib
import subprocess
import sys

import dicom_files
import nibabel
import numpy as np
import pytest

from spleen_tf.core.files import InputError
from spleen_tf.datasets import cases, metadata
from spleen_tf.imaging.volume import Volume, VolumeError
from spleen_tf.io import nifti

DCM2NIIX = pathlib.Path(sys.executable).with_name("dcm2niix")


def box(shape=(8, 6, 5)):
    """Different on every axis, of 3 · 2 · 2 voxels."""
    label = np.zeros(shape, np.uint8)
    label[2:5, 1:3, 2:4] = 1
    return label


@pytest.fixture
def write_table(tmp_path):
    """A function that writes cases of one DICOM folder each, and the CSV that lists them.

    Each is (modality, number that is added to the ramp of its voxels).
    """

    def write(header="case,image,label", more="", **members):
        lines = [header]
        for name, (modality, offset) in members.items():
            scan = tmp_path / name / "scan"
            dicom_files.write_series(scan, dicom_files.ramp() + offset, modality=modality)
            label = Volume(box(), dicom_files.affine_of(), "label")
            nifti.write(tmp_path / name / "label.nii.gz", label)
            lines.append(f"{name},{name}/scan,{name}/label.nii.gz{more}")
        path = tmp_path / "cases.csv"
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


def test_the_modality_is_that_of_the_header_unless_a_column_or_the_user_says_it(write_table):
    path = write_table(a=("CT", 0), b=("MR", 0))
    assert [case.modality for case in cases.load(path)] == ["CT", "MR"]
    assert [case.modality for case in cases.load(path, "MR")] == ["MR", "MR"]
    path = write_table("case,image,label,modality", ",MR", a=("CT", 0))
    assert [case.modality for case in cases.load(path)] == ["MR"]


def test_an_image_and_its_label_are_read_on_one_grid(write_table):
    (case,) = cases.load(write_table(a=("CT", -300)))
    cases.check_geometry(case)
    image, label = cases.read(case)
    np.testing.assert_array_equal(image.array_ijk, dicom_files.ramp() - 300)
    np.testing.assert_array_equal(label.array_ijk, box())


@pytest.mark.parametrize("plane", dicom_files.PLANES)
def test_a_label_that_was_drawn_on_what_dcm2niix_made_is_turned_back(tmp_path, plane):
    """It stores rows from the last to the first, so that the label's array is turned over."""
    affine = dicom_files.affine_of(plane)
    dicom_files.write_series(tmp_path / "scan", dicom_files.ramp(), affine)
    arguments = ["-z", "n", "-b", "n", "-f", "converted", "-o", tmp_path, tmp_path / "scan"]
    subprocess.run([DCM2NIIX, *arguments], check=True, capture_output=True, timeout=60)
    converted = nibabel.load(tmp_path / "converted.nii")
    inside = np.isin(np.asarray(converted.dataobj), dicom_files.ramp()[box() > 0])
    drawn = nibabel.Nifti1Image(inside.astype(np.uint8), None, converted.header)
    nibabel.save(drawn, tmp_path / "label.nii")
    case = cases.Case("a", str(tmp_path / "scan"), str(tmp_path / "label.nii"), "CT")
    cases.check_geometry(case)
    image, label = cases.read(case)
    np.testing.assert_array_equal(label.array_ijk, box())
    np.testing.assert_allclose(label.affine, image.affine, atol=1e-4)


def test_a_label_on_another_grid_is_refused(tmp_path, write_table):
    (case,) = cases.load(write_table(a=("CT", 0)))
    moved = dicom_files.affine_of(origin_lps_mm=(-90.0, 40.0, 705.0))
    nifti.write(case.label, Volume(box(), moved, "label"))
    for look in (cases.check_geometry, cases.read):
        with pytest.raises(VolumeError, match=r"label\.nii\.gz: expected the affine of .*scan"):
            look(case)


def test_a_column_names_one_of_several_series(tmp_path, write_table):
    second = dicom_files.SERIES_UID + ".2"
    path = write_table("case,image,label,series_uid", f",{second}", a=("CT", 0))
    dicom_files.write_series(
        tmp_path / "a" / "scan" / "other",
        dicom_files.ramp() + 7,
        modality="MR",
        SeriesInstanceUID=second,
    )
    (case,) = cases.load(path)
    assert (case.series_uid, case.modality) == (second, "MR")
    image, _ = cases.read(case)
    np.testing.assert_array_equal(image.array_ijk, dicom_files.ramp() + 7)
    path.write_text(f"case,image,label,modality\na,{tmp_path}/a/scan,a/label.nii.gz,CT\n")
    with pytest.raises(InputError, match=r"found 2: .*by the column series_uid"):
        cases.check_geometry(cases.load(path)[0])


def test_a_folder_without_images_asks_for_the_modality_then_says_so(tmp_path, write_table):
    path = write_table(a=("CT", 0))
    for file in (tmp_path / "a" / "scan").iterdir():
        file.unlink()
    with pytest.raises(InputError, match="expected the modality CT or MR, found nothing"):
        cases.load(path)
    (case,) = cases.load(path, "CT")
    with pytest.raises(InputError, match=r"scan: expected a DICOM series of .*found no DICOM"):
        cases.check_geometry(case)


def test_records_of_dicom_rebuild_its_voxels(tmp_path, write_table, load_tool):
    path = write_table(a=("CT", -300), b=("CT", 0))
    convert, verify = load_tool("make_tfrecords"), load_tool("verify_tfrecords")
    config = {"dataset": str(path), "output_dir": str(tmp_path / "out"), "num_folds": 2}
    convert.main(convert.ConvertConfig(workers=1, **config))
    about = metadata.read_cases(tmp_path / "out")["a"]
    assert (about.modality, about.shape) == ("CT", (8, 6, 5))
    # Of the files' bytes, in the order of slices.
    from_first = sorted((tmp_path / "a" / "scan").iterdir(), key=position)
    expected = hashlib.sha256(b"".join(file.read_bytes() for file in from_first)).hexdigest()
    assert about.source_sha256 == expected
    rebuilt = tmp_path / "rebuilt"
    faults = verify.main(
        verify.VerifyConfig(records=str(tmp_path / "out"), rebuild_dir=str(rebuilt))
    )
    assert not faults
    image = nibabel.load(rebuilt / "a.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj), dicom_files.ramp() - 300)
    np.testing.assert_allclose(image.affine, dicom_files.affine_of(), atol=1e-5)
    label = nibabel.load(rebuilt / "a_label.nii.gz")
    np.testing.assert_array_equal(np.asarray(label.dataobj), box())


def position(path):
    import pydicom

    return float(pydicom.dcmread(path).ImagePositionPatient[2])


def test_an_exploration_tells_how_the_files_store_it(tmp_path, write_table, run_python):
    path = write_table(a=("CT", -300))
    out = tmp_path / "explored"
    done = run_python("-m", "spleen_tf.explore", f"--dataset={path}", f"--output_dir={out}")
    assert done.returncode == 0, done.stderr
    with (out / "dataset.csv").open(newline="") as table:
        (row,) = csv.DictReader(table)
    expected = {
        "modality": "CT",
        "shape": "8x6x5",
        "zooms_mm": "0.8x0.7x5",
        "orientation": "LPS",
        "bits_per_voxel": "16",
        "stored_as": "int16",
        "space_unit": "mm",
        "lowest": "-300.0",
        "highest": "454.0",
        "spleen_mm3": "33.6",  # 12 voxels of 2.8 mm³.
    }
    assert {key: row[key] for key in expected} == expected
