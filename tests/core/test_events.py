"""--log_json: lines of JSON that say what a command does, and how it ended."""

import json
import logging

import pytest

from spleen_tf.core import events
from spleen_tf.core.files import InputError


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_steps_and_the_end_of_a_command_are_lines(tmp_path):
    def work():
        events.emit("read", case="a", seconds=0.12345)
        events.emit("case", "review", case="a", message="two\n lines", values={"volume_ml": 2.5})
        return 0

    assert events.run(work, "predict", str(tmp_path / "new" / "log.jsonl")) == 0
    read, case, command = lines(tmp_path / "new" / "log.jsonl")
    assert read.pop("time").endswith("+00:00")
    assert read == {
        "stage": "read",
        "outcome": "done",
        "case": "a",
        "seconds": 0.123,
        "command": "predict",
    }
    assert (case["outcome"], case["message"], case["values"]) == (
        "review",
        "two lines",
        {"volume_ml": 2.5},
    )
    assert (command["stage"], command["outcome"]) == ("command", "done")


@pytest.mark.parametrize(("code", "outcome"), [(0, "done"), (1, "failed")])
def test_the_exit_code_tells_the_outcome(tmp_path, code, outcome):
    events.run(lambda: code, "evaluate", str(tmp_path / "log"))
    assert [line["outcome"] for line in lines(tmp_path / "log")] == [outcome]


def test_an_error_is_the_last_line_and_a_second_run_adds_to_the_file(tmp_path):
    def work():
        raise InputError("a.nii: expected voxels, found none.")

    for _ in range(2):
        with pytest.raises(InputError):
            events.run(work, "predict", str(tmp_path / "log"))
    messages = [line["message"] for line in lines(tmp_path / "log")]
    assert messages == ["a.nii: expected voxels, found none."] * 2


def test_stderr_gets_the_lines_and_without_a_place_nobody_does(capsys):
    events.run(lambda: 0, "train", events.STDERR)
    out, err = capsys.readouterr()
    assert (out, json.loads(err)["command"]) == ("", "train")
    events.run(lambda: 0, "train", None)
    assert capsys.readouterr().err == ""


def test_a_place_that_cannot_be_written_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"expected a file to log to, found: Is a directory"):
        events.run(lambda: 0, "train", str(tmp_path))


def test_a_full_disk_does_not_end_the_work(tmp_path, no_room):
    with no_room():
        assert events.run(lambda: 0, "train", str(tmp_path / "log")) == 0


def test_other_programs_may_listen():
    class Listener(logging.Handler):
        heard = ()

        def emit(self, record):
            self.heard = (*self.heard, record.event.stage)

    listener, log = Listener(), logging.getLogger("spleen_tf.events")
    log.addHandler(listener)
    events.emit("epoch", values={"loss": 1.0})
    log.removeHandler(listener)
    assert listener.heard == ("epoch",)
