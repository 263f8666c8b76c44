//! Results on a device against those of transformers and of the CPU.

use super::{Checked, Prepared, ensure, load};
use crate::{Execution, at_tokens, torch};
use bertscript::{
    Comparison, Device, Devices, Dtype, EmbedOptions, Embeddings, EngineKind, Inputs, Module,
    Outputs, Tensor, read_safetensors, tolerance,
};
use std::path::Path;
use tch::Kind;

/// The bound for float32, whose products a device adds up in an order of its own.
const FLOAT32: f64 = 1e-4;

pub(super) fn float32_equals_the_reference(prepared: &Prepared) -> Checked {
    goldens(prepared, Dtype::F32, FLOAT32)
}

pub(super) fn float16_equals_the_reference(prepared: &Prepared) -> Checked {
    goldens(prepared, Dtype::F16, tolerance(Dtype::F16))
}

pub(super) fn bfloat16_equals_the_reference(prepared: &Prepared) -> Checked {
    goldens(prepared, Dtype::BF16, tolerance(Dtype::BF16))
}

/// Every golden by every engine that it has.
fn goldens(prepared: &Prepared, dtype: Dtype, bound: f64) -> Checked {
    for folder in prepared.goldens()? {
        let file = folder.join("model.pt");
        let automatic = Module::load(&file, prepared.device, Some(dtype))?;
        let executions = match automatic.engine() {
            EngineKind::TorchScript => vec![Execution::TorchScript],
            _ => vec![Execution::TorchScript, Execution::Unpadded],
        };
        for execution in executions {
            let module = execution.of(&automatic)?;
            golden(&folder, &module, bound, prepared)
                .map_err(|error| format!("{execution}: {error}"))?;
        }
    }
    Ok(())
}

fn golden(folder: &Path, module: &Module, bound: f64, prepared: &Prepared) -> Checked {
    let inputs = read_safetensors(folder.join("inputs.safetensors"))?;
    let mask = inputs.iter().find(|(name, _)| name == "attention_mask");
    let mask = mask.map(|(_, mask)| mask.clone()).ok_or("no mask")?;
    let inputs = Inputs::from_named(inputs)?;
    let rounding = Rounding::new(&folder.join("model.pt"), module.dtype(), &inputs)?;
    let outputs = module.run(&inputs)?;
    let expected = read_safetensors(folder.join("outputs.safetensors"))?;
    ensure(outputs.iter().count() == expected.len(), || "the number of outputs".to_owned())?;
    for (name, expected) in &expected {
        let found = outputs.get(name)?;
        ensure(found.device() == prepared.device, || format!("{name}: on {found:?}"))?;
        // Also of the archive's own code: cuDNN's attention, which libtorch takes for half
        // precision, attends to all alike where a mask leaves nothing to attend to, which the
        // others do not.
        let at_tokens = |values: &Tensor| at_tokens(Execution::Unpadded, &mask, values);
        let found = at_tokens(&found.to_device(Device::Cpu)?);
        let comparison = Comparison::new(name, &found, &at_tokens(expected), bound)?
            .allowing_for(&rounding.of(name, at_tokens)?);
        let shown = folder.display();
        ensure(comparison.is_equal(), || format!("{shown}: {comparison:?}"))?;
    }
    Ok(())
}

/// What a dtype costs libtorch on the CPU, by a file and inputs.
struct Rounding {
    own: Outputs,
    exact: Outputs,
}

impl Rounding {
    fn new(file: &Path, dtype: Dtype, inputs: &Inputs) -> bertscript::Result<Self> {
        let run = |dtype| load(file, Device::Cpu, dtype, Execution::TorchScript)?.run(inputs);
        Ok(Self { own: run(dtype)?, exact: run(Dtype::F32)? })
    }

    fn of(
        &self,
        name: &str,
        at_tokens: impl Fn(&Tensor) -> Tensor,
    ) -> bertscript::Result<Comparison> {
        let [own, exact] = [self.own.get(name)?, self.exact.get(name)?].map(at_tokens);
        Comparison::new(name, &own, &exact, 0.)
    }
}

/// Rows of many lengths, as a service has them.
pub(super) fn rows() -> Vec<Vec<i64>> {
    let lengths = [1, 512, 7, 33, 128, 64, 300, 2, 90, 17];
    let rows = lengths.iter().enumerate().map(|(row, length)| {
        (0..*length).map(|place| (place * 31 + row as i64 * 101 + 7) % 2000).collect()
    });
    rows.collect()
}

pub(super) fn many_lengths_equal_the_cpu(prepared: &Prepared) -> Checked {
    let inputs = Inputs::from_rows(&rows(), 0)?;
    let lengths: Vec<_> = rows().iter().map(|row| row.len() as i64).collect();
    let columns = tch::Tensor::arange(512, (Kind::Int64, tch::Device::Cpu));
    let mask = columns.less_tensor(&tch::Tensor::from_slice(&lengths).unsqueeze(1)).try_into()?;
    let reference =
        load(&prepared.wide(), Device::Cpu, Dtype::F32, Execution::Unpadded)?.run(&inputs)?;
    for (dtype, bound) in [
        (Dtype::F32, FLOAT32),
        (Dtype::F16, tolerance(Dtype::F16)),
        (Dtype::BF16, tolerance(Dtype::BF16)),
    ] {
        let module = load(&prepared.wide(), prepared.device, dtype, Execution::Unpadded)?;
        let outputs = module.run(&inputs)?;
        let rounding = Rounding::new(&prepared.wide(), dtype, &inputs)?;
        for (name, expected) in reference.iter() {
            let at_tokens = |values: &Tensor| at_tokens(Execution::Unpadded, &mask, values);
            let comparison = Comparison::new(name, outputs.get(name)?, expected, bound)?
                .allowing_for(&rounding.of(name, at_tokens)?);
            ensure(comparison.is_equal(), || format!("{dtype}: {comparison:?}"))?;
        }
        // A text alone is as it is beside others.
        let row = &rows()[3];
        let alone = module.run(&Inputs::from_rows(&[row], 0)?)?;
        let beside = torch(outputs.get("last_hidden_state")?).narrow(0, 3, 1);
        let beside = beside.narrow(1, 0, row.len() as i64).try_into()?;
        let comparison = Comparison::new("alone", alone.get("last_hidden_state")?, &beside, bound)?;
        ensure(comparison.is_equal(), || format!("{dtype}: {comparison:?}"))?;
    }
    Ok(())
}

/// Batches that fill their graphs more and less, one after another.
pub(super) fn graphs_equal_the_cpu(prepared: &Prepared) -> Checked {
    let reference = load(&prepared.wide(), Device::Cpu, Dtype::F32, Execution::Unpadded)?;
    for (dtype, bound) in [(Dtype::F32, FLOAT32), (Dtype::F16, tolerance(Dtype::F16))] {
        let module = load(&prepared.wide(), prepared.device, dtype, Execution::Unpadded)?;
        for lengths in [&[16][..], &[3], &[16, 16], &[1, 2, 9], &[7, 5, 3, 1], &[500, 3], &[16]] {
            let rows: Vec<Vec<i64>> = lengths
                .iter()
                .map(|length| (0..*length).map(|n| (n * 13 + length) % 2000).collect())
                .collect();
            let inputs = Inputs::from_rows(&rows, 0)?;
            let (found, expected) = (module.run(&inputs)?, reference.run(&inputs)?);
            // Results of before do not change when the graph runs again.
            let before = torch(found.get("last_hidden_state")?).copy();
            module.run(&Inputs::from_rows(&[vec![9; lengths[0] as usize]], 0)?)?;
            for (name, expected) in expected.iter() {
                let comparison = Comparison::new(name, found.get(name)?, expected, bound)?;
                ensure(comparison.is_equal(), || format!("{dtype}, {lengths:?}: {comparison:?}"))?;
            }
            let after = torch(found.get("last_hidden_state")?);
            ensure(after.equal(&before), || "a result changed".to_owned())?;
        }
        let count = module.captured_graphs()?;
        ensure(count >= 3, || format!("{count} graphs were captured, expected at least 3"))?;
    }
    Ok(())
}

pub(super) fn embeddings_equal_the_cpu(prepared: &Prepared) -> Checked {
    let texts: Vec<String> =
        (1..60).map(|count| "the cat sat on a mat ".repeat(count % 13 + 1)).collect();
    let options = EmbedOptions { batch_tokens: Some(512), ..EmbedOptions::default() };
    let embed = |device| -> bertscript::Result<Embeddings> {
        let module = Module::load(prepared.sentence(), device, None)?;
        module.embed(texts.iter().map(String::as_str), &options)
    };
    let (expected, found) = (embed(Device::Cpu)?, embed(prepared.device)?);
    let comparison = Comparison::new("embeddings", found.tensor(), expected.tensor(), FLOAT32)?;
    ensure(comparison.is_equal(), || format!("{comparison:?}"))
}

/// From a device to a file to the CPU: the same weights, and so the same results.
pub(super) fn saving_from_a_device(prepared: &Prepared) -> Checked {
    let file = tempfile::NamedTempFile::new()?;
    Module::load(prepared.wide(), prepared.device, None)?.save(file.path())?;
    let inputs = Inputs::from_rows(&rows(), 0)?;
    let before = Module::load(prepared.wide(), Device::Cpu, None)?.run(&inputs)?;
    let after = Module::load(file.path(), Device::Cpu, None)?.run(&inputs)?;
    for (name, expected) in before.iter() {
        let comparison = Comparison::new(name, after.get(name)?, expected, 0.)?;
        ensure(comparison.max_abs_error == 0., || format!("{comparison:?}"))?;
    }
    Ok(())
}

pub(super) fn every_device_computes_the_same(prepared: &Prepared) -> Checked {
    let inputs = Inputs::from_rows(&rows(), 0)?;
    let run =
        |device| load(&prepared.wide(), device, Dtype::F32, Execution::Unpadded)?.run(&inputs);
    let first = run(prepared.device)?;
    for index in 0..Devices::find()?.cuda.len() {
        let outputs = run(Device::Cuda(index))?;
        for (name, expected) in first.iter() {
            let found = outputs.get(name)?;
            ensure(found.device() == Device::Cuda(index), || format!("{found:?}"))?;
            let comparison = Comparison::new(name, found, expected, FLOAT32)?;
            ensure(comparison.is_equal(), || format!("cuda:{index}: {comparison:?}"))?;
        }
    }
    Ok(())
}
