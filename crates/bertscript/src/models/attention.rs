//! Attention of one layer, and what all layers are told of a batch.

#![deny(clippy::disallowed_methods)]

use super::ModelInputs;
use super::encoder::position_ids;
use crate::error::{Error, ErrorKind, Result};
use crate::family::relative_positions::RelativePositions;
use crate::family::spec::{self, Positions, Qkv};
use crate::nn::{
    AttentionForm, DisentangledScores, DistanceEmbedding, DistanceVectors, Linear, OfColumns,
    RelativeBias, Rotation, Scores, VarlenBatch, VarlenScores, boolean_mask, window_mask,
};
use crate::weights::TorchWeights;
use tch::Tensor;
use torchscript::SharedTensor;

/// What distinguishes the attention of layers.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Kind {
    rope_theta: Option<f64>,
    sliding_window: Option<i64>,
}

impl Kind {
    fn of(layer: &spec::Layer) -> Self {
        let spec::Layer { rope_theta, sliding_window, .. } = *layer;
        Self { rope_theta, sliding_window }
    }
}

/// What makes, once for a batch, what the attention of every layer takes of it.
pub(super) struct BatchAttention {
    form: AttentionForm,
    distances: Distances,
    num_heads: i64,
    /// As many as differ
    kinds: Vec<Kind>,
    head_dim: i64,
    /// A row of the embedding of words, of which rotations take the device
    row: SharedTensor,
}

/// What depends on the distance of two tokens.
enum Distances {
    Nothing,
    Bias(RelativeBias),
    Disentangled(DistanceEmbedding),
}

/// That of a kind of layers.
pub(super) struct OfBatch<'a> {
    kind: Kind,
    rotation: Option<Rotation>,
    scores: BatchScores<'a>,
}

enum BatchScores<'a> {
    /// Of rows of one length
    Padded(Scores),
    /// The same, and the vectors of distances, `[R,H]`
    Disentangled(DisentangledScores, Tensor),
    /// Of several sequences in one row
    Varlen(&'a VarlenBatch, VarlenScores),
}

impl BatchAttention {
    /// words `[V,E]`
    pub(super) fn load(
        w: &TorchWeights,
        spec: &spec::Encoder,
        form: AttentionForm,
        words: &Tensor,
    ) -> Result<Self> {
        let distances = match &spec.relative_positions {
            RelativePositions::None => Distances::Nothing,
            RelativePositions::Buckets(buckets) => {
                Distances::Bias(RelativeBias::load(w, buckets, spec.num_heads)?)
            }
            RelativePositions::Disentangled(distances) => {
                Distances::Disentangled(DistanceEmbedding::load(w, distances, spec.hidden_size)?)
            }
        };
        let mut kinds = Vec::new();
        for kind in spec.layers.iter().map(Kind::of) {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        let row = SharedTensor::new(words.shallow_clone());
        let (num_heads, head_dim) = (spec.num_heads, spec.head_dim());
        Ok(Self { form, distances, num_heads, kinds, head_dim, row })
    }

    /// The vectors of distances, `[R,H]`, which layers project once, as they are loaded.
    pub(super) fn loaded_vectors(&self) -> Result<Option<Tensor>> {
        match (&self.distances, self.form) {
            (Distances::Disentangled(embedding), AttentionForm::Varlen) => {
                embedding.vectors().map(Some)
            }
            _ => Ok(None),
        }
    }

    pub(super) fn forward<'a>(&self, inputs: ModelInputs<'a>) -> Result<Vec<OfBatch<'a>>> {
        let columns = |inputs| position_ids(Positions::FromZero, inputs);
        let bias = match (&self.distances, inputs.varlen) {
            (Distances::Bias(bias), None) => Some(bias.forward(&columns(inputs)?)?),
            _ => None,
        };
        let of_kind = |kind: &Kind| {
            let scores = match (self.form, inputs.varlen) {
                (AttentionForm::Varlen, Some(texts)) => {
                    BatchScores::Varlen(texts, self.varlen(*kind, texts)?)
                }
                (AttentionForm::Padded(attention), None) => match &self.distances {
                    Distances::Disentangled(embedding) => {
                        let rows = embedding.rows(&columns(inputs)?)?;
                        let scores = self.disentangled(&rows, inputs)?;
                        BatchScores::Disentangled(scores, embedding.vectors()?)
                    }
                    Distances::Nothing | Distances::Bias(_) => {
                        let mask = padded_mask(*kind, inputs)?;
                        let bias = bias.as_ref().map(Tensor::shallow_clone);
                        BatchScores::Padded(attention.scores(mask, bias)?)
                    }
                },
                (_, Some(_)) => return Err(wrong_form("one row of several texts")),
                (_, None) => return Err(wrong_form("rows of one length")),
            };
            let rotation = kind.rope_theta.map(|theta| self.rotation(theta, inputs));
            Ok(OfBatch { kind: *kind, rotation: rotation.transpose()?, scores })
        };
        self.kinds.iter().map(of_kind).collect()
    }

    /// rows `[1,1,S,S]`
    fn disentangled(&self, rows: &Tensor, inputs: ModelInputs<'_>) -> Result<DisentangledScores> {
        match inputs.attention_mask {
            Some(mask) => DisentangledScores::new(rows, mask, self.num_heads, true),
            None => {
                let all = inputs.input_ids.f_ones_like()?;
                DisentangledScores::new(rows, &all, self.num_heads, false)
            }
        }
    }

    fn varlen(&self, kind: Kind, texts: &VarlenBatch) -> Result<VarlenScores> {
        VarlenScores::new(texts, kind.sliding_window, |columns| {
            Ok(match (&self.distances, kind.sliding_window) {
                (Distances::Bias(bias), _) => OfColumns::Mask(bias.forward(columns)?),
                (Distances::Disentangled(embedding), _) => {
                    OfColumns::Distances(embedding.rows(columns)?)
                }
                (Distances::Nothing, Some(window)) => {
                    OfColumns::Mask(window_mask(columns, window)?)
                }
                (Distances::Nothing, None) => OfColumns::Nothing,
            })
        })
    }

    fn rotation(&self, theta: f64, inputs: ModelInputs<'_>) -> Result<Rotation> {
        let row = self.row.get().f_select(0, 0)?;
        let of = |positions: &Tensor| Rotation::new(theta, self.head_dim, positions, &row);
        match inputs.varlen {
            // Of queries `[T,heads,head_dim]`, or `[B,heads,S,head_dim]`.
            Some(texts) => of(texts.columns())?.unsqueeze(1),
            None => of(&position_ids(Positions::FromZero, inputs)?)?.unsqueeze(1),
        }
    }
}

/// `[B,1,1,S]`, or with a window `[B,1,S,S]` or `[1,1,S,S]`
fn padded_mask(kind: Kind, inputs: ModelInputs<'_>) -> Result<Option<Tensor>> {
    let padding = inputs.attention_mask.map(boolean_mask).transpose()?;
    let Some(window) = kind.sliding_window else { return Ok(padding) };
    let window = window_mask(&position_ids(Positions::FromZero, inputs)?, window)?;
    Ok(Some(match padding {
        Some(padding) => window.f_logical_and(&padding)?,
        None => window,
    }))
}

pub(super) struct SelfAttention {
    projections: Projections,
    /// Of the vectors that [`BatchAttention::loaded_vectors`] has
    distances: Option<DistanceVectors>,
    kind: Kind,
    /// Their number, and the width of one
    heads: [i64; 2],
}

/// Query, key and value
enum Projections {
    /// Three layers, which the tracer knows by their names
    Separate([Linear; 3]),
    /// One layer, three times as wide
    Fused(Linear),
}

impl SelfAttention {
    pub(super) fn load(
        w: &TorchWeights,
        layer: &spec::Layer,
        encoder: &spec::Encoder,
        (form, vectors): (AttentionForm, Option<&Tensor>),
    ) -> Result<Self> {
        let hidden = encoder.hidden_size;
        let heads = [encoder.num_heads, encoder.head_dim()];
        let mut distances = None;
        let projections = match &layer.qkv {
            Qkv::Fused(linear) => Projections::Fused(Linear::load(w, linear, hidden, 3 * hidden)?),
            Qkv::Separate(parts) => {
                let [query, key, value] =
                    parts.each_ref().map(|part| Linear::load(w, part, hidden, hidden));
                let layers = [query?, key?, value?];
                if let Some(vectors) = vectors {
                    let [query, key, _] = &layers;
                    distances = Some(DistanceVectors::new([query, key], vectors, heads)?);
                }
                match form {
                    AttentionForm::Padded(_) => Projections::Separate(layers),
                    AttentionForm::Varlen => Projections::Fused(Linear::concatenated(&layers)?),
                }
            }
        };
        Ok(Self { projections, distances, kind: Kind::of(layer), heads })
    }

    /// hidden_states `[B,S,H]` -> `[B,S,H]`, and the probabilities `[B,heads,S,S]` if
    /// the attention has them
    pub(super) fn forward(
        &self,
        hidden_states: &Tensor,
        of_batch: &[OfBatch<'_>],
        form: AttentionForm,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let unknown = || Error::new(ErrorKind::Config, "the attention of a layer is of no kind");
        let of_kind = of_batch.iter().find(|of_batch| of_batch.kind == self.kind);
        let OfBatch { rotation, scores, .. } = of_kind.ok_or_else(unknown)?;
        let rotated = |x: Tensor| match rotation {
            Some(rotation) => rotation.forward(&x),
            None => Ok(x),
        };
        match (scores, form) {
            (BatchScores::Padded(scores), AttentionForm::Padded(attention)) => {
                let [query, key, value] = self.padded(hidden_states)?;
                let (query, key) = (rotated(query)?, rotated(key)?);
                let (context, probabilities) =
                    attention.forward([&query, &key, &value], scores, self.heads[1])?;
                Ok((context.f_transpose(1, 2)?.f_flatten(2, 3)?, probabilities))
            }
            (BatchScores::Disentangled(scores, vectors), AttentionForm::Padded(attention)) => {
                let [query, key, value] = self.padded(hidden_states)?;
                let qkv = [&query, &key, &value];
                let distances = self.distances(vectors)?;
                let (context, probabilities) = distances.attention(attention, qkv, scores)?;
                Ok((context.f_transpose(1, 2)?.f_flatten(2, 3)?, probabilities))
            }
            (BatchScores::Varlen(texts, scores), AttentionForm::Varlen) => {
                let [query, key, value] = self.varlen(hidden_states)?;
                let (query, key) = (rotated(query)?, rotated(key)?);
                let qkv = [&query, &key, &value];
                Ok((texts.attention(qkv, scores, self.distances.as_ref())?, None))
            }
            (BatchScores::Varlen(..), _) => Err(wrong_form("one row of several texts")),
            (BatchScores::Padded(_) | BatchScores::Disentangled(..), _) => {
                Err(wrong_form("rows of one length"))
            }
        }
    }

    /// Of vectors `[R,H]`
    fn distances(&self, vectors: &Tensor) -> Result<DistanceVectors> {
        match &self.projections {
            Projections::Separate([query, key, _]) => {
                DistanceVectors::new([query, key], vectors, self.heads)
            }
            Projections::Fused(_) => {
                let message = "distances need query and key in layers of their own";
                Err(Error::new(ErrorKind::Config, message))
            }
        }
    }

    /// `[B,S,H]` -> query, key and value `[B,heads,S,head_dim]`
    fn padded(&self, hidden_states: &Tensor) -> Result<[Tensor; 3]> {
        let [num_heads, head_dim] = self.heads;
        match &self.projections {
            Projections::Separate(parts) => {
                let [query, key, value] = parts.each_ref().map(|part| -> Result<Tensor> {
                    let x = part.forward(hidden_states)?;
                    Ok(x.f_unflatten(-1, self.heads)?.f_transpose(1, 2)?)
                });
                Ok([query?, key?, value?])
            }
            Projections::Fused(linear) => {
                let sizes = [3, num_heads, head_dim];
                let qkv = linear.forward(hidden_states)?.f_unflatten(-1, sizes)?;
                let [query, key, value] =
                    [0, 1, 2].map(|part| qkv.f_select(2, part)?.f_transpose(1, 2));
                Ok([query?, key?, value?])
            }
        }
    }

    /// `[1,T,H]` -> query, key and value `[T,heads,head_dim]`
    fn varlen(&self, hidden_states: &Tensor) -> Result<[Tensor; 3]> {
        let Projections::Fused(linear) = &self.projections else {
            return Err(wrong_form("one row of several texts"));
        };
        let [num_heads, head_dim] = self.heads;
        let qkv = linear.forward(hidden_states)?.f_view([-1, 3, num_heads, head_dim])?;
        let [query, key, value] = [0, 1, 2].map(|part| qkv.f_select(1, part));
        Ok([query?, key?, value?])
    }
}

fn wrong_form(found: &str) -> Error {
    let message = format!("the model was loaded for batches of another form than {found}");
    Error::new(ErrorKind::InvalidInput, message)
}
