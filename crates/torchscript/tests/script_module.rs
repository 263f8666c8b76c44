//! Script modules from the outside: what is built, traced, saved and loaded.

use std::io::Write;
use tch::{Device, Kind, TchError, Tensor};
use torchscript::{ErrorKind, InferenceMode, ScriptModule, Value, is_tracing};
use torchscript_reader::ArchiveReader;

fn row(values: &[f32]) -> Tensor {
    Tensor::from_slice(values).unsqueeze(0)
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.flatten(0, -1)).unwrap()
}

/// `encoder.layer.0.dense`: y = x W^T, with the sum of y beside it.
fn example() -> ScriptModule {
    let weight = Tensor::from_slice(&[1f32, 2., 3., 4., 5., 6.]).view([3, 2]);
    let mut module = ScriptModule::new("Example").unwrap();
    module.register_parameter("encoder.layer.0.dense.weight", &weight).unwrap();
    module.register_buffer("encoder.scale", &Tensor::from_slice(&[10i64])).unwrap();
    module
        .trace("run", &[("x", &row(&[1., 1.]))], |x| {
            let y = x[0].f_linear(&weight, None::<&Tensor>)?;
            let sum = y.f_sum(None::<Kind>)?;
            Ok::<_, TchError>(Value::Tuple(vec![Value::Tensor(y), Value::Tensor(sum)]))
        })
        .unwrap();
    module
}

fn saved(module: &ScriptModule) -> Vec<u8> {
    let mut bytes = Vec::new();
    module.save(&mut bytes, &[]).unwrap();
    bytes
}

#[test]
fn parameters_stay_parameters_under_their_names() {
    let module = ScriptModule::load_bytes(&saved(&example()), None).unwrap();
    let tensors = module.named_tensors().unwrap();
    let names: Vec<_> = tensors.iter().map(|t| (t.name.as_str(), t.is_parameter)).collect();
    assert_eq!(names, [("encoder.scale", false), ("encoder.layer.0.dense.weight", true)]);
    assert!(module.constants("run").unwrap().is_empty());
}

#[test]
fn a_trace_returns_tuples_and_runs_at_other_shapes() {
    let module = example();
    let x = Tensor::from_slice(&[1f32, 0., 0., 1.]).view([2, 2]);
    let outputs = module.call("run", &[Value::from(&x)], &[]).unwrap().into_tensors().unwrap();
    assert_eq!(floats(&outputs[0]), [1., 3., 5., 2., 4., 6.]);
    assert_eq!(floats(&outputs[1].unsqueeze(0)), [21.]);
}

#[test]
fn arguments_keep_their_names_and_defaults() {
    let mut module = example();
    module
        .define("def forward(self, x: Tensor, mask: Optional[Tensor] = None, n: int = 2):\n    return self.run(x)[0] * n if mask is None else x")
        .unwrap();
    let schema = module.schema("forward").unwrap();
    let arguments: Vec<_> = schema
        .arguments
        .iter()
        .map(|a| (a.name.as_str(), a.type_name.as_str(), a.has_default))
        .collect();
    assert_eq!(
        arguments,
        [("x", "Tensor", false), ("mask", "Optional[Tensor]", true), ("n", "int", true)]
    );
    let x = row(&[1., 1.]);
    let call = |args: &[Value], named: &[(&str, Value)]| {
        floats(&module.call("forward", args, named).unwrap().into_tensor().unwrap())
    };
    assert_eq!(call(&[Value::from(&x)], &[]), [6., 14., 22.]);
    assert_eq!(call(&[], &[("x", Value::from(&x)), ("n", Value::Int(3))]), [9., 21., 33.]);
    assert_eq!(call(&[Value::from(&x), Value::from(&x)], &[]), [1., 1.]);
}

#[test]
fn values_of_every_type_cross_the_border_both_ways() {
    let mut module = ScriptModule::new("Echo").unwrap();
    module
        .define(
            "def forward(self, b: bool, i: int, f: float, s: str, t: Tuple[int, str], l: List[int]):\n    return (b, i, f, s, t, l, None, {'k': i})",
        )
        .unwrap();
    let arguments = [
        Value::Bool(true),
        Value::Int(-3),
        Value::Double(0.5),
        Value::String("héllo".to_owned()),
        Value::Tuple(vec![Value::Int(1), Value::String("x".to_owned())]),
        Value::List(vec![Value::Int(1), Value::Int(2)]),
    ];
    let result = module.call("forward", &arguments, &[]).unwrap();
    assert_eq!(
        format!("{result:?}"),
        "Tuple([Bool(true), Int(-3), Double(0.5), String(\"héllo\"), \
         Tuple([Int(1), String(\"x\")]), List([Int(1), Int(2)]), None, \
         Dict([(String(\"k\"), Int(-3))])])"
    );
}

#[test]
fn an_error_in_the_closure_comes_back_and_the_thread_is_clean() {
    let mut module = ScriptModule::new("Failing").unwrap();
    let x = row(&[1.]);
    let error = module
        .trace("run", &[("x", &x)], |_| Err::<Value, _>(std::io::Error::other("no such luck")))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Callback);
    assert_eq!(error.into_source().unwrap().to_string(), "no such luck");
    assert!(!is_tracing());
    assert!(!module.has_method("run").unwrap());
    // The same module can be traced afterwards.
    module.trace("run", &[("x", &x)], |x| Ok::<_, TchError>(Value::from(&x[0]))).unwrap();
    assert!(module.has_method("run").unwrap());
}

#[test]
fn a_panic_in_the_closure_is_an_error_and_the_thread_is_clean() {
    let mut module = ScriptModule::new("Panicking").unwrap();
    let x = row(&[1., 2.]);
    let error = module
        .trace("run", &[("x", &x)], |x| {
            assert!(is_tracing());
            // tch panics on torch errors outside its fallible calls: they stay torch's.
            Ok::<_, TchError>(Value::Tensor(x[0].matmul(&x[0])))
        })
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Torch);
    let message = error.to_string();
    assert!(message.starts_with("the traced closure panicked: mat1 and mat2"), "{message}");
    assert!(!message.contains('\n') && !message.contains("Exception raised"), "{message}");
    assert!(!is_tracing());
    let error = module
        .trace("run", &[("x", &x)], |_| -> Result<Value, TchError> { panic!("no such luck") })
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panic);
    assert_eq!(error.to_string(), "the traced closure panicked: no such luck");
    assert!(!is_tracing());
    module.trace("run", &[("x", &x)], |x| Ok::<_, TchError>(Value::from(&x[0]))).unwrap();
}

#[test]
fn a_nested_trace_is_refused_and_the_outer_one_survives() {
    let mut outer = ScriptModule::new("Outer").unwrap();
    let x = row(&[1.]);
    outer
        .trace("run", &[("x", &x)], |inputs| {
            let mut inner = ScriptModule::new("Inner").unwrap();
            let error = inner
                .trace("run", &[("x", &inputs[0])], |x| Ok::<_, TchError>(Value::from(&x[0])))
                .unwrap_err();
            assert!(error.to_string().contains("tracing already"), "{error}");
            Ok::<_, TchError>(Value::Tensor(inputs[0].f_neg()?))
        })
        .unwrap();
    let y = outer.call("run", &[Value::from(&x)], &[]).unwrap().into_tensor().unwrap();
    assert_eq!(floats(&y), [-1.]);
}

#[test]
fn dtype_moves_floating_tensors_only_and_keeps_shared_ones_shared() {
    let mut module = ScriptModule::new("Shared").unwrap();
    let weight = row(&[1., 2.]);
    module.register_parameter("a.weight", &weight).unwrap();
    module.register_parameter("b.weight", &weight).unwrap();
    module.register_buffer("ids", &Tensor::from_slice(&[1i64])).unwrap();
    module.to(Some(Device::Cpu), Some(Kind::BFloat16)).unwrap();
    let tensors = module.named_tensors().unwrap();
    let get = |name: &str| &tensors.iter().find(|t| t.name == name).unwrap().tensor;
    assert_eq!(get("a.weight").kind(), Kind::BFloat16);
    assert_eq!(get("a.weight").data_ptr(), get("b.weight").data_ptr());
    assert_eq!(get("ids").kind(), Kind::Int64);
    // The caller's own tensor is not touched.
    assert_eq!(weight.kind(), Kind::Float);
}

#[test]
fn freezing_turns_parameters_into_constants() {
    let mut module = example();
    module.define("def forward(self, x: Tensor):\n    return self.run(x)[0]").unwrap();
    module.eval().unwrap();
    let frozen = module.freeze(&[]).unwrap();
    assert!(frozen.named_tensors().unwrap().is_empty());
    assert!(!frozen.constants("forward").unwrap().is_empty());
    let y = frozen.call("forward", &[Value::from(&row(&[1., 1.]))], &[]).unwrap();
    assert_eq!(floats(&y.into_tensor().unwrap()), [3., 7., 11.]);
}

#[test]
fn torch_errors_have_one_line_and_no_backtrace() {
    let module = example();
    let error = module.call("run", &[Value::from(&row(&[1., 2., 3.]))], &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Torch);
    assert!(error.to_string().contains("mat1 and mat2 shapes"), "{error}");
    assert!(!error.to_string().contains("Exception raised from"), "{error}");
    let error = module.call("no_such_method", &[], &[]).unwrap_err();
    assert!(error.to_string().contains("no_such_method"), "{error}");
}

#[test]
fn a_failing_writer_is_the_reason_that_comes_back() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
            if self.0 < data.len() {
                return Err(std::io::Error::new(std::io::ErrorKind::StorageFull, "disk full"));
            }
            self.0 -= data.len();
            Ok(data.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let whole = saved(&example()).len();
    for room in [0, 100, whole - 1] {
        let error = example().save(Full(room), &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Callback, "room for {room} of {whole} bytes");
        assert_eq!(error.into_source().unwrap().to_string(), "disk full");
    }
    example().save(Full(whole), &[]).unwrap();
    // A buffer that is full only at the end reports its failure too.
    let buffered = std::io::BufWriter::with_capacity(2 * whole, Full(whole - 1));
    let error = example().save(buffered, &[]).unwrap_err();
    assert_eq!(error.into_source().unwrap().to_string(), "disk full");
}

#[test]
fn damaged_archives_are_errors() {
    let bytes = saved(&example());
    for length in [0, 1, 100, bytes.len() / 2, bytes.len() - 1] {
        assert!(ScriptModule::load_bytes(&bytes[..length], None).is_err(), "{length} bytes");
        assert!(ArchiveReader::from_bytes(&bytes[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn a_changed_bit_is_found_in_everything_but_tensors() {
    let bytes = saved(&example());
    let mut reader = ArchiveReader::from_bytes(&bytes).unwrap();
    reader.check().unwrap();
    let is_code = |name: &String| name.starts_with("code/") && name.ends_with(".py");
    let code = reader.records().unwrap().into_iter().find(is_code).unwrap();
    // The record's name stands before its contents, and again in the directory.
    let name = bytes.windows(code.len()).position(|at| at == code.as_bytes()).unwrap();
    let mut refused = 0;
    for at in 0..100 {
        let mut bytes = bytes.clone();
        bytes[name + code.len() + 64 + at] ^= 4;
        let error = ArchiveReader::from_bytes(&bytes).and_then(|mut reader| reader.check());
        refused += usize::from(error.is_err_and(|error| error.to_string().starts_with(&code)));
    }
    assert_eq!(refused, 100);
}

#[test]
fn extra_files_keep_their_bytes() {
    let content = [0u8, 255, 10, 13, 0];
    let mut bytes = Vec::new();
    example().save(&mut bytes, &[("a.bin", &content), ("empty", b"")]).unwrap();
    let mut reader = ArchiveReader::from_bytes(&bytes).unwrap();
    assert_eq!(reader.extra_file("a.bin").unwrap().unwrap(), content);
    assert_eq!(reader.extra_file("empty").unwrap().unwrap(), b"");
    assert_eq!(reader.extra_file("absent").unwrap(), None);
}

#[test]
fn inference_mode_ends_with_its_guard() {
    let weight = row(&[1.]).set_requires_grad(true);
    {
        let _guard = InferenceMode::enter();
        assert!(!(&weight * 2.).requires_grad());
    }
    assert!((&weight * 2.).requires_grad());
}

#[test]
fn many_threads_call_one_module() {
    let module = example();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let module = &module;
            scope.spawn(move || {
                let x = row(&[thread as f32, 1.]);
                for _ in 0..50 {
                    let outputs = module
                        .call("run", &[Value::from(&x)], &[])
                        .unwrap()
                        .into_tensors()
                        .unwrap();
                    let t = thread as f32;
                    assert_eq!(floats(&outputs[0]), [t + 2., 3. * t + 4., 5. * t + 6.]);
                }
            });
        }
    });
}

#[test]
fn threads_clone_a_module_at_once() {
    let module = example();
    let names = |module: &ScriptModule| {
        let tensors = module.named_tensors().unwrap();
        tensors.into_iter().map(|t| (t.name, t.tensor.kind())).collect::<Vec<_>>()
    };
    let before = names(&module);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let mut clone = module.try_clone().unwrap();
                    clone.to(None, Some(Kind::Double)).unwrap();
                    let kinds: Vec<_> = names(&clone).into_iter().map(|(_, kind)| kind).collect();
                    assert_eq!(kinds, [Kind::Int64, Kind::Double]);
                }
            });
        }
    });
    assert_eq!(names(&module), before);
}
