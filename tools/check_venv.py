"""Tells by its exit code whether every file that pip installed beside this Python is still there.

.venv/bin/python tools/check_venv.py

It needs the standard library only, and a fraction of a second. Compiled files do not count: they
come back by themselves.
"""

import csv
import os
import pathlib
import sys
import sysconfig


def main() -> int:
    site_packages = pathlib.Path(sysconfig.get_path("purelib"))
    records = sorted(site_packages.glob("*.dist-info/RECORD"))
    if not records:
        return failed(f"{site_packages}: expected installed packages, found none.")
    for record in records:
        name = first_missing(site_packages, record)
        if name:
            package = record.parent.name
            return failed(f"{site_packages}: expected {name} as in {package}, found none.")
    return 0


def first_missing(site_packages: pathlib.Path, record: pathlib.Path) -> str | None:
    """The first file of a package's RECORD that is gone, or None. A venv holds some 30,000."""
    folder = f"{site_packages}/"
    with open(record, encoding="utf-8", newline="") as stream:
        for row in csv.reader(stream):
            if not row[0].endswith(".pyc") and not os.path.exists(folder + row[0]):
                return row[0]
    return None


def failed(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
