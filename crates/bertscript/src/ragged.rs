//! BERT by libtorch's operators, without padding: on a CUDA device, and wherever the
//! kernels of this library do not reach.
//!
//! It is the model that is traced, over one row that holds all texts.

use crate::device::Dtype;
use crate::error::Result;
use crate::models::{Model, ModelInputs};
use crate::nn::{AttentionForm, Ragged, VarlenKernel};
use crate::packed::{PackOptions, PackedInputs};
use crate::weights::Weights;
use std::fmt;
use tch::Tensor;
use torchscript::InferenceMode;

/// A model whose weights are on a device.
pub(crate) struct RaggedBert {
    model: Box<dyn Model>,
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
        Ok(Self { model, hidden_states, device, kernel })
    }

    /// The outputs, in the order of [`crate::Architecture::outputs`], and then the
    /// hidden states; with the row that those for each token lie in, `[1,T,..]`.
    pub(crate) fn forward(&self, inputs: &PackedInputs) -> Result<(Vec<Tensor>, Ragged)> {
        let _inference = InferenceMode::enter();
        let ids = [&inputs.input_ids[..], &inputs.token_type_ids[..]];
        let texts = Ragged::new(ids, &inputs.lengths, self.device, self.kernel)?;
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
        Ok((outputs, texts))
    }
}

impl fmt::Debug for RaggedBert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaggedBert")
            .field("device", &self.device)
            .field("kernel", &self.kernel)
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
            let (outputs, texts) = ragged.forward(&inputs).unwrap();
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
                    let of_tokens = found.size()[0] == 1 && found.size()[1] == 27;
                    let found = match of_tokens {
                        true => texts.padded(found, 16).unwrap().narrow(
                            0,
                            text as i64 * 16,
                            *length as i64,
                        ),
                        false => found.narrow(0, text as i64, 1),
                    };
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
        let inputs = PackedInputs {
            input_ids: vec![1, 2, 3],
            token_type_ids: vec![0; 3],
            lengths: vec![1, 2],
        };
        let ids = [&inputs.input_ids[..], &inputs.token_type_ids[..]];
        let texts = Ragged::new(ids, &inputs.lengths, Device::Cpu, VarlenKernel::EachText).unwrap();
        let tokens = Tensor::from_slice(&[1f32, 2., 3.]).view([1, 3, 1]);
        let padded = texts.padded(&tokens, 3).unwrap();
        assert_eq!(padded.kind(), Kind::Float);
        let values = Vec::<f32>::try_from(padded.flatten(0, -1)).unwrap();
        assert_eq!(values, [1., 0., 0., 2., 3., 0.]);
    }
}
