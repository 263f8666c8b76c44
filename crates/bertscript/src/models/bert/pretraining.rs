//! The heads of BERT's pre-training.
//!
//! Source: <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/modeling_bert.py>

use super::{BertModel, BertTrunk};
use crate::activation::Activation;
use crate::config::BertConfig;
use crate::error::Result;
use crate::models::{Model, ModelInputs, ModelOutputs};
use crate::nn::{AttentionForm, LayerNorm, Linear};
use crate::weights::{Init, Weights};
use tch::Tensor;

/// `cls.predictions.transform`
struct BertPredictionHeadTransform {
    dense: Linear,
    transform_act_fn: Activation,
    layer_norm: LayerNorm,
}

impl BertPredictionHeadTransform {
    fn load(w: &Weights, c: &BertConfig) -> Result<Self> {
        Ok(Self {
            dense: Linear::load(&w.sub("dense"), c.hidden_size, c.hidden_size)?,
            transform_act_fn: c.hidden_act,
            layer_norm: LayerNorm::load(&w.sub("LayerNorm"), c.hidden_size, c.layer_norm_eps)?,
        })
    }

    /// `[B,S,H]` -> `[B,S,H]`
    fn forward(&self, hidden_states: &Tensor) -> Result<Tensor> {
        let hidden_states = self.dense.forward(hidden_states)?;
        self.layer_norm.forward(&self.transform_act_fn.forward(&hidden_states)?)
    }
}

/// `cls.predictions`
struct BertLmPredictionHead {
    transform: BertPredictionHeadTransform,
    decoder: Linear,
}

impl BertLmPredictionHead {
    fn load(w: &Weights, c: &BertConfig) -> Result<Self> {
        let transform = BertPredictionHeadTransform::load(&w.sub("transform"), c)?;
        // transformers keeps the decoder's bias under a second name, which
        // `forward` does not read. It belongs to the state dict.
        let _ = w.get("bias", &[c.vocab_size], Init::Zeros)?;
        let decoder = Linear::load(&w.sub("decoder"), c.hidden_size, c.vocab_size)?;
        Ok(Self { transform, decoder })
    }

    /// `[B,S,H]` -> `[B,S,vocab_size]`
    fn forward(&self, hidden_states: &Tensor) -> Result<Tensor> {
        self.decoder.forward(&self.transform.forward(hidden_states)?)
    }
}

/// `BertForMaskedLM`: logits `[B,S,vocab_size]`
pub(crate) struct BertForMaskedLm {
    bert: BertTrunk,
    predictions: BertLmPredictionHead,
}

impl BertForMaskedLm {
    pub(crate) fn load(w: &Weights, c: &BertConfig, form: AttentionForm) -> Result<Self> {
        Ok(Self {
            bert: BertTrunk::load(&w.sub("bert"), c, form)?,
            predictions: BertLmPredictionHead::load(&w.sub("cls").sub("predictions"), c)?,
        })
    }
}

impl Model for BertForMaskedLm {
    fn forward(&self, inputs: ModelInputs<'_>) -> Result<ModelOutputs> {
        let encoded = self.bert.forward(inputs)?;
        let logits = self.predictions.forward(&encoded.last_hidden_state)?;
        Ok(encoded.with(vec![logits]))
    }
}

/// `BertForPreTraining`: prediction_logits `[B,S,vocab_size]`,
/// seq_relationship_logits `[B,2]`
pub(crate) struct BertForPreTraining {
    bert: BertModel,
    predictions: BertLmPredictionHead,
    seq_relationship: Linear,
}

impl BertForPreTraining {
    pub(crate) fn load(w: &Weights, c: &BertConfig, form: AttentionForm) -> Result<Self> {
        let cls = w.sub("cls");
        Ok(Self {
            bert: BertModel::load(&w.sub("bert"), c, form)?,
            predictions: BertLmPredictionHead::load(&cls.sub("predictions"), c)?,
            seq_relationship: Linear::load(&cls.sub("seq_relationship"), c.hidden_size, 2)?,
        })
    }
}

impl Model for BertForPreTraining {
    fn forward(&self, inputs: ModelInputs<'_>) -> Result<ModelOutputs> {
        let (encoded, pooler_output) = self.bert.encode(inputs)?;
        let prediction_logits = self.predictions.forward(&encoded.last_hidden_state)?;
        let seq_relationship_logits = self.seq_relationship.forward(&pooler_output)?;
        Ok(encoded.with(vec![prediction_logits, seq_relationship_logits]))
    }
}

/// `BertForNextSentencePrediction`: logits `[B,2]`
pub(crate) struct BertForNextSentencePrediction {
    bert: BertModel,
    seq_relationship: Linear,
}

impl BertForNextSentencePrediction {
    pub(crate) fn load(w: &Weights, c: &BertConfig, form: AttentionForm) -> Result<Self> {
        let seq_relationship = w.sub("cls").sub("seq_relationship");
        Ok(Self {
            bert: BertModel::load(&w.sub("bert"), c, form)?,
            seq_relationship: Linear::load(&seq_relationship, c.hidden_size, 2)?,
        })
    }
}

impl Model for BertForNextSentencePrediction {
    fn forward(&self, inputs: ModelInputs<'_>) -> Result<ModelOutputs> {
        let (encoded, pooler_output) = self.bert.encode(inputs)?;
        Ok(encoded.with(vec![self.seq_relationship.forward(&pooler_output)?]))
    }
}
