"""Measures speed and memory, each beside its reference in the same run, and prints a table.

Work and reference take turns, so that other load on the machine affects both. The table shows
medians with the smallest and the largest value. Inputs are the real volumes in
$SPLEEN_TF_REAL_DATA or ../shared/data, else phantoms of the same size, which are kept for the next
run. The rows with PyTorch need an interpreter with the packages of requirements-peers.txt.

Example:
    python tools/benchmark.py --output=data/benchmark.json --quick
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys
import tempfile

# Lets the program run from a checkout in which the package is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from spleen_tf.benchmark import bench, inputs, machine, rows, suite
from spleen_tf.core import files, flags
from spleen_tf.core.flags import flag

ROOT = pathlib.Path(__file__).resolve().parents[1]
QUICK_REPEATS = 3


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    output: str = flag("", "A JSON with machine, versions and rows.", required=True)
    quick: bool = flag(False, "Measures only the rows that take seconds.")
    peer_python: str | None = flag(
        None, "A Python interpreter with the packages of requirements-peers.txt."
    )
    row: tuple[str, ...] = flag((), "Measures only this row.")
    repeats: int | None = flag(
        None, "Turns of work and reference per row. Not set: 5, with --quick 3.", minimum=1
    )
    input_dir: str = flag("data/benchmark", "A folder that keeps the phantoms between runs.")


def main(config: BenchmarkConfig) -> None:
    bench.check_peer(config.peer_python)
    goals = suite.chosen(config.row, config.quick)
    volumes = inputs.Inputs(
        pathlib.Path(config.input_dir).resolve(), inputs.default_real_data(ROOT)
    )
    repeats = config.repeats or (QUICK_REPEATS if config.quick else bench.Bench.repeats)
    described = machine.describe()
    measured = []
    with tempfile.TemporaryDirectory(prefix="spleen_tf_benchmark_") as folder:
        setting = bench.Bench(
            volumes, pathlib.Path(folder), repeats=repeats, peer_python=config.peer_python
        )
        for row in suite.measure_all(goals, setting):
            measured.append(row)
            ratio = "" if row.ratio is None else f", ratio {row.ratio:.3g}"
            value = row.note if row.value is None else f"{row.value:.3g} {row.unit}{ratio}"
            print(f"{row.name}: {value}", file=sys.stderr, flush=True)
    report = rows.Report(described, machine.versions(), tuple(measured))
    files.write_json(config.output, report)
    print(rows.markdown(report))


if __name__ == "__main__":
    flags.run(main, BenchmarkConfig)
