"""The pages fit the code: links, commands, flags and messages exist, and figures are measured."""

import ast
import functools
import importlib
import json
import pathlib
import re
import runpy
import typing

import msgspec
import pytest
from fixtures import records

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "models/**/*.md", "data/*.md", "tests/data/*.md")
    for path in ROOT.glob(pattern)
)
PAGE_IDS = [page.relative_to(ROOT).as_posix() for page in PAGES]
# Every command has these beside the fields of its configuration.
COMMON_FLAGS = {"help", "flagfile", "verbosity", "log_json"}
# Phrases that plain English has better words for; docs/vocabulary.md says which.
DIALECT = (
    r"in words\b",
    r"\ba word on\b",
    r"\bpromises? nothing\b",
    r"\brefused?\b",
    r"\blearnt\b",
    r"\bits opposite\b",
    r"\b(patients?|cases?|slices?|models?) a (modality|plane|fold|volume)\b",
    r"\ba (row|file|folder|mask|page|model) an? (case|slice|volume|plane|model)\b",
)


def text_of(page: pathlib.Path) -> str:
    """A page as a reader sees it: without comments."""
    return re.sub(r"<!--.*?-->", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def anchors(page: pathlib.Path) -> set[str]:
    """The anchors that a page's headings get."""
    prose = re.sub(r"^```.*?^```", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in headings}


def joined(text: str) -> str:
    """Text with commands that go on in the next line in one."""
    return re.sub(r"\\\n\s*", " ", text)


@functools.cache
def flags_of(command: str) -> set[str]:
    """The flags of `spleen_tf.predict` or `tools/make_phantom`, from its configuration's fields."""
    if command.startswith("spleen_tf."):
        hints = typing.get_type_hints(importlib.import_module(command).main)
    else:
        program = ROOT / f"{command}.py"
        globals_of_it = runpy.run_path(str(program))
        hints = typing.get_type_hints(globals_of_it["main"], globals_of_it)
        if "config" not in hints:  # It needs the standard library alone, and so argparse.
            return set(re.findall(r'add_argument\("--(\w+)"', program.read_text("utf-8")))
    config = hints["config"]
    names = {field.name for field in config.__dataclass_fields__.values()}
    return names | {f"no{name}" for name in names} | COMMON_FLAGS


def commands() -> list[str]:
    modules = [path for path in (ROOT / "spleen_tf").glob("*.py") if "__" not in path.name]
    tools = [path for path in (ROOT / "tools").glob("*.py") if path.stem != "check_venv"]
    return [f"spleen_tf.{path.stem}" for path in modules] + [f"tools/{path.stem}" for path in tools]


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_links_lead_to_files_and_headings(page):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if re.match(r"https?:|mailto:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_commands_and_their_flags_exist(page):
    wrong = []
    calls = re.findall(
        r"(?:(spleen_tf\.[a-z_]+)|spleen-tf ([a-z_]+)|(tools/[a-z_]+)\.py)((?: [^`\n|]*)?)",
        joined(text_of(page)),
    )
    for module, verb, tool, rest in calls:
        command = tool or module or f"spleen_tf.{verb}"
        given = re.findall(r"(?<=\s)--(\w+)", rest)
        if command not in commands():
            # Packages and functions are named the same way, without flags.
            wrong += [f"{command} --{name}" for name in given] + ([f"{verb}"] if verb else [])
            continue
        wrong += [f"{command} --{name}" for name in given if name not in flags_of(command)]
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_a_flag_in_prose_is_one_of_some_command(page):
    if page.name == "CHANGELOG.md":
        pytest.skip("it names flags that are gone")
    known = set().union(*map(flags_of, commands()))
    named = re.findall(r"`--(?:\[no\])?(\w+)[^`]*`", text_of(page))
    assert [name for name in named if name not in known] == []


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_targets_of_make_exist(page):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    text = text_of(page)
    blocks = "".join(re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    named = re.findall(r"`make ([a-z-]+)", text)
    named += re.findall(r"^make ([a-z-]+)", blocks, re.MULTILINE)
    assert [name for name in named if name not in targets] == []


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_pages_are_in_plain_english(page):
    text = text_of(page)
    if page.name == "vocabulary.md":  # It quotes the phrases that are not to be used.
        text = text.partition("## Words that we do not use")[0]
    lines = [line for line in text.splitlines() if any(re.search(p, line) for p in DIALECT)]
    assert not lines


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_pages_hold_no_blank_to_fill_in_and_no_place_of_one_machine(page):
    assert "{{" not in text_of(page)
    places = re.findall(r"(?<![\w.])/(?:root|home|work|tmp|opt|mnt)/\S*", text_of(page))
    assert not places


def test_readme_leads_to_every_page():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = [page.name for page in (ROOT / "docs").glob("*.md")]
    assert [name for name in pages if f"(docs/{name})" not in readme] == []


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 170


def test_readme_segments_a_scan_within_its_first_25_lines():
    start = "\n".join((ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:25])
    assert "python -m spleen_tf.predict" in start
    assert "family.segment(spleen_tf.read(" in start


@functools.cache
def texts_of_programs() -> dict[str, list[str]]:
    """By program, every text in it, with … where a value goes in."""
    texts = {}
    for path in [*(ROOT / "spleen_tf").rglob("*.py"), *(ROOT / "tools").glob("*.py")]:
        tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        texts[str(path)] = [text for text in map(_text, tree) if text]
    for path in (ROOT / "tools").glob("*.sh"):
        shown = re.sub(r"\$\{?\w+\}?|\$\([^)]*\)", "…", path.read_text(encoding="utf-8"))
        texts[str(path)] = shown.splitlines()
    return texts


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
        return " ".join("".join(parts).split())
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return " ".join(node.value.split()) if is_text else ""


def is_written_by_a_program(message: str) -> bool:
    """Whether one text has the message, or one program has all its pieces in several texts."""
    pieces = [piece.strip(" ,;.") for piece in message.split("…")]
    in_one = re.compile(".*".join(map(re.escape, pieces)))
    longer = [piece for piece in pieces if len(piece) > 12]
    return any(
        any(in_one.search(text) for text in texts)
        or (longer and all(any(piece in text for text in texts) for piece in longer))
        for texts in texts_of_programs().values()
    )


def quoted_messages(page: pathlib.Path, heading: str = "message") -> list[str]:
    """The first column of the tables whose first column has a heading."""
    table = rf"^\| {heading} \|.*\n\|[-| ]+\n((?:\|.*\n)+)"
    tables = re.findall(table, text_of(page), re.MULTILINE)
    return re.findall(r"^\| `([^`]+)`", "".join(tables), re.MULTILINE)


def test_troubleshooting_quotes_messages_that_the_programs_write():
    quoted = quoted_messages(ROOT / "BUILD.md")
    assert len(quoted) > 20
    unknown = [message for message in quoted if not is_written_by_a_program(message)]
    assert not unknown


def test_the_page_on_quality_lists_every_reason_for_a_review():
    quoted = quoted_messages(ROOT / "docs" / "quality.md", "reason begins with")
    assert [reason for reason in quoted if not is_written_by_a_program(reason)] == []
    checks = texts_of_programs()[str(ROOT / "spleen_tf" / "quality" / "checks.py")]
    reasons = [text for text in checks if re.match(r"[a-z ]+: |the (primary|models|spleen)", text)]
    assert len(reasons) > 8
    assert [text for text in reasons if not text.startswith(tuple(quoted))] == []


@pytest.mark.parametrize(
    "family", sorted(path.parent.name for path in ROOT.glob("models/*/cv.json"))
)
def test_a_card_and_the_pages_have_the_dice_of_the_cross_validation(family):
    results = json.loads((ROOT / "models" / family / "cv.json").read_text())["results"]
    table = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    for name, measures in results.items():
        dice = measures["dice"]
        low, high = dice["ci95"]
        assert f"| {name} | {dice['mean']:.3f} ({low:.3f}–{high:.3f}) |" in table
    whole = results["fused"] if len(results) > 1 else next(iter(results.values()))
    mean, worst = f"{whole['dice']['mean']:.3f}", f"{whole['dice']['minimum']:.3f}"
    card = (ROOT / "models" / family / "MODEL_CARD.md").read_text(encoding="utf-8")
    front_matter = card.split("---")[1]
    assert f"name: mean, value: {mean}" in front_matter
    assert re.search(rf"name: worst of \d+, value: {worst}", front_matter)
    assert mean in text_of(ROOT / "README.md")


@pytest.fixture(scope="module")
def schema():
    return json.loads((ROOT / "docs" / "schema" / "prediction.json").read_text(encoding="utf-8"))


def test_the_schema_is_that_of_the_record(schema):
    written = runpy.run_path(str(ROOT / "tools" / "write_schema.py"))["schema"]()
    assert schema == json.loads(json.dumps(written)), "run python tools/write_schema.py"


def test_the_schema_has_the_keys_that_predict_writes(schema):
    record = records.of_nothing_found()
    keys = set(json.loads(msgspec.json.encode(record.with_cost({"total": 1.0}, 1.0))))
    described = schema["$defs"]["PredictionRecord"]
    assert set(described["properties"]) == keys
    assert set(described["required"]) <= keys


def test_the_page_on_commands_describes_every_key_of_the_json(schema):
    page = text_of(ROOT / "docs" / "commands.md")
    keys = schema["$defs"]["PredictionRecord"]["properties"]
    assert [key for key in keys if f"`{key}`" not in page] == []


def test_the_schema_of_compare_is_that_of_its_record_and_described():
    content = json.loads((ROOT / "docs" / "schema" / "compare.json").read_text(encoding="utf-8"))
    tool = runpy.run_path(str(ROOT / "tools" / "write_schema.py"))
    written = tool["schema"](tool["RECORDS"]["compare"])
    assert content == json.loads(json.dumps(written)), "run python tools/write_schema.py"
    page = text_of(ROOT / "docs" / "commands.md")
    keys = [key for record in content["$defs"].values() for key in record["properties"]]
    assert [key for key in keys if f"`{key}`" not in page] == []


def test_contributing_lists_every_module():
    page = text_of(ROOT / "CONTRIBUTING.md")
    for folder in sorted({path.parent for path in (ROOT / "spleen_tf").rglob("*.py")}):
        package = folder.relative_to(ROOT / "spleen_tf").as_posix()
        label = "`spleen_tf` itself" if package == "." else f"`{package}`"
        row = re.search(rf"^\| {re.escape(label)} \|(.*)$", page, re.MULTILINE)
        assert row, f"no row for {package}"
        modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "__main__"}
        listed = set(re.findall(r"`(\w+)`", row[1])) - {"__main__"}
        assert listed == modules, package


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "BUILD.md"])
def test_files_and_names_that_builders_are_sent_to_exist(name):
    page = text_of(ROOT / name)
    paths = re.findall(r"`((?:spleen_tf|tests|tools|docs)/[\w/.]+)`", page)
    assert [path for path in paths if not (ROOT / path).exists()] == []
