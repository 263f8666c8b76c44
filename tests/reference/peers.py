"""The peers of the benchmark, each in the best form that its own makers offer for a CPU."""

from peers_engines import CTranslate2, OnnxRuntime, OpenVino
from peers_int8 import OnnxRuntimeDynamic, OnnxRuntimeStatic, OpenVinoStatic, OpenVinoWeights
from peers_torch import Compiled, SentenceTransformers, Traced, TracedAt256, Transformers

PEERS = {
    "transformers": Transformers,
    "sentence-transformers": SentenceTransformers,
    "traced-256": TracedAt256,
    "traced": Traced,
    "compiled": Compiled,
    "onnxruntime": OnnxRuntime,
    "onnxruntime-dynamic": OnnxRuntimeDynamic,
    "onnxruntime-static": OnnxRuntimeStatic,
    "openvino": OpenVino,
    "openvino-static": OpenVinoStatic,
    "openvino-weights": OpenVinoWeights,
    "ctranslate2": CTranslate2,
}
