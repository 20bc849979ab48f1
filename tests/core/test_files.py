"""Outputs are whole or absent; messages say what cannot be read or written, and why."""

import json
import os
import pathlib
from typing import Literal

import pytest

from spleen_tf.core import files
from spleen_tf.core.files import InputError


def names_in(folder):
    return sorted(entry.name for entry in folder.iterdir())


def write_half_and_raise(path, interruption):
    with files.replacing(path) as partial:
        partial.write_text("half of the n")
        raise interruption


def test_a_message_names_a_few_and_says_whether_there_are_more():
    assert files.listed(["a", "b"], 2) == "a, b"
    assert files.listed([1, 2, 3], 2) == "1, 2, …"
    assert files.listed([], 2) == ""


def test_a_file_appears_at_its_name_when_the_block_ends_and_not_before(tmp_path):
    out = tmp_path / "out.txt"
    with files.replacing(out) as partial:
        partial.write_text("new")
        assert not out.exists()
    assert out.read_text() == "new"
    assert names_in(tmp_path) == ["out.txt"]


def test_readers_see_the_earlier_file_until_its_successor_is_whole(tmp_path):
    out = tmp_path / "out.txt"
    out.write_text("old")
    with files.replacing(out) as partial:
        partial.write_text("half of the n")
        assert out.read_text() == "old"
        partial.write_text("new")
    assert out.read_text() == "new"


def test_a_reader_that_has_the_earlier_file_open_reads_it_to_its_end(tmp_path):
    out = tmp_path / "out.txt"
    out.write_text("old")
    with out.open() as reader:
        files.write_text(out, "new")  # Another file under the same name, not new content.
        assert reader.read() == "old"


@pytest.mark.parametrize("interruption", [RuntimeError("a bug"), KeyboardInterrupt()])
def test_an_interruption_leaves_the_earlier_file_and_nothing_beside_it(tmp_path, interruption):
    out = tmp_path / "out.txt"
    out.write_text("old")
    with pytest.raises(type(interruption)):
        write_half_and_raise(out, interruption)
    assert out.read_text() == "old"
    assert names_in(tmp_path) == ["out.txt"]


def test_a_failure_leaves_no_file_where_there_was_none(tmp_path):
    with pytest.raises(RuntimeError):
        write_half_and_raise(tmp_path / "out.txt", RuntimeError("a bug"))
    assert names_in(tmp_path) == []


def test_two_writers_of_one_file_do_not_share_a_partial_one(tmp_path):
    out = tmp_path / "out.txt"
    with files.replacing(out) as first, files.replacing(out) as second:
        first.write_text("first")
        second.write_text("second")
        assert first != second
    assert out.read_text() == "first"  # The outer block ends last.
    assert names_in(tmp_path) == ["out.txt"]


def test_the_partial_file_has_its_name_and_is_in_no_list_of_the_folder(tmp_path):
    with files.replacing(tmp_path / "mask.nii.gz") as partial:
        partial.write_bytes(b"half")
        assert partial.name == "mask.nii.gz"
        assert partial.stat().st_dev == tmp_path.stat().st_dev
        assert list(tmp_path.glob("*.nii.gz")) == []
        assert all(name.startswith(".") for name in names_in(tmp_path))


def test_folders_on_the_way_are_made(tmp_path):
    files.write_text(tmp_path / "a" / "b" / "out.txt", "x")
    assert (tmp_path / "a" / "b" / "out.txt").read_text() == "x"


def test_a_bare_name_is_written_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files.write_text("out.txt", "x")
    assert names_in(tmp_path) == ["out.txt"]


def test_an_output_whose_name_is_a_folder_is_refused(tmp_path):
    out = tmp_path / "out.txt"
    out.mkdir()
    with pytest.raises(InputError, match=r"out\.txt: expected a file to write, found a folder"):
        files.write_text(out, "x")
    assert names_in(tmp_path) == ["out.txt"]


@pytest.mark.parametrize("below", ["out.txt", "deeper/out.txt"])
def test_an_output_below_a_file_is_refused(tmp_path, below):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(InputError, match="expected a folder to write to, found: "):
        files.write_text(tmp_path / "file" / below, "x")
    assert (tmp_path / "file").read_text() == "precious"


def test_an_output_whose_name_is_too_long_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected a place to write to, found: File name too long"):
        files.write_text(tmp_path / ("n" * 300), "x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_in_a_folder_without_permission_is_refused(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(InputError, match="found: permission denied"):
        files.write_text(tmp_path / "locked" / "out.txt", "x")


def test_a_full_disk_is_an_input_error_and_leaves_the_earlier_file(tmp_path, no_room):
    out = tmp_path / "out.txt"
    out.write_text("old")
    with (
        no_room(),
        pytest.raises(InputError, match=r"out\.txt: expected a place to write to, found: "),
    ):
        files.write_text(out, "x" * 1000)
    assert out.read_text() == "old"
    assert names_in(tmp_path) == ["out.txt"]


def test_trouble_with_another_file_inside_the_block_is_not_taken_for_trouble_with_the_output(
    tmp_path,
):
    with (
        pytest.raises(FileNotFoundError, match=r"source\.txt"),
        files.replacing(tmp_path / "out.txt"),
    ):
        (tmp_path / "source.txt").read_text()


def test_json_comes_back_as_it_went_and_ends_in_a_newline(tmp_path):
    content = {"volume_ml": 201.5, "reasons": ["ü", None, True], "shape": [8, 6, 5]}
    files.write_json(tmp_path / "a.json", content)
    assert files.read_json(tmp_path / "a.json") == content
    assert (tmp_path / "a.json").read_text().endswith("}\n")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_that_others_cannot_read_is_never_written(tmp_path, value):
    files.write_json(tmp_path / "a.json", {"dice": 0.9})
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a.json", {"dice": value})
    assert json.loads((tmp_path / "a.json").read_text()) == {"dice": 0.9}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            b'{"cases": [',
            r"a\.json: expected JSON, found text that does not parse in line 1: Input data was tr",
        ),
        (b"", r"a\.json: expected JSON, found an empty file"),
        (b"\xff\xfe\x00", r"a\.json: expected JSON in UTF-8, found: .*; save it as UTF-8"),
        (b'{"a":\n NaN}', r"a\.json: expected JSON, found NaN or Infinity in line 2, which"),
        (b"version https://git-lfs.github.com/spec/v1", r"found a Git LFS pointer; fetch"),
    ],
)
def test_json_that_does_not_parse_is_refused(tmp_path, content, sentence):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        files.read_json(tmp_path / "a.json")


def test_json_that_is_missing_or_a_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected a JSON file, found: No such file"):
        files.read_json(tmp_path / "none.json")
    with pytest.raises(InputError, match="expected a JSON file, found: Is a directory"):
        files.read_json(tmp_path)


def test_sha256_is_that_of_the_standard_for_abc(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-4, first example.
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files.sha256(tmp_path / "abc") == expected


def test_make_folder_returns_it_and_is_content_with_one_that_exists(tmp_path):
    assert files.make_folder(str(tmp_path / "a" / "b")) == pathlib.Path(tmp_path / "a" / "b")
    assert files.make_folder(tmp_path / "a" / "b").is_dir()


def test_a_table_has_the_columns_of_its_fullest_row(tmp_path):
    files.write_csv(tmp_path / "t.csv", [{"a": 1}, {"a": "x, y", "b": 2.5}])
    assert (tmp_path / "t.csv").read_bytes() == b'a,b\n1,\n"x, y",2.5\n'


def test_names_of_files_that_are_no_text_are_escaped_in_tables_and_texts(tmp_path):
    name = b"m\xfcller.nii".decode(errors="surrogateescape")
    files.write_csv(tmp_path / "t.csv", [{"case": name}])
    files.write_text(tmp_path / "t.txt", name)
    assert (tmp_path / "t.csv").read_text(encoding="utf-8") == "case\nm\\udcfcller.nii\n"
    assert (tmp_path / "t.txt").read_text(encoding="utf-8") == "m\\udcfcller.nii"


def test_json_in_utf_16_with_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "a.json").write_bytes('{"name": "Müller"}'.encode("utf-16"))
    assert files.read_json(tmp_path / "a.json") == {"name": "Müller"}


def test_a_value_that_is_none_of_the_known_ones_is_named(tmp_path):
    (tmp_path / "a.json").write_text('{"plane": "diagonal"}')
    message = r"expected one of the known values at \$\[...\], found 'diagonal'"
    with pytest.raises(InputError, match=message):
        files.read_record(tmp_path / "a.json", dict[str, Literal["axial", "coronal"]])
