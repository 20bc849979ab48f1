"""What a long run writes down, and in which words another run is kept from its folder."""

import json
import re

import pytest

from spleen_tf.core import resume
from spleen_tf.core.files import InputError

PLAN = {"seed": 0, "recipes": {"axial": {"steps": 10}}}
GROWS = {"recipes": {}}


def written(folder):
    return json.loads((folder / "plan.json").read_text())


def test_the_same_run_goes_on(tmp_path):
    resume.hold(tmp_path, PLAN)
    resume.hold(tmp_path, PLAN)
    assert written(tmp_path) == PLAN


def test_what_may_grow_keeps_what_it_had(tmp_path):
    resume.hold(tmp_path, PLAN)
    resume.hold(tmp_path, {**PLAN, "recipes": {"coronal": {"steps": 20}}}, may_grow=GROWS)
    both = {"axial": {"steps": 10}, "coronal": {"steps": 20}}
    assert written(tmp_path)["recipes"] == both


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({**PLAN, "seed": 1}, "seed as before (0) to resume, found 1; use another --output_dir."),
        ({"recipes": PLAN["recipes"]}, "seed as before (0) to resume, found None;"),
        ({**PLAN, "seed": "1\n2"}, "seed as before (0) to resume, found 1 2;"),
        ({**PLAN, "tta": True}, "tta as before (None) to resume, found True;"),
        (
            {**PLAN, "recipes": {"axial": {"steps": 11}}},
            "recipes as before to resume, found another;",
        ),
    ],
)
def test_another_run_is_refused_and_changes_nothing(tmp_path, other, message):
    resume.hold(tmp_path, PLAN)
    with pytest.raises(InputError, match=re.escape(f"plan.json: expected the same {message}")):
        resume.hold(tmp_path, other, may_grow=GROWS)
    assert written(tmp_path) == PLAN


def test_what_may_not_grow_stays_as_it_is(tmp_path):
    resume.hold(tmp_path, PLAN)
    with pytest.raises(InputError, match="expected the same recipes"):
        resume.hold(tmp_path, {**PLAN, "recipes": {**PLAN["recipes"], "coronal": {}}})


def test_a_run_of_another_kind_is_refused(tmp_path):
    resume.hold(tmp_path, {"seed": 0})
    with pytest.raises(InputError, match="expected the same precision"):
        resume.hold(tmp_path, {"seed": 0, "precision": "auto", "recipes": {}}, GROWS)


def test_an_entry_from_before_there_was_a_setting_went_by_its_default(tmp_path):
    resume.hold(tmp_path, PLAN)
    newer = {**PLAN, "recipes": {"axial": {"steps": 10, "mass": 0.0}}}
    resume.hold(tmp_path, newer, {"recipes": {"steps": 600, "mass": 0.0}})
    assert written(tmp_path) == newer
    other = {**PLAN, "recipes": {"axial": {"steps": 10, "mass": 0.1}}}
    with pytest.raises(InputError, match="expected the same recipes"):
        resume.hold(tmp_path, other, {"recipes": {"steps": 600, "mass": 0.0}})


@pytest.mark.parametrize(
    "content", ["[]", '{"recipes": null}', '{"recipes": ["axial"]}', '{"recipes": {"axial": 1}}']
)
def test_other_json_is_refused(tmp_path, content):
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(InputError, match="expected the plan of a run, found other JSON"):
        resume.hold(tmp_path, PLAN, GROWS)
