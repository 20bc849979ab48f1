"""A miniature of the CHAOS training set, converted."""

import pathlib

import dicom_files
import numpy as np
import pytest
from PIL import Image

from spleen_tf.datasets import cases
from spleen_tf.io import nifti

SHAPE = (8, 6, 5)


@pytest.fixture
def tool(load_tool):
    return load_tool("convert_chaos")


@pytest.fixture
def convert(tool, run_main):
    def run(*flags):
        return run_main(tool.main, tool.ChaosConfig, *flags)

    return run


def organs(seed):
    """Grey values (I, J, K) as the challenge has them: background, liver, kidneys and spleen."""
    return np.random.default_rng(seed).choice(np.uint8([0, 63, 126, 189, 240, 252, 255]), SHAPE)


def write_subject(chaos, number, greys_ijk):
    """MR/NUMBER/T2SPIR; the images are a ramp."""
    folder = chaos / "MR" / str(number) / "T2SPIR"
    paths = dicom_files.write_series(folder / "DICOM_anon", dicom_files.ramp(SHAPE), modality="MR")
    (folder / "Ground").mkdir()
    for k, path in enumerate(paths):
        path = pathlib.Path(path)
        path.rename(path.with_name(f"IMG-0004-0000{9 - k}.dcm"))
        Image.fromarray(greys_ijk[..., k].T).save(folder / "Ground" / f"IMG-0004-0000{9 - k}.png")
    return folder


def test_subjects_become_a_data_set_on_the_grid_of_their_dicom(tmp_path, convert):
    for number in (1, 13):
        write_subject(tmp_path / "chaos", number, organs(number))
    code, printed, error = convert(
        f"--chaos={tmp_path / 'chaos'}", f"--output_dir={tmp_path / 'out'}"
    )
    assert (code, error) == (0, "")
    assert printed.strip().endswith("2 subjects")
    listed = cases.load(tmp_path / "out")
    assert [(case.name, case.modality) for case in listed] == [
        ("chaos_t2_01", "MR"),
        ("chaos_t2_13", "MR"),
    ]
    for case, number in zip(listed, (1, 13), strict=True):
        image, label = cases.read(case)
        np.testing.assert_array_equal(image.array_ijk, dicom_files.ramp(SHAPE))
        np.testing.assert_allclose(image.affine, dicom_files.affine_of(), atol=1e-4)
        np.testing.assert_array_equal(label.array_ijk, organs(number) >= 240)
        assert nifti.read(case.label).header.get_data_dtype() == np.uint8


def test_subjects_can_be_chosen_and_those_without_labels_are_left_out(tmp_path, convert):
    for number in (2, 3, 5):
        folder = write_subject(tmp_path / "chaos", number, organs(number))
        if number == 5:  # As in the challenge's test set.
            (folder / "Ground").rename(folder / "elsewhere")
    flags = (f"--chaos={tmp_path}", f"--output_dir={tmp_path / 'out'}")
    code, _, error = convert(*flags, "--subjects=5")
    assert code == 2
    assert "--subjects: expected some of 2, 3, found '5'" in error
    assert convert(*flags, "--subjects= 3 ,")[0] == 0
    assert [case.name for case in cases.load(tmp_path / "out")] == ["chaos_t2_03"]


def damage_later_chunks(path):
    noise = np.random.default_rng(0).integers(0, 256, (400, 400), np.uint8)
    Image.fromarray(noise).save(path)
    content = bytearray(path.read_bytes())
    second = content.index(b"IDAT", content.index(b"IDAT") + 4)
    content[second - 4 : second + 4] = bytes(8)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda path: path.unlink(), "found none that can be read (No such file"),
        (lambda path: path.write_bytes(b"no picture"), "found none that can be read (cannot"),
        (lambda path: Image.new("L", (8, 7)).save(path), "found an array of (7, 8) (mode L)"),
        (damage_later_chunks, "found none that can be read (broken PNG"),
        (lambda path: Image.new("P", (8, 6)).save(path), "found an array of (6, 8) (mode P)"),
        (
            lambda path: Image.new("RGB", (8, 6)).save(path),
            "found an array of (6, 8, 3) (mode RGB)",
        ),
        (lambda path: Image.new("I;16", (8, 6)).save(path), "found an array of (6, 8) (mode I;16)"),
    ],
)
def test_a_wrong_png_is_named(tmp_path, convert, change, found):
    folder = write_subject(tmp_path / "chaos", 1, organs(1))
    png = min((folder / "Ground").iterdir())
    change(png)
    code, _, error = convert(f"--chaos={tmp_path}", f"--output_dir={tmp_path / 'out'}")
    assert code == 2
    assert png.name in error
    assert found in error
    assert not (tmp_path / "out" / "dataset.json").exists()


def test_a_png_without_its_dicom_is_named(tmp_path, convert):
    folder = write_subject(tmp_path / "chaos", 1, organs(1))
    (folder / "DICOM_anon" / "IMG-0004-00005.dcm").unlink()  # The last slice.
    code, _, error = convert(f"--chaos={tmp_path}", f"--output_dir={tmp_path / 'out'}")
    assert code == 2
    assert "IMG-0004-00005.png: expected DICOM_anon/IMG-0004-00005.dcm for it, found none" in error


def test_a_subject_without_spleen_is_refused(tmp_path, convert):
    write_subject(tmp_path / "chaos", 1, np.full(SHAPE, 239, np.uint8))
    code, _, error = convert(f"--chaos={tmp_path}", f"--output_dir={tmp_path / 'out'}")
    assert code == 2
    assert "expected grey values from 240 on for the spleen, found none in any slice" in error


def test_other_folders_are_refused(tmp_path, convert):
    code, _, error = convert(f"--chaos={tmp_path}", f"--output_dir={tmp_path / 'out'}")
    assert code == 2
    assert "expected MR/NUMBER/T2SPIR/Ground in it, found none" in error
    write_subject(tmp_path / "one", 1, organs(1))
    write_subject(tmp_path / "two", 1, organs(1))
    code, _, error = convert(f"--chaos={tmp_path}", f"--output_dir={tmp_path / 'out'}")
    assert code == 2
    assert "found '1' again" in error
    write_subject(tmp_path / "named", "anna", organs(1))
    code, _, error = convert(f"--chaos={tmp_path / 'named'}", f"--output_dir={tmp_path / 'out'}")
    assert code == 2
    assert "found 'anna' for a number" in error


def test_a_data_set_that_is_there_is_not_overwritten(tmp_path, convert):
    write_subject(tmp_path / "chaos", 1, organs(1))
    flags = (f"--chaos={tmp_path / 'chaos'}", f"--output_dir={tmp_path / 'out'}")
    assert convert(*flags)[0] == 0
    code, _, error = convert(*flags)
    assert code == 2
    assert "expected no data set yet, found dataset.json" in error
