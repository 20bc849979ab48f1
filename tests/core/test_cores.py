"""The cores of a job, which need not be those of its machine."""

import os

from spleen_tf.core import cores


def test_the_cores_of_a_job_count_and_not_those_of_its_machine(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5, 1}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 128)
    assert (cores.numbers(), cores.available(), cores.are_restricted()) == ([0, 1, 5], 3, True)
    monkeypatch.delattr(os, "sched_getaffinity")
    assert (cores.numbers(), cores.available(), cores.are_restricted()) == ([], 128, False)
