"""Prediction from a DICOM series, and that nothing of the patient leaves by another way than SEG.

The model marks voxels above half of the intensities; see test_predict.py.
"""

import gzip
import json

import dicom_files
import highdicom
import nibabel
import numpy as np
import pydicom
import pytest

from spleen_tf import predict
from spleen_tf.core.files import InputError
from spleen_tf.core.process import CommandFailed
from spleen_tf.imaging.volume import Volume
from spleen_tf.io import nifti
from spleen_tf.predict import PredictConfig

SHAPE = (24, 20, 16)
BLOCK = np.s_[14:22, 5:15, 3:13]  # In LPS the patient's left is where i is high. 6.4 mL.
AFFINE = dicom_files.affine_of(zooms_mm=(2.0, 2.0, 2.0))


def bright_block(shape=SHAPE):
    values = np.zeros(shape, np.int16)
    values[BLOCK] = 1000
    return values


@pytest.fixture
def run(exported, tmp_path):
    """A function that predicts with the MR model, or another, into tmp_path."""

    def main(source, output="out.nii.gz", model=None, **options):
        plain = ("series_uid", "send", "skip_existing")
        options = {k: v if k in plain else str(tmp_path / v) for k, v in options.items()}
        return predict.main(
            PredictConfig(
                model=(str(model or exported["MR"]),),
                input=str(source),
                output=str(tmp_path / output),
                precision="float32",
                **options,
            )
        )

    return main


def content_of(path):
    return json.loads(path.read_text())


@pytest.mark.parametrize("kind", ["classic", "enhanced"])
def test_a_series_becomes_the_mask_that_its_nifti_becomes(run, tmp_path, kind):
    """With sform and qform in RAS+ as scanner coordinates, in NIfTI-1."""
    if kind == "classic":
        source = tmp_path / "scan"
        dicom_files.write_series(source, bright_block(), AFFINE, "MR")
    else:
        source = tmp_path / "scan" / "enhanced.dcm"
        dicom_files.write_enhanced(source, bright_block(), AFFINE, "MR")
    nifti.write(tmp_path / "twin.nii", Volume(bright_block(), AFFINE, "twin"))
    assert run(source) == 0
    assert run(tmp_path / "twin.nii", "twin_out.nii.gz") == 0
    mask, twin = (nibabel.load(tmp_path / n) for n in ("out.nii.gz", "twin_out.nii.gz"))
    np.testing.assert_array_equal(np.asarray(mask.dataobj), bright_block() > 0)
    np.testing.assert_array_equal(np.asarray(mask.dataobj), np.asarray(twin.dataobj))
    np.testing.assert_allclose(mask.affine, AFFINE, atol=1e-5)
    assert type(mask) is nibabel.Nifti1Image
    header = mask.header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    np.testing.assert_allclose(header.get_qform(), header.get_sform(), atol=1e-4)
    assert header.get_xyzt_units()[0] == "mm"
    content, of_twin = (content_of(tmp_path / n) for n in ("out.json", "twin_out.json"))
    changing = {"seconds", "peak_rss_mb"}
    assert {k: content[k] for k in content.keys() - changing} == {
        k: of_twin[k] for k in of_twin.keys() - changing
    }


def test_the_segmentation_has_the_masks_voxels_and_the_models_name(run, tmp_path):
    dicom_files.write_series(tmp_path / "scan", bright_block(), AFFINE, "MR")
    assert run(tmp_path / "scan", dicom_seg="out.dcm") == 0
    seg = highdicom.seg.segread(tmp_path / "out.dcm")
    found = seg.get_volume(combine_segments=True).array  # Without the empty slices at the ends.
    expected = bright_block()[..., 3:13].transpose(2, 1, 0) > 0
    np.testing.assert_array_equal(found, expected)
    algorithm = seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    content = content_of(tmp_path / "out.json")
    assert algorithm.AlgorithmName == content["model"] == "by_hand_MR"
    assert algorithm.AlgorithmVersion == content["version"]


def test_a_segmentation_is_written_where_nothing_was_found(run, tmp_path):
    dicom_files.write_series(tmp_path / "scan", np.full(SHAPE, 7, np.int16), AFFINE, "MR")
    assert run(tmp_path / "scan", dicom_seg="out.dcm") == 0
    assert content_of(tmp_path / "out.json")["voxels"] == 0
    assert not highdicom.seg.segread(tmp_path / "out.dcm").pixel_array.any()


OBJECTS = {"dicom_seg": "seg.dcm", "dicom_sr": "sr.dcm", "dicom_sc": "sc.dcm"}


def test_the_report_has_the_figures_of_the_json_and_refers_to_the_segmentation(run, tmp_path):
    dicom_files.write_series(tmp_path / "scan", bright_block(), AFFINE, "MR")
    assert run(tmp_path / "scan", **OBJECTS) == 0
    content = content_of(tmp_path / "out.json")
    report = highdicom.sr.srread(tmp_path / "sr.dcm").content
    (group,) = report.get_volumetric_roi_measurement_groups()
    figures = {item.name.meaning: item.value for item in group.get_measurements()}
    assert figures["Volume"] == pytest.approx(content["volume_ml"], abs=1e-3)
    assert figures["Length"] == pytest.approx(content["length_mm"], abs=1e-2)
    segment = pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence[0]
    assert group.tracking_uid == segment.TrackingUID
    assert pydicom.dcmread(tmp_path / "sc.dcm").BurnedInAnnotation == "YES"


def test_report_and_picture_are_written_where_nothing_was_found(run, tmp_path):
    dicom_files.write_series(tmp_path / "scan", np.full(SHAPE, 7, np.int16), AFFINE, "MR")
    assert run(tmp_path / "scan", dicom_sr="sr.dcm", dicom_sc="sc.dcm") == 0
    report = highdicom.sr.srread(tmp_path / "sr.dcm").content
    (group,) = report.get_image_measurement_groups()
    assert [item.value for item in group.get_measurements()] == [0.0]
    assert pydicom.dcmread(tmp_path / "sc.dcm").pixel_array.any()


def test_a_series_goes_from_one_archive_to_another(run, tmp_path, web_archive, storage):
    """By WADO-RS in, by C-STORE out; the temporary folder is gone."""
    paths = dicom_files.write_series(tmp_path / "scan", bright_block(), AFFINE, "MR")
    source = web_archive(paths, dicom_files.STUDY_UID, dicom_files.SERIES_UID)
    target = storage()
    assert run(source.address, send=f"ARCHIVE@127.0.0.1:{target.port}", **OBJECTS) == 0
    mask = np.asarray(nibabel.load(tmp_path / "out.nii.gz").dataobj)
    np.testing.assert_array_equal(mask, bright_block() > 0)
    sent = [pydicom.dcmread(tmp_path / name).SOPInstanceUID for name in OBJECTS.values()]
    assert [dataset.SOPInstanceUID for dataset in target.stored] == sent


def test_what_an_archive_refuses_is_sent_again_with_skip_existing(run, tmp_path, storage):
    """0xA700: out of resources. The objects keep their UIDs."""
    dicom_files.write_series(tmp_path / "scan", bright_block(), AFFINE, "MR")
    full, ready = storage(status=0xA700), storage()
    with pytest.raises(CommandFailed, match=r"sr\.dcm: expected ARCHIVE@.* to store it, found sta"):
        run(tmp_path / "scan", dicom_sr="sr.dcm", send=f"ARCHIVE@127.0.0.1:{full.port}")
    before = (tmp_path / "sr.dcm").read_bytes()
    again = {"dicom_sr": "sr.dcm", "skip_existing": True}
    assert run(tmp_path / "scan", send=f"ARCHIVE@127.0.0.1:{ready.port}", **again) == 0
    assert len(ready.stored) == 1
    assert (tmp_path / "sr.dcm").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"send": "A@localhost:104"}, "--send: expected together with --dicom_seg, --dicom_sr or"),
        ({"send": "localhost", "dicom_sr": "sr.dcm"}, "--send: expected AET@HOST:PORT"),
    ],
)
def test_send_needs_something_to_send_and_an_address(run, tmp_path, options, expected):
    dicom_files.write_series(tmp_path / "scan", bright_block(), AFFINE, "MR")
    with pytest.raises(InputError, match=expected):
        run(tmp_path / "scan", **options)
    assert not (tmp_path / "out.nii.gz").exists()


def test_wrong_outputs_are_named_before_a_series_is_fetched(run, tmp_path, web_archive):
    source = web_archive([], dicom_files.STUDY_UID, dicom_files.SERIES_UID)
    with pytest.raises(InputError, match=r"sr\.txt: expected an output name that ends in \.dcm"):
        run(source.address, dicom_sr="sr.txt")
    assert source.requests == []


def test_one_of_several_series_is_chosen(run, tmp_path):
    second = dicom_files.SERIES_UID + ".2"
    dicom_files.write_series(tmp_path / "scan" / "a", np.zeros(SHAPE, np.int16), AFFINE, "MR")
    dicom_files.write_series(
        tmp_path / "scan" / "b", bright_block(), AFFINE, "MR", SeriesInstanceUID=second
    )
    with pytest.raises(InputError, match=r"found 2: .*; choose one by --series_uid"):
        run(tmp_path / "scan")
    assert run(tmp_path / "scan", series_uid=second) == 0
    assert content_of(tmp_path / "out.json")["voxels"] == 800


@pytest.mark.parametrize(
    ("model", "modality", "expected"),
    [
        ("MR", "CT", ["modality: the model is for MR, but the header says CT"]),
        ("CT", "MR", ["modality: the model is for CT, but the header says MR"]),
        ("MR", "MR", []),
        ("CT", "CT", []),
    ],
)
def test_a_model_of_another_modality_than_the_header_says_asks_for_a_review(
    run, exported, tmp_path, model, modality, expected
):
    """Intensities do not tell: there is no air in them."""
    dicom_files.write_series(tmp_path / "scan", bright_block(), AFFINE, modality)
    run(tmp_path / "scan", model=exported[model])
    reasons = content_of(tmp_path / "out.json")["reasons"]
    assert [reason for reason in reasons if "the header says" in reason] == expected


def test_a_model_of_any_modality_sees_a_ct_in_hounsfield_units(run, model_copy, tmp_path):
    """As CT, 240 HU and above are bright: the block has 1000. As MR, half of 1000 would do."""
    values = bright_block()
    values[2:10, 5:15, 3:13] = 300
    model = model_copy("MR")
    about = model / "assets.extra" / "model.json"
    about.write_text(json.dumps({**content_of(about), "modality": "any"}))
    for modality, voxels in (("CT", 1600), ("MR", 800)):
        dicom_files.write_series(tmp_path / modality, values, AFFINE, modality)
        predict.main(
            PredictConfig(
                model=(str(model),),
                input=str(tmp_path / modality),
                output=str(tmp_path / "out.nii.gz"),
                precision="float32",
                largest_component=False,
            )
        )
        assert content_of(tmp_path / "out.json")["voxels"] == voxels


def test_localizers_are_told_of_once(run_main, exported, tmp_path):
    dicom_files.write_series(tmp_path / "scan" / "a", bright_block(), AFFINE, "MR")
    scout = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "SeriesInstanceUID": "1.2.3"}
    dicom_files.write_series(tmp_path / "scan" / "b", dicom_files.ramp(), modality="MR", **scout)
    arguments = [f"--model={exported['MR']}", f"--input={tmp_path}/scan", "--precision=float32"]
    code, _, stderr = run_main(
        predict.main, PredictConfig, *arguments, f"--output={tmp_path}/out.nii.gz"
    )
    assert code == 0
    expected = f"{tmp_path}/scan: 5 localizers (images for planning) are left out"
    assert stderr.splitlines() == [f"warning: {expected}"]
    assert content_of(tmp_path / "out.json")["voxels"] == 800


# None of this may be found in what is written or printed.
SENTINELS = {
    "PatientName": "SENTINEL^JANE",
    "PatientID": "ID4711007",
    "PatientBirthDate": "19470811",
    "StudyDate": "20190823",
    "SeriesDate": "20190824",
    "AcquisitionDate": "20190825",
    "InstitutionName": "HOSPITALNAME",
    "AccessionNumber": "ACC90210",
    "ReferringPhysicianName": "REFERRER^JOHN",
    "StudyDescription": "STUDYTEXT",
    "SeriesDescription": "SERIESTEXT",
    "ImageComments": "COMMENTTEXT",
    "StationName": "STATIONNAME",
    # It breaks its value representation, of which pydicom warns with the value.
    "DeviceUID": "NOT.A.UID.BUT.A.NAME",
}
# What stands in them, in the parts that a program might quote.
SECRETS = [part for text in SENTINELS.values() for part in text.split("^")]
SECRETS.append("1.2.826.0.1.3680043.8.498")  # All UIDs start with it.


def leaks(content):
    return [secret for secret in SECRETS if secret.encode() in content]


def leaks_in(folder):
    """By file, what of SECRETS occurs in its bytes, decompressed or not."""
    found = {}
    for path in filter(lambda path: path.is_file(), folder.rglob("*")):
        content = path.read_bytes()
        plain = gzip.decompress(content) if path.suffix == ".gz" else content
        found[path.name] = leaks(content) + leaks(plain) + leaks(path.name.encode())
    return found


@pytest.mark.filterwarnings("ignore:Invalid value")
def test_nothing_of_the_patient_leaves_but_in_the_dicom_objects(
    exported, run_python, tmp_path, load_tool
):
    source, out = tmp_path / "scan", tmp_path / "out"
    paths = dicom_files.write_series(source, bright_block(), AFFINE, "MR", **SENTINELS)
    assert set(leaks(paths[0].read_bytes())) == set(SECRETS)
    arguments = ["-m", "spleen_tf.predict", f"--model={exported['MR']}", f"--input={source}"]
    arguments += [f"--output={out}/", "--precision=float32", f"--preview={out}/a.png"]
    arguments += [f"--report={out}/a.html", f"--probabilities={out}/p.nii.gz"]
    out.mkdir()
    objects = {"dicom_seg": "a.dcm", "dicom_sr": "sr.dcm", "dicom_sc": "sc.dcm"}
    flags = [f"--{kind}={out / name}" for kind, name in objects.items()]
    done = run_python(*arguments, *flags, f"--mesh={out}/a.obj")
    assert done.returncode == 0, done.stderr
    assert leaks((done.stdout + done.stderr).encode()) == []
    found = leaks_in(out)
    names = {"spleen.nii.gz", "spleen.json", "a.png", "a.html", "p.nii.gz", "a.dcm", "a.obj"}
    assert set(found) == names | set(objects.values())
    for name in objects.values():
        assert "SENTINEL" in found.pop(name)
    assert not any(found.values()), found
    # A refusal does not quote, either.
    paths[5].unlink()
    done = run_python(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {source}: expected a slice every 2 mm, found 1 missing")
    assert leaks(done.stderr.encode()) == []


@pytest.mark.filterwarnings("ignore:Invalid value")
@pytest.mark.slow
def test_nothing_of_the_patient_is_in_records_or_an_exploration(tmp_path, run_python):
    source = tmp_path / "scan"
    dicom_files.write_series(source, bright_block(), AFFINE, "CT", **SENTINELS)
    nifti.write(
        tmp_path / "label.nii.gz", Volume((bright_block() > 0).astype(np.uint8), AFFINE, "l")
    )
    (tmp_path / "cases.csv").write_text("case,image,label\nc1,scan,label.nii.gz\n")
    printed = []
    for program, out in (
        (["tools/make_tfrecords.py"], "records"),
        (["-m", "spleen_tf.explore"], "explored"),
    ):
        done = run_python(
            *program, f"--dataset={tmp_path}/cases.csv", f"--output_dir={tmp_path / out}"
        )
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout + done.stderr)
        found = leaks_in(tmp_path / out)
        assert found
        assert not any(found.values()), found
    assert leaks("".join(printed).encode()) == []


def test_a_slice_among_the_sources_that_cannot_be_decoded_leaves_the_earlier_outputs(run, tmp_path):
    paths = dicom_files.write_series(tmp_path / "scan", bright_block(), AFFINE, "MR")
    run(tmp_path / "scan")
    before = {p.name: p.read_bytes() for p in tmp_path.glob("out.*")}
    dataset = pydicom.dcmread(paths[3])
    dataset.PixelData = dataset.PixelData[:-100]
    pydicom.dcmwrite(paths[3], dataset)
    with pytest.raises(InputError, match=r"IM\d+: expected 960 bytes of PixelData"):
        run(tmp_path / "scan")
    assert {p.name: p.read_bytes() for p in tmp_path.glob("out.*")} == before
