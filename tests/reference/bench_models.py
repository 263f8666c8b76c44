"""Checkpoints in the shapes of published models, with random weights.

    python bench_models.py NAME VOCABULARY TEXTS DIR LIMIT

NAME is one of `MODELS`. VOCABULARY is a directory with BERT's tokenizer.json: the classes of word pieces take its
vocabulary. A byte-level BPE is trained on TEXTS, one per line. Texts are truncated at LIMIT tokens.
"""

import sys
from pathlib import Path

# Model type, and the keys of the published configuration that are not the defaults of transformers. CTranslate2 reads that of
# positions, which transformers 5 has dropped.
MODELS = {
    "bert-base": ("bert", dict(position_embedding_type="absolute")),
    "roberta-base": ("roberta", dict(vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5)),
    "distilbert-base": ("distilbert", {}),
    "mpnet-base": ("mpnet", dict(max_position_embeddings=514, layer_norm_eps=1e-5)),
    "modernbert-base": ("modernbert", {}),
}
ROBERTA_TOKENS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
MODERNBERT_TOKENS = dict(
    unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", mask_token="[MASK]"
)


def write(name, vocabulary, texts, folder, limit):
    import torch
    from transformers import AutoConfig, AutoModel

    model_type, keys = MODELS[name]
    config = AutoConfig.for_model(model_type, **keys)
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer = TOKENIZERS[model_type](vocabulary, texts, folder, config)
    # bertscript reads here how many tokens of a text a model gets.
    tokenizer.model_max_length = limit
    tokenizer.save_pretrained(folder)


def word_pieces(vocabulary, texts, folder, config):
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    ids = Tokenizer.from_file(str(vocabulary / "tokenizer.json")).get_vocab()
    tokens = sorted(ids, key=ids.get)
    if config.model_type == "mpnet":
        tokens = ["<s>", "<pad>", "</s>", "<unk>", *tokens, "<mask>"]
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
    return AutoTokenizer.from_pretrained(folder)


def trained(texts, config, special_tokens):
    from tokenizers import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer()
    options = dict(vocab_size=config.vocab_size, special_tokens=special_tokens, show_progress=False)
    tokenizer.train_from_iterator(texts.read_text(encoding="utf-8").split("\n"), **options)
    return tokenizer


def roberta(vocabulary, texts, folder, config):
    from transformers import AutoTokenizer

    trained(texts, config, ROBERTA_TOKENS).save_model(str(folder))
    return AutoTokenizer.from_pretrained(folder)


def modernbert(vocabulary, texts, folder, config):
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer.from_str(trained(texts, config, [*MODERNBERT_TOKENS.values()]).to_str())
    special_tokens = [(token, tokenizer.token_to_id(token)) for token in ["[CLS]", "[SEP]"]]
    tokenizer.post_processor = TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]", special_tokens)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **MODERNBERT_TOKENS)


TOKENIZERS = {
    "bert": word_pieces,
    "distilbert": word_pieces,
    "mpnet": word_pieces,
    "roberta": roberta,
    "modernbert": modernbert,
}

if __name__ == "__main__":
    name, *paths, limit = sys.argv[1:]
    write(name, *map(Path, paths), int(limit))
