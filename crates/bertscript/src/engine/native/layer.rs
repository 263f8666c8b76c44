//! A layer of the encoder.

use super::calibration::{InputMaxima, LayerInput};
use super::distances::{Distances, Projected, Vectors};
use super::linear::{Dense, int8_linear, linear, norm, optional_norm, round};
use super::rotations::Rotations;
use super::scratch::Scratch;
use crate::activation::Activation;
use crate::batch::Batch;
use crate::error::Result;
use crate::family::spec::{self, Mlp, NormPlacement, Qkv};
use crate::weights::Weights;
use bertscript_kernels::{
    Element, Isa, LayerNorm, Linear, Sequences, Team, Then, attention, disentangled_attention,
};

/// A layer.
#[derive(Debug)]
pub(super) struct Layer<E> {
    norm_placement: NormPlacement,
    /// Query, key and value, beside one another
    qkv: Linear<E>,
    /// What it made of the vectors of distances, if there are some
    projected: Option<Projected<E>>,
    /// Which of the encoder's rotations queries and keys have
    rope_theta: Option<f64>,
    window: Option<usize>,
    attention_output: Linear<E>,
    attention_norm: Option<LayerNorm>,
    widen: Widen<E>,
    output: Linear<E>,
    output_norm: LayerNorm,
}

/// What widens a hidden state.
#[derive(Debug)]
enum Widen<E> {
    Plain(Dense<E>),
    /// Gate and up, beside one another
    Glu(Linear<E>, Activation),
}

impl<E: Element> Layer<E> {
    pub(super) fn load(
        w: &Weights,
        layer: &spec::Layer,
        encoder: &spec::Encoder,
        vectors: Option<&Vectors<E>>,
        (isa, int8): (Isa, Option<&InputMaxima>),
    ) -> Result<Self> {
        // The vectors of distances go through the query and key projections, too.
        let int8 = match (int8, vectors) {
            (Some(maxima), Some(vectors)) => Some(maxima.raised(LayerInput::Qkv, vectors)?),
            (maxima, _) => maxima.cloned(),
        };
        let (hidden, wide) = (encoder.hidden_size, encoder.intermediate_size);
        let linear = |specs: &[&spec::Linear], of: LayerInput, outputs: i64| {
            let inputs = if of == LayerInput::Output { wide } else { hidden };
            match &int8 {
                None => linear(isa, w, specs, inputs, outputs),
                Some(maxima) => int8_linear(isa, w, specs, maxima.of(of), outputs),
            }
        };
        let one = |spec: &spec::Linear, of: LayerInput, outputs: i64| linear(&[spec], of, outputs);
        let qkv = match &layer.qkv {
            Qkv::Separate(parts) => linear(&parts.each_ref(), LayerInput::Qkv, hidden)?,
            Qkv::Fused(fused) => one(fused, LayerInput::Qkv, 3 * hidden)?,
        };
        let projected = vectors.map(|vectors| Projected::new(&qkv, vectors, hidden as usize));
        Ok(Self {
            norm_placement: encoder.norm_placement,
            qkv,
            projected: projected.transpose()?,
            rope_theta: layer.rope_theta,
            window: layer.sliding_window.map(|window| window as usize),
            attention_output: one(&layer.attention_output, LayerInput::AttentionOutput, hidden)?,
            attention_norm: optional_norm(isa, w, layer.attention_norm.as_ref(), hidden)?,
            widen: match &layer.mlp {
                Mlp::Plain(plain) => {
                    Widen::Plain(Dense::new(one(plain, LayerInput::Widen, wide)?, layer.activation))
                }
                Mlp::Glu { gate, up } => {
                    Widen::Glu(linear(&[gate, up], LayerInput::Widen, wide)?, layer.activation)
                }
                Mlp::FusedGlu(fused) => {
                    Widen::Glu(one(fused, LayerInput::Widen, 2 * wide)?, layer.activation)
                }
            },
            output: one(&layer.output, LayerInput::Output, hidden)?,
            output_norm: norm(isa, w, &layer.output_norm, hidden)?,
        })
    }

    /// Attention: `x`, or after a norm `copied`, the same as inputs of products, -> `context`
    pub(super) fn attend(
        &self,
        isa: Isa,
        batch: &Batch,
        (sequences, rotations, distances): (Sequences<'_>, &Rotations, &Distances),
        scratch: &mut Scratch<E>,
        team: &dyn Team,
    ) -> Result<()> {
        let Scratch { x, copied, qkv, context, .. } = scratch;
        match (self.norm_placement, &self.attention_norm) {
            // Where the last layer, or the embeddings, left them.
            (NormPlacement::Post, _) => {}
            (NormPlacement::Pre, Some(norm)) => norm.forward_to(team, x.all(), copied.all_mut())?,
            (NormPlacement::Pre, None) => round(x, copied),
        }
        self.qkv.forward(team, copied.all(), Then::Keep, qkv.all_mut())?;
        if let Some(rope) = rotations.of(self.rope_theta) {
            rope.rotate(isa, team, sequences.positions, sequences.num_heads, qkv.all_mut())?;
        }
        let sequences = Sequences { window: self.window, ..sequences };
        let (qkv, context) = (qkv.all(), context.all_mut());
        match distances.of_layer(&self.projected, batch) {
            None => attention(isa, team, qkv, sequences, context)?,
            Some(by) => disentangled_attention(isa, team, qkv, sequences, by, context)?,
        }
        Ok(())
    }

    /// The output of attention, from here on every row stands for itself: `context` and `x`
    /// -> `sum`, and normalised `copied`
    pub(super) fn add_attention(&self, scratch: &mut Scratch<E>, team: &dyn Team) -> Result<()> {
        scratch.sum.set_rows(scratch.x.len())?;
        let Scratch { x, copied, context, sum, .. } = scratch;
        let residual = Then::Add(x.all());
        self.attention_output.forward(team, context.all(), residual, sum.all_mut())?;
        match (self.norm_placement, &self.attention_norm) {
            (NormPlacement::Post, Some(norm)) => {
                norm.forward(team, sum.all_mut(), copied.all_mut())?;
            }
            (NormPlacement::Post, None) => round(sum, copied),
            (NormPlacement::Pre, _) => {
                self.output_norm.forward_to(team, sum.all(), copied.all_mut())?;
            }
        }
        Ok(())
    }

    /// The feed-forward layer: `copied` and `sum` -> `intermediate`, `x`
    pub(super) fn feed_forward(
        &self,
        isa: Isa,
        scratch: &mut Scratch<E>,
        team: &dyn Team,
    ) -> Result<()> {
        self.widen(isa, scratch, team)?;
        let Scratch { x, copied, intermediate, sum, .. } = scratch;
        let residual = Then::Add(sum.all());
        self.output.forward(team, intermediate.all(), residual, x.all_mut())?;
        match self.norm_placement {
            NormPlacement::Post => self.output_norm.forward(team, x.all_mut(), copied.all_mut())?,
            // The next layer normalises, or what follows the last.
            NormPlacement::Pre => {}
        }
        Ok(())
    }

    /// `copied` -> `intermediate`
    fn widen(&self, isa: Isa, scratch: &mut Scratch<E>, team: &dyn Team) -> Result<()> {
        let Scratch { copied, gated, intermediate, .. } = scratch;
        intermediate.set_rows(copied.len())?;
        match &self.widen {
            Widen::Plain(dense) => dense.forward(team, copied.all(), intermediate.all_mut()),
            Widen::Glu(linear, activation) => {
                gated.set_rows(copied.len())?;
                linear.forward(team, copied.all(), Then::Keep, gated.all_mut())?;
                activation.glu(isa, team, gated.all(), intermediate.all_mut())
            }
        }
    }
}
