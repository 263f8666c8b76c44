//! Memory of the caller, and DLPack.

use crate::{tensor, told, values};
use bertscript_ffi::*;
use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicUsize, Ordering};

unsafe extern "C" fn count(user: *mut c_void) {
    unsafe { &*user.cast::<AtomicUsize>() }.fetch_add(1, Ordering::SeqCst);
}

/// Borrows six floats as two rows of three, or as strides say.
fn borrow(
    data: &[f32],
    strides: Option<[i64; 2]>,
    released: &AtomicUsize,
) -> (bertscript_status, *mut bertscript_tensor, *mut bertscript_error) {
    let (mut tensor, mut error) = (null_mut(), null_mut());
    let strides = strides.as_ref().map_or(null(), |strides| strides.as_ptr());
    let status = unsafe {
        bertscript_tensor_borrow(
            BERTSCRIPT_FLOAT32,
            [2_i64, 3].as_ptr(),
            strides,
            2,
            data.as_ptr().cast_mut().cast(),
            size_of_val(data),
            null(),
            Some(count),
            std::ptr::from_ref(released).cast_mut().cast(),
            &raw mut tensor,
            &raw mut error,
        )
    };
    (status, tensor, error)
}

#[test]
fn borrowed_memory_is_shared_and_released_once() {
    let (data, released) = ([1f32, 2., 3., 4., 5., 6.], AtomicUsize::new(0));
    let (status, tensor, _) = borrow(&data, None, &released);
    assert_eq!(status, BERTSCRIPT_OK);
    unsafe {
        let mut place = null();
        bertscript_tensor_data(tensor, &raw mut place, null_mut(), null_mut());
        assert_eq!(place, data.as_ptr().cast(), "no copy");
        let clone = bertscript_tensor_clone(tensor);
        bertscript_tensor_free(tensor);
        assert_eq!(released.load(Ordering::SeqCst), 0);
        assert_eq!(values(clone), data);
        bertscript_tensor_free(clone);
    }
    assert_eq!(released.load(Ordering::SeqCst), 1);
}

#[test]
fn memory_in_another_order_is_copied_and_released() {
    let (data, released) = ([1f32, 2., 3., 4., 5., 6.], AtomicUsize::new(0));
    let (status, tensor, _) = borrow(&data, Some([1, 2]), &released);
    assert_eq!((status, released.load(Ordering::SeqCst)), (BERTSCRIPT_OK, 1));
    assert_eq!(values(tensor), [1., 3., 5., 2., 4., 6.]);
    unsafe { bertscript_tensor_free(tensor) };
    assert_eq!(released.load(Ordering::SeqCst), 1);
}

#[test]
fn strides_beyond_the_memory_are_refused_and_nothing_is_released() {
    let (data, released) = ([1f32; 6], AtomicUsize::new(0));
    for strides in [[4, 1], [i64::MAX, 1], [-3, 1], [3, i64::MIN]] {
        let (status, tensor, error) = borrow(&data, Some(strides), &released);
        assert_eq!(told(status, error).0, BERTSCRIPT_INVALID_ARGUMENT, "{strides:?}");
        assert!(tensor.is_null());
    }
    let (status, _, error) = borrow(&data[..5], None, &released);
    let message = "nbytes: found 20, expected at least 24".to_owned();
    assert_eq!(told(status, error), (BERTSCRIPT_INVALID_ARGUMENT, message));
    assert_eq!(released.load(Ordering::SeqCst), 0);
}

#[test]
fn dlpack_goes_out_and_comes_back_to_the_same_memory() {
    let (data, released) = ([1f32, 2., 3., 4., 5., 6.], AtomicUsize::new(0));
    let (_, tensor, _) = borrow(&data, None, &released);
    unsafe {
        let mut managed = null_mut();
        let status = bertscript_tensor_to_dlpack(tensor, &raw mut managed, null_mut());
        assert_eq!(status, BERTSCRIPT_OK);
        bertscript_tensor_free(tensor);

        // The version is the first member; another one is not ours to read.
        let version = managed.cast::<u32>();
        let known = version.read();
        version.write(known + 1);
        let (mut back, mut error) = (null_mut(), null_mut());
        let status = bertscript_tensor_from_dlpack(managed, &raw mut back, &raw mut error);
        let message = format!("managed: found DLPack {}, expected {known}", known + 1);
        assert_eq!(told(status, error), (BERTSCRIPT_VERSION_MISMATCH, message));
        assert_eq!(released.load(Ordering::SeqCst), 0, "it is still the caller's");

        version.write(known);
        let status = bertscript_tensor_from_dlpack(managed, &raw mut back, null_mut());
        assert_eq!(status, BERTSCRIPT_OK);
        let mut place = null();
        bertscript_tensor_data(back, &raw mut place, null_mut(), null_mut());
        assert_eq!(place, data.as_ptr().cast());
        assert_eq!(values(back), data);
        assert_eq!(released.load(Ordering::SeqCst), 0);
        bertscript_tensor_free(back);
    }
    assert_eq!(released.load(Ordering::SeqCst), 1);
}

#[test]
fn a_tensor_may_be_empty_or_a_single_number() {
    unsafe {
        let mut tensor = null_mut();
        let status = bertscript_tensor_copy_from(
            BERTSCRIPT_INT64,
            [0_i64, 5].as_ptr(),
            2,
            null(),
            0,
            &raw mut tensor,
            null_mut(),
        );
        assert_eq!((status, bertscript_tensor_numel(tensor)), (BERTSCRIPT_OK, 0));
        bertscript_tensor_free(tensor);
        let number = 7f32;
        let status = bertscript_tensor_copy_from(
            BERTSCRIPT_FLOAT32,
            null(),
            0,
            std::ptr::from_ref(&number).cast(),
            4,
            &raw mut tensor,
            null_mut(),
        );
        assert_eq!((status, bertscript_tensor_numel(tensor)), (BERTSCRIPT_OK, 1));
        let mut again = null_mut();
        let cpu = c"cpu".as_ptr();
        let status = bertscript_tensor_to_device(tensor, cpu, &raw mut again, null_mut());
        assert_eq!((status, values(again)), (BERTSCRIPT_OK, vec![7.]));
        bertscript_tensor_free(again);
        bertscript_tensor_free(tensor);
    }
}

#[test]
fn half_types_are_readable_as_float32() {
    let half = tensor(BERTSCRIPT_FLOAT16, &[3], &[0x3c00_u16, 0xc000, 0x7c00]);
    let brain = tensor(BERTSCRIPT_BFLOAT16, &[3], &[0x3f80_u16, 0xc000, 0x7f80]);
    let whole = tensor(BERTSCRIPT_FLOAT32, &[3], &[1f32, -2., f32::INFINITY]);
    for found in [half, brain, whole] {
        let mut wide = null_mut();
        unsafe {
            assert_eq!(
                bertscript_tensor_to_float32(found, &raw mut wide, null_mut()),
                BERTSCRIPT_OK
            );
            assert_eq!(values(wide), [1., -2., f32::INFINITY]);
            let places = [wide, found].map(|tensor| {
                let mut place = null();
                bertscript_tensor_data(tensor, &raw mut place, null_mut(), null_mut());
                place
            });
            assert_eq!(places[0] == places[1], found == whole, "copied only if converted");
            bertscript_tensor_free(wide);
            bertscript_tensor_free(found);
        }
    }
}
