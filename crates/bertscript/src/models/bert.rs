//! BERT, as transformers writes it: one struct per class, its fields and its
//! parameter paths.
//!
//! Source: <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/modeling_bert.py>
//! Paper: Devlin et al. 2018, <https://arxiv.org/abs/1810.04805>
//!
//! Shapes: `B` batch, `S` sequence, `H` hidden size. Dropout is the identity at
//! inference and does not appear.

#![deny(clippy::disallowed_methods)]

mod classification;
mod pretraining;

pub(crate) use classification::{
    BertForMultipleChoice, BertForQuestionAnswering, BertForSequenceClassification,
    BertForTokenClassification,
};
pub(crate) use pretraining::{BertForMaskedLm, BertForNextSentencePrediction, BertForPreTraining};

use crate::activation::Activation;
use crate::config::BertConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::models::{Model, ModelInputs, ModelOutputs};
use crate::nn::{
    Attention, AttentionForm, AttentionMask, Embedding, LayerNorm, Linear, VarlenBatch,
    boolean_mask,
};
use crate::weights::Weights;
use tch::{Kind, Tensor};

/// `embeddings`
struct BertEmbeddings {
    word_embeddings: Embedding,
    position_embeddings: Embedding,
    token_type_embeddings: Embedding,
    layer_norm: LayerNorm,
}

impl BertEmbeddings {
    fn load(w: &Weights, c: &BertConfig) -> Result<Self> {
        let h = c.hidden_size;
        Ok(Self {
            word_embeddings: Embedding::load(
                &w.sub("word_embeddings"),
                c.vocab_size,
                h,
                c.pad_token_id,
            )?,
            position_embeddings: Embedding::load(
                &w.sub("position_embeddings"),
                c.max_position_embeddings,
                h,
                None,
            )?,
            token_type_embeddings: Embedding::load(
                &w.sub("token_type_embeddings"),
                c.type_vocab_size,
                h,
                None,
            )?,
            layer_norm: LayerNorm::load(&w.sub("LayerNorm"), h, c.layer_norm_eps)?,
        })
    }

    /// input_ids, token_type_ids `[B,S]` -> `[B,S,H]`
    fn forward(&self, inputs: ModelInputs<'_>) -> Result<Tensor> {
        let position_ids = match inputs.varlen {
            Some(varlen) => varlen.position_ids.shallow_clone(),
            // Positions 0, 1, 2, .. made from the ids: `arange` would bake in S and
            // the device. One row serves the whole batch.
            None => {
                let row = inputs.input_ids.f_narrow(0, 0, 1)?;
                row.f_ones_like()?.f_cumsum(1, Kind::Int64)?.f_sub_scalar(1)?
            }
        };
        let words = self.word_embeddings.forward(inputs.input_ids)?;
        let types = self.token_type_embeddings.forward(inputs.token_type_ids)?;
        let positions = self.position_embeddings.forward(&position_ids)?;
        // Upstream's order of additions, for equal rounding.
        self.layer_norm.forward(&words.f_add(&types)?.f_add(&positions)?)
    }
}

/// `encoder.layer.{i}.attention.self`
struct BertSelfAttention {
    projections: Projections,
    heads: [i64; 2],
}

/// `query`, `key` and `value`
enum Projections {
    /// For rows of one length: three layers, which the tracer knows by their names
    Apart([Linear; 3], Attention),
    /// For one row of several texts: one layer, three times as wide
    Together(Linear),
}

impl BertSelfAttention {
    fn load(w: &Weights, c: &BertConfig, form: AttentionForm) -> Result<Self> {
        let load = |name: &str| Linear::load(&w.sub(name), c.hidden_size, c.hidden_size);
        let layers = [load("query")?, load("key")?, load("value")?];
        Ok(Self {
            projections: match form {
                AttentionForm::Padded(attention) => Projections::Apart(layers, attention),
                AttentionForm::Varlen => Projections::Together(Linear::concatenated(&layers)?),
            },
            heads: [c.num_attention_heads, c.head_dim()],
        })
    }

    /// hidden_states `[B,S,H]` -> `[B,S,H]`, and the probabilities `[B,heads,S,S]` if
    /// the attention has them
    fn forward(
        &self,
        hidden_states: &Tensor,
        mask: AttentionMask<'_>,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let mask = match mask {
            AttentionMask::Everything => None,
            AttentionMask::Padding(mask) => Some(mask),
            AttentionMask::Varlen(texts) => return self.varlen(hidden_states, texts),
        };
        let Projections::Apart([query, key, value], attention) = &self.projections else {
            return Err(wrong_form("rows of one length"));
        };
        let query = self.split_heads(&query.forward(hidden_states)?)?;
        let key = self.split_heads(&key.forward(hidden_states)?)?;
        let value = self.split_heads(&value.forward(hidden_states)?)?;
        let (context, probabilities) =
            attention.forward([&query, &key, &value], mask, self.heads[1])?;
        Ok((context.f_transpose(1, 2)?.f_flatten(2, 3)?, probabilities))
    }

    /// hidden_states `[1,T,H]` -> `[1,T,H]`
    fn varlen(
        &self,
        hidden_states: &Tensor,
        texts: &VarlenBatch,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let Projections::Together(qkv) = &self.projections else {
            return Err(wrong_form("one row of several texts"));
        };
        Ok((texts.attention(&qkv.forward(hidden_states)?, self.heads)?, None))
    }

    /// `[B,S,H]` -> `[B,heads,S,head_dim]`
    fn split_heads(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.f_unflatten(-1, self.heads)?.f_transpose(1, 2)?)
    }
}

fn wrong_form(found: &str) -> Error {
    let message = format!("the model was loaded for batches of another form than {found}");
    Error::new(ErrorKind::InvalidInput, message)
}

/// `encoder.layer.{i}.attention.output`, and `encoder.layer.{i}.output` with
/// the width of the feed-forward layer: two classes upstream, one text.
struct BertOutput {
    dense: Linear,
    layer_norm: LayerNorm,
}

impl BertOutput {
    fn load(w: &Weights, c: &BertConfig, in_features: i64) -> Result<Self> {
        Ok(Self {
            dense: Linear::load(&w.sub("dense"), in_features, c.hidden_size)?,
            layer_norm: LayerNorm::load(&w.sub("LayerNorm"), c.hidden_size, c.layer_norm_eps)?,
        })
    }

    /// hidden_states `[B,S,in]`, input_tensor `[B,S,H]` -> `[B,S,H]`
    fn forward(&self, hidden_states: &Tensor, input_tensor: &Tensor) -> Result<Tensor> {
        self.layer_norm.forward(&self.dense.forward(hidden_states)?.f_add(input_tensor)?)
    }
}

/// `encoder.layer.{i}.attention`
struct BertAttention {
    self_attention: BertSelfAttention,
    output: BertOutput,
}

impl BertAttention {
    fn load(w: &Weights, c: &BertConfig, form: AttentionForm) -> Result<Self> {
        Ok(Self {
            self_attention: BertSelfAttention::load(&w.sub("self"), c, form)?,
            output: BertOutput::load(&w.sub("output"), c, c.hidden_size)?,
        })
    }

    /// `[B,S,H]` -> `[B,S,H]`, and the probabilities
    fn forward(
        &self,
        hidden_states: &Tensor,
        mask: AttentionMask<'_>,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let (context, probabilities) = self.self_attention.forward(hidden_states, mask)?;
        Ok((self.output.forward(&context, hidden_states)?, probabilities))
    }
}

/// `encoder.layer.{i}.intermediate`
struct BertIntermediate {
    dense: Linear,
    intermediate_act_fn: Activation,
}

impl BertIntermediate {
    fn load(w: &Weights, c: &BertConfig) -> Result<Self> {
        Ok(Self {
            dense: Linear::load(&w.sub("dense"), c.hidden_size, c.intermediate_size)?,
            intermediate_act_fn: c.hidden_act,
        })
    }

    /// `[B,S,H]` -> `[B,S,intermediate_size]`
    fn forward(&self, hidden_states: &Tensor) -> Result<Tensor> {
        self.intermediate_act_fn.forward(&self.dense.forward(hidden_states)?)
    }
}

/// `encoder.layer.{i}`
struct BertLayer {
    attention: BertAttention,
    intermediate: BertIntermediate,
    output: BertOutput,
}

impl BertLayer {
    fn load(w: &Weights, c: &BertConfig, form: AttentionForm) -> Result<Self> {
        Ok(Self {
            attention: BertAttention::load(&w.sub("attention"), c, form)?,
            intermediate: BertIntermediate::load(&w.sub("intermediate"), c)?,
            output: BertOutput::load(&w.sub("output"), c, c.intermediate_size)?,
        })
    }

    /// `[B,S,H]` -> `[B,S,H]`, and the probabilities
    fn forward(
        &self,
        hidden_states: &Tensor,
        mask: AttentionMask<'_>,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let (attention_output, probabilities) = self.attention.forward(hidden_states, mask)?;
        let intermediate_output = self.intermediate.forward(&attention_output)?;
        Ok((self.output.forward(&intermediate_output, &attention_output)?, probabilities))
    }
}

/// `encoder`
struct BertEncoder {
    layer: Vec<BertLayer>,
}

impl BertEncoder {
    fn load(w: &Weights, c: &BertConfig, form: AttentionForm) -> Result<Self> {
        let layers = w.sub("layer");
        let layer = (0..c.num_hidden_layers).map(|i| BertLayer::load(&layers.sub(i), c, form));
        Ok(Self { layer: layer.collect::<Result<_>>()? })
    }

    /// `[B,S,H]` -> `[B,S,H]`, with what every layer saw and did
    fn forward(&self, embeddings: Tensor, mask: AttentionMask<'_>) -> Result<Encoded> {
        let mut encoded = Encoded {
            last_hidden_state: embeddings.shallow_clone(),
            hidden_states: vec![embeddings],
            attentions: Vec::new(),
        };
        for layer in &self.layer {
            let (hidden_states, probabilities) = layer.forward(&encoded.last_hidden_state, mask)?;
            encoded.hidden_states.push(hidden_states.shallow_clone());
            encoded.attentions.extend(probabilities);
            encoded.last_hidden_state = hidden_states;
        }
        Ok(encoded)
    }
}

/// What the encoder computed.
struct Encoded {
    /// `[B,S,H]`
    last_hidden_state: Tensor,
    /// The embeddings and the result of every layer, `[B,S,H]` each
    hidden_states: Vec<Tensor>,
    /// The probabilities of every layer, `[B,heads,S,S]`; none from SDPA
    attentions: Vec<Tensor>,
}

impl Encoded {
    /// A head's outputs with the encoder's own beside them.
    fn with(self, outputs: Vec<Tensor>) -> ModelOutputs {
        ModelOutputs { outputs, hidden_states: self.hidden_states, attentions: self.attentions }
    }
}

/// `pooler`
struct BertPooler {
    dense: Linear,
}

impl BertPooler {
    fn load(w: &Weights, c: &BertConfig) -> Result<Self> {
        Ok(Self { dense: Linear::load(&w.sub("dense"), c.hidden_size, c.hidden_size)? })
    }

    /// `[B,S,H]` -> `[B,H]`, from the first token of each text
    fn forward(&self, hidden_states: &Tensor, varlen: Option<&VarlenBatch>) -> Result<Tensor> {
        let first = match varlen {
            Some(texts) => {
                hidden_states.f_squeeze_dim(0)?.f_index_select(0, &texts.first_tokens)?
            }
            None => hidden_states.f_select(1, 0)?,
        };
        Ok(self.dense.forward(&first)?.f_tanh()?)
    }
}

/// Embeddings and encoder: `BertModel(add_pooling_layer=False)`.
struct BertTrunk {
    embeddings: BertEmbeddings,
    encoder: BertEncoder,
}

impl BertTrunk {
    fn load(w: &Weights, c: &BertConfig, form: AttentionForm) -> Result<Self> {
        Ok(Self {
            embeddings: BertEmbeddings::load(&w.sub("embeddings"), c)?,
            encoder: BertEncoder::load(&w.sub("encoder"), c, form)?,
        })
    }

    /// last_hidden_state `[B,S,H]`
    fn forward(&self, inputs: ModelInputs<'_>) -> Result<Encoded> {
        let padding = inputs.attention_mask.map(boolean_mask).transpose()?;
        let mask = match (inputs.varlen, &padding) {
            (Some(texts), _) => AttentionMask::Varlen(texts),
            (None, Some(padding)) => AttentionMask::Padding(padding),
            (None, None) => AttentionMask::Everything,
        };
        self.encoder.forward(self.embeddings.forward(inputs)?, mask)
    }
}

/// `BertModel`: last_hidden_state `[B,S,H]`, pooler_output `[B,H]`
pub(crate) struct BertModel {
    trunk: BertTrunk,
    pooler: BertPooler,
}

impl BertModel {
    pub(crate) fn load(w: &Weights, c: &BertConfig, form: AttentionForm) -> Result<Self> {
        Ok(Self {
            trunk: BertTrunk::load(w, c, form)?,
            pooler: BertPooler::load(&w.sub("pooler"), c)?,
        })
    }

    /// With the pooler_output `[B,H]`
    fn encode(&self, inputs: ModelInputs<'_>) -> Result<(Encoded, Tensor)> {
        let encoded = self.trunk.forward(inputs)?;
        let pooler_output = self.pooler.forward(&encoded.last_hidden_state, inputs.varlen)?;
        Ok((encoded, pooler_output))
    }
}

impl Model for BertModel {
    fn forward(&self, inputs: ModelInputs<'_>) -> Result<ModelOutputs> {
        let (encoded, pooler_output) = self.encode(inputs)?;
        let last_hidden_state = encoded.last_hidden_state.shallow_clone();
        Ok(encoded.with(vec![last_hidden_state, pooler_output]))
    }
}
