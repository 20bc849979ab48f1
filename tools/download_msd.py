"""Downloads the spleen task of the Medical Segmentation Decathlon: 41 labelled and 20 more CTs.

python tools/download_msd.py --output_dir=data

makes data/Task09_Spleen. The archive has some 1.6 GB, and as much again is needed to unpack it.
The same command again resumes a download that was cut, and does nothing once all is there. A
download whose checksum is wrong is removed; an archive that you put at data/Task09_Spleen.tar
yourself is checked, used, and never removed.

The data are licensed CC BY-SA 4.0; http://medicaldecathlon.com says whom to cite. This program
needs the standard library and tqdm only, so that it also runs where nothing else is installed.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import os
import pathlib
import re
import shutil
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

from tqdm import tqdm

NAME = "Task09_Spleen"
URL = f"https://msd-for-monai.s3-us-west-2.amazonaws.com/{NAME}.tar"
MD5 = "410d4a301da4e5b2f6f86ec3ddba524e"
CHUNK_BYTES = 1 << 20
TIMEOUT_S = 60.0


class InputError(ValueError):
    """What the user gave, or what the server sent, is at fault: exit code 2."""


class ConnectionCutError(Exception):
    """The server or the network failed in a way that may pass: worth another attempt."""


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    try:
        download(options)
    except InputError as error:
        return failed(str(error), 2)
    except ConnectionCutError as error:
        return failed(f"{error}; the same command resumes.", 1)
    except OSError as error:
        path = error.filename or options.output_dir
        return failed(f"{path}: expected a place to write to, found: {error.strerror}.", 2)
    except KeyboardInterrupt:
        return failed("interrupted; the same command resumes.", 1)
    return 0


def download(options: argparse.Namespace) -> None:
    """The data set folder below options.output_dir, from whatever is there already."""
    folder = options.output_dir
    dataset, archive = folder / NAME, folder / f"{NAME}.tar"
    if (dataset / "dataset.json").is_file():
        print(f"{dataset}: is there already, nothing to do.")
        return
    if dataset.exists():
        raise InputError(
            f"{dataset}: expected a data set or nothing, found no dataset.json in it; "
            "move it away and run this again."
        )
    folder.mkdir(parents=True, exist_ok=True)
    if archive.exists():
        check_given(archive, options.md5)
    else:
        partial = archive.with_name(f"{archive.name}.partial")
        fetch(options, partial)
        check_fetched(partial, options)
        os.replace(partial, archive)
    unpack(archive, folder)
    print(f"{dataset}: unpacked. {archive} is not needed any more.")


def check_given(archive: pathlib.Path, expected: str) -> None:
    found = md5(archive)
    if found != expected:
        raise InputError(
            f"{archive}: expected MD5 {expected}, found {found}; it was left as it is: move it "
            "away to download it anew."
        )


def check_fetched(partial: pathlib.Path, options: argparse.Namespace) -> None:
    found = md5(partial)
    if found != options.md5:
        partial.unlink()
        raise InputError(
            f"{options.url}: expected MD5 {options.md5}, found {found}; the download was removed: "
            "run this again, or name another --url."
        )


def md5(path: pathlib.Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def fetch(options: argparse.Namespace, partial: pathlib.Path) -> None:
    """Downloads into `partial`, going on from what it holds.

    Raises:
        ConnectionCutError: if options.attempts in a row brought nothing new.
        InputError: if the server has no such file, or the disk no room for it.
    """
    failures, most_bytes = 0, size(partial)
    while True:
        try:
            return fetch_rest(options, partial)
        except ConnectionCutError as error:
            failures = 1 if size(partial) > most_bytes else failures + 1
            most_bytes = max(most_bytes, size(partial))
            if failures >= options.attempts:
                raise
            wait_s = options.backoff_s * 2 ** (failures - 1)
            print(f"{error}; trying again in {wait_s:g} s.", file=sys.stderr)
            time.sleep(wait_s)


def fetch_rest(options: argparse.Namespace, partial: pathlib.Path) -> None:
    """One request: the bytes that `partial` lacks, or all where the server cannot skip."""
    start = size(partial)
    response = ask(options, start)
    if response is None:  # the server has no byte after `start`: complete, or another file
        return
    with response:
        first, total = byte_range(response)
        if first not in (0, start):
            raise ConnectionCutError(f"{options.url}: asked for byte {start}, got byte {first}")
        if total is not None:
            check_space(partial.parent, 2 * total - first)
        with (
            open(partial, "ab" if first else "wb") as stream,
            progress(NAME, total, first) as bar,
        ):
            for chunk in chunks(response, options.url):
                stream.write(chunk)
                bar.update(len(chunk))
    if total is not None and size(partial) < total:
        raise ConnectionCutError(f"{options.url}: cut after {size(partial)} of {total} bytes")


def ask(options: argparse.Namespace, start: int) -> http.client.HTTPResponse | None:
    """The server's answer to a request for the bytes from `start` on; None if it has none."""
    request = urllib.request.Request(options.url)
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if start and error.code == 416:
            return None
        found = f"{options.url}: expected the archive, found HTTP {error.code} {error.reason}"
        if error.code in (408, 429) or error.code >= 500:
            raise ConnectionCutError(found) from None
        raise InputError(f"{found}; --url names another address.") from None
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionCutError(f"{options.url}: expected an answer, found: {error}") from None


def byte_range(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """The first byte that an answer holds, and the size of the whole file if the server says it."""
    if response.status == 206:
        match = re.match(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if match:
            return int(match[1]), None if match[2] == "*" else int(match[2])
    return 0, response.length


def chunks(response: http.client.HTTPResponse, url: str) -> Iterator[bytes]:
    try:
        while chunk := response.read(CHUNK_BYTES):
            yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionCutError(f"{url}: cut: {error}") from None


def size(path: pathlib.Path) -> int:
    return path.stat().st_size if path.exists() else 0


def check_space(folder: pathlib.Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise InputError(
            f"{folder}: expected {needed_bytes / 1e9:.1f} GB free for the archive and what is in "
            f"it, found {free / 1e9:.1f} GB; --output_dir names another folder."
        )


def unpack(archive: pathlib.Path, folder: pathlib.Path) -> None:
    """Unpacks beside the final place, then renames: the data set's folder is whole or absent.

    Raises:
        InputError: if the archive is damaged, or holds anything but files below Task09_Spleen/.
    """
    partial = folder / f".partial-{NAME}"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with tarfile.open(archive) as tar:
            members = [member for member in tar if is_wanted(member, archive)]
            total = sum(member.size for member in members)
            check_space(folder, total)
            with progress("unpacking", total) as bar:
                for member in members:
                    extract(tar, member, partial)
                    bar.update(member.size)
        if not (partial / NAME / "dataset.json").is_file():
            raise InputError(f"{archive}: expected {NAME}/dataset.json in it, found none.")
        os.replace(partial / NAME, folder / NAME)
    except (tarfile.TarError, EOFError) as error:
        raise InputError(f"{archive}: expected a tar archive, found: {error}.") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def is_wanted(member: tarfile.TarInfo, archive: pathlib.Path) -> bool:
    """Whether to unpack a member: a file, but not the ._ shadow that macOS packs beside each.

    Links, devices and names that lead elsewhere are refused, whatever Python's own filters know:
    before 3.11.4 there are none.
    """
    path = pathlib.PurePosixPath(member.name)
    if path.name.startswith("._"):
        return False
    if path.is_absolute() or ".." in path.parts or path.parts[:1] not in ((NAME,), ()):
        raise InputError(f"{archive}: expected files below {NAME}/, found {member.name!r}.")
    if not (member.isfile() or member.isdir()):
        raise InputError(f"{archive}: expected files and folders, found a link {member.name!r}.")
    return member.isfile()


def extract(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: pathlib.Path) -> None:
    """Writes a member's bytes, with this user's usual permissions instead of those packed."""
    target = folder / member.name
    target.parent.mkdir(parents=True, exist_ok=True)
    with tar.extractfile(member) as source, open(target, "wb") as stream:
        shutil.copyfileobj(source, stream, CHUNK_BYTES)


def progress(what: str, total: int | None, initial: int = 0) -> tqdm:
    return tqdm(desc=what, total=total, initial=initial, unit="B", unit_scale=True, disable=None)


class Parser(argparse.ArgumentParser):
    """Complains in one line, as the project's other commands do."""

    def error(self, message: str):
        self.exit(2, f"error: {message}; --help lists the flags.\n")


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--output_dir", type=pathlib.Path, default="data", help="default: data")
    parser.add_argument("--url", default=URL, help=f"default: {URL}")
    parser.add_argument("--md5", default=MD5, help=f"of the archive; default: {MD5}")
    parser.add_argument(
        "--attempts", type=int, default=5, help="how many may fail in a row; default: 5"
    )
    parser.add_argument(
        "--backoff_s",
        type=float,
        default=1.0,
        help="seconds before the second attempt, twice as many before each next; default: 1",
    )
    options = parser.parse_args(argv)
    if not options.url.startswith(("http://", "https://")):
        parser.error(f"--url: expected http://… or https://…, found {options.url!r}")
    if not re.fullmatch(r"[0-9a-f]{32}", options.md5):
        parser.error(f"--md5: expected 32 digits of 0-9 and a-f, found {options.md5!r}")
    if options.attempts < 1 or not 0 <= options.backoff_s < 3600:
        parser.error("expected --attempts of at least 1, and --backoff_s from 0 to 3600")
    return options


def failed(sentence: str, status: int) -> int:
    print(f"error: {' '.join(sentence.split())}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
