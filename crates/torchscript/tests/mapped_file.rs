//! Tensors that lie in a mapped file.

use std::io::Write;
use tch::{Kind, Tensor};
use torchscript::{MappedFile, ScriptModule};

fn file(bytes: &[u8]) -> std::fs::File {
    let path = std::env::temp_dir().join(format!("mapped-{}-{}", std::process::id(), bytes.len()));
    std::fs::File::create(&path).unwrap().write_all(bytes).unwrap();
    let file = std::fs::File::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    file
}

#[test]
fn tensors_share_the_mapping_and_outlive_it() {
    let bytes: Vec<u8> = [1f32, 2., 3., 4.].iter().flat_map(|value| value.to_le_bytes()).collect();
    let mapped = MappedFile::new(&file(&bytes)).unwrap();
    let all = mapped.tensor(0, &[2, 2], Kind::Float).unwrap();
    let last = mapped.tensor(12, &[1], Kind::Float).unwrap();
    drop(mapped);
    assert_eq!(last.data_ptr() as usize - all.data_ptr() as usize, 12);
    assert_eq!(Vec::<f32>::try_from(all.flatten(0, 1)).unwrap(), [1., 2., 3., 4.]);
}

#[test]
fn misaligned_data_is_copied() {
    let mut bytes = vec![9u8];
    bytes.extend(7f32.to_le_bytes());
    let tensor = MappedFile::new(&file(&bytes)).unwrap().tensor(1, &[1], Kind::Float).unwrap();
    assert_eq!(tensor.data_ptr() as usize % 4, 0);
    assert_eq!(f32::try_from(tensor).unwrap(), 7.);
}

#[test]
fn what_leaves_the_file_is_refused() {
    let mapped = MappedFile::new(&file(&[0; 17])).unwrap();
    for (offset, shape) in [
        (0, vec![5]),
        (16, vec![1]),
        (18, vec![0]),
        (usize::MAX, vec![1]),
        (0, vec![1 << 31, 1 << 31]),
        (0, vec![1 << 62]),
        (0, vec![-1]),
    ] {
        assert!(mapped.tensor(offset, &shape, Kind::Float).is_err(), "{offset} {shape:?}");
    }
    assert_eq!(mapped.tensor(17, &[0, 3], Kind::Float).unwrap().size(), [0, 3]);
    assert!(mapped.tensor(0, &[1], Kind::ComplexFloat).is_err());
}

#[test]
fn writing_to_a_tensor_leaves_the_file_alone() {
    let file = file(&[1, 2, 3]);
    let mut tensor = MappedFile::new(&file).unwrap().tensor(0, &[3], Kind::Uint8).unwrap();
    let _ = tensor.fill_(9);
    let again = MappedFile::new(&file).unwrap().tensor(0, &[3], Kind::Uint8).unwrap();
    assert!(again.equal(&Tensor::from_slice(&[1u8, 2, 3])));
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
    let mapped = MappedFile::new(&std::fs::File::open(&path).unwrap()).unwrap();
    let mut loaded = ScriptModule::load(&path, None).unwrap();
    let place = |values: &Tensor| {
        let values = Vec::<f32>::try_from(values).unwrap();
        let values: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
        let offset = bytes.windows(values.len()).position(|window| *window == values[..]).unwrap();
        mapped.tensor(offset, &[40_000], Kind::Float).unwrap()
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

#[test]
fn a_copy_of_a_file_is_as_the_file() {
    let bytes: Vec<u8> = (0..64).collect();
    let copy = MappedFile::copy(&bytes).unwrap();
    let tensor = copy.tensor(8, &[4], Kind::Uint8).unwrap();
    // Nothing would bring its pages back.
    copy.release();
    assert_eq!(copy.bytes(), bytes);
    drop(copy);
    assert!(tensor.equal(&Tensor::from_slice(&[8_u8, 9, 10, 11])));
    assert_eq!(MappedFile::copy(&[]).unwrap().bytes(), b"");
}
