"""Processes and what they cost, the machine, and the program that measures."""

import json
import pathlib
import sys
import time

import pytest

from spleen_tf.benchmark import bench, machine, measure, suite
from spleen_tf.benchmark.rows import Measurement
from spleen_tf.core.flags import CommandFailed


def test_a_process_costs_seconds_and_memory():
    cost = measure.python("-c", "import time; x = bytearray(200_000_000); time.sleep(0.2)")
    assert cost.seconds > 0.2
    assert 0.2 < cost.peak_gb < 0.3


def test_a_process_that_fails_ends_the_row_with_its_last_line():
    with pytest.raises(CommandFailed, match=r"found the exit code 3: oh dear$"):
        measure.python("-c", "print('oh dear'); raise SystemExit(3)")


def test_seconds_are_those_of_the_call():
    assert 0.05 < measure.seconds(lambda: time.sleep(0.05)) < 5


def test_the_machine_and_the_versions_are_named():
    assert machine.describe().cores >= 1
    assert machine.versions()["python"] == ".".join(map(str, sys.version_info[:3]))
    assert "numpy" in machine.versions()


@pytest.fixture
def benchmark(load_tool, run_main, tmp_path):
    tool = load_tool("benchmark")

    def run(*flags):
        return run_main(tool.main, tool.BenchmarkConfig, f"--output={tmp_path}/b.json", *flags)

    return run


def test_the_program_writes_json_and_prints_the_table(benchmark, tmp_path, monkeypatch):
    measurements = {"convert": Measurement((3.0, 1.0, 2.0), (1.0, 1.0, 1.0)), "help": None}

    def measure_of(name):
        def measured(setting):
            assert (setting.repeats, setting.folder.is_dir()) == (2, True)
            if measurements[name] is None:
                raise measure.Skipped("no reason")
            return measurements[name]

        return measured

    monkeypatch.setattr(suite, "_measure_of", measure_of)
    code, stdout, stderr = benchmark("--row=convert", "--row=help", "--repeats=2")
    assert code == 0
    report = json.loads((tmp_path / "b.json").read_text())
    assert set(report) == {"machine", "versions", "rows"}
    skipped, converted = report["rows"]
    assert {"name", "value", "reference", "unit", "ratio", "target", "ok"} <= set(converted)
    assert (converted["value"], converted["ratio"], converted["ok"]) == (2.0, 2.0, False)
    assert (skipped["value"], skipped["ok"]) == (None, None)
    assert "| `convert` |" in stdout
    assert "convert: 2 s, ratio 2\n" in stderr


def test_a_peer_that_is_not_there_is_rejected(benchmark, tmp_path):
    code, _, stderr = benchmark(f"--peer_python={tmp_path}/python")
    assert code == 2
    assert stderr.startswith("error: --peer_python: expected a Python interpreter, found no file")
    assert not pathlib.Path(tmp_path / "b.json").exists()


def test_an_unknown_row_is_rejected(benchmark):
    code, _, stderr = benchmark("--row=speed")
    assert (code, "--row: expected one of predict_process," in stderr) == (2, True)


def test_the_default_interpreter_is_none():
    bench.check_peer(None)
