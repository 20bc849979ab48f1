"""The cluster for real: several processes, two Dask workers of which one is killed, and S3."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

pytest.importorskip("apache_beam", reason="needs apache-beam: make test-beam")

import fsspec
from fixtures.programs import ROOT

pytestmark = pytest.mark.slow

_PATIENCE_S = 500


def test_two_processes_load_the_model_once_each(make_scans, segment, masks, tmp_path, exported):
    scans = make_scans(tmp_path / "scans", "abcdef")
    assert segment(scans, tmp_path / "local")[0] == 0
    options = ("direct_running_mode=multi_processing", "direct_num_workers=2")
    arguments = ["--runner=DirectRunner", *(f"--runner_option={option}" for option in options)]
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "spleen_tf.predict", f"--model={exported['MR']}"),
            *(f"--input={scans}", f"--output={tmp_path / 'beam'}", *arguments),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert masks(tmp_path / "beam") == masks(tmp_path / "local")
    loads = (ended.stdout + ended.stderr).count("by_hand_MR: by_hand_MR;")
    assert 1 <= loads <= 2


def test_a_job_survives_the_kill_of_one_of_two_dask_workers(
    make_scans, segment, masks, tmp_path, exported
):
    scans = make_scans(tmp_path / "scans", "abcdefghij")
    assert segment(scans, tmp_path / "local")[0] == 0
    with _dask_cluster(tmp_path) as (address, workers):
        job = _start(
            *("-m", "spleen_tf.predict", f"--model={exported['MR']}", f"--input={scans}"),
            *(f"--output={tmp_path / 'dask'}", "--runner=DaskRunner"),
            f"--runner_option=dask_client_address={address}",
            log=tmp_path / "job.log",
        )
        _wait_for(lambda: len(masks(tmp_path / "dask")) >= 2, job)
        busy = int(_loads(tmp_path / "worker1.log") > 0)
        workers[busy].send_signal(signal.SIGKILL)
        assert len(masks(tmp_path / "dask")) < 10  # There is work left for the other.
        assert job.wait(_PATIENCE_S) == 0, (tmp_path / "job.log").read_text()
    assert masks(tmp_path / "dask") == masks(tmp_path / "local")
    assert _loads(tmp_path / f"worker{busy}.log") == 1
    assert _loads(tmp_path / f"worker{1 - busy}.log") == 1


def test_places_in_s3_on_a_local_server(make_scans, segment, masks, tmp_path, monkeypatch):
    server_module = pytest.importorskip("moto.server", reason="needs moto[server]")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in (
        ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    try:
        scans = make_scans(tmp_path / "scans", "ab")
        assert segment(scans, tmp_path / "local")[0] == 0
        store = fsspec.filesystem("s3")
        store.mkdir("clinic")
        store.put(f"{scans}/", "clinic/in/", recursive=True)
        code, line, err = segment("s3://clinic/in", "s3://clinic/out", "--runner=DirectRunner")
        assert code == 0, err
        assert line == "s3://clinic/out: 2 of 2 cases done, 0 of them before"
        store.invalidate_cache()
        store.get("clinic/out/", f"{tmp_path}/out/", recursive=True)
        assert masks(tmp_path / "out") == masks(tmp_path / "local")
        _, line, _ = segment("s3://clinic/in", "s3://clinic/out", "--runner=DirectRunner")
        assert line == "s3://clinic/out: 2 of 2 cases done, 2 of them before"
    finally:
        server.stop()


def _loads(log):
    """How often a worker has loaded the model, by what it printed."""
    return log.read_text().count("by_hand_MR: by_hand_MR;")


@contextlib.contextmanager
def _dask_cluster(folder):
    """A scheduler and two workers, each a process on loopback; its address, and the workers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    dask = ("-m", "distributed.cli.dask_scheduler", "--host=127.0.0.1", f"--port={port}")
    scheduler = _start(*dask, "--no-dashboard", log=folder / "scheduler.log")
    worker = ("-m", "distributed.cli.dask_worker", address, "--nthreads=1", "--no-nanny")
    workers = [
        _start(*worker, "--no-dashboard", "--host=127.0.0.1", log=folder / f"worker{number}.log")
        for number in range(2)
    ]
    try:
        for number in range(2):
            log = folder / f"worker{number}.log"
            _wait_for(lambda log=log: "Registered to" in log.read_text(), workers[number])
        yield address, workers
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait()


def _start(*arguments, log):
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdout=log.open("w"),
        stderr=subprocess.STDOUT,
    )


def _wait_for(condition, process):
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        assert process.poll() is None, f"{process.args} ended with {process.returncode}"
        assert time.monotonic() < deadline
        time.sleep(0.05)
