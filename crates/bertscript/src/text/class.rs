//! The tokenizer classes of transformers: which one a checkpoint has, and what it is.
//!
//! Source: `AutoTokenizer`, <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/auto/tokenization_auto.py>

use crate::assets::Assets;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use serde_json::{Map, Value};
use tokenizers::AddedToken;

pub(super) const FILE: &str = "tokenizer_config.json";

/// What a tokenizer is built as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bert,
    MpNet,
    Roberta,
    XlmRoberta,
    Camembert,
    Albert,
    DebertaV2,
    /// `tokenizer.json` as it is
    File,
}

impl Kind {
    /// The class that transformers builds so.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Bert => "BertTokenizer",
            Self::MpNet => "MPNetTokenizer",
            Self::Roberta => "RobertaTokenizer",
            Self::XlmRoberta => "XLMRobertaTokenizer",
            Self::Camembert => "CamembertTokenizer",
            Self::Albert => "AlbertTokenizer",
            Self::DebertaV2 => "DebertaV2Tokenizer",
            Self::File => "TokenizersBackend",
        }
    }

    /// The kind of its model, as `tokenizer.json` names it; none if that says it.
    pub(super) fn model(self) -> Option<&'static str> {
        match self {
            Self::Bert | Self::MpNet => Some("WordPiece"),
            Self::Roberta => Some("BPE"),
            Self::XlmRoberta | Self::Camembert | Self::Albert | Self::DebertaV2 => Some("Unigram"),
            Self::File => None,
        }
    }

    /// Its files where there is no `tokenizer.json`.
    pub(super) fn files(self) -> &'static [&'static str] {
        match self {
            Self::Bert | Self::MpNet => &["vocab.txt"],
            Self::Roberta => &["vocab.json", "merges.txt"],
            Self::XlmRoberta | Self::Camembert => &["sentencepiece.bpe.model"],
            Self::Albert => &["spiece.model"],
            Self::DebertaV2 => &["spm.model"],
            Self::File => &[],
        }
    }
}

/// A tokenizer class of transformers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Class {
    pub(super) kind: Kind,
    /// Whether `token_type_ids` are among its `model_input_names`.
    pub(super) has_token_types: bool,
    /// Its special tokens unless a file names others.
    pub(super) tokens: &'static [(&'static str, &'static str)],
}

const BERT: Class = Class {
    kind: Kind::Bert,
    has_token_types: true,
    tokens: &[
        ("unk_token", "[UNK]"),
        ("sep_token", "[SEP]"),
        ("pad_token", "[PAD]"),
        ("cls_token", "[CLS]"),
        ("mask_token", "[MASK]"),
    ],
};
const MPNET: Class = Class {
    kind: Kind::MpNet,
    has_token_types: false,
    tokens: &[
        ("bos_token", "<s>"),
        ("eos_token", "</s>"),
        ("unk_token", "[UNK]"),
        ("sep_token", "</s>"),
        ("pad_token", "<pad>"),
        ("cls_token", "<s>"),
        ("mask_token", "<mask>"),
    ],
};
const XLM_ROBERTA: Class = Class {
    kind: Kind::XlmRoberta,
    has_token_types: false,
    tokens: &[
        ("bos_token", "<s>"),
        ("eos_token", "</s>"),
        ("unk_token", "<unk>"),
        ("sep_token", "</s>"),
        ("pad_token", "<pad>"),
        ("cls_token", "<s>"),
        ("mask_token", "<mask>"),
    ],
};
const ALBERT: Class = Class {
    kind: Kind::Albert,
    has_token_types: false,
    tokens: &[
        ("bos_token", "[CLS]"),
        ("eos_token", "[SEP]"),
        ("unk_token", "<unk>"),
        ("sep_token", "[SEP]"),
        ("pad_token", "<pad>"),
        ("cls_token", "[CLS]"),
        ("mask_token", "[MASK]"),
    ],
};
const DEBERTA_V2: Class = Class {
    kind: Kind::DebertaV2,
    has_token_types: true,
    tokens: &[
        ("bos_token", "[CLS]"),
        ("eos_token", "[SEP]"),
        ("unk_token", "[UNK]"),
        ("sep_token", "[SEP]"),
        ("pad_token", "[PAD]"),
        ("cls_token", "[CLS]"),
        ("mask_token", "[MASK]"),
    ],
};
const TOKENIZERS_BACKEND: Class = Class { kind: Kind::File, has_token_types: false, tokens: &[] };

/// The class that transformers registers for a `model_type`.
fn registered_class(model_type: &str) -> Option<&'static str> {
    Some(match model_type {
        "bert" | "convbert" | "distilbert" | "electra" | "ernie" | "layoutlm" | "lxmert"
        | "megatron-bert" | "mobilebert" | "nezha" | "nomic_bert" | "qdqbert" | "realm"
        | "retribert" | "squeezebert" | "visual_bert" => "BertTokenizer",
        "bart"
        | "data2vec-text"
        | "ibert"
        | "lilt"
        | "longformer"
        | "mega"
        | "mra"
        | "roberta"
        | "roberta-prelayernorm" => "RobertaTokenizer",
        "gte" | "jina_embeddings_v3" | "xlm-roberta" | "xmod" => "XLMRobertaTokenizer",
        "camembert" => "CamembertTokenizer",
        "mpnet" => "MPNetTokenizer",
        "albert" | "yoso" => "AlbertTokenizer",
        "deberta-v2" => "DebertaV2Tokenizer",
        _ => return None,
    })
}

impl Class {
    /// The class that `tokenizer_class` names; without one that of the `model_type` in
    /// `config.json`, whose default is BERT. A tokenizer.json alone is read as it is.
    pub(super) fn of(
        stated_class: Option<&str>,
        model: &Map<String, Value>,
        assets: &Assets,
    ) -> Result<Self> {
        let config = assets.get("config.json").map(Config::from_json);
        let has_model = config.is_some();
        let stated = || model.get("model_type").and_then(Value::as_str).unwrap_or("bert");
        // Of a model that this library knows, also where only its class is named.
        let config = config.and_then(Result::ok);
        let model_type = config.as_ref().map_or_else(stated, Config::model_type);
        // transformers does not take its word for it.
        let has_class = !matches!(
            model_type,
            "modernbert" | "modernbert-decoder" | "nystromformer" | "xlm-roberta-xl"
        );
        let name = match stated_class.filter(|_| has_class).or_else(|| registered_class(model_type))
        {
            None => return Ok(TOKENIZERS_BACKEND),
            Some(_)
                if stated_class.is_none()
                    && !has_model
                    && assets.get("tokenizer.json").is_some() =>
            {
                return Ok(TOKENIZERS_BACKEND);
            }
            Some(name) => name,
        };
        let known = Self::by_name(name);
        known.ok_or_else(|| unread(name, stated_class.map_or(model_type, |_| "")))
    }

    /// A special token whose flags no file names.
    pub(super) fn special_token(&self, role: &str, text: &str) -> AddedToken {
        let takes_space =
            role == "mask_token" && matches!(self.kind, Kind::MpNet | Kind::Camembert);
        AddedToken::from(text, true).lstrip(takes_space)
    }

    fn by_name(name: &str) -> Option<Self> {
        if name == "PreTrainedTokenizerFast" {
            return Some(TOKENIZERS_BACKEND);
        }
        Some(match name.strip_suffix("Fast").unwrap_or(name) {
            "TokenizersBackend" => TOKENIZERS_BACKEND,
            "BertTokenizer"
            | "ConvBertTokenizer"
            | "ElectraTokenizer"
            | "LxmertTokenizer"
            | "MobileBertTokenizer"
            | "SqueezeBertTokenizer" => BERT,
            "DistilBertTokenizer" => Self { has_token_types: false, ..BERT },
            "MPNetTokenizer" => MPNET,
            "RobertaTokenizer" | "LongformerTokenizer" | "BartTokenizer" => {
                Self { kind: Kind::Roberta, ..XLM_ROBERTA }
            }
            "XLMRobertaTokenizer" => XLM_ROBERTA,
            "CamembertTokenizer" => Self { kind: Kind::Camembert, ..XLM_ROBERTA },
            "AlbertTokenizer" => ALBERT,
            "DebertaV2Tokenizer" => DEBERTA_V2,
            _ => return None,
        })
    }
}

/// A class that is not read: the model runs on the ids that it gives in Python.
fn unread(name: &str, model_type: &str) -> Error {
    let found = match model_type {
        "" => format!("tokenizer_class: found {name:?}"),
        model_type => format!("found no tokenizer_class, and {name:?} is that of {model_type}"),
    };
    let message = format!(
        "{found}, expected the tokenizer of BERT, DistilBERT, ELECTRA, MPNet, RoBERTa, XLM-RoBERTa, \
         CamemBERT, ALBERT or DeBERTa-v2, PreTrainedTokenizerFast or TokenizersBackend; pass the \
         token ids that it gives in Python instead of texts"
    );
    Error::new(ErrorKind::Unsupported, message).at(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(stated: Option<&str>, model_type: &str) -> Result<Class> {
        let config = format!("{{\"model_type\": \"{model_type}\"}}").into_bytes();
        let model = serde_json::from_slice(&config).unwrap();
        Class::of(stated, &model, &[("config.json".to_owned(), config)].into_iter().collect())
    }

    #[test]
    fn a_class_is_the_stated_one_or_that_of_the_model_type() {
        for (stated, model_type, kind) in [
            (None, "mpnet", Kind::MpNet),
            (None, "camembert", Kind::Camembert),
            (None, "albert", Kind::Albert),
            (None, "deberta-v2", Kind::DebertaV2),
            (None, "gte", Kind::XlmRoberta),
            (None, "unheard-of", Kind::File),
            (Some("DebertaV2TokenizerFast"), "bert", Kind::DebertaV2),
            (Some("PreTrainedTokenizerFast"), "albert", Kind::File),
            // Whatever they state.
            (Some("BertTokenizer"), "modernbert", Kind::File),
            (Some("XLMRobertaTokenizer"), "xlm-roberta-xl", Kind::File),
        ] {
            assert_eq!(class(stated, model_type).unwrap().kind, kind, "{stated:?} {model_type}");
        }
    }

    #[test]
    fn a_class_that_is_not_read_is_refused_with_what_to_do() {
        let error = class(Some("PhobertTokenizer"), "roberta").unwrap_err().to_string();
        let words =
            ["tokenizer_class: found \"PhobertTokenizer\"", "pass the token ids that it gives"];
        assert!(words.iter().all(|words| error.contains(words)), "{error}");
    }
}
