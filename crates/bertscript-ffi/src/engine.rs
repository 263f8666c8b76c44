//! What executes a module, and in which number format.

use crate::error::bertscript_error;
use crate::failure::Failure;
use crate::guard::guard;
use crate::module::bertscript_module;
use crate::pointers::{get, place, text};
use crate::status::{BERTSCRIPT_INVALID_ARGUMENT, bertscript_status};
use bertscript::{EngineKind, Module, Precision};
use std::ffi::c_char;

/// The same module executed by another engine, in another precision; what does not change
/// is shared. The results of the engines are equal but for the order in which numbers are
/// added up, and except where the mask is 0: there the outputs of `native` and `varlen` are
/// zeros.
///
/// @param engine `native`, this library's own kernels on the CPU, in float32, bfloat16 and
/// 8-bit integers, without padding: archives of this library, except those of fixed shapes
/// and those that return attention probabilities; `varlen`, the same by libtorch's operators,
/// on CUDA devices and in float16; `torchscript`, the code in the archive as libtorch runs
/// it: any archive; or `auto`, the first of them that can, as archives are loaded; NULL to
/// keep it
/// @param precision `f32`, `bf16` or `f16`, to which the weights are cast, or `int8`, linear
/// layers of 8-bit integers, faster and less exact, by the engine `native`: on the first run the
/// weights are prepacked twice, and in between the model runs on 256 random tokens; NULL to keep
/// it
/// @param out the module
///
/// Errors: `BERTSCRIPT_UNSUPPORTED` if the engine does not execute the archive, or not in
/// the precision or on the device of the module, with the reason;
/// `BERTSCRIPT_TORCH_UNAVAILABLE` for `varlen`, `torchscript` and `f16`.
/// Ownership: the caller frees the module.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_with_engine(
    module: *const bertscript_module,
    engine: *const c_char,
    precision: *const c_char,
    out: *mut *mut bertscript_module,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let (module, out) = unsafe { (get(module, "module")?, place(out, "out")?) };
        let module = module.module();
        let engine = match engine.is_null() {
            true => module.chosen_engine(),
            // SAFETY: as above.
            false => engine_of(unsafe { text(engine, "engine")? })?,
        };
        let precision = match precision.is_null() {
            true => module.precision(),
            // SAFETY: as above.
            false => unsafe { text(precision, "precision")? }.parse::<Precision>()?,
        };
        *out = bertscript_module::new(module.with_engine_and_precision(engine, precision)?)?;
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// What executes the module: `native`, `varlen` or `torchscript`. Returns NULL if `module`
/// is NULL.
///
/// Ownership: borrowed, a constant of the library.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_engine(
    module: *const bertscript_module,
) -> *const c_char {
    // SAFETY: NULL, or a live module by the contract of the function.
    let module = unsafe { module.as_ref() };
    module.map_or(std::ptr::null(), |module| match module.module().engine() {
        EngineKind::Native => c"native".as_ptr(),
        EngineKind::Varlen => c"varlen".as_ptr(),
        EngineKind::TorchScript => c"torchscript".as_ptr(),
    })
}

/// The number format that the module computes in: `f32`, `bf16`, `f16` or `int8`. Returns
/// NULL if `module` is NULL.
///
/// Ownership: borrowed, a constant of the library.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_precision(
    module: *const bertscript_module,
) -> *const c_char {
    // SAFETY: NULL, or a live module by the contract of the function.
    let module = unsafe { module.as_ref() };
    module.map_or(std::ptr::null(), |module| match module.module().precision() {
        Precision::F32 => c"f32".as_ptr(),
        Precision::Bf16 => c"bf16".as_ptr(),
        Precision::F16 => c"f16".as_ptr(),
        Precision::Int8 => c"int8".as_ptr(),
    })
}

/// Old: use `bertscript_module_with_engine`, which has this choice in two words.
///
/// @param plan `packed`: the engine `native` or `varlen`, in the module's dtype;
/// `packed-int8`: the engine `native` in the precision `int8`; `scripted`: the engine
/// `torchscript`
/// @param out the module
///
/// Errors: `BERTSCRIPT_UNSUPPORTED` if it is not possible, with the reason.
/// Ownership: the caller frees the module.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_with_plan(
    module: *const bertscript_module,
    plan: *const c_char,
    out: *mut *mut bertscript_module,
    err: *mut *mut bertscript_error,
) -> bertscript_status {
    let body = || {
        // SAFETY: by the contract of the function.
        let (module, out) = unsafe { (get(module, "module")?, place(out, "out")?) };
        // SAFETY: as above.
        *out = bertscript_module::new(with_plan(module.module(), unsafe { text(plan, "plan")? })?)?;
        Ok(())
    };
    // SAFETY: by the contract of the function.
    unsafe { guard(err, body) }
}

/// Old: use `bertscript_module_engine` and `bertscript_module_precision`. Returns `packed`,
/// `packed-int8` or `scripted`; NULL if `module` is NULL.
///
/// Ownership: borrowed, a constant of the library.
/// Thread safety: any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bertscript_module_plan(module: *const bertscript_module) -> *const c_char {
    // SAFETY: NULL, or a live module by the contract of the function.
    let module = unsafe { module.as_ref() };
    let Some(module) = module.map(bertscript_module::module) else { return std::ptr::null() };
    match (module.engine(), module.precision()) {
        (EngineKind::TorchScript, _) => c"scripted".as_ptr(),
        (_, Precision::Int8) => c"packed-int8".as_ptr(),
        _ => c"packed".as_ptr(),
    }
}

fn engine_of(name: &str) -> Result<Option<EngineKind>, Failure> {
    Ok(match name {
        "auto" => None,
        name => Some(name.parse()?),
    })
}

fn with_plan(module: &Module, plan: &str) -> Result<Module, Failure> {
    let precision = Precision::from(module.dtype());
    match plan {
        "scripted" => {
            Ok(module.with_engine_and_precision(Some(EngineKind::TorchScript), precision)?)
        }
        "packed-int8" => Ok(module.with_engine_and_precision(None, Precision::Int8)?),
        "packed" => {
            let packed = module.with_engine_and_precision(None, precision)?;
            match packed.engine() {
                // Refused with the reason.
                EngineKind::TorchScript => Ok(packed.with_engine(Some(EngineKind::Native))?),
                _ => Ok(packed),
            }
        }
        _ => {
            let message =
                format!("unknown plan {plan:?}, expected scripted, packed or packed-int8");
            Err(Failure::new(BERTSCRIPT_INVALID_ARGUMENT, message))
        }
    }
}
