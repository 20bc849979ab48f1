"""A command that is killed at any moment, and run again, ends as if it had not been.

`make stress` kills each of them 20 times, `make test-slow` some of them twice.
"""

import random

import pytest

KILLED = -9  # The exit code.
QUICK = ("convert", "train", "export", "predict", "evaluate")
COMMANDS = (*QUICK, "convert_with_workers", "explore", "compare", "cross_validate")


def killed_at_random(zygote, folders, work, kills):
    """Kills a command at random times of its work, and runs it again until it ends, in new folders.

    Args:
        zygote: runs it.
        folders: makes a new folder.
        work: the command, and what it should leave.
        kills: how many.
    """
    chance, longest_s = random.Random(0), work.seconds
    while kills:
        folder, is_new = folders(), True
        ended = None
        while ended is None or ended.code == KILLED:
            after_s = chance.uniform(0, longest_s) if kills else None
            ended = zygote.run(*work.command(folder), after_s=after_s)
            kills -= ended.code == KILLED
            if is_new and ended.code != KILLED:  # The machine is more or less busy than before.
                longest_s = ended.seconds
            is_new = False
        assert ended.code == 0, ended.text
        assert work.view(folder) == work.expected


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_two_kills(zygote, folders, work_of, name):
    killed_at_random(zygote, folders, work_of(name), 2)


@pytest.mark.stress
@pytest.mark.parametrize("name", COMMANDS)
def test_twenty_kills(zygote, folders, work_of, name):
    killed_at_random(zygote, folders, work_of(name), 20)
