"""The table's rows: medians, ratios, targets, and how they are printed."""

import pytest

from spleen_tf.benchmark import conversion, prediction, rows, suite, training
from spleen_tf.benchmark.goals import GOALS, Goal
from spleen_tf.benchmark.machine import Machine
from spleen_tf.benchmark.measure import Skipped, alternating
from spleen_tf.benchmark.rows import Measurement
from spleen_tf.core.files import InputError

MACHINE = Machine(cpu="a CPU", instructions="avx2", cores=2, system="Linux x86_64")


def goal(target=0.5, reference="something", is_minimum=False):
    return Goal("help", "work", reference, "s", target, is_minimum)


def test_a_row_has_medians_their_ratio_and_the_spread():
    row = rows.measured(goal(), Measurement((1.0, 9.0, 2.0), (8.0, 4.0, 5.0)))
    assert (row.value, row.reference, row.ratio) == (2.0, 5.0, 0.4)
    assert (row.spread, row.reference_spread) == ((1.0, 9.0), (4.0, 8.0))
    assert row.ok is True


@pytest.mark.parametrize(
    ("target", "is_minimum", "ok"), [(0.3, False, False), (0.3, True, True), (None, False, None)]
)
def test_a_target_is_reached_from_below_or_above(target, is_minimum, ok):
    row = rows.measured(goal(target, is_minimum=is_minimum), Measurement((2.0,), (5.0,)))
    assert row.ok is ok


def test_without_a_reference_the_value_is_compared():
    row = rows.measured(goal(target=2.0, reference=""), Measurement((1.9,)))
    assert (row.ratio, row.reference, row.ok) == (None, None, True)


def test_a_reference_that_could_not_be_measured_leaves_the_target_open():
    assert rows.measured(goal(), Measurement((0.1,), note="no peer")).ok is None


def test_the_table_says_what_was_missed_and_what_was_not_measured():
    missed = rows.measured(goal(), Measurement((2.0,), (2.0,)))
    skipped = rows.not_measured(goal(), "not measured: no peer")
    table = rows.markdown(rows.Report(MACHINE, {}, (missed, skipped)))
    assert table.startswith("cpu a CPU, instructions avx2, cores 2, system Linux x86_64.\n")
    assert "| `help` | work | `python -c" in table
    assert "| 2 s (2–2) | 2 s (2–2) | 1 | ≤ 3 | **missed** |" in table
    assert table.endswith("- `help`: not measured: no peer\n")


def test_the_first_turn_of_each_does_not_count_and_they_take_turns():
    turns = []

    def turn(name, value):
        turns.append(name)
        return value + len(turns)

    measurement = alternating(lambda: turn("work", 0), lambda: turn("reference", 10), repeats=2)
    assert turns == ["work", "reference"] * 3
    assert measurement.values == (3, 5)
    assert measurement.references == (14, 16)


def test_the_rows_are_those_of_the_contract_and_all_can_be_measured():
    measured = prediction.ROWS | conversion.ROWS | training.ROWS
    assert {goal.name for goal in GOALS} == measured.keys()
    assert all(suite._measure_of(goal.name) is measured[goal.name] for goal in GOALS)


def test_quick_takes_fewer_rows_and_named_ones_come_in_the_tables_order():
    quick = suite.chosen((), is_quick=True)
    assert 5 < len(quick) < len(GOALS) == len(suite.chosen((), is_quick=False))
    assert [goal.name for goal in suite.chosen(("convert", "help"), True)] == ["help", "convert"]
    with pytest.raises(InputError, match=r"--row: expected one of predict_process, .*, found 'x'"):
        suite.chosen(("x",), is_quick=False)


def test_a_row_that_cannot_be_measured_says_why_and_the_others_go_on(monkeypatch):
    def measure_of(name):
        def measure(bench):
            if name == "help":
                raise Skipped("no numpy")
            return Measurement((1.0,), (1.0,))

        return measure

    monkeypatch.setattr(suite, "_measure_of", measure_of)
    first, second = suite.measure_all(suite.chosen(("help", "convert"), False), bench=None)
    assert (first.name, first.value, first.note) == ("help", None, "not measured: no numpy")
    assert (second.name, second.ok) == ("convert", True)
