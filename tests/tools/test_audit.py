"""Known vulnerabilities of the locked packages: accepted ones are listed with a reason."""

import re

import msgspec
import pytest

REPORT = {
    "dependencies": [
        {
            "name": "keras",
            "version": "2.15.0",
            "vulns": [{"id": "PYSEC-2025-1", "aliases": ["CVE-2025-2"]}],
        },
        {
            "name": "onnx",
            "version": "1.17.0",
            "vulns": [{"id": "CVE-2025-3", "fix_versions": ["1.18"]}],
        },
        {"name": "own", "skip_reason": "not found"},
    ],
    "fixes": [],
}


@pytest.fixture(scope="module")
def audit(load_tool):
    return load_tool("audit")


@pytest.fixture
def pip_audit(audit, monkeypatch, tmp_path):
    """A function that puts a program with a given output in pip-audit's place."""

    def replace(output):
        (tmp_path / "pip_audit.py").write_text(f"print({output!r})")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return replace


def test_an_advisory_is_accepted_under_any_of_its_names(audit):
    report = msgspec.convert(REPORT, audit.Report)
    (line,) = audit.not_accepted(report, {"CVE-2025-2"})
    assert line.startswith("onnx 1.17.0: CVE-2025-3 (fixed in 1.18): update it, or list it in SEC")
    assert audit.not_accepted(report, {"PYSEC-2025-1", "CVE-2025-3"}) == []


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("", "requirements.lock: not audited: no service"),
        ('{"dependencies": [{"name": "a", "skip_reason": "not found"}]}', "not audited"),
    ],
)
def test_without_a_network_nothing_is_audited_and_nothing_fails(
    audit, pip_audit, capsys, output, message
):
    pip_audit(output)
    assert audit.main(audit.AuditConfig(lock=("requirements.lock",))) == 0
    assert message in capsys.readouterr().err


def test_what_is_not_listed_fails(audit, pip_audit, capsys):
    pip_audit(msgspec.json.encode(REPORT).decode())
    assert audit.main(audit.AuditConfig(lock=("requirements.lock",))) == 1
    out, err = capsys.readouterr()
    assert "requirements.lock: 3 packages, 1 not looked up, 2 findings" in out
    assert "keras 2.15.0: PYSEC-2025-1" in err


def test_security_lists_each_accepted_advisory_with_exposure_and_reason(audit):
    page = (audit.ROOT / "SECURITY.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ((?:CVE|PYSEC|GHSA)-\S+) \|(.*)\|$", page, re.MULTILINE)
    assert rows
    for advisory, rest in rows:
        cells = [cell.strip() for cell in rest.split("|")]
        assert [bool(cell) for cell in cells] == [True] * 3, advisory


def test_no_text_of_the_project_names_a_registrys_host(audit):
    """Where packages come from is the client's configuration; the names are put together here."""
    hosts = ["py" + "pi.org", "python" + "hosted.org", "ana" + "conda.org", "docker" + ".io"]
    named = []
    folders = ("spleen_tf", "tools", "tests", "docs", "models", ".github", ".ci")
    paths = [
        *audit.ROOT.glob("*"),
        *(p for name in folders for p in (audit.ROOT / name).rglob("*")),
    ]
    for path in paths:
        if path.suffix in (".py", ".md", ".sh", ".toml", ".yml", ".lock", ".flags", ""):
            text = path.read_text("utf-8", errors="ignore") if path.is_file() else ""
            named += [f"{path}: {host}" for host in hosts if host in text]
    assert named == []
