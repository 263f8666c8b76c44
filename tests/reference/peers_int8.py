"""The engines in 8-bit integers, by the quantizers of their own makers.

Two ways to quantize are two peers, as their embeddings differ.
"""

from pathlib import Path

from bench_rows import calibration
from peer import cpu, load_model
from peers_engines import OnnxRuntime, OpenVino


class OpenVinoStatic(OpenVino):
    """NNCF's quantization of weights and activations, whose ranges come from texts.

    Its settings are those for `TRANSFORMER`, SmoothQuant among them, with the fast bias correction, the default.
    """

    dtypes = ("int8",)
    packages = ("nncf", *OpenVino.packages)

    @staticmethod
    def quantized(model, spec):
        import nncf

        texts = nncf.Dataset(list(calibration(spec)))
        return nncf.quantize(model, texts, model_type=nncf.ModelType.TRANSFORMER)


class OpenVinoWeights(OpenVino):
    """NNCF's compression of weights; OpenVINO quantizes activations as they come, in groups of values."""

    dtypes = ("int8",)
    packages = ("nncf", *OpenVino.packages)

    @staticmethod
    def quantized(model, spec):
        import nncf

        return nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_ASYM)


class OnnxRuntimeDynamic(OnnxRuntime):
    """`quantize_dynamic`: the ranges of activations are found in each call, and fused attention is quantized, too."""

    dtypes = ("int8",)

    @classmethod
    def prepare(cls, spec):
        from onnxruntime.quantization import quantize_dynamic

        super().prepare(spec)
        for file in filter(Path.is_file, (cls.file(spec, variant) for variant in cls.variants)):
            quantize_dynamic(file, file, **weights())


class OnnxRuntimeStatic(OnnxRuntime):
    """`quantize_static`: products with weights take 8-bit integers, whose ranges come from texts, and give floats.

    The rest of the graph is fused, but for attention, which it does not quantize. With attention's own products in integers, and
    results of products, too, as is the default, it is no faster and far less exact.
    """

    dtypes = ("int8",)
    variants = ("",)

    @classmethod
    def prepare(cls, spec):
        from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
        from onnxruntime.transformers import optimizer
        from onnxruntime.transformers.fusion_options import FusionOptions

        class Texts(CalibrationDataReader):
            def __init__(self):
                self.rows = calibration(spec)

            def get_next(self):
                return next(self.rows, None)

        file = cls.file(spec, "")
        cls.export(load_model(spec, "eager", "f32"), file)
        fusion = FusionOptions("bert")
        fusion.enable_attention = False
        model = optimizer.optimize_model(str(file), "bert", opt_level=0, optimization_options=fusion)
        model.save_model_to_file(str(file))
        products = [node for node in model.get_nodes_by_op_type("MatMul") if model.get_initializer(node.input[1])]
        settings = weights()
        settings["extra_options"]["OpTypesToExcludeOutputQuantization"] = ["MatMul"]
        quantize_static(
            file,
            file,
            Texts(),
            activation_type=QuantType.QUInt8,
            nodes_to_quantize=[node.name for node in products],
            **settings,
        )


def weights():
    """How weights are quantized: a scale per column, and 7 bits where the CPU adds up 8-bit products in 16 bits."""
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType

    return dict(
        per_channel=True,
        weight_type=QuantType.QInt8,
        reduce_range={"avx512_vnni", "avx_vnni"}.isdisjoint(cpu()[1]),
        # Fused operators are unknown to the inference of types.
        extra_options={"DefaultTensorType": TensorProto.FLOAT},
    )
