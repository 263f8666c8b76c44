//! `torch.nn.Embedding`, <https://github.com/pytorch/pytorch/blob/v2.11.0/torch/nn/modules/sparse.py>

use crate::error::Result;
use crate::weights::{Init, TorchWeights};
use tch::Tensor;
use torchscript::SharedTensor;

/// A table of vectors, looked up by id.
pub(crate) struct Embedding {
    weight: SharedTensor,
}

impl Embedding {
    /// weight `[num_embeddings, embedding_dim]`
    pub(crate) fn load(
        w: &TorchWeights,
        num_embeddings: i64,
        embedding_dim: i64,
        init: Init,
    ) -> Result<Self> {
        let weight = w.get("weight", &[num_embeddings, embedding_dim], init)?;
        Ok(Self { weight: SharedTensor::new(weight) })
    }

    /// `[num_embeddings, embedding_dim]`
    pub(crate) fn weight(&self) -> Tensor {
        self.weight.get()
    }

    /// ids `[B,S]` -> `[B,S,embedding_dim]`
    pub(crate) fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        // The padding id matters to gradients only.
        Ok(Tensor::f_embedding(&self.weight.get(), ids, -1, false, false)?)
    }
}
