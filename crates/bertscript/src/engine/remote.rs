//! Engines of libtorch's, which the plug-in runs.

mod module;

pub(super) use module::RemoteModule;

use super::batches::{by_padded_tokens, by_tokens, suitable_tokens};
use super::{BatchOutput, EachBatch, Engine, EngineKind, Outputs, Source, Want};
use crate::batch::{Batch, CheckedInputs};
use crate::error::Result;
use crate::plugin::{Request, WantRequest};
use crate::tensor::Tensor;
use bertscript_kernels::{Solo, Team};
use std::sync::Arc;

/// Executes archives in the plug-in.
#[derive(Debug)]
pub(super) struct RemoteEngine {
    source: Arc<Source>,
    kind: EngineKind,
    module: Arc<RemoteModule>,
}

impl RemoteEngine {
    /// The archive, loaded in the plug-in.
    pub(super) fn new(source: Arc<Source>, kind: EngineKind) -> Result<Self> {
        let module = source.remote(kind)?;
        Ok(Self { source, kind, module })
    }
}

impl Engine for RemoteEngine {
    fn run(&self, inputs: &CheckedInputs<'_>) -> Result<Outputs> {
        self.module.run(inputs.given().named())
    }

    fn forward(
        &self,
        batch: &Batch,
        want: &Want<'_>,
        _team: &dyn Team,
    ) -> Result<Vec<BatchOutput>> {
        let mut tensors = batch.to_tensors()?.to_vec();
        let want = match want {
            Want::Outputs(wanted) => WantRequest::Outputs(wanted.to_vec()),
            Want::Tokens { output, tokens } => {
                let wanted: Vec<_> = tokens.iter().map(|token| *token as i64).collect();
                tensors.push(Tensor::new(wanted, [tokens.len()])?);
                WantRequest::Tokens { output: *output }
            }
            Want::Pooled { output, modes, skipped } => WantRequest::Pooled {
                output: *output,
                modes: modes.iter().map(ToString::to_string).collect(),
                skipped: skipped.to_vec(),
            },
        };
        let found = self.module.ask(|module| Request::Forward { module, want }, &tensors)?;
        let tensors = found.tensors().into_iter();
        tensors.map(|tensor| Tensor::from_managed(tensor).map(BatchOutput::Tensor)).collect()
    }

    fn for_each_batch(
        &self,
        lengths: &[usize],
        max_tokens: Option<usize>,
        each: &EachBatch<'_>,
    ) -> Result<()> {
        let max_tokens = max_tokens.unwrap_or_else(|| suitable_tokens(self.source.device));
        let batches = match self.kind {
            EngineKind::TorchScript => {
                by_padded_tokens(lengths, max_tokens, &self.source.metadata()?.shapes)?
            }
            _ => by_tokens(lengths, |_| max_tokens)?,
        };
        batches.into_iter().try_for_each(|sequences| each(sequences, &Solo))
    }

    fn captured_graphs(&self) -> Result<usize> {
        self.module.ask(|module| Request::CapturedGraphs { module }, &[])?.value()
    }
}
