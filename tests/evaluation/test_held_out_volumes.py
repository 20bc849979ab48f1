"""Volumes of held-out cases: what is read of a cross-validation, and what is rejected."""

import msgspec
import pytest
from fixtures import records

from spleen_tf.core import files
from spleen_tf.core.files import InputError
from spleen_tf.evaluation import held_out_volumes
from spleen_tf.quality.evidence import Evidence
from spleen_tf.quality.volume_interval import Doubt, HeldOutVolume

EVIDENCE = Evidence(
    certainty=0.9, agreement=0.8, weakest=0.8, main_share=1.0, smoothness=0.9, brightness=0.5
)
RECORD = records.of_nothing_found(
    modality="CT", evidence=EVIDENCE, volume_ml_nested=(180.0, 205.0), seconds={}
)


def write_cases(folder, planes=("axial", "fused"), names="ab", pred_mm3=190_000.0):
    rows = [
        {"plane": plane, "fold": 0, "case": name, "truth_mm3": 200_000.0, "pred_mm3": pred_mm3}
        for plane in planes
        for name in names
    ]
    files.write_csv(folder / "cases.csv", rows)


def nobody_says(case):
    return None


def test_fused_volumes_come_with_what_their_predictions_show(tmp_path):
    write_cases(tmp_path)
    files.write_json(tmp_path / "evaluated_masks" / "fused" / "a.json", RECORD)
    of_single_member = msgspec.structs.replace(RECORD, evidence=None, volume_ml_nested=None)
    files.write_json(tmp_path / "evaluated_masks" / "fused" / "b.json", of_single_member)
    assert held_out_volumes.read(tmp_path, nobody_says) == [
        HeldOutVolume("a", "CT", 200.0, 190.0, Doubt((180.0, 205.0), 0.8)),
        HeldOutVolume("b", "CT", 200.0, 190.0, Doubt(None, None)),
    ]


def test_a_single_plane_needs_no_fusion_and_no_json_where_the_modality_is_given(tmp_path):
    write_cases(tmp_path, planes=("coronal",), names="a")
    found = held_out_volumes.read(tmp_path, {"a": "MR"}.get)
    assert found == [HeldOutVolume("a", "MR", 200.0, 190.0, Doubt(None, None))]


def test_planes_that_were_not_fused_are_no_family(tmp_path):
    write_cases(tmp_path, planes=("axial", "coronal"))
    assert held_out_volumes.read(tmp_path, nobody_says) == []


def test_a_case_without_a_measured_volume_is_left_out(tmp_path):
    write_cases(tmp_path, pred_mm3="nan")
    assert held_out_volumes.read(tmp_path, nobody_says) == []


def test_what_cannot_be_used_is_rejected(tmp_path):
    with pytest.raises(InputError, match=r"cases.csv: expected what tools/cross_validate.py wrote"):
        held_out_volumes.read(tmp_path, nobody_says)
    write_cases(tmp_path)
    with pytest.raises(InputError, match=r"modality is known, found 'a', of which .*a.json"):
        held_out_volumes.read(tmp_path, nobody_says)
    (tmp_path / "cases.csv").write_text("plane,case,truth_mm3,pred_mm3\nfused,a,1,\n")
    with pytest.raises(InputError, match=r"expected the columns plane, case, truth_mm3, pred"):
        held_out_volumes.read(tmp_path, nobody_says)
