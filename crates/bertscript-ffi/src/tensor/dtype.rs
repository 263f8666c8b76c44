//! The types of elements.

use crate::failure::Failure;
use crate::status::BERTSCRIPT_INVALID_ARGUMENT;
use bertscript::ElementType;
use std::ffi::{CStr, c_char};

/// The type of a tensor's elements.
pub type bertscript_dtype = i32;

/// `float`
pub const BERTSCRIPT_FLOAT32: bertscript_dtype = 1;
/// IEEE half precision, 16 bits
pub const BERTSCRIPT_FLOAT16: bertscript_dtype = 2;
/// bfloat16, 16 bits
pub const BERTSCRIPT_BFLOAT16: bertscript_dtype = 3;
/// `int64_t`
pub const BERTSCRIPT_INT64: bertscript_dtype = 4;
/// `int32_t`
pub const BERTSCRIPT_INT32: bertscript_dtype = 5;
/// One byte, 0 or 1
pub const BERTSCRIPT_BOOL: bertscript_dtype = 6;
/// `double`
pub const BERTSCRIPT_FLOAT64: bertscript_dtype = 7;
/// `int16_t`
pub const BERTSCRIPT_INT16: bertscript_dtype = 8;
/// `int8_t`
pub const BERTSCRIPT_INT8: bertscript_dtype = 9;
/// `uint8_t`
pub const BERTSCRIPT_UINT8: bertscript_dtype = 10;

/// Number, torch's name, type.
const DTYPES: [(bertscript_dtype, &CStr, ElementType); 10] = [
    (BERTSCRIPT_FLOAT32, c"float32", ElementType::F32),
    (BERTSCRIPT_FLOAT16, c"float16", ElementType::F16),
    (BERTSCRIPT_BFLOAT16, c"bfloat16", ElementType::BF16),
    (BERTSCRIPT_INT64, c"int64", ElementType::I64),
    (BERTSCRIPT_INT32, c"int32", ElementType::I32),
    (BERTSCRIPT_BOOL, c"bool", ElementType::Bool),
    (BERTSCRIPT_FLOAT64, c"float64", ElementType::F64),
    (BERTSCRIPT_INT16, c"int16", ElementType::I16),
    (BERTSCRIPT_INT8, c"int8", ElementType::I8),
    (BERTSCRIPT_UINT8, c"uint8", ElementType::U8),
];

/// torch's name of a dtype, such as `float32`; `unknown` of any other number.
///
/// Ownership: static.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub extern "C" fn bertscript_dtype_name(dtype: bertscript_dtype) -> *const c_char {
    let known = DTYPES.iter().find(|(number, ..)| *number == dtype);
    known.map_or(c"unknown", |(_, name, _)| name).as_ptr()
}

pub(super) fn number_of(element_type: ElementType) -> bertscript_dtype {
    let known = DTYPES.iter().find(|(.., known)| *known == element_type);
    known.map_or(0, |(number, ..)| *number)
}

pub(super) fn element_type(dtype: bertscript_dtype) -> Result<ElementType, Failure> {
    let known = DTYPES.iter().find(|(number, ..)| *number == dtype);
    known.map(|(.., element_type)| *element_type).ok_or_else(|| {
        let message = format!("dtype: found {dtype}, expected 1 to {}", DTYPES.len());
        Failure::new(BERTSCRIPT_INVALID_ARGUMENT, message)
    })
}
