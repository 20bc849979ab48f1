"""The order of modules that the design draws, read from their imports, and held.

A module imports only project modules that stand above it in ORDER, so each can be read, tested and
replaced without those below. A new module is added to ORDER at the place where it belongs.
"""

import ast
import json
import pathlib
import re

import pytest

ORDER = (
    *(
        "files",
        "cost",
        "plans",
        "commands",
        "workers",
        "volume",
        "nifti_header",
        "nifti",
        "dicom_headers",
        "dicom_frames",
        "dicom_pixels",
        "dicom_stack",
        "dicom",
        "dicom_seg",
        "sources",
        "windows",
        "layouts",
        "cases",
        "slices",
        "fingerprint",
        "records",
        "shards",
    ),
    *("preprocess", "augment", "config", "selection", "training_json", "dataset"),
    *("unet", "losses", "optimizers"),
    *(
        "pairing",
        "surfaces",
        "metrics",
        "postprocess",
        "mesh",
        "jobs",
        "models",
        "views",
        "ensemble",
    ),
    *("phantom_shapes", "phantom_patient", "phantom_scene", "phantom_trunk", "phantom_organs"),
    "phantom",
    *(
        "callbacks",
        "calibration",
        "corruptions",
        "quality",
        "segmentation",
        "plots",
        "panels",
        "render",
        "page",
        "viewer",
        "charts",
        "decision",
        "results",
        "crossval",
        "report",
        "outputs",
    ),
)
# The mains stand side by side below all others: none imports another.
MAINS = ("train", "export", "predict", "evaluate", "explore")
# `python -m spleen_tf` and the console script, which start the mains.
START = "__main__"

TOOLS = (
    *("make_tfrecords", "verify_tfrecords", "make_phantom", "download_msd", "convert_chaos"),
    *("cross_validate", "study_quality", "study_fusion", "compare_monai", "benchmark"),
)

# Importing TensorFlow takes seconds, so that all others do it where they need it, if at all.
TENSORFLOW = {"tensorflow", "keras", "tensorflow_addons"}
MAY_IMPORT_TENSORFLOW = {
    *(
        "records",
        "shards",
        "preprocess",
        "augment",
        "selection",
        "dataset",
        "unet",
        "losses",
        "optimizers",
        "callbacks",
    ),
    "ensemble",  # It runs SavedModels.
}
MAY_IMPORT_ADDONS = {"augment", "optimizers"}

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "spleen_tf"
PYTHON_FILES = sorted(
    path.relative_to(ROOT)
    for folder in ("spleen_tf", "tools")
    for path in (ROOT / folder).glob("*.py")
)
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")


def imports(source, at_module_level=False):
    """Dotted names of what a module's source imports.

    Args:
        source: Python, of a module directly in spleen_tf or outside of it.
        at_module_level: only what is imported as soon as the module is.
    """
    names = set()
    pending = [ast.parse(source)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parent = ".".join(filter(None, ["spleen_tf" if node.level else "", node.module or ""]))
            if parent == "spleen_tf":  # Each name is a module of its own.
                names |= {f"spleen_tf.{alias.name}" for alias in node.names}
            else:
                names.add(parent)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names |= {arg.value for arg in node.args if isinstance(arg, ast.Constant)}
        runs_later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for_types = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        if not (at_module_level and (runs_later or for_types)):
            pending += ast.iter_child_nodes(node)
    return names


def project_modules(names):
    """The modules of spleen_tf among dotted names; what __init__ itself defines is none."""
    parts = [name.split(".") for name in names]
    return {p[1] for p in parts if p[0] == "spleen_tf" and len(p) > 1 and not p[1].startswith("__")}


def third_party(names):
    return {name.split(".")[0] for name in names} - {"spleen_tf"}


def source_of(module):
    return (PACKAGE / f"{module}.py").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("import spleen_tf.volume", {"volume"}),
        ("import spleen_tf.volume as v, numpy", {"volume"}),
        ("from spleen_tf import volume, nifti as n", {"volume", "nifti"}),
        ("from spleen_tf.volume import Volume", {"volume"}),
        ("from . import volume", {"volume"}),
        ("from .volume import Volume", {"volume"}),
        ("def f():\n    from spleen_tf import volume", {"volume"}),
        ("try:\n    import spleen_tf.volume\nexcept ImportError:\n    pass", {"volume"}),
        ("importlib.import_module('spleen_tf.volume')", {"volume"}),
        ("from spleen_tf import __version__", set()),
        ("from volume import spleen_tf", set()),
    ],
)
def test_imports_are_seen_in_every_spelling(line, expected):
    assert project_modules(imports(line)) == expected


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("import keras.layers", True),
        ("if True:\n    from keras import layers", True),
        ("class A:\n    import keras", True),
        ("def f():\n    import keras", False),
        ("class A:\n    def f(self):\n        import keras", False),
        ("if typing.TYPE_CHECKING:\n    import keras", False),
    ],
)
def test_imports_at_module_level_are_told_from_those_that_come_later(source, seen):
    assert ("keras" in third_party(imports(source, at_module_level=True))) is seen
    assert "keras" in third_party(imports(source))


def test_every_module_has_its_place_in_the_order_once():
    places = [*ORDER, *MAINS, START]
    assert len(set(places)) == len(places)
    assert [module for module in MODULES if module not in places] == []


def test_a_stranger_finds_every_module_in_the_builders_table():
    table = (ROOT / "BUILD.md").read_text(encoding="utf-8")
    table = table.split("\n| subject | modules of `spleen_tf/` |\n")[1].split("\n\n")[0]
    rows = [line.split("|")[2] for line in table.splitlines()]
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_modules_above_it(module):
    if module in ORDER:
        above = set(ORDER[: ORDER.index(module)])
    else:
        above = set(ORDER) | (set(MAINS) if module == START else set())
    assert project_modules(imports(source_of(module))) - above == set()


@pytest.mark.parametrize("module", sorted(set(MODULES) - MAY_IMPORT_TENSORFLOW))
def test_a_module_that_may_not_wait_for_tensorflow_imports_it_in_functions_only(module):
    at_once, reached = {module}, set()
    while at_once:  # Through other modules, too.
        reached |= at_once
        found = [project_modules(imports(source_of(m), at_module_level=True)) for m in at_once]
        at_once = set().union(*found) - reached
    heavy = {
        m for m in reached if third_party(imports(source_of(m), at_module_level=True)) & TENSORFLOW
    }
    assert heavy == set()


@pytest.mark.parametrize("module", sorted(set(MODULES) - MAY_IMPORT_ADDONS))
def test_tensorflow_addons_stay_in_augment_and_optimizers(module):
    assert "tensorflow_addons" not in third_party(imports(source_of(module)))


@pytest.mark.parametrize("path", PYTHON_FILES, ids=lambda path: path.as_posix())
def test_no_tool_is_imported(path):
    tools = {tool.stem for tool in (ROOT / "tools").glob("*.py")} | {"tools"}
    assert third_party(imports((ROOT / path).read_text(encoding="utf-8"))) & tools == set()


# Runs programs in one process, without TensorFlow, and prints what each wrote and how it ended.
WITHOUT_TENSORFLOW = """
import contextlib, importlib.abc, io, json, runpy, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "keras", "tensorflow_addons"):
            raise ImportError(f"{name} was imported")

sys.meta_path.insert(0, Blocker())
ends = {}
for program in json.loads(sys.argv[1]):
    for flag in ("--help", "--no_such_flag=1"):
        out, err, code = io.StringIO(), io.StringIO(), None
        sys.argv = [program, flag]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                runpy.run_path(program, run_name="__main__")
            except SystemExit as end:
                code = end.code
            except BaseException as error:
                code = repr(error)
        ends[program + " " + flag] = [code, out.getvalue(), err.getvalue()]
print(json.dumps(ends))
"""
PROGRAMS = [
    program
    for program in (*(f"spleen_tf/{m}.py" for m in MAINS), *(f"tools/{t}.py" for t in TOOLS))
    if (ROOT / program).exists()
]


@pytest.fixture(scope="module")
def ends_without_tensorflow(run_python):
    def ends_of(programs, cwd):
        done = run_python("-c", WITHOUT_TENSORFLOW, json.dumps(programs), cwd=cwd)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return ends_of


@pytest.fixture(scope="module")
def ends(ends_without_tensorflow):
    return ends_without_tensorflow(PROGRAMS, ROOT)


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_comes_without_tensorflow(ends, program):
    code, out, err = ends[f"{program} --help"]
    assert (code, err) == (0, "")
    assert "usage:" in out


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_wrong_flag_is_told_in_one_line_without_tensorflow(ends, program):
    code, out, err = ends[f"{program} --no_such_flag=1"]
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert "no_such_flag" in err
    assert err.count("\n") == 1


def test_a_program_that_imports_tensorflow_at_once_is_found_out(ends_without_tensorflow, tmp_path):
    (tmp_path / "hasty.py").write_text("import tensorflow\nprint('usage:')\nraise SystemExit(0)\n")
    code, out, _ = ends_without_tensorflow(["hasty.py"], tmp_path)["hasty.py --help"]
    assert (code, out) == ("ImportError('tensorflow was imported')", "")
