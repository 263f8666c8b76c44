"""The peers with engines of their own."""

import os
from pathlib import Path

import numpy

from peer import Peer, load_model, mean


class OnnxRuntime(Peer):
    """The graph as it is exported, and in fused operators if those of attention are found in every layer."""

    dtypes = ("f32",)
    variants = ("fused", "not fused")
    packages = ("onnxruntime", "onnx", "torch", "transformers")

    @classmethod
    def file(cls, spec, variant):
        return Path(spec["folder"], f"{spec['name']} {variant}.onnx")

    @classmethod
    def prepare(cls, spec):
        from onnxruntime.transformers import optimizer

        model = load_model(spec, "eager", "f32")
        config = model.model.config
        sizes = dict(num_heads=config.num_attention_heads, hidden_size=config.hidden_size)
        cls.export(model, cls.file(spec, "not fused"))
        masked = cls.file(spec, "masked")
        for file, change in [(cls.file(spec, "not fused"), None), (masked, of_four_dimensions)]:
            if change:
                cls.export(model, file, change)
            fused = optimizer.optimize_model(str(file), model_type="bert", opt_level=0, **sizes)
            if fused.get_fused_operator_statistics()["Attention"] == config.num_hidden_layers:
                fused.save_model_to_file(str(cls.file(spec, "fused")))
                return

    @staticmethod
    def export(model, file, change=lambda mask: mask):
        import torch

        class Masked(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.model = model

            def forward(self, input_ids, attention_mask):
                return self.model(input_ids, change(attention_mask))

        names = ["input_ids", "attention_mask", "last_hidden_state"]
        ids = torch.ones(2, 16, dtype=torch.long)
        torch.onnx.export(
            Masked().eval(),
            (ids, torch.ones_like(ids)),
            str(file),
            dynamo=False,
            opset_version=17,
            input_names=names[:2],
            output_names=names[2:],
            dynamic_axes=dict.fromkeys(names, {0: "batch", 1: "sequence"}),
        )

    def __init__(self, spec):
        import onnxruntime

        file = self.file(spec, spec["variant"])
        if not file.is_file():
            raise RuntimeError("the optimizer does not fuse the attention of every layer")
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads = spec["threads"]
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def hidden(self, ids, mask):
        return self.session.run(None, {"input_ids": ids, "attention_mask": mask})[0]


def of_four_dimensions(mask):
    """The mask as transformers 4 made it: the optimizer finds attention by it."""
    import torch

    mask = 1.0 - mask[:, None, None].expand(-1, 1, mask.shape[1], -1).float()
    return mask.masked_fill(mask.bool(), torch.finfo(torch.float32).min)


class OpenVino(Peer):
    """One stream with all threads, or a stream for each thread and batches in parallel.

    OpenVINO fuses attention itself. It is given the eager form: of SDPA it makes more transpositions, and NaN of a padded
    token whose window has no other tokens (ModernBERT).
    """

    variants = ("one stream", "a stream a thread")
    packages = ("openvino", "torch", "transformers")

    @classmethod
    def file(cls, spec):
        return Path(spec["folder"], f"{spec['name']}.xml")

    @classmethod
    def prepare(cls, spec):
        import openvino
        import torch

        ids = torch.ones(2, 16, dtype=torch.long)
        example = dict(input_ids=ids, attention_mask=torch.ones_like(ids))
        model = openvino.convert_model(load_model(spec, "eager", "f32"), example_input=example)
        openvino.save_model(cls.quantized(model, spec), cls.file(spec), compress_to_fp16=False)

    @staticmethod
    def quantized(model, spec):
        return model

    def __init__(self, spec):
        import openvino

        streams = spec["threads"] if spec["variant"] == "a stream a thread" else 1
        options = {
            "INFERENCE_NUM_THREADS": spec["threads"],
            "PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT",
            "NUM_STREAMS": streams,
        }
        # What int8 leaves in floats OpenVINO computes in bfloat16 on a CPU that has it, and fails if oneDNN must not use it.
        if spec["dtype"] != "int8":
            options["INFERENCE_PRECISION_HINT"] = spec["dtype"]
        elif "ONEDNN_MAX_CPU_ISA" in os.environ:
            options["INFERENCE_PRECISION_HINT"] = "f32"
        model = openvino.Core().compile_model(self.file(spec), "CPU", options)
        self.request = model.create_infer_request()
        self.queue = openvino.AsyncInferQueue(model, streams) if streams > 1 else None

    def hidden(self, ids, mask):
        results = self.request.infer({"input_ids": ids, "attention_mask": mask}, share_inputs=True, share_outputs=True)
        return results[0]

    def embed(self, batches):
        if self.queue is None:
            return super().embed(batches)
        pooled = {}

        def done(request, batch):
            number, mask = batch
            pooled[number] = mean(request.get_output_tensor(0).data, mask)

        self.queue.set_callback(done)
        for number, (ids, mask) in enumerate(batches):
            self.queue.start_async({"input_ids": ids, "attention_mask": mask}, (number, mask))
        self.queue.wait_all()
        return [pooled[number] for number in sorted(pooled)]


class CTranslate2(Peer):
    dtypes = ("f32", "bf16", "int8")
    latency = False
    packages = ("ctranslate2", "transformers")

    @classmethod
    def prepare(cls, spec):
        from ctranslate2.converters import TransformersConverter

        TransformersConverter(spec["checkpoint"]).convert(cls.folder(spec), force=True)

    @classmethod
    def folder(cls, spec):
        return str(Path(spec["folder"], "ctranslate2"))

    def __init__(self, spec):
        import ctranslate2

        kind = {"f32": "float32", "bf16": "bfloat16", "int8": "int8_float32"}[spec["dtype"]]
        known = ctranslate2.get_supported_compute_types("cpu")
        if kind not in known:
            raise ValueError(f"{kind} is not among what this CPU supports: {', '.join(sorted(known))}")
        options = dict(compute_type=kind, intra_threads=spec["threads"], inter_threads=1)
        self.encoder = ctranslate2.Encoder(self.folder(spec), device="cpu", **options)

    def hidden(self, ids, mask):
        import ctranslate2

        tensor = ctranslate2.StorageView.from_array
        lengths = tensor(mask.sum(1).astype(numpy.int32))
        found = self.encoder.forward_batch(tensor(ids.astype(numpy.int32)), lengths).last_hidden_state
        return numpy.array(found.to(ctranslate2.DataType.float32))
