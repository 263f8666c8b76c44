//! Files of fixed shapes against the file that takes any.

use bertscript::{
    Comparison, ErrorKind, FixedShape, Inputs, LoadOptions, Module, PreTrained, Shapes, Tensor,
    trace,
};
use bertscript_tests::{Execution, Golden, scratch};
use torchscript::Value;

fn shapes(texts: &[&str]) -> Shapes {
    let shapes: Vec<FixedShape> = texts.iter().map(|text| text.parse().unwrap()).collect();
    shapes.into()
}

fn model(name: &str) -> PreTrained {
    let golden = Golden::named_row(name);
    let options =
        LoadOptions { architecture: Some(golden.architecture()), ..LoadOptions::default() };
    PreTrained::from_checkpoint(&golden.checkpoint(), &options).unwrap()
}

/// The file for any shape and the file for these, loaded, and their sizes.
fn both(name: &str, shapes: &Shapes) -> ([Module; 2], [u64; 2]) {
    let scratch = scratch();
    let model = model(name);
    let load = |shapes: &Shapes| {
        let path = scratch.path().join("model.pt");
        model.export(shapes, &path).unwrap();
        let size = std::fs::metadata(&path).unwrap().len();
        (Module::open(&path).unwrap(), size)
    };
    let (dynamic, dynamic_size) = load(&Shapes::Any);
    let (fixed, fixed_size) = load(shapes);
    ([dynamic, fixed], [dynamic_size, fixed_size])
}

fn inputs(shape: &[usize]) -> Inputs {
    let count: usize = shape.iter().product();
    let length = *shape.last().unwrap() as i64;
    let values = |f: &dyn Fn(i64) -> i64| {
        Tensor::new((0..count as i64).map(f).collect::<Vec<_>>(), shape).unwrap()
    };
    Inputs::new(values(&|i| (i * 37 + 5) % 128))
        .attention_mask(values(&|i| i64::from(i % length <= length * 3 / 4)))
        .token_type_ids(values(&|i| i % 2))
}

#[test]
fn every_shape_up_to_the_largest_equals_the_dynamic_file() {
    let traced = shapes(&["4x16", "1x8", "1x64", "2x32"]);
    for name in ["pretraining", "question-answering"] {
        let ([dynamic, fixed], _) = both(name, &traced);
        let dynamic = Execution::TorchScript.of(&dynamic).unwrap();
        for batch in 1..=4 {
            let longest = match batch {
                1 => 64,
                2 => 32,
                _ => 16,
            };
            for length in 1..=longest {
                let inputs = inputs(&[batch, length]);
                let expected = dynamic.run(&inputs).unwrap();
                let found = fixed.run(&inputs).unwrap();
                for (name, expected) in expected.iter() {
                    let found = found.get(name).unwrap();
                    let comparison = Comparison::new(name, found, expected, 1e-5).unwrap();
                    assert!(comparison.is_equal(), "{batch}x{length}: {comparison:?}");
                }
            }
        }
    }
}

#[test]
fn choices_are_padded_too() {
    let ([dynamic, fixed], _) = both("multiple-choice", &shapes(&["2x4x16", "1x2x8"]));
    for shape in [[1, 1, 1], [1, 2, 8], [1, 3, 8], [2, 2, 9], [2, 4, 16]] {
        let inputs = inputs(&shape);
        let (expected, found) = (dynamic.run(&inputs).unwrap(), fixed.run(&inputs).unwrap());
        let (expected, found) = (expected.get("logits").unwrap(), found.get("logits").unwrap());
        let comparison = Comparison::new("logits", found, expected, 1e-5).unwrap();
        assert!(comparison.is_equal(), "{shape:?}: {comparison:?}");
    }
}

#[test]
fn the_weights_are_stored_once() {
    let (_, [dynamic, fixed]) = both("pretraining", &shapes(&["1x8", "1x16", "1x32", "1x64"]));
    // Four traces: their code is small beside the weights of a real model.
    let weights = model("pretraining");
    let bytes: usize = weights.parameters().iter().map(|(_, tensor)| tensor.numel() * 4).sum();
    assert!(fixed < dynamic + bytes as u64 / 2, "{fixed} bytes, {dynamic} for the dynamic file");
}

#[test]
fn what_fits_no_shape_is_named_with_the_traced_shapes() {
    let traced = shapes(&["1x8", "2x4"]);
    let ([_, fixed], _) = both("pretraining", &traced);
    for shape in [[1, 9], [3, 1], [2, 5]] {
        let error = fixed.run(&inputs(&shape)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let text = error.to_string();
        assert!(text.contains(&format!("found shape {shape:?}")), "{text}");
        assert!(text.contains("none of the traced shapes 1x8, 2x4"), "{text}");
    }
    // Other readers get the program's own words.
    let script = trace(&model("pretraining"), &traced).unwrap();
    let error = script.call(
        "forward",
        &[Value::Tensor(tch::Tensor::zeros([3, 1], (tch::Kind::Int64, tch::Device::Cpu)))],
        &[],
    );
    let text = error.unwrap_err().to_string();
    assert!(text.contains("shape 3x1 fits none of the traced shapes 1x8, 2x4"), "{text}");
}

#[test]
fn shapes_that_the_model_cannot_have_are_refused() {
    for (name, shape, words) in [
        ("pretraining", "1x513", "expected at most 512"),
        ("pretraining", "1x2x8", "expected BxS"),
        ("multiple-choice", "1x8", "expected BxCxS"),
    ] {
        let error = trace(&model(name), &shapes(&[shape])).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    assert!(trace(&model("pretraining"), &Shapes::Fixed(Vec::new())).is_err());
    for text in ["", "8", "0x8", "1x-8", "1xS", "1x8x", "1 x 8"] {
        assert!(text.parse::<FixedShape>().is_err(), "{text:?}");
    }
}
