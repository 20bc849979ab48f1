"""From file to files, with a model that is known: it marks the voxels above half the intensities.

See fixtures: a voxel whose intensity lies at x between the volume's 0.5th and 99.5th percentile
gets the probability σ(8 (x − 1/2)) of the MR model: 0.018 if it is darkest, 0.982 if brightest.
"""

import csv
import functools
import gzip
import hashlib
import json
import math
import resource
import shutil
import textwrap

import dicom_files
import msgspec
import nibabel
import numpy as np
import pytest

from spleen_tf import predict
from spleen_tf.core.files import InputError
from spleen_tf.inference import released, runtimes
from spleen_tf.io import nifti
from spleen_tf.predict import PredictConfig
from spleen_tf.quality import calibration
from spleen_tf.reporting import preview, report

SHAPE = (24, 20, 16)
ZOOMS_MM = (2.0, 2.0, 2.0)
LEFT_BLOCK = np.s_[4:12, 6:16, 3:13]  # 8 · 10 · 10 voxels of 8 mm³ are 6.4 mL.


@pytest.fixture(autouse=True)
def _models_are_loaded_once(monkeypatch, loaded_once):
    monkeypatch.setattr(runtimes, "SavedModel", loaded_once)


@pytest.fixture(scope="module")
def loaded_once():
    return functools.cache(runtimes.SavedModel)


@pytest.fixture
def write_scan(tmp_path, make_affine):
    """A function that writes a volume, stored RAS; a block of it is bright, the rest dark."""

    def write(name="scan.nii.gz", block=LEFT_BLOCK, values=None, codes="RAS", zooms_mm=ZOOMS_MM):
        if values is None:
            values = (np.arange(math.prod(SHAPE)) % 40).astype(np.int16).reshape(SHAPE)
            values[block] = 1000
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(values, make_affine(codes, zooms_mm)), path)
        return path

    return write


@pytest.fixture
def run(exported, tmp_path):
    """A function that predicts with the MR model, and returns the exit code."""

    def main(source, output="out.nii.gz", model=None, **options):
        models = (str(exported["MR"]),) if model is None else tuple(map(str, model))
        for name in ("preview", "probabilities", "mesh"):
            if options.get(name):
                options[name] = str(tmp_path / options[name])
        options = {"precision": "float32", **options}
        return predict.main(
            PredictConfig(model=models, input=str(source), output=str(tmp_path / output), **options)
        )

    return main


def mask_of(path):
    return np.asarray(nibabel.load(path).dataobj)


def content_of(path):
    return json.loads(path.read_text())


def block_mask(block=LEFT_BLOCK):
    mask = np.zeros(SHAPE, np.uint8)
    mask[block] = 1
    return mask


def test_a_file_becomes_a_mask_and_a_json(run, write_scan, tmp_path, capsys):
    assert run(write_scan(), "new/folder/out.nii.gz") == 0
    assert np.array_equal(mask_of(tmp_path / "new/folder/out.nii.gz"), block_mask())
    assert sorted(p.name for p in (tmp_path / "new/folder").iterdir()) == [
        "out.json",
        "out.nii.gz",
    ]
    assert "out.nii.gz: 6.4 mL in " in capsys.readouterr().out


def test_the_json_says_what_was_found_and_by_what(run, exported, write_scan, tmp_path):
    run(write_scan())
    content = content_of(tmp_path / "out.json")
    onnx = exported["MR"].parent / "model.onnx"
    seconds, peak_rss_mb = content.pop("seconds"), content.pop("peak_rss_mb")
    # The block's middle is at i = 7.5, j = 10.5, k = 7.5; 2 mm each from (−90, 40, 700).
    assert content == {
        "volume_ml": pytest.approx(6.4),
        "volume_mm3": pytest.approx(6400),
        "voxels": 800,
        # 16 × 20 × 20 mm; the longest way between middles of pixel edges is 14 mm by 20 mm.
        "length_mm": pytest.approx(20),
        "width_mm": pytest.approx(math.hypot(14, 20)),
        "thickness_mm": pytest.approx(16 * math.hypot(14, 20) / 20, abs=0.2),
        "splenic_index_ml": pytest.approx(20 * (14**2 + 20**2) * 16 / 20 / 1000, rel=0.01),
        "bounding_box_ijk": [[4, 11], [6, 15], [3, 12]],
        "centroid_ras_mm": pytest.approx([-75.0, 61.0, 715.0]),
        "complete": True,
        "mean_intensity": 1000.0,
        "intensity": {"mean": 1000.0, "sd": 0.0, "median": 1000.0, "p5": 1000.0, "p95": 1000.0},
        "volume_ml_interval": None,
        "volume_ml_nested": None,
        "volume_reference": content["volume_reference"],
        "components": 1,
        "modality": "MR",
        "modality_reason": "the model is for MR",
        "predicted_dice": None,
        "predicted_dice_interval": None,
        "predicted_dice_note": None,
        "calibrated_on": None,
        "signs": None,
        "review": True,
        "reasons": ["unusual size: 6.4 mL is outside 30 to 3000 mL, the range of adult spleens"],
        "model": "by_hand_MR",
        "model_sha256": hashlib.sha256(onnx.read_bytes()).hexdigest(),
        "image_size": 32,
        "learning_rate": 0.001,
        "version": "1.0.0",
        "runtime": "onnx",
        "software": content["software"],
    }
    assert content["software"].startswith("spleen_tf ")
    assert content["volume_reference"]["place"] == "below"
    assert list(seconds) == ["read", "network", "postprocess", "write", "total"]
    parts = [seconds[stage] for stage in list(seconds)[:-1]]
    assert seconds["total"] == pytest.approx(sum(parts), abs=0.01)
    # In MiB; this process has grown since at most a little.
    now_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert 0.5 * now_mb < peak_rss_mb <= now_mb + 1


@pytest.mark.parametrize("plane", ["coronal", "axial", "sagittal"])
def test_any_axis_order_gives_the_same_anatomy(run, write_scan, model_copy, tmp_path, plane):
    """The file holds the same patient in another order; so does the mask, in the same."""
    canonical = nibabel.load(write_scan())
    model = model_copy("MR", plane=plane)
    for codes in ("RAS", "LPS", "SAR", "PIR", "IRP"):
        transform = nibabel.orientations.ornt_transform(
            nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(codes)
        )
        nibabel.save(canonical.as_reoriented(transform), tmp_path / "other.nii")
        run(tmp_path / "other.nii", model=[model])
        found = nibabel.load(tmp_path / "out.nii.gz")
        assert nibabel.aff2axcodes(found.affine) == tuple(codes)
        np.testing.assert_array_equal(found.affine, nibabel.load(tmp_path / "other.nii").affine)
        back = nibabel.as_closest_canonical(found)
        assert np.array_equal(np.asarray(back.dataobj), block_mask()), codes
        content = content_of(tmp_path / "out.json")
        assert content["centroid_ras_mm"] == pytest.approx([-75.0, 61.0, 715.0])


def test_the_mask_has_the_sources_geometry_and_never_its_scaling(run, tmp_path, make_affine):
    """Stored int16 with slope 0.5; sform and qform with different codes; four dimensions."""
    stored = np.zeros((*SHAPE, 1), np.int16)
    stored[LEFT_BLOCK] = 2000
    image = nibabel.Nifti1Image(stored, None)
    sform = make_affine("LPS", ZOOMS_MM)
    qform = sform.copy()
    qform[:3, 3] += 0.25  # Less than half a voxel: no disagreement.
    image.header.set_sform(sform, code=2)
    image.header.set_qform(qform, code=1)
    image.header.set_slope_inter(0.5, -100)
    image.header["pixdim"][4:5] = 3
    # Saved as raw numbers: nibabel would scale them.
    with (tmp_path / "scan.nii").open("wb") as stream:
        header = image.header.copy()
        header.set_data_offset(352)
        header.write_to(stream)
        stream.write(bytes(352 - stream.tell()) + stored.tobytes(order="F"))
    reread = nibabel.load(tmp_path / "scan.nii")
    assert reread.get_fdata().max() == 900
    assert reread.header["sform_code"] == 2

    run(tmp_path / "scan.nii")
    raw = gzip.decompress((tmp_path / "out.nii.gz").read_bytes())
    header = nibabel.Nifti1Header(raw[:348])
    assert header.get_data_dtype() == np.uint8
    assert header.get_data_shape() == SHAPE
    assert (header["scl_slope"], header["scl_inter"]) == (1, 0)
    assert (header["sform_code"], header["qform_code"]) == (2, 1)
    np.testing.assert_array_equal(header.get_sform(), reread.get_sform())
    np.testing.assert_array_equal(header.get_qform(), reread.get_qform())
    assert np.array_equal(mask_of(tmp_path / "out.nii.gz"), block_mask())
    # Physical units: 2000 · 0.5 − 100.
    assert content_of(tmp_path / "out.json")["mean_intensity"] == 900


def graded(make_affine, tmp_path):
    """Coronal slices whose windowed intensity is j / 10, in a CT model's window."""
    values = -160 + 40 * np.arange(11)[None, :, None] * np.ones((12, 11, 10))
    path = tmp_path / "graded.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values.astype(np.int16), make_affine("RAS", ZOOMS_MM)), path)
    return path


@pytest.mark.parametrize(("threshold", "first_j"), [(0.5, 6), (0.25, 5), (0.75, 8), (0.97, 10)])
def test_the_threshold_is_a_probability(run, exported, make_affine, tmp_path, threshold, first_j):
    """The CT model sees the slice behind: slice j has x = (j − 1) / 10, and σ(8 (x − 1/2)).

    That is 0.31 for j = 5, exactly 0.5 for j = 6, 0.69, 0.83, 0.92 and 0.961 for j = 10: at 0.97
    nothing is left.
    """
    run(
        graded(make_affine, tmp_path),
        model=[exported["CT"]],
        threshold=threshold,
        fill_holes=False,
    )
    inside = mask_of(tmp_path / "out.nii.gz")[6, :, 5]
    expected = np.arange(11) >= first_j if threshold < 0.97 else np.zeros(11)
    assert inside.tolist() == expected.astype(int).tolist()


def test_without_a_threshold_the_models_own_is_taken(run, model_copy, make_affine, tmp_path):
    """σ(8 (x − 1/2)) is 0.31 for j = 5 and 0.17 for j = 4: see above."""
    run(graded(make_affine, tmp_path), model=[model_copy("CT", threshold=0.25)], fill_holes=False)
    inside = mask_of(tmp_path / "out.nii.gz")[6, :, 5]
    assert inside.tolist() == (np.arange(11) >= 5).astype(int).tolist()


def test_probabilities_lie_in_the_sources_geometry(run, exported, make_affine, tmp_path):
    source = graded(make_affine, tmp_path)
    run(source, model=[exported["CT"]], probabilities="p.nii.gz")
    found = nibabel.load(tmp_path / "p.nii.gz")
    assert found.get_data_dtype() == np.float32
    np.testing.assert_array_equal(found.affine, nibabel.load(source).affine)
    x = np.array([0, *range(10)]) / 10
    expected = 1 / (1 + np.exp(-8 * (x - 0.5)))
    np.testing.assert_allclose(found.get_fdata()[6, :, 5], expected, atol=1e-3)


SMALL_BLOCK = np.s_[16:20, 6:10, 3:7]


def test_only_the_largest_component_is_kept_and_all_are_counted(run, write_scan, tmp_path):
    values = np.zeros(SHAPE, np.int16)
    values[LEFT_BLOCK] = values[SMALL_BLOCK] = 1000
    source = write_scan(values=values)
    run(source)
    assert np.array_equal(mask_of(tmp_path / "out.nii.gz"), block_mask())
    assert content_of(tmp_path / "out.json")["components"] == 2
    run(source, largest_component=False)
    assert mask_of(tmp_path / "out.nii.gz").sum() == 800 + 64
    assert content_of(tmp_path / "out.json")["components"] == 2


def test_cavities_are_filled_unless_told_otherwise(run, write_scan, tmp_path):
    values = np.zeros(SHAPE, np.int16)
    values[LEFT_BLOCK] = 1000
    values[7:9, 10:12, 7:9] = 0
    source = write_scan(values=values)
    run(source)
    assert np.array_equal(mask_of(tmp_path / "out.nii.gz"), block_mask())
    run(source, fill_holes=False)
    assert np.array_equal(mask_of(tmp_path / "out.nii.gz"), values > 0)


def test_an_empty_result_says_so(run, write_scan, tmp_path, capsys):
    assert run(write_scan(values=np.full(SHAPE, 7, np.int16)), preview="out.png") == 0
    assert not mask_of(tmp_path / "out.nii.gz").any()
    content = content_of(tmp_path / "out.json")
    assert content["voxels"] == 0
    assert content["volume_ml"] == 0
    assert content["centroid_ras_mm"] is None
    assert content["review"] is True
    assert content["reasons"][0].startswith("no spleen was found")
    printed = capsys.readouterr().out
    assert "out.nii.gz: no spleen found in " in printed
    assert "; review: no spleen was found" in printed
    assert (tmp_path / "out.png").is_file()


def stl_corners_ras_mm(path):
    """(F, 3, 3) float32: of each face of a binary STL, its corners."""
    faces = np.frombuffer(
        path.read_bytes()[84:], [("normal", "<f4", 3), ("xyz", "<f4", (3, 3)), ("spare", "<u2")]
    )
    return faces["xyz"]


def enclosed_mm3(corners_mm):
    a, b, c = np.moveaxis(corners_mm.astype(float), 1, 0)
    return (a * np.cross(b, c)).sum() / 6


@pytest.mark.parametrize("codes", ["RAS", "LPI"])
def test_the_mesh_is_the_masks_surface_in_ras_mm(run, write_scan, tmp_path, codes):
    source = write_scan(codes=codes)
    assert run(source, mesh="out.stl") == 0
    corners_mm = stl_corners_ras_mm(tmp_path / "out.stl")
    # Voxel edges of LEFT_BLOCK, 4…12, 6…16 and 3…13, lie half a voxel before their centres.
    affine = nibabel.load(source).affine
    ends_mm = nibabel.affines.apply_affine(affine, [[3.5, 5.5, 2.5], [11.5, 15.5, 12.5]])
    assert corners_mm.min(axis=(0, 1)) == pytest.approx(ends_mm.min(axis=0), abs=1e-3)
    assert corners_mm.max(axis=(0, 1)) == pytest.approx(ends_mm.max(axis=0), abs=1e-3)
    # 7·9·9 cells, (7·9 + 7·9 + 9·9) of faces, (7 + 9 + 9) / 2 of edges, 1/6 of corners; 8 mm³ each.
    assert enclosed_mm3(corners_mm) == pytest.approx(8 * (567 + 207 + 12.5 + 1 / 6), rel=1e-3)


def test_a_smooth_mesh_has_the_same_faces_elsewhere(run, write_scan, tmp_path):
    source = write_scan()
    run(source, mesh="stepped.stl")
    run(source, mesh="smooth.stl", smooth_mesh=True)
    stepped, smooth = (stl_corners_ras_mm(tmp_path / f"{n}.stl") for n in ("stepped", "smooth"))
    moved_mm = np.linalg.norm(smooth - stepped, axis=2)
    assert smooth.shape == stepped.shape
    assert 0.3 < moved_mm.max() < 2.0


def test_without_a_spleen_there_is_no_mesh_not_even_an_earlier_one(
    run, write_scan, tmp_path, capsys
):
    run(write_scan(), mesh="out.obj")
    assert (tmp_path / "out.obj").is_file()
    assert "not written" not in capsys.readouterr().out
    assert run(write_scan(values=np.full(SHAPE, 7, np.int16)), mesh="out.obj") == 0
    assert not (tmp_path / "out.obj").exists()
    assert "out.obj: not written: there is no surface\n" in capsys.readouterr().out


def test_the_preview_goes_through_the_voxel_that_is_asked_for(run, write_scan, tmp_path):
    source = write_scan()
    run(source, preview="out.png")
    run(source, preview="asked.png", preview_voxel=(7, 10, 7))
    image, found = nifti.read(source), mask_of(tmp_path / "out.nii.gz")
    preview.preview(tmp_path / "same.png", image, found, modality="MR", center_ijk=(7, 10, 7))
    asked = (tmp_path / "asked.png").read_bytes()
    assert asked == (tmp_path / "same.png").read_bytes()
    assert asked != (tmp_path / "out.png").read_bytes()


def test_in_a_folder_a_volume_without_the_voxel_is_a_bad_case(run, write_scan, tmp_path, capsys):
    write_scan("cases/a.nii.gz")
    small = np.zeros((12, 12, 12), np.int16)
    small[2:6, 2:6, 2:6] = 1000
    write_scan("cases/b.nii.gz", values=small)
    assert run(tmp_path / "cases", "masks", preview="looks", preview_voxel=(3, 15, 3)) == 1
    assert [p.name for p in (tmp_path / "looks").iterdir()] == ["a.png"]
    assert "b.nii.gz: expected a voxel with j from 0 to 11, found 3,15,3" in capsys.readouterr().err


def test_a_clipped_spleen_is_for_review(run, write_scan, tmp_path, capsys):
    """20 · 20 · 16 voxels of 8 mm³ are 51 mL."""
    run(write_scan(block=np.s_[0:20, 0:20, 0:16]))
    content = content_of(tmp_path / "out.json")
    assert content["complete"] is False
    assert content["review"] is True
    assert content["reasons"] == [
        "the spleen touches the edge of the volume: its volume is a lower bound"
    ]
    assert "review: the spleen touches the edge of the volume" in capsys.readouterr().out


def test_a_family_is_fused_by_the_mean(run, write_scan, model_copy, tmp_path):
    """The CT model moves what it sees by a voxel: in coronal slices to −i, +j, −k, in axial ones
    to −i, −j, +k. Either alone says 0.982 where the other says 0.018: together they say 0.5.
    """
    values = np.where(block_mask(), 240, -160).astype(np.int16)
    source = write_scan(values=values)
    for plane in ("axial", "coronal"):
        model_copy("CT", f"family/{plane}/saved_model", name=f"family-{plane}", plane=plane)
    coronal = np.roll(block_mask(), (-1, 1, -1), axis=(0, 1, 2))
    axial = np.roll(block_mask(), (-1, -1, 1), axis=(0, 1, 2))
    run(source, model=[tmp_path / "family"], threshold=0.6)
    assert np.array_equal(mask_of(tmp_path / "out.nii.gz"), coronal & axial)
    run(source, model=[tmp_path / "family/axial", tmp_path / "family/coronal"], threshold=0.4)
    assert np.array_equal(mask_of(tmp_path / "out.nii.gz"), coronal | axial)
    content = content_of(tmp_path / "out.json")
    assert content["model"] == "family-axial + family-coronal"
    assert content["version"] == "1.0.0"
    assert content["image_size"] == 32
    # Both are copies of one model, which has no ONNX file beside it.
    weights = tmp_path / "family/axial/saved_model/variables/variables.data-00000-of-00001"
    assert content["model_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_test_time_augmentation_keeps_what_is_clear(run, write_scan, tmp_path):
    """Seen 8% larger or smaller, only voxels at the block's faces can change."""
    run(write_scan(), tta=True, probabilities="p.nii.gz")
    found, block = mask_of(tmp_path / "out.nii.gz"), block_mask()
    inner, outer = np.zeros(SHAPE), np.zeros(SHAPE)
    inner[5:11, 7:15, 4:12] = 1
    outer[3:13, 5:17, 2:14] = 1
    assert (found >= inner).all()
    assert (found <= outer).all()
    # The mean over sizes blurs the faces, which without it are all or nothing.
    faces = nibabel.load(tmp_path / "p.nii.gz").get_fdata()[block != inner]
    assert np.any((faces > 0.1) & (faces < 0.9))


@pytest.mark.parametrize("precision", ["auto", "bfloat16", "float16"])
def test_every_precision_runs_here(run, write_scan, tmp_path, precision, loaded_once):
    loaded_once.cache_clear()  # Models keep the precision that they were first run with.
    assert run(write_scan(), precision=precision) == 0
    loaded_once.cache_clear()
    assert np.array_equal(mask_of(tmp_path / "out.nii.gz"), block_mask())


def test_nothing_of_the_patient_is_in_the_outputs(run, write_scan, tmp_path):
    """Free text of the header, the file's and the folder's name, the date of the file."""
    source = write_scan("DOE_JANE_19700131/DOE_JANE.nii")
    secrets = [b"DOE", b"JANE", b"19700131", b"1970", bytes(tmp_path.name, "ascii")]
    content = bytearray(source.read_bytes())
    content[148:164] = b"DOE^JANE 19700131"[:16]  # descrip
    content[14:22] = b"DOE^JANE"  # db_name
    content[228:236] = b"JANE.lut"  # aux_file
    source.write_bytes(content)
    run(source, preview="out.png", probabilities="p.nii.gz", mesh="out.ply")
    outputs = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert sorted(outputs) == ["out.json", "out.nii.gz", "out.ply", "out.png", "p.nii.gz"]
    for name, bytes_ in outputs.items():
        plain = gzip.decompress(bytes_) if name.endswith(".gz") else bytes_
        for secret in secrets:
            assert secret not in plain, f"{secret} in {name}"
            assert secret not in bytes_, f"{secret} in {name}"


def test_the_volume_is_compared_with_those_of_the_patient_s_sex_and_height(
    run, write_scan, tmp_path
):
    run(write_scan(), sex="M", height_cm=180.0)
    reference = content_of(tmp_path / "out.json")["volume_reference"]
    assert reference["population"] == "healthy men of 180 cm, ultrasound, 95th percentile"


def test_one_patient_s_data_are_not_those_of_a_folder(run, write_scan, tmp_path):
    write_scan("cases/a.nii.gz")
    with pytest.raises(InputError, match=r"--height_cm: expected one volume .* found a folder"):
        run(tmp_path / "cases", "masks", height_cm=170.0)
    assert not (tmp_path / "masks").exists()


def test_a_folder_becomes_a_mask_and_a_json_a_case(run, write_scan, tmp_path):
    write_scan("cases/a.nii.gz")
    write_scan("cases/b.nii", block=SMALL_BLOCK)
    (tmp_path / "cases" / "notes.txt").write_text("not a case")
    assert run(tmp_path / "cases", "masks", preview="looks") == 0
    names = sorted(p.name for p in (tmp_path / "masks").iterdir())
    assert names == ["a.json", "a.nii.gz", "b.json", "b.nii", "manifest.json"]
    assert sorted(p.name for p in (tmp_path / "looks").iterdir()) == ["a.png", "b.png"]
    assert np.array_equal(mask_of(tmp_path / "masks/a.nii.gz"), block_mask())
    assert np.array_equal(mask_of(tmp_path / "masks/b.nii"), block_mask(SMALL_BLOCK))
    assert content_of(tmp_path / "masks/b.json")["voxels"] == 64


def test_a_bad_case_is_named_and_the_others_are_done(run, write_scan, tmp_path, capsys):
    write_scan("cases/a.nii.gz")
    cut = write_scan("cases/b.nii.gz")
    cut.write_bytes(cut.read_bytes()[:-20])
    nan = np.full(SHAPE, np.nan, np.float32)
    write_scan("cases/c.nii.gz", values=nan)
    write_scan("cases/d.nii.gz")
    assert run(tmp_path / "cases", "masks") == 1
    names = sorted(p.name for p in (tmp_path / "masks").iterdir())
    assert names == ["a.json", "a.nii.gz", "d.json", "d.nii.gz", "manifest.json"]
    manifest = content_of(tmp_path / "masks" / "manifest.json")
    assert (manifest["cases"], [one["case"] for one in manifest["done"]]) == (4, ["a", "d"])
    assert [one["case"] for one in manifest["failed"]] == ["b", "c"]
    assert "b.nii.gz: expected a whole gzip stream" in manifest["failed"][0]["message"]
    errors = capsys.readouterr().err.splitlines()
    assert [line for line in errors if line.startswith("error: ")] == errors[:2]
    assert "b.nii.gz: expected a whole gzip stream" in errors[0]
    assert "c.nii.gz: expected finite voxels, found NaN" in errors[1]
    assert errors[2:] == ["2 of 4 cases failed: b.nii.gz, c.nii.gz"]


def test_a_folder_s_results_in_one_table(run, write_scan, tmp_path):
    write_scan("cases/a.nii.gz")
    write_scan("cases/b.nii.gz").write_bytes(b"no NIfTI")
    write_scan("cases/c.nii.gz", values=np.full(SHAPE, 7, np.int16))
    assert run(tmp_path / "cases", "masks", table=str(tmp_path / "new" / "all.csv")) == 1
    with open(tmp_path / "new" / "all.csv", newline="") as table:
        first, second = csv.DictReader(table)
    assert (first["case"], second["case"]) == ("a", "c")
    assert float(first["volume_ml"]) == pytest.approx(6.4)
    assert (first["complete"], first["review"], first["predicted_dice"]) == ("True", "True", "")
    assert first["reasons"].startswith("unusual size: 6.4 mL is outside 30 to 3000 mL")
    assert (first["modality"], second["modality"]) == ("MR", "MR")
    assert float(second["volume_ml"]) == 0
    assert second["reasons"].startswith("no spleen was found")


def test_what_is_there_is_left_alone_and_what_lacks_an_output_is_done_again(
    run, write_scan, tmp_path, capsys
):
    write_scan("cases/a.nii.gz")
    write_scan("cases/b.nii.gz", values=np.full(SHAPE, 7, np.int16))  # It has no surface.
    write_scan("cases/c.nii.gz")
    wanted = {"mesh": "meshes", "preview": "pictures", "table": str(tmp_path / "all.csv")}
    run(tmp_path / "cases", "masks", **wanted)
    table = (tmp_path / "all.csv").read_text()
    (tmp_path / "pictures" / "c.png").unlink()
    capsys.readouterr()
    assert run(tmp_path / "cases", "masks", skip_existing=True, **wanted) == 0
    masks = [line.split("/masks/")[1] for line in capsys.readouterr().out.splitlines()[1:3]]
    assert masks == ["a.nii.gz: exists already", "b.nii.gz: exists already"]
    assert (tmp_path / "pictures" / "c.png").is_file()
    assert (tmp_path / "all.csv").read_text() == table


@pytest.mark.parametrize("lacking", ["seconds", "predicted_dice_note"])
def test_a_volume_that_was_cut_short_is_done_again(run, write_scan, tmp_path, capsys, lacking):
    """Or was made by a version that wrote fewer keys."""
    scan = write_scan()
    run(scan)
    content = content_of(tmp_path / "out.json")
    del content[lacking]
    (tmp_path / "out.json").write_text(json.dumps(content))
    run(scan, skip_existing=True)
    assert "exists already" not in capsys.readouterr().out
    run(scan, skip_existing=True)
    assert "exists already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("table", "sentence"),
    [("all.txt", "ends in .csv"), ("scan.nii.gz/all.csv", "to be a folder, found a file")],
)
def test_a_table_that_cannot_be_written_is_refused_before_the_work(
    run, write_scan, tmp_path, table, sentence
):
    scan = write_scan()
    with pytest.raises(InputError, match=sentence):
        run(scan, table=str(tmp_path / table))
    assert not (tmp_path / "out.nii.gz").exists()


def test_a_file_into_an_existing_folder_keeps_its_name(run, write_scan, tmp_path):
    (tmp_path / "masks").mkdir()
    run(write_scan("case_07.nii.gz"), "masks")
    names = sorted(p.name for p in (tmp_path / "masks").iterdir())
    assert names == ["case_07.json", "case_07.nii.gz"]


@pytest.mark.parametrize("damage", ["cut short", "NaN"])
def test_damage_to_voxels_leaves_the_earlier_outputs(run, write_scan, tmp_path, damage):
    run(write_scan())
    before = {p.name: p.read_bytes() for p in tmp_path.glob("out.*")}
    assert len(before) == 2
    if damage == "NaN":
        source = write_scan(values=np.full(SHAPE, np.nan, np.float32))
        message = "expected finite voxels, found NaN"
    else:
        source = write_scan()
        source.write_bytes(source.read_bytes()[:-9])
        message = "expected a whole gzip stream, found one that is cut short"
    with pytest.raises(InputError, match=message):
        run(source)
    assert {p.name: p.read_bytes() for p in tmp_path.glob("out.*")} == before


@pytest.mark.parametrize("modality", [None, "CT"])
def test_a_json_of_an_earlier_version_counts_as_done(run, write_scan, tmp_path, capsys, modality):
    """It lacks the modality; and it is one whether or not the user says another."""
    scan = write_scan()
    run(scan)
    content = content_of(tmp_path / "out.json")
    for key in ("modality", "modality_reason"):
        del content[key]
    (tmp_path / "out.json").write_text(json.dumps(content))
    run(scan, skip_existing=True, modality=modality)
    assert "exists already" in capsys.readouterr().out


def test_the_modality_that_is_given_rules_and_is_told(
    run, write_scan, model_copy, tmp_path, capsys
):
    """Values of an MR that were shifted by -2048: by its voxels, a CT in which all is air."""
    values = np.full(SHAPE, -2048, np.int16) + np.arange(SHAPE[2], dtype=np.int16)
    values[LEFT_BLOCK] += 1000
    scan = write_scan(values=values)
    model = model_copy("MR", modality="any")
    for modality, voxels, why in (
        (None, 0, "its voxels look like Hounsfield units"),
        ("MR", 800, "given by --modality or the data set"),
    ):
        run(scan, model=[model], modality=modality)
        content = content_of(tmp_path / "out.json")
        assert content["voxels"] == voxels
        assert (content["modality"], content["modality_reason"]) == (modality or "CT", why)
        assert f"taken for {modality or 'CT'} ({why})" in capsys.readouterr().out
        doubts = [reason for reason in content["reasons"] if reason.startswith("modality: ")]
        assert len(doubts) == (0 if modality else 1)


def test_without_a_model_the_released_one_for_the_volume_s_modality_is_taken(
    run, write_scan, model_copy, tmp_path, monkeypatch, capsys
):
    """By their voxels: dark is air in Hounsfield units, or it is not."""
    for modality, name in (("CT", "spleen_any"), ("MR", "spleen_mr_t2")):
        model_copy(modality, f"models/{name}/saved_model", name=f"the {name}", family=name)
    monkeypatch.setattr(released, "_roots", lambda: [tmp_path / "models"])
    write_scan("cases/a.nii.gz")
    write_scan("cases/b.nii.gz", values=np.where(block_mask(), 240, -1000).astype(np.int16))
    assert run(tmp_path / "cases", "masks", model=()) == 0
    models = [content_of(tmp_path / f"masks/{case}.json")["model"] for case in "ab"]
    assert models == ["the spleen_mr_t2", "the spleen_any"]
    assert "spleen_mr_t2: the spleen_mr_t2; " in capsys.readouterr().out
    assert run(tmp_path / "cases" / "b.nii.gz", model=(), modality="MR") == 0
    assert content_of(tmp_path / "out.json")["model"] == "the spleen_mr_t2"


def test_without_a_model_and_without_a_released_one_nothing_is_begun(
    run, write_scan, tmp_path, monkeypatch
):
    monkeypatch.setattr(released, "_roots", lambda: [tmp_path])
    message = r"--model: expected a released family for CT \(spleen_ct or spleen_any\) in models/"
    with pytest.raises(InputError, match=message):
        run(write_scan(), model=())


def test_the_cases_that_a_split_names_are_predicted(run, make_dataset, make_volume, tmp_path):
    dataset = make_dataset(tmp_path / "data", "abc", modality="MR")
    (tmp_path / "splits.json").write_text(json.dumps({"train": ["b"], "validation": ["c", "a"]}))
    options = {"dataset": str(dataset), "splits": str(tmp_path / "splits.json")}
    assert run("", "masks", **options) == 0
    names = sorted(p.name for p in (tmp_path / "masks").iterdir())
    assert names == ["a.json", "a.nii.gz", "c.json", "c.nii.gz", "manifest.json"]
    assert run("", "others", **options, split="train") == 0
    assert content_of(tmp_path / "others" / "b.json")["modality"] == "MR"


def test_a_full_disk_is_told_in_words_and_leaves_the_earlier_outputs(
    run, write_scan, tmp_path, no_room, capsys
):
    """What is printed goes to memory by way of capsys, and not to a file of limited size."""
    source = write_scan()
    run(source)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with no_room(), pytest.raises(InputError, match=r"out\.nii\.gz: expected a place to write to"):
        run(source)
    assert "by_hand_MR" in capsys.readouterr().out
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_mask_has_its_json_whatever_becomes_of_the_other_outputs(
    run, write_scan, tmp_path, monkeypatch
):
    def fail(*_, **__):
        raise InputError("r.html: expected a place to write to, found: no such luck.")

    monkeypatch.setattr(report, "prediction", fail)
    with pytest.raises(InputError, match="no such luck"):
        run(write_scan(), report=str(tmp_path / "r.html"))
    assert content_of(tmp_path / "out.json")["voxels"] == mask_of(tmp_path / "out.nii.gz").sum()


def test_a_gpu_that_is_not_there_is_refused(run, write_scan):
    with pytest.raises(
        InputError, match=r"--device=gpu:99: expected a GPU that TensorFlow can use"
    ):
        run(write_scan(), device="gpu:99")


# Runs each command line in one process, in which TensorFlow cannot be imported.
WITHOUT_TENSORFLOW = """
    import contextlib, importlib.abc, io, json, runpy, sys

    class Absent(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in ("tensorflow", "keras"):
                raise ModuleNotFoundError(f"{name} was imported")

    sys.meta_path.insert(0, Absent())
    results = []
    for arguments in json.load(open(sys.argv[1])):
        sys.argv = ["predict", *arguments]
        with contextlib.redirect_stderr(io.StringIO()) as printed:
            try:
                runpy.run_module("spleen_tf.predict", run_name="__main__", alter_sys=True)
                code = "came back"
            except SystemExit as ended:
                code = ended.code
            except BaseException as error:
                code = repr(error)
        results.append([code, printed.getvalue()])
    print(json.dumps(results))
"""


def test_bad_command_lines_and_inputs_cost_one_line_before_tensorflow_is_imported(
    exported, model_copy, write_bytes, sound, patched, tmp_path, run_python
):
    """Each wrong in one way; what is expected of stderr stands beside it."""
    model, bare = exported["MR"], model_copy("MR")
    write_bytes(sound, "good.nii")
    (tmp_path / "empty").mkdir()
    (tmp_path / "other_model").mkdir()
    (tmp_path / "other_model" / "saved_model.pb").touch()
    (tmp_path / "plain.nii.gz").write_text("patient list")
    write_bytes(patched(sound, dim=(2, 8, 6, 1, 1, 1, 1, 1)), "flat.nii.gz")
    write_bytes(patched(sound, dim=(4, 8, 6, 5, 2, 1, 1, 1)) + sound[352:], "moving.nii.gz")
    write_bytes(patched(sound, sform_code=0, pixdim=(1, 0.8, 0, 5, 0, 0, 0, 0)), "zero.nii.gz")
    flat = (1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0)
    write_bytes(patched(sound, srow=flat, qform_code=0), "singular.nii.gz")
    write_bytes(patched(sound, dim=(3, 32767, 32767, 32767, 1, 1, 1, 1)), "huge.nii.gz")
    for name in "ab":
        dicom_files.write_series(
            tmp_path / "study" / name,
            dicom_files.ramp(),
            SeriesInstanceUID=f"{dicom_files.SERIES_UID}.{ord(name)}",
        )
    good = f"--input={tmp_path}/good.nii"
    out = f"--output={tmp_path}/new/out.nii.gz"
    with_model, png = f"--model={model}", f"--preview={tmp_path}/a.png"
    cases = [
        ([with_model, out], "--input: expected a NIfTI file"),
        ([with_model, good, out, "--dataset=d", "--splits=s"], "in its place, found both"),
        ([with_model, out, "--dataset=d"], "--dataset: expected together with --splits"),
        ([with_model, good, out, "--splits=s"], "--splits: expected together with --dataset"),
        ([with_model, good, out, "--modality=US"], "--modality: expected one of CT, MR, found"),
        ([with_model, f"--input={tmp_path}/none.nii", out], "none.nii: expected a NIfTI file"),
        ([with_model, f"--input={tmp_path}/plain.nii.gz", out], "expected a NIfTI header"),
        ([with_model, f"--input={tmp_path}/flat.nii.gz", out], "expected a 3D volume, found 2D"),
        ([with_model, f"--input={tmp_path}/moving.nii.gz", out], "more than one time point"),
        ([with_model, f"--input={tmp_path}/zero.nii.gz", out], "expected positive voxel sizes"),
        ([with_model, f"--input={tmp_path}/singular.nii.gz", out], "expected an invertible "),
        ([with_model, f"--input={tmp_path}/huge.nii.gz", out], "70,362,301,923,326 bytes"),
        ([with_model, f"--input={tmp_path}/empty", f"--output={tmp_path}/new"], "found none"),
        ([f"--model={tmp_path}/empty", good, out], "expected a SavedModel folder"),
        ([f"--model={tmp_path}/absent", good, out], "no such folder"),
        ([f"--model={tmp_path}/other_model", good, out], "without assets.extra/model.json"),
        ([with_model, good, out, "--treshold=0.4"], "Unknown command line flag 'treshold'"),
        ([with_model, good, out, "--threshold=2"], "--threshold: expected at most 1, found 2.0"),
        ([with_model, good, out, "--threshold=nan"], "--threshold: expected a number"),
        ([with_model, good, out, "--device=tpu"], "--device: expected auto, cpu, gpu or gpu:N"),
        ([with_model, good, out, "--precision=int8"], "--precision: expected one of auto"),
        ([with_model, good, out, "--runtime=torch"], "--runtime: expected one of auto, onnx"),
        (
            [with_model, good, out, "--runtime=onnx", "--precision=bfloat16"],
            "expected tensorflow for --precision=bfloat16, found onnx",
        ),
        ([f"--model={bare}", good, out, "--runtime=onnx"], "expected an ONNX model for --runtime"),
        ([with_model, good, out, "stray"], "found 'stray'"),
        ([with_model, good, f"--output={tmp_path}/out.png"], "ends in .nii or .nii.gz"),
        ([with_model, good, f"--output={tmp_path}/good.nii"], "expected a place of its own"),
        (
            [with_model, good, f"--output={tmp_path}/good.nii/out.nii"],
            "to be a folder, found a file",
        ),
        ([with_model, good, out, f"--preview={tmp_path}/a.jpg"], "ends in .png"),
        ([with_model, good, out, f"--dicom_seg={tmp_path}/a.dcm"], "DICOM for --dicom_seg, found"),
        ([with_model, good, out, "--series_uid=1.2"], "expected DICOM for --series_uid, found"),
        ([with_model, f"--input={tmp_path}/study", out], "expected one series, found 2: "),
        ([with_model, f"--input={tmp_path}/study/a/IM0000", out], "name their folder"),
        (
            [with_model, f"--input={tmp_path}/study/a", out, f"--dicom_seg={tmp_path}/a.nii"],
            "ends in .dcm",
        ),
        ([with_model, good, out, f"--mesh={tmp_path}/a.vtk"], "ends in .stl or .obj or .ply"),
        ([with_model, good, out, "--smooth_mesh"], "--smooth_mesh: expected together with --mesh"),
        ([with_model, good, out, "--preview_voxel=1,2,3"], "expected together with --preview,"),
        ([with_model, good, out, png, "--preview_voxel=8,0,0"], "with i from 0 to 7, found 8,0,0"),
        ([with_model, good, out, png, "--preview_voxel=1,2"], "three whole numbers i,j,k, found 1"),
        (
            [with_model, good, out, png, "--preview_voxel=1,2,2.5"],
            "expected integers separated by commas, found '1,2,2.5'",
        ),
        (
            [with_model, good, out, png, "--preview_voxel=1,2,inf"],
            "expected integers separated by commas, found '1,2,inf'",
        ),
        ([with_model, good, out, png, "--preview_voxel=1,2,-1"], "expected at least 0, found -1"),
    ]
    before = sorted(tmp_path.rglob("*"))
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(WITHOUT_TENSORFLOW))
    (tmp_path / "cases.txt").write_text(json.dumps([arguments for arguments, _ in cases]))
    finished = run_python(script, tmp_path / "cases.txt")
    assert finished.returncode == 0, finished.stderr
    for (arguments, expected), (code, stderr) in zip(
        cases, json.loads(finished.stdout), strict=True
    ):
        lines = [line for line in stderr.splitlines() if not line.startswith("warning: ")]
        assert (code, len(lines)) == (2, 1), (arguments, code, stderr)
        assert lines[0].startswith("error: "), arguments
        assert expected in lines[0], arguments
    assert sorted(tmp_path.rglob("*")) == sorted([*before, script, tmp_path / "cases.txt"])


WITH_IMPORTS = """
    import json, runpy, sys

    for arguments in json.load(open(sys.argv[1])):
        sys.argv = ["predict", *arguments]
        try:
            runpy.run_module("spleen_tf.predict", run_name="__main__", alter_sys=True)
        except SystemExit as ended:
            print(json.dumps([ended.code, sorted(sys.modules)]))
"""


def test_a_prediction_imports_what_its_input_and_outputs_need_alone(
    exported, write_scan, tmp_path, run_python
):
    """Three in one process: of NIfTI without and with a spleen, and of a DICOM series."""
    empty = write_scan("empty.nii.gz", values=np.full(SHAPE, 7, np.int16))
    dicom_files.write_series(tmp_path / "series", dicom_files.ramp())
    cases = [
        [f"--model={exported['MR']}", f"--input={source}", f"--output={tmp_path}/{number}.nii.gz"]
        for number, source in enumerate((empty, write_scan(), tmp_path / "series"))
    ]
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(WITH_IMPORTS))
    (tmp_path / "cases.txt").write_text(json.dumps(cases))
    finished = run_python(script, tmp_path / "cases.txt")
    ends = [json.loads(line) for line in finished.stdout.splitlines() if line.startswith("[")]
    assert [code for code, _ in ends] == [0, 0, 0], finished.stderr
    of_empty, of_mask, of_dicom = (set(modules) for _, modules in ends)
    assert "onnxruntime" in of_empty
    unneeded = {"highdicom", "jinja2", "matplotlib", "requests", "skimage"}
    unneeded |= {"scipy.ndimage", "scipy.spatial"}
    assert not of_mask & {*unneeded, "pydicom", "spleen_tf.io.dicom.streams"}
    assert {"pydicom", "spleen_tf.io.dicom.streams"} <= of_dicom
    assert not of_dicom & {"highdicom", "jinja2", "matplotlib"}


def test_onnx_models_need_no_tensorflow(exported, write_scan, tmp_path, run_python):
    """The command line, in a process in which TensorFlow cannot be imported."""
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(WITHOUT_TENSORFLOW))
    arguments = [f"--model={exported['MR']}", f"--input={write_scan()}"]
    arguments.append(f"--output={tmp_path}/out.nii.gz")
    cases = [arguments, [*arguments, "--runtime=tensorflow"]]
    (tmp_path / "cases.txt").write_text(json.dumps(cases))
    finished = run_python(script, tmp_path / "cases.txt")
    (code, _), (refused, _) = json.loads(finished.stdout.splitlines()[-1])
    assert code == 0, finished.stdout
    assert "tensorflow was imported" in refused  # The other runtime would have needed it.
    assert np.array_equal(mask_of(tmp_path / "out.nii.gz"), block_mask())


def test_the_real_ct_is_segmented_within_two_gigabytes(
    real_data, exported, model_copy, run_python, tmp_path
):
    """512 × 512 × 133 voxels, in axial slices with their neighbours, through the command line."""
    source = next((real_data / "ct" / "imagesTr").glob("*.nii.gz"))
    model = model_copy("CT", plane="axial")
    finished = run_python(
        *("-m", "spleen_tf.predict", f"--model={model}", f"--input={source}"),
        *(f"--output={tmp_path}/out.nii.gz", "--precision=float32", "--device=cpu"),
        timeout_s=600,
    )
    assert finished.returncode == 0, finished.stderr
    image, mask = nibabel.load(source), nibabel.load(tmp_path / "out.nii.gz")
    assert mask.shape == image.shape
    assert mask.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(mask.header.get_sform(), image.header.get_sform())
    np.testing.assert_array_equal(mask.header.get_qform(), image.header.get_qform())
    content = content_of(tmp_path / "out.json")
    assert content["voxels"] == np.count_nonzero(np.asarray(mask.dataobj)) > 0
    assert content["peak_rss_mb"] < 2000


@pytest.fixture
def family(model_copy, tmp_path):
    """A family of two planes with a calibration by which the Dice is 0.9 · agreement."""
    for plane in ("axial", "coronal"):
        model_copy("MR", f"family/{plane}", plane=plane, name=f"family-{plane}")
    known = calibration.Calibration(2, (0.5, 0.1), ("agreement",), (0.9,), 0.0, 0.5, 0.85)
    calibration.write(tmp_path / "family" / "quality.json", known)
    return tmp_path / "family"


def test_a_calibrated_family_predicts_its_dice(run, write_scan, family, tmp_path):
    run(write_scan(), model=[family])
    content = content_of(tmp_path / "out.json")
    # Both planes find the same block; the half width is 0.5 · (1 − 0.9 + 0.05).
    assert content["signs"]["agreement"] == 1.0
    assert content["predicted_dice"] == pytest.approx(0.9)
    assert content["predicted_dice_interval"] == pytest.approx([0.825, 0.975])


@pytest.mark.parametrize(
    ("modality", "note"),
    [("MR", None), ("", None), ("CT", "calibrated on CT; the interval is not valid for MR")],
)
def test_a_dice_that_another_modality_taught_says_so(
    run, write_scan, family, tmp_path, modality, note
):
    known = calibration.read(family / "quality.json")
    calibration.write(family / "quality.json", msgspec.structs.replace(known, modality=modality))
    run(write_scan(), model=[family])
    assert content_of(tmp_path / "out.json")["predicted_dice_note"] == note


def test_a_low_predicted_dice_asks_for_a_review(run, write_scan, family, tmp_path):
    known = calibration.read(family / "quality.json")
    calibration.write(family / "quality.json", msgspec.structs.replace(known, review_below=0.95))
    run(write_scan(), model=[family])
    reasons = content_of(tmp_path / "out.json")["reasons"]
    assert "low predicted Dice: 0.90, below 0.95" in reasons


@pytest.mark.slow
def test_a_calibration_applies_to_the_whole_family_alone(run, write_scan, family, tmp_path):
    for options in (
        {"model": [family / "axial"]},
        {"model": [family / "axial", family / "coronal"]},
        {"model": [family], "tta": True},
        {"model": [family], "threshold": 0.4},
        {"model": [family], "largest_component": False},
        {"model": [family], "fill_holes": False},
    ):
        run(write_scan(), **options)
        assert content_of(tmp_path / "out.json")["predicted_dice"] is None


def test_a_single_model_votes_in_several_sizes_and_its_mask_does_not_change(
    run, write_scan, exported, tmp_path
):
    model = tmp_path / "single" / "saved_model"
    shutil.copytree(exported["MR"], model)
    # Grain as fine as the voxels, which another size blurs in another way.
    scan = write_scan(values=np.random.default_rng(0).integers(0, 1000, SHAPE).astype(np.int16))
    run(scan, model=[model])
    mask = mask_of(tmp_path / "out.nii.gz")
    known = calibration.Calibration(1, (0.5, 0.1), ("agreement",), (0.9,), 0.0, 0.5, 0.85)
    calibration.write(tmp_path / "single" / "quality.json", known)
    for named in (model, tmp_path / "single"):
        run(scan, model=[named])
        content = content_of(tmp_path / "out.json")
        assert 0 < content["signs"]["agreement"] < 1
        assert content["predicted_dice"] == pytest.approx(0.9 * content["signs"]["agreement"])
        np.testing.assert_array_equal(mask_of(tmp_path / "out.nii.gz"), mask)


def test_no_dice_is_predicted_where_nothing_is_found(run, write_scan, family, tmp_path):
    run(write_scan(values=np.full(SHAPE, 7, np.int16)), model=[family])
    content = content_of(tmp_path / "out.json")
    assert (content["predicted_dice"], content["predicted_dice_interval"]) == (None, None)


def test_a_damaged_calibration_is_named(run, write_scan, family):
    (family / "quality.json").write_text("{}")
    with pytest.raises(InputError, match=r"quality\.json: expected the key 'members'"):
        run(write_scan(), model=[family])
