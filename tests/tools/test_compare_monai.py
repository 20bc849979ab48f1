"""The comparison with MONAI: which flags it refuses and, where MONAI is, what it writes."""

import sys

import numpy as np
import pytest

from spleen_tf.datasets import cases
from spleen_tf.datasets.splits import make_splits
from spleen_tf.io import nifti


@pytest.fixture(scope="module")
def dataset(run_python, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dataset")
    made = run_python(
        *("tools/make_phantom.py", f"--output_dir={folder}", "--num_cases=2", "--modality=MR"),
        *("--max_size=64", "--workers=1"),
        timeout_s=300,
    )
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture
def compare(load_tool, run_main, dataset, tmp_path):
    tool = load_tool("compare_monai")

    def run(**flags):
        given = {"dataset": dataset, "output_dir": tmp_path / "masks", "num_folds": 2, **flags}
        argv = (f"--{name}={value}" for name, value in given.items())
        return run_main(tool.main, tool.CompareConfig, *argv)

    return tool, run


def test_without_monai_it_says_what_to_install(compare, monkeypatch):
    _, run = compare
    monkeypatch.setitem(sys.modules, "monai", None)
    code, _, stderr = run()
    assert code == 1
    assert stderr.startswith("error: expected PyTorch and MONAI to compare with")
    assert "pip install torch monai" in stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"folds": "2"}, "--folds: expected numbers from 0 to 1, once each, found '2'."),
        ({"folds": "0,x"}, "--folds: expected numbers from 0 to 1, once each, found '0,x'."),
        ({"num_folds": 3}, "--num_folds: expected at most 2, the number of cases, found 3."),
    ],
)
def test_folds_that_there_are_not_are_refused(compare, flags, message):
    _, run = compare
    assert run(**flags) == (2, "", f"error: {message}\n")


def test_the_learning_rate_rises_and_falls(compare):
    tool, _ = compare
    shares = np.linspace(0, 1, 101)
    rates = [tool._schedule(share) for share in shares]
    assert rates[0] < 0.02
    assert 0.9 < max(rates) <= 1
    assert shares[np.argmax(rates)] == pytest.approx(0.05, abs=0.011)
    assert rates[-1] == 0


def test_held_out_cases_get_masks_on_their_own_grid(compare, dataset, tmp_path):
    pytest.importorskip("monai", reason="PyTorch and MONAI are not part of the environment")
    _, run = compare
    code, stdout, stderr = run(minutes=0.02, base_filters=2, compile="false", batch_size=2)
    assert code == 0, stderr
    held_out = make_splits(cases.load(dataset), 0, 0, 2).validation
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == [
        f"{name}.nii.gz" for name in held_out
    ]
    for case in cases.load(dataset):
        if case.name in held_out:
            image, mask = (
                nifti.read(case.image),
                nifti.read(tmp_path / "masks" / f"{case.name}.nii.gz"),
            )
            assert mask.shape == image.shape
            np.testing.assert_allclose(mask.affine, image.affine, atol=1e-4)
    assert "images/s" in stdout
