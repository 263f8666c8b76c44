//! Small batches as CUDA graphs: launching their operators one by one takes longer
//! than computing them.
//!
//! A graph is captured for a shape, of which a batch fills a part; what is left over
//! is one more text.

use super::{Layers, buffer};
use crate::batch::Batch;
use crate::error::{Error, ErrorKind, Result};
use crate::nn::{Sequences, VarlenShape};
use bertscript_kernels::Keys;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tch::Tensor;
use torchscript::{CudaCapture, CudaEvent, CudaGraph};

/// The shapes that are captured when they are first wanted. Each keeps the memory
/// of a run.
const TOKENS: [usize; 6] = [16, 32, 64, 128, 256, 512];
const SEQUENCES: [usize; 3] = [1, 4, 16];

/// Set to 0, it leaves graphs out.
const VARIABLE: &str = "BERTSCRIPT_CUDA_GRAPHS";

/// The graphs of a model.
pub(super) struct Graphs {
    index: usize,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    graphs: HashMap<VarlenShape, Arc<Mutex<Captured>>>,
    /// Why nothing can be captured here, so that it is not tried again.
    refused: Option<String>,
}

/// A run, with the memory that it reads and writes.
struct Captured {
    graph: CudaGraph,
    buffer: Tensor,
    outputs: Vec<Tensor>,
    /// When the last run was done, on whatever stream.
    done: CudaEvent,
}

impl Graphs {
    /// Those of a CUDA device, unless the environment says no.
    pub(super) fn new(device: tch::Device) -> Option<Self> {
        let tch::Device::Cuda(index) = device else { return None };
        let wanted = std::env::var_os(VARIABLE).is_none_or(|value| value != "0");
        wanted.then(|| Self { index, known: Mutex::default() })
    }

    pub(super) fn captured(&self) -> Result<usize> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match &known.refused {
            None => Ok(known.graphs.len()),
            Some(reason) => {
                let message = format!("CUDA graphs cannot be captured: {reason}");
                Err(Error::new(ErrorKind::Device, message))
            }
        }
    }

    /// As [`super::VarlenModel::forward`]; none if the batch is not small, or cannot be
    /// captured, which its ordinary run then explains.
    pub(super) fn forward(&self, layers: &Layers, batch: &Batch) -> Option<Result<Vec<Tensor>>> {
        let shape = shape(batch)?;
        let buffer = Tensor::f_from_slice(&buffer(shape, batch).ok()?).ok()?;
        let captured = self.of_shape(layers, shape, &buffer)?;
        let mut captured = captured.lock().ok()?;
        Some(captured.run(self.index, layers, &buffer, batch))
    }

    /// The graph of a shape, captured if it is new.
    fn of_shape(
        &self,
        layers: &Layers,
        shape: VarlenShape,
        buffer: &Tensor,
    ) -> Option<Arc<Mutex<Captured>>> {
        let mut known = self.known.lock().ok()?;
        if known.refused.is_some() {
            return None;
        }
        if let Some(captured) = known.graphs.get(&shape) {
            return Some(Arc::clone(captured));
        }
        let captured = match Captured::new(self.index, layers, shape, buffer) {
            Ok(captured) => captured,
            // There may be memory another time.
            Err(error) if error.kind() == ErrorKind::OutOfMemory => return None,
            Err(error) => {
                known.refused = Some(error.to_string());
                return None;
            }
        };
        let captured = Arc::new(Mutex::new(captured));
        known.graphs.insert(shape, Arc::clone(&captured));
        Some(captured)
    }
}

/// The smallest shape that holds a batch, beside one more sequence; none if a graph cannot
/// have its masked tokens.
fn shape(batch: &Batch) -> Option<VarlenShape> {
    if batch.keys().iter().any(|keys| *keys != Keys::All) || !batch.masked().is_empty() {
        return None;
    }
    let min = |sizes: &[usize], wanted: usize| sizes.iter().copied().find(|size| *size >= wanted);
    let tokens = min(&TOKENS, batch.num_tokens())?;
    let sequences = min(&SEQUENCES, batch.len())? + 1;
    Some(VarlenShape { tokens, sequences })
}

impl Captured {
    fn new(index: usize, layers: &Layers, shape: VarlenShape, first: &Tensor) -> Result<Self> {
        let buffer = first.f_to_device(layers.device)?;
        let mut capture = CudaCapture::begin(index)?;
        // The lengths of texts are on the device; no more is known than their sum.
        let sequences = Sequences {
            lengths: &[],
            keys: &[],
            tokens: None,
            max_length: shape.tokens,
            width: shape.tokens,
            each_sequence: false,
        };
        let forward = || layers.forward(&buffer, shape, sequences);
        // Libraries make what they need at first calls, which cannot be captured.
        for _ in 0..2 {
            forward()?;
        }
        capture.capture()?;
        let outputs = forward()?;
        let graph = capture.end()?;
        Ok(Self { graph, buffer, outputs, done: CudaEvent::new()? })
    }

    fn run(
        &mut self,
        index: usize,
        layers: &Layers,
        buffer: &Tensor,
        batch: &Batch,
    ) -> Result<Vec<Tensor>> {
        // Another stream may still be reading what this one will overwrite.
        self.done.block(index)?;
        self.buffer.f_copy_(buffer)?;
        self.graph.replay()?;
        let rows = layers.rows(&self.outputs, batch)?;
        // The next run writes to the same memory.
        let rows = rows.iter().map(|output| Ok(output.f_detach_copy()?)).collect();
        self.done.record(index)?;
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::spec::Positions;

    #[test]
    fn a_batch_gets_the_least_shape_that_holds_it() {
        let of = |lengths: &[usize]| {
            let tokens: usize = lengths.iter().sum();
            shape(
                &Batch::new(&vec![1; tokens], &vec![0; tokens], lengths, Positions::FromZero)
                    .unwrap(),
            )
        };
        assert_eq!(of(&[16]), Some(VarlenShape { tokens: 16, sequences: 2 }));
        assert_eq!(of(&[16, 1]), Some(VarlenShape { tokens: 32, sequences: 5 }));
        assert_eq!(of(&[500, 12]), Some(VarlenShape { tokens: 512, sequences: 5 }));
        assert_eq!(of(&[513]), None);
        assert_eq!(of(&[1; 17]), None);
    }
}
