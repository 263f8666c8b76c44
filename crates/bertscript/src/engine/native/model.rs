//! An encoder and its heads, as a description has them, in prepacked weights.

use super::calibration::{InputMaxima, LayerInput};
use super::distances::Distances;
use super::embeddings::Embeddings;
use super::heads::Heads;
use super::layer::Layer;
use super::linear::{copy, optional_norm};
use super::rotations::RopeTables;
use super::scratch::Scratch;
use crate::batch::Batch;
use crate::embedding::{SparseRows, SpladePooler, SpladePooling};
use crate::error::{Error, ErrorKind, Result};
use crate::family::model::ModelSpec;
use crate::memory::copied;
use crate::weights::Weights;
use bertscript_kernels::{Element, Isa, LayerNorm, Matrix, Sequences, Team};
use std::sync::Mutex;

/// Embeddings, layers and heads, for inputs of products of type `E`.
#[derive(Debug)]
pub(super) struct Model<E> {
    isa: Isa,
    num_heads: usize,
    /// `H`, and the width of the feed-forward layer
    widths: [usize; 2],
    embeddings: Embeddings<E>,
    distances: Distances,
    ropes: RopeTables,
    layers: Vec<Layer<E>>,
    layer_order: Vec<usize>,
    final_norm: Option<LayerNorm>,
    heads: Heads<E>,
    /// Memory of earlier calls, as many as ran at once.
    scratch: Mutex<Vec<Scratch<E>>>,
}

/// What is on the way through an encoder.
pub(super) enum Seen<'a, E> {
    /// The embeddings, or the hidden states after a layer `[T,H]`
    HiddenStates(&'a Matrix<f32>),
    /// What linear layers of a layer read `[T,K]`
    Input(usize, LayerInput, &'a Matrix<E>),
}

impl<E: Element> Model<E> {
    /// Prepacks the weights of a description, as 8-bit integers with the maxima of what layers
    /// read. `read` is called when those of a layer were read.
    pub(super) fn load(
        w: &Weights,
        spec: &ModelSpec,
        int8: Option<&[InputMaxima]>,
        isa: Isa,
        read: &dyn Fn(),
    ) -> Result<Self> {
        let encoder = &spec.encoder;
        let base = w.sub_prefix(&spec.prefix());
        let (distances, vectors) = Distances::load(&base, encoder, isa)?;
        let layers = encoder.layers.iter().enumerate().map(|(index, layer)| {
            let int8 = int8.map(|maxima| &maxima[index]);
            let layer = Layer::load(&base, layer, encoder, vectors.as_ref(), (isa, int8));
            read();
            layer
        });
        Ok(Self {
            isa,
            num_heads: encoder.num_heads as usize,
            widths: [encoder.hidden_size as usize, encoder.intermediate_size as usize],
            embeddings: Embeddings::load(&base, encoder, isa)?,
            distances,
            ropes: RopeTables::new(encoder),
            layers: layers.collect::<Result<_>>()?,
            layer_order: copied(&encoder.layer_order)?,
            final_norm: optional_norm(
                isa,
                &base,
                encoder.final_norm.as_ref(),
                encoder.hidden_size,
            )?,
            heads: Heads::load(w, spec, isa)?,
            scratch: Mutex::default(),
        })
    }

    /// See [`super::Prepacked::outputs`]. Those of the heads come first, then the hidden
    /// states of every layer.
    pub(super) fn outputs(
        &self,
        batch: &Batch,
        wanted: &[usize],
        team: &dyn Team,
    ) -> Result<Vec<Matrix<f32>>> {
        let of_heads = self.heads.num_outputs();
        let mut outputs: Vec<Option<Matrix<f32>>> = Vec::new();
        outputs.resize_with(of_heads + self.layer_order.len() + 1, || None);
        self.with_scratch(|scratch| {
            let mut first_tokens = copied(&batch.cu_seqlens()[..batch.len()])?;
            let mut hidden_states = outputs.iter_mut().enumerate().skip(of_heads);
            let keep = |seen: Seen<'_, E>| {
                let Seen::HiddenStates(x) = seen else { return Ok(()) };
                match hidden_states.next() {
                    Some((index, to)) if wanted.contains(&index) => *to = Some(copy(x)?),
                    _ => {}
                }
                Ok(())
            };
            let needs_all = |index: &usize| *index >= of_heads || self.heads.needs_all(*index);
            let all = wanted.iter().any(needs_all).then_some(batch);
            if all.is_some() {
                self.encode(batch, None, scratch, team, keep)?;
            } else {
                self.encode(batch, Some(&first_tokens), scratch, team, keep)?;
                first_tokens.iter_mut().enumerate().for_each(|(text, row)| *row = text);
            }
            let wanted_of_heads = |index: usize| wanted.contains(&index);
            let found = self.heads.forward(&first_tokens, all, &wanted_of_heads, scratch, team)?;
            outputs.iter_mut().zip(found).for_each(|(to, found)| *to = found);
            Ok(())
        })?;
        let wanted = wanted.iter().map(|index| {
            let output = outputs.get_mut(*index).and_then(Option::take);
            output.ok_or_else(|| {
                Error::new(ErrorKind::Archive, format!("the model has no output {index}"))
            })
        });
        wanted.collect()
    }

    /// See [`super::Prepacked::tokens`].
    pub(super) fn tokens(
        &self,
        batch: &Batch,
        output: usize,
        tokens: &[usize],
        team: &dyn Team,
    ) -> Result<Matrix<f32>> {
        let missing = || not_of_tokens(output);
        if !self.heads.is_per_token(output) {
            return Err(missing());
        }
        self.with_scratch(|scratch| {
            self.encode(batch, Some(tokens), scratch, team, |_| Ok(()))?;
            let only = |index| index == output;
            let found = self.heads.forward(&[], None, &only, scratch, team)?;
            found.into_iter().nth(output).flatten().ok_or_else(missing)
        })
    }

    /// See [`super::Prepacked::splade`]. Logits are pooled as they come: those of all tokens
    /// are many times what the model holds otherwise.
    pub(super) fn splade(
        &self,
        batch: &Batch,
        output: usize,
        pooling: SpladePooling,
        team: &dyn Team,
    ) -> Result<SparseRows> {
        let head = self.heads.of_tokens(output).ok_or_else(|| not_of_tokens(output))?;
        let mut pooler = SpladePooler::new(pooling, batch.cu_seqlens(), head.width())?;
        self.with_scratch(|scratch| {
            self.encode(batch, None, scratch, team, |_| Ok(()))?;
            head.logits_in_blocks(team, &scratch.copied, |logits| pooler.add(logits))
        })?;
        Ok(pooler.finish())
    }

    fn with_scratch<R>(&self, run: impl FnOnce(&mut Scratch<E>) -> Result<R>) -> Result<R> {
        let kept = self.scratch.lock().ok().and_then(|mut kept| kept.pop());
        let mut scratch = kept.unwrap_or_else(|| Scratch::new(self.widths[0], self.widths[1]));
        let result = run(&mut scratch);
        // Where memory ran out, it had better be free.
        if result.is_ok()
            && let Ok(mut kept) = self.scratch.lock()
        {
            kept.push(scratch);
        }
        result
    }

    /// Shows what is on the way through the encoder.
    pub(super) fn observe(
        &self,
        batch: &Batch,
        team: &dyn Team,
        each: impl FnMut(Seen<'_, E>) -> Result<()>,
    ) -> Result<()> {
        self.with_scratch(|scratch| self.encode(batch, None, scratch, team, each))
    }

    /// The hidden states of all tokens, or in the last layer of some only; `each` sees what is
    /// on the way there.
    fn encode(
        &self,
        batch: &Batch,
        tokens: Option<&[usize]>,
        scratch: &mut Scratch<E>,
        team: &dyn Team,
        mut each: impl FnMut(Seen<'_, E>) -> Result<()>,
    ) -> Result<()> {
        scratch.set_rows(batch.num_tokens())?;
        self.embeddings.forward(batch, scratch, team)?;
        each(Seen::HiddenStates(&scratch.x))?;
        let sequences = Sequences {
            keys: batch.keys(),
            positions: batch.columns(),
            bias: self.distances.bias(),
            ..Sequences::new(batch.cu_seqlens(), self.num_heads)
        };
        let rotations = self.ropes.of_positions(batch.width())?;
        for (number, index) in self.layer_order.iter().enumerate() {
            let layer = &self.layers[*index];
            let of_batch = (sequences, &rotations, &self.distances);
            layer.attend(self.isa, batch, of_batch, scratch, team)?;
            each(Seen::Input(*index, LayerInput::Qkv, &scratch.copied))?;
            each(Seen::Input(*index, LayerInput::AttentionOutput, &scratch.context))?;
            let is_last = number + 1 == self.layer_order.len();
            if let Some(tokens) = tokens
                && is_last
            {
                scratch.keep_rows(tokens)?;
            }
            layer.add_attention(scratch, team)?;
            each(Seen::Input(*index, LayerInput::Widen, &scratch.copied))?;
            layer.feed_forward(self.isa, scratch, team)?;
            each(Seen::Input(*index, LayerInput::Output, &scratch.intermediate))?;
            if let Some(norm) = &self.final_norm
                && is_last
            {
                norm.forward(team, scratch.x.all_mut(), scratch.copied.all_mut())?;
            }
            each(Seen::HiddenStates(&scratch.x))?;
        }
        Ok(())
    }
}

fn not_of_tokens(output: usize) -> Error {
    let message = format!("the output {output} of the model is not one of tokens");
    Error::new(ErrorKind::Unsupported, message)
}
