"""Processes that a command starts: they end when it ends, however that comes about."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pathlib
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence

# Names the process that a child has to end with.
_PARENT = "SPLEEN_TF_PARENT"
_LOOK_EVERY_S = 0.2
_PATIENCE_S = 10.0


class Children:
    """Commands that run in processes of their own, and that can be stopped together."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def run(
        self, arguments: Sequence[str], log: pathlib.Path, environment: Mapping[str, str]
    ) -> int:
        """Runs a command to its end; returns its exit code.

        Args:
            arguments: the command line.
            log: receives its stdout and stderr, appended.
            environment: of the process, which ends with this one if it is a command of this
                package.
        """
        with log.open("a") as out:
            child = subprocess.Popen(
                arguments,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**environment, _PARENT: str(os.getpid())},
            )
        self._running.add(child)
        try:
            if self._stopped:  # While it was being started.
                child.terminate()
            return child.wait()
        except KeyboardInterrupt:  # A signal stops this process.
            self.stop()
            raise
        finally:
            self._running.discard(child)

    def stop(self) -> None:
        """Asks those that run to stop, and ends those that do not within seconds."""
        self._stopped = True
        running = list(self._running)
        for child in running:
            child.terminate()
        deadline = time.monotonic() + _PATIENCE_S
        for child in running:
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()


def end_with_parent() -> None:
    """Lets this process be killed once the one that `Children` started it from is gone.

    A process that is killed cannot end its children itself. Left alone, they would work on, and
    hold the folders that the next run needs.
    """
    parent = os.environ.pop(_PARENT, "")
    if parent.isdigit():
        _end_when(lambda: os.getppid() != int(parent))


def as_worker() -> None:
    """Begins a worker of a pool: it leaves signals to the process that has the pool, and ends with
    it."""
    with contextlib.suppress(ValueError):  # Not in the main thread.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if (parent := multiprocessing.parent_process()) is not None:
        _end_when(lambda: not parent.is_alive())


def _end_when(is_over: Callable[[], bool]) -> None:
    """Kills this process once something holds, whatever its other threads do."""

    def watch() -> None:
        while not is_over():
            time.sleep(_LOOK_EVERY_S)
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))

    threading.Thread(target=watch, name="end with parent", daemon=True).start()
