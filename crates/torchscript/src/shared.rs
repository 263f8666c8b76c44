//! A tensor that threads read together.

use tch::Tensor;

/// A tensor that nothing writes to.
#[derive(Debug)]
pub struct SharedTensor(Tensor);

// SAFETY: a handle to a tensor only counts references, atomically; and reading
// the same values from several threads is no race, since whoever made this gave
// up the tensor.
unsafe impl Sync for SharedTensor {}

impl SharedTensor {
    /// Takes a tensor, of which no other handle may write.
    pub fn new(tensor: Tensor) -> Self {
        Self(tensor)
    }

    /// A handle to the tensor, to read from.
    pub fn get(&self) -> Tensor {
        self.0.shallow_clone()
    }
}
