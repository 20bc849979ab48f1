"""Mutated files of every kind that is read: a result or one refusal, in 20 s and 1 GB at most.

`make test` gives each reader a few mutants, `make stress` a thousand, and those readers that are
Python a search for new branches by atheris beside.
"""

import importlib.util
import os
import pathlib
import subprocess
import sys

import fuzzing
import pytest
from fuzz_targets import NATIVE, TARGETS

FEW, MANY = 16, 1000
RUNS_OF_ATHERIS = 4000
# Native libraries, in a process that an error of memory may end. What they take when they start
# counts for no mutant: the seed is read before.
IN_A_PROCESS = """
import pathlib, sys
tests, name, folder, count = sys.argv[1:]
sys.path.insert(0, tests)
import fuzz_targets, fuzzing
target, folder = fuzz_targets.NATIVE[name], pathlib.Path(folder)
(seed,), path = target.seeds, target.prepare(folder)
path.write_bytes(seed)
target.read(path)
found = fuzzing.faults(target, folder, int(count))
print([(number, what) for number, what, _ in found])
"""
# What it names is missing: the models.
NOT_WHOLE = {"cv.json"}
ROOT = pathlib.Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(TARGETS.keys() - NOT_WHOLE))
def test_the_seed_of_a_target_is_read(tmp_path, name):
    path = TARGETS[name].prepare(tmp_path)
    for seed in TARGETS[name].seeds:
        path.write_bytes(seed)
        TARGETS[name].read(path)


@pytest.mark.parametrize("name", TARGETS)
def test_mutants_are_read_or_refused(tmp_path, name):
    assert fuzzing.faults(TARGETS[name], tmp_path, FEW) == []


@pytest.mark.stress
@pytest.mark.parametrize("name", TARGETS)
def test_many_mutants_are_read_or_refused(tmp_path, name):
    assert fuzzing.faults(TARGETS[name], tmp_path, MANY, seed=1) == []


@pytest.mark.stress
@pytest.mark.parametrize("name", NATIVE)
def test_many_mutants_for_native_libraries_are_read_or_refused(tmp_path, name, run_python):
    done = run_python("-c", IN_A_PROCESS, TESTS, name, tmp_path, MANY, timeout_s=3600)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.stress
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="no atheris here")
@pytest.mark.parametrize("name", ["NIfTI", "DICOM", "enhanced DICOM", "TFRecord", "table of cases"])
def test_a_search_for_new_branches_finds_none_that_fails(tmp_path, name):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(TARGETS[name].seeds):
        (corpus / str(number)).write_bytes(seed)
    program = pathlib.Path(__file__).with_name("search.py")
    flags = (f"-runs={RUNS_OF_ATHERIS}", "-seed=1", "-rss_limit_mb=2048", "-timeout=20")
    done = subprocess.run(
        [sys.executable, program, name, str(corpus), *flags],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(TESTS)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"Done {RUNS_OF_ATHERIS} runs" in done.stderr
