//! Tensors that lie in a mapped file.

use std::io::Write;
use tch::{Kind, Tensor};
use torchscript::MappedFile;

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
