"""setup.py, requirements.lock and the check of .venv fit together."""

import ast
import importlib.metadata
import os
import pathlib
import re
import subprocess
import sys
import venv

import pytest
from packaging.requirements import Requirement

import spleen_tf

ROOT = pathlib.Path(__file__).parent.parent
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


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


def pins():
    """{name: version} of the lock file."""
    names_and_versions = re.findall(r"^([a-z0-9-]+)==(\S+)", LOCK, re.MULTILINE)
    assert len(names_and_versions) == len(dict(names_and_versions)), "a package is pinned twice"
    return dict(names_and_versions)


def test_the_version_is_that_of_the_package(metadata):
    assert metadata.version == spleen_tf.__version__


def test_every_requirement_is_pinned_within_its_bounds(metadata):
    requirements = [Requirement(text) for text in metadata.requires]
    locked = [r for r in requirements if r.marker is None or r.marker.evaluate({"extra": "dev"})]

    assert {"tensorflow", "pytest"} <= {requirement.name for requirement in locked}
    for requirement in locked:
        pin = pins().get(requirement.name.lower())
        assert pin, f"{requirement}: not in requirements.lock; run make lock"
        assert requirement.specifier.contains(pin), f"{requirement}: run make lock, found {pin}"


def test_every_pin_has_a_checksum():
    blocks = re.split(r"\n(?=[a-z])", re.sub(r"^ *#.*\n", "", LOCK, flags=re.MULTILINE))
    assert len(blocks) == len(pins())
    for block in blocks:
        assert "--hash=sha256:" in block, block


def test_the_lock_names_no_place_but_the_package_index():
    assert not re.search(r"://|file:|--(extra-)?index-url|--find-links|^-", LOCK, re.MULTILINE)


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
    assert "pylibjpeg-libjpeg" not in pins()


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
