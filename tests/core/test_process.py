"""How commands end: exit code, one line on stderr, signals, closed pipes, log."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

PROGRAM = '''"""Says how it ends."""
import dataclasses, logging, os, time, warnings
from spleen_tf.core import flags
from spleen_tf.core.files import InputError, InputWarning

@dataclasses.dataclass(frozen=True)
class Config:
    end: str = flags.flag("well", "How it ends.")

def main(config):
    print("end:", config.end)
    if config.end == "bad file":
        raise InputError("a.nii: expected a volume,\\n   found none.")
    if config.end == "failed":
        raise flags.CommandFailed("training diverged\\nat step 7")
    if config.end == "bug":
        raise RuntimeError("a bug")
    if config.end == "no TensorFlow":
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")
    if config.end == "no module of ours":
        raise ModuleNotFoundError("No module named 'spleen_tf.x'", name="spleen_tf.x")
    if config.end == "locked":
        raise PermissionError(13, "Permission denied", "a/b")
    if config.end == "long name":
        open("n" * 300)
    if config.end == "no disk":
        raise OSError(5, "Input/output error", "a.nii")
    if config.end == "full disk":
        raise OSError(28, "No space left on device")
    if config.end == "letters":
        print("1\\N{EN DASH}2", b"m\\xfcller".decode("utf-8", "surrogateescape"))
    if config.end == "interrupted":
        raise KeyboardInterrupt
    if config.end == "oneDNN":
        print(os.environ["TF_ENABLE_ONEDNN_OPTS"])
    if config.end == "waiting":
        print("ready", flush=True)
        time.sleep(60)
    if config.end == "talking":
        for _ in range(10_000):
            print("a line that a reader no longer wants", flush=True)
    if config.end == "noisy":
        logging.getLogger("other").warning("a detail")
        logging.getLogger("spleen_tf.io").debug("a detail of ours")
        try:
            int("x")
        except ValueError:
            raise InputError("a.nii: expected a number, found 'x'.") from None
    if config.end == "warned":
        warnings.warn("somebody else's", UserWarning)
        warnings.warn("a.nii: it may\\nbe wrong", InputWarning)
    return 1 if config.end == "some failed" else None

if __name__ == "__main__":
    flags.run(main, Config)
'''


@pytest.fixture
def program(tmp_path, run_python):
    (tmp_path / "program.py").write_text(PROGRAM)
    return lambda *arguments: run_python(tmp_path / "program.py", *arguments)


@pytest.fixture
def start(program, tmp_path):
    """A function that starts the program and does not wait for its end."""

    def started(*arguments, stdout=subprocess.PIPE, **options):
        return subprocess.Popen(
            [sys.executable, tmp_path / "program.py", *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    return started


@pytest.mark.parametrize(
    ("argument", "code", "stdout", "stderr"),
    [
        ("--end=well", 0, "end: well\n", ""),
        ("--end=some failed", 1, "end: some failed\n", ""),
        ("--end=bad file", 2, "end: bad file\n", "error: a.nii: expected a volume, found none.\n"),
        ("--end=failed", 1, "end: failed\n", "error: training diverged at step 7\n"),
        ("--end=interrupted", 130, "end: interrupted\n", "error: stopped by SIGINT\n"),
        (
            "--end=locked",
            2,
            "end: locked\n",
            "error: a/b: expected a file or folder that can be read and written, found: Permission "
            "denied; change its permissions, or use another.\n",
        ),
        (
            "--end=long name",
            2,
            "end: long name\n",
            f"error: {'n' * 300}: expected a file or folder that can be read and written, found: "
            "File name too long; use another.\n",
        ),
        (
            "--end=no TensorFlow",
            2,
            "end: no TensorFlow\n",
            "error: expected TensorFlow, which this command needs, found it not installed; install "
            "spleen_tf with its dependencies on CPython 3.11 on Linux (x86-64).\n",
        ),
        ("--end=warned", 0, "end: warned\n", "warning: a.nii: it may be wrong\n"),
        ("--x=y", 2, "", "error: Unknown command line flag 'x'; --help lists the flags.\n"),
    ],
)
def test_a_command_ends_with_its_code_and_says_no_more_than_one_line(
    program, argument, code, stdout, stderr
):
    done = program(argument)
    assert (done.returncode, done.stdout, done.stderr) == (code, stdout, stderr)


@pytest.mark.parametrize(("before", "used"), [(None, "1"), ("0", "0")])
def test_onednn_is_used_on_every_cpu_unless_the_environment_says_otherwise(
    program, monkeypatch, before, used
):
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    if before:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", before)
    assert program("--end=oneDNN").stdout == f"end: oneDNN\n{used}\n"


def test_a_bug_ends_with_1_and_shows_where_it_is(program):
    done = program("--end=bug")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert done.stderr.endswith("RuntimeError: a bug\n")


def test_a_module_that_is_not_for_training_is_missing_by_a_bug(program):
    done = program("--end=no module of ours")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")


def test_a_full_disk_is_one_line_whichever_library_writes(program):
    done = program("--end=full disk")
    assert done.returncode == 2
    assert done.stderr == (
        "error: expected room on the disk, found: No space left on device; free some, run again.\n"
    )


def test_trouble_that_another_file_would_not_mend_is_no_fault_of_an_input(program):
    done = program("--end=no disk")
    assert done.returncode == 1
    assert done.stderr.endswith("OSError: [Errno 5] Input/output error: 'a.nii'\n")


@pytest.mark.parametrize(
    ("encoding", "dash"), [("utf-8", "–"), ("latin-1", "\\u2013"), ("ascii", "\\u2013")]
)
def test_letters_that_cannot_be_printed_end_no_command(program, monkeypatch, encoding, dash):
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    done = program("--end=letters")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"end: letters\n1{dash}2 m\\udcfcller\n"


def test_help_of_a_command_opens_with_the_docstring_of_its_module(program):
    done = program("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Says how it ends.\n\nusage: ")
    assert "--end=TEXT" in done.stdout


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_ends_a_command_with_128_and_its_number_and_one_line(start, name):
    signum = getattr(signal, name)
    # A shell has its background jobs ignore SIGINT, and this test may run in one.
    process = start("--end=waiting", preexec_fn=lambda: signal.signal(signum, signal.SIG_DFL))
    assert process.stdout.readline() + process.stdout.readline() == "end: waiting\nready\n"
    process.send_signal(signum)
    _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (128 + signum, f"error: stopped by {name}\n")


def test_a_signal_that_the_caller_has_ignored_stays_ignored(start):
    process = start(
        "--end=waiting", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    process.stdout.readline(), process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 128 + signal.SIGTERM


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("--help",), 0), (("--end=well",), 0), (("--end=bad file",), 2), (("--end=talking",), 0)],
)
def test_a_pipe_that_nobody_reads_changes_nothing(start, monkeypatch, arguments, code, unbuffered):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    reading, writing = os.pipe()
    os.close(reading)
    process = start(*arguments, stdout=writing)
    os.close(writing)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == code
    assert stderr == ("error: a.nii: expected a volume, found none.\n" if code == 2 else "")


@pytest.mark.parametrize("argument", ["--end=well", "--help"])
def test_a_full_disk_behind_stdout_is_one_line(start, argument):
    with open("/dev/full", "w") as full:
        process = start(argument, stdout=full)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1
    assert stderr == (
        "error: standard output: expected to be written, found: No space left on device.\n"
    )


def test_the_cause_of_a_refusal_is_logged_where_verbosity_asks_for_it(program):
    refusal = "error: a.nii: expected a number, found 'x'.\n"
    assert program("--end=noisy").stderr == refusal
    done = program("--end=noisy", "--verbosity=1")
    assert done.returncode == 2
    assert done.stderr.startswith(f"warning: a detail\ndebug: a detail of ours\n{refusal}debug: ")
    assert done.stderr.endswith("ValueError: invalid literal for int() with base 10: 'x'\n")
