"""Prediction on Apache Beam against the local run."""

import csv
import json

import pytest

pytest.importorskip("apache_beam", reason="needs apache-beam: make test-beam")

import fsspec


def manifest_of(folder):
    """The manifest of a batch, without what says how long it took."""
    content = json.loads((folder / "manifest.json").read_text())
    for timed in (content, *content["done"]):
        assert timed.pop("seconds") >= 0
    return content


def test_masks_of_a_runner_are_those_of_a_local_run(make_scans, segment, masks, bucket, tmp_path):
    scans = make_scans(tmp_path / "scans", "ab")
    memory = fsspec.filesystem("memory")
    memory.put(f"{scans}/", f"{bucket}/in/", recursive=True)
    assert segment(scans, tmp_path / "local")[0] == 0
    flags = ("--runner=DirectRunner", f"--table={bucket}/t.csv", f"--mesh={bucket}/mesh")
    code, line, err = segment(f"{bucket}/in", f"{bucket}/out", *flags)
    assert (code, line, err) == (0, f"{bucket}/out: 2 of 2 cases done, 0 of them before", "")
    memory.get(f"{bucket}/out/", f"{tmp_path}/beam/", recursive=True)
    assert len(masks(tmp_path / "local")) == 2
    assert masks(tmp_path / "beam") == masks(tmp_path / "local")
    assert json.loads((tmp_path / "beam" / "a.json").read_text())["voxels"] > 0
    assert len(memory.ls(f"{bucket}/mesh")) == 2
    assert manifest_of(tmp_path / "beam") == manifest_of(tmp_path / "local")
    assert memory.glob(f"{bucket}/out/.*") == []
    table = csv.DictReader(memory.cat(f"{bucket}/t.csv").decode().splitlines())
    assert [row["case"] for row in table] == ["a", "b"]


def test_a_run_again_does_what_is_missing(make_scans, segment, tmp_path):
    scans, output = make_scans(tmp_path / "scans", "abc"), tmp_path / "out"
    sound = (scans / "b.nii.gz").read_bytes()
    (scans / "b.nii.gz").write_bytes(sound[:-30])
    code, line, _ = segment(scans, output, "--runner=DirectRunner")
    assert (code, line) == (
        1,
        f"{output}: 2 of 3 cases done, 0 of them before; 1 failed: dead_letter.csv",
    )
    with (output / "dead_letter.csv").open() as stream:
        (letter,) = csv.DictReader(stream)
    assert (letter["case"], letter["source"]) == ("b", str(scans / "b.nii.gz"))
    assert letter["error"].startswith(f"{scans / 'b.nii.gz'}: expected")
    content = manifest_of(output)
    assert [one["case"] for one in content["done"]] == ["a", "c"]
    assert content["failed"] == [{"case": "b", "message": letter["error"]}]
    before = (output / "a.nii.gz").stat().st_mtime_ns

    (scans / "b.nii.gz").write_bytes(sound)
    code, line, _ = segment(scans, output, "--runner=DirectRunner")
    assert (code, line) == (0, f"{output}: 3 of 3 cases done, 2 of them before")
    assert (output / "a.nii.gz").stat().st_mtime_ns == before
    assert not (output / "dead_letter.csv").exists()
    assert segment(scans, tmp_path / "local")[0] == 0
    assert manifest_of(output) == manifest_of(tmp_path / "local")


def test_flags_that_do_not_go_together_are_refused(make_scans, segment, tmp_path):
    scans = make_scans(tmp_path / "scans", "a")
    for flags, message in (
        (("--runner_option=x=1",), "--runner_option: expected together with --runner"),
        (("--runner=DirectRunner", "--bids"), "--bids: expected no --runner beside it"),
        (
            ("--runner=DirectRunner", "--runner_option=direct_num_workers=many"),
            "--runner_option: expected options of DirectRunner",
        ),
    ):
        code, _, err = segment(scans, tmp_path / "out", *flags)
        assert code == 2
        assert message in err
    code, _, err = segment("s3://bucket/in", tmp_path / "out")
    assert code == 2
    assert "--input: expected a local path without --runner, found 's3://bucket/in'." in err
    code, _, err = segment("xyz://bucket/in", tmp_path / "out", "--runner=DirectRunner")
    assert code == 2
    assert err.startswith("error: xyz://bucket/in: expected gs://, s3:// or a local path")


def test_a_case_of_the_manifests_name_is_rejected(make_scans, segment, tmp_path):
    scans = make_scans(tmp_path / "scans", ["a", "manifest"])
    code, _, err = segment(scans, tmp_path / "out", "--runner=DirectRunner")
    assert code == 2
    assert "expected a case of another name than 'manifest'" in err
