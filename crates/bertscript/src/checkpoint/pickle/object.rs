//! What a pickle of weights is made of.

use crate::error::{Error, ErrorKind, Result};
use crate::tensor::ElementType;
use std::rc::Rc;

/// The index of an object in its [`super::Pickle`].
pub(crate) type Id = usize;

/// An object, by what it means to weights.
#[derive(Debug, Clone)]
pub(crate) enum Object {
    None,
    Bool(bool),
    Int(i64),
    Float,
    Text(Rc<str>),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage(Storage),
    Tensor(TensorRecord),
    /// A class of TorchScript code, by its name.
    Class(Rc<str>),
    /// An object of a class, and the dict of its attributes once it has them.
    Instance {
        class: Id,
        attributes: Option<Id>,
    },
    /// A value that weights have no use for, such as a device.
    Opaque,
    /// The integer that a legacy file begins with does not fit 64 bits.
    Long(Vec<u8>),
}

/// Whose names a pickle may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// Those of weights, which `torch.save` writes.
    Weights,
    /// Also those of TorchScript: classes of an archive's code, which mean objects with
    /// attributes, and attributes that are no weights.
    TorchScript,
}

/// The names that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Parameter,
    Size,
    Device,
    Dtype,
    Storage(ElementType),
    /// A function that makes a value that weights have no use for.
    Value,
}

/// A storage that lies elsewhere in the file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Storage {
    pub(crate) element_type: ElementType,
    pub(crate) key: Rc<str>,
    /// Number of elements.
    pub(crate) numel: i64,
    /// Where it lies in the storage of `key`, in elements, if it is a view.
    pub(crate) view: Option<(i64, i64)>,
}

/// A tensor on a storage.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct TensorRecord {
    pub(crate) storage: Storage,
    pub(crate) offset: i64,
    pub(crate) size: Vec<i64>,
    pub(crate) stride: Vec<i64>,
}

const GLOBALS: [(&str, Global); 18] = [
    ("collections.OrderedDict", Global::OrderedDict),
    ("torch._utils._rebuild_tensor", Global::RebuildTensor),
    ("torch._utils._rebuild_tensor_v2", Global::RebuildTensor),
    ("torch._utils._rebuild_parameter", Global::RebuildParameter),
    ("torch.nn.parameter.Parameter", Global::Parameter),
    ("torch.Size", Global::Size),
    ("torch.device", Global::Device),
    ("torch.FloatStorage", Global::Storage(ElementType::F32)),
    ("torch.HalfStorage", Global::Storage(ElementType::F16)),
    ("torch.BFloat16Storage", Global::Storage(ElementType::BF16)),
    ("torch.DoubleStorage", Global::Storage(ElementType::F64)),
    ("torch.LongStorage", Global::Storage(ElementType::I64)),
    ("torch.IntStorage", Global::Storage(ElementType::I32)),
    ("torch.ShortStorage", Global::Storage(ElementType::I16)),
    ("torch.CharStorage", Global::Storage(ElementType::I8)),
    ("torch.ByteStorage", Global::Storage(ElementType::U8)),
    ("torch.BoolStorage", Global::Storage(ElementType::Bool)),
    ("torch.storage.UntypedStorage", Global::Storage(ElementType::U8)),
];

const DTYPES: [&str; 10] = [
    "float32", "float16", "bfloat16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool",
];

/// Attributes of TorchScript that are lists, or dicts and lists with their type.
///
/// Source: <https://github.com/pytorch/pytorch/blob/v2.11.0/torch/csrc/jit/serialization/pickler.cpp>
const VALUES: [&str; 5] =
    ["build_intlist", "build_tensorlist", "build_doublelist", "build_boollist", "restore_type_tag"];

/// What a name means.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a name that is not among them.
pub(super) fn global(names: Names, name: String) -> Result<Object> {
    if let Some((_, global)) = GLOBALS.iter().find(|(known, _)| *known == name) {
        return Ok(Object::Global(*global));
    }
    if name.strip_prefix("torch.").is_some_and(|dtype| DTYPES.contains(&dtype)) {
        return Ok(Object::Global(Global::Dtype));
    }
    if names == Names::TorchScript {
        if name.starts_with("__torch__.") {
            return Ok(Object::Class(name.into()));
        }
        if name.strip_prefix("torch.jit._pickle.").is_some_and(|value| VALUES.contains(&value)) {
            return Ok(Object::Global(Global::Value));
        }
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        format!(
            "the pickle names {name:?}, which is not among the names of weights; nothing was run"
        ),
    ))
}
