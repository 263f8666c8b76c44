//! A loaded module: shared by threads, moved between dtypes, asked by name.

use bertscript::{
    Archive, Device, Dtype, ErrorKind, Inputs, LoadOptions, Module, PreTrained, Shapes, Tensor,
    trace,
};
use bertscript_tests::{Golden, architecture, scratch, torch};

/// Both heads of pre-training.
fn golden() -> Golden {
    Golden::named_row("pretraining")
}

fn module() -> Module {
    let scratch = scratch();
    let path = scratch.path().join("model.pt");
    let checkpoint = golden().checkpoint();
    let model = PreTrained::from_checkpoint(&checkpoint, &LoadOptions::default()).unwrap();
    model.export(&Shapes::Any, &path).unwrap();
    Module::open(&path).unwrap()
}

fn ids(seed: i64, batch: usize, length: usize) -> Tensor {
    let count = (batch * length) as i64;
    let values: Vec<_> = (0..count).map(|i| (i * 31 + seed * 17) % 128).collect();
    Tensor::new(values, [batch, length]).unwrap()
}

fn equal(a: &Tensor, b: &Tensor) -> bool {
    torch(a).equal(&torch(b))
}

fn close(a: &tch::Tensor, b: &Tensor) -> bool {
    a.allclose(&torch(b), 1e-5, 1e-5, false)
}

#[test]
fn threads_share_a_module_and_get_the_serial_results() {
    let module = module();
    let shapes = [(1, 1), (2, 9), (3, 33), (1, 128)];
    let run = |thread: i64, (batch, length): (usize, usize)| -> Vec<Tensor> {
        let outputs = module.run(&Inputs::new(ids(thread, batch, length))).unwrap();
        outputs.into_tensors().into_iter().map(|(_, tensor)| tensor).collect()
    };
    let serial: Vec<Vec<Vec<Tensor>>> =
        (0..8).map(|thread| shapes.iter().map(|&shape| run(thread, shape)).collect()).collect();
    std::thread::scope(|scope| {
        for (thread, expected) in serial.into_iter().enumerate() {
            let run = &run;
            scope.spawn(move || {
                for _ in 0..20 {
                    for (shape, expected) in shapes.iter().zip(&expected) {
                        let found = run(thread as i64, *shape);
                        for (found, expected) in found.iter().zip(expected) {
                            // Bitwise: the same kernel on the same shape.
                            assert!(equal(found, expected), "thread {thread}, {shape:?}");
                        }
                    }
                }
            });
        }
    });
}

#[test]
fn outputs_are_asked_by_name() {
    let outputs = module().run(&Inputs::new(ids(1, 2, 5))).unwrap();
    let shapes: Vec<_> =
        outputs.iter().map(|(name, tensor)| (name, tensor.shape().to_vec())).collect();
    assert_eq!(
        shapes,
        [("prediction_logits", vec![2, 5, 128]), ("seq_relationship_logits", vec![2, 2])]
    );
    let error = outputs.get("logits").unwrap_err();
    assert!(error.to_string().contains("prediction_logits"), "{error}");
}

#[test]
fn int32_and_bool_inputs_give_the_same_results() {
    let module = module();
    let [mask, types] = [[1_i64, 1, 1, 0, 1, 1, 0, 0], [0, 0, 1, 1, 0, 1, 1, 1]];
    let ids = ids(3, 2, 4);
    let tensor = |values: [i64; 8]| Tensor::new(values, [2, 4]).unwrap();
    let int32 = |values: &[i64]| {
        let values: Vec<_> = values.iter().map(|value| *value as i32).collect();
        Tensor::new(values, [2, 4]).unwrap()
    };
    let bools = Tensor::new(mask.map(|value| value != 0), [2, 4]).unwrap();
    let narrow = Inputs::new(int32(ids.as_slice().unwrap()))
        .attention_mask(bools)
        .token_type_ids(int32(&types));
    let wide = Inputs::new(ids).attention_mask(tensor(mask)).token_type_ids(tensor(types));
    let (wide, narrow) = (module.run(&wide).unwrap(), module.run(&narrow).unwrap());
    for (name, expected) in wide.iter() {
        assert!(equal(narrow.get(name).unwrap(), expected), "{name}");
    }
}

#[test]
fn a_row_of_padding_has_a_finite_result_and_harms_no_other() {
    let module = module();
    let rows = ids(5, 2, 6);
    let mask = Tensor::new([1_i64, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0], [2, 6]).unwrap();
    let first = torch(&rows).narrow(0, 0, 1).try_into().unwrap();
    let both = module.run(&Inputs::new(rows).attention_mask(mask)).unwrap();
    let first = module.run(&Inputs::new(first)).unwrap();
    for (name, expected) in first.iter() {
        let found = torch(both.get(name).unwrap());
        assert!(bool::try_from(found.isfinite().all()).unwrap(), "{name}");
        assert!(close(&found.narrow(0, 0, 1), expected), "{name}");
    }
}

#[test]
fn rows_of_different_lengths_are_padded_and_masked() {
    let module = module();
    let rows = [vec![7, 8, 9], vec![10], vec![11, 12]];
    let batch = module.run(&Inputs::from_rows(&rows, 0).unwrap()).unwrap();
    let batch = torch(batch.get("seq_relationship_logits").unwrap());
    for (i, row) in rows.iter().enumerate() {
        let alone = module.run(&Inputs::from_rows(&[row], 0).unwrap()).unwrap();
        let alone = alone.get("seq_relationship_logits").unwrap();
        assert!(close(&batch.narrow(0, i as i64, 1), alone), "row {i}");
    }
    for empty in [&[][..], &[vec![]][..]] {
        let error = Inputs::from_rows(empty, 0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn a_refused_input_leaves_the_module_usable() {
    let module = module();
    let good = Inputs::new(ids(1, 1, 4));
    let before = module.run(&good).unwrap();
    for _ in 0..3 {
        let beyond = Tensor::new([5_i64, 1000, 7, 8], [1, 4]).unwrap();
        let error = module.run(&Inputs::new(beyond)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(error.place(), Some("input_ids"));
    }
    let after = module.run(&good).unwrap();
    for (name, expected) in before.iter() {
        assert!(equal(after.get(name).unwrap(), expected));
    }
}

#[test]
fn the_dtype_is_chosen_at_load() {
    let scratch = scratch();
    let path = scratch.path().join("model.pt");
    let checkpoint = golden().checkpoint();
    for exported in Dtype::ALL {
        let options = LoadOptions { dtype: Some(exported), ..LoadOptions::default() };
        let model = PreTrained::from_checkpoint(&checkpoint, &options).unwrap();
        model.export(&Shapes::Any, &path).unwrap();
        for loaded in Dtype::ALL {
            let module = Module::load(&path, Device::Cpu, Some(loaded)).unwrap();
            let outputs = module.run(&Inputs::new(ids(1, 1, 4))).unwrap();
            assert!(
                outputs.iter().all(|(_, tensor)| tensor.element_type().kind() == loaded.kind())
            );
        }
        assert_eq!(Module::load(&path, Device::Cpu, None).unwrap().dtype(), exported);
    }
}

#[test]
fn weights_that_are_not_those_of_the_description_are_noticed() {
    let scratch = scratch();
    let path = scratch.path().join("model.pt");
    let checkpoint = golden().checkpoint();
    let load = |seed| {
        let architecture = Some(architecture("BertModel"));
        let options =
            LoadOptions { architecture, random_init: Some(seed), ..LoadOptions::default() };
        let bare = scratch.path().join("bare");
        std::fs::create_dir_all(&bare).unwrap();
        std::fs::write(bare.join("config.json"), checkpoint.config_json()).unwrap();
        PreTrained::from_checkpoint(&bertscript::Checkpoint::open(&bare).unwrap(), &options)
            .unwrap()
    };
    let (described, other) = (load(1), load(2));
    let archive = Archive::new(&described, &Shapes::Any).unwrap();
    archive.save(&trace(&described, &Shapes::Any).unwrap(), &path).unwrap();
    let module = Module::load(&path, Device::Cpu, None).unwrap();
    assert!(bertscript::verify::check_weights(&module).unwrap());
    let cast = Module::load(&path, Device::Cpu, Some(Dtype::BF16)).unwrap();
    assert!(!bertscript::verify::check_weights(&cast).unwrap());

    archive.save(&trace(&other, &Shapes::Any).unwrap(), &path).unwrap();
    let module = Module::load(&path, Device::Cpu, None).unwrap();
    let error = bertscript::verify::check_weights(&module).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Verification);
    assert!(error.to_string().contains("expected SHA-256"), "{error}");
}

#[test]
fn a_program_of_others_writes_to_nothing_that_is_ours() {
    let mut script = torchscript::ScriptModule::new("Counter").unwrap();
    let zeros = tch::Tensor::zeros([2], (tch::Kind::Float, tch::Device::Cpu));
    script.register_parameter("count", &zeros).unwrap();
    let source = "def forward(self, x: Tensor):\n    x.add_(1)\n    self.count.add_(x)\n    return x, self.count";
    script.define(source).unwrap();
    script.eval().unwrap();
    let scratch = scratch();
    let path = scratch.path().join("counter.pt");
    script.save(std::fs::File::create(&path).unwrap(), &[]).unwrap();

    let module = Module::open(&path).unwrap();
    let x = Tensor::new([1_f32, 2.], [2]).unwrap();
    let run = || module.run_named(vec![("x".to_owned(), x.clone())]).unwrap();
    let values = |outputs: &bertscript::Outputs, name: &str| {
        outputs.get(name).unwrap().as_slice::<f32>().unwrap().to_vec()
    };
    let (first, second) = (run(), run());
    assert_eq!(x.as_slice::<f32>().unwrap(), [1., 2.]);
    assert_eq!(values(&first, "output.0"), [2., 3.]);
    assert_eq!(
        (values(&first, "output.1"), values(&second, "output.1")),
        (vec![2., 3.], vec![4., 6.])
    );
}
