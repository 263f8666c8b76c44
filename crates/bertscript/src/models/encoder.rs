//! Embeddings and layers, as a description has them.
//!
//! Shapes: `B` batch, `S` sequence, `H` hidden size. Dropout is the identity at inference and
//! does not appear.

#![deny(clippy::disallowed_methods)]

use super::ModelInputs;
use super::attention::{BatchAttention, OfBatch, SelfAttention};
use crate::activation::Activation;
use crate::error::{Error, ErrorKind, Result};
use crate::family::spec::{self, Index, MaskedTokens, NormPlacement, Positions};
use crate::nn::{AttentionForm, Embedding, LayerNorm, Linear};
use crate::weights::TorchWeights;
use tch::{Kind, Tensor};

/// Embeddings and layers.
pub(super) struct Encoder {
    embeddings: Embeddings,
    attention: BatchAttention,
    layers: Vec<Layer>,
    layer_order: Vec<usize>,
    final_norm: Option<LayerNorm>,
}

/// What an encoder computed.
pub(super) struct Encoded {
    /// `[B,S,H]`
    pub(super) last_hidden_state: Tensor,
    /// The embeddings and the result of every layer, `[B,S,H]` each; the last is the last
    /// hidden state
    pub(super) hidden_states: Vec<Tensor>,
    /// The probabilities of every layer, `[B,heads,S,S]`; none from SDPA
    pub(super) attentions: Vec<Tensor>,
}

impl Encoder {
    pub(super) fn load(
        w: &TorchWeights,
        spec: &spec::Encoder,
        form: AttentionForm,
    ) -> Result<Self> {
        let embeddings = Embeddings::load(w, spec)?;
        let attention = BatchAttention::load(w, spec, form, &embeddings.words())?;
        let vectors = attention.loaded_vectors()?;
        let layers =
            spec.layers.iter().map(|layer| Layer::load(w, layer, spec, (form, vectors.as_ref())));
        let layers = layers.collect::<Result<_>>()?;
        let final_norm = spec.final_norm.as_ref();
        let final_norm = final_norm.map(|norm| LayerNorm::load(w, norm, spec.hidden_size));
        let (layer_order, final_norm) = (spec.layer_order.clone(), final_norm.transpose()?);
        Ok(Self { embeddings, attention, layers, layer_order, final_norm })
    }

    pub(super) fn forward(&self, inputs: ModelInputs<'_>) -> Result<Encoded> {
        let of_batch = self.attention.forward(inputs)?;
        let mut x = self.embeddings.forward(inputs)?;
        let (mut hidden_states, mut attentions) = (Vec::new(), Vec::new());
        for layer in self.layer_order.iter().map(|index| &self.layers[*index]) {
            hidden_states.push(x.shallow_clone());
            let (next, probabilities) = layer.forward(&x, &of_batch)?;
            attentions.extend(probabilities);
            x = next;
        }
        if let Some(norm) = &self.final_norm {
            x = norm.forward(&x)?;
        }
        hidden_states.push(x.shallow_clone());
        Ok(Encoded { last_hidden_state: x, hidden_states, attentions })
    }
}

struct Embeddings {
    tables: Vec<(Embedding, Index)>,
    norm: Option<LayerNorm>,
    projection: Option<Linear>,
    masked_tokens: MaskedTokens,
}

impl Embeddings {
    fn load(w: &TorchWeights, encoder: &spec::Encoder) -> Result<Self> {
        let (spec, hidden_size) = (&encoder.embeddings, encoder.hidden_size);
        let width = spec.width;
        let projection = |linear| Linear::load(w, linear, width, hidden_size);
        let tables = spec.tables.iter().map(|table| {
            let weight = w.sub(&table.name);
            Ok((Embedding::load(&weight, table.rows, width, table.into())?, table.index))
        });
        Ok(Self {
            tables: tables.collect::<Result<_>>()?,
            norm: norm(w, spec.norm.as_ref(), width)?,
            projection: spec.projection.as_ref().map(projection).transpose()?,
            masked_tokens: encoder.masked_tokens,
        })
    }

    /// `[V,E]`
    fn words(&self) -> Tensor {
        self.tables[0].0.weight()
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
        let mut x = sum.ok_or_else(empty)?;
        if let Some(norm) = &self.norm {
            x = norm.forward(&x)?;
        }
        if let Some(linear) = &self.projection {
            x = linear.forward(&x)?;
        }
        match (self.masked_tokens, inputs.tokens()) {
            (MaskedTokens::Blank, Some(tokens)) => Ok(x.f_mul(&tokens.f_unsqueeze(-1)?)?),
            _ => Ok(x),
        }
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

/// The norm that a description has, if it has one.
fn norm(w: &TorchWeights, spec: Option<&spec::LayerNorm>, width: i64) -> Result<Option<LayerNorm>> {
    spec.map(|spec| LayerNorm::load(w, spec, width)).transpose()
}

struct Layer {
    form: AttentionForm,
    norm_placement: NormPlacement,
    attention: SelfAttention,
    attention_output: Linear,
    attention_norm: Option<LayerNorm>,
    mlp: Mlp,
    output: Linear,
    output_norm: LayerNorm,
}

impl Layer {
    fn load(
        w: &TorchWeights,
        layer: &spec::Layer,
        encoder: &spec::Encoder,
        (form, vectors): (AttentionForm, Option<&Tensor>),
    ) -> Result<Self> {
        let (hidden, wide) = (encoder.hidden_size, encoder.intermediate_size);
        Ok(Self {
            form,
            norm_placement: encoder.norm_placement,
            attention: SelfAttention::load(w, layer, encoder, (form, vectors))?,
            attention_output: Linear::load(w, &layer.attention_output, hidden, hidden)?,
            attention_norm: norm(w, layer.attention_norm.as_ref(), hidden)?,
            mlp: Mlp::load(w, layer, hidden, wide)?,
            output: Linear::load(w, &layer.output, wide, hidden)?,
            output_norm: LayerNorm::load(w, &layer.output_norm, hidden)?,
        })
    }

    /// `[B,S,H]` -> `[B,S,H]`, and the probabilities
    fn forward(&self, x: &Tensor, of_batch: &[OfBatch<'_>]) -> Result<(Tensor, Option<Tensor>)> {
        let normed = |x: &Tensor| match &self.attention_norm {
            Some(norm) => norm.forward(x),
            None => Ok(x.shallow_clone()),
        };
        let attend = |x: &Tensor| {
            let (context, probabilities) = self.attention.forward(x, of_batch, self.form)?;
            Ok::<_, Error>((self.attention_output.forward(&context)?, probabilities))
        };
        let feed_forward = |x: &Tensor| self.output.forward(&self.mlp.forward(x)?);
        Ok(match self.norm_placement {
            NormPlacement::Post => {
                let (attended, probabilities) = attend(x)?;
                let x = normed(&attended.f_add(x)?)?;
                let sum = feed_forward(&x)?.f_add(&x)?;
                (self.output_norm.forward(&sum)?, probabilities)
            }
            NormPlacement::Pre => {
                let (attended, probabilities) = attend(&normed(x)?)?;
                let x = attended.f_add(x)?;
                (feed_forward(&self.output_norm.forward(&x)?)?.f_add(&x)?, probabilities)
            }
        })
    }
}

/// What widens a hidden state.
struct Mlp {
    widen: Widen,
    activation: Activation,
    intermediate_size: i64,
}

enum Widen {
    Plain(Linear),
    Glu { gate: Linear, up: Linear },
    FusedGlu(Linear),
}

impl Mlp {
    fn load(w: &TorchWeights, layer: &spec::Layer, hidden: i64, wide: i64) -> Result<Self> {
        let linear = |spec, outputs| Linear::load(w, spec, hidden, outputs);
        let widen = match &layer.mlp {
            spec::Mlp::Plain(spec) => Widen::Plain(linear(spec, wide)?),
            spec::Mlp::Glu { gate, up } => {
                Widen::Glu { gate: linear(gate, wide)?, up: linear(up, wide)? }
            }
            spec::Mlp::FusedGlu(spec) => Widen::FusedGlu(linear(spec, 2 * wide)?),
        };
        Ok(Self { widen, activation: layer.activation, intermediate_size: wide })
    }

    /// `[B,S,H]` -> `[B,S,intermediate_size]`
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (gate, up) = match &self.widen {
            Widen::Plain(linear) => return self.activation.forward(&linear.forward(x)?),
            Widen::Glu { gate, up } => (gate.forward(x)?, up.forward(x)?),
            Widen::FusedGlu(linear) => {
                let (both, wide) = (linear.forward(x)?, self.intermediate_size);
                (both.f_narrow(-1, 0, wide)?, both.f_narrow(-1, wide, wide)?)
            }
        };
        Ok(self.activation.forward(&gate)?.f_mul(&up)?)
    }
}
