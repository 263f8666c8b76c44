//! Embeddings and layers, as a description has them.
//!
//! Shapes: `B` batch, `S` sequence, `H` hidden size. Dropout is the identity at inference and
//! does not appear.

#![deny(clippy::disallowed_methods)]

use super::ModelInputs;
use super::attention::{BatchScores, ScoresOf, SelfAttention};
use crate::activation::Activation;
use crate::error::{Error, ErrorKind, Result};
use crate::family::spec::{self, Index, Positions};
use crate::nn::{AttentionForm, Embedding, LayerNorm, Linear};
use crate::weights::Weights;
use tch::{Kind, Tensor};

/// Embeddings and layers.
pub(super) struct Encoder {
    embeddings: Embeddings,
    scores: ScoresOf,
    layers: Vec<Layer>,
}

/// What an encoder computed.
pub(super) struct Encoded {
    /// `[B,S,H]`
    pub(super) last_hidden_state: Tensor,
    /// The embeddings and the result of every layer, `[B,S,H]` each
    pub(super) hidden_states: Vec<Tensor>,
    /// The probabilities of every layer, `[B,heads,S,S]`; none from SDPA
    pub(super) attentions: Vec<Tensor>,
}

impl Encoder {
    pub(super) fn load(w: &Weights, spec: &spec::Encoder, form: AttentionForm) -> Result<Self> {
        let layers = spec.layers.iter().map(|layer| Layer::load(w, layer, spec, form));
        Ok(Self {
            embeddings: Embeddings::load(w, &spec.embeddings, spec.hidden_size)?,
            scores: ScoresOf::load(w, spec, form)?,
            layers: layers.collect::<Result<_>>()?,
        })
    }

    pub(super) fn forward(&self, inputs: ModelInputs<'_>) -> Result<Encoded> {
        let scores = self.scores.forward(inputs)?;
        let embeddings = self.embeddings.forward(inputs)?;
        let mut encoded = Encoded {
            last_hidden_state: embeddings.shallow_clone(),
            hidden_states: vec![embeddings],
            attentions: Vec::new(),
        };
        for layer in &self.layers {
            let (hidden_states, probabilities) =
                layer.forward(&encoded.last_hidden_state, &scores)?;
            encoded.hidden_states.push(hidden_states.shallow_clone());
            encoded.attentions.extend(probabilities);
            encoded.last_hidden_state = hidden_states;
        }
        Ok(encoded)
    }
}

struct Embeddings {
    tables: Vec<(Embedding, Index)>,
    norm: LayerNorm,
    projection: Option<Linear>,
}

impl Embeddings {
    fn load(w: &Weights, spec: &spec::Embeddings, hidden_size: i64) -> Result<Self> {
        let width = spec.width;
        let projection =
            |linear: &spec::Linear| Linear::load(&w.sub(&linear.name), width, hidden_size);
        let tables = spec.tables.iter().map(|table| {
            let weight = w.sub(&table.name);
            Ok((Embedding::load(&weight, table.rows, width, table.padding_idx)?, table.index))
        });
        Ok(Self {
            tables: tables.collect::<Result<_>>()?,
            norm: LayerNorm::load(&w.sub(&spec.norm.name), width, spec.norm.eps)?,
            projection: spec.projection.as_ref().map(projection).transpose()?,
        })
    }

    /// input_ids, token_type_ids `[B,S]` -> `[B,S,H]`
    fn forward(&self, inputs: ModelInputs<'_>) -> Result<Tensor> {
        let mut sum: Option<Tensor> = None;
        for (table, index) in &self.tables {
            let vectors = match index {
                Index::Input => table.forward(inputs.input_ids)?,
                Index::TokenType => table.forward(inputs.token_type_ids)?,
                Index::Position(positions) => table.forward(&position_ids(*positions, inputs)?)?,
                Index::Zero => table.forward(&inputs.input_ids.f_zeros_like()?)?,
            };
            sum = Some(match sum {
                Some(sum) => sum.f_add(&vectors)?,
                None => vectors,
            });
        }
        let empty = || Error::new(ErrorKind::Config, "the model has no embeddings");
        let x = self.norm.forward(&sum.ok_or_else(empty)?)?;
        self.projection.as_ref().map_or(Ok(x.shallow_clone()), |linear| linear.forward(&x))
    }
}

/// The position of each token, `[B,S]`, or `[1,S]` where they are the same in every row.
pub(super) fn position_ids(positions: Positions, inputs: ModelInputs<'_>) -> Result<Tensor> {
    if let Some(varlen) = inputs.varlen {
        return Ok(varlen.position_ids.shallow_clone());
    }
    // Made from the ids: `arange` would bake in S and the device.
    Ok(match positions {
        Positions::FromZero => {
            let row = inputs.input_ids.f_narrow(0, 0, 1)?;
            row.f_ones_like()?.f_cumsum(1, Kind::Int64)?.f_sub_scalar(1)?
        }
        Positions::AfterPad { pad } => {
            // Of bool, as a cast would bake in the device.
            let counted = inputs.input_ids.f_ne(pad)?;
            counted.f_cumsum(1, Kind::Int64)?.f_mul(&counted)?.f_add_scalar(pad)?
        }
    })
}

struct Layer {
    attention: SelfAttention,
    attention_output: Linear,
    attention_norm: LayerNorm,
    intermediate: Linear,
    activation: Activation,
    output: Linear,
    output_norm: LayerNorm,
}

impl Layer {
    fn load(
        w: &Weights,
        layer: &spec::Layer,
        encoder: &spec::Encoder,
        form: AttentionForm,
    ) -> Result<Self> {
        let (hidden, wide) = (encoder.hidden_size, encoder.intermediate_size);
        let linear = |spec: &spec::Linear, inputs, outputs| {
            Linear::load(&w.sub(&spec.name), inputs, outputs)
        };
        let norm = |spec: &spec::LayerNorm| LayerNorm::load(&w.sub(&spec.name), hidden, spec.eps);
        Ok(Self {
            attention: SelfAttention::load(w, layer, encoder, form)?,
            attention_output: linear(&layer.attention_output, hidden, hidden)?,
            attention_norm: norm(&layer.attention_norm)?,
            intermediate: linear(&layer.intermediate, hidden, wide)?,
            activation: layer.activation,
            output: linear(&layer.output, wide, hidden)?,
            output_norm: norm(&layer.output_norm)?,
        })
    }

    /// `[B,S,H]` -> `[B,S,H]`, and the probabilities
    fn forward(&self, x: &Tensor, scores: &BatchScores<'_>) -> Result<(Tensor, Option<Tensor>)> {
        let (context, probabilities) = self.attention.forward(x, scores)?;
        let sum = self.attention_output.forward(&context)?.f_add(x)?;
        let attended = self.attention_norm.forward(&sum)?;
        let intermediate = self.activation.forward(&self.intermediate.forward(&attended)?)?;
        let sum = self.output.forward(&intermediate)?.f_add(&attended)?;
        Ok((self.output_norm.forward(&sum)?, probabilities))
    }
}
