"""A batch ends with a manifest: what is done, failed, and to be looked at, with hashes."""

import hashlib
import json

import msgspec
import pytest
from fixtures import records

from spleen_tf.core.files import InputError
from spleen_tf.jobs import manifest
from spleen_tf.jobs.job import Job
from spleen_tf.jobs.manifest import Manifest


def record(review=False):
    return records.of_nothing_found(
        review=review,
        reasons=("no spleen was found",) if review else (),
        seconds={"read": 0.5, "total": 2.0},
        peak_rss_mb=1.0,
    )


@pytest.fixture
def planned(tmp_path):
    jobs = []
    for case in "abc":
        source, mask = tmp_path / f"in/{case}.nii", tmp_path / f"out/{case}.nii"
        for path in (source, mask):
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"{path.parent.name} {case}")
        jobs.append(Job(source, mask))
    return jobs


def test_each_case_is_done_or_failed_and_those_to_look_at_are_listed(planned, tmp_path):
    folder = tmp_path / "out"
    place = manifest.place(folder / "logs", planned)
    records = {"a": record(), "b": record(review=True)}
    manifest.write(
        place, folder, planned, records, {"c": "c.nii: expected voxels, found none."}, 3.14
    )
    content = json.loads(place.read_text())
    assert content["cases"] == 3
    assert [one["case"] for one in content["done"]] == ["a", "b"]
    assert content["failed"] == [{"case": "c", "message": "c.nii: expected voxels, found none."}]
    assert content["review"] == [{"case": "b", "reasons": ["no spleen was found"]}]
    first = content["done"][0]
    assert (first["mask"], first["seconds"]) == ("a.nii", 2.0)
    assert first["mask_sha256"] == hashlib.sha256(b"out a").hexdigest()
    assert first["source_sha256"] == hashlib.sha256(b"in a").hexdigest()
    assert {"python", "numpy"} <= content["versions"].keys()
    assert msgspec.convert(content, Manifest).software.startswith("spleen_tf ")


def test_a_case_that_has_a_result_but_was_not_sent_failed(planned, tmp_path):
    place = manifest.place(tmp_path / "out", planned)
    manifest.write(place, place.parent, planned[:1], {"a": record()}, {"a": "nobody listens"}, 0.0)
    content = json.loads(place.read_text())
    assert (content["done"], [one["case"] for one in content["failed"]]) == ([], ["a"])


def test_a_case_of_the_manifests_name_is_rejected(tmp_path):
    job = Job(tmp_path / "manifest.nii", tmp_path / "out" / "manifest.nii")
    with pytest.raises(InputError, match="expected a case of another name than 'manifest'"):
        manifest.place(tmp_path / "out", [job])
