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
mod scratch;
mod threads;

use crate::config::BertConfig;
use crate::device::Dtype;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{copied, with_capacity};
use crate::models::Architecture;
use crate::weights::Weights;
use bert::Bert;
use bertscript_kernels::{Bf16, Isa, Matrix, Team};
use std::ops::Range;
pub use threads::shutdown_threads;
use threads::{Libtorch, Share};

/// Texts one after the other, as token ids.
#[derive(Debug, Clone)]
pub(crate) struct PackedInputs {
    /// `[T]`
    pub(crate) input_ids: Vec<i64>,
    /// `[T]`
    pub(crate) token_type_ids: Vec<i64>,
    /// The tokens of each text, at least one.
    pub(crate) lengths: Vec<usize>,
}

impl PackedInputs {
    /// Ids and types.
    pub(crate) fn ids(&self) -> [&[i64]; 2] {
        [&self.input_ids, &self.token_type_ids]
    }
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
        let mut starts = with_capacity(inputs.lengths.len() + 1)?;
        starts.push(0);
        starts.extend(inputs.lengths.iter().scan(0, |sum, length| {
            *sum += length;
            Some(*sum)
        }));
        let results = self.each_chunk(&inputs.lengths, usize::MAX, |texts, team| {
            let tokens = starts[texts.start]..starts[texts.end];
            let chunk = PackedInputs {
                input_ids: copied(&inputs.input_ids[tokens.clone()])?,
                token_type_ids: copied(&inputs.token_type_ids[tokens])?,
                lengths: copied(&inputs.lengths[texts])?,
            };
            self.chunk(&chunk, team)
        })?;
        let mut results = results.into_iter();
        let mut outputs = results.next().unwrap_or_default();
        for result in results {
            for (all, output) in outputs.iter_mut().zip(&result) {
                all.append(output)?;
            }
        }
        Ok(outputs)
    }

    /// What `each` makes of texts of these lengths, a range of them after another, of
    /// at most `budget` tokens where they are several. A few texts are worked on by
    /// all threads together; of many, each thread takes some.
    pub(crate) fn each_chunk<R: Send>(
        &self,
        lengths: &[usize],
        budget: usize,
        each: impl Fn(Range<usize>, &dyn Team) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        let share = Share::take();
        chunks::run(&chunks::cut(lengths, budget, share.threads())?, share.threads(), each)
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

    /// What `read` makes of the last hidden states, a row for each of these tokens of
    /// some texts, or for all. No head is asked.
    pub(crate) fn hidden_states<R>(
        &self,
        inputs: &PackedInputs,
        tokens: Option<&[usize]>,
        team: &dyn Team,
        read: impl FnOnce(&Matrix<f32>) -> Result<R>,
    ) -> Result<R> {
        match &self.bert {
            AnyBert::F32(bert) => bert.hidden_states(inputs, tokens, team, read),
            AnyBert::Bf16(bert) => bert.hidden_states(inputs, tokens, team, read),
        }
    }

    /// The logits of every word of the vocabulary, a row for each of these tokens of
    /// some texts.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the architecture predicts no words.
    pub(crate) fn predictions(
        &self,
        inputs: &PackedInputs,
        tokens: &[usize],
        team: &dyn Team,
    ) -> Result<Matrix<f32>> {
        match &self.bert {
            AnyBert::F32(bert) => bert.predictions(inputs, tokens, team),
            AnyBert::Bf16(bert) => bert.predictions(inputs, tokens, team),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::StateDict;
    use crate::weights::RandomInit;
    use bertscript_kernels::Solo;

    fn load(architecture: Architecture) -> Packed {
        let config = br#"{"vocab_size": 300, "hidden_size": 48, "num_hidden_layers": 2,
            "num_attention_heads": 4, "intermediate_size": 96}"#;
        let config = &BertConfig::from_json(config).unwrap();
        let random = RandomInit { seed: 1, initializer_range: 0.2 };
        let weights = Weights::new(StateDict::default(), Dtype::F32, Some(random));
        let options = PackOptions { architecture, config, hidden_states: false, int8: false };
        Packed::load(&weights, options, &|| ()).unwrap()
    }

    fn inputs() -> PackedInputs {
        let lengths = vec![3, 1, 40, 17];
        let tokens: i64 = 61;
        PackedInputs {
            input_ids: (0..tokens).map(|token| 1 + token * 7 % 299).collect(),
            token_type_ids: vec![0; tokens as usize],
            lengths,
        }
    }

    /// Some tokens, in any order and perhaps twice, have the rows of the whole.
    fn check(some: &Matrix<f32>, all: &Matrix<f32>, tokens: &[usize]) {
        assert_eq!((some.len(), all.len()), (tokens.len(), 61));
        for (row, token) in tokens.iter().enumerate() {
            let bits = |row: &[f32]| row.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(some.row(row)), bits(all.row(*token)), "token {token}");
        }
    }

    #[test]
    fn some_tokens_are_those_of_the_whole() {
        let (inputs, few) = (inputs(), [60, 3, 3, 0, 20, 3]);
        let all: Vec<_> = (0..61).rev().collect();
        for tokens in [&few[..], &all, &[]] {
            let packed = load(Architecture::BertModel);
            let whole = packed.chunk(&inputs, &Solo).unwrap();
            let read = |hidden: &Matrix<f32>| {
                check(hidden, whole[0].matrix(), tokens);
                Ok(())
            };
            packed.hidden_states(&inputs, Some(tokens), &Solo, read).unwrap();
            let packed = load(Architecture::BertForPreTraining);
            let whole = packed.chunk(&inputs, &Solo).unwrap();
            assert_eq!(whole[0].matrix().width(), 300);
            let logits = packed.predictions(&inputs, tokens, &Solo).unwrap();
            check(&logits, whole[0].matrix(), tokens);
        }
        let packed = load(Architecture::BertModel);
        let error = packed.predictions(&inputs, &[0], &Solo).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}
