"""Libraries are imported without what they import where it is installed."""

import importlib
import sys

import pytest

from spleen_tf.core import imports

LIBRARY = """
try:
    import imported_optional
except ImportError:
    is_whole = False
else:
    is_whole = True
"""


@pytest.fixture(autouse=True)
def _two_libraries(tmp_path, monkeypatch):
    (tmp_path / "imported_library.py").write_text(LIBRARY)
    (tmp_path / "imported_optional.py").write_text("answer = 42")
    (tmp_path / "imported_broken.py").write_text("import no_such_module")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("imported_library", "imported_optional"):
        sys.modules.pop(name, None)


def test_a_library_takes_the_other_for_not_installed_which_can_be_imported_later():
    imports.import_without("imported_library", "imported_optional")
    assert not sys.modules["imported_library"].is_whole
    assert importlib.import_module("imported_optional").answer == 42


@pytest.mark.parametrize("first", ["imported_library", "imported_optional"])
def test_what_is_imported_already_stays_whole(first):
    importlib.import_module(first)
    imports.import_without("imported_library", "imported_optional")
    assert importlib.import_module("imported_library").is_whole


def test_a_library_that_does_not_load_leaves_the_other_one_importable():
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        imports.import_without("imported_broken", "imported_optional")
    assert importlib.import_module("imported_optional").answer == 42
