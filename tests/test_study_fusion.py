"""Rules of fusion by hand, and a table whose best threshold is known."""

import numpy as np
import pytest


@pytest.fixture
def tool(load_tool):
    return load_tool("study_fusion")


def test_rules_by_hand(tool):
    p = np.array([0.5, 0.8, 0.9])[:, np.newaxis]
    assert tool.mean(p)[0] == pytest.approx(2.2 / 3)
    assert tool.median(p)[0] == pytest.approx(0.8)
    # Odds of 1, 4 and 9: their geometric mean is 36^(1/3) = 3.302.
    assert tool.mean_of_logits(p)[0] == pytest.approx(3.3019 / 4.3019, abs=1e-4)


def test_one_member_that_is_certain_does_not_outweigh_all_others(tool):
    p = np.array([0.0, 0.9, 0.9])[:, np.newaxis]
    # Odds of 1/999, 9 and 9.
    assert tool.mean_of_logits(p)[0] == pytest.approx(0.3018, abs=1e-3)


def test_planes_alone_pairs_and_all_are_compared(tool):
    p = np.array([0.0, 0.5, 1.0])[:, np.newaxis, np.newaxis, np.newaxis]
    found = {name: float(fused.squeeze()) for name, fused in tool._fused(["a", "b", "c"], p)}
    assert list(found) == [
        *("a", "b", "c", "mean without a", "mean without b", "mean without c"),
        *("mean", "mean of logits", "median"),
    ]
    assert found["mean without b"] == 0.5
    assert [name for name, _ in tool._fused(["a"], p[:1])] == ["a"]


def row(fold, threshold, dice):
    return {
        "case": f"case {fold}",
        "fold": fold,
        "rule": "mean",
        "kept": "all",
        "threshold": threshold,
        "dice": dice,
        "volume_error_percent": -10.0,
    }


def test_the_table_says_what_a_threshold_chosen_on_other_folds_is_worth(tool):
    rows = [row("0", 0.4, 0.9), row("0", 0.5, 0.6), row("1", 0.4, 0.7), row("1", 0.5, 0.8)]
    # 0.4 is best with 0.8. Chosen on fold 1 it is 0.5, worth 0.6 in fold 0; and 0.7 the other way.
    (line,) = [line for line in tool.page(rows).split("\n") if line.startswith("| mean")]
    assert line == "| mean | all | 0.4 | 0.8000 | 0.700 | 10.0 | 0.7000 | 0.6500 |"
