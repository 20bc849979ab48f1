"""BIDS data sets: which images are taken, and derivatives that the BIDS validator accepts."""

import json
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from spleen_tf import predict
from spleen_tf.core.files import InputError, InputWarning
from spleen_tf.inference import prediction
from spleen_tf.io import nifti
from spleen_tf.jobs import bids, plan
from spleen_tf.predict import PredictConfig

IMAGES = (
    "sub-01/anat/sub-01_T2w.nii.gz",
    "sub-02/ses-a/anat/sub-02_ses-a_acq-fast_run-1_T1w.nii.gz",
    "sub-02/ses-b/anat/sub-02_ses-b_T1w.nii.gz",
    "sub-02/ses-b/anat/sub-02_ses-b_T2w.nii.gz",
)
MASKS = [
    "sub-01/anat/sub-01_label-spleen_mask.nii.gz",
    "sub-02/ses-a/anat/sub-02_ses-a_acq-fast_run-1_label-spleen_mask.nii.gz",
    "sub-02/ses-b/anat/sub-02_ses-b_label-spleen_desc-T1w_mask.nii.gz",
    "sub-02/ses-b/anat/sub-02_ses-b_label-spleen_desc-T2w_mask.nii.gz",
]


@pytest.fixture
def make_bids(tmp_path, make_volume):
    """A function that writes a BIDS data set of tiny volumes, and returns its folder."""

    def write(paths=IMAGES, name="study"):
        folder = tmp_path / name
        for path in paths:
            nifti.write(folder / path, make_volume())
        description = {"Name": "A study", "BIDSVersion": "1.9.0", "DatasetDOI": "doi:10.0/x.y"}
        (folder / bids.DESCRIPTION).write_text(json.dumps(description))
        return folder

    return write


@pytest.fixture
def segment(exported, tmp_path):
    """A function that predicts a BIDS data set with the MR model, and returns the exit code."""

    def run(folder, output="masks", **options):
        return predict.main(
            PredictConfig(
                model=(str(exported["MR"]),),
                input=str(folder),
                output=str(tmp_path / output),
                bids=True,
                **options,
            )
        )

    return run


def content_of(path):
    return json.loads(pathlib.Path(path).read_text())


def test_masks_have_the_entities_of_their_images(make_bids):
    """Where two images differ by their suffix alone, it becomes desc-."""
    assert [image.mask.as_posix() for image in bids.images(make_bids())] == MASKS


def test_what_is_no_magnitude_image_of_the_anatomy_is_left_out(make_bids):
    others = [
        "sub-01/anat/sub-01_part-phase_T2w.nii.gz",
        "sub-01/anat/sub-01_label-liver_mask.nii.gz",
        "sub-01/anat/scan.nii.gz",
    ]
    elsewhere = ["sub-01/dwi/sub-01_dwi.nii.gz", "derivatives/x/sub-01/anat/sub-01_T2w.nii.gz"]
    folder = make_bids([*IMAGES[:1], *others, *elsewhere])
    with pytest.warns(InputWarning, match=r"study: left out, since .*: scan.nii.gz, .*phase_T2w"):
        (image,) = bids.images(folder)
    assert image.uri == "bids:raw:sub-01/anat/sub-01_T2w.nii.gz"


def test_the_suffix_tells_the_modality(make_bids):
    ct, mr = bids.images(make_bids(["sub-1/ct/sub-1_ct.nii.gz", "sub-2/anat/sub-2_T2w.nii"]))
    assert (ct.modality, mr.modality) == ("CT", "MR")
    assert ct.mask.as_posix() == "sub-1/anat/sub-1_label-spleen_mask.nii.gz"


def test_a_desc_goes_behind_the_label(make_bids):
    (image,) = bids.images(make_bids(["sub-1/anat/sub-1_space-x_desc-preproc_T2w.nii.gz"]))
    assert image.mask.name == "sub-1_space-x_label-spleen_desc-preproc_mask.nii.gz"


def test_other_folders_are_rejected(make_bids, tmp_path):
    with pytest.raises(InputError, match=r"expected a BIDS data set for --bids, found no dataset_"):
        bids.images(tmp_path)
    with pytest.raises(InputError, match=r"expected images such as sub-01/anat/sub-01_T2w.nii.gz"):
        bids.images(make_bids(["sub-01/dwi/sub-01_dwi.nii.gz"]))
    with pytest.raises(InputError, match=r"in it, found none; a BIDS data set needs --bids\."):
        plan.of_path(str(make_bids(name="other")), str(tmp_path / "masks"))


def test_a_data_set_of_others_is_not_written_into(make_bids):
    folder = make_bids()
    with pytest.raises(InputError, match=r"expected a new folder, or a derivative by spleen_tf"):
        plan.of_bids(str(folder), str(folder))
    assert content_of(folder / bids.DESCRIPTION)["Name"] == "A study"


def test_each_image_gets_a_mask_and_a_sidecar_in_the_derivative(make_bids, segment, tmp_path):
    folder = make_bids()
    assert segment(folder) == 0
    written = {
        p.relative_to(tmp_path / "masks").as_posix() for p in (tmp_path / "masks").rglob("*")
    }
    assert set(MASKS) <= written
    sidecar_path = tmp_path / "masks" / MASKS[0].replace(".nii.gz", ".json")
    sidecar = content_of(sidecar_path)
    assert sidecar["Sources"] == ["bids:raw:sub-01/anat/sub-01_T2w.nii.gz"]
    assert sidecar["Type"] == "ROI"
    # The ordinary JSON is in it, and is read as such.
    assert sidecar["volume_ml"] == prediction.read(sidecar_path).volume_ml
    assert sidecar["modality"] == "MR"


def test_the_description_leads_back_to_the_source(make_bids, segment, tmp_path):
    folder = make_bids(name="a study")
    segment(folder, output="a study/derivatives/spleen_tf")
    description = content_of(folder / "derivatives/spleen_tf" / bids.DESCRIPTION)
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "spleen_tf"
    assert description["SourceDatasets"] == [{"URL": "../..", "DOI": "doi:10.0/x.y"}]
    assert description["DatasetLinks"] == {"raw": "../.."}
    bids.write_description(tmp_path / "elsewhere", folder)
    assert content_of(tmp_path / "elsewhere" / bids.DESCRIPTION)["DatasetLinks"] == {
        "raw": "../a%20study"
    }


def test_what_is_there_already_is_skipped(make_bids, segment, tmp_path, capsys):
    folder = make_bids(IMAGES[:1])
    segment(folder)
    capsys.readouterr()
    assert segment(folder, skip_existing=True) == 0
    assert "exists already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"series_uid": "1.2"}, "--series_uid: expected DICOM, found --bids"),
        ({"dicom_seg": "seg"}, "--dicom_seg: expected DICOM, found --bids"),
        ({"output": "mask.nii.gz"}, "mask.nii.gz: expected a folder, for the cases of --bids"),
        ({"mesh": "a.stl"}, "a.stl: expected a folder, for the cases of --bids, found a file's"),
    ],
)
def test_flags_that_do_not_go_with_bids(make_bids, segment, options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        segment(make_bids(IMAGES[:1]), **options)


def test_the_bids_validator_accepts_source_and_derivative(make_bids, segment):
    folder = pathlib.Path(sys.executable).parent
    validator = shutil.which("bids-validator-deno", path=folder) or shutil.which(
        "bids-validator-deno"
    )
    if validator is None:
        pytest.skip("bids-validator-deno is not installed")
    study = make_bids()
    segment(study, output="study/derivatives/spleen_tf")
    ran = subprocess.run(
        [validator, "--json", "--recursive", study],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found = json.loads(ran.stdout)
    derivative = found["derivativesSummary"]["/derivatives/spleen_tf/"]["issues"]["issues"]
    issues = [*found["issues"]["issues"], *derivative]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    # Only people can say who the authors are.
    assert {issue["code"] for issue in derivative} <= {"TOO_FEW_AUTHORS", "NO_AUTHORS"}
