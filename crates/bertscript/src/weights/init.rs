//! Initialising parameters as transformers does.
//!
//! Sources: `PreTrainedModel._init_weights`,
//! <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/modeling_utils.py>,
//! and `create_sinusoidal_embeddings`,
//! <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/distilbert/modeling_distilbert.py>

use crate::error::Result;
use crate::family::init::WeightInit;
use crate::family::spec::Table;
use crate::memory::filled;
use crate::tensor::Tensor;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal, StandardUniform};
use sha2::{Digest, Sha256};

/// How a parameter starts when no checkpoint has it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Init {
    /// Normal, with mean 0 and `initializer_range` as standard deviation.
    Normal,
    /// Normal, but for a row of zeros (the padding token's).
    NormalExceptRow(i64),
    /// Normal, with this standard deviation, within `cutoff` of them.
    TruncatedNormal { std: f64, cutoff: f64 },
    /// Sines and cosines: each row is a position.
    Sinusoidal,
    /// All zeros.
    Zeros,
    /// All ones.
    Ones,
}

impl From<WeightInit> for Init {
    fn from(init: WeightInit) -> Self {
        match init {
            WeightInit::Normal => Self::Normal,
            WeightInit::TruncatedNormal { std, cutoff } => Self::TruncatedNormal { std, cutoff },
            WeightInit::Sinusoidal => Self::Sinusoidal,
        }
    }
}

impl From<&Table> for Init {
    fn from(table: &Table) -> Self {
        match (table.init, table.padding_idx) {
            (WeightInit::Normal, Some(row)) => Self::NormalExceptRow(row),
            (init, _) => init.into(),
        }
    }
}

/// Random values by seed: the same seed and parameter name give the same
/// values, on every machine and whatever else is initialised.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RandomInit {
    /// The seed.
    pub(crate) seed: u64,
    /// Standard deviation of the normal values.
    pub(crate) initializer_range: f64,
}

impl RandomInit {
    /// The float32 tensor of this name.
    pub(crate) fn tensor(&self, name: &str, shape: &[i64], init: Init) -> Result<Tensor> {
        let shape: Vec<_> = shape.iter().map(|size| *size as usize).collect();
        let width = shape.last().copied().unwrap_or(1);
        let count = shape.iter().fold(1_usize, |all, size| all.saturating_mul(*size));
        let mut values = filled(count, 0_f32)?;
        match init {
            Init::Zeros => {}
            Init::Ones => values.fill(1.),
            Init::Normal => self.normal(name, &mut values),
            Init::NormalExceptRow(row) => {
                self.normal(name, &mut values);
                // The id of padding is below the number of rows.
                let mut rows = values.chunks_exact_mut(width.max(1)).skip(row as usize);
                rows.next().into_iter().for_each(|row| row.fill(0.));
            }
            Init::TruncatedNormal { std, cutoff } => {
                self.random(name, &mut values, |rng| std * truncated(rng, cutoff));
            }
            Init::Sinusoidal => {
                for (index, to) in values.iter_mut().enumerate() {
                    *to = sinusoid(index / width, index % width, width) as f32;
                }
            }
        }
        Tensor::new(values, shape)
    }

    fn normal(&self, name: &str, values: &mut [f32]) {
        self.random(name, values, |rng| self.initializer_range * normal(rng));
    }

    fn random(&self, name: &str, values: &mut [f32], value: impl Fn(&mut ChaCha8Rng) -> f64) {
        // Each parameter has a generator of its own, so that none depends on
        // the order in which a model asks for them.
        let digest =
            Sha256::new().chain_update(self.seed.to_le_bytes()).chain_update(name).finalize();
        let mut rng = ChaCha8Rng::from_seed(digest.into());
        values.iter_mut().for_each(|to| *to = value(&mut rng) as f32);
    }
}

fn normal(rng: &mut ChaCha8Rng) -> f64 {
    StandardNormal.sample(rng)
}

/// A normal value of at most this magnitude, by rejection: what is drawn is accepted in two of
/// three cases at least.
fn truncated(rng: &mut ChaCha8Rng, cutoff: f64) -> f64 {
    loop {
        // Between narrow bounds the normal distribution is almost uniform.
        let is_narrow = cutoff < 1.0;
        let value = if is_narrow { cutoff * (2.0 * uniform(rng) - 1.0) } else { normal(rng) };
        let is_accepted = match is_narrow {
            true => uniform(rng) < (-0.5 * value * value).exp(),
            false => value.abs() <= cutoff,
        };
        if is_accepted {
            return value;
        }
    }
}

/// From 0 to 1.
fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    StandardUniform.sample(rng)
}

/// A value of a sinusoidal position embedding.
fn sinusoid(position: usize, column: usize, width: usize) -> f64 {
    let pair = column / 2 * 2;
    let angle = position as f64 / 10000_f64.powf(pair as f64 / width as f64);
    if column == pair { angle.sin() } else { angle.cos() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncated_values_are_normal_within_their_bounds() {
        let random = RandomInit { seed: 1, initializer_range: 0.02 };
        // The standard deviations of standard normal values within these bounds.
        for (cutoff, expected) in
            [(0.0, 0.0), (0.5, 0.283_9), (1.0, 0.539_6), (2.0, 0.879_6), (3.0, 0.986_6)]
        {
            let init = Init::TruncatedNormal { std: 0.1, cutoff };
            let tensor = random.tensor("a", &[200, 500], init).unwrap();
            let values = tensor.as_slice::<f32>().unwrap();
            let most = values.iter().map(|value| f64::from(value.abs())).fold(0.0, f64::max);
            assert!(most <= 0.1 * cutoff * (1.0 + 1e-6), "{cutoff}: {most}");
            let squares = values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
            let std = (squares / values.len() as f64).sqrt();
            assert!((std - 0.1 * expected).abs() < 0.001, "{cutoff}: {std}");
            let mean = values.iter().copied().map(f64::from).sum::<f64>() / values.len() as f64;
            assert!(mean.abs() < 0.001, "{cutoff}: {mean}");
            assert!(tensor.equals(&random.tensor("a", &[200, 500], init).unwrap()).unwrap());
        }
    }

    #[test]
    fn positions_are_sines_and_cosines() {
        let random = RandomInit { seed: 1, initializer_range: 0.02 };
        let table = random.tensor("a", &[3, 5], Init::Sinusoidal).unwrap();
        let rows: Vec<_> = table.as_slice::<f32>().unwrap().chunks(5).collect();
        assert_eq!(rows[0], [0.0, 1.0, 0.0, 1.0, 0.0]);
        let third = 10000_f64.powf(0.4);
        let expected = [2_f64.sin(), 2_f64.cos(), (2.0 / third).sin(), (2.0 / third).cos()];
        assert_eq!(rows[2][..4], expected.map(|value| value as f32));
    }
}
