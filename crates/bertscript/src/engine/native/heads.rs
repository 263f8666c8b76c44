//! The layers above the encoder, by architecture.

use super::layers::{Dense, copy, linear, norm, select};
use super::scratch::Scratch;
use crate::activation::Activation;
use crate::config::BertConfig;
use crate::error::Result;
use crate::models::Architecture;
use crate::weights::{Init, Weights};
use bertscript_kernels::{Element, Isa, LayerNorm, Linear, Matrix, Team, Then};

/// The layers of a head; those that an architecture lacks are none.
#[derive(Debug)]
pub(super) struct TaskHead<E> {
    /// `pooler.dense`
    pooler: Option<Dense<E>>,
    /// `cls.predictions`
    predictions: Option<Predictions<E>>,
    /// The layer after the pooler: `classifier` or `cls.seq_relationship`
    of_text: Option<Linear<E>>,
    /// The layer after every token: `classifier` or `qa_outputs`
    of_token: Option<Linear<E>>,
    /// Whether the columns of the last are outputs of their own.
    columns_apart: bool,
    /// Whether the hidden states and what the pooler makes of them are outputs.
    bare: bool,
}

#[derive(Debug)]
struct Predictions<E> {
    transform: Dense<E>,
    norm: LayerNorm,
    decoder: Linear<E>,
}

impl<E: Element> TaskHead<E> {
    pub(super) fn load(
        w: &Weights,
        architecture: Architecture,
        config: &BertConfig,
        isa: Isa,
    ) -> Result<Self> {
        use Architecture as A;
        let hidden_size = config.hidden_size;
        let base = if architecture.has_base_prefix() { w.sub("bert") } else { w.clone() };
        let one = |w: Weights, outputs: i64| linear(isa, &[w], hidden_size, outputs);
        let with_pooler = !matches!(
            architecture,
            A::BertForMaskedLM | A::BertForTokenClassification | A::BertForQuestionAnswering
        );
        let labels = config.labels.len() as i64;
        Ok(Self {
            pooler: match with_pooler {
                true => {
                    let dense = one(base.sub("pooler").sub("dense"), hidden_size)?;
                    Some(Dense::new(dense, Activation::Tanh))
                }
                false => None,
            },
            predictions: match architecture {
                A::BertForMaskedLM | A::BertForPreTraining => {
                    Some(Predictions::load(&w.sub("cls").sub("predictions"), config, isa)?)
                }
                _ => None,
            },
            of_text: match architecture {
                A::BertForPreTraining | A::BertForNextSentencePrediction => {
                    Some(one(w.sub("cls").sub("seq_relationship"), 2)?)
                }
                A::BertForSequenceClassification => Some(one(w.sub("classifier"), labels)?),
                A::BertForMultipleChoice => Some(one(w.sub("classifier"), 1)?),
                _ => None,
            },
            of_token: match architecture {
                A::BertForTokenClassification => Some(one(w.sub("classifier"), labels)?),
                A::BertForQuestionAnswering => Some(one(w.sub("qa_outputs"), 2)?),
                _ => None,
            },
            columns_apart: architecture == A::BertForQuestionAnswering,
            bare: architecture == A::BertModel,
        })
    }

    /// The number of outputs, in the architecture's order: those of tokens, then that of
    /// sequences.
    pub(super) fn num_outputs(&self) -> usize {
        self.num_token_outputs() + usize::from(self.pooler.is_some())
    }

    fn num_token_outputs(&self) -> usize {
        let columns = match &self.of_token {
            Some(layer) if self.columns_apart => layer.outputs(),
            Some(_) => 1,
            None => 0,
        };
        usize::from(self.bare) + usize::from(self.predictions.is_some()) + columns
    }

    /// Whether an output has a row for each token.
    pub(super) fn is_per_token(&self, output: usize) -> bool {
        output < self.num_token_outputs()
    }

    /// The wanted outputs of hidden states `[T,H]`, given the rows of the sequences' first
    /// tokens; none for the others.
    pub(super) fn forward(
        &self,
        first_tokens: &[usize],
        is_wanted: &dyn Fn(usize) -> bool,
        scratch: &mut Scratch<E>,
        team: &dyn Team,
    ) -> Result<Vec<Option<Matrix<f32>>>> {
        let mut outputs = Vec::new();
        let tokens = scratch.x.len();
        if self.bare {
            outputs.push(if is_wanted(0) { Some(copy(&scratch.x)?) } else { None });
        }
        if let Some(predictions) = &self.predictions {
            let logits = match is_wanted(0) {
                true => Some(predictions.forward(scratch, team)?),
                false => None,
            };
            outputs.push(logits);
        }
        if let Some(layer) = &self.of_token {
            let mut logits = Matrix::new(layer.outputs());
            logits.set_rows(tokens)?;
            layer.forward(team, scratch.copied.all(), Then::Keep, logits.all_mut())?;
            match self.columns_apart {
                true => {
                    for column in 0..layer.outputs() {
                        outputs.push(Some(select(&logits, 0..tokens, column..column + 1)?));
                    }
                }
                false => outputs.push(Some(logits)),
            }
        }
        if self.pooler.is_some() && is_wanted(outputs.len()) {
            outputs.push(self.of_sequences(first_tokens, scratch, team)?);
        }
        Ok(outputs)
    }

    /// The output of sequences; none if there is none.
    fn of_sequences(
        &self,
        firsts: &[usize],
        scratch: &Scratch<E>,
        team: &dyn Team,
    ) -> Result<Option<Matrix<f32>>> {
        let Some(pooler) = &self.pooler else { return Ok(None) };
        let mut first = Matrix::<E>::new(scratch.x.width());
        first.set_rows(firsts.len())?;
        for (text, row) in firsts.iter().enumerate() {
            for (to, from) in first.row_mut(text).iter_mut().zip(scratch.x.row(*row)) {
                *to = E::from_f32(*from);
            }
        }
        let mut pooled = Matrix::<f32>::new(pooler.outputs());
        pooled.set_rows(first.len())?;
        pooler.forward(team, first.all(), pooled.all_mut())?;
        let Some(layer) = &self.of_text else { return Ok(Some(pooled)) };
        for text in 0..first.len() {
            for (to, from) in first.row_mut(text).iter_mut().zip(pooled.row(text)) {
                *to = E::from_f32(*from);
            }
        }
        let mut logits = Matrix::new(layer.outputs());
        logits.set_rows(first.len())?;
        layer.forward(team, first.all(), Then::Keep, logits.all_mut())?;
        Ok(Some(logits))
    }
}

impl<E: Element> Predictions<E> {
    fn load(w: &Weights, config: &BertConfig, isa: Isa) -> Result<Self> {
        let (hidden_size, transform) = (config.hidden_size, w.sub("transform"));
        let dense = linear(isa, &[transform.sub("dense")], hidden_size, hidden_size)?;
        // A second name of the decoder's bias, which `forward` does not read.
        let _ = w.get("bias", &[config.vocab_size], Init::Zeros)?;
        Ok(Self {
            transform: Dense::new(dense, config.hidden_act),
            norm: norm(isa, &transform.sub("LayerNorm"), config)?,
            decoder: linear(isa, &[w.sub("decoder")], hidden_size, config.vocab_size)?,
        })
    }

    /// Logits `[T,vocab_size]`
    fn forward(&self, scratch: &Scratch<E>, team: &dyn Team) -> Result<Matrix<f32>> {
        let tokens = scratch.x.len();
        let mut x = Matrix::<f32>::new(self.transform.outputs());
        x.set_rows(tokens)?;
        self.transform.forward(team, scratch.copied.all(), x.all_mut())?;
        let mut copied = Matrix::<E>::new(self.transform.outputs());
        copied.set_rows(tokens)?;
        self.norm.forward(team, x.all_mut(), copied.all_mut())?;
        let mut logits = Matrix::new(self.decoder.outputs());
        logits.set_rows(tokens)?;
        self.decoder.forward(team, copied.all(), Then::Keep, logits.all_mut())?;
        Ok(logits)
    }
}
