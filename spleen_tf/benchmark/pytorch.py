"""A training step in PyTorch, in a process of another interpreter that waits to be measured."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import subprocess
from collections.abc import Iterator

from spleen_tf.core.process import CommandFailed
from spleen_tf.network.spec import NetworkSpec

PROGRAM = pathlib.Path(__file__).with_name("torch_step.py")


@dataclasses.dataclass(frozen=True)
class Peer:
    """The process.

    Attributes:
        parameters: weights of its network, as many as those of this project's.
        process: answers a number of steps with their seconds.
        batch_size: images per step.
    """

    parameters: int
    process: subprocess.Popen[str]
    batch_size: int

    def ms_per_image(self, steps: int) -> float:
        """What an image takes, over so many steps.

        Raises:
            CommandFailed: if the process has ended.
        """
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):
            print(steps, file=self.process.stdin, flush=True)
        return 1e3 * float(_answer(self.process)) / steps / self.batch_size


@contextlib.contextmanager
def started(
    python: str, network: NetworkSpec, image_hw: tuple[int, int], batch_size: int, precision: str
) -> Iterator[Peer]:
    """A peer that is compiled and warm; it ends with the context.

    Raises:
        CommandFailed: if the interpreter has no PyTorch, or it cannot compile.
    """
    settings = {
        "in_channels": network.in_channels,
        "filters": [network.filters(level) for level in range(network.depth + 1)],
        "height": image_hw[0],
        "width": image_hw[1],
        "batch_size": batch_size,
        "precision": precision,
    }
    # -I: none of this interpreter's modules are for the other one.
    command = [python, "-I", str(PROGRAM), json.dumps(settings)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Peer(int(_answer(process)), process, batch_size)
        finally:
            process.kill()


def _answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    assert process.stderr
    line = process.stdout.readline()
    if not line:
        *_, reason = process.stderr.read().strip().splitlines() or ["nothing said why"]
        raise CommandFailed(
            f"--peer_python: expected an interpreter in which PyTorch compiles, found: {reason}; "
            "install requirements-peers.txt and a C++ compiler."
        )
    return line
