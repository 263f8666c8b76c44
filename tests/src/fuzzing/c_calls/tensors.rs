//! Tensors of the caller's memory, and reading them.

use super::Sequence;
use arbitrary::Result;
use bertscript_ffi::*;
use std::ffi::c_void;
use std::ptr::{null, null_mut};

impl Sequence<'_> {
    pub(super) fn copy_tensor(&mut self) -> Result<()> {
        let (shape, data) = (self.shape()?, self.bytes()?);
        let dtype = self.int32()?;
        self.make(
            |out, err| unsafe {
                let (shape, ndim) = (shape.as_ptr(), shape.len());
                bertscript_tensor_copy_from(
                    dtype,
                    shape,
                    ndim,
                    data.as_ptr().cast(),
                    data.len(),
                    out,
                    err,
                )
            },
            |own| &mut own.tensors,
        );
        Ok(())
    }

    pub(super) fn borrow_tensor(&mut self) -> Result<()> {
        /// Frees the memory that was lent.
        extern "C" fn release(user: *mut c_void) {
            drop(unsafe { Box::from_raw(user.cast::<Vec<u64>>()) });
        }
        let (shape, strides) = (self.shape()?, self.shape()?);
        let strides = if strides.len() == shape.len() { strides.as_ptr() } else { null() };
        let (dtype, device) = (self.int32()?, self.word()?);
        let memory = Box::into_raw(Box::new(vec![7_u64; self.input.int_in_range(0..=64)?]));
        let (data, nbytes) = unsafe { ((*memory).as_mut_ptr(), (*memory).len() * 8) };
        let (user, data) = (memory.cast(), data.cast());
        let (shape, ndim) = (shape.as_ptr(), shape.len());
        let taken = self.make(
            |out, err| unsafe {
                bertscript_tensor_borrow(
                    dtype,
                    shape,
                    strides,
                    ndim,
                    data,
                    nbytes,
                    device.as_ptr(),
                    Some(release),
                    user,
                    out,
                    err,
                )
            },
            |own| &mut own.tensors,
        );
        // What a failed call took stays the caller's.
        if !taken {
            release(memory.cast());
        }
        Ok(())
    }

    pub(super) fn share_tensor(&mut self) -> Result<()> {
        let (tensor, device) = (self.tensor()?, self.word()?);
        match self.input.int_in_range(0..=2)? {
            0 => self.tensors.push(unsafe { bertscript_tensor_clone(tensor) }),
            1 => {
                let device = device.as_ptr();
                let to =
                    |out, err| unsafe { bertscript_tensor_to_device(tensor, device, out, err) };
                self.make(to, |own| &mut own.tensors);
            }
            _ => {
                let mut managed = null_mut();
                if self.call(|err| unsafe {
                    bertscript_tensor_to_dlpack(tensor, &raw mut managed, err)
                }) {
                    let from =
                        |out, err| unsafe { bertscript_tensor_from_dlpack(managed, out, err) };
                    assert!(self.make(from, |own| &mut own.tensors));
                }
            }
        }
        Ok(())
    }

    pub(super) fn read_tensor(&mut self) -> Result<()> {
        let tensor = self.tensor()?;
        let mut destination = vec![0_u8; self.input.int_in_range(0..=600)?];
        let (mut written, mut data, mut nbytes, mut ndim) = (0, null(), 0, 0);
        let (place, capacity) = (destination.as_mut_ptr().cast(), destination.len());
        self.call(|err| unsafe {
            bertscript_tensor_copy_to(tensor, place, capacity, &raw mut written, err)
        });
        let places = (&raw mut data, &raw mut nbytes);
        if self.call(|err| unsafe { bertscript_tensor_data(tensor, places.0, places.1, err) }) {
            let bytes: &[u8] = match nbytes {
                0 => &[],
                _ => unsafe { std::slice::from_raw_parts(data.cast(), nbytes) },
            };
            std::hint::black_box(bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)));
            assert_eq!(nbytes, unsafe { bertscript_tensor_nbytes(tensor) });
        }
        unsafe {
            bertscript_tensor_shape(tensor, &raw mut ndim);
            bertscript_tensor_numel(tensor);
            bertscript_tensor_dtype(tensor);
            bertscript_tensor_device(tensor);
        }
        Ok(())
    }
}
