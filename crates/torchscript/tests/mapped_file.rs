//! Modules whose tensors lie in a mapped file.

use bertscript_process::MappedFile;
use std::ops::Range;
use std::sync::Arc;
use tch::{Kind, Tensor};
use torchscript::{ScriptModule, tensor_over};

/// A part of a file.
struct Part(Arc<MappedFile>, Range<usize>);

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes()[self.1.clone()]
    }
}

#[test]
fn a_module_lies_in_its_archive() {
    let numbers = |start: f32| {
        let values: Vec<_> = (0..40_000).map(|number| start + number as f32).collect();
        Tensor::from_slice(&values)
    };
    let mut module = ScriptModule::new("Parts").unwrap();
    // Two of the same size, one that is small, and one under two names.
    let shared = numbers(3.);
    module.register_parameter("first", &numbers(1.)).unwrap();
    module.register_parameter("second", &numbers(2.)).unwrap();
    module.register_parameter("small", &Tensor::from_slice(&[1_f32, 2.])).unwrap();
    module.register_parameter("own", &shared).unwrap();
    module.register_parameter("tied", &shared).unwrap();
    module.define("def forward(self):\n  return self.first + self.tied").unwrap();
    let mut bytes = Vec::new();
    module.save(&mut bytes, &[]).unwrap();

    let path = std::env::temp_dir().join(format!("shared-{}.pt", std::process::id()));
    std::fs::write(&path, &bytes).unwrap();
    let mapped = Arc::new(MappedFile::new(&std::fs::File::open(&path).unwrap()).unwrap());
    let mut loaded = ScriptModule::load(&path, None).unwrap();
    let place = |values: &Tensor| {
        let values = Vec::<f32>::try_from(values).unwrap();
        let values: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
        let offset = bytes.windows(values.len()).position(|window| *window == values[..]).unwrap();
        let part = Part(Arc::clone(&mapped), offset..offset + 4 * 40_000);
        tensor_over(part, &[40_000], Kind::Float).unwrap()
    };
    let own = place(&numbers(3.));
    let places = [
        ("first", place(&numbers(1.))),
        ("second", place(&numbers(2.))),
        ("own", own.shallow_clone()),
        ("tied", own),
        // Of another size, and of no name here.
        ("small", place(&numbers(1.))),
        ("other", place(&numbers(1.))),
    ];
    let places = places.map(|(name, tensor)| (name.to_owned(), tensor));
    loaded.map_tensors(&places).unwrap();
    for named in loaded.named_tensors().unwrap() {
        let (_, mapped) = places.iter().find(|(name, _)| *name == named.name).unwrap();
        let is_mapped = named.tensor.data_ptr() == mapped.data_ptr();
        assert_eq!(is_mapped, named.name != "small", "{}", named.name);
    }
    drop(places);
    // The name may go to another file, or away.
    std::fs::remove_file(&path).unwrap();
    mapped.release();
    drop(mapped);
    let before: Vec<_> = module.named_tensors().unwrap();
    for (before, after) in before.iter().zip(loaded.named_tensors().unwrap()) {
        assert_eq!(before.name, after.name);
        assert!(before.tensor.equal(&after.tensor), "{}", after.name);
    }
    let sum = loaded.call("forward", &[], &[]).unwrap();
    assert!(sum.into_tensors().unwrap()[0].equal(&(numbers(1.) + numbers(3.))));
}
