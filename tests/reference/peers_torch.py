"""The peers that run in PyTorch."""

from pathlib import Path

import numpy

from peer import Peer, load_model


class Torch(Peer):
    """What runs in PyTorch: pooling too."""

    def __init__(self, spec):
        import torch

        torch.set_num_threads(spec["threads"])
        torch.set_num_interop_threads(1)
        self.model = self.load(spec)

    def run(self, ids, mask):
        """The last hidden state, as a tensor."""
        return self.model(ids, mask)

    def hidden(self, ids, mask):
        import torch

        with torch.inference_mode():
            return self.run(torch.from_numpy(ids), torch.from_numpy(mask)).float().numpy()

    def embed(self, batches):
        import torch

        pooled = []
        with torch.inference_mode():
            for ids, mask in batches:
                mask = torch.from_numpy(mask)
                hidden = self.run(torch.from_numpy(ids), mask).float()
                mask = mask.float()
                pooled.append(((mask[:, None] @ hidden)[:, 0] / mask.sum(1, keepdim=True)).numpy())
        return pooled


class Transformers(Torch):
    packages = ("torch", "transformers")

    def load(self, spec):
        return load_model(spec)

    def run(self, ids, mask):
        # Attention is faster without a mask, where nothing is masked.
        return self.model(ids, None if mask.all() else mask)


class Compiled(Transformers):
    """torch.compile, as it is and with `freezing`, which packs weights for the CPU."""

    variants = ("plain", "freezing")

    def load(self, spec):
        import torch
        import torch._inductor.config

        torch._inductor.config.freezing = spec["variant"] == "freezing"
        return torch.compile(super().load(spec), dynamic=True)


class Traced(Torch):
    """torch.jit.trace with a mask; it holds for any shape."""

    packages = ("torch", "transformers")

    @classmethod
    def file(cls, spec):
        return Path(spec["folder"], f"{spec['name']}-{spec['dtype']}.pt")

    @classmethod
    def prepare(cls, spec):
        import torch

        ids = torch.ones(2, cls.length or 16, dtype=torch.long)
        with torch.no_grad():
            torch.jit.trace(load_model(spec), (ids, torch.ones_like(ids)), check_trace=False).save(cls.file(spec))

    def load(self, spec):
        import torch

        return torch.jit.freeze(torch.jit.load(self.file(spec)).eval())


class TracedAt256(Traced):
    """torch.jit.trace of one length, to which all texts are filled up."""

    dtypes = ("f32",)
    latency = False
    length = 256


class SentenceTransformers(Peer):
    """From texts to embeddings by its own `encode`."""

    latency = False
    packages = ("sentence-transformers", "transformers", "torch")

    def __init__(self, spec):
        import torch
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.models import Normalize, Pooling, Transformer

        torch.set_num_threads(spec["threads"])
        torch.set_num_interop_threads(1)
        options = {"dtype": {"f32": torch.float32, "bf16": torch.bfloat16}[spec["dtype"]]}
        if Path(spec["checkpoint"], "modules.json").is_file():
            self.model = SentenceTransformer(spec["checkpoint"], device="cpu", model_kwargs=options)
        else:
            encoder = Transformer(spec["checkpoint"], model_kwargs=options)
            pooling = Pooling(encoder.get_embedding_dimension(), "mean")
            self.model = SentenceTransformer(modules=[encoder, pooling, Normalize()], device="cpu")
        self.model.max_seq_length = spec["limit"]

    def encode(self, texts, batch):
        found = self.model.encode(texts, batch_size=batch, normalize_embeddings=True, convert_to_numpy=True)
        return found.astype(numpy.float32)
