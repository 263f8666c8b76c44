//! The types of elements.

use super::Tensor;
use crate::device::Dtype;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{collect, with_capacity};
use half::{bf16, f16};
use std::fmt;
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ElementType {
    /// `float32`
    F32,
    /// `float16`
    F16,
    /// `bfloat16`
    BF16,
    /// `int64`
    I64,
    /// `int32`
    I32,
    /// `bool`, one byte
    Bool,
    /// `float64`
    F64,
    /// `int16`
    I16,
    /// `int8`
    I8,
    /// `uint8`
    U8,
}

/// A type of Rust that elements of tensors are read as; half precision is
/// [`half::f16`] and [`half::bf16`].
pub trait Element:
    sealed::Sealed
    + TryFromBytes
    + IntoBytes
    + Immutable
    + KnownLayout
    + Copy
    + fmt::Debug
    + Send
    + Sync
    + 'static
{
    /// What a tensor calls it.
    const TYPE: ElementType;
}

mod sealed {
    pub trait Sealed: Copy {
        fn to_f64(self) -> f64;
    }
}

macro_rules! elements {
    ($($name:ident $type:ty, $torch:literal, $kind:ident, $to_f64:expr;)*) => {
        $(
            impl sealed::Sealed for $type {
                fn to_f64(self) -> f64 {
                    let to_f64: fn($type) -> f64 = $to_f64;
                    to_f64(self)
                }
            }
            impl Element for $type {
                const TYPE: ElementType = ElementType::$name;
            }
        )*

        impl ElementType {
            /// Every type.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// torch's name, such as `float32`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $torch,)*
                }
            }

            /// Bytes of one element.
            pub fn size(self) -> usize {
                match self {
                    $(Self::$name => size_of::<$type>(),)*
                }
            }

            /// tch's name.
            #[cfg(feature = "torch")]
            pub fn kind(self) -> tch::Kind {
                match self {
                    $(Self::$name => tch::Kind::$kind,)*
                }
            }

            /// A tensor of elements of this type, as their bytes have them.
            pub(super) fn read(self, shape: Vec<usize>, bytes: &[u8]) -> Result<Tensor> {
                match self {
                    $(Self::$name => {
                        let chunks = bytes.chunks_exact(size_of::<$type>());
                        let mut elements = with_capacity(chunks.len())?;
                        for bytes in chunks {
                            let element = <$type>::try_read_from_bytes(bytes);
                            elements.push(element.map_err(|_| not_an_element(self))?);
                        }
                        Tensor::new::<$type>(elements, shape)
                    })*
                }
            }

            /// Whether two tensors of this type have the same values.
            pub(super) fn equal(self, a: &Tensor, b: &Tensor) -> Result<bool> {
                match self {
                    $(Self::$name => Ok(a.as_slice::<$type>()? == b.as_slice::<$type>()?),)*
                }
            }

            /// What `map` makes of each element of a tensor of this type.
            pub(super) fn map_elements<U>(
                self,
                tensor: &Tensor,
                map: impl Fn(f64) -> U,
            ) -> Result<Vec<U>> {
                Ok(match self {
                    $(Self::$name => {
                        let elements = tensor.as_slice::<$type>()?.iter();
                        collect(elements.map(|value| map(sealed::Sealed::to_f64(*value))))?
                    })*
                })
            }
        }
    };
}

elements! {
    F32 f32, "float32", Float, f64::from;
    F16 f16, "float16", Half, f16::to_f64;
    BF16 bf16, "bfloat16", BFloat16, bf16::to_f64;
    I64 i64, "int64", Int64, |value| value as f64;
    I32 i32, "int32", Int, f64::from;
    Bool bool, "bool", Bool, |value| f64::from(u8::from(value));
    F64 f64, "float64", Double, |value| value;
    I16 i16, "int16", Int16, f64::from;
    I8 i8, "int8", Int8, f64::from;
    U8 u8, "uint8", Uint8, f64::from;
}

/// Only bools have bytes that mean nothing.
fn not_an_element(element_type: ElementType) -> Error {
    let message = format!("found a {element_type} that is neither 0 nor 1");
    Error::new(ErrorKind::InvalidInput, message).at("tensor")
}

#[cfg(feature = "torch")]
impl ElementType {
    /// The type of a tensor's kind, if it is one of these.
    pub fn from_kind(kind: tch::Kind) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.kind() == kind)
    }
}

impl Dtype {
    /// The type of elements.
    pub fn element_type(self) -> ElementType {
        match self {
            Self::F32 => ElementType::F32,
            Self::F16 => ElementType::F16,
            Self::BF16 => ElementType::BF16,
        }
    }

    /// The dtype of a type of elements, if it is one of these.
    pub fn from_element_type(element_type: ElementType) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.element_type() == element_type)
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
