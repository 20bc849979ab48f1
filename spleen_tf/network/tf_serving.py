"""A SavedModel as TensorFlow Serving takes it: in folders of versions, with warm-up requests.

Beside the signatures of the SavedModel there is `raw`, whose volume travels as little-endian bytes,
also over REST, where the other signatures take numbers in JSON.
"""

from __future__ import annotations

import pathlib
import shutil
from collections.abc import Mapping

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from spleen_tf.network import serving

WARM_UP = pathlib.PurePath("assets.extra", "tf_serving_warmup_requests")
BATCHING = "batching_params.pbtxt"

_Signature = tf.types.experimental.ConcreteFunction

# The first request of a kind traces and plans the graph: of this size, as many as these slices.
_WARM_UP_SLICES, _WARM_UP_SIZE = 4, 256
_BATCHING_PARAMETERS = """\
max_batch_size { value: 32 }
batch_timeout_micros { value: 5000 }
max_enqueued_batches { value: 100 }
num_batch_threads { value: 2 }
"""


def write_volumes(saved_model: pathlib.Path, folder: pathlib.Path, name: str) -> None:
    """Writes a version that takes whole volumes: serving_default, windowed and raw.

    Args:
        saved_model: as export wrote it.
        folder: of the version; it must not be there yet.
        name: of the model on the server.

    Raises:
        InputError: if the SavedModel does not load.
    """
    loaded = _load(saved_model)
    module = _copy_of(loaded)
    module.raw = _raw(loaded.signatures["windowed"])
    signatures = {kind: loaded.signatures[kind] for kind in ("serving_default", "windowed")}
    tf.saved_model.save(module, str(folder), signatures={**signatures, "raw": module.raw})
    _copy_assets(saved_model, folder)
    volume = tf.zeros([_WARM_UP_SLICES, _WARM_UP_SIZE, _WARM_UP_SIZE])
    pixel_mm, window = tf.ones([2]), tf.constant([0.0, 1.0])
    _write_warm_up(
        folder,
        [
            request(name, "serving_default", {"slices": volume, "pixel_mm": pixel_mm}),
            request(name, "windowed", {"slices": volume, "pixel_mm": pixel_mm, "window": window}),
            request(
                name,
                "raw",
                {
                    "slices": tf.constant(volume.numpy().tobytes()),
                    "shape": tf.shape(volume),
                    "pixel_mm": pixel_mm,
                    "window": window,
                },
            ),
        ],
    )


def write_images(saved_model: pathlib.Path, folder: pathlib.Path, name: str) -> None:
    """Writes a version that takes images on the model's grid, which the server may batch.

    Args:
        saved_model, folder, name: as in `write_volumes`.
    """
    loaded = _load(saved_model)
    network = loaded.signatures["network"]
    module = _copy_of(loaded)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": network})
    (folder / BATCHING).write_text(_BATCHING_PARAMETERS, encoding="utf-8")
    _copy_assets(saved_model, folder)
    channels = network.structured_input_signature[1]["images"].shape[-1]
    images = tf.zeros([1, _WARM_UP_SIZE, _WARM_UP_SIZE, channels])
    _write_warm_up(folder, [request(name, "serving_default", {"images": images})])


def request(
    model: str, signature: str, inputs: Mapping[str, tf.Tensor]
) -> predict_pb2.PredictRequest:
    """The body of a gRPC call, whose tensors are raw little-endian bytes (tensor_content)."""
    body = predict_pb2.PredictRequest()
    body.model_spec.name, body.model_spec.signature_name = model, signature
    for name, tensor in inputs.items():
        body.inputs[name].CopyFrom(tf.make_tensor_proto(tensor))
    return body


def models_config(names: list[str], base_path: str) -> str:
    """The text of a models.config that serves the two newest versions of each model."""
    configs = "".join(
        f"""  config {{
    name: "{name}"
    base_path: "{base_path}/{name}"
    model_platform: "tensorflow"
    model_version_policy {{ latest {{ num_versions: 2 }} }}
  }}
"""
        for name in names
    )
    return f"model_config_list {{\n{configs}}}\n"


def _load(saved_model: pathlib.Path) -> tf.Module:
    with serving.loading(saved_model):
        return tf.saved_model.load(str(saved_model))


def _copy_of(loaded: tf.Module) -> tf.Module:
    """A module that holds what a loaded SavedModel needs to be saved again."""
    module = tf.Module()
    module.loaded = loaded
    return module


def _raw(
    windowed: tf.types.experimental.ConcreteFunction,
) -> tf.types.experimental.PolymorphicFunction:
    """`windowed`, whose slices are bytes.

    The answer is a serialized TensorProto, of which the last 4·N·H·W bytes are the probability as
    little-endian float32. Its name ends in _bytes, so that REST gives it in base64.
    """

    @tf.function(  # type: ignore[untyped-decorator]
        autograph=False,
        input_signature=[
            tf.TensorSpec([], tf.string, "slices"),
            tf.TensorSpec([3], tf.int32, "shape"),
            tf.TensorSpec([2], tf.float32, "pixel_mm"),
            tf.TensorSpec([2], tf.float32, "window"),
        ],
    )
    def raw(
        slices: tf.Tensor, shape: tf.Tensor, pixel_mm: tf.Tensor, window: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        slices_nhw = tf.reshape(tf.io.decode_raw(slices, tf.float32), shape)
        answer = windowed(slices=slices_nhw, pixel_mm=pixel_mm, window=window)
        return {"probability_bytes": tf.io.serialize_tensor(answer["probability"])}

    return raw


def _copy_assets(saved_model: pathlib.Path, folder: pathlib.Path) -> None:
    """model.json stays beside the weights that it describes."""
    shutil.copytree(saved_model / "assets.extra", folder / "assets.extra", dirs_exist_ok=True)


def _write_warm_up(folder: pathlib.Path, requests: list[predict_pb2.PredictRequest]) -> None:
    """The requests that the server answers to itself before it takes others."""
    path = folder / WARM_UP
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for one in requests:
            log = prediction_log_pb2.PredictionLog(
                predict_log=prediction_log_pb2.PredictLog(request=one)
            )
            writer.write(log.SerializeToString())
