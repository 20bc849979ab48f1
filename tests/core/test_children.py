"""What a command starts ends with it: stopped by a signal, or left alone by a kill."""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from spleen_tf.core.children import Children

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")

# A command of this package that works on until something ends it.
WORK = """
import os, time
from spleen_tf.core import process
def command():
    print(os.getpid(), flush=True)
    time.sleep(60)
    return 0
process.run(command)
"""
# A command that starts another one, or a pool of workers.
STARTS_A_COMMAND = """
import os, pathlib, sys
from spleen_tf.core.children import Children
Children().run([sys.executable, "-c", sys.argv[1]], pathlib.Path(sys.argv[2]), os.environ)
"""
STARTS_WORKERS = """
import concurrent.futures, multiprocessing, os, pathlib, sys, time
from spleen_tf.core import children
if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(1, context, children.as_worker)
    number = pool.submit(os.getpid).result()
    pathlib.Path(sys.argv[1]).write_text(f"{number}\\n")
    pool.submit(time.sleep, 60).result()
"""


def number_in(path, timeout_s=60):
    """The number of a process that it writes as its first line."""
    deadline = time.monotonic() + timeout_s
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return int(path.read_text())


def is_at_work(number):
    """Whether a process is there, and is not one that has ended and waits to be asked why."""
    status = pathlib.Path(f"/proc/{number}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def ends(number, timeout_s=20):
    deadline = time.monotonic() + timeout_s
    while is_at_work(number) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_at_work(number)


def run_in_thread(children, log):
    codes = []
    arguments = [sys.executable, "-c", WORK]
    thread = threading.Thread(target=lambda: codes.append(children.run(arguments, log, os.environ)))
    thread.start()
    return thread, codes


def test_children_are_stopped_together(tmp_path):
    children = Children()
    started = [run_in_thread(children, tmp_path / f"{n}.txt") for n in range(2)]
    numbers = [number_in(tmp_path / f"{n}.txt") for n in range(2)]
    children.stop()
    for thread, codes in started:
        thread.join(timeout=20)
        assert codes == [128 + signal.SIGTERM]
    assert not any(map(is_at_work, numbers))


@pytest.mark.parametrize("kind", ["command", "workers"])
def test_children_end_with_a_parent_that_is_killed(tmp_path, kind):
    log = tmp_path / "log.txt"
    script = pathlib.Path(tmp_path, "parent.py")
    script.write_text(STARTS_A_COMMAND if kind == "command" else STARTS_WORKERS)
    arguments = [WORK, log] if kind == "command" else [log]
    with subprocess.Popen([sys.executable, script, *map(str, arguments)]) as parent:
        number = number_in(log)
        parent.kill()
    assert ends(number)
