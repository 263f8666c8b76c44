"""The peers of the benchmark, each in the best form that its own makers offer for a CPU."""

from peers_engines import CTranslate2, OnnxRuntime, OpenVino
from peers_torch import Compiled, SentenceTransformers, Traced, TracedAt256, Transformers

PEERS = {
    "transformers": Transformers,
    "sentence-transformers": SentenceTransformers,
    "traced-256": TracedAt256,
    "traced": Traced,
    "compiled": Compiled,
    "onnxruntime": OnnxRuntime,
    "openvino": OpenVino,
    "ctranslate2": CTranslate2,
}
