//! How a module computes.

use crate::error::{Error, ErrorKind, Result};
use std::fmt;
use std::str::FromStr;

/// How a module computes. The results are equal, but for the order in which
/// numbers are added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Plan {
    /// By the program in the file, as libtorch runs it: any program, device and
    /// dtype.
    Scripted,
    /// By this library's own kernels, without padding: archives of this library
    /// in float32 or bfloat16 on the CPU. A text's result is the same in every
    /// batch, to the last bit.
    Packed,
}

impl Plan {
    /// Every plan.
    pub const ALL: [Self; 2] = [Self::Scripted, Self::Packed];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scripted => "scripted",
            Self::Packed => "packed",
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Plan {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|plan| plan.name() == name).ok_or_else(|| {
            let message = format!("unknown plan {name:?}, expected scripted or packed");
            Error::new(ErrorKind::InvalidInput, message)
        })
    }
}
