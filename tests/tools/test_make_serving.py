"""Models for servers: in process against the SavedModel, and over a socket by MLServer."""

import base64
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
import tensorflow as tf

pytestmark = pytest.mark.slow

SLICES_NHW = np.random.default_rng(0).uniform(0, 1000, (3, 20, 24)).astype("<f4")
PIXEL_MM = np.array([2.0, 2.0], "<f4")
WINDOW = np.array([100.0, 900.0], "<f4")


@pytest.fixture(scope="module")
def tool(load_tool):
    return load_tool("make_serving")


@pytest.fixture(scope="module")
def repository(tool, exported, tmp_path_factory):
    """What the tool wrote for the MR model, whose name is by_hand_MR."""
    folder = tmp_path_factory.mktemp("serving")
    tool.main(tool.ServingConfig(model=str(exported["MR"]), output_dir=str(folder), version=3))
    return folder


@pytest.fixture(scope="module")
def expected(exported):
    """The probability by the SavedModel itself."""
    model = tf.saved_model.load(str(exported["MR"]))
    answer = model.signatures["windowed"](
        slices=tf.constant(SLICES_NHW),
        pixel_mm=tf.constant(PIXEL_MM),
        window=tf.constant(WINDOW),
    )
    return answer["probability"].numpy()


@pytest.fixture(scope="module")
def served(repository):
    """The version as TensorFlow Serving loads it."""
    return tf.saved_model.load(str(repository / "tf_serving" / "by_hand_MR" / "3"))


def test_the_servers_configuration_names_models_and_versions(repository):
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    text = (repository / "tf_serving" / "models.config").read_text()
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    models = config.model_config_list.config
    assert [(model.name, model.base_path) for model in models] == [
        ("by_hand_MR", "/models/by_hand_MR"),
        ("by_hand_MR_network", "/models/by_hand_MR_network"),
    ]
    assert all(model.model_version_policy.latest.num_versions == 2 for model in models)


def test_warm_up_requests_are_answered(repository):
    from tensorflow_serving.apis import prediction_log_pb2

    asked = {}
    for folder in sorted((repository / "tf_serving").glob("*/3")):
        model = tf.saved_model.load(str(folder))
        path = folder / "assets.extra" / "tf_serving_warmup_requests"
        for serialized in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            request = prediction_log_pb2.PredictionLog.FromString(serialized).predict_log.request
            signature = request.model_spec.signature_name
            inputs = {name: tf.make_ndarray(t) for name, t in request.inputs.items()}
            model.signatures[signature](**{k: tf.constant(v) for k, v in inputs.items()})
            asked.setdefault(request.model_spec.name, []).append(signature)
    assert asked == {
        "by_hand_MR": ["serving_default", "windowed", "raw"],
        "by_hand_MR_network": ["serving_default"],
    }


def test_a_grpc_body_holds_raw_little_endian_bytes(served, expected):
    from spleen_tf.network import tf_serving

    inputs = {"slices": SLICES_NHW, "pixel_mm": PIXEL_MM, "window": WINDOW}
    body = tf_serving.request("by_hand_MR", "windowed", inputs)
    assert body.inputs["slices"].tensor_content == SLICES_NHW.tobytes()
    tensors = {name: tf.constant(tf.make_ndarray(t)) for name, t in body.inputs.items()}
    answer = served.signatures["windowed"](**tensors)
    np.testing.assert_array_equal(answer["probability"], expected)


def test_a_rest_body_holds_the_same_bytes_in_base64(served, expected):
    encoded = {"b64": base64.b64encode(SLICES_NHW.tobytes()).decode()}
    inputs = {"slices": encoded, "shape": [3, 20, 24], "pixel_mm": [2, 2], "window": [100, 900]}
    body = json.loads(json.dumps({"signature_name": "raw", "inputs": inputs}))
    # What TensorFlow Serving makes of such a body.
    given = body["inputs"]
    answer = served.signatures[body["signature_name"]](
        slices=tf.constant(base64.b64decode(given["slices"]["b64"])),
        shape=tf.constant(given["shape"], tf.int32),
        pixel_mm=tf.constant(given["pixel_mm"], tf.float32),
        window=tf.constant(given["window"], tf.float32),
    )
    content = answer["probability_bytes"].numpy()
    values = np.frombuffer(content[-SLICES_NHW.nbytes :], "<f4").reshape(SLICES_NHW.shape)
    np.testing.assert_array_equal(values, expected)


def test_a_version_is_written_once(tool, repository, exported, run_main):
    flags = (f"--model={exported['MR']}", f"--output_dir={repository}", "--version=3")
    code, _, err = run_main(tool.main, tool.ServingConfig, *flags)
    assert code == 2
    assert "expected a new version, found one; raise --version." in err


def test_mlserver_answers_over_a_socket(repository, expected, tmp_path):
    python = os.environ.get("SPLEEN_TF_MLSERVER_PYTHON")
    if not python:
        pytest.skip("SPLEEN_TF_MLSERVER_PYTHON names no Python with mlserver and onnxruntime")
    port = 18500 + os.getpid() % 500
    settings = {"host": "127.0.0.1", "http_port": port, "grpc_port": port + 500}
    settings |= {"metrics_port": port + 1000, "parallel_workers": 0}
    (repository / "v2" / "settings.json").write_text(json.dumps(settings))
    server = subprocess.Popen(
        [python, "-m", "mlserver.cli.main", "start", str(repository / "v2")],
        stdout=(tmp_path / "server.log").open("w"),
        stderr=subprocess.STDOUT,
    )
    try:
        values = {"slices": SLICES_NHW, "pixel_mm": PIXEL_MM, "window": WINDOW}
        inputs = [
            {"name": n, "shape": v.shape, "datatype": "FP32", "data": v.ravel().tolist()}
            for n, v in values.items()
        ]
        url = f"http://127.0.0.1:{port}/v2/models/by_hand_MR"
        _wait_until_ready(f"{url}/ready", server)
        answer = json.load(_post(f"{url}/infer", {"inputs": inputs}))["outputs"][0]
        over_rest = np.array(answer["data"], "<f4").reshape(answer["shape"])
        np.testing.assert_allclose(over_rest, expected, atol=1e-5)
        over_grpc = subprocess.run(
            [python, "-c", GRPC_CLIENT, f"127.0.0.1:{port + 500}"],
            input=b"".join(value.tobytes() for value in values.values()),
            capture_output=True,
            check=True,
        ).stdout
        np.testing.assert_array_equal(np.frombuffer(over_grpc, "<f4"), over_rest.ravel())
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


# Sends the bytes of stdin, as raw_input_contents, and writes those of the answer.
GRPC_CLIENT = """
import sys
import grpc
from mlserver.grpc import dataplane_pb2 as pb, dataplane_pb2_grpc as service
shapes = {"slices": [3, 20, 24], "pixel_mm": [2], "window": [2]}
request = pb.ModelInferRequest(model_name="by_hand_MR")
for name, shape in shapes.items():
    request.inputs.add(name=name, datatype="FP32", shape=shape)
    size = 4
    for n in shape:
        size *= n
    request.raw_input_contents.append(sys.stdin.buffer.read(size))
stub = service.GRPCInferenceServiceStub(grpc.insecure_channel(sys.argv[1]))
answer = stub.ModelInfer(request)
sys.stdout.buffer.write(answer.raw_output_contents[0])
"""


def _post(url, body):
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    return urllib.request.urlopen(request, timeout=60)


def _wait_until_ready(url, server):
    for _ in range(1200):
        assert server.poll() is None
        try:
            urllib.request.urlopen(url, timeout=5)
        except OSError:
            time.sleep(0.1)
        else:
            return
    sys.exit("the server did not become ready")
