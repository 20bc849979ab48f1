"""Conversion on Apache Beam against the local run."""

import csv
import pathlib

import pytest

pytest.importorskip("apache_beam", reason="needs apache-beam: make test-beam")

import fsspec


@pytest.fixture(scope="module")
def tool(load_tool):
    return load_tool("make_tfrecords")


@pytest.fixture(scope="module")
def dataset(make_dataset, tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("dataset"), "abcde")


@pytest.fixture
def convert(tool, run_main):
    """A function that converts with some flags: its exit code, its stdout, its stderr."""

    def run(dataset, output, *flags):
        places = (f"--dataset={dataset}", f"--output_dir={output}")
        return run_main(tool.main, tool.ConvertConfig, *places, "--num_shards=2", *flags)

    return run


def contents(folder):
    """The files that a reader sees, by name."""
    return {
        path.name: path.read_bytes()
        for path in pathlib.Path(folder).iterdir()
        if not path.name.startswith(".")
    }


def test_a_runner_writes_the_bytes_of_a_local_run(dataset, convert, bucket, tmp_path):
    assert convert(dataset, tmp_path / "local", "--workers=1")[0] == 0
    memory = fsspec.filesystem("memory")
    memory.put(f"{dataset}/", f"{bucket}/in/", recursive=True)
    code, out, err = convert(f"{bucket}/in", f"{bucket}/out", "--runner=DirectRunner")
    assert (code, err) == (0, "")
    memory.get(f"{bucket}/out/", f"{tmp_path}/beam/", recursive=True)
    local = contents(tmp_path / "local")
    assert len(local) == 7  # Two shards of training, one of validation, four of metadata.
    assert contents(tmp_path / "beam") == local
    _, out, _ = convert(f"{bucket}/in", f"{bucket}/out", "--runner=DirectRunner")
    assert out == f"{bucket}/out: converted before, nothing to do\n"


def test_a_bad_case_is_a_dead_letter_until_it_is_put_right(
    dataset, convert, make_dataset, tmp_path
):
    broken = make_dataset(tmp_path / "data", "abc")
    image = broken / "imagesTr" / "b.nii.gz"
    sound = image.read_bytes()
    image.write_bytes(sound[:-20])
    output = tmp_path / "out"
    code, out, _ = convert(broken, output, "--runner=DirectRunner")
    assert code == 1
    assert out.endswith("; 1 failed: dead_letter.csv\n")
    with (output / "dead_letter.csv").open() as stream:
        (letter,) = csv.DictReader(stream)
    assert letter["case"] == "b"
    assert letter["source"] == str(image)
    assert letter["error"].startswith(f"{image}: expected")
    fragment = next((output / ".fragments").glob("a.*.tfrecord"))
    before = fragment.stat().st_mtime_ns

    image.write_bytes(sound)
    assert convert(broken, output, "--runner=DirectRunner")[0] == 0
    convert(broken, tmp_path / "local", "--workers=1")
    assert contents(output) == contents(tmp_path / "local")
    assert not (output / ".fragments").exists()
    del before
