"""The whole line through the real command lines, as a stranger would type them, on tiny volumes.

Six programs, one after the other: files, schemas, geometry and exit codes are looked at, not
accuracy, since the network has 2 filters and four steps to learn.
"""

import csv
import hashlib
import json
import shutil

import nibabel
import numpy as np
import pytest

TRAINING = (
    *("--image_size=32", "--pixel_mm=12", "--base_filters=2", "--depth=1", "--batch_size=2"),
    *("--steps=4", "--steps_per_epoch=2", "--precision=float32", "--seed=1"),
)
CASES = ("phantom_mr_000", "phantom_mr_001", "phantom_mr_002")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def line(run_python, tmp_path_factory):
    """The folder in which the whole line was run, and what each of its programs left behind."""
    folder = tmp_path_factory.mktemp("line")
    finished = {}

    def run(name, *command, code=0):
        done = finished[name] = run_python(*command, timeout_s=600)
        assert done.returncode == code, f"{name}: {done.stderr}"

    run(
        "make_phantom",
        *("tools/make_phantom.py", f"--output_dir={folder}/data", "--num_cases=3"),
        *("--modality=MR", "--max_size=64", "--workers=1"),
    )
    run(
        "make_tfrecords",
        *("tools/make_tfrecords.py", f"--dataset={folder}/data", f"--output_dir={folder}/records"),
        *("--num_folds=3", "--num_shards=2", "--workers=1"),
    )
    run(
        "train",
        *("-m", "spleen_tf.train", f"--records={folder}/records", f"--model_dir={folder}/model"),
        *TRAINING,
    )
    run(
        "export",
        *("-m", "spleen_tf.export", f"--model_dir={folder}/model"),
        f"--export_dir={folder}/models/tiny/saved_model",
    )
    shutil.copytree(folder / "data" / "imagesTr", folder / "inputs")
    whole = (folder / "inputs" / f"{CASES[0]}.nii.gz").read_bytes()
    (folder / "inputs" / "damaged.nii.gz").write_bytes(whole[: len(whole) // 2])
    run(
        "predict",
        *("-m", "spleen_tf.predict", f"--model={folder}/models/tiny", f"--input={folder}/inputs"),
        *(f"--output={folder}/masks", f"--preview={folder}/pictures", "--precision=float32"),
        code=1,
    )
    run(
        "evaluate",
        *("-m", "spleen_tf.evaluate", f"--predictions={folder}/masks"),
        *(f"--labels={folder}/data", f"--output_dir={folder}/results"),
    )
    return folder, finished


def content_of(path):
    return json.loads(path.read_text())


def test_records_are_named_and_described_as_tensorflow_datasets_has_it(line):
    records = line[0] / "records"
    names = sorted(path.name for path in records.iterdir())
    assert names == [
        "cases.json",
        "dataset_info.json",
        "features.json",
        "spleen-train.tfrecord-00000-of-00002",
        "spleen-train.tfrecord-00001-of-00002",
        "spleen-validation.tfrecord-00000-of-00001",
        "splits.json",
    ]
    splits = content_of(records / "splits.json")
    assert sorted([*splits["train"], *splits["validation"]]) == list(CASES)
    assert len(splits["validation"]) == 1


def test_training_logs_every_epoch_and_leaves_weights(line):
    model = line[0] / "model"
    with (model / "log.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    for row in rows:
        assert float(row["loss"]) > 0
        assert 0 <= float(row["val_dice"]) <= 1
    assert (model / "best.weights.h5").is_file()
    assert list((model / "tensorboard").rglob("events.out.tfevents.*"))


def test_the_saved_model_names_what_it_was_trained_on(line):
    folder = line[0]
    info = content_of(folder / "models/tiny/saved_model/assets.extra/model.json")
    assert list(info) == [
        *("name", "version", "plane", "modality", "pixel_mm", "window", "image_size"),
        *("learning_rate", "in_channels", "threshold", "labels", "family", "license"),
        *("training", "validation", "versions"),
    ]
    assert (info["name"], info["plane"], info["modality"]) == ("tiny", "coronal", "MR")
    assert (info["family"], info["license"]) == ("tiny", None)
    assert (info["pixel_mm"], info["image_size"]) == ([12, 12], 32)
    splits = content_of(folder / "records" / "splits.json")
    images = {name: folder / "data" / "imagesTr" / f"{name}.nii.gz" for name in splits["train"]}
    assert {case["name"]: case["sha256"] for case in info["training"]["cases"]} == {
        name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in images.items()
    }
    assert 0 <= info["validation"]["dice"] <= 1
    assert "1 validation cases" in info["validation"]["how"]


def test_every_sound_case_has_a_mask_on_its_grid_and_a_json(line):
    folder = line[0]
    names = sorted(path.name for path in (folder / "masks").iterdir())
    of_cases = [f"{case}{suffix}" for case in CASES for suffix in (".json", ".nii.gz")]
    assert names == sorted([*of_cases, "manifest.json"])
    for case in CASES:
        image = nibabel.load(folder / "inputs" / f"{case}.nii.gz")
        mask = nibabel.load(folder / "masks" / f"{case}.nii.gz")
        assert mask.get_data_dtype() == np.uint8
        assert mask.shape == image.shape
        for form in ("sform", "qform"):
            wanted, wanted_code = getattr(image.header, f"get_{form}")(coded=True)
            found, code = getattr(mask.header, f"get_{form}")(coded=True)
            assert code == wanted_code
            assert (found is None and wanted is None) or np.array_equal(found, wanted)
        voxels = np.count_nonzero(np.asarray(mask.dataobj))
        content = content_of(folder / "masks" / f"{case}.json")
        assert content["voxels"] == voxels
        assert content["model"] == "tiny"
        assert content["volume_mm3"] == pytest.approx(
            voxels * abs(np.linalg.det(image.affine[:3, :3]))
        )
    assert sorted(p.name for p in (folder / "pictures").iterdir()) == [f"{c}.png" for c in CASES]


def test_the_damaged_case_is_named_in_one_line(line):
    lines = line[1]["predict"].stderr.splitlines()
    errors = [text for text in lines if text.startswith("error: ")]
    assert len(errors) == 1
    assert "damaged.nii.gz: expected a whole gzip stream" in errors[0]
    assert lines[-1] == "1 of 4 cases failed: damaged.nii.gz"


def test_evaluation_has_a_row_per_case_and_the_table(line):
    results = line[0] / "results"
    with (results / "cases.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert sorted(row["case"] for row in rows) == list(CASES)
    assert list(rows[0]) == [
        *("case", "dice", "jaccard", "sensitivity", "specificity", "precision", "accuracy"),
        *("lr_positive", "lr_negative", "truth_mm3", "pred_mm3", "volume_error_mm3"),
        *("volume_error_percent", "abs_volume_error_percent", "hd_mm", "hd95_mm", "assd_mm"),
        *("nsd_1mm", "nsd_2mm"),
    ]
    for row in rows:
        mask = nibabel.load(line[0] / "masks" / f"{row['case']}.nii.gz")
        truth = nibabel.load(line[0] / "data" / "labelsTr" / f"{row['case']}.nii.gz")
        pred, label = (np.asarray(image.dataobj) > 0 for image in (mask, truth))
        dice = 2 * (pred & label).sum() / (pred.sum() + label.sum())
        assert float(row["dice"]) == pytest.approx(dice, abs=1e-6)
    summary = content_of(results / "summary.json")
    assert summary["cases"] == 3
    assert set(summary["dice"]) >= {"mean", "sd", "median", "minimum", "maximum", "ci95"}
    assert "tiny" in (results / "results.md").read_text()


def test_every_program_prints_a_result_and_no_noise(line):
    """A result on stdout, and nothing of TensorFlow's own on stderr."""
    for name, done in line[1].items():
        assert done.stdout.strip(), name
        for noise in ("Traceback", "WARNING:tensorflow", "UserWarning", "oneDNN", "cuda"):
            assert noise not in done.stderr, f"{name}: {done.stderr}"
