"""What the live check stands on: the command, oracle models, inputs, and when results are equal.

`cargo xtask test` runs it. BERTSCRIPT names the command, BERTSCRIPT_MINILM the directory of
all-MiniLM-L6-v2.
"""

import os
import subprocess
from pathlib import Path

import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForMultipleChoice,
    BertForNextSentencePrediction,
    BertForPreTraining,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
)

from oracle import FORMS, flatten, perturb

MINILM = Path(os.environ["BERTSCRIPT_MINILM"])
TINY = dict(
    vocab_size=99,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=64,
    max_position_embeddings=64,
)
CLASSES = [
    BertModel,
    BertForPreTraining,
    BertForMaskedLM,
    BertForNextSentencePrediction,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertForQuestionAnswering,
    BertForMultipleChoice,
]
# The bounds of crates/bertscript/src/compare.rs.
TOLERANCE = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 2e-2}
ROUNDING_MARGIN = 1.5

torch.set_num_threads(min(2, os.cpu_count() or 1))


def cli(*arguments):
    done = subprocess.run([os.environ["BERTSCRIPT"], *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def random_model(cls, attention="sdpa", **config):
    config = BertConfig(**{**TINY, **config}, architectures=[cls.__name__])
    model = cls._from_config(config, attn_implementation=attention, dtype=torch.float32).eval()
    perturb(model)
    return model


def pretrained(cls, directory):
    return cls.from_pretrained(directory, attn_implementation="sdpa", dtype=torch.float32).eval()


def write(directory, model, state=None, form="safetensors"):
    """A checkpoint directory; with `state`, those tensors under those names."""
    model.config.save_pretrained(directory)
    FORMS[form](model.state_dict() if state is None else state, directory)
    return directory


def export(directory, *arguments):
    file = directory / "exported.pt"
    cli("export", directory, "-o", file, *arguments)
    return file


def example(batch, length, config, padded=False):
    """Ids, a mask that leaves at least one token a row, and token types.

    The mask has holes anywhere, or, when `padded`, zeros at the end of rows but the first.
    """
    if padded:
        lengths = torch.randint(1, length + 1, (batch, 1))
        lengths[0] = length
        mask = (torch.arange(length) < lengths).long()
    else:
        mask = torch.randint(0, 2, (batch, length))
        mask[torch.arange(batch), torch.randint(0, length, (batch,))] = 1
    inputs = dict(
        input_ids=torch.randint(0, config.vocab_size, (batch, length)),
        attention_mask=mask,
        token_type_ids=torch.randint(0, config.type_vocab_size, (batch, length)),
    )
    if "BertForMultipleChoice" in (config.architectures or []):
        # Two choices: the rows, and the rows the other way round.
        inputs = {name: torch.stack([tensor, tensor.flip(0)], 1) for name, tensor in inputs.items()}
    return inputs


def as_tuple(outputs):
    return outputs if isinstance(outputs, tuple) else (outputs,)


def assert_equal(found, reference, dtype=torch.float32, own=None):
    """In half precision, `own` is what torch computes in it: the bound is made of how far that is off."""
    found, reference = as_tuple(found), tuple(flatten(reference).values())
    own = reference if own is None else tuple(flatten(own).values())
    assert len(found) == len(reference) == len(own)
    for one, expected, rounded in zip(found, reference, own):
        assert one.shape == expected.shape and one.dtype == dtype
        bound = TOLERANCE[dtype] * max(1.0, expected.abs().max().item())
        bound = max(bound, ROUNDING_MARGIN * max_error(rounded, expected))
        assert max_error(one, expected) <= bound


def max_error(found, expected):
    return (found.float() - expected).abs().max().item()


def at_tokens(output, mask):
    """An output of each token, with zeros where the mask is 0; another as it is."""
    if output.shape[: mask.dim()] != mask.shape:
        return output
    return output * mask.reshape(mask.shape + (1,) * (output.dim() - mask.dim()))


def assert_shapes_equal(program, model, shapes):
    for batch, length in shapes:
        inputs = example(batch, length, model.config)
        assert_equal(program(**inputs), model(**inputs))


SHAPES = [(batch, length) for batch in (1, 5) for length in (1, 3, 7, 64)]
