//! `config.json`.

use crate::error::{Error, ErrorKind, Result};
use crate::family::model::ModelSpec;
use crate::family::spec::{Encoder, MaskedTokens, Positions};
use crate::family::{Architecture, Family, Keys};

/// The largest BERT has four billion.
const MAX_PARAMETERS: i64 = 1 << 34;

/// The configuration of a checkpoint. It is read from `config.json` or not had at all: a
/// model has no default size. Its `dtype` (once `torch_dtype`) is not read: the weights
/// themselves say what they are.
///
/// Source: the configuration classes of transformers 5.23, such as `BertConfig`,
/// <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/configuration_bert.py>
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The class names in `architectures`, such as `BertForMaskedLM`.
    pub architectures: Vec<String>,
    /// Standard deviation of initialised weights.
    pub initializer_range: f64,
    /// Whether the decoder shares the weights of the embedding.
    pub tie_word_embeddings: bool,
    /// `problem_type`, where the checkpoint states one.
    pub problem_type: Option<String>,
    labels: Vec<String>,
    model_type: &'static str,
    /// Large: a small stack holds several configurations.
    encoder: Box<Encoder>,
    keys: Keys,
}

impl Config {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for malformed or contradictory values,
    /// [`ErrorKind::Unsupported`] for what this library does not do: another
    /// `model_type`, a decoder, another position type, an unknown activation,
    /// pruned heads, quantized weights. The message names the key.
    pub fn from_json(text: &[u8]) -> Result<Self> {
        let keys = Keys::from_json(text)?;
        let architectures = keys.strings("architectures")?;
        let family = family(&keys, &architectures)?;
        refuse_unsupported(&keys)?;
        let config = Self {
            architectures,
            initializer_range: keys.float("initializer_range", 0.02)?,
            tie_word_embeddings: keys.flag("tie_word_embeddings", true)?,
            labels: keys.labels()?,
            problem_type: keys.string("problem_type")?.map(str::to_owned),
            model_type: family.model_type,
            encoder: Box::new((family.encoder)(&keys)?),
            keys,
        };
        config.check()?;
        Ok(config)
    }

    /// `model_type`.
    pub fn model_type(&self) -> &str {
        self.model_type
    }

    /// The labels of a classification head, by index (`id2label`).
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The width of a hidden state, `H`.
    pub fn hidden_size(&self) -> i64 {
        self.encoder.hidden_size
    }

    /// The number of layers.
    pub fn num_layers(&self) -> usize {
        self.encoder.layer_order.len()
    }

    /// The number of attention heads; divides the hidden size.
    pub fn num_attention_heads(&self) -> i64 {
        self.encoder.num_heads
    }

    /// The number of token ids, `V`.
    pub fn vocab_size(&self) -> i64 {
        self.encoder.words().rows
    }

    /// The number of token type ids.
    pub fn type_vocab_size(&self) -> i64 {
        self.encoder.type_vocab_size()
    }

    /// The maximum sequence length.
    pub fn max_length(&self) -> i64 {
        self.encoder.max_length
    }

    /// Whether tokens of some layer attend to those near them only.
    pub(crate) fn has_window(&self) -> bool {
        self.encoder.has_window()
    }

    /// How the tokens of a sequence are numbered.
    pub(crate) fn positions(&self) -> Positions {
        self.encoder.positions()
    }

    /// How masked tokens are treated.
    pub(crate) fn masked_tokens(&self) -> MaskedTokens {
        self.encoder.masked_tokens
    }

    /// The id of the padding token.
    pub fn pad_token_id(&self) -> Option<i64> {
        self.encoder.words().padding_idx
    }

    /// The architecture that `architectures` names first.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if it names none, or one that is not known.
    pub fn architecture(&self) -> Result<Architecture> {
        let unsupported =
            |message| Err(Error::new(ErrorKind::Unsupported, format!("architectures: {message}")));
        let Some(name) = self.architectures.first() else {
            let known = Architecture::all().filter(|known| known.model_type() == self.model_type);
            let known: Vec<_> = known.map(Architecture::name).collect();
            return unsupported(format!("none is named here; choose one of {}", known.join(", ")));
        };
        let architecture: Architecture = match name.parse() {
            Ok(architecture) => architecture,
            Err(error) => return unsupported(error.to_string()),
        };
        match architecture.model_type() == self.model_type {
            true => Ok(architecture),
            false => unsupported(format!("{name} is no class of model_type {:?}", self.model_type)),
        }
    }

    /// A model class with the sizes of this configuration.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a class of another family, [`ErrorKind::Config`] for
    /// values that its head cannot have.
    pub fn model(&self, architecture: Architecture) -> Result<ModelSpec> {
        let family = architecture.family();
        if family.model_type != self.model_type {
            let message = format!("{architecture} is no class of model_type {:?}", self.model_type);
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let heads = (family.heads)(architecture.task(), &self.encoder, &self.keys)?;
        Ok(ModelSpec { architecture, encoder: (*self.encoder).clone(), heads })
    }

    fn check(&self) -> Result<()> {
        let encoder = &self.encoder;
        let sizes = encoder.parameters().into_iter();
        let encoder_count: i64 = sizes.map(|size| size.shape.iter().product::<i64>()).sum();
        let count = encoder_count + self.labels.len() as i64 * encoder.hidden_size;
        if count > MAX_PARAMETERS {
            let message = format!(
                "a model of these sizes has {count} parameters, expected at most {MAX_PARAMETERS}"
            );
            return Err(Error::new(ErrorKind::Config, message));
        }
        let invalid =
            |key: &str, message| Err(Error::new(ErrorKind::Config, format!("{key}: {message}")));
        if self.labels.len() == 1
            && self.problem_type.as_deref() == Some("single_label_classification")
        {
            let message = "found single_label_classification of 1 label, expected regression, multi_label_classification or more labels";
            return invalid("problem_type", message.to_owned());
        }
        let rows = encoder.words().rows;
        match self.pad_token_id() {
            Some(id) if !(0..rows).contains(&id) => {
                invalid("pad_token_id", format!("found {id}, expected 0 to {}", rows - 1))
            }
            _ => Ok(()),
        }
    }
}

/// The family of `model_type`, or else of the first class that is named, or else BERT, whose
/// files once named neither.
fn family(keys: &Keys, architectures: &[String]) -> Result<&'static Family> {
    if let Some(model_type) = keys.string("model_type")? {
        return Family::of_model_type(model_type);
    }
    let named = architectures.first().and_then(|name| name.parse().ok());
    match named.map(Architecture::family) {
        Some(family) => Ok(family),
        None => Family::of_model_type("bert"),
    }
}

/// What no family has.
fn refuse_unsupported(keys: &Keys) -> Result<()> {
    keys.expect("is_decoder", false)?;
    keys.expect("add_cross_attention", false)?;
    keys.expect_empty("pruned_heads", "a model with all its heads")?;
    keys.expect_empty("quantization_config", "a model without it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_those_of_the_formula() {
        let text = br#"{"vocab_size": 30522, "num_hidden_layers": 6, "hidden_size": 384,
            "num_attention_heads": 12, "intermediate_size": 1536, "hidden_act": "gelu"}"#;
        let config = Config::from_json(text).unwrap();
        let operations =
            |class: &str| config.model(class.parse().unwrap()).unwrap().operations(128);
        let weights = 6. * (4. * 384. * 384. + 2. * 384. * 1536.);
        let encoder = 2. * 128. * weights + 6. * 4. * 128. * 128. * 384.;
        let (pooler, words) = (2. * 384. * 384., 2. * 128. * (384. * 384. + 384. * 30522.));
        assert_eq!(operations("BertModel"), encoder + pooler);
        assert_eq!(operations("BertForMaskedLM"), encoder + words);
        assert_eq!(operations("BertForPreTraining"), encoder + words + pooler + 4. * 384.);
        assert_eq!(operations("BertForQuestionAnswering"), encoder + 4. * 128. * 384.);
        assert_eq!(operations("BertForMultipleChoice"), encoder + pooler + 2. * 384.);
    }

    #[test]
    fn positions_after_the_padding_id_leave_fewer() {
        let longest =
            |text: &str| Config::from_json(text.as_bytes()).map(|config| config.max_length());
        let roberta = r#"{"model_type": "roberta", "max_position_embeddings": 514}"#;
        assert_eq!(longest(roberta).unwrap(), 512);
        let of_bge = roberta.replace("514", "8194");
        assert_eq!(longest(&of_bge).unwrap(), 8192);
        for (text, found) in [
            (roberta.replace("514", "2"), "max_position_embeddings: found 2 with pad_token_id 1"),
            (roberta.replace('}', r#", "pad_token_id": null}"#), "pad_token_id: found null"),
            (roberta.replace('}', r#", "pad_token_id": -1}"#), "pad_token_id: found -1, expected"),
        ] {
            let error = longest(&text).unwrap_err().to_string();
            assert!(error.starts_with(found), "{error}");
        }
    }

    #[test]
    fn the_family_is_that_of_the_model_type_or_of_the_class() {
        for text in [r#"{}"#, r#"{"model_type": "bert"}"#, r#"{"architectures": ["BertModel"]}"#] {
            assert_eq!(Config::from_json(text.as_bytes()).unwrap().model_type(), "bert");
        }
        let error = Config::from_json(br#"{"model_type": "gpt2"}"#).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().starts_with("model_type: found \"gpt2\", but only"), "{error}");
    }
}
