//! What crosses, and what is refused.

use super::*;
use std::sync::Arc;

const I64: DataType = DataType { code: 0, bits: 64, lanes: 1 };

fn tensor(values: Vec<u8>, shape: &[usize]) -> Result<ManagedTensor, Malformed> {
    ManagedTensor::over(Arc::new(values), I64, shape)
}

/// Changes what a library hands over, takes it, and puts it back as it was.
fn changed(change: fn(&mut DLManagedTensorVersioned)) -> Result<ManagedTensor, Malformed> {
    let mut raw = tensor(vec![1; 48], &[2, 3]).unwrap().into_raw();
    // SAFETY: live, and nobody else's; what is refused stays ours.
    unsafe {
        let before = std::ptr::read(raw.as_ptr());
        change(raw.as_mut());
        let found = ManagedTensor::from_raw(raw);
        if found.is_err() {
            std::ptr::write(raw.as_ptr(), before);
            drop(ManagedTensor::from_raw(raw).unwrap());
        }
        found
    }
}

#[test]
fn tensors_cross_and_keep_their_memory() {
    let memory: Memory = Arc::new((0..48).collect::<Vec<u8>>());
    let watched = Arc::downgrade(&memory);
    let tensor = ManagedTensor::over(memory, I64, &[2, 3]).unwrap();
    // SAFETY: it was given away by the line itself.
    let tensor = unsafe { ManagedTensor::from_raw(tensor.into_raw()) }.unwrap();
    assert_eq!((tensor.shape(), tensor.place()), (&[2, 3][..], Place::Host));
    assert_eq!(tensor.as_ref()[46..], [46, 47]);
    let tensor = Arc::new(tensor);
    let shared = tensor.share();
    assert_eq!((shared.address(), shared.data_type()), (tensor.address(), I64));
    drop(tensor);
    assert_eq!(shared.as_ref()[..2], [0, 1]);
    assert!(watched.upgrade().is_some());
    drop(shared);
    assert!(watched.upgrade().is_none());
}

#[test]
fn empty_tensors_have_no_bytes() {
    let empty = tensor(Vec::new(), &[3, 0]).unwrap();
    // SAFETY: it was given away by the line itself.
    let empty = unsafe { ManagedTensor::from_raw(empty.into_raw()) }.unwrap();
    assert!(empty.as_ref().is_empty());
    assert_eq!(tensor(vec![0; 8], &[]).unwrap().as_ref().len(), 8);
    assert!(tensor(vec![0; 7], &[1]).is_err());
    assert!(tensor(Vec::new(), &[usize::MAX, 2]).is_err());
    assert!(tensor(Vec::new(), &[1 << 63, 0]).is_err());
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let refused = |change, words: &str| {
        let message = changed(change).unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
    };
    refused(|managed| managed.version.major = 2, "found DLPack 2, expected 1");
    refused(|managed| managed.tensor.device_type = 7, "device: found type 7");
    refused(|managed| managed.tensor.ndim = -1, "ndim: found -1");
    refused(|managed| managed.tensor.data_type.lanes = 4, "lanes: found 4");
    refused(|managed| managed.tensor.shape = std::ptr::null_mut(), "shape: found NULL");
    refused(|managed| managed.tensor.data = std::ptr::null_mut(), "data: found NULL");
    static COLUMN_MAJOR: [i64; 2] = [1, 2];
    refused(|managed| managed.tensor.strides = COLUMN_MAJOR.as_ptr().cast_mut(), "row-major");
    assert!(changed(|managed| managed.tensor.strides = std::ptr::null_mut()).is_ok());
    assert!(changed(|managed| managed.tensor.device_type = CUDA_HOST).is_ok());
}

/// A tensor over numbers from 0, which tells when it was dropped.
fn strided(shape: &[i64], strides: &[i64]) -> Result<(StridedTensor, Arc<Vec<u8>>), Malformed> {
    let memory = Arc::new((0..64).collect::<Vec<u8>>());
    let (owner, data) = (Box::new(Arc::clone(&memory)), memory.as_ptr().cast_mut().cast());
    let data_type = DataType { code: 1, bits: 8, lanes: 1 };
    // SAFETY: the memory is shared by its owner, and 64 bytes are as far as these tests reach.
    let tensor =
        unsafe { StridedTensor::over(owner, data, Place::Host, data_type, shape, Some(strides)) };
    tensor.map(|tensor| (tensor, memory))
}

#[test]
fn elements_that_lie_anyhow_are_a_span() {
    let (columns, memory) = strided(&[2, 3], &[1, 5]).unwrap();
    assert!(!columns.is_row_major());
    let columns = columns.into_row_major().unwrap_err();
    assert_eq!(Arc::strong_count(&memory), 2);
    let span = columns.into_span();
    assert_eq!((span.shape(), span.address()), (&[12][..], memory.as_ptr().addr()));
    assert_eq!(span.as_ref()[11], 11);
    drop(span);
    assert_eq!(Arc::strong_count(&memory), 1);
    // The stride of a single row is of no account.
    let (rows, _) = strided(&[1, 3], &[7, 1]).unwrap();
    assert_eq!(rows.into_row_major().unwrap().shape(), [1, 3]);
    let (none, _) = strided(&[0, 3], &[7, 9]).unwrap();
    assert!(none.into_row_major().unwrap().as_ref().is_empty());
    for (shape, strides) in [([2, 2], [-1, 1]), ([2, 2], [i64::MAX, 1]), ([-1, 2], [2, 1])] {
        assert!(strided(&shape, &strides).is_err(), "{shape:?} {strides:?}");
    }
}
