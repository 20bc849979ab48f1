"""What the tests of the cluster share."""

import nibabel
import numpy as np
import pytest

from spleen_tf import predict
from spleen_tf.predict import PredictConfig


@pytest.fixture
def bucket():
    """The URL of an empty folder in this process's memory."""
    memory = pytest.importorskip("fsspec").filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
    yield "memory://bucket"
    memory.store.clear()


@pytest.fixture(scope="session")
def make_scans(make_affine):
    """A function that writes MR volumes, each with a bright block elsewhere; by their names."""

    def write(folder, names):
        folder.mkdir(parents=True, exist_ok=True)
        for number, name in enumerate(names):
            array_ijk = np.zeros((20, 18, 12), np.int16)
            array_ijk[2 + number : 8 + number, 5:12, 3:9] = 1000
            image = nibabel.Nifti1Image(array_ijk, make_affine("RAS", (2.0, 2.0, 2.0)))
            nibabel.save(image, folder / f"{name}.nii.gz")
        return folder

    return write


@pytest.fixture
def segment(run_main, exported):
    """A function that segments a folder: its exit code, its last line on stdout, its stderr."""

    def run(source, output, *flags):
        flags = (f"--model={exported['MR']}", f"--input={source}", f"--output={output}", *flags)
        code, out, err = run_main(predict.main, PredictConfig, *flags)
        return code, out.splitlines()[-1] if out else "", err

    return run


@pytest.fixture
def masks():
    """A function from a folder to the bytes of its masks by name."""
    return lambda folder: {path.name: path.read_bytes() for path in folder.glob("*.nii.gz")}
