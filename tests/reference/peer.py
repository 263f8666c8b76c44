"""What the peers of the benchmark have in common.

A peer is converted once, by `prepare`, in a process of its own: the process that is measured only loads it. Libraries
are imported where they are needed, so that each process holds its own alone.
"""

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


def bert(spec, attention="sdpa", dtype=None):
    """The model without a pooler, which nobody here needs."""
    import torch
    from transformers import BertModel

    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[dtype or spec["dtype"]]
    options = dict(attn_implementation=attention, add_pooling_layer=False, dtype=dtype)
    model = BertModel.from_pretrained(spec["checkpoint"], return_dict=False, **options)
    return model.eval()
