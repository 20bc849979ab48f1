"""spleen-tf VERB and python -m spleen_tf VERB, as subprocesses."""

import importlib.util
import os
import subprocess
import sys

import pytest

from spleen_tf import __main__ as command
from spleen_tf import __version__

VERBS = [name for name, _ in command.VERBS]


def run(*arguments):
    return subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True)


def test_alone_it_lists_every_verb():
    done = run("spleen_tf")

    assert done.returncode == 0
    for verb in VERBS:
        assert f"\n  {verb} " in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_a_module(verb):
    assert importlib.util.find_spec(f"spleen_tf.{verb}")


def test_a_verb_does_what_its_module_does():
    through_package, itself = (
        run("spleen_tf", "evaluate", "--help"),
        run("spleen_tf.evaluate", "--help"),
    )

    assert through_package.returncode == itself.returncode == 0
    assert through_package.stdout == itself.stdout
    assert "python -m spleen_tf.evaluate" in through_package.stdout


def test_a_verb_gets_its_flags_and_its_exit_code_comes_back():
    through_package, itself = (
        run("spleen_tf", "evaluate", "--nonsense"),
        run("spleen_tf.evaluate", "--nonsense"),
    )

    assert through_package.returncode == itself.returncode == 2
    assert through_package.stderr == itself.stderr
    assert "nonsense" in through_package.stderr


@pytest.mark.parametrize("verb", ["segment", "volume", "train.", "--verbose"])
def test_an_unknown_verb_costs_one_line(verb):
    done = run("spleen_tf", verb)

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (f"error: expected one of {', '.join(VERBS)}, found {verb!r}.\n")


def test_the_version_is_that_of_the_package():
    assert run("spleen_tf", "--version").stdout == f"spleen_tf {__version__}\n"


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_a_reader_that_has_left_is_no_failure(argument):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "spleen_tf", argument], stdout=writing, stderr=subprocess.PIPE
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
