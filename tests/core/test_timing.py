"""Seconds by stage, and memory."""

import itertools

import numpy as np

from spleen_tf.core import timing


def test_a_stage_has_the_time_since_the_one_before_and_adds_up(monkeypatch):
    ticks = itertools.chain([10.0, 11.5, 14.5, 15.0], itertools.repeat(99.0))
    monkeypatch.setattr(timing.time, "monotonic", lambda: next(ticks))
    clock = timing.Clock()  # At 10.
    for stage in ("read", "predict", "read"):
        clock.lap(stage)
    assert clock.seconds() == {"read": 2.0, "predict": 3.0, "total": 5.0}


def test_stages_that_another_clock_has_measured_are_taken_over(monkeypatch):
    ticks = itertools.chain([10.0, 11.0, 14.0, 15.0], itertools.repeat(99.0))
    monkeypatch.setattr(timing.time, "monotonic", lambda: next(ticks))
    clock = timing.Clock()  # At 10.
    clock.lap("read")  # At 11.
    clock.take_over({"network": 2.5, "postprocess": 0.25})  # At 14.
    clock.lap("write")  # At 15.
    assert clock.stages() == {"read": 1.0, "network": 2.5, "postprocess": 0.25, "write": 1.0}
    assert clock.seconds()["total"] == 5.0


def test_time_that_served_others_is_left_out(monkeypatch):
    ticks = itertools.chain([10.0, 11.0, 14.0, 14.5], itertools.repeat(99.0))
    monkeypatch.setattr(timing.time, "monotonic", lambda: next(ticks))
    clock = timing.Clock()  # At 10.
    clock.lap("read")  # At 11.
    clock.resume()  # At 14.
    clock.lap("network")  # At 14.5.
    assert clock.seconds() == {"read": 1.0, "network": 0.5, "total": 1.5}


def test_memory_is_what_the_process_has_had():
    held = np.ones(64 << 20, np.uint8)
    assert held.nbytes >> 20 <= timing.peak_rss_mb() < 64 << 10  # MiB: in KiB it would be more.
