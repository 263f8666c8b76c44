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
#[cfg(test)]
mod tests;

pub(super) use cache::PrepackedCache;

use super::batches::suitable_tokens;
use super::rows::sizes;
use super::{BatchOutput, EachBatch, Engine, Outputs, Source, Want};
use crate::archive::OutputInfo;
use crate::batch::{Batch, CheckedInputs, Unpadded};
use crate::device::{Device, Dtype};
use crate::embedding::{PoolingMode, SparseRows, SpladePooling, pool_rows, pooled_tokens};
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
            if !self.int8 {
                return load(None);
            }
            // What is loaded for the maxima is gone when the integers are.
            let maxima = match source.prepacked.own() {
                Some(own) => own.input_maxima(&spec)?,
                None => load(None)?.input_maxima(&spec)?,
            };
            load(Some(&maxima))
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

    fn splade(
        &self,
        batch: &Batch,
        output: usize,
        pooling: SpladePooling,
        team: &dyn Team,
    ) -> Result<SparseRows> {
        self.model()?.splade(batch, output, pooling, team)
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

    /// The logits of an output of tokens, pooled to `[N,V]`.
    fn splade(
        &self,
        batch: &Batch,
        output: usize,
        pooling: SpladePooling,
        team: &dyn Team,
    ) -> Result<SparseRows> {
        match self {
            Self::F32(model) => model.splade(batch, output, pooling, team),
            Self::Bf16(model) => model.splade(batch, output, pooling, team),
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
