"""Tasks side by side: which cores they have, and what a failure stops."""

import math
import os
import threading
import time

import pytest

from spleen_tf.core import parallel
from spleen_tf.core.flags import CommandFailed


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores are dealt on Linux only")
def test_trainings_side_by_side_keep_to_cores_of_their_own():
    mine = os.sched_getaffinity(0)
    seen, all_run = [], threading.Barrier(len(mine), timeout=60)

    def training():
        all_run.wait()
        seen.append(os.sched_getaffinity(0))

    parallel.side_by_side([training] * len(mine), len(mine), "train", "model")
    assert sorted(core for cores in seen for core in cores) == sorted(mine)
    assert os.sched_getaffinity(0) == mine


def test_one_job_has_all_cores_and_many_share_few(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 5}, raising=False)
    assert parallel._shares_of_cores(1) == [[0, 1, 5]]
    assert parallel._shares_of_cores(2) == [[0, 5], [1]]
    assert parallel._shares_of_cores(4) == [[0], [1], [5], [0]]


def test_a_killed_worker_is_a_failure_with_a_remedy():
    with pytest.raises(CommandFailed, match="found one killed"):
        list(parallel.in_processes(os._exit, [9, 9], workers=2))


def test_workers_end_at_once_where_nobody_waits_for_them_any_more():
    results = parallel.in_processes(time.sleep, [0, 300, 300], workers=2)
    next(results)
    start = time.monotonic()
    results.close()  # As a signal does, which stops the caller.
    assert time.monotonic() - start < 100


def test_results_of_processes_come_in_the_order_of_the_items():
    assert list(parallel.in_processes(math.sqrt, [9, 4, 1, 0], workers=2)) == [3, 2, 1, 0]


def test_one_worker_is_this_process():
    assert list(parallel.in_processes(lambda item: os.getpid(), [0, 0], 1)) == [os.getpid()] * 2
    assert list(parallel.in_processes(lambda item: os.getpid(), [0], 4)) == [os.getpid()]


def test_nothing_is_begun_after_a_failure():
    begun = []

    def fail():
        raise ValueError("no.")

    with pytest.raises(ValueError, match="no"):
        parallel.side_by_side(
            [fail, *[lambda: begun.append(time.sleep(1))] * 4], 1, "train", "model"
        )
    time.sleep(2)
    assert len(begun) <= 1  # One may have been begun before the failure was seen.
