"""A full disk, and a folder that may only be read, end a command in one line; nothing is spoilt."""

import math
import re
import subprocess

import pytest

from spleen_tf.core.children import Children
from spleen_tf.evaluation import crossval

PAGE = 4096  # What a file takes at least of a file system in memory.
QUICK = ("convert", "predict", "evaluate")
COMMANDS = [
    *(pytest.param(name, marks=pytest.mark.slow) for name in QUICK),
    *(
        pytest.param(name, marks=pytest.mark.stress)
        for name in ("train", "export", "explore", "compare", "cross_validate")
    ),
]


@pytest.fixture
def disk(tmp_path):
    """A function that makes a file system in memory of some size, or changes it; its folder."""
    place = tmp_path / "disk"
    place.mkdir()

    def sized(options):
        is_there = place.is_mount()
        what = ["-o", f"remount,{options}"] if is_there else ["-t", "tmpfs", "-o", options, "tmpfs"]
        done = subprocess.run(["mount", *what, place], capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"no file system may be mounted here: {done.stderr.decode().strip()}")
        return place

    yield sized
    if place.is_mount():
        subprocess.run(["umount", place], check=True)


def one_line(ended):
    """The first line that says why a command failed; of a batch, each case may have one."""
    assert "Traceback" not in ended.text, ended.text
    return next(line for line in ended.text.splitlines() if line.startswith("error: "))


def filled_up(zygote, disk, work, size):
    """Runs a command where there is too little room, and again where there is enough."""
    place = disk(f"size={size}")
    ended = zygote.run(*work.command(place))
    assert ended.code in (1, 2), ended.text
    assert re.search("No space left|expected .* MB of room on the disk", one_line(ended))
    again = zygote.run(*work.command(disk("size=64m")))
    assert again.code == 0, again.text
    assert work.view(place) == work.expected


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk(zygote, work_of, disk, name):
    filled_up(zygote, disk, work_of(name), 4 * PAGE)


@pytest.mark.stress
@pytest.mark.parametrize(
    "name", [*QUICK, "train", "export", "explore", "compare", "cross_validate"]
)
def test_a_disk_that_has_room_for_half(zygote, work_of, disk, name):
    work = work_of(name)
    filled_up(zygote, disk, work, PAGE * math.ceil(work.num_bytes / 2 / PAGE))


def test_a_step_of_a_cross_validation_that_has_no_room_for_its_log(disk):
    place = disk(f"size={PAGE}")
    (place / "full").write_bytes(bytes(PAGE))
    with pytest.raises(OSError, match=r"No space left on device: .*log\.txt"):
        crossval._command(Children(), place / "log.txt", "-c", "raise SystemExit(1)")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_that_may_only_be_read(zygote, work_of, disk, name):
    work = work_of(name)
    place = disk("size=64m")
    assert zygote.run(*work.command(place)).code == 0
    disk("ro")
    ended = zygote.run(*work.command(place))
    if "trained to the end already" not in ended.text:
        assert ended.code in (1, 2), ended.text
        assert re.search(
            "Read-only file system|permission denied|cannot be written to", one_line(ended)
        )
    assert work.view(place) == work.expected
