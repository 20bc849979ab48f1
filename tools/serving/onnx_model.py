"""An ONNX model for MLServer: the v2 protocol over REST and gRPC, without TensorFlow.

It lies beside model-settings.json, in an environment with mlserver and onnxruntime.
"""

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver.utils import get_model_uri


class OnnxModel(MLModel):
    """One model.onnx, run by ONNX Runtime on the CPU."""

    async def load(self) -> bool:
        path = await get_model_uri(self._settings)
        self._session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        inputs = {one.name: NumpyCodec.decode_input(one) for one in payload.inputs}
        names = [output.name for output in self._session.get_outputs()]
        answers = self._session.run(names, inputs)
        outputs = [
            NumpyCodec.encode_output(name, answer)
            for name, answer in zip(names, answers, strict=True)
        ]
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=outputs)
