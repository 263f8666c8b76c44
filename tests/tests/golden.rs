//! One table of models, one set of reference outputs, several entry points. When
//! one disagrees, its name says where to look.

use bertscript::{
    ACTIVATIONS, Archive, Comparison, Device, Dtype, ElementType, EngineKind, LoadOptions, Module,
    PreTrained, Shapes, Task, Tensor, read_safetensors, tolerance, trace,
};
use bertscript_tests::{
    Execution, GOLDENS, Golden, at_tokens, bertscript_ok, binary, fixture, scratch, torch,
};
use std::collections::BTreeSet;
use std::process::Command;
use torchscript::Value;

/// Runs every golden through an entry point: from a golden and an execution to the outputs, by name.
fn through(execution: Execution, entry: fn(&Golden, Execution) -> Vec<(String, Tensor)>) {
    let mut failures = Vec::new();
    for golden in
        GOLDENS.iter().filter(|golden| execution == Execution::TorchScript || !golden.everything)
    {
        let reference = golden.named("outputs");
        let found = entry(golden, execution);
        assert_eq!(found.len(), reference.len(), "{}", golden.name);
        for (name, expected) in &reference {
            let (_, found) = found.iter().find(|(known, _)| known == name).unwrap();
            let expected = at_tokens(execution, &golden.mask(), expected);
            let comparison =
                Comparison::new(name, found, &expected, tolerance(Dtype::F32)).unwrap();
            if !comparison.is_equal() {
                failures.push(format!("{}: {comparison:?}", golden.name));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn goldens_through_the_trace() {
    through(Execution::TorchScript, |golden, _| traced(golden));
}

#[test]
fn goldens_through_the_archive() {
    through(Execution::TorchScript, reloaded);
}

#[test]
fn goldens_through_the_archive_unpadded() {
    through(Execution::Unpadded, reloaded);
}

#[test]
fn goldens_through_memory() {
    through(Execution::TorchScript, from_memory);
}

#[test]
fn goldens_through_memory_unpadded() {
    through(Execution::Unpadded, from_memory);
}

#[test]
fn goldens_through_the_command() {
    through(Execution::TorchScript, cli);
}

#[test]
fn goldens_through_the_command_unpadded() {
    through(Execution::Unpadded, cli);
}

#[test]
fn instructions_that_are_none_are_refused() {
    let golden = &GOLDENS[0];
    let scratch = scratch();
    let path = scratch.path().join("model.pt");
    export(golden, &path);
    let output = Command::new(binary())
        .arg("verify")
        .arg(&path)
        .env("BERTSCRIPT_MAX_ISA", "avx1")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && stderr.contains("found \"avx1\", expected one of portable"),
        "{stderr}"
    );
}

/// In float16, which no kernel of ours has, texts lie in one row as on a CUDA device.
#[test]
fn goldens_in_one_row_by_libtorch() {
    for golden in GOLDENS.iter().filter(|golden| !golden.everything) {
        let scratch = scratch();
        let path = scratch.path().join("model.pt");
        export(golden, &path);
        let module = Module::load(&path, Device::Cpu, Some(Dtype::F16)).unwrap();
        assert_eq!(module.engine(), EngineKind::Varlen);
        let outputs = module.run(&golden.inputs()).unwrap();
        for (name, expected) in golden.named("outputs") {
            let expected = at_tokens(Execution::Unpadded, &golden.mask(), &expected);
            let found = outputs.get(&name).unwrap();
            assert_eq!(found.element_type(), ElementType::F16);
            let comparison =
                Comparison::new(&name, found, &expected, tolerance(Dtype::F16)).unwrap();
            assert!(comparison.is_equal(), "{}: {comparison:?}", golden.name);
        }
    }
}

/// Every form of the kernels, whatever this CPU has, and libtorch on what the least CPU has.
#[test]
fn goldens_with_fewer_instructions() {
    for isa in ["portable", "avx2", "avx512", "avx512_bf16"] {
        let instructions = [
            ("BERTSCRIPT_MAX_ISA", isa),
            ("ATEN_CPU_CAPABILITY", "default"),
            ("ONEDNN_MAX_CPU_ISA", "SSE41"),
            ("MKL_ENABLE_INSTRUCTIONS", "SSE4_2"),
        ];
        let mut classes = BTreeSet::new();
        // One of each class.
        for golden in GOLDENS.iter().filter(|golden| classes.insert(golden.class)) {
            let scratch = scratch();
            let path = scratch.path().join("model.pt");
            export(golden, &path);
            for (dtype, bound) in [("f32", Dtype::F32), ("bf16", Dtype::BF16)] {
                let outputs = scratch.path().join("outputs.safetensors");
                let inputs = golden.directory().join("inputs.safetensors");
                let output = Command::new(binary())
                    .arg("run")
                    .arg(&path)
                    .arg("--inputs")
                    .arg(&inputs)
                    .arg("--outputs")
                    .arg(&outputs)
                    .args(["--engine", "native", "--precision", dtype])
                    .envs(instructions)
                    .output()
                    .unwrap();
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                let found = read_safetensors(&outputs).unwrap();
                for (name, expected) in golden.named("outputs") {
                    let (_, found) = found.iter().find(|(known, _)| *known == name).unwrap();
                    let expected = at_tokens(Execution::Unpadded, &golden.mask(), &expected);
                    let comparison =
                        Comparison::new(&name, found, &expected, tolerance(bound)).unwrap();
                    assert!(comparison.is_equal(), "{isa}, {}: {comparison:?}", golden.name);
                }
            }
        }
    }
}

fn load(golden: &Golden) -> PreTrained {
    let options = LoadOptions {
        architecture: Some(golden.architecture()),
        dtype: Some(Dtype::F32),
        hidden_states: golden.everything,
        attentions: golden.everything,
        ..LoadOptions::default()
    };
    PreTrained::from_checkpoint(&golden.checkpoint(), &options).unwrap()
}

fn export(golden: &Golden, path: &std::path::Path) {
    let model = load(golden);
    let script = trace(&model, &Shapes::Any).unwrap();
    Archive::new(&model, &Shapes::Any).unwrap().save(&script, path).unwrap();
}

/// The script module that tracing returns, before any file.
fn traced(golden: &Golden) -> Vec<(String, Tensor)> {
    let model = load(golden);
    let script = trace(&model, &Shapes::Any).unwrap();
    let inputs = golden.named("inputs");
    let keywords: Vec<_> =
        inputs.iter().map(|(name, tensor)| (name.as_str(), Value::Tensor(torch(tensor)))).collect();
    let tensors = script.call("forward", &[], &keywords).unwrap().into_tensors().unwrap();
    let tensors = tensors.into_iter().map(|tensor| tensor.try_into().unwrap());
    model.outputs().into_iter().map(|output| output.name).zip(tensors).collect()
}

/// A module loaded from the archive.
fn reloaded(golden: &Golden, execution: Execution) -> Vec<(String, Tensor)> {
    let scratch = scratch();
    let path = scratch.path().join("model.pt");
    export(golden, &path);
    let module = execution.of(&Module::load(&path, Device::Cpu, None).unwrap()).unwrap();
    let stated = torchscript_reader::ArchiveReader::open(&path).unwrap().schema("forward").unwrap();
    assert_eq!(Some(module.schema()), stated.as_ref(), "{}", golden.name);
    module.run(&golden.inputs()).unwrap().into_tensors()
}

/// A module loaded from the archive's bytes.
fn from_memory(golden: &Golden, execution: Execution) -> Vec<(String, Tensor)> {
    let scratch = scratch();
    let path = scratch.path().join("model.pt");
    export(golden, &path);
    let bytes = std::fs::read(&path).unwrap();
    let module = execution.of(&Module::from_bytes(&bytes, Device::Cpu, None).unwrap()).unwrap();
    drop(bytes);
    module.run(&golden.inputs()).unwrap().into_tensors()
}

/// The `bertscript` command.
fn cli(golden: &Golden, execution: Execution) -> Vec<(String, Tensor)> {
    let scratch = scratch();
    let (directory, file) = (golden.directory(), scratch.path().join("model.pt"));
    let (inputs, outputs) = (directory.join("inputs.safetensors"), scratch.path().join("out"));
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let (directory, file) = (text(&directory), text(&file));
    let mut export = vec!["export", &directory, "-o", &file, "--dtype", "f32"];
    export.extend(["--architecture", golden.class]);
    if golden.everything {
        export.extend(["--output-hidden-states", "--output-attentions"]);
    }
    bertscript_ok(&export);
    let (inputs, outputs_text) = (text(&inputs), text(&outputs));
    let execution = execution.arguments();
    let run = ["run", &file, "--inputs", &inputs, "--outputs", &outputs_text];
    bertscript_ok(&[&run[..], &execution].concat());
    let reference = text(&golden.directory().join("outputs.safetensors"));
    let verify = ["verify", &file, "--inputs", &inputs, "--outputs", &reference];
    bertscript_ok(&[&verify[..], &execution].concat());
    bertscript_ok(&[&["verify", &file][..], &execution].concat());
    read_safetensors(&outputs).unwrap()
}

#[test]
fn half_precision_stays_within_its_bounds() {
    for golden in GOLDENS {
        let scratch = scratch();
        let path = scratch.path().join("model.pt");
        export(&golden, &path);
        let halves = [
            (Dtype::BF16, Execution::TorchScript),
            (Dtype::BF16, Execution::Unpadded),
            (Dtype::F16, Execution::TorchScript),
        ];
        for (dtype, execution) in halves {
            let module = Module::load(&path, Device::Cpu, Some(dtype)).unwrap();
            let Ok(module) = execution.of(&module) else {
                assert!(golden.everything, "{} has no engine without padding", golden.name);
                continue;
            };
            let outputs = module.run(&golden.inputs()).unwrap();
            for (name, expected) in golden.named("outputs") {
                let expected = at_tokens(execution, &golden.mask(), &expected);
                let found = outputs.get(&name).unwrap();
                assert_eq!(found.element_type().kind(), dtype.kind());
                let comparison =
                    Comparison::new(&name, found, &expected, tolerance(dtype)).unwrap();
                assert!(comparison.is_equal(), "{} in {dtype}: {comparison:?}", golden.name);
            }
        }
    }
}

/// How far rounding to 8-bit integers takes these models, at the most: 1.3e-2 was measured.
const INT8_TOLERANCE: f64 = 2e-2;

#[test]
fn int8_stays_within_its_bound() {
    for golden in GOLDENS {
        let scratch = scratch();
        let path = scratch.path().join("model.pt");
        export(&golden, &path);
        for dtype in [Dtype::F32, Dtype::BF16] {
            let module = Module::load(&path, Device::Cpu, Some(dtype)).unwrap();
            let Ok(module) = Execution::Int8.of(&module) else {
                assert!(golden.everything, "{} has no engine without padding", golden.name);
                continue;
            };
            let outputs = module.run(&golden.inputs()).unwrap();
            let exact = Execution::Unpadded.of(&module).unwrap().run(&golden.inputs()).unwrap();
            let mut differs = false;
            for (name, expected) in golden.named("outputs") {
                let expected = at_tokens(Execution::Int8, &golden.mask(), &expected);
                let found = outputs.get(&name).unwrap();
                let comparison = Comparison::new(&name, found, &expected, INT8_TOLERANCE).unwrap();
                assert!(comparison.is_equal(), "{} in {dtype}: {comparison:?}", golden.name);
                differs |= torch(found) != torch(exact.get(&name).unwrap());
            }
            assert!(differs, "{} in {dtype}: nothing was rounded", golden.name);
        }
    }
}

#[test]
fn a_row_alone_equals_the_row_in_a_padded_batch() {
    for golden in GOLDENS {
        if golden.architecture().task() == Task::MultipleChoice {
            continue; // The choices of a row have lengths of their own.
        }
        let scratch = scratch();
        let path = scratch.path().join("model.pt");
        export(&golden, &path);
        let module = Module::load(&path, Device::Cpu, None).unwrap();
        let batch = module.run(&golden.inputs()).unwrap();
        let named = golden.named("inputs");
        let input = |name: &str| torch(&named.iter().find(|(known, _)| known == name).unwrap().1);
        for row in 0..input("input_ids").size()[0] {
            let mask = input("attention_mask").get(row);
            let length = i64::try_from(mask.sum(tch::Kind::Int64)).unwrap();
            let cut =
                |name: &str| input(name).narrow(0, row, 1).narrow(1, 0, length).try_into().unwrap();
            let inputs =
                bertscript::Inputs::new(cut("input_ids")).token_type_ids(cut("token_type_ids"));
            let alone = module.run(&inputs).unwrap();
            for (output, (name, found)) in
                module.metadata().unwrap().outputs.iter().zip(alone.iter())
            {
                // Of outputs for each token, those of padding are not the row's.
                let mut expected = torch(batch.get(name).unwrap()).narrow(0, row, 1);
                for (dim, symbol) in output.shape.iter().enumerate() {
                    if symbol == "S" {
                        expected = expected.narrow(dim as i64, 0, length);
                    }
                }
                let expected = expected.try_into().unwrap();
                let comparison =
                    Comparison::new(name, found, &expected, tolerance(Dtype::F32)).unwrap();
                assert!(comparison.is_equal(), "{} row {row}: {comparison:?}", golden.name);
            }
        }
    }
}

#[test]
fn activations_equal_transformers() {
    let named = read_safetensors(fixture("activations.safetensors")).unwrap();
    let get = |name: &str| &named.iter().find(|(known, _)| known == name).unwrap().1;
    for (name, activation) in ACTIVATIONS {
        let found = activation.forward(&torch(get("x"))).unwrap().try_into().unwrap();
        let comparison = Comparison::new(name, &found, get(name), 1e-6).unwrap();
        assert!(comparison.is_equal(), "{comparison:?}");
    }
    assert_eq!(named.len(), ACTIVATIONS.len() + 1, "an activation of the oracle is not compared");
}
