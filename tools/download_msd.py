"""Downloads the spleen task of the Medical Segmentation Decathlon: 41 labelled and 20 more CTs.

python tools/download_msd.py --output_dir=data

makes data/Task09_Spleen. The archive has about 1.6 GB, and needs as much again to be unpacked.
The same command again resumes a download that was cut, and does nothing once all is there. A
download whose checksum is wrong is removed; an archive that you put at data/Task09_Spleen.tar
yourself is checked, used, and never removed.

The data are licensed CC BY-SA 4.0; http://medicaldecathlon.com says whom to cite. This program
needs the standard library and tqdm only, so that it also runs where nothing else is installed.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import sys

# Lets the program run from a checkout in which the package is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from spleen_tf.datasets import archives
from spleen_tf.datasets.archives import ArchiveError, ConnectionCutError, Source

NAME = "Task09_Spleen"
URL = f"https://msd-for-monai.s3-us-west-2.amazonaws.com/{NAME}.tar"
MD5 = "410d4a301da4e5b2f6f86ec3ddba524e"


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    source = Source(NAME, options.url, options.md5, options.attempts, options.backoff_s)
    try:
        download(source, options.output_dir)
    except ArchiveError as error:
        return failed(str(error), 2)
    except ConnectionCutError as error:
        return failed(f"{error}; the same command resumes.", 1)
    except OSError as error:
        path = error.filename or options.output_dir
        return failed(f"{path}: expected a place to write to, found: {error.strerror}.", 2)
    except KeyboardInterrupt:
        return failed("interrupted; the same command resumes.", 1)
    return 0


def download(source: Source, folder: pathlib.Path) -> None:
    """The data set's folder below a folder, from whatever is there already."""
    dataset = folder / source.name
    if (dataset / "dataset.json").is_file():
        print(f"{dataset}: is there already, nothing to do.")
        return
    if dataset.exists():
        raise ArchiveError(
            f"{dataset}: expected a data set or nothing, found no dataset.json in it; "
            "move it away and run this again."
        )
    folder.mkdir(parents=True, exist_ok=True)
    archive = archives.get(source, folder)
    archives.unpack(archive, source.name, folder)
    print(f"{dataset}: unpacked. {archive} is not needed any more.")


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
        "--attempts", type=int, default=5, help="failures in a row before it gives up; default: 5"
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
