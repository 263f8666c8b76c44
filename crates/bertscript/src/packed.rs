//! BERT on the CPU without padding.
//!
//! The tokens of all texts lie one after the other, `[T,H]`. The layers are the
//! kernels of `bertscript-kernels`, their weights laid out for this CPU when the
//! model is first run; what comes out is what the program in the archive
//! computes, in another order of additions.

mod bert;
mod chunks;
mod heads;
mod layers;
mod threads;

use crate::config::BertConfig;
use crate::device::Dtype;
use crate::error::{Error, ErrorKind, Result};
use crate::models::Architecture;
use crate::weights::Weights;
use bert::Bert;
use bertscript_kernels::{Bf16, Isa, Matrix, Team};
use std::ops::Range;
use threads::{Libtorch, Share};

/// Texts one after the other, as token ids.
#[derive(Debug, Clone, Default)]
pub(crate) struct PackedInputs {
    /// `[T]`
    pub(crate) input_ids: Vec<i64>,
    /// `[T]`
    pub(crate) token_type_ids: Vec<i64>,
    /// The tokens of each text, at least one.
    pub(crate) lengths: Vec<usize>,
}

/// An output of a model.
pub(crate) enum PackedOutput {
    /// A row for each token.
    Tokens(Matrix<f32>),
    /// A row for each text.
    Texts(Matrix<f32>),
}

/// A model whose weights are laid out.
#[derive(Debug)]
pub(crate) struct Packed {
    bert: AnyBert,
}

#[derive(Debug)]
enum AnyBert {
    F32(Bert<f32>),
    Bf16(Bert<Bf16>),
}

/// What is packed, besides weights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PackOptions<'a> {
    pub(crate) architecture: Architecture,
    pub(crate) config: &'a BertConfig,
    /// Whether the hidden states of every layer are outputs, too.
    pub(crate) hidden_states: bool,
    /// Whether the encoder's linear layers multiply 8-bit integers.
    pub(crate) int8: bool,
}

impl Packed {
    /// Lays out weights of float32 or bfloat16 for the best instructions that
    /// this CPU has. A CPU without products of bfloat16 computes in float32, and so
    /// do heads of an odd dimension, whose values make no pairs. `read` is called
    /// when the weights of a layer have been read.
    pub(crate) fn load(w: &Weights, options: PackOptions<'_>, read: &dyn Fn()) -> Result<Self> {
        let isa = Isa::best().map_err(|message| Error::new(ErrorKind::InvalidInput, message))?;
        let pairs = options.config.head_dim() % 2 == 0;
        let bert = match w.dtype() {
            Dtype::BF16 if isa.multiplies_bf16() && pairs => {
                AnyBert::Bf16(Bert::load(w, options, isa, read)?)
            }
            _ => AnyBert::F32(Bert::load(w, options, isa, read)?),
        };
        Ok(Self { bert })
    }

    /// The outputs, in the order of [`Architecture::outputs`], and then the
    /// hidden states.
    pub(crate) fn forward(&self, inputs: &PackedInputs) -> Result<Vec<PackedOutput>> {
        let mut starts = vec![0];
        starts.extend(inputs.lengths.iter().scan(0, |sum, length| {
            *sum += length;
            Some(*sum)
        }));
        let results = self.each_chunk(&inputs.lengths, usize::MAX, |texts, team| {
            let tokens = starts[texts.start]..starts[texts.end];
            let chunk = PackedInputs {
                input_ids: inputs.input_ids[tokens.clone()].to_vec(),
                token_type_ids: inputs.token_type_ids[tokens].to_vec(),
                lengths: inputs.lengths[texts].to_vec(),
            };
            self.chunk(&chunk, team)
        })?;
        let mut results = results.into_iter();
        let mut outputs = results.next().unwrap_or_default();
        for result in results {
            for (all, output) in outputs.iter_mut().zip(&result) {
                all.append(output);
            }
        }
        Ok(outputs)
    }

    /// What `each` makes of texts of these lengths, a range of them after another,
    /// of at most `budget` tokens where they are several. A few texts are worked on by all threads together; of many, each thread
    /// takes some.
    pub(crate) fn each_chunk<R: Send>(
        &self,
        lengths: &[usize],
        budget: usize,
        each: impl Fn(Range<usize>, &dyn Team) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        let share = Share::take();
        chunks::run(&chunks::cut(lengths, budget, share.threads()), share.threads(), each)
    }

    /// The outputs for some texts, by one team.
    pub(crate) fn chunk(
        &self,
        inputs: &PackedInputs,
        team: &dyn Team,
    ) -> Result<Vec<PackedOutput>> {
        match &self.bert {
            AnyBert::F32(bert) => bert.forward(inputs, team),
            AnyBert::Bf16(bert) => bert.forward(inputs, team),
        }
    }
}
