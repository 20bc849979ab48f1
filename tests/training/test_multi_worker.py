"""Training on two machines: here two processes on loopback, as `TF_CONFIG` names them."""

import csv
import dataclasses
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
from fixtures.programs import ROOT

from spleen_tf.training.config import TrainConfig

pytestmark = pytest.mark.slow

_PATIENCE_S = 900


@pytest.fixture
def start(tmp_path):
    """A function that begins a training in a process per configuration, each with its log."""
    processes = []

    def begin(configs):
        begun = _begin(configs, tmp_path)
        processes.extend(begun)
        return begun

    yield begin
    for process in processes:
        process.kill()
        process.wait()


def test_two_workers_train_as_one_process_with_the_same_batch(quick_training, start, tmp_path):
    config = quick_training(model_dir=str(tmp_path / "one"), steps=4, seed=1)
    alone = start([config])
    two = dataclasses.replace(config, model_dir=str(tmp_path / "two"), distribution="multi_worker")
    workers = start([two, two])
    for process in (*alone, *workers):
        assert process.wait(_PATIENCE_S) == 0, log_of(process)
    one, first, second = (log(tmp_path / folder) for folder in ("one", "two", "two/worker-1"))
    assert first["steps"] == second["steps"] == one["steps"] == [2, 4]
    for metric in ("loss", "val_dice"):
        assert first[metric] == pytest.approx(second[metric], abs=1e-6)
    assert first["loss"] == pytest.approx(one["loss"], rel=0.25)


def test_a_killed_worker_stops_the_job_which_resumes(quick_training, start, tmp_path):
    config = quick_training(
        model_dir=str(tmp_path / "two"), epochs=500, distribution="multi_worker"
    )
    workers = start([config, config])
    deadline = time.monotonic() + _PATIENCE_S
    while len(log(tmp_path / "two")["steps"]) < 2:
        assert workers[0].poll() is None, log_of(workers[0])
        assert time.monotonic() < deadline
        time.sleep(0.1)
    workers[1].send_signal(signal.SIGKILL)
    assert workers[0].wait(_PATIENCE_S) == 1
    (line,) = (line for line in log_of(workers[0]).splitlines() if line.startswith("error:"))
    assert "expected every worker of the cluster to go on, found one lost" in line
    epochs = len(log(tmp_path / "two")["steps"])

    workers = start([dataclasses.replace(config, epochs=epochs + 1)] * 2)
    for process in workers:
        assert process.wait(_PATIENCE_S) == 0, log_of(process)
        assert re.search(r"^resumes after \d+ steps$", log_of(process), re.MULTILINE)
    steps = log(tmp_path / "two")["steps"]
    assert steps == [2.0 * number for number in range(1, len(steps) + 1)]


def _begin(configs, folder):
    """A process per configuration, with TF_CONFIG where there are several."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(len(configs))]
    processes = []
    for index, config in enumerate(configs):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
        if len(configs) > 1:
            environment["TF_CONFIG"] = json.dumps(task)
        place = folder / f"{len(list(folder.glob('*.txt')))}.txt"
        with place.open("w") as stream:
            process = subprocess.Popen(
                [sys.executable, "-m", "spleen_tf.train", *flags_of(config)],
                cwd=ROOT,
                env=environment,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        process.log = place
        processes.append(process)
    return processes


def flags_of(config):
    """The flags in which a configuration differs from the defaults."""
    flags = []
    for field in dataclasses.fields(TrainConfig):
        value = getattr(config, field.name)
        if value != field.default:
            text = ",".join(map(str, value)) if isinstance(value, tuple) else value
            flags.append(f"--{field.name}={text}")
    return flags


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def log(folder):
    """The columns of a log.csv as numbers; no rows where it is not there yet."""
    columns = {"steps": [], "loss": [], "val_dice": []}
    if (folder / "log.csv").is_file():
        with (folder / "log.csv").open() as stream:
            for row in csv.DictReader(stream):
                for name, column in columns.items():
                    column.append(float(row[name]))
    return columns


def log_of(process):
    return process.log.read_text()
