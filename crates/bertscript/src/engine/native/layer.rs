//! A layer of the encoder.

use super::linear::{Dense, int8_linear, linear, norm};
use super::scratch::Scratch;
use crate::error::Result;
use crate::family::spec;
use crate::weights::Weights;
use bertscript_kernels::{Element, Isa, LayerNorm, Linear, Sequences, Team, Then, attention};

/// A layer, with its norms after each sum.
#[derive(Debug)]
pub(super) struct Layer<E> {
    /// Query, key and value, beside one another
    qkv: Linear<E>,
    attention_output: Linear<E>,
    attention_norm: LayerNorm,
    intermediate: Dense<E>,
    output: Linear<E>,
    output_norm: LayerNorm,
}

impl<E: Element> Layer<E> {
    pub(super) fn load(
        w: &Weights,
        layer: &spec::Layer,
        encoder: &spec::Encoder,
        isa: Isa,
        int8: bool,
    ) -> Result<Self> {
        let linear = if int8 { int8_linear } else { linear };
        let (hidden, wide) = (encoder.hidden_size, encoder.intermediate_size);
        let qkv = layer.query_key_value.each_ref().map(|part| w.sub(&part.name));
        let one = |spec: &spec::Linear, inputs: i64, outputs: i64| {
            linear(isa, &[w.sub(&spec.name)], inputs, outputs)
        };
        Ok(Self {
            qkv: linear(isa, &qkv, hidden, hidden)?,
            attention_output: one(&layer.attention_output, hidden, hidden)?,
            attention_norm: norm(isa, w, &layer.attention_norm, hidden)?,
            intermediate: Dense::new(one(&layer.intermediate, hidden, wide)?, layer.activation),
            output: one(&layer.output, wide, hidden)?,
            output_norm: norm(isa, w, &layer.output_norm, hidden)?,
        })
    }

    /// Attention: `copied` -> `context`
    pub(super) fn attend(
        &self,
        isa: Isa,
        sequences: Sequences<'_>,
        scratch: &mut Scratch<E>,
        team: &dyn Team,
    ) -> Result<()> {
        let Scratch { copied, qkv, context, .. } = scratch;
        self.qkv.forward(team, copied.all(), Then::Keep, qkv.all_mut())?;
        attention(isa, team, qkv.all(), sequences, context.all_mut())?;
        Ok(())
    }

    /// The rest of the layer, in which every row stands for itself: `context` and
    /// `x` -> `x`
    pub(super) fn feed_forward(&self, scratch: &mut Scratch<E>, team: &dyn Team) -> Result<()> {
        let Scratch { x, copied, context, intermediate, sum, .. } = scratch;
        sum.set_rows(x.len())?;
        intermediate.set_rows(x.len())?;
        let residual = Then::Add(x.all());
        self.attention_output.forward(team, context.all(), residual, sum.all_mut())?;
        self.attention_norm.forward(team, sum.all_mut(), copied.all_mut())?;
        self.intermediate.forward(team, copied.all(), intermediate.all_mut())?;
        let residual = Then::Add(sum.all());
        self.output.forward(team, intermediate.all(), residual, x.all_mut())?;
        self.output_norm.forward(team, x.all_mut(), copied.all_mut())?;
        Ok(())
    }
}
