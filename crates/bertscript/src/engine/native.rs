//! Models on the CPU without padding, by the kernels of `bertscript-kernels`.
//!
//! The tokens of all sequences are one after the other, `[T,H]`. Weights are prepacked for
//! this CPU when the model is first run; the results are those of the archive's code, but
//! for the order in which numbers are added up.

mod cache;
mod calibration;
mod chunks;
mod distances;
mod embeddings;
mod heads;
mod layer;
mod linear;
mod model;
mod rotations;
mod scratch;

pub(super) use cache::PrepackedCache;

use super::batches::suitable_tokens;
use super::rows::sizes;
use super::{BatchOutput, EachBatch, Engine, Outputs, Source, Want};
use crate::archive::OutputInfo;
use crate::batch::{Batch, CheckedInputs, Unpadded};
use crate::device::{Device, Dtype};
use crate::embedding::{PoolingMode, pool_rows, pooled_tokens};
use crate::error::{Error, ErrorKind, Result};
use crate::family::model::ModelSpec;
use crate::memory::collect;
use crate::process::CallThreads;
use crate::tensor::Tensor;
use crate::weights::Weights;
use bertscript_kernels::{Bf16, Isa, Matrix, Team};
use calibration::{InputMaxima, input_maxima};
use model::Model;
use std::sync::{Arc, Mutex, PoisonError};

/// Executes archives by this library's own kernels.
#[derive(Debug)]
pub(super) struct NativeEngine {
    source: Arc<Source>,
    int8: bool,
}

/// A model whose weights are prepacked.
#[derive(Debug)]
enum Prepacked {
    F32(Model<f32>),
    Bf16(Model<Bf16>),
}

impl NativeEngine {
    pub(super) fn new(source: Arc<Source>, int8: bool) -> Self {
        Self { source, int8 }
    }

    /// The model, whose weights are prepacked when it is first wanted.
    fn model(&self) -> Result<&Prepacked> {
        let source = &*self.source;
        source.prepacked.get(self.int8, || {
            // What was prepacked needs the file's pages no more.
            let read = || source.release();
            let spec = source.spec()?;
            let load = |maxima: Option<&[InputMaxima]>| {
                let weights = source.weights()?;
                let prepacked = Prepacked::load(&weights, &spec, maxima, &read)?;
                weights.finish()?;
                Ok(prepacked)
            };
            match self.int8 {
                false => load(None),
                // The first one is gone when the second is loaded.
                true => load(Some(&load(None)?.input_maxima(&spec)?)),
            }
        })
    }
}

impl Engine for NativeEngine {
    fn run(&self, inputs: &CheckedInputs<'_>) -> Result<Outputs> {
        let unpadded = self.source.unpad(inputs)?;
        let infos = &self.source.metadata()?.outputs;
        let wanted = collect(0..infos.len())?;
        let lengths = collect(unpadded.batch.lengths())?;
        let results = Mutex::new(Vec::new());
        self.for_each_batch(&lengths, Some(usize::MAX), &|sequences, team| {
            let start = sequences.start;
            let found = self.model()?.outputs(&unpadded.batch.slice(sequences)?, &wanted, team)?;
            results.lock().unwrap_or_else(PoisonError::into_inner).push((start, found));
            Ok(())
        })?;
        let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        results.sort_unstable_by_key(|(start, _)| *start);
        let mut results = results.into_iter().map(|(_, found)| found);
        let mut outputs = results.next().unwrap_or_default();
        for result in results {
            for (all, more) in outputs.iter_mut().zip(&result) {
                append(all, more)?;
            }
        }
        let tensors = infos
            .iter()
            .zip(outputs)
            .map(|(info, rows)| tensor(info, &rows, &unpadded, self.source.dtype));
        Outputs::named(tensors.collect::<Result<_>>()?, infos)
    }

    fn forward(&self, batch: &Batch, want: &Want<'_>, team: &dyn Team) -> Result<Vec<BatchOutput>> {
        let model = self.model()?;
        let rows = match want {
            Want::Outputs(wanted) => model.outputs(batch, wanted, team)?,
            Want::Tokens { output, tokens } => vec![model.tokens(batch, *output, tokens, team)?],
            Want::Pooled { output, modes, skipped } => {
                vec![model.pooled(batch, *output, (modes, skipped), team)?]
            }
        };
        Ok(collect(rows.into_iter().map(BatchOutput::Host))?)
    }

    fn for_each_batch(
        &self,
        lengths: &[usize],
        max_tokens: Option<usize>,
        each: &EachBatch<'_>,
    ) -> Result<()> {
        let threads = CallThreads::take();
        let max_tokens = max_tokens.unwrap_or_else(|| suitable_tokens(Device::Cpu));
        let chunks = chunks::cut(lengths, max_tokens, threads.members())?;
        chunks::run(&chunks, &threads, each)
    }
}

impl Prepacked {
    /// Prepacks weights of float32 or bfloat16 for the best instructions of this CPU. A CPU
    /// without products of bfloat16 computes in float32, and so do heads of an odd dimension,
    /// whose values make no pairs. With the maxima of what they read, linear layers are prepacked
    /// as 8-bit integers. `read` is called when the weights of a layer were read.
    fn load(
        w: &Weights,
        spec: &ModelSpec,
        int8: Option<&[InputMaxima]>,
        read: &dyn Fn(),
    ) -> Result<Self> {
        let isa = Isa::best().map_err(|message| Error::new(ErrorKind::InvalidInput, message))?;
        let pairs = spec.encoder.head_dim() % 2 == 0;
        Ok(match w.dtype() {
            Dtype::BF16 if isa.has_bf16_dot() && pairs => {
                Self::Bf16(Model::load(w, spec, int8, isa, read)?)
            }
            _ => Self::F32(Model::load(w, spec, int8, isa, read)?),
        })
    }

    /// The greatest magnitudes of what linear layers read.
    fn input_maxima(&self, spec: &ModelSpec) -> Result<Vec<InputMaxima>> {
        match self {
            Self::F32(model) => input_maxima(model, &spec.encoder),
            Self::Bf16(model) => input_maxima(model, &spec.encoder),
        }
    }

    /// These outputs, in this order.
    fn outputs(
        &self,
        batch: &Batch,
        wanted: &[usize],
        team: &dyn Team,
    ) -> Result<Vec<Matrix<f32>>> {
        match self {
            Self::F32(model) => model.outputs(batch, wanted, team),
            Self::Bf16(model) => model.outputs(batch, wanted, team),
        }
    }

    /// The rows of some tokens of an output of tokens.
    fn tokens(
        &self,
        batch: &Batch,
        output: usize,
        tokens: &[usize],
        team: &dyn Team,
    ) -> Result<Matrix<f32>> {
        match self {
            Self::F32(model) => model.tokens(batch, output, tokens, team),
            Self::Bf16(model) => model.tokens(batch, output, tokens, team),
        }
    }

    /// An output of tokens, pooled to `[N,M*W]` for `M` modes.
    fn pooled(
        &self,
        batch: &Batch,
        output: usize,
        (modes, skipped): (&[PoolingMode], &[usize]),
        team: &dyn Team,
    ) -> Result<Matrix<f32>> {
        let mut tokens = pooled_tokens(batch.ranges(), modes, skipped)?;
        let rows = if modes.iter().all(|mode| mode.takes_one_token()) {
            let wanted = collect(tokens.iter().cloned().flatten())?;
            // Only they have rows, one after another.
            let mut next = 0;
            for rows in &mut tokens {
                *rows = next..next + rows.len();
                next = rows.end;
            }
            self.tokens(batch, output, &wanted, team)?
        } else {
            one(self.outputs(batch, &[output], team)?)?
        };
        pool_rows(&rows, &tokens, modes, skipped)
    }
}

fn one(mut outputs: Vec<Matrix<f32>>) -> Result<Matrix<f32>> {
    let missing = || Error::new(ErrorKind::Archive, "the model lacks an output of the archive");
    outputs.pop().ok_or_else(missing)
}

fn append(all: &mut Matrix<f32>, more: &Matrix<f32>) -> Result<()> {
    let before = all.len();
    all.set_rows(before + more.len())?;
    for row in 0..more.len() {
        all.row_mut(before + row).copy_from_slice(more.row(row));
    }
    Ok(())
}

/// Rows of an output as a tensor for the inputs; zeros where a token is masked.
fn tensor(
    info: &OutputInfo,
    rows: &Matrix<f32>,
    unpadded: &Unpadded,
    dtype: Dtype,
) -> Result<Tensor> {
    let sizes = sizes(info, &unpadded.shape)?;
    let is_per_token = info.is_per_token();
    let total: usize = unpadded.shape.iter().product();
    let expected = if is_per_token { total } else { rows.len() } * rows.width();
    let wanted = sizes.iter().try_fold(1_usize, |all, size| all.checked_mul(*size));
    if wanted != Some(expected) {
        let message = format!(
            "the output {} has {expected} values, but the shape {sizes:?} in bertscript.json",
            info.name
        );
        return Err(Error::new(ErrorKind::Archive, message));
    }
    let width = rows.width();
    Tensor::filled(sizes, dtype, |values| {
        let mut put = |row: usize, index: usize| {
            values[index * width..(index + 1) * width].copy_from_slice(rows.row(row));
        };
        match is_per_token {
            true => {
                let tokens = unpadded.indices.iter().enumerate();
                tokens
                    .filter_map(|(row, index)| Some((row, (*index)?)))
                    .for_each(|(row, index)| put(row, index));
            }
            false => (0..rows.len()).for_each(|row| put(row, row)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::StateDict;
    use crate::config::Config;
    use crate::family::Architecture;
    use crate::family::spec::Positions;
    use crate::weights::RandomInit;
    use bertscript_kernels::Solo;
    use calibration::LayerInput;

    fn spec(architecture: Architecture) -> ModelSpec {
        let model_type = architecture.model_type();
        let width = if model_type == "deberta-v2" { 48 } else { 32 };
        let config = format!(
            r#"{{"model_type": "{model_type}", "vocab_size": 300, "hidden_size": 48,
            "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96,
            "embedding_size": {width}, "hidden_dim": 96, "pad_token_id": 1, "local_attention": 10,
            "relative_attention": true, "share_att_key": true, "position_biased_input": false,
            "pos_att_type": ["c2p", "p2c"], "position_buckets": 32}}"#
        );
        Config::from_json(config.as_bytes()).unwrap().model(architecture).unwrap()
    }

    fn load(architecture: Architecture) -> Prepacked {
        let random = RandomInit { seed: 1, initializer_range: 0.2 };
        let weights = Weights::new(StateDict::default(), Dtype::F32, Some(random));
        Prepacked::load(&weights, &spec(architecture), None, &|| ()).unwrap()
    }

    /// One dimension of the hidden states is a hundred times as great as the others.
    #[test]
    fn great_dimensions_leave_the_others_their_integers() {
        let spec = spec("BertModel".parse().unwrap());
        let weights = || {
            let random = RandomInit { seed: 1, initializer_range: 0.2 };
            let mut state = StateDict::default();
            let mut norm = vec![1_f32; 48];
            norm[7] = 100.;
            let norm = Tensor::new(norm, [48]).unwrap();
            state.insert("encoder.layer.0.output.LayerNorm.weight".to_owned(), norm, "the test");
            Weights::new(state, Dtype::F32, Some(random))
        };
        let load = |int8: Option<&[InputMaxima]>| {
            Prepacked::load(&weights(), &spec, int8, &|| ()).unwrap()
        };
        let outputs =
            |model: &Prepacked| one(model.outputs(&batch(), &[0], &Solo).unwrap()).unwrap();
        let float = load(None);
        let maxima = float.input_maxima(&spec).unwrap();
        let qkv = maxima[1].of(LayerInput::Qkv);
        let others = qkv.iter().enumerate().filter(|(dim, _)| *dim != 7).map(|(_, most)| *most);
        assert!(qkv[7] > 20. * others.fold(0., f32::max), "{qkv:?}");
        let expected = outputs(&float);
        let error = |maxima: &[InputMaxima]| {
            let found = outputs(&load(Some(maxima)));
            let rows =
                (0..expected.len()).flat_map(|row| found.row(row).iter().zip(expected.row(row)));
            rows.map(|(found, expected)| f64::from(found - expected).powi(2)).sum::<f64>().sqrt()
        };
        let flat: Vec<_> = maxima.iter().map(InputMaxima::all_alike).collect();
        let (smoothed, plain) = (error(&maxima), error(&flat));
        assert!(smoothed > 0. && smoothed < plain * 0.8, "{smoothed} {plain}");
    }

    fn batch() -> Batch {
        let ids: Vec<i64> = (0..61).map(|token| 1 + token * 7 % 299).collect();
        Batch::new(&ids, &[0; 61], &[3, 1, 40, 17], Positions::FromZero).unwrap()
    }

    fn bits(row: &[f32]) -> Vec<u32> {
        row.iter().map(|value| value.to_bits()).collect()
    }

    #[test]
    fn some_tokens_are_those_of_the_whole() {
        let (batch, few) = (batch(), [60, 3, 3, 0, 20, 3]);
        let all: Vec<_> = (0..61).rev().collect();
        for (architecture, width) in [("BertModel", 48), ("BertForPreTraining", 300)] {
            let model = load(architecture.parse().unwrap());
            let whole = one(model.outputs(&batch, &[0], &Solo).unwrap()).unwrap();
            assert_eq!((whole.len(), whole.width()), (61, width));
            for tokens in [&few[..], &all, &[]] {
                let some = model.tokens(&batch, 0, tokens, &Solo).unwrap();
                assert_eq!(some.len(), tokens.len());
                for (row, token) in tokens.iter().enumerate() {
                    assert_eq!(bits(some.row(row)), bits(whole.row(*token)), "token {token}");
                }
            }
        }
        let error = load("BertForSequenceClassification".parse().unwrap())
            .tokens(&batch, 0, &[0], &Solo)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn wanted_outputs_are_those_of_all() {
        let batch = batch();
        for architecture in Architecture::all() {
            let model = load(architecture);
            // Those of the head, the embeddings and both layers.
            let last = spec(architecture).outputs().len() + 2;
            let all: Vec<_> = (0..=last).collect();
            let whole = model.outputs(&batch, &all, &Solo).unwrap();
            let values =
                || whole.iter().flat_map(|rows| (0..rows.len()).flat_map(|row| rows.row(row)));
            assert!(values().filter(|value| **value == 0.).count() * 10 < values().count());
            for wanted in [vec![0], vec![last], vec![last, 0], vec![last - 2]] {
                let found = model.outputs(&batch, &wanted, &Solo).unwrap();
                assert_eq!(found.len(), wanted.len());
                for (found, index) in found.iter().zip(wanted) {
                    assert_eq!(found.len(), whole[index].len(), "{architecture}: {index}");
                    for row in 0..found.len() {
                        assert_eq!(bits(found.row(row)), bits(whole[index].row(row)));
                    }
                }
            }
            assert!(model.outputs(&batch, &[last + 1], &Solo).is_err());
        }
    }

    /// Texts as long as a window, a little longer and shorter, and beyond a panel of keys.
    #[test]
    fn a_sequence_is_the_same_to_the_last_bit_in_any_batch() {
        let lengths = [1, 5, 6, 10, 11, 12, 33, 64, 100];
        let tokens: usize = lengths.iter().sum();
        let ids: Vec<i64> = (0..tokens as i64).map(|token| token * 7 % 299).collect();
        for architecture in Architecture::all() {
            let (model, spec) = (load(architecture), spec(architecture));
            let batch = Batch::new(&ids, &vec![0; tokens], &lengths, spec.encoder.positions());
            let batch = batch.unwrap();
            let all: Vec<_> = (0..spec.outputs().len() + 3).collect();
            let together = model.outputs(&batch, &all, &Solo).unwrap();
            for (sequence, range) in batch.ranges().enumerate() {
                let alone = batch.slice(sequence..sequence + 1).unwrap();
                for (alone, all) in
                    model.outputs(&alone, &all, &Solo).unwrap().iter().zip(&together)
                {
                    let first = if all.len() == tokens { range.start } else { sequence };
                    for row in 0..alone.len() {
                        let same = bits(alone.row(row)) == bits(all.row(first + row));
                        assert!(same, "{architecture}: sequence {sequence}, row {row}");
                    }
                }
            }
        }
    }
}
