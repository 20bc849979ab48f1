"""Rules of fusion by hand, and a table whose best threshold is known."""

import dataclasses

import numpy as np
import pytest

from spleen_tf.evaluation import fusion_study
from spleen_tf.evaluation.fusion_study import Way
from spleen_tf.evaluation.held_out import CrossValidation, Record


def test_rules_by_hand():
    p = np.array([0.5, 0.8, 0.9])[:, np.newaxis]
    assert fusion_study.mean(p)[0] == pytest.approx(2.2 / 3)
    assert fusion_study.median(p)[0] == pytest.approx(0.8)
    # Odds of 1, 4 and 9: their geometric mean is 36^(1/3) = 3.302.
    assert fusion_study.mean_of_logits(p)[0] == pytest.approx(3.3019 / 4.3019, abs=1e-4)


def test_one_member_that_is_certain_does_not_outweigh_all_others():
    p = np.array([0.0, 0.9, 0.9])[:, np.newaxis]
    # Odds of 1/999, 9 and 9.
    assert fusion_study.mean_of_logits(p)[0] == pytest.approx(0.3018, abs=1e-3)


def test_planes_alone_pairs_and_all_are_compared():
    p = np.array([0.0, 0.5, 1.0])[:, np.newaxis, np.newaxis, np.newaxis]
    shares = np.array([0.5, 0.3, 0.2])
    fused = fusion_study.fused(["a", "b", "c"], p, shares)
    found = {name: float(probability.squeeze()) for name, probability in fused}
    assert list(found) == [
        *("a", "b", "c", "mean without a", "mean without b", "mean without c"),
        *("mean", "mean of logits", "median", "mean weighted by Dice"),
    ]
    assert found["mean without b"] == 0.5
    assert found["mean weighted by Dice"] == pytest.approx(0.35)
    assert [name for name, _ in fusion_study.fused(["a"], p[:1], np.ones(1))] == ["a"]


def test_planes_are_weighted_by_their_dice_in_the_other_folds(tmp_path):
    dices = {"axial": (0.9, 0.8, 0.6), "coronal": (0.1, 0.3, 0.4), "fused": (1.0, 1.0, 1.0)}
    lines = [f"{p},{n},{d}" for p, row in dices.items() for n, d in zip("uvw", row, strict=True)]
    (tmp_path / "cases.csv").write_text("\n".join(["plane,case,dice", *lines]))
    recipes = {"axial": {}, "coronal": {}}
    folds = {"0": ("u",), "1": ("v", "w")}
    record = Record(num_folds=2, seed=0, recipes=recipes, folds=folds)
    validated = CrossValidation(tmp_path, record)
    shares = fusion_study.shares(validated)
    assert shares["0"] == pytest.approx([0.7 / 1.05, 0.35 / 1.05], abs=1e-5)
    assert shares["1"] == pytest.approx([0.9, 0.1], abs=1e-5)
    # Where nothing is right, no plane counts for more; a case of no spleen, none found, is right.
    for text in ("0.0", "nan"):
        same = [f"{p},{n},{text}" for p in ("axial", "coronal") for n in "uvw"]
        (tmp_path / "same").mkdir(exist_ok=True)
        (tmp_path / "same" / "cases.csv").write_text("\n".join(["plane,case,dice", *same]))
        alike = dataclasses.replace(validated, folder=tmp_path / "same")
        assert fusion_study.shares(alike)["0"] == pytest.approx([0.5, 0.5], abs=1e-5)
    # A single fold has no other to go by.
    one = Record(num_folds=2, seed=0, recipes=recipes, folds={"0": ("u", "v")})
    assert fusion_study.shares(CrossValidation(tmp_path, one))["0"] == pytest.approx(
        [0.85 / 1.05, 0.2 / 1.05], abs=1e-5
    )


def way(fold, threshold, dice):
    return Way(
        case=f"case {fold}",
        fold=fold,
        rule="mean",
        threshold=threshold,
        kept="all",
        dice=dice,
        volume_error_percent=-10.0,
    )


def test_the_table_says_what_a_threshold_chosen_on_other_folds_is_worth():
    ways = [way("0", 0.4, 0.9), way("0", 0.5, 0.6), way("1", 0.4, 0.7), way("1", 0.5, 0.8)]
    # 0.4 is best with 0.8. Chosen on fold 1 it is 0.5, worth 0.6 in fold 0; and 0.7 the other way.
    (line,) = [line for line in fusion_study.page(ways).split("\n") if line.startswith("| mean")]
    assert line == "| mean | all | 0.4 | 0.8000 | 0.700 | 10.0 | 0.7000 | 0.6500 |"
