"""What becomes of which file is settled, and refused, before anything is computed."""

import re

import dicom_files
import pytest

from spleen_tf.core.files import InputError, InputWarning
from spleen_tf.io import mesh
from spleen_tf.jobs import plan
from spleen_tf.reporting import outputs

# What a folder of the fixture holds beside volumes; the test of that warning sees it all the same.
pytestmark = pytest.mark.filterwarnings("ignore:.*entries are left out")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to work in, with scan.nii.gz and, in cases/, b.nii, a.nii.gz and what is no case."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cases" / "nested").mkdir(parents=True)
    for name in ("scan.nii.gz", "cases/b.nii", "cases/a.nii.gz", "cases/nested/c.nii"):
        (tmp_path / name).touch()
    for name in ("cases/notes.txt", "cases/._a.nii.gz", "scan.json"):
        (tmp_path / name).touch()
    return tmp_path


def names(job):
    return [None if p is None else str(p) for p in (job.source, job.mask, job.json)]


def test_a_file_becomes_a_mask_with_its_json_beside_it(here):
    (job,) = plan.of_path("scan.nii.gz", "new/out.nii.gz")
    assert names(job) == ["scan.nii.gz", "new/out.nii.gz", "new/out.json"]
    assert not job.others
    assert not (here / "new").exists()


def test_into_an_existing_folder_a_file_keeps_its_name(here):
    (here / "masks").mkdir()
    (job,) = plan.of_path("scan.nii.gz", "masks", {"preview": "look.png", "probabilities": "p.nii"})
    assert names(job) == ["scan.nii.gz", "masks/scan.nii.gz", "masks/scan.json"]
    assert {k: str(p) for k, p in job.others.items()} == {
        "preview": "look.png",
        "probabilities": "p.nii",
    }


def test_a_folder_becomes_a_folder_with_a_mask_and_a_json_a_case(here):
    """Sorted, by the names of its own files: not of folders below, nor hidden ones."""
    a, b = plan.of_path("cases", "masks")
    assert names(a) == ["cases/a.nii.gz", "masks/a.nii.gz", "masks/a.json"]
    assert names(b) == ["cases/b.nii", "masks/b.nii", "masks/b.json"]


def test_for_a_folder_the_other_options_are_folders_too(here):
    a, b = plan.of_path("cases", "masks", {"preview": "looks", "probabilities": "p"})
    assert [str(job.others["preview"]) for job in (a, b)] == ["looks/a.png", "looks/b.png"]
    assert str(b.others["probabilities"]) == "p/b.nii.gz"


def test_a_surface_may_be_of_three_kinds_and_in_a_folder_is_stl(here):
    assert outputs.SUFFIXES["mesh"] == mesh.SUFFIXES
    for name in ("a.stl", "a.obj", "a.ply"):
        (job,) = plan.of_path("scan.nii.gz", "out.nii.gz", {"mesh": name})
        assert str(job.others["mesh"]) == name
    a, b = plan.of_path("cases", "masks", {"mesh": "surfaces"})
    assert [str(job.others["mesh"]) for job in (a, b)] == ["surfaces/a.stl", "surfaces/b.stl"]
    with pytest.raises(InputError, match=r"a.vtk: expected an output name that ends in .stl or"):
        plan.of_path("scan.nii.gz", "out.nii.gz", {"mesh": "a.vtk"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("none.nii", "out.nii"),
            "none.nii: expected a NIfTI file, a folder of",
        ),
        (("cases/nested/..", "out.nii.gz"), "out.nii.gz: expected a folder, since --input is"),
        (("cases", "masks", {"preview": "a.png"}), "a.png: expected a folder, since --input is"),
        (("scan.nii.gz", "out.png"), "out.png: expected an output name that ends in .nii or"),
        (("scan.nii.gz", "no_such_folder/"), "no_such_folder: expected an output name that ends"),
        (
            ("scan.nii.gz", "o.nii", {"preview": "a.jpg"}),
            "a.jpg: expected an output name that ends in .png",
        ),
        (
            ("scan.nii.gz", "o.nii", {"probabilities": "p.npy"}),
            "p.npy: expected an output name that ends in .nii",
        ),
    ],
)
def test_wrong_names_are_told(here, arguments, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        plan.of_path(*arguments)


def test_a_dicom_folder_is_one_volume_whose_mask_does_not_get_its_name(here):
    dicom_files.write_series(here / "DOE_JANE" / "series", dicom_files.ramp())
    (here / "masks").mkdir()
    (job,) = plan.of_path("DOE_JANE", "masks", {"dicom_seg": "a.dcm", "preview": "a.png"}, "1.2")
    assert names(job) == ["DOE_JANE", "masks/spleen.nii.gz", "masks/spleen.json"]
    assert {k: str(p) for k, p in job.others.items()} == {"dicom_seg": "a.dcm", "preview": "a.png"}
    assert job.series_uid == "1.2"
    assert not plan.is_batch("DOE_JANE")


def test_a_mask_beside_a_dicom_folder_may_have_its_name(here):
    """As dcm2niix names files after their folder; no JSON there is the series'."""
    dicom_files.write_series(here / "ct", dicom_files.ramp())
    (job,) = plan.of_path("ct", "ct.nii.gz")
    assert names(job) == ["ct", "ct.nii.gz", "ct.json"]


def test_a_folder_says_what_in_it_is_left_out(here):
    """A JSON beside a volume, and hidden files, are not worth a word."""
    (here / "cases" / "b.json").touch()
    expected = "cases: 2 of 5 entries are left out, since they are not .nii or .nii.gz files: "
    with pytest.warns(InputWarning, match=f"^{expected}nested/, notes.txt$"):
        plan.of_path("cases", "masks")


@pytest.mark.parametrize("name", ["SCAN.NII.GZ", "SCAN.Nii.gz", "SCAN.NII"])
def test_extensions_in_capitals_are_read_and_written_in_small_letters(here, name):
    (here / "upper").mkdir()
    (here / "upper" / name).touch()
    mask = f"masks/SCAN{name[4:].lower()}"
    (here / "masks").mkdir()
    for source in ("upper", f"upper/{name}"):
        (job,) = plan.of_path(source, "masks", {} if source != "upper" else {"preview": "looks"})
        assert names(job) == [f"upper/{name}", mask, "masks/SCAN.json"]
    (job,) = plan.of_path("upper", "masks", {"preview": "looks"})
    assert str(job.others["preview"]) == "looks/SCAN.png"


@pytest.fixture
def dataset(here, make_dataset):
    (here / "splits.json").write_text('{"train": ["b"], "validation": ["c", "a"]}')
    return make_dataset(here / "data", "abc", modality="MR")


def test_the_cases_of_a_split_are_planned_in_its_order(dataset):
    c, a = plan.of_split(str(dataset), "splits.json", "validation", 0, "out", {"report": "r"})
    assert names(c) == [f"{dataset}/imagesTr/c.nii.gz", "out/c.nii.gz", "out/c.json"]
    assert str(a.others["report"]) == "r/a.html"
    assert (a.modality, c.modality) == ("MR", "MR")
    (b,) = plan.of_split(str(dataset), "splits.json", "train", 0, "out", modality="CT")
    assert (b.case, b.modality) == ("b", "CT")


def test_a_fold_of_nnunet_s_splits_is_planned(dataset, here):
    folds = '[{"train": ["a"], "val": ["b"]}, {"train": ["a", "b"], "val": ["c"]}]'
    (here / "splits_final.json").write_text(folds)
    (job,) = plan.of_split(str(dataset), "splits_final.json", "validation", 1, "out")
    assert job.case == "c"


@pytest.mark.parametrize(
    ("content", "output", "message"),
    [
        ('{"train": [], "validation": ["z"]}', "out", "expected cases of .*data, found 'z'"),
        ('{"train": ["a"], "validation": []}', "out", "expected cases for validation, found none"),
        ('{"train": [], "validation": ["a"]}', "out.nii", "expected a folder, for the cases of"),
        ('{"train": [], "validation": ["a"]}', "", "--output: expected a file's name"),
    ],
)
def test_a_split_that_cannot_be_predicted_is_refused(dataset, here, content, output, message):
    (here / "splits.json").write_text(content)
    with pytest.raises(InputError, match=message):
        plan.of_split(str(dataset), "splits.json", "validation", 0, output)


def test_a_folder_with_nifti_files_is_a_folder_of_volumes_whatever_else_is_in_it(here):
    dicom_files.write_series(here / "cases" / "nested", dicom_files.ramp())
    assert len(plan.of_path("cases", "masks")) == 2
    assert plan.is_batch("cases")


@pytest.mark.parametrize(
    ("place", "kind"), [("scan/out.nii.gz", "mask"), ("scan/new/seg.dcm", "dicom_seg")]
)
def test_an_output_inside_of_a_dicom_folder_is_refused(here, place, kind):
    """With a mask in it, it would be a folder of volumes to the next prediction."""
    dicom_files.write_series(here / "scan", dicom_files.ramp())
    output, others = (place, {}) if kind == "mask" else ("out.nii.gz", {kind: place})
    with pytest.raises(InputError, match=r"expected a place outside of the DICOM folder scan"):
        plan.of_path("scan", output, others)


@pytest.mark.parametrize("source", ["scan.nii.gz", "cases"])
@pytest.mark.parametrize(
    ("options", "flag"),
    [
        (({"dicom_seg": "a.dcm"},), "--dicom_seg"),
        (({"dicom_sr": "a.dcm"},), "--dicom_sr"),
        (({"dicom_sc": "a.dcm"},), "--dicom_sc"),
        (({}, "1.2.3"), "--series_uid"),
    ],
)
def test_options_of_dicom_are_refused_for_nifti(here, source, options, flag):
    with pytest.raises(InputError, match=f"^{source}: expected DICOM for {flag}, found none"):
        plan.of_path(source, "out.nii.gz", *options)


def test_a_folder_without_volumes_is_refused(here):
    (here / "empty").mkdir()
    with pytest.raises(InputError, match=r"^empty: expected \.nii or \.nii\.gz files, or a DICOM"):
        plan.of_path("empty", "masks")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("scan.nii.gz", "scan.nii.gz"), "scan.nii.gz: expected a place of its own"),
        (("scan.nii.gz", "cases/../scan.nii.gz"), "found that of the input scan.nii.gz"),
        (("scan.nii.gz", "."), "found that of the input scan.nii.gz"),
        (("cases", "cases"), "cases/a.nii.gz: expected a place of its own"),
        (
            ("scan.nii.gz", "o.nii", {"probabilities": "scan.nii.gz"}),
            "found that of the input scan.nii.gz",
        ),
        (
            ("scan.nii.gz", "o.nii", {"probabilities": "o.nii"}),
            "found that of an output for scan.nii.gz",
        ),
    ],
)
def test_no_output_overwrites_an_input_or_another_output(here, arguments, message):
    with pytest.raises(InputError, match=re.escape(message)):
        plan.of_path(*arguments)


def test_no_output_overwrites_an_input_through_a_link(here):
    (here / "link.nii.gz").symlink_to("scan.nii.gz")
    with pytest.raises(InputError, match="found that of the input"):
        plan.of_path("scan.nii.gz", "link.nii.gz")


def test_the_json_that_lies_beside_a_source_is_not_overwritten(here):
    """scan.json describes scan.nii.gz, as BIDS has it; that of scan.nii would take its place."""
    with pytest.raises(InputError, match=r"^scan\.json: expected a place of its own"):
        plan.of_path("scan.nii.gz", "scan.nii")


def test_two_cases_of_one_name_are_refused(here):
    """Their masks would lie side by side, but the second JSON would replace the first."""
    (here / "cases" / "a.nii").touch()
    with pytest.raises(InputError, match=r"a\.json: .* found that of an output for cases/a\.nii"):
        plan.of_path("cases", "masks")


@pytest.mark.parametrize(
    "arguments",
    [
        ("scan.nii.gz", "scan.json/out.nii.gz"),
        ("scan.nii.gz", "scan.json/below/out.nii.gz"),
        ("cases", "scan.json"),
        ("scan.nii.gz", "o.nii", {"preview": "scan.json/a.png"}),
    ],
)
def test_a_place_below_a_file_is_refused(here, arguments):
    with pytest.raises(InputError, match=r"expected .*scan\.json to be a folder, found a file"):
        plan.of_path(*arguments)


def test_a_folder_that_bears_the_name_of_an_output_is_refused(here):
    (here / "out.json").mkdir()
    with pytest.raises(InputError, match=r"^out\.json: expected a file to write, found a folder"):
        plan.of_path("scan.nii.gz", "out.nii.gz")


def test_no_name_for_the_output_is_refused(tmp_path):
    (tmp_path / "a.nii.gz").touch()
    with pytest.raises(InputError, match="--output: expected a file's name, or a folder's, found"):
        plan.of_path(str(tmp_path / "a.nii.gz"), "")
