"""A signal ends a command in seconds, in one line; run again, it ends as if there had been none."""

import signal

import pytest

LONGEST_TO_STOP_S = 20
COMMANDS = (
    *("convert", "convert_with_workers", "train", "export", "predict", "evaluate", "explore"),
    *("compare", "cross_validate"),
)


def stopped(zygote, folders, work, signum, to_group=False):
    """Stops a command in the middle, as Ctrl-C or a queue does, and runs it again."""
    for share in (0.6, 0.3, 0.15, 0.05):  # The machine may be less busy than before.
        folder, after_s = folders(), share * work.seconds
        ended = zygote.run(*work.command(folder), after_s=after_s, signum=signum, to_group=to_group)
        if ended.code:
            break
    assert ended.code == 128 + signum, ended.text
    assert ended.seconds_to_stop < LONGEST_TO_STOP_S
    assert ended.text.splitlines()[-1] == f"error: stopped by {signum.name}"
    assert "Traceback" not in ended.text
    again = zygote.run(*work.command(folder))
    assert again.code == 0, again.text
    assert work.view(folder) == work.expected


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train", "predict"])
def test_a_queue_stops_it(zygote, folders, work_of, name):
    stopped(zygote, folders, work_of(name), signal.SIGTERM)


@pytest.mark.stress
@pytest.mark.parametrize("name", COMMANDS)
def test_a_queue_stops_any(zygote, folders, work_of, name):
    stopped(zygote, folders, work_of(name), signal.SIGTERM)


@pytest.mark.stress
@pytest.mark.parametrize("name", COMMANDS)
def test_a_terminal_stops_it_with_the_processes_that_it_started(zygote, folders, work_of, name):
    stopped(zygote, folders, work_of(name), signal.SIGINT, to_group=True)
