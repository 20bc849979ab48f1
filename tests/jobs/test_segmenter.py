"""Many volumes: the next is read and the last is written while one is segmented, in their order."""

import json
import threading

import numpy as np
import pytest

from spleen_tf.core import locks
from spleen_tf.core.files import InputError
from spleen_tf.imaging.volume import Volume
from spleen_tf.io import nifti
from spleen_tf.jobs import segmenter
from spleen_tf.jobs.config import PredictConfig
from spleen_tf.jobs.job import Job
from spleen_tf.jobs.segmenter import Segmenter


@pytest.fixture
def jobs(tmp_path, make_affine):
    """Three volumes to segment; the second is none."""
    rng = np.random.default_rng(0)
    for name in "abc":
        values = rng.integers(-300, 400, (12, 10, 9)).astype(np.int16)
        nifti.write(tmp_path / f"{name}.nii.gz", Volume(values, make_affine("RAS", (2, 2, 2)), ""))
    (tmp_path / "b.nii.gz").write_bytes(b"nothing of the kind")
    return [Job(tmp_path / f"{n}.nii.gz", tmp_path / "out" / f"{n}.nii.gz") for n in "abc"]


@pytest.fixture
def by_hand(exported):
    return Segmenter(PredictConfig(model=(str(exported["CT"]),), modality="CT"))


def test_results_and_errors_come_in_the_order_of_the_jobs(by_hand, jobs):
    futures = list(by_hand.segment_each(jobs))
    assert [type(future.exception()).__name__ for future in futures] == [
        "NoneType",
        "VolumeError",
        "NoneType",
    ]
    for job, future in zip(jobs, futures, strict=True):
        assert job.mask.is_file() == (future.exception() is None)
    for job in (jobs[0], jobs[2]):
        by_itself = by_hand.segment(Job(job.source, job.mask.with_name("alone.nii.gz")))
        alone = nifti.read(job.mask.with_name("alone.nii.gz")).array_ijk
        np.testing.assert_array_equal(nifti.read(job.mask).array_ijk, alone)
        seconds = json.loads(job.json.read_text())["seconds"]
        assert seconds.keys() == by_itself.seconds.keys()
        stages = sum(value for stage, value in seconds.items() if stage != "total")
        assert seconds["total"] == pytest.approx(stages, abs=0.05)  # Nothing of the others' time.


def test_the_next_volume_is_read_while_one_is_segmented(by_hand, jobs, monkeypatch):
    next_is_read = threading.Event()
    read, find = segmenter.readers.read, Segmenter._find

    def reading(source, series_uid):
        image = read(source, series_uid)
        if source == jobs[2].source:
            next_is_read.set()
        return image

    def finding(self, job, image, clock):
        if job is jobs[0]:
            assert next_is_read.wait(60)
        return find(self, job, image, clock)

    monkeypatch.setattr(segmenter.readers, "read", reading)
    monkeypatch.setattr(Segmenter, "_find", finding)
    assert all(not f.exception() for f in by_hand.segment_each([jobs[0], jobs[2]]))


def test_large_volumes_are_read_in_their_turn(by_hand, jobs, monkeypatch):
    monkeypatch.setattr(segmenter, "_MOST_AHEAD_BYTES", 0)
    events = []
    read, write = segmenter.readers.read, Segmenter._write

    def reading(source, series_uid):
        events.append(f"read {source.name[0]}")
        return read(source, series_uid)

    def writing(self, job, *rest):
        events.append(f"write {job.case}")
        return write(self, job, *rest)

    monkeypatch.setattr(segmenter.readers, "read", reading)
    monkeypatch.setattr(Segmenter, "_write", writing)
    assert all(not f.exception() for f in by_hand.segment_each([jobs[0], jobs[2]]))
    assert events == ["read a", "write a", "read c", "write c"]


def test_a_mask_that_another_run_writes_is_left_to_it(by_hand, jobs):
    jobs[0].mask.parent.mkdir()
    with locks.output(jobs[0].mask):
        first, _, third = by_hand.segment_each(jobs)
    assert isinstance(first.exception(), InputError)
    assert "expected no other run that writes to it" in str(first.exception())
    assert not third.exception()
    with locks.output(jobs[2].mask):  # Which is free again.
        pass
