"""A place that one run writes to is free again once that run is over, however it ended."""

import subprocess
import sys

import pytest

from spleen_tf.core import files, locks
from spleen_tf.core.files import InputError

HOLD = """
import sys
from spleen_tf.core import locks
with getattr(locks, sys.argv[1])(sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holding(tmp_path):
    """A function that starts a process which holds a place, and returns it."""
    started = []

    def hold(kind, place):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, kind, place],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("kind", "name"), [("folder", ""), ("output", "mask.nii.gz")])
def test_a_second_run_is_refused_until_the_first_is_killed(tmp_path, holding, kind, name):
    place = tmp_path / name
    process = holding(kind, place)
    expected = rf"{name}: expected no other run .*, found one at work \(process {process.pid}\); wa"
    with pytest.raises(InputError, match=expected), getattr(locks, kind)(place):
        pass
    process.kill()
    process.wait()
    with getattr(locks, kind)(place):
        pass
    assert list(tmp_path.iterdir()) == []


def test_other_outputs_of_the_same_folder_are_free(tmp_path):
    with locks.output(tmp_path / "a.nii.gz"), locks.output(tmp_path / "b.nii.gz"):
        assert sorted(p.name for p in tmp_path.iterdir()) == [".a.nii.gz.lock", ".b.nii.gz.lock"]


def test_a_run_that_fails_frees_its_place(tmp_path):
    with pytest.raises(RuntimeError), locks.folder(tmp_path):
        raise RuntimeError("a bug")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    expected = "nowhere: expected a place to write to, found: No such file"
    with pytest.raises(InputError, match=expected), locks.folder(tmp_path / "nowhere"):
        pass


def test_what_a_killed_run_left_of_a_file_goes_when_it_is_written_again(tmp_path):
    left = tmp_path / ".out.txt.partial-01234567"
    left.mkdir()
    (left / "out.txt").write_text("half of the n")
    other = tmp_path / ".other.txt.partial-01234567"
    other.mkdir()
    files.write_text(tmp_path / "out.txt", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, "out.txt"]
