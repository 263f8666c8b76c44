//! BERT by libtorch's operators, without padding: on a CUDA device, and wherever the
//! kernels of this library do not reach.
//!
//! It is the model that is traced, over one row that holds all texts.

mod graphs;

use crate::device::Dtype;
use crate::error::Result;
use crate::models::{Dim, Model, ModelInputs};
use crate::nn::{AttentionForm, Ragged, RaggedShape, VarlenKernel, padded};
use crate::packed::{PackOptions, PackedInputs};
use crate::weights::Weights;
use graphs::Graphs;
use std::fmt;
use tch::Tensor;
use torchscript::InferenceMode;

/// A model whose weights are on a device.
pub(crate) struct RaggedBert {
    layers: Layers,
    /// Small batches, captured; none where that cannot be.
    graphs: Option<Graphs>,
}

/// The model, and what it takes to run it.
struct Layers {
    model: Box<dyn Model>,
    /// Whether an output has a row for each token, of all outputs.
    of_tokens: Vec<bool>,
    hidden_states: bool,
    device: tch::Device,
    kernel: VarlenKernel,
}

impl RaggedBert {
    /// Takes weights that are on `device`.
    pub(crate) fn load(w: &Weights, options: PackOptions<'_>, device: tch::Device) -> Result<Self> {
        let PackOptions { architecture, config, hidden_states, .. } = options;
        let kernel = kernel(device, w.dtype(), config.head_dim())?;
        let _inference = InferenceMode::enter();
        let model = architecture.load(w, config, AttentionForm::Ragged)?;
        let outputs = architecture.outputs(config);
        let mut of_tokens: Vec<_> =
            outputs.iter().map(|output| output.shape.contains(&Dim::Sequence)).collect();
        if hidden_states {
            of_tokens.extend(std::iter::repeat_n(true, config.num_hidden_layers as usize + 1));
        }
        if let tch::Device::Cuda(index) = device {
            // What was joined on this stream is read on any.
            torchscript::cuda_synchronize(index)?;
        }
        let layers = Layers { model, of_tokens, hidden_states, device, kernel };
        Ok(Self { layers, graphs: Graphs::new(device) })
    }

    /// The outputs, in the order of [`crate::Architecture::outputs`], and then the hidden
    /// states: rows for texts of `length` tokens, zeros where there is padding.
    pub(crate) fn forward(&self, inputs: &PackedInputs, length: usize) -> Result<Vec<Tensor>> {
        let _inference = InferenceMode::enter();
        if let Some(graphs) = &self.graphs
            && let Some(found) = graphs.forward(&self.layers, inputs, length)
        {
            return found;
        }
        let lengths = &inputs.lengths;
        let shape = RaggedShape { tokens: inputs.input_ids.len(), texts: lengths.len() };
        let buffer = Tensor::f_from_slice(&shape.buffer(inputs.ids(), lengths)?)?;
        let buffer = buffer.f_to_device(self.layers.device)?;
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let found = self.layers.forward(&buffer, shape, lengths, longest)?;
        self.layers.rows(&found, lengths, length)
    }

    /// How many shapes of small batches were captured, or why none can be.
    pub(crate) fn captured(&self) -> Result<usize> {
        self.graphs.as_ref().map_or(Ok(0), Graphs::captured)
    }
}

impl Layers {
    /// Everything that is computed: for tokens `[1,T,..]`, for texts `[N,..]`.
    fn forward(
        &self,
        buffer: &Tensor,
        shape: RaggedShape,
        lengths: &[usize],
        longest: usize,
    ) -> Result<Vec<Tensor>> {
        let texts = Ragged::over(buffer, shape, lengths, longest, self.kernel)?;
        let found = self.model.forward(ModelInputs {
            input_ids: &texts.input_ids,
            attention_mask: None,
            token_type_ids: &texts.token_type_ids,
            ragged: Some(&texts),
        })?;
        let mut outputs = found.outputs;
        if self.hidden_states {
            outputs.extend(found.hidden_states);
        }
        Ok(outputs)
    }

    /// Of what was computed, what belongs to texts of these lengths.
    fn rows(&self, found: &[Tensor], lengths: &[usize], length: usize) -> Result<Vec<Tensor>> {
        let rows = found.iter().zip(&self.of_tokens).map(|(output, of_tokens)| match of_tokens {
            true => padded(output, lengths, length),
            false => Ok(output.f_narrow(0, 0, lengths.len() as i64)?),
        });
        rows.collect()
    }
}

impl fmt::Debug for RaggedBert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaggedBert")
            .field("device", &self.layers.device)
            .field("kernel", &self.layers.kernel)
            .finish_non_exhaustive()
    }
}

/// The best kernel for attention that a device has.
fn kernel(device: tch::Device, dtype: Dtype, head_dim: i64) -> Result<VarlenKernel> {
    let tch::Device::Cuda(index) = device else { return Ok(VarlenKernel::EachText) };
    let ampere = torchscript::cuda_device(index)?.compute_capability >= (8, 0);
    let takes_heads = head_dim % 8 == 0 && head_dim <= 256;
    Ok(match dtype {
        Dtype::F16 | Dtype::BF16 if ampere && takes_heads => VarlenKernel::Flash,
        _ => VarlenKernel::Efficient,
    })
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "looks at results")]
mod tests {
    use super::*;
    use crate::checkpoint::StateDict;
    use crate::config::BertConfig;
    use crate::models::{Architecture, ModelOutputs};
    use crate::nn::Attention;
    use crate::weights::RandomInit;
    use tch::{Device, Kind};

    const CONFIG: &[u8] = br#"{"hidden_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 100,
        "max_position_embeddings": 16, "id2label": {"0": "a", "1": "b"}}"#;

    fn random() -> Weights {
        let random = RandomInit { seed: 7, initializer_range: 0.2 };
        Weights::new(StateDict::default(), Dtype::F32, Some(random))
    }

    /// What the model that is traced computes for one text alone.
    fn alone(model: &dyn Model, ids: &[i64], types: &[i64], choices: bool) -> ModelOutputs {
        let row = |values: &[i64]| {
            let row = Tensor::from_slice(values).unsqueeze(0);
            if choices { row.unsqueeze(0) } else { row }
        };
        let (ids, types) = (row(ids), row(types));
        let inputs = ModelInputs {
            input_ids: &ids,
            attention_mask: None,
            token_type_ids: &types,
            ragged: None,
        };
        model.forward(inputs).unwrap()
    }

    #[test]
    fn texts_in_one_row_are_as_each_text_alone() {
        let config = BertConfig::from_json(CONFIG).unwrap();
        let lengths = vec![5, 1, 16, 5];
        let input_ids: Vec<i64> = (0..27).map(|n| (n * 37 + 5) % 100).collect();
        let token_type_ids: Vec<i64> = (0..27).map(|n| (n / 3) % 2).collect();
        let inputs = PackedInputs { input_ids, token_type_ids, lengths };
        for architecture in Architecture::ALL {
            let form = AttentionForm::Padded(Attention::Sdpa);
            let padded = architecture.load(&random(), &config, form).unwrap();
            let options =
                PackOptions { architecture, config: &config, hidden_states: true, int8: false };
            let ragged = RaggedBert::load(&random(), options, Device::Cpu).unwrap();
            let outputs = ragged.forward(&inputs, 16).unwrap();
            let specs = architecture.outputs(&config);
            assert_eq!(outputs.len(), specs.len() + 3);

            let choices = architecture == Architecture::BertForMultipleChoice;
            let mut start = 0;
            for (text, length) in inputs.lengths.iter().enumerate() {
                let place = start..start + length;
                let (ids, types) =
                    (&inputs.input_ids[place.clone()], &inputs.token_type_ids[place]);
                let mut expected = alone(padded.as_ref(), ids, types, choices);
                expected.outputs.append(&mut expected.hidden_states);
                for (number, (found, expected)) in outputs.iter().zip(expected.outputs).enumerate()
                {
                    let (start, count) = match found.size()[0] {
                        64 => (text as i64 * 16, *length as i64),
                        _ => (text as i64, 1),
                    };
                    let found = found.narrow(0, start, count);
                    let found = found.reshape(expected.size());
                    let difference = (found - &expected).abs().max().double_value(&[]);
                    assert!(
                        difference < 1e-5,
                        "{architecture}, output {number}, text {text}: {difference}"
                    );
                    assert!(expected.abs().max().double_value(&[]) > 1e-3);
                }
                start += length;
            }
        }
    }

    #[test]
    fn padding_is_zero() {
        // Of a row of four tokens, of which the last one belongs to no text.
        let tokens = Tensor::from_slice(&[1f32, 2., 3., 9.]).view([1, 4, 1]);
        let found = padded(&tokens, &[1, 2], 3).unwrap();
        assert_eq!(found.kind(), Kind::Float);
        let values = Vec::<f32>::try_from(found.flatten(0, -1)).unwrap();
        assert_eq!(values, [1., 0., 0., 2., 3., 0.]);
    }

    /// What a graph computes for a batch of a smaller shape.
    #[test]
    fn tokens_and_texts_left_over_change_nothing() {
        let config = BertConfig::from_json(CONFIG).unwrap();
        let ids = [vec![1, 2, 3, 4, 5, 6], vec![0, 0, 1, 0, 1, 1]];
        let lengths = [4, 2];
        let exact = RaggedShape { tokens: 6, texts: 2 };
        let wider = RaggedShape { tokens: 16, texts: 5 };
        assert_eq!(
            exact.buffer([&ids[0], &ids[1]], &lengths).unwrap(),
            [1, 2, 3, 4, 5, 6, 0, 0, 1, 0, 1, 1, 0, 1, 2, 3, 0, 1, 0, 4, 0, 4, 6]
        );
        let buffer = wider.buffer([&ids[0], &ids[1]], &lengths).unwrap();
        assert_eq!(buffer[3 * 16..], [0, 4, 0, 0, 0, 0, 4, 6, 6, 6, 16]);
        let options = PackOptions {
            architecture: Architecture::BertForPreTraining,
            config: &config,
            hidden_states: true,
            int8: false,
        };
        let bert = RaggedBert::load(&random(), options, Device::Cpu).unwrap();
        let run = |shape: RaggedShape, all: &[usize]| {
            let buffer = Tensor::from_slice(&shape.buffer([&ids[0], &ids[1]], &lengths).unwrap());
            let found = bert.layers.forward(&buffer, shape, all, 16).unwrap();
            bert.layers.rows(&found, &lengths, 4).unwrap()
        };
        // The empty texts and the one that holds the rest, told to the CPU's kernel.
        for (found, expected) in run(wider, &[4, 2, 0, 0, 10]).iter().zip(run(exact, &lengths)) {
            assert_eq!(found.size(), expected.size());
            let difference = (found - &expected).abs().max().double_value(&[]);
            assert!(difference < 1e-5, "{difference}");
        }
    }
}
