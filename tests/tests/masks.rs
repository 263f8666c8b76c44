//! Masks of every form, without padding and by the archive's own code.

use bertscript::{
    Attention, Comparison, Device, Dtype, Inputs, LoadOptions, Module, PreTrained, Shapes, Tensor,
    tolerance,
};
use bertscript_tests::{Execution, GOLDENS, Golden, at_tokens, scratch};

/// Whether a mask keeps a token, given its row and column and the length of rows.
type IsKept = fn(usize, usize, usize) -> bool;

/// Masks with holes, left padding and rows of zeros, without padding and by the archive's code.
#[test]
fn masks_of_any_form_are_as_the_code_has_them() {
    let masks: [(&str, IsKept); 4] = [
        ("left padding", |row, column, length| column >= (row + 1).min(length - 1)),
        ("holes", |row, column, _| (row + column) % 3 != 1),
        ("holes and a masked first token", |row, column, _| (row + column) % 3 != 0),
        ("a row of zeros", |row, column, length| row != 1 && column < length - row % 2),
    ];
    for golden in GOLDENS.iter().filter(|golden| !golden.everything) {
        for attention in [Attention::Sdpa, Attention::Eager] {
            let scratch = scratch();
            let path = scratch.path().join("model.pt");
            let options = LoadOptions {
                architecture: Some(golden.architecture()),
                dtype: Some(Dtype::F32),
                attention: Some(attention),
                ..LoadOptions::default()
            };
            let model = PreTrained::from_checkpoint(&golden.checkpoint(), &options).unwrap();
            model.export(&Shapes::Any, &path).unwrap();
            let loaded = Module::load(&path, Device::Cpu, None).unwrap();
            if attention == Attention::Eager && golden.class.starts_with("ModernBert") {
                // A token that sees no key would attend to those that are left out.
                let error = Execution::Unpadded.of(&loaded).unwrap_err().to_string();
                let expected =
                    "engine native: found eager attention with a window, expected torchscript";
                assert_eq!(error, expected);
                continue;
            }
            let float16 = loaded.to(None, Some(Dtype::F16)).unwrap();
            for (form, is_kept) in masks {
                let (inputs, mask) = masked(golden, is_kept);
                let run = |module: &Module, execution: Execution| {
                    execution.of(module).unwrap().run(&inputs).unwrap()
                };
                let expected = run(&loaded, Execution::TorchScript);
                for (module, dtype) in [(&loaded, Dtype::F32), (&float16, Dtype::F16)] {
                    let found = run(module, Execution::Unpadded);
                    for (name, expected) in expected.iter() {
                        let expected = at_tokens(Execution::Unpadded, &mask, expected);
                        let found = found.get(name).unwrap();
                        let comparison =
                            Comparison::new(name, found, &expected, tolerance(dtype)).unwrap();
                        let what = format!("{} {attention} {form} {dtype}", golden.name);
                        assert!(comparison.is_equal(), "{what}: {comparison:?}");
                    }
                }
            }
        }
    }
}

/// The inputs of a golden with another mask, and that mask.
fn masked(golden: &Golden, is_kept: IsKept) -> (Inputs, Tensor) {
    let named = golden.named("inputs");
    let input = |name: &str| named.iter().find(|(known, _)| known == name).unwrap().1.clone();
    let ids = input("input_ids");
    let shape = ids.shape().to_vec();
    let length = *shape.last().unwrap();
    let rows: usize = shape.iter().rev().skip(1).product();
    let values: Vec<i64> = (0..rows * length)
        .map(|index| i64::from(is_kept(index / length, index % length, length)))
        .collect();
    let mask = Tensor::new(values, shape).unwrap();
    let inputs = Inputs::new(ids).token_type_ids(input("token_type_ids"));
    (inputs.attention_mask(mask.clone()), mask)
}
