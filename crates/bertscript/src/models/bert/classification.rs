//! The heads that classify: texts, tokens, spans, choices.
//!
//! Source: <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/bert/modeling_bert.py>

use super::{BertModel, BertTrunk};
use crate::config::BertConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::models::{Model, ModelInputs, ModelOutputs};
use crate::nn::{AttentionForm, Linear};
use crate::weights::Weights;

fn num_labels(c: &BertConfig) -> i64 {
    c.labels.len() as i64
}

/// `BertForSequenceClassification`: logits `[B,num_labels]`
pub(crate) struct BertForSequenceClassification {
    bert: BertModel,
    classifier: Linear,
}

impl BertForSequenceClassification {
    pub(crate) fn load(w: &Weights, c: &BertConfig, form: AttentionForm) -> Result<Self> {
        Ok(Self {
            bert: BertModel::load(&w.sub("bert"), c, form)?,
            classifier: Linear::load(&w.sub("classifier"), c.hidden_size, num_labels(c))?,
        })
    }
}

impl Model for BertForSequenceClassification {
    fn forward(&self, inputs: ModelInputs<'_>) -> Result<ModelOutputs> {
        let (encoded, pooler_output) = self.bert.encode(inputs)?;
        Ok(encoded.with(vec![self.classifier.forward(&pooler_output)?]))
    }
}

/// `BertForTokenClassification`: logits `[B,S,num_labels]`
pub(crate) struct BertForTokenClassification {
    bert: BertTrunk,
    classifier: Linear,
}

impl BertForTokenClassification {
    pub(crate) fn load(w: &Weights, c: &BertConfig, form: AttentionForm) -> Result<Self> {
        Ok(Self {
            bert: BertTrunk::load(&w.sub("bert"), c, form)?,
            classifier: Linear::load(&w.sub("classifier"), c.hidden_size, num_labels(c))?,
        })
    }
}

impl Model for BertForTokenClassification {
    fn forward(&self, inputs: ModelInputs<'_>) -> Result<ModelOutputs> {
        let encoded = self.bert.forward(inputs)?;
        let logits = self.classifier.forward(&encoded.last_hidden_state)?;
        Ok(encoded.with(vec![logits]))
    }
}

/// `BertForQuestionAnswering`: start_logits, end_logits `[B,S]`
pub(crate) struct BertForQuestionAnswering {
    bert: BertTrunk,
    qa_outputs: Linear,
}

impl BertForQuestionAnswering {
    pub(crate) fn load(w: &Weights, c: &BertConfig, form: AttentionForm) -> Result<Self> {
        if num_labels(c) != 2 {
            let message = format!(
                "id2label: found {} labels, expected 2: the start and the end of an answer",
                num_labels(c)
            );
            return Err(Error::new(ErrorKind::Config, message));
        }
        Ok(Self {
            bert: BertTrunk::load(&w.sub("bert"), c, form)?,
            qa_outputs: Linear::load(&w.sub("qa_outputs"), c.hidden_size, 2)?,
        })
    }
}

impl Model for BertForQuestionAnswering {
    fn forward(&self, inputs: ModelInputs<'_>) -> Result<ModelOutputs> {
        let encoded = self.bert.forward(inputs)?;
        let logits = self.qa_outputs.forward(&encoded.last_hidden_state)?;
        let (start_logits, end_logits) = (logits.f_select(-1, 0)?, logits.f_select(-1, 1)?);
        Ok(encoded.with(vec![start_logits, end_logits]))
    }
}

/// `BertForMultipleChoice`, inputs `[B,C,S]`: logits `[B,C]`; varlen: `[BC,1]`
pub(crate) struct BertForMultipleChoice {
    bert: BertModel,
    classifier: Linear,
}

impl BertForMultipleChoice {
    pub(crate) fn load(w: &Weights, c: &BertConfig, form: AttentionForm) -> Result<Self> {
        Ok(Self {
            bert: BertModel::load(&w.sub("bert"), c, form)?,
            classifier: Linear::load(&w.sub("classifier"), c.hidden_size, 1)?,
        })
    }
}

impl Model for BertForMultipleChoice {
    fn forward(&self, inputs: ModelInputs<'_>) -> Result<ModelOutputs> {
        if inputs.varlen.is_some() {
            // Every choice is a text of its own already: `[N,1]`.
            let (encoded, pooler_output) = self.bert.encode(inputs)?;
            return Ok(encoded.with(vec![self.classifier.forward(&pooler_output)?]));
        }
        // Every choice is a row of its own: `[B,C,S]` -> `[BC,S]`.
        let input_ids = inputs.input_ids.f_flatten(0, 1)?;
        let attention_mask = inputs.attention_mask.map(|mask| mask.f_flatten(0, 1)).transpose()?;
        let token_type_ids = inputs.token_type_ids.f_flatten(0, 1)?;
        let (encoded, pooler_output) = self.bert.encode(ModelInputs::padded(
            &input_ids,
            attention_mask.as_ref(),
            &token_type_ids,
        ))?;
        // `[BC,1]` -> `[B,C]`: a tensor of that shape says so, not two numbers.
        let logits = self.classifier.forward(&pooler_output)?;
        Ok(encoded.with(vec![logits.f_view_as(&inputs.input_ids.f_select(2, 0)?)?]))
    }
}
