//! TorchScript's dynamically typed values (`c10::IValue`).

use crate::error::{Error, ErrorKind, Result, check};
use crate::ffi::{self, TsValue};
use std::ffi::c_void;
use tch::Tensor;

/// An argument or result of a TorchScript method.
#[derive(Debug)]
#[non_exhaustive]
pub enum Value {
    /// `None`
    None,
    /// `Tensor`
    Tensor(Tensor),
    /// `bool`
    Bool(bool),
    /// `int`
    Int(i64),
    /// `float`
    Double(f64),
    /// `str`
    String(String),
    /// `Tuple[..]`
    Tuple(Vec<Value>),
    /// `List[..]`
    List(Vec<Value>),
    /// `Dict[..]`, in insertion order
    Dict(Vec<(Value, Value)>),
    /// A value this enum has no case for, by the name of its type
    Other(String),
}

impl From<&Tensor> for Value {
    fn from(tensor: &Tensor) -> Self {
        Self::Tensor(tensor.shallow_clone())
    }
}

impl From<Option<&Tensor>> for Value {
    fn from(tensor: Option<&Tensor>) -> Self {
        tensor.map_or(Self::None, Self::from)
    }
}

impl Value {
    /// The tensor, or an error that names what is there instead.
    pub fn into_tensor(self) -> Result<Tensor> {
        match self {
            Self::Tensor(tensor) => Ok(tensor),
            other => Err(other.unexpected("a Tensor")),
        }
    }

    /// The tensors of a result: of one tensor, or of a flat tuple or list.
    pub fn into_tensors(self) -> Result<Vec<Tensor>> {
        match self {
            Self::Tensor(tensor) => Ok(vec![tensor]),
            Self::Tuple(items) | Self::List(items) => {
                items.into_iter().map(Self::into_tensor).collect()
            }
            other => Err(other.unexpected("a Tensor or a flat tuple of tensors")),
        }
    }

    pub(crate) fn into_items(self) -> Result<Vec<Value>> {
        match self {
            Self::Tuple(items) | Self::List(items) => Ok(items),
            other => Err(other.unexpected("a tuple or list")),
        }
    }

    pub(crate) fn into_string(self) -> Result<String> {
        match self {
            Self::String(text) => Ok(text),
            other => Err(other.unexpected("a str")),
        }
    }

    /// Its type in words, such as `a Tensor`.
    pub fn type_name(&self) -> &str {
        match self {
            Self::None => "None",
            Self::Tensor(_) => "a Tensor",
            Self::Bool(_) => "a bool",
            Self::Int(_) => "an int",
            Self::Double(_) => "a float",
            Self::String(_) => "a str",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dict",
            Self::Other(name) => name,
        }
    }

    fn unexpected(&self, expected: &str) -> Error {
        let message = format!("expected {expected}, found {}", self.type_name());
        Error::new(ErrorKind::Type, message)
    }

    /// Hands the value to C++.
    pub(crate) fn to_raw(&self) -> Result<RawValue> {
        RawValue::new(|out| {
            // SAFETY: every pointer below is live for the call; the shim copies what it keeps.
            Ok(unsafe {
                match self {
                    Self::None => ffi::ts_value_none(out),
                    Self::Tensor(tensor) => ffi::ts_value_tensor(tensor.as_ptr(), out),
                    Self::Bool(value) => ffi::ts_value_bool((*value).into(), out),
                    Self::Int(value) => ffi::ts_value_int(*value, out),
                    Self::Double(value) => ffi::ts_value_double(*value, out),
                    Self::String(text) => {
                        ffi::ts_value_string(text.as_ptr().cast(), text.len(), out)
                    }
                    Self::Tuple(items) => {
                        let items = RawValues::new(items)?;
                        ffi::ts_value_tuple(items.as_ptr(), items.len(), out)
                    }
                    Self::List(items) => {
                        let items = RawValues::new(items)?;
                        ffi::ts_value_list(items.as_ptr(), items.len(), out)
                    }
                    Self::Dict(_) | Self::Other(_) => {
                        return Err(self.unexpected("a value that can be an argument"));
                    }
                }
            })
        })
    }
}

/// An owned `c10::IValue` of the shim.
pub(crate) struct RawValue(*mut TsValue);

impl RawValue {
    /// Takes the value that a shim function stores on success.
    pub(crate) fn new(
        make: impl FnOnce(*mut *mut TsValue) -> Result<*mut ffi::TsError>,
    ) -> Result<Self> {
        let mut raw = std::ptr::null_mut();
        check(make(&mut raw)?)?;
        Ok(Self(raw))
    }

    pub(crate) fn as_ptr(&self) -> *const TsValue {
        self.0
    }

    /// Gives the pointer away.
    pub(crate) fn into_ptr(self) -> *mut TsValue {
        let raw = self.0;
        std::mem::forget(self);
        raw
    }

    /// Reads the value into Rust.
    pub(crate) fn read(&self) -> Result<Value> {
        // SAFETY: `self.0` is a live value, and each getter is called for the tag it belongs to.
        unsafe {
            Ok(match ffi::ts_value_tag(self.0) {
                0 => Value::None,
                1 => {
                    let mut tensor = std::ptr::null_mut();
                    check(ffi::ts_value_get_tensor(self.0, &mut tensor))?;
                    Value::Tensor(Tensor::from_ptr(tensor))
                }
                2 => {
                    let mut value = 0;
                    check(ffi::ts_value_get_bool(self.0, &mut value))?;
                    Value::Bool(value != 0)
                }
                3 => {
                    let mut value = 0;
                    check(ffi::ts_value_get_int(self.0, &mut value))?;
                    Value::Int(value)
                }
                4 => {
                    let mut value = 0.0;
                    check(ffi::ts_value_get_double(self.0, &mut value))?;
                    Value::Double(value)
                }
                5 => {
                    let mut data = std::ptr::null();
                    let mut length = 0;
                    check(ffi::ts_value_get_string(self.0, &mut data, &mut length))?;
                    let bytes = std::slice::from_raw_parts(data.cast::<u8>(), length);
                    Value::String(String::from_utf8_lossy(bytes).into_owned())
                }
                6 => Value::Tuple(self.items()?),
                7 => Value::List(self.items()?),
                8 => {
                    let mut items = self.items()?.into_iter();
                    let mut entries = Vec::new();
                    while let (Some(key), Some(value)) = (items.next(), items.next()) {
                        entries.push((key, value));
                    }
                    Value::Dict(entries)
                }
                _ => {
                    let name = RawValue::new(|out| Ok(ffi::ts_value_type_name(self.0, out)))?;
                    Value::Other(name.read()?.into_string()?)
                }
            })
        }
    }

    fn items(&self) -> Result<Vec<Value>> {
        unsafe extern "C" fn push(user: *mut c_void, item: *mut TsValue) {
            // SAFETY: `user` is the vector below, and the shim gives each item away.
            unsafe { (*user.cast::<Vec<RawValue>>()).push(RawValue(item)) };
        }
        let mut raw: Vec<RawValue> = Vec::new();
        // SAFETY: the callback gets the vector's address, which outlives the call.
        check(unsafe { ffi::ts_value_items(self.0, push, (&raw mut raw).cast()) })?;
        raw.iter().map(RawValue::read).collect()
    }
}

impl Drop for RawValue {
    fn drop(&mut self) {
        // SAFETY: owned, and freed once.
        unsafe { ffi::ts_value_free(self.0) };
    }
}

/// A C array of values.
pub(crate) struct RawValues {
    pointers: Vec<*const TsValue>,
    _owners: Vec<RawValue>,
}

impl RawValues {
    pub(crate) fn new<'a>(values: impl IntoIterator<Item = &'a Value>) -> Result<Self> {
        let owners = values.into_iter().map(Value::to_raw).collect::<Result<Vec<_>>>()?;
        Ok(Self { pointers: owners.iter().map(RawValue::as_ptr).collect(), _owners: owners })
    }

    pub(crate) fn as_ptr(&self) -> *const *const TsValue {
        self.pointers.as_ptr()
    }

    pub(crate) fn len(&self) -> usize {
        self.pointers.len()
    }
}
