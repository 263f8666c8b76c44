"""What the peers of the benchmark have in common.

A peer is converted once, by `prepare`, in a process of its own: the process that is measured only loads it. Libraries
are imported where they are needed, so that each process holds its own alone.
"""

from pathlib import Path

import numpy


class Peer:
    """A model that is loaded.

    `spec` says how: checkpoint, folder (of what was converted), dtype, threads, limit, variant.
    """

    dtypes = ("f32", "bf16")
    # Ways to run that are all tried; the fastest is measured.
    variants = ("",)
    # Whether it can be asked for hidden states.
    latency = True
    # Which packages it is.
    packages = ("torch",)
    # The length of all its rows, if it takes no other.
    length = None

    @classmethod
    def prepare(cls, spec):
        pass

    def hidden(self, ids, mask):
        """The last hidden state `[B,S,H]` of rows of ids, as numpy."""
        raise NotImplementedError

    def embed(self, batches):
        """The mean hidden state of each row, of each batch."""
        return [mean(self.hidden(ids, mask), mask) for ids, mask in batches]


def mean(hidden, mask):
    mask = mask.astype(numpy.float32)
    return (mask[:, None] @ hidden)[:, 0] / mask.sum(1, keepdims=True)


def cpu():
    """The name of the CPU, and its flags."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    values = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return values.get("model name"), values.get("flags", "").split()


def load_model(spec, attention=None, dtype=None):
    """A module from ids and mask to the last hidden state. By default its attention is SDPA, or eager if it has no other."""
    import torch
    from transformers import AutoModel

    class Encoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            kind = {"f32": torch.float32, "bf16": torch.bfloat16}[dtype or spec["dtype"]]
            self.model = AutoModel.from_pretrained(spec["checkpoint"], attn_implementation=attention, dtype=kind)
            # No peer needs it.
            self.model.pooler = None

        def forward(self, input_ids, attention_mask=None):
            return self.model(input_ids, attention_mask=attention_mask).last_hidden_state

    return Encoder().eval()
