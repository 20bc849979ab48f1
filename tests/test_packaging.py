"""setup.py, the lock files, the wheel and the check of .venv fit together."""

import ast
import importlib.metadata
import json
import os
import pathlib
import re
import subprocess
import sys
import venv
import zipfile

import nibabel
import numpy as np
import pytest
from packaging.requirements import Requirement

import spleen_tf
from spleen_tf.inference import released
from spleen_tf.phantom import generate

ROOT = pathlib.Path(__file__).parent.parent
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PREDICT_LOCK = (ROOT / "requirements-predict.lock").read_text(encoding="utf-8")

FOR_TRAINING = {"tensorflow", "keras", "tensorflow-addons", "onnx", "tf2onnx", "setuptools"}
LINUX = {"sys_platform": "linux", "platform_machine": "x86_64"}
ARM_LINUX = {"sys_platform": "linux", "platform_machine": "aarch64"}
MAC = {"sys_platform": "darwin", "platform_machine": "arm64"}
INTEL_MAC = {"sys_platform": "darwin", "platform_machine": "x86_64"}
WINDOWS = {"sys_platform": "win32", "platform_machine": "AMD64"}


@pytest.fixture(scope="module")
def metadata(tmp_path_factory):
    """What setup.py declares, as pip would read it."""
    folder = tmp_path_factory.mktemp("metadata")
    subprocess.run(
        [sys.executable, "setup.py", "-q", "egg_info", f"--egg-base={folder}"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return importlib.metadata.PathDistribution(folder / "spleen_tf.egg-info")


def pins(lock=LOCK):
    """{name: version} of a lock file."""
    names_and_versions = re.findall(r"^([a-z0-9-]+)==(\S+)", lock, re.MULTILINE)
    assert len(names_and_versions) == len(dict(names_and_versions)), "a package is pinned twice"
    return dict(names_and_versions)


def test_the_version_is_that_of_the_package(metadata):
    assert metadata.version == spleen_tf.__version__


def required(metadata, python, platform, extra=""):
    """The requirements on a platform, by setup.py's markers."""
    where = {"python_version": python, "extra": extra, **platform}
    requirements = [Requirement(text) for text in metadata.requires]
    return [r for r in requirements if r.marker is None or r.marker.evaluate(where)]


@pytest.mark.parametrize("platform", [LINUX, MAC])
def test_where_tensorflow_2_15_and_its_addons_have_wheels_models_are_trained(metadata, platform):
    requirements = required(metadata, "3.11", platform)
    assert {r.name for r in requirements} >= FOR_TRAINING
    numpy = [r.specifier for r in requirements if r.name == "numpy"]
    assert all(specifier.contains("1.26.4") for specifier in numpy)
    assert not all(specifier.contains("2.0.0") for specifier in numpy)


@pytest.mark.parametrize(
    ("python", "platform"),
    [
        *(("3.11", platform) for platform in (ARM_LINUX, INTEL_MAC, WINDOWS)),
        *(("3.12", platform) for platform in (LINUX, MAC, WINDOWS)),
        *(("3.13", platform) for platform in (LINUX, ARM_LINUX, MAC, INTEL_MAC, WINDOWS)),
    ],
)
def test_elsewhere_nothing_for_training_is_required(metadata, python, platform):
    names = {requirement.name for requirement in required(metadata, python, platform)}
    assert names & FOR_TRAINING == set()
    assert {"numpy", "onnxruntime", "nibabel"} <= names
    bounds = re.search(r"^Requires-Python: (.*)$", metadata.read_text("PKG-INFO"), re.MULTILINE)[1]
    assert Requirement(f"python{bounds}").specifier.contains(python)


@pytest.mark.parametrize(
    ("lock", "python", "platform", "extra", "some"),
    [
        (LOCK, "3.11", LINUX, "dev", {"tensorflow", "pytest"}),
        (PREDICT_LOCK, "3.12", LINUX, "", {"onnxruntime"}),
        (PREDICT_LOCK, "3.13", WINDOWS, "", {"onnxruntime"}),
        (PREDICT_LOCK, "3.11", ARM_LINUX, "", {"onnxruntime"}),
    ],
)
def test_every_requirement_is_pinned_within_its_bounds(
    metadata, lock, python, platform, extra, some
):
    requirements = required(metadata, python, platform, extra)
    assert some <= {requirement.name for requirement in requirements}
    for requirement in requirements:
        pin = pins(lock).get(requirement.name.lower())
        assert pin, f"{requirement}: not in the lock file; run make lock"
        assert requirement.specifier.contains(pin), f"{requirement}: run make lock, found {pin}"


def test_the_lock_for_predictions_has_nothing_for_training():
    assert set(pins(PREDICT_LOCK)) & FOR_TRAINING == set()
    assert pins(PREDICT_LOCK)["numpy"].startswith("2.")


@pytest.mark.parametrize("lock", [LOCK, PREDICT_LOCK])
def test_every_pin_has_a_checksum(lock):
    blocks = re.split(r"\n(?=[a-z])", re.sub(r"^ *#.*\n", "", lock, flags=re.MULTILINE))
    assert len(blocks) == len(pins(lock))
    for block in blocks:
        assert "--hash=sha256:" in block, block


@pytest.mark.parametrize("lock", [LOCK, PREDICT_LOCK])
def test_the_locks_name_no_place_but_the_package_index(lock):
    assert not re.search(r"://|file:|--(extra-)?index-url|--find-links|^-", lock, re.MULTILINE)


def test_every_file_of_a_package_that_is_no_module_is_shipped():
    setup = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(setup) if isinstance(node, ast.keyword)]
    (package_data,) = (ast.literal_eval(call.value) for call in calls if call.arg == "package_data")
    shipped = {
        path
        for package, patterns in package_data.items()
        for pattern in patterns
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    files = (path for path in (ROOT / "spleen_tf").rglob("*") if path.is_file())
    assert {path for path in files if path.suffix not in (".py", ".pyc")} == shipped


def test_no_package_under_the_gpl_is_installed_unasked():
    assert "pylibjpeg-libjpeg" not in {*pins(), *pins(PREDICT_LOCK)}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["egg_info", f"--egg-base={folder}", "build", f"--build-base={folder}"]
    subprocess.run(
        [sys.executable, "setup.py", "-q", *options, "bdist_wheel", f"--dist-dir={folder}"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.slow
def test_a_wheel_has_each_released_model_once(wheel):
    expected = set()
    for family in (ROOT / "models" / name for name in released.NAMES):
        names = ("MODEL_CARD.md", "quality.json", "cv.json")
        files = [family / name for name in names if (family / name).is_file()]
        for saved_model in family.rglob("saved_model"):
            onnx = saved_model.parent / "model.onnx"
            if onnx.is_file():
                files += [onnx, saved_model / "assets.extra" / "model.json"]
            else:
                files += filter(pathlib.Path.is_file, saved_model.rglob("*"))
        expected |= {f"spleen_tf/_models/{path.relative_to(ROOT / 'models')}" for path in files}
    with zipfile.ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if "/_models/" in name} == expected
    assert {"spleen_any", "spleen_mr_t2"} <= {name.split("/")[2] for name in expected}
    assert wheel.stat().st_size < 60e6


@pytest.mark.slow
def test_a_wheel_predicts_by_itself_away_from_the_checkout(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    values = np.random.default_rng(0).integers(0, 400, (40, 40, 12)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([5.0, 5, 8, 1])), tmp_path / "mr.nii.gz")
    done = subprocess.run(
        [sys.executable, "-m", "spleen_tf.predict", "--input=mr.nii.gz", "--output=mask.nii.gz"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    record = json.loads((tmp_path / "mask.json").read_text(encoding="utf-8"))
    assert record["model"].startswith("spleen_mr_t2")
    assert record["modality"] == "MR"
    assert "ONNX Runtime" in done.stdout


@pytest.mark.slow
def test_a_wheel_predicts_with_the_packages_of_its_own_lock(wheel, tmp_path):
    """NumPy 2 is among them, and TensorFlow is not."""
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--no-compile"]
    lock = ["--require-hashes", "--requirement", ROOT / "requirements-predict.lock"]
    done = subprocess.run([*install, *lock], capture_output=True, text=True)
    if re.search("No matching distribution|Max retries|Connection", done.stderr):
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr
    subprocess.run([*install, "--no-deps", "--no-index", wheel], check=True)
    image = generate.make(4, "CT", max_size=64, protocol="portal venous").image
    nibabel.save(nibabel.Nifti1Image(image.array_ijk, image.affine), tmp_path / "ct.nii.gz")
    done = subprocess.run(
        [python, "-m", "spleen_tf.predict", "--input=ct.nii.gz", "--output=mask.nii.gz"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "mask.json").read_text(encoding="utf-8"))
    assert record["voxels"] > 0
    assert record["runtime"].startswith("onnx")


def test_the_citation_has_the_version_of_the_package():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (.*)$", citation, re.MULTILINE)[1] == spleen_tf.__version__


def test_the_changelog_has_the_version_of_the_package():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    dated = rf"^## {re.escape(spleen_tf.__version__)} \(\d{{4}}-\d\d-\d\d\)$"
    assert re.search(dated, changelog, re.MULTILINE)


def test_every_target_of_make_says_what_it_does():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
    assert targets == [*dict.fromkeys(targets)]
    assert set(targets) == set(re.findall(r"^([a-z-]+):.*## \S", makefile, re.MULTILINE))


def test_ci_runs_the_targets_of_make():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    workflow = (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
    for target in ("make test", "make test-slow"):
        assert re.search(rf"^{target}$", script, re.MULTILINE)
        assert re.search(rf"- run: {target}$", workflow, re.MULTILINE)


@pytest.fixture
def environment(tmp_path):
    """A virtual environment with one package of two files."""
    folder = tmp_path / "with spaces"
    venv.create(folder)
    site_packages = next(folder.glob("lib/python*/site-packages"))
    record = site_packages / "thing-1.0.dist-info" / "RECORD"
    record.parent.mkdir()
    (site_packages / "thing.py").write_text("")
    (site_packages / "a,b.txt").write_text("")
    record.write_text('thing.py,,\n"a,b.txt",,\n__pycache__/thing.cpython-311.pyc,,\n')
    return folder


def check(environment):
    return subprocess.run(
        [environment / "bin" / "python", ROOT / "tools" / "check_venv.py"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": ""},
    )


def test_an_environment_with_all_its_files_is_whole(environment):
    done = check(environment)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("lost", ["thing.py", "a,b.txt"])
def test_an_environment_that_lost_a_file_is_not_whole(environment, lost):
    next(environment.glob(f"lib/python*/site-packages/{lost}")).unlink()

    done = check(environment)

    assert done.returncode == 1
    assert f"expected {lost} as in thing-1.0.dist-info, found none" in done.stderr


def test_an_environment_without_packages_is_not_whole(environment):
    next(environment.glob("lib/python*/site-packages/*.dist-info/RECORD")).unlink()

    assert check(environment).returncode == 1
