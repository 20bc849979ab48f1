"""Checks the locked packages for known vulnerabilities, with pip-audit.

Fails on a vulnerability that SECURITY.md does not list with its exposure and a reason. Where no
service for vulnerabilities answers, it says so and does not fail.

Example:
    python tools/audit.py
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
import subprocess
import sys

import msgspec

from spleen_tf.core import flags
from spleen_tf.core.flags import flag

ROOT = pathlib.Path(__file__).resolve().parents[1]
LOCKS = ("requirements.lock", "requirements-predict.lock", "requirements-beam.lock")
_TIMEOUT_S = 600
_ADVISORY = r"(?:CVE-\d{4}-\d+|PYSEC-\d{4}-\d+|GHSA(?:-[0-9a-z]{4}){3})"


@dataclasses.dataclass(frozen=True)
class AuditConfig:
    lock: tuple[str, ...] = flag(LOCKS, "A lock file.")
    security: str = flag("SECURITY.md", "The page that lists what is known and accepted.")


class Vulnerability(msgspec.Struct, frozen=True):
    """An advisory that concerns a version of a package."""

    id: str
    aliases: tuple[str, ...] = ()
    fix_versions: tuple[str, ...] = ()


class Package(msgspec.Struct, frozen=True):
    """A package of pip-audit's report; without a version where it could not be looked up."""

    name: str
    version: str | None = None
    vulns: tuple[Vulnerability, ...] = ()
    skip_reason: str | None = None


class Report(msgspec.Struct, frozen=True):
    """What pip-audit writes as JSON."""

    dependencies: tuple[Package, ...] = ()


def main(config: AuditConfig) -> int:
    page = (ROOT / config.security).read_text(encoding="utf-8")
    accepted = set(re.findall(rf"^\| ({_ADVISORY}) \|", page, re.MULTILINE))
    failed = False
    for lock in config.lock:
        report = audited(lock)
        if report is None:
            print(f"{lock}: not audited: no service for vulnerabilities answers", file=sys.stderr)
            continue
        unknown = not_accepted(report, accepted)
        for line in unknown:
            print(f"{lock}: {line}", file=sys.stderr)
        skipped = sum(package.skip_reason is not None for package in report.dependencies)
        left_out = f", {skipped} not looked up" if skipped else ""
        print(f"{lock}: {len(report.dependencies)} packages{left_out}, {len(unknown)} findings")
        failed = failed or bool(unknown)
    return flags.EXIT_FAILED if failed else flags.EXIT_DONE


def audited(lock: str) -> Report | None:
    """pip-audit's report on a lock file; None where it could look nothing up."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(ROOT / lock)]
    options = ["--require-hashes", "--disable-pip", "--format=json", "--progress-spinner=off"]
    try:
        ran = subprocess.run(
            [*command, *options], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    if "No module named pip_audit" in ran.stderr:
        raise flags.CommandFailed("expected pip-audit, found it not installed; run make venv.")
    try:
        report = msgspec.convert(json.loads(ran.stdout), Report)
    except ValueError:  # No JSON, but a message on the network.
        return None
    looked_up = [package for package in report.dependencies if package.skip_reason is None]
    return report if looked_up else None


def not_accepted(report: Report, accepted: set[str]) -> list[str]:
    """A line per advisory that is not accepted under any of its names."""
    return [
        f"{package.name} {package.version}: {vulnerability.id} (fixed in "
        f"{', '.join(vulnerability.fix_versions) or 'no version'}): update it, or list it in "
        "SECURITY.md with the exposure and the reason"
        for package in report.dependencies
        for vulnerability in package.vulns
        if not accepted & {vulnerability.id, *vulnerability.aliases}
    ]


if __name__ == "__main__":
    flags.run(main, AuditConfig)
