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


def test_a_bad_case_is_a_dead_letter_until_it_is_put_right(convert, make_dataset, tmp_path):
    dataset, output = make_dataset(tmp_path / "data", "abcd"), tmp_path / "out"
    images = {name: dataset / "imagesTr" / f"{name}.nii.gz" for name in "bc"}
    sound = {name: path.read_bytes() for name, path in images.items()}
    for name, path in images.items():
        path.write_bytes(sound[name][:-20])
    code, out, _ = convert(dataset, output, "--runner=DirectRunner")
    assert code == 1
    assert out.endswith("; 2 failed: dead_letter.csv\n")
    with (output / "dead_letter.csv").open() as stream:
        letters = list(csv.DictReader(stream))
    assert [(letter["case"], letter["source"]) for letter in letters] == [
        (name, str(path)) for name, path in images.items()
    ]
    assert letters[0]["error"].startswith(f"{images['b']}: expected")
    (fragment,) = (output / ".fragments").glob("a.*.tfrecord")
    written_ns = fragment.stat().st_mtime_ns

    images["b"].write_bytes(sound["b"])
    assert convert(dataset, output, "--runner=DirectRunner")[0] == 1
    assert fragment.stat().st_mtime_ns == written_ns  # That of a sound case was kept.

    images["c"].write_bytes(sound["c"])
    assert convert(dataset, output, "--runner=DirectRunner")[0] == 0
    convert(dataset, tmp_path / "local", "--workers=1")
    assert contents(output) == contents(tmp_path / "local")
    assert not (output / ".fragments").exists()
