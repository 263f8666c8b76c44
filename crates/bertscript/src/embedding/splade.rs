//! From the logits of a masked language model to one sparse vector for a text.
//!
//! Source: `SpladePooling`, <https://github.com/huggingface/sentence-transformers/blob/v6.2.0/sentence_transformers/sparse_encoder/modules/splade_pooling.py>

use super::module_files::Arguments;
use super::sparse_rows::SparseRows;
use crate::assets::Assets;
use crate::checkpoint::ModuleEntry;
use crate::error::Result;
use crate::memory::filled;
use crate::text::unknown;
use bertscript_kernels::Matrix;
use std::fmt;

const STRATEGY: &str = "pooling_strategy";
const ACTIVATION: &str = "activation_function";
/// What a recipe may say beside, which changes no value: the width, which is the
/// vocabulary's, and how many tokens upstream works on at once.
const OTHERS: [&str; 3] = ["embedding_dimension", "word_embedding_dimension", "chunk_size"];

/// How the logits of a text's tokens become one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpladePooling {
    strategy: PoolingStrategy,
    activation: ActivationFunction,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PoolingStrategy {
    Max,
    Sum,
}

/// A function of logits; none decreases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ActivationFunction {
    /// `log1p(relu(x))`
    Relu,
    /// `log1p(log1p(relu(x)))`
    Log1pRelu,
}

impl ActivationFunction {
    fn name(self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::Log1pRelu => "log1p_relu",
        }
    }

    /// Of a logit that is positive or NaN.
    fn of(self, logit: f32) -> f32 {
        match self {
            Self::Relu => logit.ln_1p(),
            Self::Log1pRelu => logit.ln_1p().ln_1p(),
        }
    }
}

impl SpladePooling {
    pub(super) fn read(module: &ModuleEntry, assets: &Assets) -> Result<Self> {
        let arguments = Arguments::read(module, assets)?;
        arguments.expect_only(&[&[STRATEGY, ACTIVATION], &OTHERS[..]].concat())?;
        let strategy = match arguments.string(STRATEGY)?.unwrap_or("max") {
            "max" => PoolingStrategy::Max,
            "sum" => PoolingStrategy::Sum,
            other => return Err(arguments.place(unknown(STRATEGY, other, "max, sum"))),
        };
        let activation = match arguments.string(ACTIVATION)?.unwrap_or("relu") {
            "relu" => ActivationFunction::Relu,
            "log1p_relu" => ActivationFunction::Log1pRelu,
            other => return Err(arguments.place(unknown(ACTIVATION, other, "relu, log1p_relu"))),
        };
        Ok(Self { strategy, activation })
    }

    /// Adds the logits of a token to what those before it came to, which begins as zeros.
    fn add(self, pooled: &mut [f32], logits: &[f32]) {
        match self.strategy {
            // The function of the maximum is the maximum of the function: see `finish`.
            PoolingStrategy::Max => pooled.iter_mut().zip(logits).for_each(raise),
            PoolingStrategy::Sum => {
                for (sum, logit) in pooled.iter_mut().zip(logits) {
                    if is_active(*logit) {
                        *sum += self.activation.of(*logit);
                    }
                }
            }
        }
    }

    /// The row of a sequence whose tokens were added.
    fn finish(self, pooled: &mut [f32]) {
        if self.strategy == PoolingStrategy::Max {
            let active = pooled.iter_mut().filter(|logit| is_active(**logit));
            active.for_each(|logit| *logit = self.activation.of(*logit));
        }
    }

    /// Adds the row of a window to those of the windows before it: as their tokens are
    /// pooled.
    pub(crate) fn add_window(self, pooled: &mut [f32], (indices, values): (&[u32], &[f32])) {
        for (index, value) in indices.iter().zip(values) {
            let pooled = &mut pooled[*index as usize];
            match self.strategy {
                PoolingStrategy::Max => raise((pooled, value)),
                PoolingStrategy::Sum => *pooled += value,
            }
        }
    }
}

/// Takes a value that is greater, or no number.
fn raise((most, value): (&mut f32, &f32)) {
    if *value > *most || value.is_nan() {
        *most = *value;
    }
}

/// Whether `relu` leaves anything of it.
fn is_active(logit: f32) -> bool {
    logit > 0. || logit.is_nan()
}

impl fmt::Display for SpladePooling {
    /// `SPLADE max pooling, relu`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let strategy = match self.strategy {
            PoolingStrategy::Max => "max",
            PoolingStrategy::Sum => "sum",
        };
        write!(f, "SPLADE {strategy} pooling, {}", self.activation.name())
    }
}

/// Pools the logits `[T,V]` of a batch's tokens, which come some rows at a time, so that
/// they need not be there at once. A sum is one of a text's tokens in their order, whatever
/// stands beside.
pub(crate) struct SpladePooler<'a> {
    pooling: SpladePooling,
    /// Where the tokens of sequences end that were not pooled yet.
    ends: &'a [usize],
    /// How many tokens were added.
    tokens: usize,
    /// Of the sequence that is not finished.
    pooled: Vec<f32>,
    rows: SparseRows,
}

impl<'a> SpladePooler<'a> {
    /// For sequences that begin and end where `cu_seqlens` `[N+1]` says, none of them empty,
    /// and a vocabulary of `width` tokens.
    pub(crate) fn new(
        pooling: SpladePooling,
        cu_seqlens: &'a [usize],
        width: usize,
    ) -> Result<Self> {
        let ends = cu_seqlens.get(1..).unwrap_or_default();
        let (pooled, rows) = (filled(width, 0.)?, SparseRows::new(width)?);
        Ok(Self { pooling, ends, tokens: 0, pooled, rows })
    }

    /// Adds the logits of the next tokens.
    pub(crate) fn add(&mut self, logits: &Matrix<f32>) -> Result<()> {
        for row in 0..logits.len() {
            self.pooling.add(&mut self.pooled, logits.row(row));
            self.tokens += 1;
            if let Some((end, others)) = self.ends.split_first()
                && self.tokens == *end
            {
                self.ends = others;
                self.pooling.finish(&mut self.pooled);
                self.rows.push(&self.pooled, None)?;
                self.pooled.fill(0.);
            }
        }
        Ok(())
    }

    /// The rows of the sequences `[N,V]`.
    pub(crate) fn finish(self) -> SparseRows {
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pooling(strategy: PoolingStrategy) -> SpladePooling {
        SpladePooling { strategy, activation: ActivationFunction::Relu }
    }

    fn matrix(rows: &[[f32; 3]]) -> Matrix<f32> {
        let mut matrix = Matrix::new(3);
        matrix.set_rows(rows.len()).unwrap();
        rows.iter().enumerate().for_each(|(row, values)| {
            matrix.row_mut(row).copy_from_slice(values);
        });
        matrix
    }

    #[test]
    #[cfg_attr(miri, ignore = "its ln_1p does not give the same bits each time")]
    fn rows_may_be_cut_anywhere() {
        let logits = [[1., -1., 0.], [0.5, 2., -3.], [-1., -2., -3.], [4., 0., 1.], [1., 0.25, 1.]];
        for strategy in [PoolingStrategy::Max, PoolingStrategy::Sum] {
            let pooled = |blocks: &[&[[f32; 3]]]| {
                let mut pooler = SpladePooler::new(pooling(strategy), &[0, 2, 3, 5], 3).unwrap();
                blocks.iter().for_each(|rows| pooler.add(&matrix(rows)).unwrap());
                pooler.finish()
            };
            let whole = pooled(&[&logits]);
            assert_eq!(whole.len(), 3);
            assert_eq!(whole.row(0).0, [0, 1]);
            assert_eq!(whole.row(1).0, [0_u32; 0]);
            for cut in 0..=5 {
                assert_eq!(pooled(&[&logits[..cut], &logits[cut..]]), whole, "at {cut}");
            }
            let expected = match strategy {
                PoolingStrategy::Max => 4_f32.ln_1p(),
                PoolingStrategy::Sum => 4_f32.ln_1p() + 1_f32.ln_1p(),
            };
            assert_eq!(whole.row(2).1[0], expected);
        }
    }

    #[test]
    fn nan_is_seen() {
        for strategy in [PoolingStrategy::Max, PoolingStrategy::Sum] {
            let mut pooler = SpladePooler::new(pooling(strategy), &[0, 3], 3).unwrap();
            pooler
                .add(&matrix(&[[1., 0., 0.], [f32::NAN, 0., 0.], [3., 0., f32::INFINITY]]))
                .unwrap();
            let rows = pooler.finish();
            assert_eq!(rows.row(0).0, [0, 2]);
            assert!(rows.row(0).1[0].is_nan() && rows.row(0).1[1] == f32::INFINITY);
        }
    }
}
