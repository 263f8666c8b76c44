//! Initialising parameters as transformers does.
//!
//! Source: `PreTrainedModel._init_weights`,
//! <https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/modeling_utils.py>

use crate::error::Result;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use sha2::{Digest, Sha256};
use tch::{Kind, Tensor};
use torchscript::filled_tensor;

/// How a parameter starts when no checkpoint has it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Init {
    /// Normal, with mean 0 and `initializer_range` as standard deviation.
    Normal,
    /// Normal, but for a row of zeros (the padding token's).
    NormalExceptRow(i64),
    /// All zeros.
    Zeros,
    /// All ones.
    Ones,
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
        let options = (Kind::Float, tch::Device::Cpu);
        Ok(match init {
            Init::Zeros => Tensor::f_zeros(shape, options)?,
            Init::Ones => Tensor::f_ones(shape, options)?,
            Init::Normal => self.normal(name, shape)?,
            Init::NormalExceptRow(row) => {
                let tensor = self.normal(name, shape)?;
                let _ = tensor.f_select(0, row)?.f_zero_()?;
                tensor
            }
        })
    }

    fn normal(&self, name: &str, shape: &[i64]) -> Result<Tensor> {
        // Each parameter has a generator of its own, so that none depends on
        // the order in which a model asks for them.
        let digest =
            Sha256::new().chain_update(self.seed.to_le_bytes()).chain_update(name).finalize();
        let mut rng = ChaCha8Rng::from_seed(digest.into());
        Ok(filled_tensor(shape, |values| {
            for to in values {
                let value: f64 = StandardNormal.sample(&mut rng);
                *to = (value * self.initializer_range) as f32;
            }
        })?)
    }
}
