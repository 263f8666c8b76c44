//! [`ScriptModule`]: named tensors, methods, calls.

use crate::dtype::scalar_type;
use crate::error::{Error, ErrorKind, Result, c_string, check};
use crate::ffi::{self, TsModule};
use crate::process::enter;
use crate::value::{RawValue, RawValues, Value};
use std::collections::HashMap;
use std::ffi::{CString, c_char};
use tch::{Device, Kind, Tensor};
use torchscript_reader::{Argument, MethodSchema};

/// A TorchScript module (`torch::jit::Module`).
#[derive(Debug)]
pub struct ScriptModule {
    raw: *mut TsModule,
}

// SAFETY: a torch::jit::Module is a reference-counted handle with atomic counts
// and no tie to the thread that made it.
unsafe impl Send for ScriptModule {}
// SAFETY: every method that changes the module takes `&mut self`. The others
// read; calling a method concurrently is supported by libtorch, whose graph
// executor guards its own caches with a mutex.
unsafe impl Sync for ScriptModule {}

/// A parameter or buffer, as `state_dict` names it.
#[derive(Debug)]
pub struct NamedTensor {
    /// The dotted path, such as `encoder.layer.0.output.dense.weight`.
    pub name: String,
    /// The tensor itself, not a copy.
    pub tensor: Tensor,
    /// Whether it is a parameter; otherwise a buffer.
    pub is_parameter: bool,
}

impl ScriptModule {
    /// An empty module of the class `__torch__.<name>`.
    pub fn new(name: &str) -> Result<Self> {
        let name = c_string(name)?;
        // SAFETY: `name` outlives the call.
        Self::from_shim(|out| unsafe { ffi::ts_module_new(name.as_ptr(), out) })
    }

    pub(crate) fn from_shim(
        make: impl FnOnce(*mut *mut TsModule) -> *mut ffi::TsError,
    ) -> Result<Self> {
        let mut raw = std::ptr::null_mut();
        check(make(&mut raw))?;
        Ok(Self { raw })
    }

    pub(crate) fn as_ptr(&self) -> *const TsModule {
        self.raw
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut TsModule {
        self.raw
    }

    /// Registers a parameter under a dotted path, creating the submodules on
    /// the way. The tensor is shared, not copied: tracing recognises it.
    pub fn register_parameter(&mut self, path: &str, tensor: &Tensor) -> Result<()> {
        self.register(path, tensor, true)
    }

    /// Registers a buffer, as [`Self::register_parameter`] does a parameter.
    pub fn register_buffer(&mut self, path: &str, tensor: &Tensor) -> Result<()> {
        self.register(path, tensor, false)
    }

    fn register(&mut self, path: &str, tensor: &Tensor, is_parameter: bool) -> Result<()> {
        let path = c_string(path)?;
        // SAFETY: the pointers are live for the call.
        check(unsafe {
            ffi::ts_module_register(self.raw, path.as_ptr(), tensor.as_ptr(), is_parameter.into())
        })
    }

    /// Every parameter and buffer of the module and its submodules, named as in
    /// Python's `state_dict()`.
    pub fn named_tensors(&self) -> Result<Vec<NamedTensor>> {
        // SAFETY: `self.raw` is a live module.
        let list = RawValue::new(|out| Ok(unsafe { ffi::ts_module_named_tensors(self.raw, out) }))?;
        list.read()?
            .into_items()?
            .into_iter()
            .map(|entry| {
                let mut entry = entry.into_items()?.into_iter();
                match (entry.next(), entry.next(), entry.next()) {
                    (
                        Some(Value::String(name)),
                        Some(Value::Tensor(tensor)),
                        Some(Value::Bool(is_parameter)),
                    ) => Ok(NamedTensor { name, tensor, is_parameter }),
                    other => Err(malformed(&other)),
                }
            })
            .collect()
    }

    /// Replaces the memory of tensors by that of `mapped` ones of the same name, dtype, sizes
    /// and strides, and the same values, such as those of a mapped archive. Others keep their
    /// memory.
    pub fn map_tensors(&mut self, mapped: &[(String, Tensor)]) -> Result<()> {
        let by_name: HashMap<_, _> =
            mapped.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        for NamedTensor { name, mut tensor, .. } in self.named_tensors()? {
            let Some(mapped) = by_name.get(name.as_str()) else { continue };
            let is_same = mapped.f_kind()? == tensor.f_kind()?
                && mapped.device() == tensor.device()
                && mapped.size() == tensor.size()
                && mapped.stride() == tensor.stride();
            if is_same && mapped.data_ptr() != tensor.data_ptr() {
                tensor.f_set_data(mapped)?;
            }
        }
        Ok(())
    }

    /// Compiles methods from TorchScript source, such as
    /// `def forward(self, x: Tensor): ..`.
    pub fn define(&mut self, source: &str) -> Result<()> {
        // TorchScript's parser wants the last line to end.
        let source = c_string(&format!("{source}\n"))?;
        // SAFETY: the pointers are live for the call.
        check(unsafe { ffi::ts_module_define(self.raw, source.as_ptr()) })
    }

    /// Switches the module and its submodules to evaluation mode.
    pub fn eval(&mut self) -> Result<()> {
        // SAFETY: `self.raw` is a live module.
        check(unsafe { ffi::ts_module_eval(self.raw) })
    }

    /// Moves every tensor to `device` and casts the floating-point ones to
    /// `dtype`; `None` leaves either as it is. A tensor under several names
    /// stays one tensor.
    pub fn to(&mut self, device: Option<Device>, dtype: Option<Kind>) -> Result<()> {
        let device = device.map(device_name).transpose()?;
        let dtype = dtype.map_or(Ok(-1), scalar_type)?;
        // SAFETY: the pointers are live for the call.
        check(unsafe { ffi::ts_module_to(self.raw, opt_ptr(device.as_ref()), dtype) })
    }

    /// A module of the same class over the same tensors: [`Self::to`] moves the one
    /// and not the other; a method that is defined on the one is the other's, too.
    /// Any number of threads may clone a module at once.
    pub fn try_clone(&self) -> Result<Self> {
        // SAFETY: `self.raw` is a live module.
        Self::from_shim(|out| unsafe { ffi::ts_module_clone(self.raw, out) })
    }

    /// `torch.jit.freeze`: a copy whose parameters are constants of its code.
    /// The module must be in evaluation mode.
    pub fn freeze(&self, preserved_methods: &[&str]) -> Result<Self> {
        let names = CStrings::new(preserved_methods.iter().copied())?;
        // SAFETY: the pointers are live for the call.
        Self::from_shim(|out| unsafe {
            ffi::ts_module_freeze(self.raw, names.as_ptr(), names.len(), out)
        })
    }

    /// Whether the module has a method of this name.
    pub fn has_method(&self, name: &str) -> Result<bool> {
        let name = c_string(name)?;
        let mut found = 0;
        // SAFETY: the pointers are live for the call.
        check(unsafe { ffi::ts_module_has_method(self.raw, name.as_ptr(), &mut found) })?;
        Ok(found != 0)
    }

    /// The signature of a method.
    pub fn schema(&self, method: &str) -> Result<MethodSchema> {
        let method = c_string(method)?;
        let raw = RawValue::new(|out| {
            // SAFETY: the pointers are live for the call.
            Ok(unsafe { ffi::ts_module_schema(self.raw, method.as_ptr(), out) })
        })?;
        let mut parts = raw.read()?.into_items()?.into_iter();
        let (Some(arguments), Some(returns)) = (parts.next(), parts.next()) else {
            return Err(malformed(&"schema"));
        };
        let arguments = arguments.into_items()?.into_iter().map(|argument| {
            let mut parts = argument.into_items()?.into_iter();
            match (parts.next(), parts.next(), parts.next()) {
                (
                    Some(Value::String(name)),
                    Some(Value::String(type_name)),
                    Some(Value::Bool(has_default)),
                ) => Ok(Argument { name, type_name, has_default }),
                other => Err(malformed(&other)),
            }
        });
        Ok(MethodSchema {
            arguments: arguments.collect::<Result<_>>()?,
            returns: returns.into_string()?,
        })
    }

    /// Every tensor that is a constant of a method's code rather than a
    /// parameter, through the methods it calls.
    pub fn constants(&self, method: &str) -> Result<Vec<Tensor>> {
        let method = c_string(method)?;
        let raw = RawValue::new(|out| {
            // SAFETY: the pointers are live for the call.
            Ok(unsafe { ffi::ts_module_constants(self.raw, method.as_ptr(), out) })
        })?;
        raw.read()?.into_items()?.into_iter().map(Value::into_tensor).collect()
    }

    /// Calls a method with positional and keyword arguments.
    ///
    /// Any number of threads may call methods of one module at once.
    pub fn call(
        &self,
        method: &str,
        arguments: &[Value],
        keywords: &[(&str, Value)],
    ) -> Result<Value> {
        let _entered = enter()?;
        let method = c_string(method)?;
        let arguments = RawValues::new(arguments)?;
        let names = CStrings::new(keywords.iter().map(|(name, _)| *name))?;
        let values = RawValues::new(keywords.iter().map(|(_, value)| value))?;
        let result = RawValue::new(|out| {
            // SAFETY: the arrays and what they point to outlive the call.
            Ok(unsafe {
                ffi::ts_module_call(
                    self.raw,
                    method.as_ptr(),
                    arguments.as_ptr(),
                    arguments.len(),
                    names.as_ptr(),
                    values.as_ptr(),
                    names.len(),
                    out,
                )
            })
        })?;
        result.read()
    }
}

impl Drop for ScriptModule {
    fn drop(&mut self) {
        // SAFETY: owned, and freed once.
        unsafe { ffi::ts_module_free(self.raw) };
    }
}

fn malformed(found: &dyn std::fmt::Debug) -> Error {
    Error::new(ErrorKind::Type, format!("the shim returned something unexpected: {found:?}"))
}

/// libtorch's spelling of a device.
pub(crate) fn device_name(device: Device) -> Result<CString> {
    c_string(&match device {
        Device::Cpu => "cpu".to_owned(),
        Device::Cuda(index) => format!("cuda:{index}"),
        Device::Mps => "mps".to_owned(),
        Device::Vulkan => "vulkan".to_owned(),
    })
}

pub(crate) fn opt_ptr(text: Option<&CString>) -> *const c_char {
    text.map_or(std::ptr::null(), |text| text.as_ptr())
}

/// A C array of strings.
pub(crate) struct CStrings {
    pointers: Vec<*const c_char>,
    _owners: Vec<CString>,
}

impl CStrings {
    pub(crate) fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let owners = texts.into_iter().map(c_string).collect::<Result<Vec<_>>>()?;
        Ok(Self { pointers: owners.iter().map(|text| text.as_ptr()).collect(), _owners: owners })
    }

    pub(crate) fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }

    pub(crate) fn len(&self) -> usize {
        self.pointers.len()
    }
}
