"""The comparison with MONAI: which flags it rejects, what it writes, and that real networks train.

In most tests another program stands in for the interpreter with PyTorch and MONAI. The tests of
real networks need one: SPLEEN_TF_PEER_PYTHON names it.
"""

import json
import os
import sys

import numpy as np
import pytest

from spleen_tf.datasets import cases
from spleen_tf.datasets.splits import make_splits
from spleen_tf.imaging.volume import Volume
from spleen_tf.io import nifti

# Stored back to front, feet to head, right to left; voxels of 4×5×3 mm.
AFFINE = np.array([[0, 0, 3, -30.0], [4, 0, 0, -40], [0, 5, 0, 10], [0, 0, 0, 1]])
SHAPE = (12, 10, 14)
VERSIONS = {"python": "3.11.0", "torch": "2.13.0", "monai": "1.4.0", "numpy": "1.26.4"}

# Answers as the program of the other interpreter does, and finds the spleen where the label has it,
# and one voxel elsewhere. Its second line is a command to a shell and a string to Python: a path
# with a space cannot stand behind #!.
STAND_IN = f"""#!/bin/sh
''''exec "{sys.executable}" "$0" "$@" #'''
import json, pathlib, sys
import numpy as np

if sys.argv[1] == "-c":
    print({json.dumps(json.dumps(VERSIONS))})
    sys.exit()
folder, settings = pathlib.Path(sys.argv[-2]), json.loads(sys.argv[-1])
for name in settings["train"] + settings["held_out"]:
    scan = np.load(folder / f"{{name}}.npz")
    # The image is the distance to the right, and thousandfold that to the front.
    assert np.allclose(np.diff(scan["image_ras"], axis=0), scan["zooms_mm"][0]), name
    assert np.allclose(np.diff(scan["image_ras"], axis=1), 1000 * scan["zooms_mm"][1]), name
    mask = scan["label_ras"] > 0
    mask[0, 0, 0] = True
    np.save(folder / f"{{name}}.npy", mask)
print("step 50, 20%, loss 0.5")
seconds = dict.fromkeys(settings["held_out"], 1.5)
outcome = {{"parameters": 7782849, "steps": 60, "images": 480, "minutes": 0.5, "seconds": seconds}}
(folder / "outcome.json").write_text(json.dumps(outcome))
"""


def written_program(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return path


def written_dataset(folder, modalities, shape=SHAPE):
    """Cases whose spleen is a box, and whose images are the patient's right and front in mm."""
    rows = ["case,image,label,modality"]
    ijk = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    mm = ijk @ AFFINE[:3, :3].T
    image = (mm[..., 0] + 1000 * mm[..., 1]).astype(np.float32)
    for number, modality in enumerate(modalities):
        label = np.zeros(shape, np.uint8)
        label[3:9, 2:7, 5 + number : 11] = 1
        for kind, array in (("image", image), ("label", label)):
            nifti.write(folder / f"{kind}_{number}.nii.gz", Volume(array, AFFINE, ""))
        rows.append(f"case_{number},image_{number}.nii.gz,label_{number}.nii.gz,{modality}")
    table = folder / "cases.csv"
    table.write_text("\n".join(rows) + "\n")
    return table


@pytest.fixture
def compare(load_tool, run_main, tmp_path):
    tool = load_tool("compare_monai")
    dataset = written_dataset(tmp_path, ["CT", "CT"])
    stand_in = written_program(tmp_path / "python", STAND_IN)

    def run(**flags):
        defaults = {"dataset": dataset, "output_dir": tmp_path / "masks", "num_folds": 2}
        given = {**defaults, "peer_python": stand_in, **flags}
        argv = (f"--{name}={value}" for name, value in given.items())
        return run_main(tool.main, tool.CompareConfig, *argv)

    return run


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"folds": "2"}, "--folds: expected numbers from 0 to 1, once each, found '2'."),
        ({"folds": "0,x"}, "--folds: expected numbers from 0 to 1, once each, found '0,x'."),
        ({"num_folds": 3}, "--num_folds: expected at most 2, the number of cases, found 3."),
        ({"network": "4d"}, "--network: expected one of 2d, 3d, found '4d'."),
        (
            {"network": "3d", "batch_size": 6},
            "--batch_size: expected a multiple of 4, the crops of a volume, with --network=3d, "
            "found 6.",
        ),
        (
            {"peer_python": "/no/python"},
            "--peer_python: expected a Python interpreter, found /no/python: No such file or "
            "directory.",
        ),
    ],
)
def test_flags_that_cannot_be_followed_are_rejected(compare, flags, message):
    assert compare(**flags) == (2, "", f"error: {message}\n")


def test_ct_and_mr_are_not_compared_together(compare, tmp_path):
    (tmp_path / "both").mkdir()
    dataset = written_dataset(tmp_path / "both", ["CT", "MR"])
    code, _, stderr = compare(dataset=dataset)
    assert code == 2
    assert "expected cases of one modality, found CT and MR" in stderr


def test_without_monai_it_says_what_to_install(compare, tmp_path):
    missing = "No package metadata was found for monai"
    program = written_program(tmp_path / "bare", f"#!/bin/sh\necho '{missing}' >&2\nexit 1\n")
    code, _, stderr = compare(peer_python=program)
    assert code == 1
    assert f"found: {missing}; install requirements-peers.txt." in stderr
    assert not (tmp_path / "masks").exists()


def test_a_training_that_fails_says_why(compare, tmp_path):
    failing = STAND_IN.replace('print("step', 'raise MemoryError("no room")\nprint("step')
    code, _, stderr = compare(peer_python=written_program(tmp_path / "failing", failing))
    assert code == 1
    assert "to train and segment, found: MemoryError: no room." in stderr
    assert list((tmp_path / "masks").iterdir()) == []


def test_masks_lie_on_the_images_own_grid_and_in_one_piece(compare, tmp_path):
    code, stdout, stderr = compare(folds="")
    assert code == 0, stderr
    assert "fold 1: step 50, 20%, loss 0.5\n" in stdout
    # 480 images in half a minute.
    assert "fold 0: 7.8 M parameters, 60 steps, 16.0 images/s\n" in stdout
    for number in range(2):
        truth = nifti.read(tmp_path / f"label_{number}.nii.gz")
        mask = nifti.read(tmp_path / "masks" / f"case_{number}.nii.gz")
        np.testing.assert_array_equal(mask.array_ijk, truth.array_ijk)
        np.testing.assert_allclose(mask.affine, truth.affine)


@pytest.mark.parametrize(
    ("network", "base_filters", "learning_rate"), [("2d", 32, 1e-3), ("3d", 16, 1e-4)]
)
def test_a_fold_has_a_report(compare, tmp_path, network, base_filters, learning_rate):
    code, _, stderr = compare(network=network, minutes=0.5, seed=7, folds="1")
    assert code == 0, stderr
    splits = make_splits(cases.load(tmp_path / "cases.csv"), 7, 1, 2)
    report = json.loads((tmp_path / "masks" / "fold_1.json").read_text())
    assert (report["fold"], report["num_folds"], report["fold_seed"]) == (1, 2, 7)
    assert report["versions"] == VERSIONS
    assert report["machine"]["cores"] >= 1
    assert report["outcome"]["seconds"] == dict.fromkeys(splits.validation, 1.5)
    assert report["settings"] == {
        "network": network,
        "modality": "CT",
        "train": list(splits.train),
        "held_out": list(splits.validation),
        "minutes": 0.5,
        "batch_size": 8,
        "base_filters": base_filters,
        "learning_rate": learning_rate,
        "compile": True,
        "seed": 8,
    }


@pytest.mark.slow
@pytest.mark.parametrize(("network", "modality"), [("2d", "CT"), ("2d", "MR"), ("3d", "CT")])
def test_real_networks_train_and_segment(compare, tmp_path, network, modality):
    peer_python = os.environ.get("SPLEEN_TF_PEER_PYTHON")
    if not peer_python:
        pytest.skip("SPLEEN_TF_PEER_PYTHON names no interpreter with PyTorch and MONAI")
    (tmp_path / "real").mkdir()
    code, stdout, stderr = compare(
        dataset=written_dataset(tmp_path / "real", [modality] * 2),
        network=network,
        peer_python=peer_python,
        minutes=0.01,
        base_filters=2,
        compile="false",
        batch_size=4,
    )
    assert code == 0, stderr
    assert "images/s" in stdout
    (mask,) = (tmp_path / "masks").glob("*.nii.gz")
    assert nifti.read(mask).shape == SHAPE
    report = json.loads((tmp_path / "masks" / "fold_0.json").read_text())
    # Those before the time starts, and one more at least.
    assert report["outcome"]["steps"] > 3
    assert report["outcome"]["images"] == 4 * report["outcome"]["steps"]
