"""The downloader as a user runs it, against a server on this machine."""

import hashlib
import http.server
import io
import json
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import threading

import pytest

TOOL = pathlib.Path(__file__).parents[2] / "tools" / "download_msd.py"
SCAN = bytes(range(256)) * 400  # stands for a volume: 102,400 bytes
DATASET_JSON = json.dumps({"name": "Spleen", "numTraining": 1}).encode()


def tar_of(files, links=()):
    """A tar archive, as bytes, of {name: content} and of (name, target) symbolic links."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for name, target in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return stream.getvalue()


GOOD_FILES = {
    "Task09_Spleen/dataset.json": DATASET_JSON,
    "Task09_Spleen/imagesTr/spleen_2.nii.gz": SCAN,
}
GOOD = tar_of(GOOD_FILES)


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` at every address, with the faults that its attributes ask for."""

    content = GOOD
    knows_ranges = True
    announced_bytes: int | None = None
    statuses: list[int]  # answers to the first requests; 200 after these
    cuts: list[int]  # how many bytes the first good answers bring; all after these
    ranges: list[str | None]  # the header of each request so far

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.statuses, self.cuts, self.ranges = [], [], []
        self.url = f"http://127.0.0.1:{self.server_port}/Task09_Spleen.tar"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        if self.server.statuses and (status := self.server.statuses.pop(0)) != 200:
            self.send_error(status)
            return
        content, start = self.server.content, 0
        if asked and self.server.knows_ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        body = content[start:]
        self.send_header("Content-Length", str(self.server.announced_bytes or len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.cuts.pop(0)] if self.server.cuts else body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def download(server, folder, *flags):
    """Runs the program; the checksum that it is told is that of GOOD unless flags say another."""
    return subprocess.run(
        [
            sys.executable,
            TOOL,
            f"--output_dir={folder}",
            f"--url={server.url}",
            f"--md5={hashlib.md5(GOOD).hexdigest()}",
            "--backoff_s=0.01",
            *flags,
        ],
        capture_output=True,
        text=True,
        env=os.environ | {"no_proxy": "*"},
        timeout=60,
    )


def md5_flag(content):
    return f"--md5={hashlib.md5(content).hexdigest()}"


def files_below(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def assert_one_error_line(done, status, *parts):
    assert done.returncode == status
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    for part in parts:
        assert part in done.stderr


def test_the_archive_is_downloaded_and_unpacked(server, tmp_path):
    done = download(server, tmp_path / "new" / "data")

    assert done.returncode == 0, done.stderr
    assert files_below(tmp_path / "new" / "data") == GOOD_FILES | {"Task09_Spleen.tar": GOOD}
    assert server.ranges == [None]


def test_a_second_run_asks_the_server_nothing(server, tmp_path):
    download(server, tmp_path)
    done = download(server, tmp_path)

    assert done.returncode == 0
    assert "nothing to do" in done.stdout
    assert len(server.ranges) == 1


def test_a_cut_download_goes_on_in_the_same_run_where_it_stopped(server, tmp_path):
    server.cuts = [50_000, 20_000]

    done = download(server, tmp_path)

    assert done.returncode == 0, done.stderr
    assert "cut after 50000 of" in done.stderr
    assert server.ranges == [None, "bytes=50000-", "bytes=70000-"]
    assert files_below(tmp_path) == GOOD_FILES | {"Task09_Spleen.tar": GOOD}


def test_a_run_that_gave_up_is_resumed_by_the_next(server, tmp_path):
    server.cuts = [50_000]

    first = download(server, tmp_path, "--attempts=1")
    assert_one_error_line(first, 1, "cut after 50000 of", "the same command resumes")
    second = download(server, tmp_path)

    assert second.returncode == 0, second.stderr
    assert server.ranges == [None, "bytes=50000-"]


def test_a_server_that_ignores_ranges_is_read_from_the_start(server, tmp_path):
    server.knows_ranges = False
    (tmp_path / "Task09_Spleen.tar.partial").write_bytes(b"?" * 1000)

    done = download(server, tmp_path)

    assert done.returncode == 0, done.stderr
    assert server.ranges == ["bytes=1000-"]
    assert (tmp_path / "Task09_Spleen.tar").read_bytes() == GOOD


def test_a_download_that_was_complete_already_is_not_repeated(server, tmp_path):
    (tmp_path / "Task09_Spleen.tar.partial").write_bytes(GOOD)

    done = download(server, tmp_path)

    assert done.returncode == 0, done.stderr
    assert server.ranges == [f"bytes={len(GOOD)}-"]


def test_a_wrong_checksum_removes_the_download_and_nothing_else(server, tmp_path):
    server.content = GOOD[:-1] + b"?"
    (tmp_path / "mine.txt").write_text("mine")

    done = download(server, tmp_path)

    found, expected = (hashlib.md5(content).hexdigest() for content in (server.content, GOOD))
    assert_one_error_line(done, 2, f"expected MD5 {expected}, found {found}", "run this again")
    assert files_below(tmp_path) == {"mine.txt": b"mine"}


def test_an_archive_put_there_by_hand_is_used_without_a_request(server, tmp_path):
    (tmp_path / "Task09_Spleen.tar").write_bytes(GOOD)

    done = download(server, tmp_path)

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "Task09_Spleen" / "imagesTr" / "spleen_2.nii.gz").read_bytes() == SCAN
    assert server.ranges == []


def test_an_archive_put_there_by_hand_with_a_wrong_checksum_is_left_alone(server, tmp_path):
    (tmp_path / "Task09_Spleen.tar").write_bytes(b"something else")

    done = download(server, tmp_path)

    assert_one_error_line(done, 2, "Task09_Spleen.tar: expected MD5", "left as it is")
    assert files_below(tmp_path) == {"Task09_Spleen.tar": b"something else"}


def test_a_missing_file_on_the_server_is_not_asked_for_again(server, tmp_path):
    server.statuses = [404]

    done = download(server, tmp_path)

    assert_one_error_line(done, 2, f"{server.url}: expected the archive, found HTTP 404")
    assert len(server.ranges) == 1


def test_a_server_that_is_busy_for_a_moment_is_asked_again(server, tmp_path):
    server.statuses = [503, 200]

    done = download(server, tmp_path)

    assert done.returncode == 0, done.stderr
    assert "found HTTP 503" in done.stderr


def test_a_server_that_stays_down_ends_the_run_after_the_given_attempts(server, tmp_path):
    server.statuses = [500] * 9

    done = download(server, tmp_path, "--attempts=3")

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"error: {server.url}: expected the archive")
    assert len(server.ranges) == 3


def test_a_disk_without_room_is_refused_before_the_download(server, tmp_path):
    server.announced_bytes = 10**18  # a billion gigabytes, and as much to unpack them

    done = download(server, tmp_path)

    assert_one_error_line(done, 2, "expected 2000000000.0 GB free")
    assert files_below(tmp_path) == {}


@pytest.mark.parametrize(
    "name", ["../outside.txt", "Task09_Spleen/../../outside.txt", "/outside.txt", "other/file.txt"]
)
def test_an_archive_whose_files_lead_elsewhere_is_refused(server, tmp_path, name):
    server.content = tar_of(GOOD_FILES | {name: b"outside"})

    done = download(server, tmp_path / "data", md5_flag(server.content))

    assert_one_error_line(done, 2, f"expected files below Task09_Spleen/, found {name!r}")
    assert files_below(tmp_path) == {"data/Task09_Spleen.tar": server.content}


def test_an_archive_with_a_link_is_refused(server, tmp_path):
    server.content = tar_of(GOOD_FILES, links=[("Task09_Spleen/labelsTr", "/etc")])

    done = download(server, tmp_path, md5_flag(server.content))

    assert_one_error_line(done, 2, "found a link 'Task09_Spleen/labelsTr'")
    assert not (tmp_path / "Task09_Spleen").exists()


def test_the_shadow_files_of_macos_are_left_out(server, tmp_path):
    shadows = {"._Task09_Spleen": b"mac", "Task09_Spleen/imagesTr/._spleen_2.nii.gz": b"mac"}
    server.content = tar_of(GOOD_FILES | shadows)

    done = download(server, tmp_path, md5_flag(server.content))

    assert done.returncode == 0, done.stderr
    assert files_below(tmp_path) == GOOD_FILES | {"Task09_Spleen.tar": server.content}


def test_an_archive_that_is_cut_leaves_no_half_data_set(server, tmp_path):
    server.content = GOOD[:60_000]

    done = download(server, tmp_path, md5_flag(server.content))

    assert_one_error_line(done, 2, "Task09_Spleen.tar: expected a tar archive, found: unexpected")
    assert files_below(tmp_path) == {"Task09_Spleen.tar": server.content}


def test_an_archive_of_something_else_is_refused(server, tmp_path):
    server.content = tar_of({"Task09_Spleen/readme.txt": b"no data set"})

    done = download(server, tmp_path, md5_flag(server.content))

    assert_one_error_line(done, 2, "expected Task09_Spleen/dataset.json in it, found none")


def test_a_folder_without_a_data_set_is_not_written_over(server, tmp_path):
    (tmp_path / "Task09_Spleen").mkdir()

    done = download(server, tmp_path)

    assert_one_error_line(done, 2, "Task09_Spleen: expected a data set or nothing", "move it away")
    assert server.ranges == []


@pytest.mark.parametrize("flag", ["--md5=1234", "--url=ftp://somewhere", "--attempts=0", "--what"])
def test_a_wrong_flag_is_told_in_one_line(server, tmp_path, flag):
    assert_one_error_line(download(server, tmp_path, flag), 2, flag.partition("=")[0])


def test_the_program_imports_nothing_but_the_standard_library_and_tqdm():
    code = (
        "import runpy, sys; before = set(sys.modules); runpy.run_path(sys.argv[1]);"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(TOOL)], capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) - sys.stdlib_module_names == {"tqdm", "spleen_tf"}
