"""What a look at a data set finds, case by case, from files to dataset.csv and fingerprint.json."""

import csv
import json
import re

import nibabel as nib
import numpy as np
import pytest

FIRST_ROW = {
    "modality": "CT",
    "shape": "8x6x5",
    "zooms_mm": "2x2x3",
    "orientation": "RAS",
    "bits_per_voxel": "16",
    "stored_as": "int16",
    "space_unit": "mm",
    "time_unit": "sec",
    "lowest": "-1000.0",
    "highest": "90.0",
    "spleen_mm3": "48.0",
    "spleen_slices": "2",
    "touches_edge": "False",
    "outlier": "False",
}


def save(path, array, zooms_mm=(2.0, 2.0, 3.0), time_unit="sec"):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array, np.diag([*zooms_mm, 1.0]))
    image.header.set_xyzt_units("mm", time_unit)
    nib.save(image, path)


def save_case(folder, name, box, label_zooms_mm=(2.0, 2.0, 3.0), number=0):
    image = np.zeros((8, 6, 5), np.int16)
    image[:, :, 0], image[7, 5, 4], image[6, 5, 4] = -1000, 90, number  # No two are the same.
    label = np.zeros((8, 6, 5), np.uint8)
    label[box] = 1
    save(folder / "imagesTr" / f"{name}.nii.gz", image)
    save(folder / "labelsTr" / f"{name}.nii.gz", label, label_zooms_mm)
    return {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}


@pytest.fixture
def data_set(tmp_path):
    """A function that writes a CT data set from names and boxes."""

    def write(**boxes):
        folder = tmp_path / "data"
        entries = [
            save_case(folder, name, box, number=number)
            for number, (name, box) in enumerate(boxes.items())
        ]
        about = {"modality": {"0": "CT"}, "training": entries}
        (folder / "dataset.json").write_text(json.dumps(about))
        return folder

    return write


def explored(run_python, *arguments):
    return run_python("-m", "spleen_tf.explore", *arguments)


def rows(folder):
    with (folder / "dataset.csv").open(newline="") as table:
        return {row["case"]: row for row in csv.DictReader(table)}


def test_a_row_a_case_and_a_fingerprint(data_set, run_python, tmp_path):
    # Two voxels in the left half (small i is left of the middle in RAS), in coronal slices 2, 3.
    folder = data_set(a=np.s_[2:4, 2:4, 1:2])
    done = explored(run_python, f"--dataset={folder}", f"--output_dir={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    row = rows(tmp_path / "out")["a"]
    assert {key: row[key] for key in FIRST_ROW} == FIRST_ROW
    assert row["why"] == ""
    found = json.loads((tmp_path / "out" / "fingerprint.json").read_text())
    wanted = {"modality", "cases", "median_shape", "median_zooms_mm", "spleen_intensity"}
    wanted |= {"spleen_volume_ml", "pixel_mm", "window", "image_size"}
    assert wanted <= found.keys()
    assert found["plane"] == "coronal"


def test_the_report_has_a_picture_of_every_case_and_its_histogram(data_set, run_python, tmp_path):
    """No case name but the data set's own, and nothing of where it lies, is in it."""
    folder = data_set(a=np.s_[2:4, 2:4, 1:2], b=np.s_[2:4, 2:4, 1:3])
    done = explored(run_python, f"--dataset={folder}", f"--output_dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "report.html").read_text()
    assert re.findall(r"<figcaption>(\w+)</figcaption>", page) == ["a", "b"]
    assert page.count("data:image/jpeg;base64,") == 2
    assert "intensity (HU)" in page
    assert "inside the spleen" in page
    assert "Nothing unusual was found" in page
    assert str(tmp_path) not in page


def test_what_is_odd_is_said(data_set, run_python, tmp_path):
    folder = data_set(
        cut=np.s_[0:2, 2:4, 1:2], right=np.s_[6:7, 2:4, 1:2], none=np.s_[0:0], big=np.s_[1:4, 1:5]
    )
    arguments = (f"--dataset={folder}", f"--output_dir={tmp_path}", "--max_volume_mm3=500")
    done = explored(run_python, *arguments)
    assert done.returncode == 0, done.stderr
    why = {name: row["why"] for name, row in rows(tmp_path).items()}
    assert "touches the volume's edge" in why["cut"]
    assert "lies in the right half" in why["right"]
    assert why["none"] == "no spleen in its label"
    assert "720 mm3 is above 500" in why["big"]


def test_a_label_with_a_slice_left_out_is_odd(data_set, run_python, tmp_path):
    folder = data_set(whole=np.s_[2:4, 2:4, 1:4], gap=np.s_[2:4, 2:4, 1:4])
    label = np.zeros((8, 6, 5), np.uint8)
    label[2:4, 2:4, 1:4:2] = 1
    save(folder / "labelsTr" / "gap.nii.gz", label)
    assert explored(run_python, f"--dataset={folder}", f"--output_dir={tmp_path}").returncode == 0
    why = {name: row["why"] for name, row in rows(tmp_path).items()}
    assert why["whole"] == ""
    assert "almost vanishes at k = 2 (counted from 0), between slices with much more" in why["gap"]


def test_a_label_value_that_no_label_has_is_refused(data_set, run_python, tmp_path):
    folder = data_set(a=np.s_[2:4, 2:4, 1:2])
    flags = (f"--dataset={folder}", f"--output_dir={tmp_path}", "--label_value=7")
    done = explored(run_python, *flags)
    assert done.returncode == 2
    assert "--label_value: expected a value of the labels" in done.stderr


def test_a_case_that_cannot_be_read_is_named_and_the_others_go_on(data_set, run_python, tmp_path):
    folder = data_set(good=np.s_[2:4, 2:4, 1:2], off=np.s_[2:4, 2:4, 1:2])
    save_case(folder, "off", np.s_[2:4, 2:4, 1:2], label_zooms_mm=(2.0, 2.0, 4.0))
    done = explored(run_python, f"--dataset={folder}", f"--output_dir={tmp_path}")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "off.nii.gz: expected the affine of" in line
    assert "resample one onto the grid of the other" in rows(tmp_path)["off"]["why"]
    assert rows(tmp_path)["good"]["why"] == ""


def test_units_that_no_standard_knows_are_unknown(data_set, run_python, tmp_path):
    folder = data_set(a=np.s_[2:4, 2:4, 1:2])
    path = folder / "imagesTr" / "a.nii.gz"
    image = nib.load(path)
    image.header["xyzt_units"] = 255
    nib.save(nib.Nifti1Image(image.get_fdata(), None, image.header), path)
    done = explored(run_python, f"--dataset={folder}", f"--output_dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert rows(tmp_path)["a"]["time_unit"] == "unknown"


def test_nothing_that_can_be_read_is_an_error(data_set, run_python, tmp_path):
    folder = data_set(a=np.s_[2:4, 2:4, 1:2])
    (folder / "imagesTr" / "a.nii.gz").unlink()
    done = explored(run_python, f"--dataset={folder}", f"--output_dir={tmp_path}")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: ")


def test_an_mr_among_cts_is_named_with_the_reason(data_set, run_python, tmp_path):
    folder = data_set(ct=np.s_[2:4, 2:4, 1:2], mr=np.s_[2:4, 2:4, 1:2])
    save(folder / "imagesTr" / "mr.nii.gz", np.full((8, 6, 5), 40, np.int16))
    done = explored(run_python, f"--dataset={folder}", f"--output_dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    reason = (
        "modality: the data set says CT, but the image has no air: its darkest voxels are at 40"
    )
    assert f"mr: {reason}, and air is at -1000 HU; is it an MR, or not in Houns" in done.stdout
    assert "ct: " not in done.stdout
    why = {name: row["why"] for name, row in rows(tmp_path).items()}
    assert (why["ct"], why["mr"].startswith(reason)) == ("", True)


def test_an_exploration_needs_no_tensorflow(data_set, run_python, tmp_path):
    folder = data_set(a=np.s_[2:4, 2:4, 1:2])
    code = (
        "import sys; from spleen_tf import explore\n"
        "explore.main(explore.ExploreConfig(dataset=sys.argv[1], output_dir=sys.argv[2]))\n"
        "print('tensorflow' in sys.modules)"
    )
    done = run_python("-c", code, folder, tmp_path / "out")
    assert done.stdout.splitlines()[-1] == "False", done.stderr
