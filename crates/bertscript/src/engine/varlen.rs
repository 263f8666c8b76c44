//! Models by libtorch's operators, without padding: on a CUDA device, and wherever the
//! kernels of this library do not reach.
//!
//! It is the model that is traced, over one row that holds all sequences.

mod graphs;

use super::batches::{by_tokens, suitable_tokens};
use super::rows::sizes;
use super::tensors::{padded_tensor, wanted_of_tensors};
use super::{BatchOutput, EachBatch, Engine, Outputs, Source, Want};
use crate::batch::{Batch, CheckedInputs};
use crate::device::Dtype;
use crate::error::Result;
use crate::family::OutputSpec;
use crate::family::model::ModelSpec;
use crate::family::spec::Encoder;
use crate::memory::collect;
use crate::models::{Model, ModelInputs};
use crate::nn::{AttentionForm, Sequences, VarlenBatch, VarlenKernel, VarlenShape};
use crate::weights::TorchWeights;
use bertscript_kernels::{Solo, Team};
use graphs::Graphs;
use std::fmt;
use std::sync::Arc;
use tch::Tensor;
use torchscript::InferenceMode;

/// Executes archives by libtorch's operators.
#[derive(Debug)]
pub(super) struct VarlenEngine {
    source: Arc<Source>,
}

impl VarlenEngine {
    pub(super) fn new(source: Arc<Source>) -> Self {
        Self { source }
    }

    /// The model, which is built when it is first wanted.
    fn model(&self) -> Result<&VarlenModel> {
        let device = self.source.device.into();
        let hidden_states = self.source.metadata()?.has_hidden_states();
        self.source.varlen.get_or_try_init(|| {
            let weights = TorchWeights::new(self.source.weights()?);
            let model = VarlenModel::load(&weights, &self.source.spec()?, hidden_states, device)?;
            weights.finish()?;
            Ok(model)
        })
    }
}

impl Engine for VarlenEngine {
    fn run(&self, inputs: &CheckedInputs<'_>) -> Result<Outputs> {
        let unpadded = self.source.unpad(inputs)?;
        let infos = &self.source.metadata()?.outputs;
        let _inference = InferenceMode::enter();
        let rows = self.model()?.forward(&unpadded.batch)?;
        let tensors = infos.iter().zip(&rows).map(|(info, rows)| {
            let tensor = match info.is_per_token() {
                true => padded_tensor(rows, &unpadded)?,
                false => rows.shallow_clone(),
            };
            let sizes = sizes(info, &unpadded.shape)?;
            Ok(tensor.f_reshape(collect(sizes.iter().map(|size| *size as i64))?)?)
        });
        Outputs::of_tensors(tensors.collect::<Result<_>>()?, infos)
    }

    fn forward(
        &self,
        batch: &Batch,
        want: &Want<'_>,
        _team: &dyn Team,
    ) -> Result<Vec<BatchOutput>> {
        let _inference = InferenceMode::enter();
        wanted_of_tensors(&self.model()?.forward(batch)?, batch, want)
    }

    fn for_each_batch(
        &self,
        lengths: &[usize],
        max_tokens: Option<usize>,
        each: &EachBatch<'_>,
    ) -> Result<()> {
        let suitable = suitable_tokens(self.source.device);
        let max_tokens = max_tokens.unwrap_or(suitable);
        let batches = by_tokens(lengths, |_| max_tokens)?;
        batches.into_iter().try_for_each(|sequences| each(sequences, &Solo))
    }

    fn captured_graphs(&self) -> Result<usize> {
        let graphs = self.source.varlen.get().and_then(|model| model.graphs.as_ref());
        graphs.map_or(Ok(0), Graphs::captured)
    }
}

/// A model whose weights are on a device.
pub(super) struct VarlenModel {
    layers: Layers,
    /// Small batches, captured; none where that cannot be.
    graphs: Option<Graphs>,
}

/// The model, and what it takes to run it.
struct Layers {
    model: Model,
    /// Whether an output has a row for each token, of all outputs.
    per_token: Vec<bool>,
    hidden_states: bool,
    device: tch::Device,
    kernel: VarlenKernel,
    /// Whether attention depends on distances, of which kernels know no holes
    is_relative: bool,
}

impl VarlenModel {
    /// Takes weights that are on `device`.
    fn load(
        w: &TorchWeights,
        spec: &ModelSpec,
        hidden_states: bool,
        device: tch::Device,
    ) -> Result<Self> {
        let kernel = kernel(device, w.dtype(), &spec.encoder)?;
        let _inference = InferenceMode::enter();
        let model = Model::load(w, spec, AttentionForm::Varlen)?;
        let mut per_token: Vec<_> = spec.outputs().iter().map(OutputSpec::is_per_token).collect();
        if hidden_states {
            per_token.extend(std::iter::repeat_n(true, spec.encoder.layer_order.len() + 1));
        }
        if let tch::Device::Cuda(index) = device {
            // What was joined on this stream is read on any.
            torchscript::cuda_synchronize(index)?;
        }
        let is_relative = spec.encoder.has_relative_positions() || spec.encoder.has_window();
        let layers = Layers { model, per_token, hidden_states, device, kernel, is_relative };
        // Padding depends on the lengths, which a graph does not know.
        let graphs = if kernel == VarlenKernel::Padded { None } else { Graphs::new(device) };
        Ok(Self { layers, graphs })
    }

    /// All outputs, those of tokens `[T,..]`, those of sequences `[N,..]`.
    fn forward(&self, batch: &Batch) -> Result<Vec<Tensor>> {
        if let Some(graphs) = &self.graphs
            && !(self.layers.is_relative && batch.has_holes())
            && let Some(found) = graphs.forward(&self.layers, batch)
        {
            return found;
        }
        let shape = VarlenShape { tokens: batch.num_tokens(), sequences: batch.len() };
        let buffer = Tensor::f_from_slice(&buffer(shape, batch)?)?;
        let buffer = buffer.f_to_device(self.layers.device)?;
        let lengths = collect(batch.lengths())?;
        let tokens = unmasked(batch, self.layers.device)?;
        let sequences = Sequences {
            lengths: &lengths,
            keys: batch.keys(),
            tokens: tokens.as_ref(),
            max_length: batch.max_length(),
            width: batch.width(),
            each_sequence: self.layers.is_relative && batch.has_holes(),
        };
        let found = self.layers.forward(&buffer, shape, sequences)?;
        self.layers.rows(&found, batch)
    }
}

/// Which tokens take part, `[1,T]` of bool, if masked ones are in the batch.
fn unmasked(batch: &Batch, device: tch::Device) -> Result<Option<Tensor>> {
    if batch.masked().is_empty() {
        return Ok(None);
    }
    let masked = Tensor::f_from_slice(batch.masked())?.f_to_device(device)?;
    Ok(Some(masked.f_logical_not()?.f_unsqueeze(0)?))
}

/// A batch as one row of a shape that holds it.
fn buffer(shape: VarlenShape, batch: &Batch) -> Result<Vec<i64>> {
    let starts = &batch.cu_seqlens()[..batch.len()];
    let ids = [batch.input_ids(), batch.token_type_ids(), batch.position_ids(), batch.columns()];
    shape.buffer(ids, starts)
}

impl Layers {
    /// Everything that is computed: for tokens `[1,T,..]`, for sequences `[N,..]`.
    fn forward(
        &self,
        buffer: &Tensor,
        shape: VarlenShape,
        sequences: Sequences<'_>,
    ) -> Result<Vec<Tensor>> {
        let batch = VarlenBatch::over(buffer, shape, sequences, self.kernel)?;
        let found = self.model.forward(ModelInputs::varlen(&batch))?;
        let mut outputs = found.outputs;
        if self.hidden_states {
            outputs.extend(found.hidden_states);
        }
        Ok(outputs)
    }

    /// Of what was computed, the rows of a batch.
    fn rows(&self, found: &[Tensor], batch: &Batch) -> Result<Vec<Tensor>> {
        let rows = found.iter().zip(&self.per_token).map(|(output, per_token)| {
            Ok(match per_token {
                true => output.f_squeeze_dim(0)?.f_narrow(0, 0, batch.num_tokens() as i64)?,
                false => output.f_narrow(0, 0, batch.len() as i64)?,
            })
        });
        rows.collect()
    }
}

impl fmt::Debug for VarlenModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VarlenModel")
            .field("device", &self.layers.device)
            .field("kernel", &self.layers.kernel)
            .finish_non_exhaustive()
    }
}

/// The best kernel for attention that a device has.
fn kernel(device: tch::Device, dtype: Dtype, encoder: &Encoder) -> Result<VarlenKernel> {
    let tch::Device::Cuda(index) = device else { return Ok(VarlenKernel::EachSequence) };
    let head_dim = encoder.head_dim();
    let ampere = torchscript::cuda_device(index)?.compute_capability >= (8, 0);
    let takes_heads = head_dim % 8 == 0 && head_dim <= 256;
    Ok(match dtype {
        _ if encoder.has_relative_positions() => VarlenKernel::Padded,
        Dtype::F16 | Dtype::BF16 if ampere && takes_heads => VarlenKernel::Flash,
        _ if encoder.has_window() => VarlenKernel::Padded,
        _ => VarlenKernel::Efficient,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::Attention;
    use crate::checkpoint::StateDict;
    use crate::config::Config;
    use crate::family::spec::Positions;
    use crate::family::{Architecture, Task};
    use crate::models::ModelOutputs;
    use crate::weights::{RandomInit, Weights};
    use tch::Device;

    fn spec(architecture: Architecture) -> ModelSpec {
        let model_type = architecture.model_type();
        let width = if model_type == "deberta-v2" { 32 } else { 16 };
        let config = format!(
            r#"{{"model_type": "{model_type}", "hidden_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 100,
            "max_position_embeddings": 18, "embedding_size": {width}, "hidden_dim": 48,
            "local_attention": 6, "pad_token_id": 1, "classifier_pooling": "mean",
            "type_vocab_size": 2, "relative_attention": true, "share_att_key": true,
            "position_biased_input": false, "pos_att_type": "p2c|c2p", "position_buckets": 8,
            "norm_rel_ebd": "layer_norm"}}"#
        );
        Config::from_json(config.as_bytes()).unwrap().model(architecture).unwrap()
    }

    fn random() -> TorchWeights {
        let random = RandomInit { seed: 7, initializer_range: 0.2 };
        TorchWeights::new(Weights::new(StateDict::default(), Dtype::F32, Some(random)))
    }

    /// What the model that is traced computes for one text alone.
    fn alone(model: &Model, ids: &[i64], types: &[i64], choices: bool) -> ModelOutputs {
        let row = |values: &[i64]| {
            let row = Tensor::from_slice(values).unsqueeze(0);
            if choices { row.unsqueeze(0) } else { row }
        };
        let (ids, types) = (row(ids), row(types));
        model.forward(ModelInputs::padded(&ids, None, &types)).unwrap()
    }

    /// The kernels that work on the CPU, too.
    fn with_kernels(architecture: Architecture) -> [(Architecture, VarlenKernel); 2] {
        [VarlenKernel::EachSequence, VarlenKernel::Padded].map(|kernel| (architecture, kernel))
    }

    #[test]
    fn sequences_in_one_row_are_as_each_alone() {
        let lengths = vec![5, 1, 16, 5];
        let input_ids: Vec<i64> = (0..27).map(|n| (n * 37 + 5) % 100).collect();
        let token_type_ids: Vec<i64> = (0..27).map(|n| (n / 3) % 2).collect();
        for (architecture, kernel) in Architecture::all().flat_map(with_kernels) {
            let form = AttentionForm::Padded(Attention::Sdpa);
            let spec = spec(architecture);
            let positions = spec.encoder.positions();
            let batch = Batch::new(&input_ids, &token_type_ids, &lengths, positions).unwrap();
            let padded = Model::load(&random(), &spec, form).unwrap();
            let mut model = VarlenModel::load(&random(), &spec, true, Device::Cpu).unwrap();
            model.layers.kernel = kernel;
            let outputs = model.forward(&batch).unwrap();
            assert_eq!(outputs.len(), spec.outputs().len() + 3);

            let choices = architecture.task() == Task::MultipleChoice;
            let mut start = 0;
            for (text, length) in lengths.iter().enumerate() {
                let place = start..start + length;
                let (ids, types) = (&input_ids[place.clone()], &token_type_ids[place]);
                let mut expected = alone(&padded, ids, types, choices);
                expected.outputs.append(&mut expected.hidden_states);
                for (number, (found, expected)) in outputs.iter().zip(expected.outputs).enumerate()
                {
                    let (first, count) = match found.size()[0] {
                        27 => (start as i64, *length as i64),
                        _ => (text as i64, 1),
                    };
                    let found = found.narrow(0, first, count);
                    let found = found.reshape(expected.size());
                    let difference = (found - &expected).abs().max().double_value(&[]);
                    assert!(
                        difference < 1e-5,
                        "{architecture} {kernel:?}, output {number}, text {text}: {difference}"
                    );
                    assert!(expected.abs().max().double_value(&[]) > 1e-3);
                }
                start += length;
            }
        }
    }

    /// Two tokens beside one another are as far apart as in the padded row.
    #[test]
    fn masked_tokens_between_others_count() {
        for name in ["ModernBertModel", "MPNetModel", "GteModel", "DebertaV2Model"] {
            let spec = spec(name.parse().unwrap());
            let padded = Model::load(&random(), &spec, AttentionForm::Padded(Attention::Sdpa));
            let kept = [0, 1, 9, 10, 11];
            let row: Vec<i64> = (0..12).map(|column| 2 + column * 7 % 97).collect();
            let ids = Tensor::from_slice(&row).unsqueeze(0);
            let mask = ids.zeros_like().index_fill(1, &Tensor::from_slice(&kept), 1);
            let types = ids.zeros_like();
            let inputs = ModelInputs::padded(&ids, Some(&mask), &types);
            let expected =
                padded.unwrap().forward(inputs).unwrap().outputs.remove(0).squeeze_dim(0);
            let expected = expected.index_select(0, &Tensor::from_slice(&kept));

            let mut model = VarlenModel::load(&random(), &spec, false, Device::Cpu).unwrap();
            // A longer neighbour without holes.
            let kept_ids: Vec<_> = kept.iter().map(|column| row[*column as usize]).collect();
            let ids = [kept_ids, row].concat();
            let batch = Batch::new(&ids, &[0; 17], &[5, 12], spec.encoder.positions()).unwrap();
            let columns: Vec<_> = kept.into_iter().chain(0..12).collect();
            let batch = batch.at_columns(&columns);
            for kernel in [VarlenKernel::EachSequence, VarlenKernel::Padded] {
                model.layers.kernel = kernel;
                let found = model.forward(&batch).unwrap().remove(0).narrow(0, 0, 5);
                let difference = (found - &expected).abs().max().double_value(&[]);
                assert!(difference < 1e-5, "{name} {kernel:?}: {difference}");
            }
        }
    }

    /// What a graph computes for a batch of a smaller shape.
    #[test]
    fn tokens_and_sequences_left_over_change_nothing() {
        let (ids, types) = ([1, 2, 3, 4, 5, 6], [0, 0, 1, 0, 1, 1]);
        let batch = Batch::new(&ids, &types, &[4, 2], Positions::FromZero).unwrap();
        let exact = VarlenShape { tokens: 6, sequences: 2 };
        let wider = VarlenShape { tokens: 16, sequences: 5 };
        assert_eq!(
            buffer(exact, &batch).unwrap(),
            [1, 2, 3, 4, 5, 6, 0, 0, 1, 0, 1, 1, 0, 1, 2, 3, 0, 1, 0, 1, 2, 3, 0, 1, 0, 4, 0, 4, 6]
        );
        assert_eq!(buffer(wider, &batch).unwrap()[4 * 16..], [0, 4, 0, 0, 0, 0, 4, 6, 6, 6, 16]);
        let spec = spec("BertForPreTraining".parse().unwrap());
        let model = VarlenModel::load(&random(), &spec, true, Device::Cpu).unwrap();
        let run = |shape: VarlenShape, lengths: &[usize]| {
            let buffer = Tensor::from_slice(&buffer(shape, &batch).unwrap());
            let sequences =
                Sequences { lengths, max_length: 16, width: 16, ..Sequences::default() };
            let found = model.layers.forward(&buffer, shape, sequences).unwrap();
            model.layers.rows(&found, &batch).unwrap()
        };
        // The empty sequences and the one that holds the rest, told to the CPU's kernel.
        for (found, expected) in run(wider, &[4, 2, 0, 0, 10]).iter().zip(run(exact, &[4, 2])) {
            assert_eq!(found.size(), expected.size());
            let difference = (found - &expected).abs().max().double_value(&[]);
            assert!(difference < 1e-5, "{difference}");
        }
    }
}
