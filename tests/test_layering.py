"""The contracts between packages hold, and no command waits for TensorFlow before it must.

Which package may import which stands in pyproject.toml, for import-linter.
"""

import json
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PYTHON_FILES = sorted((ROOT / "spleen_tf").rglob("*.py")) + sorted((ROOT / "tools").glob("*.py"))


def test_packages_import_only_those_above_them():
    lint_imports = pathlib.Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint_imports, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", PYTHON_FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_tool_is_imported(path):
    tools = "|".join(tool.stem for tool in (ROOT / "tools").glob("*.py"))
    assert not re.search(
        rf"^\s*(import|from) (tools|{tools})\b", path.read_text(encoding="utf-8"), re.MULTILINE
    )


LAZY = """
import sys, spleen_tf
assert not {"numpy", "nibabel", "pydicom", "tensorflow"} & set(sys.modules)
assert spleen_tf.Volume.__name__ == "Volume"
assert "tensorflow" not in sys.modules
"""


def test_importing_the_package_imports_no_library(run_python):
    done = run_python("-c", LAZY)
    assert (done.returncode, done.stderr) == (0, "")


# Runs programs in one process, without TensorFlow, and prints what each wrote and how it ended.
WITHOUT_TENSORFLOW = """
import contextlib, importlib.abc, io, json, runpy, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "keras", "tensorflow_addons"):
            raise ImportError(f"{name} was imported")

sys.meta_path.insert(0, Blocker())
ends = {}
for program in json.loads(sys.argv[1]):
    for flag in ("--help", "--no_such_flag=1"):
        out, err, code = io.StringIO(), io.StringIO(), None
        sys.argv = [program, flag]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                runpy.run_path(program, run_name="__main__")
            except SystemExit as end:
                code = end.code
            except BaseException as error:
                code = repr(error)
        ends[program + " " + flag] = [code, out.getvalue(), err.getvalue()]
print(json.dumps(ends))
"""
PROGRAMS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*(ROOT / "spleen_tf").glob("*.py"), *(ROOT / "tools").glob("*.py"))
    if path.stem not in ("__init__", "__main__", "check_venv")
)


@pytest.fixture(scope="module")
def ends_without_tensorflow(run_python):
    def ends_of(programs, cwd):
        done = run_python("-c", WITHOUT_TENSORFLOW, json.dumps(programs), cwd=cwd)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return ends_of


@pytest.fixture(scope="module")
def ends(ends_without_tensorflow):
    return ends_without_tensorflow(PROGRAMS, ROOT)


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_comes_without_tensorflow(ends, program):
    code, out, err = ends[f"{program} --help"]
    assert (code, err) == (0, "")
    assert "usage:" in out


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_wrong_flag_is_told_in_one_line_without_tensorflow(ends, program):
    code, out, err = ends[f"{program} --no_such_flag=1"]
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert "no_such_flag" in err
    assert err.count("\n") == 1


def test_a_program_that_imports_tensorflow_at_once_is_found_out(ends_without_tensorflow, tmp_path):
    (tmp_path / "hasty.py").write_text("import tensorflow\nprint('usage:')\nraise SystemExit(0)\n")
    code, out, _ = ends_without_tensorflow(["hasty.py"], tmp_path)["hasty.py --help"]
    assert (code, out) == ("ImportError('tensorflow was imported')", "")
